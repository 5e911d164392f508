"""Speech that a test can read back without an engine: numbers as tones, and a recogniser that counts on nothing else.

Number n is a tone of its own frequency, 0.3 s long, with silence around it. Whoever gets half of one hears nothing,
whoever gets it twice hears it twice: what reaches a server, and how often, can be told from its text alone.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from cartesia_cli.audio.pcm import RATE, Samples

from .realtime_server import BINARY, MANUAL, TEXT, Line, Script, done, flush_done, transcript, turn

TONE, REST = 0.3, 0.9
LOWEST, STEP = 300, 25
FRAME = RATE // 50


def spoken(numbers: Sequence[int], rest: float = REST, noise: float = 0.0005) -> Samples:
    """0 to 199, each with silence behind it, and some before the first; over background noise."""
    t = np.arange(round(TONE * RATE), dtype=np.float32) / RATE
    silence = np.zeros(round(rest * RATE), np.float32)
    parts = [silence]
    for number in numbers:
        parts += [0.4 * np.sin(2 * np.pi * (LOWEST + STEP * number) * t).astype(np.float32), silence]
    sound = np.concatenate(parts)
    hiss = np.random.default_rng(1).normal(0, noise, len(sound)) if noise else np.zeros(len(sound))
    return (sound + hiss).astype(np.float32)


class Recogniser:
    """Feed it 16-bit samples of one connection; it collects numbers.

    heard     numbers, in order; a tone of another length is heard as -1
    quiet     seconds of silence at the end
    within    whether a tone is under way
    """

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.quiet = 0.0
        self._rest = b""
        self._tone: list[Samples] = []

    @property
    def within(self) -> bool:
        return bool(self._tone)

    def feed(self, frame: bytes) -> None:
        data = self._rest + frame
        whole = len(data) // (2 * FRAME) * 2 * FRAME
        self._rest = data[whole:]
        for samples in np.frombuffer(data[:whole], np.int16).reshape(-1, FRAME).astype(np.float32) / 32768:
            if np.sqrt(np.mean(samples**2)) > 0.02:
                self._tone.append(samples)
                self.quiet = 0.0
                continue
            self.quiet += FRAME / RATE
            self._settle()

    def _settle(self) -> None:
        if not self._tone:
            return
        tone = np.concatenate(self._tone)
        self._tone = []
        if abs(len(tone) / RATE - TONE) > 0.05:
            self.heard.append(-1)
            return
        middle = tone[len(tone) // 4 : -len(tone) // 4]
        peak = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 16))) * RATE / (1 << 16)
        self.heard.append(round((peak - LOWEST) / STEP))


def listens(
    life: float | None = None,
    end: Callable[[Line], None] | None = None,
    silence: float = 1e9,
    *,
    turn_silence: float = 0.4,
    late: float = 0.0,
) -> Script:
    """A script that says the numbers it hears, on either endpoint, so many seconds late.

    After `life` seconds of audio, or after so many seconds without any, it ends by `end`. In auto mode `turn_silence`
    ends a turn.
    """

    def script(line: Line) -> None:
        line.admit()
        manual = line.call.path == MANUAL
        ears, read, told, in_turn, seconds = Recogniser(), 0, 0, False, 0.0
        under_way: deque[tuple[float, dict[str, object]]] = deque()

        def say(event: dict[str, object]) -> None:
            under_way.append((time.monotonic() + late, event))

        def arrive(*, all_of_them: bool = False) -> None:
            while under_way and (all_of_them or under_way[0][0] <= time.monotonic()):
                line.say(under_way.popleft()[1])

        def text() -> str:
            return "".join(f" {number}" for number in ears.heard[told:])

        while True:
            for frame in line.call.frames[read:]:
                read += 1
                if frame.opcode == TEXT:
                    message = frame.payload.decode()
                    if "finalize" in message:
                        say(flush_done())
                    elif "close" in message or "done" in message:
                        if in_turn:
                            say(turn("end", text()))
                        if manual:
                            say(done())
                        arrive(all_of_them=True)
                        line.close(1000)
                        return
                if frame.opcode != BINARY:
                    continue
                ears.feed(frame.payload)
                seconds += len(frame.payload) / 2 / RATE
                if manual and len(ears.heard) > told:
                    say(transcript(text()))
                    told = len(ears.heard)
                if not manual and ears.within and not in_turn:
                    in_turn = True
                    say(turn("start"))
                if in_turn and ears.quiet >= turn_silence:
                    say(turn("end", text()))
                    told, in_turn = len(ears.heard), False
                arrive()
                if life is not None and seconds >= life:
                    assert end is not None
                    end(line)
                    return
            if end is not None and line.call.frames and time.monotonic() - line.call.frames[-1].at > silence:
                end(line)
                return
            arrive()
            line.pause(0.005)

    return script


def dies(dice: random.Random) -> Callable[[Line], None]:
    """One of the ways in which connections are lost."""
    code = dice.choice([None, 1001, 1011, 1012, 1013, "reset", "drop"])

    def end(line: Line) -> None:
        if code == "reset":
            line.reset()
        elif code == "drop":
            line.drop()
        else:
            line.close(code if isinstance(code, int) else None)

    return end
