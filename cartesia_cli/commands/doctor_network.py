"""The checks of `doctor` that look at the key and the server: from its name to a round trip on each endpoint."""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from ..credentials import KEY_COMMAND_SECONDS, NOT_RUN, key_source
from ..errors import ApiError, AuthError
from ..protocol.constants import batch_credits, is_loopback, realtime_credits
from .diagnosis import Check, CheckResult, NeededResults, failure, ok, skipped, warning
from .doctor_machine import Examined

STEP_SECONDS = 8.0
"""Time limit of a name lookup, a connection, an answer."""

ROUND_TRIP_SECONDS = 20.0

SPOKEN_SECONDS = 1.0
"""Length of the speech that is sent to each endpoint."""

CLOCK_WARNING_SECONDS, CLOCK_FAILURE_SECONDS = 30.0, 300.0
"""A Date header has whole seconds; from five minutes on, access tokens and new certificates may seem invalid."""

EXPIRY_WARNING_DAYS = 7

NO_SERVER = "neither a key nor a base URL: this machine transcribes"
LOGIN = "`cartesia-cli login` stores a key for Cartesia's API"


def round_trip_credits(names: Iterable[str]) -> float:
    """What those of the named checks cost that send audio."""
    from ..client.round_trip import REALTIME_MODEL

    batch, realtime = batch_credits(SPOKEN_SECONDS), realtime_credits(REALTIME_MODEL, SPOKEN_SECONDS)
    costs = {"stt": batch, "openai": batch, "manual": realtime, "auto": realtime}
    return sum(costs.get(name, 0) for name in names)


def check_key_present(examined: Examined, needed: NeededResults) -> CheckResult:
    assert examined.settings is not None
    source = key_source(examined.settings)
    if source is None:
        if examined.base_url is None:
            return warning("none: recordings are transcribed on this machine", LOGIN)
        if is_loopback(examined.base_url):
            return ok("none; a server on this machine may need none")
        if not examined.sends_key:
            return ok("none; none is sent over plain http")
        return failure("none", LOGIN)
    if not examined.sends_key:
        summary = f"{source.value}: {source.origin}; not sent over plain http"
        return warning(summary, "--insecure-http-key sends it, readable by anyone on the network", origin=source.origin)
    assert examined.credential is not None  # runs api_key_command; AuthError for what can't be a key
    return ok(f"{source.value.removesuffix(NOT_RUN)}: {source.origin}", origin=source.origin)


def check_proxy(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..client.probe import find_gateway

    if examined.unasked is not None:
        return skipped(examined.unasked)
    gateway = find_gateway(_url(examined))
    if gateway.proxy:
        summary = f"requests go through {gateway.host}:{gateway.port} ({gateway.proxy})"
        return ok(summary, host=gateway.host, port=gateway.port)
    return ok("none")


def check_dns(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..client.probe import find_gateway, resolve

    gateway = find_gateway(_url(examined))
    addresses = resolve(gateway)
    return ok(f"{gateway.host} is {', '.join(addresses)}", host=gateway.host, addresses=addresses)


def check_connection(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..client.probe import connect_tcp, find_gateway

    gateway = find_gateway(_url(examined))
    address = connect_tcp(gateway, STEP_SECONDS - 1)
    return ok(f"{address} port {gateway.port}", address=address, port=gateway.port)


def check_tls(examined: Examined, needed: NeededResults) -> CheckResult:
    """An answer to a request without a key: over TLS, unless the server is on this machine."""
    from ..client.probe import ask_status

    answer = ask_status(_url(examined), api_version=examined.backend.api_version, seconds=STEP_SECONDS - 1)
    if answer.error is not None:
        error = answer.error
        if any(word in error.message for word in ("expired", "not yet valid")):
            now = answer.local_time.strftime("%Y-%m-%d %H:%M %Z")
            error.hint = f"this machine's clock says {now}; if that is right, whoever runs the server must renew it"
        raise error
    facts = {"status": answer.status, "server_time": _isoformat(answer.server_time),
             "local_time": _isoformat(answer.local_time)}  # fmt: skip
    if answer.tls is None:
        return ok(f"not used: plain http; the server answers with status {answer.status}", **facts)
    tls = answer.tls
    facts |= {"version": tls.version, "issuer": tls.issuer, "expires": _isoformat(tls.expires)}
    summary = f"{tls.version}, certificate of {tls.issuer or 'an unnamed authority'} until {tls.expires:%Y-%m-%d}"
    if (tls.expires - answer.local_time).days < EXPIRY_WARNING_DAYS:
        return warning(summary, "it expires soon: whoever runs the server must renew it", **facts)
    return ok(summary, **facts)


def check_clock(examined: Examined, needed: NeededResults) -> CheckResult:
    facts = needed["tls"].facts
    if facts["server_time"] is None:
        return skipped("the server's response has no date")
    skew = (datetime.fromisoformat(facts["local_time"]) - datetime.fromisoformat(facts["server_time"])).total_seconds()
    direction = "ahead of" if skew > 0 else "behind"
    summary = f"this machine's clock is {_duration(abs(skew))} {direction} the server's"
    advice = "set the clock, for example with `sudo timedatectl set-ntp true`"
    if abs(skew) >= CLOCK_FAILURE_SECONDS:
        return failure(summary, advice, skew_seconds=round(skew, 1))
    if abs(skew) >= CLOCK_WARNING_SECONDS:
        return warning(summary, advice, skew_seconds=round(skew, 1))
    return ok(f"within {max(1, round(abs(skew)))} s of the server's", skew_seconds=round(skew, 1))


def check_access(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..client.probe import check_key

    host = urlsplit(_url(examined)).netloc
    answer = check_key(
        _url(examined), examined.credential, api_version=examined.backend.api_version, seconds=STEP_SECONDS - 1
    )
    error = answer.error
    if error is None:
        return ok(f"{host} accepts the key" if examined.credential else f"{host} asks for no key")
    if isinstance(error, ApiError) and error.status == 404:
        return warning(f"{host} can't be asked: it has no /voices", "the round trips show whether the key is accepted")
    if isinstance(error, AuthError):
        error.hint = f"{error.hint}; `cartesia-cli login` replaces a stored one"
    raise error


def check_batch(examined: Examined, needed: NeededResults, *, endpoint: str) -> CheckResult:
    from ..client.round_trip import batch_round_trip

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "second.wav")
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(_speech())
        trip = batch_round_trip(
            _url(examined),
            examined.credential,
            endpoint,
            path,
            api_version=examined.backend.api_version,
            seconds=ROUND_TRIP_SECONDS - 1,
        )
    return ok(f"transcript after {trip.transcript:.2f} s", transcript_seconds=round(trip.transcript, 3))


def check_realtime(examined: Examined, needed: NeededResults, *, endpoint: str) -> CheckResult:
    import asyncio

    from ..client.round_trip import BLOCK_SECONDS, realtime_round_trip
    from ..protocol.realtime import AUTO, MANUAL

    size = round(BLOCK_SECONDS * 16_000) * 2
    speech = _speech()
    blocks = [speech[start : start + size] for start in range(0, len(speech), size)]
    trip = asyncio.run(
        realtime_round_trip(
            _url(examined),
            examined.credential,
            MANUAL if endpoint == "manual" else AUTO,
            blocks,
            api_version=examined.backend.api_version,
            seconds=ROUND_TRIP_SECONDS - 1,
        )
    )
    assert trip.handshake is not None
    return ok(
        f"handshake {trip.handshake:.2f} s, transcript {trip.transcript:.2f} s after the audio",
        handshake_seconds=round(trip.handshake, 3),
        transcript_seconds=round(trip.transcript, 3),
    )


def _speech() -> bytes:
    """The first second of the bundled sample: 16-bit mono samples at 16 kHz."""
    with files("cartesia_cli").joinpath("sample.wav").open("rb") as file, wave.open(file) as recording:
        return bytes(recording.readframes(round(SPOKEN_SECONDS * 16_000)))


def _url(examined: Examined) -> str:
    assert examined.base_url is not None
    return examined.base_url


def _isoformat(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")


def _duration(seconds: float) -> str:
    """A time in the largest unit that fits."""
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 0.95 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


NETWORK_CHECKS: tuple[Check, ...] = (
    Check("key", "Key", check_key_present, needs=("configuration",), seconds=KEY_COMMAND_SECONDS + 5),
    Check("proxy", "Proxy", check_proxy, needs=("configuration",)),
    Check("dns", "DNS", check_dns, needs=("proxy",), seconds=STEP_SECONDS),
    Check("connection", "Connection", check_connection, needs=("dns",), seconds=STEP_SECONDS),
    Check("tls", "TLS", check_tls, needs=("connection",), seconds=STEP_SECONDS),
    Check("clock", "Clock", check_clock, needs=("tls",)),
    Check("access", "Access", check_access, needs=("key", "tls"), seconds=STEP_SECONDS),
    *(
        Check(endpoint, path, partial(check, endpoint=endpoint), needs=("access",), seconds=ROUND_TRIP_SECONDS)
        for endpoint, path, check in (
            ("stt", "/stt", check_batch),
            ("openai", "/audio/transcriptions", check_batch),
            ("manual", "/stt/websocket", check_realtime),
            ("auto", "/stt/turns/websocket", check_realtime),
        )
    ),
)
