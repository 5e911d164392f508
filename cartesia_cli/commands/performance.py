"""One live session while it runs, and what came of it: what is wanted, what a person can do, what is written.

Puts together the rooms that don't know each other: a connection of the client, the loop, the formats, the view.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..audio.pcm import RATE
from ..audio.speech import Endpointer, Endpointing
from ..client import Retry
from ..client.realtime import Connection, connect
from ..errors import NetworkError, OutputError
from ..output import NEEDS_WORDS, Layout
from ..output.characters import printable
from ..output.clipboard import copy
from ..output.figures import draw
from ..output.files import ReaderGone, write_stdout
from ..output.live import LiveView, clock_time
from ..output.meter import meter
from ..output.streams import EventStream, stream
from ..output.talk import Talk
from ..protocol import MANUAL, Command, Dialect, Finalize, RealtimeOptions, realtime_credits
from ..session import Session
from ..session.lifeline import Lifeline
from ..session.parties import Source, Stop
from ..stats import Instrument
from ..tracker import ManualTracker, SpeechTimeline, TurnTracker
from ..transcript import KEPT, Notice, Partial, Segment, Transcript, Update, from_segments
from .backend import Server
from .delivery import deliver
from .destinations import Targets
from .live_options import Sending
from .remainder import batched
from .stopping import stopping
from .waiting import Waiting
from .watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
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
    """

    source: str
    dialect: Dialect
    options: RealtimeOptions
    endpointing: Endpointing
    finalize: bool
    sending: Sending
    targets: Targets
    layout: Layout
    seconds: float | None = None
    force: bool = False
    append: Path | None = None
    copy: bool = False
    stop_after_silence: float | None = None
    captured: Callable[[], float] | None = None
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

    order: Callable[[Command], None]
    stop: Callable[[], None]
    mark: Callable[[], None]
    undo: Callable[[], None]
    redraw: Callable[[], None]


Attend = Callable[[Controls], AbstractContextManager[object]]
"""What is done around a session while its loop runs: keys are read, signals taken."""

RECONNECTS = 1000
"""More tries than there is time for: it is time that limits them."""

SAID = frozenset(
    {"nothing_said", "mark", "undo", "connection_lost", "reconnected", "hurry", "no_room", "catch_up_failed"}
)
"""Notices for people; others are details."""

MakeSource = Callable[[Instrument, Callable[[str], None]], Source]
"""Makes the source of a session, which tells the instrument about its pace, and the user about trouble."""


class Performance:
    """One session while it runs, and what came of it."""

    def __init__(self, order: Order, talk: Talk, view: LiveView, on_segment: Callable[[Segment], None]) -> None:
        self._order, self._talk, self._view, self._on_segment = order, talk, view, on_segment
        self._clock = SpeechTimeline()
        self._tracker = (ManualTracker if order.dialect is MANUAL else TurnTracker)(self._clock)
        self._endpointer = Endpointer(order.endpointing)
        self._chunk = 2 * round(RATE * order.sending.chunk_ms / 1000)
        self._instrument = Watch(order.options.model, self._chunk, order.captured, self._moved)
        self._stop: Stop | None = None
        self._segments: list[Segment] = []
        self._request_id: str | None = None
        self._began = self._complete = False
        self._pending: dict[Path, list[str]] = {}
        uncut = replace(order.layout, columns=None)  # a file is no terminal
        self._streams = [
            stream(
                name,
                uncut if file else order.layout,
                self._put(file),
                order.source,
                order.options.model,
                live=file is None,
                language=order.options.language,
            )
            for name, file in order.targets.items()
        ]
        self._notices: list[Notice] = []

    def show_meter(self) -> None:
        """Have the level of the microphone drawn."""
        heard = self._endpointer
        self._view.meter = lambda plain: meter(
            heard.level, heard.floor, heard.threshold, heard.hangover_left, plain=plain
        )

    async def run(
        self, server: Server, make: MakeSource, tap: Callable[[str, str | bytes], None], attend: Attend
    ) -> None:
        order, talk = self._order, self._talk
        waiting = Waiting(urlsplit(server.base_url).netloc, self._view, self._draw)

        @asynccontextmanager
        async def opened(again: bool) -> AsyncIterator[Connection]:
            retry = Retry(allowed=RECONNECTS, seconds=order.sending.reconnect) if again else Retry()
            async with connect(
                server.base_url, server.credential, order.dialect, order.options,
                retry=retry, tell=talk.say, doubt=talk.detail, tap=tap,
            ) as connection:  # fmt: skip
                self._began = True
                talk.detail(f"connected to {urlsplit(server.base_url).netloc}")
                try:
                    yield connection
                finally:
                    self._request_id = connection.request_id or self._request_id

        session = Session(
            waiting.reached(opened),
            make(self._instrument, talk.say),
            self._tracker,
            self._clock,
            self._endpointer,
            finalize=order.finalize,
            manual=order.dialect is MANUAL,
            chunk=self._chunk,
            write=self._write,
            witness=self._instrument,
            catch_up=batched(server, order.options, talk, self._text) if order.sending.catch_up == "batch" else None,
            lifeline=Lifeline() if order.sending.reconnect > 0 else Lifeline(tries=0),
            pace=order.speed,
        )
        self._view.lag = lambda: session.behind
        with stopping(Stop()) as stop:
            self._stop = stop

            def give(command: Command) -> None:
                if isinstance(command, Finalize):
                    self._instrument.asked()
                session.order(command)

            controls = Controls(give, stop.asked.set, self._mark, self._undo, self._draw)
            try:
                with attend(controls):
                    await waiting.run(session, stop)
            except NetworkError as error:
                if self._began:
                    with suppress(ReaderGone):
                        self._record(Notice(self._clock.sent, "connection_lost", error.message))
                raise
            self._complete = True

    def finish(self, *, local: bool) -> OutputError | None:
        """Write what is written at the end, whatever the end was; what could not be written where it should be.

        Of a session that never began, nothing is written but the end of what programs read event by event.
        """
        self._view.close()
        order, trouble = self._order, None
        transcript = self._transcript()
        if transcript.words is None and transcript.text.strip():
            if not NEEDS_WORDS.isdisjoint(order.targets):
                self._talk.say("warning: the server sent no word times: times within the text are estimated")
            elif order.layout.words:
                self._talk.say("warning: the server sent no word times: -w has none to show")
        figures = self._instrument.report() if order.sending.stats else None
        if figures is not None and local:
            figures.pop("credits", None)
        facts: dict[str, Any] = {"complete": self._complete} | ({} if figures is None else {"stats": figures})
        for writing in self._streams:
            if self._began or isinstance(writing, EventStream):
                with suppress(ReaderGone):
                    writing.close(transcript, facts)
        for file, parts in self._pending.items() if self._began else ():
            trouble = deliver("".join(parts), file, self._talk) or trouble
        if order.copy and transcript.text.strip():
            trouble = self._to_clipboard(transcript.text.strip()) or trouble
        if figures is not None:
            self._talk.show(lambda width, encoding: draw(figures, width, encoding=encoding))
        credits = realtime_credits(order.options.model, self._instrument.seconds)  # what was sent twice costs twice
        price = "on this machine" if local else f"{credits:.0f} credits"
        self._talk.detail(f"{self._clock.sent:.1f} s of audio, {price}")
        return trouble

    def _write(self, update: Update) -> None:
        match update:
            case Partial():
                self._view.partial(update.text)
            case Segment():
                self._view.partial("")
            case Notice():
                (self._talk.say if update.event in SAID else self._talk.detail)(update.message)
        self._record(update)
        if isinstance(update, Segment):
            self._on_segment(update)
            self._append(update)
        self._draw()

    def _record(self, update: Update) -> None:
        """For whoever reads the transcript, now or later."""
        if isinstance(update, Segment):
            self._segments.append(update)
        elif isinstance(update, Notice) and update.event in KEPT:
            self._notices.append(update)
        for writing in self._streams:
            writing.write(update)

    def _moved(self) -> None:
        """More audio went out."""
        limit, heard = self._order.stop_after_silence, self._endpointer
        quiet = self._clock.sent - self._instrument.last_speech
        if limit is not None and self._stop is not None and not heard.in_speech and quiet >= limit:
            self._stop.asked.set()
        self._draw()

    def _mark(self) -> None:
        self._write(Notice(self._clock.sent, "mark", f"mark at {clock_time(self._clock.sent)}"))

    def _undo(self) -> None:
        if self._segments:
            dropped = self._segments.pop()
            self._write(Notice(self._clock.sent, "undo", f"dropped: {dropped.text.strip()}"))

    def _draw(self) -> None:
        self._view.draw(self._clock.sent, self._endpointer.in_speech)

    def _append(self, segment: Segment) -> None:
        """A line at the end of a file that is never overwritten, at once."""
        if self._order.append is None or not (text := printable(segment.text).strip()):
            return
        try:
            with self._order.append.open("a", encoding="utf-8", errors="replace") as file:
                file.write(f"{text}\n")
        except OSError as error:
            told = f"{self._order.append}: can't be written: {error.strerror}"
            raise OutputError(told, hint="--append names another file") from error

    def _put(self, file: Path | None) -> Callable[[str], None]:
        return self._to_stdout if file is None else self._pending.setdefault(file, []).append

    def _to_clipboard(self, text: str) -> OutputError | None:
        try:
            told = "copied" if copy(text, sys.stderr) else "warning: not copied: stderr is no terminal"
        except OutputError as error:
            return error
        self._talk.say(told)
        return None

    def _to_stdout(self, text: str) -> None:
        self._view.clear()  # it may be the same terminal
        write_stdout(text)

    def _text(self) -> str:
        """What has settled."""
        return "".join(segment.text for segment in self._segments)

    def _transcript(self) -> Transcript:
        order = self._order
        return from_segments(
            self._segments,
            source=order.source,
            model=order.options.model,
            language=order.options.language,
            duration=round(self._clock.sent, 3),
            request_id=self._request_id,
            notices=self._notices,
        )
