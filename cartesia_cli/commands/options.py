"""Options that several commands share, and `as_callback`, which turns groups of options into parameters.

Typer reads the options of a command from the signature of its function. Commands that share twenty options would have
to repeat them there; instead, an OptionGroup declares them once, and its methods say what they mean together.
`as_callback` replaces a parameter of that type by its options. All commands have the CommonOptions.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, dataclass_transform

import typer

from ..errors import AuthError, UsageError
from ..output.console import Reporter
from ..record import Record
from .command_context import configuration, overruled_local
from .option_sources import BOOLEAN_WORDS

if TYPE_CHECKING:  # --help does without
    from ..protocol.batch import BatchOptions
    from ..settings import Settings
    from .backend import BackendConfig


@dataclass_transform(kw_only_default=True, frozen_default=True)
class OptionGroup(Record):
    """Options of a command that belong together: each annotated attribute of a subclass is one, or another group.

    Options have other names than those in the other groups of their command. Attributes that a subclass inherits aren't
    options of it. The module of a group must not postpone annotations (`from __future__ import annotations`): they
    would be strings.
    """

    @classmethod
    def names(cls) -> Sequence[str]:
        """The names of the attributes: options and groups."""
        return tuple(cls.__annotations__)

    @classmethod
    def parameters(cls) -> Iterator[inspect.Parameter]:
        """The options as parameters, those of the groups in it included."""
        for name, kind in cls.__annotations__.items():
            if _is_group(kind):
                yield from kind.parameters()
            else:
                default = getattr(cls, name, inspect.Parameter.empty)
                yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    @classmethod
    def take(cls, values: dict[str, Any]) -> Self:
        """A group with its values, which are removed from `values`."""
        kinds = cls.__annotations__.items()
        return cls(**{name: kind.take(values) if _is_group(kind) else values.pop(name) for name, kind in kinds})


def as_callback(command: Callable[..., None]) -> Callable[..., None]:
    """The function that Typer calls for a command: its parameters, all by keyword, become the options.

    Each parameter whose type is an OptionGroup is replaced by the options in it. Others are annotated for Typer, and
    have defaults unless they are required. Two aren't options: `context`, Typer's, and `reporter`, which prints
    messages as the CommonOptions say: `cli.main` has put it into `context.obj`.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, type[OptionGroup]] = {}
    options = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for name, parameter in parameters.items():
        if _is_group(parameter.annotation):
            groups[name] = parameter.annotation
            options += parameter.annotation.parameters()
        elif name not in ("context", "reporter"):
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def run(context: typer.Context, **values: Any) -> None:
        CommonOptions.take(values).apply_to(context.obj)
        for name, group in groups.items():
            values[name] = group.take(values)
        if "context" in parameters:
            values["context"] = context
        if "reporter" in parameters:
            values["reporter"] = context.obj
        command(**values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*options, *CommonOptions.parameters()])  # type: ignore[attr-defined]
    return run


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, OptionGroup)


def checked_by(check: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A callback for an option: `check` raises UsageError for a value that can't be used, wherever it comes from, if
    no other overrules it.
    """

    def callback(value: Any) -> Any:
        if value:
            check(value)
        return value

    return callback


def _check_api_version(version: str) -> None:
    """Raises UsageError for what can't be a version: they are dates."""
    from ..protocol.constants import is_api_version

    if not is_api_version(version):
        raise UsageError(f"--api-version {version!r} is not a date", hint="for example 2026-03-01")


def _read_base_url(url: str | None) -> str | None:
    """A callback. Raises UsageError for what isn't the address of a server."""
    from ..protocol.constants import check_base_url

    return None if url is None else check_base_url(url)


def _check_encoding(encoding: str) -> None:
    from ..protocol.constants import ENCODINGS

    if encoding not in ENCODINGS:
        raise UsageError(f"unknown encoding {encoding!r}", hint=f"encodings: {', '.join(ENCODINGS)}")


def check_texts(name: str, texts: str | Sequence[str]) -> None:
    """Raises UsageError for a value of an option, or one of its values, that is empty or can't be sent."""
    for text in [texts] if isinstance(texts, str) else texts:
        if not text.strip():
            raise UsageError(f"--{name} must not be empty", hint="is a variable empty?")
        if not can_be_sent(text):
            raise UsageError(f"{text!r} can't be sent", hint=f"see --{name}")


def can_be_sent(text: str) -> bool:
    """False for text with control characters or lone surrogates. Others that aren't printable, such as wide spaces and
    joiners, belong to words of some languages.
    """
    return text.isprintable() or re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text) is None


check_language = checked_by(partial(check_texts, "language"))
check_model = checked_by(partial(check_texts, "model"))


# One function for each panel of --help whose options several commands share.
backend_option = partial(typer.Option, rich_help_panel="Backend")
message_option = partial(typer.Option, rich_help_panel="Messages on stderr")
configuration_option = partial(typer.Option, rich_help_panel="Configuration")

NUMBERED = "numbered"
"""The value that `cli` gives to --speakers-by-channel without names. A single speaker can't have this name."""

LocalModel = Annotated[
    str | None,
    backend_option(metavar="DIR|NAME",
                   help="Use another Whisper model: a folder, or a name such as small (downloaded once)."),
]  # fmt: skip
BaseUrl = Annotated[
    str | None,
    backend_option(metavar="URL", callback=_read_base_url, help="Use another server, such as http://127.0.0.1:8000."),
]
Timeout = Annotated[
    float | None,
    backend_option(metavar="SECONDS", min=0.1,
                   help="Give up on a recording after this time; by default it depends on its size."),
]  # fmt: skip
Retries = Annotated[
    int | None,
    backend_option(metavar="N", min=0, max=20,
                   help="Retries after a failure; 2 by default. If given, uploads whose response was lost are "
                        "repeated, too, which may be billed twice."),
]  # fmt: skip
NoCache = Annotated[bool, backend_option("--no-cache", help="Don't use or update the cache; see `cache`.")]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="MODEL", callback=check_model, help="Model that transcribes.")
]
Language = Annotated[
    str | None,
    typer.Option("--language", "-l", metavar="CODE", callback=check_language,
                 help="Language that is spoken, such as de; en by default. auto detects it, on this machine only."),
]  # fmt: skip
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", callback=checked_by(_check_encoding),
                 help="Encoding of headerless audio (mono): pcm_s16le, pcm_s32le, pcm_f16le, pcm_f32le, pcm_mulaw or "
                      "pcm_alaw."),
]  # fmt: skip
SampleRate = Annotated[
    int | None,
    typer.Option(metavar="HZ", min=1000, max=1_000_000, help="Sample rate of headerless audio; goes with --encoding."),
]
Keyterm = Annotated[
    list[str] | None,
    typer.Option(metavar="TERM", hidden=True, help="Term to expect, with ink-2 in live sessions only (repeatable)."),
]
Config = Annotated[
    str | None,
    configuration_option("--config", metavar="FILE", help="Read this configuration file instead of your own."),
]
ConfigurationProfile = Annotated[
    str | None,
    configuration_option("--profile", metavar="NAME", help="Use this profile of the configuration file, too."),
]
ListFormat = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="Output format.")]
ColorMode = Literal["auto", "always", "never"]


class CommonOptions(OptionGroup):
    """What every command has: how much is printed on stderr, whether in colour, and which configuration applies.
    ConfiguredCommand has read `config` and `profile` before.
    """

    quiet: Annotated[bool, message_option("--quiet", "-q", help="Show errors only.")] = False
    verbose: Annotated[bool, message_option("--verbose", "-v", help="Show more details.")] = False
    debug: Annotated[bool, message_option("--debug", help="Show tracebacks of errors.")] = False
    color: Annotated[ColorMode, message_option(help="When to use colour on stderr.")] = "auto"
    config: Config = None
    profile: ConfigurationProfile = None

    def apply_to(self, reporter: Reporter) -> None:
        """Configure a run's reporter."""
        reporter.quiet, reporter.verbose = self.quiet, self.verbose
        reporter.debug, reporter.color = self.debug, self.color


class ServerOptions(OptionGroup):
    """Which server is asked: one on this machine, Cartesia's API, or another one."""

    local: Annotated[bool, backend_option("--local", help="Transcribe on this machine, offline.")] = False
    cloud: Annotated[bool, backend_option("--cloud", help="Transcribe with Cartesia's API; needs a key.")] = False
    base_url: BaseUrl = None
    insecure_http: Annotated[
        bool,
        backend_option("--insecure-http", show_default=False,
                       help="Allow plain http to another machine, such as your own server. No key is sent."),
    ] = False  # fmt: skip
    insecure_http_key: Annotated[
        bool,
        backend_option("--insecure-http-key", show_default=False,
                       help="The same, and send the key, which anyone on the network can read."),
    ] = False  # fmt: skip
    api_version: Annotated[
        str | None,
        backend_option("--api-version", metavar="DATE", callback=checked_by(_check_api_version),
                       help="Version of the API to ask for; 2026-03-01 by default."),
    ] = None  # fmt: skip

    def choose(self, settings: "Settings", *, needs_key: bool = True, optional_key: bool = False) -> "BackendConfig":
        """The backend that is asked for; this machine if none is, and no key is configured. Raises AuthError if a key
        is needed and there is none, UsageError for an unencrypted server that the user hasn't allowed.

        needs_key      False if this process sends nothing; then the key isn't read
        optional_key   whether the server may be asked without a key
        """
        from ..credentials import credential, key_source
        from ..protocol.constants import API_VERSION, BASE_URL, check_encryption, is_loopback, is_unencrypted
        from .backend import BackendConfig
        from .local_extra import LOCAL

        if self.local:
            return BackendConfig(None)
        address = self.base_url or BASE_URL
        check_encryption(address, allowed=self.insecure_http or self.insecure_http_key)
        may_send_key = self.insecure_http_key or not is_unencrypted(address)
        found = credential(settings) if needs_key and may_send_key else None
        if not self.cloud and self.base_url is None and (found if needs_key else key_source(settings)) is None:
            return BackendConfig(None, reason=f"no CARTESIA_API_KEY: {LOCAL}")
        if needs_key and found is None and not (optional_key or is_loopback(address) or is_unencrypted(address)):
            raise AuthError("no API key", hint="run `cartesia-cli login` or set CARTESIA_API_KEY, or use --local")
        version = self.api_version or API_VERSION
        return BackendConfig(address, found, api_version=version, unencrypted_key=self.insecure_http_key)


class BackendOptions(OptionGroup):
    """Which backend transcribes: a server, or this machine with which model."""

    server: ServerOptions
    local_model: LocalModel = None

    def resolve(
        self, context: typer.Context, reporter: Reporter, *, needs_key: bool = True, optional_key: bool = False
    ) -> "BackendConfig":
        """The backend that these options choose, as `ServerOptions.choose` says. Says on stderr if a server overrules
        `local = true`, or is reached unencrypted. The reporter will never print its key.
        """
        from urllib.parse import urlsplit

        from ..protocol.constants import is_unencrypted

        choice = self.server.choose(configuration(context), needs_key=needs_key, optional_key=optional_key)
        choice = choice._replace(local_model=self.local_model)
        if choice.credential is not None:
            reporter.add_secret(choice.credential.secret)
        origin = overruled_local(context)
        if origin is not None and choice.base_url is not None:
            reporter.info(
                f"using {urlsplit(choice.base_url).netloc} because of {origin}; --local transcribes on this machine"
            )
        if choice.base_url is not None and is_unencrypted(choice.base_url):
            sends_key = choice.credential is not None or (choice.unencrypted_key and not needs_key)
            key = "with the key" if sends_key else "no key is sent"
            reporter.warn(f"{urlsplit(choice.base_url).netloc} is reached over plain http, unencrypted: {key}")
        return choice


def language_for_server(language: str | None, base_url: str | None, reporter: Reporter) -> str | None:
    """The value of --language as a server takes it. Raises UsageError if it can't be asked for.

    base_url   of the server; None: this machine. One that is reached on this machine may be `serve`, which takes more
               than the API
    """
    from ..protocol.constants import is_loopback

    if language is None or base_url is None or is_loopback(base_url):
        return language
    from ..protocol.languages import CHINESE_SCRIPTS, api_language  # start-up: the default needs none of its tables

    if language in CHINESE_SCRIPTS:
        reporter.warn(f"the API doesn't tell Chinese scripts apart: {language} is sent as {api_language(language)}")
    return api_language(language)


def warn_of_unknown_values(
    reporter: Reporter, options: "BatchOptions", keyterms: list[str] | None, models_of: str | None
) -> None:
    """Warn of a model, language or key terms that look wrong. The server decides: it may know more than this program.

    models_of   base URL of the server whose models count as known; None: those of all servers that have been asked
    """
    from ..protocol.constants import BATCH_MODELS

    known: tuple[str, ...] = BATCH_MODELS
    if options.model not in known:
        from ..model_cache import known_models
        from ..protocol.models import BATCH

        known += tuple(model.id for model in known_models(models_of) if model.takes(BATCH) and model.id not in known)
    if options.model not in known:
        reporter.warn(f"unknown batch model {options.model!r} is sent as it is (known: {', '.join(known)})")
    if options.language:
        from ..protocol.languages import AUTO_LANGUAGE, CHINESE_SCRIPTS, LANGUAGES

        if options.language not in (*LANGUAGES, AUTO_LANGUAGE, *CHINESE_SCRIPTS):
            reporter.warn(f"unknown language code {options.language!r} is sent as it is")
    if keyterms:
        reporter.warn("key terms are not sent: the batch endpoint does not take them")


def read_names(text: str | None) -> str | None:
    """A callback: the names of speakers, or NUMBERED, or None. The option is also a switch, for which words such as
    true and false stand. Raises UsageError for names that can't be used.
    """
    if text is None:
        return None
    switch = BOOLEAN_WORDS.get(text.strip().lower())
    if switch is not None:
        return NUMBERED if switch else None
    parse_names(text)
    return text


def parse_names(text: str) -> tuple[str, ...]:
    """The names of speakers, separated by commas; none for NUMBERED. Raises UsageError for a single name, and for one
    that is empty, or is there twice.
    """
    if text == NUMBERED:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if len(names) == 1:
        raise UsageError(
            f"--speakers-by-channel={text} names only one speaker",
            hint="name one for each channel, as in --speakers-by-channel=Anna,Ben; without names, they are numbered",
        )
    are_visible = all(any(c.isprintable() and not c.isspace() for c in name) for name in names)
    if not are_visible or len(set(names)) < len(names):
        raise UsageError(
            f"--speakers-by-channel={text}: each channel needs a name of its own",
            hint="as in --speakers-by-channel=Anna,Ben; without names, they are numbered",
        )
    return names
