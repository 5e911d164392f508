"""The growing text of an utterance: what was said is never unsaid, whatever the recogniser thinks next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.server.stable_text import StableText


def words(text: str) -> list[str]:
    return [f" {word}" for word in text.split()]


def test_a_word_goes_out_when_four_hearings_agree_on_it_and_two_words_follow_it() -> None:
    text = StableText()
    assert text.update(words("the")) == ""
    assert text.update(words("the fairy")) == ""
    assert text.update(words("the ferry leaves")) == ""
    assert text.update(words("the ferry leaves at")) == " the"
    assert text.update(words("the ferry leaves at seven")) == ""
    assert text.update(words("the ferry leaves at seven in")) == " ferry leaves"
    assert text.settle(words("The ferry leaves at seven in it.")) == " at seven in it."
    assert text.said == " the ferry leaves at seven in it."


def test_a_word_that_the_recogniser_is_sure_of_goes_out_at_once_when_two_words_follow_it() -> None:
    text = StableText()
    assert text.update(words("the ferry"), [0.99, 0.99]) == ""
    assert text.update(words("the ferry leaves at"), [0.99, 0.9, 0.99, 0.99]) == " the ferry"
    assert text.update(words("the ferry leaves at seven in"), [0.99, 0.2, 0.99, 0.3, 0.9, 0.9]) == ""


def test_sureness_and_agreement_carry_each_other_on() -> None:
    text = StableText()
    for _ in range(3):
        assert text.update(words("the ferry leaves at seven"), [0.5, 0.9, 0.9, 0.9, 0.9]) == ""
    assert text.update(words("the ferry leaves at seven in it"), [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]) == (
        " the ferry leaves at seven"
    )


def test_punctuation_at_the_end_waits_until_something_follows_it() -> None:
    text = StableText()
    assert text.pause(words("Hello, world.")) == " Hello, world"
    assert text.pause(words("Hello, world. And more.")) == ". And more"
    assert text.settle(words("Hello, world. And more!")) == "!"
    assert text.said == " Hello, world. And more!"


def test_punctuation_that_is_gone_again_leaves_nothing_behind() -> None:
    text = StableText()
    assert text.pause(words("I went to.")) == " I went to"
    assert text.settle(words("I went to the shop.")) == " the shop."


def test_a_changed_mind_about_what_was_said_neither_loses_nor_doubles_what_follows() -> None:
    text = StableText()
    text.pause(words("the quick brown fox"))
    assert text.settle(words("the quick round fox jumps over")) == " jumps over"
    text = StableText()
    text.pause(words("the quick brown fox"))
    assert text.settle(words("a quick and brown fox jumps")) == " jumps"


def test_what_settles_is_over_and_the_next_hearing_begins_anew() -> None:
    text = StableText()
    assert text.settle(words("One two.")) == " One two."
    assert text.settle(words("One two.")) == " One two."
    assert text.said == " One two. One two."


def test_what_was_said_beyond_a_cut_is_not_said_again() -> None:
    text = StableText()
    for _ in range(4):
        text.update(words("one two three four five six seven"))
    assert text.said == " one two three four five"
    assert text.cut(words("one two three.")) == ""
    assert text.settle(words("four five six seven")) == " six seven"
    assert text.said == " one two three four five six seven"


def test_what_was_not_said_before_a_cut_is_said() -> None:
    text = StableText()
    text.pause(words("one"))
    assert text.cut(words("one two three.")) == " two three"
    assert text.settle(words("four")) == " four"


HEARINGS = st.lists(
    st.tuples(
        st.sampled_from(["hear", "pause", "cut", "settle"]), st.lists(st.sampled_from([" a", " b.", " c,", " D", " ."]))
    )
)


@given(HEARINGS)
def test_the_text_only_ever_grows(hearings: list[tuple[str, list[str]]]) -> None:
    text = StableText()
    for kind, heard in hearings:
        before = text.said
        fresh = getattr(text, kind)(heard)
        assert text.said == before + fresh


@given(st.lists(st.sampled_from([" one", " two,", " three.", " Four"]), min_size=1))
def test_one_hearing_settled_is_that_hearing_verbatim(heard: list[str]) -> None:
    text = StableText()
    text.update(heard[: len(heard) // 2])
    text.update(heard[: len(heard) // 2])
    text.settle(heard)
    assert text.said == "".join(heard)
