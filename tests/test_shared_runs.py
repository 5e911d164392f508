"""Several runs in one output directory: killed, side by side, sharded, on other machines. Nothing is done twice, and
nothing is left out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from cartesia_cli.scale.journal import FOLDER
from cartesia_cli.scale.journal_lines import RecordingOutcome, decode
from tests.fault_server import KEY, FaultServer, environment, write_wav
from tests.fork_server import run_program
from tests.killed_runs import transcribe_with_kills
from tests.naming_service import NamingService

pytestmark = pytest.mark.waits

SCALE_PAGE = Path(__file__).parent.parent / "docs" / "scale.md"


@pytest.fixture
def service() -> NamingService:
    return NamingService()


class Machine:
    """A computer with its own user; the folder that it shares is at `folder`."""

    def __init__(self, home: Path, folder: Path, server: FaultServer) -> None:
        home.mkdir()
        self.home, self.folder, self.server = home, folder, server

    def __call__(self, *arguments: object, **variables: str | None) -> subprocess.CompletedProcess[str]:
        env = environment(self.home, self.server.base_url, **variables)
        return run_program(
            [*map(str, arguments)], env=env, cwd=self.folder, stdin=subprocess.DEVNULL, text=True, timeout=120
        )

    def transcribe(self, *options: object, code: int = 0, **variables: str | None) -> str:
        """What a run says on stderr."""
        done = self("transcribe", "talks", "--output-dir", "out", "--no-cache", *options, **variables)
        assert done.returncode == code, done.stderr
        return done.stderr

    def status(self, code: int = 0) -> dict[str, Any]:
        done = self("status", "out", "-f", "json")
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def machine(tmp_path: Path, server: FaultServer) -> Machine:
    (tmp_path / "shared" / "talks").mkdir(parents=True)
    return Machine(tmp_path / "home", tmp_path / "shared", server)


def record(machine: Machine, *names: str) -> None:
    """Write recordings, each of another length."""
    for number, name in enumerate(names):
        write_wav(machine.folder / "talks" / name, 3244 + 2 * number)


def outcomes(machine: Machine) -> list[RecordingOutcome]:
    found = [
        decode(line)
        for file in sorted((machine.folder / "out" / FOLDER).glob("*.jsonl"))
        for line in file.read_bytes().splitlines()
    ]
    return [line for line in found if isinstance(line, RecordingOutcome)]


@pytest.mark.parametrize("sharded", [True, False])
def test_killed_runs_are_resumed_without_doing_anything_twice(sharded: bool, tmp_path: Path) -> None:
    outcome = transcribe_with_kills(
        tmp_path, files=60, processes=4, kills=6, answer_seconds=0.2, seed=4, sharded=sharded
    )
    assert outcome.kills == 6
    assert outcome.wrong == [] and len(outcome.uploads) == 60
    assert outcome.extra_uploads <= outcome.in_flight


def test_two_runs_divide_a_folder(machine: Machine, service: NamingService) -> None:
    names = [f"{number:02}.wav" for number in range(24)]
    record(machine, *names)
    service.seconds = 0.2
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: machine.transcribe("--jobs", "4", "--resume"), range(2)))
    assert Counter(service.names) == Counter(names)
    assert all((machine.folder / "out" / f"{name[:2]}.txt").read_text() == f"This is {name}.\n" for name in names)
    assert all(re.search(r"(\d+) of \1 transcribed|nothing to do", sentences) for sentences in said)
    assert machine.status()["done"] == 24


def test_run_waits_for_a_recording_that_another_run_has_in_work(machine: Machine, service: NamingService) -> None:
    record(machine, "a.wav")
    service.seconds = 2.0
    with ThreadPoolExecutor() as pool:
        first = pool.submit(machine.transcribe)
        machine.server.wait(lambda server: service.names)
        second = machine.transcribe("--resume")
        first.result()
    assert Counter(service.names) == Counter(["a.wav"])
    assert "another run is working on it" in second
    assert "1 of 1 transcribed (1 by another run)" in second or "nothing to do" in second


def test_results_are_known_to_other_users_on_other_machines(
    machine: Machine, service: NamingService, tmp_path: Path
) -> None:
    record(machine, "a.wav", "b.wav")
    service.refused = {"b.wav"}
    machine.transcribe(code=1)
    service.refused = set()
    service.names.clear()
    shutil.copytree(machine.folder, tmp_path / "mounted elsewhere")
    other = Machine(tmp_path / "other home", tmp_path / "mounted elsewhere", machine.server)
    assert other.status(code=1)["failures"][0]["recording"] == "b.wav"
    other.transcribe("--resume")
    assert Counter(service.names) == Counter(["b.wav"])
    (other.folder / "talks" / "c.wav").write_bytes((other.folder / "talks" / "b.wav").read_bytes())
    other.transcribe("--resume")
    assert service.names.count("c.wav") == 1  # a copy, not a new name
    (other.folder / "talks" / "c.wav").rename(other.folder / "talks" / "d.wav")
    assert "already done, before it was renamed" in other.transcribe("--resume")
    write_wav(other.folder / "talks" / "a.wav", 9000)
    other.transcribe("--resume")  # what may be of another recording of that name is kept
    assert (other.folder / "out" / "a.txt").exists() and (other.folder / "out" / "a.wav.txt").exists()


def test_retry_failed_does_only_what_failed(machine: Machine, service: NamingService) -> None:
    record(machine, "a.wav", "b.wav")
    (machine.folder / "talks" / "broken.wav").write_bytes(b"RIFF")
    service.refused = {"b.wav"}
    machine.transcribe(code=1)
    record(machine, "a.wav", "b.wav", "new.wav")
    failures = {failure["recording"]: failure["error"] for failure in machine.status(code=1)["failures"]}
    assert set(failures) == {"b.wav", "broken.wav"}
    service.refused = set()
    service.names.clear()
    record(machine, "a.wav", "b.wav", "new.wav", "broken.wav")
    said = machine.transcribe("--retry-failed")
    assert Counter(service.names) == Counter(["b.wav", "broken.wav"])
    assert "2 of 4 not to be tried again; 2 to do" in said
    found = machine.status()
    assert (found["done"], found["failed"], found["left"]) == (3, 0, 1)
    assert found["command"].endswith(" --resume talks")
    machine.transcribe("--resume")
    assert machine.status()["left"] == 0
    assert "no journal" not in machine("transcribe", "talks", "--retry-failed").stderr


@pytest.mark.parametrize("options", ["", "-o x.txt"])
def test_retry_failed_needs_an_output_dir(options: str, machine: Machine) -> None:
    record(machine, "a.wav")
    done = machine("transcribe", "talks/a.wav", "--retry-failed", *shlex.split(options))
    assert done.returncode == 2 and "--retry-failed needs the journal of an output directory" in done.stderr


def test_retry_failed_refuses_a_folder_without_a_journal(machine: Machine) -> None:
    record(machine, "a.wav")
    done = machine("transcribe", "talks", "--output-dir", "typo", "--retry-failed")
    assert done.returncode == 2 and "typo has no journal of an earlier run" in done.stderr
    assert not (machine.folder / "typo").exists()


def test_pipe_in_place_of_a_journal_does_not_hang_a_run(machine: Machine, service: NamingService) -> None:
    record(machine, "a.wav")
    (machine.folder / "out" / FOLDER).mkdir(parents=True)
    os.mkfifo(machine.folder / "out" / FOLDER / "journal.jsonl")
    assert "not a regular file" in machine.transcribe()
    assert Counter(service.names) == Counter(["a.wav"])


def test_recording_made_again_in_another_format_keeps_both_results(machine: Machine, service: NamingService) -> None:
    record(machine, "a.wav")
    machine.transcribe()
    machine.transcribe("-f", "text,srt", "--resume")
    assert service.names.count("a.wav") == 2  # there is no cache here
    assert "nothing to do" in machine.transcribe("-f", "text,srt", "--resume")


def test_journal_holds_costs_but_no_speech_and_no_key(machine: Machine, service: NamingService) -> None:
    record(machine, "a.wav", "b.wav")
    service.refused = {"b.wav"}
    machine.transcribe(code=1)
    done, failed = sorted(outcomes(machine), key=lambda outcome: outcome.state)
    assert (done.seconds, done.credits, done.model) == (0.1, 0.05, "ink-whisper")
    assert failed.error is not None and "b.wav is noise" in failed.error["message"]
    text = "".join(path.read_text() for path in (machine.folder / "out" / FOLDER).iterdir())
    assert KEY not in text and "This is" not in text


def test_responses_from_the_cache_cost_nothing(machine: Machine) -> None:
    record(machine, "a.wav")
    machine("transcribe", "talks/a.wav")
    machine("transcribe", "talks", "--output-dir", "out")
    assert [outcome.credits for outcome in outcomes(machine)] == [0.0]


def test_dry_run_writes_no_journal(machine: Machine) -> None:
    record(machine, "a.wav")
    machine.transcribe("--dry-run")
    assert not (machine.folder / "out").exists()


def test_stopped_run_is_resumed_by_the_command_that_status_names(machine: Machine, service: NamingService) -> None:
    record(machine, *(f"{letter}.wav" for letter in "abcdef"))
    done = machine("transcribe", "talks", "--output-dir", "out", "--no-cache", "-j", "1", "--max-credits", "0.1")
    assert done.returncode != 0
    found = machine.status()
    assert found["runs"][0]["state"] == "stopped" and 1 <= found["left"] <= 5 and found["failed"] == 0
    assert found["folder"] == str(machine.folder)
    command = found["command"].replace(" --max-credits 0.1", "")
    assert machine(*shlex.split(command)[1:]).returncode == 0
    assert machine.status()["left"] == 0 and len(service.names) == len(set(service.names))


# Shards ----------------------------------------------------------------------------------------------------


def test_shards_have_all_recordings_once_and_status_adds_them_up(machine: Machine, service: NamingService) -> None:
    names = [f"{number:02}.wav" for number in range(20)]
    record(machine, *names, "00.mp3.wav")
    for number in (1, 3, 4):
        machine.transcribe("--shard", f"{number}/4")
    found = machine.status()
    assert found["unfinished_shards"] == "2" and "left" not in found
    assert "--shard 2/4 " in found["command"]
    machine.transcribe("--shard", "2/4")
    assert Counter(service.names) == Counter([*names, "00.mp3.wav"])
    found = machine.status()
    assert (found["done"], found["left"], len(found["runs"])) == (21, 0, 4)


def test_recordings_that_may_share_a_result_are_in_the_same_shard(machine: Machine, service: NamingService) -> None:
    names = [f"{number}.{suffix}" for number in range(8) for suffix in ("wav", "ogg.wav")]
    record(machine, *names)
    for number in range(1, 6):
        machine.transcribe("--shard", f"{number}/5")
    assert Counter(service.names) == Counter(names)
    assert len([path for path in (machine.folder / "out").iterdir() if path.is_file()]) == 16


def test_another_number_of_shards_knows_what_is_done(machine: Machine, service: NamingService) -> None:
    record(machine, *(f"{number:02}.wav" for number in range(12)))
    for number in (1, 2):
        machine.transcribe("--shard", f"{number}/3")
    before = len(service.names)
    for number in (1, 2):
        machine.transcribe("--shard", f"{number}/2", "--resume")
    assert 0 < before < 12 and len(service.names) == 12
    assert "nothing to do" in machine.transcribe("--resume")


def test_shards_divide_the_number_of_recordings_at_once(machine: Machine, service: NamingService) -> None:
    record(machine, *(f"{number:02}.wav" for number in range(24)))
    service.seconds = 0.1
    machine.transcribe("--shard", "1/2", "--jobs", "6")
    assert service.most_at_once == 3


def test_shard_without_recordings_is_said_and_counts_as_finished(machine: Machine) -> None:
    record(machine, "a.wav")
    said = [machine.transcribe("--shard", f"{number}/3") for number in (1, 2, 3)]
    assert sum("no inputs in shard" in sentence for sentence in said) == 2
    found = machine.status()
    assert (found["left"], found["done"]) == (0, 1) and "command" not in found


def test_shard_whose_inputs_are_unusable_is_not_called_empty(machine: Machine) -> None:
    for name in ("a.wav", "b.wav"):
        (machine.folder / "talks" / name).write_bytes(b"RIFF")
    assert "no inputs in shard" not in machine.transcribe("--shard", "1/1", code=1)


def test_wrong_shard_is_a_usage_error(machine: Machine) -> None:
    record(machine, "a.wav")
    for value, hint in [("9/8", "shards: 1/8 to 8/8"), ("auto", "--shard I/N, such as 3/8"), ("x", "auto, or auto/N")]:
        assert hint in machine.transcribe("--shard", value, code=2)
    assert "hint: `sbatch --array=1-8`" in machine.transcribe("--shard", "auto/8", code=2, SLURM_ARRAY_TASK_ID="9")


# Recipes ---------------------------------------------------------------------------------------------------


def slurm(index: int, size: int) -> dict[str, str]:
    return {
        "SLURM_ARRAY_TASK_ID": str(index + 1),
        "SLURM_ARRAY_TASK_MIN": "1",
        "SLURM_ARRAY_TASK_MAX": str(size),
        "SLURM_ARRAY_TASK_COUNT": str(size),
        "SLURM_ARRAY_TASK_STEP": "1",
    }


def aws_batch(index: int, size: int) -> dict[str, str]:
    return {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": str(size)}


def kubernetes(index: int, size: int) -> dict[str, str]:
    return {"JOB_COMPLETION_INDEX": str(index)}


def recipe(heading: str) -> list[str]:
    """The arguments of the command that a section of docs/scale.md shows."""
    section = SCALE_PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    language, _, block = section.partition("```")[2].partition("```")[0].partition("\n")
    if language == "yaml":
        container = yaml.safe_load(block)["spec"]["template"]["spec"]["containers"][0]
        return [str(word) for word in container["command"]][1:]
    (command,) = [line for line in block.splitlines() if line.startswith("cartesia-cli ")]
    return shlex.split(command)[1:]


@pytest.mark.parametrize(
    ("heading", "variables"), [("Slurm", slurm), ("Kubernetes", kubernetes), ("AWS Batch", aws_batch)]
)
def test_documented_job_arrays_do_everything_once(
    heading: str, variables: Any, machine: Machine, service: NamingService
) -> None:
    names = [f"{number:02}.wav" for number in range(16)]
    record(machine, *names)
    (machine.folder / "talks").rename(machine.folder / "lectures")
    service.refused = {"07.wav"}
    arguments = recipe(heading)
    codes = [machine(*arguments, **variables(index, 8)).returncode for index in range(8)]
    assert sorted(codes) == [0] * 7 + [1]
    assert Counter(service.names) == Counter(names)
    number = codes.index(1) + 1
    assert machine.status(code=1)["unfinished_shards"] == str(number)
    service.refused = set()
    assert machine(*arguments, **variables(number - 1, 8)).returncode == 0
    assert machine.status()["left"] == 0
