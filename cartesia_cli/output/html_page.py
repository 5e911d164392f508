"""Writes a transcript as a web page with a player: one file; the recording is in it, linked, or chosen on the page.

The page is `player/page.html` with a style, a script and the data in it. Must never let what was said become markup or
script: text is escaped, data can't end its element, and the page's Content-Security-Policy allows its own style and
script only, by their hashes. Control characters and bidirectional overrides are shown as U+FFFD, as in plain text.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain
from typing import Any

from .. import subtitles
from ..timestamps import clock_time
from ..transcript import Transcript
from . import Layout, Media, SaveTarget
from .page_corrections import code_units, corrections
from .paragraphs import Paragraph, md, named, paragraphs, recording_facts
from .player_files import fill, policy, read
from .sanitize import printable, title
from .text_json import text as plain_text
from .timed_text import srt

COLOURS = 8
"""Colours of speakers in page.css; more speakers than that share them."""


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
    corrections   what saving takes, as `page_corrections` has it, or null
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
    """What saving takes; None if there are words that aren't in a paragraph."""
    count = sum(map(len, _words(transcript, found)))
    return corrections(transcript, _speakers(found), save_target) if count == len(transcript.words or ()) else None


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
            units += code_units(part.text[at : first - begin])
            at = first - begin
            length = code_units(part.text[at : min(last, end) - begin])
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
