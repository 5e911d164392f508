"""The engine for recordings: Whisper through faster-whisper, with the weights of a package or of another model.

It runs on an NVIDIA GPU, if there is one, with a driver and the libraries that it needs. CTranslate2 loads libcublas,
which the extra `cuda` installs, only when it first computes: so a model counts as loaded there once it has recognized
something. A GPU must never make a transcript fail: the CPU can do it, too.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np

from ..audio.pcm import RATE, Samples
from ..errors import EngineError
from ..protocol.json_fields import DetectedLanguage, Word
from ..protocol.languages import AUTO_LANGUAGE, CHINESE_SCRIPTS
from .capacity import max_workers, read_machine
from .engine import M_ARENA_MAX, M_MMAP_THRESHOLD, set_malloc_options
from .forced_alignment import WordAligner
from .observer import ModelObserver
from .packaged_models import WEIGHTS, OpenedModel, PackagedModel, package_folder
from .whisper_decoding import SHORT_WINDOW_FRAMES, WINDOW_FRAMES, detect_language, recognize

TOKENIZER = "tokenizer.json"

MAX_THREADS = 8
"""Most threads for one call of a model."""

MAX_PACKAGED_THREADS = 4
"""The same for packaged models. A transcript must not depend on how many workers share the cores: with up to four
threads, their results are the same to the last bit, with eight they aren't.
"""

MAX_QUICK_BYTES = 100_000_000
"""Size of weights up to which a second of speech is recognized in less: of the tiny models. Base takes 1.2 s."""

MIN_THREADS = 2
"""Fewest threads for one call, where there are as many cores, so that workers without work don't slow down the others.
When all have work, it costs no CPU time.
"""

CUDA_LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")
"""Of the package nvidia-cublas-cu12 on Linux, each after what it needs."""


class WhisperEngine:
    """A loaded Whisper model, whose word times are corrected. Its workers share the weights and the cores."""

    def __init__(self, model: faster_whisper.WhisperModel, name: str, *, is_quick: bool, min_frames: int) -> None:
        """`min_frames`: least length to which a window is padded, in hundredths of a second."""
        self.name, self.is_quick, self._min_frames = name, is_quick, min_frames
        self.batch_size = 4 if is_quick else 2  # larger ones take too much memory; eight at once were no quicker
        # faster-whisper names all languages that any model knows.
        tokens = {code: model.hf_tokenizer.token_to_id(f"<|{code}|>") for code in model.supported_languages}
        is_multilingual = model.model.is_multilingual
        codes = frozenset(code for code in tokens if tokens[code] is not None or not is_multilingual)
        self.languages = codes | {AUTO_LANGUAGE, *CHINESE_SCRIPTS} if is_multilingual else codes
        self.workers: int = model.model.num_workers
        self.model, self._aligner = model, WordAligner()

    def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
        words = recognize(self.model, utterances, language, self._min_frames)
        pairs = zip(words, utterances, strict=True)
        return [self._aligner.correct_times(own, samples, language) for own, samples in pairs]

    def detect_language(self, samples: Samples) -> DetectedLanguage | None:
        return detect_language(self.model, samples, self._min_frames)


def load_packaged(
    model: PackagedModel, opened: OpenedModel, observer: ModelObserver, workers: int = 1
) -> WhisperEngine:
    """A packaged model. Raises EngineError if it can't be loaded.

    opened    what `PackagedModel.opened` has yielded
    workers   how many calls it can work on at once, if cores and memory allow it
    """
    return _load(opened, model.title, model.weights, observer, workers, is_packaged=True)


def load(model: str, observer: ModelObserver, workers: int = 1) -> WhisperEngine:
    """Another model. Raises EngineError when it is missing, damaged or unknown.

    model      a folder in CTranslate2's format, or a name (`small`, `large-v3`: downloaded once, then kept)
    observer   is informed of a download before it starts
    workers    as above
    """
    try:
        folder, name = _find_model(model, observer)
    except OSError as error:  # a folder without permission to list it
        message = f"the model {model!r} can't be read: {error.strerror}"
        raise EngineError(message, hint="check its permissions") from error
    return _load((folder, None), name, [Path(folder, WEIGHTS)], observer, workers, is_packaged=False)


def _load(
    opened: OpenedModel, name: str, weights: Iterable[Path], observer: ModelObserver, workers: int, *, is_packaged: bool
) -> WhisperEngine:
    # The model's big, short-lived arrays leave glibc with memory that it doesn't give back. With one arena for all
    # threads, and everything from a MiB up given back when it is freed, an hour of audio peaks at 450 MB instead of
    # 600 and rising.
    set_malloc_options({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: 1 << 20})
    try:
        folder, files = opened
        machine = read_machine()
        size = sum(path.stat().st_size for path in weights)
        workers = min(workers, max_workers(machine, size))
        max_threads = MAX_PACKAGED_THREADS if is_packaged else MAX_THREADS
        threads = min(machine.cores, max_threads, max(MIN_THREADS, machine.cores // workers))

        def load_on(device: str, compute_type: str) -> faster_whisper.WhisperModel:
            return faster_whisper.WhisperModel(
                folder,
                device=device,
                compute_type=compute_type,
                cpu_threads=threads,
                num_workers=workers,
                files=None if files is None else dict(files),  # it takes some out
            )

        # "auto" would convert to int8 where the CPU is fast at it: 2 points more word errors here.
        loaded = _load_on_gpu(name, load_on, observer) or load_on("cpu", "float32")
    except Exception as error:  # whatever the model's files may raise
        raise _load_error(name, error) from error
    min_frames = SHORT_WINDOW_FRAMES if is_packaged else WINDOW_FRAMES  # others weren't measured with short windows
    return WhisperEngine(loaded, name, is_quick=size <= MAX_QUICK_BYTES, min_frames=min_frames)


def _load_on_gpu(
    name: str, load_on: Callable[[str, str], faster_whisper.WhisperModel], observer: ModelObserver
) -> faster_whisper.WhisperModel | None:
    """A model that has recognized something on the GPU; None without a GPU, or if that fails."""
    try:
        if not ctranslate2.get_cuda_device_count():
            return None
        for library in CUDA_LIBRARIES:  # CTranslate2 then finds them in this process
            with suppress(OSError):  # elsewhere, where the system finds it
                ctypes.CDLL(str(package_folder("nvidia") / "cublas" / "lib" / library), ctypes.RTLD_GLOBAL)
        model = load_on("cuda", "float16")
        segments, _ = model.transcribe(np.zeros(RATE, np.float32), language="en", beam_size=1)
        list(segments)  # they are recognized when they are asked for
    except Exception as error:  # whatever a driver or a library raises
        observer.gpu_failed(name, str(error).partition("\n")[0] or repr(error))
        return None
    observer.gpu_used(name)
    return model


def _find_model(model: str, observer: ModelObserver) -> tuple[str, str]:
    """The folder of a model, and its name."""
    if Path(model).is_dir():
        folder, name = model, Path(os.path.abspath(model)).name  # "." has no name
    else:
        try:
            folder, name = _find_or_download(model, observer), model
        except ValueError as error:
            raise EngineError(
                f"no model {model!r}: neither a folder nor a known name",
                hint=f"names: {', '.join(faster_whisper.available_models())}",
            ) from error
    if not Path(folder, TOKENIZER).is_file():  # faster-whisper would download one in each run
        raise EngineError(
            f"the model {name!r} can't be loaded: {Path(folder, TOKENIZER)} is missing",
            hint="copy it from the Whisper model that this one was converted from",
        )
    return folder, name


def _find_or_download(model: str, observer: ModelObserver) -> str:
    """The folder of a named model. One that was downloaded before is used without asking the network.

    Raises ValueError, before any download, for what is neither a known name nor one that Hugging Face allows.
    """
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
