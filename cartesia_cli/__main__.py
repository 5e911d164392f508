"""Console entry point: serves --version, --help and completion without importing Typer.

Must stay cheap for these three: nothing at module level but the standard library's os and sys.
"""

from __future__ import annotations

import os
import sys

PROGRAM = "cartesia-cli"

HOTKEY_SIGNALS = ("SIGUSR1", "SIGUSR2")
"""Signals that `listen` offers for desktop hot keys. A hot key bound to `pkill -USR1 cartesia-cli` reaches every
command that is running.
"""

RENDERING_VARIABLES = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERMINAL_WIDTH", "TYPER_USE_RICH")
"""Variables of the environment that change what Typer and rich make of a help page."""

STOPPED = (129, 130, 143)
"""Exit codes after SIGHUP, Ctrl-C and SIGTERM: Exit.HUNG_UP, Exit.INTERRUPTED and Exit.TERMINATED."""

CLEANUP_SECONDS = 3.0
"""How long a stopped command waits for an engine that is being loaded, which takes a second or two."""

FLUSH_SECONDS = 1.0
"""How long to wait then for what is still to be written."""

SAVED_COLUMNS = 80
"""Width of the saved help pages."""


def main() -> int:
    """Run the command line that the process was started with; ends the process.

    Returns an exit code only where a test keeps `os._exit` from ending it.
    """
    if not os.path.isabs(os.environ.get("HOME", os.sep)):  # an empty one would be / to Python, others relative
        del os.environ["HOME"]  # then it is looked up in the system's list of users
    arguments = sys.argv[1:]
    if arguments[:1] == ["__complete"]:
        from .completion import answer

        return _leave(answer(arguments[1:]))
    text = _saved_answer(arguments)
    if text is not None and _print(text):
        return _leave(0)
    _ignore_hotkeys()
    _defer_garbage_collection()
    try:
        from .cli import main as run

        code = run(arguments)
    except KeyboardInterrupt:  # during the imports; afterwards `cli` handles the signal
        code = 130
    return _leave(code)


def _saved_answer(arguments: list[str]) -> str | None:
    """The text that `--version` or `--help` alone prints; None if Typer has to render it.

    `make completions` writes the pages. They are what Typer renders into a pipe, where it assumes 80 columns, and on
    a terminal of 80 columns.
    """
    if arguments in (["--version"], ["-V"]):
        from . import __version__

        return f"{PROGRAM} {__version__}\n"
    if not arguments or len(arguments) > 2 or arguments[-1] not in ("--help", "-h"):
        return None
    from .commands import COMMANDS

    name = arguments[0] if len(arguments) == 2 else PROGRAM
    suffix = _page_suffix()
    if suffix is None or name not in (PROGRAM, *COMMANDS):
        return None
    try:
        with open(os.path.join(os.path.dirname(__file__), "help", name + suffix), encoding="utf-8") as page:
            return page.read()
    except OSError:
        return None


def _page_suffix() -> str | None:
    """Which of the saved pages suits stdout; None if none does."""
    if sys.stdout is None or any(variable in os.environ for variable in RENDERING_VARIABLES):
        return None
    if not sys.stdout.isatty():
        return ".txt"
    try:
        wide_enough = os.get_terminal_size(sys.stdout.fileno()).columns >= SAVED_COLUMNS
    except OSError:
        return None
    plain = os.name == "nt" or os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return ".ansi" if wide_enough and not plain and sys.stdout.encoding.lower() == "utf-8" else None


def _print(text: str) -> bool:
    """Print a text. False if it can't be printed: `cli` then fails in the same way and reports it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, UnicodeError):
        return False
    return True


def _ignore_hotkeys() -> None:
    """Keep the signals of hot keys from ending the process, which is what they do by default.

    Handlers that do nothing, not SIG_IGN, which child processes would inherit.
    """
    import signal

    for name in HOTKEY_SIGNALS:
        if number := getattr(signal, name, None):
            signal.signal(number, lambda number, frame: None)


def _defer_garbage_collection() -> None:
    """Keep the garbage collector out of the start: it finds nothing among imported modules, and takes a tenth of the
    time of a short command, which imports some 50,000 objects.

    Whoever runs longer reaches the first collection. It exempts everything that exists by then, so that later ones
    are short, as live sessions need them.
    """
    import gc

    def exempt_what_exists(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(exempt_what_exists)
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)

    gc.callbacks.append(exempt_what_exists)
    gc.set_threshold(100_000, 20, 20)


def _leave(code: int) -> int:
    """End the process now: everything is written.

    Finalizing the interpreter takes time; and after Ctrl-C, a thread that is still busy with a network or a model could
    delay it without limit. It could also be writing to a pipe that nobody reads.
    """
    try:
        if code in STOPPED:
            import signal
            import threading

            from .daemon_thread import wait_for_temporary_files

            for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # another Ctrl-C needn't hurry what ends soon
                if number := getattr(signal, name, None):
                    signal.signal(number, signal.SIG_IGN)
            flushing = threading.Thread(target=_flush, args=[code], daemon=True)
            flushing.start()
            flushing.join(FLUSH_SECONDS)
            wait_for_temporary_files(CLEANUP_SECONDS)
        else:
            code = _flush(code)
    finally:  # whatever a signal raised before it was ignored
        os._exit(code)
    return code


def _flush(code: int) -> int:
    """Write what is buffered. Returns the exit code: 1 instead of 0 if that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            code = code if isinstance(error, BrokenPipeError) else code or 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
