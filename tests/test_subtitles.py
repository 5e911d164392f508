"""The laws of cues over words with every defect, the files as other programs read them, and a subtitler's eye."""

from __future__ import annotations

import html
import math
import random
import re
import subprocess
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pysubs2
import pytest
import srt as srt_library
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.output import Layout, writer
from cartesia_cli.output.streams import CueStream
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.subtitles import Cue, Rules, cues, srt, vtt
from cartesia_cli.subtitles.function_words import GRAMMARS
from cartesia_cli.subtitles.profiles import PROFILES
from cartesia_cli.subtitles.segmentation import split_word
from cartesia_cli.subtitles.writers import CONTROLS, ESTIMATED_NOTE
from cartesia_cli.text_width import text_width
from cartesia_cli.transcript import Segment, Transcript, from_batch
from tests.conftest import require_program
from tests.test_transcript import reread

RULES = Rules()
SPELLINGS = (
    st.sampled_from(
        "a the I and of to word. words, (so) Mary Smith — -- --> 12 3% étude 東京 です 。 「 สวัสดี Łódź".split()
    )
    | st.text(max_size=8)
    | st.text("abc", min_size=30, max_size=120)
    | st.sampled_from(["", " ", "\n", "two words", " \x00", "\u0301", "e\u0301" * 60, "\u200b", "👩‍👩‍👧"])
)
SECONDS = st.none() | st.floats(-10, 100) | st.floats(allow_nan=True) | st.sampled_from([0.0, 1.0, 1.0005, 1e6])
# `partial`, because Hypothesis would invent all other fields of a named tuple, too.
DEFECTIVE = st.lists(st.builds(partial(Word), st.sampled_from(["", " "]).flatmap(lambda b: SPELLINGS.map(b.__add__)),
                               SECONDS, SECONDS), max_size=25)  # fmt: skip
DURATION = st.none() | st.floats(0, 200) | st.sampled_from([math.inf, math.nan, -1.0, 0.001])
LANGUAGE = st.none() | st.sampled_from([*GRAMMARS, "en-GB", "", "x"])


def transcript(text: str, words: Sequence[Word] | None = None, **facts: Any) -> Transcript:
    return Transcript("-", "ink-2", text, words=None if words is None else tuple(words), **facts)


def solid(text: str) -> str:
    """What must not get lost: everything but spaces, control characters and bidirectional overrides."""
    return "".join(c for c in text if not c.isspace() and not CONTROLS.match(c) and unicodedata.category(c) != "Cc")


def shown(found: Sequence[Cue]) -> str:
    return solid("".join(line for cue in found for line in cue.lines))


def spoken(text: str, rate: float = 17.0, silences: dict[str, float] | None = None) -> list[Word]:
    """Words at a constant rate (characters per second), with a silence after those that `silences` names."""
    words, at = [], 0.0
    for spelling in text.split():
        words.append(Word(spelling, at, at := at + (len(spelling) + 1) / rate))
        at += (silences or {}).get(spelling, 0.0)
    return words


def said(text: str, language: str = "en", **how: Any) -> list[tuple[str, ...]]:
    return [cue.lines for cue in cues(transcript(text, spoken(text, **how), language=language))]


def check(found: Sequence[Cue], rules: Rules = RULES) -> None:
    """What holds for the cues of anything."""
    for cue in found:
        assert isinstance(cue.start, int) and isinstance(cue.end, int)
        assert 0 <= cue.start < cue.end <= cue.start + rules.max_cue * 1000 + 1
        assert 1 <= len(cue.lines) <= rules.max_line_count
        for line in cue.lines:
            assert line and line == line.strip() and text_width(line) <= rules.max_line_width
    for cue, following in pairwise(found):
        assert cue.end <= following.start


# The laws


@given(DEFECTIVE, DURATION, LANGUAGE, st.sampled_from(["", " ", "\u3000"]))
def test_defective_times_lose_double_or_move_no_word(
    words: list[Word], duration: float | None, language: str | None, blank: str
) -> None:
    text = blank.join(word.word for word in words)
    found = cues(transcript(text, words, duration=duration, language=language))
    check(found)
    assert shown(found) == solid(text)


@given(DEFECTIVE, st.text(max_size=60))
def test_text_is_shown_whatever_its_words_are(words: list[Word], text: str) -> None:
    found = cues(transcript(text, words))
    check(found)
    assert shown(found) == solid(text)


@given(st.lists(st.builds(Segment, st.floats(-1, 50), st.floats(-1, 50), st.text(max_size=150), st.just("server")),
                max_size=4), DURATION)  # fmt: skip
def test_segments_without_words_lose_nothing(segments: list[Segment], duration: float | None) -> None:
    text = "".join(segment.text for segment in segments)
    found = cues(transcript(text, segments=tuple(segments), duration=duration))
    check(found)
    assert shown(found) == solid(text)


@given(st.text(max_size=300), DURATION, st.sampled_from([None, "en", "ja"]))
def test_text_alone_loses_nothing(text: str, duration: float | None, language: str | None) -> None:
    found = cues(transcript(text, duration=duration, language=language))
    check(found)
    assert shown(found) == solid(text)


@given(DEFECTIVE, st.integers(1, 12), st.integers(1, 4), st.floats(0, 3), st.floats(0.001, 3), st.floats(0, 3),
       st.none() | st.integers(1, 4), st.booleans())  # fmt: skip
def test_every_word_is_shown_under_any_rules(
    words: list[Word], line: int, count: int, shortest: float, longest: float, gap: float, most: int | None, whole: bool
) -> None:
    text = " ".join(word.word for word in words)
    rules = Rules(line, count, shortest, longest, gap, max_words_per_line=most, sentences=whole)
    found = cues(transcript(text, words), rules)
    for line_of_words in (text.split() for cue in found for text in cue.lines):
        assert sum(any(map(str.isalnum, word)) for word in line_of_words) <= (most or math.inf)
    assert shown(found) == solid(text)
    assert all(cue.start < cue.end and 1 <= len(cue.lines) <= count for cue in found)
    assert all(cue.end <= following.start for cue, following in pairwise(found))
    assert all(text_width(text) <= line or split_word(text, line) == [text] for cue in found for text in cue.lines)


@st.composite
def sane(draw: st.DrawFn) -> Transcript:
    """Words as a good server sends them: rising times, at least 60 ms each, here and there a silence."""
    words, at = [], draw(st.integers(0, 3000))
    for spelling in draw(
        st.lists(st.sampled_from("a the I me and of word. words, went Mary Smith 12".split()), max_size=40)
    ):
        end = at + draw(st.integers(60, 600))
        words.append(Word(f" {spelling}", at / 1000, end / 1000))
        at = end + draw(st.sampled_from([0, 0, 0, 20, 300, 1200, 4000]))
    text = "".join(word.word for word in words)
    return transcript(text, words, duration=at / 1000 + draw(st.sampled_from([0, 0.5, 9])), language="en")


@given(sane())
def test_cues_of_plausible_words_keep_their_times(told: Transcript) -> None:
    found = cues(told)
    check(found)
    words = [(round((word.start or 0) * 1000), round((word.end or 0) * 1000)) for word in told.words or ()]
    firsts = [0]
    for cue in found:
        firsts.append(firsts[-1] + len(" ".join(cue.lines).split()))
    assert firsts[-1] == len(words)
    for cue, (first, behind) in zip(found, pairwise(firsts), strict=True):
        spoken_until = words[behind - 1][1]
        following = words[behind][0] if behind < len(words) else math.inf
        assert cue.start == words[first][0]
        assert cue.end <= spoken_until + 1500
        if following - cue.start > 83:
            assert cue.end <= following - 83
        # The words end, and time for reading ends, or else something stands in the way.
        wanted = max(
            spoken_until, cue.start + 1000 * max(RULES.min_cue, text_width(" ".join(cue.lines)) / RULES.max_cps)
        )
        limits = [spoken_until + 1500, following - 83, cue.start + 7000]
        assert cue.end >= min(wanted, *limits)


def test_same_words_give_the_same_cues() -> None:
    text = "So when we got to the top, he stopped the car, turned off the engine, and told me to look up."
    assert said(text) == said(text)


# The files, as other programs read them

LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
CUES = st.lists(
    st.builds(lambda start, length, lines: Cue(start, start + length, tuple(lines)), st.integers(0, 10**9),
              st.integers(1, 10**5), st.lists(LINE, min_size=1, max_size=2)), max_size=5,
)  # fmt: skip


def is_written(character: str) -> bool:
    """Whether files have a character: not those that control devices or the direction of text."""
    direction = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    is_control = unicodedata.category(character) == "Cc" or character in direction
    return character.isspace() or not is_control


def expected(found: Sequence[Cue]) -> list[tuple[int, int, list[str]]]:
    """Cues as a reader should see them: spaces collapsed, without control characters and empty lines."""
    tidy = [
        (cue.start, cue.end, [
            " ".join("".join(filter(is_written, line)).split())
            for line in cue.lines
        ])
        for cue in found
    ]  # fmt: skip
    tidy = [(start, end, [line for line in lines if line]) for start, end, lines in tidy]
    return [entry for entry in tidy if entry[2]]


@given(CUES)
def test_srt_library_reads_our_srt(found: list[Cue]) -> None:
    read = list(srt_library.parse(srt(found)))
    wanted = expected(found)
    assert [entry.index for entry in read] == list(range(1, len(wanted) + 1))
    for entry, (start, end, lines) in zip(read, wanted, strict=True):
        assert (entry.start.total_seconds() * 1000, entry.end.total_seconds() * 1000) == pytest.approx((start, end))
        alike = str.maketrans("‹›()∖", "<>{}\\")  # what looks like markup is written with characters that are none
        written = entry.content.translate(alike).replace("->", "")
        assert written == "\n".join(lines).translate(alike).replace("-->", "->").replace("->", "")


@given(CUES)
def test_pysubs2_reads_our_srt(found: list[Cue]) -> None:
    # Aegisub's tags and a last line of digits, which it takes for the next number, are pysubs2's own.
    table = str.maketrans("<>{}\\", "()()/")
    found = [
        replace(cue, end=cue.start + 7, lines=tuple(f"{line.translate(table)}x" for line in cue.lines)) for cue in found
    ]
    found = [replace(cue, start=cue.start % 359_999_000, end=cue.start % 359_999_000 + 7) for cue in found]
    read = pysubs2.SSAFile.from_string(srt(found), format_="srt") if found else []
    assert [(event.start, event.end, event.text.split("\\N")) for event in read] == expected(found)


@given(CUES, st.lists(LINE, max_size=3))
def test_webvtt_library_reads_our_vtt(found: list[Cue], notes: list[str]) -> None:
    read = webvtt.WebVTT.from_string(vtt(found, notes), strict=True)
    seen = [
        (round(caption.start_in_seconds * 1000), round(caption.end_in_seconds * 1000), html.unescape(caption.raw_text))
        for caption in read
    ]
    assert [(start // 1000, end // 1000, text) for start, end, text in seen] == [
        (start // 1000, end // 1000, "\n".join(lines)) for start, end, lines in expected(found)
    ]


@given(DEFECTIVE)
def test_files_of_any_words_can_be_read_and_written(words: list[Word]) -> None:
    found = cues(transcript(" ".join(word.word for word in words), words))
    assert len(list(srt_library.parse(srt(found)))) == len(found)
    assert len(webvtt.WebVTT.from_string(vtt(found), strict=True)) == len(found)
    assert "\r" not in srt(found) + vtt(found) and "\n\n\n" not in srt(found) + vtt(found)


def test_srt_matches_the_expected_file() -> None:
    found = [Cue(0, 1234, ("Hello,", "world.")), Cue(360_000_000, 363_723_004, ("a ---> b --> c", "\r\n", "\x07d\ne"))]
    assert srt(found) == (
        "1\n00:00:00,000 --> 00:00:01,234\nHello,\nworld.\n\n2\n100:00:00,000 --> 101:02:03,004\na -> b -> c\nd e\n"
    )
    assert srt([]) == srt([Cue(0, 1, ("\x00", " "))]) == ""


def test_vtt_matches_the_expected_file() -> None:
    found = [Cue(61_000, 3_723_004, ("Q&A --> <b>",))]
    assert vtt(found, ["made by\n\n00:01 --> 00:02", "", "x"]) == (
        "WEBVTT\n\nNOTE made by 00:01 -> 00:02\n\nNOTE x\n\n00:01:01.000 --> 01:02:03.004\nQ&amp;A --&gt; &lt;b&gt;\n"
    )
    assert vtt([]) == "WEBVTT\n"


def test_lone_surrogates_are_replaced() -> None:
    found = cues(transcript("a \ud800 b"))
    assert srt(found).encode() and vtt(found, ["\udfff"]).encode()
    assert "\ufffd" in srt(found)


# Times


def test_cue_starts_with_its_first_word_and_ends_with_time_to_read() -> None:
    told = transcript("Yes. No.", [Word("Yes.", 1.0, 1.2), Word("No.", 9.0, 9.2)], duration=20.0)
    assert cues(told) == [Cue(1000, 1834, ("Yes.",)), Cue(9000, 9834, ("No.",))]


def test_cue_stays_at_most_one_and_a_half_seconds_after_its_words() -> None:
    slow = [Word("Oh", 0.0, 0.1), Word("dear.", 0.1, 0.2)]
    assert cues(transcript("Oh dear.", slow), Rules(min_cue=5.0)) == [Cue(0, 1700, ("Oh dear.",))]


def test_short_gaps_are_closed_and_long_ones_are_kept() -> None:
    text = "This is one whole sentence of a certain length. And this is another one behind it, which is as long."
    for silence, gap in ((0.3, 83), (0.55, 550)):
        first, second = cues(transcript(text, spoken(text, 12.0, {"length.": silence})))
        assert second.start - first.end == pytest.approx(gap, abs=1)


def test_silence_divides_cues_within_a_sentence() -> None:
    assert said("And the winner is Maria.", silences={"is": 3.0}) == [("And the winner is",), ("Maria.",)]


def test_cue_of_a_too_long_word_has_the_maximum_duration() -> None:
    assert cues(transcript("Goal!", [Word("Goal!", 0.0, 30.0)])) == [Cue(0, 7000, ("Goal!",))]


def test_missing_times_are_interpolated_by_characters() -> None:
    words = [Word("aaaa", 0.0, 1.0), *(Word("b" * 9) for _ in range(3)), Word("cccc", 31.0, 32.0)]
    found = cues(transcript(" ".join(word.word for word in words), words))
    assert [cue.start for cue in found] == [0, 1000, 11000, 21000, 31000]


def test_one_implausible_time_affects_no_other() -> None:
    words = spoken("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen")
    for wrong in (1e6, 0.0, -3.0, math.inf, None):
        bent = [word._replace(start=wrong, end=wrong) if k == 4 else word for k, word in enumerate(words)]
        text = " ".join(word.word for word in words)
        assert cues(transcript(text, bent)) == cues(transcript(text, words))


def test_words_with_the_same_time_are_spread_to_the_next() -> None:
    words = [Word(f"word{k}", 0.0, 0.0) for k in range(40)] + [Word("end", 20.0, 20.5)]
    found = cues(transcript(" ".join(word.word for word in words), words))
    assert all(cue.end - cue.start > 1000 for cue in found)


def test_too_dense_words_keep_their_order() -> None:
    words = [Word("x" * 40, k / 1000, (k + 1) / 1000) for k in range(30)]
    found = cues(transcript(" ".join(word.word for word in words), words))
    check(found)
    assert shown(found) == "x" * 1200


def test_words_without_times_get_those_of_their_segments() -> None:
    text = "First sentence here. Second sentence, after a while."
    parts = (Segment(1.0, 3.0, text[:20], "server"), Segment(8.0, 10.0, text[20:], "server"))
    for words in (None, (), (Word(""),), tuple(Word(word) for word in text.split())):
        assert cues(transcript(text, words, segments=parts)) == [
            Cue(1000, 3000, ("First sentence here.",)),
            Cue(8000, 10000, ("Second sentence, after a while.",)),
        ]


def test_text_alone_is_spread_over_the_duration_or_at_fifteen_characters_per_second() -> None:
    text = " ".join(["word"] * 60)  # 299 characters
    assert cues(transcript(text, duration=60.0))[-1].end == 60_000
    assert cues(transcript(text))[-1].end == pytest.approx(299 / 15 * 1000, abs=80)
    assert cues(transcript("")) == cues(transcript(" \n", duration=3.0)) == cues(transcript("", [Word(" ")])) == []


# Words and the text around them


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("Hello world", ["Hello", "world"], "Hello world"),
        ("Hello-world", ["Hello", "-", "world"], "Hello-world"),
        ("Hello — world …", ["Hello", "world"], "Hello — world …"),
        ("“Hello,” he said.", ["Hello", "he", "said"], "“Hello,” he said."),
        ("He said « no » (twice).", ["He", "said", "no", "twice"], "He said « no » (twice)."),
        ("It's a word too few", ["It", "a", "few"], "It's a word too few"),
        ("Good day, world", ["Good", "dye", "world"], "Good day, world"),
        ("New York, NY", [" New York", " NY"], "New York, NY"),
        ("東京は暑い", ["東京", "は", "暑い"], "東京は暑い"),
        ("a b", ["b", "a"], "a b"),
    ],
)
def test_spaces_and_untimed_punctuation_come_from_the_text(text: str, words: list[str], line: str) -> None:
    timed = [Word(word, k / 5, k / 5 + 0.2) for k, word in enumerate(words)]
    assert [cue.lines for cue in cues(transcript(text, timed))] == [(line,)]


def test_opening_punctuation_begins_the_cue_of_its_word() -> None:
    words = [Word("Enough", 0.0, 0.5), Word("Never", 5.0, 5.5)]
    found = cues(transcript("Enough! « Never!", words))
    assert [(cue.start, cue.lines) for cue in found] == [(0, ("Enough!",)), (5000, ("« Never!",))]


# A subtitler's eye

STORY = """So, when I was twelve years old, my father took me to the observatory on Mount Wilson. We drove up in the
dark, and I remember the headlights sweeping across the trees. But when we got to the top, he stopped the car, turned
off the engine, and told me to look up. I'd never seen so many stars in my life. It was as if somebody had spilled a bag
of salt across a black tablecloth. Edwin Hubble had worked in that very building in the nineteen twenties, together with
Milton Humason, who had started out as a mule driver. Between them they measured the distances to 46 galaxies, and what
they found changed our picture of the universe forever: the farther away a galaxy was, the faster it was moving away
from us. Nobody had expected this. Not even Albert Einstein, who had added a constant to his equations in order to keep
the universe still. He later called it the biggest blunder of his career."""


def test_short_cue_is_one_line() -> None:
    assert said("The quick brown fox jumps over the old dog") == [("The quick brown fox jumps over the old dog",)]


def test_two_lines_are_balanced_and_break_before_a_preposition() -> None:
    assert said("The children were playing football with the neighbours.") == [
        ("The children were playing football", "with the neighbours."),
    ]


def test_line_breaks_after_a_clause() -> None:
    assert said("When the rain finally stopped, everybody went outside.") == [
        ("When the rain finally stopped,", "everybody went outside."),
    ]


SET = """So, when I was twelve years old,

my father took me
to the observatory on Mount Wilson.

We drove up in the dark, and I remember
the headlights sweeping across the trees.

But when we got to the top,
he stopped the car, turned off the engine,

and told me to look up.

I'd never seen so many stars in my life.

It was as if somebody had spilled
a bag of salt across a black tablecloth.

Edwin Hubble had worked in that very
building in the nineteen twenties,

together with Milton Humason,
who had started out as a mule driver.

Between them they measured
the distances to 46 galaxies,

and what they found changed
our picture of the universe forever:

the farther away a galaxy was,
the faster it was moving away from us.

Nobody had expected this.

Not even Albert Einstein,

who had added a constant to his equations
in order to keep the universe still.

He later called it the biggest
blunder of his career."""


def test_story_is_divided_as_a_subtitler_would() -> None:
    """A change of prices may change this. Then look whether it has become better."""
    found = said(STORY, rate=15.0, silences={word: 0.8 for word in STORY.split() if word.endswith("e.")})
    assert "\n\n".join("\n".join(cue) for cue in found) == SET


@pytest.mark.parametrize("rate", [10.0, 14.0, 18.0])
@pytest.mark.parametrize("seed", range(5))
def test_phrases_are_not_divided(rate: float, seed: int) -> None:
    luck = random.Random(seed)
    silences = {word: luck.uniform(0.1, 0.6) for word in STORY.split() if word[-1] in ".,:"}
    found = said(STORY, rate=rate, silences=silences)
    lines = [line for cue in found for line in cue]
    for line in lines:
        assert line.split()[-1].casefold() not in {"a", "the", "my", "our", "his", "i", "he", "they", "and", "of", "to"}
    for name in ("Mount Wilson", "Edwin Hubble", "Milton Humason", "Albert Einstein", "told me", "from us"):
        assert any(name in line for line in lines), name
    assert all(len(" ".join(cue).split()) > 1 for cue in found)


def test_no_cue_has_a_stray_word() -> None:
    found = said("We had been walking along the river for more than three hours when it began to rain heavily again.")
    assert len(found) == 2 and all(len(" ".join(cue).split()) > 3 for cue in found)


def test_short_sentences_share_a_cue_unless_silence_parts_them() -> None:
    assert said("Do you? Yes. I do.") == [("Do you? Yes. I do.",)]
    assert said("Do you? Yes. I do.", silences={"you?": 4.0}) == [("Do you?",), ("Yes. I do.",)]


def test_a_cue_ends_with_its_sentence_rather_than_begin_the_next() -> None:
    assert said(
        "They had all gone home before it was dark. I stayed behind and looked for the key until midnight."
    ) == [
        ("They had all gone home before it was dark.",),
        ("I stayed behind and looked", "for the key until midnight."),
    ]


def test_titles_and_initials_do_not_end_a_sentence() -> None:
    for line in ("Then Dr. Hubble and his friend J. Smith", "Yesterday evening they called for Mr. Smith"):
        found = said(f"{line} came along, and we all went up the hill to the old observatory together.")
        assert not any(part.endswith(("Dr.", "Mr.", "J.")) for cue in found for part in cue)


@pytest.mark.parametrize(("code", "names"), [("en", ("english", "eng", "en_US")), ("de", ("German", "deu", "ger"))])
def test_language_may_be_named_in_full_or_by_three_letters(code: str, names: tuple[str, ...]) -> None:
    text = {"en": STORY, "de": GERMAN}[code]
    assert all(said(text, name) == said(text, code) for name in names)


GERMAN = """Als ich zwölf Jahre alt war, fuhr mein Vater mit mir zur Sternwarte auf dem Königstuhl. Wir fuhren im
Dunkeln den Berg hinauf, und ich weiß noch, wie die Scheinwerfer über die Bäume strichen. Oben hielt er an, machte
den Motor aus und sagte mir, ich solle nach oben schauen. Noch nie hatte ich so viele Sterne gesehen. Die
Bundesregierung hat am Mittwoch beschlossen, dass die Verordnung über die Gebäudeenergieversorgung erst im kommenden
Jahr in Kraft tritt. Frau Dr. Annegret Meier sagte uns, dass sie sich darüber sehr gefreut habe, obwohl sie es sich
anders gewünscht hätte."""

FRENCH = """Quand j'avais douze ans, mon père m'a emmené à l'observatoire du mont Wilson. Nous sommes montés dans la
nuit, et je me souviens des phares qui balayaient les arbres. Mais quand nous sommes arrivés en haut, il a arrêté la
voiture, il a coupé le moteur et il m'a dit de regarder le ciel. Je n'avais jamais vu autant d'étoiles de ma vie. Le
président de la République a annoncé hier que la réforme ne serait pas votée avant la fin de l'année, parce que les
députés ne se sont pas mis d'accord sur le texte. Est-ce que vous le saviez ? Non, je ne le savais pas."""

SPANISH = """Cuando yo tenía doce años, mi padre me llevó al observatorio del monte Wilson. Subimos en la oscuridad,
y recuerdo los faros que barrían los árboles. Pero cuando llegamos arriba, paró el coche, apagó el motor y me dijo
que mirara hacia el cielo. Nunca había visto tantas estrellas en mi vida. El presidente del Gobierno anunció ayer
que la reforma no se votará antes de que termine el año, porque los diputados no se han puesto de acuerdo sobre el
texto. ¿Lo sabía usted?"""


@pytest.mark.parametrize("rate", [11.0, 15.0, 19.0])
@pytest.mark.parametrize(
    ("language", "text", "never_last", "together"),
    [
        ("en", STORY, "a the my our his i he they and of to us in", "Mount Wilson,Edwin Hubble,told me,from us"),
        ("de", GERMAN, "der die das den dem im in am zur auf über ich er wir und dass wie mein frau dr. hatte hat",
         "fuhr mein,hielt er,hatte ich,Annegret Meier,sagte uns,die Bäume"),
        ("fr", FRENCH, "le la les des du de mon ma un une il je nous et que à en sur ne se m'a a n'avais",
         "mont Wilson,mon père,il a arrêté,m'a emmené,la République,ma vie,pas mis"),
        ("es", SPANISH, "el la los las del de mi un una yo y que en al no se me había han tantas",
         "monte Wilson,mi padre,los árboles,el cielo,había visto,han puesto"),
    ],
)  # fmt: skip
def test_phrases_are_not_divided_in_any_language(
    language: str, text: str, never_last: str, together: str, rate: float
) -> None:
    found = said(text, language, rate=rate, silences={word: 0.4 for word in text.split() if word[-1] in ".?"})
    lines = [line for cue in found for line in cue]
    assert not [line for line in lines if line.split()[-1].casefold() in never_last.split()]
    assert not [pair for pair in together.split(",") if not any(pair in line for line in lines)]
    assert all(len(" ".join(cue).split()) > 1 for cue in found)
    assert shown([Cue(0, 1, cue) for cue in found]) == solid(text)


def test_two_lines_have_similar_widths_unless_a_clause_ends() -> None:
    for text, language in ((STORY, "en"), (GERMAN, "de"), (FRENCH, "fr"), (SPANISH, "es")):
        pairs = [cue for cue in said(text, language, rate=15.0) if len(cue) == 2]
        shares = [min(map(text_width, pair)) / sum(map(text_width, pair)) for pair in pairs]
        assert sum(shares) / len(shares) > 0.4
        assert min(shares) > 0.15


def test_no_word_is_separated_from_its_sentence() -> None:
    text = "Thanks for having me. So, tell me what happens when we don't sleep for a night or two. Well, quite a lot."
    found = said(text, rate=13.0)
    assert " ".join(map(" ".join, found)) == text
    for cue in found:
        for line in cue:
            assert not line.endswith((" So,", " Well,"))
            assert not line.startswith(("two.", "lot."))


def test_two_sentences_share_a_cue_only_if_the_line_breaks_between_them_or_not_at_all() -> None:
    silences = {word: 0.3 for word in STORY.split() if word[-1] == "."}
    found = said(STORY, rate=14.0, silences=silences)
    assert " ".join(map(" ".join, found)) == " ".join(STORY.split())
    for cue in found:
        inner = " ".join(cue)[:-1]
        assert ". " not in inner or len(cue) == 1 or cue[0].endswith(".")


def test_preposition_between_two_nouns_is_an_ordinary_break() -> None:
    assert said("and it looks through all of them in the background.") == [
        ("and it looks through all of them", "in the background."),
    ]


def test_japanese_breaks_at_its_punctuation_and_counts_wide_characters() -> None:
    text = "昨日から降り続いている雨は、明日の朝までに止む見込みです。" + (
        "気温は平年より少し低く、「寒い」と感じる人もいるでしょう。"
    )
    found = cues(transcript(text, duration=14.0, language="ja"))
    check(found)
    assert [cue.lines for cue in found] == [
        ("昨日から降り続いている雨は、", "明日の朝までに止む見込みです。"),
        ("気温は平年より少し低く、", "「寒い」と感じる人もいるでしょう。"),
    ]


@pytest.mark.parametrize("text", ["東京都" * 40, "สวัสดีครับ" * 30, "한국어" * 40])
def test_scripts_without_spaces_fill_their_lines(text: str) -> None:
    found = cues(transcript(text, duration=text_width(text) / 12))
    check(found)
    assert shown(found) == text
    assert len(found) <= text_width(text) / 84 + 3


def test_thai_and_chinese_break_at_spaces_and_punctuation_never_within_a_syllable() -> None:
    thai = "สวัสดีครับ วันนี้เราจะมาพูดคุยกันเกี่ยวกับการเดินทางไปยังประเทศญี่ปุ่นในช่วงฤดูใบไม้ผลิ ซึ่งเป็นช่วงเวลาที่ดอกซากุระบานสะพรั่งทั่วทั้งประเทศ"
    found = cues(transcript(thai, duration=9.0, language="th"))
    check(found)
    assert [line for cue in found for line in cue.lines] == [
        "สวัสดีครับ วันนี้เราจะมาพูดคุยกัน",
        "เกี่ยวกับการเดินทางไปยังประเทศญี่ปุ่นในช่วงฤดูใบไม้ผลิ",
        "ซึ่งเป็นช่วงเวลาที่ดอกซากุระบานสะพรั่งทั่วทั้งประเทศ",
    ]
    chinese = "我们都觉得这部电影非常感人,虽然有些地方拍得太长了,但是演员们的表演真的很好。"
    found = cues(transcript(chinese, duration=6.0, language="zh"))
    check(found)
    assert [line for cue in found for line in cue.lines] == [
        "我们都觉得这部电影非常感人,", "虽然有些地方拍得太长了,", "但是演员们的表演真的很好。",
    ]  # fmt: skip


def test_traditional_chinese_breaks_where_simplified_chinese_does() -> None:
    simplified = "昨天晚上在学校旁边的书店里遇见了以前的老师们并且告诉他们自己已经看过那本书了吗"
    traditional = "昨天晚上在學校旁邊的書店裡遇見了以前的老師們並且告訴他們自己已經看過那本書了嗎"
    lines = [
        [line for cue in cues(transcript(text, duration=9.0, language="zh")) for line in cue.lines]
        for text in (simplified, traditional)
    ]
    assert [len(line) for line in lines[0]] == [len(line) for line in lines[1]] == [20, 19]


def test_server_words_of_scripts_without_spaces_are_not_divided() -> None:
    said = ["今天", "天气", "很好", "我们", "决定", "一起", "去", "公园", "散步", "然后", "回家", "吃饭", "看", "电视"]
    words = [Word(word, k / 2, k / 2 + 0.4) for k, word in enumerate(said * 2)]
    found = cues(transcript("".join(said * 2), words, language="zh"))
    assert "".join(line for cue in found for line in cue.lines) == "".join(said * 2)
    for cue in found:
        rest = iter(said * 4)
        for line in cue.lines:
            while line:
                line = line.removeprefix(next(word for word in rest if line.startswith(word)))


def test_word_wider_than_two_lines_is_divided_without_loss() -> None:
    word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
    found = cues(transcript(f"Die {word} tagt.", spoken(f"Die {word} tagt.")))
    check(found)
    assert shown(found) == f"Die{word}tagt."


def test_marks_stay_with_their_letters() -> None:
    assert split_word("e\u0301a👩‍👩‍👧", 1) == ["e\u0301", "a", "👩‍👩‍👧"]
    found = cues(transcript("e\u0301" * 50))
    assert all(not unicodedata.combining(line[0]) for cue in found for line in cue.lines)


def test_right_to_left_text_is_unchanged() -> None:
    text = "שלום לכולם, מה שלומכם היום?"
    assert said(text, "he") == [(text,)]


def test_right_to_left_text_keeps_its_order_and_its_marks() -> None:
    text = "\u200fقَالَ الرَّجُلُ إِنَّهُ سَيَعُودُ غَدًا، وَلَكِنَّهُ لَمْ يَعُدْ أَبَدًا.\u200f هَلْ تَعْرِفُ لِمَاذَا؟ שָׁלוֹם לכולם, מה שלומכם היום (42%)?"
    found = cues(transcript(text, spoken(text), language="ar"))
    check(found)
    assert " ".join(line for cue in found for line in cue.lines) == text
    assert "\u200f" in srt(found) and "\u200f" in vtt(found)


def test_combining_marks_have_no_width() -> None:
    assert text_width("e\u0301\u200f") == 1 and text_width("東é") == 3 and text_width("ที่") == 1


def test_max_words_per_line_is_kept() -> None:
    found = cues(transcript(STORY, spoken(STORY)), Rules(max_words_per_line=3))
    check(found)
    assert max(len(line.split()) for cue in found for line in cue.lines) == 3
    shorts = cues(transcript(STORY, spoken(STORY)), PROFILES["shorts"])
    assert all(len(cue.lines) == 1 and len(cue.lines[0].split()) <= 4 for cue in shorts)


def test_profile_none_makes_a_cue_of_each_sentence() -> None:
    words = spoken(STORY, silences={word: 0.4 for word in STORY.split() if word[-1] == "."})
    found = cues(transcript(STORY, words), PROFILES["none"])
    assert [cue.lines[0][-1] for cue in found] == ["."] * STORY.count(".")
    ends = {round((word.end or 0) * 1000) for word in words}
    assert all(len(cue.lines) == 1 and any(abs(cue.end - end) <= 1 for end in ends) for cue in found)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_keeps_its_limits_if_the_words_allow(profile: str) -> None:
    rules = PROFILES[profile]
    words = spoken(STORY, rate=9.0, silences={word: 0.5 for word in STORY.split() if word[-1] in ".,"})
    found = cues(transcript(STORY, words), rules)
    check(found, rules)
    gap = round(rules.min_gap * 1000)
    for a, b in pairwise(found):  # closed, or long enough, or else the cue could not stay any longer
        assert b.start - a.end in (gap, gap + 1) or b.start - a.end >= rules.chain * 1000 - 1 or a.end == a.start + 7000
    for cue in found:
        if profile != "shorts":  # there, lines of four words at most go as fast as they are said
            assert cue.end - cue.start >= min(rules.min_cue, 7) * 1000
            assert text_width(" ".join(cue.lines)) / rules.max_cps * 1000 <= cue.end - cue.start + 1


def test_line_width_and_count_follow_the_rules() -> None:
    rules = Rules(max_line_width=32, max_line_count=3)
    found = cues(transcript(STORY, spoken(STORY)), rules)
    check(found, rules)
    assert max(len(cue.lines) for cue in found) == 3
    check(cues(transcript(STORY, spoken(STORY)), Rules(max_line_count=1)), Rules(max_line_count=1))


# Times that had to be estimated


def with_defects(words: Sequence[Word], *, seed: int = 0) -> list[Word]:
    """Words as a bad server sends them: some without times, backwards, on top of each other, beyond the end."""
    luck, bent = random.Random(seed), []
    for word in words:
        start, end = word.start or 0.0, word.end or 0.0
        match luck.randrange(12):
            case 0:
                bent.append(Word(word.word))
            case 1:
                bent.append(Word(word.word, end, start))
            case 2:
                bent.append(Word(word.word, start, start))
            case 3:
                bent.append(Word(word.word, start, None))
            case 4:
                bent.append(Word(word.word, start, end + 0.4))
            case 5:
                bent.append(Word(word.word, 1e5, 2e5))
            case _:
                bent.append(word)
    return bent


@given(DEFECTIVE, DURATION, st.sampled_from(["", " "]))
def test_saved_json_gives_the_same_subtitles(words: list[Word], duration: float | None, blank: str) -> None:
    text = blank.join(word.word for word in words)
    for told in (
        transcript(text, words, duration=duration),
        from_batch(BatchResponse(text=text, words=tuple(words), duration=duration), source="-", model="m"),
        from_batch(BatchResponse(text=text, duration=duration), source="-", model="m"),
    ):
        shown_first, shown_again = cues(told), cues(reread(told))
        assert srt(shown_first) == srt(shown_again)
        assert vtt(shown_first, highlight_words=True) == vtt(shown_again, highlight_words=True)


def test_cue_knows_whether_its_times_are_estimated() -> None:
    words = spoken(STORY, silences={word: 0.8 for word in STORY.split() if word[-1] == "."})
    assert not any(cue.estimated for cue in cues(transcript(STORY, words)))
    assert all(cue.estimated for cue in cues(transcript(STORY, duration=60.0)))
    found = cues(transcript(STORY, with_defects(words)))
    assert 0 < sum(cue.estimated for cue in found) < len(found)
    short = Segment(1.0, 2.5, "One sentence.", "audio")
    assert [cue.estimated for cue in cues(transcript(short.text, segments=(short,)))] == [False]
    assert [cue.estimated for cue in cues(transcript(short.text, segments=(short._replace(timing="estimated"),)))] == [
        True
    ]


def test_vtt_notes_estimates_before_the_first_and_once() -> None:
    sure, guess = Cue(0, 900, ("a",)), Cue(1000, 1900, ("b",), estimated=True)
    assert vtt([sure, guess, guess], ["talk.wav, ink-2"]) == (
        "WEBVTT\n\nNOTE talk.wav, ink-2\n\n00:00:00.000 --> 00:00:00.900\na\n\n"
        "NOTE times within the text are estimated\n\n"
        "00:00:01.000 --> 00:00:01.900\nb\n\n00:00:01.000 --> 00:00:01.900\nb\n"
    )
    assert "estimated" not in vtt([sure])
    assert len(webvtt.WebVTT.from_string(vtt([sure, guess]), strict=True)) == 2


def test_vtt_notes_estimated_word_times_if_words_are_highlighted() -> None:
    told = transcript("One two. Three four.", segments=(Segment(0.0, 2.0, "One two. Three four.", "audio"),))
    note = "NOTE times within the text are estimated\n"
    highlighted = vtt(cues(told), highlight_words=True)
    assert (
        highlighted.startswith(f"WEBVTT\n\n{note}\n00:00:00.000 --> 00:00:02.000\nOne <00:00:0")
        and highlighted.count("<") == 3
    )
    assert note not in vtt(cues(told))  # where they are not written
    sure = transcript("One two.", [Word("One", 0.0, 0.4), Word("two.", 0.5, 1.0)])
    assert note not in vtt(cues(sure), highlight_words=True)
    alone = transcript("One.", segments=(Segment(0.0, 2.0, "One.", "audio"),))
    assert note not in vtt(cues(alone), highlight_words=True)
    parts: list[str] = []
    live = CueStream("vtt", Layout(highlight_words=True), parts.append, "talk.wav", "ink-2")
    live.write(told.segments[0])
    live.write(told.segments[0])
    assert "".join(parts).count(note) == 1


@pytest.mark.parametrize("kept", ["srt", "vtt"])
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 6), st.sampled_from([STORY[:30], STORY[:200], "Yes.", " "]))))
def test_live_file_has_its_cues_and_gaps(kept: str, steps: list[tuple[float, float, str]]) -> None:
    parts: list[str] = []
    live = CueStream(kept, Layout(crlf=True), parts.append, "talk.wav", "ink-2")
    at = 0.0
    for silence, length, text in steps:
        at += silence
        live.write(Segment(at, at + length, text, "audio"))
        at += length
    live.close(transcript(""), {})
    text = "".join(parts)
    if kept == "srt":
        read = [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in srt_library.parse(text)]
        assert "\n" not in text.replace("\r\n", "")
    else:
        read = [(c.start_in_seconds, c.end_in_seconds) for c in webvtt.WebVTT.from_string(text, strict=True)]
        assert text.startswith("WEBVTT\n\nNOTE talk.wav, ink-2\n") and text.count("WEBVTT") == 1
    if kept == "srt":
        shown = "".join(cue.content for cue in srt_library.parse(text))
        assert "".join(shown.split()) == "".join("".join(text for _, _, text in steps).split())
        assert all(b[0] - a[1] > 0.0825 for a, b in pairwise(read))


def test_live_cue_follows_the_rules_and_starts_after_the_previous_one() -> None:
    parts: list[str] = []
    live = CueStream("vtt", Layout(rules=Rules(max_line_width=20), highlight_words=True), parts.append, "-", "m")
    live.write(Segment(0.0, 0.3, "A sentence that needs time to be read.", "audio"))
    live.write(Segment(0.4, 0.8, "Yes.", "audio"))
    live.close(transcript(""), {})
    captions = webvtt.WebVTT.from_string("".join(parts), strict=True)
    assert all(len(line) <= 20 for caption in captions for line in caption.text.splitlines())
    assert captions[-1].text == "Yes."
    assert captions[-1].start_in_seconds > 0.4  # the first is still being read
    assert captions[-1].end_in_seconds - captions[-1].start_in_seconds > 0.8
    assert "NOTE times within the text are estimated" in "".join(parts)


def test_live_cues_of_utterances_in_quick_succession_can_be_read() -> None:
    parts: list[str] = []
    live = CueStream("srt", Layout(), parts.append, "talk.wav", "ink-2")
    said = ["Yes.", " No.", " Yes.", " No.", " Yes.", " Stop."]
    for k, text in enumerate(said):
        live.write(Segment(0.4 * k, 0.3 + 0.4 * k, text, "audio"))
    assert "Stop." not in "".join(parts)
    live.advance(2.9)  # when its cue can follow the last one
    read = [*srt_library.parse("".join(parts))]
    assert " ".join(cue.content for cue in read) == "".join(said)
    assert all((cue.end - cue.start).total_seconds() >= 5 / 6 for cue in read)
    assert read[-1].start.total_seconds() <= 2.9


# Words that light up, and line ends


def test_highlighted_words_have_their_times() -> None:
    words = [Word("One", 1.0, 1.2), Word("<two>", 1.5, 1.7), Word("three.", 2.0, 2.4)]
    found = cues(transcript("One <two> three.", words))
    assert vtt(found, highlight_words=True) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.400\nOne <00:00:01.500>&lt;two&gt; <00:00:02.000>three.\n"
    )
    assert vtt(found) == "WEBVTT\n\n00:00:01.000 --> 00:00:02.400\nOne &lt;two&gt; three.\n"


@given(DEFECTIVE, DURATION)
def test_highlighting_changes_no_text_and_its_times_rise_within_the_cue(
    words: list[Word], duration: float | None
) -> None:
    found = cues(transcript(" ".join(word.word for word in words), words, duration=duration))
    plain, highlighted = vtt(found), vtt(found, highlight_words=True)
    stamp = re.compile(r"<(\d\d+):(\d\d):(\d\d)\.(\d{3})>")
    note = f"NOTE {ESTIMATED_NOTE}\n\n"  # where only the times within cues are
    assert stamp.sub("", highlighted).replace(note, "") == plain.replace(note, "")
    assert [caption.text for caption in webvtt.WebVTT.from_string(highlighted, strict=True)] == [
        caption.text for caption in webvtt.WebVTT.from_string(plain, strict=True)
    ]
    blocks = [block for block in highlighted.split("\n\n") if " --> " in block]
    for cue, block in zip(found, blocks, strict=True):
        times = [((int(h) * 60 + int(m)) * 60 + int(s)) * 1000 + int(ms) for h, m, s, ms in stamp.findall(block)]
        assert all(a < b for a, b in pairwise([cue.start, *times, cue.end]))


def test_crlf_ends_every_line() -> None:
    found = [Cue(0, 1, ("a", "b")), Cue(2, 3, ("c",))]
    assert srt(found, crlf=True) == srt(found).replace("\n", "\r\n")
    assert [cue.content for cue in srt_library.parse(srt(found, crlf=True))] == ["a\nb", "c"]


def test_layout_options_reach_the_writers() -> None:
    told = transcript(STORY, spoken(STORY))
    layout = Layout(rules=PROFILES["shorts"], crlf=True, highlight_words=True)
    assert writer("srt")(told, layout) == srt(cues(told, PROFILES["shorts"]), crlf=True)
    assert writer("vtt")(told, layout) == vtt(cues(told, PROFILES["shorts"]), ["stdin, ink-2"], highlight_words=True)
    assert writer("srt")(told, Layout()) == srt(cues(told))


@pytest.mark.parametrize("name", ["talk.srt", "talk.crlf.srt", "talk.vtt"])
def test_ffmpeg_reads_and_burns_subtitles_without_warnings(name: str, tmp_path: Path) -> None:
    program = require_program("ffmpeg")
    text = f"{STORY[:300]} Q&A <b>--></b> 東京 «é» {{\\an8}}"
    words = spoken(text)
    found = cues(transcript(text, [*words[:20], *map(Word, text.split()[20:])]))
    content = vtt(found, ["talk.wav, m"], highlight_words=True) if name.endswith("vtt") else ""
    (tmp_path / name).write_bytes((content or srt(found, crlf="crlf" in name)).encode())

    def ffmpeg(*options: str) -> bytes:
        command = [program, "-v", "warning", "-nostdin", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    read = pysubs2.SSAFile.from_string(ffmpeg("-i", name, "-f", "ass", "-").decode(), format_="ass")
    assert len(read) == len(found)
    assert all(abs(event.start - cue.start) <= 10 for event, cue in zip(read, found, strict=True))
    color = "color=size=160x90:rate=2:duration=2"
    ffmpeg("-f", "lavfi", "-i", color, "-vf", f"subtitles={name}", "-f", "null", "-")


# Long


@pytest.mark.waits
def test_hundred_thousand_words_with_every_defect_are_shown() -> None:
    text = " ".join([STORY] * 700)
    silences = {word: 0.4 for word in STORY.split() if word[-1] in ".,"}
    words = with_defects(spoken(text, silences=silences))
    assert len(words) > 100_000
    found = cues(transcript(text, words, duration=words[-1].end, language="en"))
    check(found)
    assert shown(found) == solid(text)
    assert len(list(srt_library.parse(srt(found)))) == len(found)


def test_long_text_with_unrelated_words_is_shown() -> None:
    words = [Word(f"w{k}", k / 3, k / 3 + 0.3) for k in range(20_000)]
    found = cues(transcript("Lorem ipsum dolor. " * 8000, words))
    assert shown(found) == "Loremipsumdolor." * 8000


def test_pronoun_before_a_verb_is_its_subject_and_after_it_its_object() -> None:
    found = said(
        "Somebody told you about all of this. On the left you can see the names of all who came along.", rate=13
    )
    lines = [line for cue in found for line in cue]
    assert any("told you" in line for line in lines)
    assert any("you can see" in line for line in lines)
