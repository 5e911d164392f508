"""The options of a live session, and what they mean together: `listen` and `stream-file` ask the same server.

What can't be is said before anything is opened; what only looks wrong is the server's to judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..output.console import Reporter
from .options import Model, number_option, path_option

if TYPE_CHECKING:
    from ..audio.vad import VadSettings
    from ..protocol import Endpoint, RealtimeOptions, TurnConfig

ENDS, TURNS, MORE = "Where an utterance ends", "Turns (auto)", "What is sent"

Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="auto|manual",
        help="auto: the server finds the turns; manual: `finalize` does. auto by default.",
        rich_help_panel=ENDS,
    ),
]
VadThreshold = Annotated[
    float | None,
    number_option(
        metavar="DBFS", max=0, help="Level of speech, such as -40; by default above the noise.", rich_help_panel=ENDS
    ),
]
VadSilence = Annotated[
    int,
    typer.Option(
        "--vad-silence-ms",
        metavar="MS",
        min=100,
        max=10000,
        help="Silence that ends an utterance.",
        rich_help_panel=ENDS,
    ),
]
MinVolume = Annotated[
    float | None,
    number_option(
        metavar="LEVEL",
        min=0,
        max=1,
        help="What ink-whisper takes for silence, in its own finalizing.",
        rich_help_panel=ENDS,
    ),
]
MaxSilence = Annotated[
    float | None,
    number_option(
        "--max-silence-secs",
        metavar="SECONDS",
        min=0,
        help="How much of it ink-whisper waits for.",
        rich_help_panel=ENDS,
    ),
]
TurnStart = Annotated[
    float | None, number_option("--turn-start-threshold", metavar="P", min=0.5, max=0.9, rich_help_panel=TURNS,
                          help="How sure the server is that somebody speaks.")
]  # fmt: skip
TurnEagerEnd = Annotated[
    float | None, number_option("--turn-eager-end-threshold", metavar="P", min=0.3, max=0.8, rich_help_panel=TURNS,
                          help="Below it, the turn is perhaps over.")
]  # fmt: skip
TurnEnd = Annotated[
    float | None, number_option("--turn-end-threshold", metavar="P", min=0.05, max=0.5, rich_help_panel=TURNS,
                          help="Below it, it is over.")
]  # fmt: skip
TurnTimeout = Annotated[
    int | None, typer.Option("--turn-end-timeout-ms", metavar="MS", min=640, max=11200, rich_help_panel=TURNS,
                             help="Longest wait after speech stopped.")
]  # fmt: skip
Language = Annotated[
    str | None,
    typer.Option(
        "--language", "-l", metavar="CODE", help="Language spoken, such as de; for ink-whisper only, en by default."
    ),
]
Keyterm = Annotated[list[str] | None, typer.Option(metavar="TERM", help="A term to expect; ink-2 only (repeatable).")]
ChunkMs = Annotated[int, typer.Option(metavar="MS", min=10, max=1000, help="Audio in a frame.", rich_help_panel=MORE)]
Duration = Annotated[
    float | None, number_option(metavar="SECONDS", min=0.1, help="Stop after so much audio.", rich_help_panel=MORE)
]
SaveAudio = Annotated[
    Path | None,
    path_option(metavar="FILE", help="Keep the audio as a WAV file.", rich_help_panel=MORE),
]
RawEvents = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,
        help="Record all frames, both ways; `serve --script` plays it.",
        rich_help_panel=MORE,
    ),
]
Reconnect = Annotated[
    float,
    number_option(metavar="SECONDS", min=0, rich_help_panel=MORE,
           help="How long to try to replace a connection that was lost; 0: not at all."),
]  # fmt: skip
CatchUp = Annotated[
    str,
    typer.Option("--catch-up", metavar="batch|live", rich_help_panel=MORE,
                 help="Who gets what is left at the end, if it is much: the batch endpoint, or the same as before."),
]  # fmt: skip
WireEncoding = Annotated[
    str | None,
    typer.Option("--wire-encoding", metavar="NAME", rich_help_panel=MORE,
                 help="Encoding of what is sent (pcm_s16le); native: a recording's own."),
]  # fmt: skip
WireRate = Annotated[
    int | None,
    typer.Option("--wire-rate", metavar="HZ", min=8000, max=48000, rich_help_panel=MORE,
                 help="Samples a second that are sent (16000)."),
]  # fmt: skip
Stats = Annotated[bool, typer.Option("--stats", help="Show latencies, pacing and cost at the end.")]

MODES = ("auto", "manual")
WAYS = ("batch", "live")
SILENCE_MS = 600
NATIVE = "native"
"""A recording's own encoding and rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What is asked of a realtime endpoint, and how utterances are told apart."""

    mode: Mode = None
    vad_threshold: VadThreshold = None
    vad_silence_ms: VadSilence = SILENCE_MS
    min_volume: MinVolume = None
    max_silence_secs: MaxSilence = None
    turn_start_threshold: TurnStart = None
    turn_eager_end_threshold: TurnEagerEnd = None
    turn_end_threshold: TurnEnd = None
    turn_end_timeout_ms: TurnTimeout = None
    model: Model = "ink-2"
    language: Language = None
    keyterm: Keyterm = None

    def endpoint(self, finalize: str | None) -> Endpoint:
        """The endpoint that is meant: turns, unless something is named that only the manual one has.

        finalize   who is to send it, None where that was not said
        """
        from ..protocol import AUTO, MANUAL

        if self.mode is not None and self.mode not in MODES:
            raise UsageError(f"no mode {self.mode!r}", hint=f"modes: {', '.join(MODES)}")
        if self.mode is None and (finalize is not None or self._is_whisper):
            return MANUAL
        return MANUAL if self.mode == "manual" else AUTO

    def endpointing(self) -> VadSettings:
        from ..audio.vad import VadSettings

        return VadSettings(silence_ms=self.vad_silence_ms, threshold=self.vad_threshold)

    def options(self, endpoint: Endpoint, reporter: Reporter, *, local: bool, by_level: bool) -> RealtimeOptions:
        """What is asked of the server. UsageError for what can't be; a warning for what looks wrong.

        local      whether this machine answers
        by_level   whether the level of the voice ends utterances
        """
        from ..protocol import LANGUAGES, MANUAL, MODELS, RealtimeOptions, TurnConfig

        thresholds = (self.turn_start_threshold, self.turn_eager_end_threshold, self.turn_end_threshold)
        turn = TurnConfig(*thresholds, self.turn_end_timeout_ms)
        keyterms = tuple(self.keyterm or ())
        if turn.wire() and endpoint is MANUAL:
            raise UsageError("turn thresholds are for --mode auto", hint="--vad-silence-ms ends utterances here")
        _check_order(turn)
        for name, value in (("model", self.model), ("language", self.language), *(("keyterm", t) for t in keyterms)):
            if value is not None and not value.strip():
                raise UsageError(f"--{name} is empty", hint="is a variable empty?")
            if value is not None and not value.isprintable():
                raise UsageError(f"{value!r} can't be sent", hint=f"see --{name}")
        doubts = {
            f"{self.model!r} is not a model that we know ({', '.join(MODELS)}): sent as it is": (
                self.model not in MODELS
            ),
            "the auto endpoint takes no language: not sent": self.language is not None and endpoint is not MANUAL,
            "--language is for ink-whisper; ink-2 is documented for English": (
                self.language is not None and endpoint is MANUAL and not self._is_whisper
            ),
            f"{self.language!r} is not a language code that we know: sent as it is": (
                self.language is not None and self.language not in LANGUAGES
            ),
            "ink-whisper knows turns by no documentation": self._is_whisper and endpoint is not MANUAL,
            "keyterms are for ink-2 only": bool(keyterms) and self._is_whisper and not local,
            "the engines of this machine take no keyterms: --keyterm does nothing": bool(keyterms) and local,
            "--vad-threshold and --vad-silence-ms only shape the times of segments where levels end nothing": (
                not by_level and (self.vad_threshold is not None or self.vad_silence_ms != SILENCE_MS)
            ),
            "--min-volume and --max-silence-secs are for ink-whisper only": (
                not self._is_whisper and (self.min_volume is not None or self.max_silence_secs is not None)
            ),
        }
        for sentence, applies in doubts.items():
            if applies:
                reporter.say(f"warning: {sentence}")
        options = RealtimeOptions(
            model=self.model,
            language=self.language,
            keyterms=keyterms,
            min_volume=self.min_volume,
            max_silence_duration_secs=self.max_silence_secs,
            turn=turn,
        )
        options.query(endpoint)  # tells whether the keyterms fit
        return options

    @property
    def _is_whisper(self) -> bool:
        return self.model.startswith("ink-whisper")


def _check_order(turn: TurnConfig) -> None:
    """UsageError unless start > eager end > end, with the server's default for what is not named."""
    from ..protocol import TURN_DEFAULTS

    thresholds: list[tuple[float, str]] = []
    for name in ("start_threshold", "eager_end_threshold", "end_threshold"):
        named, default = getattr(turn, name), getattr(TURN_DEFAULTS, name)
        value, note = (default, ", its default") if named is None else (named, "")
        thresholds.append((value, f"--turn-{name.replace('_', '-')} ({value:g}{note})"))
    for (above, higher), (below, lower) in pairwise(thresholds):
        if above <= below:
            raise UsageError(f"{higher} must be above {lower}", hint="name both: start > eager end > end")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How audio goes out, how much of it, and what is kept of that."""

    duration: Duration = None
    chunk_ms: ChunkMs = 100
    wire_encoding: WireEncoding = None
    wire_rate: WireRate = None
    reconnect: Reconnect = 120
    catch_up: CatchUp = "batch"
    save_audio: SaveAudio = None
    raw_events: RawEvents = None
    stats: Stats = False

    def wire_format(self, *, replay: bool) -> tuple[str, int] | None:
        """Encoding, and rate in Hz, in which audio goes out; None: those of the recording. UsageError if there is none.

        replay   whether there is a recording
        """
        from ..audio.pcm import RATE
        from ..protocol import ENCODINGS

        if self.wire_encoding == NATIVE:
            if not replay:
                hint = "--wire-encoding and --wire-rate name one"
                raise UsageError("a microphone has no native format of its own: native is for recordings", hint=hint)
            if self.wire_rate is not None:
                raise UsageError("--wire-encoding native goes without --wire-rate: a recording has its own")
            return None
        if self.wire_encoding is not None and self.wire_encoding not in ENCODINGS:
            hint = f"encodings: {', '.join(ENCODINGS)}" + (f", {NATIVE}" if replay else "")
            raise UsageError(f"no encoding {self.wire_encoding!r}", hint=hint)
        return self.wire_encoding or "pcm_s16le", self.wire_rate or RATE

    def check(self, source: str | None, places: Iterable[Path | None], *, force: bool) -> None:
        """UsageError for what can't be, before anything is opened.

        source   what is replayed, if anything is: never overwritten
        places   that have been checked: where results go; None is stdout
        force    whether what exists may be overwritten
        """
        from .output_checks import check_output
        from .output_plan import file_identity, input_overwrite_error

        if self.catch_up not in WAYS:
            raise UsageError(f"no way to catch up {self.catch_up!r}", hint=f"--catch-up is {' or '.join(WAYS)}")
        mine = [file for file in (self.save_audio, self.raw_events) if file is not None]
        taken: set[object] = set()
        for file in (*filter(None, places), *mine):
            if (own := file_identity(file)) is None:
                continue
            if source is not None and own == file_identity(source):
                raise input_overwrite_error(file)
            if own in taken:
                raise UsageError(f"{file} would be written twice", hint="name another file")
            taken.add(own)
        if self.save_audio is not None:
            check_output(self.save_audio, force=force, content="wav", creates_folder=False)
        if self.raw_events is not None:
            check_output(self.raw_events, force=force, creates_folder=False)
