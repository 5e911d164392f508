"""Subtitle files of anybody are read as far as they can be, and what is broken about them is found where it is."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pysubs2
import pytest
import srt as srt_library
import webvtt
from hypothesis import example, given
from hypothesis import strategies as st

from cartesia_cli.subtitles.parser import Kind, ParsedCue, SubtitleFile, decode, parse
from cartesia_cli.subtitles.writers import Cue, srt, vtt

TIMES = st.integers(0, 400_000_000)
PLAIN = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Z")), min_size=1, max_size=12)
LINES = st.lists(st.lists(PLAIN, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=3)
CUES = st.lists(st.builds(lambda start, stay, lines: Cue(start, start + stay, tuple(lines)), TIMES, TIMES, LINES))
SHRAPNEL = st.sampled_from(
    [*"\n\r<>{}&:;,.-1 ", "\r\n", "\n\n", "-->", " --> ", "00:00:01,000", "00:01.000", "WEBVTT", "NOTE", "1\n",
     "\ufeff", "{\\an8}", "<i>", "</i>", "&amp;", "&#", "\x00", "\u2028", "9" * 30, "words"]
)  # fmt: skip


def found(sheet: SubtitleFile) -> list[tuple[Any, ...]]:
    return [(finding.rule, finding.line, finding.cue, finding.value, finding.limit) for finding in sheet.findings]


def shown(sheet: SubtitleFile) -> list[tuple[int, int, tuple[str, ...]]]:
    return [(cue.start, cue.end, cue.lines) for cue in sheet.cues]


# Anything


@given(
    st.text() | st.lists(SHRAPNEL | st.text(max_size=3), max_size=40).map("".join),
    st.sampled_from(["srt", "vtt", None]),
)
@example("-" * 5000, None)
@example("<" * 5000 + "\n\n", "vtt")
@example("1\n00:00:00,000 --> 00:00:01,000\n" + "<b " * 5000, "srt")
@example("WEBVTT\n\n00:00.000 --> 00:01.000\n<v &#" + "1" * 5000 + ";>&#" + "0" * 5000 + "65;", "vtt")
def test_any_text_is_parsed(text: str, kind: Kind | None) -> None:
    sheet = parse(text, kind)
    numbers = [cue.number for cue in sheet.cues]
    assert numbers == sorted(set(numbers))
    height = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for place in (*sheet.cues, *sheet.findings):
        assert 1 <= place.line <= height
    for cue in sheet.cues:
        assert all(line and "\n" not in line for line in cue.lines)


@given(st.binary())
def test_any_bytes_are_decoded(data: bytes) -> None:
    text, findings = decode(data)
    parse(text)
    assert (findings == ()) == (text.encode("utf-8", "surrogatepass") == data)


@given(CUES)
def test_own_files_are_read_back(cues: list[Cue]) -> None:
    meant = [(cue.start, cue.end, cue.lines) for cue in cues]
    sheet = parse(vtt(cues, notes=("talk.mp3, ink-whisper",)))
    assert (shown(sheet), sheet.findings, sheet.kind) == (meant, (), "vtt")
    # SubRip has no escapes: what looks like markup is written otherwise, and arrows are made harmless.
    bare = [(start, end, tuple(re.sub(r"[<{\\]", "(", line) for line in lines)) for start, end, lines in meant]
    meant = [(start, end, tuple(re.sub("-{2,}>", "->", line) for line in lines)) for start, end, lines in bare]
    for crlf in (False, True):
        sheet = parse(srt([Cue(*cue) for cue in bare], crlf=crlf), "srt")
        assert (shown(sheet), sheet.findings, sheet.kind) == (meant, (), "srt")


def test_highlighted_words_are_read_without_their_times() -> None:
    sheet = parse("WEBVTT\n\n00:01.000 --> 00:02.000\none <00:00:01.500>two <00:00:01.800><c>three</c>\n")
    assert shown(sheet) == [(1000, 2000, ("one two three",))]


# Files of others


def test_file_written_by_the_srt_library_is_read() -> None:
    from datetime import timedelta

    written = srt_library.compose(
        [
            srt_library.Subtitle(1, timedelta(seconds=1), timedelta(seconds=2.5), "<i>One</i>\ntwo"),
            srt_library.Subtitle(2, timedelta(hours=1), timedelta(hours=1, milliseconds=7), "1 < 2 {\\an8}here"),
        ]
    )
    sheet = parse(written)
    assert sheet.kind == "srt"
    assert shown(sheet) == [(1000, 2500, ("One", "two")), (3_600_000, 3_600_007, ("1 < 2 here",))]
    assert sheet.findings == ()


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_file_written_by_pysubs2_is_read(kind: Kind) -> None:
    events = pysubs2.SSAFile()
    events.events = [
        pysubs2.SSAEvent(1000, 2500, text="{\\i1}One{\\i0}\\Ntwo"),
        pysubs2.SSAEvent(61_000, 62_040, text="東京です"),
    ]
    sheet = parse(events.to_string(kind))
    assert sheet.kind == kind
    assert shown(sheet) == [(1000, 2500, ("One", "two")), (61_000, 62_040, ("東京です",))]
    assert sheet.findings == ()


def test_file_written_by_webvtt_py_is_read(tmp_path: Path) -> None:
    written = webvtt.WebVTT()
    written.captions += [
        webvtt.Caption("00:00:01.000", "00:00:02.500", ["<v Mary>One</v>", "two &amp; three"]),
        webvtt.Caption("01:00:00.000", "01:00:01.000", "four"),
    ]
    out = io.StringIO()
    written.write(out)
    sheet = parse(out.getvalue())
    assert sheet.kind == "vtt"
    assert shown(sheet) == [(1000, 2500, ("One", "two & three")), (3_600_000, 3_601_000, ("four",))]
    assert sheet.findings == ()


def test_text_that_webvtt_players_never_show_is_not_read() -> None:
    sheet = parse(
        "WEBVTT - a title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:one\n\nNOTE one\ntwo\n\n"
        "intro\n00:01.000 --> 00:02.000 line:0 align:start\n&lrm;<c.loud>Oh</c>&nbsp;no\n"
    )
    assert shown(sheet) == [(1000, 2000, ("\u200eOh\xa0no",))]
    assert sheet.findings == ()


# What is broken

SRT = "1\n00:00:01,000 --> 00:00:02,000\nOne.\n\n"


@pytest.mark.parametrize(
    ("text", "findings", "times"),
    [
        ("1\n00:00:01.000 --> 00:00:02,000\nx\n", [("bad-time", 2)], [(1000, 2000)]),
        ("1\n0:1,5 --> 0:2\nx\n", [("bad-time", 2)], [(1500, 2000)]),
        ("1\n00:00:01,000-->00:00:02,000\nx\n", [("bad-time", 2)], [(1000, 2000)]),
        ("1\n00:00:01,000 --> 00:00:02,000  X1:40 X2:600\nx\n", [], [(1000, 2000)]),
        ("1\n-00:00:01,000 --> 00:00:02,000\nx\n", [("bad-time", 2)], [(-1000, 2000)]),
        (SRT + "2\n00:00:03,000 --> soon\nx\n", [("bad-time", 6)], [(1000, 2000)]),
        ("1\n00:00:01,000 00:00:02,000\nx\n", [("no-arrow", 2)], [(1000, 2000)]),
        ("1\n00:00:01,000 -> 00:00:02,000\nx\n", [("no-arrow", 2)], [(1000, 2000)]),
        ("1\n00:00:01,000 – 00:00:02,000\nx\n", [("no-arrow", 2)], [(1000, 2000)]),
        ("00:00:01,000 --> 00:00:02,000\nx\n", [("no-number", 1)], [(1000, 2000)]),
        (SRT + "00:00:03,000 --> 00:00:04,000\nx\n", [("no-number", 5)], [(1000, 2000), (3000, 4000)]),
        (SRT + "3\n00:00:03,000 --> 00:00:04,000\nx\n", [("number", 5)], [(1000, 2000), (3000, 4000)]),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n", [("empty", 2)], [(1000, 2000)]),
        ("1\n00:00:01,000 --> 00:00:02,000\n<i> </i>\n", [("empty", 2)], [(1000, 2000)]),
        ("1\n00:00:01,000 --> 00:00:02,000\nHello\n\nthere\n", [("stray-text", 5)], [(1000, 2000)]),
        (SRT.replace("One", "O\0ne"), [("control", 3)], [(1000, 2000)]),
        ("One moment\n\n" + SRT, [("stray-text", 1)], [(1000, 2000)]),
        (SRT + "2\n", [("stray-text", 5)], [(1000, 2000)]),
        ("1\n00:00:01,000 --> 00:00:02,000\na --> b\n", [("arrow-in-text", 3)], [(1000, 2000)]),
        (SRT[:-1] + "2\n00:00:03,000 --> 00:00:04,000\nx\n", [("no-blank-line", 4)], [(1000, 2000), (3000, 4000)]),
        ("\ufeff" + SRT, [("bom", 1)], [(1000, 2000)]),
        (SRT + "2\r\n00:00:03,000 --> 00:00:04,000\r\nx\r\n", [("line-ends", 1)], [(1000, 2000), (3000, 4000)]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nx\n", [("format", 1)], [(1000, 2000)]),
    ],
)  # fmt: skip
def test_each_subrip_error_is_reported_with_its_line(
    text: str, findings: list[tuple[str, int]], times: list[tuple[int, int]]
) -> None:
    sheet = parse(text, "srt")
    assert [(finding.rule, finding.line) for finding in sheet.findings] == findings
    assert [(cue.start, cue.end) for cue in sheet.cues] == times


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("00:01.000 --> 00:02.000\nx\n", [("no-header", 1)]),
        ("WEBVTT\n00:01.000 --> 00:02.000\nx\n", [("no-blank-line", 2)]),
        ("WEBVTT\n\n00:00:01,000 --> 00:00:02,000\nx\n", [("bad-time", 3)]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nx\n00:03.000 --> 00:04.000\ny\n", [("no-blank-line", 5)]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n<v\n", [("empty", 3)]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nx\n\nwords\n", [("stray-text", 6)]),
        ("\ufeffWEBVTT\n\n00:01.000 --> 00:02.000\nx\n", []),
    ],
)
def test_each_webvtt_error_is_reported_with_its_line(text: str, findings: list[tuple[str, int]]) -> None:
    assert [(finding.rule, finding.line) for finding in parse(text, "vtt").findings] == findings


def test_findings_name_the_found_and_the_expected_text() -> None:
    sheet = parse(SRT + "5\n00:00:03,000 --> 4\nx\n\n00:00:05,000 --> 00:00:06,000\nx\n", "srt")
    form = "00:00:00,000 --> 00:00:00,000"
    assert found(sheet) == [
        ("number", 5, 2, 5, 2),
        ("bad-time", 6, 2, "00:00:03,000 --> 4", form),
        ("no-number", 9, 3, None, 6),
    ]


def test_cue_with_unreadable_times_still_counts() -> None:
    sheet = parse("1\nnow --> then\nx\n\n2\n00:00:03,000 --> 00:00:04,000\ny\n")
    assert sheet.cues == (ParsedCue(2, 6, 3000, 4000, ("y",)),)


@pytest.mark.parametrize("text", ["words", "\x00\x01", "a --> b", "<!-- -->\n<html>", "{}", "1\n2\n3\n"])
def test_file_without_times_is_not_a_subtitle_file(text: str) -> None:
    assert parse(text).kind is None


@pytest.mark.parametrize(("text", "kind"), [("", "srt"), ("\n\n", "srt"), ("WEBVTT", "vtt"), ("WEBVTT\n", "vtt")])
def test_empty_file_has_no_cues(text: str, kind: Kind) -> None:
    assert parse(text) == SubtitleFile(kind, (), ())


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("é".encode("latin-1"), "Windows-1252"),
        ("é".encode("utf-16"), "UTF-16"),
        ("é\n".encode("utf-16-be"), "UTF-16"),
        ("é\n".encode("utf-16-le"), "UTF-16"),
        ("é\n".encode("utf-32-le"), "UTF-32"),
        ("é".encode(), None),
    ],
)
def test_other_encodings_than_utf_8_are_detected(data: bytes, value: str | None) -> None:
    text, findings = decode(data)
    assert text.removeprefix("\ufeff").strip() == "é"
    assert [finding.value for finding in findings] == ([value] if value else [])


def test_line_of_the_first_invalid_byte_is_reported() -> None:
    assert decode(b"1\n2\n\xff\n")[1][0].line == 3


def test_damaged_utf_8_is_not_mistaken_for_another_encoding() -> None:
    text, findings = decode("é ü ö\n".encode() + b"\xc3 x\n")
    assert text == "é ü ö\n\ufffd x\n"
    assert [(finding.value, finding.line) for finding in findings] == [("damaged UTF-8", 2)]
