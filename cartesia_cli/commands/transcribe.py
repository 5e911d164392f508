"""`transcribe`: turns recordings into transcripts, several at once, in the order in which they are named.

An error in the command line and unusable inputs are reported before anything is sent. A recording that fails doesn't
stop the others; a refused key or exhausted credits do. `batch/transcribe_run.py` does the work.
"""

from contextlib import ExitStack

import typer

from ..errors import Exit
from . import options as given
from .batch.options import InputOptions, RecordingOptions, RunOptions, SendingOptions, TranscribeOptions
from .batch.output_options import FormatOptions, OutputOptions, SubtitleOptions
from .options import expand_groups

EXAMPLES = """
cartesia-cli transcribe talk.mp3
cartesia-cli transcribe talk.mp3 -w
cartesia-cli transcribe talk.mp4 -o talk.srt
cartesia-cli transcribe talk.mp3 --grep 'by (one|another)' -C 3
cartesia-cli transcribe lectures/ -f text,vtt --output-dir out
ffmpeg -i film.mkv -f wav - | cartesia-cli transcribe - -f json
"""


@expand_groups
def transcribe(
    context: typer.Context,
    *,
    input_options: InputOptions,
    output_options: OutputOptions,
    run_options: RunOptions,
    format_options: FormatOptions,
    subtitle_options: SubtitleOptions,
    recording_options: RecordingOptions,
    backend_options: given.BackendOptions,
    sending_options: SendingOptions,
    verbosity: given.VerbosityOptions,
) -> None:
    """Turn recordings into text, word tables, subtitles or JSON."""
    from .batch.transcribe_run import TranscribeRun

    options = TranscribeOptions(
        input=input_options,
        output=output_options,
        run=run_options,
        format=format_options,
        subtitles=subtitle_options,
        recording=recording_options,
        backend=backend_options,
        sending=sending_options,
    )
    with ExitStack() as stack:
        failed = TranscribeRun(context, options, verbosity.apply_to(context.obj), stack).run()
    if failed:
        raise typer.Exit(Exit.FAILED)
