"""Imports JSON of other transcription services: AssemblyAI, AWS, Deepgram, ElevenLabs, Google.

Each has its own units of time and its own way to attach punctuation. Documents are recognized by lenient JsonObjects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from ..errors import InputError
from ..protocol.json_fields import Word
from ..transcript import OPENING_MARKS, Segment, join_texts
from .draft import Draft, merge_channels
from .json_values import REFUSED_HINT, JsonObject


def assemblyai(item: JsonObject) -> Draft:
    """Words and utterances in milliseconds, beside an `audio_duration` in seconds."""
    if (error := item.text("error")) and not item.text("text"):
        raise InputError(f"{item.place}an error response, not a transcript: {error[:200]}", hint=REFUSED_HINT)
    stretches, words = item.objects(*ASSEMBLYAI_PARTS), item.objects("words")
    nested = [stretch.objects("words") for stretch in stretches]
    if not words and all(nested):
        words = list(chain(*nested))
    text = item.text("text")
    if text is None and not stretches and not words:
        raise InputError(f"{item.place}no transcript: neither text nor words", hint="is its `status` completed?")
    segments = [
        Segment(
            stretch.milliseconds("start") or 0.0, stretch.milliseconds("end") or 0.0, stretch.required_text("text"),
            "server", speaker=stretch.label("speaker"),
        )
        for stretch in stretches
    ]  # fmt: skip
    said = _words(words, "text", speakers=("speaker", "channel"), time=JsonObject.milliseconds)
    return Draft(
        text=join_texts(segment.text for segment in segments) if text is None and segments else text,
        words=said or None,
        segments=tuple(segments) if not any(word.speaker for word in said) else (),
        model=item.text("speech_model"),
        language=item.text("language_code"),
        duration=item.seconds("audio_duration"),
        request_id=item.text("id"),
    )


ASSEMBLYAI_PARTS = ("utterances", "sentences", "paragraphs")
"""Members of its responses that hold texts with their times, in milliseconds."""


def is_assemblyai(item: JsonObject) -> bool:
    """Whether a document is from AssemblyAI: words have `text`, and something else is typical of it."""
    parts = [part for name in (*ASSEMBLYAI_PARTS, "words") for part in item.objects(name)]
    marks = ("audio_duration", "audio_url", "speech_model", "language_code", "utterances", *ASSEMBLYAI_PARTS[1:])
    named = any(name in item.values for name in marks) or {"id", "status"} <= item.values.keys()
    confident = bool(parts) and all("confidence" in part.values for part in parts)
    return all("text" in part.values and "type" not in part.values for part in parts) and (named or confident)


def deepgram(item: JsonObject) -> Draft:
    """Words in seconds; one list of alternatives for each channel, of which the first is the best."""
    results, metadata = item.object("results"), item.object("metadata")
    drafts: list[tuple[str, Draft]] = []
    language = None
    for number, channel in enumerate(results.objects("channels")):
        language = language or channel.text("detected_language")
        for best in channel.objects("alternatives")[:1]:
            words = _words(best.objects("words"), "punctuated_word", "word")
            drafts.append((f"channel {number}", Draft(best.required_text("transcript"), words or None)))
    return merge_channels(drafts, item.place)._replace(
        language=language,
        duration=metadata.seconds("duration"),
        request_id=metadata.text("request_id"),
    )


def is_deepgram(item: JsonObject) -> bool:
    return bool(item.object("results").objects("channels"))


def google(item: JsonObject) -> Draft:
    """Results of Speech-to-Text, v1 or v2, bare or within a finished operation; durations are spelled "1.300s"."""
    item = item.object("response") or item
    results = item.objects("results")
    by_channel: dict[str, list[JsonObject]] = {}
    for result in results:
        by_channel.setdefault(result.label("channelTag", "channel_tag") or "", []).append(result)
    drafts = [(f"channel {tag}", _google_channel(own)) for tag, own in by_channel.items()]
    ends = [end for result in results if (end := _google_time(result, "resultEnd")) is not None]
    languages = [code for result in results if (code := result.text("languageCode", "language_code"))]
    return merge_channels(drafts, item.place)._replace(
        language=languages[0] if languages else None,
        min_duration=max(ends, default=None),
        has_units=True,
        request_id=item.object("metadata").text("requestId") or item.label("requestId"),
    )


def google_files(item: JsonObject) -> list[tuple[str, Draft]]:
    """The response of v2's BatchRecognize: results by the name of their file."""
    item = item.object("response") or item
    results = item.object("results")
    found = []
    for name in results.values:
        file = results.object(name)
        transcript = (file.object("inlineResult", "inline_result") or file).object("transcript")
        if not transcript:
            message = file.object("error").text("message") or "it has no transcript"
            raise InputError(f"{results.place}{name}: {message[:200]}", hint="is the transcript in another file?")
        found.append((name, google(transcript)))
    return found


def is_google(item: JsonObject) -> bool:
    results = (item.object("response") or item).objects("results")
    best = [best for result in results for best in result.objects("alternatives")[:1]]
    return any({"transcript", "words"} & each.values.keys() for each in best)


def is_google_files(item: JsonObject) -> bool:
    results = (item.object("response") or item).object("results")
    files = [value for value in results.values.values() if isinstance(value, dict)]
    return bool(files) and any({"transcript", "inlineResult", "inline_result"} & file.keys() for file in files)


def aws(item: JsonObject) -> Draft:
    """Items in seconds, spelled as strings; punctuation marks are separate items, without times."""
    results = item.object("results")
    items, transcripts = results.objects("items"), results.objects("transcripts")
    channels = list(dict.fromkeys(label for each in items if (label := each.label("channel_label"))))
    speakers = _aws_speakers(results)
    language = results.text("language_code") or item.text("language_code")
    if len(channels) > 1:
        drafts = []
        for label in channels:
            own = _aws_words([each for each in items if each.label("channel_label") == label], speakers)
            drafts.append((label, Draft(None, own)))
        return merge_channels(drafts, item.place)._replace(language=language)
    text = join_texts(each.required_text("transcript") for each in transcripts) if transcripts else None
    return Draft(text, _aws_words(items, speakers) if items else None, language=language)


def is_aws(item: JsonObject) -> bool:
    results = item.object("results")
    items = results.objects("items")
    return bool(results.objects("transcripts")) or any({"alternatives", "type"} <= each.values.keys() for each in items)


def elevenlabs(item: JsonObject) -> Draft:
    """Words in seconds; spaces between them, and sounds, are separate entries, distinguished by their `type`.

    Channels that were transcribed separately are `transcripts`.
    """
    if channels := item.objects("transcripts"):
        labels = [channel.label("channel_index") or str(k) for k, channel in enumerate(channels)]
        drafts = [(f"channel {label}", elevenlabs(channel)) for label, channel in zip(labels, channels, strict=True)]
        return merge_channels(drafts, item.place)._replace(
            language=channels[0].text("language_code"),
            duration=item.seconds("audio_duration_secs"),
            request_id=item.text("transcription_id"),
        )
    said = [word for word in item.objects("words") if word.text("type") != "spacing"]
    words = _words(said, "text", speakers=("speaker_id",))
    return Draft(
        item.text("text"), words or None, language=item.text("language_code"), request_id=item.text("transcription_id")
    )


def is_elevenlabs(item: JsonObject) -> bool:
    words = [word for part in (item, *item.objects("transcripts")) for word in part.objects("words")]
    return bool(words) and all("text" in word.values and word.text("type") in ELEVENLABS_TYPES for word in words)


ELEVENLABS_TYPES = ("word", "spacing", "audio_event")


def _words(
    items: Iterable[JsonObject],
    *texts: str,
    speakers: Sequence[str] = ("speaker",),
    time: Callable[[JsonObject, str], float | None] = JsonObject.seconds,
) -> tuple[Word, ...]:
    """The words in a list, by the members that hold their text and their speaker, and the unit of their times."""
    return tuple(
        Word(item.required_text(*texts), time(item, "start"), time(item, "end"), item.label(*speakers))
        for item in items
    )


def _google_channel(results: Sequence[JsonObject]) -> Draft:
    """Results one after the other. With speakers, v1 repeats all the words at the end, in a result without text."""
    best = [alternatives[0] for result in results if (alternatives := result.objects("alternatives"))]
    texts = [each.text("transcript") or "" for each in best]
    words = [list(_google_words(each.objects("words"))) for each in best]
    if len(best) > 1 and words[-1] and not texts[-1].strip() and len(words[-1]) >= sum(map(len, words[:-1])):
        words = words[-1:]
    said = tuple(word for own in words for word in own)
    timed = any(word.start is not None and word.end is not None for word in said)
    return Draft(join_texts(texts) if any(texts) else None, said or None, () if timed else _google_segments(results))


def _google_segments(results: Sequence[JsonObject]) -> tuple[Segment, ...]:
    """The results as segments: each follows the one before it, and says when it ends. None if one doesn't say that."""
    segments: list[Segment] = []
    start = 0.0
    for result in results:
        end = _google_time(result, "resultEnd")
        best = result.objects("alternatives")[:1]
        if text := (best[0].text("transcript") or "" if best else ""):
            if end is None:
                return ()
            segments.append(Segment(start, end, text, "server"))
        start = start if end is None else end
    return tuple(segments)


def _google_words(items: Iterable[JsonObject]) -> Iterator[Word]:
    for k, word in enumerate(items):
        start, end = _google_time(word, "start"), _google_time(word, "end")
        if start is None and end is not None and k == 0:
            start = 0.0  # what is 0 is left out of protobuf's JSON
        speaker = next((label for name in GOOGLE_SPEAKERS if (label := word.label(name)) not in (None, "0")), None)
        yield Word(word.required_text("word"), start, end, speaker)


GOOGLE_SPEAKERS = ("speakerLabel", "speaker_label", "speakerTag", "speaker_tag")


def _google_time(item: JsonObject, name: str) -> float | None:
    """`start`, `end` or `resultEnd`: a Time in v1, an Offset in v2, in either spelling of protobuf's JSON."""
    snake = "result_end" if name == "resultEnd" else name
    return item.duration(f"{name}Offset", f"{name}Time", f"{snake}_offset", f"{snake}_time")


def _aws_words(items: Sequence[JsonObject], speakers: dict[float, str]) -> tuple[Word, ...]:
    words: list[Word] = []
    opening = ""
    for item in items:
        content = (item.objects("alternatives") or [item])[0].required_text("content")
        if item.text("type") == "punctuation":
            if words and content not in OPENING_MARKS:
                words[-1] = words[-1]._replace(word=words[-1].word + content)
            else:
                opening += content
            continue
        start = item.decimal("start_time")
        speaker = item.label("speaker_label") or speakers.get(-1.0 if start is None else start)
        words.append(Word(opening + content, start, item.decimal("end_time"), speaker))
        opening = ""
    if opening:
        words.append(Word(opening))
    return tuple(words)


def _aws_speakers(results: JsonObject) -> dict[float, str]:
    """Start of each item to its speaker, in older responses, whose items don't name it."""
    found: dict[float, str] = {}
    for segment in results.object("speaker_labels").objects("segments"):
        for item in segment.objects("items"):
            start, label = item.decimal("start_time"), item.label("speaker_label") or segment.label("speaker_label")
            if start is not None and label is not None:
                found[start] = label
    return found
