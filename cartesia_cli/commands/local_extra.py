"""The optional local server in commands: whether it is installed, and the observer that receives its reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import EngineError

if TYPE_CHECKING:  # imports Starlette, which comes with the extra
    from ..output.console import Reporter
    from ..server.observer import Exchange

INSTALL_COMMAND = "pip install 'cartesia-cli[local]'"


def require_local_extra() -> None:
    """EngineError if the offline engine and its server can't be imported."""
    try:
        from ..server import app, runner, whisper  # noqa: F401  whether it can be imported is the question
    except ImportError as error:
        raise EngineError(
            f"the offline engine is not installed ({error.name} is missing)", hint=INSTALL_COMMAND
        ) from error


class LocalServerObserver:
    """What the local server reports (a `server.observer.ServerObserver`): downloads on stderr, and progress.

    recognized_seconds   audio of the current recording that is done
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.recognized_seconds = 0.0

    def model_download_started(self, model: str) -> None:
        self.reporter.info(f"downloading the model {model!r} from Hugging Face (once)")

    def audio_recognized(self, seconds: float) -> None:
        self.recognized_seconds = seconds

    def exchange_ended(self, exchange: Exchange) -> None:
        """Not reported: requests are part of the command's own work."""
