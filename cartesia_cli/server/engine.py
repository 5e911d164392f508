"""Speech recognition engines as the server sees them: what an engine implements, how it is called, what they share.

To add one, implement `Engine` (a loaded model, shared by all requests), and return it from a function of
`engine_choice`. The server calls an engine through an `EngineExecutor` only: off the event loop, as many calls at once
as it has workers. A call may take seconds; whatever it raises is answered with status 500.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from ..audio.pcm import RATE, Samples
from ..protocol.batch import api_error, excerpt
from ..protocol.json_fields import DetectedLanguage, Word
from ..protocol.languages import AUTO_LANGUAGE, TRADITIONAL_CHINESE

T = TypeVar("T")

WINDOW_SECONDS = 30.0
"""Longest window: what Whisper takes at once. Word errors were the same up to 120 s; memory grows with it."""

FRAME_SAMPLES = RATE // 50
"""20 ms, the resolution in which loudness is measured."""

PAUSE_FRAMES = 15
"""A cut is made in the middle of the quietest 300 ms: longer than a stop consonant, as short as a comma."""

TARGET_PEAK, MAX_GAIN = 0.9, 30.0
"""Quiet audio is raised to this peak, within this gain. A recording at a twentieth of its level had twice the word
errors with Whisper, one at a hundredth 40 % more with Moonshine; noise still gives no words.
"""

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Parameters of glibc's mallopt(3)."""


class Engine(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """The name shown to users: `Whisper tiny.en`."""

    @property
    def languages(self) -> Container[str]:
        """The language codes that it recognizes; others are refused before it is called. With AUTO_LANGUAGE among them,
        it detects the language.
        """

    @property
    def is_quick(self) -> bool:
        """Whether it can recognize an utterance again and again while it grows; otherwise only in its pauses."""

    @property
    def workers(self) -> int:
        """How many calls it can work on at once, each from a thread of its own."""

    @property
    def batch_size(self) -> int:
        """How many utterances to recognize in a call: several, if that takes less time than one after the other."""

    def recognize(self, utterances: Sequence[Samples], language: str) -> Sequence[Sequence[Word]]:
        """The words of each utterance, each with its leading space, so that joining them gives the text.

        The words of an utterance must not depend on the others. Times are seconds from its first sample, or None from
        an engine that has none. Audio without speech has no words.

        utterances   16 kHz, mono, float32 in -1..1, of at most WINDOW_SECONDS each
        language     one of `languages`, but not AUTO_LANGUAGE
        """

    def detect_language(self, samples: Samples) -> DetectedLanguage | None:
        """The language that is spoken in some audio, of which the first 30 s of speech count; None if nobody speaks."""


@runtime_checkable
class ContinuingEngine(Protocol):
    """An engine that recognizes what follows known words, in less time than all of them."""

    def recognize_after(self, known: Sequence[str], samples: Samples) -> Sequence[Word]:
        """The words of an utterance that begins with `known` ones: those after them."""


class EngineExecutor:
    """An engine and the threads in which it works: one for each of its workers.

    Requests and sessions take turns in them, call by call, so that none waits for another to end and no more calls than
    there are workers need memory. What a call returns must not depend on the others.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(engine.workers, "engine")
        self._lock, self._active = threading.Lock(), Counter[str]()

    @property
    def batch_size(self) -> int:
        """How many utterances to recognize in a call: one while a session waits for its own, which are short."""
        return 1 if self._active["session"] else self.engine.batch_size

    def session(self) -> AbstractContextManager[None]:
        """Keeps calls of others short while the block, a live session, lasts."""
        return self._count("session")

    def check_language(self, language: str) -> None:
        """Raises ApiError 400 for a language that the engine doesn't recognize."""
        if language not in self.engine.languages:
            problem = "can't detect languages" if language == AUTO_LANGUAGE else f"doesn't know {excerpt(language)}"
            general = "zh-Hant" if language.lower() in TRADITIONAL_CHINESE else language.lower().partition("-")[0]
            hint = "install cartesia-cli[multilingual], or name a multilingual model with --local-model."
            if general in self.engine.languages:
                hint = f"use {general!r}."
            elif AUTO_LANGUAGE in self.engine.languages:
                hint = "name a language by its code, such as 'de'."
            raise api_error(400, "Unsupported language", f"{self.engine.name} {problem}; {hint}")

    async def recognize(self, samples: Samples, language: str) -> Sequence[Word]:
        """Recognize one utterance when its turn comes; returns its words."""
        return (await self.run(self.engine.recognize, [samples], language))[0]

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Call `work`, which may be a method of the engine, in one of the threads, when its turn comes."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._work, work, *arguments)

    def close(self) -> bool:
        """Start no more work. Returns whether the engine is idle: a call of an engine can't be stopped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        return not self._active["call"]

    def _work(self, work: Callable[..., T], *arguments: object) -> T:
        with self._count("call"):
            return work(*arguments)

    @contextmanager
    def _count(self, kind: str) -> Iterator[None]:
        """Count a call or a session for the length of the block."""
        with self._lock:
            self._active[kind] += 1
        try:
            yield
        finally:
            with self._lock:
                self._active[kind] -= 1


# What engines have in common.


def split_at_silence(blocks: Iterable[Samples], longest: float = WINDOW_SECONDS) -> Iterator[Samples]:
    """`blocks` joined and cut into windows of at most `longest` seconds; together they are the whole audio.

    At most one window is held in memory. It is cut in a pause, so that no word is lost or recognized twice.
    """
    limit = int(longest * RATE)
    held: list[Samples] = []
    size = 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size >= limit:
            joined = np.concatenate(held)
            while len(joined) >= limit:
                at = find_quietest(joined[:limit])
                yield joined[:at]
                joined = joined[at:]
            held, size = [joined], len(joined)
    if size:
        yield np.concatenate(held)


def find_quietest(samples: Samples) -> int:
    """The sample in the second half of `samples` around which it is quietest for 300 ms."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = np.convolve(np.mean(frames**2, axis=1), np.ones(PAUSE_FRAMES), "same")
    earliest, latest = len(power) // 2, max(len(power) // 2 + 1, len(power) - PAUSE_FRAMES)
    return (earliest + int(np.argmin(power[earliest:latest]))) * FRAME_SAMPLES + FRAME_SAMPLES // 2


def amplify_quiet(samples: Samples) -> Samples:
    """Quiet audio at TARGET_PEAK, as far as MAX_GAIN allows; other audio as it is."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(min(MAX_GAIN, max(1.0, TARGET_PEAK / peak)) if peak > 0 else 1.0)


def open_network(file: Path, threads: int = 1) -> Any:
    """A network in ONNX's format, as an onnxruntime.InferenceSession that runs on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # errors are raised; stderr is the user's
    # Threads that spin while they wait slow down other work, and this network's own next step.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def set_malloc_options(options: Mapping[int, int]) -> None:
    """Set parameters of glibc's mallopt(3) for this process; does nothing if the C library has no such function."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in options.items():
        mallopt(parameter, value)
