"""Configuration file, profiles and key: what they say, where each value stands, and what is wrong with it.

The key is never an option of the command line, where every process list shows it. Nothing here is
written: a person edits the file. Must never run `api_key_command` before a key is needed.

    config.toml        base_url, api_key_command, a table of option defaults for each command, and
                       [profile.NAME]: a table with all of these again, for the profile that is chosen
    api-key            the key alone, readable by its owner only
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import AuthError, CliError, UsageError
from .protocol import Credential, check_base_url

KEY_COMMAND_SECONDS = 30

GENERAL = ("base_url", "api_key_command")
"""Keys outside the commands' tables; all of them are strings."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it was set.

    layer     "flag", "environment", "profile", "file" or "default"
    origin    the flag, the variable, or the place in the file
    general   whether it is for all commands, which find it by themselves: it only has to win or lose as an option
    """

    value: Any
    layer: str
    origin: str
    general: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """What the file says outside of profiles, or in one of them.

    layer      "file" or "profile"
    general    those of GENERAL that are there
    commands   command name to its options, spelt with underscores (`word_timestamps`)
    """

    layer: str
    general: Mapping[str, Setting] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is configured.

    folder             where the file `api-key` lies, and `config.toml` unless another file was named
    base_url           of the environment, the profile or the file; None where nobody names one
    api_key_command    prints the key, or None
    file               that was read, or None where there is none
    profile            that was chosen, or None
    sections           the chosen profile, then the rest of the file; empty without a file
    """

    folder: Path
    base_url: str | None = None
    api_key_command: str | None = None
    file: Path | None = None
    profile: str | None = None
    sections: tuple[Section, ...] = ()

    def general(self, name: str) -> Setting | None:
        """What the chosen profile, or else the file, says about one of GENERAL."""
        return _general(self.sections, name)


def load(
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    file: Path | None = None,
    profile: str | None = None,
    commands: Collection[str] = (),
) -> Settings:
    """Read `config.toml` of a folder, or another `file`. UsageError where something in it is wrong.

    profile    the one that applies; UsageError where it isn't there
    commands   names that tables may have
    """
    path = file or folder / "config.toml"
    text = _text(path, needed=file is not None)
    document = {} if text is None else _parsed(path, text)
    reader = _Reader(path, _lines(text or ""), commands)
    profiles = document.pop("profile", {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(f"{path}: a profile must be a table", hint="write [profile.NAME], and its keys below")
    sections = {name: reader.section("profile", f"profile.{name}", table) for name, table in profiles.items()}
    if profile is not None and profile not in profiles:
        known = f"profiles: {', '.join(profiles)}" if profiles else f"there is no profile yet: add [profile.{profile}]"
        raise UsageError(f"{path} has no profile {profile!r}", hint=known)
    rest = () if text is None else (reader.section("file", "", document),)
    found = (sections[profile], *rest) if profile is not None else rest
    base_url, command = _general(found, "base_url"), _general(found, "api_key_command")
    return Settings(
        folder,
        base_url=environ.get("CARTESIA_BASE_URL") or (base_url.value if base_url else None),
        api_key_command=command.value if command else None,
        file=None if text is None else path,
        profile=profile,
        sections=found,
    )


def credential(settings: Settings, environ: Mapping[str, str] = os.environ) -> Credential | None:
    """The key, else an access token, else None. AuthError for one that can't be a key, before any network call."""
    for variable in ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN"):
        if secret := environ.get(variable):
            return _checked(Credential(secret, f"the variable {variable}"))
    if settings.api_key_command:
        found = settings.general("api_key_command")
        place = found.origin if found else "api_key_command"
        return _checked(Credential(_output(settings.api_key_command, place), f"api_key_command ({place})"))
    path = settings.folder / "api-key"
    if path.is_file():
        return _checked(Credential(_private(path), f"the file {path}"))
    return None


def key_source(settings: Settings, environ: Mapping[str, str] = os.environ) -> Setting | None:
    """Where `credential` would take the key from; the value only says that there is one. No command is run."""
    for variable in ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN"):
        if environ.get(variable):
            return Setting("present", "environment", variable)
    if settings.api_key_command:
        command = settings.general("api_key_command") or Setting(None, "file", "api_key_command")
        return Setting("printed by api_key_command (not run)", command.layer, command.origin)
    path = settings.folder / "api-key"
    return Setting("present", "file", str(path)) if path.is_file() else None


def suggestion(name: str, known: Collection[str]) -> str | None:
    """The name that was probably meant, or None."""
    from difflib import get_close_matches  # start-up: only a mistake comes here

    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes sections of the tables of one file.

    lines      (table, key) to the line on which it stands, as far as that is known
    commands   names that tables may have
    """

    path: Path
    lines: Mapping[tuple[str, str], int]
    commands: Collection[str]

    def section(self, layer: str, name: str, table: Mapping[str, Any]) -> Section:
        """UsageError for keys that don't exist, and for types that are wrong outside of the commands' options."""
        general: dict[str, Setting] = {}
        commands: dict[str, Mapping[str, Setting]] = {}
        for key, value in table.items():
            if key in GENERAL:
                general[key] = self._general(layer, name, key, value)
            elif key not in self.commands:
                raise self._unknown(name, key, value)
            elif not isinstance(value, dict):
                raise UsageError(f"{self._place(name, key)} must be a table", hint=f"write [{_dotted(name, key)}]")
            else:
                inner = _dotted(name, key)
                commands[key] = {
                    option.replace("-", "_"): Setting(given, layer, self._place(inner, option))
                    for option, given in value.items()
                }
        return Section(layer, general, commands)

    def _general(self, layer: str, name: str, key: str, value: Any) -> Setting:
        place = self._place(name, key)
        if not isinstance(value, str):
            raise UsageError(f"{place} must be a string", hint=f'put the value in quotes: {key} = "…"')
        if key == "base_url":
            try:
                value = check_base_url(value)
            except CliError as error:
                raise UsageError(f"{place}: {error.message}", hint=error.hint) from error
        return Setting(value, layer, place, general=True)

    def _unknown(self, name: str, key: str, value: Any) -> UsageError:
        if key.replace("-", "_") == "api_key":
            hint = "the key is never kept here: use CARTESIA_API_KEY, the file api-key beside config.toml, or "
            return UsageError(f"{self._place(name, key)} is not a setting", hint=f"{hint}api_key_command")
        known = (*self.commands, "profile") if isinstance(value, dict) else (*GENERAL, *self.commands)
        meant = suggestion(key.replace("-", "_"), known) or suggestion(key, known)
        hint = f"did you mean {meant}?" if meant else f"settings: {', '.join(GENERAL)}, and a table for each command"
        what = f"{self.path}: [{_dotted(name, key)}]" if isinstance(value, dict) else self._place(name, key)
        return UsageError(f"{what} is not a setting", hint=hint)

    def _place(self, table: str, key: str) -> str:
        line = self.lines.get((table, key))
        return f"{self.path}{f', line {line}' if line else ''}: {f'[{table}] ' if table else ''}{key}"


def _general(sections: Sequence[Section], name: str) -> Setting | None:
    return next((section.general[name] for section in sections if name in section.general), None)


def _dotted(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _text(path: Path, *, needed: bool) -> str | None:
    """What the file says; None where there is none and none is `needed`."""
    try:
        return path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        if not needed:
            return None
        raise UsageError(f"{path} does not exist", hint="--config names a configuration file") from error
    except OSError as error:
        hint = "--config names a configuration file that you may read"
        raise UsageError(f"{path} can't be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # start-up: most people have no file

    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="correct the file: it must be TOML") from error


def _lines(text: str) -> dict[tuple[str, str], int]:
    """(table, key) to its line, for keys that are written the usual way, one a line: for messages."""
    found: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = re.sub(r"[\s\"']", "", heading[1])
        elif entry := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            found.setdefault((table, entry[1]), number)
    return found


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


def _output(command: str, place: str) -> str:
    """What a command prints. AuthError where it fails: its own words are not repeated, they may hold the key."""
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


def _private(path: Path) -> str:
    """A secret that only its owner can read."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and os.name == "posix":
            raise AuthError(f"{path} can be read by others", hint=f"chmod 600 '{path}'")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise AuthError(f"{path} can't be read: {reason}", hint="it must hold the API key alone, as text") from error
