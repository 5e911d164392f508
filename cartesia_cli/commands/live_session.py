"""One live session while it runs, and what came of it: what is wanted, what a person can do, what is written.

Puts together the rooms that don't know each other: a connection of the client, the loop, the formats, the view.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..audio.vad import Endpointer, VadSettings
from ..client import RetryPolicy
from ..client.realtime import RealtimeConnection, connect
from ..errors import NetworkError, OutputError
from ..output import NEEDS_WORDS, Layout
from ..output.clipboard import copy
from ..output.console import Reporter
from ..output.files import StdoutClosed, write_stdout
from ..output.live_rows import LiveState, clock_time
from ..output.live_view import LiveView, is_same_terminal
from ..output.meter import MicrophoneLevel
from ..output.stats_report import render_report
from ..output.streams import EventStream, open_stream
from ..protocol import ENCODINGS, MANUAL, Command, Endpoint, Finalize, RealtimeOptions, realtime_credits
from ..session import Session
from ..session.interfaces import Source, StopSignal
from ..session.loop import Phase
from ..session.reconnect import ReconnectPolicy
from ..stats import LatencyRecorder
from ..tracker import ManualTracker, SpeechTimeline, TurnTracker
from ..transcript import PERSISTED_NOTICES, Notice, Partial, Segment, Transcript, Update, from_segments
from .append_file import AppendFile
from .backend import RunningServer
from .batch_catchup import batch_catch_up
from .live_metrics import LiveMetrics
from .live_options import StreamOptions
from .output_plan import Targets
from .stop_signals import stop_on_signals
from .wait_status import WaitStatus
from .write_results import write_result


class MicrophoneSwitch(Protocol):
    """Whether a microphone is on, as the person at the keyboard wants it."""

    @property
    def on_air(self) -> bool:
        """Whether what it hears is sent."""

    @property
    def resume_hint(self) -> str:
        """How to switch it on again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What is wanted of a session.

    source        its name in results
    finalize      whether the endpointer sends `finalize`
    sending       how audio goes out
    seconds       of audio to come, None where nobody knows
    append        file that gets a line for each segment, or None
    copy          whether the text goes to the clipboard
    stop_after_silence   seconds, or None
    speed         seconds of audio that the source gives in one
    captured      when the newest sound left a microphone, by time.monotonic(); None: there is none
    microphone    whether it is on; None: there is none
    """

    source: str
    endpoint: Endpoint
    options: RealtimeOptions
    endpointing: VadSettings
    finalize: bool
    stream_options: StreamOptions
    targets: Targets
    layout: Layout
    seconds: float | None = None
    force: bool = False
    append: Path | None = None
    copy: bool = False
    stop_after_silence: float | None = None
    captured: Callable[[], float] | None = None
    microphone: MicrophoneSwitch | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Controls:
    """What a person can do to a session while it runs.

    order      have a command sent
    stop       that's all
    mark       mark this spot
    undo       drop the last segment
    redraw     the view, after the terminal was another's
    """

    send_command: Callable[[Command], None]
    stop: Callable[[], None]
    mark: Callable[[], None]
    undo: Callable[[], None]
    redraw: Callable[[], None]


Interaction = Callable[[Controls], AbstractContextManager[object]]
"""What is done around a session while its loop runs: keys are read, signals taken."""

MAX_RECONNECTS = 1000
"""More tries than there is time for: it is time that limits them."""

USER_NOTICES = frozenset(
    {"nothing_said", "mark", "undo", "connection_lost", "reconnected", "hurry", "no_room", "catch_up_failed"}
)
"""Notices for people; others are details."""

STATUS_NOTICES = frozenset({"connection_lost", "hurry"})
"""Those that the status row tells, where there is one, as long as they last."""

REDRAW_SECONDS = 0.25
"""Seconds between two drawings while nothing comes: a connection that comes at once isn't worth a word."""

MakeSource = Callable[[LatencyRecorder, Callable[[str], None]], Source]
"""Makes the source of a session, which tells the recorder about its pace, and the user about trouble."""


class LiveSession:
    """One session while it runs, and what came of it."""

    def __init__(
        self,
        config: SessionConfig,
        reporter: Reporter,
        view: LiveView,
        on_segment: Callable[[Segment], None] | None = None,
    ) -> None:
        self._config, self._reporter, self._view, self._on_segment = config, reporter, view, on_segment
        self._clock = SpeechTimeline()
        self._tracker = (ManualTracker if config.endpoint is MANUAL else TurnTracker)(self._clock)
        self._status: Callable[[], LiveState] | None = None
        self._wait: WaitStatus | None = None
        self._growing = ""
        self._append_file = None if config.append is None else AppendFile(config.append, self._warn)
        rate = config.options.sample_rate
        self._endpointer = Endpointer(config.endpointing, rate)
        self._chunk = 2 * round(rate * config.stream_options.chunk_ms / 1000)
        self._recorder = LiveMetrics(config.options.model, self._chunk, config.captured, self._moved, rate=rate)
        self._stop: StopSignal | None = None
        self._segments: list[Segment] = []
        self._request_id: str | None = None
        self._began = self._complete = False
        self._pending: dict[Path, list[str]] = {}
        uncut = replace(config.layout, columns=None)  # a file is no terminal
        self._streams = [
            open_stream(
                name,
                uncut if file else config.layout,
                self._put(file),
                config.source,
                config.options.model,
                live=file is None,
                language=config.options.language,
            )
            for name, file in config.targets.items()
        ]
        self._notices: list[Notice] = []
        self._stdout_is_terminal = sys.stdout is not None and sys.stdout.isatty()
        to_stdout = (
            writing for writing, file in zip(self._streams, config.targets.values(), strict=True) if file is None
        )
        self._stdout_has_segments = any(not writing.waits for writing in to_stdout)
        self._is_on_screen = self._stdout_has_segments and is_same_terminal(sys.stdout, sys.stderr)
        """Whether whoever looks at the messages sees what is settled anyway."""

    async def run(
        self, server: RunningServer, make: MakeSource, tap: Callable[[str, str | bytes], None], attend: Interaction
    ) -> None:
        config, reporter = self._config, self._reporter
        host = urlsplit(server.base_url).netloc
        wait = self._wait = WaitStatus(host, microphone=config.microphone is not None)

        @asynccontextmanager
        async def opened(again: bool) -> AsyncIterator[RealtimeConnection]:
            retry = (
                RetryPolicy(allowed=MAX_RECONNECTS, seconds=config.stream_options.reconnect) if again else RetryPolicy()
            )
            async with connect(
                server.base_url, server.credential, config.endpoint, config.options,
                retry=retry, tell=self._tell_of_connection, doubt=reporter.detail, tap=tap,
            ) as connection:  # fmt: skip
                self._began = True
                reporter.detail(f"connected to {host}")
                try:
                    yield connection
                finally:
                    self._request_id = connection.request_id or self._request_id

        session = Session(
            wait.following(opened),
            make(self._recorder, reporter.say),
            self._tracker,
            self._clock,
            self._endpointer,
            finalize=config.finalize,
            manual=config.endpoint is MANUAL,
            chunk=self._chunk,
            write=self._write,
            observer=self._recorder,
            catch_up=batch_catch_up(server, config.options, reporter, self._text)
            if config.stream_options.catch_up == "batch"
            else None,
            reconnect_policy=ReconnectPolicy() if config.stream_options.reconnect > 0 else ReconnectPolicy(tries=0),
            pace=config.speed,
            rate=config.options.sample_rate,
        )
        with stop_on_signals(StopSignal()) as stop:
            self._stop = stop
            self._status = lambda: self._state(session, wait, stop, local=server.local)

            def give(command: Command) -> None:
                if isinstance(command, Finalize):
                    self._recorder.finalize_requested()
                session.send_command(command)

            controls = Controls(give, stop.asked.set, self._mark, self._undo, self._draw)
            ticking = asyncio.create_task(self._tick())
            try:
                with attend(controls):
                    await session.run(stop)
            except NetworkError as error:
                if self._began:
                    with suppress(StdoutClosed):
                        self._record(Notice(self._clock.elapsed, "connection_lost", error.message))
                raise
            finally:
                ticking.cancel()
            self._complete = True

    def finish(self, *, local: bool) -> OutputError | None:
        """Write what is written at the end, whatever the end was; what could not be written where it should be.

        Of a session that never began, nothing is written but the end of what programs read event by event.
        """
        self._view.close()
        config, trouble = self._config, None
        transcript = self.transcript()
        if transcript.words is None and transcript.text.strip():
            if not NEEDS_WORDS.isdisjoint(config.targets):
                self._reporter.say("warning: the server sent no word times: times within the text are estimated")
            elif config.layout.words:
                self._reporter.say("warning: the server sent no word times: -w has none to show")
        figures = self._recorder.report() if config.stream_options.stats else None
        if figures is not None:
            figures |= _bandwidth(config.options, self._recorder.seconds)
            if local:
                figures.pop("credits", None)
        facts: dict[str, Any] = {"complete": self._complete} | ({} if figures is None else {"stats": figures})
        for writing in self._streams:
            if self._began or isinstance(writing, EventStream):
                with suppress(StdoutClosed):
                    writing.close(transcript, facts)
        for file, parts in self._pending.items() if self._began else ():
            trouble = write_result("".join(parts), file, self._reporter) or trouble
        if self._append_file is not None:
            trouble = self._append_file.flush() or trouble
        if config.copy and transcript.text.strip():
            trouble = self._to_clipboard(transcript.text.strip()) or trouble
        if figures is not None:
            self._reporter.show(lambda width, encoding: render_report(figures, width, encoding=encoding))
        credits = realtime_credits(config.options.model, self._recorder.seconds)  # what was sent twice costs twice
        price = "on this machine" if local else f"{credits:.0f} credits"
        self._reporter.detail(f"{self._clock.elapsed:.1f} s, {self._recorder.seconds:.1f} s of audio sent, {price}")
        return trouble

    def _write(self, update: Update) -> None:
        match update:
            case Partial():
                self._growing = update.text
            case Segment():
                self._growing = ""
            case Notice():
                self._tell(update)
        self._record(update)
        if isinstance(update, Segment):
            if not self._is_on_screen and update.text.strip():
                self._reporter.settled(update.text)
            if self._on_segment is not None:
                self._on_segment(update)
            if self._append_file is not None:
                self._append_file.add(update.text)
        self._draw()

    def _warn(self, sentence: str) -> None:
        self._reporter.say(f"warning: {sentence}")

    def _tell(self, notice: Notice) -> None:
        if notice.event in STATUS_NOTICES:
            self._tell_of_connection(notice.message)
        else:
            (self._reporter.say if notice.event in USER_NOTICES else self._reporter.detail)(notice.message)

    def _tell_of_connection(self, sentence: str) -> None:
        """In place, where there is a live view: an outage doesn't fill the screen."""
        if self._view.active and self._wait is not None:
            self._wait.tell(self._reporter.redacted(sentence))
            self._reporter.detail(sentence)
        else:
            self._reporter.say(sentence)

    def _record(self, update: Update) -> None:
        """For whoever reads the transcript, now or later."""
        if isinstance(update, Segment):
            self._segments.append(update)
        elif isinstance(update, Notice) and update.event in PERSISTED_NOTICES:
            self._notices.append(update)
        for writing in self._streams:
            writing.write(update)

    def _moved(self) -> None:
        """More audio came in."""
        if self._wait is not None:
            self._wait.audio_came()
        limit, last, stop = self._config.stop_after_silence, self._recorder.last_speech, self._stop
        if limit is None or last is None or stop is None:  # before anybody has spoken, nobody has stopped
            pass
        elif not self._endpointer.in_speech and self._clock.sent - last >= limit:
            stop.asked.set()
        self._draw()

    def _mark(self) -> None:
        self._write(Notice(self._clock.elapsed, "mark", f"mark at {clock_time(self._clock.elapsed)}"))

    def _undo(self) -> None:
        """Drop the last segment wherever it isn't out of our hands yet, and say where it is."""
        if not self._segments:
            self._reporter.say("nothing to drop")
            return
        dropped = self._segments.pop()
        where = {
            "stdout": self._stdout_has_segments and not self._stdout_is_terminal,
            str(self._config.append): self._append_file is not None and not self._append_file.take_back(),
            "--exec": self._on_segment is not None,
        }
        gone = " and ".join(place for place, has_it in where.items() if has_it)
        told = f"dropped: {dropped.text.strip()}" + (f" ({gone} already has it)" if gone else "")
        self._write(Notice(self._clock.elapsed, "undo", told))

    def _draw(self) -> None:
        if self._view.active and self._status is not None:
            self._view.draw(self._status())

    async def _tick(self) -> None:
        """Draw again and again, whatever happens, or nothing."""
        while True:
            await asyncio.sleep(REDRAW_SECONDS)
            self._draw()

    def _state(self, session: Session, wait: WaitStatus, stop: StopSignal, *, local: bool) -> LiveState:
        """The session as it is now, for the view."""
        config, heard, microphone = self._config, self._endpointer, self._config.microphone
        is_heard = microphone is not None and wait.is_listening and session.phase is Phase.STREAMING
        on_air = microphone.on_air if microphone is not None and is_heard else None
        ends_in = heard.hangover_left if config.finalize else 0.0
        return LiveState(
            text=self._growing,
            elapsed=self._clock.elapsed,
            total=config.seconds,
            speaking=heard.in_speech and on_air is not False,
            on_air=on_air,
            resume_hint="" if microphone is None else microphone.resume_hint,
            credits=None if local else realtime_credits(config.options.model, self._recorder.seconds),
            behind=session.behind,
            level=MicrophoneLevel(heard.level, heard.floor, heard.threshold, ends_in) if on_air else None,
            wait=wait.current(session, stop),
        )

    def _put(self, file: Path | None) -> Callable[[str], None]:
        return self._to_stdout if file is None else self._pending.setdefault(file, []).append

    def _to_clipboard(self, text: str) -> OutputError | None:
        try:
            told = "copied" if copy(text, sys.stderr) else "warning: not copied: stderr is no terminal"
        except OutputError as error:
            return error
        self._reporter.say(told)
        return None

    def _to_stdout(self, text: str) -> None:
        self._view.clear()  # it may be the same terminal
        write_stdout(self._wrapped(text))

    def _wrapped(self, text: str) -> str:
        """Lines of text end at words where a person reads them above the live view; nowhere else are they touched."""
        if "text" not in self._config.targets or not (self._view.active and self._is_on_screen):
            return text
        return "\n".join(map(self._reporter.wrapped, text.split("\n")))

    def _text(self) -> str:
        """What has settled."""
        return "".join(segment.text for segment in self._segments)

    def transcript(self) -> Transcript:
        """What has settled so far."""
        config = self._config
        return from_segments(
            self._segments,
            source=config.source,
            model=config.options.model,
            language=config.options.language,
            duration=round(self._clock.elapsed, 3),
            request_id=self._request_id,
            notices=self._notices,
        )


def _bandwidth(options: RealtimeOptions, seconds: float) -> dict[str, Any]:
    """In which format audio went out, and what it takes of a network: bytes in all, and bits a second."""
    per_second = options.sample_rate * ENCODINGS[options.encoding]
    return {
        "encoding": options.encoding,
        "sample_rate": options.sample_rate,
        "bytes": round(seconds * per_second),
        "bits_per_second": 8 * per_second,
    }
