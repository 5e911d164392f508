"""Ctrl-C while somebody else's code runs that makes another error of it, or none at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import speech
from tests.conftest import usual_signals

OTHERS = {
    # pybind11 answers every error at the start of its module so, those of our signal handlers, too
    "another error": """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
    sum(range(1000))
except BaseException as error:
    raise ImportError("initialization failed") from error
""",
    # import itself tidies up by a callback, and Python drops what is raised in one
    "no error": """
import os, signal, time, weakref
class Thing: pass
thing = Thing()
reference = weakref.ref(thing, lambda gone: (os.kill(os.getpid(), signal.{name}), sum(range(1000))))
del thing
time.sleep(60)
""",
}


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("made", OTHERS)
def test_a_signal_during_an_import_is_no_failure_and_is_not_lost(
    environment: dict[str, str], tmp_path: Path, made: str, name: str, code: int
) -> None:
    speech.write_wav(tmp_path / "talk.wav", speech.silence(0.5))
    (tmp_path / "faster_whisper.py").write_text(OTHERS[made].format(name=name))
    done = subprocess.run(
        [sys.executable, "-m", "cartesia_cli", "stream-file", "--local", "talk.wav"],
        env=environment | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, timeout=50,
        preexec_fn=usual_signals, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
