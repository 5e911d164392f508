"""Runs live sessions of hours with many lost connections: checks that no speech is lost, and measures memory.

A source says numbers, and a server reports which ones it hears; a hundred connections are lost at random moments, and
some outages last 90 s. Time is simulated (`tests/test_soak.py`), so that four hours take only their CPU time. Then the
program runs with real sockets at forty times real time. Last, the memory per utterance is measured. Targets: every
number once and in order, and at most 5 MiB more memory in the last quarter than in the second.
"""

# ruff: noqa: T201  the plot is a result

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import CLI, MIB, PYTHON, ROOT, Report, environment

sys.path.insert(0, str(ROOT))
from tests.realtime_server import RealtimeServer
from tests.test_soak import LENGTH, NUMBERS, RESTS, Sample, Soak, files_of, hiss, resident_of, tone
from tests.tones import random_loss, recognizes

OUTAGES = (*[0.1] * 20, *[2.0] * 4, 90.0)
"""Seconds until another connection is possible; one is drawn for each loss."""

MEMORY_GROWTH_GOAL, TRACED_GROWTH_GOAL = 5 * MIB, 3 * MIB
"""By how much the peak of the last quarter may exceed that of the second: resident, and as traced by tracemalloc."""

SPEED = 40
UTTERANCES = 10_000
BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS, COLUMNS = 6, 72
COLORS = "#1f6feb", "#d29922", "#2da44e"


def simulated(mode: str, hours: float, losses: int) -> dict[str, object]:
    """Run a simulated session in this process."""
    count = round(hours * 3600 / LENGTH)
    soak = Soak(count, losses, mode == "manual", every=max(1, count // 96), outages=OUTAGES, measured=True)
    tracemalloc.start()
    soak.run()
    return {"count": count, "heard": soak.heard, "lost": soak.lost, "wrong": soak.wrong,
            "samples": [asdict(sample) for sample in soak.samples]}  # fmt: skip


def replayed(minutes: float, losses: int, home: str) -> dict[str, object]:
    """Run `stream-file` with real sockets, and read its output line by line."""
    count, rng, samples, wrong = round(minutes * 60 / LENGTH), random.Random(1), [], []
    lives = [rng.uniform(0.1, 1.7) * minutes * 60 / losses for _ in range(losses)]
    with RealtimeServer(*(recognizes(life, random_loss(rng)) for life in lives), recognizes()) as server:
        command = [CLI, "stream-file", "-", "--encoding", "pcm_s16le", "--sample-rate", "16000", "--speed", str(SPEED),
                   "--mode", "manual", "-f", "ndjson", "--quiet", "--base-url", server.base_url]  # fmt: skip
        program = subprocess.Popen(
            command, env=environment(home) | {"CARTESIA_API_KEY": "key"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert program.stdin is not None and program.stdout is not None
        into = program.stdin

        def speak() -> None:
            with into:
                into.write(hiss(1.0))
                for number in range(count):
                    into.write(tone(number % NUMBERS) + hiss(rng.uniform(*RESTS)))

        threading.Thread(target=speak, daemon=True).start()
        heard = lost = 0
        for line in program.stdout:
            update = json.loads(line)
            lost += update.get("event") == "reconnected"
            for number in map(int, update["text"].split() if update["type"] == "segment" else ()):
                if number != heard % NUMBERS:
                    wrong.append((heard, number))
                heard += 1
                if heard % max(1, count // 48) == 0 and program.poll() is None:
                    threads = len(list(Path(f"/proc/{program.pid}/task").iterdir()))
                    samples.append(Sample(update["end"], heard, resident_of(program.pid), 0, files_of(program.pid),
                                          threads, 0.0))  # fmt: skip
        if program.wait() != 0:
            raise SystemExit(f"stream-file ended with {program.returncode}")
    return {"count": count, "heard": heard, "lost": lost, "wrong": wrong, "samples": list(map(asdict, samples))}


def bytes_per_utterance(form: str, into_file: bool, timed: bool) -> float:
    """Bytes of memory that a session holds for a settled utterance of ten words."""
    from cartesia_cli.audio.vad import VadSettings
    from cartesia_cli.commands.backend import ChosenServer
    from cartesia_cli.commands.live.config import SessionConfig
    from cartesia_cli.commands.live.options import StreamOptions
    from cartesia_cli.commands.live.session import LiveSession
    from cartesia_cli.output import Layout
    from cartesia_cli.output.console import Reporter
    from cartesia_cli.output.live_view import LiveView
    from cartesia_cli.protocol.json_fields import Word
    from cartesia_cli.protocol.realtime import MANUAL, RealtimeOptions
    from cartesia_cli.transcript import Partial, Segment

    config = SessionConfig(
        source="microphone", endpoint=MANUAL, options=RealtimeOptions(model="ink-2"), model="ink-2",
        endpointing=VadSettings(), finalize=True, stream_options=StreamOptions(),
        targets={form: Path("never.written") if into_file else None},
        layout=Layout(),
    )  # fmt: skip
    sizes: list[int] = []
    discarded = io.StringIO()
    server = ChosenServer("http://127.0.0.1", None, local=True)
    session = LiveSession(config, server, Reporter(discarded), LiveView(discarded, colored=False, active=False))
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        for number in range(UTTERANCES):
            at = 3.0 * number
            text = f" Utterance number {number} has so many words as people say."
            spoken = enumerate(text.split() if timed else ())
            words = tuple(Word(f" {word}", at + k / 5, at + k / 5 + 0.15) for k, word in spoken)
            session._write(Partial(at + 2.5, text))
            session._write(Segment(at, at + 2.5, text, "server" if timed else "audio", words))
            if number + 1 in (UTTERANCES // 4, UTTERANCES):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    early, late = sizes
    return (late - early) / (UTTERANCES * 3 / 4)


def add_rows(name: str, found: dict[str, Any], report: Report, *, more: float = MEMORY_GROWTH_GOAL) -> list[Sample]:
    """Add rows for the figures of a session. Returns its samples."""
    samples = [Sample(**sample) for sample in found["samples"]]
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]

    def growth(figure: str) -> float:
        return float(max(getattr(one, figure) for one in last) - max(getattr(one, figure) for one in second))

    whole = found["heard"] == found["count"] and not found["wrong"]
    said = (
        f"{found['heard']} of {found['count']}" if whole else f"{found['heard']} of {found['count']}: {found['wrong']}"
    )
    report.row(f"{name}: {samples[-1].at / 3600:.1f} h", "", "")
    report.row("  numbers heard, each once and in order", said, "all", met=whole)
    report.row("  connections lost", str(found["lost"]), "")
    report.row("  resident memory, most", f"{max(one.resident for one in samples) / MIB:.1f} MiB", "")
    report.row("    more in the last quarter than in the second", f"{growth('resident') / MIB:+.2f} MiB",
               f"{more / MIB:g} MiB", met=growth("resident") <= more)  # fmt: skip
    if samples[-1].traced:
        report.row("  of which Python's, most", f"{max(one.traced for one in samples) / MIB:.1f} MiB", "")
        report.row("    more in the last quarter than in the second", f"{growth('traced') / MIB:+.2f} MiB",
                   f"{TRACED_GROWTH_GOAL / MIB:g} MiB", met=growth("traced") <= TRACED_GROWTH_GOAL)  # fmt: skip
    files, tasks = ([getattr(one, figure) for one in samples] for figure in ("files", "tasks"))
    report.row(
        "  open files, fewest and most", f"{min(files)}, {max(files)}", "1 apart", met=max(files) <= min(files) + 1
    )
    kind = "tasks" if samples[-1].traced else "threads"
    report.row(f"  {kind}, first and most", f"{tasks[0]}, {max(tasks)}", "1 more", met=max(tasks) <= tasks[0] + 1)
    if samples[-1].traced:
        report.row("  largest backlog of unsent audio", f"{max(one.behind for one in samples):.0f} s", "")
    return samples


def plot(name: str, values: Sequence[float], hours: float) -> str:
    """A bar chart of text from zero up, in eighths of a row."""
    top = max(values) / MIB
    columns = [values[min(len(values) - 1, i * len(values) // COLUMNS)] / MIB / top for i in range(COLUMNS)]
    lines = [f"{name}, MiB"]
    for level in reversed(range(ROWS)):
        cells = (max(0, min(8, round((share * ROWS - level) * 8))) for share in columns)
        lines.append(f"{top * (level + 1) / ROWS:6.1f} {''.join(BLOCKS[cell] for cell in cells)}")
    return "\n".join([*lines, f"     0 {'0 h':<{COLUMNS - 6}}{hours:4.1f} h"])


def svg(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """The same as an SVG picture, of points in hours and bytes."""
    width, height, left, foot = 720, 260, 50, 30
    latest = max(at for curve in curves.values() for at, _ in curve)
    top = 20 * MIB * -(-max(size for curve in curves.values() for _, size in curve) // (20 * MIB))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="#fff"/>'
    ]
    for size in range(0, int(top) + 1, 20 * MIB):
        y = height - foot - size / top * (height - foot - 20)
        parts.append(f'<path d="M{left} {y:.1f}H{width - 10}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{size // MIB} MiB</text>')  # fmt: skip
    for hour in range(int(latest) + 1):
        x = left + hour / latest * (width - left - 10)
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{hour} h</text>')
    for color, (number, (name, curve)) in zip(COLORS * 2, enumerate(curves.items()), strict=False):
        points = " ".join(f"{left + at / latest * (width - left - 10):.1f},"
                          f"{height - foot - size / top * (height - foot - 20):.1f}" for at, size in curve)  # fmt: skip
        dashes = ' stroke-dasharray="4 3"' if number >= len(COLORS) else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"{dashes}/>'
                     f'<text x="{left + 10 + 220 * (number % 3)}" y="{12 + 12 * (number // 3)}" fill="{color}">'
                     f"{name}</text>")  # fmt: skip
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=4, help="of a simulated session, in each mode (4)")
    parser.add_argument("--losses", type=int, default=100, help="connections that are lost in it (100)")
    parser.add_argument("--minutes", type=float, default=40, help="that the program replays (40)")
    parser.add_argument("--svg", type=Path, help="also draw memory over time into this file")
    parser.add_argument("--only", choices=["manual", "auto"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(simulated(given.only, given.hours, given.losses)))
        return 0
    report, found = Report("", "figure", "goal"), {}
    tracemalloc.start()
    for form, into_file in (("ndjson", False), ("ndjson", True), ("srt", False), ("srt", True)):
        sizes = [bytes_per_utterance(form, into_file, timed) for timed in (False, True)]
        report.row(f"bytes for an utterance, -f {form}{' -o FILE' * into_file}; with word times",
                   "; ".join(f"{size:.0f}" for size in sizes), "")  # fmt: skip
    tracemalloc.stop()
    with tempfile.TemporaryDirectory() as home:
        for mode in ("manual", "auto"):
            command = [PYTHON, __file__, "--only", mode, "--hours", str(given.hours), "--losses", str(given.losses)]
            said = subprocess.run(command, env=environment(home), stdout=subprocess.PIPE, check=True).stdout
            found[mode] = add_rows(f"{mode}, simulated", json.loads(said), report)
        losses = max(1, round(given.losses * given.minutes / 60 / given.hours))
        found["stream-file"] = add_rows("stream-file, manual", replayed(given.minutes, losses, home), report)
    code = report.end()
    for name, samples in found.items():
        print("\n" + plot(f"{name}: resident memory", [one.resident for one in samples], samples[-1].at / 3600))
    if given.svg:
        resident = {name: [(one.at / 3600, one.resident) for one in samples] for name, samples in found.items()}
        traced = {f"{name}, Python's": [(one.at / 3600, one.traced) for one in samples]
                  for name, samples in found.items() if samples[-1].traced}  # fmt: skip
        given.svg.write_text(svg(resident | traced), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
