"""One recording through each SDK, in turn: `transcribe.py BASE_URL FILE` prints what they heard."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from asked import KEY
from sdks import ASK, NAMES, facts, transcribe

if __name__ == "__main__":
    base_url, file = sys.argv[1], Path(sys.argv[2])
    answers = {sdk: facts(transcribe(sdk, base_url, ask=ASK | {"file": file}, api_key=KEY)) for sdk in NAMES}
    json.dump(answers, sys.stdout)
