"""The front door: answers what needs no house to be lit, and hands everything else to `cli`.

Python alone takes 11 ms to start, Typer 60 more.
"""

from __future__ import annotations

import os
import sys

HOTKEY_SIGNALS = ("SIGUSR1", "SIGUSR2")
"""What `listen` offers to hot keys of a desktop. Whoever binds `pkill -USR1 cartesia-cli` reaches all commands."""


def main() -> int:
    """The console script."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from . import __version__

        sys.stdout.write(f"cartesia-cli {__version__}\n")
        return 0
    if arguments[:1] == ["__complete"]:
        from .completion import answer

        return answer(arguments[1:])
    _survive_hotkeys()
    import gc

    # Looking for garbage among modules as they come in finds none, and takes a tenth of the start.
    gc.set_threshold(50_000, 20, 20)
    try:
        from .cli import main as run

        code = run(arguments)
    except KeyboardInterrupt:  # while the house was still being lit: `cli` has its own answer
        code = 130
    _leave(code)
    return code


def _survive_hotkeys() -> None:
    """Until `listen` is ready for them, and in every other command, the signals of hot keys do nothing.

    By itself, the system ends a program that they reach. A handler, since children would inherit that they are
    ignored.
    """
    import signal

    for name in HOTKEY_SIGNALS:
        if number := getattr(signal, name, None):
            signal.signal(number, lambda number, frame: None)


def _leave(code: int) -> None:
    """End the process now: everything is written, and nothing is worth waiting for.

    Taking the interpreter apart takes 25 ms; and a network or a model that is still at it in some thread,
    after Ctrl-C, would take as long as it likes.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            code = code if isinstance(error, BrokenPipeError) else code or 1
    os._exit(code)


if __name__ == "__main__":
    raise SystemExit(main())
