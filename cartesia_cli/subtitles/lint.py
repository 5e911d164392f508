"""Checks the cues of a subtitle file against the limits of a profile; each finding has its cue, value and limit.

What may be intended (a single word in a line, a byte order mark) is a suggestion, everything else a violation.

Pure. Must not know how our own cues are made: they are judged like any others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..text_width import text_width
from ..transcript import CLOSING_MARKS, PAUSE_SECONDS, SENTENCE_ENDS
from .breaks import UNSPACED
from .parser import Finding, ParsedCue, SubtitleFile, Value
from .profiles import Rules


class Rule(NamedTuple):
    """What a finding of this rule says.

    message         with placeholders: value, limit, and distance, which is value without its sign
    unit            of value and limit; "" if they are texts or plain numbers
    is_suggestion   whether it may be intended
    """

    message: str
    unit: str = ""
    is_suggestion: bool = False


RULES = {
    # how cues read
    "line-width": Rule("a line of {value} columns, at most {limit}", "columns"),
    "line-count": Rule("{value} lines, at most {limit}", "lines"),
    "words-per-line": Rule("{value} words in a line, at most {limit}", "words"),
    "cue-short": Rule("shown for {value} s, at least {limit}", "seconds"),
    "cue-long": Rule("shown for {value} s, at most {limit}", "seconds"),
    "gap-short": Rule("{value} s before the next cue, at least {limit}", "seconds"),
    "overlap": Rule("overlaps the next cue by {value} s", "seconds"),
    "order": Rule("begins {value} s before the cue above it", "seconds"),
    "end-before-start": Rule("ends {distance} s before it starts", "seconds"),
    "reading-speed": Rule("{value} columns a second, at most {limit}", "columns a second"),
    "empty": Rule("no text"),
    "no-cues": Rule("no cues"),
    "stray-word": Rule("a single word in a {value}", is_suggestion=True),
    # how the file is written
    "bad-time": Rule("times {value!r} are not written as {limit}"),
    "no-arrow": Rule("no arrow in {value!r}; expected {limit}"),
    "no-number": Rule("no number above the times; expected {limit}"),
    "number": Rule("number {value}; expected {limit}"),
    "no-blank-line": Rule("no blank line above it"),
    "arrow-in-text": Rule("an arrow in the text, which players mistake for times"),
    "stray-text": Rule("text without times, which players hide or add to the cue above"),
    "control": Rule("control character {value}, at which some players stop"),
    "no-header": Rule("no {limit} in the first line"),
    "format": Rule("{value} in a file named as {limit}"),
    "encoding": Rule("encoding is {value}, not {limit}"),
    "bom": Rule("a byte order mark, which some players show", is_suggestion=True),
    "line-ends": Rule("mixed line endings: {value}", is_suggestion=True),
}


def describe(finding: Finding) -> str:
    """A finding in words."""
    distance = abs(finding.value) if isinstance(finding.value, int | float) else None
    return RULES[finding.rule].message.format(value=finding.value, limit=finding.limit, distance=distance)


def lint(file: SubtitleFile, rules: Rules) -> list[Finding]:
    """All findings of a file, in its order; none is marked as forced yet.

    Times in files are whole milliseconds, so a limit missed by less than one is kept.
    """
    found = [*file.findings, *_check_order(file.cues)]
    if not file.cues:
        found.append(Finding("no-cues", 1))
    for cue in file.cues:
        found += _check_lines(cue, rules)
        found += _check_duration(cue, rules)
    by_time = sorted(file.cues, key=lambda cue: cue.start)
    for cue, following in pairwise(by_time):
        found += _check_gap(cue, following, rules)
    if rules.max_words_per_line is None:
        found += _check_lone_words(by_time)
    return sorted(found, key=lambda finding: (finding.line, finding.cue or 0))


def seconds(milliseconds: int) -> float:
    """As values of findings are given."""
    return milliseconds / 1000


def count_words(line: str) -> int:
    """Words of a line, separated by spaces. A lone dash doesn't count."""
    return sum(any(map(str.isalnum, word)) for word in line.split())


def _finding(rule: str, cue: ParsedCue, value: Value, limit: Value = None, text: str | None = None) -> Finding:
    return Finding(rule, cue.line, cue.number, value, limit, " ".join(cue.lines) if text is None else text)


def _check_order(cues: Iterable[ParsedCue]) -> Iterator[Finding]:
    for above, cue in pairwise(cues):
        if cue.start < above.start:
            yield _finding("order", cue, seconds(above.start - cue.start))


def _check_lines(cue: ParsedCue, rules: Rules) -> Iterator[Finding]:
    for line in cue.lines:
        if text_width(line) > rules.max_line_width:
            yield _finding("line-width", cue, text_width(line), rules.max_line_width, line)
        if rules.max_words_per_line is not None and count_words(line) > rules.max_words_per_line:
            yield _finding("words-per-line", cue, count_words(line), rules.max_words_per_line, line)
    if len(cue.lines) > rules.max_line_count:
        yield _finding("line-count", cue, len(cue.lines), rules.max_line_count)


def _check_duration(cue: ParsedCue, rules: Rules) -> Iterator[Finding]:
    """How long it is shown. The reading speed is that of the whole cue, where a line break counts as a space."""
    stay = cue.end - cue.start
    if stay <= 0:
        yield _finding("end-before-start", cue, seconds(stay), 0)
        return
    if stay < math.floor(rules.min_cue * 1000):
        yield _finding("cue-short", cue, seconds(stay), round(rules.min_cue, 3))
    if stay > math.ceil(rules.max_cue * 1000):
        yield _finding("cue-long", cue, seconds(stay), round(rules.max_cue, 3))
    columns = text_width(" ".join(cue.lines))
    if columns * 1000 > rules.max_cps * (stay + 1):
        yield _finding("reading-speed", cue, round(columns * 1000 / stay, 2), rules.max_cps)


def _check_gap(cue: ParsedCue, following: ParsedCue, rules: Rules) -> Iterator[Finding]:
    """A gap is reported for the cue before it, whose end could make it longer."""
    gap = following.start - cue.end
    if cue.end <= cue.start:
        return  # its end is wrong, which is reported already
    if gap < 0:
        yield _finding("overlap", cue, seconds(-gap), 0)
    elif gap < math.floor(round(rules.min_gap * 1000, 3)):
        yield _finding("gap-short", cue, seconds(gap), round(rules.min_gap, 3))


def _check_lone_words(cues: Sequence[ParsedCue]) -> Iterator[Finding]:
    """Single words in a line that aren't a sentence."""
    above: ParsedCue | None = None
    for cue in cues:
        near = (
            above is not None
            and cue.start - above.end < PAUSE_SECONDS * 1000
            and (cue.speaker == above.speaker or cue.speaker is None)
        )
        before = above.lines[-1] if near and above is not None and above.lines else None
        if len(cue.lines) == 1 and _is_lone_word(cue.lines[0], before):
            yield _finding("stray-word", cue, "cue")
        for k, line in enumerate(cue.lines if len(cue.lines) > 1 else ()):
            if _is_lone_word(line, cue.lines[k - 1] if k > 0 else before):
                yield _finding("stray-word", cue, "line", text=line)
        above = cue


def _is_lone_word(line: str, before: str | None) -> bool:
    if count_words(line) != 1 or UNSPACED.search(line) or line.startswith(("-", "–", "—", ">>", "[", "(", "♪")):
        return False
    return not (_ends_sentence(line) and (before is None or _ends_sentence(before)))


def _ends_sentence(line: str) -> bool:
    return line.rstrip(CLOSING_MARKS + " ").endswith(SENTENCE_ENDS)
