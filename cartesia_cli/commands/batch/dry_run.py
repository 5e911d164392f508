"""`transcribe --dry-run`: lists what would be sent, with durations and costs. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...audio.probing import UploadEstimate
from ...errors import CliError
from ...output.console import Reporter
from ...output.files import write_json, write_stdout
from ...output.sanitize import one_line
from ...output.text_json import without_none
from ...protocol.constants import HTTP_ROUTES, batch_credits
from ...record import Record
from ...transfer import size_text
from .channel_jobs import split_job
from .config import BatchConfig
from .job import Job
from .plan import BatchPlan
from .transcriber import look_up
from .upload_audio import estimate_upload
from .workspace import Workspace


class Row(Record):
    """One recording and what it would cost.

    bytes      of the file; None if its server doesn't say
    upload     what would be uploaded
    cached     whether the response is in the cache
    same_as    an earlier input with the same audio, whose response would serve for both
    channels   what would be sent of each channel, in words; None: the recording is sent as a whole
    """

    source: str
    bytes: int | None
    upload: UploadEstimate
    cached: bool = False
    same_as: str | None = None
    channels: str | None = None

    @property
    def is_converted(self) -> bool:
        """Whether something else than the file would be sent, of which the size is known."""
        has_size = self.upload.extension is not None and self.upload.bytes is not None
        return has_size and not self.cached and self.same_as is None

    @property
    def credits(self) -> float | None:
        """None if the duration is unknown."""
        if self.cached or self.same_as is not None:
            return 0.0
        return None if self.upload.duration is None else batch_credits(self.upload.duration)

    def to_dict(self, *, priced: bool) -> dict[str, Any]:
        """The row in the JSON report."""
        return without_none({
            "source": self.source,
            "bytes": self.bytes,
            "duration": None if self.upload.duration is None else round(self.upload.duration, 3),
            "credits": None if self.credits is None or not priced else round(self.credits, 3),
            "channels": self.channels,
            "upload_bytes": self.upload.bytes if self.is_converted else None,
            "upload_bytes_estimated": not self.upload.exact if self.is_converted else None,
            "cached": self.cached or None,
            "same_as": self.same_as,
        })  # fmt: skip

    def cells(self) -> tuple[str, str, str, str]:
        """The row in the table: bytes, seconds, credits and source."""
        note = " (from cache)" if self.cached else f" (same audio as {self.same_as})" if self.same_as else ""
        if self.channels is not None:
            note = f" ({self.channels})"
        elif self.is_converted:
            about = "" if self.upload.exact else "about "
            note = f" (sent as {(self.upload.extension or '')[1:]}: {about}{size_text(self.upload.bytes or 0)})"
        size = "?" if self.bytes is None else str(self.bytes)
        return size, _format_number(self.upload.duration), _format_number(self.credits), f"{self.source}{note}"


def print_estimate(
    plan: BatchPlan, config: BatchConfig, base_url: str | None, workspace: Workspace, reporter: Reporter
) -> int:
    """Write what a JobRunner would do to stdout. Returns the number of unusable inputs, each of which is reported.
    Raises CliError for the only input.

    base_url    None: this machine, which costs nothing
    workspace   asks for the sizes of recordings that are elsewhere
    """
    priced = base_url is not None
    rows, unusable = _estimate_rows(plan, config, workspace, reporter, local=not priced)
    unusable += plan.unusable  # which has grown: inputs beyond the first are planned for their rows
    duration = sum(row.upload.duration or 0.0 for row in rows)
    price = sum(row.credits or 0.0 for row in rows)
    unknown = sum(row.upload.duration is None for row in rows)
    unpriced = sum(row.credits is None for row in rows)
    where = f"{base_url}{HTTP_ROUTES[config.endpoint]}" if base_url else "this machine"
    asked = [*config.request.query(), *config.request.form()]
    if reporter.as_json:
        request = {"to": where, "query": dict(config.request.query()), "form": dict(config.request.form())}
        report = {
            "request": request,
            "inputs": [row.to_dict(priced=priced) for row in rows],
            "duration": round(duration, 3),
            "credits": round(price, 3) if priced else None,
            "unknown_durations": unknown or None,
        }
        write_json(without_none(report))
        return unusable
    reporter.info(f"would go to {where}, with {', '.join(f'{name}={value}' for name, value in asked)}")
    notes = {
        "would come from the cache, free of charge": sum(row.cached for row in rows),
        "have the same audio as another input": sum(row.same_as is not None for row in rows),
        "have an unknown duration" + ": the total is a lower bound" * (len(rows) > 1): unknown,
    }
    for note, count in notes.items():
        if count:
            reporter.info(f"{count} of {len(rows)} {note}")
    if films := [row for row in rows if row.is_converted and row.channels is None]:
        about = "" if all(row.upload.exact for row in films) else "about "
        size, whole = sum(row.upload.bytes or 0 for row in films), sum(row.bytes or 0 for row in films)
        reporter.info(
            f"{len(films)} of {len(rows)} would be converted to sound only: "
            f"{about}{size_text(size)} of {size_text(whole)}"
        )
    table = [("bytes", "seconds", "credits", "source"), *(row.cells() for row in rows)]
    if len(rows) > 1:
        size, seconds, credits = sum(row.bytes or 0 for row in rows), f"{duration:.1f}", f"{price:.1f}"
        table.append((str(size), seconds + "+" * bool(unknown), credits + "+" * bool(unpriced), "total"))
    columns = "{:>12}  {:>9}  {:>9}  {}\n" if priced else "{0:>12}  {1:>9}  {3}\n"
    write_stdout("".join(columns.format(*map(one_line, cells)) for cells in table))
    return unusable


def _estimate_rows(
    plan: BatchPlan, config: BatchConfig, workspace: Workspace, reporter: Reporter, *, local: bool
) -> tuple[list[Row], int]:
    """The rows, and how many inputs are unusable, which is reported."""
    rows: list[Row] = []
    unusable = 0
    first: dict[str, str] = {}
    for job in plan:
        try:
            if config.bucket is not None and config.bucket.without_existing(job) is None:
                continue
            if job.media is None:
                size = workspace.describe(job.input).bytes
                rows.append(Row(job.input.source, size, UploadEstimate(size, False, None)))
            elif config.speakers is not None:
                rows.append(_channels_row(job, config.speakers, config, workspace, reporter, priced=not local))
            else:
                rows.append(_estimate_row(job, job.media.bytes, config, first, reporter, local=local))
        except CliError as error:
            if plan.is_alone:
                raise
            reporter.error(error)
            unusable += 1
    return rows, unusable


def _channels_row(
    job: Job, names: Sequence[str], config: BatchConfig, workspace: Workspace, reporter: Reporter, *, priced: bool
) -> Row:
    """The row of a recording whose channels are transcribed one by one: it is split to find out."""
    assert job.media is not None
    with split_job(job, names, workspace, lambda *_: None, reporter) as conversation:
        cached = [channel for channel in conversation.jobs if look_up(channel, config, reporter)[1] is not None]
        sent = [channel.media for channel in conversation.jobs if channel not in cached and channel.media]
        upload = UploadEstimate(
            sum(media.bytes for media in sent), True, sum(media.duration or 0.0 for media in sent), ".flac"
        )
        described = conversation.describe(cached, priced=priced)
    return Row(job.input.source, job.media.bytes, upload, cached=bool(cached) and not sent, channels=described)


def _estimate_row(
    job: Job, size: int, config: BatchConfig, first: dict[str, str], reporter: Reporter, *, local: bool
) -> Row:
    """The row of a recording on this machine. `first`: request to the first input that makes it."""
    lookup, known = look_up(job, config, reporter)
    source = job.input.source
    before = first.setdefault(lookup.name, source) if lookup and known is None else source
    return Row(source, size, estimate_upload(job, local=local), known is not None, None if before == source else before)


def _format_number(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"
