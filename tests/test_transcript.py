"""Segments are verbatim slices with honest times; the document keeps its keys."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import (
    Segment,
    Transcript,
    blank_between,
    drop_implausible_times,
    from_batch,
    from_segments,
    join_texts,
)

TEXT = " Good morning. It is late,  no? Yes"
WORDS = tuple(
    Word(word, float(i), i + 0.5) for i, word in enumerate(["Good", "morning.", "It", "is", "late,", "no?", "Yes"])
)


def test_sentences_become_segments() -> None:
    transcript = from_batch(BatchResponse(text=TEXT, words=WORDS, duration=8.0), source="a.wav", model="m")
    assert transcript.segments == (
        Segment(0.0, 1.5, " Good morning.", "server", WORDS[:2]),
        Segment(2.0, 5.5, " It is late,  no?", "server", WORDS[2:6]),
        Segment(6.0, 6.5, " Yes", "server", WORDS[6:]),
    )


def test_a_segment_is_moved_with_its_words() -> None:
    words = (Word("one", 0.5, 1.0), Word(" two"))
    assert Segment(0.5, 2.0, "one two", "audio", words).shifted(10.0) == Segment(
        10.5, 12.0, "one two", "audio", (Word("one", 10.5, 11.0), Word(" two"))
    )


def test_a_pause_ends_a_segment() -> None:
    words = (Word("one", 0, 0.5), Word("two", 2.0, 2.5))
    segments = from_batch(BatchResponse(text="one two", words=words), source="a", model="m").segments
    assert [segment.text for segment in segments] == ["one", " two"]


def test_text_without_words_is_one_segment_of_the_whole_duration() -> None:
    server = from_batch(BatchResponse(text="Hi.", duration=2.0), source="a", model="m", measured_duration=9.0)
    assert server.segments == (Segment(0.0, 2.0, "Hi.", "server"),)
    measured = from_batch(BatchResponse(text="Hi."), source="a", model="m", measured_duration=9.0)
    assert measured.segments == (Segment(0.0, 9.0, "Hi.", "audio"),)
    assert from_batch(BatchResponse(text="Hi."), source="a", model="m").segments == ()
    assert from_batch(BatchResponse(text="", duration=2.0), source="a", model="m").segments == ()


def test_words_that_are_not_in_the_text_make_no_segments_of_their_own() -> None:
    words = (Word("10", 0, 1),)
    response = BatchResponse(text="Ten clubs.", words=words, duration=1.0)
    assert from_batch(response, source="a", model="m").segments == (Segment(0.0, 1.0, "Ten clubs.", "server"),)


def test_the_keys_of_the_document_are_pinned() -> None:
    response = BatchResponse(text=TEXT, words=WORDS, duration=8.0, language="en", request_id="r")
    document = from_batch(response, source="a.wav", model="m").to_dict()
    assert list(document) == ["source", "model", "language", "duration", "request_id", "text", "segments", "words"]
    assert list(document["segments"][0]) == ["start", "end", "text", "timing"]
    assert list(document["words"][0]) == ["word", "start", "end"]
    assert from_batch(BatchResponse(text=""), source="-", model="m").to_dict() == {
        "source": "-", "model": "m", "text": "", "segments": [],
    }  # fmt: skip


SOME = st.text(alphabet="ab.? ", max_size=12)
TIMES = st.none() | st.floats(0, 100)


def timed_words(times: st.SearchStrategy[float | None]) -> st.SearchStrategy[Word]:
    """Words without speakers: `st.builds` would also draw the fields that have defaults."""
    return st.tuples(SOME, times, times).map(lambda fields: Word(*fields))


@given(
    SOME,
    st.none() | st.lists(timed_words(TIMES), max_size=6).map(tuple),
    st.none() | st.floats(0, 100),
)
def test_segments_joined_are_the_text(text: str, words: tuple[Word, ...] | None, duration: float | None) -> None:
    transcript = from_batch(BatchResponse(text=text, words=words, duration=duration), source="a", model="m")
    joined = "".join(segment.text for segment in transcript.segments)
    assert joined == transcript.text or (not transcript.segments)
    assert transcript.text == text or not text.strip()
    told = tuple(word for segment in transcript.segments for word in segment.words)
    assert told == (transcript.words or ()) or (not transcript.segments)
    assert all(segment.start <= segment.end for segment in transcript.segments)


def test_a_session_whose_server_sent_words_with_some_texts_only_has_all_of_its_words() -> None:
    one, four = Word("One.", 0.5, 1.0), Word(" Four.", 5.0, 5.5)
    segments = [
        Segment(0.5, 1.0, "One.", "server", (one,), "de"),
        Segment(2.0, 4.0, " Two\tthree.", "audio"),
        Segment(5.0, 5.5, " Four.", "server", (four,), "fr"),
        Segment(5.5, 6.0, "\n", "audio"),
    ]
    transcript = from_segments(segments, source="a.wav", model="m", language="en", duration=6.0)
    assert transcript.text == "One. Two\tthree. Four.\n"
    assert transcript.words == (one, Word(" Two"), Word("\tthree."), four)
    assert [time.estimated for time in transcript.word_times()] == [False, True, True, False]
    assert transcript.language == "fr"  # what the server told last goes before what was asked for


def test_a_session_without_words_has_none() -> None:
    transcript = from_segments([Segment(0.5, 1.0, "One.", "audio")], source="a.wav", model="m", language="en")
    assert (transcript.words, transcript.language, transcript.text) == (None, "en", "One.")
    assert from_segments([], source="a.wav", model="m").words is None


def reread(transcript: Transcript) -> Transcript:
    """The transcript as it comes back from its JSON: estimated words have no times."""
    document = json.loads(json.dumps(transcript.to_dict()))
    words = tuple(
        Word(word["word"]) if "timing" in word else Word(word["word"], word["start"], word["end"])
        for word in document.get("words", ())
    )
    return Transcript(
        document["source"],
        document["model"],
        document["text"],
        document.get("language"),
        document.get("duration"),
        document.get("request_id"),
        tuple(Segment(**segment) for segment in document["segments"]),
        words if "words" in document else None,
    )


def test_words_with_good_times_are_written_as_they_came() -> None:
    response = BatchResponse(text="One two.", words=(Word(" One", 0.12345, 0.5), Word(" two.", 0.5, 0.9)), duration=1.0)
    assert from_batch(response, source="a", model="m").to_dict()["words"] == [
        {"word": " One", "start": 0.12345, "end": 0.5},
        {"word": " two.", "start": 0.5, "end": 0.9},
    ]


def test_estimated_words_say_so() -> None:
    words = (Word("aaa", 0.0, 1.0), Word("bbb"), Word("ccc", 2.0, 1.5), Word("ddd", None, 7.0), Word("eee", 4.0, 5.0))
    transcript = from_batch(BatchResponse(text="aaa bbb ccc ddd eee", words=words), source="a", model="m")
    assert transcript.words == (words[0], Word("bbb"), Word("ccc"), Word("ddd"), words[4])
    assert transcript.to_dict()["words"] == [
        {"word": "aaa", "start": 0.0, "end": 1.0},
        {"word": "bbb", "start": 1.0, "end": 2.0, "timing": "estimated"},
        {"word": "ccc", "start": 2.0, "end": 3.0, "timing": "estimated"},
        {"word": "ddd", "start": 3.0, "end": 4.0, "timing": "estimated"},
        {"word": "eee", "start": 4.0, "end": 5.0},
    ]


def test_words_without_times_lie_within_their_segments() -> None:
    segments = (Segment(1.0, 3.0, "One two.", "audio"), Segment(8.0, 9.0, " Three.", "audio"))
    words = (Word("One"), Word("two."), Word("Three."))
    times = Transcript("a", "m", "One two. Three.", segments=segments, words=words).word_times()
    assert [time.start for time in times] == [1.0, 1.888, 8.0]
    assert [time.end for time in times] == [1.888, 3.0, 9.0]
    assert all(time.estimated for time in times)


def test_a_sentence_whose_first_or_last_word_is_estimated_says_so() -> None:
    words = (Word("One", 0.0, 0.4), Word("two."), Word("Three", 1.0, 1.5), Word("four.", 1.5, 2.0))
    segments = from_batch(BatchResponse(text="One two. Three four.", words=words), source="a", model="m").segments
    assert segments == (
        Segment(0.0, 1.0, "One two.", "estimated", words[:2]),
        Segment(1.0, 2.0, " Three four.", "server", words[2:]),
    )


def test_words_that_all_lack_times_time_no_sentence() -> None:
    words = tuple(Word(word, 0.0, 0.0) for word in ("One.", "Two."))
    transcript = from_batch(BatchResponse(text="One. Two.", words=words, duration=4.0), source="a", model="m")
    assert transcript.segments == (Segment(0.0, 4.0, "One. Two.", "server", (Word("One."), Word("Two."))),)
    assert [word["timing"] for word in transcript.to_dict()["words"]] == ["estimated"] * 2


ANY_TIME = st.none() | st.floats(-5, 60) | st.sampled_from([0.0, 1.0, 2.0005, 1e7])


@given(
    SOME,
    st.none() | st.lists(timed_words(ANY_TIME), max_size=12).map(tuple),
    st.none() | st.floats(0, 50),
)
def test_the_json_of_what_was_read_from_json_is_the_same(
    text: str, words: tuple[Word, ...] | None, duration: float | None
) -> None:
    joined = "".join(word.word for word in words or ())
    for said in (text, joined):
        response = BatchResponse(text=said, words=words, duration=duration)
        transcript = from_batch(response, source="a", model="m")
        again = reread(transcript)
        assert again.to_dict() == transcript.to_dict()
        assert again.words == transcript.words
        bare = Transcript("a", "m", said, duration=duration, words=words)  # as a live session makes it
        assert reread(bare).to_dict() == bare.to_dict()


@given(st.lists(timed_words(ANY_TIME), max_size=12).map(tuple), st.none() | st.floats(0, 50))
def test_estimates_run_forward_between_times_that_are_believed(words: tuple[Word, ...], duration: float | None) -> None:
    times = Transcript("a", "m", "", duration=duration, words=words).word_times()
    for time, word in zip(times, words, strict=True):
        assert time.start <= time.end
        if not time.estimated:
            assert (time.start, time.end) == (word.start, word.end)
    starts = [round(time.start, 3) for time in times]
    assert starts == sorted(starts)
    assert drop_implausible_times(drop_implausible_times(words, duration), duration) == drop_implausible_times(
        words, duration
    )


def test_sentences_end_behind_punctuation_that_words_come_without() -> None:
    words = (Word("Good", 0.0, 0.3), Word("morning", 0.4, 0.8), Word("How", 3.0, 3.2), Word("are", 3.2, 3.4))
    response = BatchResponse(text='"Good morning." How are...', duration=4.0, words=words)
    segments = from_batch(response, source="", model="ink-whisper").segments
    assert [segment.text for segment in segments] == ['"Good morning."', " How are..."]


@pytest.mark.parametrize(
    ("before", "after", "between"),
    [
        ("Hi.", "Yes", " "), ("Hi. ", "Yes", ""), ("Hi.", " Yes", ""), ("", "Yes", ""), ("¿", "Qué", ""),
        ("안녕", "하세요", " "), ("今日", "は", ""), ("。", "Yes", ""), ("use", "日本", " "), ("日本", "use", " "),
        ("สวัสดี", "ครับ", ""),
    ],
)  # fmt: skip
def test_texts_are_joined_with_a_space_unless_their_script_has_none(before: str, after: str, between: str) -> None:
    assert blank_between(before, after) == between
    assert join_texts([before, "", after]) == before + between + after
