"""Copies text to the user's clipboard with an escape sequence of the terminal (OSC 52).

OSC 52 needs neither a program nor a display, and works through SSH. Terminals don't confirm it, and some ignore it.
Must never write to anything but a terminal, nor copy part of a text.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from typing import TextIO

from ..errors import OutputError
from ..text_encoding import join_surrogates
from .quiet_program import succeeds

MAX_BYTES = 74_994
"""Bytes of text that fit, as base64, in the 100,000 that hterm and others accept in one sequence."""

SCREEN_MAX_BYTES = 240
"""Bytes in one sequence for GNU screen: its limit was 256 before version 4.2, later 512 and 768."""


def copy(text: str, stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Copy `text` through the terminal `stream`, whose live view must be cleared.

    False, and nothing is written, if the stream isn't a terminal or the terminal is dumb. Raises OutputError if the
    text is too long, or the terminal is gone.
    """
    if not stream.isatty() or environ.get("TERM", "dumb") == "dumb":
        return False
    data = join_surrogates(text).encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise OutputError(
            f"the text is too long for the clipboard: {len(data):,} bytes, and terminals take {MAX_BYTES:,}",
            hint="save it with -o FILE",
        )
    if environ.get("TMUX") and _copy_by_tmux(data, environ):
        return True
    try:
        stream.write(osc52_sequence(data, environ))
        stream.flush()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"the clipboard can't be reached: {reason}") from error
    return True


def describe_support(environ: Mapping[str, str]) -> str:
    """Whether the terminal of this environment can be expected to copy, in words. It can't be asked."""
    if environ.get("TERM", "dumb") == "dumb":
        return "none"
    if environ.get("TERM_PROGRAM") == "Apple_Terminal":
        return "none: Apple's Terminal ignores OSC 52"
    if environ.get("TMUX"):
        return "through tmux, if its option set-clipboard is on"
    if environ.get("STY"):
        return "through screen, if the terminal around it knows OSC 52"
    if environ.get("VTE_VERSION"):
        return "uncertain: most terminals based on VTE ignore OSC 52"
    return "by OSC 52, if the terminal knows it"


def osc52_sequence(data: bytes, environ: Mapping[str, str]) -> str:
    """The escape sequence, wrapped for the terminal multiplexer in between, if there is one."""
    plain = f"\033]52;c;{b64encode(data).decode()}\a"
    if environ.get("TMUX"):
        doubled = plain.replace("\033", "\033\033")
        return f"\033Ptmux;{doubled}\033\\"
    if environ.get("STY"):
        pieces = (plain[at : at + SCREEN_MAX_BYTES] for at in range(0, len(plain), SCREEN_MAX_BYTES))
        return "".join(f"\033P{piece}\033\\" for piece in pieces)
    return plain


def _copy_by_tmux(data: bytes, environ: Mapping[str, str]) -> bool:
    """Ask tmux to set the clipboard of its terminal. False if it can't be asked.

    With its default settings, tmux ignores the sequence (from 2.6) and doesn't pass on a wrapped one (from 3.3), but
    sets the clipboard on request (from 3.2). Versions that can't be asked pass on the wrapped sequence.
    """
    return succeeds(["tmux", "load-buffer", "-w", "-"], environ, data)
