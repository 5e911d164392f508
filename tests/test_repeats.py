"""Text that is heard a second time: which of its words are new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.tracker.repeats import Repeat, repeated, tokenize, words_of


@pytest.mark.parametrize(
    ("heard", "again", "expected"),
    [
        # all of it, its end, or a part that does not reach the end
        ("one two three", "one two three", Repeat(3, True)),
        ("one two three", "three four", Repeat(1, True)),
        ("one two three", "two", Repeat(1, False)),
        ("one two three", "two three four five", Repeat(2, True)),
        # nothing of it
        ("one two three", "four five", None),
        ("", "one", None),
        ("one", "", None),
        # heard otherwise: a word spelled otherwise, one that lost its beginning, one more, one less
        ("and then okay", "then OK", Repeat(2, True)),
        ("I went to the station", "ent to the station today", Repeat(4, True)),
        ("one two three four", "two three a four five", Repeat(4, True)),
        ("one two three four", "two four five", Repeat(2, True)),
        # in doubt there is more to come that repeats
        ("one two one", "one", Repeat(1, False)),
        ("one two one", "one two", Repeat(2, False)),
        ("one two one", "one five", Repeat(1, True)),
        # numbers that look alike are others
        ("115", "116", None),
        ("你好世界", "世界和平", Repeat(2, True)),
    ],
)
def test_repeated_words_are_recognized(heard: str, again: str, expected: Repeat | None) -> None:
    assert repeated(words_of(heard), words_of(again)) == expected


@pytest.mark.parametrize(
    ("expected", "again", "result"),
    [
        (range(0, 1), "no no", Repeat(2, False)),
        (range(2, 3), "no", Repeat(1, False)),
        (range(2, 3), "no no", Repeat(2, True)),
        (range(2, 3), "no no no", Repeat(2, True)),
        (range(1, 2), "no no no yes", Repeat(3, True)),
        (range(3, 4), "no no no yes", Repeat(1, True)),
    ],
)
def test_repeated_words_are_matched_where_they_are_expected(expected: range, again: str, result: Repeat) -> None:
    assert repeated(words_of("no no no no"), words_of(again), expected) == result


def test_a_chorus_that_is_sung_again_is_new() -> None:
    heard = words_of("one two three " * 4)
    assert repeated(heard, words_of("one two three one two three"), range(9, 10)) == Repeat(3, True)


def test_rare_words_count_for_more_than_the_place() -> None:
    assert repeated(words_of("a b c d e f"), words_of("d e f g"), range(6, 7)) == Repeat(3, True)


@given(st.lists(st.integers(0, 999), unique=True, min_size=2), st.data())
def test_what_follows_upon_distinct_words_is_new(numbers: list[int], data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(numbers)))
    start = data.draw(st.integers(0, end - 1))
    heard, again = [*map(str, numbers[:end])], [*map(str, numbers[start:])]
    assert repeated(heard, again) == Repeat(end - start, True)


def test_tokens_end_after_their_punctuation() -> None:
    text = " Well, it's 5.30 — “now”!"
    assert [token.word for token in tokenize(text)] == ["well", "it's", "5", "30", "now"]
    assert text[: tokenize(text)[0].end] == " Well,"
    assert tokenize(text)[-1].end == len(text)
