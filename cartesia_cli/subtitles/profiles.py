"""The limits of a good cue, by style guide (Netflix, BBC, upright video), and their validation.

Must not know how cues are made.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of a good cue. Widths in columns (a wide character has two), times in seconds, speeds in columns a
    second.

    Maximums are positive, and nothing is negative.

    max_words_per_line   words separated by spaces; None: any number
    min_cue, max_cue     how long a cue is shown
    min_gap              between the end of a cue and the start of the next
    max_cps              reading speed
    max_linger           how long a cue may be shown after its last word
    chain                gaps shorter than this are reduced to min_gap, since an empty screen that short distracts
    sentences            whether every sentence begins a new cue
    """

    max_line_width: int = 42
    max_line_count: int = 2
    min_cue: float = 5 / 6
    max_cue: float = 7.0
    min_gap: float = 0.083
    max_cps: float = 20.0
    max_linger: float = 1.5
    chain: float = 0.5
    max_words_per_line: int | None = None
    sentences: bool = False


# Netflix, Timed Text Style Guide. General Requirements: 5/6 s to 7 s, two lines at most, gaps of less than half a
# second closed to two frames (83 ms at 24 frames a second). English: 42 characters a line, 20 a second for adults.
NETFLIX = Rules()

# BBC, Subtitle Guidelines. 3.1: 37 characters a line, as teletext has it. 3.3: two lines. 4: 160 to 180 words per
# minute; 180 words of five columns, which is how such rates are counted, are 15 columns per second. 4.1: 0.3 s per
# word, which makes a second for three words. The guidelines have no other minimum duration, and no maximum: Netflix's
# is used. 4.5: gaps last at least a second, or there are none. 5.2: 1.5 s after the end of speech.
BBC = Rules(max_line_width=37, min_cue=1.0, min_gap=0.0, max_cps=15.0, chain=1.0)

# Upright video for telephones: a few words at a time, in step with the voice. The width is that of the BBC's
# guidelines for 9:16 video (3.1); the other numbers are common practice that no guide specifies.
SHORTS = Rules(
    max_line_width=25, max_line_count=1, max_words_per_line=4, min_cue=0.4, max_cue=3.0, min_gap=0.0, max_cps=30.0,
    max_linger=0.5,
)  # fmt: skip

# No rules: a cue for each sentence, in one line, from its first word to the end of its last, as in Whisper's segments.
# The limits left (Whisper hears 30 s at a time) are for text that never ends a sentence.
NONE = Rules(
    max_line_width=400, max_line_count=1, min_cue=0.0, max_cue=30.0, min_gap=0.0, max_cps=10_000.0, max_linger=0.0,
    chain=0.0, sentences=True,
)  # fmt: skip

UNLIMITED = {"max_line_width": 10**9, "max_line_count": 10**9, "max_cue": 1e9, "max_cps": 1e9}
"""The limits of `none` when files are checked: those above only serve to divide text without punctuation."""

PROFILES = {"netflix": NETFLIX, "bbc": BBC, "shorts": SHORTS, "none": NONE}
STANDARD = NETFLIX


def make_rules(
    profile: str | None = None,
    *,
    max_line_width: int | None = None,
    max_line_count: int | None = None,
    max_words_per_line: int | None = None,
    min_cue: float | None = None,
    max_cue: float | None = None,
    min_gap: float | None = None,
    max_cps: float | None = None,
) -> Rules:
    """A profile (the standard one if none is named) with other numbers where some are given.

    UsageError for an unknown profile, and for numbers that contradict each other.
    """
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"unknown subtitle profile {profile!r}", hint=f"profiles are {', '.join(PROFILES)}")
    asked = {
        "max_line_width": max_line_width,
        "max_line_count": max_line_count,
        "max_words_per_line": max_words_per_line,
        "min_cue": min_cue,
        "max_cue": max_cue,
        "min_gap": min_gap,
        "max_cps": max_cps,
    }
    known: dict[str, float] = {name: value for name, value in asked.items() if value is not None}
    start = STANDARD if profile is None else PROFILES[profile]
    for name, value in known.items():
        _check_minimum(name, value)
    found = replace(start, **known)  # type: ignore[arg-type]
    if found.min_cue > found.max_cue:
        raise UsageError(
            f"the minimum duration of a cue ({found.min_cue:.3g} s) exceeds the maximum ({found.max_cue:.3g} s)",
            hint="give a shorter --min-cue or a longer --max-cue",
        )
    if found.min_gap > found.max_cue:
        raise UsageError(
            f"the gap between cues ({found.min_gap:g} s) must not exceed the longest cue ({found.max_cue:g} s)",
            hint="give a shorter --min-gap or a longer --max-cue",
        )
    return found


def lint_rules(profile: str | None, found: Rules, given: Collection[str]) -> tuple[Rules, frozenset[str]]:
    """The rules that files are checked against, and the names of the numbers that don't limit anything.

    found   the rules of the profile
    given   names of the numbers that replace those of the profile
    """
    free = frozenset(UNLIMITED.keys() - set(given)) if profile == "none" else frozenset[str]()
    limits: dict[str, float] = {name: UNLIMITED[name] for name in free}
    return replace(found, **limits), free  # type: ignore[arg-type]


_MINIMUMS = {
    "max_line_width": (2, "a wide character takes two columns"),
    "max_line_count": (1, "a cue has at least one line"),
    "max_words_per_line": (1, "a line has at least one word"),
    "min_cue": (0, "times are not negative"),
    "max_cue": (0.001, "a cue is shown for at least a millisecond"),
    "min_gap": (0, "times are not negative"),
    "max_cps": (0.1, "nobody reads that slowly"),
}


def _check_minimum(name: str, value: float) -> None:
    flag, (least, why) = f"--{name.replace('_', '-')}", _MINIMUMS[name]
    if not math.isfinite(value) or value < least:
        raise UsageError(f"{flag} {value:g} is impossible: {why}", hint=f"{flag} must be at least {least:g}")
