"""Uploads to the local server: request bodies on their way in, within limits of time, number and size.

A body takes no place among the requests that are answered before all of it has come. Where there are too many of
them, the slowest is given up: whoever sends a byte now and then must not keep others out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from ..errors import ApiError
from ..protocol import api_error
from .access import AccessControl

MAX_BYTES = 2 << 30
"""Largest request body: 2 GiB, the last limit that Cartesia's documentation stated (2025)."""

UPLOADS = 32
"""Bodies on their way in at once, where no more requests than that may be answered at once. Each holds up to a MiB of
its file in memory, the rest on disk.
"""

IDLE_SECONDS, GRACE_SECONDS, LEAST_RATE = 10.0, 20.0, 1024
"""Patience with a body: between two pieces of it; and in all, so long and a second more for so many bytes."""

MAX_FIELDS, MAX_FIELD_BYTES = 32, 4096
"""Form fields besides the file. Each granularity is one; a field is a model, a language or a word."""

DRAIN_BYTES, DRAIN_SECONDS, DRAINS = 8 << 20, 2.0, 32
"""How much of a refused body is still taken in, for how long, and of how many at once."""


class Uploads:
    """The bodies on their way in.

    max_bytes     size of a body before a 413
    concurrency   requests that may be answered at once: so many bodies may come at once as well
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES, concurrency: int = 0) -> None:
        self._max_bytes, self._most = max_bytes, max(UPLOADS, concurrency)
        self._coming: set[_Body] = set()
        self._draining = 0

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[FormData]:
        """The form that a request holds, as soon as all of it has come; its file is closed after the block.

        ApiError 413 or 408 for a body beyond the limits; HTTPException 400 for what is not a form.
        """
        async with self._body(request) as body:
            reading = Request(request.scope, body.receive)
            form = await reading.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
        try:
            yield form
        finally:
            await form.close()

    async def discard(self, request: Request) -> None:
        """Take in a whole body for nothing. ApiError 413 or 408 beyond the limits."""
        async with self._body(request) as body:
            while not body.ended:
                if (await body.receive())["type"] == "http.disconnect":
                    raise ClientDisconnect

    async def check(self, request: Request, access_control: AccessControl) -> None:
        """ApiError for a request whose body need not come: without key or version, or with no room for it."""
        try:
            access_control.authorise(request.headers, request.query_params)
            access_control.check_capacity()
        except ApiError:
            await self._drain(_Body(request, self._max_bytes))
            raise

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[_Body]:
        body = _Body(request, self._max_bytes)
        if len(self._coming) >= self._most:
            min(self._coming, key=lambda other: other.rate).give_up()
        self._coming.add(body)
        try:
            yield body
        except Exception:
            self._coming.discard(body)
            if not body.is_slow:
                await self._drain(body)
            raise
        finally:
            self._coming.discard(body)

    async def _drain(self, body: _Body) -> None:
        if self._draining < DRAINS:
            self._draining += 1
            try:
                await body.drain()
            finally:
                self._draining -= 1


class _Body:
    """One request body.

    ended     whether all of it has come
    is_slow   whether it was given up, or came too slowly
    """

    def __init__(self, request: Request, limit: int) -> None:
        self._request, self._limit = request, limit
        self._size, self.ended, self.is_slow = 0, False, False
        self._begun = asyncio.get_running_loop().time()
        self._waiting: asyncio.Timeout | None = None

    @property
    def rate(self) -> float:
        """Bytes a second up to now."""
        return self._size / max(1.0, asyncio.get_running_loop().time() - self._begun)

    def give_up(self) -> None:
        """Let `receive` fail, in the middle of its waiting, too."""
        self.is_slow = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def receive(self) -> Message:
        """The next piece. ApiError 413 as soon as the body is known to be too large, 408 where it comes too slowly."""
        declared = self._request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()
        message = await self._next()
        self._size += len(message.get("body", b""))
        self.ended = not message.get("more_body")
        if self._size > self._limit:
            raise self._too_large()
        return message

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time()
        deadline = min(now + IDLE_SECONDS, self._begun + GRACE_SECONDS + self._size / LEAST_RATE)
        try:
            async with asyncio.timeout_at(now if self.is_slow else deadline) as self._waiting:
                return await self._request.receive()
        except TimeoutError:
            self.is_slow = True
            raise api_error(408, "Request timeout", "The body of the request came too slowly.") from None
        finally:
            self._waiting = None

    async def drain(self) -> None:
        """Take in what the client is still sending, within reason: cut off at once, it might never read the answer."""
        size = 0
        with anyio.move_on_after(DRAIN_SECONDS):
            while not self.ended and size < DRAIN_BYTES:
                message = await self._request.receive()
                size += len(message.get("body", b""))
                self.ended = not message.get("more_body")

    def _too_large(self) -> ApiError:
        return api_error(413, "Payload too large", f"A request may have at most {self._limit} bytes.")
