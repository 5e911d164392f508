"""Records and looks up what became of recordings: in the journal of --output-dir, and in the user's record of results.

Files in --output-dir are recorded in its journal, others in the user's record. The journal comes first when results are
looked up, because it is of this directory, whoever wrote it. The user's record also knows what versions without a
journal wrote there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...directories import state_dir
from ...errors import CliError
from ...fingerprint import FileState, Fingerprint, fingerprint
from ...output import Selection
from ...output.console import Reporter
from ...protocol.batch import DEFAULT_LANGUAGE, BatchOptions
from ...remote_url import display_url
from ...results import Result, Results
from .inputs import Input
from .stdin import STDIN

if TYPE_CHECKING:  # start-up: most runs have no journal
    from ...scale.journal import Journal
    from ...scale.journal_lines import RecordingOutcome, RecordingState
    from ...scale.shards import Shard
    from .config import BatchConfig
    from .job import Job


SELECTION_DEFAULTS = vars(Selection())

OPTION_NAMES = {
    "pattern": "grep",
    "since": "from",
    "until": "to",
    "longest_gaps": "longest gaps",
    "ignore_case": "ignore case",
}
"""Fields of a Selection whose options have other names."""


def recording_name(item: Input) -> str:
    """The name of a recording in the journal, the same on all machines: relative to the folder that is transcribed."""
    return item.relative_path.as_posix()


def source_of(item: Input) -> str:
    """What identifies a recording: STDIN, a URL, or the absolute path with links resolved."""
    if item.source == STDIN:
        return STDIN
    return os.path.realpath(item.path) if item.origin is None else display_url(item.origin)


def shard_key(item: Input) -> str:
    """What a recording's shard depends on. Recordings that may share the names of their results share it, too, so that
    one task decides about them: talk.mp3 and talk.wav.
    """
    return (item.relative_path.parent / item.relative_path.name.partition(".")[0]).as_posix()


def describe_request(
    options: BatchOptions,
    selection: Selection | None = None,
    time_range: tuple[float, float] | None = None,
    speakers: Sequence[str] | None = None,
) -> str:
    """What the content of a result depends on besides its recording, in words: model, language, which part of the
    recording was transcribed, who speaks on its channels, and which part of the transcript was selected. What only
    changes its layout is left out.

    time_range   offset and duration of the part that was transcribed, in seconds; None: the whole recording
    """
    words = [f"model {options.model}", f"language {(options.language or DEFAULT_LANGUAGE).lower()}"]
    if time_range is not None:
        words.append(f"segment {time_range[0]:g}+{time_range[1]:g}")
    if speakers is not None:
        words.append(" ".join(["speakers by channel", *filter(None, [",".join(speakers)])]))
    for name, default in SELECTION_DEFAULTS.items():
        value = default if selection is None else getattr(selection, name)
        if value != default:
            words.append(f"{OPTION_NAMES.get(name, name.replace('_', ' '))} {value}")
    return ", ".join(words)


def describe_job_request(job: Job, config: BatchConfig) -> str:
    """`describe_request` for the results of a job."""
    return describe_request(config.request, config.layout.selection, job.input.time_range, config.speakers)


def describe_file_request(file: Path, job: Job, config: BatchConfig) -> str:
    """`describe_request` for one of a job's files: the response file has the whole transcript."""
    if file is job.response_file:
        return describe_request(config.request, None, job.input.time_range, config.speakers)
    return describe_job_request(job, config)


def has_journal(output_dir: Path) -> bool:
    """Whether an earlier run has kept a journal in this folder."""
    from ...scale.journal import FOLDER

    return (output_dir / FOLDER).is_dir()


class OutcomeStore:
    """The results of earlier runs, and what becomes of the recordings of this one.

    output_dir    with the journal; None: results go elsewhere, and none is kept. Nothing is written before `run`
    unusable      recordings that couldn't be read
    not_retried   recordings that --retry-failed leaves out, although they aren't done
    """

    def __init__(self, output_dir: Path | None, shard: Shard | None, reporter: Reporter) -> None:
        self._results = Results(state_dir() / "results.sqlite", reporter.detail)
        self._journal: Journal | None = None
        if output_dir is not None:
            from ...scale.journal import Journal

            self._journal = Journal(output_dir, shard, on_failure=reporter.warn, on_detail=reporter.detail)
        self.unusable = self.not_retried = 0

    @contextmanager
    def run(self, make_command: Callable[[], str | None]) -> Iterator[None]:
        """Record that a run has begun, and after the block that it has ended. Nothing is written before the block.

        make_command   returns the command that does what is left of it, or None
        """
        if self._journal is None:
            yield
            return
        command = make_command()
        self._journal.start(command=command, folder=os.getcwd() if command else None)
        stopped = True
        try:
            yield
            stopped = False
        finally:
            self._journal.finish(stopped=stopped)

    def record_input_count(self, to_do: int, skipped: int) -> None:
        """Record how many recordings the run has, when all are known, besides those that are unusable.

        skipped   those that were done before, and those that --retry-failed leaves out
        """
        if self._journal is not None:
            # In the journal, a recording that was skipped counts as done.
            self._journal.record_input_count(to_do + skipped + self.unusable, skipped - self.not_retried)

    def find(self, files: Iterable[Path]) -> dict[str, Result]:
        """The results among these files, by their absolute paths, links resolved."""
        if not (files := list(files)):
            return {}
        if self._journal is None:
            return self._results.find(files)
        found = {
            file: self._result(self._journal, file, outcome)
            for file, outcome in self._journal.find_results(files).items()
        }
        others = [file for file in files if os.path.realpath(file) not in found]
        return self._results.find(others) | found

    def of_same_content(self, recording: Path, folder: Path) -> list[Result]:
        """The results in a folder of recordings with the same content. The recording is read only if there may be
        any.
        """
        found: list[Result] = []
        real = os.path.realpath(folder)
        if self._journal is not None and self._journal.relative(real) is not None:
            found = self._in_journal(self._journal, recording, Path(real))
        return found or self._results.of_same_content(recording, folder)

    def claim(self, item: Input) -> bool:
        """Reserve a recording for this run until `release`. False if another run is working on it."""
        return self._journal is None or self._journal.claim(recording_name(item))

    def release(self, item: Input) -> None:
        if self._journal is not None:
            self._journal.release(recording_name(item))

    def was_finished_elsewhere(self, item: Input) -> bool:
        """Whether another run has done a recording, or failed with it, since the journal was opened."""
        return self._journal is not None and self._journal.outcome_elsewhere(recording_name(item)) is not None

    def has_failed(self, item: Input) -> bool:
        """Whether a recording failed the last time, as far as that is known."""
        last = self._last_outcome(item)
        return last is not None and last.state == "failed"

    def restore_done(self, job: Job) -> None:
        """Record again that an earlier run has done a recording, if a later one has failed with it."""
        last = self._last_outcome(job.input)
        if self._journal is None or last is None or last.state != "failed":
            return
        made = [one for one in self._journal.find_results(job.files).values() if one.recording == last.recording]
        # On another machine, a recording has another source, but not every other source is another machine's.
        made = [one for one in made if last.source in (one.source, source_of(job.input))]
        if made:
            self._journal.add(max(made, key=attrgetter("time")))

    def select_failed(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that --retry-failed is about, by the journal."""
        self.not_retried += sum(self._last_outcome(job.input) is None for job in jobs)
        return [job for job in jobs if self.has_failed(job.input)]

    def _last_outcome(self, item: Input) -> RecordingOutcome | None:
        """How a recording ended the last time; None if that isn't known."""
        return None if self._journal is None else self._journal.outcome(recording_name(item))

    def record_done(
        self,
        job: Job,
        written: Iterable[Path],
        audio: Fingerprint | None,
        config: BatchConfig,
        seconds: float,
        credits: float | None,
    ) -> None:
        """Record that a recording is done, and its files.

        written   those of the job's files that could be written
        audio     the recording as it was sent; None if it couldn't be read: then its files aren't recorded
        seconds   of audio
        credits   that it cost; None on this machine
        """
        written = list(written)
        if self._journal is None and not written:
            return
        self._add(
            job.input,
            "done",
            audio=None if audio is None else audio.digest,
            stat=None if audio is None else _recording_state(job.input, audio),
            options=describe_job_request(job, config),
            model=config.model,
            files={} if audio is None else self._record_files(job, written, audio, config),
            seconds=seconds,
            credits=credits,
        )

    def _record_files(
        self, job: Job, written: Iterable[Path], audio: Fingerprint, config: BatchConfig
    ) -> dict[str, str]:
        """Record in the user's record the files that the job's line in the journal can't have: those outside of the
        output directory, and the response file if only a part of the transcript was selected, because the line has one
        request for all files. Returns the others with their digests, for that line.
        """
        in_journal: dict[str, str] = {}
        for file in written:
            if (content := fingerprint(file)) is None:
                continue
            request = describe_file_request(file, job, config)
            name = None if self._journal is None else self._journal.relative(os.path.realpath(file))
            if name is not None and request == describe_job_request(job, config):
                in_journal[name] = content.digest
            else:
                self._results.add(file, content.digest, source_of(job.input), audio, request)
        return in_journal

    def record_failed(self, item: Input, options: BatchOptions, error: CliError) -> None:
        """Record that a recording has no results, and why."""
        self._add(
            item,
            "failed",
            options=describe_request(options, time_range=item.time_range),
            model=options.model,
            error={"type": error.type, "message": error.message},
        )

    def record_unusable(self, item: Input, options: BatchOptions, error: CliError) -> None:
        """Record that a recording is unusable, before anything is sent."""
        self.unusable += 1
        self.record_failed(item, options, error)

    def _add(self, item: Input, state: RecordingState, **fields: Any) -> None:
        """Append a line to the journal. `fields`: those of RecordingOutcome that are known."""
        if self._journal is not None:
            from ...scale.journal_lines import RecordingOutcome

            self._journal.add(
                RecordingOutcome(recording_name(item), state, source_of(item), run="", time=0.0, **fields)
            )

    def _in_journal(self, journal: Journal, recording: Path, folder: Path) -> list[Result]:
        try:
            if not journal.has_size(recording.stat().st_size):
                return []
        except OSError:
            return []
        audio = fingerprint(recording)
        results = [] if audio is None else journal.results_of(audio.digest)
        files = ((journal.directory / name, outcome) for name, outcome in results)
        return [self._result(journal, str(file), outcome) for file, outcome in files if file.parent == folder]

    @staticmethod
    def _result(journal: Journal, file: str, outcome: RecordingOutcome) -> Result:
        return Result(
            file,
            outcome.files[journal.relative(file) or ""],
            outcome.source,
            outcome.audio or "",
            outcome.stat or (),
            outcome.options,
            name=outcome.recording,
        )


def _recording_state(item: Input, audio: Fingerprint) -> FileState | None:
    """What changes when the content of an input does, without reading it. None if that isn't known."""
    if item.origin is None:
        return audio.state
    return None if item.remote_state is None else item.remote_state.to_numbers()
