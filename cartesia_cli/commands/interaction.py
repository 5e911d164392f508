"""A person at a live session: what keys and signals do to it.

Must never open a device, nor end a session by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

from ..audio.input_check import InputMonitor
from ..audio.pcm import RATE, decode_pcm
from ..audio.wav_writer import AudioSource as AudioSource
from ..output.console import Reporter
from ..output.live_view import LiveView
from ..protocol import OLDER_EAGER_END, TURN_DEFAULTS, Config, Finalize, TurnConfig
from ..session.interfaces import Skipped
from .keys import BINDINGS, action, bindings, help_text, keys, signals
from .live_session import Controls, Interaction

STEP = 0.05
"""Of the end threshold, for `+` and `-`."""

LOWEST, HIGHEST = 0.05, 0.5
"""End thresholds that the service takes (docs: stt/turns)."""


RELEASE_SECONDS = 0.3
"""A terminal tells no release of a key, but repeats one that is held, ten times a second at the slowest."""


class PausableSource:
    """A microphone that can be paused. What is wrong with its sound is said.

    While it is paused, manual mode is sent nothing. Auto mode is sent silence at the same rate, which is billed: its
    server would wait for audio for ever, and turns end by silence (docs: stt/troubleshooting).

    paused          whether it is off
    sends_silence   whether silence goes out instead
    on_first        called when the first sound is there
    rate            Hz
    """

    def __init__(
        self,
        source: AudioSource,
        say: Callable[[str], None],
        on_first: Callable[[], None],
        *,
        sends_silence: bool,
        rate: int = RATE,
    ) -> None:
        self.paused = False
        self._source, self._say, self._on_first, self._sends_silence = source, say, on_first, sends_silence
        self._rate = rate

    async def frames(self) -> AsyncGenerator[bytes | Skipped, None]:
        monitor, first = InputMonitor(self._rate), True
        async with aclosing(self._source.frames()) as blocks:
            async for block in blocks:
                if first:
                    first = False
                    self._on_first()
                if self.paused:
                    yield bytes(len(block)) if self._sends_silence else Skipped(len(block) / 2 / self._rate)
                else:
                    for complaint in monitor.check(decode_pcm(block, "pcm_s16le")):
                        self._say(f"warning: {complaint}")
                    yield block


class KeyActions:
    """What a person's keys and signals mean.

    manual           whether there is a `finalize` to send; otherwise there are thresholds to shift
    pushes           push to talk
    turn             turn detection as it was asked for
    counts_silence   whether silence ends utterances
    billed           whether what is sent costs credits
    """

    def __init__(
        self,
        reporter: Reporter,
        *,
        manual: bool,
        pushes: bool,
        turn: TurnConfig,
        counts_silence: bool = False,
        billed: bool = True,
    ) -> None:
        self.microphone: PausableSource | None = None
        self._reporter, self._manual, self._pushes = reporter, manual, pushes
        self._turn = turn
        self._limit_told = False
        self._counts_silence, self._billed = counts_silence, billed
        self._bindings = bindings(manual=manual, push_to_talk=pushes)
        self._release: asyncio.TimerHandle | None = None

    @property
    def on_air(self) -> bool:
        """Whether what the microphone hears is sent."""
        return self.microphone is not None and not self.microphone.paused

    @property
    def resume_hint(self) -> str:
        """How to switch the microphone on again."""
        return "hold space to talk" if self._pushes else "p resumes"

    def interact(self, view: LiveView) -> Interaction:
        """For the length of a session that `view` shows."""

        @contextmanager
        def attending(controls: Controls) -> Iterator[None]:
            actions: dict[str, Callable[[], None]] = {
                "finalize": lambda: self._finalize(controls),
                "pause": lambda: self._switch(controls, view),
                "talk": lambda: self._push(controls, view),
                "mark": controls.mark,
                "undo": controls.undo,
                "threshold_up": lambda: self._shift(controls, STEP),
                "threshold_down": lambda: self._shift(controls, -STEP),
                "help": lambda: self._help(view),
                "stop": controls.stop,
            }

            def handle(key: str) -> None:
                # A key of the other mode is told why it does nothing.
                if (meant := action(key, self._bindings) or action(key, BINDINGS)) is not None:
                    actions[meant]()

            try:
                with keys(handle, on_resume=controls.redraw), signals(actions):
                    yield
            finally:
                if self._release is not None:
                    self._release.cancel()

        return attending

    def _finalize(self, controls: Controls) -> None:
        if self._manual:
            controls.send_command(Finalize())
        else:
            self._reporter.say("in auto mode the server ends the turns; --mode manual lets you")

    def _push(self, controls: Controls, view: LiveView) -> None:
        """The space bar: it talks while it is held, or from one tap to the next."""
        if not self._pushes:
            self._finalize(controls)
        elif not self.on_air:
            self._switch(controls, view)
        else:
            # The next press, or one of many that a held key makes: the last of them is the release.
            if self._release is not None:
                self._release.cancel()
            loop = asyncio.get_running_loop()
            self._release = loop.call_later(RELEASE_SECONDS, self._released, controls, view)

    def _released(self, controls: Controls, view: LiveView) -> None:
        if self.on_air:
            self._switch(controls, view)

    def _switch(self, controls: Controls, view: LiveView) -> None:
        microphone = self.microphone
        if microphone is None:
            return
        microphone.paused = not microphone.paused
        if microphone.paused and self._manual:
            controls.send_command(Finalize())
        if not self._pushes:
            self._reporter.say(f"paused: {self._while_paused()}; p resumes" if microphone.paused else "resumed")
        elif not view.active:  # which shows it in place
            self._reporter.say("paused: hold space to talk" if microphone.paused else "on air")
        controls.redraw()

    def _while_paused(self) -> str:
        if self._manual:
            return "nothing is sent"
        return "silence is sent (and billed)" if self._billed else "silence is sent"

    def _shift(self, controls: Controls, by: float) -> None:
        if self._manual:
            self._reporter.say("turn thresholds are for --mode auto")
            return
        old = self._turn.end_threshold or TURN_DEFAULTS.end_threshold or 0.0
        eager = self._turn.eager_end_threshold or TURN_DEFAULTS.eager_end_threshold or 0.0
        highest = max(old, min(HIGHEST, eager - STEP))
        new = round(min(highest, max(LOWEST, old + by)), 2)
        if new == old:
            if not self._limit_told:
                limit = f"as {'high' if by > 0 else 'low'} as it can be" + (
                    f": --turn-eager-end-threshold is {eager:g}" if by > 0 and highest < HIGHEST else ""
                )
                self._reporter.say(f"end threshold {old:g} is {limit}")
            self._limit_told = True
            return
        self._limit_told = False
        change = TurnConfig(end_threshold=new)
        if new >= OLDER_EAGER_END and self._turn.eager_end_threshold is None:
            change = replace(change, eager_end_threshold=eager)  # not every server has the documented default
        self._turn = TurnConfig(**(self._turn.wire() | change.wire()))
        controls.send_command(Config(change))
        self._reporter.say(f"end threshold {new:g} (the higher, the sooner a turn ends)")

    def _help(self, view: LiveView) -> None:
        legend = view.renderer.legend(microphone=True, counts_silence=self._counts_silence, costs=self._billed)
        self._reporter.show(lambda width, encoding: help_text(self._bindings, legend if view.active else ()))
