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

from .batch import (
    BatchOptions,
    BatchResponse,
    decode_batch,
    decode_error,
    encode_batch,
    encode_error,
    excerpt,
    refusal,
    unusable_fields,
)
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
    encode,
    misfits,
)
from .realtime import (
    AUTO,
    MANUAL,
    MAX_COMMAND_CHARS,
    Close,
    Command,
    Config,
    Dialect,
    Finalize,
    RealtimeOptions,
    TurnConfig,
    decode_command,
    encode_command,
)
from .vocabulary import (
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
from .wire import Word

__all__ = [
    "API_VERSION",
    "AUTO",
    "BASE_URL",
    "BATCH_MODELS",
    "ENCODINGS",
    "HTTP_ROUTES",
    "LANGUAGES",
    "MANUAL",
    "MAX_COMMAND_CHARS",
    "MODELS",
    "BatchOptions",
    "BatchResponse",
    "Close",
    "Command",
    "Config",
    "Connected",
    "Credential",
    "Delta",
    "Dialect",
    "Done",
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
    "misfits",
    "realtime_credits",
    "refusal",
    "unusable_fields",
    "url",
]
