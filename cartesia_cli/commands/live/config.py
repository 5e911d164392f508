"""What a live session streams, to which endpoint, and where its results go, as `listen` and `stream-file` choose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...audio.vad import VadSettings
from ...output import Layout
from ...protocol.realtime import Endpoint, RealtimeOptions
from ...record import Record
from ...transcript import Segment
from ..batch.output_plan import Targets
from .interaction import KeyActions
from .options import StreamOptions

if TYPE_CHECKING:  # only --page needs its server
    from ...output.live_page import Captions


class SessionConfig(Record):
    """What a session streams, to which endpoint, and where its results go.

    source         name of the source in results
    model          the model that results name
    endpointing    settings of the endpointer that listens to everything that is sent
    finalize       whether the endpointer sends `finalize` at the end of an utterance
    stream_options how audio is sent
    targets        file for each format; None: stdout
    seconds        expected length of the audio; None if it is unknown
    force          whether existing files may be overwritten
    append         file that gets a line for each segment, or None
    on_segment     called with each settled segment, or None
    copy           whether the text is copied to the clipboard
    stop_after_silence   seconds of silence after speech that end the session, or None
    captured       returns when the newest audio left the microphone, in seconds of time.monotonic(); None for a file
    microphone     what keys and signals do, and what they have done to the microphone; None for a file
    speed          seconds of audio that the source delivers per second
    captions       where a page gets the text from, or None
    """

    source: str
    endpoint: Endpoint
    options: RealtimeOptions
    model: str
    endpointing: VadSettings
    finalize: bool
    stream_options: StreamOptions
    targets: Targets
    layout: Layout
    seconds: float | None = None
    force: bool = False
    append: Path | None = None
    on_segment: Callable[[Segment], None] | None = None
    copy: bool = False
    stop_after_silence: float | None = None
    captured: Callable[[], float] | None = None
    microphone: KeyActions | None = None
    speed: float = 1.0
    captions: Captions | None = None
