"""Imports JSON of programs based on Whisper: segments in seconds, with words in them, beside them, or none.

openai-whisper, faster-whisper, WhisperX, whisper-timestamped, OpenAI's verbose_json and diarized_json; whisper.cpp,
which has milliseconds; and the chunks of Hugging Face's pipelines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..protocol.json_fields import Word
from ..transcript import Segment, join_texts
from .draft import Draft, end_estimated
from .json_values import JsonObject
from .own_documents import words

_TIMESTAMP = re.compile(r"(\d{1,4}):([0-5]\d):([0-5]\d)[,.](\d{3})", re.ASCII)


def segments(item: JsonObject) -> Draft:
    """Whatever has `segments` with `start` and `end` in seconds."""
    places = item.objects("segments")
    found = [
        Segment(
            place.required_seconds("start"), place.required_seconds("end"), place.required_text("text"), "server",
            speaker=place.label("speaker"),
        )
        for place in places
    ]  # fmt: skip
    text = item.text("text")
    in_segments = [_words_of(place) for place in places]
    if any(in_segments):
        # A segment that could not be aligned with the audio has no words: they are spelled in its text, without times.
        spelled = [[Word(word, speaker=segment.speaker) for word in segment.text.split()] for segment in found]
        said = tuple(word for own, bare in zip(in_segments, spelled, strict=True) for word in own or bare)
    else:
        said = words(item) or words(item, "word_segments") or ()
    return Draft(
        text=join_texts(segment.text for segment in found) if text is None or _adds_only_labels(text, found) else text,
        words=said or None,
        segments=tuple(found),
        model=item.text("model"),
        language=item.text("language"),
        duration=item.decimal("duration"),  # a string in OpenAI's documentation
    )


def _adds_only_labels(text: str, segments: Sequence[Segment]) -> bool:
    """Whether a text consists of the segments and, before some of them, the names of their speakers, as in OpenAI's
    diarized_json: `Agent: Hello.` and `A: Hi.`
    """
    at, labels = 0, 0
    for segment in segments:
        said, speaker = segment.text.strip(), segment.speaker
        if speaker is None:
            return False
        label = re.compile(rf"\s*(?:speaker\s+)?{re.escape(speaker.strip())}\s*:\s*", re.IGNORECASE).match(text, at)
        if label and text.startswith(said, label.end()):
            at, labels = label.end() + len(said), labels + 1
            continue
        at = _skip_spaces(text, at)
        if not text.startswith(said, at):
            return False
        at += len(said)
    return labels > 0 and _skip_spaces(text, at) == len(text)


def _skip_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def chunks(item: JsonObject) -> Draft:
    """Chunks of Hugging Face's pipelines: words or stretches of text, each with its `timestamp`: [start, end]."""
    parts: list[Word] = []
    for chunk in item.objects("chunks"):
        pair = chunk.values.get("timestamp")
        if not isinstance(pair, list) or len(pair) != 2:
            raise chunk.wrong("timestamp", "a list of start and end")
        times = JsonObject({"start": pair[0], "end": pair[1]}, f"{chunk.place}timestamp.")
        parts.append(Word(chunk.required_text("text"), times.seconds("start"), times.seconds("end")))
    if any(len(part.word.split()) > 1 for part in parts):
        starts = [part.start for part in parts]
        stretches = [
            Segment(part.start, part.end, part.word, "server")
            if part.end is not None
            else end_estimated(Segment(part.start, part.start, part.word, "server"), following)
            for part, following in zip(parts, [*starts[1:], None], strict=True)
            if part.start is not None
        ]
        if len(stretches) == len(parts):  # the last one has no end where the recording was cut off
            return Draft(item.text("text"), segments=tuple(stretches))
    return Draft(item.text("text"), tuple(parts))


def whisper_cpp(item: JsonObject) -> Draft:
    """`--output-json`, with `offsets` in milliseconds, and `--output-json-full`, which adds tokens."""
    found: list[Segment] = []
    said: list[Word] = []
    stretches = item.objects("transcription")
    for stretch in stretches:
        start, end = _time(stretch, "from"), _time(stretch, "to")
        text = _decode_split_bytes(stretch.required_text("text"))
        speaker = stretch.label("speaker")
        found.append(Segment(start, end, text, "server", speaker=speaker))
        tokens = stretch.objects("tokens")
        said += _join_tokens(tokens, speaker) if tokens else [Word(word, speaker=speaker) for word in text.split()]
    text = "".join(segment.text for segment in found)
    if not any(stretch.values.get("tokens") for stretch in stretches):
        one_each = bool(found) and all(len(segment.text.split()) <= 1 for segment in found)  # as with --max-len 1
        said = [Word(segment.text, segment.start, segment.end, segment.speaker) for segment in found if one_each]
        found = [] if one_each else found
    return Draft(text, tuple(said) or None, tuple(found), language=item.object("result").text("language"))


def _time(stretch: JsonObject, name: str) -> float:
    """A time in seconds: of the `offsets` of a segment, else of its `timestamps`."""
    offsets, stamps = stretch.object("offsets"), stretch.object("timestamps")
    if not (offsets or stamps):
        raise stretch.missing("offsets")
    if (time := offsets.milliseconds(name)) is not None:
        return time
    if (spelled := stamps.text(name)) is None:
        raise (stamps or offsets).missing(name)
    if (parts := _TIMESTAMP.fullmatch(spelled)) is None:
        raise stamps.wrong(name, 'a time such as "00:01:02,500"')
    hours, minutes, seconds, thousandths = map(int, parts.groups())
    return (hours * 60 + minutes) * 60 + seconds + thousandths / 1000


def _words_of(segment: JsonObject) -> tuple[Word, ...] | None:
    """The words of a segment. Those of faster-whisper are lists, [start, end, word, probability], if its tuples were
    dumped as JSON."""
    listed = segment.values.get("words")
    if isinstance(listed, list) and listed and all(isinstance(word, list) and len(word) == 4 for word in listed):
        named = [dict(zip(("start", "end", "word"), word, strict=False)) for word in listed]
        segment = JsonObject({"words": named}, segment.place)
    return words(segment)


def _join_tokens(tokens: Sequence[JsonObject], speaker: str | None) -> Iterator[Word]:
    """Words of tokens: one begins at each space. Tokens such as [_BEG_] and [_TT_150] are not text."""
    text, start, end = "", None, None
    for token in tokens:
        piece = token.required_text("text")
        if piece.startswith("[_") and piece.endswith("]"):
            continue
        offsets = token.object("offsets")
        if text and piece[:1].isspace():
            yield Word(_decode_split_bytes(text), start, end, speaker)
            text, start, end = "", None, None
        text += piece
        start = offsets.milliseconds("from") if start is None else start
        end = offsets.milliseconds("to") if "to" in offsets else end
    if text:
        yield Word(_decode_split_bytes(text), start, end, speaker)


def _decode_split_bytes(text: str) -> str:
    """Decode text again whose bytes were read one by one, because tokens may end within a character."""
    try:
        return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # there are halves of surrogate pairs in it
        return text
