"""`eval`: word error rates of endpoints, models and engines, on recordings of which it is known what is said.

Transcripts are compared with reference texts or, where there are none, with those of the first system. What has been
evaluated so far is reported even if the run is interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import CliError, Exit, GateError, InputError, Interrupted, UsageError
from ..output.console import Reporter
from .eval_options import EvalOptions, Mode, parse_modes, report_formats
from .live.options import SessionOptions

if TYPE_CHECKING:  # --help does without
    from .backend import BackendConfig
    from .batch.inputs import Input
    from .eval_report import Report
    from .eval_run import EvalConfig, EvalRecording, System

EXAMPLES = """
cartesia-cli eval test-set.jsonl
cartesia-cli eval talk.wav --compare auto,manual
cartesia-cli eval recordings/ -l de --local --local-model base -o eval.html
cartesia-cli eval test-set.jsonl --max-wer 0.08 --baseline eval.json --max-regression 0.01
"""

MODE_MODELS = {"batch": "ink-whisper", "auto": "ink-2", "manual": "ink-2"}
"""The model of each mode if none is named."""

TEXT_FIELDS = ("text", "transcription", "sentence")
"""Fields with what is said, in manifests of NeMo and in the metadata of Hugging Face; the first that a line has."""

REFERENCE_SUFFIX = ".txt"
MAX_REFERENCE_BYTES = 16 << 20


def eval(context: typer.Context, reporter: Reporter, *, options: EvalOptions) -> None:
    """Measure word error rates of models and endpoints, and fail if they exceed a limit."""
    from ..evaluation import load_normalizer
    from .eval_report import build_report, check_baseline, check_gates, load_baseline
    from .eval_run import EvalConfig, SystemResults, run_systems

    language, sending, baseline = options.language, options.sending, options.gates.baseline
    normalizer = load_normalizer(language)
    former = None if baseline is None else load_baseline(_read_text(baseline), str(baseline), normalizer)
    files = _check_files(options)
    choice = options.backend.resolve(context, reporter)
    systems = _systems(parse_modes(options.compare), options.model, _local_models(options.backend.local_model))
    if choice.base_url is None:
        systems = _local_systems(systems, choice, language)
    terms = SessionOptions(keyterm=options.keyterm, keyterms=options.keyterms).all_keyterms()
    config = EvalConfig(choice, language, terms, sending)
    recordings, unusable = _find_recordings(options.inputs, len(systems), reporter)
    _check_references(files, recordings)
    if former is not None:
        compared = systems if any(recording.reference is not None for recording in recordings) else systems[1:]
        check_baseline(former, [system.name for system in compared], [recording.source for recording in recordings])
    if choice.reason:
        reporter.info(choice.reason)
    if sending.speed != 1.0 and not config.local and any(system.is_live for system in systems):
        reporter.warn("--speed: the API expects audio in real time; other speeds are for experiments")
    reporter.info(_describe(recordings, systems, config))

    results = [SystemResults(system) for system in systems]
    stopped: CliError | Interrupted | None = None
    try:
        run_systems(results, recordings, config, reporter)
    except (CliError, Interrupted) as error:
        stopped = error
    report = build_report(recordings, results, config, normalizer, complete=stopped is None)
    if unusable:
        report["unusable"] = [error.message for error in unusable]
    if stopped is not None and not any("hypothesis" in row for row in report["rows"]):
        raise stopped
    if stopped is None and len(report["rows"]) == 1 and "error" in report["rows"][0]:
        raise next(outcome.error for outcome in results[0].outcomes.values() if outcome.error)
    if stopped is None:
        report["gates"] = check_gates(report, options.gates, former)
    _write(report, files, options, reporter)
    if stopped is not None:
        done = f"{len(report['rows'])} of {len(recordings) * len(systems)}"
        reporter.warn(f"stopped: {done} transcripts are in the report; gates are not checked")
        raise stopped
    if missed := [gate for gate in report["gates"] if not gate["passed"]]:
        raise GateError("; ".join(map(_describe_gate, missed)), hint=_gate_hint(files))
    if unusable or report["failed"]:
        raise typer.Exit(Exit.FAILED)


# What is compared ------------------------------------------------------------------------------------------


def _local_models(text: str | None) -> Sequence[str | None]:
    """The models that --local-model names, separated by commas; a file or folder with a comma in its name is one."""
    if text is None or Path(text).exists():
        return [text]
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) or [text]


def _systems(modes: Sequence[Mode], models: Sequence[str] | None, local_models: Sequence[str | None]) -> list[System]:
    """Each mode with each of its models, and each local model. A model that is known for some of the modes only is not
    tried in the others.
    """
    from .eval_run import System

    pairs: list[tuple[Mode, str]] = [(mode, MODE_MODELS[mode]) for mode in modes]
    if models:
        fitting = {model: [mode for mode in modes if _has_mode(model, mode)] or modes for model in models}
        pairs = [(mode, model) for mode in modes for model in fitting if mode in fitting[model]]
    return [System(mode, model, local_model) for local_model in local_models for mode, model in pairs]


def _local_systems(systems: Sequence[System], choice: BackendConfig, language: str | None) -> list[System]:
    """Systems on this machine, called by the models that do the work: several models of the API may mean the same."""
    from .backend import engine_name

    named: dict[str, System] = {}
    for one in systems:
        engine = (
            f"Whisper {one.local_model}"
            if one.local_model is not None
            else engine_name(choice, language, live_model=one.model if one.is_live else None)
        )
        system = one._replace(engine=engine)
        named.setdefault(system.name, system)
    return list(named.values())


def _has_mode(model: str, mode: Mode) -> bool:
    """Whether a model may be used in a mode, as far as that is known."""
    from ..protocol.constants import is_whisper
    from ..protocol.models import BATCH, MODELS_AT_RELEASE, STREAM

    if mode == "auto" and is_whisper(model):
        return False
    known = next((one for one in MODELS_AT_RELEASE if one.id == model), None)
    return known is None or known.takes(BATCH if mode == "batch" else STREAM)


def _find_recordings(
    inputs: Sequence[str], systems: int, reporter: Reporter
) -> tuple[list[EvalRecording], list[InputError]]:
    """The recordings with their references, and those that can't be evaluated, each of which was reported. Raises
    InputError if none can.
    """
    from ..protocol.batch import BatchOptions
    from .batch.inputs import find_inputs, identity_of
    from .batch.job import Job, probe_input
    from .batch.stdin import STDIN
    from .batch.workspace import Workspace
    from .eval_run import EvalRecording

    if STDIN in inputs:
        raise UsageError("eval doesn't read stdin", hint="name a file, with its text beside it")
    options = BatchOptions(model=MODE_MODELS["batch"])
    found: dict[object, EvalRecording] = {}
    broken: set[object] = set()
    unusable: list[InputError] = []
    with Workspace(on_retry=reporter.info) as workspace:
        for item in find_inputs(inputs, None, expander=workspace, with_fields=True, with_repeats=True):
            if isinstance(item, InputError):
                unusable.append(item)
                continue
            place = identity_of(item)
            if place in broken:
                continue
            try:
                reference = _reference(item)
                if (former := found.get(place)) is not None:
                    found[place] = former._replace(reference=_agreed(item, former.reference, reference))
                    continue
                media = None if item.origin is not None else probe_input(item, options)
                found[place] = EvalRecording(Job(item, media, {}), reference)
            except InputError as problem:
                unusable.append(problem)
                broken.add(place)
    recordings = list(found.values())
    if any(recording.reference is not None for recording in recordings) or systems == 1:
        for recording in recordings:
            if recording.reference is None:
                hint = "write what is said to a file of the same name with .txt, or compare: --compare auto,manual"
                unusable.append(InputError(f"{recording.source}: it is not known what is said in it", hint=hint))
        recordings = [recording for recording in recordings if recording.reference is not None]
    if not recordings:
        raise unusable[0] if unusable else InputError("no recordings", hint="name a manifest or recordings")
    for error in unusable:
        reporter.error(error)
    return recordings, unusable


def _reference(item: Input) -> str | None:
    """What is said in a recording: by its line in a manifest, or by the text file beside it. Raises InputError for a
    text file that can't be read.
    """
    fields = item.fields or {}
    for name in TEXT_FIELDS:
        if name in fields:
            if not isinstance(fields[name], str):
                raise InputError(f"{item.source}: {name} in the manifest is not a text", hint="correct the manifest")
            return str(fields[name])
    if item.origin is not None or item.time_range is not None:
        return None
    beside = item.path.with_suffix(REFERENCE_SUFFIX)
    return _read_text(beside) if beside.is_file() else None


def _agreed(item: Input, first: str | None, second: str | None) -> str | None:
    """What is said in a recording that is named twice. Raises InputError if the two texts differ."""
    if first is not None and second is not None and first.split() != second.split():
        hint = "correct one of its texts, or name it once; the first text is used"
        raise InputError(f"{item.source} is named again, with another text", hint=hint)
    return second if first is None else first


def _read_text(path: Path) -> str:
    """The content of a text file. Raises InputError if it can't be read, or isn't Unicode."""
    from ..text_encoding import decode_text
    from .batch.inputs import Input, read_input

    decoded = decode_text(read_input(Input(str(path), path, path), MAX_REFERENCE_BYTES))
    if not decoded.is_sound:
        raise InputError(f"{path} is not text in Unicode", hint="save it as UTF-8")
    return decoded.text.removeprefix("\ufeff")


def _describe(recordings: Sequence[EvalRecording], systems: Sequence[System], config: EvalConfig) -> str:
    """What is going to be done, and how long the live part takes: "12 recordings, 1:23 of audio, …"."""
    from ..timestamps import clock_time

    seconds = sum(recording.job.seconds or 0.0 for recording in recordings)
    count = "1 recording" if len(recordings) == 1 else f"{len(recordings)} recordings"
    sentence = f"{count}, {clock_time(seconds)} of audio: {', '.join(system.name for system in systems)}"
    if live := [system for system in systems if system.is_live]:
        jobs = min(config.limit(live[0]).value, len(recordings))
        needed = len(live) * seconds / (jobs * config.sending.speed)
        pace = "in real time" if config.sending.speed == 1.0 else f"at {config.sending.speed:g} times real time"
        sentence += f"; live sessions replay them {pace}, which takes about {clock_time(needed)}"
    return sentence


# The report ------------------------------------------------------------------------------------------------


def _check_files(options: EvalOptions) -> dict[Path, str]:
    """The output files with their formats. Raises UsageError for one that can't be written or is read."""
    from .batch.output_checks import check_output
    from .batch.output_plan import check_distinct

    files = options.output or ()
    formats = report_formats(files)
    check_distinct(files, [*options.inputs, options.keyterms])
    for file in files:
        check_output(file, force=options.force)
    return formats


def _check_references(files: Iterable[Path], recordings: Sequence[EvalRecording]) -> None:
    """Raises UsageError for an output file that has the text of a recording, which --force mustn't replace."""
    from .batch.output_plan import check_distinct

    if reports := [file for file in files if file.suffix.lower() == REFERENCE_SUFFIX and file.is_file()]:
        items = (recording.job.input for recording in recordings)
        check_distinct(reports, (item.path.with_suffix(REFERENCE_SUFFIX) for item in items if item.origin is None))


def _write(report: Report, files: dict[Path, str], options: EvalOptions, reporter: Reporter) -> None:
    """Write the report to its files, then to stdout. OutputError, after all of them, if any can't be written."""
    from ..output.files import write_stdout
    from .batch.output_options import terminal_width
    from .batch.result_file import combine_errors, write_result

    failures = [
        write_result(_render(report, one, options.worst, None), file, reporter, label=True, replaces=options.force)
        for file, one in files.items()
    ]
    write_stdout(_render(report, options.format, options.worst, terminal_width()))
    if failure := combine_errors(failures):
        raise failure


def _render(report: Report, format: str, worst: int, columns: int | None) -> str:
    from ..output import eval_page, eval_text
    from ..output.text_json import to_json

    if format == "json":
        return to_json(report, indent=2)
    if format == "csv":
        return eval_text.csv(report)
    if format == "html":
        return eval_page.html(report, shows_worst=worst > 0)
    return eval_text.table(report, columns=columns, worst=worst)


def _describe_gate(gate: dict[str, Any]) -> str:
    """Which limit a system has missed, in words."""
    option = f"--{gate['gate'].replace('_', '-')} {gate['limit']:g}"
    if "value" not in gate:
        return f"gate failed: {gate['system']} has no error rate for {option}"
    what = {"max_wer": "WER", "max_cer": "CER", "max_regression": "WER minus that of the baseline"}[gate["gate"]]
    return f"gate failed: {gate['system']}: {what} {gate['value']:.4f} is above {option}"


def _gate_hint(files: dict[Path, str]) -> str:
    shown = next((file for file, format in files.items() if format == "html"), None)
    return f"{shown} shows the differences" if shown else "-o eval.html shows the differences in each recording"
