"""How far recognized words and their times are from known ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cartesia_cli.protocol.json_fields import Word
from tests.speech import SpokenWord

PAUSE_SECONDS = 0.25
"""Least time between two words that is a pause."""

MAX_LIVE_WER = 0.3
"""Most word errors in live text of two short sentences: some words are misheard (`benchmarks/live_text.py` says how
many), but no sentence is lost or doubled.
"""


def start_errors(spoken: Sequence[SpokenWord], recognized: Sequence[Word]) -> NDArray[np.float64]:
    """Errors of the starts in milliseconds, for each word that was recognized as it was spoken."""
    said, heard = [_key(word) for word, _, _ in spoken], [_key(word.word) for word in recognized]
    blocks = SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    pairs = [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]
    return np.array([1000 * ((recognized[j].start or 0.0) - spoken[i][1]) for i, j in pairs])


def most_in_a_pause(spoken: Sequence[SpokenWord], word: Word) -> float:
    """How many seconds of a recognized word are in one pause, at most."""
    ends, starts = [0.0, *(end for _, _, end in spoken)], [*(start for _, start, _ in spoken), float("inf")]
    pauses = [(end, start) for end, start in zip(ends, starts, strict=True) if start - end > PAUSE_SECONDS]
    return max(min(word.end or 0.0, end) - max(word.start or 0.0, start) for start, end in pauses)


def are_in_order(words: Sequence[Word], seconds: float) -> bool:
    """Whether all words have times, one after the other, within a recording of that length."""
    times = [time for word in words for time in (word.start, word.end)]
    limits = [0.0, *(time for time in times if time is not None), seconds]
    return None not in times and all(early <= late for early, late in pairwise(limits))


def _key(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())
