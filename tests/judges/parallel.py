"""Two requests through each asynchronous SDK, all four at once: `parallel.py BASE_URL FILE` prints what they heard."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from asked import KEY
from sdks import ASK, ASYNC, facts


async def side_by_side(base_url: str, file: Path) -> dict[str, Any]:
    """The four answers, and between which times of the clock they were awaited."""
    async with (
        ASYNC["async cartesia"](base_url, api_key=KEY, max_retries=0) as one,
        ASYNC["async openai"](base_url, api_key=KEY, max_retries=0) as other,
    ):
        ask = ASK | {"file": file}
        began = time.time()
        answers = await asyncio.gather(one(**ask), other(**ask), one(**ask), other(**ask))
        return {"began": began, "ended": time.time(), "answers": [facts(answer) for answer in answers]}


if __name__ == "__main__":
    json.dump(asyncio.run(side_by_side(sys.argv[1], Path(sys.argv[2]))), sys.stdout)
