"""What keys, signals and `--control` can do to a live session while it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ...protocol.realtime import Command, Config


class Controls(Protocol):
    """What the user can do to a running session."""

    def send_command(self, command: Command) -> bool:
        """Send a command to the server; False if the session is ending and it can't be sent."""

    def settings(self) -> Config:
        """The settings as they are: those of the session's options, with all changes that weren't refused."""

    def stop(self) -> None:
        """Finish the session and write everything."""

    def mark(self) -> None:
        """Add a mark at the current time."""

    def undo(self) -> None:
        """Drop the last segment from every output that can still be changed, and say which ones already have it."""

    def redraw(self) -> None:
        """Draw the live view again, after another program used the terminal."""


Interaction = Callable[[Controls], AbstractContextManager[object]]
"""A context manager that lets the user control a session while it runs: it reads keys and handles signals."""
