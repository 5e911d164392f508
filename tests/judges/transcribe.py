"""One recording through each SDK, all at once: `transcribe.py BASE_URL FILE` prints what they heard, and when."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from asked import KEY
from sdks import ASK, NAMES, facts, transcribe


def side_by_side(base_url: str, file: Path) -> dict[str, Any]:
    """The answer to each SDK, and between which times of the clock they were awaited."""

    def ask(sdk: str) -> dict[str, Any]:
        return facts(transcribe(sdk, base_url, ask=ASK | {"file": file}, api_key=KEY, max_retries=0))

    with ThreadPoolExecutor(len(NAMES)) as pool:
        began = time.time()
        answers = dict(zip(NAMES, pool.map(ask, NAMES), strict=True))
        return {"began": began, "ended": time.time(), "answers": answers}


if __name__ == "__main__":
    json.dump(side_by_side(sys.argv[1], Path(sys.argv[2])), sys.stdout)
