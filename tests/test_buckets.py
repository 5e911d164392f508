"""Objects are found, downloaded and written by obstore, in an S3 server (moto) and in others that drop connections."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cartesia_cli.errors import CliError, InputError, NetworkError, OutputError, UsageError
from cartesia_cli.scale.buckets import Buckets, MissingObjectError, stands_for_several
from cartesia_cli.transfer import DownloadedFile
from tests.file_server import FileServer
from tests.object_storage import ObjectStorage, object_storage

pytestmark = pytest.mark.waits

DATA = random.Random(1).randbytes(3_000_000)
SUFFIXES = frozenset({".mp3", ".wav"})
TALKS = {
    "talks/a.mp3": b"a",
    "talks/notes.txt": b"n",
    "talks/2024/b.WAV": b"bb",
    "talks/2024/x/c.mp3": b"ccc",
    "talks/.hidden/d.mp3": b"d",
    "talks/.e.mp3": b"e",
    "talks2/f.mp3": b"f",
    "odd/what? #1 %20é.mp3": DATA,
}


def download(url: str, folder: Path, max_bytes: int = 1 << 30) -> DownloadedFile:
    return Buckets().download(url, folder, max_bytes=max_bytes, on_progress=lambda received, size: None)


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as server:
        server.create("talks", TALKS)
        yield server


@pytest.fixture(autouse=True)
def account(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("s3://talks/talks/", {"a.mp3", "2024/b.WAV", "2024/x/c.mp3"}),
        ("s3://talks/talks/2024/", {"b.WAV", "x/c.mp3"}),
        (
            "s3://talks",
            {"talks/a.mp3", "talks/2024/b.WAV", "talks/2024/x/c.mp3", "talks2/f.mp3", "odd/what? #1 %20é.mp3"},
        ),
        ("s3://talks/talks/*.mp3", {"a.mp3"}),
        ("s3://talks/talks/**/*.mp3", {"a.mp3", "2024/x/c.mp3"}),
        ("s3://talks/talks*/*.mp3", {"talks/a.mp3", "talks2/f.mp3"}),
        ("s3://talks/talks/*", {"a.mp3", "notes.txt"}),
        ("s3://talks/talks/.*", {".e.mp3"}),
        ("s3://talks/nothing/", set()),
    ],
)
def test_prefix_and_glob_stand_for_the_recordings_below_them(url: str, found: set[str]) -> None:
    assert stands_for_several(url)
    objects = list(Buckets().search(url, SUFFIXES))
    assert {key for _, key, _ in objects} == found
    assert {address for address, _, _ in objects} <= {f"s3://talks/{key}" for key in TALKS}
    assert all(
        state.bytes == len(TALKS[address.removeprefix("s3://talks/")]) and state.version
        for address, _, state in objects
    )


class Listing(BaseHTTPRequestHandler):
    """Answers requests for a list of 20,000 objects in pages of 1,000, as S3 does."""

    pages = 0

    def do_GET(self) -> None:
        token = parse_qs(urlsplit(self.path).query).get("continuation-token", ["0"])[0]
        Listing.pages += 1
        start = int(token)
        row = (
            "<Contents><Key>a/{:06}.mp3</Key><Size>1</Size><LastModified>2026-11-29T05:00:00Z</LastModified></Contents>"
        )
        rows = "".join(row.format(number) for number in range(start, start + 1000))
        more = f"<NextContinuationToken>{start + 1000}</NextContinuationToken>" if start < 19_000 else ""
        body = f"<ListBucketResult>{rows}{more}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_listing_is_read_page_by_page_as_objects_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        objects = Buckets().search("s3://talks/a/", SUFFIXES)
        assert next(objects)[1] == "000000.mp3"
        assert Listing.pages <= 3
        assert sum(1 for _ in islice(objects, 10_000)) == 10_000
        assert Listing.pages <= 13
        assert sum(1 for _ in objects) == 9_999
        server.shutdown()
    assert Listing.pages == 20


def test_downloaded_object_has_its_content_also_with_an_odd_key(tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    url = "s3://talks/odd/what? #1 %20é.mp3"
    done = Buckets().download(url, tmp_path, max_bytes=1 << 30, on_progress=lambda *one: progress.append(one))
    assert done.path.read_bytes() == DATA and done.path.suffix == ".mp3"
    assert progress[-1] == (done.bytes, len(DATA)) == (len(DATA), len(DATA))
    assert done.version == Buckets().describe(url).version


def test_errors_name_what_is_missing_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(url: str, max_bytes: int = 1 << 30) -> CliError:
        with pytest.raises(CliError) as raised:
            download(url, tmp_path, max_bytes)
        assert not list(tmp_path.iterdir())
        return raised.value

    missing = error("s3://talks/talks/z.mp3")
    assert isinstance(missing, MissingObjectError) and missing.message == "s3://talks/talks/z.mp3 does not exist"
    nowhere = error("s3://nowhere/a.mp3")
    assert isinstance(nowhere, InputError) and "there is no bucket 'nowhere'" in nowhere.message
    assert "larger than 0.0 MB" in error("s3://talks/odd/what? #1 %20é.mp3", 10_000).message
    assert "contained empty path segment" in error("s3://talks/a//b.mp3").message
    with pytest.raises(InputError, match="there is no bucket 'nowhere'"):
        list(Buckets().search("s3://nowhere/", SUFFIXES))
    assert not Buckets().exists("s3://talks/talks/z.mp3") and Buckets().exists("s3://talks/talks/a.mp3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    anonymous = error("s3://talks/talks/a.mp3")
    assert "no credentials for s3://" in anonymous.message and "AWS_ACCESS_KEY_ID" in (anonymous.hint or "")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    private = error("s3://talks/talks/a.mp3")
    assert private.message.startswith("s3://talks/talks/a.mp3: access denied")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused = error("s3://talks/talks/a.mp3")
    assert isinstance(refused, NetworkError) and "9" not in refused.message, refused.message


@pytest.mark.parametrize(("scheme", "settings"), [
    ("gs", {"GOOGLE_BASE_URL": "{url}", "GOOGLE_SKIP_SIGNATURE": "true"}),
    ("az", {"AZURE_ENDPOINT": "{url}", "AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_SKIP_SIGNATURE": "true"}),
])  # fmt: skip
def test_google_and_azure_are_read_by_the_same_code(
    scheme: str, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileServer({"/talks/a.mp3": DATA}, headers={"Last-Modified": "Sun, 29 Nov 2026 05:00:00 GMT"}) as server:
        for name, value in settings.items():
            monkeypatch.setenv(name, value.format(url=server.url))
        assert download(f"{scheme}://talks/a.mp3", tmp_path).path.read_bytes() == DATA


def test_object_is_written_whole_and_not_overwritten(storage: ObjectStorage) -> None:
    buckets = Buckets()
    buckets.put("s3://talks/out/a b.txt", "Grüße".encode(), overwrite=False)
    with pytest.raises(FileExistsError, match=r"a b\.txt exists"):
        buckets.put("s3://talks/out/a b.txt", b"other", overwrite=False)
    assert storage.read("talks", "out/a b.txt") == "Grüße".encode()
    buckets.put("s3://talks/out/a b.txt", b"other", overwrite=True)
    assert storage.read("talks", "out/a b.txt") == b"other"
    with pytest.raises(OutputError, match="there is no bucket") as raised:
        buckets.put("s3://nowhere/a.txt", b"x", overwrite=True)
    assert raised.value.stops_batch


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    headers: dict[str, str | None] = {"Last-Modified": "Sun, 29 Nov 2026 05:00:00 GMT"}
    with FileServer({"/talks/a.mp3": DATA}, headers=headers) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


def test_transfer_that_breaks_off_is_continued(dropping: FileServer, tmp_path: Path) -> None:
    dropping.drop = lambda number: number <= 2
    done = download("s3://talks/a.mp3", tmp_path)
    assert done.path.read_bytes() == DATA
    assert dropping.sent_bytes < 1.5 * len(DATA)


def test_object_that_changes_meanwhile_is_never_mixed(dropping: FileServer, tmp_path: Path) -> None:
    other = random.Random(2).randbytes(len(DATA))
    files = {"/talks/a.mp3": DATA}
    dropping.files = files

    def drop_and_change(number: int) -> bool:
        files["/talks/a.mp3"] = other
        return number == 1

    dropping.drop = drop_and_change
    assert download("s3://talks/a.mp3", tmp_path).path.read_bytes() == other


def test_object_that_never_comes_whole_is_a_network_error(dropping: FileServer, tmp_path: Path) -> None:
    dropping.drop = lambda number: True
    with pytest.raises(NetworkError):
        download("s3://talks/a.mp3", tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_extra_is_a_usage_error_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match="needs obstore") as raised:
        Buckets()
    assert raised.value.hint == "pip install 'cartesia-cli[buckets]'"
