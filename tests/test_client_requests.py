"""Requests as the batch reference documents them, read off the wire by a server that is not the project's own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cartesia_cli import __version__
from cartesia_cli.client import BatchClient, Deadlines, RetryPolicy, Upload
from cartesia_cli.client.upload import MultipartBody
from cartesia_cli.errors import InputError
from cartesia_cli.protocol.batch import BatchOptions, BatchResponse
from cartesia_cli.protocol.constants import Credential

from .fault_server import KEY, TEXT, FaultServer, Request, answers, environment, parse_form, refuses, write_wav
from .fork_server import run_program

PATIENCE = Deadlines(total=20.0, stall=20.0, response=20.0)
PLAIN = BatchOptions(model="ink-whisper")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = write_wav(tmp_path / "talk.wav")
    with path.open("r+b") as file:
        file.seek(44)
        file.write(bytes(range(256)) * 12)  # a recording in which every place looks different
    return path


def send(
    server: FaultServer,
    path: Path,
    options: BatchOptions = PLAIN,
    *,
    base_url: str | None = None,
    credential: Credential | None = Credential(KEY, "a test"),  # noqa: B008  frozen
    endpoint: str = "stt",
    retry: RetryPolicy | None = None,
    filename: str | None = None,
) -> BatchResponse:
    with BatchClient(
        base_url or server.base_url, credential, retry=retry or RetryPolicy(0), sleep=lambda _: None
    ) as client:
        upload = Upload(path, filename or path.name, "audio/wav")
        return client.transcribe(upload, options, endpoint=endpoint, deadlines=PATIENCE)


def request_of(path: Path, options: BatchOptions = PLAIN, **how: object) -> Request:
    """The one request that a transcription makes."""
    with FaultServer("fine") as server:
        assert send(server, path, options, **how).text == TEXT  # type: ignore[arg-type]
        (request,) = server.requests
        assert not server.faults
    return request


def cli(home: Path, server: FaultServer, *arguments: str | bytes, **changes: str | None) -> Request:
    """The one request of a run of the whole program, which must end well."""
    done = run_program(
        ["transcribe", *arguments],
        env=environment(home, changes.pop("base_url", None) or server.base_url, **changes),
        cwd=home,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert (done.returncode, done.stdout.decode()) == (0, TEXT + "\n"), done.stderr
    (request,) = server.requests
    return request


# The request -----------------------------------------------------------------------------------------------


def test_a_plain_request_is_the_documented_one(wav: Path) -> None:
    request = request_of(wav)
    assert (request.method, request.target) == ("POST", "/stt")
    assert request.whole
    assert [(part.name, part.content) for part in request.parts] == [
        ("model", b"ink-whisper"),
        ("file", wav.read_bytes()),
    ]
    assert request.header("Cartesia-Version") == "2026-03-01"
    assert request.header("Authorization") == f"Bearer {KEY}"
    assert request.header("Content-Length") == str(len(request.body))


def test_every_option_has_its_place_and_the_form_the_order_of_the_official_client(wav: Path) -> None:
    options = BatchOptions(
        model="ink-whisper-2025-06-04",
        language="haw",
        word_timestamps=True,
        encoding="pcm_s16le",
        sample_rate=16000,
    )
    request = request_of(wav, options)
    assert request.path == "/stt"
    assert request.query == [("encoding", "pcm_s16le"), ("sample_rate", "16000")]
    assert [(part.name, part.content) for part in request.parts[:-1]] == [
        ("model", b"ink-whisper-2025-06-04"),
        ("language", b"haw"),
        ("timestamp_granularities[]", b"word"),
    ]
    assert request.parts[-1].name == "file"


def test_parts_of_a_form_are_fields_without_a_file_name_and_one_file(wav: Path) -> None:
    *fields, file = request_of(wav, BatchOptions(model="m", language="de", word_timestamps=True)).parts
    assert all((field.filename, field.headers) == (None, {}) for field in fields)
    assert (file.filename, file.headers) == (b"talk.wav", {"content-type": "audio/wav"})


@pytest.mark.parametrize(("endpoint", "path"), [("stt", "/stt"), ("openai", "/audio/transcriptions")])
def test_both_routes_take_the_same_request(wav: Path, endpoint: str, path: str) -> None:
    options = BatchOptions(model="m", language="fr", word_timestamps=True, encoding="pcm_alaw", sample_rate=8000)
    request = request_of(wav, options, endpoint=endpoint)
    assert request.target == f"{path}?encoding=pcm_alaw&sample_rate=8000"
    assert [part.name for part in request.parts] == ["model", "language", "timestamp_granularities[]", "file"]


@pytest.mark.parametrize("prefix", ["/v1", "/eu/speech%20to%20text"])
def test_the_path_of_a_base_url_is_kept(wav: Path, prefix: str) -> None:
    with FaultServer("fine") as server:
        send(server, wav, base_url=server.base_url + prefix)
        assert server.requests[0].target == f"{prefix}/stt"


def test_request_reveals_nothing_about_the_user(wav: Path) -> None:
    request = request_of(wav)
    names = [name.lower() for name, _ in request.headers]
    assert sorted(names) == sorted(
        ["host", "accept", "accept-encoding", "authorization", "cartesia-version", "connection", "content-length",
         "content-type", "user-agent"]
    )  # fmt: skip
    assert request.header("User-Agent") == f"cartesia-cli/{__version__}"
    assert str(wav.parent).encode() not in request.body


def test_an_answer_is_asked_for_unpacked_and_as_json(wav: Path) -> None:
    request = request_of(wav)
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("Accept") == "application/json"
    assert request.header("Transfer-Encoding") is None


def test_without_a_credential_none_is_sent(wav: Path) -> None:
    assert request_of(wav, credential=None).header("Authorization") is None


def test_each_request_has_its_own_boundary(wav: Path) -> None:
    kinds = {request_of(wav).header("Content-Type") for _ in range(3)}
    assert len(kinds) == 3


def test_text_for_a_sample_goes_to_its_route(tmp_path: Path) -> None:
    wanted = {"model_id": "sonic", "transcript": "Grüße"}
    sound = write_wav(tmp_path / "sound.wav", 1000).read_bytes()
    with FaultServer(answers(sound)) as server:
        with BatchClient(f"{server.base_url}/v1", Credential(KEY, "a test")) as client:
            assert client.synthesize(wanted, deadlines=PATIENCE) == sound
        (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v1/tts/bytes")
    assert request.header("Authorization") == f"Bearer {KEY}"
    assert request.header("Content-Type") == "application/json"
    assert '"Grüße"'.encode() in request.body


# A second try ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [refuses(503), "resets_during_upload"])
def test_a_second_try_sends_the_whole_file_again(tmp_path: Path, first: object) -> None:
    path = write_wav(tmp_path / "long.wav", 8 << 20)
    with path.open("r+b") as file:
        file.seek(44)
        file.write(b"the beginning")
    with FaultServer(first, "fine") as server:  # type: ignore[arg-type]
        assert send(server, path, retry=RetryPolicy()).text == TEXT
        assert len(server.requests) == 2
        again = server.requests[1]
        assert again.whole
        assert again.part("file").content == path.read_bytes()
        assert again.target == server.requests[0].target
        assert again.header("Authorization") == f"Bearer {KEY}"


def test_a_redirect_within_the_origin_takes_the_whole_request_along(wav: Path) -> None:
    for status in (307, 308):
        with FaultServer(refuses(status, [("Location", "/v2/stt?from=v1")]), "fine") as server:
            send(server, wav, BatchOptions(model="m", language="de"))
            first, second = server.requests
            assert second.target == "/v2/stt?from=v1"
            assert second.method == "POST"
            assert [(part.name, part.content) for part in second.parts] == [
                (part.name, part.content) for part in first.parts
            ]
            assert second.header("Authorization") == f"Bearer {KEY}"


# Names of files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("talk.wav", b"talk.wav"),
        ("two words; and=more.wav", b"two words; and=more.wav"),
        ("Grüße 語.wav", "Grüße 語.wav".encode()),
        ("山田\u3000太郎 می\u200cخواهم.wav", "山田\u3000太郎 می\u200cخواهم.wav".encode()),
        ('say "hello".wav', b"say %22hello%22.wav"),
        ("line\nbreak\r\n.wav", b"line%0Abreak%0D%0A.wav"),
        ('"\r\nContent-Type: text/html\r\n\r\n--', b"%22%0D%0AContent-Type: text/html%0D%0A%0D%0A--"),
        ("bell\a\x1b[31m.wav", "bell��[31m.wav".encode()),
        (os.fsdecode(b"caf\xe9.wav"), "caf�.wav".encode()),
        ("-rf.wav", b"-rf.wav"),
    ],
)
def test_a_file_name_is_escaped_as_browsers_do(wav: Path, name: str, sent: bytes) -> None:
    assert request_of(wav, filename=name).part("file").filename == sent


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(min_size=1, max_size=255))
@example(b'"\r\n--x--\r\n')
def test_file_name_cannot_inject_form_parts(wav: Path, raw: bytes) -> None:
    body = MultipartBody([("model", "m")], Upload(wav, os.fsdecode(raw), "audio/wav"), lambda count: None)
    data = b"".join(body)
    assert body.headers["Content-Length"] == str(len(data))
    model, file = parse_form(body.headers["Content-Type"], data)
    assert (model.content, file.content) == (b"m", wav.read_bytes())
    assert file.filename is not None
    file.filename.decode("utf-8")


def test_upload_is_streamed_and_counted(tmp_path: Path) -> None:
    counts: list[int] = []
    path = write_wav(tmp_path / "long.wav", 5_000_000)
    for block in MultipartBody([], Upload(path, "long.wav", "audio/wav"), counts.append):
        assert len(block) <= 1 << 20
    assert sum(counts) == 5_000_000


def test_a_recording_that_is_gone_is_an_input_error(tmp_path: Path) -> None:
    with FaultServer("fine") as server, pytest.raises(InputError, match=r"gone\.wav"):
        send(server, tmp_path / "gone.wav")


# The whole program -----------------------------------------------------------------------------------------


def test_the_program_sends_what_its_options_say(wav: Path, tmp_path: Path) -> None:
    with FaultServer("fine") as server:
        request = cli(
            tmp_path, server, "talk.wav", "-m", "ink-whisper-2025-06-04", "-l", "de", "--endpoint", "openai",
            base_url=f"{server.base_url}/v1/",
        )  # fmt: skip
    assert request.target == "/v1/audio/transcriptions"
    assert [(part.name, part.content) for part in request.parts] == [
        ("model", b"ink-whisper-2025-06-04"),
        ("language", b"de"),
        ("timestamp_granularities[]", b"word"),
        ("file", wav.read_bytes()),
    ]
    assert request.part("file").headers == {"content-type": "audio/wav"}
    assert request.header("Authorization") == f"Bearer {KEY}"


def test_the_program_sends_headerless_audio_with_its_format_in_the_query(tmp_path: Path) -> None:
    raw = tmp_path / "talk.raw"
    raw.write_bytes(b"\x01\x02" * 1600)
    with FaultServer("fine") as server:
        request = cli(tmp_path, server, "talk.raw", "--encoding", "pcm_s16le", "--sample-rate", "16000")
    assert request.target == "/stt?encoding=pcm_s16le&sample_rate=16000"
    assert request.part("file").content == raw.read_bytes()


def test_page_of_headerless_audio_carries_it_and_does_not_refer_to_what_no_browser_plays(tmp_path: Path) -> None:
    (tmp_path / "talk.raw").write_bytes(b"\x01\x02" * 16000)
    encoding = ("talk.raw", "--encoding", "pcm_s16le", "--sample-rate", "16000", "--force")
    with FaultServer("fine") as server:
        for more, carries in (("--embed-audio",), True), ((), False):
            done = run_program(
                ["transcribe", *encoding, "-o", "page.html", *more],
                env=environment(tmp_path, server.base_url), cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=30,
            )  # fmt: skip
            assert (done.returncode, b"no waveform" in done.stderr) == (0, False)
            page = (tmp_path / "page.html").read_text()
            assert ("audio/webm" in page, '"link":"talk.raw"' in page) == (carries, False)


def test_file_names_that_are_not_utf8_are_shown(wav: Path, tmp_path: Path) -> None:
    name = b'caf\xe9 "1"\n.wav'
    try:
        os.rename(wav, os.path.join(os.fsencode(tmp_path), name))
    except OSError:
        pytest.skip("no such names on this file system")
    with FaultServer("fine") as server:
        request = cli(tmp_path, server, name)
    assert request.part("file").filename == "caf� %221%22%0A.wav".encode()


def test_access_token_is_sent_like_a_key(wav: Path, tmp_path: Path) -> None:
    with FaultServer("fine") as server:
        request = cli(tmp_path, server, "talk.wav", CARTESIA_API_KEY=None, CARTESIA_ACCESS_TOKEN="a.b.c")
    assert request.header("Authorization") == "Bearer a.b.c"


def test_a_loopback_server_without_a_key_gets_none(wav: Path, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    with FaultServer("fine") as server:
        request = cli(tmp_path, server, "talk.wav", CARTESIA_API_KEY=None)
    assert request.header("Authorization") is None
    assert not any(re.search("key|token|auth", name, re.IGNORECASE) for name, _ in request.headers)
