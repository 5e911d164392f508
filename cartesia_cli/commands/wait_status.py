"""What a live session waits for while a person sees nothing move, in words for the live view.

Must never decide how long anybody waits.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..output.live_rows import WORTH_TELLING, Wait
from ..session import Session
from ..session.interfaces import Connect, Connection, StopSignal
from ..session.loop import Phase

STARTING = Wait(("starting…",))


class WaitStatus:
    """Follows the connections and the source of a session.

    host          to which connections are opened
    microphone    whether the audio comes from one: nobody is heard before it is open
    """

    def __init__(self, host: str, *, microphone: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._host, self._microphone, self._clock = host, microphone, clock
        self._is_open = self._has_been_open = self._has_audio = False
        self._news = ""
        self._kind, self._since = "", 0.0

    @property
    def is_listening(self) -> bool:
        """Whether audio comes."""
        return self._has_audio

    def following(self, connect: Connect) -> Connect:
        """The same, but it is known when it waits."""

        @asynccontextmanager
        async def opened(again: bool) -> AsyncIterator[Connection]:
            self._is_open = False
            async with connect(again) as line:
                self._is_open = self._has_been_open = True
                self._news = ""
                try:
                    yield line
                finally:
                    self._is_open = False

        return opened

    def audio_came(self) -> None:
        """The source gave audio."""
        self._has_audio = True

    def tell(self, sentence: str) -> None:
        """Something about a connection that is being made, of interest until it is there."""
        self._news = sentence

    def current(self, session: Session, stop: StopSignal) -> Wait | None:
        """None while audio goes out."""
        behind = f", {session.behind:.0f} s behind" if session.behind >= WORTH_TELLING else ""
        kind, words = self._waited_for(session, stop, behind)
        if kind != self._kind:
            self._kind, self._since = kind, self._clock()
        return Wait(words, self._clock() - self._since) if words else None

    def _waited_for(self, session: Session, stop: StopSignal, behind: str) -> tuple[str, tuple[str, ...]]:
        """A word for the kind of waiting, and the words for people, from most to fewest."""
        early = "" if self._has_audio or not self._microphone else "not listening yet: "
        if not self._is_open and session.phase is not Phase.HANDOFF and not session.is_idle:
            if self._has_been_open:
                brief = f"connection lost: reconnecting{behind}"
                full = f"{self._news}{behind}" if self._news else brief
                return "reconnecting", (full, brief, f"reconnecting{behind}", "reconnecting")
            told = f"connecting to {self._host}"
            return "connecting", (f"{early}{self._news or told}", f"{early}{told}", told, "connecting")
        if session.phase is Phase.STREAMING:
            if early:
                return "microphone", (f"{early}opening the microphone", "opening the microphone", "starting")
            return "", ()
        told = f"waiting for the last words{behind}"
        if stop.asked.is_set():
            return "last words", (f"{told}; Ctrl-C again ends at once", "last words; Ctrl-C ends at once", "last words")
        return "last words", (told, "last words")
