"""Does the jobs of a run in threads, as many at once as may run, and waits after Ctrl-C for those that are paid for."""

from __future__ import annotations

from collections.abc import Callable, Set
from concurrent.futures import Future, wait

from ...client import ConcurrencyLimit
from ...daemon_thread import start_daemon_thread
from ...errors import Interrupted
from ...output.console import Reporter

TICK_SECONDS = 0.1
"""How often the main thread looks whether more jobs may run at once."""

NOTED_SECONDS = 0.3
"""After so long, jobs have noted what they have sent, or given up: `client.deadlines` asks them ten times a second."""


def run_in_threads(
    work: Callable[[], None],
    limit: ConcurrencyLimit,
    most: int,
    reporter: Reporter,
    *,
    is_over: Callable[[], bool],
    stop: Callable[[], Set[int]],
) -> None:
    """Call `work` in threads, each of which does one job after the other. Returns when all threads have ended; raises
    Interrupted after Ctrl-C, when some may still wait for an input.

    limit     of jobs at once; it may grow
    most      threads, whatever the limit is
    is_over   whether there are no jobs left to begin
    stop      has jobs give up what isn't sent yet. Returns the numbers of the others, whose responses are waited for
              because they will be paid for, and which are removed when they are done. A second Ctrl-C ends that, too
    """
    threads: list[Future[None]] = []
    try:
        while not threads or wait(threads, TICK_SECONDS).not_done:
            while len(threads) < min(limit.value, most) and not is_over():
                threads.append(start_daemon_thread(work, "job"))
            if not threads:
                return
    except Interrupted:
        sent = stop()
        wait(threads, NOTED_SECONDS)
        if sent:
            what = "1 recording that is" if len(sent) == 1 else f"{len(sent)} recordings that are"
            reporter.info(f"waiting for {what} sent already; Ctrl-C again stops at once")
            while sent:  # not all threads: one may be reading a list of inputs from a pipe that stays open
                wait(threads, TICK_SECONDS)
            wait(threads, TICK_SECONDS)  # until the last one has noted what it has done
        raise
