"""How long a live session lets its user wait: an instrument that is told what happens, when it happens.

    speech_to_finalize       the last speech was sent -> `finalize` was sent
    finalize_to_flush_done   `finalize` was sent -> its `flush_done`
    finalize_to_text         `finalize` was sent -> the last text that it brought
    onset_to_text            the first speech was sent -> the first text
    speech_to_turn_end       the last speech was sent -> `turn.end`
    eager_lead               `turn.eager_end` that was not taken back -> `turn.end`
    key_to_finalize          a key was pressed -> `finalize` was sent
    hangover_to_finalize     the sound that ended a hangover left the microphone -> `finalize` was sent

"Was sent" is when the frame with that sample had been handed to the socket. What was not observed gives no
figure, never a guess:

- where nobody was heard, neither by the endpointer nor by the server, a `finalize` or a turn counts for nothing
- where an utterance was cut off while somebody spoke (a cap, the end of the audio), there is no last speech,
  and what follows the cut has no onset
- a `finalize` without `flush_done` or `done` has no last text: perhaps it was still to come

Must never hold up the session, nor grow with it: everything but `report` takes the same short time, however
long a session is, and memory is bounded (by Tally, LISTED and FRAMES).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .. import protocol as wire
from ..audio.pcm import RATE
from ..audio.speech import Mark
from .observed import FIGURES, WAITS, Stretch, Utterance
from .tally import Tally, milliseconds

LATE = 1.0
"""Seconds in which text is counted for a `flush_done` that came before it."""

LISTED = 1000
"""Utterances that are told one by one: the last ones."""

FRAMES = 4096
"""Frames whose time is remembered: 6.8 minutes of 100 ms, and still 40 s of 10 ms."""

UNANSWERED = 2.0
"""Seconds of audio after which a sound that began no turn was none: the next turn doesn't begin with it."""


class Instrument:
    """Measures a session with `model`; shaped as `session.Witness`, and as what `audio.pacing` reports to.

    rate   16-bit samples a second
    """

    def __init__(self, model: str, clock: Callable[[], float] = time.monotonic, rate: int = RATE) -> None:
        self._model, self._clock, self._rate = model, clock, rate
        self._samples = self._bytes = 0
        self._frames: deque[tuple[int, float]] = deque([(0, 0.0)], FRAMES)
        self._spoken: list[Stretch] = []
        self._cut = self._capped = -1
        self._open, self._late = Utterance(), Utterance()
        self._due: deque[Utterance] = deque(maxlen=LISTED)
        self._auto = self._turn = False
        self._said = ""
        self._tallies, self._lateness = {name: Tally() for name in (*FIGURES, *WAITS)}, Tally()
        self._utterances: deque[dict[str, Any]] = deque(maxlen=LISTED)
        self._gaps, self._lost = 0, 0.0

    @property
    def seconds(self) -> float:
        """Of audio that was sent, all told."""
        return self._bytes / (2 * self._rate)

    def came(self, size: int) -> None:
        """So many bytes came from the source: nothing to measure."""

    def sent(self, size: int) -> None:
        """So many bytes of 16-bit samples have just been handed to the socket."""
        self._bytes += size
        self._samples += size // 2
        self._frames.append((self._samples, self._clock()))
        self._place()

    def marked(self, mark: Mark) -> None:
        """The endpointer heard something; as a rule just before the audio that told it is sent."""
        at = round(mark.speech * self._rate)
        match mark.kind:
            case "onset":
                self._onset(at)
            case "resume" if self._spoken:
                self._spoken[-1].stop = self._spoken[-1].ceased = None
            case "resume":  # what it resumes has been finalized
                self._spoken.append(Stretch(at, self._samples))
            case _ if self._spoken:
                last = self._spoken[-1]
                if last.start is None and at <= self._cut:
                    self._spoken.pop()  # it was over when it was cut
                else:
                    last.stop, last.ceased, last.closed, last.capped = at, None, self._samples, mark.capped
        if mark.capped:
            self._capped = at
        self._place()

    def finalized(self) -> None:
        """A `finalize` is about to be sent: all audio before it is out."""
        self._settle_late()
        utterance = self._take()
        utterance.finalized = self._clock()
        self._due.append(utterance)

    def heard(self, event: wire.Event) -> None:
        """An event came in. Answers to `finalize` come in the order of their questions."""
        now = self._clock()
        match event:
            case wire.Delta():
                self._text(self._owner(now), event.text, now, settled=event.is_final)
            case wire.FlushDone() if self._due:
                self._settle_late()
                self._late = self._due.popleft()
                self._late.flushed = now
            case wire.FlushDone():  # the server's own idea
                self._keep(self._take())
            case wire.Done():
                self._settle_late()
                while self._due:
                    self._keep(self._due.popleft())
            case wire.Connected():
                self._auto = True
            case wire.TurnStart() | wire.TurnUpdate() | wire.TurnEagerEnd() | wire.TurnResume() | wire.TurnEnd():
                self._auto = True
                self._turned(event, now)

    def rewound(self, at: float) -> None:
        """The connection was lost, audio from so many seconds on is sent again: what was waited for gives no figure."""
        self._samples = self._cut = round(at * self._rate)
        self._frames = deque([(self._samples, 0.0)], FRAMES)
        self._open, self._late, self._turn, self._spoken = Utterance(), Utterance(), False, []
        self._due.clear()

    def late(self, seconds: float) -> None:
        """A block left so long after its deadline."""
        self._lateness.add(seconds)

    def took(self, name: str, seconds: float) -> None:
        """Something else took so long: one of WAITS."""
        self._tallies[name].add(seconds)

    def gap(self, seconds: float) -> None:
        """All later deadlines were put off by so much."""
        self._gaps += 1
        self._lost += seconds

    def report(self) -> dict[str, Any]:
        """What was measured; the session is over. Ready for JSON; what there is none of is left out.

        bytes, seconds, credits   what was sent, and its price at Cartesia
        latency_ms                figure to count, p50, p95, p99 and max in milliseconds
        pacing                    lateness_ms likewise, of blocks; drift_ms: the last one's lateness minus the
                                  first one's; gaps, and gap_seconds lost in them together
        utterances                the last LISTED: start and end in seconds of audio, latency_ms by figure
        """
        self._settle_late()
        for utterance in (*self._due, self._take()):
            utterance.last = None  # more was perhaps to come
            self._keep(utterance)
        self._due.clear()
        seconds = self.seconds
        report: dict[str, Any] = {
            "bytes": self._bytes,
            "seconds": round(seconds, 3),
            "credits": round(wire.realtime_credits(self._model, seconds), 1),
            "latency_ms": {name: tally.summary() for name, tally in self._tallies.items() if tally.count},
        }
        if self._lateness.count:
            report["pacing"] = {
                "lateness_ms": self._lateness.summary(),
                "drift_ms": milliseconds(self._lateness.last - self._lateness.first),
                "gaps": self._gaps,
                "gap_seconds": round(self._lost, 3),
            }
        return report | {"utterances": list(self._utterances)}

    def _onset(self, at: int) -> None:
        self._settle_late()
        if not self._auto and not self._spoken and self._open.text:
            self._take()  # text of something that the endpointer did not hear
        if self._auto and not self._turn and self._spoken:
            stop = self._spoken[-1].stop
            if stop is not None and at - stop > UNANSWERED * self._rate:
                self._spoken.clear()
        self._spoken.append(Stretch(None if at == self._capped else at, self._samples))
        if len(self._spoken) > 3:  # the first, the last, and the one before it: that is all one needs
            del self._spoken[1]

    def _turned(self, event: wire.Event, now: float) -> None:
        match event:
            case wire.TurnStart():
                if self._turn and self._open.text:  # its end was left out
                    self._keep(self._take())
                self._turn = True
            case wire.TurnUpdate(transcript=text):
                self._turn, self._open.eager = True, None
                self._text(self._open, text, now)
            case wire.TurnEagerEnd(transcript=text):
                self._turn = True
                self._open.eager = now if self._open.eager is None else self._open.eager
                self._text(self._open, text, now)
            case wire.TurnResume():
                self._open.eager = None
            case wire.TurnEnd(transcript=text) if self._turn or text not in ("", self._said):
                self._text(self._open, text, now)
                turn = self._take()
                if turn.text:
                    turn.ended = now
                    self._keep(turn)
                self._turn, self._said = False, text or self._said

    def _owner(self, now: float) -> Utterance:
        """To which utterance a delta belongs."""
        if self._due:
            return self._due[0]
        flushed = self._late.flushed
        return self._open if flushed is None or now - flushed > LATE else self._late

    def _text(self, utterance: Utterance, text: str, now: float, *, settled: bool = True) -> None:
        if not text.strip():
            return
        if not utterance.text:
            began = self._spoken[0].began if utterance is self._open and self._spoken else utterance.began
            utterance.first = None if began is None else now
        utterance.text = True
        if settled and utterance.finalized is not None:
            utterance.last = now

    def _take(self) -> Utterance:
        """The utterance up to here. Speech that begins in the very frame where it ended stays for the next one."""
        taken, spoken = self._open, self._spoken
        rest: list[Stretch] = []
        if spoken and spoken[-1].stop is None:
            if len(spoken) > 1 and (self._auto or spoken[-1].opened == spoken[-2].closed):
                rest = [spoken.pop()]
            else:
                rest = [Stretch(None, self._samples)]
        if spoken:
            first, last = spoken[0], spoken[-1]
            taken.spoken, taken.start, taken.began = True, first.start, first.began
            taken.stop, taken.ceased = last.stop, None if last.capped else last.ceased
        self._open, self._spoken, self._cut = Utterance(), rest, self._samples
        return taken

    def _settle_late(self) -> None:
        self._keep(self._late)
        self._late = Utterance()

    def _keep(self, utterance: Utterance) -> None:
        figures = utterance.figures()
        for name, seconds in figures.items():
            self._tallies[name].add(seconds)
        if figures:
            facts: dict[str, Any] = {"latency_ms": {name: milliseconds(seconds) for name, seconds in figures.items()}}
            bounds = {"start": utterance.start, "end": utterance.stop}
            self._utterances.append(
                {n: round(at / self._rate, 3) for n, at in bounds.items() if at is not None} | facts
            )

    def _place(self) -> None:
        """Find out when the ends of speech were sent, as soon as they have been."""
        for stretch in self._spoken:
            if stretch.start is not None and stretch.began is None:
                stretch.began = self._when(stretch.start)
            if stretch.stop is not None and stretch.ceased is None:
                stretch.ceased = self._when(stretch.stop - 1)

    def _when(self, sample: int) -> float | None:
        """When a sample was sent. None: it was not yet, or too long ago."""
        found = None
        for end, at in reversed(self._frames):
            if end <= sample:
                return found
            found = at
        return None
