"""`transcribe`: turns recordings into transcripts, several at once, in the order in which they are named.

An error in the command line and unusable inputs are reported before anything is sent. A recording that fails doesn't
stop the others; a refused key or exhausted credits do. `batch/transcribe_command.py` does the work.
"""

from contextlib import ExitStack

import typer

from ..errors import Exit
from ..output.console import Reporter
from .batch.options import TranscribeOptions

EXAMPLES = """
cartesia-cli transcribe talk.mp3
cartesia-cli transcribe talk.mp3 -w
cartesia-cli transcribe talk.mp4 -o talk.srt
cartesia-cli transcribe talk.mp3 --grep 'by (one|another)' -C 3
cartesia-cli transcribe lectures/ -f text,vtt --output-dir out
ffmpeg -i film.mkv -f wav - | cartesia-cli transcribe - -f json
"""


def transcribe(context: typer.Context, reporter: Reporter, *, options: TranscribeOptions) -> None:
    """Turn recordings into text, word tables, subtitles or JSON."""
    from .batch.transcribe_command import TranscribeCommand

    with ExitStack() as stack:
        is_done = TranscribeCommand(context, options, reporter, stack).run()
    if not is_done:
        raise typer.Exit(Exit.FAILED)
