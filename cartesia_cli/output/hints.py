"""Fits the hints of errors to the command that is running.

Errors of packages below the command line can't name its options: OPTION_HINTS says which ones do what they advise.
Errors also come from code that several commands share, so that a hint may name an option which the command lacks. Such
a clause is left out. If nothing remains, there is a general hint for the type of the error.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ..errors import CliError
from .files import STDOUT_HINT

OPTION_HINTS = {
    "allow more time": "--timeout SECONDS waits longer",
    "allow it to be overwritten": "--force overwrites it",
    "headerless samples need an encoding and a sample rate": "headerless samples need --encoding and --sample-rate",
    "name another file for the events": "--raw-events names another file",
    "the audio may have been billed: another attempt sends it again": (
        "the audio may have been billed: --retries N sends it again"
    ),
    "transcribe it as a whole": "--no-speakers-by-channel transcribes it as a whole",
    "words are missing: a log of the frames shows what came instead": (
        "words are missing: --raw-events FILE shows what came instead"
    ),
}
"""Hint of an error, or a clause of one that has several, to the same advice on the command line."""

STDOUT_HINT_WITHOUT_OPTION = "redirect stdout to a file that can be written"
"""In place of STDOUT_HINT, for commands that have no -o."""

DEFAULT_HINTS = {
    "internal": "--debug shows where; please report it",
    "usage": "cartesia-cli --help lists the commands; the options of each are in its own --help",
    "input": "check that the file exists, that you may read it, and that it plays",
    "auth": "create a key at play.cartesia.ai/keys, and run `cartesia-cli login`",
    "api": "see https://docs.cartesia.ai, or ask Cartesia's support with the request id",
    "protocol": "is it really Cartesia's API? Check the base URL",
    "network": "check the network, then run the same command again",
    "output": "choose another place, or free some space there",
    "engine": "reinstall cartesia-cli with its extra [local]",
    "gate": "look at the recordings with the most errors, or allow more",
}
"""Type of an error to what to do next, where nothing more specific is known."""

_OPTION = re.compile(r"(?<![\w/.'-])--?[A-Za-z][\w-]*")
_QUOTED_COMMAND = re.compile(r"`[a-z][^`]*`")
"""Another command, quoted with its options, which needn't be options of the running command."""

_COMMAND_LINE = "cartesia-cli "
"""The beginning of a command to copy, at the end of a hint. Its options needn't be options of the running command."""


def fit_hint(error: CliError, options: Collection[str] | None) -> str:
    """The hint of an error for a command with these options, which are None as long as the command isn't known."""
    if error.hint == STDOUT_HINT and "-o" not in (options or ()):
        return STDOUT_HINT_WITHOUT_OPTION
    text = "; ".join(OPTION_HINTS.get(clause, clause) for clause in (error.hint or "").split("; "))
    if options is not None:
        advice, command, line = text.partition(_COMMAND_LINE)
        first, *rest = re.split(r"(; (?:or )?)", advice)
        clauses = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
        last = clauses[-1]
        fitting = [one for one in clauses if _fits(one[1], options) or (command and one is last)]
        text = "".join(separator + clause for separator, clause in fitting) + command + line
        if fitting:
            text = text.removeprefix(fitting[0][0])
    return text or DEFAULT_HINTS[error.type]


def _fits(clause: str, options: Collection[str]) -> bool:
    return all(option in options for option in _OPTION.findall(_QUOTED_COMMAND.sub("", clause)))
