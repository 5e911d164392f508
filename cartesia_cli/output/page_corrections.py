"""What a page needs to save a corrected transcript: the JSON document, with its text divided into words.

Joined, what stands between the words and the words themselves are the text, character for character, so that a page
that changes one word saves all others as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from ..alignment import find_word_ends
from ..transcript import Transcript
from . import SaveTarget
from .sanitize import title

ESTIMATED_BY_US, ESTIMATED_BY_SERVER, EDITED = 1, 2, 4
"""Flags of a word: its `timing` is "estimated", its `estimated` is true, its `edited` is true."""

NAMED_ELSEWHERE = {"text", "segments", "words", "notices"}
"""Members of the document that aren't among its `facts`."""


def corrections(
    transcript: Transcript, speakers: Sequence[str], save_target: SaveTarget | None = None
) -> dict[str, Any] | None:
    """The document in a shape that can be corrected; None if there are no words, or blank ones.

    speakers   those that the page names, in the order of their numbers there

    The result, as JSON:

    facts      members of the document that stay as they are; `notices` are apart, since they come last
    speakers   their names; words and segments have their number instead, or -1
    words      for each: the text before it, its leading spaces, spelling, trailing spaces, start, end, flags, speaker
    tail       the text behind the last word
    segments   each with its `length` in UTF-16 code units instead of its text
    name       of a file to save it in
    save       `url` and `version` of the SaveTarget, or null
    """
    document, spoken = transcript.to_dict(), transcript.words or ()
    ends = find_word_ends(transcript.text, spoken)
    if not ends or not all(word.word.strip() for word in spoken):
        return None
    named = [*speakers, *(word.speaker for word in spoken), *(segment.speaker for segment in transcript.segments)]
    numbers: dict[str | None, int] = {None: -1}
    for name in named:
        numbers.setdefault(name, len(numbers) - 1)
    return {
        "facts": {name: value for name, value in document.items() if name not in NAMED_ELSEWHERE},
        "notices": document.get("notices"),
        "speakers": [name for name in numbers if name is not None],
        "words": list(_words(transcript.text, ends, document["words"], numbers)),
        "tail": transcript.text[ends[-1] :],
        "segments": [_segment(segment, numbers) for segment in document["segments"]],
        "name": f"{PurePath(title(transcript.source)).stem or 'transcript'}.json",
        "save": save_target and {"url": save_target.url, "version": save_target.version},
    }


def code_units(text: str) -> int:
    """The length of a text in UTF-16 code units, in which scripts count."""
    return len(text) + sum(character > "\uffff" for character in text)


def _words(
    text: str, ends: Sequence[int], words: Sequence[dict[str, Any]], numbers: dict[str | None, int]
) -> Iterator[list[str | float]]:
    before = 0
    for word, end in zip(words, ends, strict=True):
        written: str = word["word"]
        spelling = written.strip()
        leading, _, trailing = written.partition(spelling)
        flags = (
            ESTIMATED_BY_US * ("timing" in word)
            + ESTIMATED_BY_SERVER * ("estimated" in word)
            + EDITED * ("edited" in word)
        )
        yield [
            text[before : end - len(spelling)], leading, spelling, trailing, word["start"], word["end"], flags,
            numbers[word.get("speaker")],
        ]  # fmt: skip
        before = end


def _segment(segment: dict[str, Any], numbers: dict[str | None, int]) -> dict[str, Any]:
    kept = {name: value for name, value in segment.items() if name != "text"}
    return kept | {"length": code_units(segment["text"]), "speaker": numbers[segment.get("speaker")]}
