"""`listen`: transcribes the microphone live, and keeps the audio of a session that failed for `--recover`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..directories import state_dir
from ..errors import CliError, Exit, OutputError
from ..output.console import Reporter
from ..output.files import StdoutClosed
from . import options as given
from .command_context import effective_settings
from .live import options as live_given

if TYPE_CHECKING:  # --help does without
    from ..audio.session_recording import SessionRecording

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


def _check_command(text: str) -> None:
    from .live.exec_hook import parse_command

    parse_command(text)


class ListenOptions(given.OptionGroup):
    """The options that `stream-file` doesn't have."""

    device: Annotated[
        str | None,
        typer.Option("--device", "-d", metavar="NAME|INDEX", help="Microphone, by number or part of its name."),
    ] = None
    push_to_talk: Annotated[
        bool, typer.Option("--push-to-talk", help="Send audio only while the space bar is held, or between two taps.")
    ] = False
    append: Annotated[
        Path | None,
        keeping_option(metavar="FILE", readable=False, help="Append each final segment to a file, as a line."),
    ] = None
    copy: Annotated[bool, keeping_option("--copy", help="Copy the text to the terminal's clipboard at the end.")] = (
        False
    )
    command: Annotated[
        str | None,
        keeping_option("--exec", metavar="CMD", callback=given.checked_by(_check_command),
                       help="Run a command for each final segment, with its text on stdin; no shell."),
    ] = None  # fmt: skip
    exec_newline: Annotated[
        bool, keeping_option("--exec-newline", help="End the text for --exec with a line break.")
    ] = False
    recover: Annotated[bool, recovery_option("--recover", help="Transcribe recordings of failed sessions.")] = False
    listing: Annotated[bool, recovery_option("--list", help="With --recover: only list them.")] = False
    discard: Annotated[bool, recovery_option("--discard", help="With --recover: delete them without transcribing.")] = (
        False
    )
    recording: Annotated[Path | None, recovery_option(metavar="FILE", help="With --recover: only this one.")] = None
    finalize: Annotated[
        Literal["vad", "key", "both", "none"] | None,
        live_given.endpointing_option(help="What sends `finalize`: voice activity, the Enter key, both or none. "
                                           "Implies --mode manual."),
    ] = None  # fmt: skip
    stop_after_silence: Annotated[
        float | None,
        live_given.endpointing_option(metavar="SECONDS", min=0.5, help="Stop after this much silence."),
    ] = None


def listen(context: typer.Context, reporter: Reporter, *, own: ListenOptions, options: live_given.LiveOptions) -> None:
    """Transcribe the microphone live."""
    from ..protocol.realtime import AUTO, MANUAL
    from . import backend
    from .batch.inputs import Input
    from .batch.output_checks import check_output
    from .live import interaction, recovery
    from .live import session as live_session
    from .live.exec_hook import ExecHook

    append, recording, finalize, push_to_talk = own.append, own.recording, own.finalize, own.push_to_talk
    plan, layout = options.plan(), options.layout()
    if append is not None:
        check_output(append, force=False, creates_folder=False, appends=True)
    if own.listing or own.discard:
        (recovery.list_recordings if own.listing else recovery.discard_recordings)(
            recovery.find_recordings(recording), reporter
        )
        return
    on_segment = None
    if own.command is not None:
        on_segment = context.with_resource(ExecHook(own.command, reporter.info, newline=own.exec_newline)).submit
    choice = options.backend.resolve(context, reporter)
    stream = options.stream
    if own.recover:
        stream.check((), (plan.output, append), force=plan.force)
        left = recovery.find_recordings(recording)
        named = [effective_settings(context).get(name) for name in ("cloud", "base_url")]
        if choice.base_url is not None and not any(one and one.value and not one.general for one in named):
            recovery.check_may_upload(left)
        failed = recovery.transcribe_recordings(
            left, options, choice, reporter, append=append, copy=own.copy, on_segment=on_segment
        )
        if failed:
            raise typer.Exit(Exit.FAILED)
        return
    wire = stream.wire_format(replay=False)
    assert wire is not None
    wire_encoding, rate = wire
    if push_to_talk and options.session.mode is None:
        finalize = finalize or "key"
    config, view = live_session.prepare_session(
        context, reporter, options, choice, plan, layout, Input("microphone", Path("microphone"), Path("microphone")),
        finalize=finalize, push_to_talk=push_to_talk, append=append,
    )  # fmt: skip
    recovery.report_recordings(reporter)

    from ..audio.devices import select_device
    from ..audio.microphone import Microphone
    from ..audio.pacing import LimitedSource
    from ..audio.session_recording import SessionRecording

    device_found = select_device(own.device)
    if device_found.is_monitor:
        reporter.info(f"{device_found.name} records what this computer plays")
    session_options: dict[str, Any] = {
        "model": options.session.model,
        "language": options.session.language,
        "keyterms": list(config.options.keyterms),
    }
    if choice.base_url is None:
        session_options["local"] = True

    def listening() -> None:
        how = " while you hold space (or tap it to start and stop)" if push_to_talk else ""
        reporter.info(f"listening to {device_found.name}{how}: ? shows the keys, Ctrl-C ends it")

    opened = Microphone(device_found, output_rate=rate, on_warning=reporter.warn)
    # The recording comes before the pause: audio during a pause isn't sent, but it isn't lost either.
    session_recording = SessionRecording(
        opened, state_dir(), rate=rate, session_options=session_options, on_warning=reporter.warn
    )
    microphone = interaction.PausableSource(
        LimitedSource(session_recording, stream.duration, rate),
        reporter.warn,
        listening,
        sends_silence=config.endpoint is AUTO,
        paused=push_to_talk,
        rate=rate,
    )
    key_actions = interaction.KeyActions(
        microphone,
        reporter,
        view,
        manual=config.endpoint is MANUAL,
        push_to_talk=push_to_talk,
        counts_silence=config.finalize,
        billed=choice.base_url is not None,
    )
    config = config._replace(
        options=config.options._replace(encoding=wire_encoding, sample_rate=rate),
        seconds=stream.duration,
        copy=own.copy,
        stop_after_silence=own.stop_after_silence,
        captured=lambda: opened.captured,
        microphone=key_actions,
        on_segment=on_segment,
    )
    with (
        backend.open_live_server(choice, config.options, reporter) as server,
        _KeptRecording(session_recording, context, options, reporter),
    ):
        try:
            live_session.run_session(config, server, lambda recorder: microphone, reporter, view)
        finally:
            if opened.overflows:
                reporter.warn(f"audio was lost {opened.overflows} times because this machine was too busy")


@dataclass(frozen=True, slots=True)
class _KeptRecording:
    """Keeps the recording of a session if it fails, with a hint how to transcribe it, and removes it otherwise; with
    --save-audio it is kept in that file, whichever way the session ends.
    """

    recording: "SessionRecording"
    context: typer.Context
    options: live_given.LiveOptions
    reporter: Reporter

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        target = self.options.stream.save_audio
        if kind is StdoutClosed:  # as for every command whose reader has closed the pipe
            kind = None
        if kind is None and target is None:
            self.recording.discard()
            return
        try:
            path = self.recording.keep(target, force=self.options.output.force)
        except OutputError as failure:
            if kind is None:
                raise
            self.reporter.error(failure)  # in addition to the error that ended the session
            return
        if path is None:
            if target is not None:
                self.reporter.info(f"nothing was recorded: {target} was not written")
        elif kind is None:
            self.reporter.info(f"wrote {path}")
        else:
            from .batch.shell_commands import recovery_command

            again = recovery_command(self.context, str(path), "listen", "--recover", "--recording")
            offer = f"the recording is kept; to transcribe it: {again}"
            if isinstance(error, CliError):
                error.hint = "; ".join(filter(None, (error.hint, offer)))
            else:
                self.reporter.info(offer)
