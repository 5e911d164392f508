"""Subtitle and lyrics files: SubRip (.srt), WebVTT (.vtt), Advanced SubStation Alpha (.ass), and LRC (.lrc).

Subtitles are the cues that `subtitles` makes. LRC has a line for each segment, or several if it is long; the format
has no end times and no hours, only minutes. Must never change, drop or duplicate a word, whatever times it has, and no
line of LRC may begin before the one above it: players sort them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import subtitles
from ..alignment import find_word_ends
from ..speakers import speaker_label
from ..subtitles.breaks import UNSPACED
from ..subtitles.profiles import STANDARD, Rules
from ..text_width import text_width
from ..timestamps import clock_time, to_ms
from ..transcript import Notice, Transcript
from . import Layout
from .sanitize import one_line, title

MAX_LRC_COLUMNS = 42
"""Columns of a line of LRC, unless a single word has more."""

_LRC_TAG = re.compile(r"\[(?=\s*\w+\s*:)|<(?=\s*\d+:)")
"""What players would take for a time, or for a tag such as [offset:500]."""

_BRACKETS = str.maketrans("[]", "()")


def srt(transcript: Transcript, layout: Layout) -> str:
    return subtitles.srt(subtitles.cues(transcript, layout.rules, labels=True), crlf=layout.crlf)


def vtt(transcript: Transcript, layout: Layout) -> str:
    """WebVTT, whose first comments name the recording and the model, and repeat the notices."""
    comments = (f"{title(transcript.source)}, {transcript.model}", *map(notice_text, transcript.notices))
    cues = subtitles.cues(transcript, layout.rules)
    return subtitles.vtt(cues, comments, highlight_words=layout.highlight_words)


def ass(transcript: Transcript, layout: Layout) -> str:
    from ..subtitles.ass import ass as write

    rules = layout.rules or STANDARD
    return write(subtitles.cues(transcript, rules, labels=True), rules, title(transcript.source))


def notice_text(notice: Notice) -> str:
    """A notice as a comment in a file."""
    return f"{clock_time(notice.at)} {notice.message}"


def lrc(transcript: Transcript, layout: Layout) -> str:
    """Tags, then lines that begin with minutes, seconds and hundredths. The tag `re` says if times are estimated."""
    estimated, lines, latest = transcript.has_estimated_segments, [], 0
    speaker = None
    for part in _split_by_segment(transcript):
        own = part.segments[0].speaker if part.segments else None
        said = _lrc_lines(part, label=own is None or own != speaker)
        speaker = own
        for start, text, is_estimate in said:
            latest, estimated = max(latest, start), estimated or is_estimate
            lines.append(f"[{_lrc_time(round(latest / 10))}]" + _LRC_TAG.sub(r"\g<0> ", text))
    duration = transcript.duration
    tags = {
        "ti": "" if transcript.source == "-" else title(transcript.source),
        "length": "" if duration is None else _lrc_time(round(duration) * 100)[:-3],
        "re": "cartesia-cli, times are estimated" if estimated else "cartesia-cli",
    }
    head = [f"[{name}:{value.translate(_BRACKETS)}]" for name, value in tags.items() if value]
    return "\n".join([*head, *lines]) + "\n"


def _split_by_segment(transcript: Transcript) -> Iterator[Transcript]:
    """A transcript for each segment, with its words if all of them are in it; the whole one if it has no segments."""
    if not transcript.segments:
        yield transcript
    for segment, words in zip(transcript.segments, transcript.words_by_segment(), strict=True):
        if segment.text:
            words = words if find_word_ends(segment.text, words) else ()
            yield transcript._replace(text=segment.text, duration=None, segments=(segment,), words=words or None)


def _lrc_lines(part: Transcript, *, label: bool) -> Iterator[tuple[int, str, bool]]:
    """Lines of LRC: the millisecond at which each begins, its text, and whether that time is estimated.

    label   whether the first one says who speaks
    """
    text = one_line(part.text)
    start = to_ms(part.segments[0].start) if part.segments else None
    name = speaker_label(part.segments[0].speaker, MAX_LRC_COLUMNS // 2) if part.segments and label else ""
    if text and start is not None and text_width(name + text) <= MAX_LRC_COLUMNS:
        yield start, name + text, False
    elif text:
        longest_word = max((text_width(word) for word in text.split() if not UNSPACED.search(word)), default=0)
        rules = Rules(max_line_width=max(MAX_LRC_COLUMNS, longest_word), max_line_count=1, sentences=True)
        for cue in subtitles.cues(part, rules, labels=label):
            yield cue.start, one_line(" ".join(cue.lines)), cue.estimated


def _lrc_time(hundredths: int) -> str:
    """Minutes, seconds and hundredths: 62:03.45."""
    seconds, hundredths = divmod(hundredths, 100)
    return f"{seconds // 60:02}:{seconds % 60:02}.{hundredths:02}"
