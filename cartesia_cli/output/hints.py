"""What to do next, in words that fit the command at hand.

Errors come from code that several commands share, so a hint may name an option that this one lacks. Such a clause
is left out; where nothing remains, the kind of the error says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ..errors import CliError

_OPTION = re.compile(r"(?<![\w/.'-])--?[A-Za-z][\w-]*")
_QUOTED_COMMAND = re.compile(r"`[a-z][^`]*`")
"""Another command, quoted with its options."""

_COMMAND_LINE = "cartesia-cli "
"""From here to its end, a hint is a command to copy: its options are its own."""


def fit_hint(error: CliError, options: Collection[str] | None) -> str:
    """The hint of an error for a command with these options; None where they aren't known yet."""
    said = error.hint or ""
    if options is not None:
        advice, command, line = said.partition(_COMMAND_LINE)
        first, *rest = re.split(r"(; (?:or )?)", advice)
        clauses = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
        last = clauses[-1]
        kept = [one for one in clauses if _fits(one[1], options) or (command and one is last)]
        said = "".join(between + clause for between, clause in kept) + command + line
        if kept:
            said = said.removeprefix(kept[0][0])
    return said or error.next_step


def _fits(clause: str, options: Collection[str]) -> bool:
    return all(option in options for option in _OPTION.findall(_QUOTED_COMMAND.sub("", clause)))
