"""Measures the page of ten hours of speech in a browser: how long it takes to open, and frames while it scrolls.

Compared with the page of a minute, in the same browser: the pictures that a browser without a screen draws in a second
depend on the machine. Goals: 50 frames a second, and as many as the short page within a tenth.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from measuring import CLI, ROOT, Report, environment, run

FRAMES_GOAL, RATIO_GOAL = 50.0, 0.9
SECONDS_A_WORD = 0.36
SCROLL = """
const done = arguments[arguments.length - 1], times = [];
let down = 0;
function frame(now) {
  times.push(now);
  scrollTo(0, (down += 40) % Math.max(1, document.body.scrollHeight - innerHeight));
  if (times.length < 200) requestAnimationFrame(frame); else done(times);
}
requestAnimationFrame(frame);
"""


def write_transcript(path: Path, hours: float) -> None:
    sentences = (ROOT / "benchmarks" / "sentences.txt").read_text("utf-8").splitlines()
    rng, at = random.Random(0), 0.0
    words: list[dict[str, str | float]] = []
    while at < 3600 * hours:
        for word in rng.choice(sentences).split():
            words.append({"word": word, "start": round(at, 3), "end": round(at + 0.3, 3)})
            at += SECONDS_A_WORD
        at += rng.uniform(0.2, 2.0)
    text = " ".join(str(word["word"]) for word in words)
    segment = {"start": 0.0, "end": at, "text": text, "timing": "server"}
    document = {"source": "talk.wav", "model": "ink-whisper", "duration": at, "text": text, "segments": [segment]}
    path.write_text(json.dumps(document | {"words": words}))


def main() -> int:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for switch in ("--headless=new", "--no-sandbox", "--window-size=900,800"):
        options.add_argument(switch)
    report = Report("page of", "words", "MB", "opens in ms", "frames a second", "ratio", "goal")
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            for what, hours in (("a minute", 1 / 60), ("ten hours", 10.0)):
                write_transcript(folder / "talk.json", hours)
                page = folder / "talk.html"
                command = [CLI, "render", str(folder / "talk.json"), "--force", "-q", "-o", str(page)]
                run(command, environment(name)).checked()
                browser.get(page.as_uri())
                opened = browser.execute_script(
                    "const e = performance.getEntriesByType('navigation')[0]; return e.domComplete - e.startTime"
                )
                words = browser.execute_script("return words.length")
                times = browser.execute_async_script(SCROLL)
                rates.append(1000 / statistics.mean(after - before for before, after in pairwise(times)))
                size = page.stat().st_size / 1e6
                ratio = rates[-1] / rates[0]
                goal = len(rates) == 1 or (rates[-1] >= FRAMES_GOAL and ratio >= RATIO_GOAL)
                report.row(what, str(words), f"{size:.1f}", f"{opened:.0f}", f"{rates[-1]:.0f}", f"{ratio:.2f}",
                           "50; 0.9", met=None if len(rates) == 1 else goal)  # fmt: skip
        finally:
            browser.quit()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
