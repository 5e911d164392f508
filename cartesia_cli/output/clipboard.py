"""The clipboard of the person at the terminal, wherever that is: set by a sequence that the terminal itself obeys.

OSC 52 needs no program and no display, and goes through SSH. No terminal answers it, and some ignore it: that the
text has been handed over is all that can be said. Must never write to what is no terminal, nor a part of a text.
"""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from typing import TextIO

from ..errors import OutputError
from ..text_encoding import join_surrogates

MAX_BYTES = 74_994
"""Bytes of text: as base64, with what surrounds it, the 100,000 that hterm and others take in one sequence."""

SCREEN_MAX_BYTES = 240
"""Bytes in a sequence of GNU screen's: 256, all told, was the limit before its version 4.2, later 512 and 768."""

TMUX_TIMEOUT_SECONDS = 5


def copy(text: str, stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Put `text` on the clipboard of whoever sits at the terminal `stream`, its live view cleared.

    False where that is no terminal, or one that knows no sequences: nothing is written. OutputError where the text is
    too long, or the terminal is gone.
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


def osc52_sequence(data: bytes, environ: Mapping[str, str]) -> str:
    """What a terminal must be told, wrapped up for the multiplexer that stands between."""
    plain = f"\033]52;c;{b64encode(data).decode()}\a"
    if environ.get("TMUX"):
        doubled = plain.replace("\033", "\033\033")
        return f"\033Ptmux;{doubled}\033\\"
    if environ.get("STY"):
        pieces = (plain[at : at + SCREEN_MAX_BYTES] for at in range(0, len(plain), SCREEN_MAX_BYTES))
        return "".join(f"\033P{piece}\033\\" for piece in pieces)
    return plain


def _copy_by_tmux(data: bytes, environ: Mapping[str, str]) -> bool:
    """Have tmux tell the terminal that it runs in.

    As it comes, tmux (from 2.6) ignores the sequence of a program within it, and (from 3.3) doesn't pass on what is
    wrapped up for it, but sets the clipboard when it is asked to (from 3.2). Where it can't be asked, it passes on.
    """
    try:
        asked = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"],
            input=data,
            env=dict(environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TMUX_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
