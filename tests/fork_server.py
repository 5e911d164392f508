"""Runs the program in forked processes with its modules already imported, which saves most of the time of a short run.

    run_program(["transcribe", "talk.wav"], env=..., cwd=...)      to its end, like subprocess.run
    start_program(["stream-file", "talk.wav"], env=..., cwd=...)   like subprocess.Popen

A run is a process with its own arguments, environment, working directory and streams; signals and waiting work as
usual. Only what happens before `main` is skipped: starting Python, and importing. Tests of that start Python
themselves. So does `start_program` for the first runs with the same startup variables, which Python reads when it
starts; from FORK_FROM_RUN on, a fork server with these variables forks the runs. Must never leave a process behind: a
fork server ends with the process that started it, and kills the programs of a client that is gone.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from types import TracebackType
from typing import Any, NoReturn, Protocol

ROOT = Path(__file__).parent.parent

STARTUP_PREFIXES = ("PYTHON", "LC_", "LANG", "LD_", "DYLD_", "MALLOC_", "OMP_", "OPENBLAS_", "TZ", "COVERAGE_")
"""Prefixes of variables that Python or a library reads only once, when it starts."""

FORK_FROM_RUN = 3
"""Number of the first run with the same startup variables that is forked: for fewer, a fork server costs more than it
saves.
"""

NOT_PRELOADED = ("cartesia_cli.server", "cartesia_cli.__main__")
"""Prefixes of modules that are not imported at first: most runs don't need the server, and engines are imported by each
run itself, because they start threads.
"""

LIBRARIES = "encodings.idna", "typer._click.decorators", "wcwidth"
"""Modules that many runs import in a function."""

SERVE_MODULES = "cartesia_cli.server.app", "cartesia_cli.server.runner", "cartesia_cli.server.scripted"
"""The modules of the server, without engines: imported before the first run of `serve`."""

Argument = str | bytes | os.PathLike[str]
Main = Callable[[], Any]
BuildCommand = Callable[[Sequence[str]], None]
Stream = Any
"""As in `subprocess`: PIPE, DEVNULL, STDOUT, a file, a file descriptor, None."""


class Closable(Protocol):
    def close(self) -> None: ...


# The fork server -------------------------------------------------------------------------------------------


def serve(control: socket.socket) -> None:
    """Fork a program for each request: the descriptors of stdin, stdout, stderr and a connection to the client.

    The client sends on the connection what to run, and gets the process ID, and the exit code when the program ends.
    """
    main, build_command = _preload()
    ended, wake = socket.socketpair()
    for end in (ended, wake):
        end.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    clients: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for source in (control, ended):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is ended:
                    ended.recv(4096)
                elif key.fileobj is control:
                    if (accepted := _accept(control)) is None:
                        for pid in clients:
                            os.kill(pid, signal.SIGKILL)
                        return
                    client, request, streams = accepted
                    if "serve" in request["arguments"]:
                        for name in SERVE_MODULES:
                            importlib.import_module(name)
                    build_command(request["arguments"])
                    inherited = (selector, control, ended, wake, client, *clients.values())
                    pid = _fork_run(main, request, streams, inherited)
                    clients[pid] = client
                    selector.register(client, selectors.EVENT_READ, pid)
                    client.sendall(b"%d\n" % pid)
                elif key.data in clients:  # clients send nothing more, so this client is gone
                    selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
            _reap(clients, selector)


def _preload() -> tuple[Main, BuildCommand]:
    """Import what runs need, and return `main` and `_build_ahead()`."""
    import cartesia_cli

    for module in pkgutil.walk_packages(cartesia_cli.__path__, "cartesia_cli."):
        if not module.name.startswith(NOT_PRELOADED):
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    from cartesia_cli.__main__ import main

    build_command = _build_ahead()
    gc.collect()
    gc.freeze()
    return main, build_command


def _accept(control: socket.socket) -> tuple[socket.socket, dict[str, Any], list[int]] | None:
    """A client's connection, its request, and the standard streams for the run. None if the tests' process is gone."""
    _, descriptors, _, _ = socket.recv_fds(control, 1, 4)
    if not descriptors:
        return None
    *streams, connection = descriptors
    client = socket.socket(fileno=connection)
    with client.makefile("rb") as lines:
        return client, json.loads(lines.readline()), streams


def _fork_run(main: Main, request: dict[str, Any], streams: list[int], inherited: Iterable[Closable]) -> int:
    """Fork a run of the program, which closes what it has `inherited`. Returns its process ID."""
    pid = os.fork()
    if pid == 0:
        for one in inherited:
            one.close()
        _run_in_child(main, request, streams)
    for stream in streams:
        os.close(stream)
    return pid


def _reap(clients: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    """Send the exit codes of runs that have ended to their clients."""
    while clients:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        client = clients.pop(pid)
        if client in selector.get_map():
            selector.unregister(client)
        with client, suppress(OSError):
            client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _build_ahead() -> BuildCommand:
    """Make `cli.main` use commands that were built before the fork: Typer takes a third of a short run to build one.

    Returns a function that builds the command of a command line, if no run has named it yet. Help in columns depends on
    the terminal, so it is built by the run itself.
    """
    from cartesia_cli import cli
    from cartesia_cli.commands import COMMANDS

    build, get_command = cli.build, cli.get_command
    apps: dict[str | None, Any] = {}
    commands: dict[Any, Any] = {}

    def build_command(arguments: Sequence[str]) -> None:
        named = next((word for word in arguments if word in COMMANDS and word not in cli.WHOLE), None)
        if named not in apps:
            apps[named] = build(named)
            commands[apps[named]] = get_command(apps[named])

    def built(only: str | None = None) -> Any:
        return build(only) if only not in apps or cli._wants_rich_help() else apps[only]

    cli.build = built
    cli.get_command = lambda app: commands[app] if app in commands else get_command(app)
    return build_command


def _run_in_child(main: Main, request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Turn this child of the fork server into a run of the program."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        default_signals()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            stream = _open_standard_stream(number, getattr(sys, name))
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.chdir(request["cwd"])
        if request["umask"] >= 0:
            os.umask(request["umask"])
        os.environ.clear()
        os.environ.update(request["env"])
        if server := sys.modules.get("cartesia_cli.server"):
            importlib.reload(server)  # which sets variables for the libraries of engines
        sys.argv = [sys.argv[0], *request["arguments"]]
        sys.path[0] = request["cwd"]
        code = main()
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _open_standard_stream(number: int, before: io.TextIOWrapper) -> io.TextIOWrapper:
    """A standard stream as Python opens it, with the encoding of the stream that it replaces."""
    raw = os.fdopen(number, "rb" if number == 0 else "wb", closefd=False)
    line_buffering = number == 2 or raw.isatty()
    return io.TextIOWrapper(raw, before.encoding, before.errors, newline="\n", line_buffering=line_buffering)


# The client ------------------------------------------------------------------------------------------------


class ForkServer:
    """A process that forks programs, started with the variables `env` and through the command `prefix`, if any."""

    def __init__(self, prefix: Sequence[str], env: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                env=env, cwd=ROOT, stdin=DEVNULL, stdout=DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def fork(self, request: dict[str, Any], streams: Sequence[int]) -> socket.socket:
        client, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._control, [b"\n"], [*streams, theirs.fileno()])
        client.sendall(json.dumps(request).encode() + b"\n")
        return client

    def close(self) -> None:
        self._control.close()
        self._process.wait()


class Program:
    """A forked run of the program, with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self, server: ForkServer, request: dict[str, Any], stdin: Stream, stdout: Stream, stderr: Stream, text: bool
    ) -> None:
        self.args = request["arguments"]
        self.returncode: int | None = None
        given = (stdin, stdout, stderr)
        descriptors: list[int] = []
        files: list[Any] = []
        for number, stream in enumerate(given):
            descriptor, file = (descriptors[1], None) if stream == STDOUT else _open_stream(number, stream, text)
            descriptors.append(descriptor)
            files.append(file)
        self.stdin, self.stdout, self.stderr = files
        try:
            self._client = server.fork(request, descriptors)
        finally:
            for descriptor, stream in zip(descriptors, given, strict=True):
                if stream in (PIPE, DEVNULL):
                    os.close(descriptor)
        self._lines = self._client.makefile("rb")
        line = self._lines.readline()
        assert line, "the fork server has ended: see its stderr"
        self.pid = int(line)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        self.wait()

    def __del__(self) -> None:
        if self.returncode is None and hasattr(self, "_lines"):
            self._lines.close()
            self._client.close()

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._client, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._client.close()
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write `input` to stdin, and return stdout and stderr. A timeout kills the program."""
        with ThreadPoolExecutor(3) as pool:
            if self.stdin:
                pool.submit(self._write_stdin, input)
            reading = [stream and pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            out, err = (each and each.result() for each in reading)
        return out, err

    def _write_stdin(self, data: Any) -> None:
        try:
            if data:
                self.stdin.write(data)
            self.stdin.close()
        except BrokenPipeError:
            pass

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _open_stream(number: int, stream: Stream, text: bool) -> tuple[int, Any]:
    """The descriptor of a standard stream for the program, and with PIPE our file at its other end."""
    if stream == PIPE:
        read, write = os.pipe()
        theirs, ours, mode = (read, write, "w") if number == 0 else (write, read, "r")
        return theirs, os.fdopen(ours, mode if text else f"{mode}b", encoding="utf-8" if text else None)
    if stream == DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if stream is None:
        return number, None
    return stream if isinstance(stream, int) else stream.fileno(), None


# What tests call -------------------------------------------------------------------------------------------


def default_signals() -> None:
    """Restore default signal handling in a child: under nohup, or in the background, tests run with signals ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


Process = Program | subprocess.Popen[Any]

_servers: dict[tuple[object, ...], ForkServer] = {}
_runs: Counter[tuple[object, ...]] = Counter()
_lock = threading.Lock()


def start_program(
    arguments: Sequence[Argument], *, env: Mapping[str, str] | None = None, cwd: Argument | None = None,
    stdin: Stream = None, stdout: Stream = None, stderr: Stream = None, text: bool = False, umask: int = -1,
    prefix: Sequence[str] = (),
) -> Process:  # fmt: skip
    """Start the program like `subprocess.Popen`, through the command `prefix`, if any."""
    coverage_variables = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    env = dict(os.environ if env is None else env) | coverage_variables
    variables = (*prefix, *sorted((name, value) for name, value in env.items() if name.startswith(STARTUP_PREFIXES)))
    with _lock:
        _runs[variables] += 1
        # A forked run always buffers its output: see `_open_standard_stream`.
        if _runs[variables] == FORK_FROM_RUN and "PYTHONUNBUFFERED" not in env:
            _servers[variables] = ForkServer(prefix, env)
        server = _servers.get(variables)
    if server is None:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "cartesia_cli", *arguments],
            env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, text=text, umask=umask,
            preexec_fn=default_signals,
        )  # fmt: skip
    request = {
        "arguments": [os.fsdecode(argument) for argument in arguments],
        "env": env,
        "cwd": os.fsdecode(os.getcwd() if cwd is None else cwd),
        "umask": umask,
    }
    return Program(server, request, stdin, stdout, stderr, text)


def run_program(
    arguments: Sequence[Argument], *, env: Mapping[str, str] | None = None, cwd: Argument | None = None,
    input: Any = None, stdin: Stream = None, stdout: Stream = PIPE, stderr: Stream = PIPE, text: bool = False,
    umask: int = -1, prefix: Sequence[str] = (), timeout: float = 300,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """Run the program to its end like `subprocess.run` with `capture_output`."""
    stdin = PIPE if input is not None else stdin
    with start_program(
        arguments, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, text=text, umask=umask, prefix=prefix
    ) as program:
        try:
            out, err = program.communicate(input, timeout)
        except BaseException:
            program.kill()
            raise
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def close_fork_servers() -> None:
    for server in _servers.values():
        server.close()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
