"""Renders the statistics of a session for people: a table of latencies, histograms, and what was sent.

Takes the same report that is written as JSON. Must never compute anything that isn't in it. Plain ASCII except for the
bars, and those too if the terminal can't show others.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from .sanitize import can_encode

LABELS = {
    "speech_to_finalize": "last speech to finalize",
    "key_to_finalize": "key to finalize",
    "hangover_to_finalize": "end of silence to finalize",
    "finalize_to_flush_done": "finalize to flush_done",
    "finalize_to_text": "finalize to last text",
    "onset_to_text": "speech onset to first text",
    "speech_to_turn_end": "last speech to turn.end",
    "eager_lead": "eager_end to turn.end",
}

HISTOGRAM_METRICS = ("finalize_to_text", "speech_to_turn_end")
"""What a speaker waits for after an utterance: these get a histogram."""

COLUMNS = ("count", "p50", "p95", "p99", "max")
EXPENDABLE = ("p95", "p99", "count")
"""Columns that are left out on a narrow terminal, in this order."""

BLOCK_RAMP = " ▁▂▃▄▅▆▇█"
ASCII_RAMP = " .:-=+*%#"
MIN_BARS, MAX_BARS = 8, 40
"""Bars of a histogram; one for every three values, so that it has a shape."""


def render_report(report: Mapping[str, Any], width: int, *, encoding: str = "utf-8") -> str:
    """Lines for a terminal that is `width` columns wide. `encoding`: of the stream."""
    figures = report["latency_ms"]
    blocks = [
        _table(figures, width),
        [
            line
            for name in HISTOGRAM_METRICS
            if name in figures
            for line in _histogram(name, report["utterances"], width, encoding)
        ],
        [part for line in _totals(report) for part in textwrap.wrap(line, max(width, 20), subsequent_indent="  ")],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def count_in_bins(values: Sequence[float], count: int) -> list[int]:
    """How many of the values are in each of `count` equal parts of the way from the lowest to the highest."""
    low, span = min(values), max(values) - min(values)
    bins = [0] * count
    for value in values:
        bins[min(count - 1, int((value - low) / span * count)) if span else 0] += 1
    return bins


def draw_bars(heights: Sequence[float], encoding: str) -> str:
    """A character for each height, some of which are above 0. These are visible, however low."""
    ramp = BLOCK_RAMP if can_encode(encoding, BLOCK_RAMP) else ASCII_RAMP
    top = max(heights)
    return "".join(ramp[ceil(height / top * (len(ramp) - 1))] for height in heights)


def _table(figures: Mapping[str, Mapping[str, float]], width: int) -> list[str]:
    if not figures:
        return []
    rows = {name: {c: _number(row[c]) for c in COLUMNS} for name, row in figures.items()}
    columns = list(COLUMNS)
    label = max(len(LABELS[name]) for name in rows)
    sizes = {c: max(len(c), *(len(row[c]) for row in rows.values())) for c in COLUMNS}
    for column in EXPENDABLE:
        if label + sum(2 + sizes[c] for c in columns) > width:
            columns.remove(column)
    label = max(min(label, width - sum(2 + sizes[c] for c in columns)), 8)
    header = "ms".ljust(label) + "".join(f"  {c.rjust(sizes[c])}" for c in columns)
    return [header] + [
        LABELS[name][:label].ljust(label) + "".join(f"  {row[c].rjust(sizes[c])}" for c in columns)
        for name, row in rows.items()
    ]


def _histogram(name: str, utterances: Sequence[Mapping[str, Any]], width: int, encoding: str) -> list[str]:
    """One line; none for fewer than two values, or if the terminal is too narrow."""
    values = [row["latency_ms"][name] for row in utterances if name in row["latency_ms"]]
    if len(values) < 2:
        return []
    ends = LABELS[name] + f"  {_number(min(values))} ", f" {_number(max(values))}"
    count = min(MAX_BARS, width - sum(map(len, ends)), max(MIN_BARS, len(values) // 3))
    if count < MIN_BARS:
        return []
    return [ends[0] + draw_bars(count_in_bins(values, count), encoding) + ends[1]]


def _totals(report: Mapping[str, Any]) -> list[str]:
    price = f", {report['credits']:g} credits" if "credits" in report else ""
    kilobits = report["bits_per_second"] / 1000
    lines = [
        f"sent: {report['seconds']:.1f} s of audio, {report['bytes']} bytes{price}",
        f"format: {report['encoding']}, {report['sample_rate']} Hz, {kilobits:g} kbit/s",
    ]
    if "pacing" in report:
        late = {name: _number(value) for name, value in report["pacing"]["lateness_ms"].items()}
        gaps, lost = report["pacing"]["gaps"], report["pacing"]["gap_seconds"]
        lines.append(
            f"pacing: late by {late['p50']} ms at p50, {late['p99']} at p99, {late['max']} at most;"
            f" drift {_number(report['pacing']['drift_ms'])} ms; gaps: {gaps}" + (f", {lost:.1f} s" if gaps else "")
        )
    return lines


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.1f}"
