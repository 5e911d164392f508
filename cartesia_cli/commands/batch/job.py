"""A job of a batch: one recording to transcribe, what its header says, and where its results go."""

from collections.abc import Callable, Collection, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from ...audio.probing import MediaInfo, probe, probe_raw
from ...errors import CliError, InputError
from ...protocol.batch import BatchOptions
from .inputs import Input
from .output_plan import Targets
from .stdin import STDIN

Refuse = Callable[[Sequence[Input], CliError], object]
"""Reports an error because of which inputs can't be transcribed."""


class Job(NamedTuple):
    """One recording, and where its results go.

    media           what probing found out; None for a recording that has to be downloaded first
    response_file   where the body of the server's response is saved as it came, or None
    keeps_response  whether a file of that name stays: the body is then saved beside it
    outdated        its files that exist and are replaced when an earlier run is continued
    """

    input: Input
    media: MediaInfo | None
    targets: Targets
    response_file: Path | None = None
    keeps_response: bool = False
    outdated: Collection[Path] = ()

    @property
    def seconds(self) -> float | None:
        """The length of the recording, if it is known."""
        return None if self.media is None else self.media.duration

    @property
    def files(self) -> list[Path]:
        """All files that it writes, besides a response for which another one is kept."""
        files = [*self.targets.values(), None if self.keeps_response else self.response_file]
        return [file for file in files if file is not None]


def probe_input(item: Input, options: BatchOptions) -> MediaInfo:
    """Read what an input's header says before it is sent. Raises InputError for one that is not a recording."""
    name = "stdin" if item.source == STDIN else None if item.origin is None else item.source
    if options.encoding is None:
        media = probe(item.path, name)
        return media if item.time_range is None else _media_of_part(media, item.source, *item.time_range)
    if item.time_range is not None:
        raise InputError(
            f"{item.source} is a part of a recording without a header, which can't be cut", hint="leave out --encoding"
        )
    assert options.sample_rate is not None
    return probe_raw(item.path, options.encoding, options.sample_rate, name)


def _media_of_part(media: MediaInfo, name: str, offset: float, duration: float) -> MediaInfo:
    """What is known of a part of a recording. Raises InputError if the recording ends before it begins."""
    left = None if media.duration is None else media.duration - offset
    if left is not None and left <= 0 and not media.estimated:
        message = f"{name} begins after the end of the recording, which lasts {media.duration:.2f} s"
        raise InputError(message, hint="are offset and duration of the manifest in seconds?")
    length = duration if left is None or media.estimated else min(duration, left)
    return media._replace(duration=length if length < inf else None, declared=None, estimated=False)
