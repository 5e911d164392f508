"""What a realtime script is asked: `SCRIPT BASE_URL SPEED FILE... [--key KEY] [--only SESSION...]`; it prints JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

KEY = "sk_car_judge"


@dataclass(frozen=True)
class Asked:
    """An address, and what to say there.

    base_url   http://HOST:PORT
    speed      1 is the pace of speech, 2 twice that
    files      recordings, an utterance each
    """

    base_url: str
    speed: float
    files: list[str]
    key: str

    @property
    def ws_url(self) -> str:
        return self.base_url.replace("http", "ws", 1)


def asked(sessions: Iterable[str]) -> tuple[Asked, list[str]]:
    """The command line, and which of the sessions are wanted: all unless some are named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("speed", type=float)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--only", nargs="+", choices=list(sessions), default=list(sessions))
    given = parser.parse_args()
    return Asked(given.base_url, given.speed, given.files, given.key), given.only
