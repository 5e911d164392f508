"""`edit`: corrects the words of a saved transcript on a page in the browser, and keeps their times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Exit, InputError, Interrupted, UsageError
from ..output.console import Reporter

if TYPE_CHECKING:  # --help does without
    from ..output import SaveTarget
    from ..transcript import Transcript

EXAMPLES = """
cartesia-cli edit talk.json
cartesia-cli edit talk.json --audio talk.mp3 --open
"""


def edit(
    reporter: Reporter,
    *,
    transcript: Annotated[
        Path,
        typer.Argument(
            metavar="TRANSCRIPT",
            readable=False,
            help="JSON of cartesia-cli, as -f json writes it. Corrections are saved in it.",
            show_default=False,
        ),
    ],
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", readable=False, help="The recording; by default the one that the transcript names."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port of the page on 127.0.0.1; 0 picks a free one.")
    ] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Correct a transcript in the browser. The words keep their times."""
    from ..output import Layout, Media
    from ..output.files import write_stdout
    from ..output.html_page import html
    from .batch.inputs import Input, read_input
    from .batch.output_checks import check_output
    from .batch.page_media import PageMedia, find_recording
    from .batch.stdin import STDIN
    from .edit_server import RECORDING, EditServer, SavedTranscript
    from .render import MAX_TRANSCRIPT_BYTES

    name = str(transcript)
    if name == STDIN:
        raise UsageError("edit saves corrections in a file, so it can't read stdin", hint="cartesia-cli edit talk.json")
    content = read_input(Input(name, transcript, Path(transcript.name)), MAX_TRANSCRIPT_BYTES)
    document = read_document(content, name)
    _check_correctable([document], name)
    check_output(transcript, force=True)
    recording = find_recording(audio, transcript, document.source)
    media = PageMedia(recording, reporter, linked=False, embed=False).beside(None)
    if recording is not None:
        media = Media(RECORDING, peaks=media.peaks, peak_seconds=media.peak_seconds)
    indent = 2 if b"\n" in content.strip() else None  # a document that was one line stays one
    saved = SavedTranscript(transcript, lambda sent: checked_document(sent, indent))

    def page(data: bytes, save_target: SaveTarget) -> str:
        return html(read_document(data, name), Layout(media=media, save_target=save_target))

    with EditServer(port, saved, recording, page, reporter.internal_error) as server:
        try:
            write_stdout(f"{server.url}\n")
            reporter.info("open this page in a browser to correct the transcript; Ctrl-C ends")
            if open_browser:
                _open_page(server.url, reporter)
            server.serve_forever()
        except Interrupted as stop:
            saved.finish()
            kept = f"saved the corrections in {name}; the original is in {saved.original}"
            reporter.info(kept if saved.saves else "nothing was saved")
            if stop.exit_code != Exit.INTERRUPTED:
                raise


def read_document(content: bytes, name: str) -> Transcript:
    """The transcript in a JSON document of cartesia-cli. Raises InputError for anything else."""
    from ..transcript_import import read_transcripts
    from .batch.shell_commands import shell_command

    transcripts = read_transcripts(content, name)
    if len(transcripts) == 1 and _members(content) is not None:
        return transcripts[0]
    _check_correctable(transcripts, name)  # otherwise no document that is made of it can be corrected
    made = f"{Path(name).stem}.cartesia"
    if len(transcripts) > 1:
        command = shell_command("render", "-f", "json", "--output-dir", made, files=[name])
        raise InputError(f"{name} has {len(transcripts)} transcripts", hint=f"to make a file of each: {command}")
    command = shell_command("render", "-f", "json", "-o", f"{made}.json", files=[name])
    raise InputError(f"{name} is not a JSON document of cartesia-cli", hint=f"to make one of it: {command}")


def _check_correctable(transcripts: Sequence[Transcript], name: str) -> None:
    from ..output.html_page import is_correctable

    if not any(map(is_correctable, transcripts)):
        raise InputError(
            f"{name} has no words that could be corrected",
            hint="`transcribe -f json` writes them: subtitles and some other formats have no words with times",
        )


def checked_document(sent: bytes, indent: int | None) -> bytes:
    """The JSON document that a page sends, as cartesia-cli writes it.

    Raises InputError if it isn't one, or if its words or its segments don't make up its text: something would be lost.
    """
    from ..output.html_page import is_correctable
    from ..output.text_json import to_json

    transcript = read_document(sent, "what was sent")
    given = _members(sent) or {}
    words = [item.get("word") for item in given.get("words") or ()]
    if [word.word for word in transcript.words or ()] != words or transcript.text != given["text"]:
        raise InputError("the words that were sent are not those of the text")
    if not is_correctable(transcript):
        raise InputError("the segments that were sent are not those of the text")
    return to_json(transcript.to_dict(), indent).encode("utf-8", "replace")


def _members(content: bytes) -> dict[str, Any] | None:
    """The members of a JSON document of cartesia-cli; None if a file is anything else."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"source", "model", "text"} <= found.keys() else None


def _open_page(url: str, reporter: Reporter) -> None:
    import webbrowser

    if not webbrowser.open(url):
        reporter.warn("no browser could be started")
