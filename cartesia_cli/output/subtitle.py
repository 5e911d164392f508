"""Subtitle files: the cues of `subtitles`, written down."""

from __future__ import annotations

from .. import subtitles
from ..transcript import Transcript
from . import Layout


def srt(transcript: Transcript, layout: Layout) -> str:
    return subtitles.srt(subtitles.cues(transcript))


def vtt(transcript: Transcript, layout: Layout) -> str:
    return subtitles.vtt(subtitles.cues(transcript), notes=(f"{transcript.source}, {transcript.model}",))
