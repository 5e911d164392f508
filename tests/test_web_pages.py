"""Recordings on web pages are found and downloaded by yt-dlp, from pages on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cartesia_cli
from cartesia_cli.errors import CliError, InputError, NetworkError
from cartesia_cli.scale.web_pages import download, find_recordings, is_installed
from cartesia_cli.transfer import DownloadedFile
from tests.file_server import FileServer

pytestmark = pytest.mark.waits

SAMPLE = (Path(cartesia_cli.__file__).parent / "sample.wav").read_bytes()


@pytest.fixture
def site() -> Iterator[FileServer]:
    pages = {"/one.html": ["a.wav"], "/two.html": ["a.wav", "b.wav"], "/none.html": [], "/lost.html": ["missing.wav"]}
    files = {}
    for path, sources in pages.items():
        players = "".join(f'<audio src="{source}"></audio>' for source in sources)
        files[path] = f"<html><title>A talk: ../x</title>{players}</html>".encode()
    with FileServer({**files, "/a.wav": SAMPLE, "/b.wav": SAMPLE}) as server:
        yield server


def save(url: str, folder: Path, max_bytes: int = 1 << 30) -> DownloadedFile:
    return download(url, folder, max_bytes=max_bytes, on_progress=lambda received, size: None)


def test_recording_on_a_page_is_downloaded(site: FileServer, tmp_path: Path) -> None:
    progress: list[int] = []
    url = f"{site.url}/one.html"
    assert is_installed() and find_recordings(url) == [url]
    done = download(url, tmp_path, max_bytes=1 << 30, on_progress=lambda received, size: progress.append(received))
    assert done.path.read_bytes() == SAMPLE
    assert list(tmp_path.iterdir()) == [done.path]
    assert done.bytes == progress[-1] == len(SAMPLE)
    assert done.path.suffix == ".wav"


def test_each_recording_of_several_on_a_page_has_its_url(site: FileServer, tmp_path: Path) -> None:
    assert find_recordings(f"{site.url}/two.html") == [f"{site.url}/a.wav", f"{site.url}/b.wav"]
    with pytest.raises(InputError, match="has several recordings"):
        save(f"{site.url}/two.html", tmp_path)


@pytest.mark.parametrize(
    ("page", "kind", "words"),
    [("none.html", InputError, "finds no recording on it"), ("lost.html", NetworkError, "404"),
     ("missing.html", NetworkError, "404")],
)  # fmt: skip
def test_page_without_a_recording_is_an_error(
    site: FileServer, tmp_path: Path, page: str, kind: type[CliError], words: str
) -> None:
    with pytest.raises(CliError, match=words) as raised:
        save(f"{site.url}/{page}?token=s3cret", tmp_path)
    assert type(raised.value) is kind and "s3cret" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_recording_that_is_too_large_is_an_input_error(site: FileServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"larger than 0\.1 MB"):
        save(f"{site.url}/one.html", tmp_path, 100_000)


def test_configuration_of_yt_dlp_is_not_read(site: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".config" / "yt-dlp").mkdir(parents=True)
    (tmp_path / ".config" / "yt-dlp" / "config").write_text("--simulate\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    assert save(f"{site.url}/one.html", tmp_path).bytes == len(SAMPLE)
