"""Access to the server: the API key, the API version, and how many requests at once. The same for all routes.

Doesn't depend on the route of a request.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..protocol.batch import api_error, excerpt
from ..protocol.constants import API_VERSION, is_api_version


class AccessControl:
    """Checks what every request must have, and counts those that are being answered.

    key            the API key that every request must have, or None
    concurrency    batch requests and realtime sessions together (API docs: concurrency-limits-and-timeouts)
    lenient        whether a request may leave out the API version
    """

    def __init__(self, key: str | None, concurrency: int, *, lenient: bool) -> None:
        self._key, self._free, self._lenient = key, concurrency, lenient

    def authorize(self, headers: Mapping[str, str], query: Mapping[str, str], *, is_websocket: bool = False) -> None:
        """ApiError 401 without the key: Bearer as documented, the older X-API-Key, or a browser's access_token.

        ApiError 400 without an API version: in the header, or in the query of a WebSocket, where it takes precedence.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""  # case-insensitive (RFC 9110 11.1)
        key = bearer or headers.get("x-api-key", "") or query.get("access_token", "")
        if self._key is not None and not hmac.compare_digest(key.encode(), self._key.encode()):
            raise api_error(401, "Unauthorized", "The API key is missing or not valid.")
        version = query.get("cartesia_version") if is_websocket else None
        self.check_version(version or headers.get("cartesia-version") or "", is_websocket=is_websocket)

    def check_version(self, version: str, *, is_websocket: bool = False) -> None:
        """ApiError 400 for what isn't an API version."""
        if is_api_version(version) or (self._lenient and not version):
            return
        places = "The header 'Cartesia-Version'" + (" or the parameter 'cartesia_version'" if is_websocket else "")
        message = f"{places} must name a version, such as {API_VERSION}"
        found = f", not {excerpt(version)}." if version else "; `serve --lenient` accepts requests without one."
        raise api_error(400, "Invalid API version" if version else "Missing API version", message + found)

    def check_capacity(self) -> None:
        """ApiError 429 when no request could be admitted now: checked before a long body is received."""
        if self._free == 0:
            message = "You have exceeded your plan's concurrency limit."
            raise api_error(429, "Too many concurrent requests", message, "concurrency_limited")

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request for the length of the block. ApiError 429 when there are too many."""
        self.check_capacity()
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
