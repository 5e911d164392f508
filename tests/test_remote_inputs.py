"""Inputs from anywhere, through the installed program: URLs, buckets, web pages, lists, pipes; results in buckets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cartesia_cli
from tests.conftest import Run, require_program
from tests.fault_server import SOON, FaultServer, names_the_file
from tests.file_server import FileServer
from tests.object_storage import ObjectStorage, object_storage

pytestmark = pytest.mark.waits

KEY = {"CARTESIA_API_KEY": "sk_car_test"}
SAMPLE = (Path(cartesia_cli.__file__).parent / "sample.wav").read_bytes()
TALKS = {f"/talks/{number}.wav": SAMPLE + bytes(2 * number) for number in range(9)}


@pytest.fixture
def api() -> Iterator[FaultServer]:
    with FaultServer(names_the_file) as server:
        yield server


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as server:
        server.create(
            "lectures", {path[1:]: content for path, content in TALKS.items()} | {"talks/notes.txt": b"notes"}
        )
        server.create("results", {})
        yield server


def user(api: FaultServer, **more: str) -> dict[str, str]:
    return {**KEY, "CARTESIA_BASE_URL": api.base_url, **more}


def uploads(api: FaultServer) -> list[bytes]:
    return [request.part("file").content for request in api.requests]


# URLs ------------------------------------------------------------------------------------------------------


def test_url_is_downloaded_and_transcribed(run: Run, api: FaultServer) -> None:
    with FileServer(TALKS) as files:
        done = run("transcribe", f"{files.url}/talks/3.wav", env=user(api))
    assert (done.returncode, done.stdout) == (0, b"words of 3.wav\n"), done.stderr
    assert uploads(api) == [TALKS["/talks/3.wav"]]


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_server_that_drops_every_third_download(run: Run, api: FaultServer, tmp_path: Path, ranges: bool) -> None:
    with FileServer(TALKS, drop=lambda number: number % 3 == 0, ranges=ranges) as files:
        done = run("transcribe", *(files.url + path for path in TALKS), "--output-dir", "out", env=user(api))
    assert done.returncode == 0, done.stderr
    assert sorted(uploads(api)) == sorted(TALKS.values())
    assert {path.name: path.read_text() for path in (tmp_path / "out").glob("*.txt")} == {
        f"{number}.txt": f"words of {number}.wav\n" for number in range(9)
    }


def test_password_and_signature_of_a_url_appear_nowhere(run: Run, api: FaultServer, tmp_path: Path) -> None:
    with FileServer(TALKS, password="joe:s3cret") as files:
        url = f"{files.url.replace('//', '//joe:s3cret@')}/talks/3.wav?sig=n0where"
        done = run("transcribe", url, "-v", "--debug", "--output-dir", "out", "-f", "json", env=user(api))
        missing = run("transcribe", url.replace("3.wav", "30.wav"), "-v", "--debug", env=user(api))
    assert (done.returncode, missing.returncode) == (0, 3), done.stderr + missing.stderr
    (result,) = (tmp_path / "out").glob("*.json")
    said = done.stderr + missing.stderr + result.read_bytes() + result.name.encode()
    journal = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.jsonl"))
    assert not re.search(rb"s3cret|n0where|joe", said + journal), said + journal
    assert json.loads(result.read_text())["source"].startswith(f"{files.url}/talks/3.wav")


def test_resume_skips_urls_without_downloading_them_again(run: Run, api: FaultServer, tmp_path: Path) -> None:
    with FileServer(TALKS) as files:
        urls = [files.url + path for path in TALKS]
        first = run("transcribe", *urls[:8], "--output-dir", "out", "--no-cache", env=user(api))
        before = len(files.requests)
        state = str(tmp_path / "of another user")
        again = run(
            "transcribe", *urls, "--output-dir", "out", "--resume", "--no-cache", env=user(api, XDG_STATE_HOME=state)
        )
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert b"8 of 9 already done; 1 to do" in again.stderr
    assert len(uploads(api)) == 9 and len(files.requests) == before + 1


def test_timeout_ends_a_download_that_stalls(run: Run, api: FaultServer) -> None:
    with FaultServer(lambda exchange: (exchange.head(), exchange.hold())) as stalled:
        url = f"{stalled.base_url}/talk.wav"
        done = run("transcribe", url, "--timeout", "0.5", "--retries", "0", env=user(api))
    assert done.returncode == 6 and not uploads(api), done.stderr


def test_empty_list_of_inputs_is_reported(run: Run, api: FaultServer) -> None:
    done = run("transcribe", "--files-from", "-", "-f", "ndjson", stdin=b"\n", env=user(api))
    assert (done.returncode, done.stdout) == (0, b"") and b"the list of inputs is empty" in done.stderr


def test_page_is_transcribed_by_the_recording_on_it(run: Run, api: FaultServer) -> None:
    pages = {"/talk.html": b'<html><title>Talk</title><audio src="a.wav"></audio></html>', "/a.wav": SAMPLE}
    with FileServer(pages) as files:
        done = run("transcribe", f"{files.url}/talk.html", env=user(api))
    assert done.returncode == 0, done.stderr
    assert uploads(api) == [SAMPLE]


def test_page_with_several_recordings_stands_for_all_of_them(run: Run, api: FaultServer, tmp_path: Path) -> None:
    page = b'<html><title>Talks</title><audio src="a.wav"></audio><audio src="b.wav"></audio></html>'
    with FileServer({"/talks.html": page, "/a.wav": SAMPLE, "/b.wav": SAMPLE + b"\0\0"}) as files:
        done = run("transcribe", f"{files.url}/talks.html", "--output-dir", "out", env=user(api))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == ["a.txt", "b.txt"]


def test_dry_run_tells_the_sizes_of_urls_and_downloads_nothing(run: Run) -> None:
    with FileServer(TALKS) as files:
        done = run("transcribe", *(files.url + path for path in TALKS), "--dry-run", "--json", "--cloud",
                   "--output-dir", "out", env=KEY)  # fmt: skip
        assert {request.method for request in files.requests} == {"HEAD"}
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["bytes"] for row in report["inputs"]] == [len(content) for content in TALKS.values()]
    assert report["unknown_durations"] == 9


def test_urls_with_the_same_name_keep_their_folders_in_a_list(run: Run, api: FaultServer, tmp_path: Path) -> None:
    with FileServer({"/1/talk.wav": SAMPLE, "/2/talk.wav": SAMPLE + b"\0\0"}) as files:
        urls = [f"{files.url}/{number}/talk.wav" for number in (1, 2)]
        refused = run("transcribe", *urls, "--output-dir", "out", env=user(api))
        assert refused.returncode == 2 and b"--files-from" in refused.stderr and not files.requests
        (tmp_path / "urls.txt").write_text("\n".join(urls))
        done = run("transcribe", "--files-from", "urls.txt", "--output-dir", "out", env=user(api))
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / "out" / files.host / number / "talk.txt").exists() for number in ("1", "2")] == [True, True]


def test_results_of_urls_need_a_place(run: Run) -> None:
    with FileServer(TALKS) as files:
        done = run("transcribe", *(files.url + path for path in TALKS), env=KEY)
        assert not files.requests
    assert done.returncode == 2 and b"--output-dir" in done.stderr


# Buckets ---------------------------------------------------------------------------------------------------


def test_prefix_in_a_bucket_stands_for_the_recordings_below_it(
    run: Run, api: FaultServer, storage: ObjectStorage, tmp_path: Path
) -> None:
    env = user(api, **storage.environment)
    done = run("transcribe", "s3://lectures/", "--output-dir", "out", "-f", "json", env=env)
    assert done.returncode == 0, done.stderr
    results = sorted((tmp_path / "out" / "talks").iterdir())
    assert [path.name for path in results] == [f"{number}.json" for number in range(9)]
    assert json.loads(results[4].read_text())["source"] == "s3://lectures/talks/4.wav"


def test_resumed_run_transcribes_objects_that_changed(
    run: Run, api: FaultServer, storage: ObjectStorage, tmp_path: Path
) -> None:
    storage.create("changing", {"a.wav": SAMPLE, "b.wav": SAMPLE + b"\0\0"})
    command = ("transcribe", "s3://changing/", "--output-dir", "out", "--resume")
    env = user(api, **storage.environment)
    assert run(*command, env=env).returncode == 0
    assert run(*command, env=env).returncode == 0
    assert len(api.requests) == 2
    storage.create("changing", {"b.wav": SAMPLE + bytes(4)})
    again = run(*command, env=env)
    assert again.returncode == 0, again.stderr
    assert uploads(api)[2:] == [SAMPLE + bytes(4)]


def test_bucket_to_bucket(run: Run, api: FaultServer, storage: ObjectStorage) -> None:
    env = user(api, **storage.environment)
    command = ("transcribe", "s3://lectures/talks/", "--output-dir", "s3://results/a", "-f", "text,json")
    done = run(*command, env=env)
    assert done.returncode == 0, done.stderr
    assert storage.keys("results", "a/") == sorted(f"a/{n}.{end}" for n in range(9) for end in ("json", "txt"))
    assert storage.read("results", "a/4.txt") == b"words of 4.wav\n"
    assert json.loads(storage.read("results", "a/4.json"))["source"] == "s3://lectures/talks/4.wav"
    again = run(*command, env=env)
    assert again.returncode != 0 and b"exists" in again.stderr
    assert len(api.requests) == 9
    resumed = run(*command, "--resume", env=env)
    assert resumed.returncode == 0, resumed.stderr
    assert len(api.requests) == 9
    refused, left = run(*command, "--dry-run", env=env), run(*command, "--resume", "--dry-run", env=env)
    assert refused.returncode != 0 and b"exists" in refused.stderr
    assert left.returncode == 0 and b".wav" not in left.stdout


def test_missing_bucket_or_object_is_one_clear_line(run: Run, api: FaultServer, storage: ObjectStorage) -> None:
    env = user(api, **storage.environment)
    for url, said in (("s3://nowhere/a.wav", "there is no bucket 'nowhere'"), ("s3://lectures/x.wav", "does not exist"),
                      ("s3://lectures/x/", "no recording in s3://lectures/x/"),
                      ("s3:///a.wav", "s3:///a.wav names no bucket"), ("s3://nowhere/", "'nowhere'")):  # fmt: skip
        done = run("transcribe", url, env=env)
        assert done.returncode == 3, done.stderr
        error, hint = done.stderr.decode().splitlines()
        assert error.startswith("error: ") and said in error and hint.startswith("hint: ")


# Lists -----------------------------------------------------------------------------------------------------


@pytest.fixture
def talks(tmp_path: Path) -> list[str]:
    names = ["a.wav", "#b.wav", "x/a.wav", "c d.wav"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(SAMPLE + bytes(2 * number))
    return names


@pytest.mark.parametrize("how", ["--files-from", "--from", "@"])
def test_list_of_inputs_in_a_file(run: Run, api: FaultServer, talks: list[str], tmp_path: Path, how: str) -> None:
    (tmp_path / "list.txt").write_text("# talks\r\n\r\na.wav\r\n./#b.wav\r\nx/a.wav\r\nc d.wav")
    named = ["@list.txt"] if how == "@" else [how, "list.txt"]
    done = run("transcribe", *named, "--output-dir", "out", env=user(api))
    assert done.returncode == 0, done.stderr
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.txt")}
    assert found == {"a.txt", "#b.txt", "x/a.txt", "c d.txt"}


@pytest.mark.usefixtures("talks")
def test_list_separated_by_nul_on_stdin(run: Run, api: FaultServer, tmp_path: Path) -> None:
    listing = subprocess.run(["find", ".", "-name", "*.wav", "-print0"], cwd=tmp_path, capture_output=True, check=True)
    done = run("transcribe", "--from", "-", "--output-dir", "out", env=user(api), stdin=listing.stdout)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("*.txt"))) == 4


def test_file_whose_name_begins_with_at_is_an_input(run: Run, api: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "@talk.wav").write_bytes(SAMPLE)
    done = run("transcribe", "@talk.wav", env=user(api))
    assert done.stdout == b"words of @talk.wav\n", done.stderr
    missing = run("transcribe", "@list.txt", env=user(api))
    assert missing.returncode == 3 and b"list.txt" in missing.stderr


def test_stdin_cannot_be_a_recording_and_a_list(run: Run, api: FaultServer) -> None:
    done = run("transcribe", "-", "--from", "-", env=user(api), stdin=b"a.wav\n")
    assert done.returncode == 2 and not api.requests


@pytest.mark.usefixtures("talks")
def test_work_begins_before_the_list_ends(api: FaultServer, environment: dict[str, str], tmp_path: Path) -> None:
    program = [sys.executable, "-m", "cartesia_cli", "transcribe", "--from", "-", "-f", "ndjson"]
    with subprocess.Popen(
        program, cwd=tmp_path, env=environment | user(api), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"a.wav\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == "words of a.wav"
        process.stdin.write(b"x/a.wav\n")
        process.stdin.close()
        assert json.loads(process.stdout.readline())["source"] == "x/a.wav"
        assert process.wait(SOON) == 0


# Pipes -----------------------------------------------------------------------------------------------------


def test_process_substitution_is_an_input(api: FaultServer, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(SAMPLE)
    command = f"{sys.executable} -m cartesia_cli transcribe <(cat a.wav) <(cat a.wav; printf '\\0\\0') -f ndjson"
    done = subprocess.run([require_program("bash"), "-c", command], cwd=tmp_path, env=environment | user(api),
                          capture_output=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(map(len, uploads(api))) == [len(SAMPLE), len(SAMPLE) + 2]


def test_named_pipe_is_an_input(run: Run, api: FaultServer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "a.wav").write_bytes(SAMPLE)
    with subprocess.Popen(["sh", "-c", "cat a.wav > pipe.wav"], cwd=tmp_path):
        done = run("transcribe", "pipe.wav", env=user(api))
    assert (done.returncode, done.stdout) == (0, b"words of pipe.wav\n"), done.stderr
    assert uploads(api) == [SAMPLE]
