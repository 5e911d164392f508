"""The options that commands share, spelt and explained once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ..errors import UsageError
from ..output.console import Reporter
from .option_sources import CHOSEN, CONFIG_HELP, OVERRULED, PANEL, PROFILE_HELP, configured, negation

if TYPE_CHECKING:  # every --help comes by here: what a run needs is imported where it is needed
    from ..protocol import BatchOptions
    from .backend import BackendConfig
    from .output_options import OutputOptions


def number_option(*names: str, **settings: Any) -> Any:
    """`typer.Option` of every option that takes a float: bounds let `nan` pass, and often `inf`. Both are told here."""

    def finite(value: float | None) -> float | None:
        if value is not None and not isfinite(value):
            raise typer.BadParameter(f"{value} is not a finite number.")
        return value

    return typer.Option(*names, callback=finite, **settings)


def path_option(*names: str, **settings: Any) -> Any:
    """`typer.Option` of every path that a run writes to. Whether it can is checked by `output_checks`, with the reason;
    Typer would ask for the right to read it.
    """
    return typer.Option(*names, readable=False, **settings)


def nonempty_path(files: Any) -> Any:
    """The callback of arguments that name files, one or several. BadParameter for a name that is empty."""
    if "" in ([files] if isinstance(files, str) else files or []):
        raise typer.BadParameter("'' is the name of no file: is a variable empty?")
    return files


BACKEND_PANEL, MESSAGES_PANEL = "Where it is transcribed", "What is said on stderr"

Local = Annotated[
    bool, typer.Option("--local", help="Transcribe on this machine, offline.", rich_help_panel=BACKEND_PANEL)
]
Cloud = Annotated[
    bool, typer.Option("--cloud", help="Transcribe with Cartesia's API; needs a key.", rich_help_panel=BACKEND_PANEL)
]
LocalModel = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|NAME",
        help="Another Whisper model on this machine: a folder, or a name such as small (downloaded once).",
        rich_help_panel=BACKEND_PANEL,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Another server, with or without a path.", rich_help_panel=BACKEND_PANEL),
]
Timeout = Annotated[
    float | None,
    number_option(metavar="SECONDS", min=0.1, help="Give up after this time; grows with the file by default.",
           rich_help_panel=BACKEND_PANEL),
]  # fmt: skip
Retries = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=20, rich_help_panel=BACKEND_PANEL,
                 help="Tries after a failure (2). Named, it also repeats uploads whose answer was lost, "
                 "which may be billed again."),
]  # fmt: skip
Model = Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="Model of the API.")]
Language = Annotated[
    str | None, typer.Option("--language", "-l", metavar="CODE", help="Language spoken, such as de; en by default.")
]
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Headerless audio: pcm_s16le, pcm_s32le, pcm_f16le, pcm_f32le, pcm_mulaw "
                 "or pcm_alaw; mono."),
]  # fmt: skip
SampleRate = Annotated[
    int | None,
    typer.Option(metavar="HZ", min=1000, max=1_000_000, help="Its samples a second; goes with --encoding."),
]
Keyterm = Annotated[
    list[str] | None,
    typer.Option(metavar="TERM", help="A term to expect; realtime with ink-2 only (repeatable).", hidden=True),
]
Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help=CONFIG_HELP, rich_help_panel=PANEL)]
ConfigurationProfile = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help=PROFILE_HELP, rich_help_panel=PANEL)
]
Listing = Annotated[str, typer.Option("--format", "-f", metavar="table|json", help="How it is shown.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel=MESSAGES_PANEL)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Details, too.", rich_help_panel=MESSAGES_PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="A traceback for every error.", rich_help_panel=MESSAGES_PANEL)]
Color = Annotated[
    str, typer.Option(metavar="auto|always|never", help="Colour on stderr.", rich_help_panel=MESSAGES_PANEL)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbosityOptions:
    """How much is said on stderr, and how."""

    quiet: Quiet = False
    verbose: Verbose = False
    debug: Debug = False
    color: Color = "auto"

    def apply_to(self, reporter: Reporter) -> Reporter:
        """Tell the voice of this run how it is to speak. UsageError for a colour that is none."""
        if self.color not in ("auto", "always", "never"):
            raise UsageError(f"no colour mode {self.color!r}", hint="--color is auto, always or never")
        reporter.quiet, reporter.verbose, reporter.debug, reporter.color = (
            self.quiet,
            self.verbose,
            self.debug,
            self.color,
        )
        return reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """Who transcribes: this machine, Cartesia, or another server."""

    local: Local = False
    cloud: Cloud = False
    local_model: LocalModel = None
    base_url: BaseUrl = None
    config: Config = None
    profile: ConfigurationProfile = None

    def resolve(self, context: typer.Context, reporter: Reporter, *, needs_key: bool = True) -> BackendConfig:
        """The server that is meant; its key is never shown. `needs_key` False: nothing will be sent."""
        from urllib.parse import urlsplit

        from . import backend

        found = configured(self.config, self.profile)
        choice = backend.choose_backend(
            found, local=self.local, cloud=self.cloud, base_url=self.base_url, needs_key=needs_key
        )
        if choice.credential is not None:
            reporter.add_secret(choice.credential.secret)
        origin = context.meta.get(OVERRULED)
        if origin is not None and choice.base_url is not None:
            reporter.info(f"using {urlsplit(choice.base_url).netloc} because of {origin}: --local overrides it")
        return choice


def to_argv(*values: Any) -> list[str]:
    """Options of these values as a command line has them: those that are not what they are by default."""
    words: list[str] = []
    for value in values:
        hints = get_type_hints(type(value), include_extras=True)
        for field in fields(value):
            given = getattr(value, field.name)
            if given != field.default:
                option = hints[field.name].__metadata__[0]
                declared = (option.default, *(option.param_decls or ()))  # in annotations, Typer has the first there
                long = [name for name in declared if isinstance(name, str) and name.startswith("--")]
                name = long[0] if long else f"--{field.name.replace('_', '-')}"
                words += [name] if given is True else [name, str(given)]
    return words


def recovery_command(
    file: str,
    language: str | None,
    output_options: OutputOptions,
    *shared: Any,
    command: Sequence[str] = ("transcribe",),
    extra: Sequence[str] = (),
) -> str:
    """The command that transcribes a file as a session that was lost would have: with its options, as far as both have
    them. What it wrote so far may be overwritten.
    """
    import shlex

    spoken = [] if language is None else ["--language", language]
    taken = output_options.output is not None or output_options.output_dir is not None
    again = to_argv(replace(output_options, force=output_options.force or taken), *shared)
    return shlex.join(["cartesia-cli", *command, file, *spoken, *extra, *again])


def typed_options(context: typer.Context) -> list[str]:
    """The options that were given on the command line of the running command, as a command line has them."""
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
            else:
                words += [name] if one is True else [name, str(one)]
    for name, chosen in context.meta.get(CHOSEN, {}).items():
        if chosen.layer == "flag" and f"--{name}" not in words:  # it stood before the command
            words += [f"--{name}", chosen.value]
    return words


def checked_listing(form: str) -> str:
    """--format of what is shown and no transcript, if it is one. UsageError if not."""
    if form not in ("table", "json"):
        raise UsageError(f"no format {form!r}", hint="formats: table, json")
    return form


def checked_encoding(encoding: str | None, sample_rate: int | None) -> str | None:
    """--encoding, if it is one and has its rate. UsageError if not."""
    from ..protocol import ENCODINGS

    if encoding is not None and encoding not in ENCODINGS:
        raise UsageError(f"no encoding {encoding!r}", hint=f"encodings: {', '.join(ENCODINGS)}")
    if (encoding is None) != (sample_rate is None):
        raise UsageError("--encoding and --sample-rate go together", hint="they are for headerless audio only")
    return encoding


def checked_endpoint(name: str) -> str:
    """--endpoint, if it is one. UsageError if not."""
    from ..protocol import HTTP_ROUTES

    if name not in HTTP_ROUTES:
        raise UsageError(f"no endpoint {name!r}", hint=f"endpoints: {', '.join(HTTP_ROUTES)}")
    return name


def warn_unknown(reporter: Reporter, options: BatchOptions, keyterms: list[str] | None) -> None:
    """Say what looks wrong but is the server's to judge: it may know more than we do."""
    from ..protocol import BATCH_MODELS, LANGUAGES

    for value in (options.model, options.language or ""):
        if not value.isprintable():  # a lone surrogate is not, either
            raise UsageError(f"{value!r} is no model and no language", hint="see --model and --language")
    if options.model not in BATCH_MODELS:
        reporter.info(
            f"warning: {options.model!r} is not a batch model that we know ({', '.join(BATCH_MODELS)}): sent as it is"
        )
    if options.language and options.language not in LANGUAGES:
        reporter.info(f"warning: {options.language!r} is not a language code that we know: sent as it is")
    if keyterms:
        reporter.info("warning: the batch endpoint takes no keyterms: not sent")
