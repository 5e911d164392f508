"""Speakers by channel: makes a job of each channel of a recording, and a conversation of their transcripts.

Each channel is a request of its own, without its long silences, and its response is cached by its own content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ...audio.time_map import TimeMap
from ...errors import InputError
from ...output.console import Reporter
from ...protocol.batch import BatchResponse
from ...protocol.constants import batch_credits
from ...record import Record
from ...speakers import merge_speakers
from ...transcript import Transcript, from_batch
from .job import Job
from .upload_audio import named_errors, to_recording_times
from .workspace import JobProgress, Workspace


class ChannelJob(Record):
    """One channel of a recording.

    speaker   name of who speaks on it
    job       its file as a recording; None if the channel is silent
    times     where the parts of that file are in the recording
    """

    speaker: str
    job: Job | None
    times: TimeMap


class Conversation(Record):
    """A recording whose channels are transcribed one by one.

    seconds   length of the recording
    """

    job: Job
    channels: Sequence[ChannelJob]
    seconds: float

    @property
    def jobs(self) -> list[Job]:
        """Those of the channels that aren't silent."""
        return [channel.job for channel in self.channels if channel.job is not None]

    def describe(self, cached: Sequence[Job], *, priced: bool) -> str:
        """What is sent of it, in words: "2 channels: 2 requests, 83.0 s of audio, 41.5 credits".

        cached   those of `jobs` whose response is in the cache
        priced   whether requests cost something
        """
        sent = [job for job in self.jobs if job not in cached]
        seconds = sum(job.seconds or 0.0 for job in sent)
        facts = ["1 request" if len(sent) == 1 else f"{len(sent)} requests", f"{seconds:.1f} s of audio"]
        facts += [f"{batch_credits(seconds):.1f} credits"] if priced else []
        facts += [f"{len(cached)} from cache"] if cached else []
        silent = [str(number) for number, channel in enumerate(self.channels, 1) if channel.job is None]
        noun = "channel" if len(silent) == 1 else "channels"
        facts += [f"{noun} {', '.join(silent)} silent"] if silent else []
        return f"{len(self.channels)} channels: {', '.join(facts)}"

    def merge(self, responses: Sequence[BatchResponse], model: str) -> Transcript:
        """The conversation in which each of `jobs` has one of the responses, in the same order."""
        media, remaining = self.job.media, list(responses)
        parts: list[tuple[str, Transcript]] = []
        for channel in self.channels:
            response = BatchResponse(text="", words=()) if channel.job is None else remaining.pop(0)
            response = to_recording_times(channel.times.restore(response, self.seconds), media)
            parts.append((channel.speaker, from_batch(response, source=self.job.input.source, model=model)))
        return merge_speakers(parts, duration=self.seconds + max(0.0, media.sound_start if media else 0.0))


@contextmanager
def split_job(
    job: Job, names: Sequence[str], workspace: Workspace, update: JobProgress, reporter: Reporter
) -> Iterator[Conversation]:
    """A job of each channel of a materialized recording, whose files exist for the length of the block.

    Raises InputError if there is only one channel, if all hold the same sound, or if their number isn't that of the
    names.

    names   of the speakers, in the order of the channels; empty: they are numbered
    """
    from ...audio.channels import split_channels

    item = job.input
    if item.time_range is not None:
        raise InputError(
            f"{item.source} is a part of a recording, which can't be split into channels",
            hint="--no-speakers-by-channel transcribes it as a whole",
        )
    update("splitting the channels of")
    with workspace.temporary_folder() as folder:
        with named_errors(item):
            channels, seconds = split_channels(item.path, folder, warn=partial(reporter.warn, about=item.source))
        if names and len(names) != len(channels):
            raise InputError(
                f"{item.source} has {len(channels)} channels, and --speakers-by-channel names {len(names)} speakers",
                hint=f"name all {len(channels)}, or none: then they are numbered",
            )
        channel_jobs: list[ChannelJob] = []
        for channel in channels:
            speaker = names[channel.number - 1] if names else f"Speaker {channel.number}"
            channel_job = None
            if channel.path is not None:
                name = Path(f"{item.relative_path.stem}-channel{channel.number}.flac")
                source = f"{item.source} (channel {channel.number})"
                channel_job = Job(
                    item._replace(source=source, path=channel.path, relative_path=name), channel.media, {}
                )
            channel_jobs.append(ChannelJob(speaker, channel_job, channel.times))
        yield Conversation(job, channel_jobs, seconds)
