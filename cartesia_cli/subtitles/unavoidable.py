"""Finds the violations of a subtitle file that no other division of its words into cues could avoid.

Such a violation is called forced: every division of its words and their neighbours that keeps the rule for them has at
least as many violations as the file has there. The divisions that are compared obey these rules:

- every word is in one cue, in the order of speech, and no word is cut that fits into a line;
- a cue begins with its first word, and lasts until its last one ends, or to the gap before the next cue;
- it may last `max_linger` longer, up to the next cue; one of a single word may also end earlier;
- no line is too wide or has too many words, no cue too many lines, and none overlaps the next;
- no cue has the words of two speakers, and if the file names them, the name stands before their first word;
- no cue lasts too long, and several words of one cue are all said in that time.

A violation that could only be exchanged for another one is forced. Where a word has no times, or the file has other
words than the transcript, nothing is forced. Without a transcript, only a line whose single word is too wide is.

Pure. Must never call a violation forced by guessing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from ..protocol.json_fields import Word
from ..speakers import speaker_label
from ..text_width import text_width
from ..timestamps import plausible_spans
from .breaks import UNSPACED
from .parser import Finding, ParsedCue, SubtitleFile
from .profiles import Rules
from .segmentation import ceil_ms

SHORT, SPEED, GAP = "cue-short", "reading-speed", "gap-short"
DIVISION_RULES = frozenset({SHORT, SPEED, GAP, "cue-long", "overlap", "line-width", "line-count", "words-per-line"})
"""The rules that are about how words are divided into cues."""

MAX_OFFSET_MS = 1000
"""Milliseconds by which a cue may begin before or after its words and still be recognized as theirs."""


def mark_unavoidable(
    findings: Iterable[Finding], subtitles: SubtitleFile, rules: Rules, words: Sequence[Word] = ()
) -> list[Finding]:
    """The findings, with those marked that are forced. `words` are those of the transcript, with their times."""
    found = list(findings)
    counts = Counter(finding.cue for finding in found if finding.cue is not None and finding.rule in DIVISION_RULES)
    spoken = _spoken_words(words, _label_columns(words, subtitles, rules))
    divisions = _Divisions(spoken, subtitles.cues, counts, rules) if words and counts else None
    marked: list[Finding] = []
    for finding in found:
        forced = finding.rule == "line-width" and len(finding.text.split()) == 1 and not UNSPACED.search(finding.text)
        if not forced and divisions is not None and finding.cue is not None and finding.rule in DIVISION_RULES:
            forced = divisions.is_forced(finding.cue, finding.rule)
        marked.append(finding._replace(forced=forced))
    return marked


def has_words_of(subtitles: SubtitleFile, words: Sequence[Word], rules: Rules) -> bool:
    """Whether any cue of a file consists of these words, at about their times."""
    spoken = _spoken_words(words, _label_columns(words, subtitles, rules))
    return bool(_find_cue_words(spoken, subtitles.cues))


class _SpokenWord(NamedTuple):
    """A word as it was said.

    letters        what it is known by: letters and digits only
    columns        its width in a line
    space_before   whether a space separates it from the word before
    start, end     milliseconds; start is None if the word has no times, or none that can be true
    turn           the number of the turn that it belongs to
    """

    letters: str
    columns: int
    space_before: bool
    start: int | None
    end: int
    turn: int = 0


def _label_columns(words: Sequence[Word], subtitles: SubtitleFile, rules: Rules) -> int:
    """How wide names may be in the lines of a file; 0 if it doesn't name the speakers of these words."""
    columns = rules.max_line_width // 2
    labels = tuple({label for word in words if (label := speaker_label(word.speaker, columns))})
    return columns if any(line.startswith(labels) for cue in subtitles.cues for line in cue.lines[:1]) else 0


def _spoken_words(words: Iterable[Word], label_columns: int) -> list[_SpokenWord]:
    """The words that have letters. The first word of each turn includes the name, at most `label_columns` wide."""
    texts = [(text, letters, word) for word in words if (letters := _letters(text := word.word.strip()))]
    spoken: list[_SpokenWord] = []
    before, latest, turn = "", 0, 0
    speaker: str | None = None
    for (text, letters, word), span in zip(
        texts, plausible_spans(((w.start, w.end) for _, _, w in texts), None), strict=True
    ):
        space_before = not (before and UNSPACED.match(before[-1]) and UNSPACED.match(text))
        start, latest = (None, latest) if span is None else span
        columns = text_width(text)
        if word.speaker != speaker:
            turn, speaker = turn + 1, word.speaker
            label = speaker_label(speaker, label_columns)
            letters, columns = _letters(label) + letters, text_width(label) + columns
        spoken.append(_SpokenWord(letters, columns, space_before, start, latest, turn))
        before = text
    return spoken


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


class _Divisions:
    """Compares the file with other divisions of its words into cues, by dynamic programming over the positions between
    words: position k is the one before word k. A division leaves the cues of the file at some position, and comes back
    to them at a later one.

    file_violations   violations of the file before each position where one of its cues begins or ends; else None
    fewest_before     the fewest violations before each position, of the file up to some cue and of new cues from there:
                      fewest_before[j] is the least fewest_before[i] + violations of a cue from i to j
    fewest_after      the fewest violations of new cues from each position up to the end of some cue of the file, less
                      those of the file before that end: added to fewest_before, it is how many more than the file has
    unknown_before    how many words before each position have no times or fit into no cue
    """

    def __init__(
        self, words: Sequence[_SpokenWord], cues: Sequence[ParsedCue], counts: Counter[int], rules: Rules
    ) -> None:
        self.words, self.rules = words, rules
        self.ends = [0, *accumulate(word.space_before + word.columns for word in words)]
        self.latest_ends = list(accumulate((word.end for word in words), max))
        self.gap, self.linger = ceil_ms(rules.min_gap), ceil_ms(rules.max_linger)
        self.shortest, self.longest = ceil_ms(rules.min_cue), ceil_ms(rules.max_cue)
        most = rules.max_line_width * rules.max_line_count
        self.unknown_before = [0, *accumulate(word.start is None or word.columns > most for word in words), 0]
        self.unknown_before[-1] = self.unknown_before[-2]
        self.cue_words = _find_cue_words(words, cues)
        self.file_violations = self._count_file_violations(counts)
        self.fewest_before: list[float] = []
        for j, count in enumerate(self.file_violations):
            self.fewest_before.append(self._fewest_up_to(j, self.fewest_before) if count is None else count)
        self.fewest_after: list[float] = [math.inf if count is None else -count for count in self.file_violations]
        for i in range(len(words) - 1, 0, -1):
            if self.file_violations[i] is None:
                self.fewest_after[i] = self._fewest_from(i)

    def is_forced(self, number: int, rule: str) -> bool:
        """Whether the words of the cue with this number can't keep the rule without as many other violations."""
        if number not in self.cue_words:
            return False
        first, last = self.cue_words[number]
        before = self.fewest_before[: first + 1]
        for j in range(first + 1, last):
            before.append(self._fewest_up_to(j, before, rule))
        # What covers the last words of the cue begins before it or within it. Sums are relative to the file.
        begins = [*self._possible_starts(first + 1), *range(first + 1, last)]
        return all(before[i] + self._fewest_from(i, rule, last) >= 0 for i in begins)

    def _count_file_violations(self, counts: Counter[int]) -> list[int | None]:
        owner: list[int | None] = [None] * len(self.words)
        for number, (first, last) in self.cue_words.items():
            owner[first:last] = [number] * (last - first)
        counted: list[int | None] = [0]
        total = 0
        for k, cue in enumerate(owner, 1):
            if cue is not None and k < len(owner) and owner[k] == cue:
                counted.append(None)
            else:
                total += 0 if cue is None else counts[cue]
                counted.append(total)
        return counted

    def _fewest_up_to(self, j: int, before: Sequence[float], rule: str = "") -> float:
        """The fewest violations before position j, with a last cue that keeps `rule`."""
        return min((before[i] + self._count_violations(i, j, rule) for i in self._possible_starts(j)), default=math.inf)

    def _fewest_from(self, i: int, rule: str = "", beyond: int = 0) -> float:
        """The fewest violations from position i on, with a first cue that keeps `rule` and reaches to `beyond`."""
        best = math.inf
        for j in range(i + 1, len(self.words) + 1):
            if self._exceeds_a_cue(i, j):
                break
            if j >= beyond and self.fewest_after[j] < best:
                best = min(best, self.fewest_after[j] + self._count_violations(i, j, rule))
        return best

    def _possible_starts(self, j: int) -> Iterator[int]:
        """Where a cue may begin that ends at j."""
        for i in range(j - 1, -1, -1):
            if self._exceeds_a_cue(i, j):
                return
            yield i

    def _exceeds_a_cue(self, i: int, j: int) -> bool:
        """Whether the words i to j - 1 are too many for a cue, however they are set, and any more of them, too."""
        if j - i == 1:
            return False
        if self.words[i].turn != self.words[j - 1].turn:
            return True
        start, last = self.words[i].start, self.words[j - 1].start
        if start is not None and last is not None and last - start > self.longest:
            return True
        return self.ends[j] - self.ends[i] > (self.rules.max_line_width + 1) * self.rules.max_line_count

    def _count_violations(self, i: int, j: int, rule: str) -> float:
        """The fewest violations of SHORT, SPEED and GAP of a cue of the words i to j - 1 that keeps a rule; infinite if
        they can't be a cue by the other rules.
        """
        if self.unknown_before[j + 1] > self.unknown_before[i]:
            return 0  # its times or those of the next word aren't known: it may have none, so that nothing is forced
        start, end = self.words[i].start or 0, self.words[j - 1].end
        if (j - i > 1 and end - start > self.longest) or not self._fits_lines(i, j):
            return math.inf
        columns = self.ends[j] - self.ends[i] - self.words[i].space_before
        latest = min(self.latest_ends[j - 1] + self.linger, start + self.longest)
        following = math.inf if j == len(self.words) else self.words[j].start or 0
        best = math.inf
        for gap in {self.gap, 0}:
            duration = min(latest, following - gap) - start
            broken = {
                GAP: gap < self.gap,
                SHORT: duration < self.shortest,
                SPEED: columns * 1000 > self.rules.max_cps * duration,
            }
            if duration > 0 and not broken.get(rule, False):
                best = min(best, sum(broken.values()))
        return best

    def _fits_lines(self, i: int, j: int) -> bool:
        """Whether there are lines for the words. A word that is wider than a line is assumed to be cut."""
        line, most = self.rules.max_line_width, self.rules.max_words_per_line or j - i
        lines, taken, count = 1, 0, 0
        for word in self.words[i:j]:
            if count and (taken + word.space_before + word.columns > line or count == most):
                lines, taken, count = lines + 1, 0, 0
            taken, count = taken + (word.space_before if count else 0) + word.columns, count + 1
            lines, taken = lines + (taken - 1) // line, (taken - 1) % line + 1
        return lines <= self.rules.max_line_count


def _find_cue_words(words: Sequence[_SpokenWord], cues: Iterable[ParsedCue]) -> dict[int, tuple[int, int]]:
    """Cue number to its words: the first, and the one after the last. Cues that divide words are left out."""
    text = "".join(word.letters for word in words)
    begins = [0, *accumulate(len(word.letters) for word in words)]
    clock = list(accumulate((word.end if word.start is None else word.start for word in words), max))
    places: dict[int, tuple[int, int]] = {}
    free = 0
    for cue in sorted(cues, key=lambda cue: cue.start):
        letters = _letters("".join(cue.lines))
        found: list[tuple[int, int, int]] = []  # distance from its time, first word, the one after the last
        for first in range(
            max(free, bisect_left(clock, cue.start - MAX_OFFSET_MS)), bisect_right(clock, cue.start + MAX_OFFSET_MS)
        ):
            last = bisect_left(begins, begins[first] + len(letters))
            if letters and last < len(begins) and text[begins[first] : begins[last]] == letters:
                found.append((abs(clock[first] - cue.start), first, last))
        if found:
            _, first, free = min(found)
            places[cue.number] = first, free
    return places
