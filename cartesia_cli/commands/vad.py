"""`vad`: what the endpointer hears in a recording, so that its thresholds can be chosen before a live session."""

from __future__ import annotations

import json as json_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from . import live_options as live_given
from . import options as given
from .option_groups import expand_groups

EXAMPLES = """
cartesia-cli vad talk.wav

cartesia-cli vad talk.wav --vad-silence-ms 900

cartesia-cli vad talk.wav -f json | jq .utterances

arecord -d 10 -f cd | cartesia-cli vad -
"""

SHORT_PAUSE_QUANTILE = 0.25
"""Of the pauses between utterances: those shorter than the hangover that is suggested."""


@expand_groups(voice=given.VerbosityOptions)
def vad(
    context: typer.Context,
    *,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", callback=given.nonempty_path, help="A recording, or - for stdin.", show_default=False
        ),
    ],
    vad_threshold: live_given.VadThreshold = None,
    vad_silence_ms: live_given.VadSilence = 600,
    channel: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="One channel alone; otherwise all are mixed.")
    ] = None,
    form: given.Listing = "table",
    voice: given.VerbosityOptions,
) -> None:
    """List the utterances that are heard in a recording, the noise in it, and flags that fit it."""
    reporter = voice.apply_to(context.obj)
    reporter.as_json = given.checked_listing(form) == "json"
    from ..audio.files import decode_file, decode_pipe
    from ..audio.probing import probe
    from ..audio.vad import Endpointer, VadEvent, VadSettings, utterances
    from ..output.files import write_stdout
    from .inputs import STDIN, check_not_url, stdin_stream

    def warn(note: str) -> None:
        reporter.info(f"warning: {file}: {note}")

    check_not_url(file)
    if file == STDIN:
        blocks = decode_pipe(stdin_stream(), channel=channel, warn=warn)
    else:
        if note := probe(Path(file)).note:
            warn(note)
        blocks = decode_file(Path(file), channel=channel, warn=warn)
    endpointer = Endpointer(VadSettings(silence_ms=vad_silence_ms, threshold=vad_threshold))
    marks: list[VadEvent] = []
    levels: list[float] = []
    for block in blocks:
        marks += endpointer.process(block)
        levels.append(endpointer.floor)
    marks += endpointer.finish()
    found = utterances(marks, until=endpointer.processed_seconds)
    noise, threshold = sorted(levels)[len(levels) // 2] if levels else 0.0, endpointer.threshold
    flags = f"--vad-threshold {threshold:.0f} --vad-silence-ms {_suggest_silence_ms(found, vad_silence_ms)}"
    if form == "json":
        report = {
            "source": file,
            "duration": round(endpointer.processed_seconds, 3),
            "noise_dbfs": round(noise, 1),
            "threshold_dbfs": round(threshold, 1),
            "utterances": [{"start": round(start, 2), "end": round(end, 2)} for start, end in found],
            "flags": flags,
        }
        write_stdout(json_module.dumps(report, indent=2) + "\n")
        return
    lines = [f"{'#':>3}  {'start':>8}  {'end':>8}  {'length':>7}  {'pause':>7}"]
    before = 0.0
    for number, (start, end) in enumerate(found, 1):
        lines.append(f"{number:>3}  {start:>8.2f}  {end:>8.2f}  {end - start:>7.2f}  {start - before:>7.2f}")
        before = end
    write_stdout("\n".join(lines) + "\n")
    levels_found = f"noise {noise:.0f} dBFS, speech above {threshold:.0f}"
    seconds = endpointer.processed_seconds
    reporter.info(f"{len(found)} utterance{'s' if len(found) != 1 else ''} in {seconds:.1f} s; {levels_found}")
    reporter.info(f"flags that fix this: {flags}")


def _suggest_silence_ms(found: list[tuple[float, float]], asked: int) -> int:
    """A hangover below most of the pauses that were found, in milliseconds; what was asked for where there are none."""
    pauses = sorted(later[0] - earlier[1] for earlier, later in pairwise(found))
    if not pauses:
        return asked
    short = pauses[int(len(pauses) * SHORT_PAUSE_QUANTILE)]
    return max(asked, min(1500, round(short * 0.6 * 1000 / 50) * 50))
