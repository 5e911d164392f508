"""README.md and docs/: commands run or parse, examples print what they show, links resolve, names of code exist.

Pages contain no markup for the tests; the language of a code block decides what is done with it:

    sh         commands; the lines that can run offline, without a microphone, are run
    console    commands behind `$`, and what they print: compared line by line, where `…` stands for anything
    toml       the configuration file of the commands that follow it on the page
    python     a client, run against the server that the page has started

Commands find talk.wav, talk.mp3 and talk.mp4 (the bundled sample), talk.json and talk.srt (its transcript), and two
short recordings in lectures/. Each section starts with a fresh folder of these files.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.main import get_command

from cartesia_cli import cli
from cartesia_cli.errors import Exit
from cartesia_cli.output import FORMATS
from cartesia_cli.protocol.constants import API_VERSION, ENCODINGS, batch_credits, realtime_credits
from cartesia_cli.retry import DEFAULT_RETRIES
from cartesia_cli.server.script import parse_script
from cartesia_cli.subtitles.profiles import PROFILES

from . import faults
from .conftest import require_program
from .fork_server import default_signals, run_program

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "cartesia_cli" / "SKILL.md"]
PROGRAM = get_command(cli.build())

NOT_RUN = {
    r"\bmake\b": "a clone to set up",
    r"\bparallel\b": "GNU parallel, and other machines",
    r"\bpipx?\b|\bsudo\b|\bsource\b|\bfpath=|\bcp completions\b|\bgit\b": "a machine that may be changed",
    r"\bcartesia-cli (listen|devices)\b|\barecord\b": "a microphone",
    r"\bcartesia-cli (login|logout|doctor)\b": "a key",
    r"\bcartesia-cli edit\b": "a browser, and somebody who corrects",
    r"\bmkfifo\b|> control\b": "a named pipe with a reader",
    r"\bdask (scheduler|worker|ssh)\b|--dask\b": "a cluster",
    r"(?<!--dry-run )--cloud|-l de|_API_KEY=|https?://(?!127\.)|--local-model [a-z]|--host 0": "the network",
    r"\b(?:s3|gs|az)://": "a bucket",
}
"""Pattern of a command that isn't run, and what running it would need. It must still parse."""


SAMPLE_TEXT = (
    "This is a sample recording of Cartesia: it was spoken by one computer and written down by another. Every word has "
    "its own time. Nothing you say leaves this machine, unless you give it a key."
)
"""What talk.txt says of the sample, with an error for docs/eval.md."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    section: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, text.count("\n## ", 0, match.start()), match[1], match[2])
        for match in found
    ]


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """The shell commands of a block, each with the lines that it should print."""
    if block.language == "sh":
        joined = re.sub(r"\\\n\s*", "", block.text)
        if "<<" in joined:  # a here-document is not a command
            return [(joined, [])]
        return [(line, []) for line in joined.splitlines() if line and not line.startswith("#")]
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def invocations(command: str) -> Iterator[list[str]]:
    """The arguments of each cartesia-cli in a shell command."""
    command = re.sub(r"<<'EOF'\n.*?^EOF$", "", command, flags=re.DOTALL | re.MULTILINE)
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split, lexer.commenters = True, "#"
    arguments: list[str] | None = None
    for token in [*lexer, ";"]:
        if token == "cartesia-cli" or token.endswith("/cartesia-cli"):
            arguments = []
        elif arguments is not None and set(token) <= set("|&;<>()"):
            yield arguments
            arguments = None
        elif arguments is not None:
            arguments.append(token)


SHELL = [(block, *found) for page in PAGES for block in blocks(page) if block.language in ("sh", "console")
         for found in commands(block)]  # fmt: skip


def reason_not_to_run(command: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command)), None)


# Commands --------------------------------------------------------------------------------------------------


def test_every_option_in_the_documentation_exists() -> None:
    shell = [(str(block), command) for block, command, shown in SHELL if not any("No such" in line for line in shown)]
    assert check_options(shell) > 80


def test_examples_in_help_name_options_that_exist() -> None:
    examples = [(f"{name} --help", line) for name, command in PROGRAM.commands.items()
                for line in (command.epilog or "").splitlines() if line]  # fmt: skip
    assert check_options(examples) > 30


def check_options(found: Iterable[tuple[str, str]]) -> int:
    """Check that every option in shell commands exists. Returns how many commands of cartesia-cli there are."""
    checked = 0
    for location, command in found:
        for arguments in invocations(command):
            rest, parser = [*arguments], PROGRAM
            while rest and rest[0].startswith("-"):  # options before the command
                takes_value = rest.pop(0) in ("--config", "--profile")
                rest = rest[1:] if takes_value else rest
            if rest:
                assert rest[0] in PROGRAM.commands, f"{location}: {command}"
                parser = PROGRAM.commands[rest[0]]
            known = {name for option in parser.params for name in (*option.opts, *option.secondary_opts)}
            known |= {"--help", "-h"}
            for argument in rest[1:]:
                if re.fullmatch(r"-[a-z]|--[a-z][a-z-]*(=.*)?", argument, re.IGNORECASE):
                    assert argument.partition("=")[0] in known, f"{location}: {argument} in {command}"
            checked += 1
    return checked


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages mention, and with an empty home directory."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "home").mkdir()
    files = folder / "files"
    (files / "lectures").mkdir(parents=True)
    sample = ROOT / "cartesia_cli" / "sample.wav"
    samples, rate = soundfile.read(sample, dtype="int16")
    shutil.copy(sample, files / "talk.wav")
    (files / "talk.txt").write_text(f"{SAMPLE_TEXT}\n")
    soundfile.write(files / "talk.mp3", samples, rate)
    shutil.copy(files / "talk.mp3", files / "talk.mp4")
    shutil.copy(files / "talk.mp3", files / "lectures" / "monday.mp3")
    shutil.copy(sample, files / "lectures" / "tuesday.wav")
    silence = np.zeros(5 * rate, np.int16)
    call = np.stack([np.concatenate([samples, silence, 0 * samples]), np.concatenate([0 * samples, silence, samples])])
    (files / "calls").mkdir()
    for file in (files / "call.wav", files / "calls" / "one.wav"):
        soundfile.write(file, call.T, rate)
    pictures = ["-f", "lavfi", "-i", "testsrc=duration=10:size=320x240:rate=10", "-c:v", "mpeg4", "-b:v", "2M"]
    command = ["-v", "error", "-nostdin", "-i", sample, *pictures, "-c:a", "aac", files / "film.mkv"]
    subprocess.run([require_program("ffmpeg"), *command], check=True)
    return folder


@pytest.fixture(scope="module")
def engine(library: Path) -> Iterator[str]:
    """The base URL of the server that docs/serve.md starts. All pages use it, so that engines are loaded once."""
    home, files = library / "home", library / "files"
    [*_, shown] = next(found for found in SHELL if found[1] == "cartesia-cli serve")
    with serving("cartesia-cli serve", library, home, shown) as base_url:
        for command in ("transcribe talk.wav -q -o talk.json", "render talk.json -q -o talk.srt"):
            done = shell(f"cartesia-cli {command}", files, home, CARTESIA_BASE_URL=base_url)
            assert done.returncode == 0, done.stdout
        yield base_url


def shell(command: str, folder: Path, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in bash; those that need none of what a shell does are forked (see fork_server.py), and so are not
    the commands whose output depends on the installed models (see environment_in).
    """
    if re.fullmatch(r"cartesia-cli (?!.*(--local|\bmodels\b|\bstatus\b))[^|&;<>$*?~`()]+", command):
        return run_program(
            shlex.split(command, comments=True)[1:], cwd=folder, env=environment_in(home) | variables,
            stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=environment_in(home) | variables,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip


def environment_in(home: Path) -> dict[str, str]:
    """Environment variables with this home directory and the installed program first, as it is without the extra
    [multilingual], and engines on one core.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARTESIA_", "XDG_"))}
    programs = home / "programs"
    programs.mkdir(exist_ok=True)
    draft = programs / f"draft-{threading.get_ident()}"
    draft.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.tiny_model "$@"\n')
    draft.chmod(0o755)
    draft.replace(programs / "cartesia-cli")
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    terminal = {"COLUMNS": "100", "TERM": "dumb"}
    # One job, because with several, messages come in any order.
    return {
        **kept,
        **terminal,
        "HOME": str(home),
        "PATH": path,
        "OMP_NUM_THREADS": "1",
        "CARTESIA_TRANSCRIBE_JOBS": "1",
    }


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether the output is what a page shows. `…` stands for anything, also for lines; runs of blanks may differ."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else re.escape(collapse_blanks(line)).replace("…", ".*") + r"\n"
        for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{collapse_blanks(line)}\n" for line in printed)) is not None


def collapse_blanks(line: str) -> str:
    return re.sub(" {2,}", "  ", line).rstrip()


@contextmanager
def serving(command: str, folder: Path, home: Path, shown: list[str]) -> Iterator[str]:
    """Run a server command of a page on a free port, compare what it prints, and end it with SIGINT. Yields the base
    URL.
    """
    (folder / "serve.log").unlink(missing_ok=True)
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command.partition('#')[0]} --port 0"], cwd=folder, env=environment_in(home),
            stdout=log, stderr=subprocess.STDOUT, preexec_fn=default_signals,
        )  # fmt: skip
    try:
        for _ in range(600):
            printed = (folder / "serve.log").read_text()
            if "Ctrl-C stops it" in printed or process.poll() is not None:
                break
            time.sleep(0.1)
        assert "Ctrl-C stops it" in printed, printed
        base_url = re.findall(r"http://127\.0\.0\.1:\d+", printed)[0]
        assert not shown or matches(shown, printed.replace(base_url, "http://127.0.0.1:8000").splitlines()), printed
        yield base_url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run_and_print_what_the_page_shows(page: Path, library: Path, engine: str, tmp_path: Path) -> None:
    home, port = library / "home", engine.rpartition(":")[2]
    configuration = home / ".config" / "cartesia-cli" / "config.toml"
    with ExitStack() as page_ends:
        page_ends.callback(configuration.unlink, missing_ok=True)
        for block in blocks(page):
            folder = tmp_path / str(block.section)
            if block.language == "toml":
                configuration.parent.mkdir(parents=True, exist_ok=True)
                configuration.write_text(block.text)
            elif block.language == "python":
                run_python(block, library / "files", port)
            elif block.language in ("sh", "console"):
                shutil.copytree(library / "files", folder, dirs_exist_ok=True)
                for command, shown in commands(block):
                    if command == "make run":  # the same without installing anything
                        command = "cartesia-cli transcribe --sample --word-timestamps"
                    elif reason_not_to_run(command) or command == "cartesia-cli serve":
                        continue
                    if command.startswith("cartesia-cli serve "):
                        with serving(command, folder, home, shown):
                            continue
                    for program in re.findall(r"\b(jq|ffmpeg|curl)\b", command):
                        require_program(program)
                    # What the page doesn't show needn't take real time.
                    variables = {} if block.language == "console" else {"CARTESIA_STREAM_FILE_SPEED": "4"}
                    if not re.search("config show|--dry-run|--local", command):
                        variables["CARTESIA_BASE_URL"] = engine
                        shown = [line for line in shown if not line.startswith("no CARTESIA_API_KEY: ")]
                    done = shell(command.replace(":8000", f":{port}"), folder, home, **variables)
                    check_output(block, command, shown, done, home)


def check_output(
    block: Block, command: str, shown: list[str], done: subprocess.CompletedProcess[str], home: Path
) -> None:
    printed = done.stdout.replace(str(home), "/home/me").splitlines()
    if not any(" transcribed, " in line for line in shown):  # whether it is cached depends on the order of tests
        printed = [line for line in printed if "from cache, 0 credits" not in line]
    explained = any(re.search(r'^error:|^{"error"|violations', line) for line in shown)
    assert (done.returncode == 0) != explained, f"{block}: {command}\nexit code {done.returncode}\n{done.stdout}"
    if block.language == "console":
        assert matches(shown, printed), f"{block}: {command}\n{done.stdout}"


def run_python(block: Block, folder: Path, port: str) -> None:
    """Run a client of the official SDK; where that isn't installed, only compile it."""
    text = block.text.replace(":8000", f":{port}")
    compile(text, str(block), "exec")
    judges = ROOT / ".venv-judges" / "bin" / "python"
    if judges.exists():
        done = subprocess.run(
            [judges, "-c", text], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "sample recording" in done.stdout


# Pages -----------------------------------------------------------------------------------------------------


def test_readme_has_at_most_250_lines() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 250


def anchors(page: Path) -> set[str]:
    """The anchors of all headings, as GitHub generates them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_within_the_documentation_resolve() -> None:
    linked = set()
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if re.match(r"https?://", target):
                continue
            name, _, anchor = target.partition("#")
            target_page = (page.parent / name).resolve() if name else page
            assert target_page.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(target_page), f"{page.name}: {target}"
            if page.name == "README.md":
                linked.add(target_page)
    assert {*PAGES[1:]} <= linked, "pages that the README doesn't link to"


def test_names_in_the_architecture_page_exist_in_the_code() -> None:
    """`session/loop.py` is a file of the package, and `session/loop.py:Session.run` something in it."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    found = re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", text)
    assert len(found) > 40
    for file, name in found:
        path = next((path for path in (ROOT / "cartesia_cli" / file, ROOT / file) if path.exists()), None)
        assert path is not None, file
        if name:
            assert name in defined(path), f"{file}:{name}"


def defined(path: Path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            names.add(getattr(target, "id", ""))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
            names |= {f"{node.name}.{member.name}" for member in node.body
                      if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)}  # fmt: skip
    return names


# Facts -----------------------------------------------------------------------------------------------------


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    text = (ROOT / page).read_text("utf-8")
    table = re.search(rf"^#+ {re.escape(heading)}$(?:.|\n)*?((?:^\|.*\n)+)", text, re.MULTILINE)
    assert table, f"{page}: no table below {heading}"
    lines = table[1].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


OPTION_TABLES = {
    "transcribe": ("docs/transcribe.md", "Options"),
    "stream-file": ("docs/live.md", "Options of live sessions"),
    "listen": ("docs/live.md", "Options of live sessions"),
    "serve": ("docs/serve.md", "Options"),
    "eval": ("docs/eval.md", "What is compared"),
    "check": ("docs/subtitles.md", "Checking subtitles"),
    "vad": ("docs/live.md", "How speech is detected"),
}
"""Command to the page and heading of its table of options. Formats and subtitles have separate pages."""


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_every_option_is_explained_on_some_page(command: str) -> None:
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    for option in PROGRAM.commands[command].params:
        long = [name for name in option.opts if name.startswith("--")]
        if long and not getattr(option, "hidden", False):
            assert re.search(rf"`[^`\n]*{long[0]}(?![\w-])", pages), f"{command} {long[0]}"


def test_tables_of_options_name_only_options_that_exist() -> None:
    for command, (page, heading) in OPTION_TABLES.items():
        if command == "listen":
            continue
        known = {name for option in PROGRAM.commands[command].params for name in (*option.opts, *option.secondary_opts)}
        known |= (
            {name for option in PROGRAM.commands["listen"].params for name in option.opts} if "live" in page else set()
        )
        for cells in rows(page, heading):
            for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cells[0]):
                assert name in known, f"{page}: {name}"


def test_documented_formats_encodings_and_defaults_are_those_of_the_program() -> None:
    named = {name for cells in rows("docs/formats.md", "Formats") for name in re.findall(r"`(\w+)`", cells[0])}
    assert named == set(FORMATS)
    transcribe = (ROOT / "docs" / "transcribe.md").read_text("utf-8")
    for encoding in ENCODINGS:
        assert f"`{encoding}`" in transcribe
    help = {option.name: option.help for option in PROGRAM.commands["transcribe"].params if option.name != "inputs"}
    assert set(re.findall(r"pcm_\w+", help["encoding"])) == set(ENCODINGS)
    assert f"{API_VERSION} by default" in help["api_version"]
    assert f"{DEFAULT_RETRIES} by default" in help["retries"]
    for suffix in ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm"):
        assert re.search(rf"\b{suffix}\b", transcribe)


def test_documented_profiles_are_those_of_the_program() -> None:
    shown = {cells[0].split("`")[1]: cells[1] for cells in rows("docs/subtitles.md", "Profiles")}
    assert set(shown) == set(PROFILES)
    for name, profile in PROFILES.items():
        if name != "none":
            assert f"{profile.max_line_width} × {profile.max_line_count}" in shown[name]


def test_documented_fault_table_is_the_tested_one() -> None:
    """`make faults` prints the table."""
    assert faults.table() in (ROOT / "docs" / "errors.md").read_text("utf-8")


def test_documented_events_of_notices_are_those_of_the_program() -> None:
    shown = {name for cells in rows("docs/live.md", "Notices") for name in re.findall(r"`([\w.]+)`", cells[0])}
    source = "".join(path.read_text("utf-8") for path in (ROOT / "cartesia_cli").rglob("*.py"))
    written = re.findall(r'\bNotice\([\w.]+, "([\w.]+)"|\bnotify\("([\w.]+)"', source)
    assert {name or other for name, other in written} == shown


def test_documented_prices_are_those_of_the_program() -> None:
    assert (realtime_credits("ink-2", 1), realtime_credits("ink-whisper", 1), batch_credits(2)) == (3, 1, 1)
    readme, live = ((ROOT / page).read_text("utf-8").replace("\n", " ") for page in ("README.md", "docs/live.md"))
    assert "1 credit for every 2 seconds of audio" in readme
    assert "3 credits a second with ink-2 and 1 with ink-whisper, silence included" in readme
    assert "silence and audio that is sent again included: 3 credits with ink-2, 1 with ink-whisper" in live


def test_documented_exit_codes_are_those_of_the_program() -> None:
    shown = {int(code) for cells in rows("docs/errors.md", "Exit codes") for code in cells[0].split(", ")}
    assert shown == {int(code) for code in Exit}


def test_documented_script_can_be_parsed() -> None:
    text = (ROOT / "docs" / "serve.md").read_text("utf-8")
    script = re.search(r"<<'EOF'\n(.*?)^EOF$", text, re.DOTALL | re.MULTILINE)
    assert script
    assert parse_script(script[1])


def test_documented_json_has_every_member_that_is_written(library: Path, engine: str) -> None:
    assert engine  # this fixture has written talk.json
    document: dict[str, Any] = json.loads((library / "files" / "talk.json").read_text())
    table = rows("docs/formats.md", "The JSON document")
    assert set(document) <= {name for cells in table for name in re.findall(r"`(\w+)`", cells[0])}


def test_installation_size_is_about_what_the_readme_says() -> None:
    size = sum(path.stat().st_size for name in closure("cartesia-cli", "local") for path in installed_files(name))
    stated = re.search(r"about (\d+) MB", (ROOT / "README.md").read_text("utf-8"))
    assert stated
    assert 0.6 < size / 1e6 / int(stated[1]) < 1.4, size


def closure(name: str, extra: str) -> set[str]:
    """The installed distributions that a package with this extra consists of."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    left = [(name, extra)]
    while left:
        name, extra = left.pop()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        left += [
            (requirement.name, next(iter(requirement.extras), ""))
            for requirement in map(Requirement, requirements)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        ]
    return found


def installed_files(name: str) -> Iterator[Path]:
    for file in metadata.files(name) or []:
        path = Path(str(file.locate()))
        if path.is_file():
            yield path
