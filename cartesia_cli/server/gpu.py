"""A Whisper model on a GPU of NVIDIA, if there is one that works with the libraries that are installed.

CTranslate2 needs the driver and libcublas, which the extra `cuda` installs, but loads it only when it first computes:
so a model counts as loaded once it has recognized something. Must never make a transcript fail: the CPU can do it, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from ..audio.pcm import RATE
from .observer import ServerObserver
from .weights import package_folder

LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")
"""Of the package nvidia-cublas-cu12 on Linux, each after what it needs."""


def load_on_gpu(name: str, load: Callable[[str, str], WhisperModel], observer: ServerObserver) -> WhisperModel | None:
    """A model that has recognized something on the GPU; None without a GPU, or if that fails.

    name       of the model
    load       loads it, for a device and a type of numbers as CTranslate2 names them
    observer   learns of a GPU that can't be used
    """
    try:
        if not ctranslate2.get_cuda_device_count():
            return None
        _load_libraries()
        model = load("cuda", "float16")
        segments, _ = model.transcribe(np.zeros(RATE, np.float32), language="en", beam_size=1)
        list(segments)  # they are recognized when they are asked for
    except Exception as error:  # whatever a driver or a library raises
        observer.gpu_failed(name, str(error).partition("\n")[0] or repr(error))
        return None
    observer.gpu_used(name)
    return model


def _load_libraries() -> None:
    """Load the libraries of the extra, if it is installed: CTranslate2 then finds them in this process."""
    for library in LIBRARIES:
        with suppress(OSError):  # elsewhere, where the system finds it
            ctypes.CDLL(str(package_folder("nvidia") / "cublas" / "lib" / library), ctypes.RTLD_GLOBAL)
