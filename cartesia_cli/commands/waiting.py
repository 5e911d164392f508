"""What a live session waits for while a person sees nothing move: told at the foot of the terminal, with its seconds.

Must never decide how long anybody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..output.live import WORTH_TELLING, LiveView
from ..session import Session
from ..session.loop import Phase
from ..session.parties import Connect, Line, Stop

TICK = 0.25
"""Seconds between two looks: a connection that comes at once isn't worth a word."""


class Waiting:
    """Has the view show what is waited for.

    host   to which connections are opened
    draw   draws the view as it is now
    """

    def __init__(self, host: str, view: LiveView, draw: Callable[[], None]) -> None:
        self._host = host.encode("ascii", "backslashreplace").decode()  # a column a character, on every terminal
        self._view, self._draw = view, draw
        self._is_open = False

    def reached(self, connect: Connect) -> Connect:
        """The same, but it is known when it waits."""

        @asynccontextmanager
        async def opened(again: bool) -> AsyncIterator[Line]:
            self._is_open = False
            async with connect(again) as line:
                self._is_open = True
                yield line

        return opened

    async def run(self, session: Session, stop: Stop) -> None:
        """The session, to its end; the view is drawn again and again, whatever happens, or nothing."""
        self._view.awaited = lambda: self._awaited(session, stop)
        ticking = asyncio.create_task(self._tick())
        try:
            await session.run(stop)
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._draw()

    def _awaited(self, session: Session, stop: Stop) -> tuple[str, ...]:
        """From most to fewest words; none while audio goes out."""
        behind = f", {session.behind:.0f} s behind" if session.behind >= WORTH_TELLING else ""
        if not self._is_open:
            told = f"connecting to {self._host}"
            return f"{told}{behind}", told, "connecting"
        if session.phase is Phase.TALKING:
            return ()
        told = f"waiting for the last words{behind}"
        if stop.asked.is_set():
            return f"{told}; Ctrl-C again ends at once", "last words; Ctrl-C ends at once", "last words"
        return told, "last words"
