"""The JSON Schemas are valid, and describe all JSON that the program writes: no member is missing, none is unknown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from cartesia_cli.commands import COMMANDS
from tests import golden
from tests.fault_server import KEY, FaultServer, fine
from tests.fork_server import start_program

from .conftest import Run

FOLDER = Path(golden.PACKAGE) / "schemas"
SCHEMAS: dict[str, Any] = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.json"))}


def strict(schema: Any) -> Any:
    """The same schema, but only with members that it names."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(one) for name, one in schema.items()}
    return {"additionalProperties": False, **closed} if isinstance(schema.get("properties"), dict) else closed


STRICT = {name: Draft202012Validator(strict(schema)) for name, schema in SCHEMAS.items()}


def check(name: str, document: Any, place: str = "") -> None:
    """Fails unless the document follows the schema and has no other members."""
    errors = [f"{error.json_path}: {error.message}" for error in STRICT[name].iter_errors(document)]
    assert not errors, f"{place}: not as the schema {name!r} says: {errors[:3]}"


def schema_of(line: str) -> str | None:
    """The schema of what a command writes to stdout as JSON; None if it writes something else, or several things."""
    words = line.split()
    command = next((word for word in words if word in COMMANDS), "")
    named = re.search(r"(?:-f|--format)[ =](\S+)", line)
    form = "json" if "--json" in words else named[1] if named else ""
    if command in ("transcribe", "render", "listen", "stream-file"):
        if "--dry-run" in words:
            return "dry-run" if form == "json" else None
        return {"json": "document", "ndjson": "ndjson"}.get(form)
    return command if form == "json" and command in SCHEMAS else None


def recorded() -> Iterator[tuple[str, str, str]]:
    """Each schema, JSON that a command of the golden record writes, and the command."""
    for group in golden.groups():
        line = ""
        out: list[str] = []
        for row in [*golden.recorded(group).splitlines(), "$ "]:
            if row.startswith("$ "):
                if out and (name := schema_of(line)):
                    text = "\n".join(out)
                    yield from ((name, one, line) for one in (out if name == "ndjson" else [text]))
                line, out = row[2:], []
            elif row.startswith("> "):
                out.append(row[2:])
            elif row.startswith('! {"error"'):
                yield "error", row[2:], line


def without_placeholders(text: str) -> str:
    """JSON of the golden record with values instead of what differs from run to run."""
    return re.sub(r"(?<=: )(?:N|TIME)\b", "1", text).replace('"timing": …', '"timing": "audio"')


def test_schemas_are_valid() -> None:
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        assert re.fullmatch(rf"urn:cartesia-cli:schema:{name}:\d+", schema["$id"])
        assert schema["title"] and schema["description"].endswith(".")


def test_json_of_the_golden_record_follows_the_schemas() -> None:
    checked: Counter[str] = Counter()
    for name, text, line in recorded():
        try:
            document = json.loads(without_placeholders(text))
        except ValueError:
            continue  # what placeholders stand for can't be guessed
        check(name, document, line)
        checked[name] += 1
    few = {
        name: checked[name] for name in ("document", "ndjson", "error", "check", "config", "vad") if not checked[name]
    }
    assert not few and checked.total() > 150, checked


def test_a_member_that_no_schema_names_is_found() -> None:
    document = {"source": "a.wav", "model": "ink-whisper", "text": "", "segments": []}
    check("document", document)
    with pytest.raises(AssertionError, match="unheard"):
        check("document", document | {"unheard": 1})
    with pytest.raises(AssertionError, match="document"):
        check("document", {"source": "a.wav", "model": "ink-whisper"})


def test_schema_prints_one_schema_or_all(run: Run) -> None:
    everything = json.loads(run("schema").stdout)
    assert everything == SCHEMAS
    assert json.loads(run("schema", "document").stdout) == SCHEMAS["document"]
    refused = run("schema", "nothing")
    assert refused.returncode == 2 and b"schemas: " in refused.stderr


def test_help_json_describes_every_command_and_option(run: Run) -> None:
    described = json.loads(run("--help-json").stdout)
    check("help", described)
    commands = {command["name"]: command for command in described["commands"]}
    assert tuple(commands) == COMMANDS
    for name in COMMANDS:
        page = (golden.PACKAGE / "help" / f"{name}.txt").read_text("utf-8")
        shown = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", page, re.MULTILINE))
        assert shown == {option["names"][0] for option in commands[name]["options"]}, name
    jobs = next(option for option in commands["transcribe"]["options"] if option["names"][0] == "--jobs")
    assert jobs["type"] == "integer" and jobs["minimum"] == 1 and jobs["variable"] == "CARTESIA_TRANSCRIBE_JOBS"


def test_journal_status_and_other_reports_follow_the_schemas(run: Run, tmp_path: Path) -> None:
    for name in ("short.wav", "text.wav"):
        (tmp_path / name).write_bytes(golden.AUDIO[name])
    with FaultServer(fine) as server:
        address = {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": server.base_url}
        done = run("transcribe", "short.wav", "text.wav", "--json", "--output-dir", "out", env=address)
    assert done.returncode == 1
    (journal,) = (tmp_path / "out" / ".cartesia-cli").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    for line in lines:
        check("journal", line)
    assert {line.get("state", line.get("event")) for line in lines} >= {"started", "done", "failed", "finished"}
    check("document", json.loads((tmp_path / "out" / "short.json").read_bytes()))
    for name, arguments in {
        "status": ("status", "out", "-f", "json"),
        "cache": ("cache", "-f", "json"),
        "devices": ("devices", "-f", "json"),
        "models": ("models", "-f", "json"),
        "recordings": ("listen", "--recover", "--list", "-f", "json"),
        "config": ("config", "show", "-f", "json"),
    }.items():
        check(name, json.loads(run(*arguments).stdout), name)


def test_statistics_of_a_session_follow_the_schema(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(golden.AUDIO["short.wav"])
    (tmp_path / "script").write_text('{"at": 0.5, "text": "Hello."}\n')
    arguments = ["serve", "--port", "0", "--script", "script"]
    with start_program(arguments, env=environment, cwd=tmp_path, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL) as server:
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip().partition("=")[2]
        ended = run("stream-file", "short.wav", "-f", "ndjson", "--stats", "--stats-svg", "session.svg",
                    "--speed", "20", "--base-url", address)  # fmt: skip
        server.terminate()
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    for line in lines:
        check("ndjson", line)
    assert lines[-1]["type"] == "end" and lines[-1]["stats"]["pacing"]
    assert sum(lines[-1]["stats"]["timeline"]["sent"]) == pytest.approx(1.0, abs=0.01)
    assert b"time line" in ended.stderr
    assert ElementTree.parse(tmp_path / "session.svg").getroot().tag.endswith("svg")
