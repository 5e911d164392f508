"""`--sample WORDS`: text to speech of the API speaks the words; the recording is saved and transcribed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import cartesia_cli
from cartesia_cli.scale.journal import FOLDER
from tests.conftest import Run

SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"
SOUND = SAMPLE.read_bytes()


class Cartesia(BaseHTTPRequestHandler):
    """A server with text to speech on one route and transcription on the other."""

    asked: dict[str, object]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/tts/bytes":
            type(self).asked = json.loads(body)
            self._answer("audio/wav", SOUND)
        else:
            assert SOUND in body
            self._answer("application/json", b'{"text": "Hello there."}')

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def cartesia() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Cartesia)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_sample_words_are_synthesized_saved_and_transcribed(run: Run, cartesia: str, tmp_path: Path) -> None:
    done = run(
        "transcribe", "--sample", "Hello", "there.", env={"CARTESIA_BASE_URL": cartesia, "CARTESIA_API_KEY": "sk_car_x"}
    )
    assert (done.returncode, done.stdout) == (0, b"Hello there.\n")
    (kept,) = tmp_path.glob("stt_sample_*.wav")
    assert kept.read_bytes() == SOUND
    assert kept.name.encode() in done.stderr
    assert Cartesia.asked["transcript"] == "Hello there."
    assert Cartesia.asked["language"] == "en"
    assert Cartesia.asked["output_format"] == {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 16000}


def test_sample_words_are_spoken_in_their_language_into_files_of_their_own(
    run: Run, cartesia: str, tmp_path: Path
) -> None:
    env = {"CARTESIA_BASE_URL": cartesia, "CARTESIA_API_KEY": "sk_car_x"}
    for _ in range(2):  # in the same second, perhaps
        assert run("transcribe", "--sample", "Guten", "Tag.", "-l", "de", env=env).returncode == 0
    assert Cartesia.asked["language"] == "de"
    assert len([*tmp_path.glob("stt_sample_*.wav")]) == 2


@pytest.mark.parametrize("words", [[], ["Hello"]])
def test_command_for_the_rest_names_the_sample_and_has_nothing_spoken(
    run: Run, cartesia: str, tmp_path: Path, words: list[str]
) -> None:
    env = {"CARTESIA_BASE_URL": cartesia, "CARTESIA_API_KEY": "sk_car_x"}
    done = run("transcribe", "--sample", *words, "--output-dir", "out", env=env)
    assert done.returncode == 0, done.stderr
    journal = next((tmp_path / "out" / FOLDER).glob("*.jsonl")).read_text()
    command = json.loads(journal.splitlines()[0])["command"]
    path = next((path.name for path in tmp_path.glob("stt_sample_*.wav")), SAMPLE)
    assert command == f"cartesia-cli transcribe --output-dir out --resume {path}"


def test_sample_words_without_key_are_a_usage_error(run: Run) -> None:
    done = run("transcribe", "--sample", "Hello")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"needs Cartesia's API" in done.stderr


def test_synthesized_response_that_is_not_audio_is_not_saved(
    run: Run, cartesia: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "SOUND", b'{"error": "no"}')
    done = run("transcribe", "--sample", "Hello", env={"CARTESIA_BASE_URL": cartesia, "CARTESIA_API_KEY": "sk_car_x"})
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"not a WAV file" in done.stderr
    assert not [*tmp_path.glob("stt_sample_*.wav")]
