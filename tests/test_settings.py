"""Where base URL and key come from, and what is told about them before any network call."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cartesia_cli.commands.backend import choose
from cartesia_cli.errors import AuthError, UsageError
from cartesia_cli.protocol import BASE_URL, Credential
from cartesia_cli.settings import Settings, credential, load


def test_the_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    assert load(tmp_path, {}) == Settings(tmp_path)
    (tmp_path / "config.toml").write_text('base_url = "https://a.example/v1/"\n[transcribe]\nlanguage = "de"\n')
    settings = load(tmp_path, {})
    assert settings.base_url == "https://a.example/v1"
    assert settings.defaults == {"transcribe": {"language": "de"}}
    assert load(tmp_path, {"CARTESIA_BASE_URL": "http://127.0.0.1:1"}).base_url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "text", ["base_url = 5", "base_url = 'http://a.example'", "nonsense", "api_key_command = ['x']"]
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UsageError):
        load(tmp_path, {})


def test_the_key_goes_before_the_token_and_both_before_command_and_file(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("sk_car_file\n")
    (tmp_path / "api-key").chmod(0o600)
    by_file = Settings(tmp_path)
    by_command = Settings(tmp_path, api_key_command=f"{sys.executable} -c 'print(\"sk_car_command\")'")
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
def test_what_can_be_no_key_is_refused_without_being_shown(tmp_path: Path, secret: str) -> None:
    with pytest.raises(AuthError) as caught:
        credential(Settings(tmp_path), {"CARTESIA_API_KEY": secret})
    assert "CARTESIA_API_KEY" in str(caught.value)
    assert secret.strip() not in str(caught.value) or not secret.strip()


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("sk_car_file")
    (tmp_path / "api-key").chmod(0o644)
    with pytest.raises(AuthError, match="read by others"):
        credential(Settings(tmp_path), {})


def test_a_key_command_that_fails_is_told(tmp_path: Path) -> None:
    for command in ("/no/such/program", f"{sys.executable} -c 'raise SystemExit(1)'", "'unbalanced"):
        with pytest.raises(AuthError, match="api_key_command"):
            credential(Settings(tmp_path, api_key_command=command), {})


def test_a_credential_never_shows_its_secret() -> None:
    assert "sk_car" not in repr(Credential("sk_car_x", "here"))


def test_the_backend_is_what_is_asked_for_or_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARTESIA_API_KEY", raising=False)
    monkeypatch.delenv("CARTESIA_ACCESS_TOKEN", raising=False)
    bare, served = Settings(tmp_path), Settings(tmp_path, base_url="http://127.0.0.1:8000")
    unasked = choose(bare, local=False, cloud=False, base_url=None)
    assert unasked.base_url is None
    assert "transcribing on this machine" in unasked.reason
    assert choose(served, local=False, cloud=False, base_url=None).base_url == served.base_url
    assert choose(served, local=True, cloud=False, base_url=None).base_url is None
    for cloud, url in ((True, None), (False, "https://a.example")):
        with pytest.raises(AuthError, match="no API key"):
            choose(bare, local=False, cloud=cloud, base_url=url)
    with pytest.raises(UsageError, match="excludes"):
        choose(bare, local=True, cloud=True, base_url=None)
    monkeypatch.setenv("CARTESIA_API_KEY", "sk_car_x")
    found = choose(bare, local=False, cloud=False, base_url=None)
    assert found.base_url == BASE_URL
    assert found.credential == Credential("sk_car_x", "the variable CARTESIA_API_KEY")
