"""The growing text of an utterance: what was emitted stays, whatever the next hypothesis is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.server.stable_text import StableText, count_covered


def words(text: str) -> list[str]:
    return [f" {word}" for word in text.split()]


def test_word_is_emitted_when_four_hypotheses_agree_and_two_words_follow() -> None:
    text = StableText()
    assert text.update(words("the")) == ""
    assert text.update(words("the fairy")) == ""
    assert text.update(words("the ferry leaves")) == ""
    assert text.update(words("the ferry leaves at")) == " the"
    assert text.update(words("the ferry leaves at seven")) == ""
    assert text.update(words("the ferry leaves at seven in")) == " ferry leaves"
    assert text.settle(words("The ferry leaves at seven in it.")) == " at seven in it."
    assert text.text == " the ferry leaves at seven in it."


def test_probable_word_is_emitted_at_once_when_two_words_follow() -> None:
    text = StableText()
    assert text.update(words("the ferry"), [0.99, 0.99]) == ""
    assert text.update(words("the ferry leaves at"), [0.99, 0.9, 0.99, 0.99]) == " the ferry"
    assert text.update(words("the ferry leaves at seven in"), [0.99, 0.2, 0.99, 0.3, 0.9, 0.9]) == ""


def test_probability_and_agreement_combine() -> None:
    text = StableText()
    for _ in range(3):
        assert text.update(words("the ferry leaves at seven"), [0.5, 0.9, 0.9, 0.9, 0.9]) == ""
    assert text.update(words("the ferry leaves at seven in it"), [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]) == (
        " the ferry leaves at seven"
    )


def test_final_punctuation_is_withheld_until_something_follows() -> None:
    text = StableText()
    assert text.pause(words("Hello, world.")) == " Hello, world"
    assert text.pause(words("Hello, world. And more.")) == ". And more"
    assert text.settle(words("Hello, world. And more!")) == "!"
    assert text.text == " Hello, world. And more!"


def test_withheld_punctuation_that_disappears_is_not_emitted() -> None:
    text = StableText()
    assert text.pause(words("I went to.")) == " I went to"
    assert text.settle(words("I went to the shop.")) == " the shop."


def test_changed_hypothesis_neither_loses_nor_doubles_words() -> None:
    text = StableText()
    text.pause(words("the quick brown fox"))
    assert text.settle(words("the quick round fox jumps over")) == " jumps over"
    text = StableText()
    text.pause(words("the quick brown fox"))
    assert text.settle(words("a quick and brown fox jumps")) == " jumps"


def test_word_that_is_written_as_two_covers_both() -> None:
    assert count_covered([" the", " black", " listed."], [" the", " blacklisted", " Please", " wait"]) == 2
    assert count_covered([" can", " not"], [" cannot", " wait"]) == 1
    assert count_covered([" pound", " tree"], [" pound", " key", " at", " the"]) == 2
    assert count_covered([" so", " much", " more"], [" so"]) == 1


def test_hypothesis_after_settle_starts_anew() -> None:
    text = StableText()
    assert text.settle(words("One two.")) == " One two."
    assert text.settle(words("One two.")) == " One two."
    assert text.text == " One two. One two."


def test_text_emitted_beyond_a_cut_is_not_repeated() -> None:
    text = StableText()
    for _ in range(4):
        text.update(words("one two three four five six seven"))
    assert text.text == " one two three four five"
    assert text.cut(words("one two three.")) == ""
    assert text.settle(words("four five six seven")) == " six seven"
    assert text.text == " one two three four five six seven"


def test_unemitted_text_before_a_cut_is_emitted() -> None:
    text = StableText()
    text.pause(words("one"))
    assert text.cut(words("one two three.")) == " two three"
    assert text.settle(words("four")) == " four"


def test_words_beside_a_cut_are_written_as_in_the_hypothesis_that_covers_both() -> None:
    for before, after, written in [
        ("the other way. In", "In short, the", " the other way. In short, the"),
        ("the other way in", "In short, the", " the other way in short, the"),
        ("the other way, Paul", "Paul is short", " the other way, Paul is short"),
    ]:
        text = StableText()
        text.pause(words("the other way."))
        text.update(words(before))
        assert text.cut(words("the other way.")) == ""
        text.settle(words(after))
        assert text.text == written


HYPOTHESES = st.lists(
    st.tuples(
        st.sampled_from(["update", "pause", "flush", "cut", "settle"]),
        st.lists(st.sampled_from([" a", " b.", " c,", " D", " ."])),
    )
)


@given(HYPOTHESES)
def test_text_only_grows(hypotheses: list[tuple[str, list[str]]]) -> None:
    text = StableText()
    for kind, heard in hypotheses:
        before = text.text
        fresh = getattr(text, kind)(heard)
        assert text.text == before + fresh


@given(st.lists(st.sampled_from([" one", " two,", " three.", " Four"]), min_size=1))
def test_settled_hypothesis_is_emitted_verbatim(heard: list[str]) -> None:
    text = StableText()
    text.update(heard[: len(heard) // 2])
    text.update(heard[: len(heard) // 2])
    text.settle(heard)
    assert text.text == "".join(heard)
