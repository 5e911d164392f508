"""Prompts that people speak, with their texts: Debian's packages asterisk-core-sounds-* (CC-BY-SA 3.0, 8 kHz).

Packages that aren't installed are downloaded by apt and unpacked into a folder, which needs no permissions.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

PROMPT = re.compile(r"(?P<name>[\w-]+): (?P<text>.+)")
UNUSABLE = re.compile(r"[\[\]?\d]")
"""Descriptions of sounds, letters that the package has lost, and numbers, which may be written in two ways."""


def prompts(language: str, folder: Path, most: int, lengths: range = range(40, 161)) -> list[tuple[Path, str]]:
    """Recordings with their texts, spread over those that can be compared; none if the packages can't be had.

    folder    where packages are unpacked that aren't installed
    lengths   of the texts, in characters
    """
    root = Path("/") if _texts(language, Path("/")).is_file() and _sounds(language, Path("/")) else folder
    if root == folder and not _unpack(language, folder):
        return []
    sounds = _sounds(language, root)[0]
    with gzip.open(_texts(language, root), "rt", encoding="utf-8-sig") as file:
        lines = [PROMPT.fullmatch(line.strip()) for line in file]
    found = [
        (sounds / f"{line['name']}.wav", line["text"])
        for line in lines
        if line and len(line["text"]) in lengths and not UNUSABLE.search(line["text"])
    ]
    found = [(path, text) for path, text in found if path.is_file()]
    return found[:: max(1, len(found) // most)][:most]


def _unpack(language: str, folder: Path) -> bool:
    names = [f"asterisk-core-sounds-{language}", f"asterisk-core-sounds-{language}-wav"]
    try:
        subprocess.run(["apt-get", "download", "-qq", *names], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        for name in names:
            for package in folder.glob(f"{name}_*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _texts(language: str, root: Path) -> Path:
    return root / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"


def _sounds(language: str, root: Path) -> list[Path]:
    """The folders with the recordings of a language: one for each voice, such as it_IT_m_Carlo."""
    return sorted((root / "usr/share/asterisk/sounds").glob(f"{language}_*"))
