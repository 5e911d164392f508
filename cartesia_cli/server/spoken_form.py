"""Written English as it is spoken: numbers and symbols in words, and the sounds of words that no dictionary has.

For forced alignment, where about right is good enough. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))

ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
"""Those that don't end in "th" alone."""

CURRENCIES = {"$": ("dollar", "cents"), "€": ("euro", "cents"), "£": ("pound", "pence")}

SYMBOLS = {"%": "percent", "&": "and", "+": "plus", "=": "equals", "@": "at", "#": "number", "°": "degrees"}

ABBREVIATIONS = {"dr": "doctor", "vs": "versus", "st": "saint", "no": "no"}
"""Abbreviations that the dictionary has as letters or as another word."""

PLAIN_CHARACTERS = str.maketrans("’ı", "'i")
"""Characters with a plain form that Unicode's decomposition lacks."""

NO_CURRENCY = str.maketrans("", "", "".join(CURRENCIES))

SCALE_NAME = re.compile(r"\s*(hundred|thousand|[mbtr]+illion)\b", re.IGNORECASE)

MAX_NUMBER_DIGITS = 15
"""Longer numbers are read digit by digit."""

TOKEN = re.compile(
    r"""
      (?P<currency>[$€£])(?P<amount>\d[\d,]*)(?:\.(?P<cents>\d\d)\b|(?P<fraction>\.\d+))?
    | (?P<decade>\d*\d0)'?s\b
    | (?P<ordinal>\d[\d,]*)(?:st|nd|rd|th)\b
    | (?P<hour>\d{1,2}):(?P<minute>\d\d)(?!\d)
    | (?P<digits>\d+(?:-\d+)+)
    | (?P<number>\d{1,3}(?:,\d{3})+|\d+)(?P<decimals>\.\d+)?
    | (?P<letters>(?:[a-z]\.){2,})
    | (?P<word>[a-z]+(?:'[a-z]+)*)
    | (?P<symbol>[%&+=@\#°])
    | (?P<dot>(?<=\w)\.(?=\w))
    """,
    re.VERBOSE,
)
"""Matches text in lower case."""


def spell_out(text: str, following: str = "") -> list[str]:
    """The spoken words of written ones, in lower case: "$1,234.50" gives "one thousand two hundred thirty four …".

    What can't be spoken, such as punctuation or other scripts, gives none.

    following   the word after them: in "$5 million", the currency is spoken after it, and left out
    """
    if SCALE_NAME.match(following):
        text = text.translate(NO_CURRENCY)
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = "".join(letters).translate(PLAIN_CHARACTERS).lower()
    return [word for match in TOKEN.finditer(plain) for word in _spell_token(match)]


def _spell_token(match: re.Match[str]) -> Iterator[str]:
    kind, found = match.lastgroup, match.groupdict()
    if found["currency"]:
        yield from _spell_amount(found)
    elif found["decade"]:
        *rest, last = spell_year(found["decade"])
        yield from (*rest, last[:-1] + "ies" if last.endswith("y") else last + "s")
    elif found["ordinal"]:
        *rest, last = spell_cardinal(_integer(found["ordinal"]))
        yield from (*rest, ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th"))
    elif found["hour"]:
        yield from spell_cardinal(int(found["hour"]))
        yield from spell_pair(found["minute"]) if int(found["minute"]) else ()
    elif found["digits"]:
        parts = found["digits"].split("-")
        are_years = all(len(part) == 4 for part in parts)
        for part in parts:
            yield from spell_year(part) if are_years else spell_digits(part)
    elif found["number"]:
        yield from _spell_number(found["number"])
        yield from ("point", *spell_digits(found["decimals"][1:])) if found["decimals"] else ()
    elif found["letters"]:
        yield from found["letters"].replace(".", "")
    elif kind == "word":
        yield ABBREVIATIONS.get(found["word"], found["word"])
    else:
        yield "dot" if kind == "dot" else SYMBOLS[match.group()]


def _spell_amount(found: dict[str, str]) -> Iterator[str]:
    unit, hundredths = CURRENCIES[found["currency"]]
    amount, cents = _integer(found["amount"]), int(found["cents"] or 0)
    yield from spell_cardinal(amount)
    if found["fraction"]:
        yield from ("point", *spell_digits(found["fraction"][1:]))
    yield unit if amount == 1 and not found["fraction"] else unit + "s"
    if cents:
        yield from ("and", *spell_cardinal(cents), hundredths)


def _spell_number(digits: str) -> list[str]:
    if "," in digits:
        return spell_cardinal(_integer(digits))
    if len(digits) > 6 or (len(digits) > 1 and digits[0] == "0"):
        return spell_digits(digits)
    return spell_year(digits)


def spell_year(digits: str) -> list[str]:
    """Four digits as a year, if they can be one: "nineteen eighty four"; others as a number."""
    if len(digits) != 4 or not 1100 <= int(digits) < 2100 or 2000 <= int(digits) < 2010:
        return spell_cardinal(_integer(digits))
    century, rest = digits[:2], digits[2:]
    return [*spell_cardinal(int(century)), *(spell_pair(rest) if int(rest) else ["hundred"])]


def spell_pair(digits: str) -> list[str]:
    """Two digits after others: "oh five", "thirty"."""
    return ["oh", ONES[int(digits[1])]] if digits[0] == "0" else spell_cardinal(int(digits))


def spell_digits(digits: str) -> list[str]:
    """Digit by digit."""
    return [ONES[int(digit)] for digit in digits]


def spell_cardinal(number: int) -> list[str]:
    """A number in words, as Americans say it: no "and"."""
    if number < 20:
        return [ONES[number]]
    if number < 100:
        return [TENS[number // 10], *([ONES[number % 10]] if number % 10 else [])]
    if number >= 10**MAX_NUMBER_DIGITS:
        return spell_digits(str(number))
    size, name = next(scale for scale in SCALES if number >= scale[0])
    return [*spell_cardinal(number // size), name, *(spell_cardinal(number % size) if number % size else [])]


def _integer(digits: str) -> int:
    return int(digits.replace(",", ""))


LETTER_NAMES = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH", "i": "AY",
    "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY", "q": "K Y UW",
    "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW", "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S",
    "y": "W AY", "z": "Z IY",
}  # fmt: skip

SOUNDS = {
    "tion": "SH AH N", "sion": "ZH AH N", "ough": "AO", "augh": "AO", "eigh": "EY", "tch": "CH", "dge": "JH",
    "igh": "AY", "sch": "S K", "eau": "OW", "que": "K", "cia": "SH AH", "tia": "SH AH",
    "ai": "EY", "ar": "AA R", "au": "AO", "aw": "AO", "ay": "EY", "bb": "B", "cc": "K", "ce": "S EH", "ch": "CH",
    "ci": "S IH", "ck": "K", "cy": "S IY", "dd": "D", "ea": "IY", "ee": "IY", "ei": "EY", "er": "ER", "eu": "Y UW",
    "ew": "Y UW", "ey": "IY", "ff": "F", "gg": "G", "gh": "G", "ie": "IY", "ir": "ER", "kn": "N", "ll": "L", "mm": "M",
    "ng": "NG", "nn": "N", "oa": "OW", "oe": "OW", "oi": "OY", "oo": "UW", "or": "AO R", "ou": "AW", "ow": "OW",
    "oy": "OY", "ph": "F", "pp": "P", "qu": "K W", "rh": "R", "rr": "R", "sh": "SH", "ss": "S", "th": "TH", "tt": "T",
    "ue": "UW", "ui": "UW", "ur": "ER", "wh": "W", "wr": "R", "zz": "Z",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K",
    "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V",
    "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
"""Letters and their likeliest sounds. The longest that fits is taken."""

LONG_VOWELS = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
"""The sound of a vowel before a consonant and a silent e."""

GRAPHEME = re.compile("|".join(sorted(SOUNDS, key=len, reverse=True)))


def pronounce(word: str, look_up: Callable[[str], str | None]) -> str:
    """The sounds of a word in lower case, in the symbols of the CMU dictionary; empty for a word without letters.

    look_up   the sounds of a word in the dictionary, or None
    """
    if known := look_up(word):
        return known
    if "'" in word:
        stem, _, ending = word.rpartition("'")
        return f"{pronounce(stem, look_up)} {pronounce_letters(ending)}".strip()
    for at in range(len(word) - 3, 2, -1):  # a compound, such as "timestamp"
        first, second = look_up(word[:at]), look_up(word[at:])
        if first and second:
            return f"{first} {second}"
    if len(word) == 1 or not re.search("[aeiouy]", word):
        return " ".join(LETTER_NAMES[letter] for letter in word)
    return pronounce_letters(word)


def pronounce_letters(word: str) -> str:
    """The sounds of a word by its letters alone."""
    sounds = []
    stem = word[:-1] if len(word) > 3 and re.search(r"[aeiouy][^aeiouy]e$", word) else word
    for match in GRAPHEME.finditer(stem):
        sound = SOUNDS[match.group()]
        if stem is not word and match.end() == len(stem) - 1:
            sound = LONG_VOWELS.get(match.group(), sound)
        sounds.append(sound)
    return " ".join(sounds)
