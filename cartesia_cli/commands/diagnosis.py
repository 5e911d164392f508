"""Runs checks side by side, each in threads of its own and with a time limit, and collects what they find.

Must never let one check end or hold up another, whatever it raises and however long it hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, NamedTuple

from ..daemon_thread import start_daemon_thread
from ..errors import CliError
from ..record import Record

MAX_SECONDS = 28.0
"""For all checks together."""


class State(StrEnum):
    """How a check ended. Only a failure changes the exit code."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


class Problem(NamedTuple):
    """One thing that is wrong, and what to do about it."""

    summary: str
    advice: str


class CheckResult(Record):
    """What a check found.

    summary    one line: what is there, or what is wrong
    advice     what to do about it, or None
    also       what else is wrong
    facts      for programs, and for the checks that need this one
    seconds    how long it took
    """

    state: State
    summary: str
    advice: str | None = None
    facts: Mapping[str, Any] = {}
    also: tuple[Problem, ...] = ()
    seconds: float = 0.0


def ok(summary: str, **facts: Any) -> CheckResult:
    return CheckResult(State.OK, summary, facts=facts)


def warning(summary: str, advice: str, **facts: Any) -> CheckResult:
    return CheckResult(State.WARNING, summary, advice, facts)


def failure(summary: str, advice: str, **facts: Any) -> CheckResult:
    return CheckResult(State.FAILURE, summary, advice, facts)


def skipped(reason: str, advice: str | None = None) -> CheckResult:
    return CheckResult(State.SKIPPED, reason, advice)


NeededResults = Mapping[str, CheckResult]
"""The results of the checks that another one needs, by their names."""


class Check(NamedTuple):
    """One check.

    name      selects it on the command line
    title     for people
    run       looks at what is examined; a CliError that it raises becomes a failure with its hint
    needs     checks that must have ended with `ok` or a warning; otherwise this one is skipped
    seconds   time limit, without the time that the needed checks take
    """

    name: str
    title: str
    run: Callable[[Any, NeededResults], CheckResult]
    needs: tuple[str, ...] = ()
    seconds: float = 5.0


def select(checks: Sequence[Check], names: Sequence[str]) -> list[Check]:
    """The named checks, and those that they need, in the order of the table; all for no names. All names must exist."""
    by_name = {check.name: check for check in checks}
    wanted, open_names = set[str](), list(names or by_name)
    while open_names:
        name = open_names.pop()
        if name not in wanted:
            wanted.add(name)
            open_names += by_name[name].needs
    return [check for check in checks if check.name in wanted]


def run_checks(
    checks: Sequence[Check], examined: Any, max_seconds: float = MAX_SECONDS
) -> Iterator[tuple[Check, CheckResult]]:
    """Start all checks at once; yields each with its result, in order, as soon as it is known.

    checks        each after those that it needs
    max_seconds   for all of them; those that need others may otherwise take longer one after the other
    """
    end_time = time.monotonic() + max_seconds
    futures: dict[str, Future[CheckResult]] = {}
    titles = {check.name: check.title for check in checks}
    for check in checks:
        awaited = {name: futures[name] for name in check.needs}

        def supervise(check: Check = check, awaited: Mapping[str, Future[CheckResult]] = awaited) -> CheckResult:
            needed = {name: future.result() for name, future in awaited.items()}
            for name, result in needed.items():
                if result.state is State.SKIPPED:
                    return skipped(result.summary)
                if result.state is State.FAILURE:
                    return skipped(f"not tried: {titles[name]} failed")
            return _run_one(check, examined, needed)

        futures[check.name] = start_daemon_thread(supervise, f"check {check.name}")
    for check in checks:
        try:
            yield check, futures[check.name].result(max(0.0, end_time - time.monotonic()))
        except TimeoutError:
            yield check, _late(max_seconds)


def _run_one(check: Check, examined: Any, needed: NeededResults) -> CheckResult:
    """The result of one check, whatever happens in it."""
    began = time.monotonic()
    try:
        result = start_daemon_thread(lambda: check.run(examined, needed), check.name).result(check.seconds)
    except TimeoutError:
        result = _late(check.seconds)
    except CliError as error:
        result = CheckResult(State.FAILURE, str(error), error.hint)
    except Exception as error:  # a mistake in the check must not hide the results of the others
        result = failure(f"the check itself failed: {type(error).__name__}: {error}", "please report it")
    return result._replace(seconds=time.monotonic() - began)


def _late(seconds: float) -> CheckResult:
    return failure(f"no result within {seconds:g} s", "try again; if it stays so, please report it")
