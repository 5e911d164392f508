"""The batch client: one file goes up, one transcript comes back, or one clear error.

A 200 that is not a transcript is a protocol error, never an empty text. Redirects are followed only
where the key may go: to the same origin, with the same body.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from .. import __version__
from ..errors import ApiError, NetworkError, ProtocolError, UsageError
from ..protocol import (
    HTTP_ROUTES,
    BatchOptions,
    BatchResponse,
    Credential,
    decode_batch,
    headers,
    is_loopback,
    url,
)
from .failures import Failure, dropped, refused, unusable
from .patience import CONNECT_SECONDS, Meter, Patience, supervise
from .retry import Retry
from .upload import Multipart, Upload

MAX_BODY = 64 << 20
"""Bytes of an answer: a hundred hours of words with their times."""

MAX_REDIRECTS = 3

T = TypeVar("T")

Watch = Callable[[Meter], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """Something to be had from the server.

    what      its name in messages
    address   where
    build     makes the request for one try, given the address
    accept    reads the body of a 200, or raises ProtocolError
    """

    what: str
    address: str
    build: Callable[[str], httpx.Request]
    accept: Callable[[bytes], T]
    meter: Meter
    patience: Patience
    watch: Watch


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came. `complete` False: the connection ended before the body did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class BatchClient:
    """Sends recordings to the batch endpoint of one server.

    base_url     checked by protocol.check_base_url
    credential   key or access token, or None for a local server that asks for none
    tell         receives a sentence for the user when a try failed and another follows
    """

    def __init__(
        self,
        base_url: str,
        credential: Credential | None,
        *,
        retry: Retry | None = None,
        tell: Tell = lambda sentence: None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url, self._host = base_url, urlsplit(base_url).netloc
        self._key_origin = credential.origin if credential else None
        self._retry, self._tell = retry or Retry(), tell
        self._clock, self._sleep = clock, sleep
        try:
            self._http = httpx.Client(
                headers={
                    **headers(credential),
                    "User-Agent": f"cartesia-cli/{__version__}",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                # A connection kept idle between two files may be gone; a lost answer must mean what it says.
                limits=httpx.Limits(max_keepalive_connections=0),
                transport=transport or _transport(base_url),
            )
        except (ValueError, ImportError, OSError) as error:
            raise UsageError(f"proxy or certificate settings of the environment: {error}") from error

    def __enter__(self) -> BatchClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.close()

    def transcribe(
        self,
        upload: Upload,
        options: BatchOptions,
        *,
        endpoint: str = "stt",
        patience: Patience,
        watch: Watch = lambda meter: None,
    ) -> BatchResponse:
        """`POST /stt` or its twin: the documented answer, or an ApiError, AuthError, NetworkError or InputError."""
        meter = Meter(os.stat(upload.path).st_size, self._clock)

        def build(address: str) -> httpx.Request:
            body = Multipart(options.form(), upload, meter.advance)
            return self._http.build_request("POST", address, headers=body.headers, content=body)

        address = url(self._base_url, HTTP_ROUTES[endpoint], options.query())
        return self._fetch(Errand(upload.filename, address, build, decode_batch, meter, patience, watch))

    def speak(self, request: Mapping[str, object], *, patience: Patience) -> bytes:
        """`POST /tts/bytes`: text to a sound file, for samples (docs: api-reference/tts/bytes)."""

        def build(address: str) -> httpx.Request:
            return self._http.build_request("POST", address, json=dict(request))

        def accept(body: bytes) -> bytes:
            if not body:
                raise ProtocolError("the answer is empty")
            return body

        address, meter = url(self._base_url, "/tts/bytes"), Meter(0, self._clock)
        return self._fetch(Errand("the sample", address, build, accept, meter, patience, lambda meter: None))

    def _fetch(self, errand: Errand[T]) -> T:
        """Try until an answer is accepted, or there is a reason to stop."""
        ends = self._clock() + errand.patience.total
        tries = 0
        while isinstance(outcome := self._try(errand, ends), Failure):
            tries += 1
            pause = self._retry.pause(tries) if outcome.wait is None else outcome.wait
            permitted = outcome.passing and self._retry.permits(tries, lost=outcome.lost)
            if not permitted or self._clock() + pause > ends:
                raise outcome.error
            billed = "; the audio may be billed again" if outcome.lost else ""
            self._tell(f"{outcome.error.message}: trying again in {pause:.1f} s{billed}")
            self._sleep(pause)
        return outcome

    def _try(self, errand: Errand[T], ends: float) -> T | Failure:
        what, meter = errand.what, errand.meter
        meter.restart()
        try:
            reply = supervise(
                lambda: self._follow(errand), meter, errand.patience, ends, errand.watch, clock=self._clock
            )
        except httpx.HTTPError as error:
            return dropped(error, what, self._host, uploaded=meter.uploaded)
        except (NetworkError, ApiError) as error:
            error.message = f"{what}: {error.message}"
            raise
        if reply.status != 200:
            return refused(reply.status, reply.headers, reply.body, what, self._key_origin)
        try:
            if not reply.complete:
                raise ProtocolError("the answer was cut short")
            return errand.accept(reply.body)
        except ProtocolError as error:
            return unusable(error, what, self._host, reply.headers, reply.body)

    def _follow(self, errand: Errand[T]) -> Reply:
        """One request and its answer, same-origin redirects included. Runs in the thread of `supervise`."""
        address = errand.address
        for _ in range(MAX_REDIRECTS + 1):
            errand.meter.restart()
            reply = self._exchange(errand, address)
            if reply.status not in (301, 302, 303, 307, 308):
                return reply
            address = _redirected(address, reply)
        raise ApiError("the server redirects in a circle", status=reply.status)

    def _exchange(self, errand: Errand[T], address: str) -> Reply:
        request = errand.build(address)
        stall, silence = errand.patience.stall, errand.patience.silence
        request.extensions = {
            "timeout": {"connect": CONNECT_SECONDS, "pool": None, "write": stall, "read": max(stall, silence)}
        }
        response = self._http.send(request, stream=True)
        body, complete = bytearray(), True
        try:
            for block in response.iter_bytes():
                errand.meter.touch()
                body += block
                if len(body) > MAX_BODY:
                    raise ProtocolError(f"the answer is larger than {MAX_BODY >> 20} MiB")
        except httpx.HTTPError:
            complete = False
        finally:
            response.close()
        return Reply(response.status_code, response.headers, bytes(body), complete)


def _transport(base_url: str) -> httpx.HTTPTransport | None:
    """The way to this machine itself: past the proxies of the environment, and without certificates for plain http."""
    if not is_loopback(base_url):
        return None
    return httpx.HTTPTransport(verify=base_url.startswith("https:"), limits=httpx.Limits(max_keepalive_connections=0))


def _redirected(address: str, reply: Reply) -> str:
    """Where a redirect leads, if the key and the body may go there: 307 and 308 within the same origin."""
    target = urljoin(address, reply.headers.get("location", ""))
    here, there = urlsplit(address), urlsplit(target)
    if reply.status not in (307, 308) or (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise ApiError(
            f"the server redirects to {there.scheme}://{there.netloc}",
            hint="the key is not sent there; if that is the right place, make it the base URL",
            status=reply.status,
        )
    return target
