"""`vad`: shows the utterances that `listen` would detect in a recording, to choose thresholds before a live session."""

from __future__ import annotations

from functools import partial
from itertools import chain, pairwise
from typing import Annotated

import typer

from ..output.console import Reporter
from . import options as given
from .live import options as live_given

EXAMPLES = """
cartesia-cli vad talk.wav
cartesia-cli vad talk.wav --vad-silence-ms 900
cartesia-cli vad talk.wav -f json | jq .utterances
arecord -d 10 -f cd | cartesia-cli vad -
"""

STEP_SAMPLES = 1600
"""0.1 s at 16 kHz, however a pipe divides the audio: so the figures don't depend on that."""

SHORT_PAUSE_QUANTILE = 0.25
"""The quantile of the pauses between utterances that the suggested silence is derived from."""


def vad(
    reporter: Reporter,
    *,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A recording, or - for stdin.", show_default=False),
    ],
    vad_threshold: live_given.VadThreshold = None,
    vad_silence_ms: live_given.VadSilence = 600,
    channel: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Use this channel only; by default all are mixed.")
    ] = None,
    format: given.ListFormat = "table",
) -> None:
    """List the utterances and the noise level in a recording, and flags that suit it."""
    from ..audio.files import Decoder
    from ..audio.pcm import divide_into_rows
    from ..audio.vad import Endpointer, VadEvent, VadSettings, utterances
    from ..output.files import write_json, write_stdout
    from .batch.inputs import check_not_url
    from .stream_file import decode_input

    decoder = Decoder(channel=channel, warn=partial(reporter.warn, about=file))
    check_not_url(file, command="vad")
    blocks, _ = decode_input(file, decoder)
    endpointer = Endpointer(VadSettings(silence_ms=vad_silence_ms, threshold=vad_threshold))
    events: list[VadEvent] = []
    levels: list[float] = []
    for step in chain.from_iterable(divide_into_rows(blocks, STEP_SAMPLES)):
        events += endpointer.process(step)
        levels.append(endpointer.floor)
    events += endpointer.finish()
    found = utterances(events, until=endpointer.processed_seconds)
    noise, threshold = sorted(levels)[len(levels) // 2] if levels else 0.0, endpointer.threshold
    flags = f"--vad-threshold {threshold:.0f} --vad-silence-ms {_suggest_silence_ms(found, vad_silence_ms)}"
    if format == "json":
        report = {
            "source": file,
            "duration": round(endpointer.processed_seconds, 3),
            "noise_dbfs": round(noise, 1),
            "threshold_dbfs": round(threshold, 1),
            "utterances": [{"start": round(start, 2), "end": round(end, 2)} for start, end in found],
            "flags": flags,
        }
        write_json(report)
        return
    lines = [f"{'#':>3}  {'start':>8}  {'end':>8}  {'length':>7}  {'pause':>7}"]
    before = 0.0
    for number, (start, end) in enumerate(found, 1):
        lines.append(f"{number:>3}  {start:>8.2f}  {end:>8.2f}  {end - start:>7.2f}  {start - before:>7.2f}")
        before = end
    write_stdout("\n".join(lines) + "\n")
    count = f"{len(found)} utterance{'s' if len(found) != 1 else ''} in {endpointer.processed_seconds:.1f} s"
    reporter.info(f"{count}; noise {noise:.0f} dBFS, speech above {threshold:.0f}")
    reporter.info(f"flags that pin these values: {flags}")


def _suggest_silence_ms(found: list[tuple[float, float]], requested: int) -> int:
    """A silence that is shorter than most of the pauses found, in milliseconds; `requested` if there are none."""
    pauses = sorted(later[0] - earlier[1] for earlier, later in pairwise(found))
    if not pauses:
        return requested
    short = pauses[int(len(pauses) * SHORT_PAUSE_QUANTILE)]
    return max(requested, min(1500, round(short * 0.6 * 1000 / 50) * 50))
