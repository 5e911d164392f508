"""Start-up: saved help pages are what Typer renders, and nothing is imported that a command line doesn't need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.text import Text
from typer.main import get_command

import cartesia_cli
from cartesia_cli import cli
from cartesia_cli.commands import COMMANDS
from cartesia_cli.errors import Exit

from .fault_server import FaultServer, environment, write_wav

PROGRAM = Path(sys.executable).with_name("cartesia-cli")
PROGRAM_COMMAND: Any = get_command(cli.build())
PAGES = [[], *([command] for command in COMMANDS)]
HEAVY = frozenset(
    "anyio asyncio av httpcore httpx numpy pydantic rich sounddevice soundfile soxr starlette trio websockets".split()
)
"""Packages that take long to import."""

REALTIME = frozenset(
    f"cartesia_cli.{name}" for name in "protocol.events protocol.realtime session stats tracker client.realtime".split()
)
RARE = frozenset(
    "cartesia_cli.subtitles cartesia_cli.transcript_import cartesia_cli.server cartesia_cli.audio.session_recording "
    "cartesia_cli.commands.batch.matches cartesia_cli.commands.batch.dry_run cartesia_cli.output.live_view "
    "cartesia_cli.output.table cartesia_cli.output.paragraphs cartesia_cli.scale.journal cartesia_cli.scale.shards "
    "cartesia_cli.scale.manifests csv "
    "cartesia_cli.audio.soundtrack cartesia_cli.client.download cartesia_cli.audio.probing.mpeg cartesia_cli.cache "
    "cartesia_cli.commands.batch.resume cartesia_cli.protocol.languages "
    "certifi email hashlib platformdirs random shlex sqlite3 statistics tempfile "
    "urllib.request wcwidth".split()
)
"""What few transcriptions need: subtitles, tables, paragraphs, --grep, --dry-run, manifests, folders, films, URLs,
languages; and what those with --no-cache over plain http do without."""

ENVIRONMENT = {"PATH": os.defpath, "TERM": "xterm-256color", "PYTHONUTF8": "1"}
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
"""Variables of `make coverage`, which imports more than the program does."""


def piped(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [PROGRAM, *arguments],
        env=ENVIRONMENT | MEASURED | environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def on_terminal(*arguments: str, columns: int, **environment: str) -> str:
    """What the program prints on a terminal of so many columns."""
    child = pexpect.spawn(
        str(PROGRAM),
        list(arguments),
        env={**ENVIRONMENT, **MEASURED, **environment},
        dimensions=(40, columns),
        encoding="utf-8",
    )
    printed = str(child.read())
    child.wait()
    assert child.exitstatus == 0
    return printed


def imported_by(*command_lines: list[str], **environment: str) -> set[str]:
    """Every module that is loaded when the program has run these command lines, in one process."""
    script = (
        "import os, sys\nfrom cartesia_cli.__main__ import main\nos._exit = lambda code: None\n"
        f"for line in {command_lines!r}:\n    sys.argv[1:] = line\n    assert main() == 0\n"
        "print('\\nMODULES', *sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT | environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("command", [[], ["transcribe"], ["config"]], ids=str)
def test_saved_help_equals_live_help_in_a_pipe(command: list[str]) -> None:
    """With COLUMNS set, help is rendered by Typer; 80 is what it assumes without."""
    saved = piped(*command, "--help")
    assert saved.startswith("Usage: cartesia-cli")
    assert saved == piped(*command, "-h") == piped(*command, "--help", COLUMNS="80")


@pytest.mark.parametrize("command", [[], ["transcribe"]], ids=str)
def test_saved_help_equals_live_help_on_a_terminal(command: list[str]) -> None:
    saved = on_terminal(*command, "--help", columns=80)
    assert "\x1b[" in saved
    assert saved == on_terminal(*command, "--help", columns=80, COLUMNS="80")
    assert saved == on_terminal(*command, "--help", columns=200)


def test_rich_takes_nothing_in_help_for_markup() -> None:
    """It would show nothing of a word in brackets."""
    texts = 0
    for command in (PROGRAM_COMMAND, *PROGRAM_COMMAND.commands.values()):
        for parameter in (command, *command.params):
            for text in (parameter.help, getattr(parameter, "epilog", None)):
                assert Text.from_markup(text or "").plain == (text or ""), text
                texts += bool(text)
    assert texts > 300


def test_help_fits_a_narrow_terminal_and_COLUMNS() -> None:
    for shown in (on_terminal("cache", "--help", columns=60), piped("cache", "--help", COLUMNS="60")):
        plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
        assert "Usage: cartesia-cli cache" in plain
        assert max(map(len, plain.splitlines())) <= 60


def test_help_keeps_names_and_choices_in_one_piece_in_60_and_80_columns() -> None:
    shown = [on_terminal(command, "--help", columns=60) for command in ("listen", "eval", "transcribe")]
    shown += [page.read_text("utf-8") for page in (Path(cartesia_cli.__file__).parent / "help").iterdir()]
    assert len(shown) > 30
    for text in shown:
        plain = re.sub(r"\x1b\[[\d;]*m", "", text)
        assert not re.search(r"--?[a-z][a-z-]*…|<[a-z]+\|[^>]*\n|[a-z]-[ │]*\n", plain)


def test_help_honours_NO_COLOR_and_FORCE_COLOR() -> None:
    yellow = "\x1b[1;33m"
    assert yellow in on_terminal("cache", "--help", columns=80)
    assert yellow not in on_terminal("cache", "--help", columns=80, NO_COLOR="1")
    assert yellow in piped("cache", "--help", FORCE_COLOR="1")
    assert "\x1b" not in piped("cache", "--help")
    assert "\x1b" not in piped("cache", "--help", FORCE_COLOR="1", NO_COLOR="1")


def test_help_is_rendered_live_if_no_page_is_saved(tmp_path: Path) -> None:
    """A page that can't be read, an option before --help, and an encoding that lacks characters."""
    assert piped("--config", str(tmp_path / "none.toml"), "cache", "--help") == piped("cache", "--help")
    assert "╭" not in on_terminal("cache", "--help", columns=80, PYTHONUTF8="0", PYTHONIOENCODING="ascii")


def test_version_completion_and_help_import_no_typer() -> None:
    lines = [["--version"], ["__complete", "zsh", "tr"], *([*page, "--help"] for page in PAGES)]
    assert {name for name in imported_by(*lines) if name.partition(".")[0] in {"typer", *HEAVY}} == set()


def test_live_help_imports_nothing_heavy() -> None:
    modules = imported_by(*([*page, "--help"] for page in PAGES), COLUMNS="100")
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY)


def test_transcription_to_stdout_imports_nothing_of_live_sessions_or_other_formats(tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "talk.wav")
    with FaultServer("fine") as server:
        modules = imported_by(["transcribe", str(recording), "--no-cache"], **environment(tmp_path, server.base_url))
    assert len(server.requests) == 1
    assert "httpcore" in modules
    assert modules & (REALTIME | RARE | HEAVY - {"httpcore"}) == set()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["cache", "--help"]], ids=str)
def test_version_and_help_report_a_full_disk(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAM, *arguments], env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == Exit.FAILED
    assert done.stderr.startswith("error: stdout can't be written: No space left on device\nhint: ")


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "80"}], ids=["saved", "live"])
def test_help_into_a_closed_pipe_ends_quietly(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [PROGRAM, "transcribe", "--help"]
    done = subprocess.run(command, env=ENVIRONMENT | environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.DONE, b"")
