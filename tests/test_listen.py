"""Tests of `listen` with a virtual microphone and a terminal: text, keys, recordings and device failures."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import jiwer
import numpy as np
import pexpect
import pytest

from cartesia_cli.audio.pcm import convert_s16le
from tests import speech
from tests.conftest import Run
from tests.microphone import Studio
from tests.realtime_server import (
    BINARY,
    RealtimeServer,
    ServerConnection,
    connected,
    done,
    error,
    flush_done,
    manual,
    transcript,
    turn,
)
from tests.word_errors import MAX_LIVE_WER

FERRY, DOG = "The ferry leaves at seven in the morning.", "A small dog slept under the table."
KEY = {"CARTESIA_API_KEY": "sk_car_test"}
LISTEN = (sys.executable, "-m", "cartesia_cli", "listen")


def speech_of(*texts: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    pause = speech.silence(1.3)
    return np.concatenate([speech.silence(0.5), *(part for text in texts for part in (speech.say(text), pause))])


class Listener:
    """A running command with `listen` in it."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        # Background jobs of a shell ignore SIGINT, and their children inherit that.
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self.stderr_text = ""

    def wait_for(self, message: str) -> None:
        assert self.process.stderr is not None
        while message not in self.stderr_text:
            line = self.process.stderr.readline().decode()
            assert line, self.stderr_text
            self.stderr_text += line

    def stop(self, number: int = signal.SIGINT) -> str:
        """Send a signal and wait for the end. Returns stdout."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> str:
        """Wait for the end. Returns stdout."""
        out, err = self.process.communicate(timeout=60)
        self.stderr_text += err.decode()
        return out.decode()


@contextmanager
def listening(environment: dict[str, str], *arguments: object, command: Sequence[str] = LISTEN) -> Iterator[Listener]:
    """A running `listen`, or another command, once it has opened the microphone."""
    listener = Listener([*command, *map(str, arguments)], environment)
    try:
        listener.wait_for("listening to")
        yield listener
    finally:
        listener.process.kill()
        listener.process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def plain_words(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower())


def session_recordings(environment: dict[str, str]) -> list[Path]:
    return sorted((Path(environment["HOME"]) / ".local" / "state" / "cartesia-cli").glob("*.wav"))


def assert_recovered(left: Path, studio: Studio, run: Run) -> None:
    """`--recover` prints what `transcribe` prints for the same recording, however well the engine recognizes it."""
    transcribed = run("transcribe", "--local", left, env=studio.environment)
    recovered = run("listen", "--recover", env=studio.environment)
    assert recovered.returncode == 0, recovered.stderr
    assert recovered.stdout == transcribed.stdout
    assert len(recovered.stdout.split()) >= 5


@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_listen_offline_prints_a_line_for_each_sentence(studio: Studio, mode: str) -> None:
    with listening(studio.environment, "--mode", mode) as listener:
        studio.play(speech_of(FERRY, DOG), speech.RATE)
        lines = listener.stop().splitlines()
    assert listener.process.returncode == 0, listener.stderr_text
    assert len(lines) == 2, listener.stderr_text
    assert jiwer.wer(plain_words(f"{FERRY} {DOG}"), plain_words(" ".join(lines))) <= MAX_LIVE_WER
    assert session_recordings(studio.environment) == []  # a clean end leaves no recording


def test_wire_encoding_and_rate_apply_to_the_microphone(studio: Studio, tmp_path: Path) -> None:
    saved = tmp_path / "saved.wav"
    with RealtimeServer(manual()) as server:
        environment = studio.environment | KEY | {"CARTESIA_BASE_URL": server.base_url}
        options = ("--wire-encoding", "pcm_mulaw", "--wire-rate", 8000, "--duration", 1, "--save-audio", saved)
        with listening(environment, "--mode", "manual", *options) as listener:
            studio.play(speech_of(FERRY)[: 2 * speech.RATE], speech.RATE)
            listener.end()
        (call,) = server.records
    assert listener.process.returncode == 0, listener.stderr_text
    assert {"encoding": "pcm_mulaw", "sample_rate": "8000"}.items() <= dict(call.query).items()
    audio = b"".join(call.payloads(BINARY))
    assert len(audio) == 8000
    with wave.open(str(saved)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert convert_s16le(file.readframes(8000), "pcm_mulaw") == audio


def test_first_and_last_words_are_not_clipped_and_save_audio_keeps_the_recording(
    studio: Studio, tmp_path: Path
) -> None:
    saved, srt = tmp_path / "saved.wav", tmp_path / "said.srt"
    with listening(studio.environment, "--mode", "manual", "--save-audio", saved, "-o", srt) as listener:
        studio.play(speech_of(FERRY), speech.RATE)
        listener.stop(signal.SIGTERM)
    assert listener.process.returncode == 0, listener.stderr_text
    text = plain_words(re.sub(r"(?m)^\d.*$", " ", srt.read_text()))
    assert text.split()[0] == "the"
    assert text.split()[-1] == "morning"
    with wave.open(str(saved)) as file:
        assert file.getnframes() / file.getframerate() > len(speech_of(FERRY)) / speech.RATE - 0.5
    assert saved.stat().st_mode & 0o077 == 0


def test_stop_after_silence_and_duration_end_the_session(studio: Studio, tmp_path: Path) -> None:
    appended = tmp_path / "notes.txt"
    appended.write_text("before\n")
    hook = ("--exec", f"tee -a '{tmp_path / 'hook.txt'}'")
    with listening(studio.environment, "--stop-after-silence", "4", "--append", appended, *hook) as listener:
        studio.play(speech_of(DOG), speech.RATE)
        out = listener.end()
    assert listener.process.returncode == 0
    assert "dog" in out
    assert appended.read_text() == f"before\n{out}"
    assert (tmp_path / "hook.txt").read_text().strip() == out.strip()
    # Silence counts only after speech.
    with listening(studio.environment, "--duration", "2.5", "--stop-after-silence", "1", "--json") as listener:
        assert json.loads(listener.end())["duration"] == pytest.approx(2.5, abs=0.01)


@pytest.mark.parametrize("path", [".", "missing/notes.txt", "/proc/nobody.txt"])
def test_append_to_an_unusable_path_fails_before_listening(run: Run, path: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    ended = run("listen", "--local", "--append", path)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"error: ") and b"hint: " in ended.stderr
    assert b"microphone" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_append_failure_warns_once_and_missing_lines_are_written_later(studio: Studio, tmp_path: Path) -> None:
    notes = tmp_path / "folder" / "notes.txt"
    notes.parent.mkdir()
    options = ("--finalize", "key", "--append", notes, "--base-url")
    with (
        RealtimeServer(answers_each_finalize) as server,
        listening(studio.environment | KEY, *options, server.base_url) as listener,
    ):
        assert listener.process.stdout is not None
        out = b""
        for number in range(1, 5):
            if number == 2:
                wait_until(notes.exists)  # stdout has a segment first
                shutil.rmtree(notes.parent)
            if number == 4:
                notes.parent.mkdir()
            listener.process.send_signal(signal.SIGUSR1)
            out += listener.process.stdout.readline()
        out += listener.stop().encode()
    assert listener.process.returncode == 0, listener.stderr_text
    assert out.decode() == "".join(f"Number {number}.\n" for number in range(1, 6))
    assert notes.read_text() == "".join(f"Number {number}.\n" for number in range(2, 6))
    assert listener.stderr_text.count("can't be written") == 1


def test_append_that_keeps_failing_ends_with_an_error(studio: Studio, tmp_path: Path) -> None:
    options = ("--finalize", "key", "--append", "/dev/full", "--base-url")
    with (
        RealtimeServer(answers_each_finalize) as server,
        listening(studio.environment | KEY, *options, server.base_url) as listener,
    ):
        assert listener.process.stdout is not None
        listener.process.send_signal(signal.SIGUSR1)
        out = listener.process.stdout.readline().decode() + listener.stop()
    assert (listener.process.returncode, out) == (1, "Number 1.\nNumber 2.\n")
    assert listener.stderr_text.count("warning: /dev/full: can't be written: No space left on device") == 1
    assert listener.stderr_text.count("error: /dev/full: can't be written: No space left on device\nhint: ") == 1


def test_unplugged_microphone_exits_3_and_keeps_text_and_recording(studio: Studio, run: Run) -> None:
    with listening(studio.environment, "--mode", "manual") as listener:
        studio.play(speech_of(FERRY), speech.RATE)
        studio.unplug()
        out = listener.end()
    assert listener.process.returncode == 3
    assert jiwer.wer(plain_words(FERRY), plain_words(out)) <= 0.3
    assert "lost the microphone" in listener.stderr_text
    assert "Traceback" not in listener.stderr_text
    assert len(session_recordings(studio.environment)) == 1
    with RealtimeServer(manual()) as server:
        options = ["--base-url", server.base_url, "--mode", "manual", "--duration", "0.5"]
        with listening(studio.environment | KEY, *options) as later:
            later.end()
    assert "a recording was left by failed sessions" in later.stderr_text
    command = shlex.split(listener.stderr_text.partition("to transcribe it: ")[2].splitlines()[0])
    recovered = run(*command[1:], env=studio.environment | {"CARTESIA_LISTEN_LOCAL_MODEL": "tiny.en"})
    assert recovered.returncode == 0, recovered.stderr
    assert jiwer.wer(plain_words(FERRY), plain_words(recovered.stdout.decode())) <= 0.3
    assert session_recordings(studio.environment) == []


def test_recording_of_a_killed_session_is_playable_and_recoverable(studio: Studio, run: Run) -> None:
    with listening(studio.environment, "--mode", "manual") as listener:
        studio.play(speech_of(DOG), speech.RATE)
        listener.process.kill()
        listener.process.wait()
    (left,) = session_recordings(studio.environment)
    with wave.open(str(left)) as file:
        assert file.getnframes() / file.getframerate() > 2
    assert_recovered(left, studio, run)


def test_recover_without_recordings_says_so(run: Run) -> None:
    ended = run("listen", "--recover", "--local")
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert b"no recordings of failed sessions" in ended.stderr


def test_lost_connection_keeps_the_recording(studio: Studio) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_audio(1.0)
        connection.say(transcript("So far."))
        connection.say(flush_done())
        connection.pause(0.2)
        connection.reset()

    with RealtimeServer(script) as server:
        environment = studio.environment | KEY
        with listening(environment, "--mode", "manual", "--base-url", server.base_url, "--reconnect", "0") as listener:
            out = listener.end()
    assert (listener.process.returncode, out) == (6, "So far.\n")
    (left,) = session_recordings(studio.environment)
    assert str(left) in listener.stderr_text


def test_unknown_device_error_lists_the_available_ones(studio: Studio, run: Run) -> None:
    ended = run("listen", "--device", "Grandmother", env=studio.environment)
    assert ended.returncode == 3
    assert b"Gooseneck" in ended.stderr


@contextmanager
def terminal(studio: Studio, server: RealtimeServer, *arguments: str) -> Iterator[pexpect.spawn[str]]:
    """`listen` on a pseudo-terminal. Checks that it exits and restores the terminal mode."""
    command = ["-m", "cartesia_cli", "listen", "--base-url", server.base_url, *arguments]
    environment = studio.environment | KEY | {"TERM": "xterm-256color"}
    program = pexpect.spawn(
        sys.executable, command, env=environment, timeout=30, encoding="utf-8", dimensions=(24, 100)
    )
    before = termios.tcgetattr(program.child_fd)
    try:
        program.expect("listening to")
        yield program
        program.expect(pexpect.EOF)
        assert termios.tcgetattr(program.child_fd)[3] == before[3]
        program.close()
    finally:
        program.close(force=True)


def answers_each_finalize(connection: ServerConnection) -> None:
    """A server script that answers each `finalize` with a segment."""
    connection.admit()
    count = 0
    while connection.until_command() == "finalize":
        count += 1
        connection.say(transcript(f" Number {count}."))
        connection.say(flush_done())
    connection.say(done())
    connection.close()


def test_keys_finalize_mark_undo_pause_and_quit(studio: Studio) -> None:
    with RealtimeServer(answers_each_finalize) as server, terminal(studio, server, "--finalize", "key") as program:
        program.send(" ")
        program.expect(r"Number 1\.")
        program.send("\r")
        program.expect(r"Number 2\.")
        program.send("m")
        program.expect("mark at")
        program.send("u")
        program.expect(r"dropped: Number 2\.")
        program.send("p")
        program.expect("paused: nothing is sent")
        program.expect("PAUSED")
        program.expect(r"Number 3\.")
        program.send("p")
        program.expect("resumed")
        program.expect("ON AIR")
        program.send("?")
        program.expect("finish and write everything")
        program.send("q")
        program.expect(r"Number 4\.")
    assert program.exitstatus == 0
    assert server.records[0].commands == ["finalize"] * 4 + ["close"]


def test_undo_drops_the_words_of_the_segment(studio: Studio, tmp_path: Path) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        count = 0
        while connection.until_command() == "finalize":
            count += 1
            connection.say(
                transcript(f" word{count}", words=[{"word": f" word{count}", "start": count, "end": count + 0.5}])
            )
            connection.say(flush_done())
        connection.say(done())
        connection.close()

    out = tmp_path / "said.json"
    with RealtimeServer(script) as server:
        options = ("--finalize", "key", "-m", "ink-whisper", "-w", "-o", str(out))
        with terminal(studio, server, *options) as program:
            for key, seen in ((" ", None), ("u", "dropped: word1"), ("q", "wrote")):
                if key == "u":
                    server.wait(lambda server: "finalize" in server.records[0].commands)
                    time.sleep(0.3)  # until the answer has arrived as well
                program.send(key)
                if seen is not None:
                    program.expect(seen)
    document = json.loads(out.read_text())
    assert [word["word"].strip() for word in document["words"]] == document["text"].split() == ["word2"]


def test_push_to_talk_sends_audio_only_between_two_taps_of_space(studio: Studio, tmp_path: Path) -> None:
    """Segment times and duration count the time in which nothing was sent."""
    out = tmp_path / "said.json"
    with (
        RealtimeServer(answers_each_finalize) as server,
        terminal(studio, server, "--push-to-talk", "-o", str(out)) as program,
    ):
        program.expect(r"hold space to talk\)")
        studio.play(speech_of(FERRY)[: 2 * speech.RATE], speech.RATE)
        assert server.records[0].seconds == 0
        program.send(" ")
        program.expect("ON AIR")
        studio.play(speech_of(DOG)[: 3 * speech.RATE], speech.RATE)
        program.send(" ")
        program.expect(r"Number 1\.")
        program.expect("PAUSED")
        sent = server.records[0].seconds
        studio.play(speech_of(FERRY)[: speech.RATE], speech.RATE)
        assert server.records[0].seconds == sent
        program.send("q")
    assert program.exitstatus == 0
    assert any(server.records[0].audio)
    document = json.loads(out.read_text())
    assert document["duration"] > sent + 2.0
    assert document["segments"][0]["start"] > 2.0


def test_language_hints_and_key_terms_are_edited_by_keys(studio: Studio) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit(first=connected())
        connection.until(lambda call: len(call.texts) >= 2)
        connection.say(error(400, title="Invalid config", message="no such language"))
        connection.until_command("close")
        connection.close()

    with RealtimeServer(script) as server:
        options = ("-m", "ink-preview", "--language-hint", "de", "--keyterm", "Ink 2")
        with terminal(studio, server, *options) as program:
            program.send("k")
            program.expect("key terms: Ink 2")
            program.send(", Größe\r")
            program.expect("key terms: Ink 2, Größe")
            program.send("l\x15hi en q?\x7f\x7f\x7f\r")  # Ctrl-U, and keys that are only characters here
            program.expect("language hints: hi en")
            program.expect(r"warning: the server refused a change of settings[\s\S]*no such language")
            program.send("l")
            program.expect("language hints: de")  # as before
            program.send("\r")
            program.expect("language hints: unchanged")
            program.send("lpt-BR\r")
            program.expect("is not the base code of a language: nothing was changed")
            program.send("q")
        sent = [json.loads(text) for text in server.records[0].texts]
    assert sent[:2] == [
        {"type": "config", "keyterms": ["Ink 2", "Größe"]},
        {"type": "config", "language_hints": ["hi", "en"]},
    ]
    assert sent[2] == {"type": "close"}


def test_plus_and_minus_shift_the_end_threshold_and_signals_act_as_keys(studio: Studio) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit(first=connected())
        connection.until(lambda call: len(call.texts) >= 2)
        connection.say(turn("start"))
        connection.say(turn("end", "Hey."))
        connection.until_command("close")
        connection.close()

    with RealtimeServer(script, answers_each_finalize) as server:
        with terminal(studio, server) as program:
            program.send("+")
            program.expect("end threshold 0.35")
            program.send("-")
            program.expect("end threshold 0.3")
            program.expect("Hey")
            program.send("q")
        configs = [json.loads(text) for text in server.records[0].texts]
        assert [entry["turn"] for entry in configs[:2]] == [{"end_threshold": 0.35}, {"end_threshold": 0.3}]
        with terminal(studio, server, "--turn-eager-end-threshold", "0.42") as program:
            program.send("+++++")
            program.expect(r"end threshold 0\.35 \(higher ends turns sooner\)")
            program.expect(r"end threshold 0\.37 \(")
            program.expect(r"end threshold 0\.37 is as high as it can be: --turn-eager-end-threshold is 0\.42")
            program.send("-")
            assert program.expect([r"end threshold 0\.32", "as high"]) == 0  # said once
            program.send("++")
            program.expect("as high as it can be")
            program.send("q")
        with terminal(studio, server, "--turn-end-threshold", "0.45") as program:
            program.send("++")
            program.expect("end threshold 0.5 is as high as it can be")
            program.send("q")
        configs = [json.loads(text)["turn"] for text in server.records[-1].texts if "turn" in text]
        assert configs[0] == {"end_threshold": 0.5, "eager_end_threshold": 0.6}
        with terminal(studio, server, "--mode", "manual") as program:
            program.kill(signal.SIGUSR1)
            program.expect(r"Number 1\.")
            program.kill(signal.SIGUSR2)
            program.expect("paused")
            program.send("q")
    assert program.exitstatus == 0


def test_push_to_talk_finalizes_once_when_a_held_space_bar_is_released(studio: Studio) -> None:
    """A terminal repeats a held key after half a second, and reports no release."""
    with RealtimeServer(answers_each_finalize) as server, terminal(studio, server, "--push-to-talk") as program:
        program.expect("while you hold space")
        program.expect("PAUSED")
        program.send(" ")
        program.expect("ON AIR")
        time.sleep(0.5)
        for _ in range(12):
            program.send(" ")
            time.sleep(0.05)
        program.expect(r"Number 1\.")
        program.expect("PAUSED")
        assert server.records[0].commands == ["finalize"]
        program.send("q")
    assert server.records[0].commands == ["finalize", "finalize", "close"]


def test_undo_removes_the_segment_from_append_file_page_and_grep_output(studio: Studio, tmp_path: Path) -> None:
    """`--grep` writes at the end only, also on stdout."""
    notes, out = tmp_path / "notes.txt", tmp_path / "out.csv"
    notes.write_text("before\n")
    with RealtimeServer(answers_each_finalize) as server:
        line = [
            sys.executable, "-m", "cartesia_cli", "listen", "--base-url", server.base_url, "--finalize", "key",
            "--append", str(notes), "-f", "csv", "--grep", "Number", "--exec", "cat", "--page",
        ]  # fmt: skip
        command = f"exec {shlex.join(line)} > {shlex.quote(str(out))}"
        environment = studio.environment | KEY | {"TERM": "xterm-256color", "NO_COLOR": "1"}
        program = pexpect.spawn(
            "sh", ["-c", command], env=environment, timeout=30, encoding="utf-8", dimensions=(24, 100)
        )
        try:
            program.expect(r"captions: (http://\S+)")
            assert program.match is not None
            page = f"{program.match[1]}events"
            for key, seen in (
                ("u", "nothing to drop"),
                (" ", r"Number 1\."),
                (" ", r"Number 2\."),
                ("u", r"dropped: Number 2\. \(--exec already has it\)"),
                ("q", r"Number 3\."),
            ):
                program.expect("ON AIR")
                if key == "q":
                    with httpx.stream("GET", page, trust_env=False) as events:
                        assert 'data: {"lines": ["Number 1."]}' in events.iter_lines()
                program.send(key)
                program.expect(seen)
            program.expect(pexpect.EOF)
            program.close()
        finally:
            program.close(force=True)
    assert program.exitstatus == 0
    assert notes.read_text() == "before\nNumber 1.\nNumber 3.\n"
    rows = out.read_text()
    assert "Number 1." in rows and "Number 3." in rows and "Number 2." not in rows
