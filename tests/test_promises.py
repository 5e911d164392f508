"""Tests of statements in the documentation that no other test checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cartesia_cli.audio.pcm import RATE
from cartesia_cli.output import Layout, text_json
from cartesia_cli.output.streams import TextStream
from cartesia_cli.session.reconnect import BURST_SECONDS, MAX_ATTEMPTS, RateLimiter, ReconnectPolicy
from cartesia_cli.session.send_buffer import MAX_HELD_BYTES
from cartesia_cli.transcript import Segment, Transcript

from . import conftest

ROOT = Path(__file__).parent.parent


def test_backlog_is_sent_at_up_to_twice_real_time() -> None:
    limiter, now, sent = RateLimiter(), 100.0, 0.0
    limiter.restart(now)
    while now < 150.0:
        now += max(limiter.wait(now, 0.1), 0.0)
        sent += 0.1
    assert 2 * 50.0 - BURST_SECONDS <= sent <= 2 * 50.0 + BURST_SECONDS


def test_json_has_the_text_verbatim_and_plain_text_has_it_trimmed_and_printable() -> None:
    sent = " One \x1b[2Jword.\n\ttwo  three \n"
    transcript = Transcript("talk.wav", "ink-whisper", sent, segments=(Segment(0, 1, sent, "server"),))
    assert json.loads(text_json.json(transcript, Layout()))["text"] == sent
    assert json.loads(text_json.ndjson(transcript, Layout()))["text"] == sent
    plain = "One \N{REPLACEMENT CHARACTER}[2Jword.\n\ttwo  three\n"
    assert text_json.text(transcript, Layout()) == plain
    live: list[str] = []
    stream = TextStream("text", Layout(), live.append, live=True)
    for text in (" First. ", " Second.\n"):
        stream.write(Segment(0, 1, text, "server"))
    assert live == ["First.\n", "Second.\n"]


def test_some_hours_of_unanswered_audio_are_kept() -> None:
    (hours,) = re.findall(r"Up to ([\d.]+) hours", (ROOT / "docs/live.md").read_text())
    assert 0 <= MAX_HELD_BYTES / (2 * RATE) / 3600 - float(hours) < 0.1


def test_session_gives_up_after_five_connections_in_a_row_without_progress() -> None:
    policy = ReconnectPolicy()
    assert policy.next_delay(1000) is not None  # this connection had made progress
    delays = [policy.next_delay(1000) for _ in range(5)]
    assert MAX_ATTEMPTS == 5
    assert None not in delays[:4]
    assert delays[4] is None


def test_make_run_takes_a_file_and_transcribes_the_sample_without_one() -> None:
    def recipe(*arguments: str) -> str:
        # Without the variables of an outer `make test`, which would print the folders that it enters.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "-n", "run", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert recipe().endswith("cartesia-cli transcribe --sample --word-timestamps")
    assert recipe("FILE=my talk.mp3").endswith('cartesia-cli transcribe "my talk.mp3" --word-timestamps')


def test_missing_system_program_skips_a_test_and_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "SYSTEM_PROGRAMS", ("no-such-program",))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        conftest.require_program("no-such-program")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception):
        conftest.require_program("no-such-program")
