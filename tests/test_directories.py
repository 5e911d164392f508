"""Where files of this program are: XDG variables, the conventions of each system, and no home directory at all."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import platformdirs
import pytest
from platformdirs import windows
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from cartesia_cli import directories
from tests.conftest import Run


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    use_system(monkeypatch, "linux", Unix)


def use_system(monkeypatch: pytest.MonkeyPatch, platform: str, directories_of_system: type) -> None:
    """Have the program believe that it runs on another system."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(platformdirs, "PlatformDirs", directories_of_system)


def found() -> list[str]:
    return [str(path) for path in (directories.config_dir(), directories.cache_dir(), directories.state_dir())]


def test_directories_on_linux() -> None:
    native = Unix("cartesia-cli", appauthor=False)
    assert found() == [native.user_config_dir, native.user_cache_dir, native.user_state_dir]
    assert found() == [
        "/home/me/.config/cartesia-cli", "/home/me/.cache/cartesia-cli", "/home/me/.local/state/cartesia-cli"
    ]  # fmt: skip


def test_directories_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    use_system(monkeypatch, "darwin", MacOS)
    assert found() == [
        "/home/me/Library/Application Support/cartesia-cli", "/home/me/Library/Caches/cartesia-cli",
        "/home/me/Library/Application Support/cartesia-cli",
    ]  # fmt: skip


def test_directories_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    use_system(monkeypatch, "win32", windows.Windows)
    monkeypatch.setattr(windows, "get_win_folder", windows.get_win_folder_from_env_vars)  # here, Windows can't be asked
    monkeypatch.setenv("APPDATA", "/Roaming")
    monkeypatch.setenv("LOCALAPPDATA", "/Local")
    assert found() == ["/Roaming/cartesia-cli", "/Local/cartesia-cli", "/Local/cartesia-cli"]


@pytest.mark.parametrize(
    ("platform", "system"), [("linux", Unix), ("freebsd14", Unix), ("darwin", MacOS), ("win32", windows.Windows)]
)
def test_xdg_variables_move_them_on_every_system(platform: str, system: type, monkeypatch: pytest.MonkeyPatch) -> None:
    use_system(monkeypatch, platform, system)
    for name in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", f"/{name}")
    assert found() == ["/CONFIG/cartesia-cli", "/CACHE/cartesia-cli", "/STATE/cartesia-cli"]


@pytest.mark.parametrize("value", ["relative", ""])
def test_relative_xdg_variables_are_ignored(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = found()
    for name in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", value)
    assert found() == default


@pytest.mark.parametrize("home", ["", "relative"])
def test_home_that_is_no_absolute_path_counts_as_unset(run: Run, home: str, tmp_path: Path) -> None:
    done = run("doctor", "configuration", "--offline", env={"HOME": home, "XDG_CONFIG_HOME": ""})
    assert f"no file ({pwd.getpwuid(os.getuid()).pw_dir}/.config/cartesia-cli/config.toml)".encode() in done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}  # the fixture's own


def test_nothing_can_be_created_for_a_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for path in map(Path, found()):
        assert path.is_absolute() and not path.exists()
        with pytest.raises(OSError, match="Not a directory"):
            os.makedirs(path)
