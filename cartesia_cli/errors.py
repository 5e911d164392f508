"""The exceptions that end a run, and the exit codes.

    CliError                what happened, what to do next, and the exit code
    ├── UsageError      2   the command line or the configuration asks for something impossible
    ├── InputError      3   a file, stdin or the audio in it can't be used
    ├── AuthError       4   no key, or the key was refused (401, 403)
    ├── ApiError        5   the API refused: 400, 402, 404, 413, 422; 429 and 5xx when retries are used up
    │   └── ProtocolError   the API's response contradicts its documentation
    ├── NetworkError    6   unreachable, TLS, timeout, dropped
    ├── OutputError     1   a result can't be written where it was to go
    ├── GateError       1   an evaluation has more errors than it may have
    └── EngineError     1   the offline engine is missing or broken

Must never print, import another module of the package, or decide what is worth a retry.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, as promised in docs/errors.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INPUT = 3
    AUTH = 4
    API = 5
    NETWORK = 6
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class CliError(Exception):
    """Ends a run with an error message.

    message      what happened, in one sentence that names the file or the host
    hint         what to do about it, or None
    status       HTTP status (or the status_code of an error event), or None
    request_id   the id that Cartesia's support asks for, or None

    stops_batch  whether every other input would fail for the same reason
    """

    exit_code = Exit.FAILED
    type = "internal"
    stops_batch = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        facts = []
        if self.status is not None:
            facts.append(f"status {self.status}")
        if self.request_id:
            facts.append(f"request id {self.request_id}")
        return f"{self.message} ({', '.join(facts)})" if facts else self.message


class UsageError(CliError):
    exit_code = Exit.USAGE
    type = "usage"


class InputError(CliError):
    exit_code = Exit.INPUT
    type = "input"


class AuthError(CliError):
    exit_code = Exit.AUTH
    type = "auth"


class ApiError(CliError):
    """The API refused. `code` is its `error_code`, such as `model_not_found`, or None."""

    exit_code = Exit.API
    type = "api"
    code: str | None = None


class ProtocolError(ApiError):
    type = "protocol"


class NetworkError(CliError):
    exit_code = Exit.NETWORK
    type = "network"


class SettingsRefused(NetworkError):
    """A server ended a live session because of a change of its settings: a new connection without it may succeed."""


class OutputError(CliError):
    type = "output"


class GateError(CliError):
    type = "gate"


class EngineError(CliError):
    type = "engine"
    stops_batch = True


def internal_error(error: BaseException) -> CliError:
    """An exception that no code has foreseen, as an error that can be reported."""
    message = f"internal error: {type(error).__name__}: {error}"
    return CliError(message, hint="--debug shows where; please report it")


class Stopped(Exception):
    """A run is being stopped: a job gives up before it costs anything."""


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP. Not an Exception, so that no handler on the way out mistakes it for a failure."""

    def __init__(self, exit_code: Exit = Exit.INTERRUPTED) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code
