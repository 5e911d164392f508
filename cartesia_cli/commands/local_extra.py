"""The optional local server in commands: whether it is installed, and the observer that receives its reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ..errors import EngineError

if TYPE_CHECKING:  # imports Starlette, which comes with the extra
    from ..output.console import Reporter
    from ..server.observer import Exchange

INSTALL_COMMAND = "pip install 'cartesia-cli[local]'"


LOCAL = "transcribing on this machine"


def require_local_extra() -> None:
    """Raises EngineError if the offline engine and its server can't be imported."""
    import_from_server("whisper", "app", "runner")


def import_from_server(*modules: str, what: str = "the offline engine") -> None:
    """Import modules of `server`, for `what`. Raises EngineError if what they need isn't installed."""
    try:
        for module in modules:
            import_module(f"..server.{module}", __package__)
    except ImportError as error:
        raise EngineError(f"{what} is not installed ({error.name} is missing)", hint=INSTALL_COMMAND) from error


class RecordingProgress:
    """How much of one recording is done; stays at 0 with a server that doesn't report it.

    headers              what its request must have, so that the server's reports can be told apart
    recognized_seconds   audio that is done
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self.headers = headers or {}
        self.recognized_seconds = 0.0


class LocalServerObserver:
    """What the local server and its models report (see `server.observer`): downloads on stderr, and progress."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._numbers = count(1)
        self._recordings: WeakValueDictionary[str, RecordingProgress] = WeakValueDictionary()

    def track_recording(self) -> RecordingProgress:
        """The progress of a recording that is about to be sent; followed as long as the caller has it."""
        from ..server.observer import RECORDING_HEADER

        name = f"{os.getpid()}-{next(self._numbers)}"  # a running server has other clients
        self._recordings[name] = progress = RecordingProgress({RECORDING_HEADER: name})
        return progress

    def model_download_started(self, model: str) -> None:
        self.reporter.info(f"downloading the model {model!r} from Hugging Face (once)")

    def gpu_used(self, model: str) -> None:
        self.reporter.detail(f"{model} works on the GPU")

    def gpu_failed(self, model: str, reason: str) -> None:
        self.reporter.info(f"the GPU can't be used ({reason}): {model} works on the CPU")

    def audio_recognized(self, recording: str, seconds: float) -> None:
        if (progress := self._recordings.get(recording)) is not None:
            progress.recognized_seconds = seconds

    def exchange_ended(self, exchange: Exchange) -> None:
        """Not reported: requests are part of the command's own work."""
