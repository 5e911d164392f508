"""Chooses the backend, cloud or local, and opens a client that is connected to it.

Audio leaves this machine only if the user configured a key or a server, or asked for it. Local means the server of
`serve` on a loopback port of this process, so that both use the same code path from the client on.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from ..client import BatchClient, ConcurrencyLimit, DeadlineExceeded, Deadlines, RetryPolicy
from ..daemon_thread import start_daemon_thread
from ..errors import AuthError, EngineError, NetworkError, ProtocolError
from ..output.console import Reporter
from ..protocol.batch import DEFAULT_LANGUAGE
from ..protocol.constants import (
    API_VERSION,
    OWN_SERVER,
    RUNNING_SERVER,
    Credential,
    is_whisper,
)
from ..record import Record
from . import local_extra

if TYPE_CHECKING:  # needs the extra [local]
    from ..cache import Cache
    from ..protocol.realtime import RealtimeOptions
    from ..server.announcement import FoundServer
    from ..server.engine import Engine

T = TypeVar("T")

CLOUD_JOBS, MAX_CLOUD_JOBS = 4, 32
"""Recordings at once in the cloud: at first, and at most. The plans allow 8 to 60 (API docs: concurrency-limits)."""

MAX_LOCAL_JOBS = 8
"""Most recordings at once on this machine by default. With more cores, several work on each recording: what is done in
Python can only be done for one recording at a time.
"""

MIN_LOCAL_SPEED = 0.2
"""Seconds of audio transcribed per second, at least: a large model on a small computer."""

MAX_TURN_SECONDS = 120.0
"""Longest audio that the local server works on before another recording has its turn: four windows of 30 s."""


class BackendConfig(Record):
    """The chosen backend.

    base_url          of the server; None: this machine
    credential        what is sent to prove who asks
    reason            why it was chosen, if the user should know
    api_version       sent as `Cartesia-Version`
    unencrypted_key   whether the user allows that a key is sent to this server without encryption
    local_model       a Whisper model for this machine, by its name or folder; None: the default
    """

    base_url: str | None
    credential: Credential | None = None
    reason: str = ""
    api_version: str = API_VERSION
    unencrypted_key: bool = False
    local_model: str | None = None


class ChosenServer(Record):
    """The server of a run, and the credential that it accepts. One on this machine has its model loaded.

    local         whether it runs on this machine, for this user alone
    found         the `serve` that it is, which may end before this process does; None for another server
    api_version   sent as `Cartesia-Version`
    """

    base_url: str
    credential: Credential | None
    local: bool
    found: "FoundServer | None" = None
    api_version: str = API_VERSION

    @property
    def is_shared(self) -> bool:
        return self.found is not None


class Backend:
    """A client for batch requests, and facts about its server.

    local   whether the server runs on this machine, for this user alone
    """

    def __init__(
        self,
        client: BatchClient,
        observer: local_extra.LocalServerObserver,
        *,
        local: bool,
        jobs: int = 1,
        found: "FoundServer | None" = None,
        open_own: Callable[[], BatchClient] | None = None,
    ) -> None:
        """`jobs`: how many recordings may be sent at once.

        found      the `serve` that `client` sends to; None for another server
        open_own   opens a client of a server in this process, if that of `client` is a `serve`
        """
        self.client, self.local = client, local
        self._observer, self._jobs = observer, jobs
        self._open_own, self._found, self._lock = open_own, found, Lock()

    def request(self, send: Callable[[BatchClient], T]) -> T:
        """The result of a request. If the `serve` that it was sent to has ended, or doesn't respond, it is sent to
        a server in this process: nothing was billed.
        """
        client = self.client
        try:
            return send(client)
        except DeadlineExceeded:
            raise
        except (NetworkError, ProtocolError):
            with self._lock:
                if self.client is client:
                    if self._open_own is None:
                        raise
                    why = "does not respond" if self._found and self._found.is_silent else "has ended"
                    self._observer.reporter.info(f"the running server {why}: loading the model here")
                    self.client, self._open_own, self._found = self._open_own(), None, None
            return send(self.client)

    def check_server(self) -> None:
        """Raises NetworkError if a `serve` doesn't respond: its process may be suspended. To be called again and again
        during a request.
        """
        if self._found is not None and self._found.is_silent:
            raise NetworkError("the running server does not respond")

    def track_recording(self) -> local_extra.RecordingProgress:
        """Follow how much of a recording the server has transcribed, if its `headers` are sent with the request."""
        return self._observer.track_recording() if self.local else local_extra.RecordingProgress()

    def deadlines(self, size: int, seconds: float | None, timeout: float | None) -> Deadlines:
        """The time limits of a request: of `size` bytes, with `seconds` of audio if that is known.

        timeout   the user's limit for the whole request; None: limits that fit the recording
        """
        if timeout is not None:
            return Deadlines.uniform(timeout)
        if not self.local:
            return Deadlines.for_audio(size, seconds)
        # Recordings share the cores, and take turns: before each of its own, one of every other may come.
        waiting = None if seconds is None else seconds + MAX_TURN_SECONDS
        return Deadlines.for_audio(size, waiting, speed=MIN_LOCAL_SPEED / self._jobs)


def concurrency_limit(jobs: int | None, choice: BackendConfig, shards: int = 1) -> ConcurrencyLimit:
    """How many recordings are transcribed at once. In the cloud, shards divide that number: their account is the same.

    jobs   what the user asks for, or None
    """
    if choice.base_url is None:
        from ..server import capacity

        return ConcurrencyLimit(jobs or min(MAX_LOCAL_JOBS, capacity.max_workers(capacity.read_machine())))
    most, first = (MAX_CLOUD_JOBS, CLOUD_JOBS) if jobs is None else (jobs, jobs)
    return ConcurrencyLimit(max(1, most // shards), max(1, first // shards))


def open_cache(no_cache: bool, choice: BackendConfig, endpoint: str, reporter: Reporter) -> "Cache | None":
    """The cached responses of the chosen server; None if the cache is not wanted or can't be used."""
    if no_cache:
        return None
    from ..cache import Cache, Store, cache_dir, engine_identity, server_identity
    from ..fingerprint import untrusted

    directory = cache_dir()
    if reason := untrusted(directory):
        reporter.warn(f"the cache {directory} is not used: {reason}")
        return None
    server = (
        engine_identity(choice.local_model)
        if choice.base_url is None
        else server_identity(choice.base_url, endpoint, choice.api_version)
    )
    if server is None:
        reporter.detail(f"no cache: {choice.base_url} is on this machine, and which server it is can't be determined")
        return None
    return Cache(Store(directory), server)


@contextmanager
def open_backend(
    choice: BackendConfig, reporter: Reporter, *, retries: int | None, limit: ConcurrencyLimit | None = None
) -> Iterator[Backend]:
    """A client of the chosen server for batch requests. A local server runs until the end of the block.

    limit   of requests at once; None: one. A local server works on as many recordings at once, up to one for each core
    """
    observer = local_extra.LocalServerObserver(reporter)
    jobs = 1 if limit is None else limit.maximum

    def load_engine() -> "Engine":
        from ..server import engine_choice

        return engine_choice.load_batch_engine(choice.local_model, observer, jobs)

    with ExitStack() as stack:

        def open_client(server: ChosenServer) -> BatchClient:
            client = BatchClient(
                server.base_url,
                server.credential,
                retry=RetryPolicy(0 if server.local else retries),
                limit=limit,
                on_retry=reporter.info,
                api_version=server.api_version,
            )
            return stack.enter_context(client)

        def open_own() -> BatchClient:
            opening = _open_server(choice, load_engine, observer, may_share=False)
            return open_client(stack.enter_context(opening))

        # A running server has one worker, unless it was given more.
        opening = _open_server(choice, load_engine, observer, may_share=jobs == 1)
        server = stack.enter_context(opening)
        client = open_client(server)
        own = open_own if server.is_shared else None
        yield Backend(client, observer, local=server.local, jobs=jobs, found=server.found, open_own=own)


def open_live_server(
    choice: BackendConfig, options: "RealtimeOptions", reporter: Reporter
) -> AbstractContextManager[ChosenServer]:
    """The chosen server, for a live session with these options. A local one runs until the end of the block."""
    observer = local_extra.LocalServerObserver(reporter)

    def load_engine() -> "Engine":
        from ..server import engine_choice

        if is_whisper(options.model):
            return engine_choice.load_batch_engine(choice.local_model, observer)
        return engine_choice.load_live_engine(choice.local_model, observer, options.language)

    return _open_server(choice, load_engine, observer)


@contextmanager
def _open_server(
    choice: BackendConfig,
    load_engine: Callable[[], "Engine"],
    observer: local_extra.LocalServerObserver,
    *,
    may_share: bool = True,
) -> Iterator[ChosenServer]:
    """The chosen server. For a local one, raises EngineError if the extra isn't installed, AuthError if a key would do
    without it.

    load_engine   loads that of a local one
    may_share     whether the local one may be a `serve` of this user, with the same model
    """
    if choice.base_url is not None:
        yield ChosenServer(choice.base_url, choice.credential, local=False, api_version=choice.api_version)
        return
    from ..server import announcement

    found = announcement.find(choice.local_model) if may_share else None
    if found is not None:
        observer.reporter.detail(f"using the running server (pid {found.pid})")
        with closing(found):
            found.report(observer)
            credential = Credential(found.token, RUNNING_SERVER)
            yield ChosenServer(found.base_url, credential, local=True, found=found)
        return
    loading = start_daemon_thread(load_engine, "loading the engine", has_temporary_files=True)
    try:
        local_extra.require_local_extra()  # meanwhile: reading weights doesn't hold Python's lock
    except EngineError as error:
        if not choice.reason:
            raise
        hint = f"run `cartesia-cli login` or set CARTESIA_API_KEY, or {local_extra.INSTALL_COMMAND}"
        raise AuthError(f"no API key, and {error.message}", hint=hint) from error
    import secrets  # start-up: requests to other servers don't need it

    from ..server import app, runner

    engine = loading.result()
    token = Credential(secrets.token_urlsafe(24), OWN_SERVER)
    # The token keeps other users of this machine out. For the user's own server, no file is too large and no request
    # is one too many.
    config = app.ServerConfig(
        key=token.secret, concurrency=1 << 31, max_bytes=1 << 62, observer=observer,
        identity=app.identify_engines(choice.local_model, engine, None),
    )  # fmt: skip
    with runner.serve_in_background(app.create_app(engine, None, config)) as address:
        yield ChosenServer(address, token, local=True)


def report_engine(
    choice: BackendConfig, language: str | None, reporter: Reporter, *, live_model: str | None = None
) -> None:
    """Say that this machine transcribes, if it does, and with which engine: always if nobody asked for it, else with
    --verbose. Parameters are those of `engine_name`.
    """
    if choice.base_url is not None:
        return
    engine = describe_engine(choice, language, live_model=live_model)
    what = f"{choice.reason or local_extra.LOCAL}{' with ' * bool(engine)}{engine}"
    (reporter.info if choice.reason else reporter.detail)(what)


def engine_name(choice: BackendConfig, language: str | None, *, live_model: str | None = None) -> str:
    """The model of this machine that transcribes, as results name it: `Whisper base`. Empty if another server does, or
    if none is installed.

    language     as --language names it
    live_model   of a live session, as --model names it: Moonshine does the work if it can, except for ink-whisper.
                 None: a recording is transcribed
    """
    if choice.base_url is not None:
        return ""
    from ..server.packaged_models import find_live, find_packaged

    model = choice.local_model
    is_quick = live_model is not None and not is_whisper(live_model)
    packaged = (find_live(model, language) if is_quick else None) or find_packaged(model)
    if packaged is None:
        return f"Whisper {os.path.basename(os.path.normpath(model or ''))}"
    return packaged.title if packaged.is_installed else ""


def describe_engine(choice: BackendConfig, language: str | None, *, live_model: str | None = None) -> str:
    """The same with its language and its licence: `Whisper base (German, MIT licence)`. The licences of others than the
    packaged models aren't known.
    """
    from ..protocol.languages import AUTO_LANGUAGE, language_name

    name = engine_name(choice, language, live_model=live_model)
    if not name:
        return ""
    from ..server.packaged_models import LICENCE, find_packaged

    code = language or DEFAULT_LANGUAGE
    spoken = "detecting the language" if code == AUTO_LANGUAGE else language_name(code)
    licence = "" if find_packaged(choice.local_model) is None else f", {LICENCE}"
    return f"{name} ({spoken}{licence})"
