"""The thin protocol module: everything that the two sides of Cartesia's speech-to-text API may say.

Spoken by the client and by the local server alike, so that they can't drift apart. Pure: values in,
values out; no I/O, no clock. Its laws, held by the property tests:

    decode is total           any frame gives an event or a ProtocolError, nothing else
    decode(encode(e)) == e    for every event, command and batch response
    nothing is thrown away    fields that we don't know, or not as they come, live on in `extra`, events that we
                              don't know are Unknown: within an API version the server may add both (docs:
                              api-conventions)

Sources are named by the pages of Cartesia's documentation: "batch" is api-reference/stt/transcribe,
"manual" api-reference/stt/websocket, "turns" api-reference/stt/turns/websocket, "errors"
use-the-api/api-errors, "keyterms" use-the-api/stt/keyterms, "pricing" pricing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .batch import (
    DEFAULT_LANGUAGE,
    BatchOptions,
    BatchResponse,
    api_error,
    decode_batch,
    encode_batch,
    excerpt,
    unusable_fields,
)
from .constants import (
    API_VERSION,
    BASE_URL,
    BATCH_MODELS,
    ENCODINGS,
    HTTP_ROUTES,
    LANGUAGES,
    MODELS,
    Credential,
    batch_credits,
    check_base_url,
    headers,
    is_loopback,
    is_whisper,
    realtime_credits,
    url,
)
from .json_fields import Word

if TYPE_CHECKING:
    from .events import (
        Connected,
        Delta,
        Done,
        Error,
        Event,
        FlushDone,
        TurnEagerEnd,
        TurnEnd,
        TurnResume,
        TurnStart,
        TurnUpdate,
        Unknown,
        UnreadableText,
        decode,
        decode_error,
        encode,
        encode_error,
        malformed_fields,
    )
    from .realtime import (
        AUTO,
        MANUAL,
        MAX_COMMAND_CHARS,
        OLDER_EAGER_END,
        TURN_DEFAULTS,
        Close,
        Command,
        Config,
        Endpoint,
        Finalize,
        RealtimeOptions,
        TurnConfig,
        decode_command,
        encode_command,
    )

__all__ = [
    "API_VERSION",
    "AUTO",
    "BASE_URL",
    "BATCH_MODELS",
    "DEFAULT_LANGUAGE",
    "ENCODINGS",
    "HTTP_ROUTES",
    "LANGUAGES",
    "MANUAL",
    "MAX_COMMAND_CHARS",
    "MODELS",
    "OLDER_EAGER_END",
    "TURN_DEFAULTS",
    "BatchOptions",
    "BatchResponse",
    "Close",
    "Command",
    "Config",
    "Connected",
    "Credential",
    "Delta",
    "Done",
    "Endpoint",
    "Error",
    "Event",
    "Finalize",
    "FlushDone",
    "RealtimeOptions",
    "TurnConfig",
    "TurnEagerEnd",
    "TurnEnd",
    "TurnResume",
    "TurnStart",
    "TurnUpdate",
    "Unknown",
    "UnreadableText",
    "Word",
    "api_error",
    "batch_credits",
    "check_base_url",
    "decode",
    "decode_batch",
    "decode_command",
    "decode_error",
    "encode",
    "encode_batch",
    "encode_command",
    "encode_error",
    "excerpt",
    "headers",
    "is_loopback",
    "is_whisper",
    "malformed_fields",
    "realtime_credits",
    "unusable_fields",
    "url",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Start-up: a batch request needs nothing of the realtime endpoints, so these two modules are imported when a
        name of theirs is first asked for (PEP 562).
        """
        if name in __all__:
            for module in (import_module(f".{name}", __name__) for name in ("events", "realtime")):
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
