"""Tests of subtitle profiles: the numbers of published style guides, and options that override them."""

from __future__ import annotations

from typing import Any

import pytest

from cartesia_cli.errors import UsageError
from cartesia_cli.subtitles.profiles import PROFILES, STANDARD, Rules, make_rules


def test_netflix_is_the_default_profile_with_the_numbers_of_its_guide() -> None:
    assert make_rules() == make_rules("netflix") == STANDARD == Rules()
    assert (STANDARD.max_line_width, STANDARD.max_line_count, STANDARD.max_cue, STANDARD.max_cps) == (42, 2, 7.0, 20.0)
    assert STANDARD.min_cue == pytest.approx(5 / 6)
    assert STANDARD.min_gap == pytest.approx(2 / 24, abs=0.001)
    assert STANDARD.max_words_per_line is None


def test_bbc_profile_allows_180_words_of_five_columns_a_minute() -> None:
    bbc = make_rules("bbc")
    assert bbc.max_line_width == 37
    assert bbc.max_cps == 180 * 5 / 60
    assert bbc.min_gap == 0.0 and bbc.chain == 1.0


@pytest.mark.parametrize("profile", PROFILES)
def test_numbers_of_each_profile_are_consistent(profile: str) -> None:
    found = PROFILES[profile]
    assert found.max_line_width > 0 and found.max_line_count > 0 and found.max_cps > 0
    assert 0 <= found.min_cue <= found.max_cue
    assert 0 <= found.min_gap <= found.max_cue
    assert min(found.chain, found.max_linger) >= 0
    assert make_rules(profile) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_line_width", 30), ("max_line_count", 3), ("max_words_per_line", 5), ("min_cue", 1.5), ("max_cue", 5.0),
     ("min_gap", 0.2), ("max_cps", 17.0)],
)  # fmt: skip
def test_option_overrides_only_its_own_number_of_the_profile(name: str, value: Any) -> None:
    found = make_rules("bbc", **{name: value})
    assert found == PROFILES["bbc"]._replace(**{name: value}) != PROFILES["bbc"]


@pytest.mark.parametrize(
    ("profile", "numbers", "says"),
    [
        (None, {"min_cue": 3.0, "max_cue": 2.0}, "--min-cue 3 exceeds --max-cue 2"),
        (None, {"max_cue": 0.5}, "--min-cue 0.833 (the default) exceeds --max-cue 0.5"),
        ("bbc", {"max_cue": 0.5}, "--min-cue 1 (of --subtitle-profile bbc) exceeds --max-cue 0.5"),
        ("shorts", {"min_cue": 4.0}, "--min-cue 4 exceeds --max-cue 3 (of --subtitle-profile shorts)"),
        (None, {"min_gap": 8.0}, "--min-gap 8 exceeds --max-cue 7 (the default)"),
        (None, {"min_cue": 0.0, "max_cue": 0.05}, "--min-gap 0.083 (the default) exceeds --max-cue 0.05"),
    ],
)
def test_impossible_subtitle_rules_are_refused_with_a_hint(
    profile: str | None, numbers: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        make_rules(profile, **numbers)
    assert refusal.value.message == says
    assert refusal.value.hint
