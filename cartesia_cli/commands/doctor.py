"""`doctor`: checks what works on this machine and what doesn't, and says what to do."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import Exit, UsageError
from . import options as given
from .configured_command import PROBLEM
from .option_sources import CHOSEN, configured
from .options import expand_groups

if TYPE_CHECKING:  # --help does without
    from ..output.console import Reporter
    from ..settings import Settings
    from .diagnosis import Check, CheckResult, State
    from .doctor_machine import Examined

EXAMPLES = """
cartesia-cli doctor
cartesia-cli doctor --offline -f json
cartesia-cli doctor microphone level --device Headset
cartesia-cli doctor --profile work
"""

Checks = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CHECK...]", show_default=False, help="Only these checks, and those that they need."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Leave out the checks that need the network.")]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Microphone to test: its number, or part of its name (see `devices`)."),
]


class ServerOptions(NamedTuple):
    """Which server is asked: as for all commands, but no model is loaded, and no key is needed."""

    local: given.Local = False
    cloud: given.Cloud = False
    base_url: given.BaseUrl = None
    insecure_http: given.InsecureHttp = None
    insecure_http_key: given.InsecureHttpKey = None
    api_version: given.ApiVersion = None

    def choose(self, settings: "Settings") -> str | None:
        """Its base URL; None: this machine transcribes. Raises UsageError for one to which nothing may be sent."""
        from .backend import choose_backend

        return choose_backend(
            settings, local=self.local, cloud=self.cloud, base_url=self.base_url, needs_key=False,
            insecure_http=self.insecure_http, insecure_http_key=self.insecure_http_key,
        ).base_url  # fmt: skip

    def sends_key(self, settings: "Settings", base_url: str | None) -> bool:
        from ..protocol.constants import is_unencrypted
        from .backend import is_switched_on

        unencrypted = base_url is not None and is_unencrypted(base_url)
        return not unencrypted or is_switched_on(settings, "insecure_http_key", self.insecure_http_key)


@expand_groups
def doctor(
    context: typer.Context,
    *,
    checks: Checks = None,
    offline: Offline = False,
    device: Device = None,
    server: ServerOptions,
    form: given.Listing = "table",
    verbosity: given.VerbosityOptions,
) -> None:
    """Check what works on this machine and what doesn't, and say what to do.

    Exit code 1 if a check fails. The microphone is recorded for two seconds, and nothing is kept. With a key, a second
    of speech is sent to each endpoint, which costs a few credits.
    """
    reporter = verbosity.apply_to(context.obj)
    reporter.as_json = form == "json"
    from ..output.files import write_stdout
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
        if not reporter.as_json:
            write_stdout(reporter.redact(_lines(check, result, width)))
    counts = Counter(result.state for _, result in results)
    if reporter.as_json:
        write_stdout(reporter.redact(json.dumps(_document(results, counts), ensure_ascii=False, indent=2)) + "\n")
    else:
        reporter.info(", ".join(f"{counts[state]} {_plural(state, counts[state])}" for state in State if counts[state]))
    if counts[State.FAILURE]:
        raise typer.Exit(Exit.FAILED)


def _find_out(
    context: typer.Context, reporter: "Reporter", server: ServerOptions, device: str | None, *, offline: bool
) -> "Examined":
    """What is examined. A mistake in the configuration is part of it; raises UsageError for one on the command line."""
    from ..protocol.constants import API_VERSION
    from .doctor_machine import Examined
    from .doctor_network import NO_SERVER

    choice = {name: setting.value for name, setting in context.meta.get(CHOSEN, {}).items()}
    problem, settings, address, sends_key = context.meta.get(PROBLEM), None, None, False
    if problem is None:
        settings = configured(**choice)
        try:
            address = server.choose(settings)
        except UsageError as error:
            if server.base_url is not None:
                raise
            problem = error  # in CARTESIA_BASE_URL or the file
        sends_key = server.sends_key(settings, address)
    unasked = "--offline" if offline else "--local" if server.local else NO_SERVER if address is None else None
    return Examined(
        settings=settings, problem=problem, program=context.find_root().command, choice=choice, base_url=address,
        api_version=server.api_version or API_VERSION, sends_key=sends_key, unasked=unasked, device=device,
        colored=reporter.is_colored(), environ=os.environ, add_secret=reporter.add_secret,
    )  # fmt: skip


def _plural(state: "State", count: int) -> str:
    return f"{state}s" if state in ("warning", "failure") and count > 1 else str(state)


def _lines(check: "Check[Any]", result: "CheckResult", width: int) -> str:
    """The line of a check, and one with what to do."""
    from ..output.sanitize import one_line

    line = f"{result.state:<7}  {check.title:<{width}}  {one_line(result.summary)}\n"
    return line if result.advice is None else f"{line}{'':<7}  {'':<{width}}  hint: {one_line(result.advice)}\n"


def _document(results: "Sequence[tuple[Check[Any], CheckResult]]", counts: Counter[Any]) -> dict[str, Any]:
    from .. import __version__
    from .diagnosis import State

    rows = []
    for check, result in results:
        row = {"check": check.name, "title": check.title, "state": str(result.state), "summary": result.summary}
        row |= {} if result.advice is None else {"advice": result.advice}
        rows.append({**row, "seconds": round(result.seconds, 3), "facts": dict(result.facts)})
    return {"version": __version__, "counts": {str(state): counts[state] for state in State}, "checks": rows}
