"""Tests of signals that arrive while imported code runs that replaces or swallows the exception."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cartesia_cli import cli
from cartesia_cli.errors import Exit, Interrupted
from cartesia_cli.output.console import Reporter
from tests import speech
from tests.fault_server import FaultServer
from tests.fault_server import environment as server_environment
from tests.fork_server import default_signals, start_program
from tests.test_soundtrack import film

IMPORTED_CODE = {
    # pybind11 raises this for every exception during the start of a module, also for those of signal handlers
    "another error": """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
    sum(range(1000))
except BaseException as error:
    raise ImportError("initialization failed") from error
""",
    # import cleans up in a weakref callback, and Python drops exceptions of callbacks
    "no error": """
import os, signal, time, weakref
class Thing: pass
thing = Thing()
reference = weakref.ref(thing, lambda gone: (os.kill(os.getpid(), signal.{name}), sum(range(1000))))
del thing
time.sleep(60)
""",
}


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("imported", IMPORTED_CODE)
def test_signal_during_an_import_ends_the_program_with_the_signals_exit_code(
    environment: dict[str, str], tmp_path: Path, imported: str, name: str, code: int
) -> None:
    speech.write_wav(tmp_path / "talk.wav", speech.silence(0.5))
    (tmp_path / "faster_whisper.py").write_text(IMPORTED_CODE[imported].format(name=name))
    done = subprocess.run(
        [sys.executable, "-m", "cartesia_cli", "stream-file", "--local", "talk.wav"],
        env=environment | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, timeout=50,
        preexec_fn=default_signals, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_signal_that_comes_while_a_dropped_one_is_sent_again_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    class Timer:
        def __init__(self, seconds: float, function: object, arguments: tuple[int, int]) -> None:
            self._signal = arguments[1]

        def start(self) -> None:
            sent.append(self._signal)
            if len(sent) == 1:
                raise Interrupted(Exit.TERMINATED)

    monkeypatch.setattr("threading.Timer", Timer)
    cli._unraisable_hook(Reporter(io.StringIO()))(SimpleNamespace(exc_value=Interrupted(Exit.INTERRUPTED)))
    assert sent == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("command", ["listen --device nothing-is-called-so", "vad talk.wav"])
def test_hotkey_signals_are_harmless_during_startup_and_in_other_commands(
    environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    speech.write_wav(tmp_path / "talk.wav", speech.silence(0.5))
    script = f"""
import os, signal, sys
from cartesia_cli.__main__ import main

class Pressed:
    seen = 0
    def find_spec(self, name, path, target=None):
        Pressed.seen += 1
        if name != "signal":
            for pressed in (signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), pressed)
sys.meta_path.insert(0, Pressed())
sys.argv[1:] = {command.split()}
os._exit = lambda code: print(Pressed.seen > 50, code, file=sys.__stderr__)
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, timeout=50, check=False
    )
    expected = "True 0" if command.startswith("vad") else "True 3"
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (0, expected), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("source", ["-", "film.mkv"])
def test_signal_during_an_upload_leaves_no_temporary_files(tmp_path: Path, source: str, number: signal.Signals) -> None:
    """Of stdin, a copy is made; of a film, its sound is."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = film(tmp_path / "film.mkv", "-c:a", "libopus")
    with FaultServer("never_answers") as server, path.open("rb") as stdin:
        env = server_environment(tmp_path, server.base_url, TMPDIR=str(temporary))
        process = start_program(
            ["transcribe", source], env=env, cwd=tmp_path,
            stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        server.wait(lambda server: server.requests and server.requests[0].whole)
        assert list(temporary.iterdir())
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
    assert list(temporary.iterdir()) == []


def test_ctrl_c_while_the_engine_is_loaded_leaves_no_temporary_files(
    environment: dict[str, str], tmp_path: Path
) -> None:
    speech.write_wav(tmp_path / "talk.wav", speech.silence(0.5))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script = """
import os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
import faster_whisper

def load(folder, **options):
    assert Path(folder, "model.bin").exists()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    raise RuntimeError

faster_whisper.WhisperModel = load
from cartesia_cli.__main__ import main
sys.argv[1:] = ["transcribe", "--local", "--local-model", "base", "--no-cache", "talk.wav"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment | {"TMPDIR": str(temporary)}, cwd=tmp_path,
        capture_output=True, timeout=50, preexec_fn=default_signals, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, b"")
    warning, following = done.stderr.decode().splitlines()
    assert warning == "warning: stopped: talk.wav is not transcribed"
    command = "cartesia-cli transcribe --local --no-cache --local-model base talk.wav"
    assert following.startswith("to transcribe it: ") and sorted(following[18:].split()) == sorted(command.split())
    assert not list(temporary.iterdir())
