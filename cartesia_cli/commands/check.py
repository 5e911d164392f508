"""`check`: a linter for subtitle files of any origin, against the rules of a profile.

A file that can't be read is reported and the others are checked; the exit code is then 1. It is 3 if that is the only
file, or the transcript.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import Exit, InputError, UsageError
from ..output.console import Reporter
from ..record import Record
from .batch.output_options import SubtitleOptions

if TYPE_CHECKING:  # --help does without
    from ..protocol.json_fields import Word
    from ..subtitles.parser import Finding, SubtitleFile
    from .batch.inputs import Input

EXAMPLES = """
cartesia-cli check talk.srt
cartesia-cli check *.vtt --subtitle-profile bbc
cartesia-cli check talk.srt --transcript talk.json
cartesia-cli transcribe talk.mp3 -f srt | cartesia-cli check - --json | jq .counts
"""

MAX_SUBTITLE_BYTES = 64 << 20
"""Largest subtitle file: a whole day of speech takes less than a tenth of that, a film named by mistake more."""

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="SUBTITLES...", show_default=False, help="SRT or VTT files, quoted globs, or - for stdin."),
]
Transcript = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Transcript with word times, to mark violations that no other cues could avoid."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail for forced violations and suggestions, too.")]
Format = Annotated[Literal["text", "json"], typer.Option("--format", "-f", help="Output format.")]
Json = Annotated[bool, typer.Option("--json", help="Short for -f json.")]


class FileReport(Record):
    """The findings in one file."""

    source: str
    subtitles: SubtitleFile
    findings: list[Finding]

    def counts(self) -> Counter[str]:
        """The number of findings of each severity: violations, forced, advice."""
        return Counter(map(_severity, self.findings))


def check(
    reporter: Reporter,
    *,
    inputs: Inputs,
    transcript: Transcript = None,
    strict: Strict = False,
    format: Format = "text",
    json: Json = False,
    subtitle_options: SubtitleOptions,
) -> None:
    """Check subtitle files for long lines, wrong times, fast reading speed and syntax errors."""
    from ..output.files import write_json, write_stdout
    from ..output.text_json import without_none
    from ..subtitles.lint import lint
    from ..subtitles.profiles import STANDARD, lint_rules
    from ..subtitles.unavoidable import has_words_of, mark_unavoidable

    rules = subtitle_options.rules() or STANDARD
    given = [name for name in subtitle_options.names() if getattr(subtitle_options, name) is not None]
    limits, unlimited = lint_rules(subtitle_options.subtitle_profile, rules, given)
    words, files, unreadable = _read_files(inputs, transcript)
    if not files and len(unreadable) == 1:
        raise unreadable[0]
    reports = [
        FileReport(source, subtitles, mark_unavoidable(lint(subtitles, limits), subtitles, rules, words))
        for source, subtitles in files
    ]
    total = sum((report.counts() for report in reports), Counter[str]())
    failed = bool(unreadable) or bool(total.total() if strict else total["violations"])
    for error in unreadable:
        reporter.error(error)
    if words and all(word.start is None for word in words):
        reporter.warn("it has no word times, so no violation is marked as forced", transcript or "")
    for source, subtitles in files if any(word.start is not None for word in words) else ():
        if subtitles.cues and not has_words_of(subtitles, words, rules):
            reporter.warn(f"no cue has the words of {transcript} at their times: is it of another recording?", source)
    if reporter.as_json:
        numbers = {name: value for name, value in vars(rules).items() if name not in unlimited}
        document = {
            "profile": subtitle_options.subtitle_profile or "netflix",
            "rules": numbers,
            "failed": failed,
            "counts": _counts_to_dict(total),
            "files": [_report_to_dict(report) for report in reports],
            "unreadable": [error.message for error in unreadable] or None,
        }
        write_json(without_none(document))
    else:
        write_stdout("".join(line for report in reports for line in _format_findings(report)))
        for report in reports:
            reporter.info(f"{report.source}: {_format_summary(report)}")
    if failed:
        raise typer.Exit(Exit.FAILED)


def _read_files(
    inputs: list[str], transcript: str | None
) -> tuple[tuple[Word, ...], list[tuple[str, SubtitleFile]], list[InputError]]:
    """The words of the transcript, if there is one, the subtitle files with their names, and why others can't be read.

    Raises InputError for a transcript that can't be read.
    """
    from .batch.inputs import find_files, find_inputs, folder_error
    from .batch.stdin import STDIN, spool_stdin

    if STDIN in inputs and transcript == STDIN:
        raise UsageError("stdin can't be both the subtitles and the transcript", hint="name a file for one of them")
    named = [*inputs, transcript] if transcript else inputs
    if transcript and os.path.isdir(transcript):
        raise folder_error(transcript)
    with spool_stdin(named, "a file") as spooled:
        words = _read_words(next(iter(find_inputs([transcript], spooled, command="check")))) if transcript else ()
        files: list[tuple[str, SubtitleFile]] = []
        unreadable: list[InputError] = []
        for item in find_files(inputs, spooled, "check"):
            try:
                files.append(_read_subtitles(item))
            except InputError as error:
                unreadable.append(error)
        return words, files, unreadable


def _read_subtitles(item: Input | InputError) -> tuple[str, SubtitleFile]:
    from ..subtitles.parser import decode, kind_by_name, parse
    from .batch.inputs import read_input

    text, findings = decode(read_input(item, MAX_SUBTITLE_BYTES))
    assert not isinstance(item, InputError)
    subtitles = parse(text, kind_by_name(item.source))
    if subtitles.kind is None:
        raise InputError(
            f"{item.source} is not a subtitle file: it has no cue times", hint="`check` reads SRT and WebVTT"
        )
    return item.source, subtitles._replace(findings=(*findings, *subtitles.findings))


def _read_words(item: Input | InputError) -> tuple[Word, ...]:
    """The words of a saved transcript. Raises InputError if it can't be read or has none."""
    from ..transcript_import import read_transcripts
    from .batch.inputs import read_input

    data = read_input(item, MAX_SUBTITLE_BYTES)
    assert not isinstance(item, InputError)
    transcripts = read_transcripts(data, item.source)
    if len(transcripts) > 1:
        raise InputError(f"{item.source} has {len(transcripts)} transcripts", hint="--transcript takes a single one")
    if not transcripts[0].words:
        raise InputError(f"{item.source} has no words", hint="`transcribe --json` writes them")
    return transcripts[0].words


def _severity(finding: Finding) -> str:
    from ..subtitles.lint import RULES

    return "advice" if RULES[finding.rule].is_suggestion else "forced" if finding.forced else "violations"


def _format_findings(report: FileReport) -> list[str]:
    """A line for each finding in the format of compilers, which editors can jump to."""
    from ..output.sanitize import one_line
    from ..subtitles.lint import describe

    starts = {cue.number: cue.start for cue in report.subtitles.cues}
    lines = []
    for finding in report.findings:
        place = "" if finding.cue is None else f"cue {finding.cue}"
        if finding.cue in starts:
            place += f" at {_format_time(starts[finding.cue])}"
        mark = {"advice": " (suggestion)", "forced": " (forced)", "violations": ""}[_severity(finding)]
        text = (
            f"{report.source}:{finding.line}: {place}{': ' if place else ''}{finding.rule}: {describe(finding)}{mark}"
        )
        lines.append(one_line(text + (f": {finding.text}" if finding.text else "")) + "\n")
    return lines


def _format_time(time: int) -> str:
    seconds, thousandths = divmod(abs(time), 1000)
    return f"{'-' if time < 0 else ''}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"


def _format_summary(report: FileReport) -> str:
    counts = report.counts()
    cues = f"{len(report.subtitles.cues)} cue{'s' if len(report.subtitles.cues) != 1 else ''}"
    if not counts:
        return f"{cues}, nothing wrong"
    number, forced, suggestions = counts["violations"], counts["forced"], counts["advice"]
    parts = [f"{number or 'no'} violation{'s' if number != 1 else ''}"]
    parts += [f"{forced} forced by the words"] if forced else []
    parts += [f"{suggestions} suggestion{'s' if suggestions != 1 else ''}"] if suggestions else []
    by_rule = Counter(finding.rule for finding in report.findings)
    return f"{cues}, {', '.join(parts)} ({', '.join(f'{count} {rule}' for rule, count in by_rule.most_common())})"


def _counts_to_dict(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in ("violations", "forced", "advice")}


def _report_to_dict(report: FileReport) -> dict[str, Any]:
    from ..output.text_json import without_none
    from ..subtitles.lint import RULES

    times = {cue.number: (cue.start, cue.end) for cue in report.subtitles.cues}
    findings = []
    for finding in report.findings:
        start, end = times.get(finding.cue or 0, (None, None))
        facts = {
            "rule": finding.rule,
            "weight": "advice" if RULES[finding.rule].is_suggestion else "violation",
            "forced": finding.forced,
            "line": finding.line,
            "cue": finding.cue,
            "start": None if start is None else start / 1000,
            "end": None if end is None else end / 1000,
            "value": finding.value,
            "limit": finding.limit,
            "unit": RULES[finding.rule].unit or None,
            "text": finding.text or None,
        }
        findings.append(without_none(facts))
    return {
        "source": report.source,
        "format": report.subtitles.kind,
        "cues": len(report.subtitles.cues),
        "counts": _counts_to_dict(report.counts()),
        "rules": dict(Counter(finding.rule for finding in report.findings).most_common()),
        "findings": findings,
    }
