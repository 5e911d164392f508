"""No word is lost and none is said twice, however a server ends turns, how late it answers, and how often it drops.

Sessions run in simulated time against `tests.late_server`, which hears numbers in the audio that really arrives.
More of them, with what they cost in audio sent again, are in benchmarks/lost_connections.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count, product

import pytest

from cartesia_cli.audio.pcm import RATE, encode_s16le
from cartesia_cli.audio.vad import Endpointer
from cartesia_cli.protocol.realtime import RealtimeOptions
from cartesia_cli.session import Session
from cartesia_cli.session.interfaces import Connect, Source, StopSignal
from cartesia_cli.session.latency import LatencyRecorder
from cartesia_cli.session.reconnect import MAX_ATTEMPTS, ReconnectPolicy
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker
from cartesia_cli.transcript import Segment, Update
from tests import late_server
from tests.late_server import CHUNK, LateSession, delays, random_lifetimes
from tests.tones import TONE, Recognizer, spoken

pytestmark = pytest.mark.waits

NUMBERS, DROPS = 40, 10
INK_2 = RealtimeOptions(model="ink-2")
REPEATED = [7, 7, 8, 7, 7, 7, 9, 8, 8] * 4, [7] * 40, [1, 2, 3] * 12, [n for k in range(20, 40) for n in (7, k)]
LATENESS = [0.0, 0.5, 1.2, 3.0, 10.0, "random"]
TURN_SILENCES, RESTS = (0.15, 0.35, 0.7, 1.0), (0.2, 0.5, 0.9)

MAX_RESENT_SECONDS = 4.0
"""Audio that may be sent again after a lost connection: what wasn't answered, and a little more."""


def session_factory(tries: int = 1000, recorder: LatencyRecorder | None = None) -> Callable[..., Session]:
    """Makes sessions for `LateSession`. `tries`: lost connections in a row that are replaced."""

    def make(
        connect: Connect, source: Source, endpointer: Endpointer, *, manual: bool, chunk: int,
        write: Callable[[Update], None], pace: float,
    ) -> Session:  # fmt: skip
        return Session(
            connect, source, (ManualTracker if manual else TurnTracker)(SpeechTimeline()), endpointer,
            sends_finalize=manual, has_finalize=manual, frame_bytes=chunk, write=write,
            reconnect_policy=ReconnectPolicy(tries), pace=pace, observer=recorder,
        )  # fmt: skip

    return make


def run(
    numbers: list[int], *, manual: bool = False, silence: float = 0.35, late: float | str = 0.5, rest: float = 0.9,
    lives: list[float] | None = None, seed: int = 0, updates: bool = True, speed: float = 1.0,
    last: float | None = None, tries: int = 1000, recorder: LatencyRecorder | None = None,
) -> LateSession:  # fmt: skip
    """Run a session in which these numbers are said.

    silence   seconds of silence after which the server ends a turn
    late      seconds after which its events arrive, or "random": see `delays`
    rest      seconds of silence around each number
    lives     seconds that each connection lasts; None: DROPS of random length
    seed      of the random numbers
    updates   whether the server sends text before an utterance has ended
    speed     how many times faster than real time the audio is sent
    last      seconds that each connection after `lives` lasts; None: for ever
    tries     lost connections in a row that are replaced
    """
    dice = random.Random(seed)
    audio = encode_s16le(spoken(numbers, rest))
    if lives is None:
        lives = random_lifetimes(dice, DROPS, len(audio) / 2 / RATE / DROPS / speed)
    return LateSession(
        audio, session_factory(tries, recorder), StopSignal, manual=manual, silence=silence,
        lateness=delays(dice, late), lives=lives, updates=updates, speed=speed, last=last,
    )  # fmt: skip


@pytest.mark.parametrize("late", LATENESS)
def test_auto_mode_settles_each_number_once_in_order(late: float | str) -> None:
    half = LATENESS.index(late) % 2  # half of the combinations, to save time: the others with the next lateness
    for seed, (silence, rest) in [*enumerate(product(TURN_SILENCES, RESTS))][half::2]:
        session = run([*range(NUMBERS)], silence=silence, rest=rest, late=late, seed=seed, updates=seed % 4 < 2)
        assert (session.heard, session.error) == ([*range(NUMBERS)], None), (silence, rest)
        assert len(session.connections) > 3


@pytest.mark.parametrize("late", LATENESS)
def test_manual_mode_settles_each_number_once_in_order(late: float | str) -> None:
    for seed, rest in enumerate((0.2, 0.9, 1.5)):
        session = run([*range(NUMBERS)], manual=True, rest=rest, late=late, seed=seed)
        assert (session.heard, session.error) == ([*range(NUMBERS)], None), rest


@pytest.mark.parametrize("speed", [4.0, 10.0])
def test_replay_faster_than_real_time_loses_nothing(speed: float) -> None:
    for seed, rest in enumerate(RESTS):
        session = run([*range(NUMBERS)], rest=rest, late=1.2, seed=seed, speed=speed)
        assert session.heard == [*range(NUMBERS)]


def test_repeated_numbers_are_settled_as_often_as_spoken() -> None:
    """What was heard before is recognized by its order, not by its words alone."""
    for numbers, seed in product(REPEATED, range(3)):
        for rest in (0.5, 0.9):
            session = run(numbers, late=0.5, seed=seed, rest=rest)
            assert session.heard == numbers


def test_reconnect_resends_little_more_than_the_unanswered_audio() -> None:
    lives = [10.0, 10.0, 10.0]
    session = run([*range(NUMBERS)], late=0.5, lives=lives)
    whole = len(spoken(range(NUMBERS), 0.9)) / RATE
    assert session.heard == [*range(NUMBERS)]
    assert session.sent < whole + len(lives) * MAX_RESENT_SECONDS


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_settled_text_stays_when_shorter_connections_follow(manual: bool) -> None:
    """No utterance ends here: everything is open text, which each connection says from its beginning."""
    lives = [8.0, 1.2, 1.2, 1.2]
    session = run(
        [*range(NUMBERS)], manual=manual, rest=0.12, silence=1.0, late=0.0, lives=lives, last=0.05, tries=MAX_ATTEMPTS
    )
    assert session.error is not None
    assert session.heard == [*range(len(session.heard))]
    assert len(session.heard) >= 15


def test_session_makes_progress_although_no_connection_lasts() -> None:
    """Each is lost before all unanswered audio has been recognized again."""
    dice = random.Random(1)
    lives = [dice.uniform(1.5, 5.0) for _ in range(200)]
    for rest, silence in ((0.9, 0.35), (0.5, 0.15), (0.9, 0.7)):
        session = run([*range(30)], late=0.5, rest=rest, silence=silence, lives=lives)
        assert (session.heard, session.error) == ([*range(30)], None)
        assert len(session.connections) < 60


def test_session_without_progress_ends_after_some_tries() -> None:
    session = run([*range(NUMBERS)], lives=[], last=0.4, tries=MAX_ATTEMPTS)
    assert session.error is not None
    assert len(session.connections) < 4 * MAX_ATTEMPTS


def mishear(monkeypatch: pytest.MonkeyPatch, again: Callable[[int], list[int]]) -> None:
    """Make the server recognize each number differently on all connections but the first."""
    connections = count()

    class Mishearing(Recognizer):
        def __init__(self) -> None:
            super().__init__()
            self._is_first = not next(connections)

        def _settle(self) -> None:
            before = len(self.heard)
            super()._settle()
            if not self._is_first:
                self.heard[before:] = [found for number in self.heard[before:] for found in again(number)]

    monkeypatch.setattr(late_server, "Recognizer", Mishearing)


def test_resent_audio_that_gives_other_text_is_sent_from_the_acknowledged_position_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here that position falls between two samples."""
    mishear(monkeypatch, lambda number: [number + 100])
    session = run([*range(16)], late=0.5, rest=0.6, silence=0.15, lives=[15.5], updates=False, last=30.0, tries=20)
    assert session.error is None and session.heard[:13] == [*range(13)] and session.heard[-3:] == [113, 114, 115]
    assert len(session.connections) == 3


def test_session_ends_although_the_last_word_is_not_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mishear(monkeypatch, lambda number: [number] if number != 7 else [])
    session = run([*range(8)], late="random", rest=0.7, silence=0.15, lives=[9.7], seed=123, updates=False)
    assert (session.error, session.heard) == (None, [*range(8)])
    assert len(session.connections) == 3


def placed(session: LateSession) -> list[tuple[Segment, float]]:
    """Segments of one number each, and where it was said."""
    rest = 0.9
    return [(segment, rest + number * (TONE + rest)) for number, segment in enumerate(session.segments)]


@pytest.mark.parametrize("late", [0.0, 2.8, 10.0])
@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_turns_are_timed_where_they_were_spoken_at_any_delay(late: float, speed: float) -> None:
    session = run([*range(20)], late=late, lives=[], speed=speed)
    assert session.heard == [*range(20)]
    for number, (segment, at) in enumerate(placed(session)):
        # The delay of a server is known after some turns, unless there was no speech since.
        assert segment.timing == "audio" or number < 6
        assert segment.start == pytest.approx(at, abs=0.1)
        assert segment.end == pytest.approx(at + TONE, abs=0.1)


def test_times_after_reconnects_are_right_or_labelled_estimated() -> None:
    for seed in range(4):
        session = run([*range(NUMBERS)], late="random", seed=seed)
        assert session.heard == [*range(NUMBERS)]
        for segment, at in placed(session):
            if segment.timing == "audio":
                assert segment.start == pytest.approx(at, abs=0.15)
            assert 0 <= segment.start < segment.end


FRAME = CHUNK / 2 / RATE


def measured(recorder: LatencyRecorder, name: str) -> list[float]:
    """The figures of a name, in seconds."""
    figures = [utterance["latency_ms"].get(name) for utterance in recorder.report()["utterances"]]
    return [figure / 1000 for figure in figures if figure is not None]


@pytest.mark.parametrize("late", [0.0, 0.4, 2.8, 10.0])
def test_turn_latency_is_the_delay_of_the_server_when_later_turns_have_begun(late: float) -> None:
    silence, recorder = 0.35, LatencyRecorder(INK_2, CHUNK)
    session = run([*range(20)], late=late, lives=[], silence=silence, recorder=recorder)
    assert session.heard == [*range(20)]
    assert len(measured(recorder, "speech_to_turn_end")) >= 16  # the first ones tell how late the server is
    for figure in measured(recorder, "speech_to_turn_end"):
        assert figure == pytest.approx(silence + late, abs=FRAME + 0.001)
    for figure in measured(recorder, "onset_to_text"):
        assert figure == pytest.approx(TONE + late, abs=FRAME + 0.001)


@pytest.mark.parametrize("late", [0.0, 0.4, 2.8, 10.0])
def test_utterance_latency_is_the_delay_of_the_server_when_later_ones_were_finalized(late: float) -> None:
    recorder = LatencyRecorder(INK_2, CHUNK)
    session = run([*range(20)], manual=True, late=late, lives=[], updates=False, recorder=recorder)
    assert session.heard == [*range(20)]
    for name in ("finalize_to_flush_done", "finalize_to_text"):
        assert measured(recorder, name)[:20] == pytest.approx([late] * 20, abs=0.001)
    recorder = LatencyRecorder(INK_2, CHUNK)
    run([*range(20)], manual=True, late=late, lives=[], updates=True, recorder=recorder)
    assert len(measured(recorder, "onset_to_text")) == 20
    for figure in measured(recorder, "onset_to_text"):
        assert figure == pytest.approx(TONE + late, abs=FRAME + 0.001)


def test_only_unambiguous_latencies_are_measured_when_the_delay_varies() -> None:
    for seed in range(4):
        recorder = LatencyRecorder(INK_2, CHUNK)
        run([*range(NUMBERS)], late="random", lives=[], seed=seed, recorder=recorder)
        for figure in measured(recorder, "speech_to_turn_end"):
            assert 0.35 <= figure <= 0.35 + 3.0 + FRAME
