"""The channels of a recording become one conversation, and every format says who speaks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli.output import Layout, writer
from cartesia_cli.protocol import BatchResponse, Word
from cartesia_cli.speakers import display_name, merge_speakers
from cartesia_cli.transcript import Segment, Transcript, from_batch
from cartesia_cli.transcript_import import load_transcripts


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


@settings(deadline=None, max_examples=300)
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
