"""`config show`, `--config`, `--profile`, and the configuration file against flags, with the program as installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cartesia_cli
from cartesia_cli.commands import COMMANDS
from tests.conftest import Run

SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"
SECRET = "sk_car_never_shown"


@pytest.fixture
def configuration(environment: dict[str, str]) -> Path:
    """Where the user's file lies; it isn't there yet."""
    folder = Path(environment["XDG_CONFIG_HOME"]) / "cartesia-cli"
    folder.mkdir(parents=True)
    return folder / "config.toml"


def show(run: Run, *arguments: object, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = run("config", "show", *arguments, "-f", "json", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def error(done: Any) -> dict[str, Any]:
    """The one JSON object on stderr."""
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    found: dict[str, Any] = json.loads(line)["error"]
    assert found["message"] and found["hint"]
    return found


# What the file may not do

LOCAL, CLOUD = b"this machine", b"https://"


@pytest.mark.engine
def test_flags_override_a_format_in_the_file(run: Run, configuration: Path, tmp_path: Path) -> None:
    configuration.write_text('[transcribe]\nformat = "text"\nlocal = true\noutput_dir = "out"\nquiet = true\n')
    assert run("transcribe", SAMPLE, "-o", "x.srt").returncode == 0
    assert (tmp_path / "x.srt").read_text().startswith("1\n00:00:00,")
    assert json.loads(run("transcribe", SAMPLE, "--json", "-o", "-").stdout)["text"].startswith("This is")
    assert b" > " in run("transcribe", SAMPLE, "--grep", "by one", "-o", "-").stdout
    assert not (tmp_path / "out").exists()
    assert run("transcribe", SAMPLE).returncode == 0
    assert (tmp_path / "out" / "sample.txt").read_text().startswith("This is")


@pytest.mark.parametrize(
    ("text", "flags", "env", "place"),
    [
        ("local = true", ["--cloud"], {}, CLOUD),
        ("local = true", ["--base-url", "https://a.example"], {}, CLOUD),
        ("local = true", [], {"CARTESIA_BASE_URL": "https://a.example"}, CLOUD),
        ("local = true", ["--local"], {"CARTESIA_BASE_URL": "https://a.example"}, LOCAL),
        ("local = true", [], {}, LOCAL),
        ("cloud = true", ["--local"], {}, LOCAL),
        ("cloud = true", ["--no-cloud"], {}, LOCAL),
        ("cloud = true", [], {}, CLOUD),
        ('base_url = "https://a.example"', ["--local"], {}, LOCAL),
        ('base_url = "https://a.example"', [], {"CARTESIA_TRANSCRIBE_LOCAL": "yes"}, LOCAL),
        ('base_url = "https://a.example"', ["--local-model", "nowhere"], {}, LOCAL),
        ('local_model = "nowhere"', ["--cloud"], {}, CLOUD),
    ],
)
def test_backend_follows_the_strongest_layer(
    run: Run, configuration: Path, text: str, flags: list[str], env: dict[str, str], place: bytes
) -> None:
    configuration.write_text(f"[transcribe]\n{text}\n")
    done = run("transcribe", SAMPLE, "--dry-run", *flags, env=env)
    assert done.returncode == 0, done.stderr
    assert place in done.stdout + done.stderr


def test_color_variables_override_the_file(run: Run, configuration: Path) -> None:
    configuration.write_text('[transcribe]\ncolor = "always"\n')
    assert run("transcribe", "none.wav").stderr.startswith(b"\033[")
    assert run("transcribe", "none.wav", env={"NO_COLOR": "1"}).stderr.startswith(b"error:")
    assert run("transcribe", "none.wav", "--color", "always", env={"NO_COLOR": "1"}).stderr.startswith(b"\033[")


def test_key_command_runs_only_when_a_key_is_needed(run: Run, configuration: Path, tmp_path: Path) -> None:
    configuration.write_text(f'api_key_command = "touch {tmp_path / "ran"}"\n[transcribe]\nlocal = true\n')
    assert run("transcribe", SAMPLE, "--dry-run").returncode == 0
    show(run)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        "bas_url = 'x'",
        "[transcribe]\nfromat = 'x'",
        "[transcribe]\nquiet = 1",
        "base_url = 'ftp://a.example'",
        "x",
        "[transcribe]\ntimeout = 2026-11-29",
    ],
)
def test_mistakes_in_the_file_are_reported_by_every_command_but_help(run: Run, configuration: Path, text: str) -> None:
    configuration.write_text(text)
    done = run("transcribe", SAMPLE)
    assert (done.returncode, done.stdout) == (2, b"")
    first, second = done.stderr.decode().splitlines()
    assert first.startswith(f"error: {configuration}") and second.startswith("hint: ")
    assert error(run("transcribe", SAMPLE, "--json"))["type"] == "usage"
    assert run("config", "show").returncode == 2
    assert run("transcribe", "--help").returncode == 0
    assert run("--version").returncode == 0
    assert run("transcribe", SAMPLE, "--dry-run", "--config", "/dev/null").returncode == 0


def test_date_in_the_file_is_called_that(run: Run, configuration: Path) -> None:
    configuration.write_text("[transcribe]\ntimeout = 2026-11-29\n")
    assert b"timeout must be a number, not a date or time\n" in run("transcribe", SAMPLE).stderr


def test_error_of_a_command_names_where_the_value_comes_from(run: Run, configuration: Path) -> None:
    configuration.write_text('[stream-file]\nkeyterms = "none.txt"\n[transcribe]\nformat = "srt,vtt"\n')
    for arguments, place in (
        (("stream-file", SAMPLE), f"{configuration}, line 2: [stream-file] keyterms"),
        (("transcribe", SAMPLE), f"{configuration}, line 4: [transcribe] format"),
    ):
        done = run(*arguments, "--base-url", "http://127.0.0.1:9", env={"CARTESIA_API_KEY": SECRET})
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"; it comes from {place}\n".encode() in done.stderr


# --config and --profile


def test_config_and_profile_may_precede_or_follow_the_command(run: Run, configuration: Path, tmp_path: Path) -> None:
    configuration.write_text('[transcribe]\nlanguage = "en"\n')
    (tmp_path / "other.toml").write_text(
        '[transcribe]\nlanguage = "de"\nformat = "srt"\n[profile.work.transcribe]\nlanguage = "fr"\n'
    )
    for arguments in (
        ("--config", "other.toml", "--profile", "work", "config", "show", "transcribe", "-f", "json"),
        ("config", "show", "transcribe", "-f", "json", "--config", "other.toml", "--profile=work"),
    ):
        found = json.loads(run(*arguments).stdout)["commands"]["transcribe"]
        assert found["language"] == {
            "value": "fr", "source": "profile", "origin": "other.toml, line 5: [profile.work.transcribe] language"
        }  # fmt: skip
        assert found["format"]["source"] == "file"
    variables = {"CARTESIA_CONFIG": "other.toml", "CARTESIA_PROFILE": "work"}
    assert show(run, "transcribe", env=variables)["commands"]["transcribe"]["language"]["value"] == "fr"
    assert show(run, "transcribe", "--config", configuration)["commands"]["transcribe"]["language"]["value"] == "en"
    done = run("--profile", "work", "transcribe", "--config", "other.toml", "--dry-run", SAMPLE)
    assert b"language=fr" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "none.toml"], b"none.toml does not exist"),
        (["--config", "."], b"can't be read"),
        (["--profile", "nope"], b"has no profile 'nope'"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_missing_file_or_profile_is_a_usage_error(run: Run, command: str, arguments: list[str], message: bytes) -> None:
    done = run(command, *arguments, "x")
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr and b"\nhint: " in done.stderr


# config show


def test_config_show_lists_values_and_their_origins(run: Run, configuration: Path) -> None:
    configuration.write_text(
        'base_url = "https://a.example"\napi_key_command = "echo sk_car_never_shown"\n'
        '[transcribe]\nformat = "srt"\ncrlf = true\n[listen]\nkeyterm = ["a", "b"]\nformat = "tsv"\n'
        '[profile.work]\nbase_url = "https://b.example"\n[profile.work.transcribe]\nmodel = "ink-preview"\n'
    )
    env = {"CARTESIA_LISTEN_VAD_SILENCE_MS": "900", "CARTESIA_LISTEN_JSON": "1", "CARTESIA_PROFILE": "work"}
    document = show(run, env=env)
    assert document["settings"] == {
        "config": {"value": str(configuration), "source": "default"},
        "profile": {"value": "work", "source": "environment", "origin": "CARTESIA_PROFILE"},
        "base_url": {"value": "https://b.example", "source": "profile",
                     "origin": f"{configuration}, line 10: [profile.work] base_url"},
        "api_key": {"value": "printed by api_key_command (not run)", "source": "file",
                    "origin": f"{configuration}, line 2: api_key_command"},
    }  # fmt: skip
    assert list(document["commands"]) == list(COMMANDS)
    transcribe, listen = document["commands"]["transcribe"], document["commands"]["listen"]
    sources = {name: found["source"] for name, found in transcribe.items() if found["source"] != "default"}
    assert {sources.pop(name) for name in ("jobs", "local_model")} == {"environment"}  # of the tests
    assert sources == {"format": "file", "crlf": "file", "model": "profile", "base_url": "profile"}
    assert transcribe["model"]["value"] == "ink-preview"
    assert transcribe["timeout"] == {"source": "default"}
    assert listen["vad_silence_ms"] == {
        "value": 900, "source": "environment", "origin": "CARTESIA_LISTEN_VAD_SILENCE_MS"
    }  # fmt: skip
    assert listen["keyterm"]["value"] == ["a", "b"]
    assert (listen["json"]["value"], listen["format"]["source"]) == (True, "default")

    table = run("config", "show", "transcribe", env=env).stdout.decode().splitlines()
    assert f'transcribe.format              "srt"  {configuration}, line 4: [transcribe] format' in [
        " ".join(line.split()).replace('format "srt"', 'format              "srt" ') for line in table
    ]
    assert not any(line.startswith("listen.") for line in table)


def test_config_show_gives_the_hint_of_the_command_whose_settings_contradict_each_other(
    run: Run, configuration: Path
) -> None:
    configuration.write_text("[transcribe]\nmin-cue = 2\n")
    for arguments in (("config", "show", "transcribe"), ("config",), ("transcribe", SAMPLE)):
        done = run(*arguments, env={"CARTESIA_TRANSCRIBE_MAX_CUE": "1"})
        assert done.returncode == 2
        assert b"[transcribe] min-cue and CARTESIA_TRANSCRIBE_MAX_CUE: --min-cue 2 exceeds --max-cue 1" in done.stderr
        assert done.stderr.endswith(b"hint: give a shorter --min-cue or a longer --max-cue\n")


def test_config_show_shows_settings_that_contradict_each_other_and_says_so(run: Run, configuration: Path) -> None:
    configuration.write_text(
        "[transcribe]\nlocal = true\ncloud = true\nresume = true\nforce = true\njobs = 99999999\n"
        "[listen]\nmode = 'manual'\n"
    )
    done = run("config", "show")
    assert done.returncode == 2
    shown = [line.split() for line in done.stdout.decode().splitlines()]
    values = {line[0]: line[1] for line in shown}
    assert (values["transcribe.local"], values["transcribe.cloud"], values["listen.mode"]) == (
        "true",
        "true",
        '"manual"',
    )
    assert values["transcribe.resume"] == values["transcribe.force"] == "true"
    errors = done.stderr.decode().splitlines()
    assert [line.partition(":")[0] for line in errors] == ["error", "hint"] * 3, errors
    for place in ("jobs", "line 2: [transcribe] local and ", "line 5: [transcribe] force exclude each other"):
        assert any(place in line for line in errors if line.startswith("error: "))
    document = run("config", "show", "transcribe", "-f", "json")
    assert document.returncode == 2
    assert json.loads(document.stdout)["commands"]["transcribe"]["cloud"]["value"] is True
    assert [json.loads(line)["error"]["type"] for line in document.stderr.splitlines()] == ["usage"] * 3
    alone = run("config", "show", "listen")
    assert (alone.returncode, alone.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("env", "file", "shown"),
    [
        ({"CARTESIA_API_KEY": SECRET}, None,
         {"value": "present", "source": "environment", "origin": "CARTESIA_API_KEY"}),
        ({"CARTESIA_ACCESS_TOKEN": SECRET}, None,
         {"value": "present", "source": "environment", "origin": "CARTESIA_ACCESS_TOKEN"}),
        ({}, SECRET, {"value": "present", "source": "file"}),
        ({}, None, {"source": "default"}),
    ],
)  # fmt: skip
def test_config_show_never_shows_the_key(
    run: Run, configuration: Path, env: dict[str, str], file: str | None, shown: dict[str, str]
) -> None:
    if file is not None:
        (configuration.parent / "api-key").write_text(file)
        shown = shown | {"origin": str(configuration.parent / "api-key")}
    done = run("config", "show", "-f", "json", env=env)
    assert json.loads(done.stdout)["settings"]["api_key"] == shown
    assert SECRET.encode() not in done.stdout + run("config", "show", "-v", env=env).stdout


def test_unknown_actions_and_commands_are_usage_errors(run: Run) -> None:
    assert run("config").stdout == run("config", "show").stdout != b""
    assert b"unknown action 'edit'" in run("config", "edit").stderr
    assert b"unknown command 'listn'" in run("config", "show", "listn").stderr
    assert error(run("config", "edit", "-f", "json"))["type"] == "usage"


# Errors in JSON


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "--json", "--nope"),
        ("transcribe", "--nope", "--json"),
        ("transcribe", "a.wav", "--nope", "-f", "json"),
        ("transcribe", "a.wav", "-qfjson", "--nope"),
        ("transcribe", "a.wav", "--output_format", "json", "--timeout", "x"),
        ("transcribe", "--format=ndjson", "--timeout"),
        ("transcribe", "--local=1", "--format", "text,json"),
        ("transcribe", "a.wav", "-o", "a.json", "--nope"),
        ("transcribe", "--json", "--color", "blue", "a.wav"),
        ("transcribe", "--json", "-f", "srt", "a.wav"),
        ("transcribe", "--json"),
        ("transcribe", "", "--json"),
        ("stream-file", "--json"),
        ("stream-file", "a.wav", "--mode", "x", "-f", "ndjson"),
        ("listen", "--chunk-ms", "1", "-f", "json"),
        ("render", "--json"),
        ("check", "-f", "json"),
        ("check", "a.srt", "--json", "--min-cue", "x"),
        ("devices", "-f", "json", "--nope"),
        ("cache", "nope", "-f", "json"),
        ("vad", "-f", "json"),
        ("nonsense", "--json"),
        ("--json", "transcribe", "a.wav"),
        ("--nope", "transcribe", "a.wav", "-f", "ndjson"),
        ("transcribe", "a.wav", "--json", "--profile", "nope"),
        ("transcribe", "a.wav", "--json", "--config", "none.toml"),
    ],
)
def test_usage_errors_are_json_if_json_is_requested(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert error(done)["type"] == "usage"


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "--nope"),
        ("transcribe", "--grep", "--json", "--nope"),
        ("transcribe", "--nope", "--json", "--no-json"),
        ("transcribe", "--nope", "--", "--json"),
        ("serve", "--nope"),
        ("nonsense",),
        ("stream-file",),
    ],
)
def test_usage_errors_are_one_line_and_a_hint(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert [line.partition(":")[0] for line in done.stderr.decode().splitlines()] == ["error", "hint"]


def test_json_format_of_file_or_environment_makes_errors_json(run: Run, configuration: Path) -> None:
    configuration.write_text('[transcribe]\nformat = "ndjson"\n[check]\njson = true\n')
    assert error(run("transcribe", "--nope"))["type"] == "usage"
    assert error(run("check", "--nope"))["type"] == "usage"
    assert run("transcribe", "--nope", "-f", "text").stderr.startswith(b"error:")
    assert error(run("render", "--nope", env={"CARTESIA_RENDER_JSON": "1"}))["type"] == "usage"
    assert run("render", "--nope").stderr.startswith(b"error:")


# The version


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("-V",),
        ("--version", "transcribe", "a.wav"),
        ("-V", "transcribe"),
        ("--profile", "x", "--version", "serve"),
        ("--version", "nonsense"),
    ],
)
def test_version_ignores_the_rest_of_the_command_line(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == f"cartesia-cli {cartesia_cli.__version__}\n".encode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", SAMPLE, "--base-url", ""),
        ("transcribe", SAMPLE, "--output-dir="),
        ("stream-file", SAMPLE, "--control", ""),
        ("transcribe", SAMPLE, "--", ""),
        ("--config", "", "transcribe", SAMPLE),
        ("doctor", "--config", ""),
        ("transcribe", SAMPLE, "--jobs", ""),
        ("serve", "--host", ""),
    ],
)
def test_empty_variable_on_the_command_line_is_a_usage_error(
    run: Run, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    before = sorted(tmp_path.iterdir())
    done = run(*arguments, env={"CARTESIA_API_KEY": "sk_car_test"})  # nothing must go to the cloud
    assert (done.returncode, done.stdout) == (2, b"")
    assert b" must not be empty\nhint: is a variable empty?" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.engine
def test_server_that_overrules_local_true_is_reported(run: Run, configuration: Path) -> None:
    configuration.write_text("[transcribe]\nlocal = true\n")
    server = {"CARTESIA_BASE_URL": "http://127.0.0.1:9"}
    said = b"using 127.0.0.1:9 because of CARTESIA_BASE_URL; --local transcribes on this machine\n"
    assert said in run("transcribe", SAMPLE, "--retries", "0", env=server).stderr
    assert said not in run("transcribe", SAMPLE, "--retries", "0", "-q", env=server).stderr
    typed = run("transcribe", SAMPLE, "--retries", "0", "--base-url", "http://127.0.0.1:9")
    assert b"using" not in typed.stderr
    done = run("transcribe", SAMPLE, "--local", env=server)
    assert (done.returncode, b"using" in done.stderr) == (0, False)
