"""The page of `--page`: its events over HTTP, what it refuses, and in a real browser."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from cartesia_cli.output import live_page
from cartesia_cli.output.live_page import MAX_LINES, MAX_PARTIAL_CHARS, Captions, LivePage, Position
from cartesia_cli.transcript import Notice, Partial, Segment

from . import golden
from .conftest import Run
from .fork_server import PIPE, start_program
from .realtime_server import RealtimeServer, ServerConnection, connected, turn
from .test_player import violations, wait

KEY = {"CARTESIA_API_KEY": "sk_car_test"}
TOKEN = "a-token-of-one-s-own"
SOON = 30.0


class Events:
    """A client of the events."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SOON)
        self.connection.request("GET", f"{parts.path}events")
        self.response = self.connection.getresponse()
        assert self.response.status == 200

    def next(self) -> tuple[str, Any]:
        """Name and data of the next event; ("", None) at the end of the stream."""
        name = ""
        for line in iter(self.response.readline, b""):
            field, _, value = line.decode().rstrip("\n").partition(": ")
            match field:
                case "event":
                    name = value
                case "data":
                    return name, json.loads(value)
        return "", None

    def take(self, count: int) -> list[tuple[str, Any]]:
        return [self.next() for _ in range(count)]

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def request(url: str, path: str | None = None, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SOON)
    connection.request(method, parts.path if path is None else path, headers=headers)
    response = connection.getresponse()
    return response, response.read()


def segment(text: str) -> Segment:
    return Segment(0, 1, text, "server")


@pytest.fixture
def page() -> Iterator[LivePage]:
    with LivePage(source="talk.wav") as opened:
        yield opened


def test_session_is_sent_as_events_to_early_and_late_clients(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(golden.SAMPLE)
    joined, late = threading.Event(), threading.Event()

    def script(connection: ServerConnection) -> None:
        connection.admit(first=connected())
        connection.until_audio(0.1)
        joined.wait(SOON)
        for event in (turn("start"), turn("update", "Good"), turn("update", "Good morn")):
            connection.say(event)
            connection.pause(0.1)
        connection.say(turn("end", "Good morning."))
        for event in (turn("start"), turn("update", " Next")):
            connection.say(event)
        late.wait(SOON)
        connection.say(turn("end", " Next one."))
        connection.until_command("close")
        connection.close()

    with RealtimeServer(script) as server:
        command = ("stream-file", tmp_path / "talk.wav", "-q", "--duration", "1", "--base-url", server.base_url,
                   "--page", "--page-token", TOKEN)  # fmt: skip
        with start_program(command, env=environment | KEY, stdout=PIPE, stderr=PIPE) as program:
            assert program.stderr is not None
            shown = program.stderr.readline().decode()
            assert re.fullmatch(rf"captions: http://127\.0\.0\.1:\d+/{TOKEN}/\n", shown)
            url = shown.split()[1]
            early = Events(url)
            assert early.take(2) == [("reset", {"lines": []}), ("partial", {"text": ""})]
            joined.set()
            seen = list[tuple[str, Any]]()
            while ("partial", {"text": "Next"}) not in seen:
                seen.append(early.next())
            latecomer = Events(url)
            assert latecomer.take(2) == [("reset", {"lines": ["Good morning."]}), ("partial", {"text": "Next"})]
            late.set()
            last = [("segment", {"text": "Next one."}), ("partial", {"text": ""}), ("end", {}), ("", None)]
            assert latecomer.take(4) == last
            assert early.take(4) == last
            out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, b"")
    assert out.decode() == "Good morning.\nNext one.\n"
    settled = ("segment", {"text": "Good morning."})
    assert [event for event in seen if event[0] == "segment"] == [settled]
    assert ("partial", {"text": "Good"}) in seen


def test_undo_drops_the_last_line_for_all_clients(page: LivePage) -> None:
    captions = page.captions
    for text in ("One.", "Two."):
        captions.update(segment(text))
    first = Events(page.url)
    assert first.take(2) == [("reset", {"lines": ["One.", "Two."]}), ("partial", {"text": ""})]
    captions.undo()
    assert first.next() == ("reset", {"lines": ["One."]})
    assert Events(page.url).next() == ("reset", {"lines": ["One."]})
    captions.undo()
    assert first.next() == ("reset", {"lines": []})
    captions.undo()  # nothing left
    captions.update(segment("Three."))
    assert first.next() == ("segment", {"text": "Three."})


def test_client_gets_what_came_meanwhile_once(page: LivePage) -> None:
    captions = page.captions
    captions.update(segment("One."))
    client = Events(page.url)
    assert client.take(2) == [("reset", {"lines": ["One."]}), ("partial", {"text": ""})]
    captions.update(Notice(1.0, "connection_lost", "not for captions"))
    captions.update(Partial(1.0, " Tw"))
    assert client.next() == ("partial", {"text": "Tw"})
    captions.update(segment(" Two."))
    assert client.take(2) == [("segment", {"text": "Two."}), ("partial", {"text": ""})]
    client.close()
    assert Events(page.url).next() == ("reset", {"lines": ["One.", "Two."]})


def test_client_that_missed_more_than_is_kept_gets_all_lines() -> None:
    captions = Captions()
    captions.update(segment("One."))
    _, position, _ = captions.wait_for_events(Position(), 0)
    for number in range(MAX_LINES):
        captions.update(segment(str(number)))
    events, here, _ = captions.wait_for_events(position, 0)
    assert events.startswith('event: segment\ndata: {"text": "0"}\n') and events.count("event: ") == MAX_LINES
    captions.update(segment("last"))
    assert captions.wait_for_events(here, 0)[0] == 'event: segment\ndata: {"text": "last"}\n\n'
    assert captions.wait_for_events(position, 0)[0].startswith('event: reset\ndata: {"lines": ["1", ')


def test_memory_and_partials_are_bounded(page: LivePage) -> None:
    for number in range(MAX_LINES + 10):
        page.captions.update(segment(str(number)))
    page.captions.update(Partial(1.0, " word" * MAX_PARTIAL_CHARS))
    client = Events(page.url)
    _, data = client.next()
    assert data["lines"] == [str(number) for number in range(10, MAX_LINES + 10)]
    _, data = client.next()
    assert len(data["text"]) <= MAX_PARTIAL_CHARS + 2
    assert data["text"].startswith("… word ") and data["text"].endswith(" word")


def test_slow_client_delays_nothing_and_gets_the_rest_later(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page._Handler, "timeout", 0.3)
    slow, quick = Events(page.url), Events(page.url)
    quick.take(2)
    long = "x" * 100_000
    for number in range(200):  # 20 MB are more than any socket holds
        page.captions.update(segment(f"{number} {long}"))
        assert quick.next() == ("segment", {"text": f"{number} {long}"})
    captions = page.captions
    with captions._changed:
        assert captions._changed.wait_for(lambda: captions._clients == 1, SOON)
    slow.close()
    captions.update(segment("last"))
    assert quick.next() == ("segment", {"text": "last"})
    monkeypatch.undo()  # this test itself may be slow
    assert len(Events(page.url).next()[1]["lines"]) == 201  # once it reconnects


def test_end_does_not_wait_for_a_client_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "LAST_EVENTS_SECONDS", 0.1)
    with LivePage() as page:
        silent = Events(page.url)
        for _ in range(MAX_LINES):
            page.captions.update(segment("x" * 4000))
    with pytest.raises(ConnectionRefusedError):
        Events(page.url)
    silent.close()


def test_only_requests_to_the_page_itself_with_its_token_are_answered(page: LivePage) -> None:
    own = urlsplit(page.url).netloc
    port = urlsplit(page.url).port
    for path in ("/", "/events", "/wrong-token-of-same-length/", "/wrong/events", f"{urlsplit(page.url).path}other"):
        assert request(page.url, path)[0].status == 404, path
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1:1", "127.0.0.1", f"[::1]:{port}", ""):
        for path in ("", "events"):
            assert request(page.url, urlsplit(page.url).path + path, Host=host)[0].status == 403, host
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert request(page.url, Origin=origin)[0].status == 403
    assert request(page.url, Origin=f"http://{own}")[0].status == 200
    assert request(page.url, Host=f"localhost:{port}")[0].status == 200
    assert request(page.url, method="POST")[0].status == 501
    moved, _ = request(page.url, urlsplit(page.url).path[:-1] + "?lines=2")
    assert (moved.status, moved.getheader("Location")) == (308, urlsplit(page.url).path + "?lines=2")
    response, body = request(page.url)
    policy = response.getheader("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert response.getheader("Referrer-Policy") == "no-referrer"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("Access-Control-Allow-Origin") is None
    assert b"talk.wav: live" in body


def test_server_listens_on_loopback_only_and_tokens_are_random(page: LivePage) -> None:
    assert page.socket.getsockname()[0] == "127.0.0.1"
    with LivePage() as other:
        assert urlsplit(other.url).path != urlsplit(page.url).path
        assert len(urlsplit(other.url).path) >= 24


def test_client_that_hangs_up_prints_nothing(page: LivePage, capfd: pytest.CaptureFixture[str]) -> None:
    parts = urlsplit(page.url)
    for sent in (b"", b"GET / HTTP/1.1\r\n", b"no HTTP\r\n\r\n", f"GET {parts.path}events HTTP/1.1\r\n".encode()):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(sent)
    page.captions.update(segment("One."))
    assert Events(page.url).next() == ("reset", {"lines": ["One."]})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("token", ["short", "with/slash/and-more-text"])
def test_unusable_token_is_refused_before_anything_is_sent(run: Run, tmp_path: Path, token: str) -> None:
    (tmp_path / "talk.wav").write_bytes(golden.SAMPLE)
    done = run("stream-file", "talk.wav", "--page", "--page-token", token, "--base-url", "http://127.0.0.1:9", env=KEY)
    assert done.returncode == 2
    assert b"--page-token can't be used" in done.stderr and b"hint: 16 to 128" in done.stderr


def test_port_without_the_page_is_a_usage_error(run: Run) -> None:
    done = run("stream-file", "talk.wav", "--page-port", "8710", env=KEY)
    assert (done.returncode, done.stderr) == (
        2, b"error: --page-port needs --page\nhint: add --page, or leave --page-port out\n",
    )  # fmt: skip


def test_port_that_is_taken_is_refused_before_anything_is_sent(run: Run, tmp_path: Path, page: LivePage) -> None:
    (tmp_path / "talk.wav").write_bytes(golden.SAMPLE)
    port = str(urlsplit(page.url).port)
    done = run("stream-file", "talk.wav", "--page", "--page-port", port, "--base-url", "http://127.0.0.1:9", env=KEY)
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 can't be used: ".encode() in done.stderr
    assert b"hint: name another port, or none" in done.stderr


# In a browser.


@contextmanager
def shown(browser: webdriver.Chrome, query: str = "") -> Iterator[LivePage]:
    with LivePage(source="talk.wav") as page:
        browser.get(page.url + query)
        wait(browser, "return note.textContent !== 'connecting'")
        yield page


def lines(browser: webdriver.Chrome) -> list[str]:
    return [str(text) for text in browser.execute_script("return [...settled.children].map((p) => p.textContent)")]


@pytest.mark.shell
def test_browser_shows_text_as_it_grows_and_continues_with_the_next_session(browser: webdriver.Chrome) -> None:
    with LivePage(token=TOKEN) as page:
        port = urlsplit(page.url).port or 0
        browser.get(page.url)
        page.captions.update(Partial(1.0, "Good mor"))
        wait(browser, "return partial.textContent === 'Good mor'")
        page.captions.update(segment("Good morning."))
        page.captions.update(segment(" To be dropped."))
        wait(browser, "return settled.childElementCount === 2 && partial.textContent === ''")
        page.captions.undo()
        wait(browser, "return settled.childElementCount === 1")
        assert violations(browser) == []
    wait(browser, "return note.textContent === 'ended'")
    assert lines(browser) == ["Good morning."]
    with LivePage(port=port, token=TOKEN) as page:
        page.captions.update(segment("A new session."))
        wait(browser, "return settled.textContent === 'A new session.' && note.textContent === ''")


@pytest.mark.shell
def test_browser_follows_the_end_unless_scrolled_away(browser: webdriver.Chrome) -> None:
    with shown(browser) as page:
        for number in range(60):
            page.captions.update(segment(f"Line {number}"))
        at_end = "root.scrollHeight - root.scrollTop - root.clientHeight < 2"
        wait(browser, f"return settled.childElementCount === 60 && {at_end}")
        browser.execute_script("root.scrollTop = 100")
        page.captions.update(segment("One more"))
        wait(browser, "return settled.childElementCount === 61")
        assert browser.execute_script("return root.scrollTop") == 100


@pytest.mark.shell
def test_parameters_set_the_style_of_captions(browser: webdriver.Chrome) -> None:
    query = (
        "?lines=2&size=48&background=%23000000aa&colour=yellow&outline=%23111&font=DejaVu%20Serif&align=center&note=off"
    )
    with shown(browser, query) as page:
        for number in range(40):
            page.captions.update(segment(f"Line {number}"))
        page.captions.update(Partial(1.0, "Not settled"))
        wait(browser, "return partial.textContent !== ''")
        style = "getComputedStyle(captions)"
        assert browser.execute_script(f"return {style}.fontSize") == "48px"
        assert browser.execute_script(f"return {style}.backgroundColor") == "rgba(0, 0, 0, 0.667)"
        assert browser.execute_script(f"return {style}.color") == "rgb(255, 255, 0)"
        assert browser.execute_script(f"return {style}.fontFamily") == '"DejaVu Serif", sans-serif'
        assert browser.execute_script(f"return {style}.textAlign") == "center"
        assert "rgb(17, 17, 17)" in browser.execute_script(f"return {style}.textShadow")
        assert browser.execute_script("return getComputedStyle(root).backgroundColor") == "rgba(0, 0, 0, 0)"
        visible = browser.execute_script(
            "const box = captions.getBoundingClientRect();"
            "return [...document.querySelectorAll('main p')].filter((p) => p.getBoundingClientRect().top >= box.top - 1"
            "  && p.getBoundingClientRect().bottom <= innerHeight + 1).map((p) => p.textContent)"
        )
        assert visible == ["Line 39", "Not settled"]
        assert browser.execute_script("return settled.childElementCount") == 22
        assert browser.find_element(By.ID, "note").text == ""


@pytest.mark.shell
def test_captions_hide_after_silence_and_partials_can_be_left_out(browser: webdriver.Chrome) -> None:
    with shown(browser, "?lines=2&hide=1&partials=off") as page:
        page.captions.update(Partial(1.0, "Not set"))
        page.captions.update(segment("Settled."))
        wait(browser, "return settled.childElementCount === 1 && !root.classList.contains('silent')")
        wait(browser, "return getComputedStyle(captions).visibility === 'hidden'")
        page.captions.update(Partial(1.0, "More"))
        page.captions.update(segment("More."))
        wait(browser, "return settled.childElementCount === 2 && !root.classList.contains('silent')")
        assert browser.execute_script("return partial.textContent") == ""


@pytest.mark.shell
def test_hostile_text_and_parameters_stay_text(browser: webdriver.Chrome) -> None:
    attack = "<img/src=x/onerror=window.taken=1></script><script>window.taken=1</script>\u202e\x1b[31m\ndata: x"
    query = (
        "?lines=<b>&size=1e9&colour=url(//evil.example)&background=red;color:blue&outline=var(--x)"
        "&font=x%22;}*{color:red}&align=javascript:1&hide=-1&partials=<script>&note=%00"
    )
    browser.get_log("performance")
    with LivePage(source=f"{attack}.wav") as page:
        browser.get(page.url + query)
        page.captions.update(Partial(1.0, attack))
        wait(browser, "return partial.textContent !== ''")
        page.captions.update(segment(attack))
        wait(browser, "return settled.childElementCount === 1")
        assert lines(browser) == [attack.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd").replace("\n", " ")]
        assert browser.execute_script("return window.taken ?? null") is None
        assert browser.execute_script("return document.querySelectorAll('img, b').length") == 0
        assert browser.execute_script("return document.scripts.length") == 1
        names = "lines, size, colour, background, outline, font, align, hide, partials, note"
        assert browser.find_element(By.ID, "note").text == f"not understood: {names}"
        for element in ("root", "captions", "document.body"):
            assert browser.execute_script(f"return {element}.getAttribute('style')") is None
        events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
        requested = {
            urlsplit(event["params"]["request"]["url"]).netloc
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        }
        assert requested <= {urlsplit(page.url).netloc, ""}
