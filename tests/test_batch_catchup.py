"""Tests of batch catch-up: a large backlog is transcribed by the batch endpoint, once, with shifted times and words."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import srt
import webvtt

from cartesia_cli.audio.pcm import RATE, AudioBlock
from cartesia_cli.audio.vad import VadSettings
from cartesia_cli.commands.backend import ChosenServer
from cartesia_cli.commands.live.catchup import batch_catch_up
from cartesia_cli.commands.live.config import SessionConfig
from cartesia_cli.commands.live.interaction import Controls
from cartesia_cli.commands.live.options import StreamOptions
from cartesia_cli.commands.live.session import run_session
from cartesia_cli.errors import OutputError
from cartesia_cli.output import Layout
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.realtime import MANUAL, Finalize, RealtimeOptions
from cartesia_cli.server.app import create_scripted_app
from cartesia_cli.server.runner import serve_in_background
from cartesia_cli.server.script import parse_script
from cartesia_cli.session.interfaces import Source
from cartesia_cli.transcript import Segment

SPOKEN = "One two three. Four five six."
WORDS: list[dict[str, Any]] = [{"word": word, "start": 20.0 * (n // 3) + n, "end": n + 20.0 * (n // 3) + 0.5}
         for n, word in enumerate(SPOKEN.split())]  # fmt: skip
ANSWER = {"text": SPOKEN, "duration": 70.0, "words": WORDS}


@contextmanager
def serving(*steps: dict[str, Any]) -> Iterator[ChosenServer]:
    """A local server that plays these steps of a script."""
    with serve_in_background(create_scripted_app(parse_script("\n".join(map(json.dumps, steps))))) as background:
        yield ChosenServer(background, None, local=False)


class Backlog:
    """A source of two seconds of audio, and after their answer 70 at once, as after a long outage."""

    def __init__(self) -> None:
        self.controls: Controls | None = None
        self.answered = asyncio.Event()

    def on_segment(self, segment: Segment) -> None:
        self.answered.set()

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        yield AudioBlock(bytes(2 * 2 * RATE))
        assert self.controls is not None
        self.controls.send_command(Finalize())
        await self.answered.wait()
        yield AudioBlock(bytes(2 * 70 * RATE))


def run_with_backlog(form: str, *, said: str, words: bool = False) -> None:
    """Run a session that gets the text `said` live and ANSWER from the batch endpoint, in a format on stdout."""
    backlog = Backlog()

    def interact(controls: Controls) -> nullcontext[None]:
        backlog.controls = controls
        return nullcontext()

    def make_source(*_: object) -> Source:
        return backlog

    config = SessionConfig(
        source="talk.wav", endpoint=MANUAL, options=RealtimeOptions(model="ink-whisper"), model="ink-whisper",
        endpointing=VadSettings(),
        finalize=False, stream_options=StreamOptions(), targets={form: None}, layout=Layout(words=words),
        on_segment=backlog.on_segment, microphone=Mock(interact=interact, prompt="", resume_hint=""),
    )  # fmt: skip
    word = {"word": said.strip(), "start": 0.5, "end": 1.5}
    with serving(
        {"at": 1.0, "say": {"type": "transcript", "is_final": True, "text": said, "words": [word]}},
        {"batch": {"body": ANSWER}},
    ) as server:
        reporter = Reporter(io.StringIO())
        with reporter.live_view() as view:
            run_session(config, server, make_source, reporter, view)


def test_batch_catch_up_writes_each_row_once(capfd: pytest.CaptureFixture[str]) -> None:
    for form, dialect in (("csv", "excel"), ("tsv", "excel-tab")):
        run_with_backlog(form, said="Hello there.")
        rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out), dialect=dialect))
        assert [row.get("word", row.get("text")) for row in rows] == ["Hello there.", *SPOKEN.split()]
        if form == "csv":
            assert [float(row["start"]) for row in rows[1:]] == [2.0 + word["start"] for word in WORDS]


def test_batch_catch_up_writes_each_cue_once_at_its_time(capfd: pytest.CaptureFixture[str]) -> None:
    run_with_backlog("srt", said="Hello there.")
    cues = list(srt.parse(capfd.readouterr().out))
    assert [cue.content for cue in cues] == ["Hello there.", "One two three.", "Four five six."]
    assert [cue.start.total_seconds() for cue in cues] == [0.5, 2.0, 25.0]
    run_with_backlog("vtt", said="Hello there.")
    captions = webvtt.from_string(capfd.readouterr().out)
    assert [captions[n].text for n in range(len(captions))] == [cue.content for cue in cues]


def test_batch_catch_up_joins_texts_with_a_space_and_keeps_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_with_backlog("json", said="Hello there.", words=True)
    document = json.loads(capfd.readouterr().out)
    assert document["text"] == f"Hello there. {SPOKEN}"
    assert [segment["text"] for segment in document["segments"]] == [
        "Hello there.", " One two three.", " Four five six.",
    ]  # fmt: skip
    assert all(list(segment) == ["start", "end", "text", "timing"] for segment in document["segments"])
    assert [word["word"] for word in document["words"]] == ["Hello there.", *SPOKEN.split()]
    run_with_backlog("ndjson", said="Hello there.", words=True)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    segments = [line for line in lines if line["type"] == "segment"]
    assert [word for segment in segments for word in segment.pop("words")] == document["words"]
    assert segments == [{"type": "segment"} | segment for segment in document["segments"]]
    assert (lines[-1]["text"], lines[-1]["words"]) == (document["text"], document["words"])


def caught_up(server: ChosenServer, before: str) -> list[Segment]:
    """The segments of 1.5 s of audio that begin 10 s into a session in which the text `before` was heard."""

    async def catch_up() -> list[Segment]:
        transcribe_rest = batch_catch_up(
            server, RealtimeOptions(model="ink-2"), Reporter(io.StringIO()), lambda: before
        )
        return await transcribe_rest([bytes(3200)] * 15, 10.0)

    return asyncio.run(catch_up())


@pytest.mark.parametrize(
    ("before", "sent", "expected"),
    [
        ("Hello there.", "One.", " One."),
        ("", "One.", "One."),
        ("Hello there. ", "One.", "One."),
        ("Hello there.", " One.", " One."),
        ("Hello there.", "\nOne.", "\nOne."),
    ],
)
def test_batch_catch_up_adds_a_space_only_if_it_is_missing(before: str, sent: str, expected: str) -> None:
    word = {"word": sent.strip(), "start": 0.5, "end": 1.0}
    with serving({"batch": {"body": {"text": sent, "duration": 1.5, "words": [word]}}}) as server:
        segments = caught_up(server, before)
    assert segments == [Segment(10.5, 11.0, expected, "server", (Word(sent.strip(), 10.5, 11.0),))]


def test_batch_catch_up_of_silence_adds_nothing() -> None:
    with serving({"batch": {"body": {"text": "", "duration": 1.5, "words": []}}}) as server:
        assert caught_up(server, "Hello.") == []


def test_a_full_disk_fails_the_catch_up_and_not_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with serving({"batch": {"body": ANSWER}}) as server, pytest.raises(OutputError, match="temporary file"):
        caught_up(server, "Hello.")
