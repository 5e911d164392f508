"""Lists of inputs: a name, folder, glob or URL on each line of a file or a pipe, or separated by NUL characters.

Lists are read piece by piece, so that work begins before a pipe ends, and a list may be of any length. Must never look
at what the names stand for.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from ..audio.probing.formats import sniff_head
from ..errors import InputError

READ_BYTES = 1 << 16

MAX_NAME_BYTES = 1 << 16
"""Longest name in a list. Whatever is longer isn't a list of names."""


def read_names(stream: BinaryIO, name: str) -> Iterator[str]:
    """The names in a list, as they come in. Raises InputError if it isn't a list, or can't be read.

    If the list contains a NUL character before or shortly after the end of its first line, it is separated by them, as
    `find -print0` does, and names are taken verbatim. Otherwise empty lines and those that begin with # are skipped,
    and lines may end as on Windows. Bytes that aren't UTF-8 become surrogates, as in all file names.

    name   of the list, for messages
    """
    blocks = _blocks(stream, name)
    start = b""
    for block in blocks:
        start += block
        if b"\n" in start or b"\0" in start:
            break
        _check_length(start, name)
    _check_encoding(start, name)
    separator = b"\0" if b"\0" in start else b"\n"
    for number, line in enumerate(_split(start.removeprefix(codecs.BOM_UTF8), blocks, separator, name), 1):
        if separator == b"\0":
            found = line
        elif b"\0" in line:
            raise InputError(f"{name}, line {number}: contains a NUL character", hint="is it a list of file names?")
        else:
            found = line.removesuffix(b"\r")
            if found.startswith(b"#") or not found.strip():
                continue
        if found:
            yield found.decode("utf-8", "surrogateescape")


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # what is there already, where the stream can tell
    try:
        while block := read(READ_BYTES):
            yield block
    except OSError as error:
        raise InputError(f"{name} can't be read: {error.strerror}", hint="check the list of inputs") from error


def _split(start: bytes, blocks: Iterator[bytes], separator: bytes, name: str) -> Iterator[bytes]:
    *names, rest = start.split(separator)
    yield from names
    for block in blocks:
        *names, rest = (rest + block).split(separator)
        yield from names
        _check_length(rest, name)
    yield rest


def _check_length(line: bytes, name: str) -> None:
    if len(line) > MAX_NAME_BYTES:
        raise InputError(f"{name} is not a list of inputs: a line is too long", hint="it must have a name on each line")


def _check_encoding(start: bytes, name: str) -> None:
    if kind := sniff_head(start):
        raise InputError(f"{name} is a recording ({kind}), not a list of inputs", hint="name it as an input itself")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is encoded in UTF-16", hint="save the list as UTF-8")
