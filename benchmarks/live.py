"""Measures the latency of the local server with its real engines (`serve`), for one session and for two at once.

Synthesized sentences are sent in real time to both realtime endpoints (`speakers.py`). On the manual endpoint
`finalize` follows the speech at once, which is the worst case, or after 0.6 s of silence, as in `stream-file`; then a
minute is sent without a pause, to see whether work piles up. On the auto endpoint the server ends the turns; the last
one is long.
Targets: a median of 0.3 s from `finalize` to text, at most 0.7 s between two events of a turn, last answers at most
1.5 times as slow as the first ones, and at most 10 % wrong words.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import jiwer
from local import words
from measuring import CLI, ROOT, Report, environment

sys.path.insert(0, str(ROOT))
from speakers import (
    AT_ONCE,
    LATER,
    Part,
    SessionResult,
    as_turns,
    sentences,
    session,
    shifted,
    with_pauses,
    without_pauses,
)

from cartesia_cli.protocol.realtime import AUTO, MANUAL, Endpoint

ANSWER_GOAL_SECONDS = 0.3
"""Median."""
GAP_GOAL_SECONDS = 0.7
"""Maximum."""
SLOWDOWN_GOAL = 1.5
"""How many times slower the last answers may be than the first ones."""
ERROR_RATE_GOAL = 0.1
COMPARED_ANSWERS = 6
"""How many of the first and of the last answers of a session are compared."""


class Server:
    """A running `cartesia-cli serve`."""

    def __init__(self, home: str) -> None:
        command = [CLI, "serve", "--port", "0", "--quiet"]
        self.child = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        self.address = self.child.stdout.readline().strip().partition("=")[2]
        if not self.address:
            raise SystemExit("the server did not start")

    @property
    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as home:
        server = Server(home)
        try:
            yield server
        finally:
            server.child.terminate()
            server.child.communicate()


@dataclass(frozen=True)
class Trial:
    """Results of sessions that ran at the same time. load: CPU of the server meanwhile, as a share of a core."""

    sessions: list[SessionResult]
    load: float

    def gather(self, what: Callable[[SessionResult], Iterable[float]]) -> list[float]:
        return [figure for result in self.sessions for figure in what(result)]

    @property
    def error_rate(self) -> float:
        """Word error rate of the settled texts."""
        said = [words(" ".join(part.said for part in result.parts)) for result in self.sessions]
        heard = [words("".join(text.get("text") or text.get("transcript") or "" for text in result.texts))
                 for result in self.sessions]  # fmt: skip
        return float(jiwer.process_words(said, heard).wer)


def run_trial(server: Server, endpoint: Endpoint, model: str, *scripts: list[Part]) -> Trial:
    async def run_sessions() -> list[SessionResult]:
        return list(await asyncio.gather(*(session(server.address, endpoint, model, parts) for parts in scripts)))

    began, cpu = time.monotonic(), server.cpu
    sessions = asyncio.run(run_sessions())
    return Trial(sessions, (server.cpu - cpu) / (time.monotonic() - began))


class Table:
    """Trials side by side: one session alone, and two at once."""

    def __init__(self) -> None:
        self._report = Report("median, p95 and largest, ms", "alone", "two at once", "goal")

    def heading(self, name: str) -> None:
        self._report.row(name, "", "", "")

    def row(self, name: str, figures: Sequence[list[float]], goal: str = "", *, met: bool | None = None) -> None:
        self._report.row(name, *map(_milliseconds, figures), goal, met=met)

    def quality(self, trials: Sequence[Trial | None]) -> None:
        """Add rows for the word error rate and the CPU of the server."""
        rates = [one.error_rate if one else None for one in trials]
        met = all(share is None or share <= ERROR_RATE_GOAL for share in rates)
        cells = ["" if share is None else f"{share:.1%}" for share in rates]
        self._report.row("  word error rate", *cells, f"{ERROR_RATE_GOAL:.0%}", met=met)
        self._report.row("  CPU of the server, of a core", *(f"{one.load:.0%}" if one else "" for one in trials), "")

    def end(self) -> int:
        return self._report.end()


def _milliseconds(seconds: list[float]) -> str:
    if not seconds:
        return ""
    ordered = sorted(seconds)
    figures = statistics.median(ordered), ordered[-1 - len(ordered) // 20], ordered[-1]
    return ", ".join(f"{figure * 1000:.0f}" for figure in figures)


def report_answers(table: Table, trials: Sequence[Trial], goal: float | None) -> None:
    for when in (AT_ONCE, LATER):
        figures = [one.gather(partial(SessionResult.answers, when=when)) for one in trials]
        met = None if goal is None else all(statistics.median(some) <= goal for some in figures)
        table.row(f"  finalize {when}, to text", figures, f"median {goal * 1000:.0f}" if goal else "", met=met)
    table.quality(trials)


def report_turns(table: Table, trials: Sequence[Trial]) -> None:
    table.row(
        "  turn.start to the first text",
        [one.gather(lambda result: (t.first for t in result.turns())) for one in trials],
    )
    gaps = [one.gather(lambda result: (gap for t in result.turns() for gap in t.gaps)) for one in trials]
    met = all(max(some, default=inf) <= GAP_GOAL_SECONDS for some in gaps)
    table.row("  from one event to the next", gaps, f"largest {GAP_GOAL_SECONDS * 1000:.0f}", met=met)
    over = [one.gather(lambda result: (t.over for t in result.turns() if t.over is not None)) for one in trials]
    table.row("  last speech to turn.end", over)
    table.quality(trials)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=8, help="for a session on the manual endpoint (8)")
    parser.add_argument("--seconds", type=float, default=60, help="without a pause (60)")
    given = parser.parse_args()
    parts = sentences(given.sentences)
    others = parts[3:] + parts[:3]
    few = max(2, given.sentences * 2 // 5)
    table = Table()
    with serving() as server:

        def alone_and_together(
            endpoint: Endpoint, model: str, script: Callable[[list[Part]], list[Part]], count: int
        ) -> list[Trial]:
            ours, theirs = script(parts[:count]), shifted(script(others[:count]))
            return [run_trial(server, endpoint, model, ours), run_trial(server, endpoint, model, ours, theirs)]

        for model in ("ink-2", "ink-whisper"):
            run_trial(server, MANUAL, model, with_pauses(parts[:1]))  # fills the caches
        table.heading("manual, ink-2")
        report_answers(table, alone_and_together(MANUAL, "ink-2", with_pauses, given.sentences), ANSWER_GOAL_SECONDS)
        table.heading("auto, ink-2")
        report_turns(table, alone_and_together(AUTO, "ink-2", as_turns, given.sentences))
        table.heading("manual, ink-whisper")
        timed = alone_and_together(MANUAL, "ink-whisper", with_pauses, few)
        if not all(event["words"] for one in timed for result in one.sessions for event in result.texts):
            raise SystemExit("a text came without words")
        report_answers(table, timed, None)
        table.heading(f"manual, ink-2, {given.seconds:g} s without a pause")
        scripts = [without_pauses(parts, given.seconds), shifted(without_pauses(others, given.seconds))]
        pressed = run_trial(server, MANUAL, "ink-2", *scripts)
        first = pressed.gather(lambda result: result.answers(AT_ONCE)[:COMPARED_ANSWERS])
        last = pressed.gather(lambda result: result.answers(AT_ONCE)[-COMPARED_ANSWERS:])
        table.row(f"  the first {COMPARED_ANSWERS} answers", [[], first])
        slower = statistics.median(last) / statistics.median(first)
        table.row(
            f"  the last {COMPARED_ANSWERS}", [[], last], f"median x {SLOWDOWN_GOAL:g}", met=slower <= SLOWDOWN_GOAL
        )
        table.quality([None, pressed])
    return table.end()


if __name__ == "__main__":
    sys.exit(main())
