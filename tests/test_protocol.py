"""The laws of the protocol module, over generated events and arbitrary bytes, and the documented examples."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import ApiError, ProtocolError, UsageError
from cartesia_cli.protocol import events
from cartesia_cli.protocol.batch import BatchOptions, BatchResponse, decode_batch, encode_batch, unusable_fields
from cartesia_cli.protocol.constants import (
    BATCH_MODELS,
    MODELS,
    build_url,
    check_base_url,
    check_encryption,
    is_unencrypted,
    is_whisper,
)
from cartesia_cli.protocol.events import (
    Delta,
    Error,
    Event,
    TurnEnd,
    Unknown,
    UnreadableText,
    decode,
    decode_error,
    encode,
    encode_error,
    malformed_fields,
)
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.models import MODELS_AT_RELEASE, Model, decode_models, encode_models
from cartesia_cli.protocol.realtime import (
    AUTO,
    MANUAL,
    Close,
    Command,
    Config,
    Endpoint,
    Finalize,
    RealtimeOptions,
    TurnConfig,
    decode_command,
    encode_command,
)

TEXT = st.text(max_size=40)
SECONDS = st.floats(0, 1e6) | st.integers(0, 10**6).map(float)
# `partial`, because Hypothesis would invent all other fields of a named tuple, too.
WORD = st.builds(partial(Word), TEXT, st.none() | SECONDS, st.none() | SECONDS, st.none(), st.booleans())
WORDS = st.lists(WORD, max_size=4).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
# `error` and `code` are old spellings that decode gives today's names.
RESERVED = {"type", "error", "code"} | {name for kind in events.EVENT_TYPES.values() for name in kind._fields}
EXTRA = st.dictionaries(TEXT.filter(lambda name: name not in RESERVED), JSON, max_size=3)
OPTIONAL = st.none() | TEXT
SHARED = {"request_id": OPTIONAL, "extra": EXTRA}
VALUES = {
    "text": TEXT,
    "transcript": TEXT,
    "is_final": st.booleans(),
    "duration": st.none() | SECONDS,
    "words": st.none() | WORDS,
    "language": OPTIONAL,
    "status_code": st.none() | st.integers(100, 599),
    **dict.fromkeys(("error_code", "title", "message", "doc_url"), OPTIONAL),
}
EVENTS = st.one_of(
    *(
        st.builds(kind, **SHARED, **{name: VALUES[name] for name in kind._fields if name in VALUES})
        for kind in events.EVENT_TYPES.values()
    ),
    st.builds(Unknown, type=TEXT.filter(lambda name: name not in events.EVENT_TYPES), **SHARED),
)


@given(EVENTS)
def test_events_round_trip(event: Event) -> None:
    assert decode(encode(event)) == event


@given(
    st.binary(max_size=200) | st.text(max_size=200) | JSON.map(json.dumps) | JSON.map(lambda v: json.dumps({"type": v}))
)
def test_decode_is_total(frame: str | bytes) -> None:
    try:
        assert isinstance(decode(frame), Event)
    except ProtocolError:
        pass


@given(st.sampled_from(sorted(events.EVENT_TYPES)), st.dictionaries(st.sampled_from(sorted(RESERVED - {"type"})), JSON))
def test_decode_is_total_for_known_events_with_broken_fields(kind: str, broken: dict[str, object]) -> None:
    try:
        decode(json.dumps({"type": kind} | broken))
    except ProtocolError:
        pass


OPTIONS = sorted(RESERVED - {"type", "text", "transcript", "extra"})


@given(st.sampled_from(sorted(events.EVENT_TYPES)), TEXT, st.dictionaries(st.sampled_from(OPTIONS), JSON))
def test_text_survives_any_other_fields(kind: str, text: str, odd: dict[str, object]) -> None:
    event = decode(json.dumps({"type": kind, "text": text, "transcript": text} | odd))
    assert type(event) is events.EVENT_TYPES[kind]
    assert getattr(event, "text", text) == getattr(event, "transcript", text) == text
    assert decode(encode(event)) == event
    assert set(malformed_fields(event)) <= set(odd)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("words", {"words": ["Hi"], "start": [0], "end": [1]}),
        ("words", [{"word": "Hi", "start": 0, "end": 1}, {"word": "you", "start": "0.1"}]),
        ("words", [{"word": "Hi", "start": 0, "end": 1}, {"word": 5}]),
        ("words", ["Hi"]), ("duration", "0.5"), ("duration", True), ("language", ["en"]), ("request_id", 17),
        ("is_final", "no"), ("is_final", []),
    ],
)  # fmt: skip
def test_a_field_that_is_not_as_documented_stays_as_it_came(name: str, value: object) -> None:
    wire = {"type": "transcript", "text": "Hi", name: value}
    event = decode(json.dumps(wire))
    assert event == Delta(text="Hi", extra={name: value})
    assert json.loads(encode(event)) == {"is_final": True} | wire
    assert malformed_fields(event) == [name]


@pytest.mark.parametrize("value", [0, 0.0, False])
def test_is_final_may_be_a_boolean_or_a_number(value: object) -> None:
    event = decode(json.dumps({"type": "transcript", "text": "Hi", "is_final": value}))
    assert event == Delta(text="Hi", is_final=False)


@pytest.mark.parametrize("text", [5, True, [], ["Hi"], {"text": "Hi"}])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("transcript", "text"), *((f"turn.{kind}", "transcript") for kind in ("update", "eager_end", "end"))],
)
def test_malformed_text_raises_unreadable_text(kind: str, name: str, text: object) -> None:
    with pytest.raises(UnreadableText, match=f"'{name}' is not a string"):
        decode(json.dumps({"type": kind, name: text}))


def test_text_behind_the_object_of_a_frame_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        decode('{"type": "done"} {}')


def test_number_of_any_length_does_not_lose_the_text() -> None:
    long = "9" * 5000
    event = decode(f'{{"type": "transcript", "text": "Hi", "duration": {long}, "later": -{long}}}')
    assert event == Delta(text="Hi", extra={"later": -math.inf})
    large = "9" * 400  # more than a float can be
    event = decode(f'{{"type": "transcript", "text": "Hi", "duration": {large}, "languages": ["en"]}}')
    assert isinstance(event, Delta) and (event.text, event.duration, event.languages) == ("Hi", None, None)
    assert decode_batch(f'{{"text": "Hi", "duration": {long}}}'.encode()) == BatchResponse(
        text="Hi", extra={"duration": math.inf}
    )


@given(st.builds(BatchResponse, text=TEXT, language=OPTIONAL, duration=st.none() | SECONDS,
                 words=st.none() | WORDS, languages=st.none(), trailing=st.just(0), **SHARED))  # fmt: skip
def test_batch_responses_round_trip(response: BatchResponse) -> None:
    assert decode_batch(encode_batch(response)) == response


@given(st.binary(max_size=300) | JSON.map(lambda v: json.dumps(v).encode()))
def test_a_refusal_is_read_from_any_body(body: bytes) -> None:
    assert decode_error(503, body).status_code == 503


@given(st.builds(Error, status_code=st.just(400), **{n: st.text(min_size=1) for n in ("title", "message")},
                 error_code=OPTIONAL, request_id=OPTIONAL))  # fmt: skip
def test_refusals_round_trip(error: Error) -> None:
    assert decode_error(400, encode_error(error)) == error


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[1, 2]", b'"text"', b"<html>hello</html>", b'{"words": []}', b'{"text": null}', b'{"text": 1}',
     b'{"text": "cut sho', b'{"text": "\xff"}', b"[" * 100_000],
)  # fmt: skip
def test_a_200_that_is_not_the_documented_object_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_batch(body)


@pytest.mark.parametrize(
    "field",
    ['"duration": "1.9"', '"duration": -5', '"duration": 1e308', '"duration": NaN', '"duration": Infinity',
     '"duration": true', '"duration": {}', '"language": 5', '"language": ["en"]', '"request_id": 17',
     '"words": {}', '"words": "x"', '"words": 1'],
)  # fmt: skip
def test_an_odd_field_of_a_batch_answer_is_dropped_and_named_and_the_text_kept(field: str) -> None:
    response = decode_batch(b'{"text": "Hi.", %s}' % field.encode())
    name = field.split('"')[1]
    assert response._replace(extra={}) == BatchResponse(text="Hi.")
    assert unusable_fields(response) == [name]


def test_words_of_odd_shapes_cost_only_themselves() -> None:
    body = (
        b'{"text": "One two three", "words": [{"word": "One", "start": 0, "end": 1}, null, "two", {"word": 2},'
        b' {"word": "three", "start": "2", "end": 3}, {"start": 1}]}'
    )
    response = decode_batch(body)
    assert response.words == (Word("One", 0.0, 1.0), Word("three", None, 3.0))
    assert unusable_fields(response) == ["words"]


def test_a_batch_response_of_any_documented_shape() -> None:
    short = decode_batch(b'{"text": "", "language": null, "duration": null, "words": null}')
    assert short == BatchResponse(text="")
    full = decode_batch(
        b'{"type": "transcript", "request_id": "r", "text": " Hi.", "is_final": true, "language": "en",'
        b' "duration": 2, "words": [{"word": " Hi.", "start": 0, "end": 1e999}]}'
    )
    assert full.words == (Word(" Hi.", 0.0, None),)
    assert full.duration == 2.0
    assert full.extra == {"is_final": True}


def test_errors_in_old_and_new_shapes() -> None:
    new = decode(
        '{"type":"error","status_code":400,"error_code":"model_not_found","title":"Invalid model",'
        '"message":"The model is not valid.","request_id":"r","done":true}'
    )
    assert new == Error(
        status_code=400,
        error_code="model_not_found",
        title="Invalid model",
        message="The model is not valid.",
        request_id="r",
        extra={"done": True},
    )
    old = decode('{"type":"error","error":"no audio","code":500,"request_id":"r"}')
    assert old == Error(message="no audio", status_code=500, request_id="r")
    assert decode('{"type":"error"}') == Error()
    assert decode_error(400, b"Invalid model: no such model\nmore").message == "Invalid model: no such model"
    assert decode_error(502, b"<html>Bad gateway</html>") == Error(status_code=502)


@pytest.mark.parametrize(
    "status", [{"status_code": "402"}, {"status_code": 402.0}, {"code": "402"}, {"code": 402}, {"code": 402.0}]
)
def test_status_may_be_an_integer_a_float_or_a_string(status: dict[str, object]) -> None:
    assert decode(json.dumps({"type": "error"} | status)) == Error(status_code=402)


ODD_MEMBERS: list[dict[str, object]] = [
    {"status_code": "no"}, {"status_code": "4" * 5000}, {"status_code": "\xb2"}, {"status_code": [402]},
    {"status_code": True}, {"status_code": 402.5}, {"status_code": {}},
    {"error_code": 402}, {"message": {"detail": "x"}}, {"title": 3}, {"doc_url": []}, {"request_id": 5},
    {"error": {"message": "x"}}, {"error": 5}, {"code": "quota_exceeded"}, {"code": True},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_MEMBERS)
def test_error_event_with_any_members_is_an_error(odd: dict[str, object]) -> None:
    assert decode(json.dumps({"type": "error"} | odd)) == Error(extra=odd)
    told: dict[str, Any] = {"title": "Out of credits", "message": "Buy more."}
    body = json.dumps(told | odd).encode()
    assert decode_error(402, body).status_code == 402
    if not told.keys() & odd.keys():
        assert decode_error(402, body) == Error(status_code=402, **told)


def test_missing_and_null_fields_of_an_event_take_their_defaults() -> None:
    assert decode('{"type":"transcript","text":null}') == Delta()
    assert decode('{"type":"turn.end"}') == TurnEnd()


def test_infinite_and_nan_times_are_none() -> None:
    delta = decode('{"type":"transcript","duration":NaN,"words":[{"word":"a","start":-Infinity,"end":1}]}')
    assert isinstance(delta, Delta)
    assert delta.duration is None
    assert delta.words == (Word("a", None, 1.0),)
    assert not any(math.isnan(value) for value in (delta.words[0].end or 0.0,))


COMMANDS = st.just(Close()) | st.builds(
    Config,
    st.builds(
        TurnConfig,
        *(st.none() | st.floats(*limits) for limits in ((0.5, 0.9), (0.3, 0.8), (0.05, 0.5))),
        st.none() | st.integers(640, 11200),
    ),
)


@given(COMMANDS)
def test_auto_commands_round_trip(command: Command) -> None:
    frame = encode_command(AUTO, command)
    assert decode_command(AUTO, frame) == command
    assert json.loads(frame)["type"] in ("close", "config")


def test_manual_commands_are_bare_text() -> None:
    assert encode_command(MANUAL, Finalize()) == "finalize"
    assert encode_command(MANUAL, Close()) == "close"
    assert decode_command(MANUAL, "done") == Close()
    with pytest.raises(ValueError, match="no finalize"):
        encode_command(AUTO, Finalize())


@given(st.sampled_from([MANUAL, AUTO]), st.text() | JSON.map(json.dumps))
def test_an_unknown_command_is_refused_with_400(dialect: Endpoint, frame: str) -> None:
    try:
        decode_command(dialect, frame)
    except ApiError as error:
        assert error.status == 400


def test_the_wrong_kind_of_command_is_refused() -> None:
    for dialect, frame in (
        (MANUAL, '{"type": "close"}'),
        (AUTO, "close"),
        (AUTO, "finalize"),
    ):
        with pytest.raises(ApiError, match="Unrecognized message type"):
            decode_command(dialect, frame)


def test_handshake_queries_are_written_as_documented() -> None:
    options = RealtimeOptions(model="ink-2", keyterms=("Ink 2", "Cartesia"), turn=TurnConfig(end_threshold=0.3))
    base = "https://api.cartesia.ai/proxy"
    assert build_url(base, AUTO.path, options.query(AUTO), websocket=True) == (
        "wss://api.cartesia.ai/proxy/stt/turns/websocket?model=ink-2&encoding=pcm_s16le&sample_rate=16000"
        "&turn_end_threshold=0.3&keyterm=Ink%202&keyterm=Cartesia"
    )
    manual = dict(options._replace(language="en").query(MANUAL))
    assert manual["language"] == "en"
    assert not any(name.startswith("turn_") for name in manual)
    for dialect in (MANUAL, AUTO):
        parsed = RealtimeOptions.parse(dialect, options.query(dialect))
        assert parsed.query(dialect) == options.query(dialect)


def test_word_times_are_requested_from_a_realtime_endpoint_as_from_the_batch_endpoint() -> None:
    for dialect in (MANUAL, AUTO):
        query = RealtimeOptions(model="ink-2", word_timestamps=True).query(dialect)
        assert query[-1] == ("timestamp_granularities[]", "word")
        assert RealtimeOptions.parse(dialect, query).word_timestamps
        assert not RealtimeOptions.parse(dialect, [*query[:-1], (query[-1][0], "letter")]).word_timestamps


@pytest.mark.parametrize("terms", [("x",) * 101, ("x" * 1201,)])
def test_too_many_keyterms_are_refused_before_connecting(terms: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="too many"):
        RealtimeOptions(model="ink-2", keyterms=terms).query(AUTO)


@pytest.mark.parametrize("terms", [("x",) * 101, ("x" * 1201,)])
def test_too_many_keyterms_are_refused_by_the_server_too(terms: tuple[str, ...]) -> None:
    query = RealtimeOptions(model="ink-2").query(AUTO)
    with pytest.raises(ApiError, match="too many") as caught:
        RealtimeOptions.parse(AUTO, query + [("keyterm", term) for term in terms])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("min_volume", 0, 1), ("max_silence_duration_secs", 0, 3600), ("turn_start_threshold", 0.5, 0.9),
        ("turn_eager_end_threshold", 0.3, 0.8), ("turn_end_threshold", 0.05, 0.5), ("turn_end_timeout_ms", 640, 11200),
    ],
)  # fmt: skip
def test_numbers_are_taken_within_their_documented_range_alone(name: str, least: float, most: float) -> None:
    dialect = AUTO if name.startswith("turn_") else MANUAL
    query = RealtimeOptions(model="ink-2").query(dialect)

    def ask(text: str) -> RealtimeOptions:
        return RealtimeOptions.parse(dialect, [*query, (name, text)])

    for value in (least, most):
        assert float(dict(ask(str(value)).query(dialect))[name]) == value
    outside = [repr(math.nextafter(least, -math.inf)), repr(math.nextafter(most, math.inf))]
    for text in (*outside, "nan", "inf", "-inf", "1e999", "", "x", "9" * 5000):
        with pytest.raises(ApiError, match="Invalid parameter") as caught:
            ask(text)
        assert caught.value.status == 400
    if dialect is AUTO:
        member = name.removeprefix("turn_")
        for text in (*outside, "NaN", "Infinity", "1e999", '"0.5"', "true", "[]", "[" * 400 + "]" * 400, "9" * 5000):
            with pytest.raises(ApiError) as caught:
                decode_command(dialect, f'{{"type": "config", "turn": {{"{member}": {text}}}}}')
            assert caught.value.status == 400


def test_numbers_of_the_other_endpoint_are_ignored() -> None:
    query = RealtimeOptions(model="ink-2").query(MANUAL)
    assert RealtimeOptions.parse(MANUAL, [*query, ("turn_end_threshold", "x")]).turn.to_dict() == {}
    assert RealtimeOptions.parse(AUTO, [*query, ("min_volume", "x")]).min_volume is None


def test_ink_whisper_is_known_by_its_name_dated_or_not() -> None:
    assert {model for model in MODELS if is_whisper(model)} == set(BATCH_MODELS)
    assert is_whisper("ink-whisper-2027-01-01")


def test_batch_options_have_one_spelling_on_both_sides() -> None:
    options = BatchOptions(
        model="ink-whisper", language="de", word_timestamps=True, encoding="pcm_mulaw", sample_rate=8000
    )
    assert options.query() == [("encoding", "pcm_mulaw"), ("sample_rate", "8000")]
    assert options.form() == [("model", "ink-whisper"), ("language", "de"), ("timestamp_granularities[]", "word")]
    assert BatchOptions.parse(dict(options.query()), options.form()) == options
    assert BatchOptions(model="m").form() == [("model", "m")]


@pytest.mark.parametrize(
    ("query", "form", "words"),
    [
        ({}, [], "Missing model"),
        ({"encoding": "mp3"}, [("model", "m")], "Invalid encoding"),
        ({"encoding": "pcm_s16le"}, [("model", "m")], "Invalid sample rate"),
        ({"encoding": "pcm_s16le", "sample_rate": "16k"}, [("model", "m")], "Invalid sample rate"),
        ({"encoding": "pcm_s16le", "sample_rate": "9" * 5000}, [("model", "m")], "Invalid sample rate"),
        ({}, [("model", "m"), ("timestamp_granularities[]", "segment")], "Invalid timestamp"),
    ],
)
def test_bad_batch_parameters_are_refused(query: dict[str, str], form: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        BatchOptions.parse(query, form)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://api.cartesia.ai", "https://api.cartesia.ai"),
        (" https://proxy.example/v1/cartesia/ ", "https://proxy.example/v1/cartesia"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_base_urls_that_are_allowed(given_url: str, kept: str) -> None:
    assert check_base_url(given_url) == kept


@pytest.mark.parametrize(
    "bad", ["http://api.cartesia.ai", "api.cartesia.ai", "ftp://x", "https://", "https://u:p@x", "https://x?key=1",
            "https://x:port", "http://127.0.0.1.example", "http://localhost.example", "", "https://a b.example",
            "https://a<b", "https://a%20b", "https://a\x7fb"],
)  # fmt: skip
def test_base_urls_that_are_not(bad: str) -> None:
    with pytest.raises(UsageError):
        check_encryption(check_base_url(bad), allowed=False)


@pytest.mark.parametrize(
    "bad", ["ftp://me:pw@x", "http://me:pw@[::1", "https://me:pw@x:port", "//me:pw@", "pw@x", "http://pw@x\u2100"]
)
def test_password_of_a_base_url_is_not_shown(bad: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_base_url(bad)
    assert "pw" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("bad", "what"),
    [("https://me:pw@x/a", "user or a password"), ("https://x/a/?k=1", "query"), ("https://x/a#b", "fragment")],
)
def test_what_a_base_url_must_not_contain_is_named_with_the_rest(bad: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"must not contain a {what}$") as caught:
        check_base_url(bad)
    assert caught.value.hint == "without it, it is https://x/a"


def test_plain_http_to_another_machine_has_to_be_allowed() -> None:
    for url, unencrypted in (
        ("http://speech.example:5000", True),
        ("http://localhost", False),
        ("https://x", False),
    ):
        assert is_unencrypted(url) is unencrypted
        check_encryption(url, allowed=True)


@pytest.mark.parametrize("dialect", [MANUAL, AUTO])
def test_config_is_json_on_both_endpoints(dialect: Endpoint) -> None:
    config = Config(language_hints=("de", "pt"), keyterms=())
    frame = encode_command(dialect, config)
    assert json.loads(frame) == {"type": "config", "language_hints": ["de", "pt"], "keyterms": []}
    assert decode_command(dialect, frame) == config
    assert decode_command(dialect, '{"type": "config", "new": 1}') == Config(extra={"new": 1})


@pytest.mark.parametrize(
    ("dialect", "members"),
    [
        (AUTO, {"language_hints": ["en"] * 7}),
        (AUTO, {"language_hints": ["pt-BR"]}),
        (AUTO, {"language_hints": "en"}),
        (MANUAL, {"keyterms": [1]}),
        (MANUAL, {"keyterms": ["x"] * 101}),
        (MANUAL, {"turn": {"end_threshold": 0.2}}),
        (AUTO, {"turn": {"end_threshold": 0.6}}),
        (AUTO, {"turn": 1}),
    ],
)
def test_configs_with_impossible_values_are_refused(dialect: Endpoint, members: dict[str, object]) -> None:
    with pytest.raises(ApiError) as refused:
        decode_command(dialect, json.dumps({"type": "config"} | members))
    assert refused.value.status == 400


def test_configs_are_merged_in_order() -> None:
    first = Config(TurnConfig(end_threshold=0.2), ("de",), ("Ink",), {"turn": {"a": 1}, "b": 2})
    second = Config(TurnConfig(start_threshold=0.7), (), None, {"turn": {"c": 3}})
    merged = Config(
        TurnConfig(start_threshold=0.7, end_threshold=0.2), (), ("Ink",), {"turn": {"a": 1, "c": 3}, "b": 2}
    )
    assert first.merged(second) == merged
    assert Config().merged(first) == first


@pytest.mark.parametrize(
    "body",
    [
        '[{"id": "ink-9", "capability": "stt", "modes": ["stream", "batch"]}, {"id": "sonic", "capability": "tts"}, 7]',
        '{"data": [{"id": "ink-9", "modes": ["stream", "batch"], "new": {}}, {"id": " "}, {}]}',
        '{"has_more": false, "models": [{"id": "ink-9", "modes": ["stream", 1, "batch"], "languages": null}]}',
    ],
)
def test_lists_of_models_are_read_in_every_shape(body: str) -> None:
    assert decode_models(body) == (Model("ink-9", ("stream", "batch")),)


TRANSCRIPT = '{"text": "One.", "words": [{"word": "One.", "start": 0.1, "end": 0.5}]}'


@pytest.mark.parametrize("body", ["", "{}", "7", '"models"', "[" * 100_000, b"\xff", TRANSCRIPT])
def test_a_response_without_a_list_of_models_is_a_protocol_error(body: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_models(body)


def test_models_that_are_encoded_are_decoded_again() -> None:
    assert decode_models(encode_models(MODELS_AT_RELEASE)) == MODELS_AT_RELEASE
    assert {model.id for model in MODELS_AT_RELEASE} == set(MODELS)
