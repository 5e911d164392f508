"""Endpointing: the automaton over frames that are written as strings, the endpointer over sounds and speech."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli.audio.level import SILENCE_DBFS, FrameLevels, NoiseFloor
from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.audio.vad import FRAME_SECONDS, Endpointer, VadEvent, VadSettings, VadStateMachine, utterances

from .conftest import Run
from .speech import say, silence, write_wav

FRAME = round(RATE * FRAME_SECONDS)


def in_frames(attack: int, pause: int, end_silence: int, longest: int) -> VadSettings:
    """Settings for frames of a second."""
    return VadSettings(
        silence_ms=1000 * end_silence, pause_ms=1000 * pause, attack_ms=1000 * attack, max_utterance_seconds=longest
    )


def told(frames: str, attack: int = 2, pause: int = 3, end_silence: int = 5, longest: int = 100) -> str:
    """The events of the state machine for frames, where a letter is speech: each as `kind speech/at`, in frames."""
    automaton = VadStateMachine(in_frames(attack, pause, end_silence, longest), 1.0)
    marks = [mark for frame in frames for mark in automaton.update(frame != ".")]
    return ", ".join(f"{'capped ' * mark.capped}{mark.kind} {mark.speech:g}/{mark.at:g}" for mark in marks)


@pytest.mark.parametrize(
    ("frames", "marks"),
    [
        ("......", ""),
        ("..aaa.", "onset 2/4"),
        ("aa", "onset 0/2"),
        ("a.a.a.", ""),
        ("aaa....", "onset 0/2, pause 3/6"),
        ("aaa.....", "onset 0/2, pause 3/6, end 3/8"),
        ("aaa.aaa", "onset 0/2"),
        ("aaa...aa", "onset 0/2, pause 3/6, resume 6/8"),
        ("aaa...aa...aa.....", "onset 0/2, pause 3/6, resume 6/8, pause 8/11, resume 11/13, pause 13/16, end 13/18"),
        ("aaa.....aaa.....", "onset 0/2, pause 3/6, end 3/8, onset 8/10, pause 11/14, end 11/16"),
    ],
)
def test_state_machine_events_of_speech_and_silence(frames: str, marks: str) -> None:
    assert told(frames) == marks


def test_clicks_neither_begin_nor_prolong_an_utterance() -> None:
    assert told("..a..a...aa.a.a..a.") == "onset 9/11, pause 11/14, end 11/16"


def test_no_end_event_during_a_sound() -> None:
    assert told("aaa....aa.....") == "onset 0/2, pause 3/6, resume 7/9, pause 9/12, end 9/14"
    assert told("aaaa....aa.....", attack=3) == "onset 0/3, pause 4/7, end 4/11"
    assert told("aaaa....aaa.....", attack=3) == "onset 0/3, pause 4/7, resume 8/11, pause 11/14, end 11/16"
    assert told("aaa.....aa.....") == "onset 0/2, pause 3/6, end 3/8, onset 8/10, pause 10/13, end 10/15"


def test_no_pause_event_during_a_sound() -> None:
    assert told("aaa..aaa") == "onset 0/2"
    assert told("aaaa..aa.", attack=3, end_silence=8) == "onset 0/3, pause 4/9"


def test_no_pause_event_at_or_after_the_end() -> None:
    assert told("aa.....", pause=5) == "onset 0/2, end 2/7"
    assert told("aa.....", pause=6) == "onset 0/2, end 2/7"


def test_a_cap_in_the_middle_of_speech_begins_the_next_utterance_in_the_same_place() -> None:
    assert told("aaaaaaaaaa", longest=4) == "onset 0/2, capped end 4/4, onset 4/4, capped end 8/8, onset 8/8"


def test_length_cap_in_a_pause_ends_the_utterance_where_speech_stopped() -> None:
    assert told("aaa...a.aa", longest=6) == "onset 0/2, capped end 3/6, onset 8/10"
    assert told("aaa.aa", longest=5) == "onset 0/2, capped end 3/5, onset 4/6"


def test_first_pause_in_last_fifth_before_cap_ends_the_utterance() -> None:
    assert told("aaaaaaaa...aaa", longest=20) == "onset 0/2, pause 8/11, resume 11/13"
    assert told("aaaaaaaaaaaa...aaaa", longest=20) == "onset 0/2, pause 12/15, resume 15/17"
    assert told("aaaaaaaaaaaaa...aaaa", longest=20) == "onset 0/2, capped end 13/16, onset 16/18"
    assert told("aaaaaaaaaaaaaaaa...aaa", longest=20) == "onset 0/2, capped end 16/19, onset 19/21"
    assert told("aaaaaaaaaaaaaaa..aaaaa", longest=20) == "onset 0/2, capped end 20/20, onset 20/20"
    assert told("aaaaaaaaaaaa....aaa", longest=20) == "onset 0/2, pause 12/15, capped end 12/16, onset 16/18"
    assert told("aaaaaaaaaaaaaa...aaaa", pause=5, longest=20) == "onset 0/2, capped end 20/20, onset 20/20"


def test_long_silence_ends_the_utterance_uncapped() -> None:
    assert told("aa.....", pause=5, longest=7) == "onset 0/2, end 2/7"


SIZES = st.fixed_dictionaries(
    {
        "attack": st.integers(1, 4),
        "pause": st.integers(1, 6),
        "end_silence": st.integers(1, 6),
        "longest": st.integers(5, 20),
    }
)


def in_order(marks: list[VadEvent]) -> bool:
    order = "".join({"onset": "O", "pause": "l", "resume": "r", "end": "E"}[mark.kind] for mark in marks)
    return re.fullmatch("(O(lr)*l?E)*(O(lr)*l?)?", order) is not None


RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 8)), max_size=20)


@given(RUNS, SIZES)
def test_events_are_in_order_and_cover_all_speech(runs: list[tuple[bool, int]], sizes: dict[str, int]) -> None:
    frames = [speech for speech, length in runs for _ in range(length)]
    automaton = VadStateMachine(in_frames(**sizes), 1.0)
    marks = [mark for frame in frames for mark in automaton.update(frame)]
    assert in_order(marks)
    assert automaton.in_speech == (bool(marks) and marks[-1].kind != "end")

    for before, after in pairwise(marks):
        assert before.at <= after.at and before.speech <= after.speech
        if before.capped and before.speech == before.at:
            assert (after.kind, after.speech, after.at) == ("onset", before.speech, before.at)
    for mark in marks:
        if mark.kind in ("pause", "end") and mark.at > mark.speech:
            assert not frames[int(mark.at) - 1] or mark.capped  # never inside a sound that may be speech
        if mark.kind == "end" and not mark.capped:  # at once, or with the end of a click
            assert 0 <= mark.at - mark.speech - sizes["end_silence"] < sizes["attack"]

    found = utterances(marks, until=len(frames))
    assert all(0 <= end - begin <= sizes["longest"] for begin, end in found)
    heard = {frame for begin, end in found for frame in range(int(begin), int(end))}
    whole = f"a{{{sizes['attack']},}}"  # any speech that is not a click
    for run in re.finditer(whole, "".join("a" if frame else "." for frame in frames)):
        assert heard.issuperset(range(*run.span()))


@given(st.lists(st.tuples(RUNS, SIZES), max_size=5))
def test_events_are_in_order_while_settings_change(
    parts: list[tuple[list[tuple[bool, int]], dict[str, int]]],
) -> None:
    automaton = VadStateMachine(in_frames(1, 2, 3, 4), 1.0)
    marks = []
    for runs, sizes in parts:
        automaton.configure(in_frames(**sizes))
        marks += [mark for speech, length in runs for _ in range(length) for mark in automaton.update(speech)]
    assert in_order(marks)
    assert all(before.at <= after.at and before.speech <= after.speech for before, after in pairwise(marks))


def test_a_shorter_end_silence_counts_the_silence_that_was_there_before() -> None:
    automaton = VadStateMachine(in_frames(1, 2, 10, 100), 1.0)
    for frame in (True, False, False, False, False):
        automaton.update(frame)
    automaton.configure(in_frames(1, 2, 3, 100))
    assert list(automaton.update(False)) == [VadEvent("end", 6, 1)]


def test_shorter_pause_setting_is_not_applied_to_the_past() -> None:
    automaton = VadStateMachine(in_frames(1, 5, 10, 100), 1.0)
    for frame in (True, False, False, False):
        automaton.update(frame)
    automaton.configure(in_frames(1, 2, 10, 100))
    assert list(automaton.update(True)) == []


def test_utterances_are_onsets_with_their_ends() -> None:
    marks = [
        VadEvent("onset", 1.06, 1.0),
        VadEvent("pause", 2.2, 2.0),
        VadEvent("end", 2.6, 2.0),
        VadEvent("onset", 5.06, 5.0),
    ]
    assert utterances([]) == []
    assert utterances(marks) == [(1.0, 2.0)]
    assert utterances(marks, until=6.5) == [(1.0, 2.0), (5.0, 6.5)]


# Sounds


def noise(seconds: float, level: float, seed: int = 0) -> Samples:
    """White noise, `level` dBFS."""
    dice = np.random.default_rng(seed)
    return (10 ** (level / 20) * dice.standard_normal(round(seconds * RATE))).astype(np.float32)


def speechlike(seconds: float, level: float, seed: int = 0) -> Samples:
    """Noise that swells and fades like syllables, four in a second."""
    loudness = np.abs(np.sin(4 * np.pi * np.arange(round(seconds * RATE)) / RATE)) + 0.05
    return (noise(seconds, level, seed) * loudness).astype(np.float32)


def in_blocks(endpointer: Endpointer, samples: Samples, size: int = 1600) -> list[VadEvent]:
    return [
        mark for start in range(0, len(samples), size) for mark in endpointer.process(samples[start : start + size])
    ]


def heard(samples: Samples, settings: VadSettings | None = None) -> list[VadEvent]:
    return in_blocks(Endpointer(settings or VadSettings()), samples)


def smoothed(noise: NoiseFloor, levels: list[float]) -> list[float]:
    return [smooth for _, smooth in noise.track(levels)]


def spoken(*parts: Samples) -> Samples:
    """Parts over quiet background noise."""
    whole = np.concatenate(parts)
    return whole + noise(len(whole) / RATE, -65, seed=99)


PARTS = st.one_of(
    st.builds(noise, st.floats(0.01, 2), st.floats(-80, -10), st.integers(0, 9)),
    st.builds(speechlike, st.floats(0.05, 3), st.floats(-50, -6), st.integers(0, 9)),
    st.builds(silence, st.floats(0, 1.5)),
)


@given(
    st.lists(PARTS, min_size=1, max_size=6),
    st.lists(st.integers(0, 9000), min_size=1, max_size=30),
    st.sampled_from([8000, 16000, 22050, 44100]),
    st.sampled_from([None, -40.0]),
)
def test_events_do_not_depend_on_block_sizes(
    parts: list[Samples], sizes: list[int], rate: int, threshold: float | None
) -> None:
    samples = np.concatenate(parts)
    options = VadSettings(silence_ms=300, threshold=threshold, max_utterance_seconds=2)
    whole, cut = Endpointer(options, rate), Endpointer(options, rate)
    marks: list[VadEvent] = []
    rest = samples
    while sizes and len(rest):
        size = sizes.pop()
        before, told = cut.processed_seconds, len(marks)
        marks += cut.process(rest[:size])
        rest = rest[size:]
        assert all(before < mark.at for mark in marks[told:])
        assert cut.processed_seconds == pytest.approx((len(samples) - len(rest)) / rate)
        assert all(mark.at <= cut.processed_seconds for mark in marks)
    marks += cut.process(rest)
    assert marks == whole.process(samples)
    for name in ("level", "floor", "threshold", "in_speech", "end_silence_left", "processed_seconds"):
        assert getattr(cut, name) == getattr(whole, name)


def test_caller_may_overwrite_a_block() -> None:
    meter, block = FrameLevels(RATE), np.zeros(FRAME // 2, np.float32)
    assert meter.levels(block) == []
    block[:] = 1
    assert meter.levels(np.zeros(FRAME // 2, np.float32)) == [SILENCE_DBFS]


def test_levels_are_decibels_below_full_scale() -> None:
    times = np.arange(FRAME * 3) / RATE
    assert FrameLevels(RATE).levels(np.resize(np.array([1, -1], np.float32), FRAME)) == [0.0]
    assert FrameLevels(RATE).levels(np.sin(2 * np.pi * 1000 * times).astype(np.float32)) == pytest.approx(
        [-3.01] * 3, abs=0.01
    )
    assert FrameLevels(RATE).levels(noise(0.4, -40)) == pytest.approx([-40] * 20, abs=1.5)
    assert FrameLevels(RATE).levels(np.zeros(FRAME * 2 + 5, np.float32)) == [SILENCE_DBFS] * 2
    assert FrameLevels(RATE).levels(np.full(FRAME, np.nan, np.float32)) == [SILENCE_DBFS]


@pytest.mark.parametrize("offset", [0.01, -0.1, 0.5])
def test_constant_offset_is_silence(offset: float) -> None:
    assert FrameLevels(RATE).levels(np.full(FRAME * 2, offset, np.float32)) == [SILENCE_DBFS] * 2
    levels = np.array(FrameLevels(RATE).levels(noise(2, -40)))
    assert np.array(FrameLevels(RATE).levels(noise(2, -40) + np.float32(offset))) == pytest.approx(levels, abs=0.01)


@pytest.mark.parametrize("offset", [0.0, 0.01, 0.1])
def test_quiet_speech_is_heard_through_an_offset_and_a_slow_drift(offset: float) -> None:
    parts = [silence(1), *(part for seed in range(4) for part in (speechlike(1.5, -40, seed), silence(1.5)))]
    samples = np.concatenate(parts) + noise(13, -75)
    drift = 0.01 * np.sin(2 * np.pi * 1.3 * np.arange(len(samples)) / RATE)  # as loud as the speech
    found = utterances(heard((samples + offset + drift).astype(np.float32)))
    assert np.array(found) == pytest.approx(np.array([(1 + 3 * n, 2.5 + 3 * n) for n in range(4)]), abs=0.1)


def test_the_floor_is_the_noise_and_the_threshold_lies_close_above_it() -> None:
    endpointer = Endpointer()
    in_blocks(endpointer, noise(3, -50))
    assert endpointer.level == pytest.approx(-50, abs=1)
    assert endpointer.floor == pytest.approx(-51, abs=1)
    assert endpointer.floor + 2 < endpointer.threshold < endpointer.floor + 6
    in_blocks(endpointer, noise(5, -30))
    assert endpointer.floor == pytest.approx(-31, abs=1)
    in_blocks(endpointer, noise(0.7, -60))
    assert endpointer.floor == pytest.approx(-61, abs=1)


def test_noise_that_flutters_is_levelled_and_the_end_of_speech_is_not() -> None:
    fluttering = smoothed(NoiseFloor(), [-40.0, -52.0] * 20)[10:]
    assert max(fluttering) - min(fluttering) < 4
    falling = smoothed(NoiseFloor(), [-20.0] * 20 + [-60.0] * 5)
    assert falling[19] == pytest.approx(-20) and falling[-1] < -50


def test_noise_that_swings_by_itself_gets_a_wider_margin() -> None:
    swinging = NoiseFloor()
    levels = smoothed(swinging, [-50.0 + 2 * np.sin(step / 5) for step in range(300)])
    assert swinging.threshold > max(levels) + 4.5


def test_speech_may_become_a_little_fainter_than_it_began() -> None:
    def tone(seconds: float, level: float) -> Samples:
        wave = 2**0.5 * np.sin(2 * np.pi * 500 * np.arange(round(seconds * RATE)) / RATE)
        return (10 ** (level / 20) * wave).astype(np.float32)

    quiet, loud = Endpointer(), Endpointer()
    for endpointer in (quiet, loud):
        assert in_blocks(endpointer, noise(4, -60)) == []
    faint = tone(0.4, quiet.threshold - 1)
    assert in_blocks(quiet, faint) == []
    in_blocks(loud, tone(0.1, -45))
    in_blocks(loud, faint)
    assert loud.in_speech and loud.end_silence_left == pytest.approx(0.6)


def test_very_quiet_sound_is_not_speech() -> None:
    assert heard(np.concatenate([noise(4, -88), noise(1, -72), noise(4, -88)])) == []


def test_long_silence_is_a_pause_then_the_end() -> None:
    marks = heard(spoken(silence(1), speechlike(1, -20), silence(2)))
    assert [mark.kind for mark in marks] == ["onset", "pause", "end"]
    onset, pause, end = marks
    assert onset.speech == pytest.approx(1.0, abs=0.05) and onset.at == pytest.approx(onset.speech + 0.06)
    assert pause.speech == end.speech == pytest.approx(2.0, abs=0.12)
    assert pause.at == pytest.approx(pause.speech + 0.16) and end.at == pytest.approx(end.speech + 0.6)
    assert not end.capped


def test_short_silence_is_a_pause_then_resumes() -> None:
    marks = heard(spoken(silence(1), speechlike(1, -20), silence(0.4), speechlike(1, -20), silence(2)))
    assert [mark.kind for mark in marks] == ["onset", "pause", "resume", "pause", "end"]
    assert marks[2].speech == pytest.approx(2.4, abs=0.05)


def test_the_settings_are_kept() -> None:
    samples = spoken(silence(1), speechlike(2, -20), silence(2))
    onset, pause, end = heard(samples, VadSettings(silence_ms=1000, pause_ms=300, attack_ms=100))
    assert onset.at == pytest.approx(onset.speech + 0.1)
    assert (pause.at, end.at) == (pytest.approx(pause.speech + 0.3), pytest.approx(end.speech + 1.0))
    marks = heard(samples, VadSettings(silence_ms=300, max_utterance_seconds=0.64))
    assert [mark.capped for mark in marks if mark.kind == "end"] == [True, True, True, False]
    assert [mark.kind for mark in heard(samples, VadSettings(pause_ms=600))] == ["onset", "end"]


@pytest.mark.parametrize("offset", [0, 100, 160, 300])
def test_click_of_any_level_begins_no_utterance(offset: int) -> None:
    samples = noise(6, -60)
    for start in range(RATE + offset, len(samples), RATE):
        samples[start : start + FRAME] = noise(FRAME_SECONDS, -3)
    assert heard(samples) == []


def test_a_click_does_not_prolong_an_utterance() -> None:
    samples = spoken(silence(1), speechlike(1, -20), silence(2))
    samples[int(2.3 * RATE) : int(2.3 * RATE) + FRAME // 2] = noise(FRAME_SECONDS / 2, -10)
    end = heard(samples)[-1]
    assert end.kind == "end" and end.at == pytest.approx(2.6, abs=0.1)


@pytest.mark.parametrize("level", [-75, -45, -30, -12])
def test_steady_noise_is_never_speech(level: float) -> None:
    assert heard(noise(20, level)) == []


def test_noise_that_sets_in_later_is_taken_for_speech_for_a_few_seconds_only() -> None:
    marks = heard(np.concatenate([noise(5, -65), noise(20, -30)]))
    assert [mark.kind for mark in marks] == ["onset", "pause", "end"]
    assert marks[-1].at < 5 + 5.5


def test_fluctuating_noise_is_not_speech() -> None:
    samples = noise(30, -40)
    samples *= 10 ** (3 * np.sin(2 * np.pi * 0.2 * np.arange(len(samples)) / RATE) / 20)  # 3 dB more, 3 dB less
    assert heard(samples) == []


def test_a_breath_after_loud_speech_is_silence() -> None:
    samples = np.concatenate([silence(1), speechlike(2, -12), noise(1.5, -57), silence(1)]) + noise(5.5, -80, seed=1)
    onset, _, end = heard(samples)
    assert (onset.kind, end.kind) == ("onset", "end") and end.at == pytest.approx(3.6, abs=0.15)


def test_speech_in_the_first_frame_is_found() -> None:
    samples = spoken(speechlike(2, -20)[RATE // 8 :], silence(1))  # begins in the middle of a syllable
    onset, *_, end = heard(samples)
    assert (onset.kind, onset.speech, end.kind) == ("onset", 0.0, "end")
    assert onset.at < 0.5


def test_speech_in_the_first_half_second_is_found_after_noise() -> None:
    onset = heard(spoken(silence(0.2), speechlike(2, -20), silence(1)))[0]
    assert onset.kind == "onset" and onset.speech == pytest.approx(0.2, abs=0.06)
    assert onset.at < 0.5


def test_digital_silence_does_not_lower_the_noise_floor() -> None:
    """A microphone in a noisy place is muted and unmuted, also in the middle of a frame."""
    endpointer = Endpointer()
    in_blocks(endpointer, noise(3, -35))
    floor = endpointer.floor
    for muted in (0.5, 5.0, 0.05):
        assert in_blocks(endpointer, silence(muted)) == []
        assert endpointer.level < floor and endpointer.floor == pytest.approx(floor, abs=0.5)
        cut = noise(2, -35, seed=1)[130:-130]
        assert in_blocks(endpointer, cut) == []
        assert endpointer.floor == pytest.approx(floor, abs=0.5)


def test_speech_between_digital_silences_is_found() -> None:
    marks = heard(np.concatenate([silence(3), speechlike(1, -25), silence(10), speechlike(1, -40), silence(2)]))
    found = utterances(marks)
    assert np.array(found) == pytest.approx(np.array([(3.0, 4.0), (14.0, 15.0)]), abs=0.1)


def test_one_short_word_between_digital_silences_is_found() -> None:
    marks = heard(np.concatenate([silence(1), speechlike(0.25, -35), silence(2)]))
    assert [mark.kind for mark in marks] == ["onset", "pause", "end"]
    assert np.array(utterances(marks)) == pytest.approx(np.array([(1.0, 1.25)]), abs=0.1)


@pytest.mark.parametrize("seconds", [0.15, 0.25, 0.3])
@pytest.mark.parametrize("before", [0.0, 0.5])
def test_finish_reports_a_short_word_at_the_end(seconds: float, before: float) -> None:
    endpointer = Endpointer()
    samples = np.concatenate([silence(before), speechlike(1, -25)[RATE // 8 :][: round(seconds * RATE)]])
    assert in_blocks(endpointer, samples) == []
    length = endpointer.processed_seconds
    (onset,) = endpointer.finish()
    assert onset.kind == "onset" and onset.speech == pytest.approx(before, abs=0.03)
    assert onset.at == pytest.approx(length, abs=FRAME_SECONDS) and onset.at <= length == endpointer.processed_seconds
    assert endpointer.in_speech and endpointer.finish() == []
    assert [mark.kind for mark in in_blocks(endpointer, silence(2))] == ["pause", "end"]


def test_finish_repeats_and_invents_no_events() -> None:
    for samples in (silence(0), silence(2), noise(0.25, -60), noise(0.04, -10), spoken(silence(1), speechlike(1, -20))):
        endpointer = Endpointer()
        marks = in_blocks(endpointer, samples)
        assert endpointer.finish() == [] and endpointer.in_speech == bool(marks)


@settings(max_examples=40)
@given(st.lists(PARTS, min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=3))
def test_events_are_in_order_whenever_finish_is_called(parts: list[Samples], asked: list[int]) -> None:
    endpointer = Endpointer(VadSettings(silence_ms=300, max_utterance_seconds=2))
    marks: list[VadEvent] = []
    for number, part in enumerate(parts):
        marks += in_blocks(endpointer, part)
        if number in asked:
            marks += endpointer.finish()
    marks += endpointer.finish()
    assert in_order(marks)
    assert all(before.at <= after.at and before.speech <= after.speech for before, after in pairwise(marks))
    assert endpointer.processed_seconds == pytest.approx(sum(map(len, parts)) / RATE)


def test_beep_before_speech_is_not_taken_for_noise() -> None:
    samples = np.concatenate([noise(0.1, -20), silence(0.4), speechlike(1, -25), silence(1)])
    assert any(begin == pytest.approx(0.5, abs=0.06) or begin == 0 for begin, _ in utterances(heard(samples)))
    assert utterances(heard(samples))[-1][1] == pytest.approx(1.5, abs=0.1)


def test_digital_silence_says_nothing() -> None:
    endpointer = Endpointer()
    assert in_blocks(endpointer, silence(60)) == []
    assert endpointer.level == SILENCE_DBFS and endpointer.processed_seconds == pytest.approx(60)
    assert not endpointer.in_speech and endpointer.end_silence_left == 0


def test_a_cap_ends_an_utterance_in_noise_above_a_fixed_threshold() -> None:
    marks = heard(noise(10, -30), VadSettings(threshold=-40, max_utterance_seconds=4))
    assert [(mark.kind, mark.speech) for mark in marks] == [
        ("onset", 0.0), ("end", 4.0), ("onset", 4.0), ("end", 8.0), ("onset", 8.0)
    ]  # fmt: skip
    assert all(mark.capped for mark in marks if mark.kind == "end")


def test_a_fixed_threshold_is_what_counts() -> None:
    samples = spoken(silence(1), speechlike(1, -30), silence(1), speechlike(1, -10), silence(1))
    assert len(utterances(heard(samples))) == 2
    assert len(utterances(heard(samples, VadSettings(threshold=-22)))) == 1
    assert heard(samples, VadSettings(threshold=-2)) == []
    endpointer = Endpointer(VadSettings(threshold=-22))
    in_blocks(endpointer, samples)
    assert endpointer.threshold == -22 and endpointer.floor == pytest.approx(-66, abs=1.5)


def test_what_a_meter_shows() -> None:
    samples = spoken(silence(1), speechlike(1, -20), silence(1))
    endpointer = Endpointer()
    assert (endpointer.level, endpointer.in_speech, endpointer.processed_seconds) == (SILENCE_DBFS, False, 0)
    endpointer.process(samples[:RATE])
    assert not endpointer.in_speech and endpointer.end_silence_left == 0 and endpointer.level < endpointer.threshold
    endpointer.process(samples[RATE : RATE * 3 // 2])
    assert endpointer.in_speech and endpointer.end_silence_left > 0.5
    endpointer.process(samples[RATE * 3 // 2 : RATE * 23 // 10])
    assert endpointer.in_speech and endpointer.end_silence_left == pytest.approx(0.3, abs=0.12)
    endpointer.process(samples[RATE * 23 // 10 :])
    assert (
        not endpointer.in_speech
        and endpointer.end_silence_left == 0
        and endpointer.processed_seconds == pytest.approx(3)
    )


def test_first_window_decides_whether_noise_is_assumed() -> None:
    steady, restless = NoiseFloor(), NoiseFloor()
    list(steady.track([-30.0 + step % 2 for step in range(20)]))
    list(restless.track([-40.0 + 2 * step for step in range(20)]))
    assert steady.threshold > -29
    assert restless.floor < -50 and restless.threshold < -40


# Speech

SENTENCES = (
    "The ferry leaves at seven in the morning and comes back after dark.",
    "Most of the windows in this street were made by the same carpenter.",
    "She counted the chairs twice and found that one of them was missing.",
)


def loud_part(samples: Samples) -> tuple[int, int]:
    """Where the first and the last sample is at most 35 dB quieter than the loudest frame."""
    levels = np.array(FrameLevels(RATE).levels(samples))
    loud = np.flatnonzero(levels > levels.max() - 35)
    return int(loud[0]) * FRAME, int(loud[-1] + 1) * FRAME


@pytest.fixture(scope="module")
def talk() -> tuple[Samples, list[tuple[float, float]]]:
    """The sentences with pauses between them; where each begins and ends, in seconds."""
    parts, times, size = [silence(0.7)], [], round(0.7 * RATE)
    for sentence in SENTENCES:
        words = say(sentence)
        begin, end = loud_part(words)
        times.append(((size + begin) / RATE, (size + end) / RATE))
        parts += [words, silence(1.3)]
        size += len(words) + round(1.3 * RATE)
    return np.concatenate(parts), times


@pytest.mark.engine
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.03])
@pytest.mark.parametrize("ratio", [None, 40, 20])
def test_end_of_each_sentence_is_detected_at_any_level_and_noise(
    talk: tuple[Samples, list[tuple[float, float]]], gain: float, ratio: int | None
) -> None:
    samples, times = talk
    if ratio is not None:
        power = np.mean(np.concatenate([samples[int(a * RATE) : int(b * RATE)] for a, b in times]) ** 2)
        samples = samples + noise(len(samples) / RATE, 10 * np.log10(power) - ratio)[: len(samples)]
    found = [mark for mark in heard((samples * gain).astype(np.float32)) if mark.kind in ("onset", "end")]
    assert [mark.kind for mark in found] == ["onset", "end"] * len(times)
    for (begin, end), onset, over in zip(times, found[::2], found[1::2], strict=True):
        assert onset.speech == pytest.approx(begin, abs=0.3)
        assert over.at == pytest.approx(end + 0.6, abs=0.3)


@pytest.mark.engine
def test_end_of_each_sentence_is_detected_among_other_voices(talk: tuple[Samples, list[tuple[float, float]]]) -> None:
    samples, times = talk
    others = sum(np.roll(samples, len(samples) * part // 13) for part in range(1, 13))
    ends = [mark.at for mark in heard((samples + others / 30).astype(np.float32)) if mark.kind == "end"]
    assert all(any(abs(at - end - 0.6) < 0.3 for at in ends) for _, end in times)


@pytest.mark.engine
def test_speech_without_a_pause_is_one_utterance() -> None:
    words = [say(sentence) for sentence in SENTENCES]
    samples = spoken(silence(0.5), *(part[slice(*loud_part(part))] for part in words), silence(1))
    begin, end = 0.5, len(samples) / RATE - 1
    assert np.array(utterances(heard(samples))) == pytest.approx(np.array([(begin, end)]), abs=0.3)


# The command that shows it


@pytest.mark.engine
def test_vad_command_finds_the_same_in_file_and_pipe(run: Run, tmp_path: Path) -> None:
    spoken = np.concatenate([silence(1), say(SENTENCES[0]), silence(2), speechlike(0.25, -20)])
    for samples, count in ((spoken, 2), (spoken[-RATE // 4 :], 1)):
        file = write_wav(tmp_path / "talk.wav", samples)
        named, piped = run("vad", str(file), "-f", "json"), run("vad", "-", "-f", "json", stdin=file.read_bytes())
        assert (named.returncode, piped.returncode) == (0, 0)
        report = json.loads(named.stdout)
        assert {**report, "source": "-"} == json.loads(piped.stdout)
        assert len(report["utterances"]) == count
        assert report["utterances"][-1]["end"] == pytest.approx(len(samples) / RATE, abs=0.01)


def test_vad_command_uses_one_channel(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "two.wav"
    both = np.stack([silence(3), np.concatenate([silence(1), speechlike(1, -20), silence(1)])], axis=1)
    soundfile.write(file, both, RATE, "PCM_16")
    counts = []
    for channel in ("1", "2"):
        shown = run("vad", str(file), "--channel", channel, "-f", "json")
        counts.append(len(json.loads(shown.stdout)["utterances"]))
    assert counts == [0, 1]
    assert run("vad", str(file), "--channel", "3").returncode == 3
