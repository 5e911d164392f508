"""The options of a live session, shared by `listen` and `stream-file`.

Impossible combinations are refused before anything is opened; what only looks wrong is a warning, and the server
decides.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...errors import UsageError
from ...output.console import Reporter
from ..batch.output_options import FormatOptions, OutputOptions, SubtitleOptions
from ..options import (
    BackendOptions,
    Model,
    OptionGroup,
    can_be_sent,
    check_language,
    check_texts,
    checked_by,
    language_for_server,
)

if TYPE_CHECKING:
    from ...audio.vad import VadSettings
    from ...output import Layout
    from ...output.live_page import Captions
    from ...protocol.realtime import Endpoint, RealtimeOptions, TurnConfig
    from ..batch.output_plan import OutputPlan

endpointing_option = partial(typer.Option, rich_help_panel="Endpointing")
turn_option = partial(typer.Option, rich_help_panel="Turns (auto mode)")
stream_option = partial(typer.Option, rich_help_panel="Streaming")
page_option = partial(typer.Option, rich_help_panel="Captions as a web page")

MAX_KEYTERMS_BYTES = 1 << 20
"""Largest file of key terms that is read: many times what can be sent."""


def _check_list(option: str, parameter: str, values: list[str]) -> None:
    """Raises UsageError for key terms or language hints that can't be sent. `parameter`: field of RealtimeOptions."""
    from ...protocol.realtime import AUTO, RealtimeOptions

    check_texts(option, values)
    RealtimeOptions(model="")._replace(**{parameter: tuple(values)}).query(AUTO)


def _check_page_token(token: str) -> None:
    """Raises UsageError for one that is too easy to guess, or can't be in a URL."""
    from ...output.live_page import TOKEN

    if TOKEN.fullmatch(token) is None:
        hint = "16 to 128 letters, digits, - and _, such as `openssl rand -hex 16` prints"
        raise UsageError("--page-token can't be used in a URL, or is too easy to guess", hint=hint)


VadThreshold = Annotated[
    float | None,
    endpointing_option(metavar="DBFS", max=0,
                       help="Level that counts as speech, such as -40; by default relative to the noise."),
]  # fmt: skip
VadSilence = Annotated[
    int,
    endpointing_option("--vad-silence-ms", metavar="MS", min=100, max=10000, help="Silence that ends an utterance."),
]
Keyterm = Annotated[
    list[str] | None,
    typer.Option(metavar="TERM", callback=checked_by(partial(_check_list, "keyterm", "keyterms")),
                 help="A word or name to expect; not with ink-whisper (repeatable)."),
]  # fmt: skip
Keyterms = Annotated[
    Path | None, typer.Option("--keyterms", metavar="FILE", help="A file with words or names to expect, one a line.")
]

DEFAULT_SILENCE_MS = 600
NATIVE_ENCODING = "native"
"""Value of --wire-encoding for the recording's own encoding and sample rate."""


class SessionOptions(OptionGroup):
    """The model, the language, and how utterances or turns end."""

    mode: Annotated[
        Literal["auto", "manual"] | None,
        endpointing_option(help="auto (default): the server detects turns; manual: `finalize` ends utterances."),
    ] = None
    vad_threshold: VadThreshold = None
    vad_silence_ms: VadSilence = DEFAULT_SILENCE_MS
    min_volume: Annotated[
        float | None,
        endpointing_option(metavar="LEVEL", min=0, max=1,
                           help="Volume below which ink-whisper hears silence (server-side endpointing)."),
    ] = None  # fmt: skip
    max_silence_secs: Annotated[
        float | None,
        endpointing_option(metavar="SECONDS", min=0,
                           help="Silence before ink-whisper finalizes (server-side endpointing)."),
    ] = None  # fmt: skip
    turn_start_threshold: Annotated[
        float | None, turn_option(metavar="P", min=0.5, max=0.9, help="Score above which a turn starts.")
    ] = None
    turn_eager_end_threshold: Annotated[
        float | None, turn_option(metavar="P", min=0.3, max=0.8, help="Score below which the turn may have ended.")
    ] = None
    turn_end_threshold: Annotated[
        float | None, turn_option(metavar="P", min=0.05, max=0.5, help="Score below which the turn ends.")
    ] = None
    turn_end_timeout_ms: Annotated[
        int | None, turn_option(metavar="MS", min=640, max=11200, help="Longest silence before a turn ends.")
    ] = None
    model: Model = "ink-2"
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", metavar="CODE", callback=check_language,
                     help="Spoken language, such as de; in the cloud for ink-whisper only, default en."),
    ] = None  # fmt: skip
    language_hint: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", callback=checked_by(partial(_check_list, "language-hint", "language_hints")),
                     help="A language to expect, such as pt; ink-preview only (repeatable, up to 6)."),
    ] = None  # fmt: skip
    keyterm: Keyterm = None
    keyterms: Keyterms = None

    def endpoint(self, finalize: str | None) -> "Endpoint":
        """The endpoint to use: auto, unless an option is given that only the manual one has.

        finalize   value of --finalize; None if it isn't given
        """
        from ...protocol.realtime import AUTO, MANUAL

        if self.mode is None and (finalize is not None or self._is_whisper):
            return MANUAL
        return MANUAL if self.mode == "manual" else AUTO

    def endpointing(self) -> "VadSettings":
        from ...audio.vad import VadSettings

        return VadSettings(silence_ms=self.vad_silence_ms, threshold=self.vad_threshold)

    def request(
        self, endpoint: "Endpoint", reporter: Reporter, *, base_url: str | None, ends_by_vad: bool
    ) -> "RealtimeOptions":
        """The request to the server. Raises UsageError for impossible options, and warns about doubtful ones. Turn
        options exclude the manual endpoint (see `precedence`).

        base_url      of the server; None: the local engine answers
        ends_by_vad   whether voice activity ends utterances
        """
        from ...model_cache import known_models
        from ...protocol.constants import MODELS, is_loopback, takes_language_hints
        from ...protocol.languages import AUTO_LANGUAGE, CHINESE_SCRIPTS, HINT_LANGUAGES, LANGUAGES
        from ...protocol.realtime import MANUAL, RealtimeOptions, TurnConfig

        local = base_url is None
        takes_language = base_url is None or is_loopback(base_url)  # at any endpoint, if it is the server of `serve`

        thresholds = (self.turn_start_threshold, self.turn_eager_end_threshold, self.turn_end_threshold)
        turn = TurnConfig(*thresholds, self.turn_end_timeout_ms)
        keyterms, hints = self.all_keyterms(), tuple(self.language_hint or ())
        unknown_hints = ", ".join(hint for hint in hints if hint not in HINT_LANGUAGES)
        check_order(turn)
        language = self.language
        if language == AUTO_LANGUAGE and not takes_language and not self._is_whisper:
            language = None  # these models detect it if none is named
        language = language_for_server(language, base_url, reporter)
        known = MODELS if self.model in MODELS else tuple(model.id for model in known_models(None))
        doubts = {
            f"{self.model!r} is not a known model ({', '.join(known)}): sent as it is": self.model not in known,
            "--mode auto has no language parameter: not sent": (
                language is not None and endpoint is not MANUAL and not takes_language
            ),
            "--language is for ink-whisper; other models detect the language": (
                language is not None and endpoint is MANUAL and not self._is_whisper and not takes_language
            ),
            f"{language!r} is not a known language code: sent as it is": (
                language is not None and language not in (*LANGUAGES, AUTO_LANGUAGE, *CHINESE_SCRIPTS)
            ),
            "ink-whisper has no auto mode; use --mode manual": self._is_whisper and endpoint is not MANUAL,
            f"{self.model} rejects language hints: they are for ink-preview": (
                bool(hints) and not takes_language_hints(self.model)
            ),
            f"not known as language hints: {unknown_hints}: sent as they are": bool(unknown_hints),
            "ink-whisper does not support keyterms": bool(keyterms) and self._is_whisper and not local,
            "local engines have no keyterms: --keyterm has no effect": bool(keyterms) and local,
            "--vad-threshold and --vad-silence-ms only affect segment times unless voice activity ends utterances": (
                not ends_by_vad and (self.vad_threshold is not None or self.vad_silence_ms != DEFAULT_SILENCE_MS)
            ),
            "--min-volume and --max-silence-secs are supported by ink-whisper only": (
                not self._is_whisper and (self.min_volume is not None or self.max_silence_secs is not None)
            ),
        }
        options = RealtimeOptions(
            model=self.model,
            language=language if endpoint is MANUAL or takes_language else None,
            keyterms=keyterms,
            language_hints=hints,
            min_volume=self.min_volume,
            max_silence_duration_secs=self.max_silence_secs,
            turn=turn,
        )
        options.query(endpoint)  # raises UsageError if key terms or language hints exceed their limits
        for sentence, applies in doubts.items():
            if applies:
                reporter.warn(sentence)
        return options

    def all_keyterms(self) -> tuple[str, ...]:
        """Those of `--keyterm`, then those of the file. Raises UsageError for an unusable file."""
        return (*(self.keyterm or ()), *(() if self.keyterms is None else _read_keyterms(self.keyterms)))

    @property
    def _is_whisper(self) -> bool:
        from ...protocol.constants import is_whisper

        return is_whisper(self.model)


def _read_keyterms(path: Path) -> Iterator[str]:
    """The terms in a file, one a line; empty lines are skipped. Raises UsageError if it can't be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEYTERMS_BYTES + 1)
        if len(data) > MAX_KEYTERMS_BYTES:
            limits = "at most 100 terms with 1200 characters in all can be sent"
            raise UsageError(f"--keyterms {path} is too large", hint=f"name a file with a term on each line; {limits}")
        text = data.decode("utf-8-sig")
    except OSError as error:
        hint = "name a text file with a term on each line"
        raise UsageError(f"--keyterms {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"--keyterms {path}: not UTF-8 text", hint="save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if term := line.strip():
            if not can_be_sent(term):
                hint = "remove the characters that are shown as \\x… or \\u…"
                raise UsageError(f"--keyterms {path}, line {number}: {term!r} can't be sent", hint=hint)
            yield term


def check_order(turn: "TurnConfig") -> None:
    """Raises UsageError unless start > eager end > end, with the server's defaults for those not given."""
    from ...protocol.realtime import turn_order_problem

    problem = turn_order_problem(turn, lambda name: f"--turn-{name.replace('_', '-')}")
    if problem is not None:
        raise UsageError(problem, hint="give both: start > eager end > end")


class StreamOptions(OptionGroup):
    """How audio is sent, how much of it, and what is kept."""

    duration: Annotated[float | None, stream_option(metavar="SECONDS", min=0.1, help="Stop after this much audio.")] = (
        None
    )
    chunk_ms: Annotated[int, stream_option(metavar="MS", min=10, max=1000, help="Audio per frame.")] = 100
    wire_encoding: Annotated[
        str | None,
        stream_option(metavar="NAME", help="Encoding on the wire (pcm_s16le); native: that of the recording."),
    ] = None
    wire_rate: Annotated[
        int | None, stream_option(metavar="HZ", min=8000, max=48000, help="Sample rate on the wire (16000).")
    ] = None
    reconnect: Annotated[
        float, stream_option(metavar="SECONDS", min=0, help="How long to try to reconnect; 0: never.")
    ] = 120
    catch_up: Annotated[
        Literal["batch", "live"],
        stream_option(help="Where a large backlog at the end goes: to the batch endpoint, or on in real time (live)."),
    ] = "batch"
    save_audio: Annotated[
        Path | None, stream_option(metavar="FILE", readable=False, help="Save the audio as a WAV file.")
    ] = None
    raw_events: Annotated[
        Path | None,
        stream_option(metavar="FILE", readable=False,
                      help="Log all frames in both directions; `serve --script` replays the log."),
    ] = None  # fmt: skip
    control: Annotated[
        Path | None,
        stream_option(metavar="FILE|FIFO",
                      help="Carry out commands from this file or pipe: finalize, close, config, one a line, as JSON."),
    ] = None  # fmt: skip
    stats: Annotated[bool, typer.Option("--stats", help="Show latencies, pacing and cost at the end.")] = False
    stats_svg: Annotated[
        Path | None,
        typer.Option(metavar="FILE", readable=False,
                     help="Draw latencies and the time line of the session as an SVG picture."),
    ] = None  # fmt: skip
    page: Annotated[
        bool,
        page_option("--page",
                    help="Serve the text as it grows as a web page on this machine; the URL is shown at the start."),
    ] = False  # fmt: skip
    page_port: Annotated[
        int | None, page_option(metavar="PORT", min=1, max=65535, help="Port of --page; by default any that is free.")
    ] = None
    page_token: Annotated[
        str | None,
        page_option(metavar="TOKEN", callback=checked_by(_check_page_token),
                    help="The secret part of --page's URL; by default a new one for each session."),
    ] = None  # fmt: skip

    @contextmanager
    def captions(self, source: str, reporter: Reporter) -> "Iterator[Captions | None]":
        """Serve the page while the block runs, and show its URL. The session puts its text into what is yielded; None
        without --page. Raises UsageError if the page can't be served.

        source   name of what is transcribed
        """
        if not self.page:
            yield None
            return
        from ...output.live_page import LivePage

        port, token = self.page_port or 0, self.page_token
        with LivePage(port=port, token=token, source=source, on_error=reporter.internal_error) as page:
            reporter.print_lines(lambda columns, encoding: f"captions: {page.url}")
            yield page.captions

    def wire_format(self, *, replay: bool) -> tuple[str, int] | None:
        """Encoding and sample rate in Hz on the wire; None: those of the recording. Raises UsageError if unsupported.

        replay   whether the source is a recording
        """
        from ...audio.pcm import RATE
        from ...protocol.constants import ENCODINGS

        if self.wire_encoding == NATIVE_ENCODING:
            if not replay:
                hint = "choose one with --wire-encoding and --wire-rate"
                raise UsageError(
                    "--wire-encoding native is for recordings: a microphone has no native format", hint=hint
                )
            return None
        if self.wire_encoding is not None and self.wire_encoding not in ENCODINGS:
            hint = f"encodings: {', '.join(ENCODINGS)}" + (f", {NATIVE_ENCODING}" if replay else "")
            raise UsageError(f"--wire-encoding {self.wire_encoding!r} is not supported", hint=hint)
        return self.wire_encoding or "pcm_s16le", self.wire_rate or RATE

    def check(self, inputs: Iterable[str | Path | None], outputs: Iterable[Path | None], *, force: bool) -> None:
        """Raise UsageError for unusable output files, before anything is opened.

        inputs   what is read, which is never overwritten: the recording that is replayed, key terms; None is nothing
        outputs  result files, already checked; None is stdout
        force    whether existing files may be overwritten
        """
        from ..batch.output_checks import check_output
        from ..batch.output_plan import check_distinct

        if self.control is not None:
            from .control_file import check_control

            check_control(self.control)
        check_distinct((*outputs, self.save_audio, self.raw_events, self.stats_svg), (*inputs, self.control))
        if self.save_audio is not None:
            check_output(self.save_audio, force=force, content="wav", creates_folder=False)
        if self.raw_events is not None:
            check_output(self.raw_events, force=force, creates_folder=False)
        if self.stats_svg is not None:
            check_output(self.stats_svg, force=force)


class LiveOptions(OptionGroup):
    """What `listen` and `stream-file` have in common."""

    session: SessionOptions
    stream: StreamOptions
    output: OutputOptions
    format: FormatOptions
    subtitles: SubtitleOptions
    backend: BackendOptions

    def plan(self) -> "OutputPlan":
        """Where results go. Raises UsageError for unknown formats."""
        return self.output.plan(self.output.formats(selects_rows=self.format.selects_rows))

    def layout(self) -> "Layout":
        """Raises UsageError as FormatOptions do."""
        return self.format.layout(self.subtitles)
