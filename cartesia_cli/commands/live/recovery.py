"""`listen --recover`: lists, transcribes or removes recordings of earlier sessions that failed.

Must never remove a recording whose result was not written, unless the user asked to discard it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from ...atomic_files import link_or_copy
from ...audio.session_recording import OrphanedRecording, find_orphans, wrap_copy_errors
from ...client import is_account_error
from ...directories import state_dir
from ...errors import CliError, InputError, UsageError
from ...output.console import Reporter
from ...output.files import write_json, write_stdout
from ...protocol.batch import BatchOptions
from ...protocol.constants import BATCH_MODEL, is_loopback
from ...protocol.languages import AUTO_LANGUAGE, api_language
from ...transcript import Segment, Transcript
from ..backend import Backend, BackendConfig, engine_name, open_backend
from ..batch.config import BatchConfig
from ..batch.inputs import Input
from ..batch.job import Job, probe_input
from ..batch.transcriber import transcribe_job
from ..batch.write_results import write_results
from ..options import language_for_server
from .append_file import AppendFile
from .options import LiveOptions


def find_recordings(recording: Path | None = None) -> list[OrphanedRecording]:
    """Recordings of failed sessions, oldest first, or only `recording`. Raises InputError if it isn't one of them."""
    recordings = find_orphans(state_dir())
    if recording is None:
        return recordings
    chosen = [one for one in recordings if recording in (one.path, Path(one.path.name)) or _is_same(recording, one)]
    if not chosen:
        raise InputError(
            f"{recording} is not a recording of a failed session", hint="cartesia-cli listen --recover --list"
        )
    return chosen


def report_recordings(reporter: Reporter) -> None:
    """Report recordings of failed sessions, if there are any."""
    try:
        recordings = find_orphans(state_dir())
    except InputError:  # the recording of this session will report what is wrong with the folder
        return
    if recordings:
        what = f"{len(recordings)} recordings were" if len(recordings) > 1 else "a recording was"
        seconds = sum(one.seconds for one in recordings)
        reporter.info(
            f"{what} left by failed sessions ({seconds:.0f} s): "
            "listen --recover transcribes, listen --recover --discard removes"
        )


def list_recordings(recordings: Sequence[OrphanedRecording], reporter: Reporter) -> None:
    """Print the recordings to stdout: one line each, or a JSON list."""
    if reporter.as_json:
        rows = [
            {"path": str(one.path), "started": one.started.isoformat(), "seconds": round(one.seconds, 3)}
            for one in recordings
        ]
        write_json(rows)
        return
    for one in recordings:
        write_stdout(f"{one.started:%Y-%m-%d %H:%M} UTC  {one.seconds:8.1f} s  {one.path}\n")
    if not recordings:
        reporter.info("no recordings of failed sessions")


def discard_recordings(recordings: Sequence[OrphanedRecording], reporter: Reporter) -> None:
    """Remove recordings without transcribing them."""
    for one in recordings:
        one.remove()
        reporter.info(f"removed {one.path} ({one.seconds:.1f} s)")
    if not recordings:
        reporter.info("no recordings of failed sessions")


def check_may_upload(recordings: Sequence[OrphanedRecording]) -> None:
    """Raise UsageError for recordings of local sessions: that a key was configured since doesn't mean that the user
    agreed to upload them.
    """
    if local := [one for one in recordings if one.session_options.get("local")]:
        raise UsageError(
            f"{local[0].path} was recorded by a local session: its audio has not left this machine",
            hint="--local transcribes it here; --cloud sends it",
        )


def transcribe_recordings(
    recordings: Sequence[OrphanedRecording],
    options: LiveOptions,
    backend: BackendConfig,
    reporter: Reporter,
    *,
    append: Path | None,
    copy: bool,
    on_segment: Callable[[Segment], None] | None,
) -> int:
    """Transcribe recordings, oldest first, removing each once its result is written; returns the number that failed.

    append       file that gets a line for each segment, or None
    copy         whether the text goes to the clipboard
    on_segment   called with each segment; None: nothing is

    Raises CliError for a single recording, or for an error that concerns all that follow.
    """
    if not recordings:
        reporter.info("no recordings of failed sessions")
        return 0
    plan, layout, save_audio = options.plan(), options.layout(), options.stream.save_audio
    if save_audio is not None and len(recordings) > 1:
        raise UsageError(f"--save-audio takes one recording, not {len(recordings)}", hint="--recording selects one")
    named_language = language_for_server(options.session.language, backend.base_url, reporter)
    items = [Input(str(one.path), one.path, Path(one.path.name)) for one in recordings]
    targets = plan.targets(items)
    lines = None if append is None else AppendFile(append)
    texts: list[str] = []
    failed = 0
    with ExitStack() as stack:

        @cache
        def connect() -> Backend:
            return stack.enter_context(open_backend(backend, reporter, retries=None))

        for recording, item, files in zip(recordings, items, targets, strict=True):
            reporter.info(f"{recording.path}: {recording.started:%Y-%m-%d %H:%M} UTC, {recording.seconds:.1f} s")
            try:
                language = named_language or _session_language(recording, backend.base_url)
                engine = engine_name(backend, language)
                request = BatchOptions(model=BATCH_MODEL, language=language, word_timestamps=True)
                config = BatchConfig(request, layout, "stt", None, engine=engine)
                transcript = _transcribe(item, config, connect, reporter, local=backend.base_url is None)
                write_results(
                    transcript, files, layout, reporter,
                    name=item.source, labelled=len(items) > 1, replaces=plan.force,
                )  # fmt: skip
                texts.append(transcript.text.strip())
                for segment in transcript.segments:
                    if on_segment is not None:
                        on_segment(segment)
                    if lines is not None:
                        lines.add(segment.text)
                if lines is not None and (error := lines.flush()) is not None:
                    raise error
                _dispose(recording, save_audio, reporter, overwrite=plan.force)
            except CliError as error:
                if len(recordings) == 1 or is_account_error(error):
                    raise
                reporter.error(error)
                failed += 1
    if copy and any(texts):
        reporter.copy("\n".join(texts))
    return failed


def _transcribe(
    item: Input, config: BatchConfig, connect: Callable[[], Backend], reporter: Reporter, *, local: bool
) -> Transcript:
    job = Job(item, probe_input(item, config.request), {})
    with reporter.batch_progress(local=local, lines=False) as progress:
        progress.found(1, job.seconds)
        progress.all_found()
        progress.started(0, item.relative_path.name, job.seconds)
        done = transcribe_job(job, config, connect, reporter, progress)
    if not done.transcript.text.strip():
        reporter.info(f"{item.source}: no speech found")
    return done.transcript


def _session_language(recording: OrphanedRecording, base_url: str | None) -> str | None:
    """The language of a session, as the batch endpoint of a server takes it; None if it was to be detected, and the
    server can't do that.
    """
    language: str | None = recording.session_options.get("language")
    if base_url is None or is_loopback(base_url):
        return language
    return None if language == AUTO_LANGUAGE else api_language(language)


def _dispose(recording: OrphanedRecording, save_audio: Path | None, reporter: Reporter, *, overwrite: bool) -> None:
    """Remove a recording whose text is written, or move it to `save_audio`."""
    if save_audio is not None:
        with wrap_copy_errors(recording.path, save_audio):
            link_or_copy(recording.path, save_audio, overwrite=overwrite)
        reporter.info(f"wrote {save_audio}")
    recording.remove()


def _is_same(path: Path, recording: OrphanedRecording) -> bool:
    return path.exists() and path.samefile(recording.path)
