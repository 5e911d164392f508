"""`stream-file`: replays a recording in real time into a realtime endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import NetworkError, OutputError
from ..output.console import Reporter
from . import options as given
from .batch.output_options import FormatOptions, OutputOptions, SubtitleOptions
from .live import options as live_given
from .options import expand_groups

if TYPE_CHECKING:
    from ..audio.files import OnFormat
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

File = Annotated[
    str,
    typer.Argument(metavar="FILE", show_default=False,
                   help="A recording, or - for stdin."),
]  # fmt: skip
Finalize = Annotated[
    Literal["vad", "none"] | None,
    live_given.endpointing_option(help="What sends `finalize`: voice activity (vad), or only the end of the file. "
                                       "Implies --mode manual."),
]  # fmt: skip
Speed = Annotated[
    float,
    live_given.stream_option(metavar="FACTOR", min=0.1, max=100,
                             help="Playback speed: 2 is twice real time."),
]  # fmt: skip
Channel = Annotated[
    int | None, live_given.stream_option(metavar="N", min=1, help="Only this channel; by default all are mixed.")
]


@expand_groups
def stream_file(
    context: typer.Context,
    *,
    file: File,
    session_options: live_given.SessionOptions,
    finalize: Finalize = None,
    encoding: given.Encoding = None,
    sample_rate: given.SampleRate = None,
    speed: Speed = 1.0,
    channel: Channel = None,
    stream_options: live_given.StreamOptions,
    output_options: OutputOptions,
    format_options: FormatOptions,
    subtitle_options: SubtitleOptions,
    backend_options: given.BackendOptions,
    verbosity: given.VerbosityOptions,
) -> None:
    """Replay a recording in real time, and show the text as it grows."""
    from ..output.sanitize import title
    from . import backend
    from .batch.inputs import Input, check_not_url
    from .batch.stdin import STDIN
    from .live import session as live_session

    reporter = verbosity.apply_to(context.obj)
    formats = output_options.formats(selects_rows=format_options.selects_rows)
    reporter.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    layout = format_options.layout(subtitle_options)
    check_not_url(file)
    choice = backend_options.resolve(context, reporter)
    given.checked_encoding(encoding, sample_rate)
    endpoint = session_options.endpoint(finalize)
    by_level = endpoint.name == "manual" and finalize != "none"
    options = session_options.request(endpoint, reporter, base_url=choice.base_url, by_level=by_level)
    path, name = Path(file), Path("stdin" if file == STDIN else Path(file).name)
    targets = output_options.plan(formats).targets([Input(file, path, name)])[0]
    stream_options.check((file, session_options.keyterms), targets.values(), force=output_options.force)
    wire, own = stream_options.wire_format(replay=True), list[tuple[str, int]]()
    backend.report_engine(choice, backend_options.local_model, options.language, reporter, live_model=options.model)
    captions = context.with_resource(stream_options.captions(title(file), reporter))
    view = context.with_resource(live_session.live_view(reporter))
    blocks, seconds = _recording(
        file, encoding, sample_rate, channel, reporter,
        rate=None if wire is None else wire[1], on_format=lambda encoding, rate: own.append((encoding, rate)),
    )  # fmt: skip
    wire_encoding, rate = wire or own[0]
    options = replace(options, encoding=wire_encoding, sample_rate=rate)
    if stream_options.duration is not None:
        seconds = stream_options.duration if seconds is None else min(stream_options.duration, seconds)
    if speed != 1.0:
        reporter.warn("--speed: the API expects audio in real time; other speeds are for experiments")

    from ..audio.pacing import RealtimeSource, limit_source
    from ..audio.wav_writer import TeeSource
    from .live.config import SessionConfig

    recorders: list[LatencyRecorder] = []
    recordings: list[TeeSource] = []

    def make(recorder: LatencyRecorder) -> Source:
        recorders.append(recorder)

        def gap(seconds: float) -> None:
            recorder.gap(seconds)
            reporter.warn(f"held up for {seconds:.1f} s; the schedule continues from here")

        paced = RealtimeSource(
            blocks,
            stream_options.chunk_ms / 1000,
            rate=rate,
            speed=speed,
            on_late=recorder.late,
            on_gap=gap,
            on_silence=cache(lambda: reporter.info(f"no data from {name}: sending silence until it continues")),
        )
        source = limit_source(paced, stream_options.duration, rate)
        if stream_options.save_audio is None:
            return source
        recordings.append(TeeSource(source, stream_options.save_audio, rate))
        return recordings[0]

    config = SessionConfig(
        source=file,
        endpoint=endpoint,
        options=options,
        endpointing=session_options.endpointing(),
        finalize=by_level,
        stream_options=stream_options,
        speed=speed,
        targets=targets,
        layout=layout,
        captions=captions,
        seconds=seconds,
        force=output_options.force,
    )
    try:
        with backend.open_live_server(
            choice, options.model, backend_options.local_model, reporter, options.language
        ) as server:
            live_session.run_session(config, server, make, reporter, view)
    except NetworkError as error:
        if file != STDIN and channel is None and any(recorder.seconds for recorder in recorders):
            headerless = () if encoding is None else ("--encoding", encoding, "--sample-rate", str(sample_rate))
            from .batch.shell_commands import recovery_command

            command = recovery_command(
                file,
                session_options.language,
                output_options,
                format_options,
                subtitle_options,
                backend_options,
                extra=headerless,
            )
            error.hint = "; or ".join(filter(None, (error.hint, f"to transcribe all of it at once: {command}")))
        raise
    except OutputError as error:
        error.hint = error.hint or "choose another output file"
        raise
    finally:
        if stream_options.save_audio is not None and not any(recording.was_opened for recording in recordings):
            reporter.info(f"nothing was recorded: {stream_options.save_audio} was not written")


def _recording(
    file: str,
    encoding: str | None,
    sample_rate: int | None,
    channel: int | None,
    reporter: Reporter,
    *,
    rate: int | None,
    on_format: OnFormat,
) -> tuple[Iterator[Samples], float | None]:
    """The samples of the input at `rate` Hz (None: its own rate), and their duration in seconds if it is known.

    The first block is already decoded: undecodable input is reported before anything is connected, and no server
    closes the connection while a pipe is still empty.
    """
    from io import BufferedReader
    from itertools import chain

    from ..audio.files import decode_file, decode_pipe, decode_raw
    from ..audio.probing import probe, probe_raw
    from .batch.stdin import STDIN, HeaderlessReader, stdin_stream

    warn = partial(reporter.warn, about=file)
    path, piping = Path(file), file == STDIN
    recording = None
    if encoding is not None and sample_rate is not None:
        recording = None if piping else probe_raw(path, encoding, sample_rate)
        stream = BufferedReader(HeaderlessReader(stdin_stream(), encoding, warn)) if piping else path.open("rb")
        blocks = decode_raw(stream, encoding, sample_rate, rate=rate, channel=channel, on_format=on_format)
    elif piping:
        blocks = decode_pipe(stdin_stream(), rate=rate, channel=channel, warn=warn, on_format=on_format)
    else:
        recording = probe(path)
        blocks = decode_file(path, rate=rate, channel=channel, warn=warn, on_format=on_format)
    if recording is not None and recording.note:
        warn(recording.note)
    return chain([next(blocks)], blocks), None if recording is None else recording.duration
