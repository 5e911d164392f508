"""`stream-file`: a recording replayed as if somebody spoke it now, into a realtime endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, UsageError
from ..output.talk import Talk
from . import live_options as live_given
from . import options as given
from . import transcribe

if TYPE_CHECKING:
    from ..audio.pcm import Samples
    from ..server.engine import Engine
    from ..session import Source
    from ..stats import Instrument

EXAMPLES = """
cartesia-cli stream-file talk.wav

cartesia-cli stream-file talk.mp3 --mode manual --stats

cartesia-cli stream-file talk.m4a -f ndjson | jq -r 'select(.type == "segment").text'

cartesia-cli stream-file meeting.wav --channel 2 -o meeting.srt -m ink-whisper

arecord -f S16_LE -r 16000 -t raw | cartesia-cli stream-file - --encoding pcm_s16le --sample-rate 16000
"""

FINALIZE = ("vad", "none")

File = Annotated[str, typer.Argument(metavar="FILE", help="A recording, or - for stdin.", show_default=False)]
Finalize = Annotated[
    str | None,
    typer.Option(
        metavar="vad|none",
        help="Who sends `finalize`: the level of the voice (vad), or nobody before the end. Means --mode manual.",
        rich_help_panel=live_given.ENDS,
    ),
]
Speed = Annotated[
    float,
    typer.Option(metavar="FACTOR", min=0.1, max=100, help="Faster or slower than it was spoken.",
                 rich_help_panel=live_given.MORE),
]  # fmt: skip
Channel = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="One channel alone; otherwise all are mixed.",
                 rich_help_panel=live_given.MORE),
]  # fmt: skip


def stream_file(
    context: typer.Context,
    file: File,
    mode: live_given.Mode = None,
    finalize: Finalize = None,
    vad_threshold: live_given.VadThreshold = None,
    vad_silence_ms: live_given.VadSilence = 600,
    min_volume: live_given.MinVolume = None,
    max_silence_secs: live_given.MaxSilence = None,
    turn_start_threshold: live_given.TurnStart = None,
    turn_eager_end_threshold: live_given.TurnEagerEnd = None,
    turn_end_threshold: live_given.TurnEnd = None,
    turn_end_timeout_ms: live_given.TurnTimeout = None,
    speed: Speed = 1.0,
    channel: Channel = None,
    duration: live_given.Duration = None,
    chunk_ms: live_given.ChunkMs = 100,
    save_audio: live_given.SaveAudio = None,
    raw_events: live_given.RawEvents = None,
    stats: live_given.Stats = False,
    model: given.Model = "ink-2",
    language: given.Language = None,
    keyterm: live_given.Keyterm = None,
    encoding: given.Encoding = None,
    sample_rate: given.SampleRate = None,
    format: transcribe.Format = None,
    json: transcribe.Json = False,
    output: transcribe.Output = None,
    output_dir: transcribe.OutputDir = None,
    force: transcribe.Force = False,
    word_timestamps: transcribe.WordTimestamps = False,
    local: given.Local = False,
    cloud: given.Cloud = False,
    local_model: given.LocalModel = None,
    base_url: given.BaseUrl = None,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
    color: given.Color = "auto",
) -> None:
    """Replay a recording at the pace of life, and show the text as it grows."""
    from ..output import Layout
    from . import backend, destinations
    from .inputs import STDIN, Input

    talk: Talk = context.obj
    given.settle(talk, quiet=quiet, verbose=verbose, debug=debug, color=color)
    formats = destinations.formats(format, json, output)
    talk.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    if finalize is not None and finalize not in FINALIZE:
        raise UsageError(f"--finalize is {' or '.join(FINALIZE)} here, not {finalize!r}")
    wish = live_given.Wish(
        mode=mode,
        finalize=finalize,
        model=model,
        language=language,
        keyterms=tuple(keyterm or ()),
        vad_threshold=vad_threshold,
        vad_silence_ms=vad_silence_ms,
        min_volume=min_volume,
        max_silence_secs=max_silence_secs,
        turn_start=turn_start_threshold,
        turn_eager_end=turn_eager_end_threshold,
        turn_end=turn_end_threshold,
        turn_timeout_ms=turn_end_timeout_ms,
    )
    choice = backend.choose(given.settings(), local=local, cloud=cloud, base_url=base_url)
    given.checked_encoding(encoding, sample_rate)
    options = wish.options(talk)
    path, name = Path(file), Path("stdin" if file == STDIN else Path(file).name)
    targets = destinations.Plan(formats, False, output, output_dir, force).targets([Input(file, path, name)])[0]
    if save_audio is not None and save_audio.exists() and not force:
        raise UsageError(f"{save_audio} exists", hint="--force overwrites it")
    blocks, seconds = _recording(file, encoding, sample_rate, channel, talk)
    if duration is not None:
        seconds = duration if seconds is None else min(duration, seconds)
    if speed != 1.0:
        talk.say("warning: --speed: the API wants audio at the pace of life; another one is for trying things out")

    from ..audio.pacing import Paced, limited
    from ..audio.saving import Saved
    from . import live
    from .performance import Order

    def make(instrument: Instrument, say: Callable[[str], None]) -> Source:
        def gap(seconds: float) -> None:
            instrument.gap(seconds)
            say(f"warning: held up for {seconds:.1f} s: the schedule goes on from here")

        paced = Paced(
            blocks if duration is None else limited(blocks, duration),
            chunk_ms / 1000,
            speed=speed,
            on_late=instrument.late,
            on_gap=gap,
        )
        return paced if save_audio is None else Saved(paced, save_audio)

    order = Order(
        source=file,
        dialect=wish.dialect(),
        options=options,
        endpointing=wish.endpointing(),
        finalize=wish.dialect().name == "manual" and finalize != "none",
        chunk_ms=chunk_ms,
        targets=targets,
        layout=Layout(words=word_timestamps),
        seconds=seconds,
        stats=stats,
        raw_events=raw_events,
        force=force,
    )
    if choice.reason:
        talk.say(choice.reason)
    with backend.reach(choice, lambda: engines(model, local_model), local_model=local_model) as server:
        live.run(order, server, make, talk)


def _recording(
    file: str, encoding: str | None, sample_rate: int | None, channel: int | None, talk: Talk
) -> tuple[Iterator[Samples], float | None]:
    """The samples of the input, and how many seconds they are where that is known."""
    import sys

    from ..audio.containers import UNDOCUMENTED, look, look_raw
    from ..audio.files import decoded, decoded_pipe, decoded_raw
    from ..audio.pcm import RATE
    from .inputs import STDIN

    def warn(note: str) -> None:
        talk.say(f"warning: {file}: {note}")

    if file == STDIN:
        if sys.stdin is None or sys.stdin.buffer.isatty():
            raise UsageError("stdin is the terminal: there is no audio in it", hint="pipe a recording in")
        stream = sys.stdin.buffer
        if encoding is not None and sample_rate is not None:
            return decoded_raw(stream, encoding, sample_rate, rate=RATE), None
        return decoded_pipe(stream, rate=RATE, channel=channel, warn=warn), None
    path = Path(file)
    if encoding is not None and sample_rate is not None:
        recording = look_raw(path, encoding, sample_rate)
        blocks = decoded_raw(path.open("rb"), encoding, sample_rate, rate=RATE)
    else:
        recording = look(path)
        blocks = decoded(path, rate=RATE, channel=channel, warn=warn)
    if recording.note and recording.note != UNDOCUMENTED:  # what the API takes is no matter: samples are sent
        warn(recording.note)
    return _peeked(blocks, file), recording.duration


def _peeked(blocks: Iterator[Samples], file: str) -> Iterator[Samples]:
    """The same blocks; the first is decoded now, so that what can't be decoded is told before anything is sent."""
    from itertools import chain

    first = next(blocks, None)
    if first is None:
        raise InputError(f"{file} holds no audio", hint="does it play?")
    return chain([first], blocks)


def engines(model: str, local_model: str | None) -> tuple[Engine, Engine | None]:
    """What a local server needs for one live session: the engine of its model."""
    from ..server import engines

    engine = engines.timed(local_model) if model.startswith("ink-whisper") else engines.live(local_model)
    return engine, None
