"""The models that each server has listed, kept for a day in the user's cache directory.

    {"https://api.cartesia.ai": {"at": 1796000000, "models": [{"id": "ink-2", "modes": ["stream"]}]}}

Shell completion reads it at every TAB, so it must stay small and cheap to import. Must never fail a run: what can't be
read counts as missing, and what can't be written is left out.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import directories
from .atomic_files import write_atomically
from .errors import ProtocolError
from .protocol.models import MODELS_AT_RELEASE, Model, decode_models, to_row

MAX_AGE_SECONDS = 86_400.0


class ListedModels(NamedTuple):
    """What a server has listed. at: when, in seconds since 1970."""

    at: float
    models: tuple[Model, ...]

    @property
    def is_fresh(self) -> bool:
        """Whether the server needn't be asked again."""
        return 0 <= time.time() - self.at < MAX_AGE_SECONDS


def path() -> Path:
    """The file."""
    return directories.cache_dir() / "models.json"


def read(base_url: str) -> ListedModels | None:
    """What a server has listed when it was asked last, however long ago; None if it wasn't."""
    return _listed(_servers().get(base_url))


def write(base_url: str, models: tuple[Model, ...]) -> None:
    """Keep what a server has just listed."""
    servers = _servers() | {base_url: {"at": int(time.time()), "models": [to_row(model) for model in models]}}
    with suppress(OSError):
        path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path(), json.dumps(servers).encode(), mode=0o600, durable=False)


def known_models(base_url: str | None) -> tuple[Model, ...]:
    """The models of a server: those that it has listed, and those known at release that it hasn't. None: any server."""
    listed = [_listed(entry) for url, entry in _servers().items() if base_url in (None, url)]
    found = {model.id: model for models in listed if models is not None for model in models.models}
    return (*found.values(), *(model for model in MODELS_AT_RELEASE if model.id not in found))


def _servers() -> dict[str, Any]:
    """The file's content; empty if there is none that can be read."""
    try:
        servers = json.loads(path().read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return servers if isinstance(servers, dict) else {}


def _listed(entry: Any) -> ListedModels | None:
    if not isinstance(entry, dict) or not isinstance(at := entry.get("at"), int | float):
        return None
    try:
        return ListedModels(at, decode_models(json.dumps(entry)))
    except ProtocolError:
        return None
