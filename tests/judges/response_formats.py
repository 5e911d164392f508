"""What OpenAI's SDK makes of each of its response formats and of parameters that Cartesia's endpoint doesn't have:
`response_formats.py BASE_URL`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai
from refusals import silence
from sdks import ASK, transcribe

FORMATS = ("json", "verbose_json", "text", "srt", "vtt", "diarized_json")
OTHERS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Cartesia"},
    "temperature": {"temperature": 0.4},
    "stream": {"stream": True},
    "include": {"include": ["logprobs"]},
    "usual values": {"prompt": "", "temperature": 0, "stream": False},
}


def outcome(base_url: str, **parameters: Any) -> dict[str, Any]:
    ask = ASK | {"file": ("silence.wav", silence(), "audio/wav")} | parameters
    try:
        answer = transcribe("openai", base_url, ask=ask, api_key="none", max_retries=0)
        return {"class": type(answer).__name__} | answer.model_dump(mode="json")
    except openai.APIStatusError as error:
        return {"class": type(error).__name__, "said": str(error)}


if __name__ == "__main__":
    base_url = sys.argv[1]
    found = {name: outcome(base_url, response_format=name) for name in FORMATS}
    json.dump(found | {name: outcome(base_url, **parameters) for name, parameters in OTHERS.items()}, sys.stdout)
