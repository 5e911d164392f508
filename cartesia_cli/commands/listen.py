"""`listen`: transcribes the microphone live, and keeps the audio of a session that failed for `--recover`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..directories import state_dir
from ..errors import CliError, Exit, OutputError, UsageError
from ..output.console import Reporter
from ..output.files import StdoutClosed
from . import options as given
from .batch.output_options import FormatOptions, OutputOptions, SubtitleOptions
from .live import options as live_given
from .options import expand_groups

if TYPE_CHECKING:
    from ..audio.microphone import Microphone
    from ..audio.session_recording import SessionRecording
    from ..session.interfaces import Source
    from ..session.latency import LatencyRecorder

EXAMPLES = """
cartesia-cli listen
cartesia-cli listen --mode manual --finalize both -o notes.md
cartesia-cli listen --push-to-talk --copy
cartesia-cli listen --device 'Monitor of' -f srt > meeting.srt
cartesia-cli listen --exec 'wtype -' --append dictation.txt
cartesia-cli listen --recover
"""

keeping_option = partial(typer.Option, rich_help_panel="What is kept")
recovery_option = partial(typer.Option, rich_help_panel="Recordings of failed sessions")

Device = Annotated[
    str | None, typer.Option("--device", "-d", metavar="NAME|INDEX", help="Microphone, by number or part of its name.")
]
Finalize = Annotated[
    Literal["vad", "key", "both", "none"] | None,
    live_given.endpointing_option(help="What sends `finalize`: voice activity, the Enter key, both or none. Implies "
                                       "--mode manual."),
]  # fmt: skip
PushToTalk = Annotated[
    bool, typer.Option("--push-to-talk", help="Send audio only while the space bar is held, or between two taps.")
]
StopAfterSilence = Annotated[
    float | None,
    live_given.endpointing_option(metavar="SECONDS", min=0.5,
                                  help="Stop after this much silence."),
]  # fmt: skip
Append = Annotated[
    Path | None, keeping_option(metavar="FILE", readable=False, help="Append each final segment to a file, as a line.")
]
Copy = Annotated[bool, keeping_option("--copy", help="Copy the text to the terminal's clipboard at the end.")]
Exec = Annotated[
    str | None,
    keeping_option("--exec", metavar="CMD",
                   help="Run a command for each final segment, with its text on stdin; no shell."),
]  # fmt: skip
ExecNewline = Annotated[bool, keeping_option("--exec-newline", help="End the text for --exec with a line break.")]
Recover = Annotated[bool, recovery_option("--recover", help="Transcribe recordings of failed sessions.")]
Listing = Annotated[bool, recovery_option("--list", help="With --recover: only list them.")]
Discard = Annotated[bool, recovery_option("--discard", help="With --recover: delete them without transcribing.")]
Recording = Annotated[Path | None, recovery_option(metavar="FILE", help="With --recover: only this one.")]


@expand_groups
def listen(
    context: typer.Context,
    *,
    device: Device = None,
    push_to_talk: PushToTalk = False,
    session_options: live_given.SessionOptions,
    finalize: Finalize = None,
    stop_after_silence: StopAfterSilence = None,
    stream_options: live_given.StreamOptions,
    append: Append = None,
    copy: Copy = False,
    command: Exec = None,
    exec_newline: ExecNewline = False,
    recover: Recover = False,
    listing: Listing = False,
    discard: Discard = False,
    recording: Recording = None,
    output_options: OutputOptions,
    format_options: FormatOptions,
    subtitle_options: SubtitleOptions,
    backend_options: given.BackendOptions,
    verbosity: given.VerbosityOptions,
) -> None:
    """Transcribe the microphone live."""
    from . import backend
    from .batch import shell_commands
    from .batch.inputs import Input
    from .batch.output_checks import check_output
    from .live import interaction, recovery
    from .live import session as live_session
    from .live.append_file import check_appendable
    from .live.config import SessionConfig
    from .live.exec_hook import ExecHook

    reporter = verbosity.apply_to(context.obj)
    formats = output_options.formats(selects_rows=format_options.selects_rows)
    reporter.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    layout = format_options.layout(subtitle_options)
    if listing and discard:
        raise UsageError("--list and --discard can't be combined")
    if append is not None:
        check_output(append, force=False, creates_folder=False, appends=True)
        check_appendable(append)
    if listing or discard:
        (recovery.list_recordings if listing else recovery.discard_recordings)(
            recovery.find_recordings(recording), reporter
        )
        return
    exec_hook = ExecHook(command, reporter.info, newline=exec_newline) if command is not None else None
    choice = backend_options.resolve(context, reporter)
    if recover:
        stream_options.check((), (output_options.output, append), force=output_options.force)
        with exec_hook or nullcontext():
            wanted = recovery.RecoveryConfig(
                plan=output_options.plan(formats),
                layout=layout,
                language=given.language_for_server(session_options.language, choice.base_url, reporter),
                backend=choice,
                local_model=backend_options.local_model,
                append=append,
                save_audio=stream_options.save_audio,
                copy=copy,
                on_segment=exec_hook.submit if exec_hook else None,
            )
            left = recovery.find_recordings(recording)
            if choice.base_url is not None and not backend_options.cloud and backend_options.base_url is None:
                recovery.check_may_upload(left)
            failed = recovery.transcribe_recordings(left, wanted, reporter)
        if failed:
            raise typer.Exit(Exit.FAILED)
        return
    if push_to_talk and session_options.mode is None:
        finalize = finalize or "key"
    endpoint = session_options.endpoint(finalize)
    manual = endpoint.name == "manual"
    vad_ends = manual and finalize in (None, "vad", "both") and not push_to_talk
    options = session_options.request(endpoint, reporter, base_url=choice.base_url, by_level=vad_ends)
    wire = stream_options.wire_format(replay=False)
    assert wire is not None
    wire_encoding, rate = wire
    options = replace(options, encoding=wire_encoding, sample_rate=rate)
    source = Input("microphone", Path("microphone"), Path("microphone"))
    targets = output_options.plan(formats).targets([source])[0]
    stream_options.check((session_options.keyterms,), (*targets.values(), append), force=output_options.force)

    backend.report_engine(choice, backend_options.local_model, options.language, reporter, live_model=options.model)
    recovery.report_orphans(reporter)
    captions = context.with_resource(stream_options.captions("microphone", reporter))
    view = context.with_resource(live_session.live_view(reporter))

    from ..audio.devices import select_device
    from ..audio.microphone import Microphone
    from ..audio.pacing import limit_source

    microphone = select_device(device)
    if microphone.is_monitor:
        reporter.info(f"{microphone.name} records what this computer plays")
    key_actions = interaction.KeyActions(
        reporter, view, manual=manual, pushes=push_to_talk, counts_silence=vad_ends, billed=choice.base_url is not None
    )
    asked: dict[str, Any] = {
        "model": session_options.model,
        "language": session_options.language,
        "keyterms": list(options.keyterms),
    }
    if choice.base_url is None:
        asked["local"] = True
    kept = _SessionRecording(
        reporter, stream_options.save_audio, output_options.force, rate, asked,
        lambda file: shell_commands.recovery_command(
            file, session_options.language, output_options, format_options, subtitle_options, backend_options,
            command=("listen", "--recover", "--recording"),
        ),
    )  # fmt: skip

    opened = Microphone(microphone, output_rate=rate, on_warning=reporter.warn)

    def make(recorder: LatencyRecorder) -> Source:
        def listening() -> None:
            how = " while you hold space (or tap it to start and stop)" if push_to_talk else ""
            reporter.info(f"listening to {microphone.name}{how}: ? shows the keys, Ctrl-C ends it")

        # The recording comes before the pause: audio during a pause isn't sent, but it isn't lost either.
        key_actions.microphone = interaction.PausableSource(
            limit_source(kept.spool(opened), stream_options.duration, rate),
            reporter.warn,
            listening,
            sends_silence=not manual,
            rate=rate,
        )
        key_actions.microphone.paused = push_to_talk
        return key_actions.microphone

    config = SessionConfig(
        source="microphone",
        endpoint=endpoint,
        options=options,
        endpointing=session_options.endpointing(),
        finalize=vad_ends,
        stream_options=stream_options,
        targets=targets,
        layout=layout,
        captions=captions,
        seconds=stream_options.duration,
        force=output_options.force,
        append=append,
        copy=copy,
        stop_after_silence=stop_after_silence,
        captured=lambda: opened.captured,
        microphone=key_actions,
    )
    with (
        backend.open_live_server(
            choice, options.model, backend_options.local_model, reporter, options.language
        ) as server,
        kept,
    ):
        try:
            with exec_hook or nullcontext():
                give = exec_hook.submit if exec_hook else None
                live_session.run_session(
                    config, server, make, reporter, view, interaction=key_actions.interact, on_segment=give
                )
        finally:
            if opened.overflows:
                reporter.warn(f"audio was lost {opened.overflows} times because this machine was too busy")


class _SessionRecording:
    """Keeps the recording of a session if it fails, with a hint how to transcribe it, and removes it otherwise.

    target             file to keep it in, whichever way the session ends; or None
    recovery_command   returns the command that transcribes a file with the session's options
    """

    def __init__(
        self,
        reporter: Reporter,
        target: Path | None,
        force: bool,
        rate: int,
        asked: dict[str, Any],
        recovery_command: Callable[[str], str],
    ) -> None:
        self._reporter, self._target, self._force, self._asked, self._recovery_command = (
            reporter,
            target,
            force,
            asked,
            recovery_command,
        )
        self._rate = rate
        self._spool: SessionRecording | None = None

    def spool(self, source: Microphone) -> SessionRecording:
        from ..audio.session_recording import SessionRecording

        self._spool = SessionRecording(
            source, state_dir(), rate=self._rate, asked=self._asked, on_warning=self._reporter.warn
        )
        return self._spool

    def __enter__(self) -> _SessionRecording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self._spool is None:
            return
        if kind is StdoutClosed:  # as for every command whose reader has closed the pipe
            kind = None
        if kind is None and self._target is None:
            self._spool.discard()
            return
        try:
            path = self._spool.keep(self._target, force=self._force)
        except OutputError as failure:
            if kind is None:
                raise
            self._reporter.error(failure)  # in addition to the error that ended the session
            return
        if path is None:
            if self._target is not None:
                self._reporter.info(f"nothing was recorded: {self._target} was not written")
        elif kind is None:
            self._reporter.info(f"wrote {path}")
        else:
            offer = f"the recording is kept; to transcribe it: {self._recovery_command(str(path))}"
            if isinstance(error, CliError):
                error.hint = "; ".join(filter(None, (error.hint, offer)))
            else:
                self._reporter.info(offer)
