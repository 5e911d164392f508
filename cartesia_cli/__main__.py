"""The front door: answers what needs no house to be lit, and hands everything else to `cli`.

Python alone takes 11 ms to start, Typer 60 more.
"""

from __future__ import annotations

import os
import sys


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
    try:
        from .cli import main as run

        code = run(arguments)
    except KeyboardInterrupt:  # while the house was still being lit: `cli` has its own answer
        code = 130
    if code >= 128:
        # Interrupted: threads that wait for a network or a model are not waited for.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
