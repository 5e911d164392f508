"""The one thread in which an engine works.

Requests and sessions take turns in it, call by call, so that none waits for another to end; and an engine's
memory is not had many times over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..audio.pcm import Samples
from .engine import Engine, RecognizedWord

T = TypeVar("T")


class EngineExecutor:
    """A queue of one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "engine")
        self._is_busy = False

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do it off the event loop, when its turn comes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work, *arguments)

    def close(self) -> bool:
        """Begin nothing more. Whether nothing is being done: a call of the engine can't be stopped."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        return not self._is_busy

    def _work(self, work: Callable[..., T], *arguments: object) -> T:
        self._is_busy = True
        try:
            return work(*arguments)
        finally:
            self._is_busy = False


def recognize(engine: Engine, samples: Samples, language: str) -> Sequence[RecognizedWord]:
    """An utterance at once."""
    utterance = engine.start(language)
    utterance.push(samples)
    return utterance.finish()
