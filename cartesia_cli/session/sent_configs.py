"""Keeps the changes of settings that a live session has requested, so that the next connection gets them as well.

A server acknowledges only what it refuses, and doesn't say which `config` it means: it is taken to be the last one that
was sent. Whatever was sent SETTLED_SECONDS before another one is taken to be accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from ..protocol.realtime import Config

SETTLED_SECONDS = 30.0
"""Seconds after which a `config` without an error counts as accepted."""


class SentConfigs:
    """The changes in effect, in order.

    pending   those that no connection has been sent yet
    """

    def __init__(self) -> None:
        self.pending: list[Config] = []
        self._sent: list[tuple[float, Config]] = []

    def request(self, config: Config) -> None:
        """The user wants a change; it is sent after the audio so far."""
        self.pending.append(config)

    def sent(self, config: Config, now: float) -> None:
        """A change was sent. now: seconds of a clock."""
        self.pending = [other for other in self.pending if other is not config]
        if self._sent and now - self._sent[-1][0] >= SETTLED_SECONDS:
            self._sent = [(now, _merged(self.in_effect()))]
        self._sent.append((now, config))

    def was_sent(self, config: Config) -> bool:
        """Whether a requested change was sent before, over this connection or an earlier one."""
        return not any(other is config for other in self.pending)

    def refused(self) -> Config | None:
        """The server refused a change; returns which one, or None if none is in effect."""
        return self._sent.pop()[1] if self._sent else None

    def in_effect(self) -> list[Config]:
        """What a new connection has to be sent first: the changes that were sent and not refused."""
        return [config for _, config in self._sent]

    @property
    def requested(self) -> Config:
        """All changes in effect and pending, as one."""
        return _merged([*self.in_effect(), *self.pending])


def _merged(configs: Iterable[Config]) -> Config:
    return reduce(Config.merged, configs, Config())
