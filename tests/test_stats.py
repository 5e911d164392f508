"""What the latency recorder reports is what happened; what nobody observed has no figure."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.audio.pcm import RATE, AudioBlock, encode_s16le
from cartesia_cli.audio.vad import Endpointer, VadEvent
from cartesia_cli.output.stats import ASCII_RAMP, BLOCK_RAMP, count_in_bins, draw_bars, render_report
from cartesia_cli.protocol.events import (
    Connected,
    Delta,
    Done,
    Event,
    FlushDone,
    TurnEagerEnd,
    TurnEnd,
    TurnResume,
    TurnStart,
    TurnUpdate,
    Unknown,
)
from cartesia_cli.protocol.realtime import Close, Command, Finalize, RealtimeOptions
from cartesia_cli.session import Session
from cartesia_cli.session.dispatcher import EventDispatcher
from cartesia_cli.session.interfaces import StopSignal
from cartesia_cli.session.latency import MAX_LISTED, MAX_VALUES, WAITS, LatencyRecorder, Percentiles
from cartesia_cli.session.send_buffer import SendBuffer
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, Tracker, TurnTracker
from cartesia_cli.tracker.timeline import MAX_SPANS
from cartesia_cli.transcript import Update

from .simulated_time import SimulatedTimeLoop
from .speech import say, silence


class Day:
    """A session without its connection, and a clock that stands still until it is told to go on.

    What is sent, heard and answered goes the way that it goes in every session: by the tracker to the recorder. Frames
    of 100 ms, sent at once.
    """

    def __init__(self, model: str = "ink-2", *, auto: bool = False) -> None:
        self.now = 1000.0
        self.recorder, self.timeline = LatencyRecorder(RealtimeOptions(model=model), 3200), SpeechTimeline()
        self.tracker: Tracker = (TurnTracker if auto else ManualTracker)(self.timeline)
        self.buffer = SendBuffer(3200)
        self.dispatcher = EventDispatcher(
            self.buffer, self.tracker,
            now=lambda: self.now, write=lambda update: None, observer=self.recorder,
        )  # fmt: skip

    @property
    def position(self) -> float:
        """Seconds of audio that were sent."""
        return self.timeline.sent

    def audio(self, until: float) -> None:
        """Frames in real time until so many seconds have been sent."""
        while self.position < until - 1e-6:
            if not self.buffer.has_more:
                self.buffer.write(AudioBlock(bytes(3200)))
            frame = self.buffer.next_item()
            assert isinstance(frame, bytes)
            self.now += 0.1
            self.dispatcher.audio_sent(frame)

    def mark(self, kind: Any, speech: float, *, capped: bool = False) -> None:
        self.dispatcher.marker_reached(VadEvent(kind, self.position, speech, capped))

    def finalize(self) -> None:
        self.buffer.add_marker(Finalize())
        marker = self.buffer.next_item()
        assert isinstance(marker, Finalize)
        self.dispatcher.marker_reached(marker)

    def rewind(self, position: float) -> None:
        self.buffer.rewind(self.buffer.offset(position))
        self.tracker.rewind(position)
        self.timeline.rewind(position)
        self.recorder.rewound(position)

    def report(self) -> dict[str, Any]:
        self.dispatcher.settle_open(complete=True)
        return self.recorder.report()

    def hear(self, *events: Event, after: float = 0.0) -> None:
        self.now += after
        for event in events:
            self.dispatcher.event_received(event)

    def speak(self, start: float, stop: float, end: float | None = None, told: float | None = None) -> None:
        """Audio with speech in it, noticed as soon as it can be. told: when a `turn.start` comes."""
        self.audio(start)
        self.mark("onset", start)
        if told is not None:
            self.audio(told)
            self.hear(TurnStart())
        self.audio(stop)
        self.mark("pause", stop)
        if end is not None:
            self.audio(end)
            self.mark("end", stop)

    def take_turns(self, count: int, *, late: float) -> None:
        """Turns that tell how late a server is: before that it isn't certain whether a pause is within a turn."""
        for turn in range(count):
            at = self.position
            self.speak(at, at + 1.0, end=at + 1.5 + late, told=at + 0.1 + late)
            self.hear(TurnEnd(transcript=f"turn {turn}"))
            self.audio(at + 3.0)

    def figures(self) -> dict[str, list[float]]:
        """Of all utterances, in milliseconds."""
        return figures_of_all(self.report())


def figures_of_all(report: dict[str, Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for utterance in report["utterances"]:
        for name, value in utterance["latency_ms"].items():
            found.setdefault(name, []).append(value)
    return found


def test_utterance_is_measured_from_its_first_sample_to_its_last_text() -> None:
    day = Day()
    day.speak(0.5, 2.0, end=2.6)  # its last sample leaves at 2.0, its first at 0.6
    day.finalize()
    day.hear(Delta(text=" Hel"), after=0.2)
    day.hear(Delta(text="lo."), after=0.1)
    day.hear(Delta(text=""), FlushDone(), after=0.1)
    report = day.report()
    assert report["utterances"] == [
        {
            "start": 0.5,
            "end": 2.0,
            "latency_ms": {
                "speech_to_finalize": 600.0,
                "finalize_to_flush_done": 400.0,
                "finalize_to_text": 300.0,
                "onset_to_text": 2200.0,
            },
        }
    ]
    assert report["latency_ms"]["finalize_to_text"] == {
        "count": 1, "p50": 300.0, "p95": 300.0, "p99": 300.0, "max": 300.0
    }  # fmt: skip
    assert (report["bytes"], report["seconds"], report["credits"]) == (26 * 3200, 2.6, 7.8)
    assert "pacing" not in report
    json.dumps(report, allow_nan=False)


def test_ink_whisper_costs_a_third_of_ink_2() -> None:
    day = Day("ink-whisper")
    day.audio(10.0)
    assert day.report()["credits"] == 10.0


def test_finalize_without_speech_is_not_measured() -> None:
    day = Day()
    day.audio(3.0)
    day.finalize()
    day.hear(Delta(text=""), FlushDone(), Done(), after=0.1)
    report = day.report()
    assert report["latency_ms"] == {} and report["utterances"] == []


def test_finalize_is_measured_if_only_the_server_detected_speech() -> None:
    day = Day()
    day.audio(3.0)
    day.finalize()
    day.hear(Delta(text="psst"), FlushDone(), after=0.1)
    assert day.figures() == {"finalize_to_flush_done": [100.0], "finalize_to_text": [100.0]}


def test_audio_that_ends_during_speech_has_no_last_speech() -> None:
    day = Day()
    day.mark("onset", 0.0)
    day.audio(1.0)
    day.finalize()
    day.hear(Delta(text="and"), FlushDone(), after=0.3)
    assert day.figures() == {
        "finalize_to_flush_done": [300.0], "finalize_to_text": [300.0], "onset_to_text": [1200.0]
    }  # fmt: skip


def test_pause_within_speech_is_not_its_end() -> None:
    day = Day()
    day.speak(0.0, 1.0)
    day.audio(1.3)
    day.mark("resume", 1.2)
    day.audio(2.0)
    day.mark("pause", 1.9)
    day.audio(2.5)
    day.mark("end", 1.9)
    day.finalize()
    assert day.figures() == {"speech_to_finalize": [600.0]}


def test_length_cap_is_neither_an_end_nor_an_onset_of_speech() -> None:
    day = Day()
    day.mark("onset", 0.0)
    day.audio(30.0)
    day.mark("end", 30.0, capped=True)
    day.mark("onset", 30.0)
    day.finalize()
    day.hear(Delta(text="one"), FlushDone(), after=0.1)
    day.audio(32.0)
    day.mark("end", 31.5)
    day.finalize()
    day.hear(Delta(text=" two"), FlushDone(), after=0.1)
    figures = day.figures()
    assert figures["onset_to_text"] == [30000.0]
    assert figures["finalize_to_text"] == [100.0, 100.0]
    assert len(figures["speech_to_finalize"]) == 1


def test_onset_in_the_frame_of_an_end_belongs_to_the_next_utterance() -> None:
    day = Day()
    day.speak(0.0, 1.0)
    day.audio(1.6)
    day.mark("end", 1.0)
    day.mark("onset", 1.6)
    day.audio(1.7)
    day.finalize()
    day.hear(Delta(text="one"), FlushDone())
    day.audio(3.0)
    day.mark("end", 2.5)
    day.finalize()
    day.hear(Delta(text="two"), FlushDone())
    assert [(u["start"], u["end"]) for u in day.report()["utterances"]] == [(0.0, 1.0), (1.6, 2.5)]
    assert day.figures()["speech_to_finalize"] == [700.0, 500.0]


def test_speech_ended_by_a_finalize_is_not_counted_again() -> None:
    day = Day()
    day.mark("onset", 0.0)
    day.audio(1.0)
    day.finalize()  # somebody pressed a key
    day.mark("pause", 0.9)
    day.audio(2.0)
    day.mark("end", 0.9)
    day.finalize()
    day.hear(Delta(text="yes"), FlushDone(), FlushDone(), after=0.1)
    assert day.figures()["finalize_to_flush_done"] == [1100.0]


def test_speech_that_continues_after_a_finalize_has_its_own_end() -> None:
    day = Day()
    day.mark("onset", 0.0)
    day.audio(1.0)
    day.finalize()
    day.audio(2.0)
    day.mark("pause", 1.8)
    day.audio(2.4)
    day.mark("end", 1.8)
    day.finalize()
    day.hear(Delta(text="one"), FlushDone(), Delta(text="no onset"), FlushDone())
    assert day.report()["utterances"][-1] == {
        "end": 1.8, "latency_ms": {"speech_to_finalize": 600.0, "finalize_to_flush_done": 0.0, "finalize_to_text": 0.0}
    }  # fmt: skip


def test_text_before_its_speech_has_no_onset_nor_does_the_next() -> None:
    """Somebody was not heard here: what comes behind the next onset may still be of that."""
    day = Day()
    day.audio(1.0)
    day.hear(Delta(text="psst"))
    day.speak(2.0, 3.0)
    day.hear(Delta(text="Hello"))
    assert day.figures() == {}


def test_flush_dones_are_matched_with_finalizes_in_order() -> None:
    day = Day()
    day.speak(0.0, 1.0, end=1.6)
    day.finalize()
    day.speak(1.7, 2.5, end=3.1)
    day.finalize()
    day.hear(Delta(text="one"), FlushDone(), after=1.0)
    day.hear(Delta(text="two"), FlushDone(), after=0.5)
    figures = day.figures()
    assert figures["finalize_to_flush_done"] == [2500.0, 1500.0]
    assert figures["finalize_to_text"] == [2500.0, 1500.0]
    assert figures["onset_to_text"] == [4000.0, 2800.0]


def test_text_after_its_flush_done_is_not_measured() -> None:
    day = Day()
    day.speak(0.0, 1.0, end=1.6)
    day.finalize()
    day.hear(FlushDone(), after=0.2)
    day.hear(Delta(text="late"), after=0.3)
    day.hear(Delta(text="somebody who was not heard"), after=9.0)
    figures = day.figures()
    assert "finalize_to_text" not in figures
    assert figures["finalize_to_flush_done"] == [200.0]


def test_text_after_the_next_onset_is_not_the_last_of_the_utterance_before() -> None:
    day = Day()
    day.speak(0.0, 1.0, end=1.6)
    day.finalize()
    day.hear(Delta(text="one"), FlushDone(), after=0.1)
    day.mark("onset", 1.6)
    day.audio(1.9)  # its first sample left 0.2 s before
    day.hear(Delta(text="two"))
    figures = day.figures()
    assert figures["finalize_to_text"] == [100.0]
    assert figures["onset_to_text"] == [1600.0, 200.0]


def test_preview_counts_as_first_text_but_not_as_last() -> None:
    day = Day()
    day.speak(0.0, 1.0)
    day.hear(Delta(text="o", is_final=False), after=0.1)
    day.finalize()
    day.hear(Delta(text="one"), after=0.1)
    day.hear(Delta(text="one?", is_final=False), FlushDone(), after=0.1)
    assert day.figures()["onset_to_text"] == [1000.0]
    assert day.figures()["finalize_to_text"] == [100.0]


def test_last_text_is_unknown_without_flush_done() -> None:
    day = Day()
    day.speak(0.0, 1.0, end=1.6)
    day.finalize()
    day.hear(Delta(text="one"), after=0.1)
    assert day.figures() == {"speech_to_finalize": [600.0], "onset_to_text": [1600.0]}


def test_done_confirms_the_last_text() -> None:
    day = Day()
    day.speak(0.0, 1.0, end=1.6)
    day.finalize()
    day.hear(Delta(text="one"), Done(), after=0.1)
    assert day.figures()["finalize_to_text"] == [100.0]


def test_turn_is_measured_from_its_first_sample_to_its_end() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.speak(0.5, 2.0, told=0.8)
    day.audio(2.6)
    day.hear(TurnStart(), TurnUpdate(transcript=""), TurnUpdate(transcript="He"))
    day.hear(TurnEagerEnd(transcript="Hello"), after=0.1)
    day.hear(TurnResume(), after=0.1)
    day.hear(TurnEagerEnd(transcript="Hello."), after=0.1)
    day.hear(TurnEagerEnd(transcript="Hello."), after=0.1)
    day.hear(TurnEnd(transcript="Hello."), TurnEnd(transcript="Hello."), TurnEnd(), Unknown(type="x"), after=0.1)
    assert day.figures() == {"onset_to_text": [2000.0], "speech_to_turn_end": [1100.0], "eager_lead": [200.0]}


def test_update_revokes_an_eager_end() -> None:
    day = Day(auto=True)
    day.hear(TurnStart(), TurnEagerEnd(transcript="a"))
    day.hear(TurnUpdate(transcript="a b"), after=0.5)
    day.hear(TurnEnd(transcript="a b"), after=0.5)
    assert day.figures() == {}


def test_speech_when_a_turn_ends_begins_the_next_turn() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.take_turns(6, late=0.5)
    at = day.position
    day.speak(at, at + 1.0, end=at + 1.6, told=at + 0.6)
    day.hear(TurnUpdate(transcript="one"))
    day.audio(at + 1.9)
    day.mark("onset", at + 1.85)
    day.audio(at + 2.0)
    day.hear(TurnEnd(transcript="one"))
    day.audio(at + 2.4)
    day.hear(TurnStart())
    day.audio(at + 2.6)
    day.hear(TurnUpdate(transcript="two"))
    day.hear(TurnEnd(transcript="two"))
    one, two = day.report()["utterances"][-2:]
    assert one["latency_ms"] == {"onset_to_text": 1500.0, "speech_to_turn_end": 1000.0}
    assert two["latency_ms"] == {"onset_to_text": 700.0}  # of the second, nobody heard an end


def test_repeated_end_does_not_end_the_next_turn() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.speak(0.0, 1.0, told=0.3)
    day.hear(TurnEnd(transcript="one"))
    day.audio(1.5)
    day.mark("onset", 1.5)
    day.audio(1.7)
    day.hear(TurnEnd(transcript="one"), TurnEnd())
    day.audio(1.8)
    day.hear(TurnStart())
    day.audio(2.0)
    day.mark("pause", 2.0)
    day.audio(2.5)
    day.hear(TurnEnd(transcript="two"))
    assert day.figures()["speech_to_turn_end"] == [0.0, 500.0]


def test_turn_shorter_than_its_speech_has_no_last_speech() -> None:
    day = Day(auto=True)
    day.speak(0.0, 1.0)
    day.audio(1.4)
    day.hear(TurnStart(), TurnEnd(transcript="one"))  # what was said 1.3 s ago is told: then its end was not heard yet
    assert day.figures() == {"onset_to_text": [1300.0]}


def test_turn_that_ends_during_speech_has_no_last_speech() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.mark("onset", 0.0)
    day.audio(0.3)
    day.hear(TurnStart())
    day.audio(2.0)
    day.hear(TurnEnd(transcript="one"))
    assert day.figures() == {"onset_to_text": [1900.0]}
    day = Day(auto=True)
    day.speak(0.0, 1.0, told=0.3)
    day.audio(1.4)
    day.mark("resume", 1.3)
    day.audio(2.0)
    day.hear(TurnEnd(transcript="one"))
    assert day.figures() == {}  # nor is it certain how much of that it is


def test_sound_ignored_by_the_server_begins_no_turn() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.speak(0.0, 0.3, end=0.9)
    day.speak(20.0, 21.0, told=20.3)
    day.hear(TurnUpdate(transcript="Sorry."))
    day.audio(21.5)
    day.hear(TurnEnd(transcript="Sorry."))
    assert day.figures() == {"onset_to_text": [900.0], "speech_to_turn_end": [500.0]}


def test_sound_just_before_the_first_turn_makes_its_onset_ambiguous() -> None:
    day = Day(auto=True)
    day.speak(0.0, 0.3, end=0.9)
    day.speak(4.0, 5.0, told=4.3)
    day.audio(5.5)
    day.hear(TurnEagerEnd(transcript="Sorry."), TurnEnd(transcript="Sorry."))
    assert day.figures() == {"eager_lead": [0.0]}


def test_pause_within_a_turn_does_not_move_its_onset() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.take_turns(6, late=0.1)
    for start in (20.0, 21.5, 23.0, 24.5):
        day.speak(start, start + 0.5, end=start + 1.1, told=start + 0.2)
    day.audio(26.0)
    day.hear(TurnEnd(transcript="at last"))
    utterance = day.report()["utterances"][-1]
    assert (utterance["start"], utterance["end"]) == (20.0, 25.0)
    assert utterance["latency_ms"] == {"onset_to_text": 5900.0, "speech_to_turn_end": 1000.0}


def test_turns_without_words_or_end_have_no_end_latency() -> None:
    day = Day(auto=True)
    day.hear(Connected())
    day.speak(0.0, 0.5, told=0.3)
    day.hear(TurnEnd())
    day.speak(1.0, 1.5, told=1.3)
    day.hear(TurnUpdate(transcript="a"))
    day.speak(2.0, 2.5, told=2.3)
    day.hear(TurnUpdate(transcript="b"), TurnEnd(transcript="b"))
    assert day.figures() == {}  # where "a" was over is not certain, nor is where "b" began


def test_lateness_drift_and_gaps_are_reported() -> None:
    day = Day()
    for late in (0.001, 0.0, 0.004, 1.5, 0.003):
        day.recorder.late(late)
    day.recorder.gap(0.5)
    pacing = day.report()["pacing"]
    assert pacing == {
        "lateness_ms": {"count": 5, "p50": 3.0, "p95": 1500.0, "p99": 1500.0, "max": 1500.0},
        "drift_ms": 2.0,
        "gaps": 1,
        "gap_seconds": 0.5,
    }


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_percentiles_are_observed_values_by_nearest_rank(values: list[float]) -> None:
    percentiles = Percentiles()
    for value in values:
        percentiles.add(value)
    summary = percentiles.summary()
    assert summary["count"] == len(values) and "sampled" not in summary
    assert summary["max"] == round(max(values) * 1000, 1)
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
        held = [value for value in values if round(value * 1000, 1) <= summary[name]]
        assert len(held) * 100 >= share * len(values)
        assert summary[name] in {round(value * 1000, 1) for value in values}
        below = [value for value in values if round(value * 1000, 1) < summary[name]]
        assert len(below) < math.ceil(len(values) * share / 100)


def test_values_beyond_the_limit_are_thinned_evenly() -> None:
    percentiles = Percentiles()
    for number in range(5 * MAX_VALUES):
        percentiles.add(number / 1000)
    summary = percentiles.summary()
    assert summary["count"] == 5 * MAX_VALUES and summary["max"] == 5 * MAX_VALUES - 1
    assert MAX_VALUES / 2 <= summary["sampled"] <= MAX_VALUES
    assert summary["p50"] == pytest.approx(2.5 * MAX_VALUES, abs=16)
    assert summary["p99"] == pytest.approx(4.95 * MAX_VALUES, abs=16)


def test_memory_does_not_grow_with_the_session() -> None:
    def sizes(utterances: int) -> tuple[int, int, int]:
        day = Day()
        for _ in range(utterances):
            start = day.position
            day.speak(start, start + 0.2, end=start + 0.8)
            day.finalize()
            day.hear(Delta(text="x"), FlushDone())
        return _size(day.recorder), _size(day.tracker), _size(day.timeline)

    assert MAX_LISTED < 1100  # of everything that is kept one by one, more came than is kept
    for longer, shorter in zip(sizes(2200), sizes(1100), strict=True):
        assert longer <= shorter * 1.1


def test_memory_does_not_grow_with_unanswered_speech() -> None:
    timeline, sizes = SpeechTimeline(), []
    for start in range(2 * MAX_SPANS + 200):
        timeline.speech_started(start)
        timeline.advance(start + 0.5, start)
        timeline.speech_stopped(start + 0.4)
        if start in (MAX_SPANS + 100, 2 * MAX_SPANS + 100):
            sizes.append(_size(timeline))
    assert sizes[1] <= sizes[0] * 1.05
    assert timeline.end_utterance() == (0, start + 0.4)


def test_speech_sent_too_long_ago_is_not_measured() -> None:
    day = Day()
    day.mark("onset", 0.2)
    day.audio(60.0)
    day.mark("end", 0.5)
    day.finalize()
    day.hear(FlushDone(), after=0.1)
    assert day.figures() == {"finalize_to_flush_done": [100.0]}


def _size(thing: Any) -> int:
    """Bytes of an object with all that it holds."""
    if isinstance(thing, dict):
        return sys.getsizeof(thing) + sum(_size(value) for value in thing.values())
    if isinstance(thing, list | tuple) or type(thing).__name__ == "deque":
        return sys.getsizeof(thing) + sum(map(_size, thing))
    if hasattr(thing, "__slots__") and not isinstance(thing, int | float | str | np.generic):
        return sys.getsizeof(thing) + sum(_size(getattr(thing, name)) for name in thing.__slots__)
    return sys.getsizeof(thing) + (_size(vars(thing)) if hasattr(thing, "__dict__") else 0)


class Wire:
    """The far end of a session: it takes audio in real time, and answers `finalize`."""

    def __init__(self) -> None:
        self._events = asyncio.Queue[tuple[float, Event] | None]()

    async def send(self, frame: bytes) -> None:
        await asyncio.sleep(len(frame) / 2 / RATE)

    async def send_command(self, command: Command) -> None:
        match command:
            case Finalize():
                for event in (0.15, Delta(text=" word")), (0.1, FlushDone()):
                    self._events.put_nowait(event)
            case Close():
                self._events.put_nowait((0.1, Done()))
                self._events.put_nowait(None)
        await self._events.join()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            item = await self._events.get()
            if item is None:
                self._events.task_done()
                return
            await asyncio.sleep(item[0])
            yield item[1]
            self._events.task_done()


class Recording:
    def __init__(self, samples: Any) -> None:
        self._samples = samples

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        for at in range(0, len(self._samples), 1600):
            yield AudioBlock(encode_s16le(self._samples[at : at + 1600]))


def test_session_with_speech_reports_its_latencies() -> None:
    words = say("Good morning.")
    spoken = np.concatenate([silence(1.0), words, silence(1.5), words, silence(1.5)])
    recorder, updates = LatencyRecorder(RealtimeOptions(model="ink-2"), 3200), list[Update]()

    async def run() -> None:
        await Session(
            lambda again: nullcontext(Wire()), Recording(spoken), ManualTracker(SpeechTimeline()), Endpointer(),
            sends_finalize=True, has_finalize=True, frame_bytes=3200, write=updates.append,
            observer=recorder, pace=1000.0,
        ).run(StopSignal())  # fmt: skip

    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        runner.run(run())
    report = recorder.report()
    assert report["bytes"] == 2 * len(spoken)
    assert [round(u["start"]) for u in report["utterances"][:1]] == [1]
    figures = figures_of_all(report)
    assert figures["finalize_to_text"][:2] == [150.0, 150.0]
    assert figures["finalize_to_flush_done"][:2] == [250.0, 250.0]
    assert len(figures["speech_to_finalize"]) == 2
    for late in figures["speech_to_finalize"]:  # the end silence, and the frames that begin and end of it lie in
        assert 500.0 <= late <= 800.0
    for late in figures["onset_to_text"]:
        assert late >= len(words) / RATE * 1000 * 0.7


def test_stats_report_has_a_row_for_each_figure_and_fits_the_width() -> None:
    day = Day()
    for start in (0.0, 5.0, 10.0):
        day.speak(start, start + 1.0, end=start + 1.6)
        day.finalize()
        day.hear(Delta(text="x"), FlushDone(), after=0.1 + start / 50)
        day.recorder.late(0.001)
    report = day.report()
    drawn = render_report(report, 100)
    assert "finalize to last text" in drawn and "credits" in drawn and "drift 0.0 ms" in drawn
    assert drawn.splitlines()[0].split() == ["ms", "count", "p50", "p95", "p99", "max"]
    assert any(block in drawn for block in BLOCK_RAMP[1:])
    for width in (30, 40, 50, 60, 80, 200):
        assert all(len(line) <= width for line in render_report(report, width).splitlines())
        render_report(report, width, encoding="ascii").encode("ascii")


def test_empty_stats_report_is_rendered() -> None:
    expected = "sent: 0.0 s of audio, 0 bytes, 0 credits\nformat: pcm_s16le, 16000 Hz, 256 kbit/s\n"
    assert render_report(Day().report(), 80) == expected


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=100), st.integers(1, 60), st.sampled_from(["utf-8", "ascii"]))
def test_histogram_shows_rare_values(values: list[float], count: int, encoding: str) -> None:
    drawn = draw_bars(count_in_bins(values, count), encoding)
    ramp = ASCII_RAMP if encoding == "ascii" else BLOCK_RAMP
    assert len(drawn) == count
    assert ramp[-1] in drawn
    assert drawn[0] != " " and (drawn[-1] != " " or max(values) == min(values))
    assert sum(bar != " " for bar in drawn) <= len(values)


def test_outage_does_not_count_as_latency() -> None:
    day = Day()
    day.speak(1.0, 1.5, end=2.0)
    day.now += 30.0
    day.rewind(0.0)
    day.mark("onset", 1.0)  # what is sent again has been heard before
    day.audio(1.5)
    day.mark("pause", 1.5)
    day.audio(2.0)
    day.finalize()
    day.hear(Delta(text="x"), FlushDone(), after=0.1)
    figures = day.figures()
    assert figures["onset_to_text"] == [pytest.approx(1000.0)]  # the first sample left at 1.1
    assert figures["speech_to_finalize"] == [pytest.approx(500.0)]


def test_speech_that_began_before_the_resent_audio_has_no_onset() -> None:
    day = Day()
    day.audio(1.0)
    day.mark("onset", 1.0)
    day.audio(2.0)
    day.now += 30.0
    day.rewind(1.5)
    day.mark("onset", 1.0)
    day.audio(2.0)
    day.mark("end", 1.8)
    day.finalize()
    day.hear(Delta(text="x"), FlushDone(), after=0.1)
    assert set(day.figures()) == {"finalize_to_text", "finalize_to_flush_done", "speech_to_finalize"}


def test_resent_audio_is_counted_twice() -> None:
    day = Day()
    day.audio(2.0)
    day.rewind(1.0)
    day.audio(2.0)
    report = day.report()
    assert (report["bytes"], report["seconds"], day.recorder.sent_seconds) == (96_000, 3.0, 3.0)
    assert report["credits"] == 9.0


def test_pending_latencies_are_dropped_when_the_connection_is_lost() -> None:
    day = Day()
    day.speak(0.0, 1.0, end=1.6)
    day.finalize()
    day.hear(Delta(text="one"), FlushDone(), after=0.1)
    day.speak(2.0, 3.0, end=3.6)
    day.finalize()
    day.hear(Delta(text="two"), after=0.1)
    day.rewind(1.7)
    assert day.figures() == {
        "speech_to_finalize": [600.0], "finalize_to_flush_done": [100.0], "finalize_to_text": [100.0],
        "onset_to_text": [1600.0],
    }  # fmt: skip


def test_repeated_turn_after_a_reconnect_is_not_measured_and_a_new_one_is() -> None:
    day = Day(auto=True)
    day.speak(0.5, 1.5, told=0.7)
    day.audio(2.0)
    day.hear(TurnEnd(transcript="one two"))
    day.rewind(0.0)
    day.now += 30.0
    for start, text in ((0.5, "one two"), (2.5, "three four")):
        day.speak(start, start + 1.0, told=start + 0.2)
        day.audio(start + 1.5)
        day.hear(TurnEnd(transcript=text))
    assert day.figures() == {"onset_to_text": [1400.0, 1400.0], "speech_to_turn_end": [500.0, 500.0]}


class Attended:
    """A watch whose audio goes out in frames of 100 ms, and comes in blocks of as much."""

    def __init__(self) -> None:
        self.now = 1000.0
        options = RealtimeOptions(model="ink-2")
        self.watch = LatencyRecorder(options, 3200, captured=lambda: self.now, clock=lambda: self.now)

    def hear(self, frames: int, *, sent: bool = True) -> None:
        for _ in range(frames):
            self.now += 0.1
            self.watch.audio_arrived(3200)
            if sent:
                self.watch.audio_sent(3200)

    @property
    def figures(self) -> dict[str, Any]:
        latencies: dict[str, Any] = self.watch.report()["latency_ms"]
        return {name: (latencies[name]["count"], latencies[name]["max"]) for name in latencies if name in WAITS}


def test_key_to_finalize_is_measured() -> None:
    day = Attended()
    day.hear(5)
    day.watch.finalize_requested()
    day.now += 0.02
    day.watch.finalize_sent()
    assert day.figures == {"key_to_finalize": (1, 20.0)}


def test_outage_counts_neither_for_keys_nor_for_the_silence_at_the_end() -> None:
    day = Attended()
    day.hear(10)
    day.watch.vad_event(VadEvent("end", 0.5, 0.9))
    day.hear(5, sent=False)
    day.watch.finalize_requested()
    day.hear(300, sent=False)
    day.watch.rewound(1.0)
    for _ in range(5):
        day.watch.audio_sent(3200)
    day.watch.finalize_sent()
    assert day.figures == {}


def test_key_latency_is_that_of_its_own_finalize() -> None:
    day = Attended()
    day.hear(10)
    day.hear(5, sent=False)
    day.watch.finalize_requested()  # in an outage, too
    day.watch.rewound(1.0)
    day.hear(2, sent=False)
    day.watch.finalize_requested()
    for _ in range(5):
        day.watch.audio_sent(3200)
    day.watch.finalize_sent()
    day.now += 0.3
    for _ in range(2):
        day.watch.audio_sent(3200)
    day.watch.finalize_sent()
    assert day.figures == {"key_to_finalize": (1, 300.0)}
