"""Models that packages install: found by name, joined in memory, and used only if they are the published ones."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from cartesia_cli.errors import EngineError
from cartesia_cli.server import packaged_models
from cartesia_cli.server.packaged_models import BASE, TINY_EN, PackagedModel, find_packaged

FIRST, SECOND, CONFIG = b"the first half, ", b"and the other", b"{}"


@pytest.fixture
def halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A model in two packages whose code must not be run."""
    for package, name, content in (("half_one", "model.bin.part1", FIRST), ("half_two", "model.bin.part2", SECOND)):
        (tmp_path / package / "data").mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('this code must not be run')")
        (tmp_path / package / "data" / name).write_bytes(content)
    (tmp_path / "half_one" / "data" / "config.json").write_bytes(CONFIG)
    monkeypatch.syspath_prepend(tmp_path)
    return PackagedModel(
        "Whisper halved",
        "the offline model",
        "half-one==1 half-two==1",
        "half_one/data",
        {"model.bin": sha256(FIRST + SECOND).hexdigest(), "config.json": sha256(CONFIG).hexdigest()},
        ("half_one/data/model.bin.part1", "half_two/data/model.bin.part2"),
    )


def test_parts_of_a_model_are_joined_in_memory(halved: PackagedModel, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with halved.opened() as (folder, files):
        assert files is None
        assert Path(folder, "model.bin").read_bytes() == FIRST + SECOND
        assert Path(folder, "config.json").read_bytes() == CONFIG
        assert sorted(tmp_path.rglob("*")) == before
    assert not Path(folder).exists()


def test_parts_of_a_model_are_joined_without_files_in_memory_too(
    halved: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_models, "DESCRIPTORS", Path("missing"))  # as on macOS and Windows
    with halved.opened() as opened:
        assert opened == (str(halved.folder), {"model.bin": FIRST + SECOND, "config.json": CONFIG})


@pytest.mark.parametrize("damaged", ["half_one/data/config.json", "half_two/data/model.bin.part2"])
def test_model_with_a_damaged_file_is_rejected(halved: PackagedModel, tmp_path: Path, damaged: str) -> None:
    halved.verify()
    (tmp_path / damaged).write_bytes(b"something else")
    with pytest.raises(EngineError, match="not the published ones") as caught:
        halved.verify()
    assert "half-one==1 half-two==1" in caught.value.hint
    with pytest.raises(EngineError, match="not the published ones"), halved.opened():
        pass


def test_model_that_lacks_a_part_counts_as_not_installed(
    halved: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_models, "WHISPER_MODELS", (halved, TINY_EN))
    assert (find_packaged(None), find_packaged("halved"), find_packaged("tiny.en")) == (halved, halved, TINY_EN)
    (tmp_path / "half_two" / "data" / "model.bin.part2").unlink()
    assert (find_packaged(None), find_packaged("halved")) == (TINY_EN, None)
    assert find_packaged("small") is None


def test_best_installed_model_is_the_default() -> None:
    assert find_packaged(None) == find_packaged("base") == BASE
    assert BASE.is_installed and TINY_EN.is_installed
