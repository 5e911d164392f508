"""Runs one live session for `listen` and `stream-file`, from its audio source to the written transcript.

Combines packages that don't import each other: the client's connection, the session's loop, the output formats and
the live view. Whatever ends a session, the text that was received is written before the error is reported.
"""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import typer

from ...audio.vad import Endpointer
from ...client import RetryPolicy
from ...client.realtime import PING_SECONDS, RealtimeConnection, connect, ignore
from ...client.ws_connect import FrameTap
from ...errors import ApiError, Exit, NetworkError, OutputError
from ...output import Layout
from ...output.console import Reporter
from ...output.files import StdoutClosed, write_file
from ...output.frame_log import FrameLog
from ...output.live_view import LiveState, LiveView, MicrophoneLevel
from ...output.sanitize import title
from ...output.stats import render_statistics, svg
from ...protocol.constants import is_loopback, realtime_credits, server_name
from ...protocol.json_fields import DetectedLanguage
from ...protocol.realtime import MANUAL, Command, Config, Finalize
from ...session import Session
from ...session.interfaces import Source, StopSignal
from ...session.latency import LatencyRecorder
from ...session.loop import QUIET_SECONDS, Phase
from ...session.reconnect import ReconnectPolicy
from ...timestamps import clock_time
from ...tracker import ManualTracker, SpeechTimeline, TurnTracker
from ...transcript import Notice, Partial, Segment, Transcript, Update
from ..backend import BackendConfig, ChosenServer, engine_name, report_engine
from ..batch.inputs import Input
from ..batch.matches import report_no_matches
from ..batch.output_plan import OutputPlan
from ..batch.result_file import combine_errors
from .catchup import batch_catch_up
from .config import SessionConfig
from .keys import stop_on_signals
from .options import LiveOptions
from .outputs import LiveOutputs
from .wait_status import STARTING, WaitStatus

LANGUAGE_HINTS_HINT = "--language-hint is for ink-preview, with codes of its languages; leave it out for other models"

SHARED_RECONNECT_SECONDS = 2.0
"""How long to look for a `serve` of this machine again: one that has ended does not come back at the same address."""

OWN_SERVER_PING_SECONDS = 300.0
"""How long the server in this process may leave a ping unanswered: with a minute of audio queued, it reads nothing."""

MAX_RECONNECTS = 1000
"""Attempts at one reconnect: more than its time limit allows, so that time is the only limit."""

STATUS_NOTICES = frozenset({"connection_lost", "reconnect_deadline"})
"""Events of notices that the status row shows while they last, if there is a live view."""

USER_NOTICES = STATUS_NOTICES | {"no_speech", "mark", "undo", "reconnected", "buffer_full", "catch_up_failed"}
"""Events of notices that are always shown; others are shown with -v only."""

REDRAW_SECONDS = 0.25
"""How often the live view is redrawn besides each event, so that its clocks move."""

MakeSource = Callable[[LatencyRecorder], Source]
"""Makes the source of a session, given the recorder of its pacing."""


class LiveSession:
    """Runs one session, and shows and writes its transcript; implements Controls. `tap` sees the frames of all
    connections.
    """

    def __init__(
        self,
        config: SessionConfig,
        server: ChosenServer,
        reporter: Reporter,
        view: LiveView,
        *,
        tap: FrameTap = ignore,
    ) -> None:
        self._config, self._server, self._reporter, self._view = config, server, reporter, view
        self._tap = tap
        self._outputs = LiveOutputs(config, reporter, view)
        self._timeline = SpeechTimeline()
        self._tracker = (ManualTracker if config.endpoint is MANUAL else TurnTracker)(self._timeline)
        self._host = server_name(server.base_url, server.credential)
        self._wait_status = WaitStatus(self._host, microphone=config.microphone is not None)
        self._stop_signal = StopSignal()
        self._session: Session | None = None
        self._partial_text = ""
        self._languages: tuple[DetectedLanguage, ...] = ()  # the last ones that were detected
        rate = config.options.sample_rate
        self._endpointer = Endpointer(config.endpointing, rate)
        self._frame_bytes = 2 * round(rate * config.stream_options.chunk_ms / 1000)
        self._metrics = LatencyRecorder(
            config.options, self._frame_bytes, captured=config.captured, on_audio=self._audio_arrived
        )
        self._request_id: str | None = None
        self._has_connected = self._is_complete = False

    async def run(self, make_source: MakeSource) -> None:
        """Run the session to its end, after which `finish` writes the rest. Raises what `Session.run` raises."""
        config, streaming = self._config, self._config.stream_options
        self._session = Session(
            self._connect,
            make_source(self._metrics),
            self._tracker,
            self._endpointer,
            sends_finalize=config.finalize,
            has_finalize=config.endpoint is MANUAL,
            frame_bytes=self._frame_bytes,
            write=self._write,
            observer=self._metrics,
            transcribe_rest=batch_catch_up(self._server, config.options, self._reporter, self._outputs.text)
            if streaming.catch_up == "batch"
            else None,
            reconnect_policy=ReconnectPolicy() if streaming.reconnect > 0 else ReconnectPolicy(tries=0),
            pace=config.speed,
            quiet_seconds=math.inf if self._server.local else QUIET_SECONDS,
            rate=config.options.sample_rate,
        )
        with stop_on_signals(self._stop_signal):
            redrawing = asyncio.create_task(self._redraw_periodically())
            try:
                with ExitStack() as stack:
                    if config.microphone is not None:
                        stack.enter_context(config.microphone.interact(self))
                    if streaming.control is not None:
                        from .control_file import follow_control

                        warn = self._reporter.warn
                        stack.enter_context(follow_control(streaming.control, config.endpoint, self, warn))
                    await self._session.run(self._stop_signal)
            except ApiError as error:
                if error.status == 400 and config.options.language_hints and not self._outputs.segments:
                    error.hint = LANGUAGE_HINTS_HINT
                raise
            except NetworkError as error:
                if self._has_connected:
                    with suppress(StdoutClosed):
                        self._publish(Notice(self._timeline.elapsed, "connection_lost", error.message))
                raise
            finally:
                redrawing.cancel()
            self._is_complete = True

    @asynccontextmanager
    async def _connect(self, is_reconnect: bool) -> AsyncIterator[RealtimeConnection]:
        """Open a connection of the session. is_reconnect: an earlier one was lost."""
        config, server = self._config, self._server
        limit = config.stream_options.reconnect
        if server.is_shared:
            limit = min(limit, SHARED_RECONNECT_SECONDS)
        async with connect(
            server.base_url, server.credential, config.endpoint,
            config.options._replace(word_timestamps=self._requests_word_times()),
            retry=RetryPolicy(max_retries=MAX_RECONNECTS, max_seconds=limit) if is_reconnect else RetryPolicy(),
            on_notice=self._report_connection, on_anomaly=self._reporter.detail, tap=self._tap,
            api_version=server.api_version,
            ping_timeout=OWN_SERVER_PING_SECONDS if server.local and not server.is_shared else PING_SECONDS,
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
        self._write(Notice(self._timeline.elapsed, "mark", f"mark at {clock_time(self._timeline.elapsed)}"))

    def undo(self) -> None:
        if (message := self._outputs.undo()) is None:
            self._reporter.info("nothing to drop")
        else:
            self._write(Notice(self._timeline.elapsed, "undo", message))

    def redraw(self) -> None:
        if self._view.active and self._session is not None:
            self._view.draw(self._live_state(self._session))

    def _requests_word_times(self) -> bool:
        """Whether to ask for word times. The API doesn't document them here: the local server always has them, and
        another one is only asked if they are requested with -w and if it is known to accept the question."""
        is_known = self._config.endpoint is MANUAL or is_loopback(self._server.base_url)
        return self._server.local or (self._config.layout.words and is_known)

    def finish(self) -> OutputError | None:
        """Write what is written at the end, however the session ended; returns the error of the outputs that failed.

        For a session that never connected, only the final event of event streams is written.
        """
        self._view.close()
        config, streaming, figures = self._config, self._config.stream_options, self.measured()
        facts: dict[str, Any] = {"complete": self._is_complete} | ({"stats": figures} if streaming.stats else {})
        failure = self._outputs.close(self.transcript(), facts, has_connected=self._has_connected)
        unsaved = self._save_chart(streaming.stats_svg, figures) if self._has_connected else None
        if streaming.stats or unsaved is not None:  # the figures of a picture that can't be written aren't lost
            self._reporter.print_lines(partial(render_statistics, figures))
        failure = combine_errors([failure, unsaved])
        sent = self._metrics.sent_seconds  # audio that is sent twice is billed twice
        credits = realtime_credits(config.options.model, sent)
        price = "on this machine" if self._server.local else f"{credits:.0f} credits"
        self._reporter.detail(f"{self._timeline.elapsed:.1f} s, {sent:.1f} s of audio sent, {price}")
        return failure

    def _save_chart(self, file: Path | None, figures: dict[str, Any]) -> OutputError | None:
        """Write the picture of --stats-svg. Returns the error if it can't be written: it isn't for stdout, which may be
        read as a transcript."""
        if file is None:
            return None
        config = self._config
        try:
            write_file(file, svg(figures, f"{title(config.source)}, {config.model}"), replaces=config.force)
        except OutputError as error:
            error.hint = "its figures are above, as --stats shows them"
            return error
        self._reporter.info(f"wrote {file}")
        return None

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
        """Add an update to the measurements, the transcript and every output."""
        self._metrics.activity_log.updated(update)
        self._outputs.write(update)

    def _audio_arrived(self) -> None:
        """Called for each block of audio: redraws, writes what is due, and applies --stop-after-silence."""
        self._wait_status.has_audio = True
        limit, last = self._config.stop_after_silence, self._metrics.last_speech
        is_silent = not self._endpointer.in_speech
        if limit is not None and last is not None and is_silent and self._timeline.sent - last >= limit:
            self.stop()  # without any speech, silence doesn't count
        self._outputs.advance(self._timeline.elapsed)
        self.redraw()

    async def _redraw_periodically(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_SECONDS)
            self.redraw()

    def _live_state(self, session: Session) -> LiveState:
        """The current state for the live view."""
        config, endpointer, microphone = self._config, self._endpointer, self._config.microphone
        is_heard = microphone is not None and self._wait_status.has_audio and session.phase is Phase.STREAMING
        on_air = microphone.on_air if microphone is not None and is_heard else None
        ends_in = endpointer.end_silence_left if config.finalize else 0.0
        return LiveState(
            text=self._partial_text,
            elapsed=self._timeline.elapsed,
            total=config.seconds,
            speaking=endpointer.in_speech and on_air is not False,
            on_air=on_air,
            resume_hint="" if microphone is None else microphone.resume_hint,
            credits=None if self._server.local else realtime_credits(config.options.model, self._metrics.sent_seconds),
            unsent_seconds=session.unsent_seconds,
            languages=tuple(language.language for language in self._languages),
            prompt="" if microphone is None else microphone.prompt,
            level=MicrophoneLevel(endpointer.level, endpointer.floor, endpointer.threshold, ends_in)
            if on_air
            else None,
            wait=self._wait_status.current_wait(session, self._stop_signal),
        )

    def measured(self) -> dict[str, Any]:
        """What was measured so far: see `LatencyRecorder.report`. On this machine, nothing costs credits."""
        figures = self._metrics.report()
        if self._server.local:
            del figures["credits"]
        return figures

    def transcript(self) -> Transcript:
        """The transcript of all segments so far."""
        return self._outputs.transcript(self._timeline.elapsed, self._request_id)


def prepare_session(
    context: typer.Context,
    reporter: Reporter,
    options: LiveOptions,
    backend: BackendConfig,
    plan: OutputPlan,
    layout: Layout,
    source: Input,
    *,
    finalize: str | None,
    push_to_talk: bool = False,
    replays: bool = False,
    append: Path | None = None,
) -> tuple[SessionConfig, LiveView]:
    """Check the options of a session, and open its live view, which shows "starting", and the page of `--page`: both
    last until the command ends. Returns what the session streams to the chosen server and where its results go, and
    the view. Raises UsageError for options that can't be used.

    finalize       value of --finalize; None if it isn't given
    push_to_talk   whether a key ends utterances instead of silence
    replays        whether the source is a file, which no output may replace
    append         file that gets a line for each segment, or None
    """
    endpoint = options.session.endpoint(finalize)
    ends_by_vad = endpoint is MANUAL and finalize in (None, "vad", "both") and not push_to_talk
    request = options.session.request(endpoint, reporter, base_url=backend.base_url, ends_by_vad=ends_by_vad)
    targets = plan.targets([source])[0]
    inputs = (source.source if replays else None, options.session.keyterms)
    options.stream.check(inputs, (*targets.values(), append), force=plan.force)
    model = request.model
    report_engine(backend, request.language, reporter, live_model=model)
    captions = context.with_resource(options.stream.captions(title(source.source), reporter))
    view = context.with_resource(reporter.live_view())
    view.draw(LiveState(wait=STARTING))
    config = SessionConfig(
        source=source.source,
        endpoint=endpoint,
        options=request,
        model=engine_name(backend, request.language, live_model=model) or model,
        endpointing=options.session.endpointing(),
        finalize=ends_by_vad,
        stream_options=options.stream,
        targets=targets,
        layout=layout,
        force=plan.force,
        append=append,
        captions=captions,
    )
    return config, view


def run_session(
    config: SessionConfig, server: ChosenServer, make_source: MakeSource, reporter: Reporter, view: LiveView
) -> None:
    """Run one session to its end. Raises CliError if it fails, and exits with code 1 if --grep found nothing."""
    with ExitStack() as stack:
        tap: FrameTap = ignore
        if config.stream_options.raw_events is not None:
            log = FrameLog(config.stream_options.raw_events, force=config.force, on_warning=reporter.info)
            tap = stack.enter_context(log).put
        session = LiveSession(config, server, reporter, view, tap=tap)
        try:
            _run_loop(session.run(make_source), reporter)
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
    config: SessionConfig, server: ChosenServer, make_source: MakeSource
) -> tuple[Transcript, dict[str, Any]]:
    """Run one session that shows and writes nothing, in any thread. Returns its transcript, and what was measured (see
    `LatencyRecorder.report`). Raises CliError if it fails.
    """
    reporter = Reporter(io.StringIO(), {})
    reporter.quiet = True
    session = LiveSession(config, server, reporter, LiveView(io.StringIO(), colored=False, active=False))
    _run_loop(session.run(make_source), reporter)
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
    """Threads that `asyncio.run` doesn't wait for; nor does the end of the program (`__main__._leave`)."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)
