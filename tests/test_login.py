"""`login` and `logout`: the key is checked by real servers, stored safely, found by other commands, and never shown."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from cartesia_cli.credentials import remove_key
from cartesia_cli.errors import OutputError
from cartesia_cli.server.app import ServerConfig, create_scripted_app
from cartesia_cli.server.runner import serve_in_background
from cartesia_cli.server.script import parse_script
from cartesia_cli.settings import Settings
from tests.conftest import Run
from tests.fault_server import KEY, FaultServer, answers, refuses
from tests.fork_server import run_program

OTHER = "sk_car_another_s3cr3t"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The address of a local server that accepts KEY only."""
    with serve_in_background(
        create_scripted_app(parse_script('{"say": {"type": "done"}}'), ServerConfig(key=KEY))
    ) as address:
        yield address


@pytest.fixture
def folder(environment: dict[str, str]) -> Path:
    """Where the key is stored; it doesn't exist yet."""
    return Path(environment["XDG_CONFIG_HOME"]) / "cartesia-cli"


def said(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """What a run wrote to stderr: nothing else, no key, this exit code."""
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b""), text
    assert KEY not in text and OTHER not in text
    return text


def test_accepted_key_is_stored_for_its_owner_only_and_used(run: Run, folder: Path, base_url: str) -> None:
    text = said(run("login", "--with-key", "-", "--base-url", base_url, stdin=f"{KEY}\n".encode()), 0)
    path = folder / "api-key"
    assert "accepts the key" in text and str(path) in text
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{KEY}\n", 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [file.name for file in folder.iterdir()] == ["api-key"]
    assert str(path).encode() in run("config", "show", "serve").stdout


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_exits_4_and_stores_nothing(run: Run, folder: Path, status: int) -> None:
    with FaultServer(refuses(status, message=f"{OTHER} is unknown")) as server:
        done = run("login", "--with-key", "-", "--base-url", server.base_url, stdin=OTHER.encode())
        (request,) = server.requests
    assert "refuses the key" in (text := said(done, 4)) and "hint: nothing was stored" in text
    assert (request.method, request.target) == ("GET", "/voices?limit=1")
    assert request.header("Authorization") == f"Bearer {OTHER}"
    assert not folder.exists()


def test_earlier_key_survives_a_refused_one(run: Run, folder: Path, base_url: str) -> None:
    run("login", "--with-key", "-", "--base-url", base_url, stdin=KEY.encode())
    said(run("login", "--with-key", "-", "--base-url", base_url, stdin=OTHER.encode()), 4)
    assert (folder / "api-key").read_text() == f"{KEY}\n"


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        ("accepts_and_closes", 6, "connection"),
        (refuses(500), 5, "Title 500"),
        (refuses(404), 5, "Title 404"),
        (refuses(400), 5, "nothing was stored: see https://docs.cartesia.ai"),  # nothing about models or encodings
        (answers(b"", [("Location", "https://elsewhere.example/")], 302), 5, "redirects to https://elsewhere.example"),
    ],
)
def test_key_that_cannot_be_checked_is_not_stored(
    run: Run, folder: Path, behaviour: str, code: int, words: str
) -> None:
    with FaultServer(behaviour) as server:
        text = said(run("login", "--with-key", "-", "--base-url", server.base_url, stdin=KEY.encode()), code)
    assert text.startswith("error: the key can't be checked: ") and words in text
    assert "nothing was stored" in text and "--no-check" in text
    assert not folder.exists()


def test_byte_order_mark_is_no_part_of_the_key(run: Run, folder: Path) -> None:
    said(run("login", "--with-key", "-", "--no-check", stdin=f"\ufeff{KEY}\r\n".encode()), 0)
    assert (folder / "api-key").read_text().strip() == KEY


def test_no_check_stores_a_key_without_a_network(run: Run, folder: Path) -> None:
    text = said(run("login", "--with-key", "-", "--no-check", stdin=KEY.encode()), 0)
    assert "not checked" in text
    assert (folder / "api-key").read_text() == f"{KEY}\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["--with-key", OTHER], b"", 2, "other users"),
        ([], KEY.encode(), 2, "--with-key -"),
        (["--with-key", "-"], b" \n", 4, "stdin is empty"),
        (["--with-key", "-"], f"{OTHER} {OTHER}".encode(), 4, "a space"),
        (["--with-key", "-"], b"sk_car_admin_x", 4, "admin key"),
        (["--with-key", "-", "--no-check"], b"k" * 20_000, 4, "too long"),
        (["--with-key", "-", "--profile", "work"], KEY.encode(), 2, "no profile 'work'"),
    ],
)
def test_unusable_input_is_refused_before_any_request(
    run: Run, folder: Path, arguments: list[str], stdin: bytes, code: int, words: str
) -> None:
    with FaultServer("fine") as server:
        text = said(run("login", *arguments, env={"CARTESIA_BASE_URL": server.base_url}, stdin=stdin), code)
        assert not server.connections
    assert words in text
    assert not folder.exists()


def test_key_in_the_configuration_file_is_not_shown_by_config_show(run: Run, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'[login]\nwith_key = "{OTHER}"\n')
    done = run("config", "show")
    assert done.returncode == 2 and b"line 2: [login] with_key: " in done.stderr, done.stderr
    assert OTHER.encode() not in done.stdout + done.stderr


def test_replaced_key_file_becomes_private_and_its_link_stays(
    run: Run, folder: Path, base_url: str, tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    target.write_text(OTHER)
    target.chmod(0o644)
    (folder / "api-key").symlink_to(target)
    said(run("login", "--with-key", "-", "--base-url", base_url, stdin=KEY.encode()), 0)
    assert (folder / "api-key").is_symlink()
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == (f"{KEY}\n", 0o600)


def test_folder_that_cannot_be_written_is_named(run: Run, folder: Path, base_url: str) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    text = said(run("login", "--with-key", "-", "--base-url", base_url, stdin=KEY.encode()), 1)
    assert f"{folder / 'api-key'} can't be written" in text


def store(folder: Path, content: bytes) -> None:
    """Write a key file as `login` does."""
    folder.mkdir(parents=True)
    (folder / "api-key").write_bytes(content)
    (folder / "api-key").chmod(0o600)


def test_key_file_that_is_not_text_is_named(run: Run, folder: Path) -> None:
    store(folder, b"\xff\xfe\x00")
    text = said(run("transcribe", "--sample", "--cloud"), 4)
    assert f"{folder / 'api-key'} can't be read: it is not text" in text


def test_key_file_that_cannot_be_removed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    store(folder, KEY.encode())
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="api-key can't be removed: Permission denied"):
        remove_key(Settings(folder))


def test_stdin_that_cannot_be_read_is_named(environment: dict[str, str], folder: Path) -> None:
    with open("/dev/null", "wb") as closed:
        done = run_program(["login", "--with-key", "-", "--no-check"], env=environment, stdin=closed)
    assert "stdin can't be read: Bad file descriptor" in said(done, 2)
    assert not folder.exists()


def test_profile_has_a_key_of_its_own(run: Run, folder: Path, base_url: str) -> None:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[profile.work]\n[profile."../my own"]\n')
    for profile, key in (((), OTHER), (("--profile", "work"), KEY), (("--profile", "../my own"), KEY)):
        said(run("login", "--with-key", "-", "--no-check", *profile, stdin=key.encode()), 0)
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["api-key", "api-key-..%2Fmy%20own", "api-key-work", "config.toml"]
    with FaultServer("fine") as server:
        for profile in ((), ("--profile", "work")):
            run("transcribe", "--sample", "--no-cache", "--base-url", server.base_url, *profile)
        assert [request.header("Authorization") for request in server.requests] == [f"Bearer {OTHER}", f"Bearer {KEY}"]
    said(run("logout", "--profile", "work"), 0)
    assert (folder / "api-key").exists() and not (folder / "api-key-work").exists()
    shown = run("config", "show", "--profile", "work").stdout.decode()
    assert f"{folder / 'api-key'}\n" in shown  # that of the profile is gone: the other one applies


def test_stored_key_of_a_profile_overrides_the_key_command_outside_of_it(run: Run, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('api_key_command = "echo sk_car_command"\n[profile.work]\n')
    text = said(run("login", "--with-key", "-", "--no-check", "--profile", "work", stdin=KEY.encode()), 0)
    assert "precedence" not in text
    text = said(run("login", "--with-key", "-", "--no-check", stdin=KEY.encode()), 0)
    assert "line 1: api_key_command, which takes precedence" in text
    text = said(run("login", "--with-key", "-", "--no-check", stdin=KEY.encode(), env={"CARTESIA_API_KEY": OTHER}), 0)
    assert "CARTESIA_API_KEY, which takes precedence" in text


def test_logout_removes_the_key_and_names_what_is_left(run: Run, folder: Path) -> None:
    assert "no key is stored" in said(run("logout"), 0)
    said(run("login", "--with-key", "-", "--no-check", stdin=KEY.encode()), 0)
    text = said(run("logout", env={"CARTESIA_API_KEY": OTHER}), 0)
    assert "removed the key" in text and "still a key in CARTESIA_API_KEY" in text
    assert list(folder.iterdir()) == []


# The keyring, with a backend of keyrings.alt and keyring's own program


@pytest.fixture
def keyring(environment: dict[str, str]) -> dict[str, str]:
    """Variables that select a keyring in the user's home."""
    return {"PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring"}


def in_keyring(environment: dict[str, str], name: str = "api-key") -> str:
    """What the program `keyring` finds."""
    command = [sys.executable, "-m", "keyring", "get", "cartesia-cli", name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def test_keyring_holds_the_key_instead_of_the_file(
    run: Run, folder: Path, environment: dict[str, str], keyring: dict[str, str]
) -> None:
    text = said(run("login", "--with-key", "-", "--no-check", "--keyring", stdin=KEY.encode(), env=keyring), 0)
    assert "in the keyring" in text
    assert (folder / "api-key").read_text() == "keyring\n"
    assert in_keyring(environment | keyring) == KEY
    with FaultServer("fine") as server:
        done = run("transcribe", "--sample", "--no-cache", "--base-url", server.base_url, env=keyring)
        assert done.returncode == 0, done.stderr
        assert server.requests[0].header("Authorization") == f"Bearer {KEY}"
    assert b'"present in the keyring"' in run("config", "show", env=keyring).stdout
    said(run("login", "--with-key", "-", "--no-check", stdin=OTHER.encode(), env=keyring), 0)
    assert (folder / "api-key").read_text() == f"{OTHER}\n"
    assert in_keyring(environment | keyring) == ""


def test_logout_removes_the_key_from_the_keyring(
    run: Run, folder: Path, environment: dict[str, str], keyring: dict[str, str]
) -> None:
    said(run("login", "--with-key", "-", "--no-check", "--keyring", stdin=KEY.encode(), env=keyring), 0)
    said(run("logout", env=keyring), 0)
    assert in_keyring(environment | keyring) == ""
    assert list(folder.iterdir()) == []


def test_keyring_that_does_not_work_is_reported_and_nothing_is_stored(run: Run, folder: Path) -> None:
    broken = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    text = said(run("login", "--with-key", "-", "--no-check", "--keyring", stdin=KEY.encode(), env=broken), 1)
    assert text.startswith("warning") and "the keyring can't be used" in text
    assert not folder.exists()
    store(folder, b"keyring\n")
    text = said(run("transcribe", "--sample", "--cloud", env=broken), 4)
    assert "the keyring can't be read" in text


def test_missing_keyring_package_is_reported_with_its_command(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "keyring.py").write_text("raise ImportError('keyring')\n")
    without = {"PYTHONPATH": str(tmp_path)}
    text = said(run("login", "--with-key", "-", "--no-check", "--keyring", stdin=KEY.encode(), env=without), 2)
    assert "pip install 'cartesia-cli[keyring]'" in text
    assert not folder.exists()
    store(folder, b"keyring\n")
    text = said(run("transcribe", "--sample", "--cloud", env=without), 4)
    assert "in the keyring, but the package keyring is not installed" in text
    assert "the key can't be removed from the keyring" in said(run("logout", env=without), 1)
    assert (folder / "api-key").exists()


def test_key_that_is_not_in_the_keyring_any_more_is_named_and_logout_removes_its_file(
    run: Run, folder: Path, keyring: dict[str, str]
) -> None:
    store(folder, b"keyring\n")
    text = said(run("transcribe", "--sample", "--cloud", env=keyring), 4)
    assert "the API key is not in the keyring any more" in text
    said(run("logout", env=keyring), 0)
    assert list(folder.iterdir()) == []


# The terminal


def test_key_is_asked_for_without_echo(environment: dict[str, str], folder: Path, base_url: str) -> None:
    command = ["-m", "cartesia_cli", "login", "--base-url", base_url]
    child = pexpect.spawn(sys.executable, command, env=environment, timeout=60, encoding="utf-8")
    child.expect("API key.*: ")
    child.waitnoecho()
    child.sendline(KEY)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert KEY not in child.before
    assert (folder / "api-key").read_text() == f"{KEY}\n"


@pytest.mark.parametrize(("key", "code", "words"), [("\x03", 130, ""), ("\x04", 4, "no key was entered")])
def test_ctrl_c_and_ctrl_d_at_the_question_store_nothing(
    environment: dict[str, str], folder: Path, key: str, code: int, words: str
) -> None:
    command = ["-m", "cartesia_cli", "login"]
    child = pexpect.spawn(sys.executable, command, env=environment, timeout=60, encoding="utf-8")
    child.expect("API key.*: ")
    child.waitnoecho()
    child.send(key)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code and words in child.before
    assert not folder.exists()
