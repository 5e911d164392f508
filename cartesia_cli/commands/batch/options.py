"""The options of `transcribe`, in groups, and what they mean together.

Annotations aren't postponed here: see `options.OptionGroup`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...errors import UsageError
from .. import options as given
from .output_options import EmbedAudio, FormatOptions, OutputOptions, SubtitleOptions, output_option

if TYPE_CHECKING:  # --help does without
    from ...output.console import Reporter
    from ...protocol.batch import BatchOptions

MAX_JOBS = 256
"""A limit against typing errors: each job is a thread."""


def _check_shard(shard: str) -> None:
    from ...scale.shards import AUTO, parse_shard

    if not shard.lower().startswith(AUTO):  # then it depends on the job array
        parse_shard(shard, {})


def _check_manifest(path: Path) -> None:
    from .manifest_results import check_suffix

    check_suffix(path)


class InputOptions(given.OptionGroup):
    """What is transcribed."""

    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", show_default=False,
                       help="Files, folders, quoted globs such as 'talks/*.mp3', URLs, s3://…, @LIST, or - for stdin."),
    ] = None  # fmt: skip
    files_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read more inputs from this list, one on each line; - is stdin."),
    ] = None
    sample: Annotated[
        bool,
        typer.Option("--sample", help="Transcribe the bundled sample. With a key, INPUT may be words to speak first."),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be sent, with durations and costs; send nothing.")
    ] = False


class PendingOptions(given.OptionGroup):
    """Which of the inputs are transcribed."""

    resume: Annotated[bool, output_option("--resume", help="Skip inputs that already have results.")] = False
    retry_failed: Annotated[
        bool, output_option("--retry-failed", help="Only inputs that failed before in --output-dir.")
    ] = False
    shard: Annotated[
        str | None,
        output_option("--shard", metavar="I/N", callback=given.checked_by(_check_shard),
                      help="Only a share of the inputs, such as 3/8; auto or auto/N in a job array."),
    ] = None  # fmt: skip

    @property
    def continues(self) -> bool:
        """Whether results of an earlier run are kept."""
        return self.resume or self.retry_failed


class ExtraOutputOptions(given.OptionGroup):
    """What is written besides transcripts."""

    keep_json: Annotated[
        Path | None,
        output_option(metavar="DIR", readable=False, help="Save the server's responses in this folder, unchanged."),
    ] = None
    output_manifest: Annotated[
        Path | None,
        output_option(metavar="FILE", readable=False, callback=given.checked_by(_check_manifest),
                      help="Write a NeMo manifest of the results, as JSON lines; alone, it replaces other files."),
    ] = None  # fmt: skip
    embed_audio: EmbedAudio = False


class RecordingOptions(given.OptionGroup):
    """What is known about the recordings, and who transcribes them."""

    model: given.Model = "ink-whisper"
    language: given.Language = None
    keyterm: given.Keyterm = None
    encoding: given.Encoding = None
    sample_rate: given.SampleRate = None
    speakers_by_channel: Annotated[
        str | None,
        typer.Option("--speakers-by-channel", metavar="[NAME,NAME]", show_default=False,
                     callback=given.read_names,
                     help="Transcribe each channel by itself, and merge them into a conversation."),
    ] = None  # fmt: skip

    def request(self, reporter: "Reporter", base_url: str | None) -> "BatchOptions":
        """The options of each request, with warnings of those that look wrong. Raises UsageError for a language that
        can't be asked for.
        """
        from ...protocol.batch import BatchOptions

        options = BatchOptions(
            model=self.model,
            language=given.language_for_server(self.language, base_url, reporter),
            word_timestamps=True,  # they cost nothing, and the next format then needs no other upload
            encoding=self.encoding,
            sample_rate=self.sample_rate,
        )
        given.warn_of_unknown_values(reporter, options, self.keyterm, models_of=base_url)
        return options


class SendingOptions(given.OptionGroup):
    """How recordings are sent."""

    endpoint: Annotated[
        Literal["stt", "openai"], given.backend_option(help="The API's own route, or its OpenAI-compatible one.")
    ] = "stt"
    timeout: given.Timeout = None
    retries: given.Retries = None
    jobs: Annotated[
        int | None,
        given.backend_option("--jobs", "-j", metavar="N", min=1, max=MAX_JOBS,
                             help="Recordings at once; by default 4 in the cloud, more while it accepts them, offline "
                                  "by cores and memory."),
    ] = None  # fmt: skip
    max_credits: Annotated[
        float | None,
        given.backend_option(metavar="N", min=0, help="Stop before a run costs more than this many credits."),
    ] = None
    dask: Annotated[
        str | None,
        given.backend_option("--dask", metavar="ADDRESS", show_default=False,
                             help="Transcribe on the workers of a Dask cluster: tcp://HOST:8786, or its scheduler "
                                  "file."),
    ] = None  # fmt: skip
    no_cache: given.NoCache = False
    notify: Annotated[bool, given.message_option("--notify", help="Show a desktop notification at the end.")] = False


class TranscribeOptions(given.OptionGroup):
    """All options of the command."""

    input: InputOptions
    output: OutputOptions
    pending: PendingOptions
    extra: ExtraOutputOptions
    format: FormatOptions
    subtitles: SubtitleOptions
    recording: RecordingOptions
    backend: given.BackendOptions
    sending: SendingOptions

    def speakers(self) -> tuple[str, ...] | None:
        """The names of the speakers on the channels, perhaps none; None if channels are not transcribed by themselves.
        Raises UsageError for options that can't be combined with that (others are in `precedence`).
        """
        if self.recording.speakers_by_channel is None:
            return None
        if self.sending.dask is not None and self.sending.max_credits is not None:
            hint = "leave out one of them: only workers know how many channels there are"
            raise UsageError("--max-credits can't be combined with --speakers-by-channel and --dask", hint=hint)
        return given.parse_names(self.recording.speakers_by_channel)
