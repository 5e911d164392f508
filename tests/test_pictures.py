"""The pictures of the documentation show what the program does today."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
HINT = "`make pictures` makes them again"


def load_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "scripts" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = load_maker()
DIGESTS: dict[str, str] = json.loads((maker.FOLDER / "digests.json").read_text("utf-8"))


def test_every_picture_is_known_and_shown_on_a_page() -> None:
    found = {path.name for path in maker.FOLDER.iterdir()} - {"digests.json"}
    assert found == set(DIGESTS) == {*(f"{name}.svg" for name in (*maker.RUNS, *maker.LIVE)), "player.png"}
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    assert not [name for name in found if f"pictures/{name})" not in pages]


def test_pictures_ask_nothing_of_the_network() -> None:
    for name in (*maker.RUNS, *maker.LIVE):
        picture = (maker.FOLDER / f"{name}.svg").read_text("utf-8")
        assert set(re.findall(r"https?://[^\s\"')]+", picture)) == {"http://www.w3.org/2000/svg"}


def test_pictures_of_live_sessions_are_as_new_as_what_draws_them() -> None:
    for name, (_, _, modules) in maker.LIVE.items():
        assert maker.digest(maker.source(modules)) == DIGESTS[f"{name}.svg"], f"{name}.svg: {HINT}"


@pytest.mark.engine
def test_pictures_show_what_the_commands_print_today(tmp_path: Path) -> None:
    shutil.copy(ROOT / "cartesia_cli" / "sample.wav", tmp_path / "talk.wav")
    for name, session in maker.RUNS.items():
        text = maker.terminal_text(session, tmp_path)
        assert maker.digest(text.plain) == DIGESTS[f"{name}.svg"], f"{name}.svg: {HINT}\n{text.plain}"
        picture = (maker.FOLDER / f"{name}.svg").read_text("utf-8")
        drawn = "".join(unescape(part) for part in re.findall(r"<text [^>]*>([^<]*)</text>", picture))
        assert "".join(text.plain.split()) in "".join(drawn.replace("\xa0", " ").split())
    page = maker.render_page(tmp_path)
    assert maker.digest(page.read_text("utf-8")) == DIGESTS["player.png"], f"player.png: {HINT}"
