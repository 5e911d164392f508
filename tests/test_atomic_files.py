"""Files that are written whole or not at all: what is there during and after a write, and who can read it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from cartesia_cli.atomic_files import TEMPORARY_NAME, link_or_copy, write_atomically


@pytest.fixture(params=["unnamed", "named"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without files that have no name until they are complete."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("system")
def test_file_is_complete_and_private_before_it_is_moved_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    path.chmod(0o600)
    moves: list[tuple[str, bytes, int, bytes]] = []
    move = os.replace

    def replace(source: Path, target: Path) -> None:
        moves.append((source.name, source.read_bytes(), mode(source), target.read_bytes()))
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    write_atomically(path, b"new")
    ((name, content, permissions, before),) = moves
    assert re.fullmatch(TEMPORARY_NAME, name)
    assert (content, permissions, before, path.read_bytes()) == (b"new", 0o600, b"old", b"new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("system")
def test_new_file_has_the_requested_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "private", b"", mode=0o600)
    write_atomically(tmp_path / "new" / "public", b"")
    umask = os.umask(0)
    os.umask(umask)
    assert (mode(tmp_path / "private"), mode(tmp_path / "new" / "public")) == (0o600, 0o666 & ~umask)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("has_links", [True, False])
def test_file_that_has_appeared_stays_unless_it_may_be_replaced(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def no_link(source: object, target: object, **options: object) -> None:
        if has_links or options:  # with options, an unnamed file gets its name
            link(source, target, **options)  # type: ignore[arg-type]
        else:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "a.txt"
    write_atomically(path, b"first", replaces=False)
    with pytest.raises(FileExistsError):
        write_atomically(path, b"second", replaces=False)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"first", [path])
    write_atomically(path, b"third")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"third", [path])


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_changes_nothing(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.txt").write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a.txt", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.txt", b"old")]


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    write_atomically(Path("/dev/null"), b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("has_links", [True, False])
def test_link_or_copy_overwrites_only_if_allowed(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    source, target = tmp_path / "a.wav", tmp_path / "new" / "b.wav"
    source.write_bytes(b"RIFF")
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    link_or_copy(source, target, overwrite=False)
    target.unlink()
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        link_or_copy(source, target, overwrite=False)
    assert target.read_bytes() == b"old"
    for _ in range(2):  # the second time, both may be names of one file
        link_or_copy(source, target, overwrite=True)
        assert target.read_bytes() == b"RIFF" and target.samefile(source) is has_links
        assert [path.name for path in target.parent.iterdir()] == ["b.wav"]
    assert has_links or mode(target) == 0o600
