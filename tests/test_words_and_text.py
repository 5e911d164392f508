"""The text is what was accepted: whatever words come with it, every format shows all of it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.alignment import count_missing_words, covering_words
from cartesia_cli.output import FORMATS, Layout, writer
from cartesia_cli.protocol.batch import BatchResponse, encode_batch
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import Transcript, from_batch
from cartesia_cli.transcript_import import load_transcripts

HUNDRED = [f"word{k}" for k in range(100)]


def response(text: str, words: Sequence[Word], duration: float | None = 40.0) -> BatchResponse:
    return BatchResponse(text=text, duration=duration, words=tuple(words))


def timed(spellings: Sequence[str]) -> list[Word]:
    return [Word(spelling, 0.4 * k, 0.4 * k + 0.3) for k, spelling in enumerate(spellings)]


def without_frame(written: str, form: str) -> str:
    """What a format writes of a transcript, without the page or the header around it."""
    if form == "html":
        parts = re.findall(r"<main.*?</main>|<script type=.*?</script>", written, re.DOTALL)
        assert len(parts) == 2, written
        return "\n".join(parts)
    return written.partition("[Events]")[2] if form == "ass" else written


def shown(transcript: Transcript, form: str) -> list[str]:
    """The words of a transcript as a format shows them, without what it adds."""
    written = writer(form)(transcript, Layout())
    if form in ("json", "ndjson"):
        lines = [json.loads(line) for line in written.splitlines()] if form == "ndjson" else [json.loads(written)]
        return spoken(" ".join(line["text"] for line in lines if "text" in line))
    if form == "csv":
        return spoken(" ".join(row["word"] for row in csv.DictReader(io.StringIO(written))))
    if form == "tsv":
        return spoken(" ".join(line.split("\t")[-1] for line in written.splitlines()[1:]))
    if form == "table":
        lines = written.splitlines()[1:]
        return spoken(" ".join(lines))
    if form == "html":
        written = "\n".join(re.findall(r"<main.*?</main>", written, re.DOTALL))
    if form == "md":
        written = written.split("\n\n", 2)[2]
    return spoken(re.sub(r"^\[\w+:[^0-9\n].*$|^NOTE(?:.+\n)*|^WEBVTT.*$", "", written, flags=re.MULTILINE))


def spoken(text: str) -> list[str]:
    return re.findall(r"word\d+", text)


def check(transcript: Transcript, wanted: Sequence[str]) -> None:
    assert spoken(transcript.text) == wanted
    for form in FORMATS:
        assert shown(transcript, form) == wanted, form
    if transcript.segments:
        assert "".join(segment.text for segment in transcript.segments) == transcript.text
    if transcript.words:
        assert spoken(" ".join(word.word for word in transcript.words)) == wanted


def both_ways(answer: BatchResponse) -> list[Transcript]:
    """The transcript of an answer, and of the same answer as `render` reads it."""
    return [from_batch(answer, source="a.wav", model="m"), *load_transcripts(encode_batch(answer).decode(), "a.json")]


@pytest.mark.parametrize(
    "spellings",
    [
        [*HUNDRED[:10], "word10.", *HUNDRED[11:95]],
        ["word10", "word50"],
        ["other", *HUNDRED[20:30], "more"],
        ["nothing", "of", "this"],
        [word.upper() + "!" for word in HUNDRED[5:]],
    ],
)
def test_words_that_do_not_cover_the_text_cost_none_of_it(spellings: list[str]) -> None:
    for transcript in both_ways(response(" ".join(HUNDRED), timed(spellings))):
        check(transcript, HUNDRED)


def test_a_word_spelled_differently_keeps_its_time_and_gets_the_spelling_of_the_text() -> None:
    transcript = from_batch(response("one Two, three four.", timed(["one", "two", "four"])), source="a", model="m")
    assert transcript.words is not None
    assert [word.word for word in transcript.words] == ["one", "Two,", "three", "four"]
    times = transcript.word_times()
    assert [time.estimated for time in times] == [False, False, True, False]
    assert (times[1].start, times[3].start) == (0.4, 0.8)
    assert 0.7 <= times[2].start <= times[2].end <= 0.8


def test_words_without_text_are_the_text() -> None:
    for transcript in both_ways(response("", timed(["word1", "word2"]))):
        assert transcript.text == "word1 word2"
        check(transcript, ["word1", "word2"])


def test_words_that_cover_the_text_stay_as_they_came() -> None:
    words = timed([" Don't", " stop", "-", "ping", " 5%", "ever"])
    assert covering_words("Don't stop-ping, 5%... ever!", words) == tuple(words)


def test_scripts_without_spaces_are_aligned_by_character() -> None:
    words = timed(["今日", "天気", "猫"])
    found = covering_words("今日は天気がいい", words)
    assert found is not None
    assert [word.word for word in found] == ["今日", "は", "天気", "がいい"]
    assert count_missing_words("今日は天気がいい", words) == 1


@pytest.mark.parametrize(
    "document",
    [
        {"text": "word0 word1 word2 word3", "segments": [{"start": 0, "end": 1, "text": "word0 Word1."}]},
        {"text": "word0 word1 word2 word3", "segments": [{"start": 1, "end": 2, "text": "other word2 thing"}]},
        {"text": "word0 word1 word2 word3", "segments": [{"start": 1, "end": 2, "text": "other"}]},
        {"text": "word0 word1 word2 word3", "words": [{"word": "Word2.", "start": 1, "end": 2}],
         "segments": [{"start": 0, "end": 1, "text": "word0"}, {"start": 1, "end": 2, "text": "word2"}]},
        {"text": "", "segments": [{"start": 0, "end": 1, "text": "word0 word1"},
                                  {"start": 1, "end": 2, "text": "word2 word3"}]},
        {"text": "word0 word1 word2 word3", "audio_duration": 4,
         "words": [{"text": "word1,", "start": 100, "end": 200}, {"text": "x", "start": 300, "end": 400}]},
    ],
)  # fmt: skip
def test_imported_segments_and_words_cost_no_text(document: dict[str, object]) -> None:
    (transcript,) = load_transcripts(json.dumps(document), "a.json")
    check(transcript, HUNDRED[:4])


@given(
    st.lists(st.sampled_from(HUNDRED[:8]), min_size=1, max_size=20),
    st.lists(
        st.tuples(
            st.sampled_from([*HUNDRED[:8], "Word3.", "word1 word2", "other", "", ",", " word4"]),
            st.none() | st.floats(-1, 60),
            st.none() | st.floats(0, 60),
        ),
        max_size=20,
    ),
    st.sampled_from([" ", ". ", ", ", "-", "\n"]),
    st.none() | st.floats(0.5, 50),
)
def test_every_format_shows_the_whole_text_with_any_words(
    texts: list[str], told: list[tuple[str, float | None, float | None]], joint: str, duration: float | None
) -> None:
    texts = texts[:7] if joint == "-" else texts  # subtitles break a word that is longer than a line
    words = [Word(spelling, start, end) for spelling, start, end in told]
    check(from_batch(response(joint.join(texts), words, duration), source="a.wav", model="m"), texts)
