"""Words and segments as cues, cues as SRT and VTT; and subtitle files of anybody, with what is wrong about them.

    profiles     what a good cue is, in numbers
    grammar      little words that lines don't break at
    breaks       what a break costs, by what stands around it
    lines        where lines break within a cue
    typesetting  where cues end, found by optimisation
    captions     a cue, and cues as the text of a file
    cueing       transcripts as cues
    cuesheet     a file of anybody, read however broken it is
    lint         its cues against the rules of a profile
    necessity    which violations the words themselves force

Pure: no files, no clock.
"""

from .cueing import cues
from .profiles import Rules
from .writers import Cue, srt, vtt

__all__ = ["Cue", "Rules", "cues", "srt", "vtt"]
