"""Recordings through a backend into their targets, one after the other, in input order.

A file that fails is told and doesn't stop the others; a key that is refused, or credits that ran out,
do: every further file would be refused for the same reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ..audio.containers import MEDIA_TYPES, Recording, look, look_raw
from ..client import Meter, Upload, is_hopeless
from ..errors import CliError, InputError, OutputError
from ..output import NEEDS_WORDS, Layout, writer
from ..output.characters import one_line
from ..output.files import write_stdout
from ..output.talk import Bar, Talk
from ..protocol import HTTP_ROUTES, BatchOptions, batch_credits
from ..transcript import Transcript, from_batch
from .backend import Backend
from .delivery import deliver
from .destinations import Plan, Targets
from .inputs import STDIN, Input


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, looked at, with where its transcript goes."""

    item: Input
    recording: Recording
    targets: Targets


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted for every recording."""

    options: BatchOptions
    layout: Layout
    endpoint: str
    timeout: float | None


def prepare(
    found: Sequence[Input | InputError], options: BatchOptions, plan: Plan, talk: Talk
) -> tuple[list[Job], int]:
    """Look at every input before anything is sent: the jobs, and how many inputs are no use.

    Those are told here; the error of an only input is raised.
    """
    looked: list[tuple[Input, Recording]] = []
    failed = 0
    for item in found:
        try:
            if isinstance(item, InputError):
                raise item
            looked.append((item, looked_at(item, options)))
        except InputError as error:
            if len(found) == 1:
                raise
            talk.error(error)
            failed += 1
    targets = plan.targets([item for item, _ in looked])
    return [Job(item, recording, files) for (item, recording), files in zip(looked, targets, strict=True)], failed


def run(jobs: Sequence[Job], order: Order, backend: Backend, talk: Talk) -> int:
    """Transcribe all; how many failed. Each failure is told and the rest go on; that of an only job is raised."""
    failed, seconds = 0, 0.0
    for job in jobs:
        try:
            transcript = _transcribe(job, order, backend, talk)
            seconds += transcript.duration or 0.0
            _deliver(transcript, job, order.layout, talk)
        except CliError as error:
            if len(jobs) == 1 or is_hopeless(error):
                raise
            talk.error(error)
            failed += 1
    price = "on this machine" if backend.local else f"{batch_credits(seconds):.1f} credits"
    summary = f"{len(jobs) - failed} of {len(jobs)} transcribed, {seconds:.1f} s of audio, {price}"
    (talk.detail if len(jobs) == 1 else talk.say)(summary)
    return failed


def estimate(jobs: Sequence[Job], order: Order, base_url: str | None, talk: Talk) -> None:
    """What `run` would send, how long it is and what the API charges for it, on stdout; nothing is sent."""
    where = f"{base_url}{HTTP_ROUTES[order.endpoint]}" if base_url else "this machine, which costs nothing"
    rows = [(job.item.source, job.recording.bytes, job.recording.duration) for job in jobs]
    seconds = sum(duration or 0.0 for _, _, duration in rows)
    if talk.as_json:
        inputs = [
            {"source": source, "bytes": size}
            | (
                {}
                if duration is None
                else {"duration": round(duration, 3), "credits": round(batch_credits(duration), 3)}
            )
            for source, size, duration in rows
        ]
        request = {"to": where, "query": dict(order.options.query()), "form": dict(order.options.form())}
        report = {
            "request": request,
            "inputs": inputs,
            "duration": round(seconds, 3),
            "credits": round(batch_credits(seconds), 3),
        }
        write_stdout(json.dumps(report, indent=2) + "\n")
        return
    asked = order.options.query() + order.options.form()
    talk.say(f"would go to {where}, with {', '.join(f'{name}={value}' for name, value in asked)}")
    lines = [_row(*row) for row in rows]
    if len(rows) > 1:
        lines.append(_row("together", sum(size for _, size, _ in rows), seconds))
    write_stdout("\n".join([f"{'bytes':>12}  {'seconds':>9}  {'credits':>9}  source", *lines]) + "\n")


def looked_at(item: Input, options: BatchOptions) -> Recording:
    """A look at an input before it is sent. InputError when it is no recording."""
    if options.encoding is None:
        return look(item.path)
    assert options.sample_rate is not None
    return look_raw(item.path, options.encoding, options.sample_rate)


def _row(source: str, size: int, duration: float | None) -> str:
    seconds, price = ("?", "?") if duration is None else (f"{duration:.1f}", f"{batch_credits(duration):.1f}")
    return f"{size:>12}  {seconds:>9}  {price:>9}  {one_line(source)}"


def _transcribe(job: Job, order: Order, backend: Backend, talk: Talk) -> Transcript:
    item, recording = job.item, job.recording
    if recording.note:
        talk.say(f"warning: {item.source}: {recording.note}")
    backend.heard = 0.0
    with talk.bar() as bar:
        response = backend.client.transcribe(
            Upload(
                path=item.path,
                filename=_filename(item, recording),
                media_type=MEDIA_TYPES.get(recording.container, "application/octet-stream"),
                name=item.source,
            ),
            order.options,
            endpoint=order.endpoint,
            patience=backend.patience(recording.bytes, recording.duration, order.timeout),
            watch=lambda meter: _draw(bar, meter, job, backend),
        )
    return from_batch(response, source=item.source, model=order.options.model, measured=recording.duration)


def _draw(bar: Bar, meter: Meter, job: Job, backend: Backend) -> None:
    if not meter.uploaded:
        bar.show(f"sending {job.item.below.name}", meter.sent, meter.size)
    elif backend.local and job.recording.duration:
        bar.show(f"transcribing {job.item.below.name}", backend.heard, job.recording.duration)
    else:
        bar.show(f"transcribing {job.item.below.name}")


def _filename(item: Input, recording: Recording) -> str:
    """What the server is told: the name, and for stdin what was seen in it."""
    if item.source != STDIN:
        return item.path.name
    return "stdin" if recording.container == "unknown" else f"stdin.{recording.container}"


def _deliver(transcript: Transcript, job: Job, layout: Layout, talk: Talk) -> None:
    """Write every target. What can't be written is not lost: it goes to stdout, and the error is raised after it."""
    trouble: OutputError | None = None
    if transcript.words is None and transcript.text.strip() and not NEEDS_WORDS.isdisjoint(job.targets):
        talk.say(f"warning: {job.item.source}: the server sent no word times: times within the text are estimated")
    for name, file in job.targets.items():
        trouble = deliver(writer(name)(transcript, layout), file, talk) or trouble
    if trouble is not None:
        raise trouble
