"""Tests of `stream-file` against an independently written realtime server, and with the offline engine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import wave
from functools import partial
from pathlib import Path

import jiwer
import numpy as np
import pytest

from cartesia_cli.protocol.realtime import PARAMETER_LIMITS
from tests import speech
from tests.conftest import Run, require_program, side_by_side
from tests.fault_server import FaultServer
from tests.fork_server import PIPE, Process, start_program
from tests.realtime_server import (
    EVENTS,
    MANUAL,
    REQUEST_ID,
    TURNS,
    UTTERANCES,
    RealtimeServer,
    Script,
    ServerConnection,
    among_strangers,
    closes,
    connected,
    done,
    ends_unfinished,
    error,
    fails_after_close,
    flush_done,
    in_pieces,
    manual,
    refuses,
    transcript,
    turns,
    whispered,
)
from tests.word_errors import MAX_LIVE_WER

pytestmark = pytest.mark.waits

SENTENCES = ("The ferry leaves at seven in the morning.", "A small dog slept under the table.")
FAST = ("--speed", "20")
KEY = {"CARTESIA_API_KEY": "sk_car_test"}


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sentences and the pauses between them."""
    pause = speech.silence(1.2)
    samples = [part for sentence in SENTENCES for part in (speech.say(sentence), pause)]
    return speech.write_wav(tmp_path_factory.mktemp("talk") / "talk.wav", np.concatenate([pause, *samples]))


def lines(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.decode().splitlines()]


@pytest.mark.parametrize("voice", [ServerConnection.say, in_pieces, among_strangers, whispered])
def test_manual_text_is_written_verbatim(run: Run, talk: Path, voice: object) -> None:
    with RealtimeServer(manual(voice=voice)) as server:  # type: ignore[arg-type]
        ended = run(
            "stream-file", talk, "--mode", "manual", "-f", "json", "--base-url", server.base_url, *FAST, env=KEY
        )
        call = server.records[0]
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["text"] == "".join("".join(deltas) for deltas in UTTERANCES)
    assert "".join(segment["text"] for segment in document["segments"]) == document["text"]
    assert call.path == MANUAL
    assert call.query == [("model", "ink-2"), ("encoding", "pcm_s16le"), ("sample_rate", "16000")]
    assert call.header("authorization") == "Bearer sk_car_test"
    assert call.commands[-2:] == ["finalize", "close"]


@pytest.mark.parametrize("voice", [ServerConnection.say, in_pieces, among_strangers])
def test_auto_text_is_written_verbatim(run: Run, talk: Path, voice: object) -> None:
    with RealtimeServer(turns(voice=voice)) as server:  # type: ignore[arg-type]
        ended = run("stream-file", talk, "-f", "json", "--base-url", server.base_url, *FAST, env=KEY)
        call = server.records[0]
    assert ended.returncode == 0, ended.stderr
    expected = "".join(str(event["transcript"]) for event in EVENTS if event["type"] == "turn.end")
    assert json.loads(ended.stdout)["text"] == expected
    assert call.path == TURNS
    assert call.commands == ["close"]


def test_recording_is_sent_once_in_equal_frames(run: Run, talk: Path) -> None:
    with RealtimeServer(manual()) as server:
        run("stream-file", talk, "--finalize", "none", "--base-url", server.base_url, *FAST, env=KEY)
        frames = server.records[0].payloads(2)
    with wave.open(str(talk)) as file:
        assert b"".join(frames) == file.readframes(file.getnframes())
    assert {len(frame) for frame in frames[:-1]} == {3200}


def test_options_are_sent_in_the_query(run: Run, talk: Path) -> None:
    with RealtimeServer(turns(), manual()) as server:
        run("stream-file", talk, "--keyterm", "Ink 2", "--keyterm", "Cartesia", "--turn-end-threshold", "0.2",
            "--base-url", server.base_url, *FAST, env=KEY)  # fmt: skip
        run("stream-file", talk, "-m", "ink-whisper", "-l", "de", "--min-volume", "0.1", "--max-silence-secs", "1",
            "--base-url", server.base_url, *FAST, env=KEY)  # fmt: skip
        one, other = server.records
    assert one.query_string.endswith("&turn_end_threshold=0.2&keyterm=Ink%202&keyterm=Cartesia")
    assert other.path == MANUAL
    assert dict(other.query) | {"language": "de", "min_volume": "0.1", "max_silence_duration_secs": "1.0"} == dict(
        other.query
    )


def test_text_has_a_line_per_segment_and_ndjson_a_line_per_update(run: Run, talk: Path) -> None:
    with RealtimeServer(manual(), turns()) as server:
        ended = run("stream-file", talk, "--mode", "manual", "--base-url", server.base_url, *FAST, env=KEY)
        updates = lines(
            run("stream-file", talk, "-f", "ndjson", "--stats", "--base-url", server.base_url, *FAST, env=KEY).stdout
        )
    assert ended.stdout.decode().splitlines() == ["".join(deltas).strip() for deltas in UTTERANCES if "".join(deltas)]
    assert {str(update["type"]) for update in updates} == {"partial", "segment", "notice", "end"}
    assert {update["event"] for update in updates if update["type"] == "notice"} >= {"turn.eager_end", "turn.resume"}
    end = updates[-1]
    assert (end["type"], end["complete"]) == ("end", True)
    assert end["text"] == "".join(str(update["text"]) for update in updates if update["type"] == "segment")
    assert "stats" in end


def test_failed_sessions_have_their_exit_code_one_error_and_one_hint(run: Run, talk: Path) -> None:
    """Without reconnecting, which test_reconnect.py tests."""
    failures = [
        (refuses(401), 4), (refuses(402), 5), (refuses(403), 4), (refuses(404), 5), (closes(1000), 6),
        (closes(1001), 6), (closes(None), 6), (closes(1008, "Invalid turn thresholds"), 5), (closes(1011), 6),
        (closes(1013), 6),
        (ends_unfinished(1000), 6), (ends_unfinished(1001), 6), (fails_after_close(500, heard=True), 5),
    ]  # fmt: skip

    def end(failure: tuple[Script, int]) -> tuple[int, str]:
        with RealtimeServer(failure[0]) as server:
            ended = run("stream-file", talk, "--mode", "manual", "-q", "--reconnect", "0", "--base-url",
                        server.base_url, *FAST, env=KEY)  # fmt: skip
        return ended.returncode, ended.stderr.decode()

    for number, (code, err) in enumerate(side_by_side(end, failures)):
        assert code == failures[number][1], (number, err)
        assert err.startswith("error: "), number
        assert err.count("\n") == 2, number
        assert "hint: " in err, number
        assert "Traceback" not in err, number
        assert "sk_car_test" not in err, number


def test_text_heard_before_a_lost_connection_is_on_stdout(run: Run, talk: Path) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_audio(1.0)
        for text in ("Kept", " for", " good."):
            connection.say(transcript(text))
        connection.say(flush_done())
        connection.say(transcript(" And this"))
        connection.pause(0.2)
        connection.reset()

    with RealtimeServer(script) as server:
        ended = run(
            "stream-file",
            talk,
            "--mode",
            "manual",
            "--base-url",
            server.base_url,
            "--speed",
            "4",
            "--reconnect",
            "0",
            env=KEY,
        )
    assert ended.returncode == 6
    assert ended.stdout == b"Kept for good.\nAnd this\n"


def test_error_event_is_reported_with_its_request_id(run: Run, talk: Path) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.2)
        connection.say(error(429, title="Too many", message="Slow down"))
        connection.close(1008)

    with RealtimeServer(script) as server:
        ended = run("stream-file", talk, "--json", "--base-url", server.base_url, *FAST, env=KEY)
    assert ended.returncode == 5
    reported = json.loads(ended.stderr.decode().splitlines()[-1])["error"]
    assert reported["status"] == 429
    assert "Slow down" in reported["message"]
    assert reported["request_id"]


def test_silent_recording_is_reported_and_exits_0(run: Run, tmp_path: Path) -> None:
    quiet = speech.write_wav(tmp_path / "quiet.wav", speech.silence(1.0))
    with RealtimeServer(fails_after_close(500)) as server:
        ended = run("stream-file", quiet, "--mode", "manual", "--base-url", server.base_url, *FAST, env=KEY)
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert b"no speech found" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "both"], "Invalid value for '--mode': 'both' is not one of"),
        (["--mode", "auto", "--finalize", "vad"], "--mode and --finalize exclude each other"),
        (["--finalize", "key"], "Invalid value for '--finalize': 'key' is not one of"),
        (["--mode", "manual", "--turn-end-threshold", "0.2"], "--mode and --turn-end-threshold exclude each other"),
        (
            ["--turn-start-threshold", "0.5", "--turn-end-threshold", "0.4"],
            "--turn-start-threshold (0.5) must be above --turn-eager-end-threshold (0.6, its default)",
        ),
        (
            ["--turn-eager-end-threshold", "0.3"],
            "--turn-eager-end-threshold (0.3) must be above --turn-end-threshold (0.3, its default)",
        ),
        (
            ["--turn-eager-end-threshold", "0.4", "--turn-end-threshold", "0.4"],
            "--turn-eager-end-threshold (0.4) must be above --turn-end-threshold (0.4)",
        ),
        (["--keyterm", "x" * 1201], "keyterms"),
        (["--keyterm", ""], "--keyterm must not be empty"),
        (["-m", "ink-whisper", "-l", " "], "--language must not be empty"),
        (["--turn-start-threshold", "1"], "1.0 is not in the range 0.5<=x<=0.9"),
        (["--turn-eager-end-threshold", "0.2"], "0.2 is not in the range 0.3<=x<=0.8"),
        (["--turn-end-threshold", "0.6"], "0.6 is not in the range 0.05<=x<=0.5"),
        (["--turn-end-timeout-ms", "600"], "600 is not in the range 640<=x<=11200"),
        (["--save-audio", "no/such/s.wav"], "no/such is not a folder"),
        (["--raw-events", "no/such/s.ndjson"], "no/such is not a folder"),
        (["--save-audio", "."], ". is a folder"),
        (["-f", "wav"], "unknown format 'wav'"),
        (["--encoding", "pcm_s16le"], "--encoding and --sample-rate go together"),
        (["--save-audio", "existing.wav"], "existing.wav exists"),
        (["--raw-events", "existing.wav"], "existing.wav: .wav is the suffix of recordings"),
        (["-o", "existing.wav"], "no transcript format has the suffix .wav"),
        (["-f", "text", "-o", "existing.wav"], "existing.wav: .wav is the suffix of recordings"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_opened(
    run: Run, talk: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "existing.wav").write_bytes(b"existing")
    ended = run("stream-file", talk, *arguments, "--base-url", "http://127.0.0.1:9", env=KEY)
    assert ended.returncode == 2
    assert message in ended.stderr.decode()
    assert (tmp_path / "existing.wav").read_bytes() == b"existing"


@pytest.fixture
def names(talk: Path, tmp_path: Path) -> bytes:
    """Write a recording under several names into the working directory. Returns its bytes."""
    data = talk.read_bytes()
    (tmp_path / "talk.wav").write_bytes(data)
    (tmp_path / "symbolic.wav").symlink_to("talk.wav")
    os.link(tmp_path / "talk.wav", tmp_path / "hard.wav")
    (tmp_path / "symbolic.txt").symlink_to("talk.wav")
    os.link(tmp_path / "talk.wav", tmp_path / "hard.txt")
    return data


@pytest.mark.parametrize(
    ("option", "name"),
    [
        *((option, name) for option in ("--save-audio", "--raw-events")
          for name in ("talk.wav", "./talk.wav", "symbolic.wav", "hard.wav")),
        ("-o", "symbolic.txt"),
    ],
)  # fmt: skip
def test_replayed_recording_is_never_overwritten(
    run: Run, tmp_path: Path, names: bytes, option: str, name: str
) -> None:
    for source in ("talk.wav", "symbolic.wav"):
        ended = run("stream-file", source, option, name, "--force", "--base-url", "http://127.0.0.1:9", env=KEY)
        assert ended.returncode == 2, ended.stderr
        assert f"{Path(name)} is an input and must not be overwritten" in ended.stderr.decode()
    assert (tmp_path / "talk.wav").read_bytes() == names


def test_transcript_never_overwrites_the_recording_through_a_hard_link(run: Run, tmp_path: Path, names: bytes) -> None:
    ended = run("stream-file", "talk.wav", "-o", "hard.txt", "--force", "--base-url", "http://127.0.0.1:9", env=KEY)
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (
        2, b"error: hard.txt is a recording and must not be overwritten",
    )  # fmt: skip
    assert (tmp_path / "talk.wav").read_bytes() == names


def test_recording_on_stdin_is_never_overwritten(environment: dict[str, str], tmp_path: Path, names: bytes) -> None:
    program = shlex.join([sys.executable, "-m", "cartesia_cli", "stream-file", "-", "--base-url", "http://127.0.0.1:9"])
    command = f"{program} --save-audio talk.wav --force < talk.wav"
    ended = subprocess.run(["bash", "-c", command], env=environment | KEY, cwd=tmp_path, capture_output=True)
    assert (ended.returncode, (tmp_path / "talk.wav").read_bytes()) == (2, names), ended.stderr


@pytest.mark.parametrize(
    "outputs",
    [
        ["-o", "x.txt", "--save-audio", "x.txt"],
        ["-o", "x.txt", "--raw-events", "./x.txt"],
        ["--save-audio", "x.txt", "--raw-events", "x.txt"],
        ["-f", "text,srt", "--output-dir", ".", "--raw-events", "talk.srt"],
    ],
)
def test_two_outputs_to_the_same_file_are_refused(run: Run, tmp_path: Path, names: bytes, outputs: list[str]) -> None:
    before = sorted(tmp_path.iterdir())
    ended = run("stream-file", "talk.wav", *outputs, "--force", "--base-url", "http://127.0.0.1:9", env=KEY)
    assert ended.returncode == 2, ended.stderr
    assert "would be written twice" in ended.stderr.decode()
    assert sorted(tmp_path.iterdir()) == before


def test_dev_null_may_be_named_twice(run: Run, talk: Path) -> None:
    with RealtimeServer(manual()) as server:
        ended = run("stream-file", talk, "--mode", "manual", "--save-audio", "/dev/null", "--raw-events", "/dev/null",
                    "--force", "--base-url", server.base_url, *FAST, env=KEY)  # fmt: skip
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("form", ["srt", "ndjson"])
@pytest.mark.parametrize("script", [refuses(401), None])
def test_session_that_never_started_writes_no_result(
    run: Run, talk: Path, tmp_path: Path, script: Script | None, form: str
) -> None:
    with RealtimeServer(*([script] if script else [])) as server:
        address = server.base_url if script else "http://127.0.0.1:9"
        arguments = ("stream-file", talk, "-f", form, "--base-url", address, *FAST)
        ended = run(*arguments, "-o", "out.txt", env=KEY)
    assert ended.returncode == (4 if script else 6)
    assert not (tmp_path / "out.txt").exists()
    assert b"wrote" not in ended.stderr
    assert b"transcribe" not in ended.stderr  # no audio was sent


def test_session_that_never_started_writes_an_end_line_only_in_ndjson(run: Run, talk: Path) -> None:
    for form in ("json", "vtt", "table", "ndjson"):
        ended = run("stream-file", talk, "-f", form, "--base-url", "http://127.0.0.1:9", *FAST, env=KEY)
        assert ended.returncode == 6
        if form == "ndjson":
            end = lines(ended.stdout)[-1]
            assert (end["type"], end["complete"]) == ("end", False)
        else:
            assert ended.stdout == b""


def test_hint_of_a_lost_session_is_a_transcribe_command_with_the_same_options(
    run: Run, talk: Path, tmp_path: Path
) -> None:
    (tmp_path / "a talk.wav").write_bytes(talk.read_bytes())
    with RealtimeServer(closes(1011, seconds=0.5)) as server:
        ended = run("stream-file", "a talk.wav", "-m", "ink-whisper", "-l", "de", "-w", "--from", "1", "-f", "csv",
                    "-o", "said.csv", "--reconnect", "0", "--base-url", server.base_url, env=KEY)  # fmt: skip
    assert ended.returncode == 6
    hint = ended.stderr.decode().splitlines()[-1]
    assert hint.startswith("hint: check the network")
    command = shlex.split(hint.partition("at once: ")[2])
    assert command == [
        "cartesia-cli", "transcribe", "a talk.wav", "--language", "de", "--format", "csv", "--output", "said.csv",
        "--force", "--from", "1.0", "--base-url", server.base_url,
    ]  # fmt: skip
    with FaultServer("fine") as batch:
        again = run(*[batch.base_url if word == server.base_url else word for word in command[1:]], env=KEY)
    assert again.returncode == 0, again.stderr


def test_lost_session_with_json_writes_one_error_object_and_a_notice(run: Run, talk: Path) -> None:
    with RealtimeServer(closes(1011, seconds=0.5)) as server:
        ended = run("stream-file", talk, "--mode", "manual", "--json", "--reconnect", "0", "--base-url",
                    server.base_url, env=KEY)  # fmt: skip
    assert ended.returncode == 6
    assert len(ended.stderr.splitlines()) == 1
    error = json.loads(ended.stderr)["error"]
    assert "cartesia-cli transcribe" in error["hint"]
    (notice,) = json.loads(ended.stdout)["notices"]
    assert (notice["event"], notice["message"]) == ("connection_lost", error["message"])
    assert notice["at"] > 0.2


def test_hint_of_a_lost_session_with_channel_suggests_no_command(run: Run, talk: Path) -> None:
    with RealtimeServer(closes(1011)) as server:
        ended = run("stream-file", talk, "--channel", "1", "--reconnect", "0", "--base-url", server.base_url, env=KEY)
    assert ended.returncode == 6
    assert b"transcribe" not in ended.stderr  # which has no --channel


def test_missing_word_times_are_warned_about_once(run: Run, talk: Path) -> None:
    for form in ("text", "json"):
        with RealtimeServer(manual()) as server:
            ended = run("stream-file", talk, "--mode", "manual", "-w", "-f", form, "--base-url", server.base_url,
                        *FAST, env=KEY)  # fmt: skip
        assert ended.stderr.decode().count("warning: the server sent no word times") == 1


def test_vad_options_in_auto_mode_are_warned_about(run: Run, talk: Path) -> None:
    for option in (["--vad-silence-ms", "900"], ["--vad-threshold", "-40"]):
        with RealtimeServer(turns(), manual()) as server:
            arguments = ("stream-file", talk, *option, "--base-url", server.base_url, *FAST)
            auto, manual_mode = (
                run(*arguments, "--mode", mode, env=KEY).stderr.decode() for mode in ("auto", "manual")
            )
        assert "only affect segment times" in auto
        assert "only affect segment times" not in manual_mode


def test_help_shows_the_documented_range_of_each_option(run: Run) -> None:
    shown = " ".join(run("stream-file", "--help", env={"COLUMNS": "200"}).stdout.decode().split())
    for option, (least, most) in {
        "--min-volume": PARAMETER_LIMITS["min_volume"],
        **{f"--{name.replace('_', '-')}": span for name, span in PARAMETER_LIMITS.items() if name.startswith("turn_")},
    }.items():
        help_entry = shown.partition(f"{option} ")[2].partition(" --")[0]
        assert f"[{float(least):g}<=x<={float(most):g}]" in help_entry.replace(".0<", "<").replace(".0]", "]"), (
            help_entry
        )
        assert ".." not in help_entry
    assert "ink-whisper" in shown.partition("--language")[2].partition(" --")[0]


@pytest.mark.parametrize("name", ["missing.wav", "empty.wav", "text.wav"])
def test_unusable_recording_is_refused_before_connecting(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("Dear diary")
    ended = run("stream-file", name, "--base-url", "http://127.0.0.1:9", env=KEY)
    assert ended.returncode == 3
    assert name in ended.stderr.decode()


def test_save_audio_and_raw_events_record_the_session_without_the_key(run: Run, talk: Path, tmp_path: Path) -> None:
    with RealtimeServer(manual()) as server:
        ended = run("stream-file", talk, "--mode", "manual", "--save-audio", "saved.wav", "--raw-events", "raw.ndjson",
                    "-o", "out.srt", "--base-url", server.base_url, *FAST, env=KEY)  # fmt: skip
        sent = b"".join(server.records[0].payloads(2))
    assert ended.returncode == 0, ended.stderr
    with wave.open(str(tmp_path / "saved.wav")) as file:
        assert file.readframes(file.getnframes()) == sent
    recorded = (tmp_path / "raw.ndjson").read_text()
    assert "sk_car_test" not in recorded
    entries = [json.loads(line) for line in recorded.splitlines()]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert {entry["event"] for entry in entries} == {"open", "sent", "received"}
    for name in ("saved.wav", "raw.ndjson"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert " --> " in (tmp_path / "out.srt").read_text()


@pytest.mark.skipif(os.name != "posix", reason="no limit for the size of files")
def test_full_disk_ends_the_saved_audio_but_not_the_session(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    with RealtimeServer(manual()) as server:
        program = shlex.join(
            [sys.executable, "-m", "cartesia_cli", "stream-file", str(talk), "--mode", "manual", *FAST]
        )
        command = f"ulimit -f 64; exec {program} --save-audio saved.wav -f ndjson --base-url {server.base_url}"
        ended = subprocess.run(["bash", "-c", command], env=environment | KEY, cwd=tmp_path, capture_output=True)
        sent = b"".join(server.records[0].payloads(2))
    assert ended.returncode == 1
    assert ended.stderr.count(b"saved.wav: can't be written: File too large") == 1
    with wave.open(str(tmp_path / "saved.wav")) as file:
        saved = file.readframes(file.getnframes())
    assert 0 < len(saved) < len(sent) and sent.startswith(saved)
    with wave.open(str(talk)) as file:
        assert len(sent) == 2 * file.getnframes()
    end = lines(ended.stdout)[-1]
    assert end["complete"] and end["text"]


@pytest.mark.parametrize(
    "outputs", [["-o", "out.srt"], ["-o", "out.txt", "--stats-svg", "chart.svg"], ["--save-audio", "saved.wav"]]
)
def test_files_that_appear_during_a_session_are_kept(outputs: list[str], run: Run, talk: Path, tmp_path: Path) -> None:
    there = [tmp_path / name for name in outputs[1::2]]

    def script(connection: ServerConnection) -> None:
        for path in there:
            path.write_bytes(b"RIFF, theirs")
        manual()(connection)

    command = ("stream-file", talk, "--mode", "manual", *outputs, *FAST)
    with RealtimeServer(script, manual()) as server:
        ended = run(*command, "--base-url", server.base_url, env=KEY)
        assert {path.read_bytes() for path in there} == {b"RIFF, theirs"}
        for path in there:
            path.unlink()
        server.faults.clear()
        assert run(*command, "--base-url", server.base_url, env=KEY).returncode == 0
    assert ended.returncode == 1
    if "-o" in outputs:
        assert b"exists by now" in ended.stderr and ended.stdout
        assert (b" --> " in ended.stdout) == ("out.srt" in outputs)
        assert b"<svg" not in ended.stdout  # what reads stdout expects a transcript
        assert (b"finalize to flush_done" in ended.stderr) == ("chart.svg" in outputs)  # the figures are not lost
    else:
        assert b"saved.wav: can't be written: File exists" in ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_results_that_cannot_be_written_are_told_apart_on_stdout(run: Run, talk: Path, tmp_path: Path) -> None:
    names = ("talk.txt", "talk.srt", "talk.json")
    for name in names:
        (tmp_path / name).symlink_to("/dev/full")
    with RealtimeServer(manual()) as server:
        ended = run("stream-file", talk, "--mode", "manual", "--output-dir", ".", "-f", "text,srt,json", "--force",
                    "--base-url", server.base_url, *FAST, env=KEY)  # fmt: skip
    assert ended.returncode == 1
    printed = ended.stdout.decode()
    assert printed.startswith("==> talk.txt <==\n")
    assert printed.index("\n==> talk.srt <==\n1\n00:") < printed.index('\n{\n  "source"')
    failures = "; ".join(f"{name}: can't be written: No space left on device" for name in names)
    assert json.loads(ended.stderr.splitlines()[-1])["error"]["message"] == failures


def test_headerless_and_wav_audio_on_stdin_are_sent_unchanged(run: Run, talk: Path) -> None:
    with wave.open(str(talk)) as file:
        data = file.readframes(file.getnframes())
    with RealtimeServer(manual(), manual()) as server:
        run("stream-file", "-", "--encoding", "pcm_s16le", "--sample-rate", "16000", "--finalize", "none",
            "--base-url", server.base_url, *FAST, env=KEY, stdin=data)  # fmt: skip
        run("stream-file", "-", "--finalize", "none", "--base-url", server.base_url, *FAST, env=KEY,
            stdin=talk.read_bytes())  # fmt: skip
        assert [b"".join(call.payloads(2)) for call in server.records] == [data, data]


def start(environment: dict[str, str], *arguments: object) -> Process:
    command = ["stream-file", *map(str, arguments)]
    return start_program(command, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)


def answers_once_before_close(connection: ServerConnection) -> None:
    connection.admit()
    connection.until_audio(0.3)
    connection.say(transcript("Heard so far."))
    connection.say(flush_done())
    if connection.until_command("finalize", "close"):
        connection.until_command("close")
        connection.say(transcript(" The rest."))
        connection.say(done())
        connection.close()


def test_live_cue_that_waited_is_written_when_it_is_due(environment: dict[str, str], talk: Path) -> None:
    seen, before_the_end = threading.Event(), []

    def script(connection: ServerConnection) -> None:
        connection.admit(first=connected())
        for at, text in ((0.3, "Yes."), (0.6, " No.")):
            connection.until_audio(at)
            connection.say({"type": "turn.start", "request_id": REQUEST_ID})
            connection.say({"type": "turn.end", "transcript": text, "request_id": REQUEST_ID})
        connection.until_audio(1.5)
        before_the_end.append(seen.wait(10))
        connection.until_command("close")
        connection.close()

    with RealtimeServer(script) as server:
        process = start(environment | KEY, talk, "--mode", "auto", "-f", "srt", "--base-url", server.base_url)
        assert process.stdout is not None
        assert b"No.\n" in iter(process.stdout.readline, b"")
        seen.set()
        process.communicate(timeout=30)
    assert (process.returncode, before_the_end) == (0, [True])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_ctrl_c_or_sigterm_finishes_the_session(
    environment: dict[str, str], talk: Path, number: signal.Signals
) -> None:
    with RealtimeServer(answers_once_before_close) as server:
        program = start(
            environment | KEY, talk, "--mode", "manual", "--finalize", "none", "--base-url", server.base_url
        )
        assert program.stdout is not None
        first = program.stdout.readline()
        program.send_signal(number)
        rest, err = program.communicate(timeout=60)
        call = server.records[0]
    assert (first, rest) == (b"Heard so far.\n", b"The rest.\n")
    assert program.returncode == 0, err
    assert call.commands == ["finalize", "close"]
    with wave.open(str(talk)) as file:
        assert call.seconds < file.getnframes() / file.getframerate()  # only a part was sent


def test_second_ctrl_c_ends_at_once(environment: dict[str, str], talk: Path) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.3)
        connection.say(transcript("Heard so far."))
        connection.say(flush_done())
        connection.until_command("close")
        connection.hold()

    with RealtimeServer(script) as server:
        program = start(
            environment | KEY, talk, "--mode", "manual", "--finalize", "none", "--base-url", server.base_url
        )
        assert program.stdout is not None
        assert program.stdout.readline() == b"Heard so far.\n"
        program.send_signal(signal.SIGINT)
        server.wait(lambda server: "close" in server.records[0].commands)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert b"Traceback" not in err


def test_closed_stdout_ends_the_run_quietly(environment: dict[str, str], talk: Path) -> None:
    with RealtimeServer(manual()) as server:
        program = start(environment | KEY, talk, "--mode", "manual", "-f", "ndjson", "--base-url", server.base_url)
        assert program.stdout is not None
        program.stdout.close()
        assert program.stderr is not None
        err = program.stderr.read()
        assert program.wait(timeout=60) == 0
    assert b"error" not in err


def plain_words(text: str) -> str:
    return "".join(c for c in text.lower().replace("-", " ") if c.isalnum() or c == " ")


@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_without_a_key_speech_is_transcribed_on_this_machine(run: Run, talk: Path, mode: str) -> None:
    ended = run("stream-file", talk, "--mode", mode, "-f", "ndjson", "--stats", "--speed", "2")
    assert ended.returncode == 0, ended.stderr
    assert b"no CARTESIA_API_KEY: transcribing on this machine" in ended.stderr
    updates = lines(ended.stdout)
    text = str(updates[-1]["text"])
    assert jiwer.wer(plain_words(" ".join(SENTENCES)), plain_words(text)) <= MAX_LIVE_WER
    assert [update["type"] for update in updates].count("segment") == 2
    assert sum(update["type"] == "partial" for update in updates) >= 2


@pytest.mark.engine
def test_ink_whisper_has_word_times_on_this_machine(run: Run, talk: Path) -> None:
    ended = run("stream-file", talk, "-m", "ink-whisper", "--json", "-w", *FAST)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert [segment["timing"] for segment in document["segments"]] == ["server"] * len(document["segments"])
    starts = [word["start"] for word in document["words"]]
    assert starts == sorted(starts)
    assert 0.8 < starts[0] < 2.0
    assert os.path.basename(document["source"]) == "talk.wav"


def test_table_in_a_file_ignores_the_terminal_width(run: Run, talk: Path, tmp_path: Path) -> None:
    with RealtimeServer(manual()) as server:
        arguments = ("--mode", "manual", "-f", "table", "-o", tmp_path / "said.txt", "--base-url", server.base_url)
        ended = run("stream-file", talk, *arguments, *FAST, env=KEY | {"COLUMNS": "20"})
    assert ended.returncode == 0, ended.stderr
    assert "Ink sends deltas and may break words." in (tmp_path / "said.txt").read_text()


RAW = ("-", "--encoding", "pcm_s16le", "--sample-rate", "16000")


@pytest.mark.parametrize("content", ["garbage", "nothing", "text", "header", "picture", "channel", "no samples"])
def test_stdin_that_is_not_audio_is_refused_before_connecting(
    run: Run, talk: Path, tmp_path: Path, content: str
) -> None:
    data, arguments = {
        "garbage": (np.random.default_rng(1).bytes(9000), ("-",)),
        "nothing": (b"", ("-",)),
        "text": (b"Dear diary\n", ("-",)),
        "header": (talk.read_bytes()[:44], ("-",)),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), ("-",)),
        "channel": (talk.read_bytes(), ("-", "--channel", "3")),
        "no samples": (b"", RAW),
    }[content]
    ended = run("stream-file", *arguments, "--raw-events", "raw.ndjson", "--base-url", "http://127.0.0.1:9", env=KEY,
                stdin=data)  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert b"can't be reached" not in ended.stderr
    assert not (tmp_path / "raw.ndjson").exists()


def piped(environment: dict[str, str], server: RealtimeServer, *arguments: object) -> Process:
    """Start the program in manual mode, with pipes as its standard streams."""
    return start(environment | KEY, *arguments, "--finalize", "none", "--base-url", server.base_url)


def test_no_connection_is_opened_before_stdin_can_be_decoded(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    subprocess.run([require_program("ffmpeg"), "-v", "error", "-i", talk, tmp_path / "talk.mp3"], check=True)
    data = (tmp_path / "talk.mp3").read_bytes()
    with RealtimeServer(manual()) as server:
        program = piped(environment, server, "-", *FAST)
        assert program.stdin is not None
        program.stdin.write(data[: len(data) // 2])
        program.stdin.flush()
        time.sleep(2)  # half an MP3 can't be decoded, and servers close connections without audio
        assert not server.records
        _, err = program.communicate(data[len(data) // 2 :], timeout=60)
        assert program.returncode == 0, err
        assert server.records[0].seconds > 4


def has_received(seconds: float, server: RealtimeServer) -> bool:
    return bool(server.records) and server.records[0].seconds > seconds


def test_pause_in_a_pipe_is_filled_with_silence_and_reported_once(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    sound = np.arange(1, 16001, dtype="<i2").tobytes()  # without zeros
    parts = sound[:17000], sound[17000:25000], sound[25000:]
    with RealtimeServer(manual()) as server:
        program = piped(environment, server, *RAW, "--save-audio", tmp_path / "saved.wav")
        assert program.stdin is not None
        for part in parts[:2]:
            program.stdin.write(part)
            program.stdin.flush()
            seconds = server.records[0].seconds if server.records else 0.0
            server.wait(partial(has_received, 1.0 + seconds))  # longer than what was written
        _, err = program.communicate(parts[2], timeout=60)
        sent = b"".join(server.records[0].payloads(2))
    assert program.returncode == 0, err
    assert err.count(b"no data from stdin: sending silence") == 1
    assert b"held up" not in err
    rest = sent
    for part in parts:
        silence, found, rest = rest.partition(part)
        assert found
        assert not any(silence)
    assert not rest
    with wave.open(str(tmp_path / "saved.wav")) as file:
        assert file.readframes(file.getnframes()) == sent


def test_duration_limit_counts_inserted_silence_and_is_exact(environment: dict[str, str], talk: Path) -> None:
    with RealtimeServer(manual()) as server:
        program = piped(environment, server, *RAW, "--duration", "0.95")
        assert program.stdin is not None
        program.stdin.write(talk.read_bytes()[-8000:])
        program.stdin.flush()
        assert program.wait(timeout=60) == 0  # while the pipe is open
        assert len(b"".join(server.records[0].payloads(2))) == round(0.95 * 32000)
        program.communicate()


def test_headerless_stdin_warns_of_partial_samples_and_unexpected_headers(run: Run, talk: Path) -> None:
    with RealtimeServer(manual(), manual(), manual()) as server:
        arguments = (*RAW, "--finalize", "none", "--base-url", server.base_url, *FAST)
        plain, odd_length, wav = (
            run("stream-file", *arguments, env=KEY, stdin=data).stderr.decode()
            for data in (bytes(3200), bytes(3201), talk.read_bytes())
        )
    assert "ends inside a sample" not in plain
    assert "looks like" not in plain
    assert "warning: -: ends inside a sample of pcm_s16le: 1 of 2 bytes" in odd_length
    assert "warning: -: looks like wav, not like headerless pcm_s16le" in wav


def test_closed_stdin_and_an_empty_file_name_are_reported(run: Run, environment: dict[str, str]) -> None:
    command = shlex.join([sys.executable, "-m", "cartesia_cli", "stream-file", "-"])
    closed = subprocess.run(["bash", "-c", f"{command} <&-"], env=environment | KEY, capture_output=True, check=False)
    assert (closed.returncode, closed.stderr.splitlines()[0]) == (3, b"error: stdin is closed")
    for name in ("stream-file", "transcribe"):
        empty = run(name, "", env=KEY)
        assert empty.returncode == 2
        assert b" must not be empty" in empty.stderr
