"""The recording of a page with a player: where it is from there, its waveform, and a copy in the page if wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...errors import InputError
from ...output import Media
from ...output.console import Reporter

if TYPE_CHECKING:
    from ...audio.pcm import Samples

MAX_EMBEDDED_BYTES = 64 << 20
"""Largest recording in a page: four and a half hours."""


def find_recording(audio: Path | None, saved: Path, source: str) -> Path | None:
    """The recording of a transcript: the one that is named, or else the one that the transcript names, in this folder
    or beside the transcript. None if there is none; raises InputError if the named one isn't there.

    A transcript that names no recording is called like its own file, which isn't taken for one.

    audio    the named one, or None
    saved    where the transcript is
    source   what the transcript names
    """
    named = Path(source)
    candidates = (audio,) if audio is not None else (named, saved.parent / named, saved.parent / named.name)
    found = next((file for file in candidates if file.is_file() and (audio or not file.samefile(saved))), None)
    if audio is not None and found is None:
        raise InputError(f"{audio} does not exist", hint="--audio names the recording of the transcript")
    return found


class PageMedia:
    """Prepares a recording for the pages of its transcript, once.

    recording   the file; None if there is none
    linked      whether it stays where it is, so that a page can refer to it
    embed       whether pages carry a copy of it
    raw         encoding and rate (Hz) of samples without a header, which no browser plays from a link
    """

    def __init__(
        self,
        recording: Path | None,
        reporter: Reporter,
        *,
        linked: bool,
        embed: bool,
        raw: tuple[str, int] | None = None,
    ) -> None:
        self._recording, self._reporter = recording, reporter
        self._linked, self._embed, self._raw = linked and raw is None, embed, raw
        self._media: Media | None = None

    def beside(self, page: Path | None) -> Media:
        """The recording, as seen from a page; None: from a page on stdout, which is taken to be in this folder."""
        media = self._media = self._media or self._prepare()
        if self._recording is None or not self._linked or media.embedded:
            return media
        folder = Path.cwd() if page is None else page.parent.resolve()
        link = os.path.relpath(self._recording.resolve(), folder)
        return Media(quote(os.fsencode(link.replace(os.sep, "/"))), peaks=media.peaks, peak_seconds=media.peak_seconds)

    def _prepare(self) -> Media:
        if self._recording is None:
            if self._embed:
                missing = "none is found in this folder or beside the transcript; --audio FILE names it"
                self._reporter.warn(f"the page has no copy of the recording: {missing}")
            return Media()
        from ...audio.encoders import OPUS_RATE, OPUS_TYPE, opus
        from ...audio.level import peaks
        from ...audio.pcm import RATE

        try:
            waveform, seconds = peaks(self._decode(self._recording, RATE))
            copy = opus(self._decode(self._recording, OPUS_RATE), MAX_EMBEDDED_BYTES) if self._embed else b""
        except InputError as error:
            lacking = "neither a waveform nor a copy of the recording" if self._embed else "no waveform"
            self._reporter.warn(f"the page has {lacking}: {error.message}")
            return Media()
        if copy is None:
            limit = MAX_EMBEDDED_BYTES >> 20
            self._reporter.warn(f"the recording is not in the page: it would take more than {limit} MiB")
        return Media(embedded=copy or b"", type=OPUS_TYPE if copy else "", peaks=waveform, peak_seconds=seconds)

    def _decode(self, recording: Path, rate: int) -> Iterator[Samples]:
        from ...audio.files import Decoder
        from ...audio.probing import display_name
        from ...audio.probing.bounded_reader import open_regular_file

        if self._raw is None:
            yield from Decoder(rate=rate).decode_file(recording)
            return
        name = display_name(recording)
        with open_regular_file(recording, name) as (file, _):
            yield from Decoder(rate=rate).decode_raw(file, *self._raw, name)
