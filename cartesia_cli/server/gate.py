"""Who may come in: the key, and how many at once. One gate for all routes.

Must not know what is asked for behind it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..protocol import refusal

CONCURRENCY = 8
"""Requests and sockets at once before a 429: Cartesia's free plan (docs: concurrency-limits-and-timeouts)."""


class Gate:
    """Counts who is inside.

    key            required of everybody, or None
    concurrency    batch requests and realtime sockets together (docs: concurrency-limits-and-timeouts)
    """

    def __init__(self, key: str | None = None, concurrency: int = CONCURRENCY) -> None:
        self._key, self._free = key, concurrency

    def authorise(self, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        """ApiError 401 without the key: Bearer as documented, the older X-API-Key, or a browser's access_token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""  # in whatever case (RFC 9110 11.1)
        given = bearer or headers.get("x-api-key", "") or query.get("access_token", "")
        if self._key is not None and not hmac.compare_digest(given.encode(), self._key.encode()):
            raise refusal(401, "Unauthorized", "The API key is missing or not valid.")

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Inside for the length of the block. ApiError 429 when it is full."""
        if self._free == 0:
            message = "You have exceeded your plan's concurrency limit."
            raise refusal(429, "Too many concurrent requests", message, "concurrency_limited")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
