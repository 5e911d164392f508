"""The text of an utterance that is still being spoken: it only ever grows.

A recognizer that gets a growing utterance again and again changes the last words. Text that the API sends is
final (API docs: stt/turns). So a word is emitted when the recognizer is sure of it, or when the hypotheses agree on it
(local agreement) while more than a second of audio follows, and on all words before it; the latest words are withheld.
Emitted text can't be taken back: later hypotheses are aligned with it and continue where it ends.

Pure. Works with any recognizer, and knows nothing of events. `benchmarks/live_text.py` measures what a change of the
constants here does.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile, zip_longest

from ..audio.pcm import RATE

FINAL_PUNCTUATION = ".,;:!?…"
"""Punctuation at the end of a hypothesis: a guess, until the utterance is known to have ended."""

AGREEMENT_SAMPLES = int(1.2 * RATE)
"""How much audio must have followed the first of the hypotheses that agree on a word. With a hypothesis every 0.4 s,
1.2 s are four of them. Without SURE_PROBABILITY and with 0.8 s, the first text came half a second later, and a twelfth
more words were wrong; with 0.4 s it came as soon, and a third more were wrong.
"""

SURE_PROBABILITY = 0.85
"""Probability from which a word needs no agreement."""

WITHHELD_WORDS = 2
"""How many last words are always withheld."""


@dataclass(frozen=True, slots=True)
class Seam:
    """How a hypothesis that covers both sides of a cut writes the words beside it.

    punctuation   after the last word before the cut
    word          the first word after it: in a hypothesis that begins there, it would be capitalized
    """

    punctuation: str = ""
    word: str = ""


class StableText:
    """What has been emitted of an utterance's text, and what the next hypothesis adds to it.

    Each method takes the words of a hypothesis, with their leading spaces, and returns the text that is new.

    text     everything that was emitted; each value begins with the one before
    beyond   how many words of it are beyond the last `cut`; 0 after the other methods
    """

    def __init__(self) -> None:
        self.text, self.beyond = "", 0
        self._words: list[str] = []
        self._recent: deque[tuple[int, list[str]]] = deque()
        """Hypotheses, each with the end of its audio: the latest one that is AGREEMENT_SAMPLES old, and all since."""
        self._punctuation_withheld = False
        """Whether the punctuation after the last word may still have to be emitted."""
        self._seam = Seam()
        """How the words on both sides of the last cut are written, until a word after it is emitted."""

    def update(self, words: Sequence[str], end: int, probabilities: Sequence[float | None] = ()) -> str:
        """Emit what is certain of a hypothesis of the whole utterance so far.

        end             where the audio that it covers ends, in samples
        probabilities   how sure the recognizer is of each word, 0 to 1; None or empty if unknown
        """
        self._recent.append((end, list(words)))
        while len(self._recent) > 1 and end - self._recent[1][0] >= AGREEMENT_SAMPLES:
            self._recent.popleft()
        agreed: list[bool] = []
        if end - self._recent[0][0] >= AGREEMENT_SAMPLES:
            hypotheses = (hypothesis for _, hypothesis in self._recent)
            agreed = [len(set(map(_normalize, spellings))) == 1 for spellings in zip(*hypotheses, strict=False)]
        sure = [probability is not None and probability >= SURE_PROBABILITY for probability in probabilities]
        certain = [any(reasons) for reasons in zip_longest(agreed, sure)][: max(0, len(words) - WITHHELD_WORDS)]
        return self._emit(words[: [*certain, False].index(False)], open_ended=True)

    def pause(self, words: Sequence[str], end: int) -> str:
        """A hypothesis at what may be the end: emit all of it but the punctuation that a real end would have.

        end   as above
        """
        self._recent.append((end, list(words)))
        return self._emit(words, open_ended=True)

    def settle(self, words: Sequence[str]) -> str:
        """The last hypothesis: emit the rest. The next one is about another utterance."""
        rest = self._emit(words, open_ended=False)
        self._words.clear()
        self._recent.clear()
        self._seam = Seam()
        return rest

    def flush(self, words: Sequence[str]) -> str:
        """A hypothesis that was asked for in mid-speech: emit all of it. The next one is about the same utterance."""
        rest = self._emit(words, open_ended=False)
        self._recent.clear()
        return rest

    def cut(self, words: Sequence[str]) -> str:
        """The last hypothesis of the first part of an utterance that goes on: emit the rest of that part.

        What was emitted may reach beyond that part. Then the next hypothesis begins with those words, and they must not
        be emitted again.
        """
        _, last = self._recent[-1] if self._recent else (0, [])
        at = count_covered(words, last)
        beyond = self._words[count_covered(words, self._words) :]
        new = "" if beyond else self._emit(words, open_ended=True)
        self._seam = Seam() if beyond or not 0 < at < len(last) else Seam(_final_punctuation(last[at - 1]), last[at])
        self._words, self.beyond = beyond, len(beyond)
        self._recent.clear()
        return new

    def count_emitted(self, words: Sequence[str]) -> int:
        """How many words at the beginning of a hypothesis were emitted before."""
        return count_covered(self._words, words)

    def _emit(self, words: Sequence[str], *, open_ended: bool) -> str:
        at = count_covered(self._words, words)
        new = list(words[at:])
        if new and not at and _normalize(new[0]) == _normalize(self._seam.word):
            new[0] = self._seam.word
        if open_ended and new:
            new[-1] = new[-1].rstrip(FINAL_PUNCTUATION) or new[-1]
        # Withheld punctuation is emitted as soon as something follows it.
        punctuation = _final_punctuation(words[at - 1]) if at else self._seam.punctuation
        if self._punctuation_withheld and (new or not open_ended) and self.text[-1:] not in [*FINAL_PUNCTUATION, ""]:
            new.insert(0, punctuation)
        if new:
            self._punctuation_withheld = open_ended
            self._seam = Seam()
        self._words += words[at:]
        self.beyond = 0
        text = "".join(new)
        self.text += text
        return text


def count_covered(emitted: Sequence[str], words: Sequence[str]) -> int:
    """How many of `words` were `emitted` already: the length of the beginning that differs least from it.

    Letters are compared, not words, so that "blacklisted" is the same as "black listed", and a word after it isn't.
    """
    ours = [_normalize(word) for word in emitted]
    theirs = [_normalize(word) for word in words]
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
    # Edit distance from the rest of what was emitted to each beginning of the rest of the hypothesis.
    letters = "".join(theirs[same:])
    row = list(range(len(letters) + 1))
    for i, letter in enumerate("".join(ours[same:]), 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(letters, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (letter != other))
    distances = [row[end] for end in accumulate(map(len, theirs[same:]), initial=0)]
    return same + min(range(len(distances)), key=lambda j: (distances[j], abs(same + j - len(ours))))


def _normalize(word: str) -> str:
    """A word without punctuation and case."""
    return re.sub(r"\W", "", word).casefold()


def _final_punctuation(word: str) -> str:
    return word[len(word.rstrip(FINAL_PUNCTUATION)) :]
