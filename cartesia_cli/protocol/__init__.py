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
    RUNNING_SERVER,
    Credential,
    batch_credits,
    build_url,
    check_base_url,
    check_encryption,
    is_api_version,
    is_loopback,
    is_loopback_host,
    is_unencrypted,
    is_whisper,
    parse_address,
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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the modules of the realtime endpoints and of the list of models when one of their names is first used
        (PEP 562): a batch request starts faster without them.
        """
        if not name.startswith("_"):
            for module in ("languages", "events", "realtime", "models"):
                if hasattr(found := import_module(f".{module}", __name__), name):
                    return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
