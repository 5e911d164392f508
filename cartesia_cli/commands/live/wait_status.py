"""Describes, for the live view, what a session is waiting for: a connection, the microphone or the last words.

Must never decide how long to wait.
"""

from __future__ import annotations

import time

from ...output.live_view import MIN_SHOWN_BEHIND_SECONDS, Wait
from ...session import Session
from ...session.interfaces import StopSignal
from ...session.loop import Phase

STARTING = Wait(("starting…",))


class WaitStatus:
    """Tracks whether a session is connected and has audio.

    host          host of the connections
    microphone    whether the source is a microphone: nothing is captured before it is open
    has_audio     whether audio has arrived; the session sets it
    """

    def __init__(self, host: str, *, microphone: bool) -> None:
        self._host, self._microphone = host, microphone
        self._is_open = self._has_been_open = self.has_audio = False
        self._detail = ""
        self._kind, self._since = "", 0.0

    def connected(self) -> None:
        """A connection is open."""
        self._is_open = self._has_been_open = True
        self._detail = ""

    def disconnected(self) -> None:
        """It has ended."""
        self._is_open = False

    def set_detail(self, sentence: str) -> None:
        """Show a message about the connection attempt until it succeeds."""
        self._detail = sentence

    def current_wait(self, session: Session, stop: StopSignal) -> Wait | None:
        """What the session is waiting for; None while audio is being sent."""
        behind = (
            f", {session.unsent_seconds:.0f} s behind" if session.unsent_seconds >= MIN_SHOWN_BEHIND_SECONDS else ""
        )
        kind, words = self._describe(session, stop, behind)
        if kind != self._kind:
            self._kind, self._since = kind, time.monotonic()
        return Wait(words, time.monotonic() - self._since) if words else None

    def _describe(self, session: Session, stop: StopSignal, behind: str) -> tuple[str, tuple[str, ...]]:
        """The kind of wait, and its descriptions from longest to shortest."""
        early = "" if self.has_audio or not self._microphone else "not listening yet: "
        if not self._is_open and session.phase is not Phase.TRANSCRIBING_REST and not session.is_idle:
            if self._has_been_open:
                brief = f"connection lost: reconnecting{behind}"
                full = f"{self._detail}{behind}" if self._detail else brief
                return "reconnecting", (full, brief, f"reconnecting{behind}", "reconnecting")
            brief = f"connecting to {self._host}"
            return "connecting", (f"{early}{self._detail or brief}", f"{early}{brief}", brief, "connecting")
        if session.phase is Phase.STREAMING:
            if early:
                return "microphone", (f"{early}opening the microphone", "opening the microphone", "starting")
            return "", ()
        full = f"waiting for the last words{behind}"
        if stop.requested.is_set():
            return "last words", (f"{full}; Ctrl-C again ends at once", "last words; Ctrl-C ends at once", "last words")
        return "last words", (full, "last words")
