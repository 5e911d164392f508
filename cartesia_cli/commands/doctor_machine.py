"""The checks of `doctor` that look at this machine: the program, its configuration, audio, engines, disk, terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CliError
from ..output.console import Reporter
from ..protocol.constants import Credential, is_unencrypted
from ..record import Record
from ..settings import Setting, Settings, suggestion
from .diagnosis import Check, CheckResult, NeededResults, Problem, State, failure, ok, skipped, warning

if TYPE_CHECKING:
    from .backend import BackendConfig

PACKAGES = (
    "typer", "rich", "httpcore", "httpx", "certifi", "websockets", "numpy", "soundfile", "av", "soxr", "wcwidth",
    "platformdirs",
)  # fmt: skip
"""What the program can't do without, besides sounddevice, which needs PortAudio and has a check of its own."""

GENERAL_VARIABLES = (
    "CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN", "CARTESIA_BASE_URL", "CARTESIA_CONFIG", "CARTESIA_PROFILE",
)  # fmt: skip
SDK_VARIABLES = ("CARTESIA_CUSTOM_HEADERS", "CARTESIA_LOG", "CARTESIA_VERSION")
"""Variables of Cartesia's own SDK, which don't concern this program."""

LEVEL_SECONDS = 2.0

HOUR_BYTES = 3600 * 16_000 * 2
"""An hour of a live session's recording."""

LOW_DISK_BYTES = 10 * HOUR_BYTES

PROBE_BYTES = 1 << 20

MIN_COLUMNS = 40
"""In narrower terminals, the live view and tables are hard to read."""


class Examined(Record):
    """What the checks look at.

    settings     None if the configuration can't be read: `problem` says why
    commands     all commands of the program, by their names
    chosen       the configuration file and the profile that are chosen
    allows_http  whether the command line allows servers that speak plain http
    backend      what transcribes; without its key
    unasked      why no server is asked, or None
    device       number or name of the microphone; None: the default one
    reporter     gets the key before it is used: it must not be shown
    """

    settings: Settings | None
    problem: CliError | None
    commands: Mapping[str, Any]
    chosen: Mapping[str, Setting]
    allows_http: bool
    backend: BackendConfig
    unasked: str | None
    device: str | None
    reporter: Reporter

    @property
    def base_url(self) -> str | None:
        """Of the server that recordings are sent to; None: this machine transcribes."""
        return self.backend.base_url

    @property
    def sends_key(self) -> bool:
        """False for plain http to another machine, unless that is allowed by name."""
        return self.base_url is None or not is_unencrypted(self.base_url) or self.backend.unencrypted_key

    @cached_property
    def credential(self) -> Credential | None:
        """The key that is sent, read once: a command that prints it may ask for a password. None without one.

        Raises AuthError for what can't be a key.
        """
        from ..credentials import credential

        if self.settings is None or not self.sends_key:
            return None
        found = credential(self.settings)
        if found is not None:
            self.reporter.add_secret(found.secret)
        return found


def check_python(examined: Examined, needed: NeededResults) -> CheckResult:
    import platform

    from .. import __version__

    version, system = platform.python_version(), platform.platform()
    summary = f"cartesia-cli {__version__}, Python {version} ({sys.executable}), {system}"
    return ok(summary, cartesia_cli=__version__, python=version, executable=sys.executable, platform=system)


def check_packages(examined: Examined, needed: NeededResults) -> CheckResult:
    from importlib import import_module, metadata

    versions, broken = {}, {}
    for name in PACKAGES:
        try:
            import_module(name)
            versions[name] = metadata.version(name)
        except Exception as error:  # a library of the system may be missing or too old
            broken[name] = str(error).partition("\n")[0] or type(error).__name__
    if broken:
        summary = "; ".join(f"{name} can't be imported: {reason}" for name, reason in broken.items())
        advice = f"pip install --force-reinstall {' '.join(broken)}"
        return failure(summary, advice, versions=versions, broken=broken)
    return ok(", ".join(f"{name} {version}" for name, version in versions.items()), versions=versions)


def check_configuration(examined: Examined, needed: NeededResults) -> CheckResult:
    """Everything that any command would take from the file and the environment, not only what this one does."""
    from .configured_command import find_mistakes

    mistakes = find_mistakes(examined.commands.values(), examined.chosen, unencrypted=examined.allows_http)
    wrong = [Problem(error.message, error.hint or "") for error in mistakes]
    findings = (*wrong, *sorted(_unknown_variables(examined.commands)))
    settings, facts = examined.settings, dict[str, Any]()
    if settings is not None:
        facts = {"file": None if settings.file is None else str(settings.file), "profile": settings.profile}
    if findings:
        state = State.FAILURE if wrong else State.WARNING
        return CheckResult(state, *findings[0], facts, also=findings[1:])
    if examined.problem is not None:
        raise examined.problem
    assert settings is not None
    profile = "" if settings.profile is None else f", profile {settings.profile}"
    place = f"no file ({settings.folder / 'config.toml'})" if settings.file is None else str(settings.file)
    return ok(f"{place}{profile}; `cartesia-cli config show` lists all settings", **facts)


def _unknown_variables(commands: Mapping[str, Any]) -> Iterator[Problem]:
    """Variables that look like settings of the program, and are none."""
    from .option_sources import options_by_name, variable_name

    others = {*GENERAL_VARIABLES, *SDK_VARIABLES}
    known = {
        name: {variable_name(name, option) for option in options_by_name(found)} for name, found in commands.items()
    }
    for variable in os.environ.keys() - others.union(*known.values()):
        if not variable.startswith("CARTESIA_"):
            continue
        command = next((name for name in commands if variable.startswith(variable_name(name, ""))), None)
        if command is None:
            meant = suggestion(variable, others.union(*known.values()))
            hint = "unset it, or see docs/configuration.md for the names"
        else:  # then only the option is misspelt
            start = variable_name(command, "")
            option = suggestion(variable.removeprefix(start), [name.removeprefix(start) for name in known[command]])
            meant = option and start + option
            hint = f"unset it: `cartesia-cli {command} --help` lists the options"
        yield Problem(f"the variable {variable} has no effect", f"did you mean {meant}?" if meant else hint)


def check_folders(examined: Examined, needed: NeededResults) -> CheckResult:
    """That recordings of live sessions, cached responses and keys can be written, and disk space for recordings."""
    from ..directories import cache_dir, config_dir, state_dir
    from ..output.files import FULL

    state = state_dir()
    problems = []
    for folder, use in ((state, "recordings"), (cache_dir(), "cached responses"), (config_dir(), "the key")):
        existing = _existing(folder)
        try:
            _try_writing(existing)
        except OSError as error:
            advice = "free some space" if error.errno in FULL else f"make {existing} writable"
            problems.append((f"{folder} can't be written ({use}): {error.strerror}", advice))
    if problems:
        return failure("; ".join(problem for problem, _ in problems), problems[0][1], folder=str(state))
    import shutil

    free = shutil.disk_usage(_existing(state)).free
    hours = free / HOUR_BYTES
    summary = f"{free / 1e9:.1f} GB free in {state}: {hours:,.1f} h of live sessions"
    facts = {"folder": str(state), "free_bytes": free}
    advice = "free some space, or let XDG_STATE_HOME name a folder on another disk"
    if free < HOUR_BYTES:
        return failure(summary, advice, **facts)
    return warning(summary, advice, **facts) if free < LOW_DISK_BYTES else ok(summary, **facts)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists, in which it would be created."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)


def _try_writing(folder: Path) -> None:
    """Write a file, and delete it. Raises OSError if that fails: a full disk or a quota may show only now."""
    import tempfile

    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()


def check_terminal(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..output.clipboard import describe_support
    from ..output.terminal_rows import terminal_size

    if sys.stderr is None or not sys.stderr.isatty():
        return skipped("stderr is not a terminal")
    kind, columns = os.environ.get("TERM", "dumb"), terminal_size(sys.stderr).columns
    encoding, clipboard = sys.stderr.encoding or "", describe_support(os.environ)
    is_colored = examined.reporter.is_colored()
    color = "colour" if is_colored else "no colour"
    summary = f"{kind}, {columns} columns, {encoding}, {color}; clipboard: {clipboard}"
    facts = {"term": kind, "columns": columns, "encoding": encoding, "color": is_colored, "clipboard": clipboard}
    if kind == "dumb":
        return warning(
            summary, "TERM=dumb shows no progress and no live view: set TERM to your terminal's name", **facts
        )
    if "utf" not in encoding.lower():
        return warning(summary, "set LANG to a UTF-8 locale, such as C.UTF-8: other texts can't be shown", **facts)
    if columns < MIN_COLUMNS:
        return warning(summary, f"widen the terminal to {MIN_COLUMNS} columns or more", **facts)
    return ok(summary, **facts)


class ShellScripts(NamedTuple):
    """The completions of one shell.

    name      of our script
    folder    below a data directory, such as /usr/share, in which the shell or its distribution looks
    startup   files below the home directory that may load it
    advice    what to do if it isn't found
    """

    name: str
    folder: str
    startup: tuple[str, ...]
    advice: str


SEE = "docs/configuration.md, Shell completion"

SHELLS = {
    "bash": ShellScripts(
        "cartesia-cli", "bash-completion/completions", (".bashrc", ".bash_profile", ".bash_completion"),
        f"source completions/cartesia-cli.bash in ~/.bashrc ({SEE})",
    ),
    "zsh": ShellScripts(
        "_cartesia-cli", "zsh/site-functions", (".zshrc",), f"add the folder of _cartesia-cli to fpath ({SEE})"
    ),
    "fish": ShellScripts(
        "cartesia-cli.fish", "fish/vendor_completions.d", (".config/fish/config.fish",),
        f"copy cartesia-cli.fish to ~/.config/fish/completions ({SEE})",
    ),
}  # fmt: skip


def find_script(shell: str) -> Path | None:
    """The script that completes commands in one of SHELLS, or the startup file that mentions it; None without one."""
    scripts, home = SHELLS[shell], Path(os.environ.get("HOME") or os.path.expanduser("~"))
    user_data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    system_data = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    data = [user_data, Path(sys.prefix) / "share", *map(Path, filter(None, system_data))]
    candidates = [place / scripts.folder / scripts.name for place in data]
    if shell == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        candidates.append(config / "fish/completions" / scripts.name)
    found = next((path for path in candidates if path.is_file()), None)
    return found or next((home / file for file in scripts.startup if _mentions(home / file)), None)


def _mentions(path: Path) -> bool:
    try:
        return "cartesia-cli" in path.read_text("utf-8", "replace")
    except OSError:
        return False


def check_completions(examined: Examined, needed: NeededResults) -> CheckResult:
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        return skipped(f"no completions for the shell {shell}" if shell else "SHELL is not set")
    script = find_script(shell)
    if script is None:
        return warning(f"not found for {shell}", SHELLS[shell].advice, shell=shell)
    return ok(f"{shell}: {script}", shell=shell, script=str(script))


def check_portaudio(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..audio.devices import load_portaudio

    version = str(load_portaudio().get_portaudio_version()[1]).partition(",")[0]
    return ok(version, version=version)


def check_microphones(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..audio.devices import list_devices, match_device

    devices = list_devices()
    if not devices:
        try:
            match_device(devices, examined.device)
        except CliError as error:
            return warning(f"{error.message}: `listen` has nothing to listen to", error.hint or "plug one in")
    chosen = match_device(devices, examined.device)
    summary = f"{chosen.name} ({chosen.rate} Hz, {chosen.host_api}); {len(devices)} in all"
    facts = {"device": chosen.name, "devices": [device.name for device in devices]}
    if chosen.is_monitor:
        advice = "`cartesia-cli devices` lists the others; --device chooses one"
        return warning(f"{summary}; it records what this computer plays", advice, **facts)
    return ok(summary, **facts)


def check_level(examined: Examined, needed: NeededResults) -> CheckResult:
    """Records two seconds, and keeps nothing."""
    import asyncio

    from ..audio.devices import select_device
    from ..audio.microphone import record_level

    if "device" not in needed["microphone"].facts:
        return skipped("no microphone was found")
    report = asyncio.run(record_level(select_device(examined.device), LEVEL_SECONDS))
    facts = {"peak_dbfs": round(report.peak_dbfs, 1), "rms_dbfs": round(report.rms_dbfs, 1),
             "clipped_share": round(report.clipped_share, 4)}  # fmt: skip
    if report.is_all_zeros:
        summary = "only zeros: the microphone is muted, or this program lacks permission"
        return failure(summary, "unmute it in the system's sound settings, and allow the terminal to use it", **facts)
    summary = f"peak {report.peak_dbfs:.0f} dBFS, mean {report.rms_dbfs:.0f} dBFS in {report.seconds:.1f} s"
    if report.is_clipped:
        return warning(f"{summary}; {report.clipped_share:.0%} is clipped", "turn the microphone down", **facts)
    if report.overflows:
        return warning(f"{summary}; the system lost audio {report.overflows} times", "close busy programs", **facts)
    return ok(summary, **facts)


def check_engine(examined: Examined, needed: NeededResults) -> CheckResult:
    from .local_extra import INSTALL_COMMAND, require_local_extra

    try:
        require_local_extra()
    except CliError as error:
        if examined.base_url is None:
            return failure(f"{error.message}, and no key is set: nothing can transcribe",
                           f"{INSTALL_COMMAND}, or cartesia-cli login")  # fmt: skip
        return skipped(f"{error.message}; only --local needs it", INSTALL_COMMAND)
    from importlib import metadata

    versions = {}
    for name in ("faster-whisper", "onnxruntime", "moonshine-voice", "pocketsphinx"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ok(", ".join(f"{name} {version}" for name, version in versions.items()), versions=versions)


def check_weights(examined: Examined, needed: NeededResults) -> CheckResult:
    from ..server.packaged_models import MOONSHINE, TINY_EN, WHISPER_MODELS

    models = [model for model in WHISPER_MODELS if model.is_installed] or [TINY_EN]
    models += [MOONSHINE] if MOONSHINE.is_installed else []
    for model in models:
        model.verify()
    names = [model.title for model in models]
    return ok(f"{', '.join(names)}: as published", models=names)


def check_processor(examined: Examined, needed: NeededResults) -> CheckResult:
    import ctranslate2

    from ..server.capacity import read_machine

    machine, gpus = read_machine(), ctranslate2.get_cuda_device_count()
    memory = "" if machine.memory_bytes is None else f", {machine.memory_bytes / 1e9:.1f} GB of memory free"
    cores = f"{machine.cores} core{'s' * (machine.cores != 1)}"
    cuda = f"{gpus} CUDA device{'s' * (gpus != 1)}" if gpus else "no CUDA device"
    return ok(f"{cores}{memory}; {cuda}", cores=machine.cores, memory_bytes=machine.memory_bytes, cuda_devices=gpus)


MACHINE_CHECKS: tuple[Check, ...] = (
    Check("python", "Python", check_python),
    Check("packages", "Packages", check_packages, seconds=20),
    Check("configuration", "Configuration", check_configuration),
    Check("folders", "Disk", check_folders),
    Check("terminal", "Terminal", check_terminal),
    Check("completions", "Completions", check_completions),
    Check("portaudio", "PortAudio", check_portaudio, seconds=6),
    Check("microphone", "Microphone", check_microphones, needs=("portaudio",), seconds=8),
    Check("level", "Level", check_level, needs=("microphone",), seconds=LEVEL_SECONDS + 10),
    Check("engine", "Offline engine", check_engine, seconds=20),
    Check("weights", "Weights", check_weights, needs=("engine",), seconds=20),
    Check("processor", "Processor", check_processor, needs=("engine",), seconds=10),
)
