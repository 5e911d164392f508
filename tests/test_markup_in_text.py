"""What is said never acts as markup, a formula or half a character in any format; the words are all there."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pysubs2
import pytest
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli.output import FORMATS, Layout, writer
from cartesia_cli.output.streams import open_stream
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.events import Delta, Done, FlushDone
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.tracker import ManualTracker, SpeechTimeline
from cartesia_cli.transcript import Notice, Partial, Segment, Transcript, from_batch, from_segments
from cartesia_cli.transcript_import import load_transcripts
from tests.test_words_and_text import without_frame

from .conftest import Run


def spoken(*words: str) -> Transcript:
    """A word every half second."""
    timed = tuple(Word(word, k * 0.5, k * 0.5 + 0.4) for k, word in enumerate(words))
    response = BatchResponse(text=" ".join(words), words=timed, duration=len(words) * 0.5)
    return from_batch(response, source="a.wav", model="m")


# Markup of subtitles ---------------------------------------------------------------------------------------

MARKUP = {
    "<b>bold</b>": "‹b›bold‹/b›",
    "{\\an8}top": "(\\an8)top",
    "<font color=red>": "‹font color=red›",
    "</ i >": "‹/ i ›",
    "< b>": "‹ b›",
    "<3 a>": "‹3 a›",
    "<!--x-->": "‹!--x-›",
    "{y:i}": "(y:i)",
    "<>": "‹›",
    "{sic}": "(sic)",
    "C:\\new": "C:∖new",
    "a\\Nb": "a∖Nb",
}
PLAIN = ["1 < 2", "2 > 1", "I <3 you", "a { b", "->", "50 %", "D:\\x", "(x)", "‹x›"]


@pytest.mark.parametrize(("text", "shown"), MARKUP.items())
def test_subrip_shows_spoken_markup_as_text(text: str, shown: str) -> None:
    written = writer("srt")(spoken("Look:", text, "here."), Layout())
    assert " ".join(next(srt.parse(written)).content.split()) == f"Look: {shown} here."
    assert pysubs2.SSAFile.from_string(written)[0].plaintext.split() == f"Look: {shown} here.".split()


@pytest.mark.parametrize("text", PLAIN)
def test_subrip_leaves_text_that_is_not_markup(text: str) -> None:
    written = writer("srt")(spoken(*text.split()), Layout())
    assert " ".join(next(srt.parse(written)).content.split()) == text


def test_subrip_escapes_a_tag_across_two_lines() -> None:
    transcript = spoken(
        "<font", "a", "word", "that", "is", "followed", "by", "some", "others", "up", "to", "here>", "x."
    )
    (cue,) = srt.parse(writer("srt")(transcript, Layout()))
    assert "\n" in cue.content
    assert cue.content.startswith("‹font") and "here›" in cue.content


def read_by_ffmpeg(*files: Path) -> Iterator[pysubs2.SSAFile]:
    """Subtitle files as ffmpeg reads them."""
    inputs = [word for file in files for word in ("-i", file)]
    outputs = [word for k, file in enumerate(files) for word in ("-map", str(k), f"{file}.ass")]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, *outputs], stdin=subprocess.DEVNULL, check=True)
    return (pysubs2.SSAFile.load(f"{file}.ass") for file in files)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_ffmpeg_sees_no_markup_in_subtitles(form: str, tmp_path: Path) -> None:
    texts = [*MARKUP, *PLAIN]
    for k, text in enumerate(texts):
        (tmp_path / f"{k}.{form}").write_text(writer(form)(spoken("Look:", *text.split(), "here."), Layout()))
    for text, events in zip(texts, read_by_ffmpeg(*(tmp_path / f"{k}.{form}" for k in range(len(texts)))), strict=True):
        (event,) = events
        if form == "srt":
            assert event.text == f"Look: {MARKUP.get(text, text)} here."
        else:  # ffmpeg escapes the braces of WebVTT by itself
            assert not re.search(r"(?<!\\)\{[^}]*\\", event.text)


def test_webvtt_shows_spoken_markup_as_text() -> None:
    for highlight in (False, True):
        for text in MARKUP:
            if "-->" in text:
                continue
            written = writer("vtt")(spoken("Look:", *text.split(), "here."), Layout(highlight_words=highlight))
            body = written.split("-->")[1].partition("\n")[2]
            assert "<b>" not in body and "</b>" not in body and "<font" not in body
            (again,) = load_transcripts(written, "a.vtt")
            assert again.text == f"Look: {text} here."


def test_text_and_json_keep_spoken_markup() -> None:
    for text in MARKUP:
        assert writer("text")(spoken(text), Layout()) == f"{text}\n"
        assert json.loads(writer("json")(spoken(text), Layout()))["text"] == text


def test_lrc_escapes_spoken_tags() -> None:
    for text in ("[ti:x]", "[offset: 500]", "[01:02.03]", "<00:01>", "[ar :x]"):
        *_, line = writer("lrc")(spoken(text, "x"), Layout()).splitlines()
        assert len(re.findall(r"\[\w+\s*:", line)) == 1
        assert re.sub(r"\s", "", line.partition("]")[2]) == re.sub(r"\s", "", f"{text} x")


def test_markdown_escapes_formulas() -> None:
    assert "\\$x\\$ and \\$y\\$" in writer("md")(spoken("$x$", "and", "$y$"), Layout())


# Formulas of spreadsheets ----------------------------------------------------------------------------------


def recovered(cell: str) -> str:
    """The word of a cell, as the documentation says."""
    return cell[1:] if re.match(r"'+[=+\-@＝＋－＠]", cell) else cell


FORMULAS = [
    "=1+1",
    "=cmd|'/C calc'!A0",
    "+A1",
    "-A1+2",
    "@SUM(A1)",
    "--help",
    "'=1",
    "''+x",
    "＝1",
    "-5-x",
    "=",
    "@",
    "+.",
]
HARMLESS = ["-5", "+1", "-", "--", "-3.5%", "10:30", "a=b", "'tis", "5", "−5", "+49"]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_cells_are_not_formulas_and_every_word_can_be_recovered(form: str) -> None:
    words = [*FORMULAS, *HARMLESS]
    written = writer(form)(spoken(*words), Layout())
    rows = list(csv.reader(io.StringIO(written, newline=""), delimiter="," if form == "csv" else "\t"))[1:]
    cells = [row[-1] for row in rows]
    assert cells[len(FORMULAS) :] == HARMLESS
    assert cells[: len(FORMULAS)] == [f"'{word}" for word in FORMULAS]
    assert [recovered(cell) for cell in cells] == words


@given(st.text(alphabet="=+-@'a1., ＝", min_size=1, max_size=8).map(str.strip).filter(bool))
def test_any_word_can_be_recovered_from_its_cell(word: str) -> None:
    (row,) = list(csv.reader(io.StringIO(writer("csv")(spoken(word), Layout()), newline="")))[1:]
    assert recovered(row[-1]) == " ".join(word.split())
    assert not re.match(r"[=@]", row[-1])


def test_live_cells_are_not_formulas() -> None:
    parts: list[str] = []
    writing = open_stream("csv", Layout(), parts.append, "a", "m", live=True)
    writing.write(Segment(0.0, 1.0, "=HYPERLINK(1)", "audio"))
    assert parts[-1].endswith(",'=HYPERLINK(1)\r\n")


# Halves of characters --------------------------------------------------------------------------------------

HIGH, LOW = "\ud83d", "\ude00"
SMILE = "\U0001f600"


def live(name: str, events: list[Delta | FlushDone | Done]) -> tuple[str, Transcript, list[str]]:
    """What is written of the events of a session, its transcript, and the partial texts."""
    tracker = ManualTracker(SpeechTimeline())
    parts: list[str] = []
    writing = open_stream(name, Layout(words=True), parts.append, "a.wav", "ink-2", live=True)
    segments, partials = [], []
    for event in events:
        for update in tracker.process(event, 0.0):
            if not isinstance(update, Notice | Partial | Segment):
                continue
            writing.write(update)
            segments += [update] if isinstance(update, Segment) else []
            partials += [update.text] if isinstance(update, Partial) else []
    transcript = from_segments(segments, source="a.wav", model="ink-2", duration=3.0)
    writing.close(transcript, {"complete": True})
    return "".join(parts), transcript, partials


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("middle", [[], [Delta(text="")], [FlushDone()]], ids=["at once", "an empty delta", "a flush"])
def test_emoji_divided_between_deltas_is_whole_in_every_format(
    name: str, middle: list[Delta | FlushDone | Done]
) -> None:
    events = [Delta(text=f"So {HIGH}"), *middle, Delta(text=f"{LOW} good."), FlushDone(), Done()]
    written, transcript, partials = live(name, events)
    assert transcript.text == f"So {SMILE} good."
    assert SMILE in written
    assert written.encode().decode() == written and "\ufffd" not in written
    assert all(text.isprintable() for text in partials)
    saved = writer(name)(transcript, Layout(words=True))
    assert SMILE in saved and "\ufffd" not in saved


def test_incomplete_character_is_replaced() -> None:
    for events in (
        [Delta(text=f"So {HIGH}"), FlushDone(), Done()],
        [Delta(text=f"So {HIGH}"), FlushDone(), Delta(text="x"), Done()],
        [Delta(text=f"{LOW} so"), Done()],
    ):
        _, transcript, _ = live("text", [*events])
        sent = "".join(event.text for event in events if isinstance(event, Delta))
        assert transcript.text == re.sub(f"{HIGH}|{LOW}", "\ufffd", sent)
        for name in FORMATS:
            written = writer(name)(transcript, Layout(words=True))
            written.encode()
            if name == "json":
                assert json.loads(written)["text"] == transcript.text


def test_character_divided_between_segments_is_joined_in_a_transcript() -> None:
    segments = [Segment(0, 1, f"a{HIGH}", "audio"), Segment(1, 2, f"{LOW}b", "audio"), Segment(2, 3, HIGH, "audio")]
    transcript = from_segments(segments, source="a", model="m")
    assert [segment.text for segment in transcript.segments] == ["a", f"{SMILE}b", "\ufffd"]
    assert "".join(segment.text for segment in transcript.segments) == transcript.text


def test_render_joins_surrogate_pairs_in_every_format(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "a \\ud83d\\ude00 \\ud83d b", "duration": 2}')
    for name in FORMATS:
        done = run("render", "a.json", "-f", name)
        assert done.returncode == 0
        assert SMILE in done.stdout.decode(), name


# Anything, read back ---------------------------------------------------------------------------------------

BIDI = "[\u202a-\u202e\u2066-\u2069]"
"""What no format of subtitles shows."""

TEXTS = st.text(
    st.sampled_from("ab1é日<>{}\\/!=+-@'\"&;:.,[]()|#*_~$`N\u200d😀")
    | st.characters(exclude_categories=("Cc", "Cs", "Z")),
    min_size=1, max_size=9,
).filter(lambda word: re.sub(BIDI, "", word).strip() and not word.isdecimal())  # fmt: skip


def alike(text: str) -> str:
    """Text without spaces, in which look-alikes are turned back into the characters that they stand for."""
    bare = re.sub(rf"\s|{BIDI}", "", text)
    return re.sub("-{2,}>", "->", bare).translate(str.maketrans("‹›()∖", "<>{}\\"))


@given(st.lists(TEXTS, min_size=1, max_size=25))
def test_subtitles_of_any_words_are_read_by_other_libraries(words: list[str]) -> None:
    transcript = spoken(*words)
    expected = alike(transcript.text)
    written = writer("srt")(transcript, Layout())
    cues = list(srt.parse(written))
    assert alike("".join(cue.content for cue in cues)) == expected
    assert all(a.end <= b.start for a, b in pairwise(cues))
    events = pysubs2.SSAFile.from_string(written, format_="srt").events
    assert [(event.start, event.end) for event in events] == [
        (round(cue.start.total_seconds() * 1000), round(cue.end.total_seconds() * 1000)) for cue in cues
    ]
    assert not any(re.search(r"<\s*/?\s*\w[^>]*>|\{[^}]*\}|\\[Nnh]", cue.content) for cue in cues)
    captions = webvtt.from_string(writer("vtt")(transcript, Layout()))
    assert len(captions) == len(cues)
    (again,) = load_transcripts(writer("vtt")(transcript, Layout()), "a.vtt")
    assert re.sub(r"\s", "", again.text) == re.sub(rf"\s|{BIDI}", "", transcript.text)


@pytest.mark.waits
@settings(max_examples=10)
@given(st.lists(TEXTS, min_size=1, max_size=12))
def test_ffmpeg_reads_the_same_cues(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    folder = tmp_path_factory.mktemp("cues")
    transcript = spoken(*words)
    for form in ("srt", "vtt"):
        (folder / f"a.{form}").write_text(writer(form)(transcript, Layout()))
    cues = list(srt.parse(writer("srt")(transcript, Layout())))
    for form, events in zip(("srt", "vtt"), read_by_ffmpeg(folder / "a.srt", folder / "a.vtt"), strict=True):
        assert [round(event.start, -1) for event in events] == [
            round(cue.start.total_seconds() * 1000, -1) for cue in cues
        ]
        if form == "srt":
            shown = "".join(event.text.replace("\\N", "\n") for event in events)
            assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", "".join(cue.content for cue in cues))


@pytest.mark.parametrize("span", [(-5.0, 1.0), (1.0, 1e308), (2.0, 1.0), (-2.0, -1.0), (4e6, 4e6)])
@pytest.mark.parametrize("name", ["ndjson", "csv", "tsv", "srt", "vtt", "json"])
def test_implausible_live_times_are_not_written(name: str, span: tuple[float, float]) -> None:
    words = (Word("Hello", *span), Word(" there.", 1.0, 2.0))
    written, transcript, _ = live(name, [Delta(text="Hello there.", words=words), FlushDone(), Done()])
    assert not re.search(r"e\+|(?<!ink)-\d|4000000|1111:", written)
    assert all(0 <= segment.start <= segment.end < 10 for segment in transcript.segments)


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=6), st.none() | st.floats())
def test_writers_get_no_implausible_times(times: list[tuple[float, float]], duration: float | None) -> None:
    words = tuple(Word(f"w{k}", *span) for k, span in enumerate(times))
    response = BatchResponse(text=" ".join(word.word for word in words), words=words, duration=duration)
    transcript = from_batch(response, source="a", model="m", measured_duration=None)
    document = json.loads(writer("json")(transcript, Layout(words=True)))
    assert 0 <= document.get("duration", 0) < 3.6e6
    for part in (*document["words"], *document["segments"]):
        assert 0 <= part["start"] <= part["end"] < 1e7
    for name in FORMATS:
        written = without_frame(writer(name)(transcript, Layout(words=True)), name)
        assert not re.search(r"e\+\d|inf|nan", written.lower())
        if name == "html":  # its numbers are in data of its own
            data = json.loads(written.partition('id="data">')[2].partition("</script>")[0])
            assert all(number >= 0 for numbers in data["words"] for number in numbers)
            continue
        assert name == "table" or not re.search(r"(?<!e)-\d", written)  # where gaps of words that overlap are negative
