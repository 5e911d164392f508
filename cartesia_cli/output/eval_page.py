"""Writes the report of an evaluation as an HTML page with charts: one file, without scripts or anything to load.

Takes the report that is written as JSON. Must never compute anything that isn't in it, nor let a text become markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from .eval_text import FINAL_TEXT, SHOWN_COUNTS, latency_rows, no_rate, percent, rate_text, system_cells, worst_rows
from .sanitize import printable

Report = Mapping[str, Any]

LABEL_WIDTH, BAR_WIDTH, ROW_HEIGHT = 240, 460, 30
"""Of a chart, in pixels; a bar as long as that is the largest value."""

VALUE_WIDTH = 160

MAX_WORST = 20
"""Recordings whose differences are shown."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .8rem .2rem 0; text-align: right }
th:first-child, td:first-child, td.text, th.text { text-align: left }
td { white-space: nowrap } td:first-child, td.text { white-space: normal; overflow-wrap: anywhere }
thead { border-bottom: 1px solid #999 }
svg { display: block; margin: 1rem 0; max-width: 100%; height: auto } .bar { fill: #3b6ea8 }
.range { stroke: #1c1c1c; stroke-width: 2 }
del { background: #fbd5d5 } ins { background: #d3f0d3; text-decoration: none }
p.diff { margin: .2rem 0 1rem } h3 { font-size: 1rem; margin: 1rem 0 0 }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #e6e6e6 } text { fill: #e6e6e6 } .range { stroke: #e6e6e6 }
  del { background: #6b2424 } ins { background: #1f5a2a }
}
"""


def html(report: Report, *, shows_worst: bool = True) -> str:
    """The page: a table and a chart of the systems, latencies, gates, the worst recordings if `shows_worst`, and all
    recordings.
    """
    body = "\n".join(_body(report, shows_worst))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Evaluation</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _body(report: Report, shows_worst: bool) -> Iterator[str]:
    yield "<h1>Evaluation</h1>"
    compared = "with what was said" if report["reference"] == "text" else f"with {_safe(report['reference'])}"
    count = report["recordings"]
    unfinished = "" if report["complete"] else " It was stopped before its end."
    yield (
        f"<p>{count} recording{'' if count == 1 else 's'}, {report['duration']:.0f} s, compared {compared}; language "
        f"{_safe(report['language'])}, normalizer {_safe(report['normalizer'])}.{unfinished}</p>"
    )
    yield from _systems(report)
    scored = [system for system in report["systems"] if "wer" in system]
    bars = [(system["system"], system["wer"], system.get("wer_interval"), percent(system["wer"])) for system in scored]
    yield from _chart("Word error rate", bars)
    waits = [(system, system.get("latency_ms", {}).get(FINAL_TEXT.get(system["mode"], ""))) for system in scored]
    bars = [
        (system["system"], summary["p50"], [summary["p50"], summary["p95"]],
         f"{summary['p50']:.0f} ms, p95 {summary['p95']:.0f}")
        for system, summary in waits if summary
    ]  # fmt: skip
    yield from _chart("Wait for the final text, median and 95th percentile", bars)
    yield from _latencies(report)
    yield from _gates(report)
    if worst := worst_rows(report, MAX_WORST if shows_worst else 0):
        yield "<h2>Worst recordings</h2>"
        for row in worst:
            yield f"<h3>{_safe(row['recording'])}, {_safe(row['system'])}: {_safe(rate_text(row))}</h3>"
            yield f'<p class="diff">{" ".join(_marked_words(row))}</p>'
    yield from _recordings(report)


def _systems(report: Report) -> Iterator[str]:
    rows = [
        [*system_cells(report, system), *(system.get(name, "") for name in (*SHOWN_COUNTS, "recordings", "failed"))]
        for system in report["systems"]
    ]
    yield from _table(
        ("System", "WER", "95 %", "CER", *(name.capitalize() for name in SHOWN_COUNTS), "Recordings", "Failed"), rows
    )


def _latencies(report: Report) -> Iterator[str]:
    if rows := latency_rows(report):
        yield "<h2>Latencies in milliseconds</h2>"
        yield from _table(("System", "From, to", "Count", "p50", "p95", "p99", "Max"), rows, text_columns=(1,))


def _gates(report: Report) -> Iterator[str]:
    if gates := report.get("gates"):
        yield "<h2>Gates</h2>"
        yield from _table(
            ("Gate", "System", "Limit", "Value", "Passed"),
            [
                [gate["gate"], gate["system"], percent(gate["limit"]), percent(gate.get("value")),
                 "yes" if gate["passed"] else "no"]
                for gate in gates
            ],
            text_columns=(1,),
        )  # fmt: skip


def _recordings(report: Report) -> Iterator[str]:
    yield "<h2>Recordings</h2>"
    rows = []
    for row in report["rows"]:
        unscored = "failed" if "error" in row else no_rate(report, row["system"])
        result = percent(row.get("wer")) if "words" in row else unscored
        text = row["error"]["message"] if "error" in row else row["hypothesis"]
        rows.append([row["recording"], row["system"], result, percent(row.get("cer")), text])
    yield from _table(("Recording", "System", "WER", "CER", "Text"), rows, text_columns=(1, 4))


def _table(header: tuple[str, ...], rows: list[list[Any]], *, text_columns: tuple[int, ...] = ()) -> Iterator[str]:
    def cells(tag: str, values: tuple[Any, ...] | list[Any]) -> str:
        return "".join(
            f"<{tag}{' class=text' * (number in text_columns)}>{_safe(value)}</{tag}>"
            for number, value in enumerate(values)
        )

    yield f"<table><thead><tr>{cells('th', header)}</tr></thead><tbody>"
    for row in rows:
        yield f"<tr>{cells('td', row)}</tr>"
    yield "</tbody></table>"


def _chart(title: str, bars: list[tuple[str, float, list[float] | None, str]]) -> Iterator[str]:
    """A bar for each label and value, with the range that the value is in, and the value in words."""
    if not bars:
        return
    largest = max(max([value, *(spread or ())]) for _, value, spread, _ in bars) or 1.0
    height = ROW_HEIGHT * len(bars)
    yield f"<h2>{_safe(title)}</h2>"
    yield (
        f'<svg role="img" aria-label="{_safe(title)}" width="{LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH}" '
        f'height="{height}" viewBox="0 0 {LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH} {height}">'
    )
    for number, (label, value, spread, text) in enumerate(bars):
        middle, length = ROW_HEIGHT * (number + 0.5), BAR_WIDTH * value / largest
        end = length
        yield f'<text x="0" y="{middle + 5:.0f}">{_safe(label)}</text>'
        yield f'<rect class="bar" x="{LABEL_WIDTH}" y="{middle - 9:.0f}" width="{length:.1f}" height="18"/>'
        if spread is not None:
            low, high = (LABEL_WIDTH + BAR_WIDTH * limit / largest for limit in spread)
            end = max(end, high - LABEL_WIDTH)
            yield f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.0f}" y2="{middle:.0f}"/>'
        yield f'<text x="{LABEL_WIDTH + end + 8:.1f}" y="{middle + 5:.0f}">{_safe(text)}</text>'
    yield "</svg>"


def _marked_words(row: Report) -> Iterator[str]:
    for edit in row["edits"]:
        if edit["kind"] == "equal":
            yield _safe(edit["reference"])
            continue
        if said := edit.get("reference"):
            yield f"<del>{_safe(said)}</del>"
        if heard := edit.get("hypothesis"):
            yield f"<ins>{_safe(heard)}</ins>"


def _safe(value: object) -> str:
    return escape(printable(str(value)))
