"""Many recordings: manifests, recordings and results in buckets, runs that can be resumed, and several machines.

Must never read options or print: `commands/` connects these modules with the rest of the program.
"""

MANIFEST_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv"})
"""Suffixes that a manifest may have."""
