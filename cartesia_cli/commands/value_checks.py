"""Checks the values of options that come from the environment or the configuration file, as commands check them later.

So an error says where the value comes from, and `doctor` finds it. What depends on files that may come and go is left
to the commands. Must never import anything heavy before a value has to be checked.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..settings import Report, Setting, refuse
from .precedence import CUE_TIMES, THRESHOLDS

CHECKED = (
    ("format", "json", "output"), ("grep",), ("from", "to"), CUE_TIMES, THRESHOLDS, ("encoding",),
    ("wire_encoding", "wire_rate"), ("model",), ("language",), ("language_hint",), ("keyterm",), ("base_url",),
    ("shard",), ("speakers_by_channel", "keep_json", "encoding", "dask", "max_credits"), ("page_token",), ("exec",),
    ("output_manifest",), ("compare",), ("allow_origin",), ("allow_host",),
)  # fmt: skip
"""Options that are checked together, by their long names with underscores."""

TRANSCRIPT_COMMANDS = ("transcribe", "render", "listen", "stream-file")
"""Commands whose formats are those of transcripts."""

LIVE_COMMANDS = ("listen", "stream-file")


def check_settings(command: str, found: Mapping[str, Setting], report: Report = refuse) -> None:
    """Report, with their places, values in a file or the environment that the command would refuse."""
    for names in CHECKED:
        given = {name: found[name] for name in names if name in found and found[name].value not in (None, False, [])}
        while any(setting.layer != "flag" for setting in given.values()):
            if (error := _problem(command, given)) is None:
                break
            alone = (name for name in given if str(_problem(command, {name: given[name]})) == str(error))
            causes = [cause] if (cause := next(alone, None)) else list(given)
            blamed = [given.pop(name) for name in causes]
            if places := [setting.origin for setting in blamed if setting.layer != "flag"]:
                report(UsageError(f"{' and '.join(places)}: {error.message}", hint=error.hint))


def name_places(error: UsageError, found: Mapping[str, Setting]) -> None:
    """Add to the hint of an error where the values come from that it mentions, unless they were typed."""
    places = []
    for name, setting in found.items():
        words = [f"--{name.replace('_', '-')}"] + [str(setting.value)] * isinstance(setting.value, str | Path)
        is_mentioned = any(re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w/-]|\.\w)", error.message) for word in words)
        if setting.layer != "flag" and is_mentioned and setting.origin not in error.message:
            places.append(setting.origin)
    if places:
        error.hint = "; ".join(filter(None, (error.hint, f"it comes from {', '.join(places)}")))


def _problem(command: str, given: Mapping[str, Setting]) -> UsageError | None:
    """What is wrong with the values of one group of CHECKED, or None."""
    try:
        _check(command, {name: setting.value for name, setting in given.items()})
    except UsageError as error:
        return error
    return None


def _check(command: str, values: Mapping[str, Any]) -> None:
    """Raises UsageError for values of one group of CHECKED that the command would refuse."""
    match values:
        case {"format": _} | {"json": _} | {"output": _}:
            from .batch.output_options import OutputOptions

            if command in TRANSCRIPT_COMMANDS:
                file = Path(values["output"]) if "output" in values else None
                OutputOptions(format=values.get("format"), json=bool(values.get("json")), output=file).formats()
            elif command == "eval" and "output" in values:
                from .eval import report_formats

                report_formats(map(Path, values["output"]))
        case {"grep": _} | {"from": _} | {"to": _}:
            from .batch.output_options import FormatOptions, SubtitleOptions

            chosen = FormatOptions(grep=values.get("grep"), since=values.get("from"), until=values.get("to"))
            chosen.layout(SubtitleOptions())
        case {"subtitle_profile": _} | {"min_cue": _} | {"max_cue": _} | {"min_gap": _}:
            from .batch.output_options import SubtitleOptions

            SubtitleOptions(**values).rules()
        case {"turn_start_threshold": _} | {"turn_eager_end_threshold": _} | {"turn_end_threshold": _}:
            from ..protocol.realtime import TurnConfig
            from .live.options import check_order

            check_order(TurnConfig(**{name.removeprefix("turn_"): value for name, value in values.items()}))
        case {"speakers_by_channel": _}:
            from .batch.options import check_speakers

            check_speakers(**values)
        case {"encoding": encoding}:
            from .options import checked_encoding

            checked_encoding(encoding)
        case {"wire_encoding": _}:
            from .live.options import StreamOptions

            StreamOptions(**values).wire_format(replay=command == "stream-file")
        case {"model": texts} | {"language": texts}:
            from .options import check_texts

            (name,) = values
            check_texts(*((name, text) for text in ([texts] if isinstance(texts, str) else texts)))
        case {"language_hint": hints}:
            from ..protocol.realtime import AUTO, RealtimeOptions

            RealtimeOptions(model="", language_hints=tuple(hints)).query(AUTO)
        case {"keyterm": terms} if command in LIVE_COMMANDS:
            from ..protocol.realtime import AUTO, RealtimeOptions
            from .options import check_texts

            check_texts(*(("keyterm", term) for term in terms))
            RealtimeOptions(model="", keyterms=tuple(terms)).query(AUTO)
        case {"base_url": url}:
            from ..protocol.constants import check_base_url

            check_base_url(url)
        case {"shard": shard} if not shard.lower().startswith("auto"):  # which depends on the job array
            from ..scale.shards import parse_shard

            parse_shard(shard, {})
        case {"page_token": token}:
            from .live.options import check_page_token

            check_page_token(token)
        case {"exec": command_line}:
            from .live.exec_hook import parse_command

            parse_command(command_line)
        case {"output_manifest": file}:
            from .batch.manifest_results import check_suffix

            check_suffix(Path(file))
        case {"compare": modes}:
            from .eval import parse_modes

            parse_modes(modes)
        case {"allow_origin": origins}:
            from .serve import parse_origin

            list(map(parse_origin, origins))
        case {"allow_host": hosts}:
            from .serve import parse_host

            list(map(parse_host, hosts))
