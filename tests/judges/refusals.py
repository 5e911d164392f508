"""Requests of which most are refused: `refusals.py BASE_URL CASE...` prints which exceptions the SDKs make of it."""

from __future__ import annotations

import io
import json
import sys
import wave
from typing import Any

import cartesia
import openai
from asked import KEY
from sdks import ASK, NAMES, transcribe


def silence() -> bytes:
    """A WAV file that a server has no work with."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(16000))
    return file.getvalue()


CASES: dict[str, dict[str, Any]] = {
    "silence": {},
    "bad model": {"model": "ink-nonsense"},
    "bad audio": {"file": ("noise.wav", b"there is no sound in here" * 100, "audio/wav")},
    "empty audio": {"file": ("empty.wav", b"", "audio/wav")},
    "unsupported language": {"language": "de"},
    "bad key": {},
    # More than the sockets hold: the server has to answer while the client is still sending.
    "too large": {"file": ("large.wav", bytes(24 << 20), "audio/wav")},
}


def outcome(sdk: str, base_url: str, case: str) -> dict[str, Any]:
    """What the SDK raises, attribute by attribute, or the text. Without retries: the first answer counts."""
    key = "sk_car_wrong" if case == "bad key" else KEY
    ask = ASK | {"file": ("silence.wav", silence(), "audio/wav")} | CASES[case]
    try:
        return {"class": None, "text": transcribe(sdk, base_url, ask=ask, api_key=key, max_retries=0).text}
    except (cartesia.APIStatusError, openai.APIStatusError) as error:
        return {
            "class": f"{type(error).__module__}.{type(error).__name__}",
            "status": error.status_code,
            "body": error.body,
            "text": str(error),
            "header_id": error.response.headers.get("x-request-id"),
            "retry_after": error.response.headers.get("retry-after"),
        }
    except Exception as error:  # the SDK could make nothing of the answer: the test is to say so
        return {"class": f"{type(error).__module__}.{type(error).__name__}", "text": repr(error)}


if __name__ == "__main__":
    base_url, cases = sys.argv[1], sys.argv[2:]
    json.dump({case: {sdk: outcome(sdk, base_url, case) for sdk in NAMES} for case in cases}, sys.stdout)
