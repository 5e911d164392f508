"""What the user can do to a live session, and what keys and signals do to it.

They finalize, pause, talk, mark, undo, and change settings.

Must never open a device, nor reach into a session except by its `Controls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Literal, Protocol

from ...audio.input_check import InputMonitor
from ...audio.pcm import RATE, AudioBlock, Silence
from ...audio.wav_writer import BYTES_PER_SAMPLE, AudioSource
from ...output.console import Reporter
from ...output.live_view import LiveView
from ...protocol.realtime import (
    LEGACY_EAGER_END_THRESHOLD,
    PARAMETER_LIMITS,
    TURN_DEFAULTS,
    Command,
    Config,
    Finalize,
    TurnConfig,
    keyterms_problem,
    language_hints_problem,
)
from ...session.interfaces import Skipped
from .keys import BINDINGS, action_for, bindings, help_text, hotkey_signals, read_keys

THRESHOLD_STEP = 0.05
"""Change of the end threshold for each press of `+` or `-`."""

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = PARAMETER_LIMITS["turn_end_threshold"]
"""End thresholds that the service accepts."""

RELEASE_SECONDS = 0.3
"""Seconds without a repeat that count as a release: terminals report none, but repeat a held key 10 times a second."""


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


@dataclass(eq=False)
class PausableSource:
    """A microphone that can be paused, and that warns about problems with its sound.

    While it is paused, manual mode sends nothing. Auto mode sends silence at the same rate, which is billed: its server
    would otherwise wait for audio forever, and turns end by silence (API docs: stt/troubleshooting).

    paused           whether the microphone is off: at first, and then as keys change it
    sends_silence    whether silence is sent while it is off
    on_first_block   called when the first audio arrives
    rate             sample rate in Hz
    """

    source: AudioSource
    warn: Callable[[str], None]
    on_first_block: Callable[[], None]
    _: KW_ONLY
    sends_silence: bool
    paused: bool = False
    rate: int = RATE

    async def blocks(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
        monitor, first = InputMonitor(self.rate), True
        silence, position = Silence(), 0
        async with aclosing(self.source.blocks()) as blocks:
            async for block in blocks:
                if first:
                    first = False
                    self.on_first_block()
                if self.paused:
                    size = len(block.pcm)
                    if self.sends_silence:
                        yield AudioBlock(silence.read(position, size), silence, position)
                        position += size
                    else:
                        yield Skipped(size / BYTES_PER_SAMPLE / self.rate)
                else:
                    for problem in monitor.check(block.samples):
                        self.warn(problem)
                    yield block


@dataclass(slots=True)
class _Prompt:
    """A line in which the user edits a list of settings.

    label       what it is for
    setting     field of a `Config`
    separator   what is between the entries, when they are shown
    """

    label: str
    setting: Literal["language_hints", "keyterms"]
    separator: str
    text: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        """The entries. Key terms may contain spaces, codes of languages don't."""
        text = self.text if self.setting == "keyterms" else self.text.replace(" ", ",")
        return tuple(entry.strip() for entry in text.split(",") if entry.strip())

    def press(self, key: str) -> None:
        """Add a character, or delete: Backspace the last one, Ctrl-U all of them."""
        if key in ("\x7f", "\b"):
            self.text = self.text[:-1]
        elif key == "\x15":
            self.text = ""
        elif key == "space" or (len(key) == 1 and key.isprintable()):
            self.text += " " if key == "space" else key


class KeyActions:
    """Runs the actions of keys and signals in one session, which is shown by `view`.

    microphone       what is paused and resumed
    manual           whether the endpoint has `finalize`; otherwise it has turn thresholds
    push_to_talk     whether the microphone is on only while space is held
    counts_silence   whether silence ends utterances
    billed           whether audio that is sent costs credits
    """

    _controls: Controls

    def __init__(
        self,
        microphone: PausableSource,
        reporter: Reporter,
        view: LiveView,
        *,
        manual: bool,
        push_to_talk: bool,
        counts_silence: bool,
        billed: bool,
    ) -> None:
        self._microphone, self._reporter, self._view = microphone, reporter, view
        self._manual, self._push_to_talk = manual, push_to_talk
        self._prompt: _Prompt | None = None
        self._limit_reported = False
        self._counts_silence, self._billed = counts_silence, billed
        self._bindings = bindings(manual=manual, push_to_talk=push_to_talk)
        self._release: asyncio.TimerHandle | None = None

    @property
    def on_air(self) -> bool:
        """Whether the microphone's audio is sent."""
        return not self._microphone.paused

    @property
    def resume_hint(self) -> str:
        """Which key resumes the microphone."""
        return "hold space to talk" if self._push_to_talk else "p resumes"

    @property
    def prompt(self) -> str:
        """The line that the user is typing, with what it is for; empty if there is none."""
        return "" if self._prompt is None else f"{self._prompt.label}: {self._prompt.text}"

    @contextmanager
    def interact(self, controls: Controls) -> Iterator[None]:
        """Read keys and handle signals while a session runs."""
        self._controls = controls
        actions: dict[str, Callable[[], None]] = {
            "finalize": self._finalize,
            "pause": self._toggle_pause,
            "talk": self._press_space,
            "mark": controls.mark,
            "undo": controls.undo,
            "threshold_up": lambda: self._shift_threshold(THRESHOLD_STEP),
            "threshold_down": lambda: self._shift_threshold(-THRESHOLD_STEP),
            "language_hints": lambda: self._ask(_Prompt("language hints", "language_hints", " ")),
            "keyterms": lambda: self._ask(_Prompt("key terms", "keyterms", ", ")),
            "help": self._show_help,
            "stop": controls.stop,
        }

        def handle(key: str) -> None:
            if self._prompt is not None:
                self._type(key, self._prompt)
                return
            # A key of the other mode is explained rather than ignored.
            if (name := action_for(key, self._bindings) or action_for(key, BINDINGS)) is not None:
                actions[name]()

        try:
            with read_keys(handle, on_resume=controls.redraw), hotkey_signals(actions):
                yield
        finally:
            if self._release is not None:
                self._release.cancel()

    def _finalize(self) -> None:
        if self._manual:
            self._controls.send_command(Finalize())
        else:
            self._reporter.info("in auto mode the server ends turns; with --mode manual you do")

    def _press_space(self) -> None:
        """The space bar finalizes. With push-to-talk, audio is sent while it is held, or from one tap to the next."""
        if not self._push_to_talk:
            self._finalize()
        elif not self.on_air:
            self._toggle_pause()
        else:
            # A second tap or a repeat of the held key: it is released when no more repeats follow.
            if self._release is not None:
                self._release.cancel()
            loop = asyncio.get_running_loop()
            self._release = loop.call_later(RELEASE_SECONDS, self._release_space)

    def _release_space(self) -> None:
        if self.on_air:
            self._toggle_pause()

    def _toggle_pause(self) -> None:
        microphone = self._microphone
        microphone.paused = not microphone.paused
        if microphone.paused and self._manual:
            self._controls.send_command(Finalize())
        if not self._push_to_talk:
            self._reporter.info(f"paused: {self._pause_effect()}; p resumes" if microphone.paused else "resumed")
        elif not self._view.active:  # the view shows it otherwise
            self._reporter.info("paused: hold space to talk" if microphone.paused else "on air")
        self._controls.redraw()

    def _pause_effect(self) -> str:
        if self._manual:
            return "nothing is sent"
        return "silence is sent (and billed)" if self._billed else "silence is sent"

    def _shift_threshold(self, by: float) -> None:
        if self._manual:
            self._reporter.info("turn thresholds apply to --mode auto only")
            return
        turn = self._controls.settings().turn
        old = turn.end_threshold or TURN_DEFAULTS.end_threshold or 0.0
        eager = turn.eager_end_threshold or TURN_DEFAULTS.eager_end_threshold or 0.0
        highest = max(old, min(HIGHEST_THRESHOLD, eager - THRESHOLD_STEP))
        new = round(min(highest, max(LOWEST_THRESHOLD, old + by)), 2)
        if new == old:
            if not self._limit_reported:
                limit = f"as {'high' if by > 0 else 'low'} as it can be" + (
                    f": --turn-eager-end-threshold is {eager:g}" if by > 0 and highest < HIGHEST_THRESHOLD else ""
                )
                self._reporter.info(f"end threshold {old:g} is {limit}")
            self._limit_reported = True
            return
        self._limit_reported = False
        change = TurnConfig(end_threshold=new)
        if new >= LEGACY_EAGER_END_THRESHOLD and turn.eager_end_threshold is None:
            change = change._replace(eager_end_threshold=eager)  # not every server uses the documented default
        self._controls.send_command(Config(change))
        self._reporter.info(f"end threshold {new:g} (higher ends turns sooner)")

    def _ask(self, prompt: _Prompt) -> None:
        """Have the user edit language hints or key terms, beginning with those that apply."""
        prompt.text = prompt.separator.join(getattr(self._controls.settings(), prompt.setting) or ())
        self._prompt = prompt
        if not self._view.active:  # the view shows what is typed
            self._reporter.info(f"type the {prompt.label} and press Enter; now: {prompt.text or 'none'}")
        self._controls.redraw()

    def _type(self, key: str, prompt: _Prompt) -> None:
        if key != "enter":
            prompt.press(key)
            self._controls.redraw()
            return
        self._prompt = None
        before, values = getattr(self._controls.settings(), prompt.setting) or (), prompt.values
        problem = (language_hints_problem if prompt.setting == "language_hints" else keyterms_problem)(values)
        if problem is not None:
            self._reporter.info(f"{problem}: nothing was changed")
        elif values == before:
            self._reporter.info(f"{prompt.label}: unchanged")
        elif self._controls.send_command(Config()._replace(**{prompt.setting: values})):
            self._reporter.info(f"{prompt.label}: {prompt.separator.join(values) or 'none'}")
        self._controls.redraw()

    def _show_help(self) -> None:
        legend = self._view.renderer.legend(counts_silence=self._counts_silence, costs=self._billed)
        text = help_text(self._bindings, legend if self._view.active else ())
        self._reporter.print_lines(lambda width, encoding: text)
