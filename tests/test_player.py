"""The page that `-f html` writes, in a real browser: playing, clicking, search, keys, accessibility, hostile text."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests import golden

from .conftest import Run

pytestmark = pytest.mark.shell

WORDS = [
    ("Good", 0.1, 0.4, "Anna"), ("morning,", 0.45, 0.9, "Anna"), ("how", 1.0, 1.2, "Anna"), ("are", 1.25, 1.4, "Anna"),
    ("you?", 1.45, 1.8, "Anna"), ("Fine", 2.0, 2.4, "Ben"), ("😀", 2.5, 2.6, "Ben"), ("thanks.", 2.7, 3.2, "Ben"),
    ("Good.", 8.0, 8.4, "Anna"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "talk.wav").write_bytes(golden.SAMPLE)
    (tmp_path / "talk.json").write_text(json.dumps(document(WORDS)))
    return tmp_path


def document(words: list[tuple[str, float, float, str]], **more: Any) -> dict[str, Any]:
    text = " ".join(word for word, *_ in words)
    said = [{"word": word, "start": start, "end": end, "speaker": who} for word, start, end, who in words]
    segment = {"start": words[0][1], "end": words[-1][2], "text": text, "timing": "server"}
    return {"source": "talk.wav", "model": "ink-whisper", "duration": 10.8, "text": text, "segments": [segment],
            "words": said, **more}  # fmt: skip


def open_page(browser: webdriver.Chrome, page: Path, address: str = "") -> None:
    """Open a page. Opens no empty one before: chromedriver doesn't wait for `about:blank`, and a page that is opened
    while Chromium is still changing to that may never load.
    """
    browser.get(page.as_uri() + address)


def wait(browser: webdriver.Chrome, script: str) -> Any:
    """The value of an expression once it is true."""
    from selenium.webdriver.support.ui import WebDriverWait  # here: every worker imports this module

    return WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(script))


def rendered(run: Run, folder: Path, *options: str) -> Path:
    done = run("render", "talk.json", "-q", "--force", "-o", "talk.html", *options)
    assert done.returncode == 0, done.stderr
    return folder / "talk.html"


def click_word(browser: webdriver.Chrome, number: int) -> None:
    x, y = browser.execute_script(
        """const word = words[arguments[0]], range = rangeOf(word.paragraph, word.offset, word.length);
        keepInView(range, paragraphs[word.paragraph].element);
        const box = range.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2];""",
        number,
    )
    click = webdriver.ActionChains(browser)
    click.w3c_actions.pointer_action.move_to_location(int(x), int(y)).click()
    click.perform()


def press(browser: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def position(browser: webdriver.Chrome) -> float:
    return float(browser.execute_script("return position"))


def test_a_click_on_a_word_plays_from_it(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    open_page(browser, rendered(run, folder))
    wait(browser, "return audio.duration > 10")
    for number in (4, 5, 7, 8):
        start = WORDS[number][1]
        browser.execute_script("audio.pause(); window.began = null; audio.addEventListener('seeking', () => {"
                               "window.began ??= audio.currentTime })")  # fmt: skip
        click_word(browser, number)
        assert wait(browser, "return window.began ?? false") == pytest.approx(start, abs=0.01)
        wait(browser, f"return audio.currentTime > {start}")
        at, shown = browser.execute_script("return [position, [...highlights.now].map(String)]")
        assert shown == [[word for word, begin, *_ in WORDS if begin <= at][-1]]
    wait(browser, "return audio.currentTime > 8.2")  # it plays on
    browser.execute_script("audio.pause()")


def test_links_with_a_time_begin_there(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    page = rendered(run, folder)
    open_page(browser, page, "#t=2.55")
    wait(browser, "return audio.currentTime > 2")
    assert position(browser) == pytest.approx(2.55, abs=0.01)
    assert browser.execute_script("return [...highlights.now].map(String)") == ["😀"]
    browser.find_elements(By.CSS_SELECTOR, ".at")[-1].click()
    wait(browser, "return position > 7.9")
    assert position(browser) == pytest.approx(8.0, abs=0.01)


def test_keys_play_skip_and_search(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    open_page(browser, rendered(run, folder))
    wait(browser, "return audio.duration > 10")
    press(browser, Keys.ARROW_RIGHT)
    assert position(browser) == pytest.approx(5)
    press(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert position(browser) == 0
    press(browser, Keys.ARROW_DOWN)
    assert position(browser) == pytest.approx(0.1)
    press(browser, Keys.ARROW_DOWN)
    assert position(browser) == pytest.approx(2.0)  # the next speaker
    webdriver.ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(Keys.SHIFT).perform()
    assert position(browser) == pytest.approx(2.5)  # the next word
    press(browser, " ")
    wait(browser, "return !audio.paused")
    press(browser, " ")
    wait(browser, "return audio.paused")
    press(browser, ">")
    assert browser.execute_script("return audio.playbackRate") == 1.25
    press(browser, "/", "good", Keys.ENTER)
    assert browser.find_element(By.ID, "hits").text == "1 of 2"
    press(browser, Keys.ENTER)
    assert position(browser) == pytest.approx(8.0)
    assert browser.execute_script("return [...highlights.hit].map(String)") == ["Good", "Good"]
    press(browser, Keys.ESCAPE)
    assert browser.execute_script("return highlights.hit.size") == 0


def test_copies_are_what_render_writes(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    open_page(browser, rendered(run, folder))
    copies = browser.execute_script("return data.copies")
    assert copies["srt"] == run("render", "talk.json", "-q", "-f", "srt").stdout.decode()
    assert copies["md"] == run("render", "talk.json", "-q", "-f", "md").stdout.decode()
    browser.find_element(By.CSS_SELECTOR, "[data-copy=text]").click()
    wait(browser, "return byId('status').textContent === 'Copied.'")
    browser.find_element(By.ID, "query").send_keys(Keys.CONTROL, "v")
    assert "Good morning, how are you?" in (browser.find_element(By.ID, "query").get_attribute("value") or "")


def violations(browser: webdriver.Chrome) -> list[tuple[str, list[str]]]:
    """What axe-core finds on the page: rules, and the elements that break them."""
    browser.execute_script((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    report = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(report["passes"]) > 10
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in report["violations"]]


def test_page_has_no_accessibility_violations(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        open_page(browser, rendered(run, folder))
        assert violations(browser) == [], scheme
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hostile_text_stays_text_and_nothing_is_requested(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    attacks = (
        "</script><script>window.taken=1</script>", "<img/src=x/onerror=window.taken=1>", "javascript:window.taken=1",
        "{script}", "{data}", "\u202etxet", "]]>", "<!--", "&lt;b&gt;", "${window.taken=1}", "\x1b[31m",
    )  # fmt: skip
    words = [(word, 0.5 * k, 0.5 * k + 0.4, attacks[k % 3]) for k, word in enumerate(attacks)]
    hostile = document(
        words, source='x"><script>window.taken=1</script>.wav', model="<b>model</b>", language='"><script>'
    )
    (folder / "talk.json").write_text(json.dumps(hostile))
    page = rendered(run, folder, "--audio", "talk.wav")
    browser.get_log("performance")
    browser.get_log("browser")
    open_page(browser, page)
    wait(browser, "return audio.duration > 10")
    assert browser.execute_script("return window.taken ?? null") is None
    shown = browser.find_element(By.ID, "transcript").text
    for attack in attacks[:5]:
        assert attack in shown
    assert "\u202e" not in shown and "\x1b" not in shown
    requested = {
        event["params"]["request"]["url"]
        for event in (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
        if event["method"] == "Network.requestWillBeSent"
    }
    assert page.as_uri() in requested and requested <= {page.as_uri(), (folder / "talk.wav").as_uri()}
    assert not [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]]


def test_embedded_recording_plays_without_its_file(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    page = rendered(run, folder, "--embed-audio")
    moved = folder / "elsewhere" / "talk.html"
    moved.parent.mkdir()
    shutil.move(page, moved)
    (folder / "talk.wav").unlink()
    open_page(browser, moved, "#t=8")
    assert wait(browser, "return audio.duration > 10 && audio.duration") == pytest.approx(10.81, abs=0.05)
    assert browser.execute_script("return audio.currentSrc").startswith("blob:")
    press(browser, " ")
    wait(browser, "return audio.currentTime > 8.1")
    press(browser, " ")


def test_page_without_its_recording_asks_for_it(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    page = rendered(run, folder)
    (folder / "talk.wav").rename(folder / "moved.wav")
    open_page(browser, page)
    wait(browser, "return !byId('choose').hidden && byId('status').textContent.includes('Choose the file')")
    browser.find_element(By.ID, "file").send_keys(str(folder / "moved.wav"))
    wait(browser, "return audio.duration > 10")
    press(browser, Keys.TAB)
    click_word(browser, 5)
    wait(browser, "return !audio.paused && audio.currentTime >= 2")


def test_transcribe_links_the_recording_from_the_folder_of_the_page(run: Run, folder: Path) -> None:
    with golden.FaultServer(golden.BEHAVIOURS["fine"]) as server:
        env = {"CARTESIA_API_KEY": golden.KEY, "CARTESIA_BASE_URL": server.base_url}
        done = run("transcribe", "talk.wav", "-f", "html,json", "--output-dir", "out/pages", env=env)
    assert done.returncode == 0, done.stderr
    page = (folder / "out" / "pages" / "talk.html").read_text()
    assert '"link":"../../talk.wav"' in page
