"""The limits of a good cue, by style guide: Netflix, BBC, upright video.

Must not know how cues are made.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import UsageError
from ..record import Record


class Rules(Record):
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


def make_rules(profile: str | None = None, **numbers: Any) -> Rules:
    """A profile (the standard one if none is named) with other numbers where some are given. The command line checks
    each of them by itself.

    Raises UsageError for numbers that contradict each other.
    """
    found = (STANDARD if profile is None else PROFILES[profile])._replace(**numbers)
    for name in ("min_cue", "min_gap"):
        if getattr(found, name) > found.max_cue:
            source = "the default" if profile is None else f"of --subtitle-profile {profile}"
            least, most = (
                f"--{one.replace('_', '-')} {round(getattr(found, one), 3):g}{'' if one in numbers else f' ({source})'}"
                for one in (name, "max_cue")
            )
            hint = f"give a shorter --{name.replace('_', '-')} or a longer --max-cue"
            raise UsageError(f"{least} exceeds {most}", hint=hint)
    return found


def lint_rules(profile: str | None, found: Rules, given: Collection[str]) -> tuple[Rules, frozenset[str]]:
    """The rules that files are checked against, and the names of the numbers that don't limit anything.

    found   the rules of the profile
    given   names of the numbers that replace those of the profile
    """
    free = frozenset(UNLIMITED.keys() - set(given)) if profile == "none" else frozenset[str]()
    limits: dict[str, Any] = {name: UNLIMITED[name] for name in free}
    return found._replace(**limits), free
