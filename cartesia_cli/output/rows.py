"""Rows of a word table: the times of each word, and the selection by pattern, time and gaps.

Numbers and gaps are those of the whole transcript, whichever rows are selected. Must never change a word, nor lose one:
without words, each segment is a row, and without segments, the whole text.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from ..errors import UsageError
from ..protocol.json_fields import Word
from ..subtitles.breaks import UNSPACED
from ..timestamps import to_ms
from ..transcript import Segment, Transcript
from . import Selection
from .sanitize import one_line


class WordRow(NamedTuple):
    """A word and its times, in milliseconds, None where unknown.

    number        its position among all words, from 1
    length        end minus start; negative if it ends before it starts
    gap           from its end to the start of the next; negative if they overlap
    text          the word as one line
    matched       whether the pattern of the selection is found there
    follows_gap   whether words were left out between it and the row before
    speaker       who says it, if known
    estimated     whether its times are the server's estimates
    """

    number: int
    start: int | None
    end: int | None
    length: int | None
    gap: int | None
    text: str
    matched: bool = False
    follows_gap: bool = False
    speaker: str | None = None
    estimated: bool = False


def row_words(transcript: Transcript) -> tuple[Sequence[Word], bool]:
    """The words of a transcript, else its segments or its text as words; and whether they are words."""
    if transcript.words:
        return transcript.words, True
    if transcript.segments:
        return as_words(transcript.segments), False
    return [Word(transcript.text)] if transcript.text.strip() else [], False


def as_words(segments: Iterable[Segment]) -> list[Word]:
    """Segments as words, except those of white space alone, whose rows would be empty."""
    return [Word(part.text, part.start, part.end, part.speaker) for part in segments if part.text.strip()]


def select_rows(
    words: Sequence[Word], selection: Selection | None = None, *, before: int = 0, at: float = 0.0
) -> list[WordRow]:
    """The selected rows of `words`.

    `before`: how many words went before these; `at`: seconds at which a first word without a time is taken to be.
    Raises UsageError for an invalid pattern.
    """
    texts = [one_line(word.word) for word in words]
    starts = [None if word.start is None else to_ms(word.start) for word in words]
    ends = [None if word.end is None else to_ms(word.end) for word in words]
    lengths, gaps = list(map(_difference, ends, starts)), list(map(_difference, [*starts[1:], None], ends))
    every = [
        WordRow(number, start, end, length, gap, text, speaker=word.speaker, estimated=word.estimated)
        for number, (word, start, end, length, gap, text) in enumerate(
            zip(words, starts, ends, lengths, gaps, texts, strict=True), before + 1
        )
    ]
    if selection is None:
        return every
    inside = hits = _in_time_range(every, selection, to_ms(at))
    if selection.pattern is not None:
        hits = inside & _find_matches(words, texts, compile_pattern(selection.pattern, selection.ignore_case))
    if selection.longest_gaps is not None:
        silences = sorted((-gap, i) for i in hits if (gap := gaps[i]) is not None and gap > 0)
        hits = {i for _, i in silences[: selection.longest_gaps]}
    wanted = [i for i in _with_context(hits, selection.context, len(every)) if i in inside]
    matched = hits if selection.pattern is not None else set()
    return [
        every[i]._replace(matched=i in matched, follows_gap=previous not in (None, i - 1))
        for previous, i in zip([None, *wanted], wanted, strict=False)
    ]


def excerpts(transcript: Transcript, selection: Selection) -> list[list[WordRow]]:
    """The selected rows, grouped by adjacency."""
    groups: list[list[WordRow]] = []
    for row in select_rows(row_words(transcript)[0], selection):
        if groups and groups[-1][-1].number == row.number - 1:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def running_text(transcript: Transcript, excerpt: Sequence[WordRow]) -> str:
    """The text of adjacent rows."""
    words = row_words(transcript)[0][excerpt[0].number - 1 : excerpt[-1].number]
    return _join_words(words, [row.text for row in excerpt])[0]


def compile_pattern(pattern: str, ignore_case: bool = False) -> re.Pattern[str]:
    """The pattern of a selection, compiled. Raises UsageError if it isn't a regular expression."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about later Python versions don't concern users
            return re.compile(pattern, re.IGNORECASE if ignore_case else re.NOFLAG)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{pattern!r} is not a regular expression: {error}", hint="a backslash before a character makes it literal"
        ) from error


def _in_time_range(every: Sequence[WordRow], selection: Selection, at: int) -> set[int]:
    """Which words are said between `since` and `until`, entirely or in part.

    A word without times counts as said at the end of the word before it. A word that ends at `since`, or starts at
    `until`, is outside.
    """
    since = -math.inf if selection.since is None else selection.since * 1000
    until = math.inf if selection.until is None else selection.until * 1000
    found = set()
    for i, row in enumerate(every):
        first = at if row.start is None else row.start
        at = first if row.end is None else max(first, row.end)
        if (first >= since or at > since) and first < until:
            found.add(i)
    return found


def _with_context(hits: Iterable[int], context: int, count: int) -> Iterator[int]:
    """The hits and `context` words before and after each, in order."""
    done = 0
    for hit in sorted(hits):
        yield from range(max(done, hit - context), min(count, hit + context + 1))
        done = min(count, hit + context + 1)


def _find_matches(words: Sequence[Word], texts: Sequence[str], pattern: re.Pattern[str]) -> set[int]:
    """Which words the pattern is found in. It reads them as running text, so that it can span several."""
    running, ends = _join_words(words, texts)
    found, i = set(), 0
    for match in pattern.finditer(running):
        first, last = match.span()
        while i < len(ends) and ends[i] <= first:
            i += 1
        k = i
        while k < len(ends) and ends[k] - len(texts[k]) < last:
            if max(first, ends[k] - len(texts[k])) < min(last, ends[k]):
                found.add(k)
            k += 1
    return found


def _join_words(words: Sequence[Word], texts: Sequence[str]) -> tuple[str, list[int]]:
    """Words as running text, and where in it each of them ends."""
    parts = [" " * space + text for space, text in zip(_spaces_before(words, texts), texts, strict=True)]
    return "".join(parts), list(accumulate(map(len, parts)))


def _spaces_before(words: Sequence[Word], texts: Sequence[str]) -> Iterator[bool]:
    """Whether a space separates each word from the one before it.

    Some servers send the spaces as part of the words, and theirs are kept; others leave all of them out.
    """
    sent = any(word.word[:1].isspace() for word in words[1:])
    before = ""
    for word, text in zip(words, texts, strict=True):
        if not before or not text:
            yield False
        elif sent:
            yield word.word[0].isspace()
        else:
            yield not (UNSPACED.match(before[-1]) and UNSPACED.match(text))
        before = text or before


def _difference(later: int | None, earlier: int | None) -> int | None:
    return None if earlier is None or later is None else later - earlier
