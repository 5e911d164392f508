"""The growing text of an utterance: what was emitted stays, whatever the next hypothesis is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.audio.pcm import RATE
from cartesia_cli.server.stable_text import StableText, count_covered


def words(text: str) -> list[str]:
    return [f" {word}" for word in text.split()]


def updates(text: StableText, *hypotheses: str, interval: float = 0.4) -> list[str]:
    """What is emitted of each hypothesis: each covers `interval` seconds of audio more than the one before."""
    return [text.update(words(heard), round(interval * RATE) * k) for k, heard in enumerate(hypotheses, 1)]


def test_word_is_emitted_when_hypotheses_of_long_enough_agree_and_two_words_follow() -> None:
    text = StableText()
    heard = "the", "the fairy", "the ferry leaves", "the ferry leaves at", "the ferry leaves at seven"
    assert updates(text, *heard, "the ferry leaves at seven in") == ["", "", "", " the", "", " ferry leaves"]
    assert text.settle(words("The ferry leaves at seven in it.")) == " at seven in it."
    assert text.text == " the ferry leaves at seven in it."


def test_fewer_hypotheses_agree_where_more_audio_is_between_them() -> None:
    for interval, silent in ((0.1, 12), (0.4, 3), (0.6, 2), (0.8, 2), (1.2, 1), (5.0, 1)):
        emitted = updates(StableText(), *["the ferry leaves"] * 14, interval=interval)
        assert emitted == [*[""] * silent, " the", *[""] * (13 - silent)], interval


def test_word_that_the_newest_hypothesis_changes_is_not_emitted() -> None:
    assert updates(StableText(), "the fairy leaves at", "the ferry leaves at", interval=5.0) == ["", " the"]


def test_probable_word_is_emitted_at_once_when_two_words_follow() -> None:
    text = StableText()
    assert text.update(words("the ferry"), 6400, [0.99, 0.99]) == ""
    assert text.update(words("the ferry leaves at"), 12_800, [0.99, 0.9, 0.99, 0.99]) == " the ferry"
    assert text.update(words("the ferry leaves at seven in"), 19_200, [0.99, 0.2, 0.99, 0.3, 0.9, 0.9]) == ""


def test_probability_and_agreement_combine() -> None:
    text = StableText()
    for k in range(3):
        assert text.update(words("the ferry leaves at seven"), 6400 * k, [0.5, 0.9, 0.9, 0.9, 0.9]) == ""
    assert text.update(words("the ferry leaves at seven in it"), 19_200, [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]) == (
        " the ferry leaves at seven"
    )


def test_final_punctuation_is_withheld_until_something_follows() -> None:
    text = StableText()
    assert text.pause(words("Hello, world."), 6400) == " Hello, world"
    assert text.pause(words("Hello, world. And more."), 6400) == ". And more"
    assert text.settle(words("Hello, world. And more!")) == "!"
    assert text.text == " Hello, world. And more!"


def test_withheld_punctuation_that_disappears_is_not_emitted() -> None:
    text = StableText()
    assert text.pause(words("I went to."), 6400) == " I went to"
    assert text.settle(words("I went to the shop.")) == " the shop."


def test_changed_hypothesis_neither_loses_nor_doubles_words() -> None:
    text = StableText()
    text.pause(words("the quick brown fox"), 6400)
    assert text.settle(words("the quick round fox jumps over")) == " jumps over"
    text = StableText()
    text.pause(words("the quick brown fox"), 6400)
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
    updates(text, *["one two three four five six seven"] * 4)
    assert text.text == " one two three four five"
    assert text.cut(words("one two three.")) == ""
    assert text.settle(words("four five six seven")) == " six seven"
    assert text.text == " one two three four five six seven"


def test_unemitted_text_before_a_cut_is_emitted() -> None:
    text = StableText()
    text.pause(words("one"), 6400)
    assert text.cut(words("one two three.")) == " two three"
    assert text.settle(words("four")) == " four"


def test_words_beside_a_cut_are_written_as_in_the_hypothesis_that_covers_both() -> None:
    for before, after, written in [
        ("the other way. In", "In short, the", " the other way. In short, the"),
        ("the other way in", "In short, the", " the other way in short, the"),
        ("the other way, Paul", "Paul is short", " the other way, Paul is short"),
    ]:
        text = StableText()
        text.pause(words("the other way."), 6400)
        text.update(words(before), 12_800)
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
    for k, (kind, heard) in enumerate(hypotheses):
        before = text.text
        fresh = getattr(text, kind)(heard, *[6400 * k] * (kind in ("update", "pause")))
        assert text.text == before + fresh


@given(st.lists(st.sampled_from([" one", " two,", " three.", " Four"]), min_size=1))
def test_settled_hypothesis_is_emitted_verbatim(heard: list[str]) -> None:
    text = StableText()
    text.update(heard[: len(heard) // 2], 6400)
    text.update(heard[: len(heard) // 2], 25_600)
    text.settle(heard)
    assert text.text == "".join(heard)
