"""`eval`: figures are those of jiwer, gates end with exit code 1, and what was evaluated is never lost."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from whisper_normalizer.english import EnglishTextNormalizer

from cartesia_cli.commands.eval_options import GateOptions
from cartesia_cli.commands.eval_report import check_baseline, check_gates
from tests import speech
from tests.conftest import Run
from tests.fault_server import KEY, SOON, Exchange, FaultServer, answers, fine, refuses
from tests.fork_server import start_program
from tests.realtime_server import RealtimeServer, manual, turn, turns
from tests.test_schema import check

HEARD = "The quick brown fox."
"""What the batch server hears in everything."""


class CloudServer(FaultServer):
    """A batch server, and the environment of a user whose requests go there, one at a time."""

    @property
    def env(self) -> dict[str, str]:
        return cloud(self.base_url)


def cloud(base_url: str) -> dict[str, str]:
    return {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": base_url, "CARTESIA_EVAL_JOBS": "1"}


def record(folder: Path, name: str, text: str | None, seconds: float = 0.5) -> Path:
    """A recording, different from all others, with its text beside it."""
    path = folder / f"{name}.wav"
    speech.write_wav(path, speech.silence(seconds) + len(name) / 100)
    if text is not None:
        path.with_suffix(".txt").write_text(text, "utf-8")
    return path


@pytest.fixture
def server() -> Iterator[CloudServer]:
    with CloudServer(fine) as running:
        yield running


def evaluate(run: Run, env: dict[str, str], *arguments: object, code: int = 0) -> dict[str, Any]:
    done = run("eval", *arguments, "-f", "json", env=env)
    assert done.returncode == code, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    check("eval", report)
    return report


def test_figures_are_those_of_jiwer(run: Run, server: CloudServer, tmp_path: Path) -> None:
    texts = {"one": "The quick brown fox!", "two": "the quick red fox jumps", "three": "a quick fox"}
    for name, text in texts.items():
        record(tmp_path, name, text)
    report = evaluate(run, server.env, *(f"{name}.wav" for name in texts), "-o", "r.html", "-o", "r.txt")
    normalize = EnglishTextNormalizer()
    said, heard = [normalize(text) for text in texts.values()], [normalize(HEARD)] * 3
    words = jiwer.process_words(said, heard)
    assert report["wer"] == pytest.approx(words.wer, abs=1e-6)
    assert report["cer"] == pytest.approx(jiwer.cer(said, heard), abs=1e-6)
    assert [report[name] for name in ("substitutions", "insertions", "deletions", "words")] == [
        words.substitutions, words.insertions, words.deletions, 12,
    ]  # fmt: skip
    assert report["wer_interval"][0] < report["wer"] < report["wer_interval"][1]
    assert [(row["recording"], row["wer"]) for row in report["rows"]] == [
        (f"{name}.wav", pytest.approx(jiwer.wer(one, heard[0]), abs=1e-6))
        for name, one in zip(texts, said, strict=True)
    ]
    page, table = ((tmp_path / name).read_text() for name in ("r.html", "r.txt"))
    assert 'class="range"' in page and "quick <ins>brown</ins> fox" in page and "fox <del>jumps</del>" in page
    assert "quick {+brown+} fox" in table and "fox [-jumps-]" in table


def test_references_of_manifests_are_used_and_beat_text_files(run: Run, server: CloudServer, tmp_path: Path) -> None:
    record(tmp_path, "one", "something else")
    record(tmp_path, "two", None, seconds=2.0)
    lines = [{"audio_filepath": "one.wav", "text": HEARD},
             {"audio_filepath": "two.wav", "offset": 0.5, "duration": 1.0, "text": "brown fox"}]  # fmt: skip
    (tmp_path / "set.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    report = evaluate(run, server.env, "set.jsonl")
    assert [(Path(row["recording"]).name, row["wer"]) for row in report["rows"]] == [
        ("one.wav", 0.0), ("two.wav#t=0.5,1.5", 1.0),
    ]  # fmt: skip
    assert report["insertions"] == 2


def test_recording_with_two_texts_is_an_error_and_one_named_twice_is_not(
    run: Run, server: CloudServer, tmp_path: Path
) -> None:
    record(tmp_path, "one", f"{HEARD}\n")
    record(tmp_path, "three", None)
    lines = [{"audio_filepath": "one.wav", "text": HEARD}, {"audio_filepath": "three.wav", "text": HEARD}]
    (tmp_path / "set.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    report = evaluate(run, server.env, "one.wav", "three.wav", "set.jsonl")
    assert (report["recordings"], report["wer"]) == (2, 0.0)

    (tmp_path / "set.jsonl").write_text(f"{json.dumps({'audio_filepath': 'one.wav', 'text': 'else'})}\n")
    report = evaluate(run, server.env, "one.wav", "set.jsonl", code=1)
    assert (report["recordings"], report["wer"]) == (1, 0.0)
    (message,) = report["unusable"]
    assert message.endswith("one.wav is named again, with another text")


def test_inputs_that_cannot_be_evaluated_are_named_once_and_the_others_count(
    run: Run, server: CloudServer, tmp_path: Path
) -> None:
    record(tmp_path, "one", HEARD)
    record(tmp_path, "three", None)
    (tmp_path / "broken.wav").write_bytes((tmp_path / "three.wav").read_bytes())
    (tmp_path / "broken.txt").write_bytes(b"\xff\xff\xfe")
    lines = [
        {"audio_filepath": "three.wav", "text": 7},
        {"audio_filepath": "three.wav", "offset": 0.1, "duration": 0.2},
        {"audio_filepath": "one.wav", "text": HEARD},
    ]
    (tmp_path / "set.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{\n")
    report = evaluate(run, server.env, "none.wav", "broken.wav", "broken.wav", "set.jsonl", code=1)
    assert (report["recordings"], report["wer"]) == (1, 0.0)
    reasons = (
        "none.wav does not exist",
        "broken.txt is not text",
        "text in the manifest is not a text",
        "#t=0.1",
        "not JSON",
    )
    for words in reasons:
        assert sum(words in message for message in report["unusable"]) == 1, report["unusable"]
    assert len(report["unusable"]) == len(reasons)
    for arguments, words in ((["-"], b"eval doesn't read stdin"), (["one.wav", "-o", "r.pdf"], b"r.pdf: a report is")):
        done = run("eval", *arguments, env=server.env)
        assert (done.returncode, words in done.stderr) == (2, True)


def test_report_that_appears_during_the_run_is_kept_and_stdout_has_the_new_one(run: Run, tmp_path: Path) -> None:
    def heard_late(exchange: Exchange) -> None:
        (tmp_path / "r.json").write_text("mine")
        fine(exchange)

    record(tmp_path, "one", HEARD)
    with CloudServer(heard_late) as server:
        done = run("eval", "one.wav", "-o", "r.json", env=server.env)
    assert done.returncode == 1
    assert b"error: r.json exists" in done.stderr
    assert done.stdout.startswith(b"==> r.json <==\n{") and b"batch ink-whisper" in done.stdout
    assert (tmp_path / "r.json").read_text() == "mine"


def test_no_report_replaces_a_text_or_the_key_terms(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "one", HEARD)
    (tmp_path / "terms.txt").write_text("fox\n")
    for name in ("one.txt", "terms.txt"):
        before = (tmp_path / name).read_text()
        done = run("eval", "one.wav", "--keyterms", "terms.txt", "-o", name, "--force", env=cloud("http://127.0.0.1:1"))
        assert done.returncode == 2
        assert f"{name} is an input and must not be overwritten".encode() in done.stderr
        assert (tmp_path / name).read_text() == before


def test_cached_responses_cost_nothing(run: Run, server: CloudServer, tmp_path: Path) -> None:
    record(tmp_path, "one", HEARD)
    first = evaluate(run, server.env | {"CARTESIA_BASE_URL": server.base_url}, "one.wav")
    second = evaluate(run, server.env, "one.wav")
    assert len(server.requests) == 1
    assert [report["systems"][0]["from_cache"] for report in (first, second)] == [0, 1]
    assert second["systems"][0]["credits"] == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--max-wer", "0.25"], 0, ""),
        (["--max-wer", "0.24"], 1, "gate failed: batch ink-whisper: WER 0.2500 is above --max-wer 0.24"),
        (["--max-cer", "0.1"], 1, "gate failed: batch ink-whisper: CER 0.2353 is above --max-cer 0.1"),
        (["--baseline", "same.json", "--max-regression", "0"], 0, ""),
        (
            ["--baseline", "better.json", "--max-regression", "0.2"],
            1,
            "gate failed: batch ink-whisper: WER minus that of the baseline 0.2500 is above --max-regression 0.2",
        ),
        (["--baseline", "better.json", "--max-regression", "0.25"], 0, ""),
        (["--baseline", "other.json", "--max-regression", "0"], 3, "the baseline has none of the recordings"),
        (
            ["--compare", "batch,manual", "--baseline", "same.json", "--max-regression", "0"],
            3,
            "the baseline has no manual ink-2",
        ),
        (["--baseline", "talk.txt", "--max-regression", "0"], 3, "talk.txt is not the JSON of an evaluation"),
        (["--baseline", "same.json", "--max-regression", "0", "-l", "de"], 3, "normalized by english, now by basic"),
        (["--keyterm", ""], 2, "--keyterm must not be empty"),
        (["--model", ""], 2, "--model must not be empty"),
        (["--baseline", "same.json"], 2, "--baseline needs --max-regression"),
        (["--max-wer", "-1"], 2, "--max-wer"),
    ],
)
def test_gates_end_with_an_exit_code_and_a_line(
    run: Run, server: CloudServer, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    record(tmp_path, "talk", "The quick red fox")
    same = evaluate(run, server.env, "talk.wav")
    (tmp_path / "same.json").write_text(json.dumps(same))
    better = same | {"rows": [same["rows"][0] | {"substitutions": 0}]}
    (tmp_path / "better.json").write_text(json.dumps(better))
    other = same | {"rows": [same["rows"][0] | {"recording": "other.wav"}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = run("eval", "talk.wav", *options, env=server.env)
    assert done.returncode == code, done.stderr.decode()
    assert message in done.stderr.decode()


def test_gate_is_missed_if_a_model_says_words_in_silence(run: Run, server: CloudServer, tmp_path: Path) -> None:
    record(tmp_path, "silence", "")
    report = evaluate(run, server.env, "silence.wav", "--max-wer", "0.5", code=1)
    assert "wer" not in report
    assert report["gates"] == [
        {"gate": "max_wer", "system": "batch ink-whisper", "limit": 0.5, "passed": False}
    ]  # fmt: skip


def test_recording_without_text_is_an_error_that_says_where_to_put_it(
    run: Run, server: CloudServer, tmp_path: Path
) -> None:
    record(tmp_path, "one", None)
    alone = run("eval", "one.wav", env=server.env)
    assert alone.returncode == 3
    assert b"it is not known what is said in it" in alone.stderr
    assert b".txt" in alone.stderr
    assert not server.requests
    record(tmp_path, "two", HEARD)
    report = evaluate(run, server.env, "one.wav", "two.wav", code=1)
    assert (report["recordings"], report["wer"], len(report["unusable"])) == (1, 0.0, 1)


def test_recording_that_fails_is_reported_and_the_others_count(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "one", HEARD)
    record(tmp_path, "two-two", HEARD)
    with CloudServer(refuses(400)) as server:
        alone = run("eval", "one.wav", env=server.env)
    assert (alone.returncode, alone.stdout) == (5, b"")
    assert alone.stderr.count(b"error:") == 1
    with CloudServer(refuses(400), fine) as server:
        report = evaluate(run, server.env, "one.wav", "two-two.wav", code=1)
    assert [row.get("error", {}).get("type") for row in report["rows"]] == ["api", None]
    assert (report["failed"], report["words"]) == (1, 4)


def test_system_without_any_result_is_not_called_the_reference(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "one", HEARD)
    record(tmp_path, "two", HEARD, seconds=1.0)
    with CloudServer(refuses(400)) as broken:
        done = run("eval", "one.wav", "two.wav", "-o", "e.html", env=broken.env)
    assert done.returncode == 1
    assert b"2 failed" in done.stdout and b"reference" not in done.stdout
    assert "reference" not in (tmp_path / "e.html").read_text("utf-8")


def test_refused_key_ends_the_run_with_its_exit_code(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "one", HEARD)
    record(tmp_path, "two-two", HEARD)
    with CloudServer(refuses(401)) as server:
        done = run("eval", "one.wav", "two-two.wav", env=server.env)
    assert (done.returncode, len(server.requests)) == (4, 1)


def test_reports_are_written_in_each_format_and_nothing_in_them_is_markup(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "=1+1<b>", 'a <script>alert("x")</script> & b')
    heard = {"text": "</p><img src=x onerror=alert(1)> b and more", "duration": 0.5}
    with CloudServer(answers(heard)) as server:
        done = run("eval", "=1+1<b>.wav", "-o", "r.html", "-o", "r.csv", "-o", "r.json", "-o", "r.txt", env=server.env)
        brief = run("eval", "=1+1<b>.wav", "-o", "brief.html", "--worst", "0", env=server.env)
    assert (done.returncode, brief.returncode) == (0, 0), done.stderr.decode() + brief.stderr.decode()
    assert ["Worst recordings" in (tmp_path / name).read_text() for name in ("r.html", "brief.html")] == [True, False]
    assert "<p>1 recording, " in (tmp_path / "r.html").read_text()
    page = Page()
    page.feed((tmp_path / "r.html").read_text())
    page.close()
    assert not page.open
    assert {"svg", "rect", "del", "ins"} <= page.seen
    assert page.seen.isdisjoint({"script", "img", "b", "link"})
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [(row["recording"], row["hypothesis"]) for row in rows] == [("'=1+1<b>.wav", heard["text"])]
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["hypothesis"] == heard["text"]
    table = (tmp_path / "r.txt").read_text()
    assert table.splitlines()[1].startswith("batch ink-whisper")
    assert "{+" in table and "[-" in table
    again = run("eval", "=1+1<b>.wav", "-o", "r.html", env=server.env)
    assert (again.returncode, b"--force" in again.stderr) == (2, True)


class Page(HTMLParser):
    """The tags of a page. Raises AssertionError where one is closed that isn't open."""

    VOID = frozenset({"meta", "rect", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_auto_and_manual_are_compared_on_the_same_audio(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "talk", "Hello world. Good morning.")
    auto = turns([turn("start"), turn("end", "Hello word. Good morning.")])
    with RealtimeServer(auto, manual([["Hello world.", " Good mourning all."]])) as server:
        report = evaluate(
            run, cloud(server.base_url), "talk.wav", "--compare", "auto,manual", "--speed", "10", "--max-wer", "0.3",
            code=1,
        )  # fmt: skip
    assert [(one["system"], one["wer"]) for one in report["systems"]] == [("auto ink-2", 0.25), ("manual ink-2", 0.5)]
    assert report["wer"] == 0.25
    assert [gate["passed"] for gate in report["gates"]] == [True, False]
    assert [connection.path.rpartition("/stt")[2] for connection in server.records] == [
        "/turns/websocket", "/websocket",
    ]  # fmt: skip


def test_language_and_keyterms_go_to_models_that_take_them(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "talk", "Olá")
    with RealtimeServer(*[turns([turn("start"), turn("end", "Olá")])] * 2, manual([["Olá"]])) as server:
        for mode, models in (("auto", ["ink-2", "ink-preview"]), ("manual", ["ink-whisper"])):
            named = [word for model in models for word in ("-m", model)]
            options = ["--compare", mode, *named, "--speed", "10", "-l", "pt", "--keyterm", "Olá"]
            evaluate(run, cloud(server.base_url), "talk.wav", *options)
    names = ("language", "language_hint", "keyterm")
    assert [{name for name, _ in connection.query if name in names} for connection in server.records] == [
        {"keyterm", "language"}, {"keyterm", "language", "language_hint"}, {"language"},
    ]  # fmt: skip


def test_without_texts_systems_are_compared_with_the_first(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "talk", None)
    auto = turns([turn("start"), turn("end", "Hello world.")])
    with RealtimeServer(auto, manual([["Hello", " word."]])) as server:
        report = evaluate(run, cloud(server.base_url), "talk.wav", "--compare", "auto,manual", "--speed", "10")
    assert report["reference"] == "auto ink-2"
    assert ["wer" in system for system in report["systems"]] == [False, True]
    assert (report["wer"], report["rows"][1]["reference"]) == (0.5, "Hello world.")


def test_only_system_that_is_compared_with_the_first_has_that_of_a_baseline_whatever_its_model() -> None:
    def row(system: str, errors: int) -> dict[str, Any]:
        counts = {"substitutions": errors, "insertions": 0, "deletions": 0, "words": 4}
        return {"recording": "talk.wav", "system": system, **counts, "character_errors": 0, "characters": 9}

    systems = [{"system": "auto ink-2"}, {"system": "manual ink-2"}]
    report = {"reference": "auto ink-2", "systems": systems, "rows": [row("manual ink-2", 2)]}
    baseline = {"systems": [{"system": "manual ink-preview"}], "rows": [row("manual ink-preview", 1)]}
    check_baseline(baseline, ["manual ink-2"], ["talk.wav"])
    (gate,) = check_gates(report, GateOptions(max_regression=0.25), baseline)
    assert (gate["value"], gate["passed"]) == (0.25, True)


def test_latencies_are_measured_in_real_time_only(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "talk", "Hello")
    loud = speech.silence(1.2)
    loud[1600:9600] = 0.3 * (-1) ** (np.arange(8000) // 20)
    speech.write_wav(tmp_path / "talk.wav", loud)
    script = manual([["Hel", "lo"]])
    with RealtimeServer(script) as server:
        measured = [
            evaluate(
                run, cloud(server.base_url), "talk.wav", "--compare", "manual", "--speed", speed, "--max-wer", "9",
                *("-o", f"{speed}.html", "-o", f"{speed}.txt"),
            )["systems"][0]
            for speed in (1, 4)
        ]  # fmt: skip
    assert measured[0]["latency_ms"]["finalize_to_text"]["count"] >= 1
    assert "latency_ms" not in measured[1]
    pages, tables = ([(tmp_path / f"{speed}.{name}").read_text() for speed in (1, 4)] for name in ("html", "txt"))
    assert ["<h2>Latencies in milliseconds</h2>" in page for page in pages] == [True, False]
    assert ["latency, ms" in table for table in tables] == [True, False]
    assert all("<h2>Gates</h2>" in page and "<td>max_wer</td>" in page for page in pages)


def test_model_is_only_tried_where_it_is_known_to_work(run: Run, server: CloudServer, tmp_path: Path) -> None:
    record(tmp_path, "talk", HEARD)
    report = evaluate(run, server.env, "talk.wav", "-m", "ink-whisper", "-m", "ink-whisper-2025-06-04")
    assert [one["system"] for one in report["systems"]] == ["batch ink-whisper", "batch ink-whisper-2025-06-04"]
    forced = evaluate(run, server.env, "talk.wav", "-m", "ink-2")
    assert [one["system"] for one in forced["systems"]] == ["batch ink-2"]
    compared = evaluate(run, server.env, "talk.wav", "--compare", "batch,auto,batch", "-m", "ink-whisper")
    assert [one["system"] for one in compared["systems"]] == ["batch ink-whisper"]
    refused = run("eval", "talk.wav", "--compare", "batch,live", env=server.env)
    assert (refused.returncode, b"'live' is not a mode" in refused.stderr) == (2, True)


def test_interrupted_run_reports_what_was_evaluated(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two-two"):
        record(tmp_path, name, HEARD)
    with CloudServer(fine, "never_answers") as server:
        program = start_program(
            ["eval", "one.wav", "two-two.wav", "-f", "json"], env=environment | server.env, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + SOON
        while len(server.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert program.stderr is not None
        program.send_signal(signal.SIGINT)
        told = ""
        while (line := program.stderr.readline()) and "stopped" not in told:
            told += line
            if "Ctrl-C again" in line:  # the second recording is sent
                program.send_signal(signal.SIGINT)
        stdout, _ = program.communicate(timeout=SOON)
    assert program.returncode == 130, told
    report = json.loads(stdout)
    check("eval", report)
    assert (report["complete"], report["wer"], len(report["rows"])) == (False, 0.0, 1)
    assert "1 of 2 transcripts are in the report" in told


def test_each_of_several_local_models_is_a_system(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "talk", HEARD)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    done = run("eval", "talk.wav", "--local-model", "one,two")
    assert b"batch Whisper one, batch Whisper two" in done.stderr
    assert done.returncode == 1  # neither folder holds a model


def test_systems_on_this_machine_are_called_by_the_models_that_do_the_work(run: Run, tmp_path: Path) -> None:
    record(tmp_path, "talk", HEARD)
    (tmp_path / "one").mkdir()
    models = [option for model in ("ink-2", "ink-preview") for option in ("-m", model)]
    done = run("eval", "talk.wav", "--local-model", "one", "--compare", "auto,manual", *models)
    assert b"audio: auto Whisper one, manual Whisper one;" in done.stderr


@pytest.mark.engine
def test_engine_is_evaluated_through_both_endpoints(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    text = "Please open the window. It is warm in here."
    speech.write_wav(tmp_path / "talk.wav", speech.say(text))
    (tmp_path / "talk.txt").write_text(text)
    report = evaluate(run, whisper, "talk.wav", "--compare", "batch,auto,manual", "--speed", "4", "--max-wer", "0.2")
    normalize = EnglishTextNormalizer()
    assert [row["wer"] for row in report["rows"]] == [
        pytest.approx(jiwer.wer(normalize(text), normalize(row["hypothesis"])), abs=1e-6) for row in report["rows"]
    ]
    assert {system["recordings"] for system in report["systems"]} == {1}
