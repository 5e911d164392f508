"""Transcripts to be read and sung: paragraphs, Markdown and lyrics that hold the text, whatever it is."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cartesia_cli.output import Layout, writer
from cartesia_cli.output.paragraphs import MAX_CHARACTERS, paragraph_pause, paragraphs
from cartesia_cli.output.sanitize import one_line, title
from cartesia_cli.output.streams import open_stream
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.text_width import text_width
from cartesia_cli.timestamps import known_duration
from cartesia_cli.transcript import Segment, Transcript, drop_implausible_times, from_batch, plausible_segments

from .conftest import require_program

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def heard(*sentences: tuple[str, float], glue: str = " ", duration: float | None = None) -> Transcript:
    """Sentences, each with the silence behind it; a word lasts 0.3 s, and the next follows at once."""
    words, at = [], 0.0
    for sentence, pause in sentences:
        for word in sentence.split() if glue else sentence:
            words.append(Word(word, round(at, 3), round(at + 0.3, 3)))
            at += 0.3
        at += pause
    text = glue.join(sentence for sentence, _ in sentences)
    response = BatchResponse(text=text, words=tuple(words), duration=duration or at, language="en")
    return from_batch(response, source="talks/a_b.wav", model="ink-whisper")


def blocks(transcript: Transcript) -> list[str]:
    return writer("text")(transcript, Layout(paragraphs=True)).removesuffix("\n").split("\n\n")


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def rendered(markdown: str) -> list[str]:
    """The text of each block, as a reader of Markdown shows it."""
    found = []
    for token in GITHUB.parse(markdown):
        assert token.type in ("heading_open", "inline", "heading_close", "paragraph_open", "paragraph_close")
        if token.children is not None:
            assert {child.type for child in token.children} <= {"text", "text_special", "strong_open", "strong_close"}
            found.append("".join(child.content for child in token.children))
    return found


LINE = re.compile(r"\[(\d\d+):([0-5]\d)\.(\d\d)\](.*)")


def sung(transcript: Transcript) -> tuple[dict[str, str], list[tuple[float, str]]]:
    """The tags of the lyrics, and their lines with the seconds at which they begin."""
    tags, lines = {}, []
    for line in writer("lrc")(transcript, Layout()).split("\n")[:-1]:
        if found := LINE.fullmatch(line):
            lines.append((int(found[1]) * 60 + int(found[2]) + int(found[3]) / 100, found[4]))
        else:
            assert not lines
            name, _, value = line.removeprefix("[").removesuffix("]").partition(":")
            tags[name] = value
    return tags, lines


TALK = heard(
    ("The harbour opened long ago.", 0.4),
    ("It was busy.", 0.3),
    ("Then the railway came.", 1.6),
    ("My grandfather worked", 1.1),  # lost the thread
    ("on the quay.", 0.4),
    ("Nobody complained.", 2.0),
    ("Today there is a ferry.", 0.4),
)

# Not st.text: it would make one alphabet of the two, in which the characters that matter are lost.
any_text = st.lists(
    st.characters() | st.sampled_from("aB1 .?!,:-#*_[]<>&`~\\\n\t界。「」\x1b\u202e\ud800"), max_size=30
).map("".join)
any_time = st.none() | st.floats(-5, 100) | st.sampled_from([0.0, 1e300, float("inf"), float("nan")])


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """With words that are in the text, or aren't, or are missing; with or without segments; with times of any kind."""
    parts = draw(st.lists(any_text, max_size=5))
    text = "".join(parts) if draw(st.booleans()) else draw(any_text)
    spelled = text.split() if draw(st.booleans()) else draw(st.lists(any_text, max_size=5))
    words = tuple(Word(word, draw(any_time), draw(any_time)) for word in spelled)
    timing = st.sampled_from(["server", "audio", "estimated"])
    segments = tuple(Segment(draw(st.floats(-1, 100)), draw(st.floats(-1, 100)), part, draw(timing)) for part in parts)
    duration = known_duration(draw(any_time))
    words, segments = drop_implausible_times(words, duration), plausible_segments(segments, duration)
    return Transcript(
        draw(any_text),
        "m",
        text,
        duration=duration,
        segments=segments if text == "".join(parts) and draw(st.booleans()) else (),
        words=words if draw(st.booleans()) else None,
    )


def test_long_pause_between_sentences_ends_a_paragraph() -> None:
    assert blocks(TALK) == [
        "The harbour opened long ago. It was busy. Then the railway came.",
        "My grandfather worked on the quay. Nobody complained.",
        "Today there is a ferry.",
    ]


def test_long_pause_is_relative_to_the_speaker() -> None:
    slow = heard(*((sentence, 1.6) for sentence in ("Slowly. " * 8).split()), ("He spoke.", 5.0), ("So slowly.", 1.0))
    assert blocks(slow) == ["Slowly. " * 8 + "He spoke.", "So slowly."]
    quick = heard(*((sentence, 0.1) for sentence in ("Quickly. " * 8).split()), ("He ran.", 0.8), ("So quickly.", 0.1))
    assert blocks(quick) == ["Quickly. " * 8 + "He ran.", "So quickly."]
    assert blocks(heard(("Only two.", 4.0), ("Sentences here.", 0.0))) == ["Only two.", "Sentences here."]


def test_words_without_pauses_make_one_paragraph() -> None:
    assert blocks(heard(*(("One two.", 0.0),) * 9)) == [" ".join(["One two."] * 9)]
    assert paragraph_pause([]) == 1.0
    assert paragraph_pause([0.0, -3.0] * 50) == 1.0
    assert paragraph_pause([0.01] * 50) == 0.6


def test_only_a_very_long_pause_divides_a_sentence() -> None:
    assert len(blocks(heard(("We went", 1.5), ("home.", 0.0)))) == 1
    assert blocks(heard(("We went", 9.0), ("home.", 0.0))) == ["We went", "home."]


def test_too_long_paragraph_is_divided_at_its_longest_pause() -> None:
    sentences = [("All of these words are said without a stop.", 0.5 if i % 9 == 8 else 0.2) for i in range(60)]
    found = blocks(heard(*sentences))
    assert all(300 <= len(block) <= MAX_CHARACTERS for block in found)
    assert [block.count("stop.") for block in found] == [18, 18, 9, 15]


def test_text_without_full_stops_is_divided() -> None:
    found = blocks(heard(*(("and then we went on and on", 0.2),) * 100))
    assert len(found) > 2
    assert " ".join(found) == " ".join(["and then we went on and on"] * 100)


def test_paragraphs_of_scripts_without_spaces_start_with_opening_marks() -> None:
    talk = heard(("世界。", 0.3), ("こんにちは。", 3.0), ("はい。", 0.3), glue="")
    assert blocks(talk) == ["世界。こんにちは。", "はい。"]
    words = (Word("「はい", 0, 1), Word("いいえ", 4, 5))
    assert blocks(Transcript("a", "m", "「はい。」「いいえ」", words=words)) == ["「はい。」", "「いいえ」"]


def test_paragraphs_never_divide_a_word() -> None:
    words = (Word("can.", 0, 1), Word("not", 9, 10))
    assert blocks(Transcript("a", "m", "can.not", words=words)) == ["can.not"]


def test_paragraphs_use_words_or_else_segments_or_else_the_text() -> None:
    segments = (Segment(0, 1, "One.", "audio"), Segment(1.2, 2, " Two", "audio"), Segment(6, 7, " Three.", "audio"))
    assert blocks(Transcript("a", "m", "One. Two Three.", segments=segments)) == ["One. Two", "Three."]
    assert blocks(Transcript("a", "m", "One. Two Three.", segments=segments, words=(Word("Zwei", 0, 1),))) == [
        "One. Two",
        "Three.",
    ]
    assert blocks(Transcript("a", "m", "Something else.", segments=segments)) == ["Something else."]


@given(transcripts())
def test_paragraphs_are_the_text_verbatim(transcript: Transcript) -> None:
    joined = "".join(paragraph.text for paragraph in paragraphs(transcript))
    assert transcript.text.startswith(joined)
    assert not transcript.text[len(joined) :].strip()
    text = writer("text")(transcript, Layout(paragraphs=True))
    assert letters(text) == letters(transcript.text)


def test_live_paragraphs_are_divided_as_segments_arrive() -> None:
    parts: list[str] = []
    writing = open_stream("text", Layout(paragraphs=True), parts.append, "a", "m", live=True)
    times = ((0, 1, "One."), (1.5, 2, " Two."), (5, 6, " Three."), (6.4, 7, " Four."))
    segments = tuple(Segment(start, end, text, "audio") for start, end, text in times)
    for segment in segments:
        writing.write(segment)
    whole = Transcript("a", "m", "One. Two. Three. Four.", segments=segments)
    writing.close(whole, {})
    assert "".join(parts) == "One.\nTwo.\n\nThree.\nFour.\n"
    parts.clear()
    open_stream("text", Layout(paragraphs=True), parts.append, "a", "m", live=False).close(whole, {})
    assert "".join(parts) == "One. Two.\n\nThree. Four.\n"


def test_markdown_has_a_heading_facts_and_stamped_paragraphs() -> None:
    minute = [
        (f"Number {i} of the long sentences that are said in this talk.", 2.5 if i % 3 else 0.3) for i in range(9)
    ]
    lines = writer("md")(heard(*minute, duration=3725.0), Layout()).split("\n\n")
    assert lines[:2] == ["# a_b.wav", "1:02:05 · en · ink-whisper"]
    stamps = [found[1] for line in lines[2:] if (found := re.match(r"\*\*([\d:]+)\*\* ", line))]
    assert stamps[0] == "0:00"
    seconds = [int(stamp[0]) * 60 + int(stamp[2:]) for stamp in stamps]
    assert len(seconds) > 1
    assert all(later - earlier >= 30 for earlier, later in pairwise(seconds))


def test_markdown_marks_estimated_times() -> None:
    segment = Segment(0, 5, "Hello.", "estimated")
    assert writer("md")(Transcript("-", "ink-2", "Hello.", segments=(segment,)), Layout()) == (
        "# stdin\n\nink-2 · times are estimated\n\n**0:00** Hello.\n"
    )
    assert writer("md")(Transcript("-", "ink-2", "Hello."), Layout()) == "# stdin\n\nink-2\n\nHello.\n"


@pytest.mark.parametrize(
    "text",
    [
        "1. First", "1999) and", "# no heading", "- no item", "> no quote", "2 * 3 * 4", "_so_", "a_b_c",
        "<b>&amp;</b>", "[a](b)", "`x`", "~~y~~", "===", "---", "\\*", "Q&A &#35; &lt;", "+ 1", "| a |", "![i](j)",
        "https://a.b <c@d.e>", "    code",
    ],
)  # fmt: skip
def test_markdown_shows_markup_characters_as_text(text: str) -> None:
    transcript = Transcript(text, "m", text)
    assert rendered(writer("md")(transcript, Layout())) == [title(text), "m", one_line(text)]


@given(transcripts())
def test_markdown_never_changes_a_word(transcript: Transcript) -> None:
    found = rendered(writer("md")(transcript, Layout()))
    stamps = re.compile(r"\A\d+:\d\d(:\d\d)? ")
    said = found[2:]  # behind the heading and the facts
    expected = [one_line(paragraph.text) for paragraph in paragraphs(transcript)]
    assert [text if text == plain else stamps.sub("", text) for text, plain in zip(said, expected, strict=True)] == (
        expected
    )


def test_lrc_has_tags_and_a_line_per_segment() -> None:
    tags, lines = sung(heard(("Hello there.", 1.0), ("One more line.", 0.0), duration=3725.4))
    assert tags == {"ti": "a_b.wav", "length": "62:05", "re": "cartesia-cli"}
    assert lines == [(0.0, "Hello there."), (1.6, "One more line.")]


def test_lrc_divides_long_segments_at_word_times() -> None:
    talk = heard(("My grandfather worked on the quay, carrying sacks of grain from the boats to the warehouse.", 0.0))
    tags, lines = sung(talk)
    assert tags["re"] == "cartesia-cli"
    assert len(lines) > 1
    assert all(text_width(text) <= 42 for _, text in lines)
    assert " ".join(text for _, text in lines) == talk.text
    starts = {word.word: word.start for word in talk.words or ()}
    assert [start for start, _ in lines] == [starts[text.split()[0]] for _, text in lines]


def test_lrc_starts_a_line_with_each_sentence() -> None:
    text = "No. Never. That is what he said to me."
    talk = Transcript("a", "m", text + " " * 9 + "Well.", segments=(Segment(0, 9, text + " " * 9 + "Well.", "server"),))
    assert [line for _, line in sung(talk)[1]] == ["No.", "Never.", "That is what he said to me.", "Well."]


def test_lrc_has_a_word_of_two_segments_once() -> None:
    parts = ("One two three four five six seven eight nine Hel", "lo.")
    words = tuple(Word(word, i, i + 1) for i, word in enumerate("".join(parts).split()))
    segments = (Segment(0, 9.5, parts[0], "server"), Segment(9.5, 10, parts[1], "server"))
    talk = Transcript("a", "m", "".join(parts), segments=segments, words=words)
    assert " ".join(text for _, text in sung(talk)[1]) == " ".join(parts)


def test_lrc_keeps_a_word_wider_than_a_line() -> None:
    address = "www." + "a" * 60 + ".example"
    talk = Transcript("a", "m", f"See {address} now", segments=(Segment(0, 9, f"See {address} now", "server"),))
    assert [text for _, text in sung(talk)[1] if address in text]


def test_lrc_counts_hours_as_minutes() -> None:
    talk = Transcript("a", "m", "Late.", segments=(Segment(7384.567, 7390, "Late.", "server"),))
    assert writer("lrc")(talk, Layout()).endswith("\n[123:04.57]Late.\n")


def test_lrc_marks_estimated_times() -> None:
    long = "A segment that is far too long for a single line of lyrics."
    guessed = "cartesia-cli, times are estimated"
    for talk in (
        Transcript("a", "m", "Hi.", segments=(Segment(0, 5, "Hi.", "estimated"),)),
        Transcript("a", "m", long, segments=(Segment(0, 5, long, "server"),)),
        Transcript("a", "m", "Hi.", duration=5.0),
    ):
        assert sung(talk)[0]["re"] == guessed
    assert sung(Transcript("a", "m", "Hi.", segments=(Segment(0, 5, "Hi.", "audio"),)))[0]["re"] == "cartesia-cli"


def test_lrc_text_that_looks_like_a_tag_is_escaped() -> None:
    text = "[00:10.00] or <00:11> or [ti:x]"
    talk = Transcript("a", "m", text, segments=(Segment(3, 5, text, "server"),))
    assert sung(talk)[1] == [(3.0, "[ 00:10.00] or < 00:11> or [ ti:x]")]


@given(transcripts())
def test_lrc_never_changes_a_word_and_its_times_never_fall(transcript: Transcript) -> None:
    _, lines = sung(transcript)
    assert letters("".join(text for _, text in lines)) == letters(transcript.text)
    assert all(earlier <= later for (earlier, _), (later, _) in pairwise(lines))


def test_ffmpeg_reads_lrc(tmp_path: Path) -> None:
    (tmp_path / "a.lrc").write_text(writer("lrc")(TALK, Layout()), "utf-8")
    command = [require_program("ffmpeg"), "-v", "error", "-i", "a.lrc", "a.srt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = (tmp_path / "a.srt").read_text("utf-8")
    assert [line for line in shown.split("\n") if re.search("[a-z]", line)] == [text for _, text in sung(TALK)[1]]
