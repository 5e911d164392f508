"""Listing devices with the real PortAudio, and choosing one among given devices."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from cartesia_cli.audio import pulse
from cartesia_cli.audio.devices import INSTALL_COMMANDS, Device, install_command, load_portaudio, match_device
from cartesia_cli.commands.devices import describe, format_table
from cartesia_cli.errors import InputError
from tests.conftest import Run
from tests.microphone import Studio


class TestTheProgram:
    def test_microphones_and_monitors_are_listed(self, run: Run, studio: Studio) -> None:
        done = run("devices", env=studio.environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
        assert done.stdout.decode().splitlines() == [
            "  #     Hz  channels  system      kind     name",
            "  0  48000         2  PulseAudio  monitor  Monitor of Room",
            "* 1  48000         2  PulseAudio  input    Gooseneck",
        ]

    def test_json_output(self, run: Run, studio: Studio) -> None:
        studio.add("Größe 日本", "third")
        done = run("devices", "-f", "json", env=studio.environment)
        listed = json.loads(done.stdout)["devices"]
        assert [device["name"] for device in listed] == ["Monitor of Room", "Gooseneck", "Größe 日本"]
        assert [device["monitor"] for device in listed] == [True, False, False]
        assert [device["default"] for device in listed] == [False, True, False]
        assert listed[1] == {"index": 1, "name": "Gooseneck", "channels": 2, "rate": 48000, "system": "PulseAudio",
                             "default": True, "monitor": False}  # fmt: skip

    def test_default_is_the_sound_servers_choice_for_this_program(self, run: Run, studio: Studio) -> None:
        done = run("devices", env=studio.environment | {"PULSE_SOURCE": "room.monitor"})
        assert done.stdout.decode().splitlines()[1].startswith("* 0 ")

    def test_without_pactl_portaudio_devices_are_listed(self, run: Run, studio: Studio, tmp_path: Path) -> None:
        done = run("devices", "-f", "json", env=studio.environment | {"PATH": str(tmp_path)})
        listed = json.loads(done.stdout)["devices"]
        assert {"pulse", "default"} <= {device["name"] for device in listed}
        assert sum(device["default"] for device in listed) == 1

    def test_no_devices_exits_with_3_and_a_hint(self, run: Run, studio: Studio) -> None:
        studio.end()
        done = run("devices", env=studio.environment)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.startswith(b"error: no microphone found\nhint: ")
        done = run("devices", "-f", "json", env=studio.environment)
        assert done.returncode == 3
        assert json.loads(done.stdout) == {"devices": []}
        assert json.loads(done.stderr)["error"]["message"] == "no microphone found"

    def test_frozen_sound_server_is_not_waited_for(self, run: Run, studio: Studio) -> None:
        studio.freeze()
        done = run("devices", env=studio.environment)
        assert done.returncode == 3
        assert done.stderr.startswith(b"error: the sound system doesn't respond\nhint: restart ")

    def test_missing_portaudio_shows_the_install_command(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("import ctypes.util\nctypes.util.find_library = lambda name: None\n")
        done = run("devices", env={"PYTHONPATH": str(tmp_path)})
        assert (done.returncode, done.stdout) == (3, b"")
        error, hint = done.stderr.decode().splitlines()
        assert error == "error: PortAudio is required for microphone input but is not installed"
        assert any(line in hint for line in INSTALL_COMMANDS.values())

    def test_unknown_format_is_a_usage_error(self, run: Run) -> None:
        done = run("devices", "-f", "xml")
        assert done.returncode == 2
        assert b"'table', 'json'" in done.stderr


def device(index: int, name: str, **facts: Any) -> Device:
    known: dict[str, Any] = {"channels": 1, "rate": 48000, "host_api": "ALSA", "is_default": False, "is_monitor": False}
    return Device(index=index, name=name, portaudio_index=index, **known | facts)


BUILT_IN = device(0, "Built-in Microphone", is_default=True)
HEADSET = device(1, "Headset")
HEADSET_PRO = device(2, "Headset Pro (hw:1,0)")
MONITOR = device(3, "Monitor of Headset", is_monitor=True)
ALL = [BUILT_IN, HEADSET, HEADSET_PRO, MONITOR]


class TestTheChoice:
    @pytest.mark.parametrize(
        ("which", "meant"),
        [
            (None, BUILT_IN),
            ("2", HEADSET_PRO),
            ("built", BUILT_IN),
            ("HEADSET", HEADSET),
            ("pro", HEADSET_PRO),
            (" monitor ", MONITOR),
            ("hw:1", HEADSET_PRO),
        ],
    )
    def test_device_is_chosen_by_index_name_or_substring(self, which: str | None, meant: Device) -> None:
        assert match_device(ALL, which) is meant

    def test_ambiguous_name_selects_no_device_and_lists_the_matches(self) -> None:
        with pytest.raises(InputError, match="3 devices match 'head'") as caught:
            match_device(ALL, "head")
        assert caught.value.hint is not None
        assert "1 Headset, 2 Headset Pro (hw:1,0), 3 Monitor of Headset" in caught.value.hint
        assert caught.value.exit_code == 3

    @pytest.mark.parametrize("which", ["4", "loudspeaker", ""])
    def test_unknown_device_lists_the_existing_ones(self, which: str) -> None:
        with pytest.raises(InputError) as caught:
            match_device(ALL, which)
        assert caught.value.hint is not None
        assert all(known.name in caught.value.hint for known in ALL)

    def test_without_default_a_microphone_precedes_monitors(self) -> None:
        assert match_device([MONITOR, HEADSET], None) is HEADSET
        assert match_device([MONITOR], None) is MONITOR

    def test_device_of_several_host_apis_is_that_of_the_default(self) -> None:
        again = device(7, "Headset", host_api="JACK")
        assert match_device([BUILT_IN, again, HEADSET], "headset") is HEADSET

    def test_source_is_chosen_by_its_server_name(self) -> None:
        source = pulse.PulseSource(5, "alsa_input.usb-0", "Headset", 1, 48000, False)
        known = device(4, "Headset", source=source)
        assert match_device([*ALL, known], "alsa_input.usb-0") is known


def test_control_characters_of_names_are_printed_only_in_json() -> None:
    odd = device(0, "a\x1b[2Jb\nc", host_api="J\tK")
    assert format_table([odd]).splitlines()[1] == "0  48000         1  J K     input  a�[2Jb c"
    assert describe(odd)["name"] == "a\x1b[2Jb\nc"


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ({"ID": "debian"}, "sudo apt install libportaudio2"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "sudo apt install libportaudio2"),
        ({"ID": "fedora"}, "sudo dnf install portaudio"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "sudo dnf install portaudio"),
        ({"ID": "arch"}, "sudo pacman -S portaudio"),
    ],
)
def test_each_system_has_its_install_command(
    release: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert install_command(release) == line
    assert all(known in install_command({"ID": "nowhere"}) for known in INSTALL_COMMANDS.values())
    monkeypatch.setattr("sys.platform", "darwin")
    assert install_command(release) == "brew install portaudio"


def test_hints_without_a_microphone_fit_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hints = []
    for variables, cards in (({}, []), ({"SSH_CONNECTION": "1 2 3 4"}, []), ({}, [str(tmp_path / "pcmC0D0c")])):
        monkeypatch.delenv("SSH_CONNECTION", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("glob.glob", lambda pattern, cards=cards: cards)
        with pytest.raises(InputError) as caught:
            match_device([], None)
        hints.append(caught.value.hint)
    assert [hint and hint.split()[0] for hint in hints] == ["plug", "over", "this"]


def test_portaudio_that_is_missing_or_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def no_release() -> dict[str, str]:
        raise FileNotFoundError("/etc/os-release")

    monkeypatch.setattr(platform, "freedesktop_os_release", no_release)
    for error, message in (("OSError", "PortAudio is required"), ("RuntimeError", "PortAudio doesn't start: broken")):
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        (tmp_path / "sounddevice.py").write_text(f"raise {error}('broken')\n")
        with pytest.raises(InputError, match=message) as caught:
            load_portaudio()
        assert caught.value.hint
