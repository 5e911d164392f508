"""Subtitles as Advanced SubStation Alpha: read by pysubs2, drawn by ffmpeg with libass."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pysubs2
import pytest

from cartesia_cli.output import Layout
from cartesia_cli.output.timed_text import ass
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.subtitles import cues
from cartesia_cli.subtitles.profiles import PROFILES
from cartesia_cli.transcript import Segment, Transcript

from .conftest import require_program

TAG = re.compile(r"\{\\k(\d+)\}")


def transcript(*words: tuple[str, float, float], speakers: str = "") -> Transcript:
    text = " ".join(word for word, _, _ in words)
    said = [Word(word, start, end, speakers[k] if speakers else None) for k, (word, start, end) in enumerate(words)]
    segments = [Segment(words[0][1], words[-1][2], text, "server")]
    return Transcript("talk.wav", "ink-whisper", text, duration=20.0, segments=tuple(segments), words=tuple(said))


HELLO = transcript(("Hello", 1.0, 1.5), ("there,", 2.0, 2.5), ("world.", 3.004, 3.5))


def dialogues(text: str) -> list[pysubs2.SSAEvent]:
    return list(pysubs2.SSAFile.from_string(text))


def test_tags_begin_with_the_cue_and_change_when_each_word_does() -> None:
    (event,) = dialogues(ass(HELLO, Layout()))
    lengths = list(map(int, TAG.findall(event.text)))
    assert event.start == 1000 and sum(lengths) == (event.end - event.start) // 10
    assert [1000 + 10 * sum(lengths[:k]) for k in range(3)] == [1000, 2000, 3000]
    assert TAG.sub("", event.text) == "Hello there, world."


@pytest.mark.parametrize("profile", PROFILES)
def test_cues_are_those_of_other_subtitles(profile: str) -> None:
    words = [(f"word{k}{'.' * (k % 7 == 6)}", 0.4 * k, 0.4 * k + 0.3) for k in range(60)]
    talk, rules = transcript(*words), PROFILES[profile]
    events = dialogues(ass(talk, Layout(rules=rules)))
    expected = cues(talk, rules, labels=True)
    assert [TAG.sub("", event.text).split("\\N") for event in events] == [list(cue.lines) for cue in expected]
    assert all(abs(event.start - cue.start) <= 5 for event, cue in zip(events, expected, strict=True))
    for event in events:
        assert 10 * sum(map(int, TAG.findall(event.text))) == event.end - event.start
    info = pysubs2.SSAFile.from_string(ass(talk, Layout(rules=rules))).info
    assert (info["PlayResX"] < info["PlayResY"]) is (profile == "shorts")


def test_each_speaker_has_a_style_and_a_name() -> None:
    talk = transcript(("Hi.", 0.0, 0.5), ("Hello.", 1.0, 1.5), ("Bye.", 2.0, 2.5), speakers="ABA")
    written = pysubs2.SSAFile.from_string(ass(talk, Layout()))
    assert [(event.name, event.style) for event in written] == [
        ("A", "Speaker 1"),
        ("B", "Speaker 2"),
        ("A", "Speaker 1"),
    ]
    colours = {str(written.styles[event.style].primarycolor) for event in written}
    assert len(colours) == 2


def test_text_can_not_become_a_tag() -> None:
    talk = transcript(("{\\b1}bold", 0.0, 0.5), ("C:\\", 1.0, 1.5), ("\\N", 2.0, 2.5), ("{\\k9}", 3.0, 3.5))
    (event,) = dialogues(ass(talk, Layout()))
    assert TAG.sub("", event.text) == "(∖b1)bold C:∖ ∖N (∖k9)"


def test_words_without_times_are_said_to_be_estimated() -> None:
    untimed = Transcript("talk.wav", "ink-2", "Hello there.", segments=(Segment(0.0, 2.0, "Hello there.", "audio"),))
    assert "; times within the text are estimated" in ass(untimed, Layout())
    assert "estimated" not in ass(HELLO, Layout())


@pytest.mark.shell
def test_player_colours_each_word_as_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "talk.ass").write_text(ass(HELLO, Layout()))

    def yellow(at: float) -> int:
        """Pixels that are coloured as spoken, at a time."""
        picture = f"color=c=black:s=640x360:r=25:d=5,subtitles=talk.ass,trim=start={at},format=rgb24"
        output = ["-frames:v", "1", "-f", "rawvideo", "-"]
        command = [require_program("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", picture, *output]
        pixels = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
        return sum(
            r > 180 and g > 150 and b < 80 for r, g, b in zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True)
        )

    assert yellow(0.5) == 0
    first, second, third = yellow(1.2), yellow(2.2), yellow(3.2)
    assert 0 < first < second < third
