"""Writes cues as Advanced SubStation Alpha (.ass), in which each word is coloured as it is said.

Pure: cues in, text out. Must never change the text of a cue, except for what the format can't express. Times are whole
hundredths of a second; the format has no finer ones.

The format has no standard: fields and tags are those of the Aegisub project's manual, and libass is what reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from .profiles import Rules
from .writers import ESTIMATED_NOTE, Cue, clean_line

LANDSCAPE, UPRIGHT = (1920, 1080), (1080, 1920)
UPRIGHT_LINE_WIDTH = 30
"""Cues of a single line that is not wider than this are for upright video."""

MIN_FONT_SIZE, MAX_FONT_SIZE = 40, 84
COLUMN_SHARE = 0.5
"""Width of an average letter, as a share of the font size."""

WIDTH_SHARE = 0.9
"""How much of the picture's width a full line takes."""

SPOKEN = ("&H0000E1FF", "&H00FFD27F", "&H0090EE90", "&H00D8A8F0", "&H0066B8F2", "&H00D6D66F")
"""Colours of what has been said, as alpha, blue, green, red: for cues without a speaker, then one for each speaker."""

UNSPOKEN, OUTLINE, SHADOW = "&H00FFFFFF", "&H00000000", "&H80000000"

STYLE_FIELDS = (
    "Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
    "StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, "
    "Encoding"
)
_LOOKALIKES = str.maketrans("{}\\", "()∖")
"""Tags stand in braces, and a backslash before a brace or a letter has a meaning: similar characters have none."""

EVENT_FIELDS = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"


def ass(cues: Sequence[Cue], rules: Rules, title: str) -> str:
    """Cues as a file whose styles fit the rules: a full line fits the picture, which is upright for `shorts`."""
    speakers = list(dict.fromkeys(cue.speaker for cue in cues if cue.speaker is not None))
    return "".join(f"{line}\n" for line in _lines(cues, rules, clean_line(title), speakers))


def _lines(cues: Sequence[Cue], rules: Rules, title: str, speakers: Sequence[str]) -> Iterator[str]:
    upright = rules.max_line_count == 1 and rules.max_line_width <= UPRIGHT_LINE_WIDTH
    width, height = UPRIGHT if upright else LANDSCAPE
    yield "[Script Info]"
    if any(cue.estimated or cue.words_estimated for cue in cues):
        yield f"; {ESTIMATED_NOTE}"
    yield f"Title: {title}"
    yield from ("ScriptType: v4.00+", "WrapStyle: 0", "ScaledBorderAndShadow: yes", "YCbCr Matrix: TV.709")
    yield from (f"PlayResX: {width}", f"PlayResY: {height}")
    yield from ("", "[V4+ Styles]", f"Format: {STYLE_FIELDS}")
    size = round(min(MAX_FONT_SIZE, max(MIN_FONT_SIZE, WIDTH_SHARE * width / (COLUMN_SHARE * rules.max_line_width))))
    margin = height // 4 if upright else height // 18
    for number in range(len(speakers) + 1):
        colour = SPOKEN[0] if number == 0 else SPOKEN[1 + (number - 1) % (len(SPOKEN) - 1)]
        yield (
            f"Style: {_style(number)},Arial,{size},{colour},{UNSPOKEN},{OUTLINE},{SHADOW},0,0,0,0,100,100,0,0,1,3,1,2,"
            f"{width // 20},{width // 20},{margin},1"
        )
    yield from ("", "[Events]", f"Format: {EVENT_FIELDS}")
    for cue in cues:
        if text := "\\N".join(_line_texts(cue)):
            number = 0 if cue.speaker is None else 1 + speakers.index(cue.speaker)
            start, end = _hundredths(cue.start), max(_hundredths(cue.end), _hundredths(cue.start) + 1)
            name = clean_line(cue.speaker or "").replace(",", " ")
            yield f"Dialogue: 0,{_time(start)},{_time(end)},{_style(number)},{name},0,0,0,,{text}"


def _style(number: int) -> str:
    return "Default" if number == 0 else f"Speaker {number}"


def _line_texts(cue: Cue) -> Iterator[str]:
    """The lines of a cue, each word with a tag that says for how long it is the one being said.

    The tags of a cue add up to its duration.
    """
    if len(cue.marks) != len(cue.lines) or any(clean_line(line) != line for line in cue.lines):
        yield from (text.translate(_LOOKALIKES) for line in cue.lines if (text := clean_line(line)))
        return
    first, last = _hundredths(cue.start), max(_hundredths(cue.end), _hundredths(cue.start) + 1)
    # A word lasts until the next one begins. Times that fall or leave the cue are moved to where they are possible.
    starts = [first]
    for _, time in [mark for marks in cue.marks for mark in marks][1:]:
        starts.append(min(max(_hundredths(time), starts[-1]), last))
    lengths = iter(after - before for before, after in pairwise([*starts, last]))
    for line, marks in zip(cue.lines, cue.marks, strict=True):
        places = [place for place, _ in marks]
        words = (line[begin:end] for begin, end in pairwise([*places, len(line)]))
        tagged = (f"{{\\k{next(lengths)}}}{word.translate(_LOOKALIKES)}" for word in words)
        yield line[: places[0] if places else None].translate(_LOOKALIKES) + "".join(tagged)


def _hundredths(milliseconds: int) -> int:
    return (milliseconds + 5) // 10


def _time(hundredths: int) -> str:
    seconds, hundredths = divmod(hundredths, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{hundredths:02}"
