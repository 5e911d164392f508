"""Chooses the engine for what is to be recognized, and loads it.

Whisper times words, and takes several times as long for an utterance. Moonshine takes a tenth of a second for
three, in English, without word times, which ink-2 doesn't send either. A model that the user names is used for
everything, live sessions included. Must never import an engine's library before the engine is chosen.
"""

from __future__ import annotations

from .engine import Engine
from .observer import ModelObserver
from .packaged_models import find_live, find_packaged


def load_batch_engine(model: str | None, observer: ModelObserver, workers: int = 1) -> Engine:
    """The engine for recordings and ink-whisper, which has word times. Raises EngineError when it can't be loaded.

    model     a model as `whisper.load` takes it, or None for the one that is installed with the program
    workers   how many calls it works on at once, if cores and memory allow it
    """
    packaged = find_packaged(model)
    if packaged is None:
        from . import whisper

        assert model is not None
        return whisper.load(model, observer, workers)
    # The weights are read before the library is imported: a command does that meanwhile, in another thread.
    with packaged.opened() as opened:
        from . import whisper

        return whisper.load_packaged(packaged, opened, observer, workers)


def load_live_engine(model: str | None, observer: ModelObserver, language: str | None = None) -> Engine:
    """The engine for the other models: text that grows during speech. Raises EngineError when it can't be loaded.

    language   of the session: a language that Moonshine doesn't know is recognized by the batch engine
    """
    if find_live(model, language) is None:
        return load_batch_engine(model, observer)
    from . import moonshine

    return moonshine.load()


def load_engines(model: str | None, observer: ModelObserver, workers: int = 1) -> tuple[Engine, Engine | None]:
    """The batch engine and the live engine of a server that answers all models; None if the first does both.

    workers   of the batch engine; the live engine has one
    """
    batch = load_batch_engine(model, observer, workers)
    return batch, None if find_live(model, None) is None else load_live_engine(model, observer)
