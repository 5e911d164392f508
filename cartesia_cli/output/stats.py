"""Shows the statistics of a session: as text in a terminal, and as an SVG picture.

Both have histograms of the latencies and a time line; the text also has a table, and says what was sent. Takes the same
report that is written as JSON. Must never compute anything that isn't in it. The text is plain ASCII except for the
bars, and those too if the terminal can't show others.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil
from typing import Any

from ..timestamps import clock_time
from .sanitize import can_encode

Report = Mapping[str, Any]

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

LANES = {"sent": "audio sent", "partials": "partials", "finals": "settled", "outages": "connection lost"}
MIN_COLUMNS, MAX_COLUMNS = 20, 100

SVG_WIDTH, SVG_MARGIN, SVG_LABEL = 900, 20, 130
LANE_HEIGHT, HISTOGRAM_HEIGHT, HISTOGRAM_BARS = 40, 90, 40
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1b1b1f } .quiet { fill: #5a5a66 } .ground { fill: #fff }
.line { stroke: #d5d5dd }
.sent { fill: #7b8aa5 } .partials { fill: #8ab4f8 } .finals { fill: #0b57d0 } .outages { fill: #b3261e }
.bar { fill: #0b57d0 }
@media (prefers-color-scheme: dark) { text { fill: #e8e8ee } .quiet { fill: #a5a5b3 } .ground { fill: #16161a }
.line { stroke: #3a3a44 } .finals, .bar { fill: #8ab4f8 } .partials { fill: #4f6f9f } .outages { fill: #f2a49c } }
"""


def render_statistics(report: Report, width: int, encoding: str) -> str:
    """The statistics of a session for a terminal that is `width` columns wide, and its time line below them."""
    line = render_time_line(report, width, encoding=encoding)
    return render_report(report, width, encoding=encoding) + (f"\n{line}" if line else "")


def render_time_line(report: Report, width: int, *, encoding: str = "utf-8") -> str:
    """The time line of a session for a terminal that is `width` columns wide: a row for each thing that happened.

    Empty if the session has lasted no time, or if the terminal is too small.
    """
    line = report["timeline"]
    label = max(map(len, LANES.values()))
    columns = min(MAX_COLUMNS, width - label - 2)
    if not line["seconds"] or columns < MIN_COLUMNS:
        return ""
    end = clock_time(line["seconds"])
    rows = [f"{'time line'.ljust(label)}  0:00{end.rjust(columns - 4)}"]
    for lane, title in LANES.items():
        values = _columns(line, lane, columns)
        if any(values):
            rows.append(f"{title.ljust(label)}  {draw_bars(values, encoding).rstrip()}")
    return "\n".join(rows) + "\n"


def render_report(report: Report, width: int, *, encoding: str = "utf-8") -> str:
    """Lines for a terminal that is `width` columns wide. `encoding`: of the stream."""
    blocks = [
        _table(report["latency_ms"], width),
        [line for name in HISTOGRAM_METRICS for line in _histogram(name, _latencies(report, name), width, encoding)],
        [part for line in _totals(report) for part in textwrap.wrap(line, max(width, 20), subsequent_indent="  ")],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def svg(report: Report, title: str) -> str:
    """Time line and histograms as a picture that needs nothing from elsewhere."""
    top = SVG_MARGIN + 20
    parts = [f'<text x="{SVG_MARGIN}" y="{top - 4}">{escape(title)}</text>']
    for name in HISTOGRAM_METRICS:
        if values := _latencies(report, name):
            top += 14
            parts += _svg_histogram(name, values, top)
            top += HISTOGRAM_HEIGHT + 34
    parts += _svg_time_line(report["timeline"], top)
    top += (LANE_HEIGHT + 8) * len(LANES) + 24
    height = top + SVG_MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f'<rect class="ground" width="{SVG_WIDTH}" height="{height}"/>' + "".join(parts) + "</svg>\n"
    )


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


def _latencies(report: Report, name: str) -> list[float]:
    """What was measured of one figure, utterance by utterance."""
    return [row["latency_ms"][name] for row in report["utterances"] if name in row["latency_ms"]]


def _histogram(name: str, values: Sequence[float], width: int, encoding: str) -> list[str]:
    """One line; none for fewer than two values, or if the terminal is too narrow."""
    if len(values) < 2:
        return []
    ends = LABELS[name] + f"  {_number(min(values))} ", f" {_number(max(values))}"
    count = min(MAX_BARS, width - sum(map(len, ends)), max(MIN_BARS, len(values) // 3))
    if count < MIN_BARS:
        return []
    return [ends[0] + draw_bars(count_in_bins(values, count), encoding) + ends[1]]


def _totals(report: Report) -> list[str]:
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


def _columns(line: Mapping[str, Any], lane: str, count: int) -> list[float]:
    """What happened in each of `count` equal parts of the session: seconds of audio and without a connection are spread
    over the time that they took, partials and settled segments are counted where they came.
    """
    seconds, step = line["seconds"], line["step"]
    found = [0.0] * count
    if lane == "outages":
        spans = [(begin, rest[0] if rest else seconds, 1.0) for begin, *rest in line["outages"]]
    elif lane == "sent":
        spans = [(k * step, min(seconds, (k + 1) * step), value / step) for k, value in enumerate(line["sent"])]
    else:
        for place, value in enumerate(line[lane]):
            found[min(count - 1, int((place + 0.5) * step / seconds * count))] += value
        return found
    wide = seconds / count
    for begin, end, rate in spans:
        for column in range(max(0, int(begin / wide)), min(count, int(end / wide) + 1)):
            overlap = min(end, (column + 1) * wide) - max(begin, column * wide)
            found[column] += max(0.0, overlap) * rate
    return found


def _svg_time_line(line: Mapping[str, Any], top: int) -> Iterator[str]:
    across = SVG_WIDTH - 2 * SVG_MARGIN - SVG_LABEL
    left = SVG_MARGIN + SVG_LABEL
    for number, (lane, title) in enumerate(LANES.items()):
        y = top + number * (LANE_HEIGHT + 8)
        yield f'<text x="{SVG_MARGIN}" y="{y + LANE_HEIGHT - 4}">{title}</text>'
        yield f'<path class="line" d="M{left} {y + LANE_HEIGHT}h{across}"/>'
        yield from _svg_bars(_columns(line, lane, across // 4), left, y, across, LANE_HEIGHT, lane)
    foot = top + len(LANES) * (LANE_HEIGHT + 8) + 8
    yield f'<text class="quiet" x="{left}" y="{foot}">0:00</text>'
    end = clock_time(line["seconds"])
    yield f'<text class="quiet" x="{left + across}" y="{foot}" text-anchor="end">{end}</text>'


def _svg_histogram(name: str, values: Sequence[float], top: int) -> Iterator[str]:
    across = SVG_WIDTH - 2 * SVG_MARGIN
    foot = top + HISTOGRAM_HEIGHT
    yield f'<text x="{SVG_MARGIN}" y="{top}">{LABELS[name]}: {len(values)} utterance{"s" * (len(values) != 1)}</text>'
    yield from _svg_bars(
        count_in_bins(values, HISTOGRAM_BARS), SVG_MARGIN, top + 8, across, HISTOGRAM_HEIGHT - 8, "bar"
    )
    yield f'<path class="line" d="M{SVG_MARGIN} {foot}h{across}"/>'
    yield f'<text class="quiet" x="{SVG_MARGIN}" y="{foot + 16}">{min(values):.0f} ms</text>'
    yield f'<text class="quiet" x="{SVG_MARGIN + across}" y="{foot + 16}" text-anchor="end">{max(values):.0f} ms</text>'


def _svg_bars(
    values: Sequence[float], left: float, top: float, across: float, height: float, kind: str
) -> Iterator[str]:
    most, wide = max(values, default=0) or 1, across / max(1, len(values))
    for number, value in enumerate(values):
        if value:
            tall = value / most * height
            yield (
                f'<rect class="{kind}" x="{left + number * wide:.1f}" y="{top + height - tall:.1f}"'
                f' width="{max(0.5, wide - 0.5):.1f}" height="{tall:.1f}"/>'
            )
