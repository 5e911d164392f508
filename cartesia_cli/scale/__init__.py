"""Many recordings: manifests, recordings and results in buckets, runs that can be resumed, and several machines.

Must never read options or print: `commands/` connects these modules with the rest of the program.
"""

MANIFEST_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv"})
"""Suffixes that a manifest may have."""


def name_hash(name: str) -> int:
    """A number of 64 bits that stands for a name: the same on all machines and in all versions of Python."""
    from hashlib import blake2b  # start-up: it loads OpenSSL

    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
