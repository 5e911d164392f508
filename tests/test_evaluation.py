"""Error rates are those of jiwer on normalized texts, and the confidence interval is that of a bootstrap."""

from __future__ import annotations

import sys

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from cartesia_cli.errors import EngineError
from cartesia_cli.evaluation import ErrorCounts, compare, confidence_interval, load_normalizer, total

WORDS = "the cat Sat, colour color 21 twenty-one isn't is not a Straße été мир".split()
TEXTS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(["en", None, "de", "ru"]))
def test_pooled_rates_equal_those_of_jiwer(pairs: list[tuple[str, str]], language: str | None) -> None:
    normalizer = load_normalizer(language)
    counts = total(compare(said, heard, normalizer).counts for said, heard in pairs)
    theirs = EnglishTextNormalizer() if language in ("en", None) else BasicTextNormalizer()
    said, heard = ([theirs(pair[side]) for pair in pairs] for side in (0, 1))
    if counts.words:
        words = jiwer.process_words(said, heard)
        assert counts.wer == pytest.approx(words.wer)
        assert (counts.substitutions, counts.insertions, counts.deletions) == (
            words.substitutions, words.insertions, words.deletions,
        )  # fmt: skip
        assert counts.cer == pytest.approx(jiwer.cer(said, heard))


def test_case_punctuation_spelling_and_numbers_are_no_errors_in_english() -> None:
    said, heard = "Mr. Smith's colour isn't twenty-one.", "mister smith's color is not 21"
    assert compare(said, heard, load_normalizer("en-GB")).counts.errors == 0


def test_languages_without_spaces_are_compared_by_characters() -> None:
    counts = compare("你好，世界。", "你好世间", load_normalizer("zh")).counts
    assert counts == ErrorCounts(substitutions=1, words=4, character_errors=1, characters=4)


def test_words_of_a_detected_language_are_compared_by_characters_in_scripts_without_spaces() -> None:
    counts = compare("我要走了", "我要走吧", load_normalizer("auto")).counts
    assert (counts.errors, counts.words, counts.character_errors, counts.characters) == (1, 4, 1, 4)
    counts = compare("Das ist, äh, 日本 und カ", "das ist äh 日木 und カ", load_normalizer("auto")).counts
    assert (counts.errors, counts.words, counts.character_errors, counts.characters) == (1, 7, 1, 16)


@pytest.mark.parametrize("language", ["Chinese", "zho", "zh_CN", "cmn-Hans-CN"])
def test_languages_are_known_by_their_other_names(language: str) -> None:
    assert compare("我要走了", "我要走吧", load_normalizer(language)).counts.words == 4


def test_edits_are_runs_of_equal_and_of_different_words() -> None:
    edits = compare("go forward ten meters", "go forward ten yards now", load_normalizer("de")).edits
    assert [(edit.kind, edit.reference, edit.hypothesis) for edit in edits] == [
        ("equal", "go forward ten", "go forward ten"),
        ("insert", "", "yards"),
        ("substitute", "meters", "now"),
    ]


def test_words_where_nothing_was_said_have_no_rate_but_count() -> None:
    silent = compare("", "you", load_normalizer(None)).counts
    assert (silent.wer, silent.cer, silent.insertions) == (None, None, 1)
    assert total([silent, ErrorCounts(words=4, characters=20)]).wer == 0.25
    assert compare(" \n", "", load_normalizer(None)).counts.wer == 0.0


def test_confidence_interval_contains_the_rate_and_is_the_same_each_time() -> None:
    errors, lengths = [0, 1, 0, 2, 5, 0, 1, 0, 0, 3], [10] * 10
    found = confidence_interval(errors, lengths)
    assert found is not None
    assert 0.0 <= found[0] < sum(errors) / sum(lengths) < found[1]
    assert found == confidence_interval(errors, lengths)


def test_confidence_interval_of_equal_recordings_is_their_rate() -> None:
    assert confidence_interval([1] * 5, [10] * 5) == (0.1, 0.1)


def test_confidence_interval_needs_two_recordings_and_words() -> None:
    assert confidence_interval([3], [9]) is None
    assert confidence_interval([0, 1], [0, 0]) is None


def test_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(EngineError, match="jiwer") as caught:
        load_normalizer(None)
    assert caught.value.hint == "pip install 'cartesia-cli[eval]'"
