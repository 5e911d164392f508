"""Plays a script on one WebSocket: what is sent when, against the audio received, and how the connection fails.

Deterministic: the same frames in give the same frames out. Only `wait` and `stall` depend on a clock. Must not know
the notation of scripts, who may use the server, or what HTTP responses look like.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from typing import NoReturn

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import ApiError
from ..protocol.batch import api_error
from ..protocol.constants import ENCODINGS
from ..protocol.events import (
    Connected,
    Delta,
    Done,
    Event,
    FlushDone,
    TurnEnd,
    TurnStart,
    TurnUpdate,
    encode,
    error_event,
)
from ..protocol.realtime import AUTO, MANUAL, MAX_COMMAND_CHARS, Config, Endpoint, RealtimeOptions, decode_command
from .connections import CONNECTION_KEY, WebSocketConnection
from .observer import AUDIO_SECONDS
from .realtime import GOING_AWAY, IDLE_REASON, NORMAL_CLOSURE, POLICY_VIOLATION
from .script import (
    ABNORMAL_CLOSURE,
    NO_STATUS_RCVD,
    RESET,
    Frame,
    Script,
    ScriptedReply,
    SocketEnd,
    Step,
    command_name,
    has_lone_surrogate,
)

MAX_QUEUED_ITEMS = 100
"""Text frames that may wait for the script; more wait in the client. Of audio only the length is kept."""

STALL_CHECK_SECONDS = 0.1
"""How often a stalled socket checks whether the client is still there."""

HANG_UP_SECONDS = 2.0
"""How long a client may take to hang up after an end without a close frame."""

DUE_TOLERANCE_SECONDS = 1e-9
"""Rounding error in seconds of audio."""


class HandshakeRefused(Exception):
    """The script refuses the handshake with `reply`."""

    def __init__(self, reply: ScriptedReply) -> None:
        super().__init__()
        self.reply = reply


class _SessionEnded(Exception):
    """The script or the client has ended the session."""


class ScriptPlayer:
    """Plays the steps of a script on one WebSocket."""

    def __init__(
        self, websocket: WebSocket, endpoint: Endpoint, request_id: str, idle_seconds: float, script: Script
    ) -> None:
        self._websocket, self._endpoint, self._request_id = websocket, endpoint, request_id
        self._connection: WebSocketConnection = websocket.scope["state"][CONNECTION_KEY]
        self._idle_seconds = idle_seconds
        self._queue = _FrameQueue()
        self._commands = Counter[str]()
        self._audio_seconds = 0.0  # of the audio that was taken from the queue
        self._reactions = [step for step in script.steps if step.on not in ("audio", "batch")]
        self._timeline = deque(step for step in script.steps if step.on == "audio")
        self._recorded_endpoint = script.recorded_endpoint
        self._options: RealtimeOptions | None = None  # those of the handshake, changed by each `config`
        self._receiver: asyncio.Task[None]  # ends when the client leaves; made by `run`

    async def run(self) -> None:
        """Play the script to its end. Raises ApiError or HandshakeRefused instead of a handshake."""
        await self._websocket.receive()  # websocket.connect
        self._receiver = asyncio.create_task(self._receive_frames())
        try:
            await self._play()
        except (_SessionEnded, WebSocketDisconnect, OSError):  # uvicorn's ClientDisconnected is an OSError
            pass
        finally:
            self._receiver.cancel()

    async def _receive_frames(self) -> None:
        """Queue frames until the client leaves."""
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            audio = message.get("bytes")
            if audio != b"":
                self._queue.put(message["text"] if audio is None else len(audio))
                await self._queue.wait_for_room()
        self._queue.put(None)

    async def _play(self) -> None:
        await self._react("handshake")
        recorded = self._recorded_endpoint
        if recorded is not None and recorded is not self._endpoint:
            raise api_error(404, "Not found", f"This recording was made at {recorded.path}.")
        options = self._options = RealtimeOptions.parse(self._endpoint, self._websocket.query_params.multi_items())
        bytes_per_second = options.sample_rate * ENCODINGS[options.encoding]
        await self._websocket.accept(headers=[(b"x-request-id", self._request_id.encode())])
        refusal = None if recorded else options.language_hints_error()
        if refusal is not None:
            await self._send_error(refusal)
            await self._end(SocketEnd(POLICY_VIOLATION, error_event(refusal).title or ""))
        if await self._react("open") and self._endpoint is AUTO and recorded is None:
            await self._send(_to_object(Connected()))
        await self._advance()
        received_bytes = 0
        while (frame := await self._next_frame()) is not None:
            if isinstance(frame, int):
                received_bytes += frame
                self._audio_seconds = received_bytes / bytes_per_second
                setattr(self._websocket.state, AUDIO_SECONDS, self._audio_seconds)
            else:
                name = command_name(self._endpoint, frame)
                self._commands[name] += 1
                if await self._react(name):
                    await self._answer(name, frame)
            await self._advance()

    async def _next_frame(self) -> int | str | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await self._queue.get()
        except TimeoutError:
            await self._end(SocketEnd(GOING_AWAY, IDLE_REASON))

    async def _advance(self, *, to_the_end: bool = False) -> None:
        """Run the steps that the audio and the commands received so far have made due."""
        while self._timeline:
            step = self._timeline[0]
            is_due = step.at <= self._audio_seconds + DUE_TOLERANCE_SECONDS and all(
                self._commands[name] >= number for name, number in step.after.items()
            )
            if not is_due and not to_the_end:
                return
            await self._run_step(self._timeline.popleft())

    async def _react(self, on: str) -> bool:
        """Run the steps for an event or a command. Returns whether the server's own answer may follow."""
        steps = [step for step in self._reactions if step.on == on and step.nth in (None, self._commands[on])]
        for step in steps:
            await self._run_step(step)
        return all(step.answer for step in steps)

    async def _answer(self, name: str, frame: str) -> None:
        """Answer a command as a well-behaved server does; a recording has its own answers."""
        if name == "close":
            if self._recorded_endpoint:
                await self._advance(to_the_end=True)
            elif self._endpoint is MANUAL:
                await self._send(_to_object(Done()))
            await self._end(SocketEnd(NORMAL_CLOSURE))
        if self._recorded_endpoint:
            return
        if name == "finalize":
            await self._send(_to_object(FlushDone()))
        try:
            command = decode_command(self._endpoint, frame)
            if isinstance(command, Config) and self._options is not None:
                self._options = self._options.with_config(command)
        except ApiError as error:
            await self._send_error(error)

    async def _send_error(self, error: ApiError) -> None:
        await self._send(_to_object(error_event(error)))

    async def _run_step(self, step: Step) -> None:
        await self._wait(step.wait)
        if step.stall:
            await self._stall(step.stall)
        if step.reply:
            raise HandshakeRefused(step.reply)
        frames = [*_text_events(self._endpoint, step.text), *step.say]
        for frame in frames * step.times:
            await self._send(frame, step.split)
        if step.drop:
            await self._end(step.drop)

    async def _send(self, frame: Frame, split: int | None = None) -> None:
        if isinstance(frame, dict):
            frame = _to_json(frame if "request_id" in frame else {**frame, "request_id": self._request_id})
        if split is not None:
            if self._connection.transport.is_closing():
                raise _SessionEnded
            self._connection.send_split(frame, split)
        elif isinstance(frame, str):
            await self._websocket.send_text(frame)
        else:
            await self._websocket.send_bytes(frame)

    async def _wait(self, seconds: float) -> None:
        """Let time pass. Raises _SessionEnded if the client leaves meanwhile."""
        if seconds and (await asyncio.wait({self._receiver}, timeout=seconds))[0]:
            raise _SessionEnded

    async def _stall(self, seconds: float) -> None:
        self._connection.stall()
        deadline = asyncio.get_running_loop().time() + seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._wait(min(left, STALL_CHECK_SECONDS))
            if self._connection.is_closed_by_peer:
                raise _SessionEnded
        self._connection.end_stall()

    async def _end(self, end: SocketEnd) -> NoReturn:
        if end.code not in (NO_STATUS_RCVD, ABNORMAL_CLOSURE, RESET):
            await self._websocket.close(end.code, end.reason)
            raise _SessionEnded
        if end.code == RESET:
            self._connection.reset()
        else:
            self._connection.close_without_code() if end.code == NO_STATUS_RCVD else self._connection.half_close()
            await asyncio.wait({self._receiver}, timeout=HANG_UP_SECONDS)
            self._connection.transport.abort()
        await asyncio.wait({self._receiver})  # until uvicorn has noticed: it would answer an open handshake with 500
        raise _SessionEnded


class _FrameQueue:
    """Received input that hasn't been played to yet: bytes of audio, text frames, None for the end.

    How audio is divided into frames makes no difference to a script: its bytes are added up, so that any amount fits.
    """

    def __init__(self) -> None:
        self._items: deque[int | str | None] = deque()
        self._changed = asyncio.Event()

    def put(self, item: int | str | None) -> None:
        if isinstance(item, int) and self._items and isinstance(last := self._items[-1], int):
            self._items[-1] = last + item
        else:
            self._items.append(item[: MAX_COMMAND_CHARS + 1] if isinstance(item, str) else item)
        self._changed.set()

    async def get(self) -> int | str | None:
        while not self._items:
            self._changed.clear()
            await self._changed.wait()
        self._changed.set()
        return self._items.popleft()

    async def wait_for_room(self) -> None:
        while len(self._items) > MAX_QUEUED_ITEMS:
            self._changed.clear()
            await self._changed.wait()


def _text_events(endpoint: Endpoint, text: str | None) -> list[Frame]:
    """A text as events of this endpoint."""
    if text is None:
        return []
    if endpoint is MANUAL:
        return [_to_object(Delta(text=text))]
    return [_to_object(event) for event in (TurnStart(), TurnUpdate(transcript=text), TurnEnd(transcript=text))]


def _to_object(event: Event) -> Frame:
    frame: Frame = json.loads(encode(event))
    return frame


def _to_json(frame: Frame) -> str:
    """JSON without escapes, except where half a surrogate pair needs them."""
    text = json.dumps(frame, ensure_ascii=False)
    return json.dumps(frame) if has_lone_surrogate(text) else text
