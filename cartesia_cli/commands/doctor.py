"""`doctor`: checks what works on this machine and what doesn't, and says what to do."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Exit, UsageError
from ..output.console import Reporter
from . import options as given
from .command_context import META_CONFIGURATION, configuration, configuration_problem, effective_settings
from .option_sources import find_config_choice

if TYPE_CHECKING:  # --help does without
    from .diagnosis import Check, CheckResult, State
    from .doctor_machine import Examined

EXAMPLES = """
cartesia-cli doctor
cartesia-cli doctor --offline -f json
cartesia-cli doctor microphone level --device Headset
cartesia-cli doctor --profile work
"""


def doctor(
    context: typer.Context,
    reporter: Reporter,
    *,
    checks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CHECK...]", show_default=False, help="Only these checks, and those that they need."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave out the checks that need the network.")] = False,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Microphone to test: its number, or part of its name (see `devices`)."),
    ] = None,
    server: given.ServerOptions,
    format: given.ListFormat = "table",
) -> None:
    """Check what works on this machine and what doesn't, and say what to do.

    Exit code 1 if a check fails. The microphone is recorded for two seconds, and nothing is kept. With a key, a second
    of speech is sent to each endpoint, which costs a few credits.
    """
    from ..output.files import write_stdout
    from ..output.text_json import to_json
    from ..protocol.constants import is_loopback
    from .diagnosis import State, run_checks, select
    from .doctor_machine import MACHINE_CHECKS
    from .doctor_network import NETWORK_CHECKS, round_trip_credits

    table = (*MACHINE_CHECKS, *NETWORK_CHECKS)
    names = [check.name for check in table]
    if unknown := next((name for name in checks or () if name not in names), None):
        raise UsageError(f"unknown check {unknown!r}", hint=f"checks: {', '.join(names)}")
    examined = _find_out(context, reporter, server, device, offline=offline)
    chosen = select(table, checks or ())
    credits = round_trip_credits(check.name for check in chosen)
    if credits and examined.base_url and not examined.unasked and not is_loopback(examined.base_url):
        reporter.info(f"the round trips cost {credits:g} credits; --offline leaves them out")
    results = []
    width = max(len(check.title) for check in chosen)
    for check, result in run_checks(chosen, examined):
        results.append((check, result))
        if format == "table":
            write_stdout(reporter.redact(_lines(check, result, width)))
    counts = Counter(result.state for _, result in results)
    if format == "json":
        write_stdout(reporter.redact(to_json(_document(results, counts), indent=2)))
    else:
        reporter.info(", ".join(f"{counts[state]} {_plural(state, counts[state])}" for state in State if counts[state]))
    if counts[State.FAILURE]:
        raise typer.Exit(Exit.FAILED)


def _find_out(
    context: typer.Context, reporter: Reporter, server: given.ServerOptions, device: str | None, *, offline: bool
) -> "Examined":
    """What is examined. A mistake in the configuration is part of it; raises UsageError for one on the command line."""
    from .backend import BackendConfig
    from .doctor_machine import Examined
    from .doctor_network import NO_SERVER

    root: Any = context.find_root()
    problem, backend = configuration_problem(context), BackendConfig(None)
    if problem is None:
        try:
            backend = server.choose(configuration(context), needs_key=False)
        except UsageError as error:
            if effective_settings(context)["base_url"].layer == "flag":
                raise
            problem = error  # in a variable or the file
    unasked = "--offline" if offline else "--local" if server.local else NO_SERVER if backend.base_url is None else None
    return Examined(
        settings=context.meta.get(META_CONFIGURATION), problem=problem, commands=root.command.commands,
        chosen=find_config_choice(context.params, root.params),
        allows_http=server.insecure_http or server.insecure_http_key,
        backend=backend, unasked=unasked, device=device, reporter=reporter,
    )  # fmt: skip


def _plural(state: "State", count: int) -> str:
    return f"{state}s" if state in ("warning", "failure") and count > 1 else str(state)


def _lines(check: "Check", result: "CheckResult", width: int) -> str:
    """The line of a check, one with what to do, and the same of what else it found."""
    from ..output.sanitize import one_line

    lines = [f"hint: {result.advice}"] if result.advice is not None else []
    for also in result.also:
        lines += [also.summary, f"hint: {also.advice}"]
    indent = " " * (7 + 2 + width + 2)
    first = f"{result.state:<7}  {check.title:<{width}}  {one_line(result.summary)}\n"
    return first + "".join(f"{indent}{one_line(line)}\n" for line in lines)


def _document(results: "Sequence[tuple[Check, CheckResult]]", counts: Counter[Any]) -> dict[str, Any]:
    from .. import __version__
    from ..output.text_json import without_none
    from .diagnosis import State

    rows = []
    for check, result in results:
        row = {
            "check": check.name,
            "title": check.title,
            "state": str(result.state),
            "summary": result.summary,
            "advice": result.advice,
            "also": [also._asdict() for also in result.also] or None,
            "seconds": round(result.seconds, 3),
            "facts": dict(result.facts),
        }
        rows.append(without_none(row))
    return {"version": __version__, "counts": {str(state): counts[state] for state in State}, "checks": rows}
