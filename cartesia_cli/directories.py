"""Where this program keeps its files: the user's directories for configuration, cache and state.

`XDG_CONFIG_HOME`, `XDG_CACHE_HOME` and `XDG_STATE_HOME` are respected on every system where they are absolute (XDG Base
Directory Specification); without them, the directories follow the system's own conventions. Nothing is created here.
For a user without a home directory they are paths at which nothing exists and nothing can be created.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platformdirs import PlatformDirs

APP_NAME = "cartesia-cli"

XDG_DEFAULTS = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_STATE_HOME": ".local/state"}
"""Where each variable points if it isn't set, in the home directory (XDG Base Directory Specification)."""


def config_dir() -> Path:
    """The directory for the configuration and the key, which users write."""
    return _directory("XDG_CONFIG_HOME", lambda: _native(roaming=True).user_config_path)


def cache_dir() -> Path:
    """The directory for data that may be deleted at any time, at the cost of paying or computing again."""
    return _directory("XDG_CACHE_HOME", lambda: _native().user_cache_path)


def state_dir() -> Path:
    """The directory for data that must survive a crash or a restart, and is neither configuration nor a document."""
    return _directory("XDG_STATE_HOME", lambda: _native().user_state_path)


def _directory(variable: str, native: Callable[[], Path]) -> Path:
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named / APP_NAME
    try:
        if sys.platform == "linux":  # start-up: the same as platformdirs, whose import takes 3 % of a transcription
            return Path.home() / XDG_DEFAULTS[variable] / APP_NAME
        return native()
    except RuntimeError:  # no home directory
        return Path(os.devnull) / APP_NAME


def _native(*, roaming: bool = False) -> PlatformDirs:
    """`roaming`: on Windows, in the part of the profile that follows the user to other machines."""
    from platformdirs import PlatformDirs  # start-up: `--help` needs no directory

    return PlatformDirs(APP_NAME, appauthor=False, opinion=False, roaming=roaming)
