"""What the program says and does is what was recorded, to the letter: see tests/golden."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import golden

SLOW = ("answers", "http", "lost", "sessions", "transcribe")
"""Groups that take more than a few seconds: they wait for a time limit or for real time, or run many transcriptions."""


@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=pytest.mark.waits if group in SLOW else ()) for group in golden.groups()]
)
def test_group_says_what_was_recorded(group: str, tmp_path: Path) -> None:
    before = golden.recorded(group)
    after = golden.replay(before, tmp_path)
    if after != before:
        pytest.fail(
            f"{golden.difference(group, before, after)}\n"
            f"If that is what was meant: python -m tests.golden --update {group}",
            pytrace=False,
        )
