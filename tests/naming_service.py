"""A batch service that answers with the name of each recording: a behaviour of a FaultServer."""

from __future__ import annotations

import json
import os
import threading

from .fault_server import KEY, Exchange, refusal


class NamingService:
    """Answers `This is a.wav.`, or refuses, and keeps what comes.

    names, audio, keys   of the uploads, without those beyond `allowed`
    refused              names of recordings that it refuses
    allowed, exceeded    how many requests it takes at once, and how many it refused because of that
    most_at_once         requests that it took at once
    go_on                answers wait until it is set
    holds                name to an event for which that answer waits
    seconds, delays      that each answer takes; name to seconds, if one takes longer or shorter
    duration             of each recording, in its response
    """

    def __init__(self, duration: float = 0.1) -> None:
        self.names: list[str] = []
        self.audio: list[bytes] = []
        self.keys: set[str | None] = set()
        self.refused: set[str] = set()
        self.allowed, self.exceeded = 1000, 0
        self.most_at_once = self._now = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.holds: dict[str, threading.Event] = {}
        self.seconds, self.delays = 0.0, dict[str, float]()
        self.duration = duration
        self._lock = threading.Lock()

    def text(self, name: str) -> str:
        return f"This is {name}."

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self._now += 1
            is_allowed = self._now <= self.allowed
            self.most_at_once = max(self.most_at_once, self._now if is_allowed else 0)
        request = exchange.request()
        part = request.part("file")
        name = os.fsdecode(part.filename or b"")
        if is_allowed:
            with self._lock:
                text = self.text(name)
                self.names.append(name)
                self.audio.append(part.content)
                self.keys.add(request.header("Authorization"))
            exchange.pause(self.delays.get(name, self.seconds))
            self.holds.get(name, self.go_on).wait(60)
        with self._lock:
            self._now -= 1  # before the answer: after it, the client may send its next request at once
            self.exceeded += not is_allowed
        if not is_allowed:
            error = refusal(429, error_code="concurrency_limited", title="Too many concurrent requests",
                            message="You have exceeded your plan's concurrency limit.")  # fmt: skip
            exchange.answer(429, json.dumps(error), [("Retry-After", "0")])
        elif name in self.refused:
            exchange.answer(422, json.dumps(refusal(422, message=f"{name} is noise; your key is {KEY}")))
        else:
            exchange.answer(200, json.dumps({"text": text, "duration": self.duration}))
