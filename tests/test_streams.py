"""Formats of a live session: what settles is written at once, and what is written is what is meant."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.output import Layout, Selection, writer
from cartesia_cli.output.streams import open_stream
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import Notice, Partial, Segment, Transcript

ONE = Segment(0.5, 2.0, "The ferry leaves at seven.", "audio")
TWO = Segment(3.0, 5.5, " A small dog slept under the table & the <chair>.", "audio")


def written(name: str, *, live: bool = True, words: bool = False) -> list[str]:
    """What each of four calls put: a partial, two segments, the end."""
    parts: list[str] = []
    writing = open_stream(name, Layout(), parts.append, "talk.wav", "ink-2", live=live)
    one = ONE._replace(words=(Word("The", 0.5, 0.7), Word(" ferry", 0.7, 1.1))) if words else ONE
    whole = Transcript("talk.wav", "ink-2", ONE.text + TWO.text, segments=(one, TWO), words=one.words or None)
    calls = []
    for call in (
        lambda: writing.write(Partial(1.0, "The fer")),
        lambda: writing.write(one),
        lambda: writing.write(TWO),
        lambda: writing.close(whole, {"complete": True}),
    ):
        call()
        calls.append("".join(parts))
        parts.clear()
    return calls


def test_text_writes_each_segment_as_a_line_at_once() -> None:
    assert written("text") == ["", "The ferry leaves at seven.\n", f"{TWO.text.strip()}\n", ""]
    assert written("text", live=False) == ["", "", "", f"{ONE.text}\n{TWO.text.strip()}\n"]


def test_ndjson_writes_each_update_as_a_line_and_an_end() -> None:
    spoken = [{"word": "The", "start": 0.5, "end": 0.7}, {"word": " ferry", "start": 0.7, "end": 1.1}]
    _, first, second, end = map(json.loads, written("ndjson", words=True))
    assert first.pop("words") == end["words"] == spoken
    assert [first, second] == [json.loads(text) for text in written("ndjson")[1:3]]
    lines = [json.loads(text) for text in written("ndjson")]
    assert [line["type"] for line in lines] == ["partial", "segment", "segment", "end"]
    assert lines[1] == {"type": "segment", "start": 0.5, "end": 2.0, "text": ONE.text, "timing": "audio"}
    assert lines[3]["complete"] is True
    assert lines[3]["text"] == ONE.text + TWO.text
    assert "segments" not in lines[3]


def test_notices_are_written_to_ndjson_only() -> None:
    for name in ("text", "srt", "csv"):
        parts: list[str] = []
        open_stream(name, Layout(), parts.append, "x", "m", live=True).write(
            Notice(1.0, "turn.resume", "the turn continues")
        )
        assert parts == []


@pytest.mark.parametrize("name", ["srt", "vtt", "tsv", "csv"])
def test_row_formats_are_written_segment_by_segment(name: str) -> None:
    partial, first, second, _ = written(name)
    assert partial == ""
    assert "ferry" in first
    assert "dog" not in first
    assert "dog" in second


def test_live_subtitles_are_read_back() -> None:
    cues = list(srt.parse("".join(written("srt"))))
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    assert cues[0].start.total_seconds() == 0.5
    shown = " ".join(cue.content.replace("\n", " ") for cue in cues)
    assert shown == (ONE.text + TWO.text).replace("<chair>", "‹chair›")  # SubRip has no escapes
    captions = webvtt.from_string("".join(written("vtt")))
    assert captions[0].start == "00:00:00.500"
    assert len(captions) == len(cues)


def test_live_cues_have_the_times_of_their_words() -> None:
    words = [Word("One.", 0.5, 1.0), Word("Two.", 20.0, 20.5)]
    for name in ("srt", "vtt"):
        parts: list[str] = []
        writing = open_stream(name, Layout(), parts.append, "x", "m", live=True)
        writing.write(Segment(0.5, 20.5, "One. Two.", "server", tuple(words)))
        assert "00:20" in "".join(parts).split("Two.")[0].split("One.")[1]


def test_live_rows_are_words_or_else_segments() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(written("csv", words=True)))))
    assert [row["word"] for row in rows] == ["The", "ferry", TWO.text.strip()]
    assert [row["number"] for row in rows] == ["1", "2", "3"]


def test_live_segments_of_white_space_have_no_rows() -> None:
    parts: list[str] = []
    writing = open_stream("csv", Layout(), parts.append, "x", "m", live=True)
    for segment in (Segment(0, 1, "  ", "audio"), ONE, Segment(8, 9, "\n", "audio")):
        writing.write(segment)
    assert [row["word"] for row in csv.DictReader(io.StringIO("".join(parts)))] == [ONE.text.strip()]


def test_formats_of_the_whole_text_are_written_at_the_end() -> None:
    for name in ("json", "table"):
        *before, last = written(name)
        assert before == ["", "", ""]
        assert "ferry" in last


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5), st.text(max_size=30)), max_size=8))
def test_live_cues_never_overlap_for_any_segment_times(segments: list[tuple[float, float, str]]) -> None:
    parts: list[str] = []
    writing = open_stream("srt", Layout(), parts.append, "x", "m", live=True)
    for start, length, text in segments:
        writing.write(Segment(start, start + length, text, "audio"))
    cues = list(srt.parse("".join(parts)))
    for earlier, later in pairwise(cues):
        assert earlier.start < earlier.end <= later.start


def test_lost_connection_is_marked_in_formats_with_notices() -> None:
    seam = Notice(63.0, "reconnected", "reconnected: 2.0 s --> sent again")
    said = Segment(0.0, 2.0, "Hello there.", "audio")
    transcript = Transcript("x", "m", said.text, segments=(said,), notices=(seam,))
    assert json.loads(writer("json")(transcript, Layout()))["notices"] == [seam.to_dict()]
    assert "*1:03 reconnected: 2.0 s --> sent again*" in writer("md")(transcript, Layout())
    assert "NOTE 1:03 reconnected: 2.0 s -> sent again\n" in writer("vtt")(transcript, Layout())
    parts: list[str] = []
    live = open_stream("vtt", Layout(), parts.append, "x", "m", live=True)
    for update in (said, seam, Segment(70.0, 72.0, " Again.", "audio")):
        live.write(update)
    live.close(transcript, {})
    text = "".join(parts)
    assert text.index("Hello there.") < text.index("NOTE 1:03 reconnected") < text.index("Again.")
    assert [caption.text for caption in webvtt.from_string(text)] == ["Hello there.", "Again."]


@pytest.mark.parametrize("name", ["tsv", "csv"])
@pytest.mark.parametrize("selection", [Selection(pattern="."), Selection(longest_gaps=9)])
def test_dropped_segment_has_no_rows_if_rows_are_deferred(name: str, selection: Selection) -> None:
    parts: list[str] = []
    writing = open_stream(name, Layout(selection=selection), parts.append, "talk.wav", "ink-2", live=True)
    writing.write(ONE)
    writing.write(TWO)
    writing.write(Notice(6.0, "undo", "dropped"))
    last = Segment(7.0, 8.0, " Good night.", "audio")
    writing.write(last)
    writing.close(Transcript("talk.wav", "ink-2", ONE.text + last.text, segments=(ONE, last)), {})
    assert "ferry" in "".join(parts)
    assert "dog" not in "".join(parts)
