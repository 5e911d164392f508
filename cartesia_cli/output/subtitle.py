"""Subtitle files: the cues of `subtitles`, written down as the layout has them."""

from __future__ import annotations

from .. import subtitles
from ..subtitles.profiles import STANDARD
from ..transcript import Notice, Transcript
from . import Layout
from .live_rows import clock_time
from .sanitize import title


def srt(transcript: Transcript, layout: Layout) -> str:
    return subtitles.srt(subtitles.cues(transcript, layout.rules or STANDARD), crlf=layout.crlf)


def vtt(transcript: Transcript, layout: Layout) -> str:
    notes = (f"{title(transcript.source)}, {transcript.model}", *map(notice_text, transcript.notices))
    found = subtitles.cues(transcript, layout.rules or STANDARD)
    return subtitles.vtt(found, notes, highlight_words=layout.highlight_words)


def notice_text(notice: Notice) -> str:
    """A notice for whoever reads the file."""
    return f"{clock_time(notice.at)} {notice.message}"
