"""A script on one socket: what is said when, against the audio that came, and how it goes wrong.

Deterministic: the same frames in give the same frames out. Only `wait` and `stall` look at a clock. Must not know
how scripts are spelt, who may come in, or what HTTP answers look like.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Sequence
from typing import NoReturn

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import ApiError
from ..protocol import (
    AUTO,
    ENCODINGS,
    MANUAL,
    MAX_COMMAND_CHARS,
    Connected,
    Delta,
    Done,
    Endpoint,
    Error,
    Event,
    FlushDone,
    RealtimeOptions,
    TurnEnd,
    TurnStart,
    TurnUpdate,
    api_error,
    decode_command,
    encode,
)
from .script import ABRUPT, NO_CODE, RESET, Drop, Frame, ScriptedReply, Step, command_name
from .transport import Transport

NORMAL, GOING_AWAY = 1000, 1001
"""Close codes of a session that ended as it should, and of one that says nothing (RFC 6455 7.4.1)."""

WAITING_COMMANDS = 100
"""Text frames that may wait for the script; more wait in the client. Of audio only the length is kept."""

LOOK_SECONDS = 0.1
"""How often a stalled socket looks whether the client is still there."""

GOODBYE_SECONDS = 2.0
"""Patience with a client that doesn't hang up after an end without a close frame."""


class Refused(Exception):
    """Instead of a handshake, `reply`."""

    def __init__(self, reply: ScriptedReply) -> None:
        super().__init__()
        self.reply = reply


class _Over(Exception):
    """The script has ended the socket, or the client has."""


class ScriptPlayer:
    """A script on one socket, step by step."""

    def __init__(
        self, websocket: WebSocket, transport: Transport, endpoint: Endpoint, request_id: str, idle: float
    ) -> None:
        self._websocket, self._transport, self._endpoint, self._id = websocket, transport, endpoint, request_id
        self._idle = idle
        self._waiting = _Incoming()
        self._commands = Counter[str]()
        self._heard = 0.0
        self._reactions: list[Step] = []
        self._timeline: deque[Step] = deque()
        self._recorded: Endpoint | None = None

    async def run(self, steps: Sequence[Step], recorded: Endpoint | None = None) -> None:
        """To its end. ApiError or Refused instead of a handshake."""
        self._reactions = [step for step in steps if step.on not in ("audio", "batch")]
        self._timeline = deque(step for step in steps if step.on == "audio")
        self._recorded = recorded
        await self._websocket.receive()  # says that somebody is there
        self._reader = asyncio.create_task(self._read())
        try:
            await self._perform()
        except (_Over, WebSocketDisconnect, OSError):  # uvicorn's ClientDisconnected is one
            pass
        finally:
            self._reader.cancel()

    @property
    def audio_seconds(self) -> float:
        """How much audio was played to."""
        return self._heard

    async def _read(self) -> None:
        """Take in frames until the client leaves."""
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            audio = message.get("bytes")
            if audio != b"":
                self._waiting.put(message["text"] if audio is None else len(audio))
                await self._waiting.has_room()
        self._waiting.put(None)

    async def _perform(self) -> None:
        await self._react("handshake")
        if self._recorded is not None and self._recorded is not self._endpoint:
            raise api_error(404, "Not found", f"This recording was made at {self._recorded.path}.")
        options = RealtimeOptions.parse(self._endpoint, self._websocket.query_params.multi_items())
        bytes_a_second = options.sample_rate * ENCODINGS[options.encoding]
        await self._websocket.accept(headers=[(b"x-request-id", self._id.encode())])
        if await self._react("open") and self._endpoint is AUTO and self._recorded is None:
            await self._say(_wire(Connected()))
        await self._advance()
        size = 0
        while (frame := await self._next_frame()) is not None:
            if isinstance(frame, int):
                size += frame
                self._heard = size / bytes_a_second
            else:
                name = command_name(self._endpoint, frame)
                self._commands[name] += 1
                if await self._react(name):
                    await self._answer(name, frame)
            await self._advance()

    async def _next_frame(self) -> int | str | None:
        try:
            async with asyncio.timeout(self._idle):
                return await self._waiting.get()
        except TimeoutError:
            await self._drop(Drop(GOING_AWAY, "connection idle timeout"))

    async def _advance(self, *, to_the_end: bool = False) -> None:
        """Whatever the audio and the commands up to now have made due."""
        while self._timeline:
            step = self._timeline[0]
            is_due = step.at <= self._heard + 1e-9 and all(self._commands[name] >= n for name, n in step.after.items())
            if not is_due and not to_the_end:
                return
            await self._do(self._timeline.popleft())

    async def _react(self, on: str) -> bool:
        """Whether the server's own answer may follow."""
        steps = [step for step in self._reactions if step.on == on and step.nth in (None, self._commands[on])]
        for step in steps:
            await self._do(step)
        return all(step.answer for step in steps)

    async def _answer(self, name: str, frame: str) -> None:
        """What a well-behaved server says to a command. In a recording, it has been said."""
        if name == "close":
            if self._recorded:
                await self._advance(to_the_end=True)
            elif self._endpoint is MANUAL:
                await self._say(_wire(Done()))
            await self._drop(Drop(NORMAL))
        if self._recorded:
            return
        if name == "finalize":
            await self._say(_wire(FlushDone()))
        try:
            decode_command(self._endpoint, frame)
        except ApiError as error:
            title, _, message = error.message.partition(": ")
            await self._say(_wire(Error(status_code=error.status, title=title, message=message)))

    async def _do(self, step: Step) -> None:
        await self._gone_after(step.wait)
        if step.stall:
            await self._stall(step.stall)
        if step.reply:
            raise Refused(step.reply)
        frames = [*_spelt(self._endpoint, step.text), *step.say]
        for frame in frames * step.times:
            await self._say(frame, step.split)
        if step.drop:
            await self._drop(step.drop)

    async def _say(self, frame: Frame, split: int | None = None) -> None:
        if isinstance(frame, dict):
            frame = _json(frame if "request_id" in frame else {**frame, "request_id": self._id})
        if split is not None:
            is_text = isinstance(frame, str)
            self._transport.send_pieces(frame.encode() if isinstance(frame, str) else frame, split, text=is_text)
        elif isinstance(frame, str):
            await self._websocket.send_text(frame)
        else:
            await self._websocket.send_bytes(frame)

    async def _gone_after(self, seconds: float) -> None:
        """Let time pass. _Over when the client leaves meanwhile."""
        if seconds and (await asyncio.wait({self._reader}, timeout=seconds))[0]:
            raise _Over

    async def _stall(self, seconds: float) -> None:
        self._transport.pause_reading()
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            await self._gone_after(min(left, LOOK_SECONDS))
            if self._transport.is_hung_up:
                raise _Over
        self._transport.resume_reading()

    async def _drop(self, drop: Drop) -> NoReturn:
        if drop.code not in (NO_CODE, ABRUPT, RESET):
            await self._websocket.close(drop.code, drop.reason)
            raise _Over
        if drop.code == RESET:
            self._transport.reset()
        else:
            self._transport.close_without_code() if drop.code == NO_CODE else self._transport.half_close()
            await asyncio.wait({self._reader}, timeout=GOODBYE_SECONDS)
            self._transport.abort()
        await asyncio.wait({self._reader})  # until uvicorn knows: it would answer an open handshake with a 500
        raise _Over


class _Incoming:
    """What has come and was not played to yet: bytes of audio, text frames, None for the end.

    The frames that audio came in make no difference to a script: its bytes are added up, so that any amount can wait.
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

    async def has_room(self) -> None:
        while len(self._items) > WAITING_COMMANDS:
            self._changed.clear()
            await self._changed.wait()


def _spelt(endpoint: Endpoint, text: str | None) -> list[Frame]:
    """A text as this endpoint says it."""
    if text is None:
        return []
    if endpoint is MANUAL:
        return [_wire(Delta(text=text))]
    return [_wire(event) for event in (TurnStart(), TurnUpdate(transcript=text), TurnEnd(transcript=text))]


def _wire(event: Event) -> Frame:
    wire: Frame = json.loads(encode(event))
    return wire


def _json(wire: Frame) -> str:
    """In UTF-8, as far as it can be: half a surrogate pair remains an escape."""
    text = json.dumps(wire, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(wire)
    return text
