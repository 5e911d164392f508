"""Recordings through pipecat's Cartesia services: prints what they heard.

Each file is an utterance (see asked.py). The services run in pipelines of their own, as in an agent, with nothing
changed but the address:

    manual   CartesiaSTTService: the pipeline's voice detection (here the end of a file) has it send `finalize`
    turns    CartesiaTurnsSTTService: the server says what a turn is

Run with the Python of `.venv-frameworks`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from asked import Asked, asked
from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.cartesia.stt import CartesiaSTTService
from pipecat.services.cartesia.turns.stt import CartesiaTurnsSTTService
from pipecat.services.stt_service import STTService
from pipecat.workers.runner import WorkerRunner
from sound import RATE, SILENCE, Clock, aspoken

PATIENCE = 30.0
"""Seconds to wait for the transcript of an utterance at most, on a busy machine."""

QUIET = 2.0
"""Seconds without another transcript after which an utterance is taken for transcribed."""


class Listener(FrameProcessor):
    """What comes out of the service, at the place where an agent would be."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[dict[str, Any]] = []
        self.heard_at = 0.0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
            self.frames.append({"class": type(frame).__name__, "text": frame.text, "result": frame.result})
            if isinstance(frame, TranscriptionFrame):
                self.heard_at = time.monotonic()
        elif not isinstance(frame, InputAudioRawFrame):
            self.frames.append({"class": type(frame).__name__})
        await self.push_frame(frame, direction)


async def pause(worker: PipelineWorker, listener: Listener, began: float) -> None:
    """The silence of an open microphone, until all is heard of what was said since `began`.

    Pipecat keeps `flush_done` to itself, and hangs up soon after it was told to end.
    """
    clock, asked = Clock(1.0), time.monotonic()
    while time.monotonic() < asked + PATIENCE:
        if began < listener.heard_at and max(asked, listener.heard_at) + QUIET < time.monotonic():
            return
        await worker.queue_frame(tenth(SILENCE))
        await asyncio.sleep(clock.wait())


def tenth(chunk: bytes) -> InputAudioRawFrame:
    return InputAudioRawFrame(audio=chunk, sample_rate=RATE, num_channels=1)


async def converse(service: STTService, ask: Asked) -> dict[str, Any]:
    """The utterances through a pipeline with the service in it."""
    listener = Listener()
    errors: list[str] = []
    params = PipelineParams(audio_in_sample_rate=RATE)
    worker = PipelineWorker(Pipeline([service, listener]), params=params, enable_rtvi=False)
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_pipeline_started(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    @worker.event_handler("on_pipeline_error")
    async def on_pipeline_error(worker: PipelineWorker, frame: ErrorFrame) -> None:
        errors.append(frame.error)

    async def speak() -> None:
        await asyncio.wait_for(started.wait(), PATIENCE)
        clock = Clock(ask.speed)
        for file in ask.files:
            began = time.monotonic()
            await worker.queue_frame(VADUserStartedSpeakingFrame())
            async for chunk in aspoken(file, clock):
                await worker.queue_frame(tenth(chunk))
            await worker.queue_frame(VADUserStoppedSpeakingFrame())
            await pause(worker, listener, began)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), speak())
    finals = [frame["text"] for frame in listener.frames if frame["class"] == "TranscriptionFrame"]
    return {"frames": listener.frames, "finals": finals, "errors": errors}


SERVICES: dict[str, Callable[[Asked], STTService]] = {
    "manual": lambda ask: CartesiaSTTService(api_key=ask.key, base_url=ask.ws_url),
    "turns": lambda ask: CartesiaTurnsSTTService(api_key=ask.key, url=f"{ask.ws_url}/stt/turns/websocket"),
}


async def main() -> None:
    ask, names = asked(SERVICES)
    json.dump({name: await converse(SERVICES[name](ask), ask) for name in names}, sys.stdout)


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="DEBUG")
    asyncio.run(main())
