"""The proxies and certificate authorities that the environment sets, for uploads, WebSockets and downloads alike.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY mean what they mean to Python's urllib: in small letters they take
precedence, and without any of them, macOS and Windows have settings of their own. Beyond that, NO_PROXY may have a star
among other names, and IPv6 addresses in brackets. SSL_CERT_FILE and SSL_CERT_DIR mean what they mean to OpenSSL.

Must never show the URL of a proxy: it may contain a password.
"""

import os
import re
import ssl
from urllib.parse import urlsplit

from ..errors import UsageError
from ..protocol.constants import is_loopback
from ..record import Record
from ..transfer import short_reason

PORTS = {"http": 80, "https": 443}

PROXY_EXAMPLE = "such as http://proxy.example:8080, or unset it"

CERTIFICATES_HINT = "name a file or folder with certificates in PEM format, or unset it"


class Proxy(Record):
    """The proxy that requests to a server go through.

    url      http or https, without a path; may contain a user and a password
    origin   the variable that sets it, or else the settings of the system
    """

    url: str
    origin: str


def find_proxy(url: str) -> Proxy | None:
    """The proxy for requests to a server; None without one. Those to this machine never go through a proxy.

    url   of the server

    Raises UsageError for a proxy that can't be used, such as one for SOCKS, which httpcore, httpx and websockets can
    speak only with other packages.
    """
    parts = urlsplit(url)
    if is_loopback(url) or parts.scheme not in PORTS:  # a redirect may lead anywhere
        return None
    from urllib.request import getproxies, proxy_bypass  # start-up: it imports an HTTP client

    proxies = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    if kind is None:
        return None
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    named = {name.strip().lower() for name in proxies.get("no", "").split(",")}
    if not named.isdisjoint(("*", f"[{host}]", f"[{host}]:{port}")) or proxy_bypass(f"{host}:{port}"):
        return None
    names = (f"{kind}_proxy", f"{kind}_PROXY".upper())
    origin = next((name for name in names if os.environ.get(name)), "the system's proxy setting")
    return Proxy(_checked(proxies[kind], origin), origin)


def _checked(text: str, origin: str) -> str:
    """The URL of a proxy, with a scheme and without a path. Raises UsageError for one that can't be used."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        parts.port  # noqa: B018  ValueError for what isn't a number, and below for a name that no resolver accepts
        is_address = bool((parts.hostname or "").encode("idna")) and parts.netloc.isascii()
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError(f"{origin} is not the address of a proxy", hint=f"name one, {PROXY_EXAMPLE}")
    if parts.scheme not in PORTS:
        raise UsageError(
            f"{origin}: {parts.scheme} proxies are not supported", hint=f"name an http proxy, {PROXY_EXAMPLE}"
        )
    user, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{user}{'' if ':' in user or not at else ':'}{at}{host}"


def tls_context(url: str) -> ssl.SSLContext | None:
    """What verifies the certificate of a server: the authorities in SSL_CERT_FILE or SSL_CERT_DIR, or those of certifi.
    None for plain http. Raises UsageError if they can't be read.
    """
    if not url.startswith("https:"):
        return None
    variable = authorities_variable()
    if variable is None:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    place = os.environ[variable]
    try:
        if variable == "SSL_CERT_FILE":
            return ssl.create_default_context(cafile=place)
        names = [name for folder in place.split(os.pathsep) for name in os.listdir(folder)]
        if not any(re.fullmatch(r"[0-9a-f]{8}\.\d+", name) for name in names):  # OpenSSL would look at no other file
            raise ValueError("no certificates are there, under names that `openssl rehash` makes")
        return ssl.create_default_context(capath=place)
    except (OSError, ValueError) as error:
        reason = tls_reason(error) if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or error
        raise UsageError(f"{variable}: {place}: {reason}", hint=CERTIFICATES_HINT) from error


def authorities_variable() -> str | None:
    """The variable that sets which certificate authorities are trusted; None without one."""
    return next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)


def tls_reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, in words."""
    return short_reason(error.reason or str(error)).replace("_", " ").lower()
