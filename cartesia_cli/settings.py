"""Reads the configuration file and its profiles, and reports mistakes with file and line.

    config.toml        base_url, api_key_command, a table of option defaults for each command, and
                       [profile.NAME]: the same keys, used when that profile is selected

Must never write the file.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import UsageError
from .record import Record

SWITCHES = ("insecure_http", "insecure_http_key")
GENERAL = ("base_url", "api_key_command", *SWITCHES)
"""Keys outside of the commands' tables. Their values are strings, those of SWITCHES true or false."""


OnMistake = Callable[[UsageError], None]
"""What is done with a mistake. If it returns, what is wrong is left out, and the rest is read."""


def raise_mistake(error: UsageError) -> None:
    """Raise the first mistake."""
    raise error


class ChoiceError(UsageError):
    """The file or the profile that was chosen doesn't exist, or can't be read."""


class Setting(NamedTuple):
    """The value of an option or a general key, and where it is set.

    layer     "flag", "environment", "profile", "file" or "default"
    origin    the flag, the environment variable, or the file with the line
    general   whether it comes from a setting for all commands
    """

    value: Any
    layer: str
    origin: str
    general: bool = False


class Section(Record):
    """The settings in the file outside of profiles, or in one profile.

    layer      "file" or "profile"
    general    those of GENERAL that are set
    commands   command name to its options, whose names have underscores (`word_timestamps`)
    """

    layer: str
    general: Mapping[str, Setting]
    commands: Mapping[str, Mapping[str, Setting]]


class Settings(Record):
    """The configuration of one run.

    folder             contains `config.toml`, unless another file was named, and the stored keys
    file               the file that was read, or None
    profile            the name of the profile, or None
    sections           the profile, then the rest of the file; empty without a file
    profiles           all profiles in the file, by their names
    """

    folder: Path
    file: Path | None = None
    profile: str | None = None
    sections: tuple[Section, ...] = ()
    profiles: Mapping[str, Section] = {}

    def general(self, name: str) -> Setting | None:
        """The setting of a key of GENERAL, from the profile, or else from the rest of the file."""
        return next((section.general[name] for section in self.sections if name in section.general), None)


def load(
    folder: Path,
    *,
    file: Path | None = None,
    profile: str | None = None,
    commands: Collection[str] = (),
    on_mistake: OnMistake = raise_mistake,
) -> Settings:
    """Read `config.toml` in a folder, or another `file`. Raises UsageError if it can't be read.

    profile      the name of the profile that applies; it is a mistake if the file has no such profile
    commands     the names that tables may have
    on_mistake   gets the mistakes in it
    """
    path = file or folder / "config.toml"
    text = _text(path, needed=file is not None)
    document = {} if text is None else _parsed(path, text)
    reader = _Reader(path, _lines(text or ""), commands, on_mistake)
    profiles = document.pop("profile", {})
    tables = (
        {name: table for name, table in profiles.items() if isinstance(table, dict)}
        if isinstance(profiles, dict)
        else {}
    )
    if tables != profiles:
        on_mistake(UsageError(f"{path}: a profile must be a table", hint="write [profile.NAME], and its keys below"))
    sections = {name: reader.section("profile", f"profile.{name}", table) for name, table in tables.items()}
    if profile is not None and profile not in sections:
        known = f"profiles: {', '.join(profiles)}" if profiles else f"no profiles yet: add [profile.{profile}]"
        on_mistake(ChoiceError(f"{path} has no profile {profile!r}", hint=known))
    rest = () if text is None else (reader.section("file", "", document),)
    applied = (sections[profile], *rest) if profile in sections else rest
    return Settings(folder, None if text is None else path, profile, applied, sections)


def suggestion(name: str, known: Collection[str]) -> str | None:
    """The known name that a misspelt one probably stands for, or None."""
    from difflib import get_close_matches  # start-up: only mistakes need it

    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


class _Reader(Record):
    """Turns the tables of one file into sections.

    lines        (table, key) to its line number, as far as that is known
    commands     the names that tables may have
    on_mistake   gets unknown keys, and wrong values of general keys
    """

    path: Path
    lines: Mapping[tuple[str, str], int]
    commands: Collection[str]
    on_mistake: OnMistake

    def section(self, layer: str, name: str, table: Mapping[str, Any]) -> Section:
        """The section of a table."""
        general: dict[str, Setting] = {}
        commands: dict[str, Mapping[str, Setting]] = {}
        for key, value in table.items():
            try:
                if key in GENERAL:
                    general[key] = self._general(layer, name, key, value)
                elif key not in self.commands:
                    raise self._unknown(name, key, value)
                elif not isinstance(value, dict):
                    raise UsageError(f"{self._origin(name, key)} must be a table", hint=f"write [{_dotted(name, key)}]")
                else:
                    commands[key] = self._command(layer, _dotted(name, key), value)
            except UsageError as error:
                self.on_mistake(error)
        return Section(layer, general, commands)

    def _command(self, layer: str, name: str, table: Mapping[str, Any]) -> dict[str, Setting]:
        """The options in the table of a command, whose names may be written with underscores or as on the command
        line.
        """
        options: dict[str, Setting] = {}
        for key, value in table.items():
            origin, option = self._origin(name, key), key.replace("-", "_")
            if option in options:
                self.on_mistake(
                    UsageError(f"{options[option].origin} and {origin} set the same option", hint="remove one of them")
                )
            options[option] = Setting(value, layer, origin)
        return options

    def _general(self, layer: str, name: str, key: str, value: Any) -> Setting:
        origin = self._origin(name, key)
        if key in SWITCHES:
            if not isinstance(value, bool):
                raise UsageError(f"{origin} must be true or false", hint=f"write {key} = true")
        elif not isinstance(value, str):
            raise UsageError(f"{origin} must be a string", hint=f'put the value in quotes: {key} = "…"')
        if value == "":
            raise UsageError(f"{origin} must not be empty", hint="give the setting a value, or remove it")
        return Setting(value, layer, origin, general=True)

    def _unknown(self, name: str, key: str, value: Any) -> UsageError:
        if key.replace("-", "_") == "api_key":
            hint = "the API key doesn't belong here: use `cartesia-cli login`, CARTESIA_API_KEY or "
            return UsageError(f"{self._origin(name, key)} is not a setting", hint=f"{hint}api_key_command")
        known = (*self.commands, "profile") if isinstance(value, dict) else (*GENERAL, *self.commands)
        meant = suggestion(key.replace("-", "_"), known) or suggestion(key, known)
        hint = f"did you mean {meant}?" if meant else f"settings: {', '.join(GENERAL)}, and a table for each command"
        return UsageError(f"{self._origin(name, key, is_table=isinstance(value, dict))} is not a setting", hint=hint)

    def _origin(self, table: str, key: str, *, is_table: bool = False) -> str:
        line = self.lines.get((table, key))
        what = f"[{_dotted(table, key)}]" if is_table else f"{f'[{table}] ' if table else ''}{key}"
        return f"{self.path}{f', line {line}' if line else ''}: {what}"


def _dotted(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _text(path: Path, *, needed: bool) -> str | None:
    """The text of a file; None if it doesn't exist and isn't `needed`."""
    try:
        return path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        if not needed:
            return None
        raise ChoiceError(f"{path} does not exist", hint="name an existing configuration file") from error
    except OSError as error:
        hint = "name a configuration file that you may read"
        raise ChoiceError(f"{path} can't be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # start-up: most people have no file

    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="correct the file: it must be valid TOML") from error


def _lines(text: str) -> dict[tuple[str, str], int]:
    """(table, key) to its line number, for tables and for keys that are written one on a line. Only messages depend on
    it.
    """
    numbers: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[\[?([^\[\]]+)\]", line):
            table = re.sub(r"[\s\"']", "", heading[1])
            names = table.split(".")
            for depth, name in enumerate(names):
                numbers.setdefault((".".join(names[:depth]), name), number)
        elif entry := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            numbers.setdefault((table, entry[1]), number)
    return numbers
