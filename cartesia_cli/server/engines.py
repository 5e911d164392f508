"""Which engine does what: one that times words, and one that is quick enough to hear a speaker live.

Whisper times words, and takes a third of a second for whatever it hears, however short. Moonshine hears
three seconds in a tenth of one, in English, without word times, which ink-2 does not send either. Who names a
model wants that one, live as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .engine import Engine
from .responses import ServerIdentity

Tell = Callable[[str], None]
"""Takes a sentence for the user: that a model is being fetched."""


def load_batch_engine(model: str | None, tell: Tell) -> Engine:
    """The engine with word times. EngineError when it can't be loaded."""
    from . import whisper

    return whisper.load(model, tell)


def load_live_engine(model: str | None, tell: Tell) -> Engine:
    """The engine for text that grows while somebody speaks. EngineError when it can't be loaded."""
    from .moonshine import is_installed, load

    return load() if model is None and is_installed() else load_batch_engine(model, tell)


def load_engines(model: str | None, tell: Tell) -> tuple[Engine, Engine | None]:
    """For a server that answers everything; None: the first does both."""
    from .moonshine import is_installed

    return load_batch_engine(model, tell), load_live_engine(None, tell) if model is None and is_installed() else None


def identity(model: str | None, engine: Engine, live: Engine | None) -> ServerIdentity:
    """Which engines answer, with which weights. A folder's weights may be replaced: their size and date tell."""
    parts = [live.name] if live is not None else []
    if model is not None and Path(model).is_dir():
        stats = [file.stat() for file in sorted(Path(model).iterdir()) if file.is_file()]
        parts += [str(Path(model).resolve()), *(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats)]
    return ServerIdentity.of(engine.name if live is None else f"{engine.name} (live: {live.name})", model, parts)
