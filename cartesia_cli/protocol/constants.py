"""Constants and addresses of the API: routes, encodings, models, prices, headers, URLs.

The list of models is for completion and warnings. It must never reject a value: within an API version the server may
add new ones (API docs: api-conventions).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, urlencode, urlsplit

from ..errors import UsageError

API_VERSION = "2026-03-01"
"""Sent as `Cartesia-Version` with every request: the version whose OpenAPI document describes `POST /stt`."""

BASE_URL = "https://api.cartesia.ai"

HTTP_ROUTES = {"stt": "/stt", "openai": "/audio/transcriptions"}
"""The two routes of the batch endpoint, which take the same parameters (API docs: migrate-from-open-ai)."""

ENCODINGS = {"pcm_s16le": 2, "pcm_s32le": 4, "pcm_f16le": 2, "pcm_f32le": 4, "pcm_mulaw": 1, "pcm_alaw": 1}
"""Encodings of headerless audio, with their bytes per sample (batch, manual, turns)."""

BATCH_MODEL = "ink-whisper"
"""The model for recordings if none is named (API docs: api-reference/stt/transcribe)."""

BATCH_MODELS = (BATCH_MODEL, "ink-whisper-2025-06-04")
MODELS = (*BATCH_MODELS, "ink-2", "ink-preview")


class Credential:
    """An API key, or a short-lived access token.

    secret   never shown, not even by repr, which has no fields
    origin   where it came from, in words: a variable's name, a file's path
    """

    def __init__(self, secret: str, origin: str) -> None:
        self.secret, self.origin = secret, origin


RUNNING_SERVER = "the running server"
"""The origin of the token of a `serve` of this user, and what messages call it."""

OWN_SERVER = "the local server"
"""The same for a server in this process."""


def server_name(base_url: str, credential: Credential | None) -> str:
    """What messages call a server: its host, and its port where it isn't the default one. The servers that local
    commands use have names: nobody knows their ports.
    """
    origin = None if credential is None else credential.origin
    return origin if origin in (RUNNING_SERVER, OWN_SERVER) else urlsplit(base_url).netloc


def batch_credits(seconds: float) -> float:
    """What a batch request costs: 1 credit for 2 seconds of audio (pricing)."""
    return seconds / 2


def is_whisper(model: str) -> bool:
    """Whether a model is ink-whisper, with or without a date in its name.

    ink-whisper takes a language and sends word times. The others take keyterms, detect turns, and send only text
    (manual, turns).
    """
    return model.startswith("ink-whisper")


def takes_language_hints(model: str) -> bool:
    """Whether a model may take language hints: ink-preview does; ink-2 and ink-whisper reject them (docs:
    stt/languages). What others do isn't known.
    """
    return not is_whisper(model) and model != "ink-2"


def realtime_credits(model: str, seconds: float) -> float:
    """What a realtime session costs, silence included: ink-whisper 1 credit per second, the others 3 (pricing)."""
    return seconds * (1 if is_whisper(model) else 3)


def request_headers(credential: Credential | None, api_version: str = API_VERSION) -> dict[str, str]:
    """Headers of every HTTP request and handshake. A key and an access token are sent in the same way (batch)."""
    version = {"Cartesia-Version": api_version}
    return version if credential is None else version | {"Authorization": f"Bearer {credential.secret}"}


def is_api_version(text: str) -> bool:
    """Whether a text can name a version of the API: they are dates such as 2026-03-01."""
    from datetime import date  # start-up: most commands don't need it

    try:
        return date.fromisoformat(text).isoformat() == text  # it also reads 20260301 and 2026-W09-7
    except ValueError:
        return False


def is_loopback(base_url: str) -> bool:
    """Whether a URL leads to this machine."""
    return is_loopback_host(urlsplit(base_url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Whether a name or an address, without brackets, can only mean this machine."""
    address = parse_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return host == "localhost" or (address is not None and (mapped or address).is_loopback)


def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """An IP address, without brackets; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def check_base_url(text: str) -> str:
    """A base URL without its trailing slash; its path is kept. Raises UsageError when it is not the address of a
    server.

    Whether anything may be sent there unencrypted is for `check_encryption` to say.
    """
    before, at, after = text.rpartition("@")
    shown = f"{before.rpartition('//')[0]}//…@{after}" if at else text  # without a password
    try:
        parts = urlsplit(text.strip())
        parts.port  # noqa: B018  report a port that isn't a number here, not at the first request
        if not _is_host_name(parts.hostname or ""):
            raise ValueError(f"{parts.hostname!r} is not a host name")
    except ValueError as error:
        raise UsageError(
            f"base URL {shown!r}: {'not a valid address' if at else error}", hint=f"for example {BASE_URL}"
        ) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base URL {shown!r} is not an http(s) address", hint=f"for example {BASE_URL}")
    host = parts.netloc.rpartition("@")[2]
    address = f"{parts.scheme}://{host}{parts.path}".rstrip("/")
    for what, given in (
        ("a query", parts.query),
        ("a fragment", parts.fragment),
        ("a user or a password", host != parts.netloc),
    ):
        if given:
            raise UsageError(f"the base URL must not contain {what}", hint=f"without it, it is {address}")
    return address


def _is_host_name(name: str) -> bool:
    """Whether a resolver may accept it: a name, an address, or nothing."""
    try:
        encoded = name.encode("idna").decode()
    except UnicodeError:  # a part is empty or too long
        return False
    return all(c.isalnum() or c in ("._-:%" if ":" in encoded else "._-") for c in encoded)


def is_unencrypted(base_url: str) -> bool:
    """Whether what is sent to a server can be read on the way: plain http to another machine."""
    return base_url.startswith("http:") and not is_loopback(base_url)


def check_encryption(base_url: str, *, allowed: bool) -> None:
    """Raises UsageError for plain http to another machine, unless the user has allowed that by name.

    Cartesia may revoke keys that are sent unencrypted (API docs: api-conventions). Servers that users run themselves
    speak plain http (API docs: self-hosted/architecture).
    """
    if is_unencrypted(base_url) and not allowed:
        raise UsageError(
            f"base URL {base_url!r} would send everything unencrypted",
            hint="use https; for a server that speaks plain http only, add --insecure-http: it sends no key",
        )


def build_url(base_url: str, path: str, query: Iterable[tuple[str, str]] = (), *, websocket: bool = False) -> str:
    """The URL of a route. Spaces in the query are written `%20`, as in the documentation (keyterms)."""
    base = "ws" + base_url.removeprefix("http") if websocket else base_url
    encoded = urlencode(list(query), quote_via=quote)
    return f"{base}{path}?{encoded}" if encoded else f"{base}{path}"
