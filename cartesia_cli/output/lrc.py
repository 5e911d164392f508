"""Lyrics with times (.lrc): a line for each segment, or several where it is long.

The format has no end times and no hours, only minutes. Must never change, lose or double a word, whatever times it
has, and no line may come before the one above it: players sort them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from .. import subtitles
from ..subtitles.breaks import UNSPACED, width
from ..subtitles.profiles import Rules
from ..transcript import Transcript
from . import Layout
from .offsets import is_estimated, known_time, milliseconds, segment_spans, word_spans
from .sanitize import one_line, title

LINE = 42
"""Columns that a line has at most, unless a single word has more."""

_TAG = re.compile(r"\[(?=\s*\w+\s*:)|<(?=\s*\d+:)")
"""What players would take for a time, or for a tag such as [offset:500]."""

_BRACKETS = str.maketrans("[]", "()")


def write_lrc(transcript: Transcript, layout: Layout) -> str:
    """Tags, then lines that begin with minutes, seconds and hundredths. The tag `re` tells where times are guessed."""
    guessed, lines, latest = is_estimated(transcript), [], 0
    for part in _parts(transcript):
        for start, text, guess in _lines(part):
            latest, guessed = max(latest, start), guessed or guess
            lines.append(f"[{_clock(round(latest / 10))}]" + _TAG.sub(r"\g<0> ", text))
    duration = known_time(transcript.duration)
    tags = {
        "ti": "" if transcript.source == "-" else title(transcript.source),
        "length": "" if duration is None else _clock(round(max(duration, 0)) * 100)[:-3],
        "re": "cartesia-cli, times are estimated" if guessed else "cartesia-cli",
    }
    head = [f"[{name}:{value.translate(_BRACKETS)}]" for name, value in tags.items() if value]
    return "\n".join([*head, *lines]) + "\n"


def _parts(transcript: Transcript) -> Iterator[Transcript]:
    """A transcript for each segment, with the words that are all in it; the whole one where the segments aren't it."""
    text, words = transcript.text, transcript.words or ()
    placed = list(zip(word_spans(text, words), (word for word in words if word.word.strip()), strict=False))
    places = segment_spans(text, transcript.segments)
    if not places:
        yield replace(transcript, segments=(), words=tuple(word for _, word in placed) or None)
        return
    at = 0
    for place, segment in zip(places, (segment for segment in transcript.segments if segment.text), strict=True):
        own = []
        while at < len(placed) and placed[at][0].first < place.last:
            if placed[at][0].first >= place.first and placed[at][0].last <= place.last:
                own.append(placed[at][1])
            at += 1
        yield replace(transcript, text=segment.text, duration=None, segments=(segment,), words=tuple(own) or None)


def _lines(part: Transcript) -> Iterator[tuple[int, str, bool]]:
    """Lines of at most LINE columns, each with the millisecond at which it begins, and whether that is a guess."""
    text = one_line(part.text)
    start = milliseconds(part.segments[0].start) if part.segments else None
    if text and start is not None and width(text) <= LINE:
        yield max(0, start), text, False
    elif text:
        longest = max((width(word) for word in text.split() if not UNSPACED.search(word)), default=0)
        rules = Rules(max_line_width=max(LINE, longest), max_line_count=1, sentences=True)
        for cue in subtitles.cues(part, rules):
            yield cue.start, one_line(" ".join(cue.lines)), cue.estimated


def _clock(hundredths: int) -> str:
    seconds, hundredths = divmod(hundredths, 100)
    return f"{seconds // 60:02}:{seconds % 60:02}.{hundredths:02}"
