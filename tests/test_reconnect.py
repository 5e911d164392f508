"""A lost connection loses no word and says none twice: numbers that are heard, across connections that drop."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import signal
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pexpect
import pytest

from cartesia_cli.audio.pcm import RATE, AudioBlock, encode_s16le
from cartesia_cli.audio.session_recording import SessionRecording
from cartesia_cli.audio.vad import Endpointer, VadSettings
from cartesia_cli.commands.live.interaction import PausableSource
from cartesia_cli.errors import ApiError, AuthError, CliError, NetworkError
from cartesia_cli.protocol.events import Connected, Delta, Done, Event, FlushDone, TurnEnd, TurnStart, TurnUpdate
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.realtime import Close, Command, Config, Finalize, TurnConfig
from cartesia_cli.session import Session
from cartesia_cli.session.interfaces import Skipped, Source, StopSignal, TranscribeRest
from cartesia_cli.session.reconnect import ReconnectPolicy
from cartesia_cli.session.send_buffer import MAX_MEMORY_BYTES
from cartesia_cli.tracker import MAX_RESPONSE_SECONDS, ManualTracker, SpeechTimeline, TurnTracker
from cartesia_cli.transcript import Notice, Segment, Update
from tests.conftest import Run, side_by_side
from tests.fork_server import PIPE, start_program
from tests.late_server import CHUNK, RealtimeAudio
from tests.microphone import open_studio
from tests.realtime_server import RealtimeServer, ServerConnection, refuses
from tests.simulated_time import SimulatedTimeLoop
from tests.speech import write_wav
from tests.test_listen import listening
from tests.tones import REST, Recognizer, random_loss, recognizes, spoken

pytestmark = pytest.mark.waits


class SimulatedConnection:
    """A server on one connection, that says what its recognizer hears; `life`: frames until it drops, None forever."""

    def __init__(self, manual: bool, life: int | None, error: CliError) -> None:
        self._manual, self._life, self._error = manual, life, error
        self._recognizer, self._told, self._in_turn = Recognizer(), 0, False
        self._events: asyncio.Queue[Event | CliError | None] = asyncio.Queue()
        self.commands: list[Command] = []
        self.audio = 0

    async def send(self, frame: bytes) -> None:
        self.audio += len(frame)
        if self._life is not None:
            self._life -= 1
            if self._life < 0:
                self._events.put_nowait(self._error)
                await asyncio.sleep(0.001)
                raise self._error
        self._recognizer.feed(frame)
        if not self._manual:
            self._turns()
        elif len(self._recognizer.heard) > self._told:
            self._tell()
        await asyncio.sleep(0.0005)  # time for the receiver

    async def send_command(self, command: Command) -> None:
        self.commands.append(command)
        match command:
            case Finalize():
                self._events.put_nowait(FlushDone())
            case Close():
                if self._in_turn:
                    self._end_turn()
                if self._manual:
                    self._events.put_nowait(Done())
                self._events.put_nowait(None)
        await asyncio.sleep(0.0005)

    async def __aiter__(self) -> AsyncIterator[Event]:
        yield Connected(request_id="x")
        while (event := await self._events.get()) is not None:
            if isinstance(event, CliError):
                raise event
            yield event

    def _tell(self) -> None:
        for number in self._recognizer.heard[self._told :]:
            self._events.put_nowait(
                Delta(text=f" {number}", words=(Word(str(number), self.audio / 32000 - 0.3, None),))
            )
        self._told = len(self._recognizer.heard)

    def _turns(self) -> None:
        if self._recognizer.within and not self._in_turn:
            self._in_turn = True
            self._events.put_nowait(TurnStart())
        if self._in_turn and len(self._recognizer.heard) > self._told and self._recognizer.quiet < 0.3:
            self._events.put_nowait(TurnUpdate(transcript=self._text()))
        if self._in_turn and self._recognizer.quiet >= 0.4:
            self._end_turn()

    def _end_turn(self) -> None:
        self._events.put_nowait(TurnEnd(transcript=self._text()))
        self._told, self._in_turn = len(self._recognizer.heard), False

    def _text(self) -> str:
        return "".join(f" {number}" for number in self._recognizer.heard[self._told :])


class Case:
    """A session over connections with these lifetimes; the last one is never lost.

    outage      seconds until there is another connection
    config_at   when `config` is requested
    """

    def __init__(
        self, numbers: list[int], lives: list[int], *, manual: bool, rest: float = 0.9, finalize: bool = True,
        error: CliError | None = None, tries: int = 50, last: int | None = None, config: Config | None = None,
        noise: float = 0.0005, catch_up: TranscribeRest | None = None, outage: float = 0.0,
        source: Source | None = None, config_at: float = 0.0,
    ) -> None:  # fmt: skip
        self.connections: list[SimulatedConnection] = []
        self.updates: list[Update] = []
        self.error: CliError | None = None
        error = error or NetworkError("lost")
        source = source or RealtimeAudio(encode_s16le(spoken(numbers, rest, noise)))

        @asynccontextmanager
        async def connect(is_reconnect: bool) -> AsyncIterator[SimulatedConnection]:
            assert is_reconnect == bool(self.connections)
            await asyncio.sleep(outage if is_reconnect else 0.0)
            life = lives[len(self.connections)] if len(self.connections) < len(lives) else last
            self.connections.append(SimulatedConnection(manual, life, error))
            yield self.connections[-1]

        async def run() -> None:
            timeline = SpeechTimeline()
            tracker = (ManualTracker if manual else TurnTracker)(timeline)
            session = Session(
                connect, source, tracker, Endpointer(VadSettings(silence_ms=400)),
                sends_finalize=finalize and manual, has_finalize=manual, frame_bytes=CHUNK, write=self.updates.append,
                reconnect_policy=ReconnectPolicy(tries, jitter=lambda: -0.5), transcribe_rest=catch_up,
            )  # fmt: skip
            if config is not None:
                asyncio.get_running_loop().call_later(config_at, session.send_command, config)
            try:
                async with asyncio.timeout(3600):  # no test hangs
                    await session.run(StopSignal())
            except CliError as failure:
                self.error = failure
            self.sent = timeline.sent

        with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
            runner.run(run())

    @property
    def segments(self) -> list[Segment]:
        return [update for update in self.updates if isinstance(update, Segment)]

    @property
    def words(self) -> list[Word]:
        return [word for segment in self.segments for word in segment.words]

    @property
    def heard(self) -> list[int]:
        return [int(number) for segment in self.segments for number in segment.text.split()]

    def noticed(self, event: str) -> list[Notice]:
        return [update for update in self.updates if isinstance(update, Notice) and update.event == event]


NUMBERS = list(range(40))
BROKEN = -1


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
@pytest.mark.parametrize("noise", [0.0, 0.0005, 0.005], ids=["digital", "quiet", "noisy"])
@pytest.mark.parametrize("seed", range(3))
def test_lost_connections_lose_and_double_no_number(manual: bool, seed: int, noise: float) -> None:
    """Over digital silence the endpointer takes even tones for noise, and doesn't help."""
    dice = random.Random(seed)
    lives = [dice.randrange(1, 60) for _ in range(20)]
    case = Case(NUMBERS, lives, manual=manual, rest=dice.choice([0.6, 0.9, 1.5]), noise=noise)
    assert case.error is None
    assert case.heard == NUMBERS
    assert len(case.noticed("reconnected")) == len(case.connections) - 1 > 5
    starts = [segment.start for segment in case.segments]
    assert starts == sorted(starts)


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_times_after_reconnect_count_from_session_start(manual: bool) -> None:
    whole, torn = Case(NUMBERS, [], manual=manual), Case(NUMBERS, [33, 50, 21, 80], manual=manual)
    assert len(torn.connections) == 5
    for before, after in zip(whole.segments, torn.segments, strict=True):
        assert (after.start, after.end) == (pytest.approx(before.start, abs=0.25), pytest.approx(before.end, abs=0.25))
    for before, after in zip(whole.words, torn.words, strict=True):
        assert after.start == pytest.approx(before.start, abs=0.11)


def test_without_finalize_all_audio_is_resent() -> None:
    case = Case(NUMBERS[:10], [70], manual=True, finalize=False)
    assert case.heard == NUMBERS[:10]
    assert case.connections[1].audio == len(encode_s16le(spoken(NUMBERS[:10], 0.9)))


def test_acknowledged_audio_is_not_resent() -> None:
    case = Case(NUMBERS, [300], manual=True)
    assert case.heard == NUMBERS
    assert case.connections[1].audio < len(encode_s16le(spoken(NUMBERS, 0.9))) - 250 * CHUNK


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_long_silence_is_not_resent(manual: bool) -> None:
    case = Case([], [200], manual=manual, rest=40.0)
    assert [len(case.connections), case.error] == [2, None]
    assert (
        case.connections[1].audio
        <= len(encode_s16le(spoken([], 40.0))) - 200 * CHUNK + (MAX_RESPONSE_SECONDS + 0.2) * 2 * RATE
    )


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_session_gives_up_after_connections_without_progress(manual: bool) -> None:
    lost = NetworkError("lost")
    case = Case(NUMBERS, [200], manual=manual, error=lost, tries=5, last=3)
    assert case.error is lost
    assert len(case.connections) == 6
    assert case.heard == NUMBERS[: len(case.heard)]
    assert len(case.heard) >= 15


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_open_text_of_last_connection_is_written(manual: bool) -> None:
    rest = 0.1  # one utterance, one turn, without an end
    case = Case(NUMBERS[:30], [60], manual=manual, rest=rest, tries=0)
    assert isinstance(case.error, NetworkError)
    assert case.heard == NUMBERS[: len(case.heard)]
    assert len(case.heard) >= 10


@pytest.mark.parametrize("error", [ApiError("bad", status=400), AuthError("who?", status=401)])
def test_refused_reconnect_ends_session(error: CliError) -> None:
    case = Case(NUMBERS, [100], manual=True, error=error)
    assert case.error is error
    assert len(case.connections) == 1


def test_config_is_sent_to_new_connection() -> None:
    shifted = Config(TurnConfig(end_threshold=0.2))
    case = Case(NUMBERS[:10], [50], manual=False, config=shifted)
    assert [connection.commands[0] for connection in case.connections] == [shifted, shifted]
    assert case.heard == NUMBERS[:10]


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_large_backlog_at_end_is_caught_up_in_batch(manual: bool) -> None:
    taken: list[float] = []

    async def catch_up(audio: Iterable[bytes], at: float) -> list[Segment]:
        taken.append(at)
        ears = Recognizer()
        for block in audio:
            ears.feed(block)
        return [Segment(at, at + 1, f" {number}", "server") for number in ears.heard]

    case = Case(list(range(80)), [200, 40], manual=manual, catch_up=catch_up, outage=50.0)
    assert case.error is None
    assert case.heard == list(range(80))
    assert len(taken) == 1
    assert taken[0] > 0.5
    assert case.sent == pytest.approx(len(spoken(range(80))) / RATE)


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_failed_catch_up_continues_in_real_time(manual: bool) -> None:
    async def catch_up(audio: Iterable[bytes], at: float) -> list[Segment]:
        raise ApiError("no such route", status=404)

    case = Case(list(range(80)), [200], manual=manual, catch_up=catch_up, outage=90.0)
    assert case.error is None
    assert case.heard == list(range(80))
    assert len(case.noticed("catch_up_failed")) == 1


def test_full_disk_does_not_end_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    numbers = list(range(150))
    case = Case(numbers, [], manual=True, finalize=False)
    assert case.error is None
    assert case.heard == numbers
    assert len(case.noticed("buffer_full")) == 1


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_text_of_dropped_audio_is_kept(monkeypatch: pytest.MonkeyPatch, manual: bool) -> None:
    """Some of it is heard again, from anywhere within a number: better twice than never."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    numbers = list(range(200))
    case = Case(numbers, [900, 300], manual=manual, rest=0.3, finalize=False)
    assert case.error is None
    assert sorted(set(case.heard) - {BROKEN}) == numbers
    assert len(case.connections) == 3
    assert len(case.heard) < len(numbers) + 2 * MAX_MEMORY_BYTES / len(encode_s16le(spoken([0], 0.3)))


def test_change_of_settings_is_sent_even_if_the_audio_before_it_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    shifted = Config(TurnConfig(end_threshold=0.2))
    case = Case(list(range(150)), [50], manual=False, outage=150.0, config=shifted, config_at=30.0)
    assert len(case.noticed("buffer_full")) == 1
    assert [connection.commands for connection in case.connections] == [[], [shifted, Close()]]


class Recorded(PausableSource):
    """Numbers that are recorded, with the microphone paused during some of them."""

    def __init__(self, numbers: list[int], paused: range, folder: Path, *, manual: bool) -> None:
        tape = RealtimeAudio(encode_s16le(spoken(numbers, REST, 0.0005)))
        super().__init__(SessionRecording(tape, folder), print, lambda: None, sends_silence=not manual)
        first, last = (len(spoken(range(count))) * 2 // 640 for count in (paused.start, paused.stop))
        self._paused_blocks = range(first, last)

    async def blocks(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
        number = 0
        async with aclosing(super().blocks()) as blocks:
            async for block in blocks:
                number += 1
                self.paused = number in self._paused_blocks
                yield block


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_outage_is_resent_from_recording_without_paused_audio(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, manual: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    numbers, paused = list(range(150)), range(40, 50)
    source = Recorded(numbers, paused, tmp_path, manual=manual)
    case = Case([], [120], manual=manual, outage=150.0, source=source)
    assert case.error is None
    assert case.heard == [number for number in numbers if number not in paused]
    assert not case.noticed("buffer_full")
    assert len(case.noticed("reconnected")) == 1


# The program, and a server of another make


def test_program_loses_no_number_over_ten_connections(run: Run, tmp_path: Path) -> None:
    """In real time: a turn has no times, and how far a server has heard shows by the clock alone."""

    def replay(row: tuple[str, float, float]) -> None:
        lose_connections(run, tmp_path, *row)

    side_by_side(replay, [("manual", 0.4, 1.2), ("auto", 0.4, 0.0), ("auto", 0.35, 0.5)])


def lose_connections(run: Run, folder: Path, mode: str, turn_silence: float, late: float) -> None:
    dice = random.Random(mode)
    numbers = NUMBERS[:12]
    recording = write_wav(folder / f"{mode}-{late}.wav", spoken(numbers))
    kind = {"turn_silence": turn_silence, "late": late}
    scripts = [recognizes(dice.uniform(0.3, 3.0) + 3 * late, random_loss(dice), **kind) for _ in range(10)]
    with RealtimeServer(*scripts, recognizes(**kind)) as server:
        ended = run(
            "stream-file", recording, "--mode", mode, "-f", "ndjson", "--base-url", server.base_url,
            "--catch-up", "live", env={"CARTESIA_API_KEY": "sk_car_test"},
        )  # fmt: skip
        connections = len(server.records)
    told = ended.stderr.decode()
    assert ended.returncode == 0, told
    updates = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [int(n) for update in updates if update["type"] == "segment" for n in update["text"].split()] == numbers
    events = [update["event"] for update in updates if update["type"] == "notice"]
    assert events.count("reconnected") == connections - 1 >= (3 if late else 8)
    assert "reconnecting" in told and "Traceback" not in told
    assert [update["complete"] for update in updates if update["type"] == "end"] == [True]


def test_microphone_is_recorded_while_reconnecting(environment: dict[str, str], tmp_path: Path) -> None:
    dice = random.Random(3)
    numbers = NUMBERS[:13]
    scripts = [recognizes(seconds, random_loss(dice)) for seconds in (2.7, 3.1, 0.4, 5.2, 1.0)]
    with open_studio(environment) as studio, RealtimeServer(*scripts, recognizes()) as server:
        kept = tmp_path / "kept.wav"
        arguments = (
            "--mode",
            "manual",
            "--base-url",
            server.base_url,
            "--save-audio",
            kept,
            "-o",
            tmp_path / "said.vtt",
        )
        with listening(studio.environment | {"CARTESIA_API_KEY": "x"}, *arguments) as listener:
            studio.play(spoken(numbers), RATE)
            listener.stop()
    assert listener.process.returncode == 0, listener.stderr_text
    heard = re.sub(r"(?m)^(WEBVTT|NOTE.*|.*-->.*)$", "", (tmp_path / "said.vtt").read_text())
    assert [int(number) for number in heard.split()] == numbers
    assert listener.stderr_text.count("reconnected") == 5


def test_unreachable_server_ends_session_with_its_text(run: Run, tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "numbers.wav", spoken(NUMBERS))
    with RealtimeServer(recognizes(10.0, lambda connection: connection.close(1012)), refuses(503)) as server:
        ended = run(
            "stream-file", recording, "--mode", "manual", "--speed", "4", "--base-url", server.base_url,
            "--reconnect", "2", env={"CARTESIA_API_KEY": "sk_car_test"},
        )  # fmt: skip
    told = ended.stderr.decode()
    assert ended.returncode == 6, told
    assert [int(number) for number in ended.stdout.split()] == NUMBERS[: len(ended.stdout.split())]
    assert len(ended.stdout.split()) >= 5
    assert told.count("error:") == 1
    assert "no other connection could be made" in told
    assert f"cartesia-cli transcribe {recording}" in told
    assert "Traceback" not in told


def test_server_that_refuses_reconnect_ends_session(run: Run, tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "numbers.wav", spoken(NUMBERS))
    with RealtimeServer(recognizes(5.0, lambda connection: connection.reset()), refuses(401)) as server:
        arguments = ("--mode", "manual", "--speed", "4", "--base-url", server.base_url)
        ended = run("stream-file", recording, *arguments, env={"CARTESIA_API_KEY": "sk_car_test"})
        assert len(server.records) == 2
    assert ended.returncode == 4, ended.stderr


def test_ctrl_c_while_reconnecting_ends_soon_with_its_text(environment: dict[str, str], tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "numbers.wav", spoken(NUMBERS))
    with RealtimeServer(recognizes(4.0, lambda connection: connection.close(1012)), refuses(503)) as server:
        process = start_program(
            ["stream-file", str(recording), "--mode", "manual", "--base-url", server.base_url],
            env=environment | {"CARTESIA_API_KEY": "x"}, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        told = b""
        while b"trying again" not in told:
            told += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, more = process.communicate(timeout=60)
    told += more
    assert process.returncode == 6, told
    assert b"5 s left to reconnect; Ctrl-C again ends at once" in told
    assert told.count(b"error:") == 1
    assert [int(number) for number in out.split()] == NUMBERS[: len(out.split())] != []


def test_session_continues_after_machine_slept(environment: dict[str, str], tmp_path: Path) -> None:
    """While it sleeps, nothing is sent and no ping is answered, and the server hangs up."""
    numbers = NUMBERS[:12]
    recording = write_wav(tmp_path / "numbers.wav", spoken(numbers))
    with RealtimeServer(
        recognizes(math.inf, lambda connection: connection.reset(), silence=1.0), recognizes()
    ) as server:
        process = start_program(
            ["stream-file", str(recording), "--mode", "manual", "--base-url", server.base_url],
            env=environment | {"CARTESIA_API_KEY": "x"}, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        server.records[0].gone.wait(30)
        process.send_signal(signal.SIGCONT)
        out, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert [int(number) for number in (first + out).split()] == numbers
    assert b"reconnected" in told


def test_backlog_is_shown_and_sent(environment: dict[str, str], tmp_path: Path) -> None:
    numbers = NUMBERS[:30]
    recording, said = write_wav(tmp_path / "numbers.wav", spoken(numbers)), tmp_path / "said.txt"
    listening = recognizes()

    def slow(connection: ServerConnection) -> None:
        connection.reads = False
        threading.Timer(5.0, setattr, (connection, "reads", True)).start()
        listening(connection)

    with RealtimeServer(slow, receive_buffer=1 << 14) as server:
        command = ["-m", "cartesia_cli", "stream-file", str(recording), "--mode", "manual", "--speed", "6"]
        program = pexpect.spawn(
            sys.executable, [*command, "-o", str(said), "--base-url", server.base_url], timeout=60, encoding="utf-8",
            env=environment | {"CARTESIA_API_KEY": "x", "TERM": "xterm"}, dimensions=(24, 100),
        )  # fmt: skip
        program.expect(r"\d+ s behind")
        program.expect(pexpect.EOF)
        program.close()
    assert program.exitstatus == 0
    assert [int(number) for number in said.read_text().split()] == numbers
