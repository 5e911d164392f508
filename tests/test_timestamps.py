"""Times that can be true stay; the others follow from the characters between them, and never run backwards."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.timestamps import interpolate_spans, plausible_spans, to_ms

SECONDS = st.none() | st.floats(-5, 50) | st.floats(allow_nan=True) | st.sampled_from([0.0, 1.0, 1.0005, 2.0, 1e9])
SPANS = st.lists(st.tuples(SECONDS, SECONDS), max_size=30)
DURATION = st.none() | st.floats(0, 60) | st.sampled_from([math.inf, math.nan, -1.0, 0.0004])


@given(SPANS, DURATION)
def test_times_that_are_believed_rise_and_are_believed_again(
    spans: list[tuple[float | None, float | None]], duration: float | None
) -> None:
    fit = plausible_spans(spans, duration)
    kept = [span for span in fit if span is not None]
    assert all(0 <= start <= end for start, end in kept)
    assert all(a < b for a, b in pairwise(kept))
    cleared = [given if span is not None else (None, None) for given, span in zip(spans, fit, strict=True)]
    assert plausible_spans(cleared, duration) == fit
    rounded = [tuple(None if x is None else round(x, 3) for x in pair) for pair in cleared]
    assert plausible_spans(rounded, duration) == fit  # type: ignore[arg-type]


@given(SPANS, DURATION)
def test_a_timeline_never_falls_and_keeps_what_is_known(
    spans: list[tuple[float | None, float | None]], duration: float | None
) -> None:
    fit = plausible_spans(spans, duration)
    line = interpolate_spans([3 + k % 5 for k in range(len(fit))], [span or (None, None) for span in fit], duration)
    assert len(line) == len(fit)
    assert all(0 <= start <= end for start, end in line)
    assert all(a[1] <= b[0] for a, b in pairwise(line))
    for span, (start, end) in zip(fit, line, strict=True):
        if span is not None:
            assert start == span[0] and end <= span[1]


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 900)), min_size=1, max_size=40))
def test_good_times_come_out_as_they_went_in(steps: list[tuple[int, int]]) -> None:
    spans, at = [], 0
    for silence, length in steps:
        spans.append((at + silence, at + silence + length))
        at = spans[-1][1]
    fit = plausible_spans([(start / 1000, end / 1000) for start, end in spans], at / 1000)
    assert fit == spans
    assert interpolate_spans([1] * len(spans), fit, None) == spans  # type: ignore[arg-type]


@given(st.floats(0, 3_599_999))
def test_a_moment_is_the_same_before_and_after_rounding(seconds: float) -> None:
    assert to_ms(seconds) == to_ms(round(seconds, 3))
    assert abs(to_ms(seconds) - seconds * 1000) <= 0.501


def test_half_a_millisecond_is_rounded_like_three_decimals() -> None:
    for seconds in (0.0005, 1.0005, 1.0015, 2.6745, 1234.0625):
        assert to_ms(seconds) == round(round(seconds, 3) * 1000)


def test_a_word_with_half_its_times_has_none() -> None:
    assert plausible_spans([(1.0, None), (None, 2.0), (3.0, 4.0)], None) == [None, None, (3000, 4000)]


def test_zero_to_zero_is_not_a_time_but_zero_length_is() -> None:
    assert plausible_spans([(0.0, 0.0), (1.0, 1.0), (1.0, 1.4)], None) == [None, (1000, 1000), (1000, 1400)]


def test_words_at_the_same_time_are_one_that_is_known_and_others_that_are_not() -> None:
    assert plausible_spans([(1.0, 2.0)] * 3, None).count(None) == 2


def test_times_that_run_backwards_cost_only_themselves() -> None:
    spans: list[tuple[float | None, float | None]] = [(k / 2, k / 2 + 0.4) for k in range(8)]
    spans[3] = (3.0, 2.0)
    spans[5] = (0.1, 0.3)
    fit = plausible_spans(spans, None)
    assert [k for k, span in enumerate(fit) if span is None] == [3, 5]


def test_times_after_the_recording_are_dropped_unless_nearly_all_are() -> None:
    spans = [(float(k), k + 0.5) for k in range(10)]
    assert [k for k, span in enumerate(plausible_spans(spans, 7.6)) if span is None] == [9]
    assert None not in plausible_spans(spans, 2.0)
    assert None not in plausible_spans(spans, 8.9)  # it may be measured by another program


def test_unknown_times_lie_between_known_ones_by_characters() -> None:
    assert interpolate_spans([5, 10, 30, 5], [(0, 1000), (None, None), (None, None), (9000, 9500)], None) == [
        (0, 1000), (1000, 3000), (3000, 9000), (9000, 9500),
    ]  # fmt: skip


def test_text_outside_known_times_is_timed_at_fifteen_characters_per_second() -> None:
    unknown = (None, None)
    assert interpolate_spans([15, 5, 15], [unknown, (5000, 5500), unknown], 60.0) == [
        (4000, 5000),
        (5000, 5500),
        (5500, 6500),
    ]
    assert interpolate_spans([15, 5, 15], [unknown, (300, 500), unknown], 1.0) == [(0, 300), (300, 500), (500, 1000)]


def test_without_any_times_all_is_spread_over_the_duration() -> None:
    assert interpolate_spans([10, 30], [(None, None)] * 2, 8.0) == [(0, 2000), (2000, 8000)]
    for none in (None, 0.0, -3.0, math.nan, math.inf):
        assert interpolate_spans([15, 30], [(None, None)] * 2, none) == [(0, 1000), (1000, 3000)]
    assert interpolate_spans([0, 0], [(None, None)] * 2, None) == [(0, 0), (0, 0)]
    assert interpolate_spans([], [], 3.0) == plausible_spans([], 3.0) == []


def test_end_after_the_next_start_is_cut_off() -> None:
    assert interpolate_spans([3, 3], [(0, 1500), (1000, 1200)], None) == [(0, 1000), (1000, 1200)]
