"""Resolves each option to one value: command line, then environment, profile, configuration file, default.

Options that exclude each other are listed in a table. If they are set in different layers, the one in the stronger
layer counts and the other is ignored; if they are set in the same layer, that is an error. Options that need others
are in a second table: without those, they are an error on the command line and ignored elsewhere.

Pure: values in, values out, whichever way options are declared.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..record import Record
from ..settings import OnMistake, Setting, raise_mistake
from .requested_formats import ROW_FILTERS, ROW_FORMATS, implied_format, requested_formats

Values = Mapping[str, Any]
"""Options that are set, by their long names with underscores, to their values."""

THRESHOLDS = ("turn_start_threshold", "turn_eager_end_threshold", "turn_end_threshold")
TURNS = (*THRESHOLDS, "turn_end_timeout_ms")
RESOLVED_FIRST_IN_LAYER = ("mode", "word_timestamps", "json", "format", "output")
"""Options on which it depends whether two others exclude each other, so that those are resolved after them, in whatever
order a layer has them. An option on which only its own exclusions depend, such as `finalize`, needn't be here.
"""
CUE_TIMES = ("subtitle_profile", "min_cue", "max_cue", "min_gap")
CUE_RULES = (*CUE_TIMES, "max_line_width", "max_line_count", "max_words_per_line", "max_cps")
CUE_FORMATS = frozenset({"srt", "vtt", "ass", "html"})

Layer = Mapping[str, Setting]
"""The options that are set in one place: the command line, the environment, a profile or the file."""


class Exclusion(Record):
    """Two options that can't both apply.

    hint       what to do if one layer sets both
    when       whether these values exclude each other
    one_way    only the first can overrule the second; in the same layer, both are allowed
    """

    first: str
    second: str
    hint: str = "give only one"
    when: Callable[[Values], bool] = lambda values: True
    one_way: bool = False


class Requirement(Record):
    """An option that needs other options: without them, it is an error on the command line and ignored elsewhere.

    met      whether these values include what it needs
    not_in   commands that don't need it
    """

    option: str
    message: str
    hint: str
    met: Callable[[Values], bool]
    not_in: tuple[str, ...] = ()


def _no_format_has_rows(values: Values) -> bool:
    """Whether rows are selected and none of the formats has rows."""
    wanted = set(requested_formats(values))
    return not wanted & ROW_FORMATS and not ("text" in wanted and values.get("word_timestamps"))


def _shows_words(values: Values) -> bool:
    """Whether no format is named, or one with words only if they are asked for."""
    from ..output import NEEDS_WORDS

    named = any(name in values for name in ("format", "json")) or implied_format(values) is not None
    return not named or not NEEDS_WORDS.issuperset(requested_formats(values))


def _output_decides(values: Values) -> bool:
    """Whether the suffix of --output implies another format, or one file can't hold all formats."""
    implied, named = implied_format(values), requested_formats({"format": values["format"]})
    return (implied is not None and named != (implied,)) or "," in values["format"]


def _whisper_in_manual_mode(values: Values) -> bool:
    return values.get("mode") != "auto" and str(values["model"]).startswith("ink-whisper")


EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion("quiet", "verbose"),
    Exclusion("local", "cloud"),
    Exclusion("local", "base_url", "--local needs no server; leave one of them out"),
    Exclusion("output", "output_dir", "-o is for a single file, --output-dir for several"),
    Exclusion("resume", "force", "--resume skips what --force overwrites"),
    Exclusion("retry_failed", "force", "--retry-failed skips what --force overwrites"),
    Exclusion("grep", "output_dir", "--grep writes one table for all inputs: -o FILE takes it; -f csv --output-dir DIR "
              "writes a file for each input", when=lambda values: requested_formats(values) == ("table",)),
    Exclusion("json", "format", "-f alone names one or several formats",
              when=lambda values: requested_formats({"format": values["format"]}) != ("json",)),
    Exclusion("output", "format", when=_output_decides, one_way=True),
    Exclusion("output", "json", when=lambda values: implied_format(values) not in (None, "json"), one_way=True),
    *(Exclusion(rows, other, "rows can be selected for -f table, tsv, csv, json or ndjson", when=_no_format_has_rows)
      for rows in ROW_FILTERS for other in ("format", "output")),
    *(Exclusion(rows, "paragraphs", "selected rows are a table, which has no paragraphs",
                when=lambda values: "format" not in values and requested_formats(values) == ("table",))
      for rows in ROW_FILTERS),
    Exclusion("mode", "finalize", "in auto mode the server ends the turns: --mode manual takes --finalize",
              when=lambda values: values["mode"] == "auto"),
    Exclusion("push_to_talk", "finalize", "push-to-talk ends utterances by key: combine it with --finalize key or none",
              when=lambda values: values["finalize"] in ("vad", "both")),
    *(Exclusion("mode", name, "turn detection is for --mode auto; --vad-silence-ms ends utterances in manual mode",
                when=lambda values: values["mode"] == "manual") for name in TURNS),
    *(Exclusion(other, name, "turn detection is for --mode auto; --vad-silence-ms ends utterances in manual mode",
                when=lambda values: values.get("mode") != "auto")
      for other in ("finalize", "push_to_talk") for name in TURNS),
    *(Exclusion("model", name, "turn detection is for --mode auto, which ink-2 has", when=_whisper_in_manual_mode)
      for name in TURNS),
    Exclusion("list", "discard"),
    Exclusion("keep_json", "speakers_by_channel"),
    Exclusion("encoding", "speakers_by_channel", "headerless audio has one channel: leave out one of them"),
    Exclusion("wire_encoding", "wire_rate", "native includes the recording's rate: leave --wire-rate out",
              when=lambda values: values["wire_encoding"] == "native"),
    Exclusion("script", "local_model", "a script needs no model: leave one of them out"),
)  # fmt: skip


def _needs(
    option: str, other: str, met: Callable[[Values], bool], *, value: str = "", not_in: tuple[str, ...] = ()
) -> Requirement:
    """`other` is the option that it needs, `value` what stands for its value in the hint."""
    flag = f"--{option.replace('_', '-')}"
    return Requirement(option, f"{flag} needs {other}", f"add {other}{value}, or leave {flag} out", met, not_in)


def _together(option: str, other: str) -> Requirement:
    hint = "they are for headerless audio only"
    return Requirement(option, "--encoding and --sample-rate go together", hint, lambda values: other in values)


REQUIREMENTS: tuple[Requirement, ...] = (
    _needs("crlf", "-f srt", lambda values: "srt" in requested_formats(values)),
    _needs("highlight_words", "-f vtt", lambda values: "vtt" in requested_formats(values)),
    *(
        _needs(name, "-f html", lambda values: "html" in requested_formats(values), not_in=("edit",))
        for name in ("audio", "embed_audio")
    ),
    _needs("paragraphs", "-f text", lambda values: "text" in requested_formats(values)),
    _needs("word_timestamps", "-f text or json", _shows_words, not_in=("listen", "stream-file")),  # they ask for words
    *(
        _needs(
            name,
            "-f srt, vtt, ass or html",
            lambda values: not CUE_FORMATS.isdisjoint(requested_formats(values)),
            not_in=("check",),
        )
        for name in CUE_RULES
    ),
    _needs("context", "--grep", lambda values: "grep" in values, value=" REGEX"),
    _needs("ignore_case", "--grep", lambda values: "grep" in values, value=" REGEX"),
    _needs("page_port", "--page", lambda values: "page" in values),
    _needs("page_token", "--page", lambda values: "page" in values),
    *(_needs(name, "--recover", lambda values: "recover" in values) for name in ("list", "discard", "recording")),
    _needs("baseline", "--max-regression", lambda values: "max_regression" in values, value=" RATE"),
    _needs("max_regression", "--baseline", lambda values: "baseline" in values, value=" FILE"),
    _together("encoding", "sample_rate"),
    _together("sample_rate", "encoding"),
)


def add_implied(flags: dict[str, Setting], options: Collection[str]) -> None:
    """Add what options on the command line imply: a local model implies this machine, whatever is configured.

    flags     the options on the command line
    options   the names of all options of the command
    """
    if "local_model" in flags and "local" in options and "local" not in flags:
        flags["local"] = Setting(True, "flag", "--local-model")


def resolve(layers: Sequence[Layer], on_mistake: OnMistake = raise_mistake) -> dict[str, Setting]:
    """The settings that nothing overrules.

    layers       the strongest first
    on_mistake   gets options in one layer that exclude each other
    """
    ranked: dict[str, tuple[int, Setting]] = {}
    for rank, layer in enumerate(layers):
        for name in (*(name for name in RESOLVED_FIRST_IN_LAYER if name in layer), *layer):
            ranked.setdefault(name, (rank, layer[name]))
    kept: dict[str, tuple[int, Setting]] = {}
    for name, (rank, setting) in ranked.items():
        if not _is_overruled(name, rank, setting, kept):
            kept[name] = rank, setting
    _report_conflicts(kept, on_mistake)
    return {name: setting for name, (_, setting) in kept.items()}


def _is_overruled(name: str, rank: int, setting: Setting, kept: Mapping[str, tuple[int, Setting]]) -> bool:
    """Whether a setting in a stronger layer excludes this one. `kept`: the ranks and settings that count so far."""
    if not _is_set(setting):
        return False
    stronger = {other for other, (other_rank, it) in kept.items() if other_rank < rank and _is_set(it)}
    values = {other: it.value for other, (_, it) in kept.items() if _is_set(it)} | {name: setting.value}
    return any(
        exclusion.when(values)
        for exclusion in EXCLUSIONS
        if (exclusion.first in stronger and exclusion.second == name)
        or (exclusion.second in stronger and exclusion.first == name and not exclusion.one_way)
    )


def _report_conflicts(kept: Mapping[str, tuple[int, Setting]], on_mistake: OnMistake) -> None:
    """Report options in one layer that exclude each other."""
    values = {name: setting.value for name, (_, setting) in kept.items() if _is_set(setting)}
    for exclusion in EXCLUSIONS:
        if exclusion.one_way or not {exclusion.first, exclusion.second} <= values.keys():
            continue
        (first_rank, first), (second_rank, second) = kept[exclusion.first], kept[exclusion.second]
        if first_rank == second_rank and exclusion.when(values):
            on_mistake(UsageError(f"{first.origin} and {second.origin} exclude each other", hint=exclusion.hint))


def select_applicable(command: str, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Those that have what they need. Raises UsageError for one on the command line that doesn't."""
    values = {name: setting.value for name, setting in settings.items() if _is_set(setting)}
    inapplicable = set()
    for requirement in REQUIREMENTS:
        if requirement.option not in values or command in requirement.not_in:
            continue
        if not requirement.met(values):
            if settings[requirement.option].layer == "flag":
                raise UsageError(requirement.message, hint=requirement.hint + _format_origin(settings))
            inapplicable.add(requirement.option)
    return {name: setting for name, setting in settings.items() if name not in inapplicable}


def _format_origin(settings: Mapping[str, Setting]) -> str:
    """Where the formats are set, as another clause of a hint; empty if they were typed, or are the default."""
    names = [name for name in ("format", "json") if name in settings and _is_set(settings[name])]
    origins = [settings[name].origin for name in names if settings[name].layer != "flag"]
    return f"; the format comes from {', '.join(origins)}" if origins else ""


def _is_set(setting: Setting) -> bool:
    """Whether an option has an effect. A switch that is off has none, so it excludes nothing."""
    return setting.value is not None and setting.value is not False and setting.value != []
