"""What all recordings of a batch have in common: the options of their requests, and where their results go."""

from typing import TYPE_CHECKING

from ...output import Layout
from ...protocol.batch import BatchOptions
from ...record import Record

if TYPE_CHECKING:  # start-up: a run may have no cache, and most need few formats
    from ...cache import Cache
    from .bucket_results import BucketResults
    from .manifest_results import ManifestResults
    from .matches import MatchWriter


class BatchConfig(Record):
    """What all recordings of a batch have in common.

    request      options of each request
    timeout      seconds for each request with all its attempts, without the wait until it may begin; None: as long as
                 the size of the recording needs
    cache        responses of the same server; None: neither read nor written
    matches      writes the selected rows of each transcript; None: whole transcripts are written
    manifest     lists the results; None: no manifest is written
    speakers     names of who speaks on each channel, which are transcribed one by one; empty: they are numbered;
                 None: recordings are transcribed as a whole
    bucket       writes the results as objects; None: they are files
    embed_audio  whether pages carry a copy of their recording
    replaces     whether files of results that have appeared meanwhile are replaced
    engine       the model of this machine that transcribes, as of `engine_name`; empty: that of the options
    """

    request: BatchOptions
    layout: Layout
    endpoint: str
    timeout: float | None
    cache: "Cache | None" = None
    matches: "MatchWriter | None" = None
    manifest: "ManifestResults | None" = None
    speakers: tuple[str, ...] | None = None
    bucket: "BucketResults | None" = None
    embed_audio: bool = False
    replaces: bool = True
    engine: str = ""

    @property
    def model(self) -> str:
        """The model that results name."""
        return self.engine or self.request.model
