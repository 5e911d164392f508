"""What became of recordings: in the journal of --output-dir; of files elsewhere, in the user's record of results.

The journal comes first when results are looked up, because it is of this directory, whoever wrote it. The user's record
also knows what versions without a journal wrote there.
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
from ...fingerprint import Fingerprint, fingerprint
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


DEFAULTS = vars(Selection())

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
    segment: tuple[float, float] | None = None,
    speakers: Sequence[str] | None = None,
) -> str:
    """What the content of a result depends on besides its recording, in words: model, language, which part of the
    recording was transcribed, who speaks on its channels, and which part of the transcript was selected. What only
    changes its layout is left out.
    """
    words = [f"model {options.model}", f"language {(options.language or DEFAULT_LANGUAGE).lower()}"]
    if segment is not None:
        words.append(f"segment {segment[0]:g}+{segment[1]:g}")
    if speakers is not None:
        words.append(" ".join(["speakers by channel", *filter(None, [",".join(speakers)])]))
    for name, default in DEFAULTS.items():
        value = default if selection is None else getattr(selection, name)
        if value != default:
            words.append(f"{OPTION_NAMES.get(name, name.replace('_', ' '))} {value}")
    return ", ".join(words)


def request_of(file: Path, job: Job, config: BatchConfig) -> str:
    """`describe_request` for the content of one of a job's files: the response file has the whole transcript."""
    selection = None if file is job.response_file else config.layout.selection
    return describe_request(config.request, selection, job.input.segment, config.speakers)


def has_journal(output_dir: Path) -> bool:
    """Whether an earlier run has kept a journal in this folder."""
    from ...scale.journal import FOLDER

    return (output_dir / FOLDER).is_dir()


def open_outcomes(output_dir: Path | None, shard: Shard | None, reporter: Reporter) -> OutcomeStore:
    """The outcomes that earlier runs have recorded are read; nothing is written yet.

    output_dir   None: results go elsewhere, and no journal is kept
    """
    results = Results(state_dir() / "results.sqlite", reporter.detail)
    if output_dir is None:
        return OutcomeStore(results)
    from ...scale.journal import Journal

    return OutcomeStore(results, Journal(output_dir, shard, on_failure=reporter.warn, on_detail=reporter.detail))


class OutcomeStore:
    """The results of earlier runs, and what becomes of the recordings of this one.

    results    of the user
    journal    None without --output-dir
    unusable   recordings that couldn't be read
    untried    recordings that --retry-failed is not about, although they aren't done
    """

    def __init__(self, results: Results, journal: Journal | None = None) -> None:
        self._results, self._journal = results, journal
        self.unusable = self.untried = 0

    @contextmanager
    def run(self, make_command: Callable[[], str | None]) -> Iterator[None]:
        """Record that a run has begun, and after the block that it has ended. Before it, nothing is written.

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

    def count_inputs(self, to_do: int, done: int) -> None:
        """Record how many recordings the run has, when all are known, besides those that are unusable.

        done   those that were done before
        """
        if self._journal is not None:
            total = to_do + done + self.unusable
            self._journal.count_inputs(total, done - self.untried)

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

    def is_changed(self, item: Input) -> bool:
        """Whether another run has ended with a recording since this one began."""
        return self._journal is not None and self._journal.outcome_elsewhere(recording_name(item)) is not None

    def has_failed(self, item: Input) -> bool:
        """Whether a recording failed the last time, as far as that is known."""
        last = self._last(item)
        return last is not None and last.state == "failed"

    def done_before(self, job: Job) -> None:
        """Record that a recording is done, by an earlier run, if a later one has failed with it."""
        last = self._last(job.input)
        if self._journal is None or last is None or last.state != "failed":
            return
        made = [one for one in self._journal.find_results(job.files).values() if one.recording == last.recording]
        # On another machine, a recording has another source, but not every other source is another machine's.
        made = [one for one in made if last.source in (one.source, source_of(job.input))]
        if made:
            self._journal.add(max(made, key=attrgetter("time")))

    def select_failed(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that --retry-failed is about, by the journal."""
        self.untried += sum(self._last(job.input) is None for job in jobs)
        return [job for job in jobs if self.has_failed(job.input)]

    def _last(self, item: Input) -> RecordingOutcome | None:
        """How a recording ended the last time; None if that isn't known."""
        return None if self._journal is None else self._journal.outcome(recording_name(item))

    def done(
        self,
        job: Job,
        written: Iterable[Path],
        audio: Fingerprint | None,
        config: BatchConfig,
        seconds: float,
        credits: float | None,
    ) -> None:
        """Record the files of a job.

        written   those of them that could be written
        audio     the recording as it was sent; None if it couldn't be read: then its files aren't recorded
        seconds   of audio
        credits   that it cost; None on this machine
        """
        written = list(written)
        if self._journal is None and not written:
            return
        listed = None if job.input.remote_state is None else job.input.remote_state.to_numbers()
        selection, segment = config.layout.selection, job.input.segment
        wanted = describe_request(config.request, selection, segment, config.speakers)
        files: dict[str, str] = {}
        for file in written:
            if audio is None or (content := fingerprint(file)) is None:
                continue
            options = request_of(file, job, config)
            name = self._journal.relative(os.path.realpath(file)) if self._journal is not None else None
            if name is not None and options == wanted:
                files[name] = content.digest
            else:
                self._results.add(file, content.digest, source_of(job.input), audio, options)
        self._add(
            job.input,
            "done",
            audio=None if audio is None else audio.digest,
            stat=None if audio is None else listed if job.input.origin else audio.state,
            options=wanted,
            model=config.model,
            files=files,
            seconds=seconds,
            credits=credits,
        )

    def failed(self, item: Input, options: BatchOptions, error: CliError) -> None:
        """Record that a recording has no results, and why."""
        self._add(
            item,
            "failed",
            options=describe_request(options, segment=item.segment),
            model=options.model,
            error={"type": error.type, "message": error.message},
        )

    def failed_before(self, item: Input, options: BatchOptions, error: CliError) -> None:
        """Record that a recording is unusable, before anything is sent."""
        self.unusable += 1
        self.failed(item, options, error)

    def _add(self, item: Input, state: RecordingState, **facts: Any) -> None:
        """Append a line to the journal. `facts`: fields of RecordingOutcome."""
        if self._journal is not None:
            from ...scale.journal_lines import RecordingOutcome

            self._journal.add(RecordingOutcome(recording_name(item), state, source_of(item), run="", time=0.0, **facts))

    def _in_journal(self, journal: Journal, recording: Path, folder: Path) -> list[Result]:
        try:
            if not journal.has_size(recording.stat().st_size):
                return []
        except OSError:
            return []
        audio = fingerprint(recording)
        outcomes: Sequence[RecordingOutcome] = [] if audio is None else journal.with_audio(audio.digest)
        files = ((journal.directory / name, outcome) for outcome in outcomes for name in outcome.files)
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
