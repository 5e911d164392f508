"""What a shell offers at TAB: `cartesia-cli __complete SHELL WORD...` answers with a line for each candidate.

    value<TAB>description       the whole word that could stand there
    <TAB>files<TAB>prefix       the shell is to complete a file's name itself, behind a prefix such as `--output=`
    <TAB>folders<TAB>prefix     the same for folders

The last WORD is the one that is being typed. Somebody waits for this at every TAB, so it knows the command
line from a table (`make completions` writes it) and must never import the app. What it printed by mistake would
land in the middle of a command that is being typed: it must never complain.
"""

from __future__ import annotations

import os

from .completion_table import OPERANDS, OPTIONS, VALUES

PROGRAM = ""
"""The key under which the tables keep what comes before a command."""

BY_THE_SHELL = {"file": "files", "folder": "folders", "whisper": "folders"}
"""Kinds of values that the shell knows better: odd names are its own to quote."""


def answer(arguments: list[str]) -> int:
    """Print what may follow; the exit code, always 0. Other codes tell the scripts that there is no answer."""
    try:
        shell, *words = arguments
        lines = candidates(words)
        if shell == "bash":
            # Zsh and fish match candidates in ways of their own, and as their user likes; bash leaves it to us.
            lines = [line for line in lines if line.startswith(("\t", words[-1]))]
        # Not through sys.stdout: its encoding may not know the text, and a reader that is gone is told at exit.
        os.write(1, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    except Exception:
        return 0
    return 0


def candidates(words: list[str]) -> list[str]:
    """The lines for a command line without the program's name; its last word is the unfinished one."""
    *before, word = words
    command, awaited, ended, given = PROGRAM, "", False, set[str]()
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
    if awaited:
        return _values(awaited, word)
    if not ended and word.startswith("--") and "=" in word:
        name, _, value = word.partition("=")
        return _values(_kind(command, name), value, prefix=f"{name}=")
    if not ended and (word.startswith("-") or not OPERANDS[command]):
        return _options(command, word, given)
    return _values(OPERANDS[command], word)


def _options(command: str, word: str, given: set[str]) -> list[str]:
    """Options that may still come; the short ones only after a single dash, the opposites of switches after `--no-`."""
    opposites = "--no-" if word.startswith("--no-") else " "
    return [
        f"{name}\t{description}"
        for offered, understood, _, repeatable, description in OPTIONS[command]
        if repeatable or given.isdisjoint(f"{offered} {understood}".split())
        for name in (*offered.split(), *(other for other in understood.split() if other.startswith(opposites)))
        if name.startswith("--") or (word.startswith("-") and not word.startswith("--"))
    ]


def _values(kind: str, word: str, *, prefix: str = "") -> list[str]:
    offers = VALUES.get(kind, ())
    if kind == "format":
        named, comma, _ = word.rpartition(",")
        offers = tuple((named + comma + name, about) for name, about in offers if name not in named.split(","))
    elif kind == "device":
        offers = tuple((name, "") for name in _microphones() if name.isprintable())
    lines = [f"{prefix}{value}\t{about}" for value, about in offers]
    return [*lines, f"\t{BY_THE_SHELL[kind]}\t{prefix}"] if kind in BY_THE_SHELL else lines


def _read(command: str, word: str) -> tuple[set[str], str]:
    """The names of the options in a word, such as `-qf`; and the kind of the value that is still to come, or ""."""
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
    """What kind of value an option takes; "" for a flag, and for an option that isn't there."""
    for offered, understood, kind, _, _ in OPTIONS[command]:
        if name in f"{offered} {understood}".split():
            return kind
    return ""


def _microphones() -> list[str]:
    # The one candidate that only this machine knows; asked when it is wanted, since it loads a sound library.
    from importlib import import_module

    try:
        return list(import_module("cartesia_cli.audio.devices").names())
    except Exception:
        return []
