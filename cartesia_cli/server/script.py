"""A script as values: what the scripted server does, and when. Written by `notation`, played by `scripted`.

Pure. Must not know how scripts are spelt, nor how a socket is made to misbehave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ApiError
from ..protocol import Endpoint, decode_command

Frame = dict[str, Any] | str | bytes
"""An event, or a text or binary frame as it is."""

NO_CODE, ABRUPT, RESET = 1005, 1006, 0
"""Ends as codes of a Drop that no close frame can have: a frame without any, none at all (RFC 6455 7.4.1), and a TCP
reset."""

COMMANDS = ("finalize", "close", "config", "unknown")


@dataclass(frozen=True, slots=True)
class Drop:
    """The end of a socket. `code`: that of a close frame, NO_CODE, ABRUPT or RESET."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """An HTTP answer. `body`: a text as it is, a JSON value, or None for what the documentation has for this status."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happens.

    on        "audio", "handshake", "open", "batch", or one of COMMANDS
    at        seconds of audio, with "audio"
    after     command to how many of it must have come as well (recordings only)
    nth       which of the commands; None: each
    among     numbers, from 1, of the first and the last socket or batch request that it is for
    wait      seconds by the clock before the rest of it
    stall     seconds by the clock without reading, perhaps infinite
    text      what is spelt for the endpoint that was asked for
    split     bytes of a frame; None: a frame is whole
    answer    whether the server's own answer to a command follows
    reply     instead of the handshake, or the answer to a batch request
    """

    on: str = "audio"
    at: float = 0.0
    after: Mapping[str, int] = field(default_factory=dict)
    nth: int | None = None
    among: tuple[float, float] = (1, math.inf)
    wait: float = 0.0
    stall: float = 0.0
    text: str | None = None
    say: tuple[Frame, ...] = ()
    times: int = 1
    split: int | None = None
    drop: Drop | None = None
    answer: bool = True
    reply: ScriptedReply | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """Steps by their time, those of one time as written. `recorded`: the endpoint, of a recording."""

    steps: tuple[Step, ...] = ()
    recorded: Endpoint | None = None

    def of(self, number: int) -> tuple[Step, ...]:
        """The steps for the socket or batch request of this number."""
        return tuple(step for step in self.steps if step.among[0] <= number <= step.among[1])


def command_name(endpoint: Endpoint, frame: str) -> str:
    """A client's text frame as one of COMMANDS."""
    try:
        return type(decode_command(endpoint, frame)).__name__.lower()
    except ApiError:
        return "unknown"
