"""Recordings through a backend into their targets, one after the other, in input order.

A file that fails is told and doesn't stop the others; a key that is refused, or credits that ran out,
do: every further file would be refused for the same reason. What was answered before is not asked again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..audio.containers import EXTENSIONS, FORMATS, MEDIA_TYPES, Recording, look, look_raw
from ..cache import Cache, Question, Recalled
from ..client import Meter, Upload, is_hopeless
from ..errors import CliError, InputError, OutputError, UsageError
from ..output import NEEDS_WORDS, Layout
from ..output.characters import one_line
from ..output.files import write_file, write_stdout
from ..output.talk import Bar, Talk
from ..protocol import HTTP_ROUTES, BatchOptions, batch_credits
from ..transcript import Transcript, from_batch
from .backend import Backend
from .delivery import deliver_all
from .destinations import Plan, Targets
from .inputs import STDIN, Input
from .matches import Matches


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, looked at, with where its transcript goes.

    kept   where the server's answer goes as it came, or None
    """

    item: Input
    recording: Recording
    targets: Targets
    kept: Path | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted for every recording.

    cache     earlier answers of the same server; None: neither read nor written
    matches   takes what is chosen of each transcript, None where all of it is wanted
    """

    options: BatchOptions
    layout: Layout
    endpoint: str
    timeout: float | None
    cache: Cache | None = None
    matches: Matches | None = None


def prepare(
    found: Sequence[Input | InputError],
    options: BatchOptions,
    plan: Plan,
    talk: Talk,
    *,
    keep_json: Path | None = None,
) -> tuple[list[Job], int]:
    """Look at every input before anything is sent: the jobs, and how many inputs are no use.

    Those are told here; the error of an only input is raised. `keep_json`: a folder for the answers as they come.
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
    items = [item for item, _ in looked]
    targets = plan.targets(items)
    kept = _kept(items, targets, plan, keep_json)
    jobs = [Job(*seen, files, file) for seen, files, file in zip(looked, targets, kept, strict=True)]
    return jobs, failed


def left(jobs: Sequence[Job], talk: Talk) -> list[Job]:
    """Those whose results are not all there, with what is missing; what is there is not written again.

    Results are whole or not there at all, so that nothing else is to be asked.
    """
    waiting: list[Job] = []
    for job in jobs:
        missing = {name: file for name, file in job.targets.items() if file is None or not file.exists()}
        kept = None if job.kept is None or job.kept.exists() else job.kept
        if missing or kept is not None:
            waiting.append(replace(job, targets=missing, kept=kept))
    if done := len(jobs) - len(waiting):
        talk.say(f"{done} of {len(jobs)} had their results before: {len(waiting)} left")
    return waiting


def run(jobs: Sequence[Job], order: Order, connect: Callable[[], Backend], talk: Talk, *, unusable: int = 0) -> int:
    """Transcribe all; how many failed. Each failure is told and the rest go on; that of an only input is raised.

    `connect` is called whenever something has to be sent, and gives the same backend each time. `unusable`: how many
    inputs have failed before, which count among all of them.
    """
    failed, recalled, total = unusable, 0, len(jobs) + unusable
    heard = billed = 0.0
    local = False
    for job in jobs:
        if job.recording.note:
            talk.say(f"warning: {job.item.source}: {job.recording.note}")
        question, answer = _look_up(job, order, talk)
        backend = None
        if answer is None:  # what is wrong here is wrong for all that follow
            backend = connect()
        try:
            if backend is not None:
                answer = _ask(job, order, backend, question, talk)
                local = backend.local
            assert answer is not None
            options, item = order.options, job.item
            transcript = from_batch(
                answer.response, source=item.source, model=options.model, measured=job.recording.duration
            )
            heard += transcript.duration or 0.0
            billed += 0.0 if backend is None else transcript.duration or 0.0
            recalled += backend is None
            _deliver(transcript, answer.body, job, order, talk)
            if not transcript.text.strip():
                talk.say(f"{item.source}: nothing was said")
        except CliError as error:
            if total == 1 or is_hopeless(error):
                raise
            talk.error(error)
            failed += 1
    price = "on this machine" if local else f"{batch_credits(billed):.1f} credits"
    if recalled:
        # Who wanted a fresh answer has to know that this is none.
        price = "from cache, 0 credits" if recalled == len(jobs) else f"{recalled} from cache, {price}"
    summary = f"{total - failed} of {total} transcribed, {heard:.1f} s of audio, {price}"
    (talk.say if recalled or total > 1 else talk.detail)(summary)
    return failed


def estimate(jobs: Sequence[Job], order: Order, base_url: str | None, talk: Talk) -> None:
    """What `run` would send, how long it is and what the API charges for it, on stdout; nothing is sent."""
    where = f"{base_url}{HTTP_ROUTES[order.endpoint]}" if base_url else "this machine, which costs nothing"
    rows = [_row(job, order, talk) for job in jobs]
    together = Row(
        "together",
        sum(row.bytes for row in rows),
        sum(row.duration or 0.0 for row in rows),
        sum(row.credits or 0.0 for row in rows),
    )
    if talk.as_json:
        request = {"to": where, "query": dict(order.options.query()), "form": dict(order.options.form())}
        report = {"request": request, "inputs": [row.document() for row in rows]}
        totals = {name: value for name, value in together.document().items() if name in ("duration", "credits")}
        write_stdout(json.dumps(report | totals, indent=2) + "\n")
        return
    asked = order.options.query() + order.options.form()
    talk.say(f"would go to {where}, with {', '.join(f'{name}={value}' for name, value in asked)}")
    if known := sum(row.cached for row in rows):
        talk.say(f"{known} of {len(rows)} would come from the cache, for nothing")
    lines = [row.line() for row in ([*rows, together] if len(rows) > 1 else rows)]
    write_stdout("\n".join([f"{'bytes':>12}  {'seconds':>9}  {'credits':>9}  source", *lines]) + "\n")


@dataclass(frozen=True, slots=True)
class Row:
    """What one recording would cost. Seconds and credits are None where a look can't tell."""

    source: str
    bytes: int
    duration: float | None
    credits: float | None
    cached: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON."""
        facts = {"source": self.source, "bytes": self.bytes}
        times = {"duration": self.duration, "credits": self.credits}
        rounded = {name: round(value, 3) for name, value in times.items() if value is not None}
        return facts | rounded | ({"cached": True} if self.cached else {})

    def line(self) -> str:
        seconds, price = ("?" if value is None else f"{value:.1f}" for value in (self.duration, self.credits))
        return f"{self.bytes:>12}  {seconds:>9}  {price:>9}  {one_line(self.source)}"


def looked_at(item: Input, options: BatchOptions) -> Recording:
    """A look at an input before it is sent. InputError when it is no recording."""
    name = "stdin" if item.source == STDIN else None
    if options.encoding is None:
        return look(item.path, name)
    assert options.sample_rate is not None
    return look_raw(item.path, options.encoding, options.sample_rate, name)


def _row(job: Job, order: Order, talk: Talk) -> Row:
    duration, cached = job.recording.duration, _look_up(job, order, talk)[1] is not None
    price = 0.0 if cached else None if duration is None else batch_credits(duration)
    return Row(job.item.source, job.recording.bytes, duration, price, cached)


def _look_up(job: Job, order: Order, talk: Talk) -> tuple[Question | None, Recalled | None]:
    """What is asked about a recording, and the answer if it was had before."""
    if order.cache is None:
        return None, None
    with talk.bar() as bar:
        bar.show(f"looking up {job.item.below.name}")
        question = order.cache.question(job.item.path, order.options)
    known = question.recall() if question else None
    if known:
        talk.detail(f"{job.item.source}: from cache, kept on {datetime.fromtimestamp(known.kept):%Y-%m-%d at %H:%M}")
    return question, known


def _ask(job: Job, order: Order, backend: Backend, question: Question | None, talk: Talk) -> Recalled:
    """The server's answer, kept for the next time."""
    item, recording = job.item, job.recording
    if not (backend.local or recording.documented):
        talk.say(
            f"warning: {item.source}: not in a format that the API documents ({recording.container}): sent as it is"
        )
    bodies: list[bytes] = []
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
            keep=bodies.append,
        )
    if question and (trouble := question.keep(bodies[-1])):
        talk.detail(f"{item.source}: not kept in the cache: {trouble}")
    return Recalled(bodies[-1], response, time.time())


def _draw(bar: Bar, meter: Meter, job: Job, backend: Backend) -> None:
    if not meter.uploaded:
        bar.show(f"sending {job.item.below.name}", meter.sent, meter.size)
    elif backend.local and job.recording.duration:
        bar.show(f"transcribing {job.item.below.name}", backend.heard, job.recording.duration)
    else:
        bar.show(f"transcribing {job.item.below.name}")


def _filename(item: Input, recording: Recording) -> str:
    """The name that is sent: servers go by its ending, so that one is added where there is none of a recording."""
    name = "stdin" if item.source == STDIN else item.path.name
    endings = FORMATS[recording.container].endings
    known = Path(name).suffix.lower() in EXTENSIONS.union(endings)
    return name if known or not endings else name + endings[0]


def _deliver(transcript: Transcript, body: bytes, job: Job, order: Order, talk: Talk) -> None:
    """Write every target. What can't be written is not lost: it goes to stdout, and the error is raised after it."""
    trouble: OutputError | None = None
    if job.kept is not None:
        try:
            write_file(job.kept, body)
            talk.say(f"wrote {job.kept}")
        except OutputError as error:
            trouble = error
    if transcript.words is None and transcript.text.strip() and not NEEDS_WORDS.isdisjoint(job.targets):
        talk.say(f"warning: {job.item.source}: the server sent no word times: times within the text are estimated")
    if order.matches is not None:
        order.matches.add(transcript)
    if order.matches is None or not order.matches.writes:
        trouble = deliver_all(transcript, job.targets, order.layout, talk) or trouble
    if trouble is not None:
        raise trouble


def _kept(items: Sequence[Input], targets: Sequence[Targets], plan: Plan, folder: Path | None) -> list[Path | None]:
    """A file for the answer to each input. UsageError when it can't be, exists, or is where a transcript goes."""
    if folder is None:
        return [None] * len(items)
    planned = replace(plan, formats=("json",), several=True, output=None, output_dir=folder).targets(items)
    taken = {os.path.realpath(file) for one in targets for file in one.values() if file is not None}
    for one in planned:
        for file in one.values():
            if file is not None and os.path.realpath(file) in taken:
                raise UsageError(f"{file} is where a transcript goes", hint="--keep-json names another folder")
    return [file for one in planned for file in one.values()]
