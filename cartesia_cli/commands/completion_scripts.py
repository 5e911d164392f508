"""Where the completion scripts are that shells load by themselves, and whether ours is among them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class ShellScripts(NamedTuple):
    """The completions of one shell.

    name      of our script
    folders   below a data directory, such as /usr/share, in which the shell or its distribution looks
    startup   files below the home directory that may load it
    advice    what to do if it isn't found
    """

    name: str
    folders: tuple[str, ...]
    startup: tuple[str, ...]
    advice: str


SEE = "docs/configuration.md, Shell completion"

SHELLS = {
    "bash": ShellScripts(
        "cartesia-cli", ("bash-completion/completions",), (".bashrc", ".bash_profile", ".bash_completion"),
        f"source completions/cartesia-cli.bash in ~/.bashrc ({SEE})",
    ),
    "zsh": ShellScripts(
        "_cartesia-cli", ("zsh/site-functions",), (".zshrc",), f"add the folder of _cartesia-cli to fpath ({SEE})"
    ),
    "fish": ShellScripts(
        "cartesia-cli.fish", ("fish/vendor_completions.d",), (".config/fish/config.fish",),
        f"copy cartesia-cli.fish to ~/.config/fish/completions ({SEE})",
    ),
}  # fmt: skip


def find_script(shell: str, environ: Mapping[str, str], prefix: str = sys.prefix) -> Path | None:
    """The script that completes commands in a shell of SHELLS, or the startup file that mentions it; None without one.

    prefix   of the environment in which the program is installed
    """
    scripts, home = SHELLS[shell], Path(environ.get("HOME", ""))
    user_data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    system_data = (environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    data = [user_data, Path(prefix) / "share", *map(Path, filter(None, system_data))]
    candidates = [place / folder / scripts.name for place in data for folder in scripts.folders]
    if shell == "fish":
        candidates.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions" / scripts.name)
    found = next((path for path in candidates if path.is_file()), None)
    return found or next((home / file for file in scripts.startup if _mentions(home / file)), None)


def _mentions(path: Path) -> bool:
    try:
        return "cartesia-cli" in path.read_text("utf-8", "replace")
    except OSError:
        return False
