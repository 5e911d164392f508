"""Draws the statistics of a session: its time line in a terminal, and time line and histograms as an SVG file.

Takes the same report that is written as JSON. Must never compute anything that isn't in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ..timestamps import clock_time
from .stats_report import HISTOGRAM_METRICS, LABELS, count_in_bins, draw_bars, render_report

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


def render_statistics(report: Mapping[str, Any], width: int, encoding: str) -> str:
    """The statistics of a session for a terminal that is `width` columns wide, and its time line below them."""
    line = render_time_line(report, width, encoding=encoding)
    return render_report(report, width, encoding=encoding) + (f"\n{line}" if line else "")


def render_time_line(report: Mapping[str, Any], width: int, *, encoding: str = "utf-8") -> str:
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


def svg(report: Mapping[str, Any], title: str) -> str:
    """Time line and histograms as a picture that needs nothing from elsewhere."""
    parts, top = [], SVG_MARGIN + 20
    parts.append(f'<text x="{SVG_MARGIN}" y="{top - 4}">{escape(title)}</text>')
    for name in HISTOGRAM_METRICS:
        values = [row["latency_ms"][name] for row in report["utterances"] if name in row["latency_ms"]]
        if values:
            top += 14
            parts += _histogram(name, values, top)
            top += HISTOGRAM_HEIGHT + 34
    parts += _time_line(report["timeline"], top)
    top += (LANE_HEIGHT + 8) * len(LANES) + 24
    height = top + SVG_MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f'<rect class="ground" width="{SVG_WIDTH}" height="{height}"/>' + "".join(parts) + "</svg>\n"
    )


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


def _time_line(line: Mapping[str, Any], top: int) -> Iterator[str]:
    across = SVG_WIDTH - 2 * SVG_MARGIN - SVG_LABEL
    left = SVG_MARGIN + SVG_LABEL
    for number, (lane, title) in enumerate(LANES.items()):
        y = top + number * (LANE_HEIGHT + 8)
        yield f'<text x="{SVG_MARGIN}" y="{y + LANE_HEIGHT - 4}">{title}</text>'
        yield f'<path class="line" d="M{left} {y + LANE_HEIGHT}h{across}"/>'
        yield from _bars(_columns(line, lane, across // 4), left, y, across, LANE_HEIGHT, lane)
    foot = top + len(LANES) * (LANE_HEIGHT + 8) + 8
    yield f'<text class="quiet" x="{left}" y="{foot}">0:00</text>'
    end = clock_time(line["seconds"])
    yield f'<text class="quiet" x="{left + across}" y="{foot}" text-anchor="end">{end}</text>'


def _histogram(name: str, values: Sequence[float], top: int) -> Iterator[str]:
    across = SVG_WIDTH - 2 * SVG_MARGIN
    foot = top + HISTOGRAM_HEIGHT
    yield f'<text x="{SVG_MARGIN}" y="{top}">{LABELS[name]}: {len(values)} utterance{"s" * (len(values) != 1)}</text>'
    yield from _bars(count_in_bins(values, HISTOGRAM_BARS), SVG_MARGIN, top + 8, across, HISTOGRAM_HEIGHT - 8, "bar")
    yield f'<path class="line" d="M{SVG_MARGIN} {foot}h{across}"/>'
    yield f'<text class="quiet" x="{SVG_MARGIN}" y="{foot + 16}">{min(values):.0f} ms</text>'
    yield f'<text class="quiet" x="{SVG_MARGIN + across}" y="{foot + 16}" text-anchor="end">{max(values):.0f} ms</text>'


def _bars(values: Sequence[float], left: float, top: float, across: float, height: float, kind: str) -> Iterator[str]:
    most, wide = max(values, default=0) or 1, across / max(1, len(values))
    for number, value in enumerate(values):
        if value:
            tall = value / most * height
            yield (
                f'<rect class="{kind}" x="{left + number * wide:.1f}" y="{top + height - tall:.1f}"'
                f' width="{max(0.5, wide - 0.5):.1f}" height="{tall:.1f}"/>'
            )
