"""Aligns the words and segments of a transcript with its text.

Servers send the text and its words separately, and they may differ: words may be missing, spelled differently, or be
different altogether. The text decides what was said; the words only say when.

Pure. Must never change the text, nor give one of its words the time of another.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

from .protocol.json_fields import Word

UNSPACED_CHARACTER = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
"""Pattern of a character of a script without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese. Not
compiled here, because that takes long, and most transcripts need no alignment."""

_ATOM = rf"{UNSPACED_CHARACTER}|(?:(?!{UNSPACED_CHARACTER})(?:[^\W_]|[\u0300-\u036f]))+"
"""The unit of comparison: letters and digits in a row, or one character of a script without spaces."""

_CHUNK = re.compile(r"\S+")

MAX_THOROUGH_ATOMS = 2000
"""Number of atoms up to which frequent ones are compared, too: with more of them that takes too long."""


class TextMatch(NamedTuple):
    """Where in a text a part was found.

    start, end     offsets of its first character, and of the one after its last
    lacks_start    whether the beginning of the part is missing there
    lacks_end      whether the end of the part is missing there
    """

    start: int
    end: int
    lacks_start: bool = False
    lacks_end: bool = False

    @property
    def is_whole(self) -> bool:
        return not (self.lacks_start or self.lacks_end)


def has_words(text: str) -> bool:
    """Whether a text contains a letter, a digit or a pictograph: it is more than punctuation and spaces."""
    return any(char.isalnum() or unicodedata.category(char) == "So" for char in text)


def find_part_ends(text: str, parts: Iterable[str]) -> list[int] | None:
    """Where each part ends in the text, without the spaces around it; None if not all of them are there, in order."""
    ends, at = [], 0
    for part in parts:
        spelling = part.strip()
        found = text.find(spelling, at)
        if found < 0:
            return None
        at = found + len(spelling)
        ends.append(at)
    return ends


def find_word_ends(text: str, words: Iterable[Word]) -> list[int] | None:
    """Where each word ends in the text; None if not all of them are there, in order."""
    return find_part_ends(text, (word.word for word in words))


def is_covered_by(text: str, parts: Sequence[str]) -> bool:
    """Whether all these parts are in the text, in order, with only punctuation and spaces between them."""
    ends = find_part_ends(text, parts)
    if ends is None:
        return False
    begins = [end - len(part.strip()) for end, part in zip(ends, parts, strict=True)]
    return not any(has_words(text[end:begin]) for end, begin in zip([0, *ends], [*begins, len(text)], strict=True))


def match_parts(text: str, parts: Sequence[str]) -> list[TextMatch | None]:
    """Where each part is in the text, in order, whatever its case and punctuation; None if nothing of it is there."""
    text_atoms = [(_normalize(atom[0]), atom.start(), atom.end()) for atom in re.finditer(_ATOM, text)]
    part_atoms = [*map(_atoms, parts)]
    matched = _match_atoms([name for name, _, _ in text_atoms], [name for part in part_atoms for name in part])
    found: list[TextMatch | None] = []
    first = 0
    for part in part_atoms:
        hits = [(k, matched[first + k]) for k in range(len(part)) if first + k in matched]
        first += len(part)
        if not hits:
            found.append(None)
            continue
        (head, begin), (tail, last) = hits[0], hits[-1]
        found.append(TextMatch(text_atoms[begin][1], text_atoms[last][2], head > 0, tail + 1 < len(part)))
    return found


def covering_words(text: str, words: Sequence[Word]) -> tuple[Word, ...] | None:
    """Words that make up the text: the given ones that are in it, and the rest of the text as words without times.

    Given words that aren't in the text are left out. None if no given word is in it.
    """
    if is_covered_by(text, [word.word for word in words]):
        return tuple(words)
    spans = [*_locate_words(text, words)]
    if not spans:
        return None
    found: list[Word] = []
    edges = [(0, 0, None), *spans, (len(text), len(text), None)]
    word_start = 0
    for (_, end, word), (start, _, following) in pairwise(edges):
        word_end, next_start, separate = _divide_gap(text, end, start)
        if word is not None:
            found.append(_respell(word, text[word_start:word_end]))
        speakers = {one.speaker for one in (word, following) if one is not None}
        speaker = speakers.pop() if len(speakers) == 1 else None
        found += [Word(spelling, speaker=speaker) for spelling in separate]
        word_start = next_start
    return tuple(found)


def _divide_gap(text: str, start: int, end: int) -> tuple[int, int, list[str]]:
    """Divide the text between two words: where the first one ends and the second one starts, with what adjoins them
    without a space, and the words in between. If "wide" and "spaces" are given of "wide-open blue spaces", the first
    one ends after "-open", and "blue" is in between.
    """
    word_end, next_start, separate = start, end, []
    for chunk in _CHUNK.finditer(text, start, end):
        if not has_words(chunk[0]):
            continue
        if chunk.start() == start > 0 and not _touches_unspaced_script(text, start):
            word_end = chunk.end()
        elif chunk.end() == end < len(text) and not _touches_unspaced_script(text, end):
            next_start = chunk.start()
        else:
            separate.append(chunk[0])
    return word_end, next_start, separate


def count_missing_words(text: str, words: Sequence[Word]) -> int:
    """How many words are not in the text that they came with."""
    if not words or not text.strip() or is_covered_by(text, [word.word for word in words]):
        return 0
    return sum(has_words(word.word) for word in words) - len([*_locate_words(text, words)])


def _locate_words(text: str, words: Sequence[Word]) -> Iterator[tuple[int, int, Word]]:
    """Words that are entirely in the text: start and end of each there, with adjacent punctuation, and the word."""
    spellings = [word.word for word in words]
    at = 0
    found = [(word, place) for word, place in zip(words, match_parts(text, spellings), strict=True) if place]
    for k, (word, place) in enumerate(found):
        if not place.is_whole or _atoms(word.word) != _atoms(text[place.start : place.end]):
            continue
        ceiling = found[k + 1][1].start if k + 1 < len(found) else len(text)
        first, last = place.start, place.end
        spelling = word.word.strip()
        atom = re.search(_ATOM, spelling)
        exact = first - (atom.start() if atom else 0)
        if exact >= at and text.startswith(spelling, exact) and exact + len(spelling) <= ceiling:
            first, last = exact, exact + len(spelling)
        else:
            while first > at and _is_punctuation(text[first - 1]):
                first -= 1
            while last < ceiling and _is_punctuation(text[last]):
                last += 1
        yield first, last, word
        at = last


def _respell(word: Word, spelling: str) -> Word:
    """A word as the text spells it, with the leading spaces that it came with."""
    spaces = word.word[: len(word.word) - len(word.word.lstrip())]
    return word if word.word.strip() == spelling else word._replace(word=spaces + spelling)


def _touches_unspaced_script(text: str, at: int) -> bool:
    """Whether a character beside this position is of a script without spaces between words."""
    return re.search(UNSPACED_CHARACTER, text[max(at - 1, 0) : at + 1]) is not None


def _is_punctuation(char: str) -> bool:
    return not (char.isspace() or has_words(char))


def _atoms(text: str) -> list[str]:
    return [_normalize(atom) for atom in re.findall(_ATOM, text)]


def _normalize(atom: str) -> str:
    return unicodedata.normalize("NFKC", atom).casefold()


def _match_atoms(text_atoms: Sequence[str], part_atoms: Sequence[str]) -> dict[int, int]:
    """Index of each atom of the parts that is in the text, to its index there."""
    start, end, least = 0, 0, min(len(text_atoms), len(part_atoms))
    while start < least and text_atoms[start] == part_atoms[start]:
        start += 1
    while end < least - start and text_atoms[-1 - end] == part_atoms[-1 - end]:
        end += 1
    matched = {k: k for k in range(start)}
    matched |= {len(part_atoms) - 1 - k: len(text_atoms) - 1 - k for k in range(end)}
    a, b = text_atoms[start : len(text_atoms) - end], part_atoms[start : len(part_atoms) - end]
    matcher = SequenceMatcher(None, a, b, autojunk=max(len(a), len(b)) > MAX_THOROUGH_ATOMS)
    for block in matcher.get_matching_blocks():
        matched |= {start + block.b + k: start + block.a + k for k in range(block.size)}
    return matched
