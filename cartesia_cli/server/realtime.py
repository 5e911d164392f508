"""The realtime endpoints: the handshake, the frames in their order, and how a session ends.

A handshake that is refused gets an HTTP response with the documented body (API docs: api-errors), as from the service.
Frames go to a Responder one after the other. This module doesn't interpret them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..audio.pcm import Resampler, Samples, decode_pcm
from ..errors import ApiError
from ..protocol.batch import DEFAULT_LANGUAGE, api_error
from ..protocol.constants import ENCODINGS, is_whisper
from ..protocol.events import Connected, Delta, Done, Event, TurnEnd, encode, error_event
from ..protocol.json_fields import DetectedLanguage, Word
from ..protocol.languages import AUTO_LANGUAGE
from ..protocol.realtime import MANUAL, Close, Config, Endpoint, RealtimeOptions, decode_command
from .access import AccessControl, error_response
from .engine import ContinuingEngine, Engine, EngineExecutor
from .forced_alignment import WordAligner
from .live_recognizer import IDLE_BUFFER_SECONDS, LiveRecognizer
from .live_word_times import LiveWordTimes
from .observer import AUDIO_SECONDS
from .responders import ManualResponder, Responder, TurnResponder
from .silero import make_detector
from .word_times import TimeSpan

IDLE_SECONDS = 20.0
"""Time without a frame after which a session is closed (docs of 2025: api-reference/stt/stt)."""

IDLE_REASON = "connection idle timeout"

MAX_QUEUED_BYTES = 2 << 20
"""What may be queued for the engine: a minute of 16-bit samples at 16 kHz. More waits in the client."""

FRAME_OVERHEAD_BYTES = 64
"""What a queued frame counts besides its own length."""

LIVE_WINDOW_SECONDS = 8.0
"""Longest audio in one call of the engine, for text that grows. A partial result takes longer the more audio it covers:
with 12 s, two simultaneous speakers waited 0.9 s for an update, and more words were wrong (`benchmarks/live_text.py`
counts them).
"""

WORD_TIMES_WINDOW_SECONDS = 25.0
"""The same for words with times, which improve with the length (`benchmarks/word_times.py`), and for a slow engine."""

NORMAL_CLOSURE, GOING_AWAY, POLICY_VIOLATION, INTERNAL_ERROR = 1000, 1001, 1008, 1011
"""Close codes (RFC 6455 7.4.1)."""

logger = logging.getLogger(__name__)


class RealtimeEndpoint:
    """Answers both realtime endpoints: `answer` checks the handshake and runs a RealtimeSession.

    executor        the engine for ink-whisper: words with times
    live_executor   the engine for the other models: text that grows during speech
    access          who may use the server; a session counts as long as it is open
    idle_seconds    time without a frame after which a session is closed
    """

    def __init__(
        self, executor: EngineExecutor, live_executor: EngineExecutor, access: AccessControl, *, idle_seconds: float
    ) -> None:
        self._executor, self._live_executor, self._access = executor, live_executor, access
        self._idle_seconds = idle_seconds
        self._aligner = WordAligner()

    async def answer(self, websocket: WebSocket, endpoint: Endpoint) -> None:
        """A whole session, or the refusal of its handshake."""
        request_id = str(uuid4())
        try:
            self._access.authorize(websocket.headers, websocket.query_params, is_websocket=True)
            options = RealtimeOptions.parse(endpoint, websocket.query_params.multi_items())
            self._executor_for(options).check_language(options.language or DEFAULT_LANGUAGE)
            with self._access.admit():
                await websocket.accept(headers=[(b"x-request-id", request_id.encode())])
                await self._run(RealtimeSession(websocket, endpoint, options, request_id, self._idle_seconds))
        except ApiError as error:
            await websocket.send_denial_response(error_response(error, request_id))

    async def _run(self, session: RealtimeSession) -> None:
        try:
            if (refusal := session.options.language_hints_error()) is not None:
                await session.send_error(refusal)
                raise refusal
            responder = self._make_responder(session)
        except ApiError as error:
            await session.refuse(error)
            return
        with self._executor.session():  # even if it uses the other engine
            await session.run(responder)

    def _make_responder(self, session: RealtimeSession) -> Responder:
        """The responder of a session. Raises ApiError for turn thresholds out of order."""
        endpoint, options = session.endpoint, session.options
        executor = self._executor_for(options)
        detected: DetectedLanguage | None = None

        async def recognize(samples: Samples) -> Sequence[Word]:
            nonlocal detected
            language = _language(session.options, executor.engine)
            if language == AUTO_LANGUAGE:
                if (found := await executor.run(executor.engine.detect_language, samples)) is None:
                    return ()
                detected, language = found, found.language
            return await executor.recognize(samples, language)

        async def send(event: Event) -> None:
            """Send an event, with the language of its text if that was to be detected."""
            if detected is not None and isinstance(event, TurnEnd):
                event = event._replace(languages=(detected,))
            elif detected is not None and isinstance(event, Delta):
                event = event._replace(languages=(detected,), language=None)
            await session.send(event)

        def align(words: Sequence[str], samples: Samples) -> Awaitable[Sequence[TimeSpan | None]]:
            return executor.run(self._aligner.align, words, samples, _language(session.options, executor.engine))

        has_word_times = is_whisper(options.model)
        is_quick = executor.engine.is_quick
        longest = LIVE_WINDOW_SECONDS if is_quick and not has_word_times else WORD_TIMES_WINDOW_SECONDS
        times = LiveWordTimes(align) if options.word_timestamps and not has_word_times else None
        idle = longest if endpoint is MANUAL else IDLE_BUFFER_SECONDS
        engine = executor.engine
        recognize_after = (
            partial(executor.run, engine.recognize_after) if isinstance(engine, ContinuingEngine) else None
        )
        recognizer = LiveRecognizer(
            recognize, longest, idle, times, recognize_after=recognize_after, has_partials=is_quick
        )
        make = ManualResponder if endpoint is MANUAL else TurnResponder
        return make(recognizer, send, options, make_detector())

    def _executor_for(self, options: RealtimeOptions) -> EngineExecutor:
        """The live engine, unless the session needs word times or another language."""
        live = self._live_executor
        language = _language(options, live.engine, self._executor.engine)
        return live if language in live.engine.languages and not is_whisper(options.model) else self._executor


def _language(options: RealtimeOptions, *engines: Engine) -> str:
    """The language to recognize: the one that is asked for, else the first hint that an engine knows, else English."""
    hints = (hint for hint in options.language_hints if any(hint in engine.languages for engine in engines))
    return options.language or next(hints, DEFAULT_LANGUAGE)


class RealtimeSession:
    """One accepted WebSocket: a task receives frames into a queue, another one gives them to the responder.

    options   those of the handshake, with the changes of each accepted `config`
    """

    def __init__(
        self, websocket: WebSocket, endpoint: Endpoint, options: RealtimeOptions, request_id: str, idle_seconds: float
    ) -> None:
        self.endpoint, self.options = endpoint, options
        self._websocket, self._request_id, self._idle_seconds = websocket, request_id, idle_seconds
        self._queue: asyncio.Queue[bytes | str] = asyncio.Queue()
        self._queued_bytes, self._dequeued = 0, asyncio.Event()
        self._resampler = Resampler(options.sample_rate)
        self._partial_sample = b""
        self._received_bytes = 0
        self._bytes_per_second = options.sample_rate * ENCODINGS[options.encoding]

    async def send(self, event: Event) -> None:
        """Send an event with the session's request id."""
        await self._websocket.send_text(encode(event._replace(request_id=self._request_id)))

    async def send_error(self, error: ApiError) -> None:
        """Send a refusal as an `error` event. The session stays open."""
        await self.send(error_event(error))

    async def refuse(self, error: ApiError) -> None:
        """Close the session before it starts, for options that the handshake could not refuse."""
        await self._websocket.close(POLICY_VIOLATION, error_event(error).title)

    async def run(self, responder: Responder) -> None:
        """Run the session until `close` is done, the client leaves, or no frame came for too long."""
        if self.endpoint is not MANUAL:
            await self.send(Connected())
        process = asyncio.create_task(self._process_frames(responder))
        receive = asyncio.create_task(self._receive_frames())
        await asyncio.wait({process, receive}, return_when=asyncio.FIRST_COMPLETED)
        if not process.done():  # the client has left
            process.cancel()
            return
        receive.cancel()
        failure = process.exception()
        if failure is None:
            await self._websocket.close(*process.result())
        elif not isinstance(failure, WebSocketDisconnect):
            logger.debug("a realtime session failed", exc_info=failure)
            await self.send_error(api_error(500, "Internal server error", f"{type(failure).__name__}: {failure}"))
            await self._websocket.close(INTERNAL_ERROR)

    async def _receive_frames(self) -> None:
        """Queue frames until the client leaves, no faster than they are processed."""
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            frame = message["bytes"] if message.get("bytes") is not None else message["text"]
            if frame == b"":  # has no audio, and doesn't keep a session open
                continue
            self._queue.put_nowait(frame)
            self._queued_bytes += len(frame) + FRAME_OVERHEAD_BYTES
            while self._queued_bytes > MAX_QUEUED_BYTES:
                self._dequeued.clear()
                await self._dequeued.wait()

    async def _process_frames(self, responder: Responder) -> tuple[int, str | None]:
        """Give frames to the responder in their order, up to `close`, or until none came for too long. Returns the code
        and the reason with which to close the session.
        """
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    frame = await self._queue.get()
            except TimeoutError:
                return GOING_AWAY, IDLE_REASON
            self._queued_bytes -= len(frame) + FRAME_OVERHEAD_BYTES
            self._dequeued.set()
            try:
                if isinstance(frame, bytes):
                    await self._process_audio(responder, frame)
                elif await self._process_command(responder, frame):
                    return NORMAL_CLOSURE, None
            except ApiError as error:
                await self.send_error(error)

    async def _process_audio(self, responder: Responder, frame: bytes) -> None:
        data = self._partial_sample + frame
        whole = len(data) - len(data) % ENCODINGS[self.options.encoding]
        self._partial_sample = data[whole:]
        self._received_bytes += len(frame)
        setattr(self._websocket.state, AUDIO_SECONDS, self._received_bytes / self._bytes_per_second)
        caught_up = self._queue.empty()
        # One second at a time, however much came at once: at a low rate, few bytes are many samples.
        for at in range(0, whole, self._bytes_per_second):
            second = data[at : min(at + self._bytes_per_second, whole)]
            samples = self._resampler.resample(decode_pcm(second, self.options.encoding))
            await responder.push_audio(samples, caught_up=caught_up)
            await asyncio.sleep(0)  # let other sessions run

    async def _process_command(self, responder: Responder, frame: str) -> bool:
        """Carry out the command in a text frame. Returns whether it was `close`."""
        command = decode_command(self.endpoint, frame)
        options = self.options
        if isinstance(command, Config):
            options = self.options.with_config(command)
        else:
            # What the resampler holds back came before the command.
            await responder.push_audio(self._resampler.finish(), caught_up=False)
            self._resampler = Resampler(self.options.sample_rate)
        await responder.execute(command)
        self.options = options
        if not isinstance(command, Close):
            return False
        if self.endpoint is MANUAL:
            await self.send(Done())
        return True
