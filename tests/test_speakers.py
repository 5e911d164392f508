"""The channels of a recording become one conversation, and every format says who speaks."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pysubs2
import pytest
import srt as srt_library
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.output import FORMATS, Layout, Selection, writer
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.speakers import display_name, merge_speakers
from cartesia_cli.subtitles import Cue, Rules, cues, srt, vtt
from cartesia_cli.subtitles.lint import RULES, lint
from cartesia_cli.subtitles.parser import Kind, parse
from cartesia_cli.subtitles.profiles import PROFILES, lint_rules
from cartesia_cli.subtitles.unavoidable import mark_unavoidable
from cartesia_cli.text_width import text_width
from cartesia_cli.transcript import Segment, Transcript, from_batch
from cartesia_cli.transcript_import import load_transcripts
from tests.conftest import Run, require_program


def channel(*words: tuple[str, float, float], duration: float | None = 20.0, **facts: Any) -> Transcript:
    """The transcript of a channel on which these words are said."""
    said = tuple(Word(*word) for word in words)
    response = BatchResponse(text=" ".join(word.word for word in said), duration=duration, words=said, **facts)
    return from_batch(response, source="call.wav", model="ink-whisper")


def reread(transcript: Transcript) -> Transcript:
    """What `render` makes of the JSON of a transcript."""
    (again,) = load_transcripts(writer("json")(transcript, Layout()))
    return again


def turns(conversation: Transcript) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text.strip()) for segment in conversation.segments]


# Merging ----------------------------------------------------------------------------------------------------

QUESTION = channel(("Shall", 0.5, 0.8), ("we", 0.8, 1.0), ("begin?", 1.0, 1.5), ("Good.", 4.0, 4.4))
ANSWER = channel(("Yes,", 2.0, 2.3), ("please.", 2.3, 2.9), ("So", 5.0, 5.2), ("what", 5.2, 5.5), ("now?", 5.5, 6.0))


def test_channels_are_merged_in_the_order_of_time() -> None:
    conversation = merge_speakers([("Anna", QUESTION), ("Bob", ANSWER)])
    assert turns(conversation) == [
        ("Anna", "Shall we begin?"), ("Bob", "Yes, please."), ("Anna", "Good."), ("Bob", "So what now?"),
    ]  # fmt: skip
    assert conversation.text == "Shall we begin? Yes, please. Good. So what now?"
    assert [(word.word, word.start, word.speaker) for word in conversation.words or ()][2:4] == [
        ("begin?", 1.0, "Anna"), ("Yes,", 2.0, "Bob"),
    ]  # fmt: skip
    assert (conversation.duration, conversation.source, conversation.model) == (20.0, "call.wav", "ink-whisper")


def test_people_who_talk_at_once_are_not_interleaved_word_by_word() -> None:
    one = channel(("I", 1.0, 1.2), ("really", 1.3, 1.6), ("do", 1.7, 1.9), ("think", 2.0, 2.3), ("so.", 2.4, 2.8))
    other = channel(("No", 1.1, 1.3), ("you", 1.4, 1.6), ("do", 1.75, 1.95), ("not.", 2.1, 2.9))
    assert turns(merge_speakers([("Anna", one), ("Bob", other)])) == [
        ("Anna", "I really do think so."), ("Bob", "No you do not."),
    ]  # fmt: skip


LONG = channel(
    ("When", 0.0, 0.4), ("we", 0.4, 0.7), ("got", 0.7, 1.1), ("to", 1.1, 1.4), ("the", 1.4, 1.7),
    ("station,", 1.7, 2.5), ("the", 2.6, 2.9), ("train", 2.9, 3.6), ("had", 3.6, 4.1),
    ("already", 4.1, 4.8), ("left.", 4.8, 5.4),
)  # fmt: skip


def test_a_backchannel_within_a_long_sentence_is_a_turn_at_the_end_of_a_clause() -> None:
    hm = channel(("Mm-hm.", 1.9, 2.3))
    conversation = merge_speakers([("Anna", LONG), ("Bob", hm)])
    assert turns(conversation) == [
        ("Anna", "When we got to the station,"), ("Bob", "Mm-hm."), ("Anna", "the train had already left."),
    ]  # fmt: skip
    assert [(segment.start, segment.end) for segment in conversation.segments] == [(0.0, 2.5), (1.9, 2.3), (2.6, 5.4)]
    late = merge_speakers([("Anna", LONG), ("Bob", channel(("Mm-hm.", 3.0, 3.4)))])
    assert turns(late) == [("Anna", LONG.text), ("Bob", "Mm-hm.")]


def test_times_of_the_server_are_kept_where_people_talk_at_once() -> None:
    conversation = merge_speakers([("Anna", LONG), ("Bob", channel(("Mm-hm.", 3.0, 3.4)))])
    document = conversation.to_dict()
    assert document["words"][-1] == {"word": "Mm-hm.", "start": 3.0, "end": 3.4, "speaker": "Bob"}
    assert not any("timing" in word for word in document["words"])
    assert reread(conversation).to_dict() == document


def test_many_people_who_all_talk_at_once_can_be_read_back() -> None:
    voices = [(name, LONG) for name in ("Anna", "Bob", "Cem", "Dora")]
    conversation = merge_speakers(voices)
    assert reread(conversation).to_dict() == conversation.to_dict()


def test_channels_without_word_times_are_ordered_by_segments_or_labelled_as_estimated() -> None:
    whole = from_batch(BatchResponse(text="Hello there.", duration=9.0), source="a", model="m")
    conversation = merge_speakers([("Anna", QUESTION), ("Bob", whole)])
    assert [(s.speaker, s.start, s.end, s.timing) for s in conversation.segments] == [
        ("Bob", 0.0, 9.0, "estimated"), ("Anna", 0.5, 1.5, "server"), ("Anna", 4.0, 4.4, "server"),
    ]  # fmt: skip
    assert [word.word for word in conversation.words or ()] == ["Hello", "there.", "Shall", "we", "begin?", "Good."]
    unknown = from_batch(BatchResponse(text="Hello there."), source="a", model="m")
    assert turns(merge_speakers([("Bob", unknown), ("Anna", QUESTION)]))[-1] == ("Bob", "Hello there.")
    parts = (Segment(2.0, 3.0, "Oh.", "audio"), Segment(4.6, 5.0, " Right.", "audio"))
    listed = Transcript("a", "m", "Oh. Right.", segments=parts)
    assert [(s.speaker, s.timing) for s in merge_speakers([("Anna", QUESTION), ("Bob", listed)]).segments] == [
        ("Anna", "server"), ("Bob", "audio"), ("Anna", "server"), ("Bob", "audio"),
    ]  # fmt: skip


def test_a_silent_channel_adds_nothing() -> None:
    silent = from_batch(BatchResponse(text=" ", duration=30.0), source="a", model="m")
    conversation = merge_speakers([("Anna", QUESTION), ("Bob", silent)])
    assert (conversation.text, conversation.duration) == (QUESTION.text, 30.0)
    assert merge_speakers([("Anna", silent), ("Bob", silent)]).to_dict()["text"] == ""


def test_speakers_that_two_channels_number_alike_are_told_apart() -> None:
    def numbered(part: Transcript) -> Transcript:
        words = tuple(Word(word.word, word.start, word.end, "0") for word in part.words or ())
        response = BatchResponse(text=part.text, duration=part.duration, words=words)
        return from_batch(response, source="a", model="m")

    both = merge_speakers([("left", numbered(QUESTION)), ("right", numbered(ANSWER))])
    assert {word.speaker for word in both.words or ()} == {"left, Speaker 0", "right, Speaker 0"}
    one = merge_speakers([("left", numbered(QUESTION)), ("right", ANSWER)])
    assert {word.speaker for word in one.words or ()} == {"0", "right"}


def test_japanese_channels_are_joined_without_spaces() -> None:
    one, other = (
        from_batch(
            BatchResponse(text=text, words=(Word(text, start, start + 1),), language="ja"), source="a", model="m"
        )
        for text, start in (("はい。", 0.5), ("そうです。", 2.0))
    )
    assert merge_speakers([("Anna", one), ("Bob", other)]).text == "はい。そうです。"


def test_words_that_carry_their_spaces_keep_doing_so() -> None:
    def carrying(*words: tuple[str, float, float]) -> Transcript:
        said = tuple(Word(*word) for word in words)
        return from_batch(BatchResponse(text="".join(w.word for w in said), words=said), source="a", model="m")

    one = carrying(("Shall", 0.5, 0.8), (" we?", 0.8, 1.0), (" Good.", 4.0, 4.4))
    conversation = merge_speakers([("Anna", one), ("Bob", carrying(("Yes.", 2.0, 2.3)))])
    assert [word.word for word in conversation.words or ()] == ["Shall", " we?", " Yes.", " Good."]
    assert "".join(word.word for word in conversation.words or ()) == conversation.text


SPELLINGS = st.sampled_from("Yes. no, and the Anna? well, mm-hm I -- «so» 東京 です。 don't".split())


@st.composite
def channels(draw: st.DrawFn, duration: float = 60.0) -> Transcript:
    """What a server may answer for a channel: words with times, without some, or none at all."""
    spellings = draw(st.lists(SPELLINGS, max_size=12))
    marks = sorted(draw(st.lists(st.integers(1, 600), min_size=2 * len(spellings), max_size=2 * len(spellings))))
    lacking = draw(st.sets(st.integers(0, 11), max_size=4))
    words = tuple(
        Word(text) if k in lacking else Word(text, marks[2 * k] / 10, marks[2 * k + 1] / 10)
        for k, text in enumerate(spellings)
    )
    response = BatchResponse(
        text=" ".join(spellings), duration=duration, words=words if draw(st.integers(0, 4)) else None
    )
    return from_batch(response, source="call.wav", model="m")


CONVERSATIONS = st.lists(channels(), min_size=1, max_size=4).map(
    lambda parts: [(f"speaker {k}", part) for k, part in enumerate(parts, 1)]
)


@pytest.mark.waits
@given(CONVERSATIONS)
def test_a_conversation_has_every_word_of_every_channel_once_and_in_order(parts: list[tuple[str, Transcript]]) -> None:
    conversation = merge_speakers(parts)
    assert "".join(segment.text for segment in conversation.segments) == conversation.text
    starts = [segment.start for segment in conversation.segments]
    assert all(a <= b for a, b in pairwise(starts)), starts
    has_words = any(part.words for _, part in parts)
    for name, part in parts:
        own = [segment for segment in conversation.segments if segment.speaker == name]
        assert " ".join(segment.text.strip() for segment in own) == part.text.strip()
        assert all(segment.start <= segment.end for segment in own)
        if has_words:
            words = [word for word in conversation.words or () if word.speaker == name]
            expected = part.words or map(Word, part.text.split())
            assert [(w.word, w.start, w.end) for w in words] == [(w.word, w.start, w.end) for w in expected]
    if has_words:
        assert conversation.word_spans()
        said = [word.word for segment in conversation.segments for word in segment.words]
        assert said == [word.word for word in conversation.words or ()]
    else:
        assert conversation.words is None
    assert reread(conversation).to_dict() == conversation.to_dict()


@pytest.mark.parametrize(
    ("speaker", "shown"),
    [(None, ""), ("", ""), (" \n", ""), ("0", "Speaker 0"), ("A", "Speaker A"), ("SPEAKER_00", "SPEAKER_00"),
     ("Anna\nLee", "Anna Lee"), ("\x1b[31mBob\u202e", "[31mBob"), ("李", "李")],
)  # fmt: skip
def test_names_are_shown_on_one_line_and_numbers_as_speakers(speaker: str | None, shown: str) -> None:
    assert display_name(speaker) == shown


# Writing ----------------------------------------------------------------------------------------------------

CONVERSATION = merge_speakers([("Anna", LONG), ("Bob & <b>Co</b>", channel(("Mm-hm.", 1.9, 2.3), ("Oh.", 7.0, 7.4)))])


def written(form: str, transcript: Transcript = CONVERSATION, **layout: Any) -> str:
    return writer(form)(transcript, Layout(**layout))


def test_text_has_a_line_for_each_turn() -> None:
    assert written("text") == (
        "Anna: When we got to the station,\n"
        "Bob & <b>Co</b>: Mm-hm.\n"
        "Anna: the train had already left.\n"
        "Bob & <b>Co</b>: Oh.\n"
    )
    assert written("text", paragraphs=True).count("\n\n") == 3


def test_a_turn_of_several_paragraphs_has_its_name_once() -> None:
    words = [("First.", 0.5, 1.0), ("Second.", 1.2, 1.6), ("Third.", 9.0, 9.5)]
    told = merge_speakers([("Anna", channel(*words)), ("Bob", channel(("Yes.", 12.0, 12.4)))])
    assert written("text", told, paragraphs=True) == "Anna: First. Second.\n\nThird.\n\nBob: Yes.\n"
    assert written("text", told) == "Anna: First. Second. Third.\nBob: Yes.\n"
    assert written("md", told).endswith("**0:00** **Anna:** First. Second.\n\nThird.\n\n**Bob:** Yes.\n")


def test_srt_names_who_begins_to_speak() -> None:
    parsed = list(srt_library.parse(written("srt")))
    assert [cue.content for cue in parsed] == [
        "Anna: When we got to the station,", "Bob & ‹b›Co‹/b›: Mm-hm.", "Anna: the train had already left.",
        "Bob & ‹b›Co‹/b›: Oh.",
    ]  # fmt: skip
    assert [event.plaintext for event in pysubs2.SSAFile.from_string(written("srt"), format_="srt")] == [
        cue.content for cue in parsed
    ]


def test_vtt_has_a_voice_for_each_cue_which_the_webvtt_library_reads() -> None:
    captions = webvtt.from_string(written("vtt"))
    assert [caption.text for caption in captions][:2] == ["When we got to the station,", "Mm-hm."]
    voices = [caption.voice for caption in captions]
    assert voices == ["Anna", "Bob ＆ ‹b›Co‹/b›"] * 2
    again = load_transcripts(written("vtt"), "a.vtt")[0]
    assert [segment.speaker for segment in again.segments] == ["Anna", "Bob ＆ ‹b›Co‹/b›"] * 2


def test_voices_and_times_of_words_stand_side_by_side() -> None:
    text = written("vtt", highlight_words=True)
    assert "\n<v Anna>When <00:00:00.400>we <00:00:00.700>got" in text
    assert [caption.text for caption in webvtt.from_string(text)] == [
        caption.text for caption in webvtt.from_string(written("vtt"))
    ]


def test_rows_have_the_speaker_in_their_last_column() -> None:
    rows = list(csv.reader(io.StringIO(written("csv"))))
    assert rows[0] == ["number", "start", "end", "word", "speaker"]
    assert rows[7] == ["7", "1.900", "2.300", "Mm-hm.", "Bob & <b>Co</b>"]
    assert written("tsv").splitlines()[:2] == ["start\tend\ttext\tspeaker", "0\t400\tWhen\tAnna"]


def test_a_table_has_a_column_for_speakers_that_leaves_columns_for_words() -> None:
    lines = written("table", columns=70).splitlines()
    assert lines[0].split()[-2:] == ["speaker", "word"]
    assert lines[2].split()[-2:] == ["Anna", "When"]
    assert "Bob & <b>Co</b>" in lines[8]
    long = merge_speakers([("A name of more than sixteen columns", LONG), ("東京" * 20, QUESTION)])
    for columns in (10, 30, 50, 80):
        assert all(text_width(line) <= columns for line in written("table", long, columns=columns).splitlines())


def test_lyrics_and_markdown_have_names() -> None:
    assert written("lrc").splitlines()[-4:] == [
        "[00:00.00]Anna: When we got to the station,", "[00:01.90]Bob & <b>Co</b>: Mm-hm.",
        "[00:02.60]Anna: the train had already left.", "[00:07.00]Bob & <b>Co</b>: Oh.",
    ]  # fmt: skip
    assert "**Bob & \\<b>Co\\</b>:** Mm-hm." in written("md")


def test_matches_say_who_speaks() -> None:
    selection = Selection("station|Oh")
    (first, second) = json.loads(written("json", selection=selection))["matches"]
    assert (first["speaker"], first["words"][0]["speaker"], second["speaker"]) == ("Anna", "Anna", "Bob & <b>Co</b>")
    across = json.loads(written("json", selection=Selection("station, Mm")))["matches"][0]
    assert "speaker" not in across and [word["speaker"] for word in across["words"]] == ["Anna", "Bob & <b>Co</b>"]
    assert written("csv", selection=selection).splitlines()[1:] == [
        '6,1.700,2.500,"station,",Anna', "13,7.000,7.400,Oh.,Bob & <b>Co</b>",
    ]  # fmt: skip


def test_rows_of_several_files_have_a_column_for_speakers_if_one_of_them_has(run: Run, tmp_path: Path) -> None:
    for name, transcript in (("a.json", QUESTION), ("b.json", CONVERSATION)):
        (tmp_path / name).write_text(written("json", transcript._replace(source=name)))
    done = run("render", "a.json", "b.json", "-f", "csv", "--grep", "Good|Oh")
    assert done.stdout.decode().split("\r\n") == [
        "file,number,start,end,word,speaker", "a.json,4,4.000,4.400,Good.,",
        "b.json,13,7.000,7.400,Oh.,Bob & <b>Co</b>", "",
    ]  # fmt: skip


def test_segments_that_were_named_by_hand_name_their_words() -> None:
    document = QUESTION.to_dict()
    for segment, name in zip(document["segments"], ("Anna", "Bob"), strict=True):
        segment["speaker"] = name
    (named,) = load_transcripts(json.dumps(document))
    assert [word.speaker for word in named.words or ()] == ["Anna"] * 3 + ["Bob"]
    assert written("text", named) == "Anna: Shall we begin?\nBob: Good.\n"


HOSTILE = [
    "\x1b]0;x\x07", "a\n\n2\n00:00:00,000 --> 00:00:09,000\nb", "</v><b>", "&gt;&lt;", "=cmd()", 'x","y\t', "-->",
    "\u202edcba", "{\\an8}", "[00:01.00]", "**bold** `x` # $y$ | 1.", "\ud800", " ", "NAME: ", "ש" * 30,
    "a very long name that takes more than a whole line of a subtitle and more", "\u2028\x85\r",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_harms_a_format(name: str) -> None:
    parts = [(name, LONG), ("Bob", channel(("Mm-hm.", 3.0, 3.4), ("What", 7.0, 7.3), ("now?", 7.3, 8.0)))]
    transcript = merge_speakers(parts)
    assert transcript.to_dict()["segments"][0]["speaker"] == name
    for form in FORMATS:
        text = written(form, transcript, columns=60)
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\u2028]", text), form
    assert reread(transcript).text == transcript.text
    captions = webvtt.from_string(written("vtt", transcript))
    plain = webvtt.from_string(written("vtt", merge_speakers([("Anna", LONG), parts[1]])))
    assert [(c.start, c.end, c.text) for c in captions] == [(c.start, c.end, c.text) for c in plain]
    cues = list(srt_library.parse(written("srt", transcript)))
    assert [cue.index for cue in cues] == [*range(1, len(cues) + 1)]
    assert all(text_width(line) <= 42 for cue in cues for line in cue.content.splitlines())
    assert {len(row) for row in csv.reader(io.StringIO(written("csv", transcript)))} == {5}
    assert {line.count("\t") for line in written("tsv", transcript).splitlines()} == {3}
    assert all(re.match(r"\[\w+:[^]]*\](?!\s*[\[<]\d)", line) for line in written("lrc", transcript).splitlines())
    assert not lint(parse(written("srt", transcript), "srt"), Rules()) or name.startswith("a very long")


def test_ffmpeg_reads_no_name_as_text(tmp_path: Path) -> None:
    found = [Cue(k * 1000, k * 1000 + 900, (f"Text {k}",), speaker=name) for k, name in enumerate(HOSTILE)]
    (tmp_path / "a.vtt").write_text(vtt(found), "utf-8")
    command = [require_program("ffmpeg"), "-v", "error", "-i", "a.vtt", "-f", "srt", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert [cue.content for cue in srt_library.parse(done.stdout.decode())] == [cue.lines[0] for cue in found]


@given(st.text(max_size=40), st.booleans())
def test_no_name_changes_what_other_programs_read(name: str, labels: bool) -> None:
    transcript = merge_speakers([(name, LONG), (name + "2", QUESTION)])
    found = cues(transcript, labels=labels)
    captions = webvtt.from_string(vtt(found))
    assert labels or [caption.text for caption in captions] == ["\n".join(cue.lines) for cue in found]
    assert len(captions) == len(found) == len(list(srt_library.parse(srt(found))))
    assert len(parse(vtt(found), "vtt").cues) == len(parse(srt(found), "srt").cues) == len(found)
    assert not parse(vtt(found), "vtt").findings and not parse(srt(found), "srt").findings


# Subtitles --------------------------------------------------------------------------------------------------


@given(CONVERSATIONS, st.booleans(), st.sampled_from(list(PROFILES.values())))
def test_no_cue_has_two_speakers_and_none_overlaps(
    parts: list[tuple[str, Transcript]], labels: bool, rules: Rules
) -> None:
    conversation = merge_speakers(parts)
    found = cues(conversation, rules, labels=labels)
    for cue, following in pairwise(found):
        assert cue.start < cue.end <= following.start
    for cue in found:
        assert len(cue.lines) <= rules.max_line_count
        assert all(text_width(line) <= rules.max_line_width for line in cue.lines)
    shown = "".join("".join(cue.lines) for cue in found)
    for name, _ in parts:
        shown = shown.replace(f"{name}: ", "") if labels else shown
        own = "".join("".join(cue.lines) for cue in found if cue.speaker == name)
        expected = "".join(s.text for s in conversation.segments if s.speaker == name)
        if not labels:
            assert "".join(own.split()) == "".join(expected.split())
    assert "".join(shown.split()) == "".join(conversation.text.split())


def test_an_interjection_is_shown_when_what_it_interrupts_can_have_been_read() -> None:
    hm = channel(("Mm-hm.", 3.0, 3.4), ("Oh", 9.0, 9.3), ("no.", 9.3, 9.8))
    conversation = merge_speakers([("Anna", LONG), ("Bob", hm)])
    (first, second, third) = cues(conversation)
    assert (first.speaker, second.speaker, third.speaker) == ("Anna", "Bob", "Bob")
    assert 3000 < second.start < 5400 and second.lines == ("Mm-hm.",)
    assert not lint(parse(written("vtt", conversation), "vtt"), Rules())


def test_the_end_of_a_turn_does_not_delay_the_next_one() -> None:
    reply = channel(("No", 5.1, 5.4), ("it", 5.4, 5.6), ("has", 5.6, 5.9), ("not.", 5.9, 6.5))
    found = cues(merge_speakers([("Anna", LONG), ("Bob", reply)]))
    assert (found[-1].speaker, found[-1].start) == ("Bob", 5100)  # Anna's last word ends at 5.4 s
    assert found[-2].end <= 5100


def talk(seed: int, turns: int, overlap: float) -> Transcript:
    """Two people in turn, each of whom sometimes begins before the other has ended."""
    rng, at = random.Random(seed), 0.0
    parts: list[list[Word]] = [[], []]
    for k in range(turns):
        at = max(at + rng.uniform(-overlap, 1.0), (parts[k % 2][-1].end or 0.0) + 0.2 if parts[k % 2] else 0.0)
        for n in range(rng.randrange(3, 14)):
            spelling = rng.choice("so that the recording plays again when people listen".split())
            spelling = spelling.capitalize() if n == 0 else spelling
            end = at + (len(spelling) + 1) / rng.uniform(11, 15)
            parts[k % 2].append(Word(spelling, round(at, 3), round(end, 3)))
            at = end
        parts[k % 2][-1] = parts[k % 2][-1]._replace(word=parts[k % 2][-1].word + ".")
    channels = [
        from_batch(BatchResponse(text=" ".join(w.word for w in own), words=tuple(own)), source="a", model="m")
        for own in parts
    ]
    return merge_speakers([("Anna", channels[0]), ("SPEAKER_01", channels[1])])


@pytest.mark.parametrize("form", ["srt", "vtt"])
@pytest.mark.parametrize("profile", ["netflix", "shorts", "none"])
def test_subtitles_of_people_who_take_turns_have_only_forced_violations(form: Kind, profile: str) -> None:
    conversation = talk(1, 60, overlap=0.0)
    rules, _ = lint_rules(profile, PROFILES[profile], ())
    sheet = parse(written(form, conversation, rules=PROFILES[profile]), form)
    violations = [finding for finding in lint(sheet, rules) if not RULES[finding.rule].is_suggestion]
    marked = mark_unavoidable(violations, sheet, PROFILES[profile], conversation.words or ())
    assert [finding for finding in marked if not finding.forced] == []


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_of_people_who_talk_at_once_break_few_rules(form: Kind) -> None:
    conversation = talk(2, 60, overlap=1.0)
    sheet = parse(written(form, conversation), form)
    rules = [finding.rule for finding in lint(sheet, Rules()) if not RULES[finding.rule].is_suggestion]
    assert set(rules) <= {"reading-speed", "cue-short", "gap-short"} and len(rules) < len(sheet.cues) / 4


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WEBVTT\n\n00:00.000 --> 00:02.000\n<v Anna>I was going to\n\n00:02.100 --> 00:03.000\n<v Bob>No.\n", "vtt"),
        ("WEBVTT\n\n00:00.000 --> 00:02.000\n<v.loud Anna &amp; Eve>So.</v>\n<v Bob>No, no.</v>\n", "vtt"),
        ("1\n00:00:00,000 --> 00:00:02,000\nANNA: Let me\n\n2\n00:00:02,100 --> 00:00:03,000\nBOB: No.\n", "srt"),
        ("1\n00:00:00,000 --> 00:00:02,000\n- Shall we?\n- No.\n", "srt"),
        ("1\n00:00:00,000 --> 00:00:02,000\n>> Shall we go,\n>> Wait\n", "srt"),
    ],
)  # fmt: skip
def test_names_and_dashes_are_nothing_wrong(text: str, kind: Kind) -> None:
    assert lint(parse(text, kind), Rules()) == []


def test_a_cue_of_two_voices_has_a_segment_for_each() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:03.000\n- Well?\n<v Anna &amp; Eve>Shall we\nbegin?</v>\n<v Bob>Yes, please.\n"
    (transcript,) = load_transcripts(text, "a.vtt")
    assert turns(transcript) == [(None, "- Well?"), ("Anna & Eve", "Shall we begin?"), ("Bob", "Yes, please.")]
    assert {(segment.start, segment.end) for segment in transcript.segments} == {(1.0, 3.0)}
    assert turns(reread(transcript)) == turns(transcript)
