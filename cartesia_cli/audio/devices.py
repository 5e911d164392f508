"""Which microphones there are, and which one is meant. With `microphone`, the only room that knows sounddevice.

The sources of PulseAudio or PipeWire come first, by the names that people know, then what else PortAudio sees. Must
never hang: a sound server that is stuck keeps whoever asks PortAudio for its devices, so others do the asking.
"""

from __future__ import annotations

import glob
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from ..daemon_thread import start_daemon_thread
from ..errors import InputError
from . import pulse
from .c_stderr import suppressed

START_SECONDS = 4.0
"""Seconds for PortAudio to look around. Sound cards that wake up, and headsets, take their time."""

SERVER_DEVICES = ("pulse", "default")
"""What PortAudio calls a sound server. The first one is no other; both are left out where its sources are known."""

INSTALL_COMMANDS = {
    "debian": "sudo apt install libportaudio2",
    "ubuntu": "sudo apt install libportaudio2",
    "fedora": "sudo dnf install portaudio",
    "rhel": "sudo dnf install portaudio",
    "arch": "sudo pacman -S portaudio",
    "suse": "sudo zypper install portaudio",
    "opensuse": "sudo zypper install portaudio",
    "alpine": "sudo apk add portaudio",
}
"""ID or ID_LIKE in /etc/os-release, to the line that installs PortAudio. Elsewhere our wheel of it has the library."""

LIST_HINT = "`cartesia-cli devices` lists them"


@dataclass(frozen=True, slots=True)
class Device:
    """Something that can be recorded from.

    index        its number in the list of `devices`, good for this moment
    name         as people know it
    channels     at most so many
    rate         Hz, its own
    host_api     the system that it belongs to, such as ALSA or PulseAudio
    is_default   whether it is meant where none is named
    is_monitor   whether it is what a loudspeaker plays
    opens        PortAudio's number for it
    source       of the sound server behind that number, or None
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
    """The names of all devices; InputError as `devices`."""
    return list(dict.fromkeys(device.name for device in list_devices()))


def list_devices() -> list[Device]:
    """All there are, in the order of their index. InputError where PortAudio is missing or doesn't answer."""
    sound = load_portaudio()
    apis = sound.query_hostapis()
    inputs = [entry for entry in sound.query_devices() if entry["max_input_channels"] > 0]
    preferred = apis[sound.default.hostapi]["default_input_device"] if inputs else None
    door = next((entry["index"] for entry in inputs if entry["name"] == SERVER_DEVICES[0]), None)
    sources = pulse.list_sources() if door is not None else None
    found: list[Device] = []
    if sources is not None and door is not None:
        inputs = [entry for entry in inputs if entry["name"] not in SERVER_DEVICES]
        usual, preferred = pulse.default_source(), None
        found = [
            Device(place, s.title, s.channels, s.rate, "PulseAudio", s.name == usual, s.is_monitor, door, s)
            for place, s in enumerate(sources)
        ]
    for place, entry in enumerate(inputs, len(found)):
        name, index, channels = str(entry["name"]), int(entry["index"]), int(entry["max_input_channels"])
        api = str(apis[entry["hostapi"]]["name"])
        is_monitor = api == "PulseAudio" and name.startswith("Monitor of ")
        rate = round(entry["default_samplerate"])
        found.append(Device(place, name, channels, rate, api, index == preferred, is_monitor, index))
    return found


def select_device(which: str | None) -> Device:
    """The device with this index, this name, or this in its name, in any case; None: the default one.

    InputError where there is none, or more than one.
    """
    return match_device(list_devices(), which)


def match_device(found: list[Device], which: str | None) -> Device:
    """The same, among these."""
    if not found:
        raise InputError("there is no microphone", hint=_no_microphone_hint())
    usual = next((device for device in found if device.is_default), None)
    usual = usual or next((device for device in found if not device.is_monitor), found[0])
    if which is None:
        return usual
    if which.isdecimal() and (numbered := [device for device in found if device.index == int(which)]):
        return numbered[0]
    wanted = which.casefold().strip()
    exact = [d for d in found if wanted in (d.name.casefold(), d.source.name.casefold() if d.source else "")]
    matches = exact or [device for device in found if wanted in device.name.casefold()]
    if len(matches) > 1:  # one that several systems know is no choice
        matches = [device for device in matches if device.host_api == usual.host_api] or matches
    if not matches:
        raise InputError(f"no microphone {which!r}", hint=f"say a number or part of a name: {_format_devices(found)}")
    if len(matches) > 1:
        raise InputError(
            f"{which!r} may be {len(matches)} microphones",
            hint=f"say more of the name, or the number: {_format_devices(matches)}",
        )
    return matches[0]


def load_portaudio() -> ModuleType:
    """PortAudio's module. InputError where it is missing or broken, or where the sound server is stuck."""
    screen = os.dup(2) if sys.stderr is not None else None  # while it starts, sounddevice sends that to nowhere
    try:
        return start_daemon_thread(_import_sounddevice, "PortAudio start").result(START_SECONDS)
    except TimeoutError as error:
        raise InputError("the sound system doesn't answer", hint=restart_hint()) from error
    finally:
        if screen is not None:
            os.dup2(screen, 2)
            os.close(screen)


def _import_sounddevice() -> ModuleType:
    try:
        with suppressed():
            import sounddevice
    except OSError as error:
        raise InputError("PortAudio is not installed, by which microphones are heard", hint=_install_hint()) from error
    except Exception as error:
        raise InputError(f"PortAudio doesn't start: {error}", hint=_no_microphone_hint()) from error
    module: ModuleType = sounddevice
    return module


def restart_hint() -> str:
    """What to do about a sound server that hangs."""
    if sys.platform == "linux":
        return "restart the sound server: `systemctl --user restart pipewire pipewire-pulse`, or `pulseaudio -k`"
    return "restart the sound system, or the machine"


def _no_microphone_hint() -> str:
    cards = glob.glob("/dev/snd/pcm*c")
    if cards and not any(os.access(card, os.R_OK | os.W_OK) for card in cards):
        return "you may not open /dev/snd: sudo usermod -aG audio $USER, then log in again"
    if os.environ.get("SSH_CONNECTION"):
        return "microphones are those of the machine that this runs on, not of the one that you sit at"
    return "plug one in; a container has none unless it is given one"


def _install_hint() -> str:
    try:
        release: Mapping[str, str] = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return install_command(release)


def install_command(release: Mapping[str, str]) -> str:
    """The line that installs PortAudio, by what /etc/os-release says."""
    if sys.platform == "darwin":
        return "brew install portaudio"
    for name in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if name in INSTALL_COMMANDS:
            return INSTALL_COMMANDS[name]
    return "install PortAudio: " + ", ".join(dict.fromkeys(INSTALL_COMMANDS.values()))


def _format_devices(found: list[Device]) -> str:
    return ", ".join(f"{device.index} {device.name}" for device in found)
