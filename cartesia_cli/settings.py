"""Reads the configuration file, its profiles and the API key, and reports mistakes with file and line.

    config.toml        base_url, api_key_command, a table of option defaults for each command, and
                       [profile.NAME]: the same keys, used when that profile is selected
    api-key            the key alone, readable by its owner only

Must never write these files, take the key from the command line, where every process list shows it, or run
`api_key_command` before a key is needed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .errors import AuthError, CliError, UsageError
from .protocol import Credential, check_base_url

KEY_COMMAND_SECONDS = 30

GENERAL = ("base_url", "api_key_command")
"""Keys outside of the commands' tables. Their values are strings."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an option or a general key, and where it is set.

    layer     "flag", "environment", "profile", "file" or "default"
    origin    the flag, the environment variable, or the file with the line
    general   whether it comes from a setting for all commands: they read that by themselves, so it takes part in the
              precedence of options but isn't passed to the command
    """

    value: Any
    layer: str
    origin: str
    general: bool = False


class Section(NamedTuple):
    """The settings in the file outside of profiles, or in one profile.

    layer      "file" or "profile"
    general    those of GENERAL that are set
    commands   command name to its options, whose names have underscores (`word_timestamps`)
    """

    layer: str
    general: Mapping[str, Setting] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one run.

    folder             contains the file `api-key`, and `config.toml` unless another file was named
    base_url           from the environment, the profile or the file, or None
    api_key_command    a command that prints the key, or None
    file               the file that was read, or None
    profile            the name of the profile, or None
    sections           the profile, then the rest of the file; empty without a file
    """

    folder: Path
    base_url: str | None = None
    api_key_command: str | None = None
    file: Path | None = None
    profile: str | None = None
    sections: tuple[Section, ...] = ()

    def general(self, name: str) -> Setting | None:
        """The setting of a key of GENERAL, from the profile, or else from the rest of the file."""
        return _general(self.sections, name)


def load(
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    file: Path | None = None,
    profile: str | None = None,
    commands: Collection[str] = (),
) -> Settings:
    """Read `config.toml` in a folder, or another `file`. UsageError for any mistake in it.

    profile    the name of the profile that applies; UsageError if the file has no such profile
    commands   the names that tables may have
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
        known = f"profiles: {', '.join(profiles)}" if profiles else f"no profiles yet: add [profile.{profile}]"
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
    """The API key, or else an access token, or else None. AuthError for what can't be a key."""
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
    """Where `credential` would take the key from, with a description as its value. No command is run."""
    for variable in ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN"):
        if environ.get(variable):
            return Setting("present", "environment", variable)
    if settings.api_key_command:
        command = settings.general("api_key_command") or Setting(None, "file", "api_key_command")
        return Setting("printed by api_key_command (not run)", command.layer, command.origin)
    path = settings.folder / "api-key"
    return Setting("present", "file", str(path)) if path.is_file() else None


def suggestion(name: str, known: Collection[str]) -> str | None:
    """The known name that a misspelt one probably stands for, or None."""
    from difflib import get_close_matches  # start-up: only mistakes need it

    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns the tables of one file into sections.

    lines      (table, key) to its line number, as far as that is known
    commands   the names that tables may have
    """

    path: Path
    lines: Mapping[tuple[str, str], int]
    commands: Collection[str]

    def section(self, layer: str, name: str, table: Mapping[str, Any]) -> Section:
        """The section of a table. UsageError for unknown keys, and for general keys that aren't strings."""
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
            hint = "the API key doesn't belong here: use CARTESIA_API_KEY, the file api-key beside config.toml, or "
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
    """The text of a file; None if it doesn't exist and isn't `needed`."""
    try:
        return path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        if not needed:
            return None
        raise UsageError(f"{path} does not exist", hint="name an existing configuration file") from error
    except OSError as error:
        hint = "name a configuration file that you may read"
        raise UsageError(f"{path} can't be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # start-up: most people have no file

    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="correct the file: it must be valid TOML") from error


def _lines(text: str) -> dict[tuple[str, str], int]:
    """(table, key) to its line number, for keys that are written one on a line. Only messages depend on it."""
    found: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = re.sub(r"[\s\"']", "", heading[1])
        elif entry := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            found.setdefault((table, entry[1]), number)
    return found


def _checked(found: Credential) -> Credential:
    problem = None
    if not found.secret.strip():
        problem = "it is blank"
    elif not found.secret.isascii() or not found.secret.isprintable() or " " in found.secret:
        problem = "it contains a space, a line break or another character that keys don't contain"
    elif found.secret.startswith("sk_car_admin_"):
        problem = "it is an admin key, which can't transcribe"
    if problem:
        raise AuthError(
            f"{found.origin} does not contain an API key: {problem}", hint="copy the key again: play.cartesia.ai/keys"
        )
    return found


def _output(command: str, place: str) -> str:
    """The output of a command. AuthError if it fails; its output is not quoted, because it may contain the key."""
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
    """The content of a file that must be readable by its owner only."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and os.name == "posix":
            raise AuthError(f"{path} can be read by others", hint=f"chmod 600 '{path}'")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise AuthError(f"{path} can't be read: {reason}", hint="it must hold the API key alone, as text") from error
