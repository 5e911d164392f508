"""Reads the keys and signals of a live session, and maps them to actions.

The terminal is put into cbreak mode: keys arrive one by one without echo, and Ctrl-C and Ctrl-Z stay signals. Must
restore the terminal however the program ends, must never touch it from the background (the program would be stopped),
and must never decide what an action does.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from ...errors import Interrupted
from ...output.job_control import SignalHandler, is_ignored, job_control, signal_handlers
from ...record import Record
from ...session.interfaces import StopSignal

if sys.platform != "win32":
    import termios
    import tty

ESCAPE_SECONDS = 0.1
"""Seconds within which the bytes after an Escape belong to its sequence: terminals send a sequence at once."""

FOREGROUND_POLL_SECONDS = 0.5
"""Seconds between checks whether the program is in the foreground again: most shells send no signal."""

STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""They would end the program without restoring the terminal, or writing anything."""

HOTKEY_SIGNALS = {"SIGUSR1": "finalize", "SIGUSR2": "pause"}
"""Signal to action, for hot keys of a desktop."""


class Binding(Record):
    """Keys bound to an action.

    keys           names as `KeyDecoder` gives them, case-insensitive
    action         name of the action
    help           what it does, for `?`
    manual         True: manual mode only; False: auto mode only; None: both
    push_to_talk   True: with push-to-talk only; False: without it only; None: both
    """

    keys: tuple[str, ...]
    action: str
    help: str
    manual: bool | None = None
    push_to_talk: bool | None = None


BINDINGS = (
    Binding(("space",), "talk", "hold while you talk, or tap", push_to_talk=True),
    Binding(("enter", "space"), "finalize", "end the utterance now", manual=True, push_to_talk=False),
    Binding(("enter",), "finalize", "end the utterance now", manual=True, push_to_talk=True),
    Binding(("p",), "pause", "pause or resume"),
    Binding(("m",), "mark", "mark this spot"),
    Binding(("u",), "undo", "drop the last segment"),
    Binding(("+",), "threshold_up", "raise the end threshold", manual=False),
    Binding(("-",), "threshold_down", "lower the end threshold", manual=False),
    Binding(("l",), "language_hints", "change the language hints"),
    Binding(("k",), "keyterms", "change the key terms"),
    Binding(("?",), "help", "show the keys"),
    Binding(("q",), "stop", "finish and write everything"),
)


def bindings(*, manual: bool, push_to_talk: bool) -> tuple[Binding, ...]:
    """The bindings that apply to this kind of session."""
    return tuple(
        binding
        for binding in BINDINGS
        if binding.manual in (None, manual) and binding.push_to_talk in (None, push_to_talk)
    )


def action_for(key: str, bindings: Sequence[Binding]) -> str | None:
    """The action of a key, or None. Caps Lock makes no difference."""
    return next((binding.action for binding in bindings if key.lower() in binding.keys), None)


def help_text(bindings: Sequence[Binding], legend: Sequence[tuple[str, str]] = ()) -> str:
    """One line for each binding and for each entry of the legend, a pair of symbol and meaning."""
    named = [("/".join(map(_key_name, binding.keys)), binding.help) for binding in bindings]
    width = max(len(name) for name, _ in (*named, *legend))
    return "".join(f"{name:{width}}  {meaning}\n" for name, meaning in (*named, *legend))


def _key_name(key: str) -> str:
    return key.capitalize() if len(key) > 1 else key


class KeyDecoder:
    """Decodes a terminal's bytes to keys: single characters, "enter" and "space".

    Arrow keys, function keys, Alt combinations and the terminal's replies are escape sequences: they are ignored, and
    none of their characters is taken for a key.
    """

    # ECMA-48: CSI (5.4) and the control strings (5.6); SS3 as VT100 sends it, CSI [ x as Linux's console does.
    _KEY = re.compile(
        r"[^\x1b]|\x1b+(?:\[\[.|\[[0-?]*[ -/]*[@-Z\\-~]|O.|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[^\x1b\[O\]PX^_])",
        re.DOTALL,
    )

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._incomplete = ""
        self._last_read = 0.0

    def decode(self, data: bytes, now: float) -> list[str]:
        """The keys completed by `data`, which was read at `now` (seconds)."""
        if now - self._last_read > ESCAPE_SECONDS:
            self._incomplete = ""
            self._decoder.reset()
        self._last_read = now
        text = self._incomplete + self._decoder.decode(data)
        keys, end = [], 0
        while match := self._KEY.match(text, end):
            end = match.end()
            if not match[0].startswith("\x1b"):
                keys.append({"\r": "enter", "\n": "enter", " ": "space"}.get(match[0], match[0]))
        self._incomplete = text[end:]
        return keys


@contextmanager
def read_keys(handle: Callable[[str], None], *, on_resume: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Call `handle` for each key while the block runs, and `on_resume` when the program resumes after Ctrl-Z.

    Yields whether there is a terminal. Must be entered in the main thread within a running event loop, which makes both
    calls.
    """
    descriptor = _terminal()
    if descriptor is None:
        yield False
        return
    reading = _TerminalReader(descriptor, handle, on_resume)
    with job_control(reading.restore_mode, reading.resume):
        try:
            reading.update()
            yield True
        finally:
            reading.close()


@contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[None]:
    """While the block runs, the first of STOP_SIGNALS asks the session to finish, the second to end at once, and the
    third raises Interrupted. In another thread than the main one, signals have no effect; nor has SIGHUP under nohup.
    """
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield
        return
    loop = asyncio.get_running_loop()
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise Interrupted
        _call_soon(loop, stop.interrupt)

    with signal_handlers({name: handle for name in STOP_SIGNALS if name != "SIGHUP" or not is_ignored(name)}):
        yield


@contextmanager
def hotkey_signals(actions: Mapping[str, Callable[[], None]]) -> Iterator[None]:
    """Have the event loop call the action of each of HOTKEY_SIGNALS while the block runs.

    A signal without an action is ignored: by default it would end the program.
    """
    loop = asyncio.get_running_loop()

    def caller(name: str) -> SignalHandler:
        call = actions.get(name, lambda: None)
        return lambda number, frame: _call_soon(loop, call)

    with signal_handlers({name: caller(action) for name, action in HOTKEY_SIGNALS.items()}):
        yield


def _terminal() -> int | None:
    """A descriptor of the controlling terminal, or None. Opened anew, so that it is non-blocking for us only."""
    if sys.platform == "win32":
        return None
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    with suppress(OSError):  # stdin may be closed, or its terminal inaccessible
        return os.open(os.ttyname(0), flags)
    with suppress(OSError):
        return os.open("/dev/tty", flags)
    return None


class _TerminalReader:
    """Reads keys from a terminal, in cbreak mode while this program is in the foreground."""

    def __init__(self, descriptor: int, handle: Callable[[str], None], on_resume: Callable[[], None]) -> None:
        self._descriptor, self._handle, self._on_resume = descriptor, handle, on_resume
        self._loop = asyncio.get_running_loop()
        self._keyboard = KeyDecoder()
        self._mode: list[Any] | None = None
        """The mode in which the terminal was found, while it is in the one that was set here."""
        self._watch: asyncio.TimerHandle | None = None
        self._closed = self._is_resuming = False

    def update(self) -> None:
        """Start reading in the foreground; otherwise check again later."""
        if self._closed:  # a signal arrived just before
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        try:
            if self._in_foreground():
                self._enter_cbreak()
                self._loop.add_reader(self._descriptor, self._read)
            else:
                self._loop.remove_reader(self._descriptor)
                self._watch = self._loop.call_later(FOREGROUND_POLL_SECONDS, self._poll_foreground)
        except (OSError, termios.error):  # the terminal is gone
            self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        if self._watch is not None:
            self._watch.cancel()
        self.restore_mode()
        self._closed = True
        os.close(self._descriptor)

    def resume(self) -> None:
        """Read keys again, in the loop; called by signal handlers: after Ctrl-Z by that of SIGCONT, too."""
        if not self._is_resuming:
            self._is_resuming = True
            _call_soon(self._loop, self._resume)

    def _resume(self) -> None:
        self._is_resuming = False
        self.update()
        self._on_resume()

    def _poll_foreground(self) -> None:
        self.update()
        if self._watch is None:
            self._on_resume()

    def restore_mode(self) -> None:
        """Leave the terminal as it was found."""
        # In the background, setting a mode would stop this program, and the mode belongs to another one.
        with suppress(OSError, termios.error):
            if self._mode is not None and not self._closed and self._in_foreground():
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._mode)
                self._mode = None

    def _enter_cbreak(self) -> None:
        """Enter cbreak mode, again if needed: a shell may have changed the mode while the program was suspended."""
        mode = termios.tcgetattr(self._descriptor)
        if mode[3] & (termios.ECHO | termios.ICANON):  # otherwise another program has entered it, and restores it
            self._mode = self._mode or mode
            # Not with TCSADRAIN, which waits forever while output is stopped with Ctrl-S.
            tty.setcbreak(self._descriptor, termios.TCSANOW)

    def _in_foreground(self) -> bool:
        """Whether this program may use the terminal. Raises OSError if the terminal is gone."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError as error:
            if error.errno == errno.ENOTTY:  # not our controlling terminal, so without job control
                return True
            raise

    def _read(self) -> None:
        data = b""
        try:
            if not self._in_foreground():
                self.update()
                return
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:  # another program read it first
            return
        except OSError:
            pass
        if not data:
            self._loop.remove_reader(self._descriptor)
        for key in self._keyboard.decode(data, self._loop.time()):
            self._handle(key)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call from a signal handler; does nothing if the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
