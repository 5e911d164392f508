"""How long a speaker waits for the local server, one at a time and two at once: `serve` with its real engines.

Spoken sentences go to both realtime endpoints at the pace of life (`speakers.py`). On the manual endpoint `finalize`
follows the last speech at once, which is the worst case, or 0.6 s of silence, as with `stream-file`; then a minute
goes by without a pause, to see whether work piles up. On the auto endpoint the server decides where a turn ends; the
last one is long. What was understood is measured, too: quick nonsense would be no merit.
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
from speakers import AT_ONCE, LATER, Part, Take, asking, pressing, sentences, session, shifted, talking

from cartesia_cli.protocol import AUTO, MANUAL, Endpoint

ANSWER_GOAL = 0.3
GAP_GOAL = 0.7
"""Seconds: the median, and the largest."""
PILE_GOAL = 1.5
"""How many times slower the last answers may be than the first ones."""
WRONG_GOAL = 0.1
"""Of all words."""
FEW = 6
"""First and last answers of a session."""


class Server:
    """The program's own `serve`."""

    def __init__(self, home: str) -> None:
        command = [CLI, "serve", "--port", "0", "--quiet"]
        self.child = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        self.address = self.child.stdout.readline().strip().partition("=")[2]
        if not self.address:
            raise SystemExit("the server did not start")

    @property
    def cpu(self) -> float:
        """Seconds of CPU time up to now."""
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
    """Sessions at the same time. load: CPU of the server meanwhile, of a core."""

    takes: list[Take]
    load: float

    def gather(self, what: Callable[[Take], Iterable[float]]) -> list[float]:
        return [figure for take in self.takes for figure in what(take)]

    @property
    def wrong(self) -> float:
        """Word error rate, settled texts joined as they are."""
        said = [words(" ".join(part.said for part in take.parts)) for take in self.takes]
        heard = [words("".join(text.get("text") or text.get("transcript") or "" for text in take.texts))
                 for take in self.takes]  # fmt: skip
        return float(jiwer.process_words(said, heard).wer)


def trial(server: Server, dialect: Endpoint, model: str, *scripts: list[Part]) -> Trial:
    async def all_of_them() -> list[Take]:
        return list(await asyncio.gather(*(session(server.address, dialect, model, parts) for parts in scripts)))

    began, cpu = time.monotonic(), server.cpu
    takes = asyncio.run(all_of_them())
    return Trial(takes, (server.cpu - cpu) / (time.monotonic() - began))


class Table:
    """Trials side by side: one session alone, and two at once."""

    def __init__(self) -> None:
        self._report = Report("median, p95 and largest, ms", "alone", "two at once", "goal")

    def head(self, name: str) -> None:
        self._report.row(name, "", "", "")

    def row(self, name: str, figures: Sequence[list[float]], goal: str = "", *, met: bool | None = None) -> None:
        self._report.row(name, *map(_told, figures), goal, met=met)

    def other(self, trials: Sequence[Trial | None]) -> None:
        """What was understood, and at what cost."""
        wrong = [one.wrong if one else None for one in trials]
        met = all(share is None or share <= WRONG_GOAL for share in wrong)
        cells = ["" if share is None else f"{share:.1%}" for share in wrong]
        self._report.row("  word error rate", *cells, f"{WRONG_GOAL:.0%}", met=met)
        self._report.row("  CPU of the server, of a core", *(f"{one.load:.0%}" if one else "" for one in trials), "")

    def end(self) -> int:
        return self._report.end()


def _told(seconds: list[float]) -> str:
    if not seconds:
        return ""
    ordered = sorted(seconds)
    figures = statistics.median(ordered), ordered[-1 - len(ordered) // 20], ordered[-1]
    return ", ".join(f"{figure * 1000:.0f}" for figure in figures)


def answers(table: Table, trials: Sequence[Trial], goal: float | None) -> None:
    for when in (AT_ONCE, LATER):
        figures = [one.gather(partial(Take.answers, when=when)) for one in trials]
        met = None if goal is None else all(statistics.median(some) <= goal for some in figures)
        table.row(f"  finalize {when}, to text", figures, f"median {goal * 1000:.0f}" if goal else "", met=met)
    table.other(trials)


def turns(table: Table, trials: Sequence[Trial]) -> None:
    table.row(
        "  turn.start to the first text", [one.gather(lambda take: (t.first for t in take.turns())) for one in trials]
    )
    gaps = [one.gather(lambda take: (gap for t in take.turns() for gap in t.gaps)) for one in trials]
    met = all(max(some, default=inf) <= GAP_GOAL for some in gaps)
    table.row("  from one sign to the next", gaps, f"largest {GAP_GOAL * 1000:.0f}", met=met)
    over = [one.gather(lambda take: (t.over for t in take.turns() if t.over is not None)) for one in trials]
    table.row("  last speech to turn.end", over)
    table.other(trials)


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

        def both(dialect: Endpoint, model: str, script: Callable[[list[Part]], list[Part]], count: int) -> list[Trial]:
            ours, theirs = script(parts[:count]), shifted(script(others[:count]))
            return [trial(server, dialect, model, ours), trial(server, dialect, model, ours, theirs)]

        for model in ("ink-2", "ink-whisper"):
            trial(server, MANUAL, model, asking(parts[:1]))  # for the caches
        table.head("manual, ink-2")
        answers(table, both(MANUAL, "ink-2", asking, given.sentences), ANSWER_GOAL)
        table.head("auto, ink-2")
        turns(table, both(AUTO, "ink-2", talking, given.sentences))
        table.head("manual, ink-whisper")
        timed = both(MANUAL, "ink-whisper", asking, few)
        if not all(event["words"] for one in timed for take in one.takes for event in take.texts):
            raise SystemExit("a text came without words")
        answers(table, timed, None)
        table.head(f"manual, ink-2, {given.seconds:g} s without a pause")
        scripts = [pressing(parts, given.seconds), shifted(pressing(others, given.seconds))]
        pressed = trial(server, MANUAL, "ink-2", *scripts)
        first = pressed.gather(lambda take: take.answers(AT_ONCE)[:FEW])
        last = pressed.gather(lambda take: take.answers(AT_ONCE)[-FEW:])
        table.row(f"  the first {FEW} answers", [[], first])
        slower = statistics.median(last) / statistics.median(first)
        table.row(f"  the last {FEW}", [[], last], f"median x {PILE_GOAL:g}", met=slower <= PILE_GOAL)
        table.other([None, pressed])
    return table.end()


if __name__ == "__main__":
    sys.exit(main())
