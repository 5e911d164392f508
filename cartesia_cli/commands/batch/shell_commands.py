"""Shell commands that a user can enter next, such as the one that continues a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...remote_url import display_url, is_remote
from ..command_context import effective_settings
from ..option_sources import CONFIG_SELECTORS, OPTIONAL_VALUES, opposite_flag, options_by_name
from ..options import NUMBERED, ServerOptions
from ..precedence import REQUIREMENTS
from .output_options import FormatOptions, OutputOptions, SubtitleOptions
from .stdin import STDIN

if TYPE_CHECKING:
    import typer

    from .config import BatchConfig
    from .job import Job
    from .output_plan import OutputPlan

MAX_NAMED = 20
"""Inputs that a suggested command names one by one."""

MAX_COMMAND = 4000
"""Characters of a command in a journal."""

RECOVERY_OPTIONS = frozenset({
    *OutputOptions.names(), *FormatOptions.names(), *SubtitleOptions.names(), *ServerOptions.names(), *CONFIG_SELECTORS,
    "local_model", "language", "encoding", "sample_rate",
})  # fmt: skip
"""Parameters of a live session that also concern the transcription of its recording."""


def rest_command(
    context: typer.Context,
    names: Sequence[str],
    left: Sequence[Job],
    first_left: str | None,
    *,
    plan: OutputPlan,
    config: BatchConfig,
) -> str:
    """The command that does the rest of a run that was stopped, with the options of its command line. It doesn't
    transcribe again what is done; where no command can do that, and no cache has the responses, it says so.

    names        the run's inputs, the sample among them
    left         the jobs that are left; none if they aren't known
    first_left   the first input that is left, if they aren't known
    """
    typed = _typed_options(context, without=("sample",))
    has_secret = _has_secret(names, typed)
    if not plan.to_stdout and (not config.replaces or _resumes_replacing(left, plan, config)):
        if has_secret:
            return "the same command with --resume" + (" instead of --force" if config.replaces else "")
        typed = _typed_options(context, without=("sample", "force", "resume"))
        return shell_command("transcribe", *typed, "--resume", files=names)
    if has_secret:
        return "the same command"
    if 0 < len(left) <= MAX_NAMED and _can_be_named(left, plan, config):
        typed = _typed_options(context, without=("sample", "files_from"))
        if not plan.to_stdout and plan.output is None and plan.output_dir is None and len(left) == 1:
            # that of a single input would go to stdout
            typed += [word for file in left[0].targets.values() for word in ("--output", str(file))]
        return shell_command("transcribe", *typed, files=[job.input.source for job in left])
    # Once more from the start: the cache has the responses that came before.
    command = shell_command("transcribe", *typed, files=names)
    if config.cache is not None:
        return command
    if first_left is not None and "--files-from" in typed and not names:
        return f"{command}, with the list from {first_left} on"
    return f"{command}, which transcribes all of them again"


def _resumes_replacing(left: Sequence[Job], plan: OutputPlan, config: BatchConfig) -> bool:
    """Whether --resume does the rest of a run with --force: nothing that is left has results of earlier runs, which
    would count as done.
    """
    if not left or plan.combined or config.bucket is not None:
        return False
    if config.manifest is not None and config.manifest.replaces_earlier:
        return False
    return not any(file is not None and os.path.lexists(file) for job in left for file in job.targets.values())


def _can_be_named(left: Sequence[Job], plan: OutputPlan, config: BatchConfig) -> bool:
    """Whether jobs have the same results if their inputs are named one by one."""
    if any(job.input.time_range is not None or job.input.origin not in (None, job.input.source) for job in left):
        return False  # a part of a recording, or a URL with a secret in it
    if plan.to_stdout:
        return True
    if config.manifest is not None or plan.combined:  # one file for all
        return False
    return plan.output_dir is None or all(str(job.input.relative_path) == job.input.path.name for job in left)


def run_command(context: typer.Context, names: Sequence[str]) -> str | None:
    """The command that does what is left of a run with --output-dir, for its journal. None if it would be too long, or
    show a password or signature in a URL.
    """
    typed = _typed_options(context, without=("sample", "force", "resume", "retry_failed"))
    if _has_secret(names, typed):
        return None
    command = shell_command("transcribe", *typed, "--resume", files=names)
    return command if len(command) <= MAX_COMMAND else None


def _has_secret(names: Sequence[str], typed: Sequence[str]) -> bool:
    """Whether a command line may contain a password or a signature, in a URL."""
    return any(is_remote(word) and display_url(word) != word for word in (*names, *typed))


def shell_command(*words: str, files: Sequence[str]) -> str:
    """A command of this program with these words, and then files, which may have any names."""
    dashes = ["--"] if any(name.startswith("-") and name != STDIN for name in files) else []
    return _join([*words, *dashes, *files])


def _join(words: Sequence[str]) -> str:
    return " ".join(map(_quoted, ("cartesia-cli", *words)))


def _quoted(word: str) -> str:
    """A word as a shell reads it. What messages and terminals can't show, such as a line break in the name of a file or
    bytes that aren't UTF-8, is escaped as Bash, Zsh and most others read it.
    """
    from shlex import quote  # start-up: few runs suggest a command

    if word.isprintable():
        return quote(word)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(plain)}'"


def recovery_command(context: typer.Context, file: str, *command: str) -> str:
    """The shell command that transcribes the recording of a lost session with the options of the session. It may
    overwrite what the session has written so far.

    file      the recording
    command   words before the recording
    """
    settings = {name: setting for name, setting in effective_settings(context).items() if not setting.general}
    named = [name for name, option in options_by_name(context.command).items() if option.name in RECOVERY_OPTIONS]
    values = {name: settings[name].value for name in named if name in settings}
    # A live session asks for word times whatever its formats are; `transcribe` refuses them for formats without words.
    for requirement in REQUIREMENTS:
        if requirement.option in values and not requirement.met(values):
            del values[requirement.option]
    if not values.keys().isdisjoint(("output", "output_dir")):
        values["force"] = True
    return _join([*command, file, *_arguments(context, values)])


def _typed_options(context: typer.Context, *, without: Sequence[str]) -> list[str]:
    """The options that were given on the command line of the running command, as command-line arguments.

    without   options to leave out, by their long names with underscores
    """
    typed = {name: setting.value for name, setting in effective_settings(context).items() if setting.layer == "flag"}
    return _arguments(context, {name: value for name, value in typed.items() if name not in without})


def _arguments(context: typer.Context, values: Mapping[str, Any]) -> list[str]:
    """Options of the running command, by their long names with underscores, as command-line arguments."""
    words: list[str] = []
    for name, option in options_by_name(context.command).items():
        flag = f"--{name.replace('_', '-')}"
        value = values.get(name)
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, bool):
                words.append(flag if one else opposite_flag(option) or flag)
            elif flag == "--speakers-by-channel" and one is not None:  # a word after it is one only if it has a comma
                words.append(flag if one == NUMBERED else f"{flag}={one}")
            elif one is None and name in OPTIONAL_VALUES and name in values:
                words.append(f"--no-{name.replace('_', '-')}")
            elif one is not None:
                words += [flag, str(one)]
    return words
