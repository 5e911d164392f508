"""Runs the installed program with the real engine on real speech; nothing is mocked."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jiwer
import pyte
import pytest
from typer.main import get_command

import cartesia_cli
from cartesia_cli.cli import build
from cartesia_cli.errors import UsageError
from cartesia_cli.output.console import Reporter
from tests import speech
from tests.conftest import Run, require_program
from tests.memory import peak

SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"

SENTENCE, SENTENCE_SECONDS = speech.SAMPLE.partition(".")[0], 2.6
"""The first sentence of SAMPLE, and where it ends."""

FIRST_SENTENCE = ["-i", SAMPLE, "-t", str(SENTENCE_SECONDS)]
"""Options of ffmpeg."""


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower()).split())


def word_errors(said: str, heard: str) -> float:
    return float(jiwer.wer(plain(said), plain(heard)))


@pytest.mark.engine
def test_sample_is_transcribed_offline_with_a_word_table(run: Run) -> None:
    done = run("transcribe", "--sample", "-w")
    assert done.returncode == 0, done.stderr
    text, _, table = done.stdout.decode().partition("\n\n")
    assert word_errors(speech.SAMPLE, text) <= 0.03
    assert table.splitlines()[0].split() == ["#", "start", "end", "length", "gap", "ch/s", "word"]
    assert len(table.splitlines()) - 2 == len(text.split())
    assert (
        done.stderr
        == b"no CARTESIA_API_KEY: transcribing on this machine with Whisper tiny.en (English, MIT licence)\n"
    )


@pytest.mark.engine
def test_local_batch_in_which_all_fail_names_no_price(run: Run, tmp_path: Path) -> None:
    subprocess.run([require_program("ffmpeg"), "-loglevel", "error", "-i", SAMPLE, tmp_path / "a.flac"], check=True)
    header = (tmp_path / "a.flac").read_bytes()[:42]
    for name in ("a.flac", "b.flac"):
        (tmp_path / name).write_bytes(header + b"\x84\0\0\0" + bytes(2000))  # no audio follows the header
    done = run("transcribe", "a.flac", "b.flac", "--local", "--no-cache")
    assert done.returncode != 0
    assert done.stderr.decode().splitlines()[-1] == "0 of 2 transcribed, 0.0 s of audio, on this machine"


def test_json_has_monotonic_words_within_the_duration_and_verbatim_segments(run: Run, whisper: dict[str, str]) -> None:
    done = run("transcribe", SAMPLE, "-f", "json", "-w", env=whisper)
    document = json.loads(done.stdout)
    times = [time for word in document["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[-1] <= document["duration"] == pytest.approx(10.809, abs=0.002)
    assert "".join(segment["text"] for segment in document["segments"]) == document["text"]
    assert len(document["segments"]) == 4
    assert done.stderr == b""


def test_one_transcription_writes_all_formats(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    names = ["text", "json", "ndjson", "srt", "vtt", "tsv", "csv", "table"]
    done = run("transcribe", SAMPLE, "-q", "-f", ",".join(names), "--output-dir", "out", env=whisper)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert sorted(file.name for file in (tmp_path / "out").iterdir() if file.is_file()) == sorted(
        ["sample.txt", "sample.json", "sample.ndjson", "sample.srt", "sample.vtt", "sample.tsv", "sample.csv",
         "sample.table.txt"]
    )  # fmt: skip
    again = run("transcribe", SAMPLE, "-f", "text", "--output-dir", "out", env=whisper)
    assert again.returncode == 2
    assert b"sample.txt exists" in again.stderr


def test_containers_and_raw_samples_give_the_same_words(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    ffmpeg = require_program("ffmpeg")
    files = []
    for name, codec in {  # all others are compared sample by sample in test_files.py
        "a.flac": [], "b.m4a": [], "c.mpga": ["-f", "mp3"], "d.mpeg": ["-c:a", "mp2", "-f", "mpeg", "-ar", "44100"],
        "e.wav": ["-ac", "2", "-ar", "44100"], "f.webm": ["-c:a", "libopus"],
    }.items():  # fmt: skip
        subprocess.run([ffmpeg, "-loglevel", "error", *FIRST_SENTENCE, *codec, tmp_path / name], check=True)
        files.append(name)
    done = run("transcribe", *files, "-f", "ndjson", "-w", env=whisper)
    assert done.returncode == 0, done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["source"] for document in documents] == files
    for document in documents:
        assert word_errors(SENTENCE, document["text"]) <= 0.15, document["source"]  # one of seven
        assert document["duration"] == pytest.approx(SENTENCE_SECONDS, abs=0.15)


@pytest.mark.parametrize(
    ("encoding", "codec", "rate"),
    [("pcm_s32le", "s32le", 44100), ("pcm_mulaw", "mulaw", 8000), ("pcm_f16le", None, 16000)],
)  # test_files.py has every encoding
def test_headerless_samples_are_read_in_their_encoding(
    run: Run, whisper: dict[str, str], encoding: str, codec: str | None, rate: int
) -> None:
    if codec is None:
        import numpy as np

        samples = np.frombuffer(SAMPLE.read_bytes()[44:], "<i2")[: int(SENTENCE_SECONDS * speech.RATE)]
        data = (samples / 32768).astype("<f2").tobytes()
    else:
        command = [
            require_program("ffmpeg"),
            "-loglevel",
            "error",
            *FIRST_SENTENCE,
            "-ar",
            str(rate),
            "-ac",
            "1",
            "-f",
            codec,
            "-",
        ]
        data = subprocess.run(command, check=True, capture_output=True).stdout
    done = run(
        "transcribe", "-", "--encoding", encoding, "--sample-rate", rate,
        stdin=data + b"\0" * (encoding != "pcm_mulaw"), env=whisper,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert word_errors(SENTENCE, done.stdout.decode()) <= 0.15


def digits(text: str) -> str:
    """`text` with the numbers from 10 to 59 that the engine wrote as words converted to digits."""
    units = "one two three four five six seven eight nine".split()
    teens = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
    spelled = {word: str(10 + n) for n, word in enumerate(teens)}
    for ten, word in ((20, "twenty"), (30, "thirty"), (40, "forty"), (50, "fifty")):
        spelled |= {word: str(ten)} | {f"{word} {unit}": str(ten + n) for n, unit in enumerate(units, 1)}
    plain_text = plain(text)
    for words in sorted(spelled, key=len, reverse=True):
        plain_text = re.sub(rf"\b{words}\b", spelled[words], plain_text)
    return plain_text


COUNT = 30
"""Numbers, each 1.5 s long with the pause after it: more than the engine's window of 30 s."""


@pytest.mark.engine
def test_long_audio_loses_no_words_in_bounded_memory(environment: dict[str, str], tmp_path: Path) -> None:
    """45 s of counting: every number once, in order, and not more memory than half a minute takes.

    benchmarks/local.py does the same with an hour.
    """
    import numpy as np

    numbers = [speech.say(f"Number {n}.") for n in range(20, 40)]
    parts = [part for n in range(COUNT) for part in (numbers[n % 20], speech.silence(0.25 + 0.1 * (n % 7)))]
    file = speech.write_wav(tmp_path / "long.wav", np.concatenate(parts))
    with (tmp_path / "out").open("wb") as out:
        most = peak(subprocess.Popen([sys.executable, "-m", "cartesia_cli", "transcribe", str(file), "--json", "-w"],
                                      env=environment, stdout=out))  # fmt: skip
    document = json.loads((tmp_path / "out").read_bytes())
    expected = " ".join(str(20 + n % 20) for n in range(COUNT))
    found = jiwer.process_words(expected, " ".join(re.findall(r"\d+", digits(document["text"]))))
    assert found.deletions + found.insertions <= 2
    assert found.substitutions <= 4
    times = [time for word in document["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 100 * 1024 < most <= 600 * 1024


def test_silence_and_noise_give_no_words(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    import numpy as np

    dice = np.random.default_rng(7)
    noise = dice.standard_normal(20 * speech.RATE).astype(np.float32)
    speech.write_wav(tmp_path / "silence.wav", speech.silence(20))
    speech.write_wav(tmp_path / "quiet.wav", noise * 0.01)
    speech.write_wav(tmp_path / "loud.wav", (noise * 0.2).clip(-1, 1))
    speech.write_wav(tmp_path / "hum.wav", np.sin(np.arange(20 * speech.RATE) * 0.02).astype(np.float32) * 0.4)
    done = run("transcribe", "silence.wav", "quiet.wav", "loud.wav", "hum.wav", "-f", "ndjson", env=whisper)
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == [""] * 4
    assert done.returncode == 0


def test_unsupported_language_is_refused(run: Run, whisper: dict[str, str]) -> None:
    done = run("transcribe", SAMPLE, "-l", "de", "-q", env=whisper)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"doesn't know 'de'" in done.stderr
    british = run("transcribe", SAMPLE, "-l", "en-GB", "-q", env=whisper)
    assert (british.returncode, b"use 'en'" in british.stderr) == (5, True)


def test_truncated_recording_is_transcribed_with_a_warning(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(SAMPLE.read_bytes()[:150_000])
    done = run("transcribe", "cut.wav", env=whisper)
    assert done.returncode == 0
    assert b"This is the sample recording" in done.stdout
    assert re.search(rb"warning: cut.wav: .*10\.81 s.*4\.69 s", done.stderr)


@pytest.mark.engine
def test_unusable_inputs_are_reported_and_the_others_processed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("Dear diary")
    (tmp_path / "header.wav").write_bytes(SAMPLE.read_bytes()[:44])
    (tmp_path / "folder").mkdir()
    done = run("transcribe", "missing.wav", "empty.wav", "text.mp3", "header.wav", "folder", SAMPLE, "-o", "-")
    assert done.returncode == 1
    assert done.stdout.startswith(b"This is the sample recording")
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error:")]
    assert len(errors) == 5
    for alone in ("missing.wav", "empty.wav", "text.mp3", "header.wav", "folder"):
        single = run("transcribe", alone)
        assert (single.returncode, single.stdout) == (3, b"")
        assert [line.partition(":")[0] for line in single.stderr.decode().splitlines()] == ["error", "hint"]


def test_unusual_file_names_work(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    names = [b"a b.wav", b'it\'s "quoted".wav', b"new\nline.wav", b"-dash.wav", b"caf\xe9.wav", "日本.wav".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(SAMPLE.read_bytes())
    done = run("transcribe", "-f", "ndjson", "--", *names, env=whisper)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names)
    assert "日本.wav".encode() in done.stdout


def test_dry_run_prints_costs_and_sends_nothing(run: Run) -> None:
    cloud = {"CARTESIA_API_KEY": "sk_car_x", "CARTESIA_BASE_URL": "https://no.invalid"}
    done = run("transcribe", "--dry-run", SAMPLE, "-w", env=cloud)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == [b"345928", b"10.8", b"5.4", os.fsencode(SAMPLE)]
    assert b"https://no.invalid/stt, with model=ink-whisper, timestamp_granularities[]=word" in done.stderr
    report = json.loads(run("transcribe", "--dry-run", SAMPLE, SAMPLE.parent, "--json", env=cloud).stdout)
    assert report["credits"] == pytest.approx(5.404, abs=0.002)


def test_stdout_is_the_same_for_a_terminal_and_a_pipe(
    run: Run, whisper: dict[str, str], environment: dict[str, str], tmp_path: Path
) -> None:
    piped = run("transcribe", SAMPLE, "-w", env=whisper)
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "cartesia_cli", "transcribe", str(SAMPLE), "-w", "--no-cache"]
    process = subprocess.Popen(
        command, env=environment | whisper | {"TERM": "xterm"}, stdout=follower, stderr=follower, cwd=tmp_path
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 4096)
        except OSError:
            break
        if not block:
            break
        shown += block
    assert process.wait() == 0
    # The progress was on the same terminal and has erased itself.
    screen = pyte.Screen(400, 100)
    pyte.ByteStream(screen).feed(shown)
    assert "\n".join(map(str.rstrip, screen.display)).rstrip() == piped.stdout.decode().rstrip()


def test_closed_stdout_ends_the_run_quietly(
    environment: dict[str, str], whisper: dict[str, str], tmp_path: Path
) -> None:
    command = f"{sys.executable} -m cartesia_cli transcribe {SAMPLE} {SAMPLE} -f ndjson | head -c 5"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=environment | whisper, cwd=tmp_path, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b'{"sou')
    assert b"Broken" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_full_disk_is_reported_in_one_line(
    environment: dict[str, str], whisper: dict[str, str], tmp_path: Path
) -> None:
    command, env = f"{sys.executable} -m cartesia_cli transcribe {SAMPLE} > /dev/full", environment | whisper
    done = subprocess.run(["bash", "-c", command], env=env, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        b"error: stdout can't be written: No space left on device\nhint: -o writes to a file instead\n",
    )


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [
        (">&-", 1, "error: stdout is closed\nhint: -o writes to a file instead\n"),
        ("2>&-", 0, ""),
        ("- <&-", 3, "error: stdin is closed"),
    ],
)
def test_closed_standard_streams_cause_no_traceback(
    environment: dict[str, str], whisper: dict[str, str], tmp_path: Path, closed: str, code: int, said: str
) -> None:
    (tmp_path / "talk.wav").write_bytes(SAMPLE.read_bytes())
    name = "" if closed.startswith("-") else "talk.wav"
    command, env = f"{sys.executable} -m cartesia_cli transcribe {name} {closed}", environment | whisper
    done = subprocess.run(["bash", "-c", command], env=env, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == code
    assert done.stderr.decode().startswith(said)


def test_unwritable_output_prints_transcript_on_stdout(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "full.txt").symlink_to("/dev/full")
    done = run("transcribe", SAMPLE, "-o", "full.txt", env=whisper)
    assert done.returncode == 1
    assert done.stdout.startswith(b"This is the sample recording")
    assert b"full.txt: can't be written: No space left on device" in done.stderr


@pytest.mark.engine
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_a_long_transcription_at_once(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    import numpy as np

    long = speech.write_wav(tmp_path / "long.wav", np.tile(speech.say(speech.SAMPLE), 60))
    command = [
        sys.executable,
        "-m",
        "cartesia_cli",
        "transcribe",
        str(long),
        "--local",
        "-o",
        str(tmp_path / "out.txt"),
    ]
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
    time.sleep(2.5)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert [file.name for file in tmp_path.iterdir() if "out" in file.name] == []


def test_configuration_file_sets_defaults(run: Run, whisper: dict[str, str], environment: dict[str, str]) -> None:
    folder = Path(environment["XDG_CONFIG_HOME"]) / "cartesia-cli"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[transcribe]\nformat = "tsv"\nquiet = true\n')
    done = run("transcribe", SAMPLE, env=whisper)
    assert (done.stdout.splitlines()[0], done.stderr) == (b"start\tend\ttext", b"")
    assert run("transcribe", SAMPLE, "-f", "text", env=whisper).stdout.startswith(b"This is")
    (folder / "config.toml").write_text('[transcribe]\nfromat = "tsv"\n')
    wrong = run("transcribe", SAMPLE)
    assert wrong.returncode == 2
    assert b"line 2: [transcribe] fromat is not an option of transcribe" in wrong.stderr
    assert run("transcribe", "--help").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [("transcribe",), ("transcribe", "a", "--no-such"), ("nonsense",), ("transcribe", "a.wav", "-f", "docx"),
     ("transcribe", "a.wav", "--encoding", "pcm_s16le"), ("transcribe", "a.wav", "--endpoint", "x"),
     ("transcribe", "a.wav", "--color", "x"), ("transcribe", "a.wav", "--local", "--base-url", "http://127.0.0.1:1"),
     ("transcribe", "a.wav", "--base-url", "http://a.example"), ("transcribe", "--sample", "words", "--local")],
)  # fmt: skip
def test_usage_errors_exit_2_before_anything_else(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr


def test_whisper_option_spellings_are_accepted(run: Run, whisper: dict[str, str]) -> None:
    done = run("transcribe", SAMPLE, "--output_format=json", "--word_timestamps", "-q", env=whisper)
    assert "words" in json.loads(done.stdout)


def test_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"cartesia-cli {cartesia_cli.__version__}\n".encode()


def test_interrupted_run_is_resumed(run: Run, whisper: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(SAMPLE.read_bytes())
    out = tmp_path / "out"
    first = run("transcribe", folder / "a.wav", "-f", "text,srt", "--output-dir", out, env=whisper)
    assert first.returncode == 0, first.stderr
    (out / "a.srt").unlink()
    (out / "a.txt").write_text("mine")
    (out / "b.txt").write_text("was there")
    (out / "b.srt").write_text("was there")
    again = run("transcribe", folder, "-f", "text,srt", "--output-dir", out, "--resume", env=whisper)
    assert again.returncode == 0, again.stderr
    assert b"1 of 2 already done; 1 to do" in again.stderr
    assert (out / "b.txt").read_text() == "was there"
    assert "-->" in (out / "a.srt").read_text()
    assert (out / "a.txt").read_text() == "mine"
    nothing = run("transcribe", folder, "-f", "text,srt", "--output-dir", out, "--resume", env=whisper)
    assert (nothing.returncode, nothing.stdout) == (0, b"")


def options_of_type(type_name: str) -> list[tuple[str, str]]:
    """Every command, and each of its options that take a number of this kind."""
    commands = get_command(build()).commands.items()  # type: ignore[attr-defined]
    return [(name, option.opts[0]) for name, command in commands for option in command.params
            if option.type.name.startswith(type_name)]  # fmt: skip


def test_nan_and_infinity_are_usage_errors_naming_the_option() -> None:
    for command, option in options_of_type("float"):
        program: Any = get_command(build(command))
        for value in ("nan", "inf", "-inf", "1e999"):
            with pytest.raises(UsageError, match=f"Invalid value for '{option}'"):
                program.main(args=[command, "no-such-file", option, value], obj=Reporter(), standalone_mode=False)


@pytest.mark.parametrize("command", ["transcribe", "stream-file"])
@pytest.mark.parametrize("rate", ["0", "-5", "999", "10000000"])
def test_implausible_sample_rate_is_a_usage_error(run: Run, command: str, rate: str) -> None:
    done = run(command, "talk.raw", "--encoding", "pcm_s16le", "--sample-rate", rate, "--local")
    assert done.returncode == 2
    assert b"Invalid value for '--sample-rate'" in done.stderr
