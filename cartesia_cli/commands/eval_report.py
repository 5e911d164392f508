"""The report of an evaluation, ready for JSON: error rates of each system, its gates, and a row for each recording.

All other formats are made of this report, and gates are decided by it. What is not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..evaluation import ErrorCounts, Normalizer, compare, confidence_interval, total
from ..session.latency import Percentiles
from .eval_options import GateOptions
from .eval_run import EvalConfig, EvalRecording, Outcome, SystemResults

REFERENCE_TEXT = "text"
"""Value of `reference` in the report if transcripts are compared with what was said, not with another system."""

Report = dict[str, Any]


def build_report(
    recordings: Sequence[EvalRecording],
    results: Sequence[SystemResults],
    config: EvalConfig,
    normalizer: Normalizer,
    *,
    complete: bool,
) -> Report:
    """The report, without gates.

    complete   whether all systems have run over all recordings
    """
    has_references = any(recording.reference is not None for recording in recordings)
    first = results[0]
    rows: list[Report] = []
    for number, recording in enumerate(recordings):
        of_first = first.outcomes.get(number)
        reference = recording.reference if has_references else of_first.text if of_first else None
        for one in results:
            if (outcome := one.outcomes.get(number)) is not None:
                is_reference = not has_references and one is first
                rows.append(_row(recording, one, outcome, None if is_reference else reference, normalizer))
    systems = [_system_report(one, rows, config) for one in results]
    scored = next((system for system in systems if "words" in system), {})
    named = ("wer", "wer_interval", "cer", "cer_interval", *ErrorCounts._fields)
    report = {name: scored[name] for name in named if name in scored}
    return report | {
        "recordings": len(recordings),
        "failed": sum("error" in row for row in rows),
        "duration": round(sum(recording.job.seconds or 0.0 for recording in recordings), 3),
        "complete": complete,
        "reference": REFERENCE_TEXT if has_references else first.system.name,
        "normalizer": normalizer.name,
        "language": config.language or "en",
        "systems": systems,
        "rows": rows,
    }


def _row(
    recording: EvalRecording, results: SystemResults, outcome: Outcome, reference: str | None, normalizer: Normalizer
) -> Report:
    row: Report = {"recording": recording.source, "system": results.system.name}
    if outcome.seconds is not None:
        row["duration"] = round(outcome.seconds, 3)
    if outcome.error is not None:
        return row | {"error": {"type": outcome.error.type, "message": outcome.error.message}}
    assert outcome.text is not None
    if reference is not None:
        compared = compare(reference, outcome.text, normalizer)
        row |= _counts_report(compared.counts) | {"reference": reference}
        row["edits"] = [{name: value for name, value in edit._asdict().items() if value} for edit in compared.edits]
    row |= {"hypothesis": outcome.text, "from_cache": outcome.from_cache}
    if latencies := _latency_report([outcome.latencies]):
        row["latency_ms"] = latencies
    return row


def _counts_report(counts: ErrorCounts) -> Report:
    rates = {"wer": counts.wer, "cer": counts.cer}
    return {name: round(rate, 6) for name, rate in rates.items() if rate is not None} | counts._asdict()


def _system_report(results: SystemResults, rows: Sequence[Report], config: EvalConfig) -> Report:
    system = results.system
    report: Report = {"system": system.name, "mode": system.mode, "model": system.engine or system.model}
    report["engine"] = "local" if config.local else config.backend.base_url
    if system.local_model is not None:
        report["local_model"] = system.local_model
    own = [row for row in rows if row["system"] == system.name]
    if counts := [_counts(row) for row in own if "words" in row]:
        report |= _counts_report(total(counts))
        intervals = {
            "wer_interval": confidence_interval([one.errors for one in counts], [one.words for one in counts]),
            "cer_interval": confidence_interval(
                [one.character_errors for one in counts], [one.characters for one in counts]
            ),
        }
        report |= {name: [round(rate, 6) for rate in interval] for name, interval in intervals.items() if interval}
    outcomes = list(results.outcomes.values())
    report |= {
        "recordings": sum("hypothesis" in row for row in own),
        "failed": sum("error" in row for row in own),
        "from_cache": sum(outcome.from_cache for outcome in outcomes),
        "elapsed": round(results.elapsed, 3),
    }
    if not config.local:
        report["credits"] = round(sum(outcome.credits for outcome in outcomes), 1)
    if latencies := _latency_report(outcome.latencies for outcome in outcomes):
        report["latency_ms"] = latencies
    return report


def _latency_report(sessions: Iterable[Sequence[Mapping[str, float]]]) -> Report:
    """Percentiles of each figure over the utterances of some sessions."""
    figures: dict[str, Percentiles] = {}
    for session in sessions:
        for utterance in session:
            for name, milliseconds in utterance.items():
                figures.setdefault(name, Percentiles()).add(milliseconds / 1000)
    return {name: values.summary() for name, values in figures.items()}


def _counts(row: Report) -> ErrorCounts:
    """The errors of a row that has them."""
    return ErrorCounts(**{name: row[name] for name in ErrorCounts._fields})


# Gates -----------------------------------------------------------------------------------------------------


def check_gates(report: Report, gates: GateOptions, baseline: Report | None) -> list[Report]:
    """Whether each system keeps each limit: `gate`, `system`, `limit`, `value` and `passed`.

    baseline   the report of an earlier evaluation, or None
    """
    checked = []
    compared = [system for system in report["systems"] if system["system"] != report["reference"]]
    for system in compared:
        for gate, limit in (("wer", gates.max_wer), ("cer", gates.max_cer)):
            if limit is not None:
                checked.append(_gate(f"max_{gate}", system["system"], limit, system.get(gate)))
        if baseline is not None and gates.max_regression is not None:
            value = _regression(report, baseline, system["system"], alone=len(compared) == 1)
            checked.append(_gate("max_regression", system["system"], gates.max_regression, value))
    return checked


def _gate(name: str, system: str, limit: float, value: float | None) -> Report:
    """One gate. A system without a value has heard words where nothing was said, or nothing at all: it fails."""
    gate: Report = {"gate": name, "system": system, "limit": limit, "passed": value is not None and value <= limit}
    return gate if value is None else gate | {"value": round(value, 6)}


def check_baseline(baseline: Report, systems: Sequence[str], recordings: Iterable[str]) -> None:
    """Raises InputError for a baseline that lacks one of the systems, or has none of the recordings."""
    sources = set(recordings)
    for name in systems:
        former = _former_name(baseline, name, alone=len(systems) == 1)
        if former is None:
            raise InputError(f"the baseline has no {name}", hint="evaluate the same systems, or one alone")
        if sources.isdisjoint(_scored_rows(baseline, former)):
            raise InputError("the baseline has none of the recordings", hint="evaluate the same recordings")


def _regression(report: Report, baseline: Report, name: str, *, alone: bool) -> float | None:
    """By how much the word error rate of a system is above that in a baseline, on the recordings that both have. None
    if they have none, or no rate. `alone`: as in `_former_name`.
    """
    former = _former_name(baseline, name, alone=alone)
    if former is None:
        return None
    now, before = _scored_rows(report, name), _scored_rows(baseline, former)
    common = now.keys() & before.keys()
    rates = [total(_counts(rows[recording]) for recording in common).wer for rows in (now, before)]
    return None if not common or rates[0] is None or rates[1] is None else rates[0] - rates[1]


def _former_name(baseline: Report, name: str, *, alone: bool) -> str | None:
    """The system of a baseline that another one is compared with: the one of its name or, if each is the only one
    (`alone`), whatever there is, such as another model. None if there is none.
    """
    names = [str(system["system"]) for system in baseline["systems"]]
    return name if name in names else names[0] if alone and len(names) == 1 else None


def _scored_rows(report: Report, system: str) -> dict[str, Report]:
    return {row["recording"]: row for row in report["rows"] if row["system"] == system and "words" in row}


def load_baseline(text: str, source: str, normalizer: Normalizer) -> Report:
    """The report of an earlier evaluation. Raises InputError for anything else, or if its texts were normalized
    otherwise.
    """
    import json

    error = InputError(f"{source} is not the JSON of an evaluation", hint="`eval ... -o FILE.json` writes it")
    try:
        report = json.loads(text)
        for system in report["systems"]:
            str(system["system"])
        for row in report["rows"]:
            if "words" in row:
                total([_counts(row)])
            str(row["recording"]), str(row["system"])
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise error from problem
    if (name := report.get("normalizer", normalizer.name)) != normalizer.name:
        message = f"{source} has error rates of other texts: they were normalized by {name}, now by {normalizer.name}"
        raise InputError(message, hint=f"name the same --language; that of the baseline is {report.get('language')}")
    return dict(report)
