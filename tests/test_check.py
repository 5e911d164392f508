"""`check`: every rule with its value and limit, forced violations, and generated subtitles without violations."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.subtitles import cues
from cartesia_cli.subtitles.lint import RULES, describe, lint
from cartesia_cli.subtitles.parser import Finding, Kind, ParsedCue, SubtitleFile, parse
from cartesia_cli.subtitles.profiles import PROFILES, Rules
from cartesia_cli.subtitles.unavoidable import DIVISION_RULES, mark_unavoidable
from cartesia_cli.subtitles.writers import srt, vtt
from cartesia_cli.transcript import Transcript
from tests.conftest import Run

RULED = Rules(max_line_width=10, max_line_count=2, max_cps=20.0, min_cue=0.8, max_cue=7.0, min_gap=0.1)


def clock(time: int) -> str:
    return f"{time // 3_600_000:02}:{time // 60_000 % 60:02}:{time // 1000 % 60:02},{time % 1000:03}"


def file(*cues: tuple[int, int, str]) -> str:
    """SubRip of these cues: start and end in milliseconds, text."""
    return "\n".join(f"{k}\n{clock(start)} --> {clock(end)}\n{text}\n" for k, (start, end, text) in enumerate(cues, 1))


def found(rules: Rules, *cues: tuple[int, int, str]) -> list[tuple[Any, ...]]:
    return [(f.rule, f.cue, f.value, f.limit) for f in lint(parse(file(*cues), "srt"), rules)]


def test_transcript_of_another_recording_is_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(file((0, 1000, "one two.")))
    for name, start in (("right", 0.0), ("late", 9.0)):
        words = [{"word": w, "start": start + k / 2, "end": start + k / 2 + 0.4} for k, w in enumerate(("one", "two."))]
        (tmp_path / f"{name}.json").write_text(json.dumps({"text": "one two.", "words": words}))
    done = run("check", "a.srt", "--transcript", "right.json")
    assert (done.returncode, b"warning" in done.stderr) == (0, False)
    done = run("check", "a.srt", "--transcript", "late.json")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        0, b"warning: a.srt: no cue has the words of late.json at their times: is it of another recording?",
    )  # fmt: skip


# Rules


@pytest.mark.parametrize(
    ("cues", "findings"),
    [
        ([(0, 1000, "ten column")], []),
        ([(0, 1000, "eleven_col.")], [("line-width", 1, 11, 10)]),
        ([(0, 1000, "東京東京東")], []),
        ([(0, 1000, "東京東京東京")], [("line-width", 1, 12, 10)]),
        ([(0, 1000, "<i>ten</i> <b>co{\\an8}lumn</b>")], []),
        ([(0, 3000, "a b\nc d\ne f")], [("line-count", 1, 3, 2)]),
        ([(0, 799, "one two")], [("cue-short", 1, 0.799, 0.8)]),
        ([(0, 800, "one two")], []),
        ([(0, 7000, "one two")], []),
        ([(0, 7001, "one two")], [("cue-long", 1, 7.001, 7.0)]),
        ([(0, 1000, "one two."), (1099, 2000, "one two.")], [("gap-short", 1, 0.099, 0.1)]),
        ([(0, 1000, "one two."), (1000, 2000, "one two.")], [("gap-short", 1, 0.0, 0.1)]),
        ([(0, 1000, "one two."), (1100, 2000, "one two.")], []),
        ([(0, 1500, "one two."), (1200, 2000, "one two.")], [("overlap", 1, 0.3, 0)]),
        ([(0, 9000, "one two."), (1000, 2000, "x y."), (3000, 4000, "z z.")],
         [("cue-long", 1, 9.0, 7.0), ("overlap", 1, 8.0, 0)]),
        ([(5000, 6000, "one two."), (1000, 2000, "one two.")], [("order", 2, 4.0, None)]),
        ([(2000, 1000, "one two.")], [("end-before-start", 1, -1.0, 0)]),
        ([(2000, 2000, "one two.")], [("end-before-start", 1, 0.0, 0)]),
        ([(0, 1000, "ten column\nten column")], [("reading-speed", 1, 21.0, 20.0)]),
        ([(0, 1050, "ten column\nten column")], []),
        ([(0, 1000, "")], [("empty", 1, None, None)]),
        ([(0, 1000, "one two"), (1100, 2000, "three")], [("stray-word", 2, "cue", None)]),
        ([(0, 1000, "one two."), (1100, 2000, "Three.")], []),
        ([(0, 1000, "one two"), (9000, 9900, "Three.")], []),
        ([(0, 1000, "one two\nthree")], [("stray-word", 1, "line", None)]),
        ([(0, 1000, "- Yes.\n- No.")], []),
    ],
)  # fmt: skip
def test_each_rule_reports_value_and_limit(cues: list[tuple[int, int, str]], findings: list[tuple[Any, ...]]) -> None:
    assert found(RULED, *cues) == findings


def test_words_per_line_are_checked_if_limited() -> None:
    rules = Rules(max_words_per_line=3)
    assert found(rules, (0, 2000, "one two — three")) == []
    assert found(rules, (0, 2000, "one\none two three four")) == [("words-per-line", 1, 4, 3)]


def test_webvtt_entities_and_tags_count_displayed_columns() -> None:
    sheet = parse("WEBVTT\n\n00:00.000 --> 00:02.000\n<v Mary Ann>a &amp; b<00:01.000> &lt;five\n")
    assert lint(sheet, Rules(max_line_width=11)) == []
    assert [finding.value for finding in lint(sheet, Rules(max_line_width=10))] == [11]


def test_rules_tolerate_less_than_a_millisecond() -> None:
    assert found(Rules(), (0, 833, "five"), (916, 1750, "more")) == [
        ("stray-word", 1, "cue", None),
        ("stray-word", 2, "cue", None),
    ]


def test_profiles_differ() -> None:
    cue = (0, 1200, "Four words in 20.")
    counts = {name: [finding[0] for finding in found(rules, cue)] for name, rules in PROFILES.items()}
    assert counts == {"netflix": [], "bbc": [], "shorts": [], "none": []}
    cue = (0, 1200, "Five words in 24 columns")
    counts = {name: [finding[0] for finding in found(rules, cue)] for name, rules in PROFILES.items()}
    assert counts == {"netflix": [], "bbc": ["reading-speed"], "shorts": ["words-per-line"], "none": []}


def test_every_rule_has_a_sentence() -> None:
    for rule in RULES:
        assert describe(Finding(rule, 1, value=3, limit=2)).strip()


# Forced violations


def words(*times: tuple[str, int, int]) -> list[Word]:
    return [Word(text, start / 1000, end / 1000) for text, start, end in times]


def forced(said: Sequence[Word], rules: Rules, *cues: tuple[int, int, str]) -> list[tuple[str, int | None, bool]]:
    sheet = parse(file(*cues), "srt")
    found = mark_unavoidable(lint(sheet, rules), sheet, rules, said)
    return [(each.rule, each.cue, each.forced) for each in found if not RULES[each.rule].is_suggestion]


def test_too_wide_word_is_forced_without_a_transcript() -> None:
    cues = [(0, 2000, "aaaaabbbbbc\nab"), (3000, 5000, "aaaaa bbbbbc")]
    assert forced([], RULED, *cues) == [("line-width", 1, True), ("line-width", 2, False)]


def test_fast_speech_forces_reading_speed() -> None:
    said = words(("aaaaaaaaa", 0, 300), ("bbbbbbbbb", 300, 600), ("ccccccccc", 600, 900))
    tight = [*said, Word("d", 0.9, 3.0)]
    at_once = Rules(max_line_width=10, min_cue=0.1, min_gap=0.0)
    assert forced(tight, at_once, (0, 600, "aaaaaaaaa\nbbbbbbbbb"), (600, 3000, "ccccccccc\nd")) == [
        ("reading-speed", 1, True)
    ]
    assert forced(said, at_once, (0, 600, "aaaaaaaaa\nbbbbbbbbb"), (600, 900, "ccccccccc")) == [
        ("reading-speed", 1, True),
        ("reading-speed", 2, False),  # it could last longer: nothing follows
    ]


def test_short_cue_that_could_take_a_neighbouring_word_is_not_forced() -> None:
    said = words(("one", 0, 400), ("two", 500, 900), ("three", 1000, 1400), ("four", 1500, 1900))
    cues = (0, 400, "one"), (500, 3000, "two three\nfour")
    assert forced(said, RULED, *cues) == [("cue-short", 1, False)]


def test_violation_avoidable_only_by_another_is_forced() -> None:
    said = words(("aaaaa", 0, 250), ("bbbbb", 250, 500), ("ccccc", 500, 750), ("ddddd", 750, 1000), ("e", 1000, 1100))
    rules = Rules(max_line_width=5, max_line_count=1, max_cps=20, min_cue=0.1, min_gap=0.1, max_linger=0.5)
    cues = [(k * 250, k * 250 + 150, letter * 5) for k, letter in enumerate("abcd")]
    assert [flag for *_, flag in forced(said, rules, *cues, (1000, 1500, "e"))] == [True] * 4


def test_reading_speed_is_forced_if_only_a_too_long_cue_avoids_it() -> None:
    said = words(("aaaaaaaa", 0, 200), ("bbbbbbbb", 200, 400), ("cccccccc", 400, 1000))
    cue = (0, 1000, "aaaaaaaa bbbbbbbb\ncccccccc")
    for longest, is_forced in ((1.0, True), (1.5, False)):
        rules = Rules(max_line_width=20, min_cue=0.1, min_gap=0.0, max_cue=longest, max_linger=0.5)
        assert forced(said, rules, cue) == [("reading-speed", 1, is_forced)]


def test_nothing_is_forced_without_word_times() -> None:
    said = words(("aaaaaaaaa", 0, 300), ("bbbbbbbbb", 300, 600), ("ccccccccc", 600, 900), ("d", 900, 3000))
    rules = Rules(max_line_width=10, min_cue=0.1, min_gap=0.0)
    cues = (0, 600, "aaaaaaaaa\nbbbbbbbbb"), (600, 3000, "ccccccccc\nd")
    assert forced(said, rules, *cues) == [("reading-speed", 1, True)]
    said[2] = Word("ccccccccc")
    assert forced(said, rules, *cues) == [("reading-speed", 1, False)]


def test_nothing_is_forced_by_a_transcript_of_other_words() -> None:
    said = words(("axaaaaaaa", 0, 300), ("bbbbbbbbb", 300, 600), ("ccccccccc", 600, 900), ("d", 900, 3000))
    rules = Rules(max_line_width=10, min_cue=0.1, min_gap=0.0)
    cues = (0, 600, "aaaaaaaaa\nbbbbbbbbb"), (600, 3000, "ccccccccc\nd")
    assert forced(said, rules, *cues) == [("reading-speed", 1, False)]


LETTERS = "abcdefg"
STEPS = st.integers(1, 8)


class Scene:
    """A few words, cues for them, and all other divisions of the words into cues, tried one by one with `lint`."""

    step = 50  # milliseconds: all times are multiples

    def __init__(self, said: list[Word], cues: list[tuple[int, int, ParsedCue]], rules: Rules) -> None:
        self.said, self.rules = said, rules
        self.file = cues
        self.sheet = SubtitleFile("srt", tuple(cue for *_, cue in cues), ())
        self.findings = [finding for finding in lint(self.sheet, rules) if finding.rule in DIVISION_RULES]
        self._ways: dict[tuple[int, int], list[frozenset[str]]] = {}

    def __repr__(self) -> str:
        said = [(word.word, self.time(k), round((word.end or 0) * 1000)) for k, word in enumerate(self.said)]
        return f"{said} {[(cue.start, cue.end, cue.lines) for *_, cue in self.file]} {self.rules}"

    def time(self, k: int) -> int:
        return round((self.said[k].start or 0) * 1000)

    def ways(self, i: int, j: int) -> list[frozenset[str]]:
        """The rules that a cue of the words i to j - 1 breaks, for each possible end time."""
        if (i, j) not in self._ways:
            self._ways[i, j] = list(self._tries(i, j))
        return self._ways[i, j]

    def _tries(self, i: int, j: int) -> Iterator[frozenset[str]]:
        start, over = self.time(i), round((self.said[j - 1].end or 0) * 1000)
        latest = over + round(self.rules.max_linger * 1000)
        following = self.time(j) if j < len(self.said) else None
        lines = next(self._lines(i, j), None)
        if lines is None or (j - i > 1 and over - start > self.rules.max_cue * 1000):
            return
        for end in range(start + self.step, min(latest, following or latest) + 1, self.step):
            shown = [ParsedCue(1, 1, start, end, lines)]
            if following is not None:
                shown.append(ParsedCue(2, 2, following, following + 10_000, ("x",)))
            broken = {f.rule for f in lint(SubtitleFile("srt", tuple(shown), ()), self.rules) if f.cue == 1}
            if "cue-long" not in broken:
                yield frozenset(broken & DIVISION_RULES)

    def _lines(self, i: int, j: int) -> Iterator[tuple[str, ...]]:
        texts, most = [word.word for word in self.said[i:j]], self.rules.max_words_per_line or j - i
        for count in range(self.rules.max_line_count):
            for cuts in combinations(range(1, len(texts)), count):
                lines = tuple(" ".join(texts[a:b]) for a, b in pairwise((0, *cuts, len(texts))))
                if all(len(line) <= self.rules.max_line_width and len(line.split()) <= most for line in lines):
                    yield lines

    def can_be_avoided(self, finding: Finding) -> bool:
        first, last = next((i, j) for i, j, cue in self.file if cue.number == finding.cue)
        own = {0, *(j for _, j, _ in self.file)}
        size = len(self.said)
        for count in range(size):
            for cuts in combinations(range(1, size), count):
                places = [0, *cuts, size]
                shared = own.intersection(places)
                low, high = max(k for k in shared if k <= first), min(k for k in shared if k >= last)
                price = 0.0
                for i, j in pairwise(k for k in places if low <= k <= high):
                    ways = [way for way in self.ways(i, j) if not (i < last and j > first and finding.rule in way)]
                    price += min(map(len, ways), default=1000)
                numbers = {cue.number for i, j, cue in self.file if low <= i and j <= high}
                if price < sum(finding.cue in numbers for finding in self.findings):
                    return True
        return False


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    size = draw(st.integers(1, 6))
    rules = Rules(
        max_line_width=draw(st.sampled_from([8, 12, 24])), max_line_count=draw(st.sampled_from([1, 2])), max_cps=20.0,
        min_cue=draw(st.sampled_from([0.0, 0.3, 0.8])), max_cue=draw(st.sampled_from([1.0, 5.0])),
        min_gap=draw(st.sampled_from([0.0, 0.1])), max_linger=draw(st.sampled_from([0.0, 0.5])),
        max_words_per_line=draw(st.sampled_from([None, 2])),
    )  # fmt: skip
    said, at = [], 0
    for letter in LETTERS[:size]:
        length, stay, pause = draw(STEPS), draw(STEPS | st.just(25)), draw(st.sampled_from([0, 0, 0, 1, 6]))
        said.append(Word(letter * length, at * 0.05, (at + stay) * 0.05))
        at += stay + pause
    shown: list[tuple[int, int, ParsedCue]] = []
    i = 0
    while i < size:
        j = draw(st.integers(i + 1, size))
        start = round((said[i].start or 0) * 1000)
        latest = round((said[j].start or 0) * 1000) if j < size else start + 2000
        end = draw(st.integers(start // 50 + 1, latest // 50)) * 50 if draw(st.booleans()) else latest
        text = [word.word for word in said[i:j]]
        m = draw(st.integers(0, len(text)))
        lines = tuple(" ".join(part) for part in (text[:m], text[m:]) if part)
        shown.append((i, j, ParsedCue(len(shown) + 1, 1, start, end, lines)))
        i = j
    return Scene(said, shown, rules)


@given(scenes())
def test_forced_violations_are_those_no_division_avoids(scene: Scene) -> None:
    for finding in mark_unavoidable(scene.findings, scene.sheet, scene.rules, scene.said):
        if finding.rule == "line-width" and len(finding.text.split()) == 1:
            assert finding.forced
        else:
            assert finding.forced != scene.can_be_avoided(finding), finding


# The program

FAST = "1\n00:00:00,000 --> 00:00:01,000\nTwenty-four columns text.\n"
NOISY = file((0, 2000, "One line. This one is a\nlot too wide for 42 columns, and it goes on."), (2500, 2900, "Short."))


class TestTheProgram:
    def test_valid_file_exits_with_0(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "good.srt").write_text(file((0, 2000, "One line."), (2500, 4500, "Another one.")))
        done = run("check", "good.srt")
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr == b"good.srt: 2 cues, nothing wrong\n"

    def test_each_violation_is_a_line_with_its_position(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "bad.srt").write_text(NOISY)
        done = run("check", "bad.srt")
        assert done.returncode == 1
        assert done.stdout.decode().splitlines() == [
            "bad.srt:2: cue 1 at 0:00:00.000: line-width: a line of 44 columns, at most 42: "
            "lot too wide for 42 columns, and it goes on.",
            "bad.srt:2: cue 1 at 0:00:00.000: reading-speed: 34.0 columns a second, at most 20.0: "
            "One line. This one is a lot too wide for 42 columns, and it goes on.",
            "bad.srt:7: cue 2 at 0:00:02.500: cue-short: shown for 0.4 s, at least 0.833: Short.",
        ]
        assert done.stderr == b"bad.srt: 2 cues, 3 violations (1 line-width, 1 reading-speed, 1 cue-short)\n"
        assert run("check", "bad.srt", "-q").stderr == b""

    def test_json_output(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "bad.srt").write_text(NOISY)
        done = run("check", "bad.srt", "--json", "--max-line-width", "50", "--max-cps", "40")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert document["failed"] is True
        assert (document["profile"], document["rules"]["max_line_width"]) == ("netflix", 50)
        assert document["counts"] == {"violations": 1, "forced": 0, "advice": 0}
        (of_file,) = document["files"]
        assert (of_file["source"], of_file["format"], of_file["cues"]) == ("bad.srt", "srt", 2)
        assert of_file["counts"] == document["counts"]
        assert of_file["rules"] == {"cue-short": 1}
        assert of_file["findings"] == [
            {"rule": "cue-short", "weight": "violation", "forced": False, "line": 7, "cue": 2, "start": 2.5, "end": 2.9,
             "value": 0.4, "limit": 0.833, "unit": "seconds", "text": "Short."}
        ]  # fmt: skip
        assert json.loads(run("check", "bad.srt", "-f", "json").stdout)["counts"]["violations"] == 3

    def test_profile_and_limits_come_from_options(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "fast.srt").write_text(FAST)
        assert run("check", "fast.srt").returncode == 1
        assert run("check", "fast.srt", "--max-cps", "25").returncode == 0
        assert run("check", "fast.srt", "--subtitle-profile", "none").returncode == 0
        assert run("check", "fast.srt", "--max-words-per-line", "2", "--max-cps", "25").returncode == 1
        assert run("check", "fast.srt", "--subtitle-profile", "nobody").returncode == 2

    def test_files_and_stdin_are_checked_in_order(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "b.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:01.100\nHello there\n")
        (tmp_path / "a.srt").write_text("\ufeff" + file((0, 2000, "One line.")))
        done = run("check", "b.vtt", "a.srt", "-", stdin=FAST.encode())
        places = [line.partition(": ")[0] for line in done.stdout.decode().splitlines()]
        assert done.returncode == 1
        assert places == ["b.vtt:3", "b.vtt:3", "a.srt:1", "-:2"]
        assert [line.partition(": ")[0] for line in done.stderr.decode().splitlines()] == ["b.vtt", "a.srt", "-"]
        assert [f["source"] for f in json.loads(run("check", "*.srt", "b.vtt", "--json").stdout)["files"]] == [
            "a.srt", "b.vtt",
        ]  # fmt: skip

    def test_suggestions_fail_only_with_strict(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "one.srt").write_text("\ufeff" + file((0, 2000, "One line.")))
        done = run("check", "one.srt")
        assert done.returncode == 0
        assert done.stdout == b"one.srt:1: bom: a byte order mark, which some players show (suggestion)\n"
        assert done.stderr == b"one.srt: 1 cue, no violations, 1 suggestion (1 bom)\n"
        assert run("check", "one.srt", "--strict").returncode == 1

    def test_transcript_marks_forced_violations(self, run: Run, tmp_path: Path) -> None:
        said = words(("Twenty-four", 0, 400), ("columns", 400, 700), ("text.", 700, 1000), ("Next", 1000, 3000))
        talk = Transcript("talk.wav", "ink-2", "Twenty-four columns text. Next", duration=9.0, words=tuple(said))
        (tmp_path / "talk.json").write_text(json.dumps(talk.to_dict()))
        (tmp_path / "fast.srt").write_text(FAST + "\n2\n00:00:01,000 --> 00:00:03,000\nNext\n")
        flags = ("--min-gap", "0", "--max-line-width", "26", "--max-line-count", "1", "--min-cue", "0")
        assert run("check", "fast.srt", *flags).returncode == 1
        done = run("check", "fast.srt", "--transcript", "talk.json", *flags)
        assert b"reading-speed: 25.0 columns a second, at most 20.0 (forced): Twenty" in done.stdout
        counts = b"no violations, 1 forced by the words, 1 suggestion (1 reading-speed, 1 stray-word)"
        assert done.stderr == b"fast.srt: 2 cues, " + counts + b"\n"
        assert done.returncode == 0
        assert run("check", "fast.srt", "--transcript", "talk.json", "--strict", *flags).returncode == 1
        done = run(
            "check", "fast.srt", "--transcript", "-", "--json", *flags, stdin=(tmp_path / "talk.json").read_bytes()
        )
        assert json.loads(done.stdout)["counts"] == {"violations": 0, "forced": 1, "advice": 1}

    def test_only_file_unreadable_exits_with_3(self, run: Run, tmp_path: Path) -> None:
        self.unreadable(tmp_path)
        for name, message in self.UNREADABLE.items():
            done = run("check", name)
            assert (done.returncode, done.stdout) == (3, b""), name
            assert done.stderr.startswith(b"error: " + message)
            assert b"\nhint: " in done.stderr or name == "*.sub"
        done = run("check", "notes.srt", "--json")
        assert json.loads(done.stderr)["error"]["type"] == "input"

    def test_unreadable_files_are_reported_and_the_others_checked(self, run: Run, tmp_path: Path) -> None:
        self.unreadable(tmp_path)
        done = run("check", "folder", "notes.srt", "fast.srt", "gone.srt", "*.sub", "sound.vtt")
        assert done.returncode == 1
        assert done.stdout.startswith(b"fast.srt:2: cue 1 at 0:00:00.000: reading-speed: ")
        errors = [line for line in done.stderr.splitlines() if line.startswith(b"error: ")]
        assert len(errors) == len(self.UNREADABLE)
        for message in self.UNREADABLE.values():
            assert any(line.startswith(b"error: " + message) for line in errors), message
        assert run("check", "notes.srt", "fast.srt", "--max-cps", 25).returncode == 1
        done = run("check", "notes.srt", "fast.srt", "--max-cps", 25, "--json")
        document = json.loads(done.stdout)
        assert (done.returncode, document["failed"], document["counts"]["violations"]) == (1, True, 0)
        assert [file["source"] for file in document["files"]] == ["fast.srt"]
        assert document["unreadable"] == ["notes.srt is not a subtitle file: it has no cue times"]

    def test_unreadable_transcript_exits_with_3(self, run: Run, tmp_path: Path) -> None:
        self.unreadable(tmp_path)
        for name, message in {
            "fast.srt": b"fast.srt has no words",
            "words.json": b"words.json has no words",
            "gone.json": b"gone.json can't be read",
            "folder": b"folder is a folder",
        }.items():
            done = run("check", "fast.srt", "--transcript", name)
            assert (done.returncode, done.stdout) == (3, b""), name
            assert done.stderr.startswith(b"error: " + message)

    UNREADABLE: ClassVar = {
        "notes.srt": b"notes.srt is not a subtitle file: it has no cue times",
        "sound.vtt": b"sound.vtt is not a subtitle file",
        "gone.srt": b"gone.srt can't be read: No such file or directory",
        "folder": b"folder is a folder",
        "*.sub": b"no file matches '*.sub'",
    }

    @staticmethod
    def unreadable(folder: Path) -> None:
        (folder / "fast.srt").write_text(FAST)
        (folder / "notes.srt").write_text("no times\n")
        (folder / "sound.vtt").write_bytes(bytes(range(256)) * 20)
        (folder / "words.json").write_text('{"text": "hello"}')
        (folder / "folder").mkdir()

    def test_control_characters_of_subtitles_are_not_printed(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "evil.srt").write_text("1\n00:00:00,000 --> \x1b[2J\nx\n\n" + FAST + "\n\x1b]0;owned\x07\n")
        done = run("check", "evil.srt")
        assert done.returncode == 1
        assert not any(byte in done.stdout + done.stderr for byte in (0x1B, 0x07))

    def test_file_without_cues_is_a_violation(self, run: Run, tmp_path: Path) -> None:
        for name, content in (("a.srt", ""), ("b.srt", "\n \n"), ("c.vtt", "WEBVTT\n"), ("d.srt", "\ufeff")):
            (tmp_path / name).write_text(content)
            done = run("check", name)
            assert done.returncode == 1, name
            assert f"{name}:1: no-cues: no cues\n" in done.stdout.decode()
            assert done.stderr.startswith(f"{name}: 0 cues, 1 violation".encode())
        (tmp_path / "e.vtt").write_text("")
        assert b"e.vtt:1: no-header: " in run("check", "e.vtt").stdout
        assert run("check", "-", stdin=b"").returncode == 1

    def test_profile_none_checks_only_given_limits(self, run: Run, tmp_path: Path) -> None:
        lines = "\n".join(["Many words in a line " * 30 + "end."] * 5)
        (tmp_path / "long.srt").write_text(file((0, 500, lines), (500, 90_000_000, "One.")))
        assert run("check", "long.srt", "--subtitle-profile", "none").returncode == 0
        done = run("check", "long.srt", "--subtitle-profile", "none", "--max-line-count", 2, "--json")
        document = json.loads(done.stdout)
        assert document["files"][0]["rules"] == {"line-count": 1}
        assert "max_line_width" not in document["rules"] and document["rules"]["max_line_count"] == 2

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
    @pytest.mark.parametrize("text", ["Grüße aus Köln.", "Добрый день.", "こんにちは。"])
    def test_utf_16_is_read_with_and_without_byte_order_mark(
        self, run: Run, tmp_path: Path, encoding: str, text: str
    ) -> None:
        (tmp_path / "wide.srt").write_bytes(file((0, 2000, text)).encode(encoding))
        done = run("check", "wide.srt")
        name = encoding[:6].upper()
        assert done.stdout.decode() == f"wide.srt:1: encoding: encoding is {name}, not UTF-8\n"
        assert done.stderr.startswith(b"wide.srt: 1 cue, 1 violation")

    def test_windows_1252_is_read_and_reported(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "old.srt").write_bytes(file((0, 1000, "“Größe”, sagte er, “zählt nicht”")).encode("cp1252"))
        done = run("check", "old.srt")
        assert b"old.srt:3: encoding: encoding is Windows-1252, not UTF-8\n" in done.stdout
        assert "reading-speed: 32.0 columns a second, at most 20.0: “Größe”" in done.stdout.decode()


# Generated subtitles

COMMON = (
    "the a of and to in that it is was for on with as at by from but or so I you he she they we this which not have "
    "had been could there what when who people time year way day man thing woman life world school state family place "
    "country problem hand part week company system program question work government number night point home water room "
    "responsibility international extraordinary understanding Mary Smith London Europe 1984 25 nevertheless because"
).split()


def speech(seed: int, count: int, slowest: float, fastest: float) -> Transcript:
    """Sentences of common words with different speaking rates (characters per second), commas and pauses."""
    draw = random.Random(seed)
    said: list[Word] = []
    at = draw.uniform(0, 2)
    while len(said) < count:
        rate, length = draw.uniform(slowest, fastest), max(1, int(draw.lognormvariate(2.4, 0.6)))
        for k in range(length):
            text = draw.choice(COMMON)
            text = text[0].upper() + text[1:] if k == 0 else text
            text += draw.choice(("." * 6) + "?!") if k == length - 1 else "," if draw.random() < 0.1 else ""
            stay = max(0.04, (len(text) + 1) / rate * draw.uniform(0.7, 1.4))
            start, end = round(at, 2), round(at + stay * draw.uniform(0.85, 1.0), 2)
            said.append(Word(text, start, max(end, start + 0.02)))
            at = max(at + stay, said[-1].end or 0)
            if text.endswith(","):
                at += draw.choice((0, 0, 0.1, 0.25, 0.4))
            elif draw.random() < 0.03:
                at += draw.uniform(0.05, 0.6)
        at += draw.choice((0, 0.05, 0.2, 0.4, 0.6, 0.9, 1.5, 4))
    text = " ".join(word.word for word in said)
    return Transcript("-", "ink-2", text, language="en", duration=at + 1, words=tuple(said))


@pytest.mark.waits
@pytest.mark.parametrize("kind", ["srt", "vtt"])
@pytest.mark.parametrize("rate", [(11, 15), (13, 19), (18, 26)], ids=["slow", "usual", "fast"])
@pytest.mark.parametrize("profile", PROFILES)
def test_generated_subtitles_have_only_forced_violations(profile: str, rate: tuple[float, float], kind: Kind) -> None:
    rules = PROFILES[profile]
    for seed in (1, 2):
        transcript = speech(seed, 2500, *rate)
        written = (srt if kind == "srt" else vtt)(cues(transcript, rules))
        sheet = parse(written, kind)
        findings = mark_unavoidable(lint(sheet, rules), sheet, rules, transcript.words or ())
        left = [(f.cue, f.rule, f.value) for f in findings if not f.forced and not RULES[f.rule].is_suggestion]
        assert left == []
        assert len(sheet.cues) > 100
        shown = "".join("".join(cue.lines) for cue in sheet.cues)
        assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", transcript.text)
