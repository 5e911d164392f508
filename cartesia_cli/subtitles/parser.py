"""Parses SRT and WebVTT files of any origin, however broken, and reports what is wrong with them.

Reads block by block, as players do: lines up to a blank one, with times in the first line, or in the second below a
number or a name. What can't be read becomes a finding, and parsing continues after it.

Pure: text in, values out. Must never raise, whatever the text, and never judge how cues read: `lint` does.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Literal, NamedTuple, get_args

from ..record import Record
from ..text_encoding import decode_text

Kind = Literal["srt", "vtt"]
Value = int | float | str | None
Voice = tuple[str | None, str]


class Finding(Record):
    """Something that is wrong with a subtitle file.

    rule     its name, a key of `lint.RULES`
    line     of the file, from 1
    cue      position among the cues of the file, from 1; None if the finding is not about one
    value    what was found, in the unit of the rule
    limit    what would be allowed; None if that is neither a number nor a text
    text     the words that it is about
    forced   whether the words themselves force it: see `unavoidable`
    """

    rule: str
    line: int
    cue: int | None = None
    value: Value = None
    limit: Value = None
    text: str = ""
    forced: bool = False


@dataclass(frozen=True, slots=True)
class ParsedCue:
    """A cue of a file.

    number       its position among the cues of the file, from 1, whatever number it carries
    line         the line of its times, from 1
    start, end   milliseconds, as given: the end may be before the start
    lines        as a reader sees them: without tags, entities resolved, none of them empty
    voices       the same text by speaker: each name in a voice tag of WebVTT, or None, and the text after it
    """

    number: int
    line: int
    start: int
    end: int
    lines: tuple[str, ...]
    voices: tuple[Voice, ...] = field(default=(), compare=False)

    @property
    def speaker(self) -> str | None:
        """Who says all of it; None if that isn't known, or if there are several."""
        names = {name for name, _ in self.voices}
        return names.pop() if len(names) == 1 else None


class SubtitleFile(Record):
    """A subtitle file.

    kind       srt or vtt by its content; None if it isn't a subtitle file. An empty file is one.
    cues       in the order of the file; those whose times can't be read are left out
    findings   what is broken, in the order of the file
    """

    kind: Kind | None
    cues: tuple[ParsedCue, ...]
    findings: tuple[Finding, ...]


def kind_by_name(name: str) -> Kind | None:
    """The kind that the name of a file implies."""
    return next((kind for kind in get_args(Kind) if name.lower().endswith(f".{kind}")), None)


def decode(data: bytes) -> tuple[str, tuple[Finding, ...]]:
    """The bytes of a file as text, and what is wrong with its encoding.

    UTF-8 is what sites and the rules of WebVTT expect.
    """
    found = decode_text(data)
    if found.encoding == "UTF-8":
        return found.text, ()
    return found.text, (Finding("encoding", found.line, value=found.encoding, limit="UTF-8"),)


def parse(text: str, kind: Kind | None = None) -> SubtitleFile:
    """The cues of a text. `kind` is the one its name implies. A WebVTT header overrides it; without either, the first
    valid times decide.
    """
    findings: list[Finding] = []
    has_mark, text = text.startswith("\ufeff"), text.removeprefix("\ufeff")
    breaks = sorted({found[0] for found in _LINE_BREAK.finditer(text)}, key=[*_LINE_BREAK_NAMES].index)
    if len(breaks) > 1:
        findings.append(Finding("line-ends", 1, value=" and ".join(map(_LINE_BREAK_NAMES.__getitem__, breaks))))
    lines = _LINE_BREAK.split(text)
    for number, line in enumerate(lines, 1):
        if control := _CONTROL.search(line):
            findings.append(Finding("control", number, value=f"U+{ord(control[0]):04X}"))
    header = _HEADER.match(lines[0]) is not None
    if header and kind == "srt":
        findings.append(Finding("format", 1, value="WebVTT", limit="SubRip"))
    found: Kind = "vtt" if header else kind or _guess_kind(lines)
    if has_mark and found == "srt":  # WebVTT allows it
        findings.insert(0, Finding("bom", 1))
    reading = _Parser(found, findings)
    for block in _split_blocks(lines, found):
        reading.parse_block(block)
    if found == "vtt" and not header:
        findings.append(Finding("no-header", 1, limit="WEBVTT"))
    nothing = not header and text.strip() != "" and not reading.cues
    findings.sort(key=lambda finding: finding.line)
    return SubtitleFile(None if nothing else found, tuple(reading.cues), tuple(findings))


_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_LINE_BREAK_NAMES = {"\r\n": "CR LF", "\n": "LF", "\r": "CR"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HEADER = re.compile(r"WEBVTT(?=[ \t]|\Z)")
_COMMENT = re.compile(r"(?:NOTE|STYLE|REGION)(?=[ \t]|\Z)")

_VALID_TIMES: dict[Kind, re.Pattern[str]] = {
    "srt": re.compile(r"\d{2,}:[0-5]\d:[0-5]\d,\d{3} --> \d{2,}:[0-5]\d:[0-5]\d,\d{3}(?:[ \t].*)?", re.ASCII),
    "vtt": re.compile(
        r"(?:\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}[ \t]+-->[ \t]+(?:\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}(?:[ \t].*)?", re.ASCII
    ),
}
_TIMES_FORMAT: dict[Kind, str] = {"srt": "00:00:00,000 --> 00:00:00,000", "vtt": "00:00:00.000 --> 00:00:00.000"}

_TIME = r"(-?)(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,9})(?:[.,](\d{1,9}))?"
_READABLE_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?![\d:.,])", re.ASCII)
"""Times that can be understood, in whatever format."""
_TIMES_WITHOUT_ARROW = re.compile(
    rf"\s*(?=-?\d+:\d){_TIME}(?:\s*(?:-+>?|=+>|[–—→]>?)\s*|\s+)(?=-?\d+:\d){_TIME}\s*", re.ASCII
)
"""Two times with anything but an arrow between them."""
_NUMBER = re.compile(r"\s*(\d{1,9})\s*", re.ASCII)

_ENDLESS_REFERENCE = re.compile(r"&#\d{1000,};?", re.ASCII)
"""A reference to a character with more digits than Python may convert."""

_TAG: dict[Kind, re.Pattern[str]] = {
    # What players of SubRip take for a tag. They show any other "<", as in "1 < 2".
    "srt": re.compile(
        r"</?(?:b|i|u|s|font|c|v|lang|ruby|rt)(?=[\s.>])[^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE | re.ASCII
    ),
    "vtt": re.compile(r"<[^>]*(?:>|\Z)"),
}


_VOICE = re.compile(r"<v(?:\.[^ \t\n>]*)?[ \t\n]+([^<>]{0,1000})>|</v>")
"""Where a voice begins or ends."""


def _guess_kind(lines: Sequence[str]) -> Kind:
    """The kind of a file with neither a header nor a known name, judged by the first times in it."""
    for line in lines:
        for kind, strict in _VALID_TIMES.items():
            if "-->" in line and strict.fullmatch(line):
                return kind
    return "srt"


class _NumberedLine(NamedTuple):
    number: int
    text: str


def _split_blocks(lines: Sequence[str], kind: Kind) -> Iterator[list[_NumberedLine]]:
    """Lines between blank ones. A line of spaces is blank in SubRip, for players, but not in WebVTT."""

    def has_text(line: _NumberedLine) -> bool:
        return bool(line.text.strip() if kind == "srt" else line.text)

    numbered = (_NumberedLine(number, text) for number, text in enumerate(lines, 1))
    return (list(block) for is_shown, block in groupby(numbered, has_text) if is_shown)


class _Parser:
    """Parses the blocks of a file, one after the other."""

    def __init__(self, kind: Kind, findings: list[Finding]) -> None:
        self.kind = kind
        self.cues: list[ParsedCue] = []
        self._findings = findings
        self._count = 0  # of cues, those included whose times can't be read
        self._expected = 1

    def parse_block(self, block: Sequence[_NumberedLine]) -> None:
        at = [k for k in range(len(block)) if self._has_times(block, k)]
        if self.kind == "vtt":
            if _COMMENT.match(block[0].text):
                return
            if block[0].number == 1 and _HEADER.match(block[0].text):
                # Text below the header, up to a blank line, is not shown.
                if not at:
                    return
                self._report("no-blank-line", block[at[0]].number, 1)
                block, at = block[at[0] :], [k - at[0] for k in at]
        if not at:
            self._report_stray(block)
            return
        # Each cue begins with its number, or with its times if there is none.
        starts = [max(0, at[0] - 1)]
        starts += [k - 1 if k - 1 > above and _NUMBER.fullmatch(block[k - 1].text) else k for above, k in pairwise(at)]
        self._report_stray(block[: starts[0]])
        for start, k, stop in zip(starts, at, [*starts[1:], len(block)], strict=True):
            if start > starts[0]:
                self._report("no-blank-line", block[start].number, self._count + 1)
            self._parse_cue(block[start].text if start < k else None, block[k], block[k + 1 : stop])

    def _has_times(self, block: Sequence[_NumberedLine], k: int) -> bool:
        """In the first two lines of a block an arrow or two times are enough; further down only times with an arrow."""
        text = block[k].text
        if k > 1 or (k == 1 and self._has_times(block, 0)):
            return "-->" in text and _READABLE_TIMES.match(text) is not None
        below_label = k == 0 or self.kind == "vtt" or _NUMBER.fullmatch(block[0].text) is not None
        return "-->" in text or (below_label and _TIMES_WITHOUT_ARROW.fullmatch(text) is not None)

    def _parse_cue(self, label: str | None, line: _NumberedLine, below: Sequence[_NumberedLine]) -> None:
        self._count += 1
        if self.kind == "srt":
            self._check_number(label, line)
        times = self._parse_times(line)
        for number, text in below:
            if "-->" in text:
                self._report("arrow-in-text", number, self._count, text=text.strip())
        raw = "\n".join(text for _, text in below)
        shown = self._without_tags(raw)
        lines = tuple(text for piece in shown.split("\n") if (text := piece.strip()))
        if not lines:
            self._report("empty", line.number, self._count)
        if times is not None:
            self.cues.append(ParsedCue(self._count, line.number, *times, lines, tuple(self._voices(raw))))

    def _without_tags(self, raw: str) -> str:
        shown = _TAG[self.kind].sub("", raw)
        return _resolve_entities(shown) if self.kind == "vtt" else shown

    def _voices(self, raw: str) -> Iterator[Voice]:
        """The text of a cue by speaker. Without any voice tag, nobody is known to say it."""
        name: str | None = None
        begin = 0
        for tag in [*(_VOICE.finditer(raw) if self.kind == "vtt" else ()), None]:
            text = " ".join(self._without_tags(raw[begin : None if tag is None else tag.start()]).split())
            if text:
                yield name, text
            if tag is not None:
                name = " ".join(_resolve_entities(tag[1] or "").split()) or None
                begin = tag.end()

    def _check_number(self, label: str | None, line: _NumberedLine) -> None:
        number = _NUMBER.fullmatch(label) if label is not None else None
        if number is None:
            self._report("no-number", line.number, self._count, value=label, limit=self._expected)
        elif int(number[1]) != self._expected:
            self._report("number", line.number - 1, self._count, value=int(number[1]), limit=self._expected)
        self._expected = (int(number[1]) if number else self._expected) + 1

    def _parse_times(self, line: _NumberedLine) -> tuple[int, int] | None:
        text = line.text.strip()
        found = _READABLE_TIMES.match(text)
        if "-->" not in text:
            found = _TIMES_WITHOUT_ARROW.fullmatch(text)
            self._report("no-arrow", line.number, self._count, value=text, limit=_TIMES_FORMAT[self.kind])
        elif found is None or not _VALID_TIMES[self.kind].fullmatch(line.text):
            self._report("bad-time", line.number, self._count, value=text, limit=_TIMES_FORMAT[self.kind])
        if found is None:
            return None
        start, end = _to_ms(*found.groups()[:5]), _to_ms(*found.groups()[5:])
        return None if start is None or end is None else (start, end)

    def _report_stray(self, block: Sequence[_NumberedLine]) -> None:
        if block:
            self._report("stray-text", block[0].number, text=" ".join(text.strip() for _, text in block))

    def _report(
        self, rule: str, line: int, cue: int | None = None, value: Value = None, limit: Value = None, text: str = ""
    ) -> None:
        self._findings.append(Finding(rule, line, cue, value, limit, text))


def _resolve_entities(text: str) -> str:
    return html.unescape(_ENDLESS_REFERENCE.sub("\ufffd", text))


def _to_ms(sign: str, hours: str | None, minutes: str | None, seconds: str, fraction: str | None) -> int | None:
    """Milliseconds; None if the last part has three or more digits: then it is milliseconds after a wrong separator, as
    in 01:000."""
    if minutes is not None and len(seconds) > 2:
        return None
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds)
    return (-1 if sign else 1) * (whole * 1000 + int((fraction or "").ljust(3, "0")[:3]))
