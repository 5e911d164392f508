"""Lists microphones and selects one by number or name; loads PortAudio (sounddevice) without hanging or printing.

The sources of PulseAudio or PipeWire come first, by the names that people know, then other devices of PortAudio.

Must never hang: PortAudio blocks while a sound server is stuck, so it is loaded in a daemon thread with a deadline.
"""

from __future__ import annotations

import ctypes
import glob
import os
import platform
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from ..daemon_thread import start_daemon_thread
from ..errors import InputError
from . import pulse

START_SECONDS = 4.0
"""Timeout for PortAudio to find all devices. Sound cards that wake up, and headsets, are slow."""

SERVER_DEVICES = ("pulse", "default")
"""PortAudio's names for a sound server. Both are left out if the list contains the server's sources."""

INSTALL_COMMANDS = {
    "debian": "sudo apt install libportaudio2",
    "fedora": "sudo dnf install portaudio",
    "arch": "sudo pacman -S portaudio",
    "suse": "sudo zypper install portaudio",
    "alpine": "sudo apk add portaudio",
}
"""ID or ID_LIKE in /etc/os-release (Ubuntu is like Debian, RHEL like Fedora) → command that installs PortAudio.
Elsewhere the wheel contains the library.
"""

LIST_HINT = "`cartesia-cli devices` lists them"


@dataclass(frozen=True, slots=True)
class Device:
    """An audio input.

    index             its number in `list_devices`; it may change when devices come and go
    name              for people
    channels          at most
    rate              native, Hz
    host_api          the audio system that it belongs to, such as ALSA or PulseAudio
    is_default        whether it is used where none is named
    is_monitor        whether it records what a loudspeaker plays
    portaudio_index   PortAudio's number for it
    source            the source to select where that number stands for a whole sound server, or None
    """

    index: int
    name: str
    channels: int
    rate: int
    host_api: str
    is_default: bool
    is_monitor: bool
    portaudio_index: int
    source: pulse.PulseSource | None = None


def list_device_names() -> list[str]:
    """The names of all devices, each once. Raises InputError as `list_devices`."""
    return list(dict.fromkeys(device.name for device in list_devices()))


def list_devices() -> list[Device]:
    """All inputs, by index. Raises InputError if PortAudio is missing or doesn't answer."""
    sound = load_portaudio()
    apis = sound.query_hostapis()
    inputs = [entry for entry in sound.query_devices() if entry["max_input_channels"] > 0]
    preferred = apis[sound.default.hostapi]["default_input_device"] if inputs else None
    server_index = next((entry["index"] for entry in inputs if entry["name"] == SERVER_DEVICES[0]), None)
    sources = pulse.list_sources() if server_index is not None else None
    found: list[Device] = []
    if sources is not None and server_index is not None:
        inputs = [entry for entry in inputs if entry["name"] not in SERVER_DEVICES]
        default, preferred = pulse.default_source(), None
        found = [
            Device(number, s.title, s.channels, s.rate, "PulseAudio", s.name == default, s.is_monitor, server_index, s)
            for number, s in enumerate(sources)
        ]
    for number, entry in enumerate(inputs, len(found)):
        name, index, channels = str(entry["name"]), int(entry["index"]), int(entry["max_input_channels"])
        api = str(apis[entry["hostapi"]]["name"])
        is_monitor = api == "PulseAudio" and name.startswith("Monitor of ")
        rate = round(entry["default_samplerate"])
        found.append(Device(number, name, channels, rate, api, index == preferred, is_monitor, index))
    return found


def select_device(which: str | None) -> Device:
    """The device with this index or name, or with this in its name, ignoring case. None: the default device.

    Raises InputError if none matches, or more than one.
    """
    return match_device(list_devices(), which)


def match_device(found: list[Device], which: str | None) -> Device:
    """As `select_device`, among the devices `found`."""
    if not found:
        raise InputError("no microphone found", hint=_no_microphone_hint())
    default = next((device for device in found if device.is_default), None)
    default = default or next((device for device in found if not device.is_monitor), found[0])
    if which is None:
        return default
    if which.isdecimal() and (numbered := [device for device in found if device.index == int(which)]):
        return numbered[0]
    wanted = which.casefold().strip()
    exact = [d for d in found if wanted in (d.name.casefold(), d.source.name.casefold() if d.source else "")]
    matches = exact or [device for device in found if wanted in device.name.casefold()]
    if len(matches) > 1:  # the same device in several audio systems
        matches = [device for device in matches if device.host_api == default.host_api] or matches
    if not matches:
        raise InputError(
            f"no microphone {which!r}", hint=f"choose one by number or part of its name: {_format_devices(found)}"
        )
    if len(matches) > 1:
        raise InputError(
            f"{len(matches)} devices match {which!r}",
            hint=f"use the number, or more of the name: {_format_devices(matches)}",
        )
    return matches[0]


def load_portaudio() -> ModuleType:
    """The module sounddevice. Raises InputError if PortAudio is missing or broken, or if the sound server is stuck."""
    saved = os.dup(2) if sys.stderr is not None else None  # sounddevice redirects it while it starts
    try:
        return start_daemon_thread(_import_sounddevice, "PortAudio start").result(START_SECONDS)
    except TimeoutError as error:
        raise InputError("the sound system doesn't respond", hint=restart_hint()) from error
    finally:
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)


def _import_sounddevice() -> ModuleType:
    try:
        with c_stderr_suppressed():
            import sounddevice
    except OSError as error:
        raise InputError(
            "PortAudio is required for microphone input but is not installed", hint=_install_hint()
        ) from error
    except Exception as error:
        raise InputError(f"PortAudio doesn't start: {error}", hint=_no_microphone_hint()) from error
    module: ModuleType = sounddevice
    return module


def restart_hint() -> str:
    """A hint for a sound server that hangs."""
    if sys.platform == "linux":
        return "restart the sound server: `systemctl --user restart pipewire pipewire-pulse`, or `pulseaudio -k`"
    return "restart the sound system, or the machine"


def _no_microphone_hint() -> str:
    cards = glob.glob("/dev/snd/pcm*c")
    if cards and not any(os.access(card, os.R_OK | os.W_OK) for card in cards):
        return "this user may not open /dev/snd: sudo usermod -aG audio $USER, then log in again"
    if os.environ.get("SSH_CONNECTION"):
        return "over SSH, only microphones of the remote machine can be used"
    return "plug one in; a container sees none unless a sound device is passed to it"


def _install_hint() -> str:
    try:
        release: Mapping[str, str] = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return install_command(release)


def install_command(release: Mapping[str, str]) -> str:
    """The command that installs PortAudio, by the fields of /etc/os-release."""
    if sys.platform == "darwin":
        return "brew install portaudio"
    for name in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if name in INSTALL_COMMANDS:
            return INSTALL_COMMANDS[name]
    return "install PortAudio: " + ", ".join(INSTALL_COMMANDS.values())


def _format_devices(found: list[Device]) -> str:
    return ", ".join(f"{device.index} {device.name}" for device in found)


def c_stderr_suppressed() -> AbstractContextManager[None]:
    """Keep what C libraries print off the screen while a block runs; with glibc only, whose `stderr` can be set.

    PortAudio, ALSA and JACK print a line for every device that is missing, and PortAudio's thread one for a device that
    is unplugged, at any moment. They write to C's `stderr`, which Python never uses: that is pointed elsewhere, and
    file descriptor 2, on which other threads draw, stays as it is. Must never suppress a message of this program.
    """
    return _c_stderr() or nullcontext()


class _CStderr:
    """Suppresses C's `stderr` while one or more blocks run. Neither stream is ever closed: a thread may be writing."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        self._variable = ctypes.c_void_p.in_dll(libc, "stderr")
        self._original, self._null = self._variable.value, libc.fopen(os.fsencode(os.devnull), b"w")
        self._users, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        self._add_users(1)

    def __exit__(self, *exc_info: object) -> None:
        self._add_users(-1)

    def _add_users(self, count: int) -> None:
        with self._lock:
            self._users += count
            self._variable.value = self._null if self._users and self._null else self._original


@cache
def _c_stderr() -> _CStderr | None:
    try:
        return _CStderr() if platform.libc_ver()[0] == "glibc" else None
    except (AttributeError, OSError, ValueError):
        return None
