"""The batch client: one file goes up, one transcript comes back, or one clear error.

A success that is not a transcript is a protocol error, never an empty text. How often it is tried is
decided here; how one try goes, in `exchange`; what its failure means, in `failures`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from ..errors import ApiError, NetworkError, ProtocolError
from ..protocol import HTTP_ROUTES, BatchOptions, BatchResponse, Credential, decode_batch, encode_batch, url
from ..redaction import is_long
from .deadlines import DeadlineExceeded, Deadlines, UploadProgress, run_with_deadline
from .http_errors import Failure, Peer, cut_short, dropped, refused, unusable
from .http_transport import AbortHandle, Build, exchange, is_proxied, open_client
from .retry import RetryPolicy
from .upload import Multipart, Upload, size

T = TypeVar("T")

Watch = Callable[[UploadProgress], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """Something to be had from the server.

    what      its name in messages
    address   where
    build     makes the request for one try
    accept    reads the body of a success, or raises ProtocolError
    keep      is handed that body before, whatever it is: it may have been paid for
    """

    what: str
    address: str
    build: Build
    accept: Callable[[bytes], T]
    meter: UploadProgress
    deadlines: Deadlines
    watch: Watch
    keep: Callable[[bytes], None] = lambda body: None


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
        retry: RetryPolicy | None = None,
        tell: Tell = lambda sentence: None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url
        self._peer = Peer(urlsplit(base_url).netloc, credential, is_proxied(base_url))
        self._retry, self._tell = retry or RetryPolicy(), tell
        self._clock, self._sleep = clock, sleep
        self._http = open_client(base_url, credential, transport)

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
        deadlines: Deadlines,
        watch: Watch = lambda meter: None,
        keep: Callable[[bytes], None] = lambda body: None,
    ) -> BatchResponse:
        """`POST /stt` or its twin: the documented answer, or an ApiError, AuthError, NetworkError or InputError.

        `keep` receives the body of every success (2xx) verbatim, whether or not it is a transcript.
        """
        meter = UploadProgress(size(upload), self._clock)

        def build(address: str) -> httpx.Request:
            body = Multipart(options.form(), upload, meter.advance)
            meter.size = body.file_bytes
            return self._http.build_request("POST", address, headers=body.headers, content=body)

        address, what = url(self._base_url, HTTP_ROUTES[endpoint], options.query()), upload.name or upload.filename
        response = self._fetch(Request(what, address, build, decode_batch, meter, deadlines, watch, keep))
        return self._without_key(response)

    def _without_key(self, response: BatchResponse) -> BatchResponse:
        """The response without those fields that the credential stands in: they count as unusable. The text stays."""
        told = {"language": response.language, "request_id": response.request_id}
        odd = {name: value for name, value in told.items() if value and self._peer.redactor.redact(value) != value}
        fine = {name: None if name in odd else value for name, value in told.items()}
        return replace(
            response, language=fine["language"], request_id=fine["request_id"], extra={**response.extra, **odd}
        )

    def without_key(self, body: bytes, response: BatchResponse | None = None) -> bytes:
        """An answer as it came, unless the credential stands in it: without it then. In the text and the words of its
        `response`, if it is one, it stays: somebody has said it.
        """
        redact, credential = self._peer.redactor.redact, self._peer.credential
        if credential is None:
            return body
        if response is None:
            text = body.decode("utf-8", "surrogateescape")
            return body if (redacted := redact(text)) == text else redacted.encode("utf-8", "surrogateescape")
        said = encode_batch(BatchResponse(text=response.text, words=response.words))
        other, secret = json.dumps(dict(response.extra)), credential.secret.encode()
        repeats = is_long(credential.secret) and body.count(secret) > said.count(secret)
        return encode_batch(replace(response, extra={})) if repeats or redact(other) != other else body

    def synthesize(self, request: Mapping[str, object], *, deadlines: Deadlines) -> bytes:
        """`POST /tts/bytes`: text to a sound file, for samples (docs: api-reference/tts/bytes)."""

        def build(address: str) -> httpx.Request:
            return self._http.build_request("POST", address, json=dict(request))

        def accept(body: bytes) -> bytes:
            if not body:
                raise ProtocolError("the answer is empty")
            if not body.startswith(b"RIFF"):
                raise ProtocolError("the answer is not a WAV file")
            return body

        address, meter = url(self._base_url, "/tts/bytes"), UploadProgress(0, self._clock)
        return self._fetch(Request("the sample", address, build, accept, meter, deadlines, lambda meter: None))

    def _fetch(self, request: Request[T]) -> T:
        """Try until an answer is accepted, or there is a reason to stop."""
        ends = self._clock() + request.deadlines.total
        tries = 0
        while isinstance(outcome := self._try(request, ends), Failure):
            tries += 1
            allowed = self._retry.tries(lost=outcome.maybe_billed)
            pause = self._retry.pause(tries, outcome.wait)
            if not outcome.retryable or tries >= allowed or self._clock() + pause > ends:
                raise outcome.error
            billed = "; the audio may be billed again" if outcome.maybe_billed else ""
            again = f"trying again in {pause:.1f} s (try {tries + 1} of {allowed})"
            self._tell(f"{outcome.error.message}: {again}{billed}")
            self._sleep(pause)
        return outcome

    def _try(self, request: Request[T], ends: float) -> T | Failure:
        what, meter, line = request.what, request.meter, AbortHandle()
        meter.restart()
        try:
            reply = run_with_deadline(
                lambda: exchange(self._http, request.build, request.address, meter, line),
                meter,
                request.deadlines,
                ends,
                request.watch,
                clock=self._clock,
            )
        except httpx.HTTPError as error:
            return dropped(error, what, self._peer, uploaded=meter.uploaded)
        except DeadlineExceeded as error:
            line.abort()
            error.message = f"{what}: {error.message}"
            return Failure(error, retryable=not error.final, maybe_billed=meter.uploaded)
        except (NetworkError, ApiError) as error:
            error.message = f"{what}: {self._peer.quote(error.message)}"
            raise
        if reply.status // 100 != 2:
            return refused(reply.status, reply.headers, reply.body, what, self._peer, meter.size)
        request.keep(reply.body)
        if not reply.complete:
            return cut_short(reply.status, what, self._peer.host)
        try:
            if not meter.uploaded:
                raise ProtocolError("it came before the whole file was sent")
            return request.accept(reply.body)
        except ProtocolError as error:
            return unusable(error, what, self._peer, reply.status, reply.headers, reply.body)
