"""--grep over one and several recordings behaves like grep: stdout, file names, exit code 1 without matches."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import cartesia_cli
from tests.conftest import Run
from tests.fault_server import FaultServer, answers
from tests.realtime_server import RealtimeServer
from tests.speech import write_wav
from tests.tones import recognizes, spoken

KEY = {"CARTESIA_API_KEY": "sk_car_test"}
SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"

SAID = {"a": "The ferry leaves at seven", "b": "We took the old Ferry home", "c": "Nobody said a thing"}


def answer(text: str) -> dict[str, object]:
    words = [{"word": word, "start": number / 2, "end": number / 2 + 0.4} for number, word in enumerate(text.split())]
    return {"text": text, "duration": 3.0, "words": words}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with three transcripts."""
    for name, text in SAID.items():
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"source": f"{name}.wav", "model": "m", **answer(text), "segments": []})
        )
    return tmp_path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"home"}


def test_grep_prints_matches_under_file_names(run: Run, tmp_path: Path) -> None:
    for name in SAID:
        (tmp_path / f"{name}.wav").write_bytes(SAMPLE.read_bytes() + name.encode())
    before = files(tmp_path)
    with FaultServer(*(answers(answer(text)) for text in SAID.values())) as server:
        done = run(
            "transcribe", "a.wav", "b.wav", "c.wav", "--grep", "ferry", "-i", "--base-url", server.base_url, env=KEY
        )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode().split("\n\n")
    assert first.startswith("a.wav\n") and "ferry" in first and "seven" not in first
    assert second.startswith("b.wav\n") and "Ferry" in second and "c.wav" not in second
    assert files(tmp_path) == before


@pytest.mark.parametrize("options", [(), ("-f", "csv"), ("--json",), ("-f", "ndjson")])
def test_grep_without_matches_in_several_inputs_exits_with_1(options: tuple[str, ...], run: Run, saved: Path) -> None:
    before = files(saved)
    done = run("render", "a.json", "b.json", "--grep", "airport", *options)
    assert done.returncode == 1
    assert done.stdout in (b"", b"file,number,start,end,word\r\n", b"[]\n")
    assert done.stderr == b"nothing matches 'airport'\n"
    assert files(saved) == before


def test_grep_without_matches_in_one_input_exits_with_1(run: Run, saved: Path) -> None:
    done = run("render", "a.json", "--grep", "airport")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"nothing matches 'airport'\n")
    assert run("render", "a.json", "--grep", "ferry").returncode == 0
    assert run("render", "a.json", "--grep", "FERRY").returncode == 1
    assert run("render", "a.json", "--grep", "FERRY", "--ignore-case").returncode == 0
    assert run("render", "a.json", "--from", "100").returncode == 0  # no pattern was given


def test_csv_and_tsv_matches_have_a_file_column(run: Run, saved: Path) -> None:
    done = run("render", "a.json", "b.json", "c.json", "--grep", "ferry", "-i", "-f", "csv")
    assert list(csv.reader(io.StringIO(done.stdout.decode()))) == [
        ["file", "number", "start", "end", "word"],
        ["a.wav", "2", "0.500", "0.900", "ferry"],
        ["b.wav", "5", "2.000", "2.400", "Ferry"],
    ]
    done = run("render", "a.json", "b.json", "--grep", "ferry", "-i", "-f", "tsv")
    assert done.stdout == b"file\tstart\tend\ttext\na.wav\t500\t900\tferry\nb.wav\t2000\t2400\tFerry\n"


def test_json_matches_of_several_inputs_are_one_list(run: Run, saved: Path) -> None:
    done = run("render", "a.json", "b.json", "c.json", "--grep", "the (old )?ferry", "-i", "--json")
    a, b = json.loads(done.stdout)
    assert (a["source"], b["source"], "text" in a) == ("a.wav", "b.wav", False)
    assert [(match["start"], match["end"], match["text"]) for match in a["matches"]] == [(0, 0.9, "The ferry")]
    assert [match["text"] for match in b["matches"]] == ["the old Ferry"]
    lines = run(
        "render", "a.json", "b.json", "c.json", "--grep", "ferry", "-C", "1", "-f", "ndjson"
    ).stdout.splitlines()
    (only,) = map(json.loads, lines)
    assert [match["text"] for match in only["matches"]] == ["The ferry leaves"]
    assert [word["word"] for word in only["matches"][0]["words"] if word.get("matched")] == ["ferry"]
    single = json.loads(run("render", "a.json", "--from", "1", "--to", "1.5", "--json").stdout)
    assert [match["text"] for match in single["matches"]] == ["leaves"]


def test_grep_writes_matches_of_all_inputs_to_output(run: Run, saved: Path) -> None:
    done = run("render", "a.json", "b.json", "--grep", "ferry", "-i", "-o", "hits.csv")
    assert (done.returncode, done.stdout) == (0, b"")
    assert (saved / "hits.csv").read_text().count("erry") == 2
    done = run("render", "a.json", "b.json", "--grep", "ferry", "-i", "-o", "hits.txt")
    assert (saved / "hits.txt").read_text().startswith("a.wav\n#  start")
    done = run("render", "a.json", "b.json", "--grep", "ferry", "-i", "--output-dir", "out")
    assert (done.returncode, b"-o FILE" in done.stderr, (saved / "out").exists()) == (2, True, False)
    done = run("render", "a.json", "b.json", "--grep", "ferry", "-i", "-f", "csv", "--output-dir", "out")
    assert files(saved / "out") == {"a.csv", "b.csv"}  # --output-dir


@pytest.mark.parametrize("name", ["hits.csv", "hits.txt", "hits.json", "hits.ndjson"])
def test_grep_without_matches_writes_no_file(run: Run, saved: Path, name: str) -> None:
    for inputs in (("a.json",), ("a.json", "b.json")):
        done = run("render", *inputs, "--grep", "zeppelin", "-o", name)
        assert (done.returncode, (saved / name).exists()) == (1, False)
        assert b"nothing matches" in done.stderr


def test_grep_keeps_matches_if_another_input_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(SAMPLE.read_bytes())
    with FaultServer(answers(answer(SAID["a"]))) as server:
        done = run(
            "transcribe", "a.wav", "none.wav", "--grep", "ferry", "--json", "--base-url", server.base_url, env=KEY
        )
    assert done.returncode == 1
    assert [found["source"] for found in json.loads(done.stdout)] == ["a.wav"]


@pytest.mark.parametrize(("pattern", "code"), [("3", 0), ("4", 1)])
def test_live_session_without_matches_exits_with_1(pattern: str, code: int, run: Run, tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "numbers.wav", spoken([3]))
    with RealtimeServer(recognizes()) as server:
        options = ("--mode", "manual", "--speed", "20", "--base-url", server.base_url)
        done = run("stream-file", recording, "--grep", pattern, *options, env=KEY)
        assert done.returncode == code, done.stderr
        events = run("stream-file", recording, "--grep", pattern, "-f", "ndjson", *options, env=KEY)
        assert events.returncode == code
        assert len(json.loads(events.stdout.splitlines()[-1])["matches"]) == 1 - code


def test_ignore_case_without_grep_is_a_usage_error(run: Run, saved: Path) -> None:
    done = run("render", "a.json", "-f", "table", "-i")
    assert done.returncode == 2 and b"--ignore-case needs --grep" in done.stderr
