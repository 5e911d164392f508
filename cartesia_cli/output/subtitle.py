"""Subtitle files: the cues of `subtitles`, written down as the layout has them."""

from __future__ import annotations

from .. import subtitles
from ..profiles import STANDARD
from ..transcript import Transcript
from . import Layout


def srt(transcript: Transcript, layout: Layout) -> str:
    return subtitles.srt(subtitles.cues(transcript, layout.rules or STANDARD), crlf=layout.crlf)


def vtt(transcript: Transcript, layout: Layout) -> str:
    notes = (f"{transcript.source}, {transcript.model}",)
    found = subtitles.cues(transcript, layout.rules or STANDARD)
    return subtitles.vtt(found, notes, highlight_words=layout.highlight_words)
