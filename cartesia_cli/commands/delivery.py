"""Results into their places. What can't be written where it should be is not lost: it goes to stdout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import OutputError
from ..output import Layout, writer
from ..output.files import write_file, write_stdout
from ..output.talk import Talk
from ..transcript import Transcript
from .destinations import Targets


def deliver_all(transcript: Transcript, targets: Targets, layout: Layout, talk: Talk) -> OutputError | None:
    """Write a transcript in each of its formats; the error of a file that had to go to stdout instead."""
    trouble: OutputError | None = None
    uncut = replace(layout, columns=None)  # a file is no terminal
    for name, file in targets.items():
        trouble = deliver(writer(name)(transcript, uncut if file else layout), file, talk) or trouble
    return trouble


def deliver(text: str, file: Path | None, talk: Talk) -> OutputError | None:
    """Write a whole result; None is stdout. The error of a file that had to go to stdout instead."""
    if file is None:
        write_stdout(text)
        return None
    try:
        write_file(file, text)
    except OutputError as error:
        write_stdout(text)
        error.hint = "it went to stdout instead; -o names another place"
        return error
    talk.say(f"wrote {file}")
    return None
