"""The realtime connection: audio and commands go out, events come in, and every end has its reason.

Both endpoints alike, over one WebSocket; what they differ in is their Dialect. What an end is called is
decided in `endings`. No exception of websockets leaves this room, nothing waits without a limit, and the
key goes to the server of the base URL alone. Must never know what an event means for a transcript.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from ..errors import ApiError, CliError, ProtocolError
from ..protocol import (
    Close,
    Command,
    Credential,
    Delta,
    Endpoint,
    Error,
    Event,
    RealtimeOptions,
    TurnEagerEnd,
    TurnEnd,
    TurnUpdate,
    UnreadableText,
    decode,
    encode_command,
    malformed_fields,
    url,
)
from ..redaction import Redactor, is_long
from .frame_tap import Tap, end, redacting
from .http_errors import Peer
from .http_transport import is_proxied
from .retry import RetryPolicy
from .ws_connect import CLOSE_SECONDS, Socket, opened
from .ws_errors import already_closed, ended, headers, refused, stuck

OPEN_SECONDS = 10.0
PING_SECONDS = 5.0
"""Between pings, and until one must be answered: a dead link is noticed in 11 seconds (websockets' own 20: in 41)."""
UNHELD = 1 << 14
"""So few bytes behind an empty buffer can't be held up: no limit is needed, which would cost more than the sending."""
SHOWN = 60
"""Characters of a frame that is no event, or an odd one, for whoever looks into it."""
SAYING = Delta, TurnUpdate, TurnEagerEnd, TurnEnd
"""Events with text that somebody said."""
RECORD = "words are missing: --raw-events FILE shows what came instead"

Tell = Callable[[str], None]


def _convert(frame: bytes, encoding: str) -> bytes:
    from ..audio.pcm import convert_s16le  # numpy, which few sessions need here

    return convert_s16le(frame, encoding)


def ignore(*_: object) -> None:
    """Nobody listens."""


class RealtimeConnection:
    """An open session. Iterating gives its events, and raises the reason of an end that came too early, or, behind
    all events, a ProtocolError where text came that can't be read: what was heard is not all that was said.

    Somebody must iterate all the time: behind a few unread events nothing is read, and answers to pings neither.

    """

    def __init__(
        self,
        socket: Socket,
        endpoint: Endpoint,
        peer: Peer,
        *,
        tap: Tap = ignore,
        tell: Tell = ignore,
        doubt: Tell = ignore,
        silence: float = 2 * PING_SECONDS,
        encoding: str = "pcm_s16le",
    ) -> None:
        self._encoding = encoding
        self._socket, self._endpoint, self._peer = socket, endpoint, peer
        self._tap, self._tell, self._doubt, self._silence = tap, tell, doubt, silence
        secret = peer.credential.secret if peer.credential else ""
        self._record_redactor = Redactor(secret if is_long(secret) else "")
        self._request_id = headers(socket.response).get("x-request-id")
        self._reading = asyncio.Lock()
        self._frames = 0
        self._held: deque[Event] = deque()
        self._closing = self._ended = False
        self._failure: CliError | None = None
        self._excuse: CliError | None = None
        self._gap: CliError | None = None  # words are lost: no reason to lose the others, but such an end is a failure
        self._doubted: set[str] = set()

    @property
    def request_id(self) -> str | None:
        """What Cartesia's support asks for, fit to be shown; None until the server sent one."""
        return self._peer.quote(self._request_id or "") or None

    async def send(self, frame: bytes) -> None:
        """A frame of audio: `pcm_s16le`, whole samples, at the rate of the options. It goes out in their encoding.

        After the end of the session, the error that iteration raises there; NetworkError if it raises none.
        """
        await self._send(frame if self._encoding == "pcm_s16le" else _convert(frame, self._encoding))

    async def command(self, command: Command) -> None:
        """A command as the endpoint spells it. Errors as `send`; ValueError if the endpoint doesn't have it."""
        text = encode_command(self._endpoint, command)
        self._closing = self._closing or isinstance(command, Close)
        await self._send(text)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        async with self._reading:
            event = self._held.popleft() if self._held else await self._read()
        if event is None:
            raise StopAsyncIteration
        return event

    async def _send(self, message: str | bytes) -> None:
        if self._failure is None and not self._ended:
            self._tap("sent", message)
            try:
                if not self._socket.transport.get_write_buffer_size() and len(message) < UNHELD:
                    return await self._socket.send(message)
                # A ping waits behind what fills the buffers, so it can't tell that nothing moves: this does.
                async with asyncio.timeout(self._silence):
                    return await self._socket.send(message)
            except ConnectionClosed:
                await self._read_out()
            except TimeoutError:
                self._excuse = stuck(self._peer, self.request_id, self._silence)
                self._socket.transport.abort()
                await self._read_out()
        raise self._failure or already_closed(self._peer)

    async def _read(self) -> Event | None:
        """The next event; None behind the last one of a session that ended as it should."""
        while self._failure is None and not self._ended:
            try:
                frame = await self._socket.recv()
                self._frames += 1
            except ConnectionClosed as closed:
                self._tap("close", end(closed))
                self._ended = self._is_proper(closed)
                lost = self._excuse or ended(closed, self._peer, self.request_id, self._silence)
                self._failure = self._gap if self._ended else self._weightier(lost)
                break
            event = self._understand(frame)
            if isinstance(event, Error):
                self._failure = self._weightier(refused(event, self._peer, self.request_id))
            elif event is not None:
                if event.kind == self._endpoint.ending:
                    self._ended, self._failure = True, self._gap
                return event
        if self._failure is not None:
            raise self._failure
        return None

    def _weightier(self, error: CliError) -> CliError:
        """The error to raise at the end where words were lost, too: a refusal may mean only that nobody spoke."""
        return self._gap if self._gap is not None and self._closing and isinstance(error, ApiError) else error

    async def _read_out(self) -> None:
        """Read what is left, for iteration to come, until the reason of the end is known: it may be among it."""
        async with self._reading:
            with suppress(CliError):
                while (event := await self._read()) is not None:
                    self._held.append(event)

    def _understand(self, frame: str | bytes) -> Event | None:
        """A frame as an event; None for what is none, which is no reason to lose a session."""
        try:
            if isinstance(frame, bytes):
                raise ProtocolError("binary")
            event = decode(frame)
            self._tap("received", frame if isinstance(event, SAYING) else self._redacted(frame))
        except ProtocolError as error:
            self._tap("received", self._redacted(frame))
            self._wonder(f"something that is no event: {error.message}", frame)
            if isinstance(error, UnreadableText) and self._gap is None:
                told = f"{self._peer.host} sent text that can't be read: {self._peer.quote(error.message)}"
                self._gap = ProtocolError(told, hint=RECORD, request_id=self.request_id)
                self._tell(f"warning: {told}: words are missing")
            return None
        self._request_id = event.request_id or self._request_id
        odd = [f"{event.kind}: {name}" for name in malformed_fields(event)] if event.extra else ()
        if not self._doubted.issuperset(odd):
            self._doubted.update(odd)
            self._wonder(f"an event with odd fields ({', '.join(odd)})", frame)
        return event

    def _redacted(self, frame: str | bytes) -> str | bytes:
        """A frame without the key, for a record. A key that is a word stays: the frame's own JSON may hold it."""
        redact = self._record_redactor.redact
        return redact(frame) if isinstance(frame, str) else redact(frame.decode("latin-1")).encode("latin-1")

    def _wonder(self, about: str, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        self._doubt(f"{self._peer.host} sent {about}: {self._peer.quote(text, SHOWN)!r}")

    def _is_proper(self, closed: ConnectionClosed) -> bool:
        """Whether this is the end that we had asked for. websockets itself takes a 1001 for one, too."""
        codes = [frame.code for frame in (closed.rcvd, closed.sent) if frame is not None]
        return self._closing and self._endpoint.ending is None and codes == [1000, 1000]

    async def keep_alive(self, interval: float, limit: float) -> None:
        """Ping, and close a connection from which nothing comes any more.

        Any bytes, and any frame that is taken from the queue, are a sign of life: the answer to a ping comes behind
        all that the server sent before it, which may be more than is read in `limit` seconds.
        """
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(interval)
                answer, seen = asyncio.ensure_future(await self._socket.ping()), None
                while not answer.done():
                    if seen == (signs := (self._socket.received, self._frames)):
                        return await self._socket.close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
                    seen = signs
                    await asyncio.wait({answer}, timeout=limit)
                await answer

    async def hang_up(self, seconds: float) -> None:
        """Say goodbye, and wait for the answer no longer than this."""
        try:
            async with asyncio.timeout(seconds):
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
    tell: Tell = ignore,
    doubt: Tell = ignore,
    tap: Tap = ignore,
    open_timeout: float = OPEN_SECONDS,
    ping_interval: float = PING_SECONDS,
    ping_timeout: float = PING_SECONDS,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[RealtimeConnection]:
    """A session with a realtime endpoint, for as long as the block lasts.

    base_url      checked by protocol.check_base_url
    credential    key or access token, or None for a local server that asks for none
    tell          receives a sentence for the user: a try failed and another follows, or words are lost
    doubt         receives one about a frame that is no event, or an odd one
    tap           receives what `record` lists
    *_timeout     seconds, as ping_interval

    UsageError for options and settings that nothing can be opened with; AuthError, ApiError or NetworkError when the
    server refuses, or can't be reached, however often it was tried. Nothing was sent until then, so nothing is billed.
    """
    address = url(base_url, endpoint.path, options.query(endpoint), websocket=True)
    peer = Peer(urlsplit(base_url).netloc, credential, is_proxied(base_url))
    tap = redacting(tap, peer.redactor)
    socket = await opened(
        base_url, address, peer, retry=retry or RetryPolicy(), tell=tell, tap=tap, sleep=sleep,
        open_timeout=open_timeout,
    )  # fmt: skip
    silence = ping_interval + ping_timeout
    connection = RealtimeConnection(
        socket, endpoint, peer, tap=tap, tell=tell, doubt=doubt, silence=silence, encoding=options.encoding
    )
    deadlines = CLOSE_SECONDS
    pinging = asyncio.create_task(connection.keep_alive(ping_interval, ping_timeout))
    try:
        yield connection
    except asyncio.CancelledError:
        deadlines = 0.0
        raise
    finally:
        pinging.cancel()
        await connection.hang_up(deadlines)
