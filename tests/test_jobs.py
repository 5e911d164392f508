"""Several recordings at once: order, concurrency after refusals, failures, Ctrl-C, memory of the plan."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Transcribe
from tests.fault_server import TRANSCRIPT, Exchange, FaultServer, environment, refuses, write_wav
from tests.fork_server import run_program
from tests.naming_service import NamingService

pytestmark = pytest.mark.waits


@pytest.fixture
def service() -> NamingService:
    return NamingService()


@pytest.fixture
def transcribe(tmp_path: Path, server: FaultServer) -> Transcribe:
    """Runs `transcribe` in a folder `talks` with the number of jobs that the program chooses."""
    (tmp_path / "home").mkdir()
    (tmp_path / "talks").mkdir()

    def run(*arguments: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        env = environment(tmp_path / "home", server.base_url, CARTESIA_TRANSCRIBE_JOBS=None, **changes)
        words = ["transcribe", *map(str, arguments)]
        return run_program(words, env=env, cwd=tmp_path / "talks", stdin=subprocess.DEVNULL, text=True, timeout=120)

    return run


Talks = Callable[[int], list[str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, server: FaultServer, transcribe: Transcribe) -> Start:
    """Starts `transcribe` in the same folder."""

    def run(*arguments: str, program: Sequence[str] = ("-m", "cartesia_cli"), **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *program, "transcribe", *arguments],
            env=environment(tmp_path / "home", server.base_url, CARTESIA_TRANSCRIBE_JOBS=None),
            cwd=tmp_path / "talks", stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    return run


@pytest.fixture
def talks(tmp_path: Path, transcribe: Transcribe) -> Talks:
    """Makes so many recordings, all different."""

    def make(count: int) -> list[str]:
        names = [f"talk{number:03}.wav" for number in range(count)]
        for number, name in enumerate(names):
            write_wav(tmp_path / "talks" / name, 1644 + 2 * number)
        return names

    return make


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def test_results_are_printed_in_input_order_although_responses_come_in_another(
    service: NamingService, transcribe: Transcribe, talks: Talks
) -> None:
    names = talks(12)
    service.seconds, service.delays = 0.5, {names[0]: 2.0, names[5]: 1.0}
    done = transcribe(".", "-f", "ndjson", "--jobs", "6")
    assert done.returncode == 0, done.stderr
    assert said(done) == [f"This is {name}." for name in names]
    assert 4 <= service.most_at_once <= 6
    assert "12 of 12 transcribed" in done.stderr


def test_jobs_option_limits_the_requests_in_flight(
    service: NamingService, transcribe: Transcribe, talks: Talks
) -> None:
    service.seconds = 0.05
    talks(20)
    done = transcribe(".", "--output-dir", "out", "--jobs", "3")
    assert done.returncode == 0, done.stderr
    assert service.most_at_once == 3


def test_default_number_of_jobs_rises_while_the_service_accepts_them(
    service: NamingService, transcribe: Transcribe, talks: Talks
) -> None:
    service.seconds = 0.1
    talks(60)
    done = transcribe(".", "--output-dir", "out")
    assert done.returncode == 0, done.stderr
    assert service.most_at_once > 6


def test_refused_requests_wait_for_their_turn_until_all_are_done(
    service: NamingService, transcribe: Transcribe, talks: Talks
) -> None:
    service.allowed, service.seconds = 2, 0.1
    names = talks(24)
    done = transcribe(".", "-f", "ndjson", "--jobs", "8")
    assert done.returncode == 0, done.stderr
    assert said(done) == [f"This is {name}." for name in names]
    assert sorted(service.names) == names  # each once
    assert service.exceeded and service.most_at_once <= 2
    assert "too many requests at once: 4 at a time from now on" in done.stderr


def test_account_error_stops_all_jobs_and_keeps_what_was_answered(
    transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    talks(30)
    answers = NamingService()
    answers.seconds = 0.05

    def answer(exchange: Exchange) -> None:
        (answers if exchange.got.number < 6 else refuses(402))(exchange)

    with FaultServer(answer) as server:
        done = transcribe(".", "-f", "ndjson", "--jobs", "4", CARTESIA_BASE_URL=server.base_url)
        assert done.returncode == 5
        assert len(server.requests) < 15
    assert len(said(done)) == 6
    assert "6 of 30 transcribed" in done.stderr and "23 not tried" in done.stderr
    assert "then: cartesia-cli transcribe" in done.stderr


def test_failed_recordings_are_reported_and_do_not_hold_up_the_order(
    service: NamingService, transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    names = talks(6)
    service.refused = {names[0]}
    done = transcribe(".", "-f", "ndjson", "--jobs", "3")
    assert done.returncode == 1
    assert said(done) == [f"This is {name}." for name in names[1:]]
    assert done.stderr.count('"error"') == 1 and "5 of 6 transcribed" in done.stderr


def test_ctrl_c_waits_for_what_is_sent_and_names_the_command_for_the_rest(
    service: NamingService, talks: Talks, server: FaultServer, start: Start, tmp_path: Path
) -> None:
    service.seconds = 1.0
    talks(20)
    process = start(".", "--output-dir", "out", "--jobs", "2")
    server.wait(lambda server: service.names)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    uploaded = len(service.names)
    assert uploaded <= 4
    assert len(list((tmp_path / "talks" / "out").glob("*.txt"))) == uploaded  # all that was paid for is there
    assert f"{uploaded} of 20 transcribed" in stderr and "to do the rest: cartesia-cli transcribe" in stderr
    assert "--resume" in stderr


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize("came", [b"", HEADERS, HEADERS + b"ID3"], ids=["nothing", "headers", "a part"])
def test_ctrl_c_does_not_wait_for_a_download_that_stalls(
    service: NamingService, talks: Talks, start: Start, came: bytes
) -> None:
    names = talks(1)
    service.seconds = 2.0
    with socket.create_server(("127.0.0.1", 0)) as stalling:
        url = f"http://127.0.0.1:{stalling.getsockname()[1]}/talk.mp3"
        process = start(url, *names, "-f", "ndjson", "--jobs", "2", stdout=subprocess.PIPE)
        connection, _ = stalling.accept()
        with connection:
            connection.sendall(came)
            while not service.names:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)  # a stalled download is given up after 60 s
    assert process.returncode == 130 and json.loads(stdout)["text"] == f"This is {names[0]}."
    assert "1 of 2 transcribed" in stderr and "/talk.mp3" in stderr.rpartition("to do the rest: ")[2]
    assert "trying again" not in stderr


def test_account_error_does_not_wait_for_a_download_that_stalls(talks: Talks, transcribe: Transcribe) -> None:
    names = talks(1)
    with socket.create_server(("127.0.0.1", 0)) as stalling, FaultServer(refuses(402)) as server:
        url = f"http://127.0.0.1:{stalling.getsockname()[1]}/talk.mp3"
        began = time.monotonic()
        done = transcribe(url, *names, "-f", "ndjson", "--jobs", "2", CARTESIA_BASE_URL=server.base_url)
    assert done.returncode == 5 and time.monotonic() - began < 30


@pytest.mark.parametrize("names", [["typo.wav"], ["typo.wav", "missing.wav"], ["*.flac", "typo.wav"]])
def test_run_whose_inputs_do_not_exist_leaves_nothing(transcribe: Transcribe, tmp_path: Path, names: list[str]) -> None:
    done = transcribe(*names, "--output-dir", "out", "--keep-json", "raw")
    assert done.returncode == (3 if len(names) == 1 else 1) and "typo.wav does not exist" in done.stderr
    assert not list((tmp_path / "talks").iterdir())
    write_wav(tmp_path / "talks" / "talk.wav", 1644)
    assert transcribe("talk.wav", *names, "--output-dir", "out").returncode == 1  # here they are part of a run
    told = run_program(["status", str(tmp_path / "talks" / "out"), "-f", "json"], text=True)
    assert json.loads(told.stdout)["failed"] == len([name for name in names if "*" not in name])


@pytest.mark.parametrize(("options", "resumes"), [(["-f", "ndjson"], False), (["--output-dir", "out"], True)])
def test_ctrl_c_while_a_list_comes_in_names_a_command_that_can_do_the_rest(
    service: NamingService, talks: Talks, server: FaultServer, start: Start, options: list[str], resumes: bool
) -> None:
    names = talks(2)
    process = start("--files-from", "-", *options, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write("\n".join(names) + "\n")
    process.stdin.flush()
    server.wait(lambda server: service.names)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    stderr = process.stderr.read()
    process.stdin.close()
    assert "to do the rest: cartesia-cli transcribe --files-from -" in stderr
    assert ("--resume" in stderr) is resumes


def test_ctrl_c_waits_for_what_is_sent_and_not_for_the_rest_of_a_list_that_comes_in(talks: Talks, start: Start) -> None:
    """The program at the other end of the pipe may leave it open for long."""
    names = talks(2)
    may_answer = threading.Event()

    def answer_late(exchange: Exchange) -> None:
        exchange.request()
        may_answer.wait(60)
        exchange.answer(200, json.dumps(TRANSCRIPT))

    with FaultServer(answer_late) as server:
        options = "--files-from", "-", "--output-dir", "out", "--jobs", "3", "--base-url", server.base_url
        process = start(*options, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write("".join(f"{name}\n" for name in names))
        process.stdin.flush()
        server.wait(lambda server: len(server.requests) == 2)
        time.sleep(1)  # the program notes ten times a second what it has sent
        process.send_signal(signal.SIGINT)
        assert "waiting for 2 recordings that are sent already" in process.stderr.readline()
        may_answer.set()
        assert process.wait(30) == 130
    stderr = process.stderr.read()
    process.stdin.close()
    assert "wrote out/talk000.txt" in stderr and "wrote out/talk001.txt" in stderr


def test_resume_to_stdout_is_refused_once_for_a_list_that_comes_in(transcribe: Transcribe, start: Start) -> None:
    process = start("--files-from", "-", "-f", "ndjson", "--resume", stdin=subprocess.PIPE)
    _, stderr = process.communicate("a.wav\nb.wav\n", timeout=30)
    assert process.returncode == 2
    assert stderr.count("--resume needs results in files, and these go to stdout") == 1


def test_command_for_the_rest_names_files_with_any_name(transcribe: Transcribe, tmp_path: Path) -> None:
    names = [b"caf\xe9.wav", b"new\nline.wav", b"it's \\ \x1b.wav", "plain é.wav".encode()]
    for name in names:
        write_wav(Path(os.fsdecode(os.fsencode(tmp_path / "talks") + b"/" + name)), 3244)
    with FaultServer(refuses(402)) as server:
        files = map(os.fsdecode, names)
        done = transcribe(*files, "--output-dir", "out", "--jobs", "1", CARTESIA_BASE_URL=server.base_url)
    command = re.search(r"then: (cartesia-cli transcribe .*)", done.stderr)
    assert command is not None and command[1].isprintable()
    said = subprocess.run(["bash", "-c", f"cartesia-cli() {{ printf '%s\\0' \"$@\"; }}; {command[1]}"],
                          stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
    assert said.split(b"\0")[-1 - len(names) : -1] == names


@pytest.mark.parametrize("options", [["-f", "ndjson", "-o", "all.ndjson"], ["-f", "srt", "-o", "-"]])
def test_list_that_comes_in_may_have_one_result_in_one_target(
    service: NamingService, talks: Talks, tmp_path: Path, start: Start, options: list[str]
) -> None:
    names = talks(2)
    process = start("--files-from", "-", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdout, stderr = process.communicate("\n".join(names), timeout=30)
    assert (process.returncode, stdout) == (2, "") and "results to one file" in stderr
    assert not service.names and not (tmp_path / "talks" / "all.ndjson").exists()
    process = start("--files-from", "-", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdout, _ = process.communicate(names[0], timeout=30)
    assert process.returncode == 0 and len(service.names) == 1


def test_max_credits_stops_before_they_are_exceeded(
    service: NamingService, transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    names = [f"long{number}.wav" for number in range(6)]
    for number, name in enumerate(names):
        write_wav(tmp_path / "talks" / name, 44 + 64_000 - 2 * number)  # 2 s cost a credit
    done = transcribe(".", "--output-dir", "out", "--max-credits", "3.5", "--jobs", "3")
    assert done.returncode == 1
    assert len(service.names) == 3
    assert "would cost 1.0 credits" in done.stderr and "raise --max-credits" in done.stderr


@pytest.mark.parametrize("option", ["--speakers-by-channel", "--speakers-by-channel=Anna,Ben"])
def test_command_for_the_rest_names_speakers_as_they_were_given(
    transcribe: Transcribe, tmp_path: Path, option: str
) -> None:
    noise = np.random.default_rng(13).integers(-9000, 9000, (16000, 2), np.int16)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / "talks" / name, noise, 16000)
    done = transcribe("a.wav", "b.wav", option, "-f", "ndjson", "--max-credits", "0.1", "--no-cache")
    assert f"then: cartesia-cli transcribe --format ndjson {option} --max-credits 0.1 --no-cache a.wav" in done.stderr


def test_many_inputs_are_planned_while_others_are_sent(
    service: NamingService, transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    names = talks(1100)
    (tmp_path / "talks" / names[1050]).write_text("not a recording")
    done = transcribe(".", "--output-dir", "out", "--jobs", "16")
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1 and names[1050] in done.stderr
    assert "1099 of 1100 transcribed" in done.stderr
    assert len(list((tmp_path / "talks" / "out").glob("*.txt"))) == 1099
    again = transcribe(".", "--output-dir", "out", "--resume")
    assert again.returncode == 1
    assert len(service.names) == 1099


def test_second_ctrl_c_prints_what_waits_for_an_earlier_recording(
    service: NamingService, talks: Talks, start: Start
) -> None:
    names = talks(8)
    service.delays = {names[0]: 60.0, names[6]: 60.0}
    process = start(".", "-f", "ndjson", "--jobs", "2", stdout=subprocess.PIPE)
    while names[6] not in service.names:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("waiting for 2 recordings that are sent already" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [json.loads(line)["text"] for line in stdout.splitlines()] == [f"This is {name}." for name in names[1:6]]


def test_copies_that_run_side_by_side_are_sent_once(
    service: NamingService, transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    folder = tmp_path / "talks"
    (original,) = talks(1)
    for number in range(5):
        (folder / f"copy{number}.wav").write_bytes((folder / original).read_bytes())
    service.seconds = 0.5
    done = transcribe(".", "-f", "ndjson", "--jobs", "6")
    assert done.returncode == 0, done.stderr
    assert len(service.names) == 1
    assert said(done) == [f"This is {service.names[0]}."] * 6
    assert "6 of 6 transcribed, 0.6 s of audio, 5 from cache, 0.1 credits" in done.stderr


def test_copy_of_a_recording_that_failed_is_tried_itself(
    service: NamingService, transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    folder = tmp_path / "talks"
    (original,) = talks(1)
    (folder / "copy.wav").write_bytes((folder / original).read_bytes())

    def answer(exchange: Exchange) -> None:
        if exchange.got.number == 0:
            exchange.request()
            time.sleep(0.5)
            exchange.answer(400, json.dumps({"title": "Bad request", "message": "It is bad."}))
        else:
            service(exchange)

    with FaultServer(answer) as server:
        done = transcribe(".", "-f", "ndjson", "--jobs", "2", CARTESIA_BASE_URL=server.base_url)
    assert done.returncode == 1
    assert len(said(done)) == 1 and "1 of 2 transcribed" in done.stderr


def test_results_that_stdout_does_not_take_are_left_to_do(service: NamingService, talks: Talks, start: Start) -> None:
    names = talks(5)
    service.delays = {names[0]: 2.0}  # so that the others are held back
    with Path("/dev/full").open("wb") as full:
        process = start(".", "-f", "ndjson", "--jobs", "5", stdout=full)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert sorted(service.names) == names
    hint = stderr.rpartition("then: ")[2]
    assert [name for name in names if name in hint] == names
    assert "5 of 5 transcribed" in stderr and "0 not tried, 5 not printed" in stderr


SLOW_WRITER = """
import sys, time
from cartesia_cli.commands.batch import job_runner
write_results = job_runner.write_results
def write_slowly(*arguments, **options):
    print("writing", file=sys.stderr, flush=True)
    time.sleep(1)
    write_results(*arguments, **options)
job_runner.write_results = write_slowly
from cartesia_cli.__main__ import main
sys.exit(main())
"""


def test_ctrl_c_waits_until_responses_that_have_come_are_written(talks: Talks, start: Start, tmp_path: Path) -> None:
    talks(3)
    process = start(".", "--output-dir", "out", "--jobs", "1", "--no-cache", program=["-c", SLOW_WRITER])
    assert process.stderr is not None
    assert any("writing" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "1 of 3 transcribed" in stderr
    assert [file.name for file in (tmp_path / "talks" / "out").glob("*.txt")] == ["talk000.txt"]


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_files_that_appear_during_the_run_are_kept(
    options: tuple[str, ...],
    service: NamingService,
    transcribe: Transcribe,
    talks: Talks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talks(1)
    there = [tmp_path / "talks" / "a.txt", tmp_path / "talks" / "kept" / "talk000.json"]

    def text(name: str) -> str:
        for path in there:
            path.parent.mkdir(exist_ok=True)
            path.write_text("mine")
        return f"This is {name}."

    monkeypatch.setattr(service, "text", text)
    command = ("talk000.wav", "-o", "a.txt", "--keep-json", "kept", "--no-cache")
    done = transcribe(*command, *options)
    assert (done.returncode, done.stdout) == (1, "This is talk000.wav.\n")
    assert "a.txt exists by now" in done.stderr
    assert [path.read_text() for path in there] == ["mine", "mine"]
    assert transcribe(*command, "--force").returncode == 0
    assert there[0].read_text() == "This is talk000.wav.\n"


def test_status_counts_what_resume_must_not_overwrite_as_failed(
    transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    first, _ = talks(2)
    folder = tmp_path / "talks"
    assert transcribe(".", "--output-dir", "../out").returncode == 0
    with (tmp_path / "out" / "talk000.txt").open("a") as result:
        result.write("edited")
    write_wav(folder / first, 4000)
    for again in ("--resume", "--retry-failed"):
        done = transcribe(".", "--output-dir", "../out", again)
        assert done.returncode != 0 and "was edited since it was made" in done.stderr
        told = run_program(["status", str(tmp_path / "out")], text=True)
        assert told.returncode == 1 and "1 done, 1 failed, 0 left" in told.stdout


def test_resume_counts_no_file_that_was_in_the_way_of_a_result(
    service: NamingService, transcribe: Transcribe, talks: Talks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks(2)
    out = tmp_path / "out"
    strange = out / "talk001.txt"

    def text(name: str) -> str:
        out.mkdir(exist_ok=True)
        strange.write_text("mine")
        return f"This is {name}."

    monkeypatch.setattr(service, "text", text)
    assert transcribe(".", "--output-dir", "../out", "-f", "text,json", "--no-cache").returncode == 1
    for again in ("--resume", "--retry-failed"):
        done = transcribe(".", "--output-dir", "../out", "-f", "text,json", again, "--output-manifest", "../m.jsonl")
        assert done.returncode != 0
        assert "../out/talk001.txt is not known to come from talk001.wav, which has failed" in done.stderr
        told = run_program(["status", str(out)], text=True)
        assert told.returncode == 1 and "1 done, 1 failed, 0 left" in told.stdout and "to do the rest in" in told.stdout
    assert strange.read_text() == "mine"
    assert not (tmp_path / "m.jsonl").exists() or "mine" not in (tmp_path / "m.jsonl").read_text()
    strange.unlink()
    monkeypatch.setattr(service, "text", lambda name: f"This is {name}.")
    done = transcribe(".", "--output-dir", "../out", "-f", "text,json", "--retry-failed")
    assert done.returncode == 0 and "wrote ../out/talk001.txt" in done.stderr
    assert "talk001.json" not in done.stderr  # that was written the first time
    told = run_program(["status", str(out)], text=True)
    assert told.returncode == 0 and "2 done, 0 failed, 0 left" in told.stdout


def test_status_counts_results_that_were_refused_with_other_options_as_done_when_they_are_asked_for_again(
    transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    talks(2)
    command = (".", "--output-dir", "../out")
    assert transcribe(*command).returncode == 0
    for again in ("--resume", "--retry-failed"):
        assert transcribe(*command, "--resume", "-l", "de").returncode == 1
        assert run_program(["status", str(tmp_path / "out")], text=True).returncode == 1
        assert transcribe(*command, again).returncode == 0
        told = run_program(["status", str(tmp_path / "out"), "-f", "json"], text=True)
        found = json.loads(told.stdout)
        assert (told.returncode, found["done"], found["failed"]) == (0, 2, 0)
        run = found["runs"][0]
        assert (run["skipped"], run["done"], run["failed"], run["credits"]) == (2, 0, 0, 0.0)


@pytest.mark.parametrize("what", ["talk000.wav", "."])
def test_status_knows_of_a_single_input_that_is_refused(
    what: str, transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    (first,) = talks(1)
    command = (what, "--output-dir", "../out")

    def told() -> str:
        return run_program(["status", str(tmp_path / "out")], text=True).stdout

    assert transcribe(*command).returncode == 0
    done = transcribe(*command, "--resume", "-l", "de")
    assert done.returncode == 2 and done.stderr.count("error: ") == 1
    assert "0 done, 1 failed, 0 left" in told() and "stopped" in told() and "--resume" in told()
    assert transcribe(*command, "--retry-failed").returncode == 0
    assert "1 done, 0 failed, 0 left" in told()
    (tmp_path / "talks" / first).write_text("no sound")
    assert transcribe(*command, "--resume").returncode == 3
    assert "0 done, 1 failed, 0 left" in told()
    before = told()
    assert transcribe(*command, "--resume", "--dry-run").returncode == 3
    (tmp_path / "empty").mkdir()
    assert transcribe("../empty", "--output-dir", "../out").returncode == 3
    assert told() == before


def test_one_of_several_inputs_that_is_not_tried_again_fails_like_others(
    transcribe: Transcribe, talks: Talks, tmp_path: Path
) -> None:
    talks(3)
    assert transcribe(".", "--output-dir", "../out").returncode == 0
    assert transcribe("talk001.wav", "--output-dir", "../out", "--resume", "-l", "de").returncode == 2
    assert transcribe(".", "--output-dir", "../out", "--retry-failed", "-l", "de").returncode == 1


def test_status_tells_recordings_with_the_same_name_in_two_folders_apart(
    service: NamingService, transcribe: Transcribe, tmp_path: Path
) -> None:
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        write_wav(tmp_path / folder / "talk.wav", 32_044 + 16_000 * number)

    def told() -> Any:
        return json.loads(run_program(["status", str(tmp_path / "out"), "-f", "json"], text=True).stdout)

    for folder in ("one", "two"):
        assert transcribe(f"../{folder}", "--output-dir", "../out", "--no-cache").returncode == 0
    assert transcribe("../one", "--output-dir", "../out", "-f", "srt", "--resume").returncode == 0
    found = told()
    assert (found["done"], found["failed"], found["left"]) == (2, 0, 0)
    assert found["duration"] == 2 * 0.1  # of audio, says the service
    write_wav(tmp_path / "two" / "talk.wav", 64_044)
    service.refused = {"talk.wav"}
    assert transcribe("../two", "--output-dir", "../out", "--resume").returncode == 5
    assert transcribe("../one", "--output-dir", "../out", "--resume").returncode == 0
    assert told()["failed"] == 1
    service.refused = set()
    done = transcribe("../two", "--output-dir", "../out", "--retry-failed")
    assert done.returncode == 0 and "wrote ../out/talk.wav.txt" in done.stderr


def test_failures_are_named_in_input_order(service: NamingService, transcribe: Transcribe, talks: Talks) -> None:
    names = talks(11)
    service.refused, service.delays = {*names}, {names[0]: 0.5}
    done = transcribe(".", "-f", "ndjson", "--jobs", "11")
    assert done.returncode == 1
    again = done.stderr.rpartition("to try again: ")[2].split()
    assert [word for word in again if word.endswith(".wav")] == names


def test_second_ctrl_c_stops_although_nobody_reads_stdout(service: NamingService, talks: Talks, start: Start) -> None:
    names = talks(600)
    process = start(".", "-f", "ndjson", "--jobs", "2", stdout=subprocess.PIPE, pipesize=4096)
    assert process.stdout is not None and process.stderr is not None
    sent = -1
    while sent < len(service.names) or not sent:  # until the pipe is full
        sent = len(service.names)
        time.sleep(1)
    assert sent < len(names)
    process.send_signal(signal.SIGINT)
    assert "waiting for" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    stderr = process.stderr.read()
    process.stdout.close()
    assert "not printed" in stderr and "to do the rest: cartesia-cli transcribe" in stderr
