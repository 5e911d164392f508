"""Tests of live session options that have no effect together: they are refused, or warned about."""

from __future__ import annotations

import pytest

from tests.conftest import Run

NO_KEYTERMS = "warning: local engines have no keyterms: --keyterm has no effect"
ONLY_TIMES = "--vad-threshold and --vad-silence-ms only affect segment times"


def stderr_of(run: Run, *arguments: str) -> str:
    """The stderr of a session that fails because its input doesn't exist."""
    missing_input = ("--device", "no such microphone") if arguments[0] == "listen" else ("none.wav",)
    done = run(*arguments, *missing_input, env={"CARTESIA_API_KEY": "sk_car_x"})
    assert (done.returncode, done.stdout) == (3, b"")
    return done.stderr.decode()


@pytest.mark.parametrize("command", ["listen", "stream-file"])
def test_unsupported_keyterms_are_warned_about(run: Run, command: str) -> None:
    assert NO_KEYTERMS in stderr_of(run, command, "--local", "--keyterm", "Cartesia")
    assert NO_KEYTERMS in stderr_of(run, command, "--local", "--keyterm", "Cartesia", "-m", "ink-whisper")
    assert "keyterm" not in stderr_of(run, command, "--cloud", "--keyterm", "Cartesia")
    assert "ink-whisper does not support keyterms" in stderr_of(
        run, command, "--keyterm", "Cartesia", "-m", "ink-whisper"
    )


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (("listen", "--finalize", "key", "--vad-threshold", "-40"), True),
        (("listen", "--finalize", "none", "--vad-silence-ms", "900"), True),
        (("listen", "--push-to-talk", "--vad-silence-ms", "900"), True),
        (("listen", "--mode", "manual", "--push-to-talk", "--vad-silence-ms", "900"), True),
        (("listen", "--vad-threshold", "-40"), True),
        (("listen", "--finalize", "both", "--vad-threshold", "-40"), False),
        (("listen", "--mode", "manual", "--vad-silence-ms", "900"), False),
        (("stream-file", "--finalize", "none", "--vad-silence-ms", "900"), True),
        (("stream-file", "--mode", "manual", "--vad-silence-ms", "900"), False),
    ],
)
def test_vad_options_that_end_no_utterance_are_warned_about(run: Run, arguments: tuple[str, ...], warned: bool) -> None:
    assert (ONLY_TIMES in stderr_of(run, *arguments)) is warned


@pytest.mark.parametrize("finalize", ["vad", "both"])
def test_push_to_talk_excludes_finalize_by_vad(run: Run, finalize: str) -> None:
    done = run("listen", "--push-to-talk", "--finalize", finalize)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: --push-to-talk and --finalize exclude each other\nhint: ")
