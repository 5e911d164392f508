"""`stream-file`: replays a recording in real time into a realtime endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import Exit, NetworkError, OutputError
from ..output.console import Reporter
from . import options as given
from .live import options as live_given

if TYPE_CHECKING:
    from ..audio.files import Decoder
    from ..audio.pcm import Samples
    from ..session.interfaces import Source
    from ..session.latency import LatencyRecorder

EXAMPLES = """
cartesia-cli stream-file talk.wav
cartesia-cli stream-file talk.mp3 --mode manual --stats
cartesia-cli stream-file talk.m4a -f ndjson | jq -r 'select(.type == "segment").text'
cartesia-cli stream-file meeting.wav --channel 2 -o meeting.srt -m ink-whisper
arecord -f S16_LE -r 16000 -t raw | cartesia-cli stream-file - --encoding pcm_s16le --sample-rate 16000
"""


def stream_file(
    context: typer.Context,
    reporter: Reporter,
    *,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", show_default=False, help="A recording, or - for stdin."),
    ],
    encoding: given.Encoding = None,
    sample_rate: given.SampleRate = None,
    speed: Annotated[
        float,
        live_given.stream_option(metavar="FACTOR", min=0.1, max=100, help="Playback speed: 2 is twice real time."),
    ] = 1.0,
    channel: Annotated[
        int | None, live_given.stream_option(metavar="N", min=1, help="Only this channel; by default all are mixed.")
    ] = None,
    finalize: Annotated[
        Literal["vad", "none"] | None,
        live_given.endpointing_option(
            help="What sends `finalize`: voice activity (vad), or only the end of the file. Implies --mode manual."
        ),
    ] = None,
    options: live_given.LiveOptions,
) -> None:
    """Replay a recording in real time, and show the text as it grows."""
    from ..audio.files import Decoder
    from ..audio.pacing import LimitedSource, RealtimeSource
    from ..audio.wav_writer import TeeSource
    from . import backend
    from .batch.inputs import Input, check_not_url
    from .batch.stdin import STDIN
    from .live import session as live_session

    plan, layout = options.plan(), options.layout()
    check_not_url(file, command="stream-file")
    choice = options.backend.resolve(context, reporter)
    stream, wire = options.stream, options.stream.wire_format(replay=True)
    name = Path("stdin" if file == STDIN else Path(file).name)
    source = Input(file, Path(file), name)
    config, view = live_session.prepare_session(
        context, reporter, options, choice, plan, layout, source, finalize=finalize, replays=True
    )
    decoder = Decoder(rate=None if wire is None else wire[1], channel=channel, warn=partial(reporter.warn, about=file))
    blocks, seconds = decode_input(file, decoder, encoding, sample_rate)
    wire_encoding, rate = wire or decoder.own_format
    if stream.duration is not None:
        seconds = stream.duration if seconds is None else min(stream.duration, seconds)
    request = config.options._replace(encoding=wire_encoding, sample_rate=rate)
    config = config._replace(options=request, speed=speed, seconds=seconds)
    if speed != 1.0:
        reporter.warn("--speed: the API expects audio in real time; other speeds are for experiments")
    recorders: list[LatencyRecorder] = []
    recordings: list[TeeSource] = []

    def report_recording(error: OutputError) -> None:
        error.hint = "the recording ends here, and the session continues; choose another output file"
        reporter.error(error)

    def make(recorder: LatencyRecorder) -> Source:
        recorders.append(recorder)

        def gap(seconds: float) -> None:
            recorder.gap(seconds)
            reporter.warn(f"held up for {seconds:.1f} s; the schedule continues from here")

        paced = RealtimeSource(
            blocks,
            stream.chunk_ms / 1000,
            rate=rate,
            speed=speed,
            on_late=recorder.late,
            on_gap=gap,
            on_silence=cache(lambda: reporter.info(f"no data from {name}: sending silence until it continues")),
        )
        source = LimitedSource(paced, stream.duration, rate)
        if stream.save_audio is None:
            return source
        recordings.append(
            TeeSource(source, stream.save_audio, rate, replaces=config.force, on_failure=report_recording)
        )
        return recordings[0]

    try:
        with backend.open_live_server(choice, request, reporter) as server:
            live_session.run_session(config, server, make, reporter, view)
    except NetworkError as error:
        if file != STDIN and channel is None and any(recorder.sent_seconds for recorder in recorders):
            from .batch.shell_commands import recovery_command

            command = recovery_command(context, file, "transcribe")
            error.hint = "; or ".join(filter(None, (error.hint, f"to transcribe all of it at once: {command}")))
        raise
    except OutputError as error:
        error.hint = error.hint or "choose another output file"
        raise
    finally:
        if stream.save_audio is not None and not any(one.was_opened or one.has_failed for one in recordings):
            reporter.info(f"nothing was recorded: {stream.save_audio} was not written")
    if any(recording.has_failed for recording in recordings):
        raise typer.Exit(Exit.FAILED)


def decode_input(
    file: str, decoder: Decoder, encoding: str | None = None, sample_rate: int | None = None
) -> tuple[Iterator[Samples], float | None]:
    """The samples of the input, and their duration in seconds if it is known.

    The first block is already decoded: undecodable input is reported before anything is connected, and no server
    closes the connection while a pipe is still empty.
    """
    from itertools import chain

    from ..audio.probing import probe, probe_raw
    from .batch.stdin import STDIN, stdin_stream

    path, piping = Path(file), file == STDIN
    recording = None
    if encoding is not None and sample_rate is not None:
        recording = None if piping else probe_raw(path, encoding, sample_rate)
        stream = stdin_stream() if piping else path.open("rb")
        blocks = decoder.decode_raw(stream, encoding, sample_rate, probes=piping)
    elif piping:
        blocks = decoder.decode_pipe(stdin_stream())
    else:
        recording = probe(path)
        blocks = decoder.decode_file(path)
    if recording is not None and recording.note:
        decoder.warn(recording.note)
    return chain([next(blocks)], blocks), None if recording is None else recording.duration
