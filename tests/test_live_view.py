"""The live view on a terminal that somebody else wrote: one row, never more, and gone when it is asked to go."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import termios
from fcntl import ioctl

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import CliError
from cartesia_cli.output.live import PERIOD, LiveView, cells, fit
from cartesia_cli.output.talk import Talk

LONG = "It was a bright cold day in April, and the clocks were striking thirteen. " * 5


class Terminal(io.StringIO):
    """What is written appears on a screen of six rows."""

    def __init__(self, width: int = 80, encoding: str = "utf-8") -> None:
        super().__init__()
        self.screen = pyte.Screen(width, 6)
        self._stream = pyte.ByteStream(self.screen)
        self._encoding = encoding
        self.raw = b""

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.replace("\n", "\r\n").encode(self._encoding, "backslashreplace")
        self.raw += data
        self._stream.feed(data)
        return len(text)

    @property
    def rows(self) -> list[str]:
        """What is on the screen, down to the last row that isn't blank."""
        rows = [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows


class Watch:
    """A clock that goes on by a second each time it is looked at, or stands still."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def view(terminal: Terminal, total: float | None = 63.0, *, colored: bool = False, step: float = 1.0) -> LiveView:
    return LiveView(terminal, total, colored=colored, clock=Watch(step), width=lambda: terminal.screen.columns)


def test_it_shows_who_speaks_how_far_it_is_and_what_is_being_said() -> None:
    terminal = Terminal()
    live = view(terminal)
    live.draw(12.4, True)
    assert terminal.rows == ["● 0:12 / 1:03, 0:51 left"]
    live.partial(" Good mor")
    live.draw(12.4, True)
    assert terminal.rows == ["● 0:12 / 1:03, 0:51 left Good mor"]
    live.draw(13.0, False)
    assert terminal.rows == ["○ 0:13 / 1:03, 0:50 left Good mor"]
    live.partial("")
    live.draw(13.0, False)
    assert terminal.rows == ["○ 0:13 / 1:03, 0:50 left"]
    live.draw(64.0, False)
    assert terminal.rows == ["○ 1:04 / 1:03, 0:00 left"]


def test_without_a_total_it_shows_only_how_long_it_has_been() -> None:
    terminal = Terminal()
    view(terminal, None).draw(3723.0, True)
    assert terminal.rows == ["● 1:02:03"]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (20, "● 0:12 …g thirteen."),
        (40, "● 0:12 / 1:03 … were striking thirteen."),
        (80, "● 0:12 / 1:03, 0:51 left …ight cold day in April, and the clocks were striking thirteen."),
    ],
)
def test_a_long_text_shows_its_end_in_one_row(width: int, shown: str) -> None:
    terminal = Terminal(width)
    live = view(terminal)
    live.partial(LONG)
    live.draw(12.0, True)
    assert [row[:13] for row in terminal.rows] == [shown[:13]]
    assert terminal.rows[0].endswith(shown[-10:])
    assert len(terminal.rows[0]) in (width - 1, width - 2)


def test_while_something_is_waited_for_the_seconds_of_it_stand_instead_of_the_clock() -> None:
    terminal = Terminal()
    live = view(terminal)
    told: tuple[str, ...] = ("connecting to example.com, 3 s behind", "connecting")
    live.awaited = lambda: told
    live.meter = lambda plain: "a meter "
    live.lag = lambda: 3.0
    live.draw(12.4, True)
    assert terminal.rows == ["○ 0:00 connecting to example.com, 3 s behind"]
    told = ("connecting to example.com", "connecting")  # the same, in other words
    live.draw(12.4, True)
    live.draw(12.4, True)
    assert terminal.rows == ["○ 0:02 connecting to example.com"]
    told = ()
    live.draw(12.4, True)
    assert terminal.rows == ["● 0:12, 3 s behind a meter"]
    told = ("the last words",)
    live.partial("Good mor")
    live.draw(12.4, True)
    assert terminal.rows == ["○ 0:00 the last words Good mor"]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (9, "○ 0:00 "),
        (24, "○ 0:00 last words "),
        (40, "○ 0:00 last words; Ctrl-C ends at once "),
        (61, "○ 0:00 last words; Ctrl-C ends at once "),
        (62, "○ 0:00 waiting for the last words; Ctrl-C again ends at once "),
        (100, "○ 0:00 waiting for the last words; Ctrl-C again ends at once "),
    ],
)
def test_what_is_waited_for_is_told_as_fully_as_there_is_room(width: int, shown: str) -> None:
    for text in ("", LONG):
        terminal = Terminal(width)
        live = view(terminal)
        live.awaited = lambda: (
            "waiting for the last words; Ctrl-C again ends at once",
            "last words; Ctrl-C ends at once",
            "last words",
        )
        live.partial(text)
        live.draw(12.0, True)
        assert len(terminal.rows) == 1 and terminal.rows[0].startswith(shown.rstrip())
        assert text or terminal.rows[0] == shown.rstrip()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize(
    "text", [LONG, "日本語のテキスト。" * 40, "e\u0301\u0323" * 200, "👩\u200d🔬❤\ufe0f " * 60, "한글 " * 90]
)
def test_a_growing_text_never_takes_a_second_row(width: int, text: str) -> None:
    terminal = Terminal(width)
    terminal.write("$ before\n")
    live = view(terminal)
    for end in range(1, len(text), 7):
        live.partial(text[:end])
        live.draw(end / 10, end % 2 == 0)
        assert len(terminal.rows) == 2
        assert terminal.rows[0] == "$ before"
    live.clear()
    assert terminal.rows == ["$ before"]
    assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 1)


CHARACTERS = st.sampled_from(
    [*"aB 9.\t\n\r\x1b\x07\x08\x9b[;mH2JK語한é😀", "\u0301", "\u200d", "\ufe0f", "\ud800", "\u202e"]
)


@given(st.lists(st.text(CHARACTERS, max_size=60), max_size=6), st.integers(1, 90), st.booleans())
def test_whatever_a_server_says_stays_in_one_row(texts: list[str], width: int, colored: bool) -> None:
    terminal = Terminal(width)
    terminal.write("$\n")
    live = view(terminal, colored=colored)
    for text in texts:
        live.partial(text)
        live.draw(1.0, True)
        assert terminal.rows[0] == "$" and len(terminal.rows) <= 2
        assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 1)
    live.close()
    assert terminal.rows == ["$"]
    ours = re.sub(rb"\x1b\[(J|K|2m|0m)", b"", terminal.raw)
    assert b"\x1b" not in ours and b"\x07" not in ours and b"\xc2\x9b" not in ours
    assert terminal.screen.cursor.hidden is False


def test_what_is_settled_is_written_where_the_line_was() -> None:
    terminal = Terminal()
    live = view(terminal, step=0.0)
    live.partial("Good morning. How are")
    for settled in ("Good morning.\n", "How are you?\n"):
        live.clear()
        terminal.write(settled)
        live.draw(3.0, False)  # at once: a line that made way doesn't wait for its turn
    assert terminal.rows[:2] == ["Good morning.", "How are you?"]
    assert len(terminal.rows) == 3 and terminal.rows[2].startswith("○ 0:03")


def test_it_is_drawn_twelve_times_a_second_and_no_more() -> None:
    terminal = Terminal()
    live = view(terminal, step=0.01)
    for number in range(1000):  # ten seconds
        live.draw(number, number % 2 == 0)
    assert 100 <= terminal.raw.count(b"\x1b[J") <= 10 / PERIOD


def test_a_line_that_is_the_same_is_not_drawn_again() -> None:
    terminal = Terminal()
    live = view(terminal)
    live.draw(1.0, True)
    written = len(terminal.raw)
    live.draw(1.1, True)
    assert len(terminal.raw) == written


def test_after_close_nothing_is_drawn_any_more() -> None:
    terminal = Terminal()
    live = view(terminal)
    live.draw(1.0, True)
    live.close()
    live.draw(2.0, True)
    live.close()
    assert terminal.rows == []


def test_a_terminal_that_takes_only_ascii_gets_ascii() -> None:
    terminal = Terminal(40, "ascii")
    live = view(terminal)
    live.partial("naïve " * 20)
    live.draw(12.0, True)
    assert terminal.rows == ["* 0:12 / 1:03 ...na?ve na?ve na?ve na?v"[:14] + terminal.rows[0][14:]]
    assert "..." in terminal.rows[0] and "na?ve" in terminal.rows[0] and "\\" not in terminal.rows[0]


def test_only_the_text_is_dim_and_the_terminal_is_left_as_it_was() -> None:
    terminal = Terminal()
    live = view(terminal, colored=True)
    live.partial("dim")
    live.draw(1.0, True)
    assert b"\x1b[2mdim\x1b[0m" in terminal.raw
    terminal.write("x")
    assert b"\x1b[2m" not in terminal.raw.rpartition(b"\x1b[0m")[2]


def test_a_terminal_that_is_gone_is_left_alone() -> None:
    terminal = Terminal()
    live = view(terminal)
    terminal.close()

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    terminal.write = gone  # type: ignore[method-assign]
    live.draw(1.0, True)
    assert live.active is False
    live.clear()


@given(st.text(st.characters(codec="utf-8"), max_size=50), st.integers(0, 60))
def test_what_fits_is_the_end_of_the_text(text: str, room: int) -> None:
    shown = fit(text, room)
    assert sum(map(cells, shown)) <= room
    assert text.endswith(shown.removeprefix("…")) or shown == text
    if shown != text and room > 4:
        assert sum(map(cells, shown)) >= room - 2 or not cells(text[-1])


def test_what_is_written_over_another_character_takes_no_column_and_what_is_wide_takes_two() -> None:
    assert fit("e\u0301" * 5, 5) == "e\u0301" * 5
    assert fit("e\u0301" * 6, 5) == "…" + "e\u0301" * 4
    assert fit("日本語", 6) == "日本語"
    assert fit("日本語", 5) == "…本語"
    assert fit("日本語", 4) == "…語"


@pytest.mark.parametrize(("kind", "environ"), [("dumb", {"TERM": "dumb"}), ("quiet", {}), ("file", {})])
def test_where_nobody_looks_nothing_is_drawn(kind: str, environ: dict[str, str]) -> None:
    terminal = io.StringIO() if kind == "file" else Terminal()
    talk = Talk(terminal, environ)
    talk.quiet = kind == "quiet"
    with talk.live(10.0) as live:
        live.partial("x")
        live.draw(1.0, True)
        live.clear()
    assert terminal.raw == b"" if isinstance(terminal, Terminal) else terminal.getvalue() == ""


def test_sentences_come_above_the_line_and_a_failure_leaves_none_behind() -> None:
    terminal = Terminal()
    talk = Talk(terminal, {"NO_COLOR": "1"})

    def failing() -> None:
        with talk.live(None) as live:
            live.partial("Good mor")
            live.draw(4.0, True)
            assert terminal.rows == ["● 0:04 Good mor"]
            talk.say("the audio stalled for 2 s")
            assert terminal.rows == ["the audio stalled for 2 s"]
            live.draw(5.0, True)
            assert terminal.rows == ["the audio stalled for 2 s", "● 0:05 Good mor"]
            raise CliError("it broke")

    with pytest.raises(CliError) as caught:
        failing()
    talk.error(caught.value)
    assert terminal.rows == ["the audio stalled for 2 s", "error: it broke"]


def test_the_width_is_that_of_the_terminal_and_is_looked_up_each_time() -> None:
    leader, follower = pty.openpty()
    try:
        with open(follower, "w", encoding="utf-8") as stream:
            live = LiveView(stream, None, colored=False, clock=Watch())
            for width in (30, 50):
                ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 5, width, 0, 0))
                live.partial(LONG)
                live.draw(width, True)
                shown = os.read(leader, 1000).decode().strip("\r").removesuffix("\x1b[J")
                assert len(shown) == width - 1
    finally:
        os.close(leader)
