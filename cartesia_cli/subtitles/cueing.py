"""Makes cues from the words and segments of a transcript.

Words may lack times, be out of order, overlap, or be missing altogether. In any case every word is shown once and in
its order, and no cue begins before the previous one has ended. A cue begins when its first word does; if no word
has a plausible time, it is estimated.

Pure: no files, no clock. Must never correct the text, and must not know where a transcript came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat, zip_longest
from typing import NamedTuple

from ..text_width import text_width
from ..timestamps import Span, interpolate_spans, plausible_spans
from ..transcript import Transcript
from .breaks import OPENING_MARKS, UNSPACED
from .profiles import STANDARD, Rules
from .segmentation import Token, duration_ms, segment, split_word
from .writers import CONTROLS, Cue, WordOffsets, srt, vtt

__all__ = ["Cue", "Rules", "cues", "srt", "vtt"]

_OPENING_PUNCTUATION = re.compile(r"(?:(?<!\S)(?:[^\w\s]+|[«„“‘‹(\[{¿¡]+\s+)|[「『（【〈《]+)\Z")
"""Punctuation that belongs to the word after it: after a space, and touching that word or opening something."""


def cues(transcript: Transcript, rules: Rules = STANDARD) -> list[Cue]:
    """The cues of a transcript, in order, without overlap.

    Times come from the words, or else from the segments. Without any, the text is spread over the
    duration; without even a duration, from 0 at CHARACTERS_PER_SECOND of `timestamps`.
    """
    texts = _split_tokens(_timed_texts(transcript), rules.max_line_width)
    spans = interpolate_spans([s.space_before + len(s.text) for s in texts], [(s.start, s.end) for s in texts],
                     transcript.duration)  # fmt: skip
    tokens = [Token(text, space_before, *span) for (text, space_before, *_), span in zip(texts, spans, strict=True)]
    settings = segment(tokens, rules, transcript.language)
    shown: list[Cue] = []
    for setting, following in zip_longest(settings, settings[1:]):
        first, last = setting[0], setting[-1] - 1
        lines, marks = zip(*(_line_with_offsets(tokens, a, b) for a, b in pairwise(setting)), strict=True)
        start = max(tokens[first].start, shown[-1].end if shown else 0)
        next_start = None if following is None else tokens[following[0]].start
        end = _out_time(start, tokens[last].end, next_start, lines, rules)
        invented = [not texts[k].is_measured or texts[k].start is None for k in range(first, last + 1)]
        estimated = invented[0] or not texts[last].is_measured or texts[last].end is None
        shown.append(Cue(start, end, lines, estimated, marks, any(invented[1:])))
    return shown


def _line_with_offsets(tokens: Sequence[Token], first: int, end: int) -> tuple[str, WordOffsets]:
    """The tokens from `first` up to `end` as a line, with the offset and the time of each, in milliseconds."""
    text, marks = tokens[first].text, [(0, tokens[first].start)]
    for k in range(first + 1, end):
        token = tokens[k]
        text += " " * token.space_before
        marks.append((len(text), token.start))
        text += token.text
    return text, tuple(marks)


def _out_time(start: int, spoken: int, next_start: int | None, lines: Sequence[str], rules: Rules) -> int:
    """When a cue ends: when it has been spoken and can have been read, unless the next cue begins before that."""
    read = start + duration_ms(max(rules.min_cue, text_width(" ".join(lines)) / rules.max_cps))
    latest = min(spoken + duration_ms(rules.max_linger), start + duration_ms(rules.max_cue))
    end = min(max(spoken, read), latest)
    if next_start is not None:
        latest_gap_start = next_start - duration_ms(rules.min_gap)
        if latest_gap_start <= start:  # no time for a gap
            end = min(latest, next_start)
        elif end + duration_ms(max(rules.chain, rules.min_gap)) > next_start:
            end = min(latest, latest_gap_start)
    return max(end, start + 1)


class _TimedText(NamedTuple):
    """Text with the times that its source gives: a word, a segment, or a part of one.

    space_before   whether a space separates it from the text before
    start, end     milliseconds, or None
    is_measured    whether these times are not estimates themselves
    """

    text: str
    space_before: bool
    start: int | None = None
    end: int | None = None
    is_measured: bool = True


def _timed_texts(transcript: Transcript) -> list[_TimedText]:
    """What was said, from the most detailed source that the transcript has: words, else segments, else the text."""
    text, words, segments = transcript.text, transcript.words or (), transcript.segments
    text = text if text.isprintable() else CONTROLS.sub("", text)
    word_spans = plausible_spans(((word.start, word.end) for word in words), transcript.duration)
    spans = plausible_spans(((segment.start, segment.end) for segment in segments), transcript.duration)
    sure = [segment.timing != "estimated" for segment in segments]
    sources: tuple[tuple[list[str], Sequence[Span | None], Iterable[bool]], ...] = (
        ([word.word for word in words] if any(word_spans) else [], word_spans, repeat(True)),
        ([segment.text for segment in segments], spans, sure),
        ([word.word for word in words], [None] * len(words), repeat(True)),
        ([text], [None], repeat(True)),
    )
    return next((texts for source in sources if (texts := _add_spacing(*source, text))), [])


def _add_spacing(
    parts: Iterable[str], spans: Iterable[Span | None], sure: Iterable[bool], text: str
) -> list[_TimedText]:
    """The texts of a source, with the spaces between them, and with text that only the transcript has.

    If not all of them are found in the transcript, in order, only spaces and punctuation are added: other text may be
    the same word in another spelling, and would be shown twice.
    """
    spellings = [(word if word.isprintable() else CONTROLS.sub("", word)).strip() for word in parts]
    places, end, agreed, missed = [], 0, True, 0
    for spelling in spellings:
        # After the first that isn't found, only spaces and punctuation are taken from the text: a short search will do.
        place = text.find(spelling, end, None if agreed else end + len(spelling) + min(64 + 2 * missed, 2000))
        if place < 0:
            agreed, missed = False, missed + len(spelling) + 1
        else:
            end, missed = place + len(spelling), 0
        places.append(place)

    texts: list[_TimedText] = []
    end = 0  # where the previous one ends in the text, -1 if it wasn't found
    for spelling, place, span, known in zip(spellings, places, spans, sure):  # noqa: B905  sure may be endless
        if not spelling:
            continue
        gap = text[end:place] if end >= 0 and place >= 0 else None
        start, until = span or (None, None)
        end = place + len(spelling) if place >= 0 else -1
        space_before = gap != ""
        if gap == " ":  # the usual case
            texts.append(_TimedText(spelling, True, start, until, known))
            continue
        if gap is None or not (agreed or _is_punctuation(gap)):
            space_before = not (texts and UNSPACED.match(texts[-1].text[-1]) and UNSPACED.match(spelling))
        elif gap and not gap.isspace():
            opening = _OPENING_PUNCTUATION.search(text, max(place - len(gap), place - 8), place)
            untimed = gap[: len(gap) - len(opening[0])] if opening else gap
            space_before = untimed[-1:].isspace()
            spelling = gap[len(untimed) :] + spelling
            _attach_untimed(untimed, texts)
        texts.append(_TimedText(spelling, space_before, start, until, known))
    if texts and end >= 0 and (agreed or _is_punctuation(text[end:])):
        _attach_untimed(text[end:], texts)
    return texts


def _attach_untimed(untimed: str, texts: list[_TimedText]) -> None:
    """Add text without times: to the text before it up to the first space, then as separate words."""
    if not untimed.strip():
        return
    if texts:
        glued, *further = [untimed.rstrip()] if _is_punctuation(untimed) else re.split(r"\s", untimed, maxsplit=1)
        texts[-1] = texts[-1]._replace(text=texts[-1].text + glued)
    else:
        further = [untimed]
    texts += [_TimedText(rest.strip(), True) for rest in further if rest.strip()]


def _is_punctuation(text: str) -> bool:
    """Whether a text has neither letters nor digits."""
    return not any(map(str.isalnum, text))


def _split_tokens(texts: Iterable[_TimedText], line: int) -> list[_TimedText]:
    """Divide texts at their spaces, and words wider than a line into parts."""
    tokens: list[_TimedText] = []
    for timed in texts:
        chunks = timed.text.split()
        if len(chunks) == 1 and text_width(chunks[0]) <= line:
            tokens.append(timed)
            continue
        parts: list[tuple[str, bool]] = []
        for chunk in chunks:
            if text_width(chunk) > line:
                parts += [(part, k == 0) for k, part in enumerate(split_word(chunk, line))]
            elif (
                parts
                and _is_punctuation(chunk)
                and chunk[-1] not in OPENING_MARKS
                and text_width(parts[-1][0] + chunk) < line
            ):
                parts[-1] = f"{parts[-1][0]} {chunk}", parts[-1][1]
            else:
                parts.append((chunk, True))
        for k, (text, space_before) in enumerate(parts):
            start = timed.start if k == 0 else None
            end = timed.end if k == len(parts) - 1 else None
            tokens.append(_TimedText(text, space_before if k else timed.space_before, start, end, timed.is_measured))
    return tokens
