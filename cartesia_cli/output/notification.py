"""One desktop notification: by the terminal where it has an escape sequence for that, else by the desktop, else a bell.

The terminal comes first because it also works through SSH. Must never write an escape sequence to a terminal that isn't
known to understand it, nor to a file, and never fail.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from .quiet_program import succeeds
from .sanitize import one_line
from .taskbar_progress import is_multiplexed

TITLE = "cartesia-cli"

MAX_CHARACTERS = 200

BELL = "\a"

APPLESCRIPT = (
    "on run argv",
    f'display notification (item 1 of argv) with title "{TITLE}"',
    "end run",
)


def notify(text: str, stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Show `text` as a notification. `stream` is written to if it is a terminal. False if there was no way to do it."""
    text = one_line(text)[:MAX_CHARACTERS]
    if stream.isatty() and (sequence := _sequence(text, environ)):
        return _write(sequence, stream)
    if (command := _command(text, environ)) and succeeds(command, environ):
        return True
    return stream.isatty() and _write(BELL, stream)


def _sequence(text: str, environ: Mapping[str, str]) -> str | None:
    """The escape sequence of the terminal; None if none is known."""
    if is_multiplexed(environ):
        return None  # neither passes it on by default, but both ring the bell
    term = environ.get("TERM", "")
    match environ.get("TERM_PROGRAM"):
        case "ghostty" | "WezTerm":
            return _osc_777(text)
        case "iTerm.app":
            return f"\033]9;{TITLE}: {text}\a"
        case None | "" if term == "xterm-kitty":
            return f"\033]99;i=1:d=0;{TITLE}\033\\\033]99;i=1:p=body;{text}\033\\"
        case None | "" if term == "foot" or term.startswith("foot-"):
            return _osc_777(text)
    return None


def _osc_777(text: str) -> str:
    return f"\033]777;notify;{TITLE};{text.replace(';', ',')}\033\\"


def _command(text: str, environ: Mapping[str, str]) -> Sequence[str] | None:
    """The command that shows a notification on the desktop of this machine; None if nobody may sit there."""
    if environ.get("SSH_CONNECTION"):
        return None
    path = environ.get("PATH")
    if sys.platform == "darwin" and (program := shutil.which("osascript", path=path)):
        return [program, *(word for line in APPLESCRIPT for word in ("-e", line)), text]
    has_desktop = environ.get("WAYLAND_DISPLAY") or environ.get("DISPLAY")
    if has_desktop and (program := shutil.which("notify-send", path=path)):
        return [program, f"--app-name={TITLE}", "--", TITLE, text]
    return None


def _write(sequence: str, stream: TextIO) -> bool:
    try:
        stream.write(sequence)
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
