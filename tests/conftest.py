"""Fixtures and pytest hooks of all tests: running the program in an empty home, the shared Whisper server, tiers."""

from __future__ import annotations

import asyncio
import compileall
import gc
import importlib.util
import inspect
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from .fork_server import ROOT, close_fork_servers, run_program
from .speech import SHARED

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from .fault_server import Behaviour, FaultServer
    from .microphone import Studio

SYSTEM_PROGRAMS = (
    "bash", "chromedriver", "chromium", "curl", "espeak-ng", "ffmpeg", "ffprobe", "fish", "jq", "mandoc", "pacat",
    "pactl", "pulseaudio", "script", "setpriv", "strace", "tmux", "zsh",
)  # fmt: skip
"""Programs that are not Python packages and that some tests need: see `require_program`."""

FIXTURE_MARKS = {
    "endings": "waits", "engine": "engine", "on_terminal": "shell", "open_server": "engine", "steps": "waits",
    "studio": "shell", "terminal": "shell", "whisper": "engine",
}  # fmt: skip
"""Fixture to the mark of the tests that use it (see pyproject.toml)."""

SLOWEST_FILES = (
    "test_judges", "test_files", "test_listen", "test_docs", "test_reconnect", "test_program", "test_listen_faults",
    "test_stream_file", "test_dask_cluster", "test_faults", "test_live_terminal", "test_microphone",
    "test_client_faults", "test_crashes", "test_golden", "test_announcement", "test_word_times", "test_offline",
    "test_dask_runs", "test_whisper", "test_soak", "test_listen_judged", "test_doctor", "test_scripted", "test_jobs",
    "test_serve_hostile", "test_moonshine", "test_no_word_lost", "test_packages", "test_local_jobs", "test_films",
    "test_config", "test_redaction", "test_pictures", "test_costs", "test_serve_access", "test_server",
    "test_soundtrack", "test_edit", "test_languages", "test_markup_in_text", "test_remote_inputs",
    "test_session_recording", "test_server_realtime", "test_client_realtime_faults", "test_output_checks",
    "test_hostile", "test_wire_format", "test_precedence", "test_wait_status", "test_cache", "test_manifest_runs",
    "test_check", "test_recovery",
)  # fmt: skip
"""Test files that take longest, in the order in which they start."""

ASYNC_TEST_TIMEOUT = 60
"""Seconds after which a test that is a coroutine counts as hanging."""

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Transcribe = Callable[..., "subprocess.CompletedProcess[str]"]
Row, Result = TypeVar("Row"), TypeVar("Result")


settings.register_profile(
    "tests",
    max_examples=50,  # `make fuzz` searches further
    deadline=None,  # how long an example takes depends on the load of the machine
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),  # no random failures in CI
)
settings.register_profile("fast", settings.get_profile("tests"), max_examples=10)  # for `make test-fast`
settings.load_profile("tests")

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise each worker and each program compiles every module
os.environ.pop("PYTHONUNBUFFERED", None)  # otherwise programs write in smaller pieces than for users


ONE_JOB = {"CARTESIA_TRANSCRIBE_JOBS": "1"}
"""Environment of programs in tests where the order of requests and messages matters."""

TINY_MODEL = {"CARTESIA_TRANSCRIBE_LOCAL_MODEL": "tiny.en"}
"""Environment of programs in tests where any model will do: the default one takes twice as long."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package, and make the folder that workers share; at the end, stop the Whisper server, whose process
    ID is in that folder.

    Programs that a test starts with little space for files would write parts of modules that aren't compiled yet.
    """
    config.add_cleanup(close_fork_servers)
    if "coverage" in sys.modules:  # it saves data between fork and exec, when destroying a model may wait for ever
        os.register_at_fork(after_in_child=gc.disable)
    if SHARED in os.environ:
        return
    compileall.compile_dir(ROOT / "cartesia_cli", quiet=2)

    def clean_up() -> None:
        del os.environ[SHARED]
        pid = folder / "whisper.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)
            if "coverage" in sys.modules:  # what is measured is combined next
                with suppress(ChildProcessError):
                    os.waitpid(int(pid.read_text()), 0)
                with suppress(ProcessLookupError):
                    for _ in range(600):
                        os.kill(int(pid.read_text()), 0)
                        time.sleep(0.05)
        shutil.rmtree(folder)

    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    os.environ[SHARED] = str(folder)
    config.add_cleanup(clean_up)


@pytest.fixture(scope="session")
def whisper() -> dict[str, str]:
    """Environment variables that name a local server with real engines, shared by all workers of a run: Whisper tiny.en
    and Moonshine.
    """
    folder = Path(os.environ[SHARED])
    address = folder / "whisper.address"
    with FileLock(folder / "lock"):
        if not address.exists():
            kept = {name: value for name, value in os.environ.items() if not name.startswith("CARTESIA_")}
            command = [sys.executable, "-m", "tests.tiny_model", "serve", "--port", "0", "--concurrency", "100"]
            with (folder / "log").open("wb") as log:
                server = subprocess.Popen(command, env=kept, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
            (folder / "whisper.pid").write_text(str(server.pid))
            assert server.stdout is not None
            address_line = server.stdout.readline()
            assert address_line.startswith("export CARTESIA_BASE_URL=http://"), (folder / "log").read_text()
            address.write_text(address_line.partition("=")[2].strip())
    return {"CARTESIA_BASE_URL": address.read_text()}


def pytest_report_header() -> str:
    missing = [program for program in SYSTEM_PROGRAMS if shutil.which(program) is None]
    return f"missing system programs, which some tests need: {', '.join(missing) or 'none'}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The workers of `-n auto`: three per core, since many tests wait; one per core plus two if tests marked `waits`
    are deselected.
    """
    cores = os.cpu_count() or 1
    return min(8, cores + 2 if "not waits" in config.option.markexpr else 3 * cores)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector out of the collection, of which it would take a fifth, and have it skip modules and
    tests from then on.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before items are deselected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, and put the slowest files first, because workers take whole files."""
    for item in items:
        for name in FIXTURE_MARKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(FIXTURE_MARKS[name])
    order = {name: number for number, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, for ASYNC_TEST_TIMEOUT seconds at most."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    names = inspect.signature(pyfuncitem.function).parameters.keys() & pyfuncitem.funcargs.keys()
    test = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    asyncio.run(asyncio.wait_for(test, ASYNC_TEST_TIMEOUT))
    return True


def side_by_side(function: Callable[[Row], Result], rows: Sequence[Row]) -> list[Result]:
    """Call a function that mostly waits for each row in a thread. Returns the results in order."""
    with ThreadPoolExecutor(len(rows)) as pool:
        return [*pool.map(function, rows)]


def load_script(path: Path) -> ModuleType:
    """A Python file of the repository that is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def require_program(program: str) -> str:
    """The path of a system program. If it is missing, the test is skipped, or fails if `CI` is set."""
    assert program in SYSTEM_PROGRAMS, f"add {program} to SYSTEM_PROGRAMS"
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed: `make test` installs it if it can"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment variables with an empty home directory and no settings of the program."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARTESIA_", "XDG_"))}
    return (
        kept
        | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "COLUMNS": "100", "TERM": "dumb"}
        | ONE_JOB
        | TINY_MODEL
    )


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs the program to its end: `run("transcribe", ..., stdin=b"", env={...})`."""

    def run_in_folder(
        *arguments: object, env: dict[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        command = [argument if isinstance(argument, bytes) else str(argument) for argument in arguments]
        return run_program(command, env=environment | (env or {}), cwd=tmp_path, input=stdin, timeout=300)

    return run_in_folder


@pytest.fixture
def studio(environment: dict[str, str]) -> Iterator[Studio]:
    """A virtual microphone."""
    from .microphone import open_studio

    with open_studio(environment) as opened:
        yield opened


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A reserved port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def server(service: Behaviour) -> Iterator[FaultServer]:
    """A server of the batch endpoint that answers as the fixture `service` does, which the test file must define."""
    from .fault_server import FaultServer

    with FaultServer(service) as running:
        yield running


@pytest.fixture
def transcribe(tmp_path: Path, server: FaultServer) -> Transcribe:
    """Runs `transcribe` in the folder of the test, with a temporary folder that must be empty afterwards."""
    from .fault_server import environment

    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()

    def run(*arguments: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        env = environment(tmp_path / "home", server.base_url, TMPDIR=str(tmp_path / "temporary"), **changes)
        words = ["transcribe", *map(str, arguments)]
        done = run_program(words, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, text=True, timeout=300)
        assert list((tmp_path / "temporary").glob("cartesia-cli-*")) == []
        return done

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """Chromium without a window, the same for all tests of a worker."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = require_program("chromium")
    for switch in ("--headless=new", "--no-sandbox", "--mute-audio", "--window-size=900,700",
                   "--autoplay-policy=no-user-gesture-required", "--force-prefers-reduced-motion"):  # fmt: skip
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(require_program("chromedriver")))
    yield driver
    driver.quit()
