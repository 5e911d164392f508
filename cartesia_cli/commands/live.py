"""A live session from its source to its results: what `listen` and `stream-file` share.

Puts together the rooms that don't know each other: a connection of the client, the loop, the formats, the view.
Whatever ends a session, all that was heard is written before the error is told.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from ..audio.pcm import RATE
from ..audio.speech import Endpointer, Endpointing
from ..client import Retry
from ..client.realtime import connect
from ..errors import Interrupted, OutputError
from ..output import NEEDS_WORDS, Layout
from ..output.figures import draw
from ..output.files import ReaderGone, write_stdout
from ..output.frames import FrameLog
from ..output.live import LiveView
from ..output.streams import stream
from ..output.talk import Talk
from ..protocol import API_VERSION, MANUAL, Dialect, RealtimeOptions, realtime_credits, url
from ..reducers import AudioClock, AutoReducer, ManualReducer
from ..session import Session, Source, Stop
from ..stats import Instrument
from ..transcript import Notice, Partial, Segment, Transcript, Update
from .backend import Server
from .delivery import deliver
from .destinations import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted of a session.

    source        its name in results
    finalize      whether the endpointer sends `finalize`
    chunk_ms      milliseconds of audio in a frame
    seconds       of audio to come, None where nobody knows
    stats         whether the figures are shown
    raw_events    file for a recording of all frames, or None
    """

    source: str
    dialect: Dialect
    options: RealtimeOptions
    endpointing: Endpointing
    finalize: bool
    chunk_ms: int
    targets: Targets
    layout: Layout
    seconds: float | None = None
    stats: bool = False
    raw_events: Path | None = None
    force: bool = False


MakeSource = Callable[[Instrument, Callable[[str], None]], Source]
"""Makes the source of a session, which tells the instrument about its pace, and the user about trouble."""


def run(order: Order, server: Server, make: MakeSource, talk: Talk) -> None:
    """One session, to its end. CliError for every end that is a failure."""
    with ExitStack() as stack:
        tap: Callable[[str, str | bytes], None] = lambda direction, frame: None  # noqa: E731
        if order.raw_events is not None:
            address = url(server.base_url, order.dialect.path, order.options.query(order.dialect), websocket=True)
            tap = stack.enter_context(FrameLog(order.raw_events, address, API_VERSION, force=order.force)).frame
        performance = _Performance(order, talk, stack.enter_context(talk.live(order.seconds)))
        try:
            asyncio.run(performance.run(server, make, tap))
        except BaseException:
            if (trouble := performance.finish(local=server.local)) is not None:
                talk.error(trouble)
            raise
        if (trouble := performance.finish(local=server.local)) is not None:
            raise trouble


class _Drawing(Instrument):
    """The instrument, which also has the view drawn while audio goes out: its clock must not stand still."""

    def __init__(self, model: str, draw: Callable[[], None]) -> None:
        super().__init__(model)
        self._redraw = draw

    def sent(self, size: int) -> None:
        super().sent(size)
        self._redraw()


class _Performance:
    """One session while it runs, and what came of it."""

    def __init__(self, order: Order, talk: Talk, view: LiveView) -> None:
        self._order, self._talk, self._view = order, talk, view
        self._clock = AudioClock()
        self._reducer = (ManualReducer if order.dialect is MANUAL else AutoReducer)(self._clock)
        self._endpointer = Endpointer(order.endpointing)
        self._instrument = _Drawing(order.options.model, self._draw)
        self._segments: list[Segment] = []
        self._request_id: str | None = None
        self._complete = False
        self._pending: dict[Path, list[str]] = {}
        self._streams = [
            stream(name, order.layout, self._put(file), order.source, order.options.model, live=file is None)
            for name, file in order.targets.items()
        ]
        self._told = 0

    async def run(self, server: Server, make: MakeSource, tap: Callable[[str, str | bytes], None]) -> None:
        order, talk = self._order, self._talk
        host = urlsplit(server.base_url).netloc
        async with connect(
            server.base_url, server.credential, order.dialect, order.options,
            retry=Retry(), tell=talk.say, doubt=talk.detail, tap=tap,
        ) as connection:  # fmt: skip
            talk.detail(f"connected to {host}")
            session = Session(
                connection,
                make(self._instrument, talk.say),
                self._reducer,
                self._clock,
                self._endpointer,
                finalize=order.finalize,
                manual=order.dialect is MANUAL,
                chunk=2 * round(RATE * order.chunk_ms / 1000),
                write=self._write,
                witness=self._instrument,
            )
            with _stopping(Stop()) as stop:
                try:
                    await session.run(stop)
                    self._complete = True
                finally:
                    self._request_id = connection.request_id

    def finish(self, *, local: bool) -> OutputError | None:
        """Write what is written at the end, whatever the end was; what could not be written where it should be."""
        self._view.close()
        order, trouble = self._order, None
        transcript = self._transcript()
        if not self._reducer.words and transcript.text.strip() and not NEEDS_WORDS.isdisjoint(order.targets):
            self._talk.say("warning: the server sent no word times: times within the text are estimated")
        figures = self._instrument.report() if order.stats else None
        if figures is not None and local:
            figures.pop("credits", None)
        facts: dict[str, Any] = {"complete": self._complete} | ({} if figures is None else {"stats": figures})
        for writing in self._streams:
            with suppress(ReaderGone):
                writing.close(transcript, facts)
        for file, parts in self._pending.items():
            trouble = deliver("".join(parts), file, self._talk) or trouble
        if figures is not None:
            self._talk.show(lambda width, encoding: draw(figures, width, encoding=encoding))
        price = "on this machine" if local else f"{realtime_credits(order.options.model, self._clock.sent):.0f} credits"
        self._talk.detail(f"{self._clock.sent:.1f} s of audio, {price}")
        return trouble

    def _write(self, update: Update) -> None:
        match update:
            case Partial():
                self._view.partial(update.text)
            case Segment():
                self._segments.append(update)
                self._view.partial("")
            case Notice():
                (self._talk.say if update.event == "nothing_said" else self._talk.detail)(update.message)
        words = self._reducer.words[self._told :] if isinstance(update, Segment) else []
        self._told += len(words)
        for writing in self._streams:
            writing.write(update, words)
        self._draw()

    def _draw(self) -> None:
        self._view.draw(self._clock.sent, self._endpointer.in_speech)

    def _put(self, file: Path | None) -> Callable[[str], None]:
        return self._to_stdout if file is None else self._pending.setdefault(file, []).append

    def _to_stdout(self, text: str) -> None:
        self._view.clear()  # it may be the same terminal
        write_stdout(text)

    def _transcript(self) -> Transcript:
        order = self._order
        return Transcript(
            source=order.source,
            model=order.options.model,
            language=order.options.language,
            duration=round(self._clock.sent, 3),
            request_id=self._request_id,
            text="".join(segment.text for segment in self._segments),
            segments=tuple(self._segments),
            words=tuple(self._reducer.words) or None,
        )


@contextmanager
def _stopping(stop: Stop) -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask the session to stop for the length of the block; the third time they don't ask."""
    loop = asyncio.get_running_loop()
    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise Interrupted
        loop.call_soon_threadsafe(stop.ask)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
