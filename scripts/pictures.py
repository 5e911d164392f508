"""Makes the pictures of the documentation, from real runs of the program; run by `make pictures`.

A run in a terminal becomes an SVG with its text in its colours, the page with a player a PNG, drawn by Chromium.
`tests/test_pictures.py` runs the same again, and fails if a picture shows something else.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "pictures"
DIGESTS = FOLDER / "digests.json"


class Session(NamedTuple):
    """Commands that are entered in a terminal of this width, in a folder with talk.wav, the bundled sample."""

    columns: int
    commands: tuple[str, ...]


RUNS: Mapping[str, Session] = {
    "first-run": Session(92, ("cartesia-cli transcribe talk.wav", "cartesia-cli transcribe talk.wav -q --to 3.4")),
    "search": Session(84, ("cartesia-cli transcribe talk.wav -q --grep 'by (one|another)' -C 1",)),
    "check": Session(
        116, ("cartesia-cli transcribe talk.wav -q -o talk.srt", "cartesia-cli check talk.srt --max-cps 12")
    ),
    "vad": Session(84, ("cartesia-cli vad talk.wav",)),
}
"""Name of a picture to what it shows."""

LIVE: Mapping[str, tuple[Session, float | None, tuple[str, ...]]] = {
    "live": (
        Session(92, ("cartesia-cli stream-file talk.wav",)), 9.5,
        ("output/live_view.py", "output/status_row.py"),
    ),
    "stats": (
        Session(92, ("cartesia-cli stream-file talk.wav --mode manual --vad-silence-ms 120 -q --stats -o a.txt",)),
        None,
        ("output/stats.py",),
    ),
}  # fmt: skip
"""Name of a picture of a live session, whose figures differ each time, to: what it shows; after how many seconds (None:
at its end); and the modules that draw that. The picture is old when one of them has changed.
"""

THEME = TerminalTheme(
    (22, 22, 26), (232, 232, 238),
    [(60, 60, 68), (242, 164, 156), (129, 201, 149), (242, 184, 102), (138, 180, 248), (208, 168, 240), (111, 214, 214),
     (200, 200, 208)],
)  # fmt: skip

SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def run(command: str, folder: Path, columns: int = 80, seconds: float | None = None) -> str:
    """What a command prints on a terminal, stdout and stderr together, with its colours, in its first seconds or until
    it ends.
    """
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARTESIA_", "XDG_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = kept | {"HOME": str(folder / "home"), "TERM": "xterm-256color", "PATH": path}
    variables |= {"CARTESIA_TRANSCRIBE_LOCAL_MODEL": "tiny.en"}
    child = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave
    )
    os.close(slave)
    output = b""
    until = time.monotonic() + (seconds or 300)
    with suppress(OSError):  # EIO is the end of a pseudo-terminal
        while (left := until - time.monotonic()) > 0:
            if select.select([master], [], [], left)[0]:
                output += os.read(master, 1 << 16)
    child.terminate()
    os.close(master)
    child.wait()
    return output.decode().replace("\r\n", "\n")


def terminal_text(session: Session, folder: Path, seconds: float | None = None) -> Text:
    """The commands of a picture, and what they print."""
    text = Text()
    for command in session.commands:
        text.append("$ ", style="bold green")
        text.append(f"{command}\n")
        text.append_text(_settled(run(command, folder, session.columns, seconds), session.columns))
    text.rstrip()
    return text


def _settled(output: str, columns: int) -> Text:
    """Output without the progress bars that were drawn and erased."""
    import pyte

    screen = pyte.HistoryScreen(columns, 60)
    pyte.Stream(screen).feed(output.replace("\n", "\r\n"))
    text = Text()
    for row in range(screen.lines):
        cells = [screen.buffer[row][column] for column in range(columns)]
        line = Text()
        for cell in cells:
            style = " ".join(filter(None, ["bold" * cell.bold, "" if cell.fg == "default" else cell.fg]))
            line.append(cell.data, style=style)
        line.rstrip()
        text.append_text(line)
        text.append("\n")
    return text


def svg(name: str, text: Text, columns: int) -> str:
    """A text as a picture of a terminal, without fonts from elsewhere."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(text, soft_wrap=True)
        return console.export_svg(title="cartesia-cli", theme=THEME, code_format=SVG, unique_id=name)


def render_page(folder: Path) -> Path:
    """The page of the bundled sample. It is the same each time: the id of the request is left out."""
    run("cartesia-cli transcribe talk.wav --local -q -o talk.html --force", folder)
    page = folder / "talk.html"
    page.write_text(re.sub(r'"request_id":"[^"]*"', '"request_id":""', page.read_text("utf-8")), "utf-8")
    return page


def photograph(page: Path, picture: Path) -> None:
    """Draw a page in Chromium, while a word is being said and another is searched for."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in ("--headless=new", "--no-sandbox", "--window-size=900,620", "--force-device-scale-factor=2"):
        options.add_argument(switch)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get(f"{page.as_uri()}#t=3.9")
        browser.execute_script("query.value = 'this'; search();")
        browser.execute_async_script("setTimeout(arguments[arguments.length - 1], 500)")
        browser.save_screenshot(str(picture))
    finally:
        browser.quit()


def source(modules: tuple[str, ...]) -> str:
    return "".join((ROOT / "cartesia_cli" / module).read_text("utf-8") for module in modules)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    digests = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "cartesia_cli" / "sample.wav", folder / "talk.wav")
        for picture, session in RUNS.items():
            text = terminal_text(session, folder)
            (FOLDER / f"{picture}.svg").write_text(svg(picture, text, session.columns), "utf-8")
            digests[f"{picture}.svg"] = digest(text.plain)
        for picture, (session, seconds, modules) in LIVE.items():
            text = terminal_text(session, folder, seconds)
            (FOLDER / f"{picture}.svg").write_text(svg(picture, text, session.columns), "utf-8")
            digests[f"{picture}.svg"] = digest(source(modules))
        page = render_page(folder)
        photograph(page, FOLDER / "player.png")
        digests["player.png"] = digest(page.read_text("utf-8"))
    DIGESTS.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()
