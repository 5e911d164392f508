"""Shell commands that a user can enter next: to continue a run, or to transcribe the recording of a lost session."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

from ...remote_url import display_url, is_remote
from ..option_sources import CHOSEN, negation
from ..options import NUMBERED
from .stdin import STDIN

if TYPE_CHECKING:
    import typer

    from .job import Job
    from .output_options import OutputOptions

MAX_NAMED = 20
"""Inputs that a suggested command names one by one."""

MAX_COMMAND = 4000
"""Characters of a command in a journal."""


def rest_command(
    context: typer.Context, names: Sequence[str], left: Sequence[Job], *, to_files: bool, force: bool
) -> str:
    """The command that does the rest of a run that was stopped, with the options of its command line.

    names      the run's inputs
    left       the jobs that are left; none if they aren't known. More than MAX_NAMED are not named one by one
    to_files   whether results go to files
    """
    typed = typed_options(context)
    resumes = to_files and not force
    if _has_secret(names, typed):
        return "the same command with --resume" if resumes else "the same command"
    inputs = names
    if resumes:
        typed = [*typed, *({"--resume"} - set(typed))]
    elif not to_files and 0 < len(left) <= MAX_NAMED and "--files-from" not in typed:
        inputs = [job.input.source for job in left]
    # Otherwise once more from the start: the cache has the responses that came before.
    return shlex.join(["cartesia-cli", "transcribe", *typed, *_operands(inputs)])


def run_command(context: typer.Context, names: Sequence[str]) -> str | None:
    """The command that does what is left of a run with --output-dir, for its journal. None if it would be too long, or
    show a password or signature in a URL.
    """
    typed = [option for option in typed_options(context) if option not in ("--force", "--resume", "--retry-failed")]
    if _has_secret(names, typed):
        return None
    command = shlex.join(["cartesia-cli", "transcribe", *typed, "--resume", *_operands(names)])
    return command if len(command) <= MAX_COMMAND else None


def _has_secret(names: Sequence[str], typed: Sequence[str]) -> bool:
    """Whether a command line may contain a password or a signature, in a URL."""
    return any(is_remote(word) and display_url(word) != word for word in (*names, *typed))


def _operands(names: Sequence[str]) -> list[str]:
    dashes = ["--"] if any(name.startswith("-") and name != STDIN for name in names) else []
    return [*dashes, *names]


def to_argv(*values: Any) -> list[str]:
    """The options of these groups as command-line arguments, without those that have their default values."""
    words: list[str] = []
    for value in values:
        hints = get_type_hints(type(value), include_extras=True)
        for field, given in value._asdict().items():
            if given != value._field_defaults[field]:
                option = hints[field].__metadata__[0]
                declared = (option.default, *(option.param_decls or ()))  # in annotations, Typer has the first there
                long = [name for name in declared if isinstance(name, str) and name.startswith("--")]
                name = long[0] if long else f"--{field.replace('_', '-')}"
                switch = {True: name, False: f"--no-{name.removeprefix('--')}"}
                words += [switch[given]] if isinstance(given, bool) else [name, str(given)]
    return words


def recovery_command(
    file: str,
    language: str | None,
    output_options: OutputOptions,
    *groups: Any,
    command: Sequence[str] = ("transcribe",),
    extra: Sequence[str] = (),
) -> str:
    """The shell command that transcribes the recording of a lost session with the options of the session. It may
    overwrite what the session has written so far.

    file     the recording
    groups   option groups of the session
    extra    further arguments
    """
    spoken = [] if language is None else ["--language", language]
    taken = output_options.output is not None or output_options.output_dir is not None
    arguments = to_argv(output_options._replace(force=output_options.force or taken), *groups)
    return shlex.join(["cartesia-cli", *command, file, *spoken, *extra, *arguments])


def typed_options(context: typer.Context) -> list[str]:
    """The options that were given on the command line of the running command, as command-line arguments."""
    words: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.param_type_name != "option" or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        name = next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is False:
                words += [negation(parameter) or name]
            elif name == "--speakers-by-channel":  # a word after it is a value only if it has a comma
                words += [name if one == NUMBERED else f"{name}={one}"]
            else:
                words += [name] if one is True else [name, str(one)]
    for name, chosen in context.meta.get(CHOSEN, {}).items():
        if chosen.layer == "flag" and f"--{name}" not in words:  # it stood before the command
            words += [f"--{name}", chosen.value]
    return words
