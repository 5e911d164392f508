"""What C libraries print to stderr by themselves, kept off the screen while they are at work.

PortAudio, ALSA and JACK tell of every device that isn't there, and PortAudio's own thread of one that is unplugged, at
any moment. They all write by C's `stderr`, and Python never does: so that is pointed elsewhere, and file descriptor 2,
on which other threads draw, stays as it is. Must never lose a word of our own.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def quiet() -> Iterator[None]:
    """No chatter while the block runs. Elsewhere than with glibc, whose `stderr` can be set, they may still talk."""
    streams = _streams()
    if streams is None:
        yield
        return
    variable, theirs, nowhere = streams
    variable.value = nowhere
    try:
        yield
    finally:
        variable.value = theirs


@cache
def _streams() -> tuple[ctypes.c_void_p, int | None, int] | None:
    """The variable, what was in it, and a stream that goes nowhere; kept, since a thread may be writing to it."""
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
        variable = ctypes.c_void_p.in_dll(libc, "stderr")
        libc.fopen.restype = ctypes.c_void_p
        nowhere = libc.fopen(os.fsencode(os.devnull), b"w")
    except (AttributeError, OSError, ValueError):
        return None
    return (variable, variable.value, nowhere) if nowhere else None
