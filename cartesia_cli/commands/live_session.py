"""Runs one live session for `listen` and `stream-file`, from its audio source to the written transcript.

Combines packages that don't import each other: the client's connection, the session's loop, the output formats and
the live view. Whatever ends a session, the text that was received is written before the error is reported.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import typer

from ..audio.vad import Endpointer, VadSettings
from ..client import RetryPolicy
from ..client.realtime import RealtimeConnection, connect, ignore
from ..client.ws_connect import FrameTap
from ..errors import ApiError, Exit, NetworkError, OutputError
from ..output import NEEDS_WORDS, Layout
from ..output.console import Reporter
from ..output.files import StdoutClosed, write_stdout
from ..output.frame_log import FrameLog
from ..output.job_control import job_control
from ..output.live_rows import LiveState, MicrophoneLevel
from ..output.live_view import LiveView
from ..output.sanitize import title
from ..output.stats_chart import render_statistics, svg
from ..output.streams import EventStream, open_stream
from ..output.terminal_rows import is_same_terminal
from ..protocol import (
    MANUAL,
    Command,
    Config,
    DetectedLanguage,
    Endpoint,
    Finalize,
    RealtimeOptions,
    is_loopback,
    realtime_credits,
)
from ..session import Session
from ..session.interfaces import Source, StopSignal
from ..session.latency import LatencyRecorder
from ..session.loop import Phase
from ..session.reconnect import ReconnectPolicy
from ..timestamps import clock_time
from ..tracker import ManualTracker, SpeechTimeline, TurnTracker
from ..transcript import PERSISTED_NOTICES, Notice, Partial, Segment, Transcript, Update, from_segments
from .append_file import AppendFile
from .backend import RunningServer
from .batch_catchup import batch_catch_up
from .keys import stop_on_signals
from .live_metrics import LiveMetrics
from .live_options import StreamOptions
from .matches import report_no_matches
from .output_plan import Targets
from .wait_status import STARTING, WaitStatus
from .write_results import write_result


class MicrophoneSwitch(Protocol):
    """Whether the user has the microphone on or paused."""

    @property
    def on_air(self) -> bool:
        """Whether the microphone's audio is sent."""

    @property
    def resume_hint(self) -> str:
        """Which key resumes it."""

    @property
    def prompt(self) -> str:
        """A line that the user is typing, with what it is for; empty if there is none."""


class CaptionSink(Protocol):
    """Shows the text somewhere else. Its methods must return at once."""

    def update(self, update: Update) -> None:
        """Show what was heard."""

    def undo(self) -> None:
        """Drop the last segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What a session streams, to which endpoint, and where its results go.

    source         name of the source in results
    endpointing    settings of the endpointer that listens to everything that is sent
    finalize       whether the endpointer sends `finalize` at the end of an utterance
    stream_options how audio is sent
    targets        file for each format; None: stdout
    seconds        expected length of the audio; None if it is unknown
    force          whether existing files may be overwritten
    append         file that gets a line for each segment, or None
    copy           whether the text is copied to the clipboard
    stop_after_silence   seconds of silence after speech that end the session, or None
    captured       returns when the newest audio left the microphone, in seconds of time.monotonic(); None for a file
    microphone     state of the microphone; None for a file
    speed          seconds of audio that the source delivers per second
    captions       where a page gets the text from, or None
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
    captions: CaptionSink | None = None


class Controls(Protocol):
    """What the user can do to a running session."""

    def send_command(self, command: Command) -> bool:
        """Send a command to the server; False if the session is ending and it can't be sent."""

    def settings(self) -> Config:
        """The settings as they are: those of the session's options, with all changes that weren't refused."""

    def stop(self) -> None:
        """Finish the session and write everything."""

    def mark(self) -> None:
        """Add a mark at the current time."""

    def undo(self) -> None:
        """Drop the last segment from every output that can still be changed, and say which ones already have it."""

    def redraw(self) -> None:
        """Draw the live view again, after another program used the terminal."""


Interaction = Callable[[Controls], AbstractContextManager[object]]
"""A context manager that lets the user control a session while it runs: it reads keys and handles signals."""

LANGUAGE_HINTS_HINT = "--language-hint is for ink-preview, with codes of its languages; leave it out for other models"

MAX_RECONNECTS = 1000
"""Attempts at one reconnect: more than its time limit allows, so that time is the only limit."""

STATUS_NOTICES = frozenset({"connection_lost", "reconnect_deadline"})
"""Events of notices that the status row shows while they last, if there is a live view."""

USER_NOTICES = STATUS_NOTICES | {"no_speech", "mark", "undo", "reconnected", "buffer_full", "catch_up_failed"}
"""Events of notices that are always shown; others are shown with -v only."""

REDRAW_SECONDS = 0.25
"""Seconds between redraws while no events arrive; shorter waits need no message."""

MakeSource = Callable[[LatencyRecorder], Source]
"""Makes the source of a session, given the recorder of its pacing."""


class LiveSession:
    """One session and its results (a Controls).

    tap         sees the frames of all connections
    on_segment  called with each settled segment
    """

    def __init__(
        self,
        config: SessionConfig,
        server: RunningServer,
        reporter: Reporter,
        view: LiveView,
        *,
        tap: FrameTap = ignore,
        on_segment: Callable[[Segment], None] | None = None,
    ) -> None:
        self._config, self._server, self._reporter, self._view = config, server, reporter, view
        self._tap, self._on_segment = tap, on_segment
        self._clock = SpeechTimeline()
        self._tracker = (ManualTracker if config.endpoint is MANUAL else TurnTracker)(self._clock)
        self._host = urlsplit(server.base_url).netloc
        self._wait_status = WaitStatus(self._host, microphone=config.microphone is not None)
        self._stop_signal = StopSignal()
        self._session: Session | None = None
        self._partial_text = ""
        self._languages: tuple[DetectedLanguage, ...] = ()  # the last ones that were detected
        self._append_file = None if config.append is None else AppendFile(config.append, self._reporter.warn)
        rate = config.options.sample_rate
        self._endpointer = Endpointer(config.endpointing, rate)
        self._frame_bytes = 2 * round(rate * config.stream_options.chunk_ms / 1000)
        self._metrics = LiveMetrics(config.options, self._frame_bytes, config.captured, self._audio_arrived)
        self._segments: list[Segment] = []
        self._request_id: str | None = None
        self._has_connected = self._is_complete = False
        self._pending: dict[Path, list[str]] = {}
        uncut = config.layout._replace(columns=None)  # files have no width
        self._streams = [
            open_stream(
                name,
                uncut if file else config.layout,
                self._to_stdout if file is None else self._pending.setdefault(file, []).append,
                config.source,
                config.options.model,
                live=file is None,
                language=config.options.named_language,
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
        """Whether segments already appear on the terminal that shows messages."""

    async def run(self, make_source: MakeSource, interaction: Interaction) -> None:
        config, streaming = self._config, self._config.stream_options
        self._session = Session(
            self._connect,
            make_source(self._metrics),
            self._tracker,
            self._clock,
            self._endpointer,
            sends_finalize=config.finalize,
            has_finalize=config.endpoint is MANUAL,
            frame_bytes=self._frame_bytes,
            write=self._write,
            observer=self._metrics,
            catch_up=batch_catch_up(self._server, config.options, self._reporter, self._settled_text)
            if streaming.catch_up == "batch"
            else None,
            reconnect_policy=ReconnectPolicy() if streaming.reconnect > 0 else ReconnectPolicy(tries=0),
            pace=config.speed,
            rate=config.options.sample_rate,
        )
        with stop_on_signals(self._stop_signal):
            redrawing = asyncio.create_task(self._redraw_periodically())
            try:
                with interaction(self), self._follow_control():
                    await self._session.run(self._stop_signal)
            except ApiError as error:
                if error.status == 400 and config.options.language_hints and not self._segments:
                    error.hint = LANGUAGE_HINTS_HINT
                raise
            except NetworkError as error:
                if self._has_connected:
                    with suppress(StdoutClosed):
                        self._publish(Notice(self._clock.elapsed, "connection_lost", error.message))
                raise
            finally:
                redrawing.cancel()
            self._is_complete = True

    @asynccontextmanager
    async def _connect(self, is_reconnect: bool) -> AsyncIterator[RealtimeConnection]:
        """Open a connection of the session. is_reconnect: an earlier one was lost."""
        config, server = self._config, self._server
        patience = config.stream_options.reconnect
        async with connect(
            server.base_url, server.credential, config.endpoint,
            replace(config.options, word_timestamps=self._requests_word_times()),
            retry=RetryPolicy(max_retries=MAX_RECONNECTS, max_seconds=patience) if is_reconnect else RetryPolicy(),
            on_notice=self._report_connection, on_anomaly=self._reporter.detail, tap=self._tap,
            api_version=server.api_version,
        ) as connection:  # fmt: skip
            self._has_connected = True
            self._wait_status.connected()
            self._reporter.detail(f"connected to {self._host}")
            try:
                yield connection
            finally:
                self._wait_status.disconnected()
                self._request_id = connection.request_id or self._request_id

    def send_command(self, command: Command) -> bool:
        if isinstance(command, Finalize):
            self._metrics.finalize_requested()
        return self._session is not None and self._session.send_command(command)

    def settings(self) -> Config:
        options = self._config.options
        given = Config(options.turn, options.language_hints, options.keyterms)
        return given if self._session is None else given.merged(self._session.settings)

    def stop(self) -> None:
        self._stop_signal.requested.set()

    def mark(self) -> None:
        self._write(Notice(self._clock.elapsed, "mark", f"mark at {clock_time(self._clock.elapsed)}"))

    def undo(self) -> None:
        if not self._segments:
            self._reporter.info("nothing to drop")
            return
        dropped = self._segments.pop()
        if self._config.captions is not None:
            self._config.captions.undo()
        where = {
            "stdout": self._stdout_has_segments and not self._stdout_is_terminal,
            str(self._config.append): self._append_file is not None and not self._append_file.undo(),
            "--exec": self._on_segment is not None,
        }
        holders = " and ".join(name for name, has_it in where.items() if has_it)
        message = f"dropped: {dropped.text.strip()}" + (f" ({holders} already has it)" if holders else "")
        self._write(Notice(self._clock.elapsed, "undo", message))

    def redraw(self) -> None:
        if self._view.active and self._session is not None:
            self._view.draw(self._live_state(self._session))

    def _requests_word_times(self) -> bool:
        """Whether to ask for word times. The API doesn't document them here: the local server always has them, and
        another one is only asked if they are requested with -w and if it is known to accept the question."""
        is_known = self._config.endpoint is MANUAL or is_loopback(self._server.base_url)
        return self._server.local or (self._config.layout.words and is_known)

    def _follow_control(self) -> AbstractContextManager[None]:
        from .control_file import follow_control

        path = self._config.stream_options.control
        return nullcontext() if path is None else follow_control(path, self._config.endpoint, self, self._reporter.warn)

    def finish(self) -> OutputError | None:
        """Write what is written at the end, however the session ended; returns the error of an output that failed.

        For a session that never connected, only the final event of event streams is written.
        """
        self._view.close()
        config, failure = self._config, None
        transcript = self.transcript()
        if transcript.words is None and transcript.text.strip():
            if not NEEDS_WORDS.isdisjoint(config.targets):
                self._reporter.warn("the server sent no word times: times within the text are estimated")
            elif config.layout.words:
                self._reporter.warn("the server sent no word times: -w has none to show")
        figures, streaming = self.measured(), config.stream_options
        facts: dict[str, Any] = {"complete": self._is_complete} | ({"stats": figures} if streaming.stats else {})
        for writing in self._streams:
            if self._has_connected or isinstance(writing, EventStream):
                with suppress(StdoutClosed):
                    writing.close(transcript, facts)
        for file, parts in self._pending.items() if self._has_connected else ():
            failure = write_result("".join(parts), file, self._reporter) or failure
        if self._append_file is not None:
            failure = self._append_file.flush() or failure
        if config.copy and transcript.text.strip():
            try:
                self._reporter.copy(transcript.text.strip())
            except OutputError as error:
                failure = error
        if streaming.stats:
            self._reporter.print_lines(partial(render_statistics, figures))
        if streaming.stats_svg is not None and self._has_connected:
            chart = svg(figures, f"{title(config.source)}, {config.options.model}")
            failure = write_result(chart, streaming.stats_svg, self._reporter) or failure
        sent = self._metrics.seconds  # audio that is sent twice is billed twice
        credits = realtime_credits(config.options.model, sent)
        price = "on this machine" if self._server.local else f"{credits:.0f} credits"
        self._reporter.detail(f"{self._clock.elapsed:.1f} s, {sent:.1f} s of audio sent, {price}")
        return failure

    def _write(self, update: Update) -> None:
        match update:
            case Partial():
                self._partial_text = update.text
                self._languages = update.languages or self._languages
            case Segment():
                self._partial_text = ""
                self._languages = update.languages or self._languages
            case Notice():
                self._report_notice(update)
        self._publish(update)
        if isinstance(update, Segment):
            if not self._is_on_screen and update.text.strip():
                self._reporter.print_segment(update.text)
            if self._on_segment is not None:
                self._on_segment(update)
            if self._append_file is not None:
                self._append_file.add(update.text)
        self.redraw()

    def _report_notice(self, notice: Notice) -> None:
        if notice.event in STATUS_NOTICES:
            self._report_connection(notice.message)
        elif notice.event == "config_refused":
            self._reporter.warn(notice.message)
        else:
            (self._reporter.info if notice.event in USER_NOTICES else self._reporter.detail)(notice.message)

    def _report_connection(self, sentence: str) -> None:
        """Show a message in the status row, if there is one, so that an outage doesn't fill the screen."""
        if self._view.active:
            self._wait_status.set_detail(self._reporter.redact(sentence))
            self._reporter.detail(sentence)
        else:
            self._reporter.info(sentence)

    def _publish(self, update: Update) -> None:
        """Add an update to the transcript and to every output stream."""
        self._metrics.time_line.updated(update)
        if isinstance(update, Segment):
            self._segments.append(update)
        elif isinstance(update, Notice) and update.event in PERSISTED_NOTICES:
            self._notices.append(update)
        if self._config.captions is not None:
            self._config.captions.update(update)
        for writing in self._streams:
            writing.write(update)

    def _audio_arrived(self) -> None:
        """Called for each block of audio: redraws, and applies --stop-after-silence."""
        self._wait_status.audio_arrived()
        limit, last = self._config.stop_after_silence, self._metrics.last_speech
        is_silent = last is not None and not self._endpointer.in_speech  # silence counts only after speech
        if is_silent and limit is not None and self._clock.sent - (last or 0.0) >= limit:
            self.stop()
        self.redraw()

    async def _redraw_periodically(self) -> None:
        """Redraw periodically, so that clocks move while no events arrive."""
        while True:
            await asyncio.sleep(REDRAW_SECONDS)
            self.redraw()

    def _live_state(self, session: Session) -> LiveState:
        """The current state for the live view."""
        config, heard, microphone = self._config, self._endpointer, self._config.microphone
        is_heard = microphone is not None and self._wait_status.is_listening and session.phase is Phase.STREAMING
        on_air = microphone.on_air if microphone is not None and is_heard else None
        ends_in = heard.end_silence_left if config.finalize else 0.0
        return LiveState(
            text=self._partial_text,
            elapsed=self._clock.elapsed,
            total=config.seconds,
            speaking=heard.in_speech and on_air is not False,
            on_air=on_air,
            resume_hint="" if microphone is None else microphone.resume_hint,
            credits=None if self._server.local else realtime_credits(config.options.model, self._metrics.seconds),
            unsent_seconds=session.unsent_seconds,
            languages=tuple(language.language for language in self._languages),
            prompt="" if microphone is None else microphone.prompt,
            level=MicrophoneLevel(heard.level, heard.floor, heard.threshold, ends_in) if on_air else None,
            wait=self._wait_status.current_wait(session, self._stop_signal),
        )

    def _to_stdout(self, text: str) -> None:
        self._view.clear()  # stdout may be the same terminal
        write_stdout(self._wrapped(text))

    def _wrapped(self, text: str) -> str:
        """Text wrapped at words where it appears above the live view on the same terminal; unchanged otherwise."""
        if "text" not in self._config.targets or not (self._view.active and self._is_on_screen):
            return text
        return "\n".join(map(self._reporter.wrap, text.split("\n")))

    def _settled_text(self) -> str:
        """The text of all segments so far."""
        return "".join(segment.text for segment in self._segments)

    def measured(self) -> dict[str, Any]:
        """What was measured so far: see `LiveMetrics.report`. On this machine, nothing costs credits."""
        figures = self._metrics.report()
        if self._server.local:
            del figures["credits"]
        return figures

    def transcript(self) -> Transcript:
        """The transcript of all segments so far."""
        config = self._config
        return from_segments(
            self._segments,
            source=config.source,
            model=config.options.model,
            language=config.options.named_language,
            duration=round(self._clock.elapsed, 3),
            request_id=self._request_id,
            notices=self._notices,
        )


@contextmanager
def live_view(reporter: Reporter) -> Iterator[LiveView]:
    """The live view of a session, from before its server has started until after its end; it shows "starting" first.

    Ctrl-Z removes it from the terminal, and `fg` draws it again.
    """
    with reporter.live_view() as view, job_control(view.clear, view.restore):
        view.draw(LiveState(wait=STARTING))
        yield view


def run_session(
    config: SessionConfig,
    server: RunningServer,
    make_source: MakeSource,
    reporter: Reporter,
    view: LiveView,
    *,
    interaction: Interaction = lambda controls: nullcontext(),
    on_segment: Callable[[Segment], None] | None = None,
) -> None:
    """Run one session to its end. Raises CliError if it fails, and exits with code 1 if --grep found nothing."""
    with ExitStack() as stack:
        tap: FrameTap = ignore
        if config.stream_options.raw_events is not None:
            log = FrameLog(config.stream_options.raw_events, force=config.force, on_warning=reporter.info)
            tap = stack.enter_context(log).put
        session = LiveSession(config, server, reporter, view, tap=tap, on_segment=on_segment)
        try:
            _run_loop(session.run(make_source, interaction), reporter)
        except BaseException:
            if (failure := session.finish()) is not None:
                reporter.error(failure)
            raise
        if (failure := session.finish()) is not None:
            raise failure
        selection = config.layout.selection
        if selection is not None and report_no_matches(session.transcript(), selection, reporter):
            raise typer.Exit(Exit.FAILED)


def run_unshown_session(
    config: SessionConfig, server: RunningServer, make_source: MakeSource
) -> tuple[Transcript, dict[str, Any]]:
    """Run one session that shows and writes nothing, in any thread. Returns its transcript, and what was measured (see
    `LiveMetrics.report`). Raises CliError if it fails.
    """
    reporter = Reporter(io.StringIO(), {})
    reporter.quiet = True
    session = LiveSession(config, server, reporter, LiveView(io.StringIO(), colored=False, active=False))
    _run_loop(session.run(make_source, lambda controls: nullcontext()), reporter)
    return session.transcript(), session.measured()


def _run_loop(main: Coroutine[Any, Any, None], reporter: Reporter) -> None:
    """`asyncio.run`, which prints nothing, and waits for no thread: a name lookup can't be cancelled and may take a
    minute.
    """

    def show(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Replaces asyncio's log to stderr, which would contain what the server sent."""
        if reporter.debug and isinstance(error := context.get("exception"), Exception):
            reporter.print_traceback(error)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_AbandonedThreads())
        loop.set_exception_handler(show)
        await main

    asyncio.run(run())


class _AbandonedThreads(ThreadPoolExecutor):
    """Threads that the end of the program doesn't wait for."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)
