"""The wheel and the sdist: what they hold, that they install into an empty environment, and the manual pages."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cartesia_cli import __version__
from cartesia_cli.commands import COMMANDS

from .conftest import load_script, require_program

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cartesia_cli"
PAGES = [f"cartesia-cli{suffix}.1" for suffix in ("", *(f"-{command}" for command in COMMANDS))]


def build(folder: Path, target: str, source: Path = ROOT) -> Path:
    """Build a `wheel` or `sdist` into a folder; returns its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(path for path in folder.iterdir() if path.suffix in (".whl", ".gz"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the sdist, as an index would have it built."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return build(folder / "dist", "wheel", source)


def test_wheel_has_all_files_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    present = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("cartesia_cli/")} == present
    shared = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert shared == {
        "share/bash-completion/completions/cartesia-cli",
        "share/zsh/site-functions/_cartesia-cli",
        "share/fish/vendor_completions.d/cartesia-cli.fish",
        *(f"share/man/man1/{page}" for page in PAGES),
    }


def test_metadata_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert (metadata["Name"], metadata["Version"]) == ("cartesia-cli", __version__)
    assert metadata["License-Expression"] == "MIT" and metadata["Requires-Python"] == ">=3.11"
    for field in ("Summary", "Keywords", "Author", "Description-Content-Type"):
        assert metadata[field], field
    assert {"local", "buckets", "web", "dask"} <= {*metadata.get_all("Provides-Extra", [])}
    assert "# cartesia-cli" in str(metadata.get_payload())


def test_extras_can_be_installed_whatever_a_kernel_calls_its_release() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    linux = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_release": "6.1.0-cloud-v2"}
    darwin = {"sys_platform": "darwin", "platform_machine": "arm64"}
    versions = {14: "Darwin Kernel Version 23.6.0: Mon Jul 29", 15: "Darwin Kernel Version 24.0.0: Mon Aug 12"}
    for machine, installs in (
        (linux | {"platform_version": "#1 SMP Debian"}, True),
        (darwin | {"platform_release": "23.6.0", "platform_version": versions[14]}, False),
        (darwin | {"platform_release": "24.0.0", "platform_version": versions[15]}, True),
    ):
        found = [Requirement(one) for one in extras["local"] if one.startswith("moonshine-voice")]
        chosen = [one for one in found if one.marker is not None and one.marker.evaluate(machine)]
        assert bool(chosen) is installs, machine


def test_sdist_has_what_its_own_tests_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"cartesia_cli", "tests", "docs", "completions", "man", "benchmarks", "Makefile", "constraints.txt"} <= top
    assert not [name for name in top if name.startswith(".venv")]


@pytest.mark.waits
def test_wheel_runs_in_an_empty_environment(wheel: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Installed with its dependencies from the index, without extras."""
    venv.create(tmp_path / "venv")
    installed = tmp_path / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", installed / "python"]
    constraint = ["--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *constraint, wheel], check=True, cwd=tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        variables = environment | {"PATH": f"{installed}:/usr/bin:/bin"}
        command = [str(installed / "cartesia-cli"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    assert run("--version").stdout == f"cartesia-cli {__version__}\n"
    assert "Usage: cartesia-cli transcribe" in run("transcribe", "--help").stdout
    assert run("schema", "document").returncode == run("skill").returncode == 0
    (tmp_path / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\nHello there.\n")
    assert run("render", "talk.srt").stdout == "Hello there.\n"
    refused = run("transcribe", "--sample")
    assert refused.returncode == 4 and "local" in refused.stderr, refused.stderr
    share = tmp_path / "venv" / "share"
    assert {page.name for page in (share / "man" / "man1").iterdir()} == {*PAGES}
    assert (share / "bash-completion" / "completions" / "cartesia-cli").is_file()


def test_manual_pages_are_up_to_date() -> None:
    written: dict[Path, str] = load_script(ROOT / "man" / "generate.py").pages()
    assert sorted(path.name for path in written) == sorted(PAGES)
    stale = [path.name for path, text in written.items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "run `make completions`"


@pytest.mark.shell
def test_manual_pages_are_correct_roff() -> None:
    pages = [str(ROOT / "man" / "man1" / page) for page in PAGES]
    done = subprocess.run(
        [require_program("mandoc"), "-Tlint", "-W", "warning", *pages], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    command = [require_program("mandoc"), "-Tascii", pages[1]]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--speakers-by-channel" in re.sub(r".\x08", "", shown)  # a bold letter is printed twice
