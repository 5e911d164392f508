"""The HTTP client of the API: transcribes recordings, synthesizes speech, and lists models, or raises one clear error.

A success that is not a transcript is a protocol error, never an empty text. This module decides how often a request
is attempted; `http_transport` carries out one attempt, and `http_errors` decides what its failure means.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..errors import ApiError, NetworkError, ProtocolError
from ..protocol.batch import BatchOptions, BatchResponse, decode_batch, encode_batch
from ..protocol.constants import API_VERSION, HTTP_ROUTES, Credential, build_url
from ..record import Record
from ..redaction import is_long
from ..retry import RetryPolicy
from .concurrency import ConcurrencyLimit, Slot
from .deadlines import DeadlineExceeded, Deadlines, ProgressCallback, UploadProgress, run_with_deadline
from .http_errors import (
    HTTP_ERRORS,
    Failure,
    connection_failure,
    invalid_http_failure,
    invalid_response_failure,
    is_concurrency_refusal,
    refusal_failure,
    truncated_response_failure,
)
from .http_transport import AbortHandle, BuildRequest, HttpClient, HttpRequest, HttpResponse, peer_of
from .upload import MultipartBody, Upload, file_size

if TYPE_CHECKING:
    from ..protocol.models import Model

T = TypeVar("T")


class Request(Record, Generic[T]):
    """A request that may be attempted several times.

    name          what is asked for, as messages name it
    address       URL
    build         makes the request of one attempt, which reports its progress
    decode        reads the body of a success, or raises ProtocolError
    size          bytes of the file that is uploaded; 0 without one
    on_progress   called periodically during an attempt (see `deadlines`)
    costs         whether the server may bill it
    on_response   receives every success before its body is decoded: it may have been paid for
    """

    name: str
    address: str
    build: BuildRequest
    decode: Callable[[bytes], T]
    deadlines: Deadlines
    size: int = 0
    on_progress: ProgressCallback = lambda progress: None
    costs: bool = True
    on_response: Callable[[HttpResponse], None] = lambda response: None


class BatchClient:
    """Sends requests to the HTTP endpoints of one server: for transcripts, synthesized speech, and the list of models.

    base_url     checked by protocol.check_base_url
    credential   key or access token, or None for a local server that asks for none
    limit        of requests in flight, if several threads use the client
    on_retry     receives a sentence for the user when an attempt failed and another follows
    api_version  sent as `Cartesia-Version`
    sleep        waits before another attempt; None: `limit.wait`
    """

    def __init__(
        self,
        base_url: str,
        credential: Credential | None,
        *,
        retry: RetryPolicy | None = None,
        limit: ConcurrencyLimit | None = None,
        on_retry: Callable[[str], None] = lambda message: None,
        api_version: str = API_VERSION,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._base_url = base_url
        self._peer = peer_of(base_url, credential)
        self._retry, self._on_retry = retry or RetryPolicy(), on_retry
        self.limit = limit or ConcurrencyLimit(1)
        self._sleep = sleep or self.limit.wait
        self._http = HttpClient(base_url, credential, api_version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def transcribe(
        self,
        upload: Upload,
        options: BatchOptions,
        *,
        endpoint: str = "stt",
        deadlines: Deadlines,
        headers: Mapping[str, str] | None = None,
        on_progress: ProgressCallback = lambda progress: None,
        on_response: Callable[[HttpResponse], None] = lambda response: None,
    ) -> BatchResponse:
        """`POST /stt`, or its alias: the transcript, or an ApiError, AuthError, NetworkError or InputError.

        endpoint      a key of HTTP_ROUTES
        headers       besides those that the API documents
        on_progress   called periodically during an attempt (see `deadlines`)
        on_response   receives every success (2xx), whether or not its body is a transcript or complete
        """

        def build(progress: UploadProgress) -> HttpRequest:
            body = MultipartBody(options.form(), upload, progress.advance)
            progress.size = body.file_bytes
            return HttpRequest("POST", {**(headers or {}), **body.headers}, iter(body))

        name = upload.name or upload.filename
        address = build_url(self._base_url, HTTP_ROUTES[endpoint], options.query())
        size = file_size(upload)
        request = Request(name, address, build, decode_batch, deadlines, size, on_progress, on_response=on_response)
        return self._discard_fields_with_key(self._send(request))

    def _discard_fields_with_key(self, response: BatchResponse) -> BatchResponse:
        """Treat metadata that repeats the credential as unusable: it moves to `extra`. The text is never changed."""
        metadata = {"language": response.language, "request_id": response.request_id}
        redact = self._peer.redactor.redact
        leaking = {name: value for name, value in metadata.items() if value and redact(value) != value}
        discarded: dict[str, Any] = dict.fromkeys(leaking)
        return response._replace(**discarded, extra={**response.extra, **leaking})

    def redact_body(self, body: bytes, response: BatchResponse | None = None) -> bytes:
        """The body of a response, verbatim unless it repeats the credential.

        If it does and there is a `response`, the documented fields are encoded anew without the rest; its text and
        words stay as they are, because they are the transcript. Without a `response`, the credential is replaced.
        """
        redact, credential = self._peer.redactor.redact, self._peer.credential
        if credential is None:
            return body
        if response is None:
            text = body.decode("utf-8", "surrogateescape")
            return body if (redacted := redact(text)) == text else redacted.encode("utf-8", "surrogateescape")
        is_repeated = False
        if response.extra:
            extra = json.dumps(dict(response.extra))
            is_repeated = redact(extra) != extra
        if is_long(credential.secret) and (secret := credential.secret.encode()) in body:
            transcript = encode_batch(BatchResponse(text=response.text, words=response.words))
            is_repeated = is_repeated or body.count(secret) > transcript.count(secret)
        return encode_batch(response._replace(extra={})) if is_repeated else body

    def synthesize(self, request: Mapping[str, object], *, deadlines: Deadlines) -> bytes:
        """`POST /tts/bytes`: text to a WAV file, for samples (API docs: api-reference/tts/bytes)."""
        text = json.dumps(dict(request), ensure_ascii=False).encode()
        post = HttpRequest("POST", {"Content-Type": "application/json"}, text)
        address = build_url(self._base_url, "/tts/bytes")

        def check(body: bytes) -> bytes:
            if not body.startswith(b"RIFF"):
                raise ProtocolError("the response is not a WAV file")
            return body

        return self._send(Request("the sample", address, lambda progress: post, check, deadlines))

    def models(self, *, deadlines: Deadlines) -> "tuple[Model, ...]":
        """`GET /models`: the models that transcribe (API docs: api-reference/models/list)."""
        from ..protocol.models import MODELS_PATH, MODELS_QUERY, decode_models

        address = build_url(self._base_url, MODELS_PATH, MODELS_QUERY)
        get = HttpRequest("GET")
        name = "the list of models"
        return self._send(Request(name, address, lambda progress: get, decode_models, deadlines, costs=False))

    def _send(self, request: Request[T]) -> T:
        """Attempt a request until it succeeds, or until nothing justifies another attempt."""
        end_time = time.monotonic() + request.deadlines.total
        attempts = 0
        while True:
            with self.limit.slot() as slot:
                end_time += slot.waited_seconds  # waiting for others doesn't count
                outcome = self._attempt(request, end_time)
            if not isinstance(outcome, Failure):
                self.limit.succeeded()
                return outcome
            if outcome.retryable and self._back_off_if_too_many(outcome, slot):
                continue
            attempts += 1
            max_attempts = self._retry.max_attempts(maybe_billed=outcome.maybe_billed)
            delay = self._retry.delay(attempts, outcome.retry_after)
            if not outcome.retryable or attempts >= max_attempts or time.monotonic() + delay > end_time:
                raise outcome.error
            billed = "; the audio may be billed again" if outcome.maybe_billed else ""
            again = f"trying again in {delay:.1f} s (try {attempts + 1} of {max_attempts})"
            self._on_retry(f"{outcome.error.message}: {again}{billed}")
            self._sleep(delay)

    def _back_off_if_too_many(self, failure: Failure, slot: Slot) -> bool:
        """Lower the limit of requests if one was refused only because of the others in flight. Returns whether it was:
        then it waits for its turn, and that doesn't count as an attempt.
        """
        if self.limit.maximum == 1 or not is_concurrency_refusal(failure.error):
            return False
        pause = self.limit.refused(slot, failure.retry_after)
        if pause is not None and pause.lowered:
            number = self.limit.value
            self._on_retry(f"too many requests at once: {number} at a time from now on, in {pause.seconds:.1f} s")
        return pause is not None

    def _attempt(self, request: Request[T], end_time: float) -> T | Failure:
        """One attempt. Raises only what no other attempt could change."""
        # A new progress: the thread of an attempt that was given up may still report its own.
        name, progress, abort_handle = request.name, UploadProgress(request.size), AbortHandle()
        try:
            response = run_with_deadline(
                lambda: self._http.exchange(request.build, request.address, progress, abort_handle),
                progress,
                request.deadlines,
                end_time,
                request.on_progress,
                abort_handle.abort,
            )
        except HTTP_ERRORS as error:
            uploaded = progress.uploaded if request.costs else None
            return connection_failure(error, name, self._peer, uploaded=uploaded)
        except DeadlineExceeded as error:
            error.message = f"{name}: {error.message}"
            return Failure(error, retryable=not error.final, maybe_billed=request.costs and progress.uploaded)
        except (NetworkError, ApiError) as error:
            error.message = f"{name}: {self._peer.quote(error.message)}"
            raise
        if response.status // 100 != 2:
            body = b"" if response.problem else response.body
            return refusal_failure(response.status, response.headers, body, name, self._peer, progress.size)
        request.on_response(response)
        if response.problem:
            problem, status = response.problem, response.status
            return invalid_http_failure(problem, name, self._peer, maybe_billed=request.costs, status=status)
        if not response.complete:
            host = self._peer.host
            return truncated_response_failure(response.status, name, host, maybe_billed=request.costs)
        try:
            if not progress.uploaded:
                raise ProtocolError("it came before the whole file was sent")
            if not response.body:
                raise ProtocolError("the response is empty")
            return request.decode(response.body)
        except ProtocolError as error:
            return invalid_response_failure(error, name, self._peer, response.status, response.headers, response.body)
