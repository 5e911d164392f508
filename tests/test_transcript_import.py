"""Saved JSON of many services is read as it was meant; any other is read, or refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import InputError
from cartesia_cli.output import FORMATS, Layout, writer
from cartesia_cli.output.streams import EventStream
from cartesia_cli.protocol.batch import BatchResponse, decode_batch, encode_batch
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import Notice, Partial, Segment, Transcript, from_batch
from cartesia_cli.transcript_import import load_transcripts


def only(value: Any, source: str = "a.json") -> Transcript:
    """The one transcript in a JSON value."""
    (transcript,) = load_transcripts(value if isinstance(value, str) else json.dumps(value), source)
    return transcript


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        load_transcripts(text, "a.json")
    assert caught.value.hint
    return caught.value.message


# Our own documents -----------------------------------------------------------------------------------------

SPELLINGS = st.text(alphabet='ab cé.?,\t\n日\u0301ש👩\u200d\ud800\x00\x85\u2028"\\<-', max_size=6) | st.text(max_size=4)
TIMES = st.none() | st.floats(0, 30) | st.floats() | st.integers(0, 30).map(float)
# `partial`, because Hypothesis would invent all other fields of a named tuple, too.
WORDS = st.builds(partial(Word), SPELLINGS, TIMES, TIMES, st.none(), st.booleans())


@st.composite
def responses(draw: st.DrawFn, *, sound: bool = False) -> BatchResponse:
    """Answers with words as they should be, or, unless they are to be `sound`, with any defect."""
    words = draw(st.lists(WORDS, max_size=8))
    if sound or draw(st.booleans()):  # one after the other
        times = st.integers(0, 300).map(lambda tenths: tenths / 10) if sound else st.floats(0, 30)
        marks = sorted(draw(st.lists(times, min_size=2 * len(words), max_size=2 * len(words))))
        words = [Word(word.word, *marks[2 * k : 2 * k + 2]) for k, word in enumerate(words)]
    text = (
        draw(st.sampled_from(["", " "])).join(word.word for word in words) if draw(st.booleans()) else draw(SPELLINGS)
    )
    return BatchResponse(
        text=text,
        language=draw(st.none() | st.sampled_from(["en", "ja"])),
        duration=draw(st.none() | st.floats(0, 40)),
        words=tuple(words) if draw(st.booleans()) else None,
        request_id=draw(st.none() | st.just("r-1")),
    )


SOURCES = st.sampled_from(["talk.wav", "-", "a b/ü\t.mp3", "x --> y"])
LAYOUTS = st.builds(
    Layout, words=st.booleans(), crlf=st.booleans(), highlight_words=st.booleans(), paragraphs=st.booleans()
)


@pytest.mark.waits
@given(responses(), SOURCES, st.none() | st.floats(0.001, 40), LAYOUTS)
def test_every_format_of_what_was_saved_is_that_of_what_was_transcribed(
    response: BatchResponse, source: str, measured: float | None, layout: Layout
) -> None:
    transcript = from_batch(response, source=source, model="ink-whisper", measured_duration=measured)
    for form in ("json", "ndjson"):
        saved = only(writer(form)(transcript, Layout(words=True)))
        for name in FORMATS:
            assert writer(name)(saved, layout) == writer(name)(transcript, layout), name


def test_estimated_times_are_estimated_again() -> None:
    words = (Word("one", 0.5, 1.0), Word("two"), Word("three", 3.0, 4.0))
    transcript = from_batch(BatchResponse(text="one two three", words=words), source="a", model="m")
    document = json.loads(writer("json")(transcript, Layout(words=True)))
    assert [word.get("timing") for word in document["words"]] == [None, "estimated", None]
    assert only(document).words == words
    assert only(document).to_dict() == transcript.to_dict()


def test_times_that_the_server_estimated_are_kept_and_stay_marked() -> None:
    words = (Word("one", 0.5, 1.0), Word("two", 1.1, 1.4, estimated=True))
    transcript = from_batch(BatchResponse(text="one two", words=words), source="a", model="m")
    document = json.loads(writer("json")(transcript, Layout(words=True)))
    assert document["words"][1] == {"word": "two", "start": 1.1, "end": 1.4, "estimated": True}
    assert only(document).words == words


def test_what_a_document_says_about_itself_is_kept() -> None:
    document = {"source": "-", "model": "m", "language": "de", "duration": 2, "request_id": "r", "text": "Ja.",
                "segments": [{"start": 0, "end": 2, "text": "Ja.", "timing": "audio"}], "from": "tomorrow"}  # fmt: skip
    assert only(document) == Transcript("-", "m", "Ja.", "de", 2.0, "r", (Segment(0.0, 2.0, "Ja.", "audio"),))


def test_language_of_a_segment_is_written_and_read_back_without_others_that_were_heard() -> None:
    segments = (Segment(0.0, 1.0, "Yes. ", "server", language="en"), Segment(1.0, 2.0, "Ja.", "server", language="de"))
    transcript = Transcript("-", "m", "Yes. Ja.", "en", 2.0, "r", segments)
    assert [segment["language"] for segment in transcript.to_dict()["segments"]] == ["en", "de"]
    assert only(transcript.to_dict()) == transcript


def test_documents_follow_each_other_on_lines_in_lists_or_anyhow() -> None:
    documents = [{"source": name, "model": "m", "text": f"{name}\u2028", "segments": []} for name in "abc"]
    for text in (
        "\n".join(json.dumps(document, ensure_ascii=False) for document in documents),
        "\r\n\n".join(json.dumps(document) for document in documents) + "\n\n",
        "".join(json.dumps(document, indent=2) + "\n" for document in documents),
        json.dumps(documents),
        "\ufeff" + json.dumps(documents),
    ):
        assert [transcript.source for transcript in load_transcripts(text)] == ["a", "b", "c"]
        assert [transcript.text for transcript in load_transcripts(text)] == ["a\u2028", "b\u2028", "c\u2028"]


# Live sessions ---------------------------------------------------------------------------------------------

UPDATES = (
    Partial(0.5, "One"),
    Segment(0.0, 1.2, "One.", "audio"),
    Notice(1.5, "mark", "mark at 0:01"),
    Segment(1.2, 2.0, " Too", "audio"),
    Notice(2.0, "undo", "dropped: Too"),
    Segment(2.0, 3.0, " Two.", "audio"),
)
KEPT = (UPDATES[1], UPDATES[5])
NOTICES = (UPDATES[2],)


def session(words: Sequence[Word] | None = None, source: str = "-") -> str:
    """ndjson of a live session, as it is written."""
    parts: list[str] = []
    stream = EventStream("ndjson", Layout(), parts.append)
    for update in UPDATES:
        stream.write(update)
    segments = tuple(segment for segment in KEPT if isinstance(segment, Segment))
    heard = Transcript(source, "ink-2", "One. Two.", None, 3.5, "r", segments, None if words is None else tuple(words))
    stream.close(heard, {"complete": True})
    return "".join(parts)


def test_the_lines_of_a_session_are_one_transcript() -> None:
    assert only(session()) == Transcript("-", "ink-2", "One. Two.", None, 3.5, "r", KEPT, notices=NOTICES)
    words = (Word("One.", 0.0, 1.0), Word("Two.", 2.0, 3.0))
    assert only(session(words)).words == words
    assert [transcript.source for transcript in load_transcripts(session() + session(source="b"))] == ["-", "b"]


def test_a_session_that_was_cut_off_is_what_had_settled() -> None:
    lines = session().splitlines(keepends=True)
    assert only("".join(lines[:-1]), "live.ndjson") == Transcript(
        "live.ndjson", "unknown", "One. Two.", None, None, None, KEPT, None, NOTICES
    )
    assert only("".join(lines[:2])).text == "One."
    spoken = [{"word": "One.", "start": 0.0, "end": 1.0}]
    timed = [json.dumps(json.loads(line) | {"words": spoken}) if "One." in line else line for line in lines[:-1]]
    assert only("\n".join(timed)).words == (Word("One.", 0.0, 1.0), Word(" Two."))
    assert only(lines[-1]).text == "One. Two."
    assert refusal("".join(lines[:-1]) + lines[-1][:30]).startswith("a.json, line 7, column ")


# Answers of the API ----------------------------------------------------------------------------------------


@given(responses(sound=True))
def test_an_answer_is_read_as_the_client_reads_it(response: BatchResponse) -> None:
    expected = from_batch(response, source="kept/a.json", model="unknown")
    assert only(encode_batch(response).decode(), "kept/a.json") == expected


def test_the_answer_of_an_openai_shaped_api() -> None:
    words = [{"word": "Hello", "start": 0, "end": 0.5}, {"word": "world", "start": 0.5, "end": 1}]
    transcript = only({"task": "transcribe", "language": "english", "duration": 1.5, "text": "Hello world.",
                       "words": words, "usage": {"seconds": 2}})  # fmt: skip
    assert transcript.words == (Word("Hello", 0.0, 0.5), Word("world", 0.5, 1.0))
    assert transcript.segments == (Segment(0.0, 1.0, "Hello world.", "server", transcript.words),)


# Whisper's programs ----------------------------------------------------------------------------------------

SPOKEN = (Word(" Hello", 0.0, 0.5), Word(" world.", 0.5, 1.0), Word(" Bye", 2.0, 2.5), Word(" now.", 2.5, 3.0))
SEGMENTS = (Segment(0.0, 1.0, " Hello world.", "server"), Segment(2.0, 3.0, " Bye now.", "server"))


def whisper(name: str = "word", *, words: bool = True) -> list[dict[str, Any]]:
    said = (SPOKEN[:2], SPOKEN[2:])
    return [
        {"id": k, "seek": 0, "start": segment.start, "end": segment.end, "text": segment.text, "tokens": [50364, 1],
         "temperature": 0.0, "no_speech_prob": 0.01}
        | ({"words": [{name: w.word, "start": w.start, "end": w.end, "probability": 0.9} for w in said[k]]}
           if words else {})
        for k, segment in enumerate(SEGMENTS)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {"text": " Hello world. Bye now.", "segments": whisper(), "language": "en"},
        {"text": " Hello world. Bye now.", "segments": whisper("text"), "language": "en"},
        {"segments": whisper(), "word_segments": [{"word": "never", "start": 0, "end": 1}], "language": "en"},
        {"text": " Hello world. Bye now.", "segments": whisper(words=False), "language": "en",
         "words": [{"word": word.word, "start": word.start, "end": word.end} for word in SPOKEN]},
    ],
    ids=["openai-whisper", "text for word", "whisperX", "words beside segments"],
)  # fmt: skip
def test_whispers_segments_and_words(document: dict[str, Any]) -> None:
    assert only(document, "w.json") == Transcript(
        "w.json", "unknown", " Hello world. Bye now.", "en", segments=SEGMENTS, words=SPOKEN
    )


def test_a_bare_list_of_segments_is_one_transcript() -> None:
    transcript = only(whisper())
    assert (transcript.text, transcript.segments, transcript.words) == (" Hello world. Bye now.", SEGMENTS, SPOKEN)
    assert only(whisper(words=False)).words is None


def test_segments_without_spaces_are_joined_with_one() -> None:
    segments = [{"start": 0, "end": 1, "text": "Hello."}, {"start": 1, "end": 2, "text": "Bye."}]
    transcript = only({"segments": segments})
    assert transcript.text == "Hello. Bye."
    assert [segment.text for segment in transcript.segments] == ["Hello.", " Bye."]


def test_segments_become_slices_of_the_given_text() -> None:
    segments = [{"start": 0, "end": 1, "text": "Hello."}, {"start": 1, "end": 2, "text": "Bye."}]
    transcript = only({"text": " Hello.  Bye.\n", "segments": segments})
    assert [segment.text for segment in transcript.segments] == [" Hello.", "  Bye.\n"]
    other = only({"text": "Good day.", "segments": segments})
    assert (other.text, [segment.text for segment in other.segments]) == ("Good day.", ["Good day."])


def test_text_that_is_in_no_segment_has_estimated_ones_of_its_own() -> None:
    spoken = [(0, 1, "one two"), (2, 3, "not there"), (4, 5, "three four"), (8, 9, "Six")]
    segments = [{"start": start, "end": end, "text": text} for start, end, text in spoken]
    transcript = only({"text": "“One two.” Three four, and five. Six!", "segments": segments})
    assert [(segment.text, segment.timing) for segment in transcript.segments] == [
        ("“One two.”", "server"), (" Three four,", "server"), (" and five.", "estimated"), (" Six!", "server"),
    ]  # fmt: skip
    assert 5 <= transcript.segments[2].start <= transcript.segments[2].end <= 8


def test_segments_whose_words_were_corrected_in_the_text_keep_their_times() -> None:
    spoken = [(0, 2, " Hello Anne."), (10, 14, " How are you todya?"), (30, 32, " I am fine.")]
    segments = [{"start": start, "end": end, "text": text} for start, end, text in spoken]
    transcript = only({"text": "Hello Ann. How are you today? I am fine.", "segments": segments})
    assert [(segment.start, segment.end, segment.text, segment.timing) for segment in transcript.segments] == [
        (0, 2, "Hello Ann.", "server"),
        (10, 14, " How are you today?", "server"),
        (30, 32, " I am fine.", "server"),
    ]


def test_text_without_any_time_has_no_segments() -> None:
    for more, texts in (("", []), (', "duration": 2', ["a b"]), (', "x": [{"start": 1}]', [])):
        document = f'{{"text": "a b", "words": [{{"word": "a", "start": "x"}}, {{"word": "b"}}]{more}}}'
        (transcript,) = load_transcripts(document)
        assert [segment.text for segment in transcript.segments] == texts


def test_words_that_could_not_be_aligned_are_kept_without_times() -> None:
    segments = [
        {"start": 0.0, "end": 1.0, "text": "In 2014.", "words": [
            {"word": "In", "start": 0.0, "end": 0.4, "score": float("nan")}, {"word": "2014."}]},
        {"start": 1.0, "end": 3.0, "text": "No words here.", "words": []},
        {"start": 3.0, "end": 4.0, "text": "Bye.", "words": [{"word": "Bye.", "start": 3.0, "end": float("nan")}]},
    ]  # fmt: skip
    transcript = only({"segments": segments})
    assert transcript.words == (
        Word("In", 0.0, 0.4), Word("2014."), Word("No"), Word("words"), Word("here."), Word("Bye."),
    )  # fmt: skip
    for name in FORMATS:
        assert "2014." in writer(name)(transcript, Layout(words=True)) or name in ("json", "ndjson")


# What is none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.json is empty"),
        (" \n", "a.json is empty"),
        ("[]", "a.json is empty"),
        ("Dear diary", "a.json, line 1, column 1: not JSON: Expecting value"),
        ('{"text": "x",\n "words": [}', "a.json, line 2, column 12: not JSON: Expecting value"),
        ('{"text": "a\x00b"}', "a.json, line 1, column 12: not JSON: Invalid control character at"),
        ("3", "a.json: a number is not a transcript"),
        ("true", "a.json: true or false is not a transcript"),
        ("[1]", "a.json: [0] is a number, where an object belongs"),
        ("NaN", "a.json: null is not a transcript"),
        ("{}", "a.json: not a transcript: neither text nor segments"),
        ('{"text": "a"}\n\n{"text": 5}', "a.json, line 3: text is a number, where a string belongs"),
        ('{"text": null}', "a.json: text is missing"),
        ('{"source": "a", "model": "m"}', "a.json: text is missing"),
        ('{"source": "a", "model": "m", "matches": []}', "a.json: selected rows, not a whole transcript"),
        ('{"source": 1, "model": "m", "text": ""}', "a.json: source is a number, where a string belongs"),
        ('{"source": "s", "model": "m", "text": "a", "words": {}}', "a.json: words is an object, where a list belongs"),
        ('{"source": "s", "model": "m", "text": "a", "words": [{}]}', "a.json: words[0].word is missing"),
        ('{"source": "s", "model": "m", "text": "a", "words": [[]]}',
         "a.json: words[0] is a list, where an object belongs"),
        ('{"source": "s", "model": "m", "text": "a", "words": [{"word": "a", "start": "0"}]}',
         "a.json: words[0].start is a string, where a number of seconds belongs"),
        ('{"source": "s", "model": "m", "text": "a", "words": [{"word": "a", "end": true}]}',
         "a.json: words[0].end is true or false, where a number of seconds belongs"),
        ('{"segments": [{"start": 0, "text": "a"}]}', "a.json: segments[0].end is missing"),
        ('{"segments": [{"start": 0, "end": NaN, "text": "a"}]}', "a.json: segments[0].end is missing"),
        ('{"segments": [{"start": 0, "end": 1, "text": "a", "words": [{"word": null}]}]}',
         "a.json: segments[0].words[0].word is missing"),
        ('[{"text": "a"}, {"text": ["b"]}]', "a.json: [1].text is a list, where a string belongs"),
        ('{"source": "a", "model": "m", "text": "a", "segments": [{"start": 0, "end": 1, "text": "a"}]}',
         "a.json: segments[0].timing is null, not one of server, audio, estimated"),
        ('{"error_code": "quota_exceeded", "title": "Out", "message": "No credits left"}',
         'a.json: an error response, not a transcript: "No credits left"'),
        ('{"error": {"message": "x"}}', 'a.json: an error response, not a transcript: {"message": "x"}'),
        ('{"type": "segment", "start": 0}', "a.json: timing is null, not one of server, audio, estimated"),
    ],
)  # fmt: skip
def test_invalid_values_are_reported_with_their_place(text: str, said: str) -> None:
    assert refusal(text) == said


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, '{"text": "a", "words": ' + "[" * 100_000 + "]" * 100_000 + "}"]
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested too deep" in refusal(text)


def test_numbers_that_are_not_times_are_ignored() -> None:
    digits = "9" * 10_000
    for number in ("1e999", "-1e999", "Infinity", "-Infinity", "NaN", "null", digits, f"-{digits}"):
        text = f'{{"text": "a", "id": {digits}, "duration": {number}, "words": [{{"word": "a", "start": {number}}}]}}'
        transcript = only(text)
        assert (transcript.duration, transcript.words) == (None, (Word("a"),))


def test_what_json_leaves_open_is_read_as_most_programs_do() -> None:
    assert only('{"text": "a", "text": "b"}').text == "b"
    assert only('{"text": "\\ud800 \\u0000"}').text == "\ufffd \x00"
    assert only('{"text": "a"} ').text == "a"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "source model text language duration request_id segments words word start end timing type event".split()
            )
            | st.text(max_size=3),
            inner | st.sampled_from(["segment", "end", "notice", "partial", "undo", "server", "estimated"]),
            max_size=6,
        )
    ),
    max_leaves=25,
)


@pytest.mark.waits
@given(JSON)
def test_any_json_is_read_and_written_or_refused(value: Any) -> None:
    try:
        transcripts = load_transcripts(json.dumps(value), "a.json")
    except InputError as error:
        assert error.message.startswith("a.json")
        assert "\n" not in error.message
        return
    for transcript in transcripts:
        for name in FORMATS:
            writer(name)(transcript, Layout(words=True))


@given(st.text(alphabet='{}[]":, \n\\u0ae1.-tfn"text', max_size=40) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load_transcripts(text)
    except InputError as error:
        assert error.hint


def test_what_happened_in_a_live_session_is_read_back() -> None:
    notices = [
        {"type": "notice", "at": 1.0, "event": "mark", "message": "mark at 0:01"},
        {"type": "notice", "at": 2.0, "event": "turn.resume", "message": "the turn continues"},
        {"type": "segment", "start": 0.0, "end": 2.0, "text": "Hello.", "timing": "audio"},
    ]
    (transcript,) = load_transcripts("\n".join(json.dumps(line) for line in notices))
    assert transcript.notices == (Notice(1.0, "mark", "mark at 0:01"),)
    assert load_transcripts(json.dumps(transcript.to_dict()))[0].notices == transcript.notices


def test_an_answer_with_odd_members_is_read_as_transcribe_reads_it() -> None:
    words = [None, {"word": None}, {"word": 3}, [], {"word": "Hello", "start": "0", "end": 0.5}, {"word": "you"}]
    answer = {"text": "Hello you", "duration": [2], "language": 7, "request_id": {}, "words": words}
    transcript = only(answer)
    response = decode_batch(json.dumps(answer).encode())
    assert transcript == from_batch(response, source=transcript.source, model=transcript.model)
    assert transcript.words == (Word("Hello"), Word("you"))
    assert only({"text": "Hello you", "words": {}}).words is None


@pytest.mark.parametrize("more", [{}, {"segments": [{"start": 0, "end": 1, "text": "Hello"}]}])
def test_a_duration_spelled_as_a_string_is_read(more: dict[str, object]) -> None:
    assert only({"text": "Hello", "duration": "2.5"} | more).duration == 2.5


def test_whisper_cpp_timestamps_stand_in_for_offsets() -> None:
    stamps = {"from": "00:00:01,500", "to": "00:01:02,000"}
    transcript = only({"transcription": [{"timestamps": stamps, "text": " Hello you"}]})
    assert [(segment.start, segment.end) for segment in transcript.segments] == [(1.5, 62.0)]


@pytest.mark.parametrize(
    ("stretch", "said"),
    [
        ({"offsets": {"to": 2000}}, "transcription[0].offsets.from is missing"),
        ({"offsets": {"from": 2000}}, "transcription[0].offsets.to is missing"),
        ({}, "transcription[0].offsets is missing"),
        ({"timestamps": {"from": "0", "to": "00:00:02,000"}}, "transcription[0].timestamps.from is a string"),
        ({"timestamps": {"from": "00:00:02,000"}}, "transcription[0].timestamps.to is missing"),
    ],
)
def test_whisper_cpp_segments_without_both_times_are_refused(stretch: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        only({"transcription": [stretch | {"text": " Hello you"}]})
    assert said in caught.value.message


def test_a_cue_that_ends_before_it_begins_keeps_its_start_and_an_estimated_end() -> None:
    cues = "1\n00:00:00,500 --> 00:00:02,000\nOne.\n\n2\n00:00:03,000 --> 00:00:02,000\nTwo three.\n\n"
    transcript = only(cues + "3\n00:01:00,500 --> 00:01:02,000\nFour.\n", "a.srt")
    assert [(s.start, s.timing) for s in transcript.segments] == [
        (0.5, "server"), (3.0, "estimated"), (60.5, "server")]  # fmt: skip
    assert 3.0 < transcript.segments[1].end < 5.0


def test_cues_out_of_order_are_sorted_with_one_warning() -> None:
    """By their starts alone: two that start together, or overlap, stay as they are, and their voices, too."""
    cues = [(10, 12, "Five."), (1, 5, "<v Ann>One. <v Bob>Two."), (2, 3, "Three."), (2, 2.5, "Four.")]
    text = "WEBVTT\n" + "".join(f"\n00:{start:02}.000 --> 00:{end:06.3f}\n{said}\n" for start, end, said in cues)
    warnings: list[str] = []
    (transcript,) = load_transcripts(text, "a.vtt", warnings.append)
    assert warnings == ["a.vtt: the cues were out of order: they are sorted by their start times"]
    assert [(s.start, s.end, s.text.strip(), s.timing) for s in transcript.segments] == [
        (1, 5, "One.", "server"), (1, 5, "Two.", "server"), (2, 3, "Three.", "server"), (2, 2.5, "Four.", "server"),
        (10, 12, "Five.", "server")]  # fmt: skip


def test_cues_that_overlap_in_order_are_not_out_of_order() -> None:
    cues = "1\n00:00:01,000 --> 00:00:05,000\nOne.\n\n2\n00:00:02,000 --> 00:00:03,000\nTwo.\n"
    warnings: list[str] = []
    (transcript,) = load_transcripts(cues, "a.srt", warnings.append)
    assert [(s.start, s.end) for s in transcript.segments] == [(1, 5), (2, 3)]
    assert warnings == []


def test_milliseconds_after_a_colon_are_not_cue_times() -> None:
    with pytest.raises(InputError, match="line 3: times can't be read"):
        only("WEBVTT\n\n01:000 --> 00:02.000\nHello\n", "a.vtt")
