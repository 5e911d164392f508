"""The realtime connection: sends audio and commands, receives events, and reports why it ended.

Both endpoints use one WebSocket alike; their differences are data, one `Endpoint` each. What an end means is decided in
`ws_errors`. Exceptions of websockets never leave this module, and a dead connection never blocks for longer than
`silence_seconds`. Must never know what an event means for a transcript.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from ..errors import ApiError, AuthError, CliError, NetworkError, ProtocolError, SettingsRefused
from ..protocol.constants import API_VERSION, Credential, build_url
from ..protocol.events import (
    Delta,
    Error,
    Event,
    TurnEagerEnd,
    TurnEnd,
    TurnUpdate,
    UnreadableText,
    decode,
    malformed_fields,
)
from ..protocol.realtime import Close, Command, Config, Endpoint, RealtimeOptions, encode_command
from ..redaction import Redactor, is_long
from ..retry import RetryPolicy
from .http_errors import Peer, refusal_reason
from .http_transport import peer_of
from .ws_connect import CLOSE_TIMEOUT_SECONDS, FrameTap, Socket, describe_close, open_socket, redacting
from .ws_errors import already_closed_error, close_error, error_from_event, response_headers, stalled_error

OPEN_TIMEOUT_SECONDS = 10.0

PING_SECONDS = 5.0
"""Time between pings, and until one must be answered: a dead link is noticed in 11 s (websockets' own 20 s: in 41)."""

CONFIG_ANSWER_SECONDS = 30.0
"""Seconds after a `config` in which an `error` event may be its refusal: a server with a backlog answers late."""

CONFIG_CLOSE_SECONDS = 2.0
"""Seconds after such a refusal, or after a `config`, in which a close of the connection is put down to it."""

STATUSES_UNRELATED_TO_CONFIG = (402, 429)
"""Statuses of errors that no `config` causes."""

EXCERPT_CHARS = 60
"""How much is shown of a frame that isn't a documented event, or has malformed fields."""

TEXT_EVENTS = Delta, TurnUpdate, TurnEagerEnd, TurnEnd
"""Events that carry recognized text."""

WORDS_MISSING = "words are missing: a log of the frames shows what came instead"

Notify = Callable[[str], None]
"""Receives a sentence for the user."""


def ignore(*_: object) -> None:
    """A callback that does nothing."""


class RealtimeConnection:
    """An open session. Iterating yields its events.

    An `error` event ends a session, unless it refuses a `config`, which changes nothing (API docs: stt/languages): that
    one is yielded, as an Error whose `message` is fit for the user. A server that closes the connection because of a
    `config`, without such an event, makes iteration raise SettingsRefused.

    Iteration raises the reason when the session ends too early. If the server sent text that can't be read, the
    transcript is incomplete: a session that would end well, or with a refusal after `close`, then ends with a
    ProtocolError.

    The events must be consumed continuously: when a few are waiting, nothing more is read, not even answers to pings.
    """

    def __init__(
        self,
        socket: Socket,
        endpoint: Endpoint,
        peer: Peer,
        *,
        tap: FrameTap = ignore,
        on_notice: Notify = ignore,
        on_anomaly: Notify = ignore,
        silence_seconds: float = 2 * PING_SECONDS,
        encoding: str = "pcm_s16le",
    ) -> None:
        self._socket, self._endpoint, self._peer, self._encoding = socket, endpoint, peer, encoding
        self._tap, self._on_notice, self._on_anomaly = tap, on_notice, on_anomaly
        self._silence_seconds = silence_seconds
        secret = peer.credential.secret if peer.credential else ""
        self._frame_redactor = Redactor(secret if is_long(secret) else "")
        self._request_id = response_headers(socket.response).get("x-request-id")
        self._frames_received = 0
        self._closing = self._ended = False
        self._config_sent_at: float | None = None  # when the last `config` was sent, if it may still be refused
        self._config_refused_at: float | None = None
        self._failure: CliError | None = None  # why the session ended, once it has
        self._stalled: CliError | None = None  # why the connection was aborted here
        self._lost_words: CliError | None = None  # raised at the end only: the other words are still worth having
        self._reported_fields: set[str] = set()

    @property
    def request_id(self) -> str | None:
        """The id that Cartesia's support asks for, fit for a message; None until the server has sent one."""
        return self._peer.quote(self._request_id or "") or None

    async def send(self, frame: bytes) -> None:
        """Send audio: `pcm_s16le`, whole samples, at the rate of the options. It is converted to their encoding.

        After the end of the session it raises the error that iteration has raised. NetworkError if that has raised none
        yet: it will say why the session ended.
        """
        if self._encoding != "pcm_s16le":
            from ..audio.pcm import convert_s16le  # imports numpy, which few sessions need here

            frame = convert_s16le(frame, self._encoding)
        await self._send(frame)

    async def send_command(self, command: Command) -> None:
        """Send a command in the endpoint's spelling. Errors as in `send`; raises ValueError if the endpoint lacks
        it.
        """
        text = encode_command(self._endpoint, command)
        if isinstance(command, Config):
            self._config_sent_at = time.monotonic()
        self._closing = self._closing or isinstance(command, Close)
        await self._send(text)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def _send(self, message: str | bytes) -> None:
        if self._failure is None and not self._ended:
            self._tap("sent", message)
            try:
                # A ping would be queued after full buffers, so it can't detect a stall: this timeout does.
                async with asyncio.timeout(self._silence_seconds):
                    return await self._socket.send(message)
            except ConnectionClosed:
                pass  # the reason may be among the events that haven't been read
            except TimeoutError:
                self._stalled = stalled_error(self._peer, self.request_id, self._silence_seconds)
                self._socket.transport.abort()
        raise self._failure or already_closed_error(self._peer)

    async def __anext__(self) -> Event:
        while self._failure is None and not self._ended:
            try:
                frame = await self._socket.recv()
                self._frames_received += 1
            except ConnectionClosed as closed:
                self._tap("close", describe_close(closed))
                self._ended = self._is_expected_close(closed)
                error = self._stalled or close_error(closed, self._peer, self.request_id, self._silence_seconds)
                if closed.rcvd is not None:
                    error = self._attribute_to_config(error)
                self._failure = self._lost_words if self._ended else self._prefer_lost_words(error)
                break
            event = self._decode_frame(frame)
            if isinstance(event, Error):
                error = error_from_event(event, self._peer, self.request_id)
                if self._refuses_config(error):
                    self._config_refused_at = time.monotonic()
                    return event._replace(title=None, message=refusal_reason(event, self._peer))
                self._failure = self._prefer_lost_words(error)
            elif event is not None:
                if event.kind == self._endpoint.final_event:
                    self._ended, self._failure = True, self._lost_words
                return event
        raise self._failure or StopAsyncIteration

    def _refuses_config(self, error: CliError) -> bool:
        """Whether an `error` event may be the answer to a `config`. If it isn't, the server closes the connection next,
        which is an error of its own.
        """
        is_late = self._config_sent_at is None or time.monotonic() - self._config_sent_at > CONFIG_ANSWER_SECONDS
        is_other = (
            isinstance(error, AuthError) or (error.status or 400) >= 500 or error.status in STATUSES_UNRELATED_TO_CONFIG
        )
        return not is_late and not is_other

    def _attribute_to_config(self, error: CliError) -> CliError:
        """The error for a close by the server: NetworkError or SettingsRefused if a `config` probably caused it, since
        a new connection may then succeed.

        Servers should stay connected, but one may close just after it refused a `config`, or instead of doing so.
        """
        now = time.monotonic()
        if self._config_refused_at is not None and now - self._config_refused_at <= CONFIG_CLOSE_SECONDS:
            return NetworkError(error.message, hint=error.hint, request_id=error.request_id)
        is_recent = self._config_sent_at is not None and now - self._config_sent_at <= CONFIG_CLOSE_SECONDS
        if is_recent and isinstance(error, ApiError) and not isinstance(error, ProtocolError):
            return SettingsRefused(error.message, hint=error.hint, request_id=error.request_id)
        return error

    def _prefer_lost_words(self, error: CliError) -> CliError:
        """The error to raise: lost words before a refusal at the end, which may only mean that no speech was found."""
        refused_at_end = self._closing and isinstance(error, ApiError)
        return self._lost_words if self._lost_words is not None and refused_at_end else error

    def _decode_frame(self, frame: str | bytes) -> Event | None:
        """Decode a frame, log it, and report what is wrong with it. Returns None if it is not an event: that is not
        worth losing a session for.
        """
        try:
            if isinstance(frame, bytes):
                raise ProtocolError("binary")
            event = decode(frame)
            self._tap("received", frame if isinstance(event, TEXT_EVENTS) else self._redact_frame(frame))
        except ProtocolError as error:
            self._tap("received", self._redact_frame(frame))
            self._report_anomaly(f"a frame that is not an event: {error.message}", frame)
            if isinstance(error, UnreadableText) and self._lost_words is None:
                message = f"{self._peer.host} sent text that can't be read: {self._peer.quote(error.message)}"
                self._lost_words = ProtocolError(message, hint=WORDS_MISSING, request_id=self.request_id)
                self._on_notice(f"warning: {message}: words are missing")
            return None
        self._request_id = event.request_id or self._request_id
        malformed = [f"{event.kind}: {name}" for name in malformed_fields(event)] if event.extra else ()
        if not self._reported_fields.issuperset(malformed):
            self._reported_fields.update(malformed)
            self._report_anomaly(f"an event with malformed fields ({', '.join(malformed)})", frame)
        return event

    def _redact_frame(self, frame: str | bytes) -> str | bytes:
        """A frame without the key, for a log. A short key is left in: it may be a word of the event's own JSON."""
        redact = self._frame_redactor.redact
        return redact(frame) if isinstance(frame, str) else redact(frame.decode("latin-1")).encode("latin-1")

    def _report_anomaly(self, what: str, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        self._on_anomaly(f"{self._peer.host} sent {what}: {self._peer.quote(text, EXCERPT_CHARS)!r}")

    def _is_expected_close(self, closed: ConnectionClosed) -> bool:
        """Whether this is the end that `close` asked for. websockets itself also counts 1001 as one."""
        codes = [frame.code for frame in (closed.rcvd, closed.sent) if frame is not None]
        return self._closing and self._endpoint.final_event is None and codes == [1000, 1000]

    async def keep_alive(self, interval: float, silence_limit: float) -> None:
        """Ping every `interval` seconds, and close a connection that stays silent for `silence_limit` after one.

        Any bytes received, and any frame taken from the queue, count as a response: the answer to a ping comes after
        everything that the server sent before it, which may take longer than the limit to read.
        """
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(interval)
                pong, last_seen = asyncio.ensure_future(await self._socket.ping()), None
                while not pong.done():
                    if last_seen == (seen := (self._socket.bytes_received, self._frames_received)):
                        return await self._socket.close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
                    last_seen = seen
                    await asyncio.wait({pong}, timeout=silence_limit)
                await pong

    async def close(self, max_seconds: float) -> None:
        """Close the connection, and wait no longer than `max_seconds` for the server's close frame."""
        try:
            async with asyncio.timeout(max_seconds):
                await self._socket.close()
        except TimeoutError:
            pass
        finally:
            self._socket.transport.abort()


@asynccontextmanager
async def connect(
    base_url: str,
    credential: Credential | None,
    endpoint: Endpoint,
    options: RealtimeOptions,
    *,
    retry: RetryPolicy | None = None,
    on_notice: Notify = ignore,
    on_anomaly: Notify = ignore,
    tap: FrameTap = ignore,
    api_version: str = API_VERSION,
    open_timeout: float = OPEN_TIMEOUT_SECONDS,
    ping_interval: float = PING_SECONDS,
    ping_timeout: float = PING_SECONDS,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[RealtimeConnection]:
    """A session with a realtime endpoint, closed at the end of the block.

    base_url       checked by protocol.check_base_url
    credential     key or access token, or None for a local server that asks for none
    on_notice      receives a sentence for the user: an attempt failed and another follows, or words are lost
    on_anomaly     receives a description of each frame that isn't a documented event
    tap            receives what `ws_connect` lists
    api_version    sent as `Cartesia-Version`
    ping_interval  seconds, as are the timeouts

    Raises UsageError for options and settings with which nothing can be opened; AuthError, ApiError or NetworkError
    when the server refuses, or can't be reached in any attempt. Until then no audio was sent, so nothing is billed.
    """
    address = build_url(base_url, endpoint.path, options.query(endpoint), websocket=True)
    peer = peer_of(base_url, credential)
    tap = redacting(tap, peer.redactor)
    socket = await open_socket(
        base_url, address, peer, retry=retry or RetryPolicy(), on_notice=on_notice, tap=tap, sleep=sleep,
        open_timeout=open_timeout, api_version=api_version,
    )  # fmt: skip
    connection = RealtimeConnection(
        socket, endpoint, peer, tap=tap, on_notice=on_notice, on_anomaly=on_anomaly, encoding=options.encoding,
        silence_seconds=ping_interval + ping_timeout,
    )  # fmt: skip
    close_timeout = CLOSE_TIMEOUT_SECONDS
    pings = asyncio.create_task(connection.keep_alive(ping_interval, ping_timeout))
    try:
        yield connection
    except asyncio.CancelledError:
        close_timeout = 0.0
        raise
    finally:
        pings.cancel()
        await connection.close(close_timeout)
