"""Plain http to other machines: only when allowed by name, said once, and without the key unless that is asked for.

0.0.0.0 leads to this machine, but isn't an address of it, so that it stands for another one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fault_server import TEXT, FaultServer, fine, refuses, write_wav
from tests.realtime_server import MANUAL_TEXT, RealtimeServer, manual

KEY = {"CARTESIA_API_KEY": "sk_car_test"}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav", 32044)


def other(server: FaultServer | RealtimeServer) -> str:
    return f"http://0.0.0.0:{server.port}"


@pytest.mark.parametrize("command", ["transcribe", "stream-file"])
def test_plain_http_to_another_machine_is_refused_before_connecting(run: Run, recording: Path, command: str) -> None:
    with FaultServer(fine) as server:
        ended = run(command, recording, "--base-url", other(server), env=KEY)
        assert server.requests == []
    assert ended.returncode == 2
    assert ended.stderr.decode().splitlines() == [
        f"error: base URL '{other(server)}' would send everything unencrypted",
        "hint: use https; for a server that speaks plain http only, add --insecure-http: it sends no key",
    ]


@pytest.mark.parametrize(
    ("options", "sent", "said"),
    [
        (("--insecure-http",), None, "no key is sent"),
        (("--insecure-http-key",), "Bearer sk_car_test", "with the key"),
        (("--insecure-http", "--insecure-http-key"), "Bearer sk_car_test", "with the key"),
    ],
)
def test_plain_http_is_used_when_allowed_and_the_key_only_if_that_is_asked_for(
    run: Run, recording: Path, tmp_path: Path, options: tuple[str, ...], sent: str | None, said: str
) -> None:
    second = write_wav(tmp_path / "second.wav")
    with FaultServer(fine) as server:
        ended = run("transcribe", recording, second, "--base-url", other(server), "--no-cache", *options, "-o", "-",
                    "-f", "text", "--jobs", "1", env=KEY)  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert {request.header("Authorization") for request in server.requests} == {sent}
    warning = f"warning: 0.0.0.0:{server.port} is reached over plain http, unencrypted: {said}"
    assert ended.stderr.decode().count(warning) == 1
    assert ended.stderr.decode().count("plain http") == 1
    assert TEXT in ended.stdout.decode()
    with RealtimeServer(manual()) as live:
        ended = run("stream-file", recording, "--mode", "manual", "--base-url", other(live), *options, env=KEY)
        assert live.records[0].header("Authorization") == sent or live.records[0].header("Authorization") is None
    if sent is not None:
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.decode().split() == MANUAL_TEXT.split()
    else:  # this server wants a key
        assert ended.returncode == 4
        assert "no key is sent over plain http: --insecure-http-key sends it" in ended.stderr.decode()


@pytest.mark.parametrize("profile", [False, True])
def test_plain_http_is_allowed_by_the_configuration_and_not_if_the_command_line_denies_it(
    run: Run, recording: Path, tmp_path: Path, profile: bool
) -> None:
    with FaultServer(fine) as server:
        file = tmp_path / "config.toml"
        table, options = ("[profile.work]\n", ("--profile", "work")) if profile else ("", ())
        file.write_text(f'{table}base_url = "{other(server)}"\ninsecure_http = true\n')
        config = ("--config", file, *options, "--no-cache")
        allowed = run("transcribe", recording, *config, env=KEY)
        assert allowed.returncode == 0, allowed.stderr
        assert allowed.stderr.decode().count("plain http, unencrypted: no key is sent") == 1
        denied = run("transcribe", recording, *config, "--no-insecure-http", env=KEY)
        assert denied.returncode == 2
        place = f"{file}, line {2 if profile else 1}: {'[profile.work] ' if profile else ''}base_url"
        assert f"; it comes from {place}\n" in denied.stderr.decode()
        assert len(server.requests) == 1


def test_a_switch_in_the_configuration_must_be_true_or_false(run: Run, recording: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('insecure_http = "yes"\n')
    ended = run("transcribe", recording, "--config", file)
    assert ended.returncode == 2
    assert f"{file}, line 1: insecure_http must be true or false".encode() in ended.stderr


def test_redirects_to_other_servers_are_not_followed_over_plain_http(run: Run, recording: Path) -> None:
    with FaultServer(fine) as target:
        elsewhere = refuses(307, [("Location", f"http://127.0.0.1:{target.port}/stt")])
        with FaultServer(elsewhere) as server:
            ended = run(
                "transcribe", recording, "--base-url", other(server), "--insecure-http-key", "--no-cache", env=KEY
            )
        assert target.requests == []
    assert ended.returncode == 5
    assert b"the key is not sent there" in ended.stderr


def test_the_api_version_is_sent_as_asked_for(run: Run, recording: Path) -> None:
    with FaultServer(fine) as server, RealtimeServer(manual()) as live:
        run(
            "transcribe", recording, "--base-url", server.base_url, "--api-version", "2026-08-14", "--no-cache", env=KEY
        )
        run("stream-file", recording, "--mode", "manual", "--base-url", live.base_url, "--api-version", "2026-08-14",
            env=KEY)  # fmt: skip
        run("models", "--base-url", server.base_url, "--api-version", "2026-08-14", env=KEY)
        assert [request.header("Cartesia-Version") for request in server.requests] == ["2026-08-14"] * 2
        assert live.records[0].header("Cartesia-Version") == "2026-08-14"


def test_answers_of_another_api_version_are_cached_by_themselves(run: Run, recording: Path) -> None:
    with FaultServer(fine) as server:
        for version in ("2026-03-01", "2026-08-14", "2026-03-01"):
            ended = run(
                "transcribe", recording, "--base-url", other(server), "--insecure-http", "--api-version", version
            )
            assert ended.returncode == 0, ended.stderr
        assert len(server.requests) == 2


@pytest.mark.parametrize("version", ["latest", "2026-3-1", "20260301", "2026-W09-7", "2026-02-30"])
def test_what_cannot_be_an_api_version_is_refused(run: Run, recording: Path, version: str) -> None:
    ended = run("transcribe", recording, "--api-version", version, env=KEY)
    assert ended.returncode == 2
    assert f"--api-version '{version}' is not a date\nhint: for example 2026-03-01".encode() in ended.stderr


def test_login_sends_no_key_over_plain_http_unless_the_configuration_allows_it(run: Run, tmp_path: Path) -> None:
    with FaultServer(fine) as server:
        refused = run("login", "--with-key", "-", "--base-url", other(server), stdin=b"sk_car_x")
        assert refused.returncode == 2
        assert b"would send everything unencrypted" in refused.stderr
        assert server.requests == []
        config = tmp_path / "config.toml"
        config.write_text("insecure_http_key = true\n")
        allowed = run("login", "--with-key", "-", "--base-url", other(server), "--config", config, stdin=b"sk_car_x")
        assert allowed.returncode == 0, allowed.stderr
        assert server.requests[0].header("Authorization") == "Bearer sk_car_x"
