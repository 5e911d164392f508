"""Writes cues as SubRip (.srt) and WebVTT (.vtt).

Pure: cues in, text out. The text of more cues begins with the text of fewer, so that a live session can append. Must
never change the times of a cue, nor its text except for what the format can't express.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..text_encoding import join_surrogates

ESTIMATED_NOTE = "times within the text are estimated"
"""The comment before the first cue with such times."""

CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_ARROW = re.compile(r"-{2,}>")
_TAG = re.compile(r"<(\s*/?\s*(?:[\w!?][^>]*)?)>")
_BRACES = re.compile(r"\{([^}]*)\}")
_BACKSLASH = re.compile(r"\\(?=[Nnh])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LOOKALIKES = str.maketrans("&<>{}\\", "＆‹›()∖")
"""For names in voice tags: ffmpeg, and players that use it, show entities and escapes there as text."""

WordOffsets = tuple[tuple[int, int], ...]
"""For each word of a line: the offset of its first character, and when it is said, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Text that is shown on the screen for a while.

    start, end        milliseconds
    lines             from top to bottom, none of them empty
    estimated         whether `start` or `end` is
    marks             for each line, its words; empty if they aren't known
    words_estimated   whether any time in `marks` is estimated, except the first, which is `start`
    speaker           who says all of it, if known
    """

    start: int
    end: int
    lines: tuple[str, ...]
    estimated: bool = field(default=False, compare=False)
    marks: tuple[WordOffsets, ...] = field(default=(), compare=False)
    words_estimated: bool = field(default=False, compare=False)
    speaker: str | None = None


class SrtWriter:
    """Writes a SubRip file piece by piece: `write` returns what new cues add to it.

    SubRip has no escapes. What players would take for markup is written with similar characters: <b> as ‹b›, {x} as
    (x), the \\ of \\N, \\n and \\h as ∖; an arrow loses a dash. `crlf`: lines end with CR LF.
    """

    def __init__(self, *, crlf: bool = False) -> None:
        self._break = "\r\n" if crlf else "\n"
        self._count = 0

    def write(self, cues: Iterable[Cue]) -> str:
        blocks: list[str] = []
        for cue in cues:
            if lines := _escape_srt([text for line in cue.lines if (text := clean_line(line))]):
                above = [""] if self._count else []
                self._count += 1
                times = f"{_format_time(cue.start, ',')} --> {_format_time(cue.end, ',')}"
                blocks.append(self._break.join([*above, str(self._count), times, *lines, ""]))
        return "".join(blocks)


class VttWriter:
    """Writes a WebVTT file piece by piece, like SrtWriter. The first `write` returns the header, too.

    A cue whose speaker is known begins with a voice tag: <v Anna>. Markup in a name is written with similar
    characters, as in SubRip.

    notes             comments after the header, which no player shows
    highlight_words   words carry the times at which players highlight them
    """

    def __init__(self, notes: Iterable[str] = (), *, highlight_words: bool = False) -> None:
        self._head = "".join(["WEBVTT\n", *(_note(text) for note in notes if (text := clean_line(note)))])
        self._highlight_words = highlight_words
        self._estimated = False

    def write(self, cues: Iterable[Cue]) -> str:
        blocks, self._head = [self._head], ""
        for cue in cues:
            if lines := self._lines(cue):
                if cue.speaker is not None and (name := clean_line(cue.speaker)):
                    lines[0] = f"<v {name.translate(_LOOKALIKES)}>{lines[0]}"
                if (cue.estimated or (cue.words_estimated and self._highlight_words)) and not self._estimated:
                    self._estimated = True
                    blocks.append(_note(ESTIMATED_NOTE))
                times = f"{_format_time(cue.start, '.')} --> {_format_time(cue.end, '.')}"
                blocks.append("\n".join(["", times, *lines, ""]))
        return "".join(blocks)

    def note(self, text: str) -> str:
        """A comment after the cues so far."""
        return self.write([]) + _note(clean_line(text))

    def _lines(self, cue: Cue) -> list[str]:
        tidy = [(line, text) for line in cue.lines if (text := clean_line(line))]
        if not self._highlight_words or len(cue.marks) != len(cue.lines) or any(a != b for a, b in tidy):
            return [text.translate(_ENTITIES) for _, text in tidy]
        lines, latest = [], cue.start
        for line, marks in zip(cue.lines, cue.marks, strict=True):
            parts = [line[: marks[0][0] if marks else None].translate(_ENTITIES)]
            for (begins, time), (ends, _) in pairwise((*marks, (len(line), 0))):
                if latest < time < cue.end:  # players expect times that rise within the cue, or show nothing at all
                    parts.append(f"<{_format_time(time, '.')}>")
                    latest = time
                parts.append(line[begins:ends].translate(_ENTITIES))
            lines.append("".join(parts))
        return lines


def srt(cues: Iterable[Cue], *, crlf: bool = False) -> str:
    """Cues as a SubRip file."""
    return SrtWriter(crlf=crlf).write(cues)


def vtt(cues: Iterable[Cue], notes: Iterable[str] = (), *, highlight_words: bool = False) -> str:
    """Cues as a WebVTT file."""
    return VttWriter(notes, highlight_words=highlight_words).write(cues)


def _note(text: str) -> str:
    return f"\nNOTE {_ARROW.sub('->', text)}\n"


def _escape_srt(lines: Sequence[str]) -> list[str]:
    """The lines of a SubRip cue without anything that is markup in one line or across two."""
    text = _ARROW.sub("->", "\n".join(lines))
    if "<" in text or "{" in text or "\\" in text:
        text = _TAG.sub(lambda tag: "‹" + tag[1].replace("<", "‹") + "›", text)
        text = _BRACES.sub(lambda braces: "(" + braces[1].replace("{", "(") + ")", text)
        text = _BACKSLASH.sub("\N{SET MINUS}", text)
    return text.split("\n") if text else []


def _format_time(time: int, point: str) -> str:
    seconds = time // 1000
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{time % 1000:03}"


def clean_line(text: str) -> str:
    """A text as one line without control characters and lone surrogates."""
    return _SURROGATES.sub("\ufffd", " ".join(CONTROLS.sub("", join_surrogates(text)).split()))
