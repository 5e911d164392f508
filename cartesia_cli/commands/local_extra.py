"""Whether the offline engine and its server are installed: not everybody has the extra that they need."""

from __future__ import annotations

from ..errors import EngineError

INSTALL = "pip install 'cartesia-cli[local]'"


def require_local_extra() -> None:
    """Import what `server` needs. EngineError where it is missing."""
    try:
        from ..server import app, runner, whisper  # noqa: F401  whether it can be imported is the question
    except ImportError as error:
        raise EngineError(f"the offline engine is not installed ({error.name} is missing)", hint=INSTALL) from error
