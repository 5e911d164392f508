"""Configuration file, environment and key: where each setting comes from, and what is wrong with it.

The key is never an option of the command line, where every process list shows it. Nothing here is
written: a person edits the file.

    config.toml        base_url, api_key_command, and a table of option defaults for each command
    api-key            the key alone, readable by its owner only
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import AuthError, UsageError
from .protocol import Credential, check_base_url

KEY_COMMAND_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration file says.

    folder             where it lies
    base_url           checked, or None
    api_key_command    prints the key, or None
    defaults           command name to its option defaults, spelt as parameters (`word_timestamps`)
    """

    folder: Path
    base_url: str | None = None
    api_key_command: str | None = None
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load(folder: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `config.toml` of a folder; the environment goes before the file. UsageError where a value is wrong."""
    path = folder / "config.toml"
    values = _parsed(path) if path.exists() else {}
    for name in ("base_url", "api_key_command"):
        if not isinstance(values.get(name, ""), str):
            raise UsageError(f"{path}: {name} must be a string")
    base_url = environ.get("CARTESIA_BASE_URL") or values.get("base_url")
    return Settings(
        folder=folder,
        base_url=check_base_url(base_url) if base_url else None,
        api_key_command=values.get("api_key_command"),
        defaults={
            name: {option.replace("-", "_"): value for option, value in table.items()}
            for name, table in values.items()
            if isinstance(table, dict)
        },
    )


def credential(settings: Settings, environ: Mapping[str, str] = os.environ) -> Credential | None:
    """The key, else an access token, else None. AuthError for one that can't be a key, before any network call."""
    for variable in ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN"):
        if secret := environ.get(variable):
            return _checked(Credential(secret, f"the variable {variable}"))
    if settings.api_key_command:
        return _checked(Credential(_output(settings.api_key_command), "api_key_command of config.toml"))
    path = settings.folder / "api-key"
    if path.is_file():
        return _checked(Credential(_private(path), f"the file {path}"))
    return None


def is_key_configured(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `credential` would look for a key anywhere. None is read, and no command is run."""
    variables = ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN")
    return bool(
        any(environ.get(variable) for variable in variables)
        or settings.api_key_command
        or (settings.folder / "api-key").is_file()
    )


def _parsed(path: Path) -> dict[str, Any]:
    import tomllib  # start-up: most people have no file

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", hint="correct the file, or move it away") from error


def _checked(found: Credential) -> Credential:
    trouble = None
    if not found.secret.strip():
        trouble = "it is blank"
    elif not found.secret.isascii() or not found.secret.isprintable() or " " in found.secret:
        trouble = "it has a line break, a blank or another character that no key has"
    elif found.secret.startswith("sk_car_admin_"):
        trouble = "it is an admin key, which transcribes nothing"
    if trouble:
        raise AuthError(f"{found.origin} holds no API key: {trouble}", hint="copy the key again: play.cartesia.ai/keys")
    return found


def _output(command: str) -> str:
    import shlex
    import subprocess

    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=KEY_COMMAND_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # The command's own words stay unsaid: they may hold the key.
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise AuthError(f"api_key_command failed: {reason}", hint=f"try it by hand: {command}") from error
    return done.stdout.decode("utf-8", "replace").strip()


def _private(path: Path) -> str:
    """A secret that only its owner can read."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and os.name == "posix":
            raise AuthError(f"{path} can be read by others", hint=f"chmod 600 '{path}'")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"{path}: {error}") from error
