"""What a look at a recording's own bytes tells: is it audio, in which container, and how many seconds of it.

So that a broken file is named before anything is sent or paid for, and that cost, deadline and progress can
be told beforehand. These rooms must never refuse what a server may be able to decode, only what provably holds
no audio; never read more than small pieces of a file, however large or hostile it is; never import a decoder.

From the cellar up; every room knows only those named before it:

    files         a file of this machine is opened, and named in messages
    peek          a file in small pieces; what a reader of a format finds, or how it gives up
    riff          the WAV family
    lengths       others' containers, of which no more than the length is looked at
    flac, ogg     Xiph's formats
    mpeg          frames of MP3 and AAC, and the indices that encoders leave in the first one
    boxes         MP4 and Matroska, which nest their parts alike
    formats       one row for each container: media type, first bytes, reader
    recognition   which row a file belongs to, and what is certainly no recording
    looking       all of it together: a Recording, or an InputError

A new container is a row in `formats` and, where its duration can be told, a function from a Peek to a Held.
"""

from .files import display_name
from .formats import EXTENSIONS, FORMATS, HEADERLESS, MEDIA_TYPES
from .probe import MediaInfo, is_recording, probe, probe_raw

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "HEADERLESS",
    "MEDIA_TYPES",
    "MediaInfo",
    "display_name",
    "is_recording",
    "probe",
    "probe_raw",
]  # fmt: skip
