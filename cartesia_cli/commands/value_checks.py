"""Checks options together whose values come from the environment or the configuration file, as commands do later.

So an error says where the values come from, and `doctor` finds it. What a value must be by itself is checked where its
option is declared (`options.checked_by`), and what depends on files that may come and go by the commands. Must never
import anything heavy before a value has to be checked.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..settings import OnMistake, Setting, raise_mistake
from .precedence import CUE_TIMES, THRESHOLDS

CHECKED_TOGETHER = (
    ("format", "json", "output"), ("from", "to"), CUE_TIMES, THRESHOLDS, ("wire_encoding",),
)  # fmt: skip
"""Options that are checked together, by their long names with underscores."""

TRANSCRIPT_COMMANDS = ("transcribe", "render", "listen", "stream-file")
"""Commands whose formats are those of transcripts."""


def check_settings(command: str, settings: Mapping[str, Setting], on_mistake: OnMistake = raise_mistake) -> None:
    """Report, with their origins, values in a file or the environment that the command would refuse."""
    for names in CHECKED_TOGETHER:
        group = {name: settings[name] for name in names if name in settings}
        group = {name: setting for name, setting in group.items() if setting.value not in (None, False, [])}
        try:
            _check(command, {name: setting.value for name, setting in group.items()})
        except UsageError as error:
            if origins := _origins(error, group):
                on_mistake(UsageError(f"{' and '.join(origins)}: {error.message}", hint=error.hint))


def name_origins(error: UsageError, settings: Mapping[str, Setting]) -> None:
    """Add to the hint of an error where the values come from that it mentions, unless they were typed."""
    if origins := [origin for origin in _origins(error, settings) if origin not in error.message]:
        error.hint = "; ".join(filter(None, (error.hint, f"it comes from {', '.join(origins)}")))


def _origins(error: UsageError, settings: Mapping[str, Setting]) -> list[str]:
    """Where the options and values come from that an error mentions, unless they were typed."""
    origins = []
    for name, setting in settings.items():
        words = [f"--{name.replace('_', '-')}"] + [str(setting.value)] * isinstance(setting.value, str | Path)
        is_mentioned = any(re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w/-]|\.\w)", error.message) for word in words)
        if setting.layer != "flag" and is_mentioned:
            origins.append(setting.origin)
    return origins


def _check(command: str, values: Mapping[str, Any]) -> None:
    """Raises UsageError for values of one group of CHECKED_TOGETHER that the command would refuse."""
    match values:
        case {"output": file, **others} if command in TRANSCRIPT_COMMANDS and not others:
            from .batch.output_plan import parse_formats

            parse_formats(None, False, Path(file))
        case {"from": since, "to": until}:
            from .batch.output_options import FormatOptions, SubtitleOptions

            FormatOptions(since=since, until=until).layout(SubtitleOptions())
        case {"subtitle_profile": _} | {"min_cue": _} | {"max_cue": _} | {"min_gap": _}:
            from .batch.output_options import SubtitleOptions

            SubtitleOptions(**values).rules()
        case {"turn_start_threshold": _} | {"turn_eager_end_threshold": _} | {"turn_end_threshold": _}:
            from ..protocol.realtime import TurnConfig
            from .live.options import check_order

            check_order(TurnConfig(**{name.removeprefix("turn_"): value for name, value in values.items()}))
        case {"wire_encoding": _}:
            from .live.options import StreamOptions

            StreamOptions(**values).wire_format(replay=command == "stream-file")
