"""The progress that a terminal shows itself, in its tab, its window or the task bar (OSC 9;4, invented by ConEmu).

Other terminals take OSC 9 as a desktop notification: they would show hundreds. So it is only sent to terminals that are
known to understand it, and never through tmux or screen, which drop it. Must be removed at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

ITERM_SINCE = (3, 6, 6)
"""iTerm2 shows every OSC 9 as a notification before this version."""

WEZTERM_SINCE = "20250301"
"""WezTerm's versions are dates. Its last stable one, of February 2024, shows a notification."""

VTE_SINCE = 8000
"""VTE 0.80: GNOME Terminal, Ptyxis and others. Older ones ignore it."""

REMOVE = "\033]9;4;0;\a"


def is_supported(environ: Mapping[str, str]) -> bool:
    """Whether the terminal is known to understand OSC 9;4."""
    if is_multiplexed(environ):
        return False
    version = environ.get("TERM_PROGRAM_VERSION", "")
    match environ.get("TERM_PROGRAM"):
        case "ghostty":
            return True
        case "iTerm.app":
            return _numbers(version) >= ITERM_SINCE
        case "WezTerm":
            return version[:8].isdecimal() and version[:8] >= WEZTERM_SINCE
        case str(program) if program:
            return False
    # A terminal that was started from another one may inherit these, but not its TERM. Windows has none.
    if environ.get("TERM", "xterm-256color") != "xterm-256color":
        return False
    vte = environ.get("VTE_VERSION", "")
    return "WT_SESSION" in environ or environ.get("ConEmuANSI") == "ON" or (vte.isdecimal() and int(vte) >= VTE_SINCE)


def is_multiplexed(environ: Mapping[str, str]) -> bool:
    """Whether tmux or screen is between this program and the terminal."""
    return bool(environ.get("TMUX") or environ.get("STY")) or environ.get("TERM", "").startswith(("tmux", "screen"))


def sequence(share: float | None, *, failed: bool) -> str:
    """The escape sequence for a share from 0 to 1; None: unknown. `failed` shows it as an error, usually in red."""
    if share is None:
        return "\033]9;4;3;\a"
    return f"\033]9;4;{2 if failed else 1};{int(share * 100)}\a"


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version such as 3.6.6; none if it has another form."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
