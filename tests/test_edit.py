"""`edit`: correcting a transcript in a real browser, and the server that saves it."""

from __future__ import annotations

import io
import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cartesia_cli.errors import Exit
from cartesia_cli.output.console import Reporter
from cartesia_cli.output.page_server import HOST, PageHandler, PageServer
from tests import golden

from .conftest import Run
from .test_player import WORDS, click_word, document, open_page, press, rendered, violations, wait

pytestmark = pytest.mark.shell

CLI = (sys.executable, "-m", "cartesia_cli")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "talk.wav").write_bytes(golden.SAMPLE)
    (tmp_path / "talk.json").write_text(json.dumps(document(WORDS), indent=2))
    return tmp_path


class Page:
    """A running `edit`: the address of its page, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()
        parts = urlsplit(self.url)
        self.host, self.token = parts.netloc, parts.path.strip("/")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> HTTPResponse:
        connection = HTTPConnection(self.host, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        return connection.getresponse()

    def put(self, body: bytes, version: str | None, **headers: str) -> HTTPResponse:
        tagged = headers if version is None else {"If_Match": version, **headers}
        return self.request("PUT", f"/{self.token}/transcript", body, **tagged)

    def version(self) -> str:
        page = self.request("GET", f"/{self.token}/").read().decode()
        return str(json.loads(page.split('"version":')[1].split("}")[0]))

    def end(self) -> str:
        """Press Ctrl-C; returns what it says then."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, said
        return said


@contextmanager
def editing(folder: Path, environment: dict[str, str], *options: str, program: tuple[str, ...] = CLI) -> Iterator[Page]:
    process = subprocess.Popen(
        [*program, "edit", "talk.json", *options], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        page = Page(process)
        yield page
        if process.poll() is None:
            page.end()
    finally:
        process.kill()
        process.communicate()


def saved(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "talk.json").read_text())
    return found


def said(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.ID, "said").text


def write(browser: webdriver.Chrome, text: str, end: str = Keys.ENTER) -> None:
    """Change the selected word."""
    press(browser, Keys.ENTER)
    press(browser, text, end)


def control(browser: webdriver.Chrome, key: str) -> None:
    webdriver.ActionChains(browser).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()


def save(browser: webdriver.Chrome) -> None:
    control(browser, "s")
    wait(browser, "return byId('said').textContent.startsWith('Saved')")


def test_corrections_are_saved_and_rendered_with_their_times(
    browser: webdriver.Chrome, run: Run, folder: Path, environment: dict[str, str]
) -> None:
    before = saved(folder)
    content = (folder / "talk.json").read_bytes()
    with editing(folder, environment, "--audio", "talk.wav") as page:
        browser.get(page.url)
        wait(browser, "return audio.duration > 10")
        press(browser, "e")
        click_word(browser, 1)
        assert browser.execute_script("return [audio.paused, position]") == [True, 0.45]
        assert said(browser) == "“morning,”, 0.45 to 0.90 s"
        press(browser, Keys.ENTER)
        top, field = browser.execute_script(
            """const { paragraph, offset, length } = words[1];
            return [rangeOf(paragraph, offset, length), byId("spelling")].map((one) => {
              const box = one.getBoundingClientRect(); return [box.x, box.y + box.height / 2] })"""
        )
        assert field == pytest.approx(top, abs=3)  # the word is written where it is read
        press(browser, "evening,", Keys.ENTER)
        assert said(browser) == "Changed: “evening,”, 0.45 to 0.90 s"
        press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        write(browser, "are all")  # 0.15 s for six letters
        click_word(browser, 7)
        press(browser, "m")
        assert said(browser) == "Merged: “😀thanks.”, 2.50 to 3.20 s"
        press(browser, Keys.ARROW_RIGHT, Keys.DELETE)
        browser.find_elements(By.CSS_SELECTOR, ".name")[1].click()
        press(browser, "Benjamin", Keys.ENTER)
        assert browser.find_element(By.ID, "transcript").text.count("Benjamin:") == 1
        save(browser)
        assert said(browser) == "Saved in talk.json; the original is in talk.json.orig."
    after = saved(folder)
    assert (folder / "talk.json.orig").read_bytes() == content
    assert after["text"] == "Good evening, how are all you? Fine 😀thanks."
    assert "".join(segment["text"] for segment in after["segments"]) == after["text"]
    assert after["words"] == [
        before["words"][0],
        before["words"][1] | {"word": "evening,", "edited": True},
        before["words"][2],
        {"word": "are", "start": 1.25, "end": 1.325, "edited": True, "speaker": "Anna"},
        {"word": "all", "start": 1.325, "end": 1.4, "edited": True, "speaker": "Anna"},
        before["words"][4],
        before["words"][5] | {"speaker": "Benjamin"},
        {"word": "😀thanks.", "start": 2.5, "end": 3.2, "edited": True, "speaker": "Benjamin"},
    ]
    assert {name: after[name] for name in ("source", "model", "duration")} == {
        name: before[name] for name in ("source", "model", "duration")
    }
    done = run("render", "talk.json", "-q", "-f", "srt")
    assert done.stdout.decode() == (
        "1\n00:00:00,100 --> 00:00:01,917\nAnna: Good evening, how are all you?\n\n"
        "2\n00:00:02,000 --> 00:00:03,200\nBenjamin: Fine 😀thanks.\n"
    )
    assert run("render", "talk.json", "-q", "-f", "json").stdout == (folder / "talk.json").read_bytes()


def test_every_correction_can_be_undone_and_done_again(
    browser: webdriver.Chrome, run: Run, folder: Path, environment: dict[str, str]
) -> None:
    before, text = saved(folder), "return byId('transcript').innerText"
    with editing(folder, environment) as page:
        browser.get(page.url)
        first = wait(browser, text)
        press(browser, "e")
        states = [first]
        corrections: tuple[Callable[[], None], ...] = (
            lambda: write(browser, "one two three", Keys.TAB),
            lambda: press(browser, Keys.ESCAPE, "m"),
            lambda: press(browser, Keys.DELETE),
            lambda: press(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.DELETE),
        )
        for correct in corrections:
            correct()
            states.append(browser.execute_script(text))
        assert len(set(states)) == len(states), states
        browser.find_elements(By.CSS_SELECTOR, ".name")[0].click()
        press(browser, "Annika", Keys.ENTER)
        assert len(set(states)) == 5
        for state in reversed(states):
            control(browser, "z")
            assert browser.execute_script(text) == state
        assert browser.find_element(By.ID, "save").get_attribute("disabled")
        for state in states[1:]:
            control(browser, "y")
            assert browser.execute_script(text) == state
        for _ in states[1:]:
            control(browser, "z")
        write(browser, "Bad")
        control(browser, "z")
        write(browser, "Good!")
        save(browser)
    after = saved(folder)
    assert after["words"][1:] == before["words"][1:]
    assert after["text"] == "Good!" + before["text"][4:]


CORRECT_AT_RANDOM = """
let state = arguments[0], steps = 0;
const random = (n) => { state = (state * 48271) % 2147483647; return state % n; };
const field = byId("spelling");
const press = (target, key, ctrlKey = false) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key, ctrlKey, bubbles: true }));
const texts = ["x", "two words", "", "a-b, c", "😀 é", "…", "  the  the "];
for (let i = 0; i < arguments[1]; i++) {
  for (let k = random(6); k > 0; k--) press(document.body, "ArrowRight");
  for (let k = random(6); k > 0; k--) press(document.body, "ArrowLeft");
  const choice = random(5);
  if (choice === 0) press(document.body, "m");
  else if (choice === 1) press(document.body, "Delete");
  else if (choice === 2) press(document.body, "z", true);
  else {
    press(document.body, "Enter");
    field.value = texts[random(texts.length)];
    press(field, "Enter");
  }
  for (const word of words) {
    const shown = String(rangeOf(word.paragraph, word.offset, word.length));
    if (shown !== word.spelling) return `${shown} instead of ${word.spelling} after step ${i}`;
  }
}
"""
"""Random corrections of a page, by keys. Returns a complaint if a word isn't where the page says."""


def test_random_corrections_save_a_whole_transcript_and_undone_the_same_one(
    browser: webdriver.Chrome, run: Run, folder: Path, environment: dict[str, str]
) -> None:
    texts = ["“One, two", " – three!”", "", " The the 😀 the", " end... ", " One (more)", " sentence"]
    spellings = ["One", " two", " three", "The", "the", "😀", "the", "end", " One", "more", "sentence"]
    words = [{"word": word, "start": 0.7 * k, "end": 0.7 * k + 0.3} for k, word in enumerate(spellings)]
    for word in words[3:6]:
        word["speaker"] = "0"
    segments = [{"start": k, "end": k + 1, "text": text, "timing": "server"} for k, text in enumerate(texts)]
    notices = [{"at": 1, "event": "mark", "message": "here"}]
    before = {"source": "talk.wav", "model": "ink-whisper", "text": "".join(texts), "segments": segments,
              "words": words, "notices": notices}  # fmt: skip
    (folder / "talk.json").write_text(json.dumps(before))
    before = json.loads(run("render", "talk.json", "-f", "json").stdout)
    for seed in range(1, 4):
        with editing(folder, environment) as page:
            browser.get(page.url)
            press(browser, "e")
            assert browser.execute_script(CORRECT_AT_RANDOM, 7919 * seed, 40) is None
            save(browser)
            found = saved(folder)
            assert found["text"] == "".join(segment["text"] for segment in found["segments"]) != before["text"]
            browser.execute_script("while (!byId('undo').disabled) byId('undo').click()")
            save(browser)
        assert saved(folder) == before


def test_odd_words_are_walked_through(
    browser: webdriver.Chrome, run: Run, folder: Path, environment: dict[str, str]
) -> None:
    words = document([("a", 0.1, 3.4, "A"), ("b", 3.5, 3.5, "A"), ("c", 4, 5, "A"), ("d", 4.5, 5, "A"),
                      ("e", 5, 6, "A"), ("f", 6, 7, "A"), ("g", 7, 8, "A")])  # fmt: skip
    words["words"][5]["estimated"] = True
    (folder / "talk.json").write_text(json.dumps(words))
    open_page(browser, rendered(run, folder))
    press(browser, "e")
    reasons = []
    for _ in range(5):
        reasons.append(said(browser).partition(": ")[2])
        press(browser, "n")
    assert reasons == [
        "it lasts 3.3 s", "it has no length", "the next word begins before it ends", "its times are estimated",
        "it lasts 3.3 s",
    ]  # fmt: skip
    assert browser.find_element(By.ID, "odd").text == "4 to review"
    assert browser.execute_script("return [...highlights.odd].map(String)") == ["a", "b", "c", "f"]
    webdriver.ActionChains(browser).key_down(Keys.SHIFT).send_keys("n").key_up(Keys.SHIFT).perform()
    assert said(browser).startswith("“a”")
    write(browser, "A")
    assert browser.find_element(By.ID, "odd").text == "3 to review"
    control(browser, "z")


def test_words_with_silence_inside_are_marked(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    tone = 0.3 * np.sin(np.arange(16_000) / 5)
    soundfile.write(folder / "talk.wav", np.concatenate([tone, np.zeros(9600), tone]), 16_000)
    words = [("one", 0.0, 0.9, "A"), ("two", 0.9, 1.5, "A"), ("three", 1.5, 2.6, "A")]
    for shift, found in ((0.0, []), (0.4, ["two"])):
        words[1] = ("two", 0.9, 1.5 + shift, "A")
        words[2] = ("three", 1.5 + shift, 2.6, "A")
        (folder / "talk.json").write_text(json.dumps(document(words)))
        open_page(browser, rendered(run, folder))
        press(browser, "e")
        assert browser.execute_script("return [...highlights.odd].map(String)") == found
    press(browser, "n")
    assert said(browser) == "“two”, 0.90 to 1.90 s: there is silence inside"


def test_page_of_render_downloads_what_was_corrected(
    browser: webdriver.Chrome, run: Run, folder: Path, environment: dict[str, str]
) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder / "got")})
    open_page(browser, rendered(run, folder))
    copies = browser.find_elements(By.CSS_SELECTOR, "[data-copy=srt], [data-copy=md]")
    assert [button.is_enabled() for button in copies] == [True, True]
    press(browser, "e")
    write(browser, "<b>Hi</b>\u202e!")
    assert [button.is_enabled() for button in copies] == [False, False]
    assert asks_before_it_is_closed(browser)
    assert browser.execute_script("return data.copies.text").startswith(
        "Anna: <b>Hi</b>! morning, how are you?\n\nBen:"
    )
    control(browser, "s")
    wait(browser, "return byId('said').textContent.startsWith('Downloaded as talk.json')")
    wait_for(folder / "got" / "talk.json")
    assert not asks_before_it_is_closed(browser)
    done = run("render", folder / "got" / "talk.json", "-q")
    assert done.stdout.decode().startswith("Anna: <b>Hi</b>! morning, how are you?\nBen:")


def asks_before_it_is_closed(browser: webdriver.Chrome) -> bool:
    script = "const leaving = new Event('beforeunload', { cancelable: true }); return !dispatchEvent(leaving)"
    return bool(browser.execute_script(script))


def wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} was never written")


def test_corrections_have_no_accessibility_violations(browser: webdriver.Chrome, run: Run, folder: Path) -> None:
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        open_page(browser, rendered(run, folder))
        press(browser, "e", Keys.ENTER)
        assert browser.find_element(By.ID, "spelling").is_displayed()
        assert violations(browser) == [], scheme
        press(browser, Keys.ESCAPE)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_transcript_that_became_unreadable_is_reported(folder: Path, environment: dict[str, str]) -> None:
    with editing(folder, environment) as page:
        assert "connect-src 'self';" in page.request("GET", f"/{page.token}/").read().decode()
        (folder / "talk.json").write_text("{")
        answer = page.request("GET", f"/{page.token}/")
        assert (answer.status, answer.read()[:35]) == (500, b"talk.json can't be read any more: t")
        (folder / "talk.json").unlink()
        assert page.request("GET", f"/{page.token}/").status == 500
        assert page.put(json.dumps(document(WORDS)).encode(), '"it"').status == 409
        page.process.terminate()
        assert page.process.wait(20) == Exit.TERMINATED


def test_file_that_something_else_has_changed_is_not_overwritten(
    browser: webdriver.Chrome, folder: Path, environment: dict[str, str]
) -> None:
    with editing(folder, environment) as page:
        browser.get(page.url)
        press(browser, "e")
        write(browser, "Bad")
        (folder / "talk.json").write_text(json.dumps(document(WORDS[:3])))
        control(browser, "s")
        wait(browser, "return byId('said').textContent.includes('changed by something else')")
        assert browser.find_element(By.ID, "download").is_displayed()
        assert saved(folder)["text"] == "Good morning, how"
        press(browser, "e")
        control(browser, "z")
        assert "nothing was saved" in page.end()
    assert not (folder / "talk.json.orig").exists()


def test_requests_of_others_are_refused(folder: Path, environment: dict[str, str]) -> None:
    content = (folder / "talk.json").read_bytes()
    with editing(folder, environment) as page:
        port, version = page.host.partition(":")[2], page.version()
        changed = json.dumps(saved(folder) | {"language": "en"}).encode()
        good = f"/{page.token}/"
        refusals = [
            (page.request("GET", good, Host="evil.example"), 403),
            (page.request("GET", good, Host=f"evil.example:{port}"), 403),
            (page.request("GET", good, Host=f"127.0.0.1:{int(port) - 1}"), 403),
            (page.request("GET", "/"), 404),
            (page.request("GET", "/recording"), 404),
            (page.request("GET", f"/{page.token[:-1]}/"), 404),
            (page.request("GET", f"{good}../talk.json"), 404),
            (page.request("GET", f"{good}talk.wav"), 404),
            (page.request("DELETE", f"{good}transcript"), 501),
            (page.request("POST", f"{good}transcript"), 501),
            (page.request("PUT", "/transcript", changed, If_Match=version), 404),
            (page.request("PUT", f"{good}recording", changed, If_Match=version), 404),
            (page.put(changed, version, Origin="https://evil.example"), 403),
            (page.put(changed, version, Origin="null"), 403),
            (page.put(changed, version, Origin="http://127.0.0.1"), 403),
            (page.put(changed, version, Host="evil.example", Origin="http://evil.example"), 403),
            (page.put(changed, None), 428),
            (page.put(changed, '"of another"'), 409),
            (page.put(changed, version, Content_Length=str(1 << 40)), 413),
            (page.put(changed, version, Content_Length="-1"), 411),
            (page.put(changed, version, Content_Length="0x10"), 411),
        ]  # fmt: skip
        assert [response.status for response, _ in refusals] == [status for _, status in refusals]
        assert (folder / "talk.json").read_bytes() == content
        assert not (folder / "talk.json.orig").exists()
        answer = page.put(changed, version, Origin=f"http://{page.host}")
        assert answer.status == 200, answer.read()
        assert saved(folder)["language"] == "en"
        assert page.put(content, answer.getheader("ETag")).status == 200
        assert json.loads((folder / "talk.json.orig").read_bytes()) == json.loads(content)
        assert "saved the corrections in talk.json; the original is in talk.json.orig" in page.end()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"WEBVTT\n\n00:00.000 --> 00:01.000\nno\n", b'{"text": "no"}',
        b'{"source": "a", "model": "b", "text": "no words"}',
        json.dumps(document(WORDS) | {"text": "other words than these"}).encode(),
        json.dumps(document(WORDS) | {"segments": []}).replace('"Good"', '"Bad"').encode(),
        json.dumps(document(WORDS) | {"words": [{"word": "Good", "start": "soon", "end": 1}]}).encode(),
        json.dumps(document(WORDS) | {"words": None}).encode(),
        json.dumps(document(WORDS)).replace('"word":', '"text":').encode(),
        (json.dumps(document(WORDS)) * 2).encode(),
        b'{"source": ' * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_a_transcript_is_not_saved(folder: Path, environment: dict[str, str], body: bytes) -> None:
    content = (folder / "talk.json").read_bytes()
    with editing(folder, environment) as page:
        answer = page.put(body, page.version())
        assert answer.status == 422
        assert answer.read().startswith(b"Not saved: ")
    assert (folder / "talk.json").read_bytes() == content


def test_faults_while_the_page_is_open_are_answered(run: Run, folder: Path, environment: dict[str, str]) -> None:
    with editing(folder, environment, "--audio", "talk.wav") as page:
        version = page.version()
        half = HTTPConnection(page.host, timeout=20)
        half.putrequest("PUT", f"/{page.token}/transcript")
        half.putheader("Content-Length", "1000")
        half.putheader("If-Match", version)
        half.endheaders(b'{"source": ')
        half.sock.shutdown(socket.SHUT_WR)
        answer = half.getresponse()
        assert (answer.status, answer.read()) == (400, b"Not saved: the transcript is not complete.")
        (folder / "talk.wav").unlink()
        answer = page.request("GET", f"/{page.token}/recording")
        assert (answer.status, answer.read()) == (404, b"The recording can't be read: No such file or directory.")
        body = (folder / "talk.json").read_bytes()
        (folder / "talk.json").unlink()
        (folder / "talk.json").mkdir()
        answer = page.put(body, version)
        assert (answer.status, answer.read()) == (500, b"Not saved: talk.json can't be written: Is a directory.")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (folder / "other.json").write_bytes(body)
        done = run("edit", "other.json", "--port", taken.getsockname()[1])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"can't be used: Address already in use" in done.stderr


def test_recording_is_served_in_parts(folder: Path, environment: dict[str, str]) -> None:
    with editing(folder, environment) as page:
        for wanted, status, part, place in (
            ("bytes=0-9", 206, golden.SAMPLE[:10], "bytes 0-9/345928"),
            ("bytes=345920-", 206, golden.SAMPLE[-8:], "bytes 345920-345927/345928"),
            ("bytes=-8", 206, golden.SAMPLE[-8:], "bytes 345920-345927/345928"),
            ("bytes=345920-999999", 206, golden.SAMPLE[-8:], "bytes 345920-345927/345928"),
            ("bytes=345928-", 416, b"", "bytes */345928"),
            ("bytes=9-3", 416, b"", "bytes */345928"),
            ("", 200, golden.SAMPLE, None),
        ):
            answer = page.request("GET", f"/{page.token}/recording", None, **({"Range": wanted} if wanted else {}))
            assert (answer.status, answer.read(), answer.getheader("Content-Range")) == (status, part, place)
        for path, length in (("recording", "345928"), ("nothing", "22")):
            answer = page.request("HEAD", f"/{page.token}/{path}")
            assert (answer.getheader("Content-Length"), answer.read()) == (length, b"")


def test_fault_of_the_program_is_reported_and_the_server_goes_on() -> None:
    class Failing(PageHandler):
        def do_GET(self) -> None:
            if self.route() == "fails":
                raise ValueError("a fault")
            self.answer(HTTPStatus.OK, "works")

    said = io.StringIO()
    reporter = Reporter(said)
    reporter.debug = reporter.quiet = True
    with PageServer(0, Failing, on_error=reporter.internal_error) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for path, body in (("fails", None), ("", b"works")):
            connection = HTTPConnection(HOST, server.server_port, timeout=20)
            connection.request("GET", f"/{server.token}/{path}")
            if body is None:
                with pytest.raises(RemoteDisconnected):
                    connection.getresponse()
            else:
                assert connection.getresponse().read() == body
        server.shutdown()
    error, hint, *traceback = said.getvalue().splitlines()
    assert (error, hint) == (
        "error: internal error: ValueError: a fault",
        "hint: --debug shows where; please report it",
    )
    assert any("do_GET" in line for line in traceback)


@pytest.mark.parametrize("call", ["link", "fsync", "replace"])
def test_kill_while_saving_leaves_the_old_transcript(folder: Path, environment: dict[str, str], call: str) -> None:
    content = (folder / "talk.json").read_bytes()
    killed = f"import os\ndef kill(*_, **__): os.kill(os.getpid(), 9)\nos.{call} = kill\n"
    program = (sys.executable, "-c", killed + "from cartesia_cli.__main__ import main\nmain()")
    with editing(folder, environment, program=program) as page:
        changed = json.dumps(saved(folder) | {"language": "en"}).encode()
        version = page.version()
        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            page.put(changed, version)
        assert page.process.wait(20) == -signal.SIGKILL
    assert (folder / "talk.json").read_bytes() == content
    with editing(folder, environment) as page:
        assert page.put(changed, page.version()).status == 200
    assert saved(folder)["language"] == "en"
    assert (folder / "talk.json.orig").read_bytes() == content


def test_original_is_never_overwritten_and_one_line_stays_one(folder: Path, environment: dict[str, str]) -> None:
    (folder / "talk.json.orig").write_text("mine")
    (folder / "talk.json").write_text(json.dumps(document(WORDS)))
    with editing(folder, environment) as page:
        assert page.put(json.dumps(document(WORDS), indent=2).encode(), page.version()).status == 200
    assert (folder / "talk.json.orig").read_text() == "mine"
    assert (folder / "talk.json").read_text() == json.dumps(document(WORDS), ensure_ascii=False) + "\n"


def test_open_starts_the_browser_with_the_page(folder: Path, environment: dict[str, str]) -> None:
    script = folder / "browse"
    script.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(folder / "opened"))}\n')
    script.chmod(0o755)
    with editing(folder, environment | {"BROWSER": f"{script} %s"}, "--open") as page:
        wait_for(folder / "opened")
        assert (folder / "opened").read_text().strip() in ("", page.url)
    bare = {name: value for name, value in environment.items() if name not in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")}
    with editing(folder, bare | {"PATH": str(folder)}, "--open") as page:
        assert page.process.stderr is not None and "open this page" in page.process.stderr.readline()
        assert page.process.stderr.readline() == "warning: no browser could be started\n"


def test_what_edit_suggests_makes_a_file_that_can_be_corrected(
    run: Run, folder: Path, environment: dict[str, str]
) -> None:
    spoken = {"text": "Hello.", "words": [{"word": "Hello.", "start": 0, "end": 1}]}
    (folder / "-api.json").write_text(json.dumps(spoken))
    lines = (json.dumps(document(WORDS) | {"source": name}) + "\n" for name in ("one.wav", "two.wav"))
    (folder / "both.ndjson").write_text("".join(lines))
    for name, message, made in (
        ("-api.json", "is not a JSON document of cartesia-cli", ["-api.cartesia.json"]),
        ("both.ndjson", "has 2 transcripts", ["both.cartesia/one.json", "both.cartesia/two.json"]),
    ):
        done = run("edit", "--", name)
        assert done.returncode == 3
        assert f"{name} {message}" in done.stderr.decode()
        command = done.stderr.decode().strip().rpartition(": cartesia-cli ")[2]
        assert run(*shlex.split(command)).returncode == 0
        for path in made:
            (folder / path).replace(folder / "talk.json")
            with editing(folder, environment):
                pass


def test_only_documents_of_this_program_can_be_corrected(run: Run, folder: Path) -> None:
    (folder / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello.\n")
    assert run("render", "talk.srt", "-q", "-f", "json", "-o", "cues.json").returncode == 0
    for name in ("talk.srt", "cues.json"):
        done = run("edit", name)
        assert (done.returncode, done.stdout) == (3, b"")
        assert f"{name} has no words that could be corrected" in done.stderr.decode()
        assert "hint: `transcribe -f json` writes them" in done.stderr.decode()
    for arguments, code, message in (
        (["none.json"], 3, "none.json"),
        (["-"], 2, "stdin"),
        (["talk.json", "--audio", "none.wav"], 3, "none.wav does not exist"),
    ):
        done = run("edit", *arguments)
        assert done.returncode == code, done.stderr
        assert message in done.stderr.decode()
