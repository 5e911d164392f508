"""Uploads to the local server: request bodies while they are being received, within limits of time, number and size.

A request counts against the concurrency limit only once its whole body has been received. Where too many bodies are
being received, the slowest is aborted: a client that sends a byte now and then must not keep others out.
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
from ..protocol.batch import api_error
from .access import AccessControl

MAX_UPLOADS = 32
"""Bodies received at once, unless more requests than that may be answered at once. Each holds up to a MiB of its file
in memory, the rest on disk.
"""

BODY_IDLE_SECONDS = 10.0
"""Longest wait between two pieces of a body."""

BODY_GRACE_SECONDS, MIN_BYTES_PER_SECOND = 20.0, 1024
"""Longest time for a whole body: the grace, and one second more for each MIN_BYTES_PER_SECOND received."""

MAX_FIELDS, MAX_FIELD_BYTES = 32, 4096
"""Form fields besides the file. Each granularity is one; a field is a model, a language or a word."""

DRAIN_BYTES = 8 << 20
"""How much of a refused body is still received."""

DRAIN_SECONDS = 2.0
"""For how long it is received."""

MAX_DRAINS = 32
"""For how many requests at once."""


class Uploads:
    """The bodies that are being received.

    max_bytes     size of a body before a 413
    concurrency   requests that may be answered at once: at least as many bodies may be received at once
    """

    def __init__(self, *, max_bytes: int, concurrency: int) -> None:
        self._max_bytes, self._max_bodies = max_bytes, max(MAX_UPLOADS, concurrency)
        self._receiving: set[_Body] = set()
        self._drains = asyncio.Semaphore(MAX_DRAINS)

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[FormData]:
        """The form of a request, as soon as all of it has been received; its file is closed after the block.

        Raises ApiError 413 or 408 for a body beyond the limits; HTTPException 400 for one that is not a form.
        """
        async with self._body(request) as body:
            form_request = Request(request.scope, body.receive)
            form = await form_request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
        try:
            yield form
        finally:
            await form.close()

    async def discard(self, request: Request) -> None:
        """Receive a whole body and ignore it. Raises ApiError 413 or 408 beyond the limits."""
        async with self._body(request) as body:
            while not body.is_complete:
                if (await body.receive())["type"] == "http.disconnect":
                    raise ClientDisconnect

    async def check(self, request: Request, access: AccessControl) -> None:
        """Raises ApiError for a request whose body needn't be received: without key or version, or beyond the
        concurrency.
        """
        try:
            access.authorize(request.headers, request.query_params)
            access.check_capacity()
        except ApiError:
            await self._drain(_Body(request, self._max_bytes))
            raise

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[_Body]:
        """A body that is received in the block. If there are too many, the slowest of the others is aborted."""
        body = _Body(request, self._max_bytes)
        if len(self._receiving) >= self._max_bodies:
            min(self._receiving, key=lambda other: other.bytes_per_second).abort()
        self._receiving.add(body)
        try:
            yield body
        except Exception:
            self._receiving.discard(body)
            if not body.is_too_slow:
                await self._drain(body)
            raise
        finally:
            self._receiving.discard(body)

    async def _drain(self, body: _Body) -> None:
        if not self._drains.locked():
            async with self._drains:
                await body.drain()


class _Body:
    """One request body.

    is_complete   whether all of it has been received
    is_too_slow   whether it was aborted, or came too slowly
    """

    def __init__(self, request: Request, max_bytes: int) -> None:
        self._request, self._max_bytes = request, max_bytes
        self._size, self.is_complete, self.is_too_slow = 0, False, False
        self._started = asyncio.get_running_loop().time()
        self._timeout: asyncio.Timeout | None = None

    @property
    def bytes_per_second(self) -> float:
        """How fast it has come up to now."""
        return self._size / max(1.0, asyncio.get_running_loop().time() - self._started)

    def abort(self) -> None:
        """Make `receive` fail, even while it waits."""
        self.is_too_slow = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def receive(self) -> Message:
        """The next piece. Raises ApiError 413 once the body is known to be too large, 408 if it comes too slowly."""
        declared = self._request.headers.get("content-length", "")
        self._check_size(int(declared) if declared.isdigit() else 0)
        now = asyncio.get_running_loop().time()
        longest = BODY_GRACE_SECONDS + self._size / MIN_BYTES_PER_SECOND
        deadline = now if self.is_too_slow else min(now + BODY_IDLE_SECONDS, self._started + longest)
        try:
            async with asyncio.timeout_at(deadline) as self._timeout:
                message = await self._receive()
        except TimeoutError:
            self.is_too_slow = True
            raise api_error(408, "Request timeout", "The body of the request came too slowly.") from None
        finally:
            self._timeout = None
        self._check_size(self._size)
        return message

    async def drain(self) -> None:
        """Receive and ignore what the client is still sending, within limits: cut off at once, it might never read the
        response.
        """
        most = self._size + DRAIN_BYTES
        with anyio.move_on_after(DRAIN_SECONDS):
            while not self.is_complete and self._size < most:
                await self._receive()

    async def _receive(self) -> Message:
        message = await self._request.receive()
        self._size += len(message.get("body", b""))
        self.is_complete = not message.get("more_body")
        return message

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise api_error(413, "Payload too large", f"A request may have at most {self._max_bytes} bytes.")
