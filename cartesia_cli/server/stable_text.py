"""The text of an utterance that is still being spoken: it only ever grows.

A recogniser that hears a growing utterance again and again changes its mind about the last words. What the
API emits is final (docs: stt/turns): so a word goes out when the recogniser is SURE of it, or AGREEING hearings
in a row agree on it, and on all before it; and the latest words wait. What was said can't be unsaid: later
hearings are laid beside it, and go on where it ends.

Pure. Must not know which recogniser it has, nor what an event looks like.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest

ENDS = ".,;:!?…"
"""Punctuation at the end of a hearing: a guess, until the utterance is known to be over."""


AGREEING, WAITING, SURE = 4, 2, 0.85
"""Hearings that must agree, words that wait whatever they say, and odds that make up for agreement. Without the odds
and with 3 hearings, the first text came half a second later, and a twelfth more words were wrong; with 2 hearings it
came as soon, and a third more were wrong.
"""


class StableText:
    """What has been said for good, and what the last hearing adds to it.

    said    the text so far; each value begins with the one before
    """

    def __init__(self) -> None:
        self.said = ""
        self._words: list[str] = []
        self._unmarked = False
        """Whether the punctuation behind the last word was held back."""
        self._before: deque[list[str]] = deque(maxlen=AGREEING - 1)

    def update(self, words: Sequence[str], odds: Sequence[float] = ()) -> str:
        """Another hearing of the whole utterance so far; what of it is new and certain.

        odds   how sure the recogniser is of each word, 0 to 1, where it can tell
        """
        hearings = [*self._before, list(words)]
        self._before.append(hearings[-1])
        agreed: list[bool] = []
        if len(hearings) == AGREEING:
            agreed = [len(set(map(_bare, spellings))) == 1 for spellings in zip(*hearings, strict=False)]
        sure = [odd >= SURE for odd in odds]
        certain = [any(reasons) for reasons in zip_longest(agreed, sure)][: max(0, len(words) - WAITING)]
        return self._say(words[: [*certain, False].index(False)], open_ended=True)

    def pause(self, words: Sequence[str]) -> str:
        """A hearing at what may be the end: all of it counts, but for the punctuation that a full end would have."""
        self._before.append(list(words))
        return self._say(words, open_ended=True)

    def settle(self, words: Sequence[str]) -> str:
        """The last hearing: the rest of the text. What comes after is heard as an utterance of its own."""
        rest = self._say(words, open_ended=False)
        self._words.clear()
        self._before.clear()
        return rest

    def already(self, words: Sequence[str]) -> int:
        """How many words at the beginning of a hearing were said before."""
        return _continuation(self._words, words)

    def flush(self, words: Sequence[str]) -> str:
        """A hearing that somebody asked for in mid-speech: all of it counts. What follows is heard together with it."""
        rest = self._say(words, open_ended=False)
        self._before.clear()
        return rest

    def cut(self, words: Sequence[str]) -> str:
        """A last hearing of the first part of an utterance that goes on: what of it wasn't said yet.

        What was said already may reach beyond that part. The next hearing begins with those words, and they must not
        be said again.
        """
        if not self._words:
            return self.settle(words)
        beyond = self._words[_continuation(words, self._words) :]
        fresh = "" if beyond else self._say(words, open_ended=True)
        self._words = beyond
        self._before.clear()
        return fresh

    def _say(self, words: Sequence[str], *, open_ended: bool) -> str:
        at = _continuation(self._words, words)
        fresh = list(words[at:])
        if open_ended and fresh:
            fresh[-1] = fresh[-1].rstrip(ENDS) or fresh[-1]
        # The mark that was held back behind the last word goes out as soon as something follows it.
        if at and self._unmarked and (fresh or not open_ended) and self.said and self.said[-1] not in ENDS:
            fresh.insert(0, _mark(words[at - 1]))
        if fresh:
            self._unmarked = open_ended
        self._words += words[at:]
        text = "".join(fresh)
        self.said += text
        return text


def _continuation(said: Sequence[str], words: Sequence[str]) -> int:
    """How many of `words` are what was `said` already: the beginning of them that differs least from it."""
    ours = [_bare(word) for word in said]
    theirs = [_bare(word) for word in words]
    if theirs[: len(ours)] == ours:
        return len(ours)
    # Edit distance of everything said to each beginning of what is heard now.
    row = list(range(len(theirs) + 1))
    for i, word in enumerate(ours, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(theirs, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    return min(range(len(row)), key=lambda j: (row[j], abs(j - len(ours))))


def _bare(word: str) -> str:
    return re.sub(r"\W", "", word).casefold()


def _mark(word: str) -> str:
    """The punctuation at the end of a word."""
    return word[len(word.rstrip(ENDS)) :]
