"""Rows of words: which are shown, what is said of them, and that they stay within their terminal."""

from __future__ import annotations

import csv
import io
import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cartesia_cli.errors import UsageError
from cartesia_cli.output import Layout, Selection, writer
from cartesia_cli.output.rows import compile_pattern, row_words, select_rows
from cartesia_cli.output.streams import open_stream
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.text_width import shorten
from cartesia_cli.transcript import Segment, Transcript, drop_implausible_times, from_segments

SAID = "The old ferry leaves at seven. The new ferry stays."


def said(text: str = SAID, *, spaced: bool = False) -> Transcript:
    """A word every half second, of 0.4 s; a full stop is followed by two seconds more."""
    words, at = [], 0.0
    for word in text.split():
        words.append(Word(f" {word}" if spaced and words else word, at, at + 0.4))
        at += 2.5 if word.endswith(".") else 0.5
    return Transcript("a.wav", "m", text, words=tuple(words))


def of(*words: Word) -> Transcript:
    return Transcript("a.wav", "m", " ".join(word.word for word in words), words=words)


def picked(transcript: Transcript, selection: Selection) -> list[int]:
    return [row.number for row in select_rows(row_words(transcript)[0], selection)]


def shown(transcript: Transcript, **wanted: object) -> list[str]:
    return writer("table")(transcript, Layout(**wanted)).splitlines()  # type: ignore[arg-type]


# Not st.text: it would make one alphabet of the two, in which the characters that matter are lost.
any_text = st.lists(
    st.characters() | st.sampled_from("ab .\t\x1b\x9b\u202e\u2066\u05d0\u0627界👩\u200d\ufe0f\u0301\ud800"), max_size=20
).map("".join)
any_time = st.one_of(st.none(), st.floats(-5, 100), st.sampled_from([0.0, 1e300, float("inf"), float("nan")]))
# `partial`, because Hypothesis would invent all other fields of a named tuple, too.
any_words = st.lists(st.builds(partial(Word), any_text, any_time, any_time), max_size=8).map(
    lambda words: drop_implausible_times(words, None)
)
bounds = st.none() | st.floats(-1, 100)
selections = st.builds(
    Selection,
    st.sampled_from([None, "a", "b a", "", "^", r"\s"]),
    st.integers(0, 3),
    bounds,
    bounds,
    st.none() | st.integers(1, 4),
)


def test_pattern_matches_across_words() -> None:
    assert picked(said(), Selection("ferry")) == [3, 9]
    assert picked(said(), Selection("old ferry|new ferry")) == [2, 3, 8, 9]
    assert picked(said(), Selection(r"rry l")) == [3, 4]
    assert picked(said(), Selection(r"(?i)\bthe\b")) == [1, 7]
    assert picked(said(), Selection("Ferry")) == []


def test_match_of_spaces_alone_selects_no_word() -> None:
    assert picked(said(), Selection(" ")) == []
    assert picked(said(), Selection("")) == []


def test_words_with_their_own_spaces_are_joined_verbatim() -> None:
    words = (Word("I", 0, 1), Word(" don", 1, 2), Word("'t", 2, 3), Word(" know", 3, 4))
    assert picked(of(*words), Selection("don't know")) == [2, 3, 4]
    assert picked(said(spaced=True), Selection("old ferry")) == [2, 3]


def test_pattern_matches_in_scripts_without_spaces() -> None:
    assert picked(of(*(Word(c, i, i + 1) for i, c in enumerate("こんにちは世界"))), Selection("は世")) == [5, 6]


def test_matches_are_marked_and_groups_are_separated() -> None:
    lines = shown(said(), selection=Selection("ferry", context=1))
    assert [line.split()[0] for line in lines] == ["#", "--", "2", "3", "4", "--", "8", "9", "10"]
    assert [">" in line for line in lines[2:]] == [False, True, False, False, False, True, False]
    assert "--" not in shown(said(), selection=Selection("ferry"))


def test_adjacent_groups_are_merged() -> None:
    assert picked(said(), Selection("old|at", context=1)) == [1, 2, 3, 4, 5, 6]
    assert "--" not in shown(said(), selection=Selection("old|at", context=1))


def test_time_range_selects_the_words_heard_in_it() -> None:
    assert picked(said(), Selection(since=0.5, until=1.5)) == [2, 3]
    assert picked(said(), Selection(since=0.45, until=1.6)) == [2, 3, 4]
    assert picked(said(), Selection(since=0.3)) == list(range(1, 11))
    assert picked(said(), Selection(since=0.4, until=1.0)) == [2]
    assert picked(said(), Selection(until=0.0)) == []
    assert picked(said(), Selection("ferry", context=9, since=5.0, until=6.0)) == []
    assert picked(said(), Selection("ferry", context=9, since=5.0, until=6.1)) == [7, 8, 9]


def test_word_without_times_is_placed_after_the_previous_one() -> None:
    words = (Word("a", 0, 1), Word("b", 1, 2), Word("c"), Word("d", 3, 4))
    assert picked(of(*words), Selection(since=1.5, until=2.5)) == [2, 3]


def test_longest_gaps_are_in_order_of_time() -> None:
    words = (Word("a", 0, 1), Word("b", 2, 3), Word("c", 3, 4), Word("d", 9, 10), Word("e", 9.5, 11), Word("f", 14, 15))
    assert picked(of(*words), Selection(longest_gaps=2)) == [3, 5]
    assert picked(of(*words), Selection(longest_gaps=9)) == [1, 3, 5]
    assert picked(of(*words), Selection("a|b|c", longest_gaps=1)) == [3]


def test_selected_rows_keep_their_numbers_and_gaps() -> None:
    line = shown(said(), selection=Selection("seven"))[2]
    assert line.split() == ["6", "2.500", "2.900", "0.400", "2.100", "15.0", ">", "seven."]


def test_tsv_and_csv_have_the_selected_rows() -> None:
    layout = Layout(selection=Selection("ferry leaves", context=1))
    assert writer("tsv")(said(), layout).splitlines()[1:] == [
        "500\t900\told",
        "1000\t1400\tferry",
        "1500\t1900\tleaves",
        "2000\t2400\tat",
    ]
    numbers = [row["number"] for row in csv.DictReader(io.StringIO(writer("csv")(said(), layout)))]
    assert numbers == ["2", "3", "4", "5"]


@pytest.mark.parametrize("pattern", ["[", "(", "*", "a{99999999999999}", "(" * 5000 + ")" * 5000, r"\1", "(?P<a>"])
def test_invalid_regular_expression_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a regular expression"):
        compile_pattern(pattern)
    with pytest.raises(UsageError):
        writer("csv")(said(), Layout(selection=Selection(pattern)))


def test_estimated_and_odd_times_are_marked_and_explained() -> None:
    words = (Word("a", 0, 1), Word("b", 0.9, 0.9), Word("c", 1, 4.001), Word("d", 5, 8), Word("e", 7.5, 7.4))
    lines = shown(of(*words))
    assert [line.split()[6] for line in lines[2:7]] == ["x", "0", "+", "x", "0"]
    assert lines[7:] == ["", "x overlaps the next, 0 has no length, + is longer than 3 s"]
    assert shown(of(*words), selection=Selection(until=0.5))[-1] == "x overlaps the next"


def test_words_with_times_that_the_server_estimated_are_marked_and_explained() -> None:
    lines = shown(of(Word("a", 0, 1), Word("b", 1, 2, estimated=True), Word("c", estimated=True)))
    assert [line.split()[6] for line in lines[2:5]] == ["a", "~", "c"]
    assert lines[5:] == ["", "~ was not found in the audio: its times are estimates"]


def test_table_without_odd_times_has_no_marks_and_no_legend() -> None:
    words = [Word("a", 0, 0.1 + 0.2), Word("b", 0.3, 0.6)]  # 0.1 + 0.2 is a little more than 0.3
    assert shown(of(*words)) == [
        "#  start    end  length    gap  ch/s  word",
        "-  -----  -----  ------  -----  ----  ----",
        "1  0.000  0.300   0.300  0.000   3.3  a",
        "2  0.300  0.600   0.300      -   3.3  b",
    ]


def test_segment_rows_mark_estimated_times() -> None:
    parts = (Segment(0, 4, "One two.", "estimated"), Segment(4, 6, " Three.", "server"))
    lines = shown(Transcript("a", "m", "One two. Three.", segments=parts, words=()))
    assert [line.partition("  ")[0] for line in lines[2:4]] == ["1", "2"]
    assert lines[4:] == ["", "times are estimated"]
    assert shown(Transcript("a", "m", "Hello there."))[2] == "1      -    -       -    -     -  Hello there."


def test_segments_of_white_space_have_no_rows() -> None:
    parts = (Segment(0, 1, "One.", "server"), Segment(1, 2, " \n", "server"), Segment(2, 3, "Two.", "server"))
    rows = writer("csv")(Transcript("a", "m", "One. \nTwo.", segments=parts), Layout())
    assert rows.splitlines()[1:] == ["1,0.000,1.000,One.", "2,2.000,3.000,Two."]


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (None, "# start end length gap ch/s word"),
        (60, "# start end length gap ch/s word"),
        (40, "# start end length gap word"),
        (38, "# start end gap word"),
        (25, "start end word"),
        (14, "start word"),
        (10, "word"),
        (3, "wo…"),
        (0, "…"),
    ],
)
def test_narrow_terminal_drops_the_least_useful_columns_first(columns: int | None, header: str) -> None:
    assert shown(said(), columns=columns)[0].split() == header.split()


def test_segment_rows_keep_their_times_in_a_narrow_terminal() -> None:
    parts = (Segment(0, 4, "A sentence that is far too long for a row.", "server"),)
    assert shown(Transcript("a", "m", parts[0].text, segments=parts), columns=30)[2] == "0.000  4.000  A sentence that…"


def test_wide_characters_count_two_columns_and_marks_none() -> None:
    assert shorten("世界こんにちは", 14) == "世界こんにちは"
    assert shorten("世界こんにちは", 13) == "世界こんにち…"
    assert shorten("世界こんにちは", 12) == "世界こんに…"
    assert shorten("e\u0301" * 5, 5) == "e\u0301" * 5
    assert shorten("e\u0301" * 5, 3) == "e\u0301" * 2 + "…"
    assert shorten("👩\u200d👩\u200d👧", 5) == "👩\u200d👩…"
    assert shorten("👩\u200d👩\u200d👧", 4) == "👩…"
    assert shorten("abc", 0) == ""


def test_right_to_left_words_do_not_reverse_their_row() -> None:
    line = shown(of(Word("مرحبا", 0, 1)))[2]
    assert line.endswith("  \u2068مرحبا\u2069")
    assert shown(of(Word("مرحبا", 0, 1)), columns=5)[2] == "\u2068مر…\u2069"


@given(any_words, selections, st.none() | st.integers(0, 70))
def test_table_fits_the_width_and_has_no_control_characters(
    words: tuple[Word, ...], selection: Selection, columns: int | None
) -> None:
    text = writer("table")(of(*words), Layout(selection=selection, columns=columns))
    for line in text.split("\n"):
        assert columns is None or cell_len(line) <= max(columns, 1)
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067\ud800-\udfff]", line)
        assert line.count("\u2068") == line.count("\u2069") <= 1


@given(any_words)
def test_every_word_is_in_the_table(words: tuple[Word, ...]) -> None:
    letters = ["".join(filter(str.isalnum, word.word)) for word in words]
    table = writer("csv")(of(*words), Layout())
    found = list(csv.reader(io.StringIO(table, newline="")))[1:]
    assert table.count("\n") == table.count("\r\n") == len(found) + 1
    if words:
        assert ["".join(filter(str.isalnum, row[3])) for row in found] == letters
        lines = writer("tsv")(of(*words), Layout()).split("\n")[1:-1]
        assert ["".join(filter(str.isalnum, line.split("\t")[2])) for line in lines] == letters
        assert all(line.count("\t") == 2 for line in lines)
    for line, expected in zip(shown(of(*words))[2:], letters, strict=False):
        assert "".join(filter(str.isalnum, line)).endswith(expected)


@given(any_words, selections)
def test_selection_only_leaves_out_rows(words: tuple[Word, ...], selection: Selection) -> None:
    every = {row.number: row for row in select_rows(words)}
    chosen = select_rows(words, selection)
    assert [row.number for row in chosen] == sorted({row.number for row in chosen})
    for row in chosen:
        assert row._replace(matched=False, follows_gap=False) == every[row.number]


@given(st.lists(any_words, max_size=4), bounds, bounds)
def test_live_rows_equal_those_of_the_whole_transcript(
    pieces: list[tuple[Word, ...]], since: float | None, until: float | None
) -> None:
    pieces = [tuple(word for word in piece if word.start is not None) for piece in pieces]
    for selection in (None, Selection(since=since, until=until), Selection("a", context=1), Selection(longest_gaps=2)):
        for name in ("csv", "tsv"):
            layout, parts = Layout(selection=selection), list[str]()
            writing = open_stream(name, layout, parts.append, "a", "m", live=True)
            words: list[Word] = []
            for piece in filter(None, pieces):
                words += piece
                writing.write(Segment(0.0, 1.0, "x", "audio", piece))
            whole = of(*words)
            writing.close(whole, {})
            assert "".join(parts) == writer(name)(whole, layout)


def test_live_words_without_times_start_with_their_segment() -> None:
    parts: list[str] = []
    writing = open_stream("tsv", Layout(selection=Selection(since=5.0)), parts.append, "a", "m", live=True)
    writing.write(Segment(1, 2, "a", "audio", (Word("a"),)))
    writing.write(Segment(6, 7, "b", "audio", (Word("b"),)))
    assert "".join(parts) == "start\tend\ttext\n\t\tb\n"


def test_selection_that_needs_all_words_is_written_at_the_end() -> None:
    for selection, waits in ((Selection(since=0.1), False), (Selection("a"), True), (Selection(longest_gaps=1), True)):
        parts: list[str] = []
        writing = open_stream("csv", Layout(selection=selection), parts.append, "a", "m", live=True)
        writing.write(Segment(0, 1, "a", "audio", (Word("a", 0.0, 1.0),)))
        assert (parts == []) is waits


@pytest.mark.parametrize("selection", [Selection("a"), Selection(longest_gaps=9)])
def test_deferred_selection_leaves_out_dropped_segments(selection: Selection) -> None:
    parts: list[str] = []
    writing = open_stream("csv", Layout(selection=selection), parts.append, "a", "m", live=True)
    kept, dropped = Segment(0, 1, "a", "audio"), Segment(1, 2, " a again", "audio")
    for segment in (kept, dropped, kept):
        writing.write(segment)
    writing.close(from_segments([kept, Segment(4, 5, " a", "audio")], source="a", model="m"), {})
    assert "".join(parts) == writer("csv")(
        from_segments([kept, Segment(4, 5, " a", "audio")], source="a", model="m"), Layout(selection=selection)
    )
    assert "again" not in "".join(parts)
