"""The time line of a session: what is recorded of it, and how it is drawn."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from cartesia_cli.output.stats import LANES, render_time_line, svg
from cartesia_cli.session.latency import MAX_STEPS, ActivityLog
from cartesia_cli.transcript import Notice, Partial, Segment
from tests import golden

from .conftest import Run


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def recorded(seconds: float = 20.0) -> ActivityLog:
    """Audio in real time, a partial a second, a segment every five, and no connection from 8 to 12."""
    clock = Clock()
    line = ActivityLog(clock)
    for tenth in range(round(seconds * 10)):
        clock.now = tenth / 10
        if not 8 <= clock.now < 12:
            line.audio_sent(0.1)
        if tenth % 10 == 5:
            line.updated(Partial(clock.now, "hello"))
        if tenth % 50 == 49:
            line.updated(Segment(clock.now - 2, clock.now, "hello", "server"))
        if tenth in (80, 120):
            line.updated(Notice(clock.now, "connection_lost" if tenth == 80 else "reconnected", ""))
    clock.now = seconds
    return line


def test_time_line_counts_what_happened_when() -> None:
    found = recorded().report()
    assert found["seconds"] == 20.0 and found["outages"] == [[8.0, 12.0]]
    assert sum(found["sent"]) == pytest.approx(16.0) and sum(found["partials"]) == 20 and sum(found["finals"]) == 4
    quiet = found["sent"][round(8 / found["step"]) : round(12 / found["step"])]
    assert not any(quiet)


def test_memory_of_a_long_session_is_bounded() -> None:
    clock = Clock()
    line = ActivityLog(clock)
    for minute in range(60 * 24):
        clock.now = 60.0 * minute
        line.audio_sent(60.0)
        line.updated(Partial(clock.now, "x"))
    found = line.report()
    assert max(len(found[lane]) for lane in ("sent", "partials", "finals")) <= MAX_STEPS
    assert sum(found["sent"]) == pytest.approx(60 * 60 * 24) and sum(found["partials"]) == 60 * 24


def test_time_line_is_drawn_to_the_width_of_the_terminal() -> None:
    report = {"timeline": recorded().report(), "utterances": []}
    for width in (40, 60, 80, 200):
        for encoding in ("utf-8", "ascii"):
            drawn = render_time_line(report, width, encoding=encoding)
            drawn.encode(encoding)
            assert all(len(row) <= width for row in drawn.splitlines())
    rows = dict(zip(["title", *LANES], render_time_line(report, 80).splitlines(), strict=True))
    cells = {lane: row[len("connection lost") + 2 :] for lane, row in rows.items()}
    share = len(cells["title"]) / 20.0
    assert set(cells["outages"][round(8.5 * share) : round(11.5 * share)]) == {"█"}
    assert not cells["sent"][round(8.5 * share) : round(11.5 * share)].strip()
    assert render_time_line(report, 20) == ""


def test_picture_has_a_lane_for_everything_and_escapes_names() -> None:
    report = {
        "timeline": recorded().report(),
        "utterances": [{"latency_ms": {"finalize_to_text": 100.0 + k}} for k in range(9)],
    }
    picture = ElementTree.fromstring(svg(report, "<b> & talk.wav"))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "<b> & talk.wav" and {*LANES.values()} <= {*texts}
    kinds = {element.get("class") for element in picture.iter("{http://www.w3.org/2000/svg}rect")}
    assert kinds == {"ground", "bar", *LANES}


def test_session_that_never_started_leaves_no_picture(run: Run, tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(golden.AUDIO["short.wav"])
    ended = run("stream-file", "short.wav", "--stats-svg", "session.svg", "--base-url", "http://127.0.0.1:9",
                "--reconnect", "0")  # fmt: skip
    assert ended.returncode == 6
    assert not (tmp_path / "session.svg").exists()


def test_existing_picture_is_kept_without_force(run: Run, tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(golden.AUDIO["short.wav"])
    (tmp_path / "session.svg").write_text("<svg/>")
    refused = run("stream-file", "short.wav", "--stats-svg", "session.svg", "--base-url", "http://127.0.0.1:9")
    assert refused.returncode == 2 and b"session.svg exists" in refused.stderr
