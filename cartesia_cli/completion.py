"""Shell completion: `cartesia-cli __complete SHELL WORD...` prints a line for each candidate.

    value<TAB>description       the whole word that could stand there
    <TAB>files<TAB>prefix       the shell completes file names itself, after a prefix such as `--output=`
    <TAB>folders<TAB>prefix     the same for folders

The last WORD is the one being typed. The user waits for this at every TAB, so it must never import the app: it reads
the command line from completion_table.json, which `make completions` writes. It must never print an error, which would
land in the middle of the command being typed.
"""

from __future__ import annotations

import json
import os

with open(os.path.join(os.path.dirname(__file__), "completion_table.json"), encoding="utf-8") as _file:
    _TABLE = json.load(_file)

OPERANDS: dict[str, str] = _TABLE["operands"]
"""A command (the program itself: "") to the kind of its arguments; "" if it takes none."""

OPTIONS: dict[str, list[tuple[str, str, str, bool, str]]] = _TABLE["options"]
"""A command to its options: names to offer, names that are only understood, kind of the value ("" for a flag), whether
it may be repeated, description.
"""

VALUES: dict[str, list[tuple[str, str]]] = _TABLE["values"]
"""A kind of value to what may be offered, each with a description."""

PROGRAM = ""
"""The key under which the tables keep what comes before a command."""

BY_THE_SHELL = {"file": "files", "folder": "folders", "whisper": "folders"}
"""Kinds of values that are left to the shell, which lists files better and knows how to quote their names."""


def answer(arguments: list[str]) -> int:
    """Print what may follow; returns the exit code, always 0. To the scripts, any other code means "no answer"."""
    try:
        shell, *words = arguments
        lines = candidates(words)
        if shell == "bash":
            # Zsh and fish match candidates themselves, as their user has configured; bash doesn't.
            lines = [line for line in lines if line.startswith(("\t", words[-1]))]
        # Not through sys.stdout, whose encoding may lack characters, and which reports a closed pipe at exit.
        os.write(1, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    except Exception:
        return 0
    return 0


def candidates(words: list[str]) -> list[str]:
    """The lines to print for a command line, without the program's name, whose last word is unfinished."""
    *before, word = words
    command, awaited, ended, given, operands = PROGRAM, "", False, set[str](), 0
    for earlier in before:
        if awaited:
            awaited = ""  # whatever it looks like, it is the value
        elif not ended and earlier == "--":
            ended = True
        elif not ended and earlier.startswith("-") and earlier != "-":
            names, awaited = _read(command, earlier)
            given |= names
        elif command == PROGRAM:
            if not earlier or earlier not in OPTIONS:
                return []
            command, ended, given = earlier, False, set()
        else:
            operands += 1
    if awaited:
        return _values(awaited, word)
    if not ended and word.startswith("--") and "=" in word:
        name, _, value = word.partition("=")
        return _values(_kind(command, name), value, prefix=f"{name}=")
    if not ended and (word.startswith("-") or not OPERANDS[command]):
        return _options(command, word, given)
    kind = OPERANDS[command]
    return _values(OPERANDS[PROGRAM] if kind == "show" and operands else kind, word)  # config show COMMAND...


def _options(command: str, word: str, given: set[str]) -> list[str]:
    """Options that may follow; short ones only after a single dash, the opposites of switches only after `--no-`."""
    opposites = "--no-" if word.startswith("--no-") else " "
    return [
        f"{name}\t{description}"
        for offered, understood, _, repeatable, description in OPTIONS[command]
        if repeatable or given.isdisjoint(f"{offered} {understood}".split())
        for name in (*offered.split(), *(other for other in understood.split() if other.startswith(opposites)))
        if name.startswith("--") or (word.startswith("-") and not word.startswith("--"))
    ]


def _values(kind: str, word: str, *, prefix: str = "") -> list[str]:
    offers = VALUES.get(kind, [])
    if kind in ("format", "mode"):
        named, comma, _ = word.rpartition(",")
        offers = [(named + comma + name, about) for name, about in offers if name not in named.split(",")]
    elif kind in ("device", "profile", "model", "batch-model"):
        known = [name for name, _ in offers]
        offers = [*offers, *((name, "") for name in _names(kind) if name not in known and name.isprintable())]
    lines = [f"{prefix}{value}\t{about}" for value, about in offers]
    return [*lines, f"\t{BY_THE_SHELL[kind]}\t{prefix}"] if kind in BY_THE_SHELL else lines


def _read(command: str, word: str) -> tuple[set[str], str]:
    """The options in a word such as `-qf`, and the kind of the value that must follow it, or ""."""
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return {name}, "" if equals else _kind(command, name)
    names = set()
    for place, letter in enumerate(word[1:], start=2):
        names.add(f"-{letter}")
        if kind := _kind(command, f"-{letter}"):
            return names, kind if place == len(word) else ""
    return names, ""


def _kind(command: str, name: str) -> str:
    """The kind of value that an option takes; "" for a flag, and for an unknown option."""
    for offered, understood, kind, _, _ in OPTIONS[command]:
        if name in f"{offered} {understood}".split():
            return kind
    return ""


def _names(kind: str) -> list[str]:
    """Values that depend on this machine and its user: microphones, profiles in the configuration file (but not in one
    that --config names), and models that servers have listed. None if they can't be found.
    """
    from importlib import import_module  # each of these modules only where it is needed
    from pathlib import Path

    try:
        if kind == "device":  # loads a sound library
            return list(import_module("cartesia_cli.audio.devices").list_device_names())
        if kind == "profile":
            from . import directories, settings

            file = os.environ.get("CARTESIA_CONFIG")
            found = settings.load(
                directories.config_dir(), file=Path(file) if file else None, on_mistake=lambda error: None
            )
            return list(found.profiles)
        models = import_module("cartesia_cli.model_cache").known_models(None)
        return [model.id for model in models if kind == "model" or model.takes("batch")]
    except Exception:
        return []
