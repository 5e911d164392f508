"""Subtitles: makes cues from transcripts, writes SRT and WebVTT, and reads and checks subtitle files of any origin.

    profiles        the limits of a good cue, by style guide
    function_words  words that a line shouldn't break before or after
    breaks          what a break costs, by the words around it
    line_breaking   where lines break within a cue
    segmentation    where cues end, found by dynamic programming
    writers         a cue, and cues as the text of a file
    ass             cues as the text of an ASS file, with karaoke
    cueing          transcripts to cues
    parser          reads subtitle files, however broken
    lint            checks the cues of a file against the limits of a profile
    unavoidable     which violations no other division of the words could avoid

Pure: no files, no clock.
"""

from .cueing import cues
from .profiles import Rules
from .writers import Cue, srt, vtt
