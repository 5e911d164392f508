"""Lists of inputs: lines, NUL-separated names, odd bytes, pipes that are still being written."""

from __future__ import annotations

import io
import os
import threading

import pytest

from cartesia_cli.errors import InputError
from cartesia_cli.scale.input_lists import read_names


def names(content: bytes) -> list[str]:
    return list(read_names(io.BytesIO(content), "list.txt"))


def test_lines_without_empty_ones_and_comments() -> None:
    content = b"\xef\xbb\xbf# talks\r\na.mp3\r\n\r\n   \n b c.mp3 \nhttps://h/x#1\n./#d.mp3"
    assert names(content) == ["a.mp3", " b c.mp3 ", "https://h/x#1", "./#d.mp3"]
    assert names(b"") == names(b"\n\n") == []


def test_names_separated_by_nul_are_taken_verbatim() -> None:
    assert names(b"#a.mp3\0b\nc.mp3\0 \0\0d\r") == ["#a.mp3", "b\nc.mp3", " ", "d\r"]
    assert names(b"one\0") == ["one"]


def test_names_that_are_not_utf8_can_be_opened() -> None:
    (name,) = names(b"caf\xe9.mp3\n")
    assert os.fsencode(name) == b"caf\xe9.mp3"


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_long_list_is_split_alike_wherever_blocks_end(separator: bytes) -> None:
    wanted = [f"folder/{number:05}-é.mp3" for number in range(20_000)]
    content = separator.join(name.encode() for name in wanted) + separator
    assert names(content) == wanted


def test_names_come_before_the_pipe_ends() -> None:
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as stream:
        found = read_names(stream, "stdin")
        with open(write_end, "wb", buffering=0) as pipe:
            pipe.write(b"a.m")
            threading.Timer(0.05, pipe.write, (b"p3\nb",)).start()
            assert next(found) == "a.mp3"
            pipe.write(b".mp3\n")
            assert next(found) == "b.mp3"
        assert list(found) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", r"is a recording \(wav\), not a list"),
        ("a.mp3\n".encode("utf-16"), "UTF-16"),
        (b"a" * 200_000, "a line is too long"),
        (b"a\n" + b"a" * 200_000, "a line is too long"),
        (b"a\n" * 50_000 + b"b\0c", "line 50001: contains a NUL"),
    ],
)
def test_what_is_not_a_list_is_an_input_error(content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        names(content)
