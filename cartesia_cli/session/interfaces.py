"""What a session needs from others: where audio comes from, what carries it, who observes it, and who stops it.

Protocols, values, an observer that does nothing, and `StopSignal`, the one class with state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ..audio.pcm import AudioBlock
from ..audio.vad import VadEvent
from ..protocol.events import Event
from ..protocol.realtime import Command
from ..record import Record
from ..tracker import UtteranceTimes
from ..transcript import Segment


class Skipped(Record):
    """Time during which a source had no audio to send: its microphone was paused. seconds: how long."""

    seconds: float


class Source(Protocol):
    """Where audio comes from, no faster than real time. When cancelled, it closes what it has open."""

    def blocks(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
        """Blocks of any length at the sample rate of the session, and the time skipped between them."""


class Connection(Protocol):
    """A connection to a realtime endpoint, such as `client.realtime.RealtimeConnection`.

    Once sending fails, iterating ends as well, with the error that says why.
    """

    async def send(self, frame: bytes) -> None: ...

    async def send_command(self, command: Command) -> None: ...

    def __aiter__(self) -> AsyncIterator[Event]: ...


Connect = Callable[[bool], AbstractAsyncContextManager[Connection]]
"""Opens a connection. Its argument: whether an earlier one was lost."""

TranscribeRest = Callable[[Iterable[bytes], float], Awaitable[list[Segment]]]
"""Transcribes the rest of a session's audio in one request, given as PCM and the position in seconds where it starts.
Segments and their words are timed from the start of the session. Raises CliError if that fails."""


class SessionObserver:
    """Observes a session while it runs: subclasses override what they need. Methods must return at once."""

    def audio_arrived(self, size: int) -> None:
        """The source gave `size` bytes of audio; 0: it skipped time."""

    def audio_sent(self, size: int) -> None:
        """`size` bytes of audio have been handed to the socket."""

    def vad_event(self, event: VadEvent) -> None:
        """The endpointer noticed something in audio that has been sent."""

    def finalize_sent(self) -> None:
        """A `finalize` is about to be sent."""

    def utterance_measured(self, times: UtteranceTimes) -> None:
        """An utterance or a turn is over."""

    def rewound(self, position: float) -> None:
        """The connection was replaced: audio from `position` (seconds) on is sent again."""


class StopSignal:
    """How a user stops a session.

    requested    set by a command, or by the first signal: finish the session
    forced       set by the second one: end it immediately
    interrupts   whether there was a signal: then a session that has not begun isn't begun any more
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self.interrupts = False

    def interrupt(self) -> None:
        """There was a signal, such as that of Ctrl-C."""
        self.interrupts = True
        (self.forced if self.requested.is_set() else self.requested).set()
