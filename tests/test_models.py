"""`models`: what a server lists, how long that is kept, what warnings and completion make of it, and what is offline.

The server is `fault_server`, whose answers here follow the documentation (api-reference/models/list).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cartesia_cli import model_cache
from cartesia_cli.protocol.models import MODELS_AT_RELEASE, RELEASED_ON, Model
from tests.conftest import Run
from tests.fault_server import FaultServer, answers, fine, refuses, write_wav

SERVER = "http://0.0.0.0:{}"
"""Reaches this machine without being known as it, as only other servers' lists are kept."""
ROWS = [
    {"id": "ink-2", "capability": "stt", "modes": ["stream", "batch"], "languages": ["en", "fr"], "new": 1},
    {"id": "ink-9", "capability": "stt", "modes": ["stream"]},
    {"id": "ink-whisper", "capability": "stt"},
    {"id": "sonic-3", "capability": "tts"},
]
KEY = {"CARTESIA_API_KEY": "sk_car_test"}
INSECURE = ("--insecure-http",)


def listed(run: Run, server: FaultServer, *options: str, env: dict[str, str] = KEY) -> Any:
    ended = run("models", "-f", "json", "--base-url", SERVER.format(server.port), *INSECURE, *options, env=env)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_models_are_those_that_the_server_lists(run: Run) -> None:
    with FaultServer(answers({"data": ROWS})) as server:
        ended = run("models", "--base-url", server.base_url, env=KEY)
        asked = server.requests[0]
    assert (asked.method, asked.target) == ("GET", "/models?capability=stt")
    assert asked.header("Authorization") == "Bearer sk_car_test"
    assert asked.header("Cartesia-Version") == "2026-03-01"
    assert ended.stdout.decode().splitlines() == [
        "model        modes          languages",
        "ink-2        stream, batch  en fr",
        "ink-9        stream         ?",
        "ink-whisper  ?              ?",
    ]
    assert ended.stderr == b""


def test_the_list_is_kept_for_a_day(run: Run, environment: dict[str, str]) -> None:
    with FaultServer(answers(ROWS)) as server:
        first = listed(run, server)
        again = listed(run, server)
        assert len(server.requests) == 1
        assert (first["source"], again["source"]) == ("server", "cache")
        assert first["models"] == again["models"]
        assert listed(run, server, "--refresh")["source"] == "server"
        file = Path(environment["HOME"]) / ".cache/cartesia-cli/models.json"
        kept = json.loads(file.read_text())
        for entry in kept.values():
            entry["at"] -= 86_401
        file.write_text(json.dumps(kept))
        assert listed(run, server)["source"] == "server"
        assert len(server.requests) == 3
        file.write_text("{broken")
        assert listed(run, server)["source"] == "server"
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_a_server_of_this_machine_is_asked_every_time(run: Run) -> None:
    with FaultServer(answers(ROWS)) as server:
        for _ in range(2):
            assert run("models", "--base-url", server.base_url).returncode == 0
        assert len(server.requests) == 2
        assert server.requests[0].header("Authorization") is None


@pytest.mark.parametrize("answer", [refuses(404), answers({"models": "none"}), answers("<html>")])
def test_a_server_without_a_list_gives_what_was_known_at_release(run: Run, answer: Any) -> None:
    with FaultServer(answer) as server:
        ended = run("models", "-f", "json", "--base-url", server.base_url, env=KEY)
    assert ended.returncode == 0
    assert b"warning: the list of models: " in ended.stderr
    assert f": the list is that of {RELEASED_ON}\nhint: ".encode() in ended.stderr
    found = json.loads(ended.stdout)
    assert (found["source"], found["as_of"]) == ("release", RELEASED_ON)
    assert [row["id"] for row in found["models"]] == [model.id for model in MODELS_AT_RELEASE]


@pytest.mark.parametrize("fault", ["closes_after_upload", "closes_during_answer", "breaks_chunks"])
def test_a_lost_list_is_asked_for_again_and_costs_nothing(run: Run, fault: str) -> None:
    with FaultServer(fault, fault, answers(ROWS)) as server:
        for source, notices in (("server", 2), ("server", 0)):
            ended = run("models", "-f", "json", "--base-url", server.base_url, env=KEY)
            assert (json.loads(ended.stdout)["source"], ended.stderr.count(b"trying again")) == (source, notices)
            assert b"billed" not in ended.stderr
    with FaultServer(fault) as server:
        ended = run("models", "-f", "json", "--base-url", server.base_url, env=KEY)
        assert len(server.requests) == 3
    assert json.loads(ended.stdout)["source"] == "release"
    assert b"\nhint: " in ended.stderr and b"billed" not in ended.stderr


def test_without_a_key_no_server_is_asked(run: Run) -> None:
    ended = run("models", "-f", "json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["source"] == "release"
    assert "server" not in json.loads(ended.stdout)
    message = f"no key, so no server was asked: this list is that of the program's release, {RELEASED_ON}\n"
    assert ended.stderr == message.encode()


def test_a_refused_key_is_an_error(run: Run) -> None:
    with FaultServer(refuses(401)) as server:
        ended = run("models", "--base-url", server.base_url, env=KEY)
    assert ended.returncode == 4
    assert ended.stdout == b""


def test_a_listed_model_is_not_warned_about_and_an_unlisted_one_is_sent(run: Run, tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "talk.wav")
    with FaultServer(answers(ROWS), fine) as server:
        base = ("--base-url", SERVER.format(server.port), *INSECURE, "--no-cache", "-o", "-")
        before = run("transcribe", recording, "-m", "ink-2", "--base-url", "http://127.0.0.1:1", "--retries", "0")
        assert b"unknown batch model 'ink-2'" in before.stderr
        listed(run, server)
        known = run("transcribe", recording, "-m", "ink-2", *base, "-v", env=KEY)
        assert known.returncode == 0, known.stderr
        assert b"unknown batch model" not in known.stderr
        assert server.requests[-1].part("model").content == b"ink-2"
        unknown = run("transcribe", recording, "-m", "ink-3", *base, env=KEY)
        assert unknown.returncode == 0
        assert (
            b"unknown batch model 'ink-3' is sent as it is (known: ink-whisper, ink-whisper-2025-06-04, ink-2)"
            in unknown.stderr
        )
        assert server.requests[-1].part("model").content == b"ink-3"


def test_listed_models_are_completed(run: Run) -> None:
    with FaultServer(answers(ROWS)) as server:
        listed(run, server)
    offered = run("__complete", "zsh", "listen", "-m", "").stdout.decode().split()
    assert offered == ["ink-whisper", "ink-whisper-2025-06-04", "ink-2", "ink-preview", "ink-9"]
    assert run("__complete", "zsh", "transcribe", "-m", "").stdout.decode().split() == [
        "ink-whisper",
        "ink-whisper-2025-06-04",
        "ink-2",
    ]


def test_a_cache_that_cannot_be_written_or_read_fails_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "cartesia-cli").write_text("a file")
    model_cache.write("https://a.example", (Model("ink-9"),))
    assert model_cache.read("https://a.example") is None
    assert model_cache.known_models("https://a.example") == MODELS_AT_RELEASE


@pytest.mark.parametrize("content", ["7", "{}", '{"https://a.example": 7}', '{"https://a.example": {"at": "x"}}',
                                     '{"https://a.example": {"at": 1}}'])  # fmt: skip
def test_a_damaged_cache_counts_as_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "cartesia-cli").mkdir()
    model_cache.path().write_text(content)
    assert model_cache.read("https://a.example") is None
    assert model_cache.known_models(None) == MODELS_AT_RELEASE


def test_a_list_from_the_future_is_not_fresh() -> None:
    assert model_cache.ListedModels(time.time() - 1, ()).is_fresh
    assert not model_cache.ListedModels(time.time() + 100, ()).is_fresh
    assert not model_cache.ListedModels(time.time() - 86_401, ()).is_fresh
