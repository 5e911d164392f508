"""Tests of the live view: its rows for a state and a size, and how they look on an emulated terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import termios
from fcntl import ioctl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import CliError
from cartesia_cli.output.console import Reporter
from cartesia_cli.output.live_view import MIN_REDRAW_SECONDS, LiveRows, LiveState, LiveView, MicrophoneLevel, Wait
from cartesia_cli.text_width import text_width, wrap
from tests.emulated_terminal import Terminal

LONG = "It was a bright cold day in April, and the clocks were striking thirteen. " * 5


class SteppingClock:
    """A clock that advances by `step` seconds at each reading."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def view(terminal: Terminal, *, colored: bool = False, step: float = 1.0) -> LiveView:
    def size() -> os.terminal_size:
        return os.terminal_size((terminal.screen.columns, terminal.screen.lines))

    return LiveView(terminal, colored=colored, clock=SteppingClock(step), size=size)


def rows(state: LiveState, columns: int = 80, lines: int = 24, encoding: str = "utf-8") -> list[str]:
    return LiveRows(encoding, colored=False).rows(state, columns, lines)


FILE = LiveState(elapsed=12.4, total=63.0, speaking=True)
LISTENING = LiveState(
    elapsed=12.4, speaking=True, on_air=True, resume_hint="p resumes", credits=37.2,
    level=MicrophoneLevel(-31.2, -61.4, -40.0, 0.42),
)  # fmt: skip


# Rows


def test_rows_of_a_file_show_speech_progress_and_text() -> None:
    assert rows(FILE) == ["● 0:12 / 1:03, 0:51 left"]
    assert rows(FILE._replace(text=" Good mor")) == ["Good mor", "● 0:12 / 1:03, 0:51 left"]
    assert rows(FILE._replace(speaking=False, elapsed=64.0)) == ["○ 1:04 / 1:03, 0:00 left"]
    assert rows(FILE._replace(total=None, elapsed=3723.0)) == ["● 1:02:03"]
    assert rows(FILE._replace(unsent_seconds=3.2)) == ["● 0:12 / 1:03, 0:51 left, 3 s behind"]


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (200, "● ON AIR 0:12, 37 credits  ▇▇▇▇▇▇▇····· -31 dB, noise -61, ends in 0.4 s"),
        (80, "● ON AIR 0:12, 37 credits  ▇▇▇▇▇▇▇·····  -31 dB, noise -61, ends in 0.4 s"),
        (60, "● ON AIR 0:12, 37 credits  ▇▇▇▇▇▇▇·····  -31 dB"),
        (40, "● ON AIR 0:12, 37 credits  ▇▇▇▇▇▇▇·····"),
        (30, "● ON AIR 0:12, 37 credits"),
        (20, "● ON AIR 0:12"),
        (10, "● ON AIR"),
        (3, "●"),
        (1, ""),
    ],
)
def test_status_row_of_a_microphone_drops_the_least_important_parts_when_narrow(columns: int, shown: str) -> None:
    [row] = rows(LISTENING, columns)
    assert len(row) <= max(columns - 1, 0)
    assert row.split() == shown.split() or row.split()[: len(shown.split())] == shown.split()


def test_paused_status_row_says_how_to_resume() -> None:
    paused = LISTENING._replace(on_air=False, level=None, speaking=False)
    assert rows(paused) == ["○ PAUSED (p resumes) 0:12, 37 credits"]
    assert rows(paused, 24) == ["○ PAUSED 0:12"]
    held = paused._replace(resume_hint="hold space to talk", credits=None)
    assert rows(held, 40) == ["○ PAUSED (hold space to talk) 0:12"]


def test_credits_are_hidden_when_a_session_is_free() -> None:
    assert "credits" not in rows(LISTENING._replace(credits=None))[0]
    assert ", 0 credits" in rows(LISTENING._replace(credits=0.0))[0]
    assert ", 10,800 credits" in rows(LISTENING._replace(credits=10_800.0))[0]


WAIT_TEXTS = (
    "waiting for the last words; Ctrl-C again ends at once",
    "last words; Ctrl-C ends at once",
    "last words",
)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (9, "○ 0:03"),
        (24, "○ 0:03 last words"),
        (40, "○ 0:03 last words; Ctrl-C ends at once"),
        (60, "○ 0:03 last words; Ctrl-C ends at once"),
        (61, "○ 0:03 waiting for the last words; Ctrl-C again ends at once"),
        (100, "○ 0:03 waiting for the last words; Ctrl-C again ends at once"),
    ],
)
def test_wait_row_uses_the_longest_text_that_fits(width: int, shown: str) -> None:
    state = FILE._replace(wait=Wait(WAIT_TEXTS, 3.9))
    assert rows(state, width)[-1] == shown
    assert rows(state._replace(text=LONG), width)[-1] == shown


def test_wait_row_of_a_start_has_no_seconds_and_of_an_outage_says_on_air() -> None:
    assert rows(LiveState(wait=Wait(("starting…",)))) == ["○ starting…"]
    outage = LISTENING._replace(wait=Wait(("the link was lost", "reconnecting"), 4.0))
    assert rows(outage) == ["○ ON AIR 0:04 the link was lost"]
    assert rows(outage, 24) == ["○ 0:04 reconnecting"]


def test_server_text_in_the_status_row_takes_one_column_a_character() -> None:
    state = LiveState(wait=Wait(("lost: \x1b[2J日本e\u0301",), 1.0))
    assert rows(state) == ["○ 0:01 lost: ?[2J??e?"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_long_text_shows_its_end_in_three_rows_of_whole_words(columns: int) -> None:
    shown = rows(FILE._replace(text=LONG), columns)
    assert len(shown) == (3 if columns == 200 else 4)
    text = " ".join(shown[:-1])
    assert LONG.strip().endswith(text.removeprefix("…"))
    assert text.startswith("…") == (columns < 200)
    assert set(text.removeprefix("…").split()) <= set(LONG.split())  # only whole words
    assert all(len(row) <= columns - 1 for row in shown)
    assert all(len(row) >= columns - 15 for row in shown[1:-2])


def test_three_rows_are_filled_with_text_at_80_columns() -> None:
    text = LONG[:225].rsplit(" ", 1)[0]
    assert " ".join(rows(FILE._replace(text=text))[:-1]) == text


def test_rows_do_not_reflow_while_text_grows() -> None:
    before: list[str] = []
    for end in range(1, 400):
        shown = rows(FILE._replace(text=(LONG * 2)[:end]), 40)[:-1]
        for row in before[1:-1]:
            assert row in [one.removeprefix("…") for one in shown]
        before = [row.removeprefix("…") for row in shown]


@pytest.mark.parametrize(("lines", "rows_shown"), [(24, 4), (4, 3), (3, 2), (2, 1), (1, 1)])
def test_terminal_with_few_lines_has_fewer_rows_of_text(lines: int, rows_shown: int) -> None:
    assert len(rows(FILE._replace(text=LONG), 40, lines)) == rows_shown


def test_ascii_terminal_gets_only_ascii() -> None:
    shown = rows(LISTENING._replace(text="naïve " * 40), 40, encoding="ascii")
    assert all(row.isascii() for row in shown)
    assert shown[0].startswith("...") and shown[1].startswith("na?ve na?ve")
    assert shown[-1].startswith("* ON AIR 0:12, 37 credits  #######")
    legend = LiveRows("ascii", colored=False).legend(counts_silence=True, costs=True)
    assert all(name.isascii() and meaning.isascii() for name, meaning in legend)


def test_legend_explains_every_part_of_the_status_row_in_40_columns() -> None:
    drawn = LiveRows("utf-8", colored=False)
    legend = drawn.legend(counts_silence=True, costs=True)
    row = drawn.rows(LISTENING._replace(unsent_seconds=3.0, level=MicrophoneLevel(-60, -61, -40, 0.4)), 200, 24)[-1]
    for name, meaning in legend:
        assert len(f"{name:11}  {meaning}") <= 40
    for name in ("ON AIR", "credits", "behind", "noise", "ends in", "▏"):
        assert name in row and name in dict(legend)
    names = dict(drawn.legend(counts_silence=False, costs=False))
    assert "credits" not in names and "ends in" not in names


def test_drawing_a_very_long_text_reads_only_its_end() -> None:
    drawn, calls = LiveRows("utf-8", colored=False), 0

    class Counted(str):
        def __getitem__(self, key: object) -> str:
            nonlocal calls
            found = str.__getitem__(self, key)  # type: ignore[index]
            calls += len(found)
            return found

    drawn.rows(FILE._replace(text=Counted("word " * 200_000)), 80, 24)
    assert 0 < calls < 10_000


# Wrapping


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("a bright cold day", 8, ["a bright", "cold day"]),
        ("a bright cold day", 7, ["a", "bright", "cold", "day"]),
        ("strikingthirteen", 6, ["striki", "ngthir", "teen"]),
        ("日本語", 6, ["日本語"]),
        ("日本語", 5, ["日本", "語"]),
        ("日本語。", 6, ["日本", "語。"]),
        ("語「日本」", 4, ["語", "「日", "本」"]),
        ("word日本", 6, ["word日", "本"]),
        ("e\u0301" * 6, 5, ["e\u0301" * 5, "e\u0301"]),
        ("👍🏽 👍🏽", 4, ["👍🏽", "👍🏽"]),
        ("👩\u200d🔬👩\u200d🔬", 6, ["👩\u200d🔬", "👩\u200d🔬"]),
        ("한글 한글", 5, ["한글", "한글"]),
        ("", 5, []),
    ],
)
def test_wrap_breaks_at_words_and_beside_wide_characters(text: str, width: int, expected: list[str]) -> None:
    assert wrap(text, width) == expected


@given(
    st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"]), max_size=60), st.integers(2, 40)
)
def test_wrapped_rows_fit_and_lose_only_spaces(text: str, width: int) -> None:
    text = " ".join(text.split())
    wrapped = wrap(text, width)
    assert all(text_width(row) <= width for row in wrapped)
    assert "".join(wrapped).replace(" ", "") == text.replace(" ", "")


# On a terminal


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize(
    "text", [LONG, "日本語のテキスト。" * 40, "e\u0301\u0323" * 200, "👩\u200d🔬❤\ufe0f " * 60, "한글 " * 90]
)
def test_growing_text_never_takes_more_than_its_rows(width: int, text: str) -> None:
    terminal = Terminal(width)
    terminal.write("$ before\n")
    live = view(terminal)
    for end in range(1, len(text), 7):
        live.draw(LiveState(text=text[:end], elapsed=end / 10))
        assert 2 <= len(terminal.rows) <= 5
        assert terminal.rows[0] == "$ before"
        assert terminal.rows[-1].startswith("○ ")
        assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 1)
    live.clear()
    assert terminal.rows == ["$ before"]
    assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 1)


CHARACTERS = st.sampled_from(
    [*"aB 9.\t\n\r\x1b\x07\x08\x9b[;mH2JK語한é😀", "\u0301", "\u200d", "\ufe0f", "\ud800", "\u202e"]
)


@given(st.lists(st.text(CHARACTERS, max_size=60), max_size=6), st.integers(1, 90), st.booleans())
def test_any_server_text_stays_within_the_view(texts: list[str], width: int, colored: bool) -> None:
    terminal = Terminal(width)
    terminal.write("$\n")
    live = view(terminal, colored=colored)
    for text in texts:
        live.draw(LiveState(text=text, elapsed=1.0, on_air=True))
        assert terminal.rows[0] == "$" and len(terminal.rows) <= 5
        assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 1)
    live.close()
    assert terminal.rows == ["$"]
    unexpected = re.sub(rb"\x1b\[(J|K|[123]A|2m|0m|1;31m)", b"", terminal.raw)
    assert b"\x1b" not in unexpected and b"\x07" not in unexpected and b"\xc2\x9b" not in unexpected
    assert terminal.screen.cursor.hidden is False


def test_view_at_the_bottom_of_the_screen_scrolls_and_clears_completely() -> None:
    terminal = Terminal(40)
    for number in range(6):
        terminal.write(f"line {number}\n")
    live = view(terminal)
    live.draw(LiveState(elapsed=1.0))
    live.draw(LiveState(text=LONG, elapsed=2.0))
    assert terminal.rows[:2] == ["line 4", "line 5"] and terminal.rows[-1] == "○ 0:02"
    live.clear()
    terminal.write("line 6\n")
    live.draw(LiveState(elapsed=3.0))
    assert terminal.rows == ["line 4", "line 5", "line 6", "○ 0:03"]


def test_settled_text_replaces_the_view_which_is_redrawn_below() -> None:
    terminal = Terminal()
    live = view(terminal, step=0.0)
    live.draw(LiveState(text="Good morning. How are", elapsed=3.0))
    for segment in ("Good morning.\n", "How are you?\n"):
        live.clear()
        terminal.write(segment)
        live.draw(LiveState(elapsed=3.0))  # drawn at once: after `clear` the rate limit doesn't apply
    assert terminal.rows == ["Good morning.", "How are you?", "○ 0:03"]


@pytest.mark.parametrize("narrower", [30, 12])
def test_view_is_redrawn_when_the_terminal_gets_narrower(narrower: int) -> None:
    terminal = Terminal(40)
    terminal.write("$\n")
    live = view(terminal)
    live.draw(LiveState(text=LONG, elapsed=1.0))
    terminal.screen.resize(6, narrower)
    live.draw(LiveState(text=LONG, elapsed=1.0))
    assert terminal.rows[0] == "$" and len(terminal.rows) == 5
    assert terminal.rows[1].startswith("…") and terminal.rows[-1] == "○ 0:01"


def test_view_is_drawn_at_most_twelve_times_a_second() -> None:
    terminal = Terminal()
    live = view(terminal, step=0.01)
    for number in range(1000):  # ten seconds
        live.draw(LiveState(elapsed=number, speaking=number % 2 == 0))
    assert 100 <= terminal.raw.count(b"\x1b[J") <= 10 / MIN_REDRAW_SECONDS


def test_unchanged_rows_are_not_drawn_again() -> None:
    terminal = Terminal()
    live = view(terminal)
    live.draw(LiveState(text="word", elapsed=1.0))
    written = len(terminal.raw)
    live.draw(LiveState(text="word", elapsed=1.1))
    assert len(terminal.raw) == written


def test_restore_after_a_stop_draws_at_the_cursor() -> None:
    terminal = Terminal()
    live = view(terminal)
    live.draw(LiveState(text="word", elapsed=1.0))
    live.clear()  # before the stop
    terminal.write("[1]+ Stopped\n$ fg\n")
    live.resume()
    live.draw(LiveState(text="word", elapsed=1.0))
    assert terminal.rows == ["[1]+ Stopped", "$ fg", "word", "○ 0:01"]


def test_nothing_is_drawn_after_close() -> None:
    terminal = Terminal()
    live = view(terminal)
    live.draw(LiveState(elapsed=1.0))
    live.close()
    live.draw(LiveState(elapsed=2.0))
    live.close()
    assert terminal.rows == []


def test_colors_are_reset_after_each_part() -> None:
    terminal = Terminal()
    live = view(terminal, colored=True)
    live.draw(LiveState(text="dim", elapsed=1.0, on_air=True))
    assert b"\x1b[2mdim\x1b[0m" in terminal.raw and b"\x1b[1;31m ON AIR\x1b[0m" in terminal.raw
    live.draw(LiveState(elapsed=2.0, on_air=False))
    assert b"\x1b[1;33m PAUSED\x1b[0m" in terminal.raw
    assert b"\x1b[2m" not in terminal.raw.rpartition(b"\x1b[0m")[2]


def test_view_turns_inactive_when_the_terminal_is_gone() -> None:
    terminal = Terminal()
    live = view(terminal)
    terminal.close()

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    terminal.write = gone  # type: ignore[method-assign]
    live.draw(LiveState(elapsed=1.0))
    assert live.active is False
    live.clear()


@pytest.mark.parametrize(("kind", "environ"), [("dumb", {"TERM": "dumb"}), ("quiet", {}), ("file", {})])
def test_nothing_is_drawn_when_dumb_quiet_or_a_file(kind: str, environ: dict[str, str]) -> None:
    terminal = io.StringIO() if kind == "file" else Terminal()
    talk = Reporter(terminal, environ)
    talk.quiet = kind == "quiet"
    with talk.live_view() as live:
        live.draw(LiveState(text="x", elapsed=1.0))
        live.clear()
    assert terminal.raw == b"" if isinstance(terminal, Terminal) else terminal.getvalue() == ""


def test_messages_appear_above_the_view_and_an_error_clears_it() -> None:
    terminal = Terminal()
    talk = Reporter(terminal, {"NO_COLOR": "1"})

    def failing() -> None:
        with talk.live_view() as live:
            live.draw(LiveState(text="Good mor", elapsed=4.0))
            assert terminal.rows == ["Good mor", "○ 0:04"]
            talk.info("the audio stalled for 2 s")
            assert terminal.rows == ["the audio stalled for 2 s"]
            live.draw(LiveState(text="Good mor", elapsed=5.0))
            assert terminal.rows == ["the audio stalled for 2 s", "Good mor", "○ 0:05"]
            raise CliError("it broke")

    with pytest.raises(CliError) as caught:
        failing()
    talk.error(caught.value)
    assert terminal.rows[:2] == ["the audio stalled for 2 s", "error: it broke"]
    assert terminal.rows[2].startswith("hint: ")


def test_wait_row_stays_below_a_message() -> None:
    terminal = Terminal()
    talk = Reporter(terminal, {"NO_COLOR": "1"})
    with talk.live_view() as live:
        live.draw(LiveState(wait=Wait(("starting…",))))
        talk.info("Gooseneck records what this computer plays")
        assert terminal.rows == ["Gooseneck records what this computer plays", "○ starting…"]
    assert terminal.rows == ["Gooseneck records what this computer plays"]


def test_key_is_redacted_before_wrapping_but_not_in_transcripts() -> None:
    terminal = Terminal(80)
    key = "sk_car_" + "open_sesame" * 8
    talk = Reporter(terminal, {"NO_COLOR": "1", "CARTESIA_API_KEY": key})
    with talk.live_view():
        talk.info(f"the server said this of the key: {key}")
        talk.print_segment(f"and somebody said {key}")
    assert terminal.rows[:2] == ["the server said this of the key: [the key]", "and somebody said"]
    assert "".join(terminal.rows[2:]) == key


def test_terminal_size_is_read_on_every_draw() -> None:
    leader, follower = pty.openpty()
    try:
        with open(follower, "w", encoding="utf-8") as stream:
            live = LiveView(stream, colored=False, clock=SteppingClock())
            for width in (30, 50):
                ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 5, width, 0, 0))
                live.draw(LiveState(text="x" * 500, elapsed=width))
                shown = re.sub(r"\x1b\[\w*[AJK]", "", os.read(leader, 1000).decode()).split()
                assert len(shown[1]) == width - 2
    finally:
        os.close(leader)


def test_a_prompt_takes_the_place_of_the_status_and_shows_its_end() -> None:
    state = LiveState(text="so far", prompt="key terms: Größe, 日本語")
    assert rows(state) == ["so far", "key terms: Größe, 日本語"]
    assert LiveRows("utf-8", colored=False).rows(state, 9, 24)[-1] == ", 日本語"
    assert LiveRows("utf-8", colored=False).rows(state, 8, 24)[-1] == " 日本語"
    assert rows(LiveState(prompt="terms: \x1b[2J")) == ["terms: \ufffd[2J"]


def test_detected_languages_are_in_the_status_row() -> None:
    assert rows(LiveState(elapsed=3.0, languages=("hi", "en"))) == ["○ 0:03, hi en"]


def test_grapheme_that_is_wider_than_a_row_is_divided() -> None:
    assert text_width("\U0001f468\u200d\U0001f469") == 4  # a man and a woman, joined
    assert wrap("\U0001f468\u200d\U0001f469", 4) == ["\U0001f468\u200d\U0001f469"]
    assert wrap("\U0001f468\u200d\U0001f469", 2) == ["\U0001f468\u200d", "\U0001f469"]
