"""Imports SRT and WebVTT files: a segment for each cue, or for each voice of a cue that has several."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from ..errors import InputError
from ..subtitles.parser import kind_by_name, parse
from ..transcript import Segment, join_texts
from .draft import Draft, end_estimated

_TIMES = re.compile(r"^[-\d:., \t]{0,40}\d:\d\d[.,]?\d{0,9}[ \t]*-->", re.MULTILINE | re.ASCII)


def is_subtitle_file(text: str) -> bool:
    """Whether a text has times of cues, or the header of WebVTT, and isn't JSON."""
    head = text.removeprefix("\ufeff").lstrip()
    return head.startswith("WEBVTT") or (head[:1] not in ("{", "[", '"') and _TIMES.search(head) is not None)


def subtitle_file(text: str, source: str, warn: Callable[[str], None]) -> Draft:
    """The cues of a file, in the order of their times. Raises InputError if times can't be read, so that no text is
    lost unnoticed.

    warn   is called if the cues were in another order
    """
    subtitles = parse(text, kind_by_name(source))
    for finding in subtitles.findings:
        times_unread = finding.rule in ("bad-time", "no-arrow") and finding.cue not in {
            c.number for c in subtitles.cues
        }
        is_astray = finding.rule == "stray-text" and not finding.text.isdecimal()
        if times_unread or (is_astray and not any(cue.line < finding.line for cue in subtitles.cues)):
            what = f"times can't be read: {finding.value}" if times_unread else f"text without times: {finding.text}"
            hint = "`cartesia-cli check` lists all that is wrong"
            if subtitles.kind is None:  # `check` doesn't take it for a subtitle file
                hint = "a cue begins with its times: 00:00:01,000 --> 00:00:02,500"
            raise InputError(f"{source}, line {finding.line}: {what[:200]}", hint=hint)
    if not subtitles.cues:
        raise InputError(f"{source} has no cues", hint="is it cut off?")
    astray = {
        max(cue.number for cue in subtitles.cues if cue.line < finding.line): finding.text
        for finding in subtitles.findings
        if finding.rule == "stray-text" and not finding.text.isdecimal()
    }
    # Players show cues at their times, wherever they are in the file. In a transcript, times can't fall: those of cues
    # out of order would be replaced by estimates.
    cues = sorted(subtitles.cues, key=lambda cue: cue.start)
    if cues != [*subtitles.cues]:
        warn(f"{source}: the cues were out of order: they are sorted by their start times")
    segments: list[Segment] = []
    for cue in cues:
        stray = [*filter(None, [astray.get(cue.number)])]
        said = [(cue.speaker, join_texts([*cue.lines, *stray]))]
        if len(cue.voices) > 1 and cue.speaker is None:
            said = [*cue.voices[:-1], (cue.voices[-1][0], join_texts([cue.voices[-1][1], *stray]))]
        segments += [Segment(cue.start / 1000, cue.end / 1000, text, "server", speaker=name) for name, text in said]
    starts = [*(segment.start for segment in segments[1:]), math.inf]
    segments = [_repair_end(segment, following) for segment, following in zip(segments, starts, strict=True)]
    spoken = tuple(segment for segment in segments if segment.text)
    return Draft(join_texts(segment.text for segment in spoken), segments=spoken, has_units=True)


def _repair_end(segment: Segment, following: float) -> Segment:
    """Give a segment that ends before it begins an estimated end, no later than the next segment."""
    return segment if segment.end >= segment.start else end_estimated(segment, following)
