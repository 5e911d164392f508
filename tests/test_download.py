"""Downloads: resumed after lost connections, never a mixture of two files, checked, bounded, without secrets."""

from __future__ import annotations

import gzip
import os
import random
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from cartesia_cli.client import download
from cartesia_cli.client.download import Downloader, WebPageError
from cartesia_cli.commands.batch.inputs import Input
from cartesia_cli.commands.batch.workspace import Workspace
from cartesia_cli.errors import CliError, InputError, NetworkError
from cartesia_cli.retry import RetryPolicy
from tests.fault_server import Exchange, FaultServer, answers, refuses
from tests.file_server import FileServer

DATA = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)


def downloader(said: list[str] | None = None, retries: int | None = None, **options: float) -> Downloader:
    on_retry = (lambda message: None) if said is None else said.append
    return Downloader(retry=RetryPolicy(retries), on_retry=on_retry, sleep=lambda seconds: None, **options)


def error_of(server: FileServer, folder: Path, path: str = "/talk.mp3", **limits: int) -> CliError:
    with downloader() as client, pytest.raises(CliError) as raised:
        client.download(server.url + path, folder, **limits)
    assert list(folder.iterdir()) == []
    return raised.value


def test_download_has_content_and_version(tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    with FileServer({"/get": DATA}, headers={"ETag": '"7"'}) as server, downloader() as client:
        done = client.download(f"{server.url}/get", tmp_path, on_progress=lambda *one: progress.append(one))
    assert done.path.read_bytes() == DATA and done.path.parent == tmp_path
    assert (done.bytes, done.version) == (len(DATA), '"7"')
    assert progress[-1] == (len(DATA), len(DATA))


def test_threads_of_a_run_share_one_downloader(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Downloader] = []

    class SlowDownloader(Downloader):
        def __init__(self, **options: object) -> None:
            time.sleep(0.1)
            super().__init__()
            opened.append(self)

    monkeypatch.setattr(download, "Downloader", SlowDownloader)
    with FileServer({"/talk.mp3": DATA}) as server, Workspace() as workspace, ThreadPoolExecutor() as threads:
        url = f"{server.url}/talk.mp3"
        item = Input(url, Path("talk.mp3"), Path("talk.mp3"), origin=url)
        assert {state.bytes for state in threads.map(workspace.describe, [item] * 4)} == {len(DATA)}
    assert len(opened) == 1


def test_download_goes_through_the_proxy_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(exchange: Exchange) -> None:
        exchange.head()
        exchange.answer(407, "", [("Proxy-Authenticate", "Basic realm=x")])

    url = "http://media.example/talk.wav"
    with FaultServer(answers(DATA, [("Content-Type", "audio/wav")]), refuses) as proxy:
        monkeypatch.setattr(os, "environ", {"http_proxy": f"http://me:hunter2@127.0.0.1:{proxy.port}"})
        with downloader() as client:
            assert client.download(url, tmp_path).path.read_bytes() == DATA
            with pytest.raises(NetworkError, match="the proxy refuses: status 407") as refused:
                client.download(url, tmp_path)
        assert {request.target for request in proxy.requests} == {url}
        assert {request.header("Proxy-Authorization") for request in proxy.requests} == {"Basic bWU6aHVudGVyMg=="}
    assert refused.value.hint == "check http_proxy, including its user and password"
    with downloader(retries=0) as client, pytest.raises(NetworkError) as unreachable:
        client.download(url, tmp_path)
    assert unreachable.value.hint == "check http_proxy: requests go through this proxy"


def test_download_that_is_not_valid_http_is_called_that(tmp_path: Path) -> None:
    said: list[str] = []
    with FaultServer("breaks_headers") as server, downloader(said) as client, pytest.raises(NetworkError) as raised:
        client.download(f"{server.base_url}/talk.mp3", tmp_path)
    assert raised.value.message.endswith("the server's response is not valid HTTP: illegal header line")
    assert len(said) == 2 and raised.value.hint == "check the URL"


def test_lost_download_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    with FileServer({"/talk.mp3": DATA}, drop=lambda number: number <= 2) as server, downloader(said) as client:
        done = client.download(f"{server.url}/talk.mp3", tmp_path)
    assert done.path.read_bytes() == DATA
    assert [request.headers["Range"] for request in server.requests] == [None, "bytes=150000-", "bytes=225000-"]
    assert server.sent_bytes == len(DATA)
    assert len(said) == 2 and "the connection was lost after 0.1 MB of 0.3 MB" in said[0] and "try 2 of 3" in said[0]


@pytest.mark.parametrize("options", [{"ranges": False}, {"headers": {"ETag": None}}, {"headers": {"ETag": 'W/"1"'}}])
def test_download_starts_over_where_it_cannot_be_resumed(tmp_path: Path, options: dict[str, object]) -> None:
    server = FileServer({"/talk.mp3": DATA}, drop=lambda number: number == 1, **options)
    with server, downloader() as client:
        assert client.download(f"{server.url}/talk.mp3", tmp_path).path.read_bytes() == DATA


@pytest.mark.parametrize("ranges", [True, "always"])
def test_file_that_changes_meanwhile_is_never_mixed(tmp_path: Path, ranges: bool | str) -> None:
    files = {"/talk.mp3": DATA}

    def drop_and_change(number: int) -> bool:
        files["/talk.mp3"] = OTHER
        return number == 1

    with FileServer(files, drop=drop_and_change, ranges=ranges) as server, downloader() as client:
        assert client.download(f"{server.url}/talk.mp3", tmp_path).path.read_bytes() == OTHER


def test_large_file_outlives_more_lost_connections_than_there_are_retries(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(30 << 20)
    with FileServer({"/a.wav": data}, drop=lambda number: number < 5) as server, downloader(retries=1) as client:
        assert client.download(f"{server.url}/a.wav", tmp_path).path.read_bytes() == data
    assert len(server.requests) == 5


def test_error_after_the_last_attempt_leaves_no_file(tmp_path: Path) -> None:
    with FileServer({"/talk.mp3": DATA}, drop=lambda number: True) as server:
        error = error_of(server, tmp_path)
    assert isinstance(error, NetworkError) and not error.stops_batch
    assert len(server.requests) == 3
    assert error.message.startswith(f"{server.url}/talk.mp3: the connection was lost after")


@pytest.mark.parametrize(
    ("status", "tries", "kind", "words"),
    [(404, 1, InputError, "check the URL"), (403, 1, InputError, "signed"), (401, 1, InputError, "USER:PASSWORD"),
     (503, 3, NetworkError, "later"), (429, 3, NetworkError, "later")],
)  # fmt: skip
def test_refusal_is_retried_if_the_server_may_answer_later(
    tmp_path: Path, status: int, tries: int, kind: type[CliError], words: str
) -> None:
    with FileServer({"/talk.mp3": DATA}, statuses=[(status, {})] * 9) as server:
        error = error_of(server, tmp_path)
    assert (len(server.requests), type(error), error.status) == (tries, kind, status)
    assert words in (error.hint or "")


def test_server_that_asks_to_wait_for_long_is_not_asked_again(tmp_path: Path) -> None:
    with FileServer({"/talk.mp3": DATA}, statuses=[(503, {"Retry-After": "3600"})]) as server:
        error_of(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("media_type", "kind", "words"),
    [("text/html; charset=utf-8", WebPageError, "is a web page, not a recording"),
     ("application/vnd.apple.mpegurl", WebPageError, "a playlist of a stream"),
     ("application/json", InputError, "is JSON, not a recording")],
)  # fmt: skip
def test_page_or_document_is_not_a_recording(tmp_path: Path, media_type: str, kind: type[CliError], words: str) -> None:
    with FileServer({"/talk.mp3": b"<html>"}, headers={"Content-Type": media_type}) as server:
        error = error_of(server, tmp_path)
    assert type(error) is kind and words in error.message
    assert ("cartesia-cli[web]" in (error.hint or "")) == (kind is WebPageError)


def test_file_larger_than_the_limit_is_refused_also_without_a_length(tmp_path: Path) -> None:
    with FileServer({"/talk.mp3": DATA}) as server:
        assert "larger than 0.2 MB" in error_of(server, tmp_path, max_bytes=200_000).message
        assert server.requests
    compressed = gzip.compress(bytes(10_000_000))
    with FileServer({"/talk.mp3": compressed}, headers={"Content-Encoding": "gzip"}) as server:
        assert "larger than 0.2 MB" in error_of(server, tmp_path, max_bytes=200_000).message


def test_compressed_response_is_decoded(tmp_path: Path) -> None:
    server = FileServer({"/a.wav": gzip.compress(DATA)}, headers={"Content-Encoding": "gzip"}, drop=lambda n: n == 1)
    with server, downloader() as client:
        assert client.download(f"{server.url}/a.wav", tmp_path).path.read_bytes() == DATA


def test_full_disk_is_an_input_error_that_names_tmpdir(tmp_path: Path) -> None:
    with FileServer({"/talk.mp3": DATA}) as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            error = error_of(server, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "can't be saved in a temporary file: File too large" in error.message and "TMPDIR" in (error.hint or "")


def test_size_beyond_the_free_space_is_refused_before_the_download(tmp_path: Path) -> None:
    with FileServer({"/talk.mp3": DATA}, headers={"Content-Length": str(1 << 50)}) as server:
        assert "MB are free in" in error_of(server, tmp_path, max_bytes=1 << 60).message


def test_password_is_sent_to_its_host_only_and_shown_nowhere(tmp_path: Path) -> None:
    with FileServer({"/talk.mp3": DATA}) as elsewhere, FileServer({"/a": DATA}, password="joe:s3cret") as server:
        url = server.url.replace("//", "//joe:s3cret@")
        with downloader() as client:
            assert client.download(f"{url}/a", tmp_path).path.read_bytes() == DATA
            server.statuses = [(302, {"Location": f"{elsewhere.url.replace('127.0.0.1', 'localhost')}/talk.mp3"})]
            assert client.download(f"{url}/a", tmp_path).bytes == len(DATA)
            assert elsewhere.requests[0].headers["Authorization"] is None
            with pytest.raises(InputError) as refused:
                client.download(f"{url}/missing?sig=s3cret&id=1", tmp_path)
    assert "s3cret" not in str(refused.value) and "joe" not in str(refused.value)
    assert all("cookie" not in request.headers for request in elsewhere.requests)


def test_cookies_of_a_server_are_not_sent_back(tmp_path: Path) -> None:
    with FileServer({"/a.mp3": DATA}, headers={"Set-Cookie": "id=1"}) as server, downloader() as client:
        client.download(f"{server.url}/a.mp3", tmp_path)
        client.download(f"{server.url}/a.mp3", tmp_path)
    assert server.requests[1].headers["Cookie"] is None


def test_redirects_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    with FileServer({"/a.mp3": DATA}, statuses=[(302, {"Location": "/a.mp3"})]) as server, downloader() as client:
        assert client.download(f"{server.url}/get", tmp_path).bytes == len(DATA)
    (empty := tmp_path / "empty").mkdir()
    with FileServer({}, statuses=[(302, {"Location": "/a"})] * 20) as server:
        assert "more than 10 redirects" in error_of(server, empty).message
    with FileServer({}, statuses=[(302, {"Location": "file:///etc/passwd"})]) as server:
        assert "something else than http" in error_of(server, empty).message
    with downloader() as client, pytest.raises(InputError, match="http:// has no host"):
        client.download("http://", empty)


def test_download_that_stalls_counts_as_lost(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_sockets = []

        def answer_and_stall() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    connection, _ = listener.accept()
                    open_sockets.append(connection)
                    with suppress(ConnectionError):  # the client has given up
                        connection.recv(10_000)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")

        threading.Thread(target=answer_and_stall, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp3"
        with downloader(stall_seconds=0.1) as client, pytest.raises(NetworkError, match="nothing more came"):
            client.download(url, tmp_path)
        assert len(open_sockets) == 3


def test_unreachable_server_is_a_network_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp3"
    with downloader() as client, pytest.raises(NetworkError, match="can't be reached: Connection refused"):
        client.download(url, tmp_path)
    for host in ("[::1", "a..example", f"{'a' * 64}.example"):
        with downloader() as client, pytest.raises(InputError, match="not a valid URL"):
            client.download(f"http://{host}/a.mp3", tmp_path)


def test_describe_gets_size_and_version_without_the_content() -> None:
    server = FileServer({"/a.mp3": DATA}, headers={"Content-Type": "audio/mpeg", "ETag": '"1"'})
    with server, downloader() as client:
        assert client.describe(f"{server.url}/a.mp3") == (len(DATA), '"1"')
        assert [request.method for request in server.requests] == ["HEAD"]
        server.statuses = [(405, {})]
        assert client.describe(f"{server.url}/a.mp3").bytes == len(DATA)
        with pytest.raises(InputError, match="Not Found"):
            client.describe(f"{server.url}/b.mp3")


def test_answers_that_do_not_continue_a_lost_download_make_it_start_over(tmp_path: Path) -> None:
    for status, headers in ((416, {}), (206, {"Content-Range": f"bytes 5-9/{len(DATA)}"})):
        server = FileServer({"/talk.mp3": DATA})
        answer = status, headers
        server.drop = lambda number, server=server, answer=answer: number == 1 and not server.statuses.append(answer)
        with server, downloader() as client:
            assert client.download(f"{server.url}/talk.mp3", tmp_path).path.read_bytes() == DATA
        assert [request.headers["Range"] for request in server.requests] == [None, "bytes=150000-", None]


def test_download_that_hardly_moves_counts_as_lost(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_slowly() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(1 << 20))
                    while True:
                        time.sleep(0.02)
                        connection.sendall(b"x")

        threading.Thread(target=answer_slowly, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp3"
        with (
            downloader(retries=0, stall_seconds=0.5) as client,
            pytest.raises(NetworkError, match=r"the download hardly moved for 0\.5 s"),
        ):
            client.download(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_servers_and_proxies_that_cannot_be_talked_to_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileServer({"/talk.mp3": DATA}, headers={"Content-Encoding": "gzip"}) as server:
        assert "the server's response can't be read" in error_of(server, tmp_path).message
        with downloader(retries=0) as client, pytest.raises(NetworkError, match="TLS"):
            client.download(f"https://{server.host}/talk.mp3", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp3"
    with downloader() as client, pytest.raises(NetworkError, match="can't be reached"):
        client.describe(url, once=True)
    with FaultServer(refuses(407)) as proxy, downloader(retries=0) as client:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url)
        with pytest.raises(CliError, match="407"):
            client.download("https://a.example/talk.mp3", tmp_path)
