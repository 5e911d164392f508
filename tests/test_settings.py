"""Configuration file and key: where values come from, and how mistakes in them are reported."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cartesia_cli import credentials
from cartesia_cli.commands.options import ServerOptions
from cartesia_cli.credentials import credential
from cartesia_cli.errors import AuthError, UsageError
from cartesia_cli.protocol.constants import BASE_URL, Credential
from cartesia_cli.settings import Section, Setting, Settings, load


def test_file_has_general_settings_and_tables_of_commands(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings(tmp_path)
    (tmp_path / "config.toml").write_text('base_url = "https://a.example/v1/"\n[transcribe]\nlanguage = "de"\n')
    settings = load(tmp_path, commands=["transcribe"])
    assert base_url(settings) == "https://a.example/v1/"
    (section,) = settings.sections
    place = f"{tmp_path / 'config.toml'}, line 3: [transcribe] language"
    assert section.commands == {"transcribe": {"language": Setting("de", "file", place)}}


def base_url(settings: Settings) -> str | None:
    found = settings.general("base_url")
    return None if found is None else found.value


def test_profile_overrides_the_rest_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'base_url = "https://a.example"\napi_key_command = "true"\n'
        '[profile.work]\nbase_url = "https://b.example"\n[profile.work.transcribe]\nlanguage = "de"\n'
        '[profile."my own"]\n'
    )
    plain = load(tmp_path, commands=["transcribe"])
    work = load(tmp_path, profile="work", commands=["transcribe"])
    assert (base_url(plain), len(plain.sections)) == ("https://a.example", 1)
    assert (base_url(work), len(work.sections)) == ("https://b.example", 2)
    assert (command := work.general("api_key_command")) is not None and command.value == "true"
    assert list(plain.profiles) == ["work", "my own"] and plain.profiles["work"] == work.sections[0]
    assert work.sections[0].commands["transcribe"]["language"].layer == "profile"
    with pytest.raises(UsageError, match="no profile 'home'") as caught:
        load(tmp_path, profile="home", commands=["transcribe"])
    assert caught.value.hint == "profiles: work, my own"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('\nbas_url = "x"', "line 2: bas_url is not a setting", "did you mean base_url?"),
        ('api_key = "x"', "line 1: api_key is not a setting", "CARTESIA_API_KEY"),
        ('api-key-command = "x"', "api-key-command is not a setting", "did you mean api_key_command?"),
        ("[transcrib]", r"\[transcrib\] is not a setting", "did you mean transcribe?"),
        ("[profil.a]", r"\[profil\] is not a setting", "did you mean profile?"),
        ("transcribe = 5", "transcribe must be a table", r"\[transcribe\]"),
        ("profile = 'a'", "a profile must be a table", r"\[profile.NAME\]"),
        ("[profile.a]\nbas_url = 'x'", r"line 2: \[profile.a\] bas_url is not a setting", "did you mean base_url?"),
        (
            "[listen]\nmin-cue = 1\nmin_cue = 2",
            r"line 2: \[listen\] min-cue and .*line 3: \[listen\] min_cue set the",
            "one",
        ),
        ("base_url = true", "line 1: base_url must be a string", "quotes"),
        ("[base_url]", "base_url must be a string", "quotes"),
        ("api_key_command = ['x']", "line 1: api_key_command must be a string", "quotes"),
        ("base_url = ''", "line 1: base_url must not be empty", "remove it"),
        ("insecure_http = 'yes'", "line 1: insecure_http must be true or false", "insecure_http = true"),
        ("nonsense", "config.toml: ", "TOML"),
        ("\udcff", "not UTF-8", "UTF-8"),
    ],
)
def test_mistakes_are_reported_with_file_and_line(tmp_path: Path, text: str, message: str, hint: str) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, commands=["transcribe", "listen"])
    assert re.search(hint, caught.value.hint or "")
    assert "config.toml" in caught.value.message


def test_named_file_must_exist_and_be_readable(tmp_path: Path) -> None:
    for name in ("none.toml", ".", "none/config.toml"):
        with pytest.raises(UsageError) as caught:
            load(tmp_path, file=tmp_path / name)
        assert caught.value.hint
    (tmp_path / "other.toml").write_text("\ufeffbase_url = 'https://a.example'\n")
    assert base_url(load(tmp_path, file=tmp_path / "other.toml")) == "https://a.example"


def settings_with_command(command: str, folder: Path) -> Settings:
    """Settings with an `api_key_command`."""
    section = Section("file", {"api_key_command": Setting(command, "file", "line 1")}, {})
    return Settings(folder, sections=(section,))


def test_key_sources_are_tried_in_order(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("sk_car_file\n")
    (tmp_path / "api-key").chmod(0o600)
    by_file = Settings(tmp_path)
    by_command = settings_with_command(f"{sys.executable} -c 'print(\"sk_car_command\")'", tmp_path)
    environ = {"CARTESIA_API_KEY": "sk_car_key", "CARTESIA_ACCESS_TOKEN": "jwt"}
    secrets = [
        credential(by_command, environ),
        credential(by_command, {"CARTESIA_ACCESS_TOKEN": "jwt", "CARTESIA_API_KEY": ""}),
        credential(by_command, {}),
        credential(by_file, {}),
    ]
    assert [found.secret for found in secrets if found] == ["sk_car_key", "jwt", "sk_car_command", "sk_car_file"]
    assert credential(Settings(tmp_path / "none"), {}) is None


@pytest.mark.parametrize("secret", [" ", "sk car b", "sk_car_x\n", "ключ", "sk_car_admin_x", "a\x00b"])
def test_invalid_key_is_refused_and_not_shown(tmp_path: Path, secret: str) -> None:
    with pytest.raises(AuthError) as caught:
        credential(Settings(tmp_path), {"CARTESIA_API_KEY": secret})
    assert "CARTESIA_API_KEY" in str(caught.value)
    assert secret.strip() not in str(caught.value) or not secret.strip()


def test_key_file_readable_by_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("sk_car_file")
    (tmp_path / "api-key").chmod(0o644)
    with pytest.raises(AuthError, match="read by others"):
        credential(Settings(tmp_path), {})


def test_failing_key_command_is_reported_without_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "KEY_COMMAND_SECONDS", 2)
    for command, reason in {
        "/no/such/program": "it can't be started: No such file or directory",
        f"{sys.executable} -c 'print(\"sk_car_x\"); raise SystemExit(3)'": "it ended with exit status 3",
        "sleep 60": "it took longer than 2 s",
        "'unbalanced": "it is not a command",
        "  ": "it is not a command",
    }.items():
        with pytest.raises(AuthError, match=f"api_key_command failed: {reason}") as caught:
            credential(settings_with_command(command, tmp_path), {})
        assert caught.value.hint
        assert "sk_car_x" not in f"{caught.value} {caught.value.hint}"


def test_repr_of_a_credential_hides_the_secret() -> None:
    assert "sk_car" not in repr(Credential("sk_car_x", "here"))


def test_backend_follows_options_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARTESIA_API_KEY", raising=False)
    monkeypatch.delenv("CARTESIA_ACCESS_TOKEN", raising=False)
    bare, served = Settings(tmp_path), "http://127.0.0.1:8000"
    unasked = ServerOptions().choose(bare)
    assert unasked.base_url is None
    assert "transcribing on this machine" in unasked.reason
    assert ServerOptions(base_url=served).choose(bare).base_url == served
    assert ServerOptions(base_url=served, local=True).choose(bare).base_url is None
    for server in (ServerOptions(cloud=True), ServerOptions(base_url="https://a.example")):
        with pytest.raises(AuthError, match="no API key"):
            server.choose(bare)
    monkeypatch.setenv("CARTESIA_API_KEY", "sk_car_x")
    found = ServerOptions().choose(bare)
    assert found.base_url == BASE_URL
    assert found.credential is not None
    assert (found.credential.secret, found.credential.origin) == ("sk_car_x", "the variable CARTESIA_API_KEY")
