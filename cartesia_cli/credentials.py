"""Finds the API key, and stores or removes the one that `login` keeps.

    CARTESIA_API_KEY, CARTESIA_ACCESS_TOKEN      in the environment
    api_key_command, then the stored key         of the selected profile
    api_key_command, then the stored key         outside of profiles

The first of these that exists is used. A stored key is in a file beside `config.toml` that only its owner can read:
`api-key`, and `api-key-NAME` for a profile. If the key is in the system's keyring, the file contains only IN_KEYRING:
the keyring, which is slow and may ask for a password, is opened only by those who use it.

Must never take the key from the command line, where every process list shows it, run `api_key_command` before a key is
needed, or put a key into a message.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

from .errors import AuthError, OutputError, UsageError
from .output.console import SECRET_VARIABLES
from .protocol.constants import Credential
from .settings import Setting, Settings

KEY_COMMAND_SECONDS = 30

NOT_RUN = " (not run)"
"""End of the description of a key whose command wasn't run."""

IN_KEYRING = "keyring"
"""Content of a key file whose key is in the keyring."""

SERVICE = "cartesia-cli"
"""Name of the service in the keyring. The user name is that of the key file."""

INSTALL_KEYRING = "pip install 'cartesia-cli[keyring]'"

KEYS_PAGE = "play.cartesia.ai/keys"


def credential(settings: Settings, environ: Mapping[str, str] = os.environ) -> Credential | None:
    """The API key, or else an access token, or else None. Raises AuthError for what can't be a key."""
    for variable in SECRET_VARIABLES:
        if secret := environ.get(variable):
            return check_form(Credential(secret, f"the variable {variable}"))
    for source in _sources(settings):
        if isinstance(source, Setting):
            return check_form(Credential(_output(source.value, source.origin), f"api_key_command ({source.origin})"))
        secret = _read_private(source)
        if secret == IN_KEYRING:
            return check_form(Credential(_from_keyring(source.name), f"the keyring ({source})"))
        return check_form(Credential(secret, f"the file {source}"))
    return None


def key_source(settings: Settings, environ: Mapping[str, str] = os.environ) -> Setting | None:
    """Where `credential` would take the key from, with a description as its value. No command is run, and the keyring
    isn't opened.
    """
    for variable in SECRET_VARIABLES:
        if environ.get(variable):
            return Setting("present", "environment", variable)
    for source in _sources(settings):
        if isinstance(source, Setting):
            return Setting(f"printed by api_key_command{NOT_RUN}", source.layer, source.origin)
        layer = "file" if source == key_file(settings.folder, None) else "profile"
        return Setting("present in the keyring" if _is_in_keyring(source) else "present", layer, str(source))
    return None


def key_file(folder: Path, profile: str | None) -> Path:
    """The file of a stored key."""
    return folder / ("api-key" if profile is None else f"api-key-{quote(profile, safe='')}")


def store_key(settings: Settings, secret: str, *, in_keyring: bool) -> Path:
    """Store a key, for the selected profile if there is one; returns the file. What was stored before is replaced.

    Raises UsageError if the keyring is wanted but not installed; OutputError if the key can't be stored. A key that was
    stored before is unchanged then.
    """
    from .atomic_files import write_atomically  # start-up: keys are rarely stored

    path = key_file(settings.folder, settings.profile)
    replaces_keyring = _is_in_keyring(path) and not in_keyring
    if in_keyring:
        _store_in_keyring(path.name, secret)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_file() and os.name == "posix":
            path.chmod(0o600)  # a file that is replaced passes on its mode
        write_atomically(path, f"{IN_KEYRING if in_keyring else secret}\n".encode(), mode=0o600)
    except OSError as error:
        hint = "make the folder writable, or put the key into CARTESIA_API_KEY"
        raise OutputError(f"{path} can't be written: {error.strerror}", hint=hint) from error
    if replaces_keyring:
        _delete_from_keyring(path.name)
    return path


def remove_key(settings: Settings) -> Path | None:
    """Remove the stored key of the selected profile, or that without a profile; returns its file, None without one.

    Raises OutputError if it can't be removed.
    """
    path = key_file(settings.folder, settings.profile)
    if not path.is_file():
        return None
    if _is_in_keyring(path):
        _delete_from_keyring(path.name)
    try:
        path.unlink()
    except OSError as error:
        hint = "make the folder writable, and run the command again"
        raise OutputError(f"{path} can't be removed: {error.strerror}", hint=hint) from error
    return path


def check_form(found: Credential) -> Credential:
    """The credential. Raises AuthError for what can't be a key, which is not quoted."""
    problem = None
    if not found.secret.strip():
        problem = "it is blank"
    elif not found.secret.isascii() or not found.secret.isprintable() or " " in found.secret:
        problem = "it contains a space, a line break or another character that keys don't contain"
    elif found.secret.startswith("sk_car_admin_"):
        problem = "it is an admin key, which can't transcribe"
    if problem:
        message = f"{found.origin} does not contain an API key: {problem}"
        raise AuthError(message, hint=f"copy the key again: {KEYS_PAGE}")
    return found


def _sources(settings: Settings) -> Iterator[Setting | Path]:
    """Where a key is outside of the environment: settings of `api_key_command`, and files that exist."""
    commands = {section.layer: section.general.get("api_key_command") for section in settings.sections}
    places = [("profile", settings.profile)] if settings.profile is not None else []
    for layer, profile in [*places, ("file", None)]:
        if command := commands.get(layer):
            yield command
        if (path := key_file(settings.folder, profile)).is_file():
            yield path


def _output(command: str, place: str) -> str:
    """The output of a command. Raises AuthError if it fails; its output is not quoted, because it may contain the
    key.
    """
    import shlex
    import subprocess

    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=KEY_COMMAND_SECONDS, check=True
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        match error:
            case OSError():
                reason = f"it can't be started: {error.strerror}"
            case subprocess.CalledProcessError():
                reason = f"it ended with exit status {error.returncode}"
            case subprocess.TimeoutExpired():
                reason = f"it took longer than {KEY_COMMAND_SECONDS} s"
            case _:
                reason = "it is not a command: check its quotes"
        raise AuthError(f"api_key_command failed: {reason}", hint=f"run it by hand; it is in {place}") from error
    return done.stdout.decode("utf-8", "replace").strip()


def _read_private(path: Path) -> str:
    """The content of a file that must be readable by its owner only."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and os.name == "posix":
            raise AuthError(f"{path} can be read by others", hint=f"chmod 600 '{path}'")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise AuthError(f"{path} can't be read: {reason}", hint="it must hold the API key alone, as text") from error


def _is_in_keyring(path: Path) -> bool:
    """Whether a key file says that its key is in the keyring. False if the file can't be read."""
    try:
        return path.read_bytes()[:16].strip() == IN_KEYRING.encode()
    except OSError:
        return False


def _keyring() -> ModuleType | None:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _from_keyring(name: str) -> str:
    """A key from the keyring. Raises AuthError if it isn't there, or can't be read."""
    if (keyring := _keyring()) is None:
        message = "the API key is in the keyring, but the package keyring is not installed"
        raise AuthError(message, hint=f"{INSTALL_KEYRING}, or run `cartesia-cli login` again")
    try:
        secret: str | None = keyring.get_password(SERVICE, name)
    except Exception as error:  # whatever a backend may raise
        raise AuthError(
            f"the keyring can't be read: {_reason(error)}", hint="unlock it, or run `cartesia-cli login` again"
        ) from error
    if secret is None:
        raise AuthError("the API key is not in the keyring any more", hint="run `cartesia-cli login --keyring` again")
    return secret


def _store_in_keyring(name: str, secret: str) -> None:
    if (keyring := _keyring()) is None:
        raise UsageError("--keyring needs the package keyring, which is not installed", hint=INSTALL_KEYRING)
    try:
        keyring.set_password(SERVICE, name, secret)
    except Exception as error:  # whatever a backend may raise
        hint = "unlock it, or leave --keyring out: the key is then stored in a file that only you can read"
        raise OutputError(f"the keyring can't be used: {_reason(error)}", hint=hint) from error


def _delete_from_keyring(name: str) -> None:
    """Delete a key from the keyring; one that isn't there is ignored. Raises OutputError if that fails."""
    keyring = _keyring()
    try:
        if keyring is None:
            raise RuntimeError("the package keyring is not installed")
        if keyring.get_password(SERVICE, name) is not None:
            keyring.delete_password(SERVICE, name)
    except Exception as error:  # whatever a backend may raise
        hint = f"delete the entry {name} of {SERVICE} with the program of your keyring"
        raise OutputError(f"the key can't be removed from the keyring: {_reason(error)}", hint=hint) from error


def _reason(error: Exception) -> str:
    """The first line of an exception's text, or its name."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
