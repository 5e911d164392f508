"""The messages of Cartesia's speech-to-text API, encoded and decoded: requests, responses, commands, events.

The client and the local server share it, so that they can't drift apart. Pure: values in, values out; no I/O, no
clock. Its invariants, checked by property tests:

    decode is total           any frame gives an event or a ProtocolError, nothing else
    decode(encode(e)) == e    for every event, command and batch response
    nothing is discarded      unknown and malformed fields are kept in `extra`, and an event of an unknown type is an
                              Unknown: within an API version the server may add both (docs: api-conventions)

Sources in parentheses are pages of Cartesia's documentation: "batch" is api-reference/stt/transcribe, "manual"
api-reference/stt/websocket, "turns" api-reference/stt/turns/websocket, "errors" use-the-api/api-errors, "keyterms"
use-the-api/stt/keyterms, "pricing" pricing.
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
    HINT_LANGUAGES,
    HTTP_ROUTES,
    LANGUAGES,
    MODELS,
    Credential,
    batch_credits,
    build_url,
    check_base_url,
    check_encryption,
    is_loopback,
    is_loopback_host,
    is_unencrypted,
    is_whisper,
    realtime_credits,
    request_headers,
    takes_language_hints,
)
from .json_fields import DetectedLanguage, Word

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
        error_event,
        malformed_fields,
    )
    from .languages import AUTO_LANGUAGE, CHINESE_SCRIPTS, LANGUAGE_NAMES, api_language, language_name
    from .models import (
        BATCH,
        MODELS_AT_RELEASE,
        MODELS_PATH,
        MODELS_QUERY,
        RELEASED_ON,
        STREAM,
        Model,
        decode_models,
        encode_models,
    )
    from .realtime import (
        AUTO,
        LEGACY_EAGER_END_THRESHOLD,
        MANUAL,
        MAX_COMMAND_CHARS,
        TURN_DEFAULTS,
        Close,
        Command,
        Config,
        Endpoint,
        Finalize,
        RealtimeOptions,
        TurnConfig,
        decode_command,
        decode_config,
        encode_command,
        keyterms_problem,
        language_hints_problem,
        turn_order_problem,
    )

__all__ = [
    "API_VERSION",
    "AUTO",
    "AUTO_LANGUAGE",
    "BASE_URL",
    "BATCH",
    "BATCH_MODELS",
    "CHINESE_SCRIPTS",
    "DEFAULT_LANGUAGE",
    "ENCODINGS",
    "HINT_LANGUAGES",
    "HTTP_ROUTES",
    "LANGUAGES",
    "LANGUAGE_NAMES",
    "LEGACY_EAGER_END_THRESHOLD",
    "MANUAL",
    "MAX_COMMAND_CHARS",
    "MODELS",
    "MODELS_AT_RELEASE",
    "MODELS_PATH",
    "MODELS_QUERY",
    "RELEASED_ON",
    "STREAM",
    "TURN_DEFAULTS",
    "BatchOptions",
    "BatchResponse",
    "Close",
    "Command",
    "Config",
    "Connected",
    "Credential",
    "Delta",
    "DetectedLanguage",
    "Done",
    "Endpoint",
    "Error",
    "Event",
    "Finalize",
    "FlushDone",
    "Model",
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
    "api_language",
    "batch_credits",
    "build_url",
    "check_base_url",
    "check_encryption",
    "decode",
    "decode_batch",
    "decode_command",
    "decode_config",
    "decode_error",
    "decode_models",
    "encode",
    "encode_batch",
    "encode_command",
    "encode_error",
    "encode_models",
    "error_event",
    "excerpt",
    "is_loopback",
    "is_loopback_host",
    "is_unencrypted",
    "is_whisper",
    "keyterms_problem",
    "language_hints_problem",
    "language_name",
    "malformed_fields",
    "realtime_credits",
    "request_headers",
    "takes_language_hints",
    "turn_order_problem",
    "unusable_fields",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the modules of the realtime endpoints and of the list of models when one of their names is first used
        (PEP 562): a batch request starts faster without them.
        """
        if name in __all__:
            for module in (
                import_module(f".{name}", __name__) for name in ("languages", "events", "realtime", "models")
            ):
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
