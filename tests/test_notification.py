"""Tests of desktop notifications: what is sent to which terminal, which programs are called, and the bell."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cartesia_cli.output.notification import notify
from tests.emulated_terminal import Terminal

TEXT = "28 of 30 transcribed; 2 failed"
OSC_777 = b"\x1b]777;notify;cartesia-cli;28 of 30 transcribed, 2 failed\x1b\\"
BELL = b"\x07"


@pytest.mark.parametrize(
    ("environ", "sent"),
    [
        ({"TERM_PROGRAM": "iTerm.app"}, b"\x1b]9;cartesia-cli: 28 of 30 transcribed; 2 failed\x07"),
        ({"TERM_PROGRAM": "ghostty", "TERM": "xterm-ghostty"}, OSC_777),
        ({"TERM_PROGRAM": "WezTerm"}, OSC_777),
        ({"TERM": "foot"}, OSC_777),
        ({"TERM": "foot-extra"}, OSC_777),
        (
            {"TERM": "xterm-kitty"},
            b"\x1b]99;i=1:d=0;cartesia-cli\x1b\\\x1b]99;i=1:p=body;28 of 30 transcribed; 2 failed\x1b\\",
        ),
        ({"TERM": "xterm-256color"}, BELL),
        ({"TERM": "xterm-256color", "WT_SESSION": "x"}, BELL),
        ({"TERM": "dumb"}, BELL),
        ({"TERM_PROGRAM": "ghostty", "TMUX": "/tmp/tmux"}, BELL),
        ({"TERM_PROGRAM": "ghostty", "TERM": "tmux-256color"}, BELL),
        ({"TERM": "screen.xterm-256color"}, BELL),
    ],
)
def test_each_terminal_gets_the_sequence_it_is_known_to_understand(environ: dict[str, str], sent: bytes) -> None:
    terminal = Terminal()
    assert notify(TEXT, terminal, environ | {"PATH": ""}) is True
    assert terminal.raw == sent
    assert terminal.rows == []


def test_text_can_not_end_the_sequence() -> None:
    terminal = Terminal()
    notify("a\x1b\\b\x07c\nd", terminal, {"TERM_PROGRAM": "ghostty"})
    assert terminal.raw == "\x1b]777;notify;cartesia-cli;a\ufffd\\b\ufffdc d\x1b\\".encode()


def desktop(folder: Path, code: int) -> dict[str, str]:
    """An environment with a desktop, and a notify-send that writes down its arguments."""
    program = folder / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/arguments\nexit {code}\n')
    program.chmod(0o755)
    return {"PATH": str(folder), "DISPLAY": ":0"}


def test_desktop_program_is_called_where_the_terminal_has_no_sequence(tmp_path: Path) -> None:
    stream = io.StringIO()
    assert notify("-28 of 30", stream, desktop(tmp_path, 0)) is True
    assert stream.getvalue() == ""
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "--app-name=cartesia-cli",
        "--",
        "cartesia-cli",
        "-28 of 30",
    ]


def test_bell_rings_where_the_desktop_program_fails(tmp_path: Path) -> None:
    terminal = Terminal()
    assert notify(TEXT, terminal, desktop(tmp_path, 1)) is True
    assert terminal.raw == BELL


def test_desktop_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    terminal = Terminal()
    assert notify(TEXT, terminal, desktop(tmp_path, 0) | {"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}) is True
    assert terminal.raw == BELL and not (tmp_path / "arguments").exists()


def test_nothing_is_written_to_a_file() -> None:
    stream = io.StringIO()
    assert notify(TEXT, stream, {"TERM_PROGRAM": "ghostty"}) is False
    assert stream.getvalue() == ""


def test_terminal_that_is_gone_is_no_failure() -> None:
    terminal = Terminal()

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    terminal.write = gone  # type: ignore[method-assign]
    assert notify(TEXT, terminal, {"TERM_PROGRAM": "ghostty"}) is False
