"""The models of a server: the response to `GET /models`, and what was known when this program was released.

Must never be used to refuse a model: a server may know models that it doesn't list, or that this program has never
heard of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import ProtocolError
from ..record import Record
from .json_fields import load_json
from .languages import LANGUAGES

MODELS_PATH = "/models"

MODELS_QUERY = (("capability", "stt"),)
"""Without it, the list also has models that speak (API docs: api-reference/models/list)."""

STREAM, BATCH = "stream", "batch"
"""The documented modes of a model that transcribes: the realtime endpoints, and the batch endpoint."""


class Model(Record):
    """A model that transcribes.

    id          as `model` names it in a request
    modes       STREAM, BATCH, or what else the server says; empty if it doesn't say
    languages   codes; empty if they aren't listed
    """

    id: str
    modes: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    def takes(self, mode: str) -> bool:
        """Whether the model is known to be for this mode."""
        return mode in self.modes


RELEASED_ON = "2026-11-29"
"""The day on which MODELS_AT_RELEASE was read in the documentation."""

MODELS_AT_RELEASE = (
    Model("ink-2", (STREAM,), ("en", "fr", "hi", "ja", "es")),
    Model("ink-preview", (STREAM,)),
    Model("ink-whisper", (STREAM, BATCH), LANGUAGES),
    Model("ink-whisper-2025-06-04", (STREAM, BATCH), LANGUAGES),
)
"""The models in the documentation on RELEASED_ON. The 44 languages of ink-preview are listed there only
(API docs: stt/languages)."""


def decode_models(body: str | bytes) -> tuple[Model, ...]:
    """The models in a response to `GET /models?capability=stt`, in its order.

    The documentation describes the rows; they may be the response itself, or a list in it. A row without an id, or of a
    model that doesn't transcribe, is skipped, as are unknown members. Raises ProtocolError for a response without a
    list, or with a list of something else.
    """
    value = load_json(body)
    if isinstance(value, dict):
        members = (value.get("data"), value.get("models"), *value.values())
        value = next((member for member in members if isinstance(member, list)), None)
    if not isinstance(value, list):
        raise ProtocolError("the response has no list of models")
    rows = [row for row in value if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"].strip()]
    if value and not rows:  # of something else, such as the words of a transcript
        raise ProtocolError("the response has no list of models")
    return tuple(
        Model(row["id"], _strings(row.get("modes")), _strings(row.get("languages")))
        for row in rows
        if row.get("capability") in (None, "stt")
    )


def encode_models(models: Sequence[Model]) -> bytes:
    """The response to `GET /models`, as the local server sends it."""
    return json.dumps({"data": [to_row(model) for model in models]}).encode()


def to_row(model: Model) -> dict[str, Any]:
    """A model as it is in a response."""
    row: dict[str, Any] = {"id": model.id, "capability": "stt", "modes": list(model.modes)}
    return row | ({"languages": list(model.languages)} if model.languages else {})


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
