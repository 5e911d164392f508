"""Loads transcripts saved by other programs: each importer reads one JSON shape, recognized by its members.

    json_values      JSON objects that know their position, for messages
    draft            what a document says, before its times are checked
    own_documents    documents of cartesia-cli, responses of Cartesia's batch endpoint
    whisper          programs based on Whisper
    services         other services
    subtitle_files   SRT and WebVTT

Must never open a file, invent a word or a time, or mistake one unit of time for another: times that can't be true as a
whole are an error that says where they are, and by how much they are wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ..errors import InputError
from ..subtitles.parser import kind_by_name
from ..text_encoding import decode_text
from ..transcript import Transcript
from . import own_documents, services, whisper
from .draft import Draft, to_transcript
from .json_values import KNOWN_FORMATS, REFUSED_HINT, JsonObject, parse
from .subtitle_files import is_subtitle_file, subtitle_file


class Importer(NamedTuple):
    """How one shape of document is recognized, by a lenient JsonObject, and how it is read."""

    recognizes: Callable[[JsonObject], bool]
    read: Callable[[JsonObject], Draft]


IMPORTERS = {
    "cartesia-cli": Importer(lambda item: {"source", "model"} <= item.values.keys(), own_documents.document),
    "whisper.cpp": Importer(lambda item: "transcription" in item.values, whisper.whisper_cpp),
    "Whisper": Importer(lambda item: "segments" in item.values, whisper.segments),
    "Deepgram": Importer(services.is_deepgram, services.deepgram),
    "Google": Importer(services.is_google, services.google),
    "AWS": Importer(services.is_aws, services.aws),
    "ElevenLabs": Importer(services.is_elevenlabs, services.elevenlabs),
    "AssemblyAI": Importer(services.is_assemblyai, services.assemblyai),
    "Hugging Face": Importer(lambda item: "chunks" in item.values, whisper.chunks),
    "Cartesia, OpenAI": Importer(lambda item: "text" in item.values, own_documents.answer),
}
"""In the order in which they are tried: the last ones accept almost anything."""


def read_transcripts(data: bytes, source: str, warn: Callable[[str], None] = lambda message: None) -> list[Transcript]:
    """Every transcript in the content of a file, in order. Raises InputError, with its place, for what isn't one.

    source   name of the file: for messages, and for transcripts that don't say where they come from
    warn     is called with what the user should know of a file that can be read
    """
    return load_transcripts(_decode(data, source, warn), source, warn)


def _decode(data: bytes, source: str, warn: Callable[[str], None]) -> str:
    """The text of a file. Warns if its encoding had to be guessed; raises InputError if it isn't text.

    JSON must be Unicode. But whisper.cpp may divide a character between two tokens: such bytes become surrogates here,
    and the importer joins them again.
    """
    decoded = decode_text(data)
    if decoded.is_sound:
        return decoded.text
    if is_subtitle_file(decoded.text):
        warn(f"{source} is not UTF-8: it was read as {decoded.encoding}")
        return decoded.text
    if b'"transcription"' in data and b'"tokens"' in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-8", "surrogateescape")
    hint = "`render` takes JSON, SRT and WebVTT; `transcribe` takes recordings"
    raise InputError(f"{source} is not text in Unicode", hint=hint)


def load_transcripts(
    text: str, source: str = "-", warn: Callable[[str], None] = lambda message: None
) -> list[Transcript]:
    """The same for the text of a file."""
    if is_subtitle_file(text) or (kind_by_name(source) and text.strip()):
        return [to_transcript(subtitle_file(text, source, warn), source, f"{source}: ")]
    transcripts = list(_load_json(text.removeprefix("\ufeff"), source))
    if not transcripts:
        raise InputError(f"{source} is empty", hint=KNOWN_FORMATS)
    return transcripts


def _load_json(text: str, source: str) -> Iterator[Transcript]:
    session: list[JsonObject] = []
    for item in parse(text, source):
        if item.values.get("type") in own_documents.SESSION_LINES:
            session.append(item)
            if item.values["type"] != "end":
                continue
            yield to_transcript(own_documents.session(session), source, item.place)
            session = []
        elif services.is_google_files(replace(item, is_lenient=True)):
            for name, draft in services.google_files(item):
                yield to_transcript(draft, name, item.place)
        else:
            yield to_transcript(_find_importer(item).read(item), source, item.place)
    if session:  # the file was cut off
        yield to_transcript(own_documents.session(session), source, session[-1].place)


def _find_importer(item: JsonObject) -> Importer:
    lenient = replace(item, is_lenient=True)
    found = next((importer for importer in IMPORTERS.values() if importer.recognizes(lenient)), None)
    if found is not None:
        return found
    refusals = (item.values[name] for name in ("message", "title", "error") if name in item.values)
    if refusal := next(refusals, None):
        raise InputError(
            f"{item.place}an error response, not a transcript: {json.dumps(refusal)[:200]}", hint=REFUSED_HINT
        )
    raise InputError(f"{item.place}not a transcript: neither text nor segments", hint=KNOWN_FORMATS)
