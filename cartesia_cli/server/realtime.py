"""The realtime routes: the handshake, the frames in their order, and how a session ends.

A socket that must not come in is refused with an HTTP answer and the documented body (docs: api-errors), as
the real service does. Frames go to a `conversation` one after the other. Must not know what is said there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..audio.pcm import Resampler, Samples, decode_pcm, whole_samples
from ..errors import ApiError
from ..protocol import (
    ENCODINGS,
    MANUAL,
    Close,
    Config,
    Connected,
    Done,
    Endpoint,
    Error,
    Event,
    Finalize,
    RealtimeOptions,
    api_error,
    decode_command,
    encode,
    excerpt,
    is_whisper,
)
from .access import AccessControl
from .engine import Engine, RecognizedWord
from .exchanges import AUDIO_SECONDS
from .executor import EngineExecutor, recognize
from .live_recognizer import LiveRecognizer
from .responders import ManualResponder, Responder, TurnResponder
from .responses import error_response

IDLE_SECONDS = 20.0
"""Without a frame, a socket is closed after this time (docs of 2025: api-reference/stt/stt)."""

WAITING_BYTES, FRAME_BYTES = 2 << 20, 64
"""What may wait for the engine: a minute of 16-bit samples at 16 kHz, more waits in the client; and what a frame
takes however small it is.
"""

LONGEST_LIVE, LONGEST_TIMED = 8.0, 25.0
"""Seconds of audio heard at once. A glance takes longer the more it sees: with 12 s, two speakers at once waited
0.9 s for a sign of life, and more words were wrong. Word times want all there is.
"""

NORMAL, GOING_AWAY, POLICY, INTERNAL = 1000, 1001, 1008, 1011
"""Close codes (RFC 6455 7.4.1)."""

logger = logging.getLogger(__name__)


class RealtimeEndpoint:
    """Answers both realtime routes.

    timed          engine and engine_executor for ink-whisper: words with times
    live           engine and engine_executor for the other models: text that grows while somebody speaks
    access_control           who may come in; a socket counts as long as it is open
    idle_seconds   patience with a socket that says nothing
    """

    def __init__(
        self,
        timed: tuple[Engine, EngineExecutor],
        live: tuple[Engine, EngineExecutor],
        access_control: AccessControl,
        *,
        idle_seconds: float,
    ) -> None:
        self._timed, self._live, self._access, self._idle = timed, live, access_control, idle_seconds

    async def __call__(self, websocket: WebSocket, endpoint: Endpoint) -> None:
        request_id = str(uuid4())
        try:
            self._access.authorise(websocket.headers, websocket.query_params, is_websocket=True)
            options = self._options(websocket, endpoint)
            with self._access.admit():
                await websocket.accept(headers=[(b"x-request-id", request_id.encode())])
                session = _Session(websocket, endpoint, options, request_id, self._idle)
                try:
                    await session.run(self._start)
                finally:
                    setattr(websocket.state, AUDIO_SECONDS, session.audio_seconds)
        except ApiError as error:
            await websocket.send_denial_response(error_response(error, request_id))

    def _options(self, websocket: WebSocket, endpoint: Endpoint) -> RealtimeOptions:
        options = RealtimeOptions.parse(endpoint, websocket.query_params.multi_items())
        engine, _ = self._timed if is_whisper(options.model) else self._live
        if (options.language or "en") not in engine.languages:
            known = excerpt(options.language or "")
            message = f"{engine.name} doesn't know {known}; serve a multilingual model with --local-model."
            raise api_error(400, "Unsupported language", message)
        return options

    def _start(self, session: _Session) -> Responder:
        """A conversation for a session. ApiError for turn thresholds out of order."""
        options, endpoint = session.options, session.endpoint
        is_timed = is_whisper(options.model)
        engine, engine_executor = self._timed if is_timed else self._live
        longest = LONGEST_TIMED if is_timed else LONGEST_LIVE

        def recognise(samples: Samples) -> Awaitable[Sequence[RecognizedWord]]:
            return engine_executor.run(recognize, engine, samples, options.language or "en")

        if endpoint is MANUAL:
            return ManualResponder(
                LiveRecognizer(recognise, longest, kept=longest), session.say, options, is_timed=is_timed
            )
        return TurnResponder(LiveRecognizer(recognise, longest), session.say, options)


class _Session:
    """One accepted socket."""

    def __init__(
        self, websocket: WebSocket, endpoint: Endpoint, options: RealtimeOptions, request_id: str, idle: float
    ) -> None:
        self.endpoint, self.options = endpoint, options
        self._websocket, self._request_id, self._idle = websocket, request_id, idle
        self._waiting: asyncio.Queue[bytes | str] = asyncio.Queue()
        self._held, self._taken = 0, asyncio.Event()
        self._resampler = Resampler(options.sample_rate)
        self._rest = b""
        self._busy = False
        self._bytes = 0
        self._bytes_a_second = options.sample_rate * ENCODINGS[options.encoding]

    @property
    def audio_seconds(self) -> float:
        """How much audio has come."""
        return self._bytes / self._bytes_a_second

    async def say(self, event: Event) -> None:
        # An event is a frozen value: the id is put in where it is spelt.
        await self._websocket.send_text(encode(_signed(event, self._request_id)))

    async def run(self, start: Callable[[_Session], Responder]) -> None:
        """Until the client closes, or is silent for too long, or has heard all."""
        try:
            conversation = start(self)
        except ApiError as error:
            await self._websocket.close(POLICY, error.message.partition(": ")[0])
            return
        if self.endpoint is not MANUAL:
            await self.say(Connected())
        answer, read = asyncio.create_task(self._answer(conversation)), asyncio.create_task(self._read())
        await asyncio.wait({answer, read}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            read.cancel()
            await self._end(answer.exception())
        else:
            answer.cancel()
            if not read.cancelled() and read.result() == GOING_AWAY:
                await self._websocket.close(GOING_AWAY, "connection idle timeout")

    async def _read(self) -> int:
        """Take in frames as fast as they are heard. How it ended: GOING_AWAY when nothing came any more."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._idle
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self._websocket.receive()
            except TimeoutError:
                if self._busy:
                    deadline = now() + self._idle  # who waits for an answer need not say anything
                    continue
                return GOING_AWAY
            if message["type"] == "websocket.disconnect":
                return NORMAL
            frame = message["bytes"] if message.get("bytes") is not None else message["text"]
            if frame:  # one that is empty brings no audio
                deadline = now() + self._idle
            self._waiting.put_nowait(frame)
            self._held += len(frame) + FRAME_BYTES
            while self._held > WAITING_BYTES:
                self._taken.clear()
                await self._taken.wait()

    async def _answer(self, conversation: Responder) -> None:
        """Frames in their order, up to `close`."""
        while True:
            self._busy = False
            frame = await self._waiting.get()
            self._busy = True
            self._held -= len(frame) + FRAME_BYTES
            self._taken.set()
            try:
                if isinstance(frame, bytes):
                    await self._audio(conversation, frame)
                elif await self._command(conversation, frame):
                    return
            except ApiError as error:
                title, _, message = error.message.partition(": ")
                await self.say(Error(status_code=error.status, error_code=error.code, title=title, message=message))

    async def _audio(self, conversation: Responder, frame: bytes) -> None:
        data = self._rest + frame
        whole = whole_samples(data, self.options.encoding)
        self._rest = data[whole:]
        self._bytes += len(frame)
        live = self._waiting.empty()
        # A second at a time, whatever came at once: at a low rate, few bytes are many samples.
        for at in range(0, whole, self._bytes_a_second):
            second = data[at : min(at + self._bytes_a_second, whole)]
            samples = self._resampler.resample(decode_pcm(second, self.options.encoding))
            await conversation.audio(samples, live=live)
            await asyncio.sleep(0)  # the others' turn

    async def _command(self, conversation: Responder, frame: str) -> bool:
        """Do what a text frame says; whether it was `close`."""
        command = decode_command(self.endpoint, frame)
        if isinstance(command, Config):
            assert isinstance(conversation, TurnResponder)
            conversation.configure(command.turn)
            return False
        # What the resampler holds back belongs to what was said before.
        await conversation.audio(self._resampler.finish(), live=False)
        self._resampler = Resampler(self.options.sample_rate)
        if isinstance(command, Finalize):
            assert isinstance(conversation, ManualResponder)
            await conversation.finalize()
            return False
        assert isinstance(command, Close)
        await conversation.close()
        if self.endpoint is MANUAL:
            await self.say(Done())
        return True

    async def _end(self, failure: BaseException | None) -> None:
        if isinstance(failure, WebSocketDisconnect):
            return
        if failure is None:
            await self._websocket.close(NORMAL)
            return
        logger.debug("a live session failed", exc_info=failure)
        message = f"{type(failure).__name__}: {failure}"
        await self.say(Error(status_code=500, title="Internal server error", message=message))
        await self._websocket.close(INTERNAL)


def _signed(event: Event, request_id: str) -> Event:
    return replace(event, request_id=request_id)
