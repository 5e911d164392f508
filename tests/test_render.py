"""`render` writes saved transcripts in every format exactly as `transcribe` would, without network."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import cartesia_cli
from cartesia_cli.commands.render import MAX_TRANSCRIPT_BYTES
from cartesia_cli.output import FORMATS, NEEDS_WORDS, Layout, extension, writer
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import from_batch
from tests.conftest import Run
from tests.fault_server import KEY, TRANSCRIPT, FaultServer, answers, write_wav
from tests.fork_server import PIPE, start_program

SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"
WORDS = (Word("One,", 0.0, 0.5), Word("two.", 0.5, 1.0), Word("Three!", 2.5, 3.0))


def document(source: str = "talk.wav") -> str:
    """A saved transcript."""
    response = BatchResponse(text="One, two. Three!", words=WORDS, duration=4.0)
    return writer("json")(from_batch(response, source=source, model="ink-whisper"), Layout())


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.json"
    path.write_text(document())
    return path


def test_page_of_a_transcript_that_names_no_recording_does_not_play_the_transcript(run: Run, tmp_path: Path) -> None:
    segments = [{"id": 0, "start": 0.0, "end": 2.0, "text": "Hello."}]
    (tmp_path / "foreign.json").write_text(json.dumps({"text": "Hello.", "segments": segments}))
    done = run("render", "foreign.json", "-f", "html")
    assert done.returncode == 0
    assert b"no waveform" not in done.stderr
    assert b'"link":"foreign.json"' not in done.stdout


def test_cues_out_of_order_keep_their_times(run: Run, tmp_path: Path) -> None:
    first, second = "00:00:01,000 --> 00:00:03,000\nFirst.\n", "00:00:10,000 --> 00:00:12,000\nSecond sentence here.\n"
    (tmp_path / "a.srt").write_text(f"1\n{second}\n2\n{first}")
    done = run("render", "a.srt", "-f", "json")
    assert done.returncode == 0
    assert done.stderr.decode().count("out of order") == 1
    segments = json.loads(done.stdout)["segments"]
    assert [(segment["start"], segment["end"], segment["timing"]) for segment in segments] == [
        (1, 3, "server"), (10, 12, "server")]  # fmt: skip
    assert run("render", "a.srt", "-f", "srt").stdout.decode() == f"1\n{first}\n2\n{second}"


# Equal to transcribe ---------------------------------------------------------------------------------------


def test_render_output_equals_transcribe_output_in_every_format(
    run: Run, whisper: dict[str, str], tmp_path: Path
) -> None:
    """Every format, with and without -w, of real speech; the saved transcript was made without -w."""
    saved = run("transcribe", SAMPLE, "-f", "json", "-o", "saved.json", env=whisper)
    assert saved.returncode == 0
    for options in ([], ["-w"]):
        formats = ",".join(FORMATS)
        run("transcribe", SAMPLE, "-q", "-f", formats, *options, "--output-dir", "printed", "--force", env=whisper)
        done = run("render", "saved.json", "-q", "-f", formats, *options, "--output-dir", "rendered", "--force")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        for name in FORMATS:
            printed = (tmp_path / "printed" / f"sample{extension(name)}").read_bytes()
            assert (tmp_path / "rendered" / f"saved{extension(name)}").read_bytes() == printed, name
            if name != "html":  # a page on stdout names the recording as seen from this folder
                words = options if name not in NEEDS_WORDS else []
                assert run("render", "saved.json", "-f", name, *words).stdout == printed


def test_render_reads_json_of_stdin_unchanged(run: Run, whisper: dict[str, str]) -> None:
    audio = SAMPLE.read_bytes()
    saved = run("transcribe", "-", "-w", "--json", stdin=audio, env=whisper)
    for name in ("vtt", "md", "json"):
        options = ["-f", name]
        printed = run("transcribe", "-", *options, stdin=audio, env=whisper)
        assert run("render", "-", *options, stdin=saved.stdout).stdout == printed.stdout != b""
    assert json.loads(saved.stdout)["source"] == "-"


def test_saved_response_renders_to_the_same_subtitles(run: Run, tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav")
    words = [{"word": "The", "start": 0.0, "end": None}, {"word": "quick", "start": 1.0, "end": 0.5}]
    with FaultServer(answers({**TRANSCRIPT, "text": "The quick", "words": words})) as server:
        cloud = {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": server.base_url}
        for options in (("-f", "srt"), ("-f", "tsv"), ("-f", "table"), ("-f", "text", "-w")):
            printed = run("transcribe", "talk.wav", *options, "--keep-json", "raw", "--force", env=cloud)
            assert printed.returncode == 0
            assert run("render", "raw/talk.json", *options).stdout == printed.stdout


def test_render_takes_the_format_options_of_transcribe(run: Run, talk: Path) -> None:
    crlf = run("render", talk, "-f", "srt", "--crlf", "--max-words-per-line", 1, "--max-line-count", 1).stdout
    assert crlf.startswith(b"1\r\n00:00:00,000 --> ")
    assert crlf.count(b" --> ") == 3
    assert run("render", talk, "--from", 2).stdout.decode().splitlines()[-1].split()[-1] == "Three!"
    assert run("render", talk, "--crlf").returncode == 2


def test_render_needs_no_network_and_no_key(run: Run, talk: Path) -> None:
    with FaultServer("fine") as server:
        cloud = {"CARTESIA_API_KEY": "not a key", "CARTESIA_BASE_URL": server.base_url}
        assert run("render", talk, env=cloud).stdout == b"One, two. Three!\n"
        assert server.connections == 0


# Missing word times ----------------------------------------------------------------------------------------


def test_estimated_times_are_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bare.json").write_text(json.dumps({"text": "One, two. Three!", "duration": 4.0}))
    done = run("render", "bare.json", "-f", "srt")
    assert done.stdout.startswith(b"1\n00:00:00,000 --> ")
    assert done.stderr == b"warning: bare.json: no word times: times within the text are estimated\n"
    shown = run("render", "bare.json", "-w")
    assert (shown.stdout, shown.stderr) == (
        b"One, two. Three!\n", b"warning: bare.json: no word times: -w has none to show\n",
    )  # fmt: skip
    assert run("render", "bare.json").stderr == b""
    rows = run("render", "bare.json", "-f", "csv")
    assert rows.stderr == b"warning: bare.json: no word times: each row is a segment\n"
    words = [{"word": "One,", "start": 0.5, "end": 1.0}, {"word": "two."}, {"word": "Three!", "start": 2.0, "end": 3.0}]
    (tmp_path / "some.json").write_text(json.dumps({"text": "One, two. Three!", "words": words}))
    assert run("render", "some.json", "-f", "csv").stderr == b""
    done = run("render", "some.json", "-f", "srt")
    assert done.stderr == b"warning: some.json: no times for 1 of 3 words: theirs are estimated\n"


# Output paths ----------------------------------------------------------------------------------------------


def test_suffixes_of_a_table_imply_it(run: Run, talk: Path, tmp_path: Path) -> None:
    table = run("render", talk.name, "-f", "table").stdout
    assert run("render", talk.name, "-o", "words.TABLE.txt").returncode == 0
    assert (tmp_path / "words.TABLE.txt").read_bytes() == table
    assert run("render", talk.name, "-o", "v1.2.txt").returncode == 0
    assert (tmp_path / "v1.2.txt").read_text() == "One, two. Three!\n"


def test_page_without_the_copy_that_was_asked_for_is_reported(run: Run, talk: Path, tmp_path: Path) -> None:
    done = run("render", talk.name, "-o", "a.html", "--embed-audio")
    assert (done.returncode, b"no copy of the recording: none is found" in done.stderr) == (0, True)
    done = run("render", talk.name, "-o", "b.html", "--embed-audio", "--audio", talk.name)
    assert (done.returncode, b"neither a waveform nor a copy of the recording:" in done.stderr) == (0, True)
    assert not run("render", talk.name, "-o", "c.html").stderr.replace(b"wrote c.html\n", b"")


def test_page_of_a_part_offers_a_file_that_is_named_as_its_results(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(document("talks/a.flac#t=0.1,0.6"))
    assert b'"name":"a@0.1-0.6.json"' in run("render", "a.json", "-f", "html").stdout


def test_output_with_a_slash_at_its_end_is_a_folder(run: Run, talk: Path, tmp_path: Path) -> None:
    done = run("render", talk.name, "-o", "new/")
    assert (done.returncode, done.stderr) == (2, b"error: new/ is a folder\nhint: name a file in it\n")
    assert not (tmp_path / "new").exists()


def test_several_inputs_and_formats_go_to_output_dir(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(document(f"{name}.wav"))
    done = run("render", "?.json", "-f", "srt,vtt", "--output-dir", "out")
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.srt", "a.vtt", "b.srt", "b.vtt"]
    assert run("render", "a.json", "b.json", "-f", "srt").returncode == 0
    assert (tmp_path / "a.srt").read_bytes() == (tmp_path / "out" / "a.srt").read_bytes()
    again = run("render", "a.json", "b.json", "-f", "srt")
    assert (again.returncode, again.stderr.splitlines()[0]) == (2, b"error: a.srt exists")


def test_one_recording_is_not_played_by_the_pages_of_several_transcripts(run: Run, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(document("other.wav"))
    done = run("render", talk, "other.json", "-f", "html", "--output-dir", "out", "--audio", "talk.wav")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"error: --audio is the recording of one transcript, not of 2" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--audio", "talk.wav"], ["--embed-audio"]])
def test_options_of_the_page_need_the_page(run: Run, talk: Path, option: list[str]) -> None:
    done = run("render", talk, *option)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"error: {option[0]} needs -f html\nhint: add -f html".encode() in done.stderr


@pytest.mark.parametrize("rows", [["--to", "3"], ["--grep", "a"]])
def test_selected_rows_have_no_paragraphs(run: Run, talk: Path, rows: list[str]) -> None:
    """The hint was to add `-f text`, which rows can't be selected for."""
    done = run("render", talk, "--paragraphs", *rows)
    assert done.returncode == 2
    assert f"error: {rows[0]} and --paragraphs exclude each other".encode() in done.stderr


def test_ndjson_transcripts_become_separate_files(run: Run, tmp_path: Path) -> None:
    sources = ["talks/a.wav", "talks/b.wav", "other/b.wav", "-", "../../../c", ".bashrc", "x" * 300, "C:\\d.wav", "\n"]
    sources.append("می\u200cخواهم.wav")
    lines = [json.dumps(json.loads(document(source)), ensure_ascii=False) + "\n" for source in sources]
    (tmp_path / "all.ndjson").write_text("".join(lines), "utf-8")
    assert run("render", "all.ndjson").stdout == b"One, two. Three!\n" * len(sources)
    packed = run("render", "all.ndjson", "-f", "ndjson", "-w").stdout
    assert packed.decode() == "".join(lines)
    done = run("render", "all.ndjson", "-f", "srt", "--output-dir", "deep/out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == sorted(
        ["a.srt", "all-2.srt", "all-3.srt", "all-4.srt", "c.srt", "all-6.srt", "all-7.srt", "d.srt", "all-9.srt",
         "می\u200cخواهم.srt"]
    )  # fmt: skip
    refused = run("render", "all.ndjson", "-f", "srt")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"--output-dir" in refused.stderr


def test_events_of_a_live_session_render_to_subtitles(run: Run, tmp_path: Path) -> None:
    lines = [
        {"type": "partial", "at": 0.5, "text": "One"},
        {"type": "segment", "start": 0.0, "end": 1.0, "text": "One.", "timing": "audio"},
        {"type": "segment", "start": 8.0, "end": 9.0, "text": " Two.", "timing": "audio"},
        {"type": "end", "source": "mic", "model": "ink-2", "duration": 9.0, "text": "One. Two.", "complete": True},
    ]
    (tmp_path / "live.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("render", "live.ndjson", "-f", "srt").stdout.count(b" --> ") == 2
    assert run("render", "live.ndjson").stdout == b"One. Two.\n"


def test_render_never_overwrites_an_input(run: Run, talk: Path, tmp_path: Path) -> None:
    before = talk.read_bytes()
    (tmp_path / "link.json").symlink_to(talk)
    (tmp_path / "bad.json").write_text("no JSON")
    (tmp_path / "two.json").write_text(document("x.wav") + document("bad.wav"))
    for arguments in (
        ["talk.json", "-o", "talk.json"],
        ["talk.json", "-o", "link.json"],
        ["talk.json", "--json", "--output-dir", "."],
        ["two.json", "bad.json", "--json", "--output-dir", "."],
    ):
        done = run("render", *arguments, "--force")
        assert (done.returncode, done.stdout) == (2, b""), arguments
        assert b"is an input and must not be overwritten" in done.stderr
    assert (talk.read_bytes(), (tmp_path / "bad.json").read_text()) == (before, "no JSON")


def test_two_outputs_to_the_same_file_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(document("a.wav") + document("b.wav"))
    (tmp_path / "one.json").write_text(document())
    done = run("render", "two.json", "one.json", "-f", "srt")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"would be written twice" in done.stderr


def test_unwritable_result_is_printed_on_stdout(run: Run, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "full.txt").symlink_to("/dev/full")
    done = run("render", talk, "-o", "full.txt")
    assert (done.returncode, done.stdout) == (1, b"One, two. Three!\n")
    assert b"No space left on device" in done.stderr


def test_file_that_appears_meanwhile_is_kept(environment: dict[str, str], talk: Path, tmp_path: Path) -> None:
    (tmp_path / "long.json").write_text(json.dumps({"text": "long " * 100_000}))
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "long.txt")
    command = ["render", "long.json", "talk.json", "--output-dir", "out"]
    with start_program(command, env=environment, cwd=tmp_path, stdout=PIPE, stderr=PIPE, text=True) as program:
        with (tmp_path / "out" / "long.txt").open() as pipe:  # it is being written, and fills the pipe
            (tmp_path / "out" / "talk.txt").write_text("theirs")
            pipe.read()
        stdout, stderr = program.communicate(timeout=60)
    assert (program.returncode, stdout) == (1, "==> out/talk.txt <==\nOne, two. Three!\n")
    assert "error: out/talk.txt exists by now\n" in stderr
    assert (tmp_path / "out" / "talk.txt").read_text() == "theirs"


# Unusable inputs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", b"error: a.json is empty"),
        (b"Dear diary", b"error: a.json, line 1, column 1: not JSON: Expecting value"),
        (b'{"text": 5}', b"error: a.json: text is a number, where a string belongs"),
        (b"[" * 100_000, b"error: a.json, line 1: nested too deep for a transcript"),
        (b'{"text": "\xff"}', b"error: a.json is not text in Unicode"),
        (b"RIFF\x00\xe9\x05\x00WAVEfmt ", b"error: a.json is not text in Unicode"),
        (b'{"text": "a\x00b"}', b"error: a.json, line 1, column 12: not JSON: Invalid control character at"),
        (b"\xff\xfe\x00", b"error: a.json is not text in Unicode"),
    ],
)
def test_file_that_is_not_a_transcript_is_an_input_error(run: Run, tmp_path: Path, content: bytes, said: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    done = run("render", "a.json")
    assert (done.returncode, done.stdout) == (3, b"")
    error, hint = done.stderr.splitlines()
    assert error == said
    assert hint.startswith(b"hint: ")


def test_folder_and_missing_file_are_input_errors(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_TRANSCRIPT_BYTES + 1)
    for name in ("missing.json", ".", "nothing*.json", "huge.json"):
        done = run("render", name)
        assert (done.returncode, done.stdout) == (3, b""), done.stderr
        assert done.stderr.startswith(b"error: ")
        assert b"internal error" not in done.stderr
    assert run("render").returncode == 2


def test_unusable_inputs_are_reported_and_the_others_processed(run: Run, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    done = run("render", "missing.json", "bad.json", talk, "folder/*.json", "-f", "ndjson")
    assert done.returncode == 1
    assert json.loads(done.stdout)["text"] == "One, two. Three!"
    assert len([line for line in done.stderr.splitlines() if line.startswith(b'{"error"')]) == 3


def test_utf16_json_of_powershell_is_read(run: Run, tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "a.json").write_bytes(document().replace("\n", "\r\n").encode(encoding))
        assert run("render", "a.json").stdout == b"One, two. Three!\n"


def test_lone_surrogates_and_control_characters_are_not_printed(run: Run, tmp_path: Path) -> None:
    text = "a\ud800\x00\x1b[2J"
    (tmp_path / "a.json").write_text(json.dumps({"text": text, "words": [{"word": text, "start": 0, "end": 1}]}))
    for name in FORMATS:
        done = run("render", "a.json", "-f", name, *(["-w"] if name == "text" else []))
        assert done.returncode == 0
        assert not {0, 0x1B} & set(done.stdout)


@pytest.mark.parametrize("format", ["json", "ndjson"])
def test_json_has_no_lone_surrogates_of_a_text_but_the_bytes_of_a_file_name(
    run: Run, tmp_path: Path, format: str
) -> None:
    saved = {"text": "a \ud800 \udc00 \udfff b", "duration": 2, "source": "caf\udce9.wav", "model": "m"}
    (tmp_path / "a.json").write_text(json.dumps(saved))
    read = json.loads(run("render", "a.json", "-f", format).stdout)
    assert (read["text"], read["source"]) == ("a \ufffd \ufffd \ufffd b", "caf\udce9.wav")


def test_terminal_on_stdin_is_not_waited_for(environment: dict[str, str], tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "cartesia_cli", "render", "-"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, stdin=follower, capture_output=True, timeout=60)
    os.close(leader)
    os.close(follower)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == b"error: stdin is a terminal, not a transcript"


def test_named_pipe_is_read(environment: dict[str, str], talk: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m cartesia_cli render <(cat talk.json) -f srt"
    done = subprocess.run(["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout.count(b" --> ") >= 1, done.stderr
