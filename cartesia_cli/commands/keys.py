"""Keys and signals of a person while a session runs: which there are, what each stands for, and how they are read.

The terminal is put into cbreak mode: keys come one by one and unseen, and Ctrl-C and Ctrl-Z stay signals. Must leave
it as it was on every way out that a program can have, must never stop a program in the background for having touched
its terminal, and never decides what an action does.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

if sys.platform != "win32":
    import termios

ESCAPE_SECONDS = 0.1
"""What follows an Escape later than this is another key: a terminal sends a sequence at once, a network nearly so."""

WATCH_SECONDS = 0.5
"""How often a program in the background looks whether it has come to the foreground: most shells don't tell it."""

DEADLY = ("SIGTERM", "SIGHUP")
"""Signals that would end the program with the terminal as it is, where nobody else has taken them in hand."""

SIGNALS = {"SIGUSR1": "finalize", "SIGUSR2": "pause"}
"""For those who bind hot keys of their desktop: signal to action."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Keys that stand for an action.

    keys           as `Keyboard` names them; case doesn't matter
    action         a word for the program
    help           what it does, for people
    manual         whether the session has to be manual, or auto; None: either
    push_to_talk   whether it has to be push-to-talk; None: either
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
    Binding(("?",), "help", "show the keys"),
    Binding(("q",), "stop", "finish and write everything"),
)


def bindings(*, manual: bool, push_to_talk: bool) -> tuple[Binding, ...]:
    """The keys that do something in a session of this kind."""
    return tuple(
        binding
        for binding in BINDINGS
        if binding.manual in (None, manual) and binding.push_to_talk in (None, push_to_talk)
    )


def action(key: str, bindings: Sequence[Binding]) -> str | None:
    """What a key stands for, or None. Somebody's Caps Lock is no reason to do nothing."""
    return next((binding.action for binding in bindings if key.lower() in binding.keys), None)


def help_text(bindings: Sequence[Binding], legend: Sequence[tuple[str, str]] = ()) -> str:
    """A line for each binding, and for each entry of the legend: what is shown, and what it means."""
    named = [("/".join(map(_key_name, binding.keys)), binding.help) for binding in bindings]
    width = max(len(name) for name, _ in (*named, *legend))
    return "".join(f"{name:{width}}  {meaning}\n" for name, meaning in (*named, *legend))


def _key_name(key: str) -> str:
    return key.capitalize() if len(key) > 1 else key


_Handler = Callable[[int, FrameType | None], None]
"""Of a signal."""


class Keyboard:
    """Bytes of a terminal as keys: characters as they are, and "enter" and "space".

    Arrow keys, function keys, Alt with a key and answers of the terminal are sequences: nothing stands for them, and
    none of their characters is taken for a key.
    """

    # ECMA-48: CSI (5.4) and the control strings (5.6); SS3 as VT100 sends it, CSI [ x as Linux's console does.
    _KEY = re.compile(
        r"[^\x1b]|\x1b+(?:\[\[.|\[[0-?]*[ -/]*[@-Z\\-~]|O.|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[^\x1b\[O\]PX^_])",
        re.DOTALL,
    )

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._held = ""
        self._at = 0.0

    def feed(self, data: bytes, now: float) -> list[str]:
        """The keys that `data`, read at `now` seconds, completes."""
        if now - self._at > ESCAPE_SECONDS:
            self._held = ""
            self._decoder.reset()
        self._at = now
        text = self._held + self._decoder.decode(data)
        keys, at = [], 0
        while found := self._KEY.match(text, at):
            at = found.end()
            if not found[0].startswith("\x1b"):
                keys.append({"\r": "enter", "\n": "enter", " ": "space"}.get(found[0], found[0]))
        self._held = text[at:]
        return keys


@contextmanager
def keys(handle: Callable[[str], None], *, on_resume: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Tell `handle` each key for the length of the block; `on_resume`: the program was stopped, and goes on.

    Yields whether there is a terminal. To be entered in the main thread, in a running event loop, which calls both.
    """
    descriptor = _terminal()
    if descriptor is None:
        yield False
        return
    reading = _Reading(descriptor, handle, on_resume)
    with _signals(reading.ways_out()):
        try:
            reading.settle()
            yield True
        finally:
            reading.close()


@contextmanager
def signals(actions: Mapping[str, Callable[[], None]]) -> Iterator[None]:
    """Have the event loop call an action for each of SIGNALS, for the length of the block.

    A signal whose action isn't among them does nothing: it would end the program otherwise.
    """
    loop = asyncio.get_running_loop()

    def caller(name: str) -> _Handler:
        call = actions.get(name, lambda: None)
        return lambda number, frame: _soon(loop, call)

    with _signals({name: caller(action) for name, action in SIGNALS.items()}):
        yield


def _terminal() -> int | None:
    """The terminal where keys are typed, or None. Opened anew, since others must not find it non-blocking."""
    if sys.platform == "win32":
        return None
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    with suppress(OSError):  # stdin may be closed, or its terminal out of reach
        return os.open(os.ttyname(0), flags)
    with suppress(OSError):
        return os.open("/dev/tty", flags)
    return None


class _Reading:
    """A terminal while its keys are read: in cbreak mode as long as this program is in its foreground."""

    def __init__(self, descriptor: int, handle: Callable[[str], None], on_resume: Callable[[], None]) -> None:
        self._descriptor, self._handle, self._on_resume = descriptor, handle, on_resume
        self._loop = asyncio.get_running_loop()
        self._keyboard = Keyboard()
        self._mode = _Mode(descriptor)
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    def settle(self) -> None:
        """Read keys if we are in the foreground; if not, look again."""
        if self._closed:  # asked for by a signal that came just before
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        try:
            if self._in_foreground():
                self._mode.enter()
                self._loop.add_reader(self._descriptor, self._read)
            else:
                self._loop.remove_reader(self._descriptor)
                self._watch = self._loop.call_later(WATCH_SECONDS, self._look)
        except (OSError, termios.error):  # the terminal is gone
            self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        if self._watch is not None:
            self._watch.cancel()
        self._leave()
        self._closed = True
        os.close(self._descriptor)

    def ways_out(self) -> dict[str, _Handler]:
        """What to do about signals that nobody else has taken in hand, and beside `job_control`."""
        handlers: dict[str, _Handler] = {"SIGCONT": lambda number, frame: self._go_on()}
        for name in ("SIGTSTP", "SIGCONT", *DEADLY):
            before = signal.getsignal(signal.Signals[name])
            if before is signal.SIG_DFL:
                handlers.setdefault(name, self._obey)
            elif callable(before) and name not in DEADLY:
                handlers[name] = self._joining(before)
        return handlers

    def _joining(self, other: _Handler) -> _Handler:
        """The terminal left and entered again around another handler of Ctrl-Z or of its end."""

        def handle(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGTSTP:
                self._leave()
            other(number, frame)
            self._go_on()

        return handle

    def _obey(self, number: int, frame: FrameType | None) -> None:
        """Do what the signal does by itself, but leave the terminal as it was."""
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # The program has been stopped, and goes on here; or was not, if no shell is there that could let it go on.
        signal.signal(number, self._obey)
        _soon(self._loop, self.settle)

    def _go_on(self) -> None:
        _soon(self._loop, self.settle)
        _soon(self._loop, self._on_resume)

    def _look(self) -> None:
        self.settle()
        if self._watch is None:
            self._on_resume()

    def _leave(self) -> None:
        # From the background, setting a mode would stop us; and the mode is another's by then.
        with suppress(OSError, termios.error):
            if not self._closed and self._in_foreground():
                self._mode.leave()

    def _in_foreground(self) -> bool:
        """OSError where the terminal is gone."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError as error:
            if error.errno == errno.ENOTTY:  # not the terminal of our session: there is no background
                return True
            raise

    def _read(self) -> None:
        data = b""
        try:
            if not self._in_foreground():
                self.settle()
                return
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:  # another program was quicker
            return
        except OSError:
            pass
        if not data:
            self._loop.remove_reader(self._descriptor)
        for key in self._keyboard.feed(data, self._loop.time()):
            self._handle(key)


@dataclass(slots=True)
class _Mode:
    """Cbreak mode of a terminal. Only what was changed is put back: others may be at it at the same time."""

    descriptor: int
    _cleared: int = field(default=0, init=False)
    _counts: dict[int, bytes | int] = field(default_factory=dict, init=False)

    def enter(self) -> None:
        """Also when the mode may be entered already: a shell may have changed it while we were stopped."""
        mode = termios.tcgetattr(self.descriptor)
        clear = mode[3] & (termios.ECHO | termios.ICANON)
        if not clear:
            return
        if not self._cleared:
            self._counts = {place: mode[6][place] for place in (termios.VMIN, termios.VTIME)}
        self._cleared |= clear
        mode[3] &= ~clear
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        # Not TCSADRAIN, which waits for ever where output is held up (Ctrl-S).
        termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)

    def leave(self) -> None:
        if not self._cleared:
            return
        mode = termios.tcgetattr(self.descriptor)
        mode[3] |= self._cleared
        for place, count in self._counts.items():
            mode[6][place] = count
        termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)
        self._cleared = 0


@contextmanager
def _signals(handlers: Mapping[str, _Handler]) -> Iterator[None]:
    """Handlers by name of signal, for the length of the block. Names that the system doesn't know are passed over."""
    before = {
        signal.Signals[name]: signal.signal(signal.Signals[name], handler)
        for name, handler in handlers.items()
        if name in signal.Signals.__members__
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """From a signal handler: the loop may be anywhere, also beyond its end."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
