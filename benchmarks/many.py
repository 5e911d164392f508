"""Measures runs over many recordings: 200 against a server that takes 200 ms, and a folder of 100,000.

The folder is walked by the installed program until its first upload arrives, and then as a whole, with a client that
answers at once without a server, so that everything else is measured; then the same from a manifest into another one.
Targets: 1.1 times the time that 200 answers take, 8 at a time, and one start; 10 MiB more memory than for one
recording; the first upload within 2 s; 60 MiB at most for the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring import CLI, MIB, PYTHON, Report, Run, environment, run
from sink import ANSWER

RECORDINGS, JOBS, ANSWER_SECONDS = 200, 8, 0.2
FOLDER_RECORDINGS = 100_000
FOLDERS = 100
LINKS = 1000
"""Recordings that share a file: most file systems limit the links to one."""

TIME_GOAL = 1.1
MORE_MEMORY_GOAL_BYTES = 10 * MIB
FIRST_UPLOAD_GOAL_SECONDS = 2.0
MEMORY_GOAL_BYTES = 60 * MIB


def write_recordings(folder: Path, count: int) -> Path:
    """A folder with 0.1 s of silence, `count` times."""
    size = 3200
    wav = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16,
                      b"data", size) + bytes(size)  # fmt: skip
    original = folder
    for number in range(count):
        path = folder / recording_name(number)
        if number < FOLDERS:
            path.parent.mkdir(parents=True)
        if number % LINKS:
            os.link(original, path)
        else:
            path.write_bytes(wav)
            original = path
    return folder


def write_manifest(path: Path, folder: Path, count: int) -> Path:
    """A manifest of the recordings in a folder."""
    with path.open("w") as file:
        for number in range(count):
            name = f"{folder}/{recording_name(number)}"
            file.write(f'{{"audio_filepath": "{name}", "duration": 0.1, "text": "received", "speaker": 7}}\n')
    return path


def recording_name(number: int) -> str:
    return f"{number % FOLDERS:03}/{number:06}.wav"


async def serve(delay: float) -> None:
    """Answer uploads after `delay` seconds each, any number at once. Prints the port, and a line per upload."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
                await reader.readexactly(int(fields[b"content-length"]))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            sys.stdout.write("upload\n")
            sys.stdout.flush()
            await asyncio.sleep(delay)
            kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(kind % len(ANSWER) + ANSWER)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def server(delay: float) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the server. Yields its base URL and its process."""
    process = subprocess.Popen([PYTHON, __file__, "--serve", str(delay)], stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process
    finally:
        process.kill()
        process.communicate()


def simulate(arguments: Sequence[str]) -> int:
    """Run the program with a client that answers each upload at once."""
    from cartesia_cli.__main__ import main as program
    from cartesia_cli.client import BatchClient
    from cartesia_cli.client.http_transport import HttpResponse
    from cartesia_cli.protocol.batch import BatchResponse, decode_batch

    response = decode_batch(ANSWER)

    def transcribe(*_: object, on_response: Callable[[HttpResponse], None], **__: object) -> BatchResponse:
        on_response(HttpResponse(200, {}, ANSWER, complete=True))
        return response

    BatchClient.transcribe = transcribe  # type: ignore[assignment, method-assign]
    sys.argv[1:] = arguments
    return program()


def first_upload_seconds(folder: Path, env: dict[str, str]) -> float:
    """From the start of the program to the arrival of the first upload."""
    with server(0.0) as (address, process):
        assert process.stdout is not None
        start = time.perf_counter()
        command = [CLI, "transcribe", str(folder), "-f", "ndjson", "--no-cache", "--base-url", address]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            process.stdout.readline()
            seconds = time.perf_counter() - start
            child.kill()
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("--files", type=int, default=FOLDER_RECORDINGS, help="recordings in the folder (100000)")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--simulate", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
    if given.simulate is not None:
        return simulate(given.simulate)
    with tempfile.TemporaryDirectory() as home:
        env = environment(home)
        some = write_recordings(Path(home, "some"), RECORDINGS)
        many = write_recordings(Path(home, "many"), given.files)
        one = next(some.glob("*/*.wav"))
        several: list[Run] = []
        single: list[Run] = []
        with server(ANSWER_SECONDS) as (address, _):
            options = ["-f", "ndjson", "--no-cache", "--base-url", address, "--jobs", str(JOBS)]
            for _ in range(given.rounds):
                single.append(run([CLI, "transcribe", str(one), *options], env).checked())
                several.append(run([CLI, "transcribe", str(some), *options], env).checked())
        assert all(done.stdout.count(b"\n") == RECORDINGS for done in several)
        first = [first_upload_seconds(many, env) for _ in range(given.rounds)]
        program = [PYTHON, __file__, "--simulate", "transcribe"]
        options = ["--no-cache", "--base-url", "http://127.0.0.1:9", "--jobs", str(JOBS)]
        listing, results = write_manifest(Path(home, "many.jsonl"), many, given.files), Path(home, "results.jsonl")
        listed = run([*program, str(listing), "--output-manifest", str(results), *options], env).checked()
        with results.open() as file:
            assert sum(1 for _ in file) == given.files
        # Last, because its output makes this process larger than the others, and then their peaks can't be known.
        walk = run([*program, str(many), "-f", "ndjson", *options], env).checked()
        assert walk.stdout.count(b"\n") == given.files

    report = Report("", "figure", "goal")
    start = statistics.median(done.wall for done in single) - ANSWER_SECONDS
    ideal = RECORDINGS / JOBS * ANSWER_SECONDS
    ratio = (statistics.median(done.wall for done in several) - start) / ideal
    report.row(f"{RECORDINGS} answers of {ANSWER_SECONDS:g} s, {JOBS} at a time, without the start",
               f"{ratio:.3f} times the ideal", f"{TIME_GOAL:g}", met=ratio <= TIME_GOAL)  # fmt: skip
    peak, single_peak = (max(done.peak or 0 for done in runs) for runs in (several, single))
    report.row("  peak memory, more than for one recording", f"{(peak - single_peak) / MIB:.1f} MiB",
               f"{MORE_MEMORY_GOAL_BYTES / MIB:.0f} MiB", met=peak - single_peak <= MORE_MEMORY_GOAL_BYTES)  # fmt: skip
    seconds = statistics.median(first)
    report.row(f"{given.files} recordings in a folder: first upload after", f"{seconds:.2f} s",
               f"{FIRST_UPLOAD_GOAL_SECONDS:g} s", met=seconds <= FIRST_UPLOAD_GOAL_SECONDS)  # fmt: skip
    for name, done in (("all", walk), ("all from a manifest into another", listed)):
        report.row(f"  {name}, with answers that cost nothing", f"{done.wall:.1f} s", "")
        report.row("    recordings per second of CPU time", f"{given.files / done.cpu:.0f}", "")
        report.row("    peak memory", f"{(done.peak or 0) / MIB:.1f} MiB", f"{MEMORY_GOAL_BYTES / MIB:.0f} MiB",
                   met=(done.peak or 0) <= MEMORY_GOAL_BYTES)  # fmt: skip
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
