"""`--output-manifest`: gives each recording of a run its line in the manifest of the results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ...errors import OutputError, UsageError
from ...output.console import Reporter
from ...output.text_json import to_json
from ...protocol.batch import ServerResponse
from ...scale.manifests import PATH_FIELDS
from ...scale.output_manifest import OutputManifest, audio_path, describe_result, partial_path
from ...scale.shards import Shard
from ...transcript import from_batch
from .inputs import Input
from .job import Job
from .output_checks import check_output
from .output_plan import Targets, file_identity, input_overwrite_error
from .stdin import STDIN

SUFFIXES = (".jsonl", ".json", ".ndjson")


def check_output_manifest(path: Path, names: Sequence[str], *, resume: bool, force: bool) -> None:
    """Raises UsageError for a manifest that can't be written, or whose name belongs to an input.

    names   the arguments that name inputs
    """
    if path.exists() and file_identity(path) in [file_identity(name) for name in names if name != STDIN]:
        raise input_overwrite_error(path)
    check_output(path, force=resume or force)


def check_suffix(path: Path) -> None:
    """Raises UsageError for a file whose suffix isn't that of a manifest."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a manifest's suffix is one of {', '.join(SUFFIXES)}", hint="rename it")


def path_of_shard(path: Path, shard: Shard) -> Path:
    """The path of one shard's part of a manifest: results.jsonl becomes results.3-of-8.jsonl."""
    return path.with_name(f"{path.stem}.{shard.number}-of-{shard.total}{path.suffix}")


class ManifestResults:
    """The manifest of a run, as a context. Any thread may use it once it is reserved; raises OutputError if it can't be
    written.

    If the block ends without an exception, the manifest is put into place. Otherwise, or if that fails, its lines stay
    in the partial file. Lines of earlier runs stay until the first recording is done.

    resume       whether lines of earlier runs are kept
    force        whether files of an earlier run are replaced
    dry_run      whether only lines of earlier runs are looked up
    texts_only   whether results in the format `text` are nothing but the text

    missing      recordings with results that have no line, because their text isn't known: each is reported
    """

    def __init__(
        self, path: Path, *, resume: bool, force: bool, dry_run: bool, texts_only: bool, reporter: Reporter
    ) -> None:
        self._path, self._resume, self._force, self._reporter = path, resume, force, reporter
        self._dry_run, self._texts_only = dry_run, texts_only
        self.missing: list[str] = []
        self._manifest: OutputManifest | None = None

    def __enter__(self) -> ManifestResults:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._manifest is None:
            return
        with self._manifest as manifest:
            try:
                if kind is None and not self._dry_run:
                    count = manifest.finish()
                    self._reporter.info(f"wrote {self._path}: {count} {'recording' if count == 1 else 'recordings'}")
            finally:
                if manifest.has_lines and not self._dry_run:
                    self._reporter.info(f"{partial_path(self._path)} has the results so far, for --resume")

    def reserve(self) -> None:
        """Keep other runs from writing the manifest. To be called before anything is sent, but after folders have been
        searched, where the partial file would be found. Raises UsageError if another run is writing it, or has left
        files that must not be replaced.
        """
        if self._manifest is None:
            self._manifest = OutputManifest(self._path, resume=self._resume, force=self._force, dry_run=self._dry_run)

    @property
    def replaces_earlier(self) -> bool:
        """Whether there is a manifest of an earlier run that this one replaces when it is done."""
        return self._force and self._path.exists()

    def line(self, item: Input, text: str, duration: float | None) -> str:
        """The line of a recording. `duration`: in seconds, as measured."""
        return to_json(describe_result(self._audio_path(item), duration, text, item.fields or {}))

    def add(self, item: Input, text: str, duration: float | None) -> None:
        """Write the line of a recording."""
        assert self._manifest is not None
        try:
            self._manifest.add(item.number, self.line(item, text, duration))
        except OutputError as error:
            error.stops_batch = True  # every other line goes to the same file
            raise

    def keep(self, job: Job) -> bool:
        """Write the line that a recording has in the manifest of an earlier run; whether it has one."""
        assert self._manifest is not None
        item = job.input
        earlier = self._manifest.earlier(self._audio_path(item), job.seconds, item.fields or {})
        if earlier is not None and not self._dry_run:
            self.add(item, earlier["pred_text"], earlier.get("duration"))
        return earlier is not None

    def forget(self, job: Job) -> None:
        """Leave out the line that a recording has in the manifest of an earlier run: it is transcribed again, and may
        fail.
        """
        assert self._manifest is not None
        self._manifest.forget_earlier(self._audio_path(job.input), job.seconds, job.input.fields or {})

    def keep_others(self, jobs: Iterable[Job], chosen: Iterable[Job]) -> None:
        """Take over the lines of the jobs that aren't among the chosen ones, as far as they have any."""
        numbers = {job.input.number for job in chosen}
        for job in jobs:
            if job.input.number not in numbers:
                self.keep(job)

    def keep_finished(self, job: Job, cached: ServerResponse | None) -> None:
        """Write the line of a recording whose results another run has written: its text is in that run's manifest, in
        the cache, or in a result. Otherwise it is missing.
        """
        if self.keep(job):
            return
        source = job.input.source
        text = _saved_text(job.targets, texts_only=self._texts_only)
        if cached is not None:
            text = from_batch(cached.parsed, source=source, model="").text
        if text is not None:
            self.add(job.input, text, job.seconds)
            return
        self.missing.append(source)
        message = f"{source} has results, but its text for {self._path} is neither in the cache nor in them"
        hint = "to transcribe it again, run the command with --force instead of --resume"
        self._reporter.error(UsageError(message, hint=hint))

    def _audio_path(self, item: Input) -> str:
        if item.source == STDIN or item.origin is not None:
            return item.origin or STDIN
        fields = item.fields or {}
        given = next((fields[name] for name in PATH_FIELDS if name in fields), None)
        return audio_path(str(item.path), given, self._path)


def _saved_text(targets: Targets, *, texts_only: bool) -> str | None:
    """The text of the recording with these results, if one of them has it: the JSON document, or one line of text."""
    if file := targets.get("json"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            if isinstance(text := json.loads(file.read_bytes())["text"], str):
                return text
    if texts_only and (file := targets.get("text")):
        with suppress(OSError, ValueError):
            if "\n" not in (text := file.read_text("utf-8").rstrip("\n")):
                return text
    return None
