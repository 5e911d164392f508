"""Strangers' bytes: whatever a server, a recording or a saved transcript holds, the program stays what it is.

Either something documented comes out, or a CliError; nothing that a terminal obeys comes out, and nobody else on
this machine gets to read what was said.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cartesia_cli.audio.decoders import wav_frames
from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.wav_header import read_wav_header
from cartesia_cli.errors import InputError, ProtocolError
from cartesia_cli.output import FORMATS, Layout, writer
from cartesia_cli.output.sanitize import BIDI
from cartesia_cli.output.streams import open_stream
from cartesia_cli.protocol import events
from cartesia_cli.protocol.batch import decode_batch
from cartesia_cli.protocol.constants import ENCODINGS
from cartesia_cli.protocol.events import Delta, Event, TurnEnd, decode, decode_error
from cartesia_cli.text_encoding import join_surrogates, replace_lone_surrogates
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker
from cartesia_cli.transcript import Notice, Partial, Segment, Transcript, Update, from_batch, from_segments
from cartesia_cli.transcript_import import load_transcripts

from . import realtime_server as realtime
from .fault_server import KEY, Exchange, FaultServer, answers, environment, refusal, write_wav
from .fork_server import run_program
from .realtime_server import RealtimeServer
from .test_probing import CHANGES, SEEDS, mutate

EVERY_FORMAT = sorted(FORMATS)
LAYOUT = Layout(words=True)

# JSON as it may come -----------------------------------------------------------------------------------------

LONG = "x" * 5000
NUMBERS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "-1e308", "1e-999", "-0", "0", "0.1", "0.5", "-5", "3",
    "3600", "1e15", "9" * 400, "9" * 4000, "null",
]  # fmt: skip
TIMES = st.sampled_from(NUMBERS) | st.floats(0, 3, width=16).map(str)
ATOMS = st.sampled_from([
    *NUMBERS, "9" * 5000, "true", "false", '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"',
    '"\\u001b]0;x\\u0007"', '"a\\nb"', '"\\u202egnp.exe"', f'"{LONG}"', '"server"', '"word"',
])  # fmt: skip
"""Values, spelled as JSON, as Python's own `dumps` would not spell them all."""

FIELDS = sorted({
    "type", "text", "transcript", "words", "word", "start", "end", "duration", "language", "is_final", "request_id",
    "status_code", "error_code", "title", "message", "doc_url", "error", "code", "segments", "source", "model",
    "timing", "event", "at", "word_segments", "extra", "", "\0", "__class__",
})  # fmt: skip


def listed(values: list[str]) -> str:
    return f"[{', '.join(values)}]"


def braced(members: list[tuple[str, str]]) -> str:
    """An object, in which a name may be there twice."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members) + "}"


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + "1" + closing * depth


BRACKETS = st.sampled_from([("[", "]"), ("[", ""), ('{"a":', "}")])
DEEP = st.builds(
    lambda depth, pair: nested(depth, *pair), st.sampled_from([50, 500, 900, 1000, 5000, 100_000]), BRACKETS
)
VALUES = st.recursive(
    st.integers(0, 19).flatmap(lambda n: DEEP if n == 7 else ATOMS if n < 12 else st.text(max_size=20).map(json.dumps)),
    lambda inner: (
        st.lists(inner, max_size=4).map(listed)
        | st.lists(st.tuples(st.sampled_from(FIELDS), inner), max_size=6).map(braced)
    ),
    max_leaves=12,
)
WORDS = st.lists(
    st.tuples(st.text(max_size=6).map(json.dumps), TIMES, TIMES).map(
        lambda word: braced(list(zip(("word", "start", "end"), word, strict=True)))
    ),
    max_size=5,
).map(listed)
SPOKEN = st.text(max_size=20).map(json.dumps) | st.sampled_from(['"\\ud800 a"', '"\\u001b[2J"', '"a  b "'])


def documents(*kinds: str) -> st.SearchStrategy[str]:
    """Objects that look like what is expected, but for one member or another."""
    usual = st.tuples(
        st.sampled_from(kinds).map(lambda kind: ("type", json.dumps(kind))),
        SPOKEN.map(lambda text: ("text", text)),
        SPOKEN.map(lambda text: ("transcript", text)),
        WORDS.map(lambda words: ("words", words)),
        TIMES.map(lambda duration: ("duration", duration)),
        st.sampled_from(["server", "audio", "estimated"]).map(lambda timing: ("timing", json.dumps(timing))),
        TIMES.map(lambda start: ("start", start)),
        TIMES.map(lambda end: ("end", end)),
    ).map(list)
    strange: st.SearchStrategy[list[tuple[str, str]]] = st.just([]) | st.lists(
        st.tuples(st.sampled_from(FIELDS), VALUES), max_size=2
    )
    return st.builds(lambda known, more: braced(known + more), usual, strange)


EVENTS = documents(*events.EVENT_TYPES, "brandnew")
ANSWERS = documents("transcript")
TEXTS = VALUES | EVENTS | st.text(max_size=60)


def written(text: str, encoding: str, cut: int | None, garbage: bytes, at: int) -> bytes:
    data = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")[:cut]
    return data[:at] + garbage + data[at:]


def as_bytes(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """In the right encoding mostly, and mostly whole."""
    encodings = st.sampled_from(["utf-8"] * 9 + ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"])
    cuts = st.sampled_from([None] * 9 + [0, 1, 20, 100])
    garbage = st.sampled_from([b""] * 9 + [b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\x1b[2J"])
    return st.builds(written, texts, encodings, cuts, garbage, st.integers(0, 100))


def no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}\ud800-\udfff]")
"""What no output has: control characters, but for line breaks and tabs; what turns the order; halves of characters."""


ISOLATE = re.compile("[\u2067\u2068]([^\u2066-\u2069]*)\u2069")
"""What a table for people puts around a word that is written from the right."""


def harmless(text: str) -> None:
    text = ISOLATE.sub(r"\1", text).replace("\r\n", "\n")  # which rows of CSV end with
    found = CONTROL.search(text)
    assert found is None, f"{found[0]!r} in {text[max(0, found.start() - 40) : found.end() + 40]!r}"


def all_formats(transcript: Transcript) -> None:
    """Each of them can be written, shows a terminal nothing to obey, and is JSON where it should be."""
    for name in EVERY_FORMAT:
        text = writer(name)(transcript, LAYOUT)
        harmless(text)
        if name in ("json", "ndjson"):
            assert json.loads(text, parse_constant=no_constant)["text"] == transcript.text


def is_whole(transcript: Transcript) -> bool:
    return "".join(segment.text for segment in transcript.segments) in ("", transcript.text)


# What servers say --------------------------------------------------------------------------------------------


@pytest.mark.waits
@given(TEXTS | as_bytes(TEXTS))
@example("[" * 100_000)
@example('{"type": ' * 100_000)
@example('{"type": "transcript", "text": ' + "[" * 100_000)
@example('{"type": "error", "status_code": 1e999}')
@example('{"type": "error", "status_code": ' + "9" * 5000 + "}")
def test_any_frame_is_an_event_or_a_protocol_error(frame: str | bytes) -> None:
    try:
        assert isinstance(decode(frame), Event)
    except ProtocolError as error:
        assert len(str(error)) < 200


@pytest.mark.waits
@given(as_bytes(ANSWERS | TEXTS))
def test_any_response_is_a_transcript_in_every_format_or_a_protocol_error(body: bytes) -> None:
    try:
        response = decode_batch(body)
    except ProtocolError as error:
        assert len(str(error)) < 200
        return
    transcript = from_batch(response, source="talk.wav", model="ink-whisper", measured_duration=1.0)
    joined = "".join(word.word for word in response.words or ())
    assert transcript.text == replace_lone_surrogates(response.text) or (
        not response.text.strip() and squeezed(transcript.text) == squeezed(joined)
    )
    assert is_whole(transcript)
    all_formats(transcript)


def squeezed(text: str) -> str:
    """A text without its spaces."""
    return "".join(replace_lone_surrogates(text).split())


@given(as_bytes(documents("error") | TEXTS))
def test_any_refusal_is_read(body: bytes) -> None:
    assert decode_error(500, body).status_code == 500


def heard(frames: list[str]) -> list[Event]:
    """Those frames that are events, as the client takes them."""
    found = []
    for frame in frames:
        try:
            found.append(decode(frame))
        except ProtocolError:
            continue
    return found


@pytest.mark.waits
@given(st.lists(EVENTS | VALUES, max_size=12), st.booleans(), st.sampled_from(EVERY_FORMAT))
@example(['{"type": "transcript", "text": "a", "words": [{"word": "a", "start": 1e308, "end": 1e308}]}'], True, "csv")
@example(['{"type": "transcript", "text": "a\\u202eb"}'], True, "srt")
def test_any_session_keeps_its_text_and_is_written_in_every_format(
    frames: list[str], is_manual: bool, name: str
) -> None:
    timeline, found = SpeechTimeline(), heard(frames)
    tracker = ManualTracker(timeline) if is_manual else TurnTracker(timeline)
    out: list[str] = []
    writing = open_stream(name, LAYOUT, out.append, "talk.wav", "ink-2", live=True)
    segments: list[Segment] = []

    def write(update: Update) -> None:
        if isinstance(update, Segment):
            segments.append(update)
        writing.write(update)

    for k, event in enumerate(found):
        timeline.sent = 0.5 * k
        if k % 4 == 3:
            tracker.finalize_sent(timeline.sent)
        for update in tracker.process(event, timeline.sent):
            if isinstance(update, Partial | Segment | Notice):
                write(update)
    for update in tracker.settle_open(complete=True):
        if isinstance(update, Partial | Segment | Notice):
            write(update)
    text = "".join(segment.text for segment in segments)
    if is_manual:
        sent = "".join(event.text for event in found if isinstance(event, Delta) and event.is_final)
        assert text == join_surrogates(sent)
    else:
        assert all(event.transcript in text for event in found if isinstance(event, TurnEnd))
    transcript = from_segments(segments, source="talk.wav", model="ink-2")
    writing.close(transcript, {"complete": True})
    harmless("".join(out))
    all_formats(transcript)


# Saved transcripts -------------------------------------------------------------------------------------------

SAVED = documents("segment", "end", "partial", "notice", "transcript") | VALUES


@pytest.mark.waits
@given(st.lists(SAVED, min_size=1, max_size=4).map("\n".join) | st.text(max_size=60))
@example("[" * 100_000)
@example('{"text": "a", "x": ' + "[" * 100_000)
@example('{"text": "a", "duration": ' + "9" * 5000 + "}")
def test_any_saved_document_is_rendered_in_every_format_or_refused(text: str) -> None:
    try:
        transcripts = load_transcripts(text, "saved.json")
    except InputError as error:
        assert len(str(error)) < 400
        return
    for transcript in transcripts:
        all_formats(transcript)


# Recordings --------------------------------------------------------------------------------------------------


def samples_of(blocks: Callable[[], Any]) -> None:
    """All that comes is samples, or an InputError."""
    count = 0
    try:
        for block in blocks():
            count += len(block)
            assert block.dtype == np.float32 and block.ndim == 1
            assert np.isfinite(block).all() and (abs(block) <= 1).all()
            if count > 1 << 22:
                break  # a file may say that each of its samples is a second long
    except InputError as error:
        assert error.message


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


HEADS = st.sampled_from([b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"data", b"fmt ", b""])


@given(HEADS, st.binary(max_size=200) | st.sampled_from([seed[4:300] for seed in SEEDS]), CHANGES)
def test_any_wav_header_is_plain_samples_or_none(head: bytes, body: bytes, changes: Any) -> None:
    header = read_wav_header(io.BytesIO(mutate(head + body, changes, None)))
    plain = header.plain_format if header else None
    if plain is None:
        return
    assert plain.frame_bytes > 0 and plain.rate > 0
    frames = wav_frames(plain, bytes(range(256)) * plain.frame_bytes)
    assert frames.shape == (256, plain.channels)


@pytest.mark.waits
@given(st.sampled_from(SEEDS) | st.binary(max_size=300), CHANGES, st.none() | st.integers(1, 400), st.booleans())
def test_any_recording_decodes_to_finite_samples_or_an_input_error(
    place: Path, seed: bytes, changes: Any, end: int | None, piped: bool
) -> None:
    data = mutate(seed[:20_000], changes, end)
    if piped:
        return samples_of(lambda: Decoder().decode_pipe(io.BytesIO(data)))
    path = place / "odd.wav"
    path.write_bytes(data)
    samples_of(lambda: Decoder().decode_file(path))


@given(st.binary(max_size=2000), st.sampled_from(sorted(ENCODINGS)), st.sampled_from([1000, 8000, 16000, 384_000]))
def test_any_raw_bytes_decode_to_finite_samples_or_an_input_error(data: bytes, encoding: str, rate: int) -> None:
    samples_of(lambda: Decoder().decode_raw(io.BytesIO(data), encoding, rate))


# Through the whole program -----------------------------------------------------------------------------------

RUDE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x9d8;;x\x9c a\x00b\r\x08\x7f \u202egnp.exe\u2066 \u2028c --> d <b>"
"""A title for the window, a screen that is cleared, colours by one byte, a link, a name that reads backwards."""

RUDE_NAME = b"\x1b]0;owned\x07 \xc2\x9b31m\xff\n.wav"

RUDE_ANSWER = {
    "text": f"one {RUDE} two", "language": RUDE, "request_id": RUDE, "duration": 1.0, RUDE: RUDE,
    "words": [{"word": "one", "start": 0.0, "end": 0.2}, {"word": RUDE, "start": 0.2, "end": 0.6},
              {"word": " two", "start": 0.7, "end": 0.9}],
}  # fmt: skip

RUDE_HEADERS = [("X-Request-Id", "\x1b[31mred\x9b"), ("Content-Disposition", 'attachment; filename="../../owned"')]


def run(
    here: Path, base_url: str, *arguments: str | bytes, stdin: bytes = b"", umask: int = 0o022, **changes: str | None
) -> subprocess.CompletedProcess[bytes]:
    """The program, to its end, in a folder that is a user's home, too."""
    return run_program(
        arguments, env=environment(here, base_url, **changes), cwd=here, input=stdin, timeout=60, umask=umask
    )


def is_harmless(done: subprocess.CompletedProcess[bytes], code: int = 0) -> None:
    """The exit code; and nothing on either stream that a terminal would obey."""
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    harmless(done.stdout.decode())
    harmless(done.stderr.decode())
    assert KEY.encode() not in done.stdout + done.stderr


def in_format(name: str) -> list[str]:
    """Options for a format, with words in text, too."""
    return ["-f", name, *(["-w"] if name == "text" else [])]


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_no_answer_moves_a_cursor(name: str, tmp_path: Path) -> None:
    file = os.fsdecode(os.path.join(os.fsencode(tmp_path), RUDE_NAME))
    write_wav(Path(file))
    with FaultServer(answers(RUDE_ANSWER, RUDE_HEADERS)) as server:
        done = run(tmp_path, server.base_url, "transcribe", RUDE_NAME, "-v", *in_format(name))
    is_harmless(done)
    assert b"two" in done.stdout


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_no_event_moves_a_cursor(name: str, tmp_path: Path) -> None:
    file = os.fsdecode(os.path.join(os.fsencode(tmp_path), RUDE_NAME))
    write_wav(Path(file), 6444)

    def script(connection: realtime.ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.1)
        connection.say({"type": RUDE, "text": RUDE})
        connection.say(f"\x1b[31m no JSON {RUDE}")
        connection.say(realtime.transcript(RUDE, is_final=False))
        connection.say(realtime.transcript(f"one {RUDE} two", words=RUDE_ANSWER["words"], request_id=RUDE))
        connection.until_command("close")
        connection.say(realtime.done())
        connection.close(1000, "\x1b[31m bye")

    with RealtimeServer(script) as server:
        command: list[str | bytes] = ["stream-file", RUDE_NAME, "--mode", "manual", "-f", name, "-w", "-v", "--stats"]
        done = run(tmp_path, server.base_url, *command)
    is_harmless(done)
    assert b"two" in done.stdout


@pytest.mark.parametrize("name", ["text", "ndjson", "srt", "csv"])
def test_an_emoji_whose_halves_come_in_two_deltas_is_whole(name: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", 6444)

    def script(connection: realtime.ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.1)
        connection.say('{"type": "transcript", "is_final": true, "text": "so \\ud83d"}')
        connection.say('{"type": "transcript", "is_final": true, "text": "\\ude00 good \\ud83d"}')
        connection.until_command("close")
        connection.say(realtime.done())
        connection.close(1000)

    with RealtimeServer(script) as server:
        done = run(tmp_path, server.base_url, "stream-file", "talk.wav", "--mode", "manual", "-f", name)
    is_harmless(done)
    assert "so \U0001f600 good" in done.stdout.decode()


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_nothing_that_was_saved_moves_a_cursor(name: str, tmp_path: Path) -> None:
    saved = RUDE_ANSWER | {"source": RUDE, "model": RUDE, "segments": [
        {"start": 0, "end": 1, "text": RUDE_ANSWER["text"], "timing": "server"}]}  # fmt: skip
    done = run(tmp_path, "", "render", "-", "-v", *in_format(name), stdin=json.dumps(saved).encode())
    is_harmless(done)
    assert b"two" in done.stdout


@pytest.mark.parametrize("member", ["title", "message", "error_code", "request_id"])
@pytest.mark.parametrize("command", ["transcribe", "stream-file"])
def test_no_refusal_moves_a_cursor_or_fills_the_screen(command: str, member: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", 6444)
    body = refusal(400, **{member: RUDE * 20_000})
    server: AbstractContextManager[FaultServer | RealtimeServer] = (
        FaultServer(answers(body, RUDE_HEADERS, 400))
        if command == "transcribe"
        else RealtimeServer(realtime.refuses(400, RUDE_HEADERS, json.dumps(body).encode()))
    )
    with server as it:
        done = run(tmp_path, it.base_url, command, "talk.wav")
    is_harmless(done, 5)
    assert len(done.stderr) < 3000


def test_no_error_event_or_close_reason_moves_a_cursor_or_fills_the_screen(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", 64_044)
    long = RUDE * 20_000
    for script in (realtime.fails(400, title=long, message=long, request_id=long), realtime.closes(1008, RUDE[:40])):
        with RealtimeServer(script) as server:
            done = run(tmp_path, server.base_url, "stream-file", "talk.wav", "--mode", "manual", "-v")
        is_harmless(done, 5)
        assert len(done.stderr) < 3000


def test_names_from_a_server_never_become_paths(tmp_path: Path) -> None:
    """Neither that of a header, nor that which a saved transcript gives itself."""
    here = tmp_path / "here"
    here.mkdir()
    write_wav(here / "talk.wav")
    with FaultServer(answers(RUDE_ANSWER | {"request_id": "../../id"}, RUDE_HEADERS)) as server:
        is_harmless(run(here, server.base_url, "transcribe", "talk.wav", "--output-dir", "out", "-f", "text,json"))
    names = [
        "../../owned.wav",
        "/tmp/owned.wav",
        "..",
        ".",
        "-rf",
        ".hidden",
        "a\nb",
        "C:\\owned",
        "x" * 300,
        "\x1b[2J",
        "",
    ]
    saved = [{"source": name, "model": "m", "text": f"text {k}"} for k, name in enumerate(names)]
    is_harmless(run(here, "", "render", "-", "--output-dir", "out", stdin=json.dumps(saved).encode()))
    found = {
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and not {".cache", ".local"} & {*path.parts}  # our own folders
    }
    assert all(path.parts[:2] == ("here", "out") or path == Path("here/talk.wav") for path in found), found
    assert len([path for path in found if len(path.parts) == 3 and path.name[0] not in ".-"]) == len(names) + 2


# What is private ---------------------------------------------------------------------------------------------

SECRET = "the launch code is 0000"


def others_may_read(folder: Path, *public: str) -> list[str]:
    """Files and folders below `folder` that somebody else could look into, those aside that are meant for it."""
    found = [folder / name for name in public]
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path not in found and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077 and path.is_file()
    ]


def test_what_a_run_keeps_of_speech_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Even where the user's umask lets everybody read everything."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    write_wav(tmp_path / "talk.wav", 32_044)
    seen: list[str] = []

    def looks(exchange: Exchange) -> None:
        exchange.request()
        seen.extend(path.name for path in temporary.iterdir())
        assert others_may_read(tmp_path, "talk.wav") == []
        exchange.answer(200, json.dumps({"text": SECRET}))

    speech = (tmp_path / "talk.wav").read_bytes()
    with FaultServer(looks) as server:
        done = run(tmp_path, server.base_url, "transcribe", "-", stdin=speech, umask=0, TMPDIR=str(temporary))
        assert not server.faults
    assert (done.returncode, done.stdout.decode()) == (0, SECRET + "\n"), done.stderr
    assert seen != [], "stdin was not kept where we looked"
    assert others_may_read(tmp_path, "talk.wav") == []
    assert list(temporary.iterdir()) == []
    with RealtimeServer(realtime.manual([[SECRET]])) as live:
        kept = ("--save-audio", "kept.wav", "--raw-events", "raw.ndjson", "-o", "said.txt")
        done = run(tmp_path, live.base_url, "stream-file", "talk.wav", "--mode", "manual", *kept, umask=0)
    assert done.returncode == 0, done.stderr
    assert {"kept.wav", "raw.ndjson", "said.txt"} <= {path.name for path in tmp_path.iterdir()}
    assert others_may_read(tmp_path, "talk.wav", "said.txt") == []
    assert KEY not in (tmp_path / "raw.ndjson").read_text()


@pytest.mark.parametrize("command", ["transcribe", "stream-file"])
def test_details_show_neither_text_nor_key(command: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", 32_044)
    server: AbstractContextManager[FaultServer | RealtimeServer] = (
        FaultServer(answers({"text": SECRET}))
        if command == "transcribe"
        else RealtimeServer(realtime.manual([[SECRET]]))
    )
    with server as it:
        more = [] if command == "transcribe" else ["--mode", "manual", "--stats"]
        done = run(tmp_path, it.base_url, command, "talk.wav", "-v", "--debug", *more)
    assert (done.returncode, done.stdout.decode()) == (0, SECRET + "\n"), done.stderr
    assert SECRET not in done.stderr.decode()
    assert KEY not in done.stderr.decode()
