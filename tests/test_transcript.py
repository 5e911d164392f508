"""Segments are verbatim slices with honest times; the document keeps its keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.protocol import BatchResponse, Word
from cartesia_cli.transcript import Segment, from_batch

TEXT = " Good morning. It is late,  no? Yes"
WORDS = tuple(
    Word(word, float(i), i + 0.5) for i, word in enumerate(["Good", "morning.", "It", "is", "late,", "no?", "Yes"])
)


def test_sentences_become_segments() -> None:
    transcript = from_batch(BatchResponse(text=TEXT, words=WORDS, duration=8.0), source="a.wav", model="m")
    assert transcript.segments == (
        Segment(0.0, 1.5, " Good morning.", "server"),
        Segment(2.0, 5.5, " It is late,  no?", "server"),
        Segment(6.0, 6.5, " Yes", "server"),
    )


def test_a_pause_ends_a_segment() -> None:
    words = (Word("one", 0, 0.5), Word("two", 2.0, 2.5))
    segments = from_batch(BatchResponse(text="one two", words=words), source="a", model="m").segments
    assert [segment.text for segment in segments] == ["one", " two"]


def test_without_words_the_text_is_one_segment_as_long_as_the_audio() -> None:
    server = from_batch(BatchResponse(text="Hi.", duration=2.0), source="a", model="m", measured=9.0)
    assert server.segments == (Segment(0.0, 2.0, "Hi.", "server"),)
    measured = from_batch(BatchResponse(text="Hi."), source="a", model="m", measured=9.0)
    assert measured.segments == (Segment(0.0, 9.0, "Hi.", "audio"),)
    assert from_batch(BatchResponse(text="Hi."), source="a", model="m").segments == ()
    assert from_batch(BatchResponse(text="", duration=2.0), source="a", model="m").segments == ()


def test_words_that_are_not_in_the_text_make_no_segments_of_their_own() -> None:
    response = BatchResponse(text="Ten clubs.", words=(Word("10", 0, 1),), duration=1.0)
    assert from_batch(response, source="a", model="m").segments == (Segment(0.0, 1.0, "Ten clubs.", "server"),)


def test_the_keys_of_the_document_are_pinned() -> None:
    response = BatchResponse(text=TEXT, words=WORDS, duration=8.0, language="en", request_id="r")
    document = from_batch(response, source="a.wav", model="m").document()
    assert list(document) == ["source", "model", "language", "duration", "request_id", "text", "segments", "words"]
    assert list(document["segments"][0]) == ["start", "end", "text", "timing"]
    assert list(document["words"][0]) == ["word", "start", "end"]
    assert "words" not in from_batch(response, source="a.wav", model="m").document(words=False)
    assert from_batch(BatchResponse(text=""), source="-", model="m").document() == {
        "source": "-", "model": "m", "text": "", "segments": [],
    }  # fmt: skip


SOME = st.text(alphabet="ab.? ", max_size=12)
TIMES = st.none() | st.floats(0, 100)


@given(
    SOME,
    st.none() | st.lists(st.builds(Word, SOME, TIMES, TIMES), max_size=6).map(tuple),
    st.none() | st.floats(0, 100),
)
def test_segments_joined_are_the_text(text: str, words: tuple[Word, ...] | None, duration: float | None) -> None:
    transcript = from_batch(BatchResponse(text=text, words=words, duration=duration), source="a", model="m")
    joined = "".join(segment.text for segment in transcript.segments)
    assert joined == text or (not transcript.segments)
    assert all(segment.start <= segment.end for segment in transcript.segments)
