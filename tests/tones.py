"""Speech that a test can recognize without an engine: numbers as tones, and a recognizer for them.

Number n is a tone with its own frequency, 0.3 s long, with silence around it. Half a tone is not recognized, and one
that is received twice is recognized twice, so the text of a server shows what it received, and how often.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from cartesia_cli.audio.pcm import RATE, Samples

from .realtime_server import BINARY, MANUAL, TEXT, Script, ServerConnection, done, flush_done, transcript, turn

TONE, REST = 0.3, 0.9
LOWEST, STEP = 300, 25
FRAME = RATE // 50


def spoken(numbers: Sequence[int], rest: float = REST, noise: float = 0.0005) -> Samples:
    """The numbers (0 to 199) as tones over background noise, with `rest` seconds of silence around each."""
    t = np.arange(round(TONE * RATE), dtype=np.float32) / RATE
    silence = np.zeros(round(rest * RATE), np.float32)
    parts = [silence]
    for number in numbers:
        parts += [0.4 * np.sin(2 * np.pi * (LOWEST + STEP * number) * t).astype(np.float32), silence]
    sound = np.concatenate(parts)
    hiss = np.random.default_rng(1).normal(0, noise, len(sound)) if noise else np.zeros(len(sound))
    return (sound + hiss).astype(np.float32)


class Recognizer:
    """Recognizes the numbers in the 16-bit samples of one connection.

    heard     numbers, in order; -1 for a tone of another length
    quiet     seconds of silence at the end
    within    whether the audio ends within a tone
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


def recognizes(
    life: float | None = None,
    end: Callable[[ServerConnection], None] | None = None,
    silence: float = 1e9,
    *,
    turn_silence: float = 0.4,
    late: float = 0.0,
) -> Script:
    """A script that sends the numbers that it recognizes, on either endpoint, `late` seconds after it could.

    After `life` seconds of audio, or after `silence` seconds without any, it calls `end`. In auto mode, `turn_silence`
    seconds of silence end a turn.
    """

    def script(connection: ServerConnection) -> None:
        connection.admit()
        manual = connection.record.path == MANUAL
        recognizer, read, sent, in_turn, seconds = Recognizer(), 0, 0, False, 0.0
        under_way: deque[tuple[float, dict[str, object]]] = deque()

        def say(event: dict[str, object]) -> None:
            under_way.append((time.monotonic() + late, event))

        def arrive(*, all_of_them: bool = False) -> None:
            while under_way and (all_of_them or under_way[0][0] <= time.monotonic()):
                connection.say(under_way.popleft()[1])

        def text() -> str:
            return "".join(f" {number}" for number in recognizer.heard[sent:])

        while True:
            for frame in connection.record.frames[read:]:
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
                        connection.close(1000)
                        return
                if frame.opcode != BINARY:
                    continue
                recognizer.feed(frame.payload)
                seconds += len(frame.payload) / 2 / RATE
                if manual and len(recognizer.heard) > sent:
                    say(transcript(text()))
                    sent = len(recognizer.heard)
                if not manual and recognizer.within and not in_turn:
                    in_turn = True
                    say(turn("start"))
                if in_turn and recognizer.quiet >= turn_silence:
                    say(turn("end", text()))
                    sent, in_turn = len(recognizer.heard), False
                arrive()
                if life is not None and seconds >= life:
                    assert end is not None
                    end(connection)
                    return
            frames = connection.record.frames
            if end is not None and frames and time.monotonic() - frames[-1].at > silence:
                end(connection)
                return
            arrive()
            connection.pause(0.005)

    return script


def random_loss(dice: random.Random) -> Callable[[ServerConnection], None]:
    """One of the ways in which connections are lost."""
    code = dice.choice([None, 1001, 1011, 1012, 1013, "reset", "drop"])

    def end(connection: ServerConnection) -> None:
        if code == "reset":
            connection.reset()
        elif code == "drop":
            connection.drop()
        else:
            connection.close(code if isinstance(code, int) else None)

    return end
