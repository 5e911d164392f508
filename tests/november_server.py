"""A realtime server with what the API learned in 2026: language hints, detected languages, and `config` in mid-session.

Written from the documentation alone (use-the-api/stt/languages, stt/keyterms, api-reference/stt/turns/websocket), on
the sockets of `realtime_server`, without any code of the package:

- `language_hint` in the query, up to 6 base codes, with ink-preview only; otherwise an `error` event and the end.
- `config` is JSON on both endpoints. It may replace `language_hints` and `keyterms` and, on the auto endpoint, parts of
  `turn`. What is accepted has no answer. What isn't gets an `error` event, changes nothing, and the session goes on.
- `turn.end` carries `languages` with ink-preview.

Every 0.5 s of audio are a turn, or a delta, that says which settings apply then: "hints=de,en terms=Ink end=0.3."
"""

from __future__ import annotations

import json
import re

from .realtime_server import TURNS, Script, ServerConnection, connected, done, error, flush_done, transcript, turn

HINTED = "ink-preview"
STEP_SECONDS = 0.5
CODES = {"ar", "de", "en", "es", "fr", "hi", "ja", "pt"}
"""Some of the 44 languages."""


class Settings:
    """The settings of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        record = connection.record
        self.model = record.parameter("model")
        self.is_auto = record.path == TURNS
        self.hints = [value for name, value in record.query if name in ("language_hint", "language_hints")]
        self.terms = [value for name, value in record.query if name == "keyterm"]
        self.end = float(record.parameter("turn_end_threshold") or 0.3)

    def describe(self) -> str:
        hints, terms = ",".join(self.hints) or "none", ",".join(self.terms) or "none"
        return f" hints={hints} terms={terms}" + (f" end={self.end:g}." if self.is_auto else ".")

    def problem(self, hints: list[str]) -> str | None:
        """What is wrong with hints."""
        if hints and self.model != HINTED:
            return f"{self.model} does not take language hints"
        if len(hints) > 6:
            return "at most 6 language hints are allowed"
        wrong = [hint for hint in hints if hint not in CODES or not re.fullmatch("[a-z]{2,3}", hint)]
        return f"{wrong[0]} is not a supported language" if wrong else None

    def change(self, message: dict[str, object]) -> str | None:
        """Apply a `config`, or say what is wrong with it."""
        hints, terms, changes = message.get("language_hints"), message.get("keyterms"), message.get("turn", {})
        if hints is not None:
            assert isinstance(hints, list)
            if problem := self.problem(hints):
                return problem
        if terms is not None:
            assert isinstance(terms, list)
            if len(terms) > 100 or sum(map(len, terms)) > 1200:
                return "too many keyterms"
        assert isinstance(changes, dict)
        if changes and not self.is_auto:
            return "turn detection is for the auto endpoint"
        self.hints = self.hints if hints is None else hints
        self.terms = self.terms if terms is None else terms
        self.end = changes.get("end_threshold", self.end)
        return None


def november(connection: ServerConnection) -> None:
    """A session as documented, up to its end."""
    talk(connection)


def drops_after(seconds: float) -> Script:
    """A session whose connection is lost after so much audio."""

    def script(connection: ServerConnection) -> None:
        talk(connection, seconds)
        connection.drop()

    return script


def closes_at_config(connection: ServerConnection) -> None:
    """A server that ends the session at a `config` that it doesn't like, with 1008 and no event."""
    connection.admit(first=connected())
    connection.until_command("config", "close")
    connection.close(1008, "Invalid config")


def talk(connection: ServerConnection, until: float | None = None) -> None:
    record = connection.record
    is_auto = record.path == TURNS
    connection.admit(first=connected() if is_auto else None)
    settings = Settings(connection)
    if problem := settings.problem(settings.hints):
        connection.say(error(400, title="Invalid language hints", message=problem))
        connection.close(1008)
        return
    answered, said = 0, 0
    while True:
        wait_for_more(connection, answered, STEP_SECONDS * (said + 1) - 1e-6)
        while record.seconds >= STEP_SECONDS * (said + 1) - 1e-6:
            said += 1
            say(connection, settings, first=said == 1)
        while answered < len(record.texts):
            text = record.texts[answered]
            answered += 1
            if text == "finalize" and not is_auto:
                connection.say(flush_done())
            elif text == "close" and not is_auto:
                connection.say(done())
                return connection.close()
            elif not text.startswith("{"):
                connection.say(error(400, title="Unrecognized message type"))
            elif (message := json.loads(text))["type"] == "close":
                return connection.close()
            elif problem := settings.change(message):
                connection.say(error(400, title="Invalid config", message=problem))
        if until is not None and record.seconds >= until:
            return


def wait_for_more(connection: ServerConnection, texts: int, seconds: float) -> None:
    """Wait for another text frame, or for so much audio."""
    connection.until(lambda record: len(record.texts) > texts or record.seconds >= seconds, "audio or a command")


def say(connection: ServerConnection, settings: Settings, *, first: bool) -> None:
    text = settings.describe().lstrip() if first else settings.describe()
    languages = [{"language": "en", "confidence": 0.25}, {"language": (settings.hints or ["hi"])[0], "confidence": 1}]
    heard = {"languages": languages} if settings.model == HINTED else {}
    if not settings.is_auto:
        return connection.say(transcript(text))
    connection.say(turn("start"))
    connection.say(turn("update", text) | heard)
    connection.say(turn("end", text) | heard)
