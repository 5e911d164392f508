"""Writes a transcript as a web page with a player: one file; the recording is in it, linked, or chosen on the page.

The page is `player/page.html` with a style, a script and the data in it. Must never let what was said become markup or
script: text is escaped, data can't end its element, and the page's Content-Security-Policy allows its own style and
script only, by their hashes. Control characters and bidirectional overrides are shown as U+FFFD, as in plain text.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain
from pathlib import PurePath
from typing import Any

from .. import subtitles
from ..alignment import find_word_ends
from ..timestamps import clock_time
from ..transcript import Transcript
from . import Layout, Media, SaveTarget
from .paragraphs import Paragraph, md, named, paragraphs, recording_facts
from .player_files import fill, policy, read
from .sanitize import printable, title
from .text_json import text as plain_text
from .timed_text import srt

COLOURS = 8
"""Colours of speakers in page.css; more speakers than that share them."""

ESTIMATED_BY_US, ESTIMATED_BY_SERVER, EDITED = 1, 2, 4
"""Flags of a word: its `timing` is "estimated", its `estimated` is true, its `edited` is true."""

NAMED_ELSEWHERE = {"text", "segments", "words", "notices"}
"""Members of the document that aren't among its `facts`."""


def html(transcript: Transcript, layout: Layout) -> str:
    """The whole page. Without `layout.media`, a recording can be chosen on the page."""
    style, script = read("page.css"), read("page.js") + read("corrections.js")
    sources = ["media-src 'self' file: blob:"]
    if layout.save_target is not None:
        sources = ["media-src 'self' blob:", "connect-src 'self'"]
    found = paragraphs(transcript)
    parts = {
        "language": f' lang="{escape(printable(transcript.language, keep=""))}"' if transcript.language else "",
        "policy": policy(style, script, *sources),
        "title": escape(title(transcript.source)),
        "facts": escape(printable(" · ".join(_facts(transcript)), keep="")),
        "paragraphs": "\n".join(_paragraphs(found)),
        "data": _data(transcript, found, layout),
        "style": style,
        "script": script,
    }
    return fill(read("page.html"), parts)


def _facts(transcript: Transcript) -> Iterator[str]:
    yield from recording_facts(transcript)
    if transcript.has_estimated_segments or any(times.estimated for times in transcript.word_times()):
        yield "times are estimated"
    if not transcript.text.strip():
        yield "no speech found"


def _paragraphs(found: Sequence[Paragraph]) -> Iterator[str]:
    """An element for each paragraph: its time, its speaker if another one spoke before, and its text."""
    speakers = _speakers(found)
    for name, (start, text, speaker) in named(found):
        at = "" if start is None else f'<a class="at" href="#t={start:.2f}">{clock_time(start)}</a> '
        colour = "" if speaker is None else f" s{speakers.index(speaker) % COLOURS}"
        number = "" if speaker is None else f' data-speaker="{speakers.index(speaker)}"'
        who = f'<strong class="name{colour}"{number}>{escape(printable(name, keep=""))}:</strong> ' if name else ""
        yield f'<p>{at}{who}<span class="words" dir="auto">{escape(printable(text))}</span></p>'


def _speakers(found: Sequence[Paragraph]) -> list[str]:
    return list(dict.fromkeys(part.speaker for part in found if part.speaker is not None))


def _data(transcript: Transcript, found: Sequence[Paragraph], layout: Layout) -> str:
    """What the script needs, as JSON that can stand in a script element.

    words         for each paragraph: offset and length in its text, start and end in milliseconds, of each word
    cues          start and end of each subtitle, in milliseconds
    copies        the transcript in the formats that can be copied
    corrections   what saving takes, or null: see `_corrections`
    """
    media = layout.media or Media()
    cues = subtitles.cues(transcript, layout.rules)
    document: dict[str, Any] = {
        "duration": transcript.duration or max((cue.end / 1000 for cue in cues), default=0),
        "words": [list(chain(*words)) for words in _words(transcript, found)],
        "cues": [[cue.start, cue.end] for cue in cues],
        "peaks": {"step": media.peak_seconds, "values": b64encode(media.peaks).decode("ascii")},
        "media": {"link": media.link, "type": media.type, "embedded": b64encode(media.embedded).decode("ascii")},
        "corrections": _corrections(transcript, found, layout.save_target),
        "copies": {
            "text": plain_text(transcript, Layout(paragraphs=True)).rstrip("\n"),
            "srt": srt(transcript, layout),
            "md": md(transcript, layout),
        },
    }
    data = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def is_correctable(transcript: Transcript) -> bool:
    """Whether corrections can be made on the page of a transcript."""
    return _corrections(transcript, paragraphs(transcript), None) is not None


def _corrections(
    transcript: Transcript, found: Sequence[Paragraph], save_target: SaveTarget | None
) -> dict[str, Any] | None:
    """What saving takes: the document, with its text divided into words. None if there are no words, or some that are
    blank or aren't in a paragraph. As JSON:

    facts      members of the document that stay as they are; `notices` are apart, since they come last
    speakers   their names, first those that the page names, in the order of their numbers there; words and segments
               have their number instead, or -1
    words      for each: the text before it, its leading spaces, spelling, trailing spaces, start, end, flags, speaker
    tail       the text behind the last word
    segments   each with its `length` in UTF-16 code units instead of its text
    name       of a file to save it in
    save       `url` and `version` of the SaveTarget, or null

    Joined, what stands between the words and the words themselves are the text, character for character, so that a page
    that changes one word saves all others as they were.
    """
    document, spoken = transcript.to_dict(), transcript.words or ()
    ends = find_word_ends(transcript.text, spoken)
    shown = sum(map(len, _words(transcript, found)))
    if not ends or shown != len(spoken) or not all(word.word.strip() for word in spoken):
        return None
    named = [*_speakers(found), *(word.speaker for word in spoken)]
    named += [segment.speaker for segment in transcript.segments]
    numbers: dict[str | None, int] = {None: -1}
    for name in named:
        numbers.setdefault(name, len(numbers) - 1)
    return {
        "facts": {name: value for name, value in document.items() if name not in NAMED_ELSEWHERE},
        "notices": document.get("notices"),
        "speakers": [name for name in numbers if name is not None],
        "words": list(_word_rows(transcript.text, ends, document["words"], numbers)),
        "tail": transcript.text[ends[-1] :],
        "segments": [_segment_row(segment, numbers) for segment in document["segments"]],
        "name": f"{_stem(title(transcript.source))}.json",
        "save": save_target and {"url": save_target.url, "version": save_target.version},
    }


def _stem(source: str) -> str:
    """What the results of a recording are called, without a suffix; those of a part have its times, as in a@0.1-0.6."""
    if part := re.search(r"#t=([\d.]+),([\d.]*)\Z", source):
        return f"{PurePath(source[: part.start()]).stem}@{part[1]}-{part[2]}"
    return PurePath(source).stem or "transcript"


def _word_rows(
    text: str, ends: Sequence[int], words: Sequence[dict[str, Any]], numbers: dict[str | None, int]
) -> Iterator[list[str | float]]:
    before = 0
    for word, end in zip(words, ends, strict=True):
        written: str = word["word"]
        spelling = written.strip()
        leading, _, trailing = written.partition(spelling)
        flags = (
            ESTIMATED_BY_US * ("timing" in word)
            + ESTIMATED_BY_SERVER * ("estimated" in word)
            + EDITED * ("edited" in word)
        )
        yield [
            text[before : end - len(spelling)], leading, spelling, trailing, word["start"], word["end"], flags,
            numbers[word.get("speaker")],
        ]  # fmt: skip
        before = end


def _segment_row(segment: dict[str, Any], numbers: dict[str | None, int]) -> dict[str, Any]:
    kept = {name: value for name, value in segment.items() if name != "text"}
    return kept | {"length": _code_units(segment["text"]), "speaker": numbers[segment.get("speaker")]}


def _words(transcript: Transcript, found: Sequence[Paragraph]) -> Iterator[list[tuple[int, int, int, int]]]:
    """The words of each paragraph: offset, length, start and end. The first two count UTF-16 code units, as in
    JavaScript."""
    spans, k, begin = list(_timed_spans(transcript)), 0, 0
    for part in found:
        begin = transcript.text.index(part.text, begin)
        end, words = begin + len(part.text), []
        at = units = 0  # the same place in the paragraph, in characters and in code units
        while k < len(spans) and spans[k][0] < end:
            first, last, start, stop = spans[k]
            k += 1
            if first < begin:
                continue
            units += _code_units(part.text[at : first - begin])
            at = first - begin
            length = _code_units(part.text[at : min(last, end) - begin])
            words.append((units, length, round(1000 * start), round(1000 * max(start, stop))))
        yield words
        begin = end


def _timed_spans(transcript: Transcript) -> Iterator[tuple[int, int, float, float]]:
    """Words, or segments where the words aren't found in the text: where each starts and ends there, and its times in
    seconds, estimated where it has none."""
    spans = transcript.word_spans()
    if spans:
        spoken = [times for word, times in zip(transcript.words or (), transcript.word_times(), strict=True)
                  if word.word.strip()]  # fmt: skip
        for span, times in zip(spans, spoken, strict=True):
            yield span.text_start, span.text_end, times.start, times.end
        return
    for span in transcript.segment_spans():
        if span.start is not None and span.end is not None:
            yield span.text_start, span.text_end, span.start, span.end


def _code_units(text: str) -> int:
    """The length of a text in UTF-16 code units, in which scripts count."""
    return len(text) + sum(character > "\uffff" for character in text)
