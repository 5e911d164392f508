"""The clipboard: the sequences that are sent to a terminal, also through tmux and screen."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import OutputError
from cartesia_cli.output.clipboard import MAX_BYTES, copy, osc52_sequence
from tests.conftest import require_program

XTERM = {"TERM": "xterm-256color"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def copied(told: str) -> bytes:
    """What a terminal puts on its clipboard."""
    found = re.fullmatch(r"\033\]52;c;([A-Za-z0-9+/=]*)\a", told)
    assert found
    return b64decode(found[1], validate=True)


@given(st.text())
def test_any_text_gets_there_whole(text: str) -> None:
    terminal = Terminal()
    assert copy(text, terminal, XTERM)
    assert copied(terminal.getvalue()) == text.encode("utf-8", "replace")


def test_nothing_of_it_is_seen() -> None:
    screen = pyte.Screen(40, 4)
    pyte.Stream(screen).feed("before " + osc52_sequence(b"some words\n" * 50, XTERM) + "after")
    assert [row.rstrip() for row in screen.display] == ["before after", "", "", ""]


def test_too_long_text_is_reported_and_not_copied() -> None:
    terminal = Terminal()
    assert copy("ä" * (MAX_BYTES // 2), terminal, XTERM)
    assert len(terminal.getvalue()) <= 100_000
    terminal = Terminal()
    with pytest.raises(OutputError, match="too long"):
        copy("ä" * (MAX_BYTES // 2) + "a", terminal, XTERM)
    assert not terminal.getvalue()


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {}])
def test_a_terminal_that_knows_no_sequences_gets_none(environ: dict[str, str]) -> None:
    terminal = Terminal()
    assert not copy("words", terminal, environ)
    assert not terminal.getvalue()


def test_nothing_is_copied_without_a_terminal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        assert not copy("words", file, XTERM)
    assert not (tmp_path / "log").read_bytes()


def test_terminal_closed_while_copying_is_reported() -> None:
    class Going(Terminal):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OutputError, match="can't be reached: Input/output error"):
        copy("words", Going(), XTERM)


@given(st.binary(max_size=3000))
def test_screen_gets_pieces_that_each_of_its_versions_takes(data: bytes) -> None:
    told = osc52_sequence(data, XTERM | {"STY": "1234.pts-0.host"})
    pieces = re.findall(r"\033P([^\033]*|\033[^\033\\]*)\033\\", told)
    assert "".join(f"\033P{piece}\033\\" for piece in pieces) == told
    assert all(len(piece) + 4 <= 256 for piece in pieces)
    assert copied("".join(pieces)) == data


def test_unresponsive_tmux_gets_a_passthrough_sequence(tmp_path: Path) -> None:
    for path in (os.environ["PATH"], str(tmp_path)):
        terminal = Terminal()
        assert copy("words", terminal, XTERM | {"TMUX": f"{tmp_path}/none,1,0", "PATH": path})
        assert terminal.getvalue() == "\033Ptmux;\033\033]52;c;d29yZHM=\a\033\\"


COPY = """
import os, sys
from cartesia_cli.output.clipboard import copy, osc52_sequence
text = "grüße\\0" * 500
if sys.argv[1] == "copy":
    copied = copy(text, sys.stderr)
else:
    sys.stderr.write(osc52_sequence(text.encode(), os.environ))
    copied = True
print("copied", copied, flush=True)
input()
"""


@pytest.mark.shell
@pytest.mark.parametrize(
    ("way", "settings"),
    [("copy", ""), ("copy", "set -s set-clipboard on"), ("sequence", "set -g allow-passthrough on")],
)
def test_tmux_has_the_terminal_around_it_copy(tmp_path: Path, way: str, settings: str) -> None:
    """The first as tmux comes: it obeys no program's sequence then."""
    (tmp_path / "conf").write_text(settings)
    (tmp_path / "program.py").write_text(COPY)
    environ: Any = os.environ | {"TERM": "xterm-256color", "TMUX_TMPDIR": str(tmp_path), "LC_ALL": "C.UTF-8"}
    environ |= {"PYTHONPATH": str(Path(__file__).parents[1])}
    environ.pop("TMUX", None)
    command = shlex.join([sys.executable, str(tmp_path / "program.py"), way])
    arguments = ["-f", str(tmp_path / "conf"), "new-session", command]
    child = pexpect.spawn(require_program("tmux"), arguments, env=environ, timeout=60)
    try:
        child.expect(rb"\033\]52;c?;([A-Za-z0-9+/=]+)(\a|\033\\)")
        assert b64decode(child.match[1]).decode() == "grüße\0" * 500
        if b"copied True" not in child.before:  # tmux may draw the line before it passes the sequence on
            child.expect_exact("copied True")
        child.send("\r")
        child.expect(pexpect.EOF)
    finally:
        pexpect.run(shlex.join([require_program("tmux"), "kill-server"]), env=environ)
        child.close(force=True)
