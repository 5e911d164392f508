"""Who takes part in a session: where audio comes from, what carries it, who watches, and who says that it's over.

Seams only: nothing here does anything but `Stop`, which remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ..audio.pcm import AudioBlock
from ..audio.vad import VadEvent
from ..protocol import Command, Event
from ..tracker import UtteranceTimes
from ..transcript import Segment


@dataclass(frozen=True, slots=True)
class Skipped:
    """Time that passed at a source without audio that is to be sent: a paused microphone. seconds: how much."""

    seconds: float


class Source(Protocol):
    """Where audio comes from. Cancelled, it closes what it holds open; it never goes faster than real time."""

    def frames(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
        """Blocks of any length at the rate of the session, and the time that was skipped between them."""


class Connection(Protocol):
    """A connection to a realtime endpoint, as `client.realtime` makes it.

    Once it fails whoever sends, iterating ends as well, and tells why.
    """

    async def send(self, frame: bytes) -> None: ...

    async def command(self, command: Command) -> None: ...

    def __aiter__(self) -> AsyncIterator[Event]: ...


Connect = Callable[[bool], AbstractAsyncContextManager[Connection]]
"""Opens a connection. Its argument: whether another one was lost before it."""


CatchUp = Callable[[Iterable[bytes], float], Awaitable[list[Segment]]]
"""Has the rest of a session's audio transcribed at once: its blocks, and at how many seconds it begins.
Segments, and the words in them, are timed from the start of the session."""


class SessionObserver(Protocol):
    """Is told what happens, when it happens."""

    def audio_arrived(self, size: int) -> None:
        """So many bytes of audio came from the source."""

    def audio_sent(self, size: int) -> None:
        """So many bytes of audio went out."""

    def vad_event(self, mark: VadEvent) -> None:
        """The endpointer heard something."""

    def finalize_sent(self) -> None:
        """A `finalize` went out."""

    def utterance_measured(self, times: UtteranceTimes) -> None:
        """An utterance, or a turn, is over."""

    def rewound(self, at: float) -> None:
        """The connection was lost; what follows is the audio from so many seconds on."""


class NullObserver:
    """A witness that lets all pass."""

    def audio_arrived(self, size: int) -> None:
        return

    def audio_sent(self, size: int) -> None:
        return

    def vad_event(self, mark: VadEvent) -> None:
        return

    def finalize_sent(self) -> None:
        return

    def utterance_measured(self, times: UtteranceTimes) -> None:
        return

    def rewound(self, at: float) -> None:
        return


class StopSignal:
    """How a user says "that's all": once to finish, twice to be gone."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def request(self) -> None:
        (self.insisted if self.asked.is_set() else self.asked).set()
