"""The files of the program's web pages: their text, and their hashes for a Content-Security-Policy."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "player"


def read(name: str) -> str:
    """The text of a file in `player/`."""
    return (FOLDER / name).read_text("utf-8")


def fill(page: str, parts: Mapping[str, str]) -> str:
    """A page with its parts in the places of their names, such as `{style}`."""
    # In a single pass, so that nothing in a part can be taken for the place of another.
    return re.sub(r"\{(\w+)\}", lambda place: parts[place[1]], page)


def policy(style: str, script: str, *others: str) -> str:
    """The Content-Security-Policy of a page that has its own style and script only, and what `others` say."""
    own = (f"style-src {_source_hash(style)}", f"script-src {_source_hash(script)}")
    return "; ".join(("default-src 'none'", *own, *others, "base-uri 'none'", "form-action 'none'"))


def _source_hash(text: str) -> str:
    """A style or a script as the source of a policy (CSP 3, 2.3.1)."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"
