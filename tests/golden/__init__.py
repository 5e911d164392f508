"""The golden record: the exact output, files and exit codes of many command lines.

A refactoring must leave it equal. A change of wording, of a format or of an exit code changes it, deliberately:

    python -m tests.golden --update [GROUP...]   runs the commands again and writes down what they do now (make golden)
    git diff tests/golden                        shows what that changes; it belongs into the same commit

`tests/test_golden.py` runs all commands and shows what differs. It is the one place where the wording of messages is
pinned; other tests look at exit codes, types of errors and key phrases.

A group is a text file of cases in this folder. To add a case, write its first lines and let --update do the rest:

    # a transcript as subtitles                     the case
    : serve {"at": 1.5, "text": "Hello"}            a line of a script: `serve --script` plays it on a free port
    : serve answer.ndjson                           the same, from a file in inputs/
    : faults refuses(503) fine                      or a server of tests/fault_server.py: a behaviour per connection
    : with lectures/                                inputs that no command line names
    : sort                                          sort the lines of stderr: several threads write them
    : no stderr                                     isn't recorded, because it varies (also: no stdout, no files)
    : times vary                                    times of events vary: N and TIME are recorded instead
    $ LANG=de cartesia-cli render talk.json -o x.srt
    = 0                                             the result: exit code,
    > 1                                             stdout,
    ! error: …                                      stderr,
    + x.srt                                         files that were written or changed,
    | 1                                             and their content
    $ cartesia-cli check x.srt                      the next command, in the same folder

A command line is split as a shell does, and `< FILE` is its stdin; no other shell syntax works. Each case has an
empty home directory and a folder with those files of `inputs/` (and of AUDIO below) that its lines name. With a
server, CARTESIA_BASE_URL and CARTESIA_API_KEY are set.

Placeholders replace the case's folders, ports, the version, UUIDs, times of day, measured seconds in the messages that
PLACEHOLDERS lists, and control characters. Everything else must be the same in each run.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess

import cartesia_cli
from cartesia_cli.scale import journal
from tests import fault_server
from tests.fault_server import BEHAVIOURS, KEY, Behaviour, FaultServer
from tests.fork_server import run_program, start_program

HERE = Path(__file__).parent
INPUTS = HERE / "inputs"
PACKAGE = Path(cartesia_cli.__file__).parent
SAMPLE = (PACKAGE / "sample.wav").read_bytes()


def _wav(*pieces: bytes) -> bytes:
    """A recording of these samples, with the header of the sample's."""
    data = b"".join(pieces)
    return SAMPLE[:4] + (36 + len(data)).to_bytes(4, "little") + SAMPLE[8:40] + len(data).to_bytes(4, "little") + data


def _spoken(start: float, end: float) -> bytes:
    """The samples of the sample between two times in seconds."""
    return SAMPLE[44 + 2 * round(16000 * start) : 44 + 2 * round(16000 * end)]


def _silent(seconds: float) -> bytes:
    return bytes(2 * round(16000 * seconds))


AUDIO = {
    "sample.wav": SAMPLE,
    "short.wav": _wav(_spoken(0, 1)),
    "pauses.wav": _wav(_silent(0.5), _spoken(0.04, 2.52), _silent(2), _spoken(2.7, 5.78), _silent(1.5)),
    "silence.wav": _wav(_silent(2)),
    "empty.wav": b"",
    "header.wav": SAMPLE[:40] + bytes(4),
    "torn.wav": SAMPLE[:100_000],
    "stub.wav": SAMPLE[:20],
    "text.wav": b"This is a text, and no recording.\n",
    "zeros.bin": bytes(4000),
    "raw.pcm": _spoken(0, 2),
}
"""Recordings by name: the bundled sample, pieces of it, and files that are not recordings."""

CASES_AT_ONCE = 6
"""Cases that run in parallel: most of them wait."""

TIMEOUT_SECONDS = 120.0
"""Seconds after which a run counts as hung."""

PLACEHOLDERS: tuple[tuple[str, str], ...] = (
    (r"\b(127\.0\.0\.1|localhost|0\.0\.0\.0):[1-9]\d{3,4}\b", r"\1:PORT"),
    (r"(?<![\w.])" + re.escape(cartesia_cli.__version__) + r"(?![\w.])", "VERSION"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
    (r"\b20\d\d-\d\d-\d\d(T| at | )\d\d:\d\d(:\d\d)?(Z|\+00:00)?", r"DATE\1TIME"),
    (r"\b\d+ s ago$", "N s ago"),
    (r"\d+\.\d s of audio are sent again", "N s of audio are sent again"),
    (r"trying again in \d+\.\d s", "trying again in N s"),
)


HELD_UP = re.compile(rb"^warning: held up for .*\n", re.M)
"""What `stream-file` says on a busy machine, now and then: it isn't recorded."""

TIME_PLACEHOLDERS = (
    (r'("(?:at|start|end|duration)": )\d+(\.\d+)?', r"\1N"),
    (r'"timing": "\w+"', '"timing": …'),
    (r"\b\d\d:\d\d:\d\d[.,]\d{3}\b", "TIME"),
)
"""Placeholders of cases with `times vary`."""


@dataclass(frozen=True)
class Command:
    """A command line of a record, and the recorded result."""

    line: str
    result: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """Commands that run in one folder, and settings for its inputs and its server."""

    name: str
    settings: tuple[str, ...]
    commands: tuple[Command, ...]

    def values(self, setting: str) -> list[str]:
        """The values of all lines with this setting."""
        return [line.removeprefix(setting).strip() for line in self.settings if line.split()[0] == setting]

    def __str__(self) -> str:
        lines = [f"# {self.name}", *(f": {setting}" for setting in self.settings)]
        for command in self.commands:
            lines += [f"$ {command.line}", *command.result]
        return "\n".join(lines) + "\n"


def groups() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.txt"))


def recorded(group: str) -> str:
    return (HERE / f"{group}.txt").read_text("utf-8")


def cases(text: str) -> Iterator[Case]:
    """The cases of a record."""
    for block in re.split(r"^# ", text, flags=re.M)[1:]:
        name, *lines = block.rstrip("\n").split("\n")
        settings = tuple(line[2:] for line in lines if line.startswith(": "))
        commands = tuple(Command(line[2:]) for line in lines if line.startswith("$ "))
        yield Case(name, settings, commands)


def replay(text: str, folder: Path) -> str:
    """Run all cases of a record. Returns the record with the results of now."""

    def replay_case(numbered: tuple[int, Case]) -> str:
        number, case = numbered
        return str(run(case, folder / str(number)))

    with ThreadPoolExecutor(CASES_AT_ONCE) as pool:
        return "\n".join(pool.map(replay_case, enumerate(cases(text))))


def difference(group: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"{group}.txt as recorded", "now", n=4
    )
    return "".join(lines)


def run(case: Case, folder: Path) -> Case:
    """Run a case. Returns it with the results of now."""
    work, home = folder / "work", folder / "home"
    work.mkdir(parents=True)
    home.mkdir()
    _copy_inputs(" ".join([*(command.line for command in case.commands), *case.values("with")]), work)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
        "COLUMNS": "100", "CARTESIA_TRANSCRIBE_JOBS": "1",
    }  # fmt: skip
    done = []
    with ExitStack() as stack:
        if address := stack.enter_context(_server(case, folder, environment)):
            environment |= {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": address}
        for command in case.commands:
            before = _contents(work)
            arguments, extra, name = _split(command.line)
            with open(work / name if name else os.devnull, "rb") as stdin:
                ended = run_program(arguments, env=environment | extra, cwd=work, stdin=stdin, timeout=TIMEOUT_SECONDS)
            result = _result(case, ended, before, work)
            patterns = PLACEHOLDERS + (TIME_PLACEHOLDERS if "times vary" in case.settings else ())
            done.append(Command(command.line, tuple(_with_placeholders(line, work, home, patterns) for line in result)))
    return Case(case.name, case.settings, tuple(done))


def _copy_inputs(named: str, work: Path) -> None:
    """Copy the inputs that are named into the folder."""
    words = set(re.findall(r"[\w./-]+", named))
    words |= {word.strip("/") for word in words} | {word.partition("/")[0] for word in words}
    for name, data in AUDIO.items():
        if name in words:
            (work / name).write_bytes(data)
    for path in sorted(INPUTS.iterdir()):
        if path.name in words:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, work / path.name)


def _split(line: str) -> tuple[list[str], dict[str, str], str | None]:
    """Arguments, environment and stdin of a command line."""
    words = shlex.split(line)
    program = words.index("cartesia-cli")
    environment = dict(word.split("=", 1) for word in words[:program])
    arguments, stdin = words[program + 1 :], None
    if "<" in arguments:
        at = arguments.index("<")
        stdin = arguments[at + 1]
        del arguments[at : at + 2]
    return arguments, environment, stdin


@contextmanager
def _server(case: Case, folder: Path, environment: dict[str, str]) -> Iterator[str | None]:
    """Run the server of a case, if any. Yields its base URL."""
    if faults := case.values("faults"):
        with FaultServer(*map(_behaviour, " ".join(faults).split())) as server:
            yield server.base_url
    elif script := case.values("serve"):
        lines = [line if line.startswith("{") else (INPUTS / line).read_text("utf-8") for line in script]
        (folder / "script").write_text("\n".join(lines), "utf-8")
        arguments = ["serve", "--port", "0", "--script", str(folder / "script")]
        with start_program(
            arguments, env=environment, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        ) as playing:
            assert playing.stdout is not None
            yield playing.stdout.readline().decode().strip().partition("=")[2]
            playing.terminate()
            playing.wait()
    else:
        yield None


def _behaviour(name: str) -> Behaviour:
    """The behaviour of this name, or of a call such as `refuses(503)`."""
    made = re.fullmatch(r"(\w+)\((\d+)\)", name)
    if made is None:
        return BEHAVIOURS[name]
    behaviour: Behaviour = getattr(fault_server, made[1])(int(made[2]))
    return behaviour


def _contents(work: Path) -> dict[str, bytes]:
    """The files in a folder by their names, without journals: tests of their own look at these."""
    files = (path for path in sorted(work.rglob("*")) if path.is_file() and path.parent.name != journal.FOLDER)
    return {str(path.relative_to(work)): path.read_bytes() for path in files}


def _result(case: Case, ended: CompletedProcess[bytes], before: dict[str, bytes], work: Path) -> list[str]:
    skipped = case.values("no")
    lines = [f"= {ended.returncode}"]
    if "stdout" not in skipped:
        lines += _block(">", ended.stdout)
    if "stderr" not in skipped:
        stderr_lines = _block("!", HELD_UP.sub(b"", ended.stderr))
        lines += sorted(stderr_lines) if "sort" in case.settings else stderr_lines
    after = _contents(work)
    for name in before.keys() - after.keys():
        lines.append(f"- {name}")
    for name, data in after.items():
        if before.get(name) != data and "files" not in skipped:
            lines += [f"+ {name}", *_block("|", data)]
    return lines


def _block(mark: str, data: bytes) -> list[str]:
    """Lines of an output. Binary data is replaced by its length and digest."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        return [f"{mark} ({_digest(data)})"]
    *lines, rest = text.split("\n")
    shown = [f"{mark} {_visible(line)}" if line else mark for line in lines]
    return shown + ([f"{mark} {_visible(rest)}\\"] if rest else [])


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()[:16]}"


def _visible(line: str) -> str:
    """Control characters as escapes."""
    return "".join(c if c.isprintable() or c in " \u00a0" else c.encode("unicode_escape").decode() for c in line)


def _with_placeholders(line: str, work: Path, home: Path, patterns: Sequence[tuple[str, str]]) -> str:
    for folder, name in ((work, "DIR"), (home, "HOME"), (work.parent, "CASE"), (PACKAGE, "PACKAGE")):
        line = line.replace(str(folder), name)
    for pattern, replacement in patterns:
        line = re.sub(pattern, replacement, line)
    return re.sub(r"[A-Za-z0-9+/]{200,}={0,2}", lambda long: f"({_digest(long[0].encode())})", line)


def update(names: Sequence[str], folder: Path) -> list[str]:
    """Record groups again. Returns the names of those that changed."""
    changed = []
    for group in names:
        before = recorded(group)
        after = replay(before, folder / group)
        if after != before:
            (HERE / f"{group}.txt").write_text(after, "utf-8")
            changed.append(group)
    return changed
