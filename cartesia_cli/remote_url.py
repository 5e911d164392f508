"""URLs of recordings: which ones there are, how messages show them, and what results are named after.

A URL may contain a password or a signature, so nothing of its user name, password or query is ever shown or becomes a
part of a file name. Pure. Must never ask a server.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

WEB_SCHEMES = frozenset({"http", "https"})

BUCKET_SCHEMES = frozenset({"s3", "gs", "az"})
"""Object storage: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

MAX_SEGMENT_BYTES = 200
"""Longest part of a path that is made of a URL. File systems allow 255, and suffixes are added to it."""

SIGNATURE_PARAMETER = r"(?i)x-(?:amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
"""Parameters that sign a request for S3, Google Cloud Storage or CloudFront. They change each time a URL is signed."""

AZURE_SIGNATURE_PARAMETER = r"(?i)s[a-z]{1,2}|sk[a-z]{1,3}|sig"
"""Parameters of a shared access signature of Azure: sv, se, sp, skoid, sig, …"""

# Not compiled here: start-up. Most inputs are files.
_URL = r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?"
_BUCKET_URL = r"(?is)(s3|gs|az)://([^/]+)/?(.*)"
_UNSAFE = r"[\x00-\x1f\x7f-\x9f/\\\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def url_scheme(text: str) -> str | None:
    """The scheme of a URL, in lower case; None if the text is not a URL."""
    match = re.match(_URL, text) if "://" in text else None
    return match[1].lower() if match else None


def is_remote(text: str) -> bool:
    """Whether recordings can be read from this URL."""
    return url_scheme(text) in WEB_SCHEMES | BUCKET_SCHEMES


def is_bucket_url(text: str) -> bool:
    return url_scheme(text) in BUCKET_SCHEMES


def split_bucket_url(url: str) -> tuple[str, str, str]:
    """Scheme, bucket and key of an object, or of the beginning of keys. The key is verbatim, not percent-encoded.

    Raises ValueError if there is no bucket.
    """
    if (match := re.fullmatch(_BUCKET_URL, url)) is None:
        raise ValueError(f"no bucket in {url!r}")
    return match[1].lower(), match[2], match[3]


def display_url(url: str) -> str:
    """The URL without user name, password and query. A query becomes a hash, unless it only signs the URL, so that
    different recordings have different names.
    """
    if is_bucket_url(url) or (match := re.match(_URL, url)) is None:
        return url
    mark = _query_hash(match[4])
    return f"{match[1].lower()}://{match[2]}{match[3]}{f'?…{mark}' if mark else ''}"


def result_name(url: str) -> str:
    """A file name for what is at the URL: the last segment of its path, safe on every file system."""
    return _segments(url)[-1]


def result_path(url: str) -> str:
    """A relative path for what is at the URL: host (or bucket), folders and name, as `wget -x` has them."""
    return "/".join(_segments(url))


def safe_name(text: str) -> str:
    """A name from outside as the name of one file: without separators, control characters, or dots at the start."""
    name = re.sub(_UNSAFE, "_", text).strip().lstrip(".")
    if len(name.encode()) > MAX_SEGMENT_BYTES:
        mark = f"~{_hash(name)}"
        while len((name + mark).encode()) > MAX_SEGMENT_BYTES:
            name = name[:-1]
        return name + mark
    return name or "recording"


def _segments(url: str) -> list[str]:
    if is_bucket_url(url):
        _, host, path = split_bucket_url(url)
        return [safe_name(part) for part in (host, *path.split("/")) if part]
    match = re.match(_URL, url)
    assert match is not None, url
    parts = [safe_name(unquote(part)) for part in (match[2], *match[3].split("/")) if part]
    if (mark := _query_hash(match[4])) and parts:
        stem, dot, suffix = parts[-1].rpartition(".")
        parts[-1] = f"{stem}~{mark}{dot}{suffix}" if stem and len(parts) > 1 else f"{parts[-1]}~{mark}"
    return parts or ["recording"]


def _query_hash(query: str | None) -> str:
    """A hash of what a query asks for; empty if it asks for nothing, or only signs the URL."""
    pairs = parse_qsl(query or "", keep_blank_values=True)
    names = {name.lower() for name, _ in pairs}
    signed = AZURE_SIGNATURE_PARAMETER if {"sv", "sig"} <= names else SIGNATURE_PARAMETER
    kept = [pair for pair in pairs if not re.fullmatch(signed, pair[0])]
    return _hash(repr(kept)) if kept else ""


def _hash(text: str) -> str:
    from hashlib import sha256  # start-up: it loads OpenSSL

    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
