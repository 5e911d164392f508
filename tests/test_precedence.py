"""Which value counts: flag, environment, profile, file, default; for every option and every pair that excludes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cartesia_cli import cli
from cartesia_cli.commands import option_sources
from cartesia_cli.commands.command_context import configuration_problem
from cartesia_cli.commands.option_sources import (
    CONFIG_SELECTORS,
    OPTIONAL_VALUES,
    TOML_TYPES,
    opposite_flag,
    options_by_name,
    scan_arguments,
)
from cartesia_cli.commands.precedence import CUE_RULES, EXCLUSIONS, REQUIREMENTS, resolve
from cartesia_cli.commands.requested_formats import requested_formats
from cartesia_cli.errors import UsageError
from cartesia_cli.output.console import Reporter
from cartesia_cli.settings import Setting
from tests.conftest import Run

PROGRAM: Any = get_command(cli.build())
COMMANDS: dict[str, Any] = PROGRAM.commands
LAYERS = ("flag", "environment", "profile", "file")
"""The strongest first."""

USED = [tuple(layer >= strongest for layer in range(len(LAYERS))) for strongest in range(len(LAYERS) + 1)]
USED += [tuple(layer == only for layer in range(len(LAYERS))) for only in range(len(LAYERS) - 1)]
"""Which of LAYERS have a value: each layer with all weaker ones, none, and each alone."""

OPERANDS = {command: ["a"] for command in "transcribe edit eval render check stream-file status vad".split()}

WORDS = {
    "format": ("table", "tsv", "csv", "json"),
    "api_version": ("2026-03-01", "2026-08-14", "2025-11-04", "2025-04-16"),
    "base_url": tuple(f"https://{letter}.example" for letter in "abcd"),
    "mode": ("auto", "manual", "auto", "manual"),
    "with_key": ("-", "-", "-", "-"),
    "min_cue": (0.1, 0.2, 0.3, 0.4),
    "min_gap": (0.1, 0.2, 0.3, 0.4),
    "turn_start_threshold": (0.65, 0.7, 0.75, 0.8),
    "turn_eager_end_threshold": (0.4, 0.5, 0.6, 0.7),
    "turn_end_threshold": (0.1, 0.2, 0.3, 0.4),
    "speakers_by_channel": ("a,b", "numbered", "c,d", "e,f"),
    "shard": ("1/8", "2/8", "3/8", "auto"),
    "encoding": ("pcm_s16le", "pcm_s32le", "pcm_mulaw", "pcm_alaw"),
    "wire_encoding": ("pcm_s16le", "pcm_s32le", "pcm_mulaw", "pcm_alaw"),
    "page_token": tuple(letter * 16 for letter in "abcd"),
    "output_manifest": ("a.jsonl", "b.json", "c.ndjson", "d.jsonl"),
    "exec": ("true", "false", "cat", "sh -c true"),
    "compare": ("batch", "auto", "manual", "batch,auto"),
    "allow_origin": tuple([f"https://{letter}.example"] for letter in "abcd"),
    "language_hint": (["pt"], ["de"], ["en"], ["fr", "es"]),
}
"""Values of options that can't be anything."""

COMPANY = {"crlf": {"format": "srt"}, "highlight_words": {"format": "vtt"},
           "audio": {"format": "html"}, "embed_audio": {"format": "html"},
           "context": {"grep": "a"}, "ignore_case": {"grep": "a"},
           "page_port": {"page": True}, "page_token": {"page": True},
           "list": {"recover": True}, "discard": {"recover": True}, "recording": {"recover": True},
           "baseline": {"max_regression": 0.1}, "max_regression": {"baseline": "a.json"},
           "encoding": {"sample_rate": 8000}, "sample_rate": {"encoding": "pcm_s16le"},
           **{name: {"format": "srt"} for name in CUE_RULES}}  # fmt: skip
"""What an option needs to apply at all; for all layers, from the weakest."""


def company_of(command: str, name: str) -> dict[str, Any]:
    """What an option of this command needs to apply at all."""
    is_needed = command != "check"  # which is about subtitles alone
    return {
        key: value
        for key, value in COMPANY.get(name, {}).items()
        if is_needed and key in options_by_name(COMMANDS[command])
    }


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The parameters of a command for what its layers say: option to value, for each layer."""
    path = tmp_path / "config.toml"
    monkeypatch.setattr(option_sources, "config_dir", lambda: tmp_path)

    def parse(command: str, layers: dict[str, dict[str, Any]]) -> dict[str, Any]:
        found = COMMANDS[command]
        known = options_by_name(found)
        tables = [("", "file"), ("profile.p.", "profile")]
        path.write_text(
            "[profile.p]\n" + "".join(
                f"[{prefix}{command}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in layers.get(layer, {}).items())
                for prefix, layer in tables
            )
        )  # fmt: skip
        flags = [word for name, value in layers.get("flag", {}).items() for word in typed(name, known[name], value)]
        with monkeypatch.context() as patch:
            for name, value in layers.get("environment", {}).items():
                variable = f"CARTESIA_{command}_{name}".upper().replace("-", "_")
                patch.setenv(variable, ",".join(value) if isinstance(value, list) else str(value))
            context = found.make_context(
                command, [*OPERANDS.get(command, []), "--profile", "p", *flags], obj=Reporter()
            )
        if (problem := configuration_problem(context)) is not None:  # doctor reports it itself
            raise problem
        return {name: context.params.get(option.name) for name, option in known.items()}

    return parse


def options_of(command: str) -> list[tuple[str, Any]]:
    """The options that may be configured."""
    return [
        (name, option) for name, option in options_by_name(COMMANDS[command]).items() if name not in CONFIG_SELECTORS
    ]


def toml(value: Any) -> str:
    return json.dumps(value)


def typed(name: str, option: Any, value: Any) -> list[str]:
    """As it is typed."""
    spelled = f"--{name.replace('_', '-')}"
    if option.is_flag:
        opposite = opposite_flag(option)
        assert opposite is not None
        return [spelled if value else opposite]
    return [word for one in (value if option.multiple else [value]) for word in (spelled, str(one))]


def four_values(name: str, option: Any) -> tuple[Any, ...]:
    """Different ones, if there are enough."""
    kind = option.type.name.split()[0]
    if option.is_flag:
        return True, False, True, False
    if kind == "choice":
        return tuple(itertools.islice(itertools.cycle(option.type.choices), 4))
    if name in WORDS:
        return WORDS[name]
    if kind in ("int", "float"):
        low = option.type.min if option.type.min is not None else -90
        high = option.type.max if option.type.max is not None else low + 100
        steps = [low + (high - low) * n / 10 for n in (1, 2, 3, 4)]
        return tuple(int(step) if kind == "int" else step for step in steps)
    ending = ".json" if name == "output" else ""
    words = tuple(f"{name}-{letter}{ending}" for letter in "abcd")
    return tuple([word, f"x{ending}"] for word in words) if option.multiple else words


def default(option: Any) -> Any:
    return [] if option.multiple and option.callback is None else option.default


def plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.waits
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_takes_the_value_of_the_strongest_layer(
    configure: Callable[..., dict[str, Any]], command: str
) -> None:
    for name, option in options_of(command):
        company = company_of(command, name)
        four = four_values(name, option)
        ways = [four, four[::-1]] if option.is_flag else [four]
        for values, chosen in itertools.product(ways, USED):
            layers = {layer: {name: value} for layer, value, used in zip(LAYERS, values, chosen, strict=True) if used}
            layers["file"] = company | layers.get("file", {})
            strongest = next((value for value, used in zip(values, chosen, strict=True) if used), default(option))
            assert plain(configure(command, layers)[name]) == plain(strongest), layers


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_types_in_the_file_are_refused(configure: Callable[..., dict[str, Any]], command: str) -> None:
    for name, option in options_of(command):
        assert option.type.name.split()[0] in TOML_TYPES
        wrong: list[Any] = [["a", 1], "text" if option.is_flag else 5 if name in OPTIONAL_VALUES else True]
        wrong += ["5"] if option.type.name.startswith(("int", "float")) else [5]
        for value, layer in zip(wrong, ("profile", "file", "file"), strict=True):
            place = rf"config\.toml, line \d+: \[.*{command}\] {name} must be"
            with pytest.raises(UsageError, match=place) as caught:
                configure(command, {layer: {name: value}})
            assert caught.value.hint


@pytest.mark.parametrize("command", COMMANDS)
def test_empty_value_is_refused_for_every_option_and_argument(
    configure: Callable[..., dict[str, Any]], command: str
) -> None:
    found, operands = COMMANDS[command], OPERANDS.get(command, [])
    for name, option in options_by_name(found).items():
        if option.is_flag:
            continue
        spelled = f"--{name.replace('_', '-')}"
        with pytest.raises(UsageError, match=f"^{spelled} must not be empty$") as caught:
            found.make_context(command, [*operands, spelled, ""], obj=Reporter())
        assert caught.value.hint == "is a variable empty?"
        if name not in CONFIG_SELECTORS and option.type.name.split()[0] in ("str", "path"):
            place = rf"config\.toml, line \d+: \[{command}\] {name} must not be empty$"
            with pytest.raises(UsageError, match=place) as caught:
                configure(command, {"file": {name: [""] if option.multiple else ""}})
            assert caught.value.hint
    for position in range(len(operands)):
        with pytest.raises(UsageError, match=r"^[A-Z]+ must not be empty$"):
            found.make_context(command, [*operands[:position], ""], obj=Reporter())


WRONG_VALUES = [
    ("transcribe", {"format": "srt,x"}, "unknown format 'x'"),
    ("render", {"output": "a.foo"}, "no transcript format has the suffix .foo"),
    ("stream-file", {"from": 5.0, "to": 1.0}, "--from 5 is not before --to 1"),
    ("render", {"grep": "("}, "is not a regular expression"),
    ("check", {"min_cue": 5.0, "max_cue": 3.0}, "--min-cue 5 exceeds --max-cue 3"),
    ("listen", {"max_cue": 0.5, "format": "srt"}, "--min-cue 0.833 (the default) exceeds"),
    ("listen", {"turn_start_threshold": 0.5}, "must be above --turn-eager-end-threshold"),
    ("transcribe", {"encoding": "mp3", "sample_rate": 8000}, "unknown encoding 'mp3'"),
    ("listen", {"wire_encoding": "native"}, "native is for recordings"),
    ("stream-file", {"wire_encoding": "mp3"}, "'mp3' is not supported"),
    ("eval", {"model": ["a\nb"]}, "can't be sent"),
    ("transcribe", {"language": "d\x07e"}, "can't be sent"),
    ("listen", {"language_hint": ["pt-BR"]}, "not the base code of a language"),
    ("stream-file", {"keyterm": ["x" * 1201]}, "are too many"),
    ("models", {"base_url": "ftp://x"}, "is not an http(s) address"),
    ("models", {"base_url": "http://a..b"}, "is not a host name"),
    ("transcribe", {"shard": "9/8"}, "there is no shard 9 of 8"),
    ("transcribe", {"speakers_by_channel": "A"}, "names only one speaker"),
    ("transcribe", {"speakers_by_channel": True}, None),
    ("transcribe", {"speakers_by_channel": False}, None),
    ("transcribe", {"shard": "auto"}, None),  # there may be a job array when it runs
    ("transcribe", {"speakers_by_channel": "A,A"}, "each channel needs a name of its own"),
    ("transcribe", {"speakers_by_channel": "A,\u200b"}, "each channel needs a name of its own"),
    ("listen", {"page": True, "page_token": "short"}, "too easy to guess"),
    ("listen", {"exec": "no-such-program -x"}, "no command 'no-such-program -x'"),
    ("transcribe", {"output_manifest": "results"}, "a manifest's suffix is one of"),
    ("eval", {"output": ["a.json", "a.srt"]}, "a report is"),
    ("eval", {"compare": "batch,x"}, "'x' is not a mode"),
    ("serve", {"allow_origin": ["app.example"]}, "is not an origin"),
    ("serve", {"allow_host": ["http://app.example"]}, "is not a host name"),
    ("transcribe", {"api_version": "2026"}, "is not a date"),
]


def test_wrong_value_outside_of_the_command_line_is_refused_with_its_place(
    configure: Callable[..., dict[str, Any]],
) -> None:
    for command, values, message in WRONG_VALUES:
        for layer, place in (("environment", "CARTESIA_"), ("profile", "config.toml, line"), ("file", "config.toml,")):
            if message is None:
                configure(command, {layer: values})
                continue
            with pytest.raises(UsageError) as caught:
                configure(command, {layer: values})
            assert place in caught.value.message and message in caught.value.message
            assert caught.value.hint
        if message is not None:
            try:
                configure(command, {"flag": values})  # what options mean together is reported by the command
            except UsageError as error:
                assert message in error.message
                assert "config.toml" not in error.message
                assert error.hint


RIGHT_VALUES: dict[str, Any] = {"format": "text", "grep": "Yes", "keyterm": ["a"], "allow_host": ["app.example"]}
"""Values of those options in WRONG_VALUES that WORDS doesn't have."""


def test_wrong_value_is_overruled_by_a_stronger_layer(configure: Callable[..., dict[str, Any]]) -> None:
    for command, values, _ in WRONG_VALUES:
        for name, wrong in values.items():
            option = options_by_name(COMMANDS[command])[name]
            if option.callback is None:
                continue
            right = RIGHT_VALUES[name] if name in RIGHT_VALUES else four_values(name, option)[0]
            company = company_of(command, name)
            for stronger, weaker in itertools.combinations(LAYERS, 2):
                layers = {stronger: {name: right}, weaker: {name: wrong}}
                layers["file"] = company | layers.get("file", {})
                assert plain(configure(command, layers)[name]) == right, layers


def test_wrong_value_is_overruled_by_another_option(configure: Callable[..., dict[str, Any]]) -> None:
    for command, typed_options, wrong in [
        ("transcribe", {"local": True}, {"base_url": "ftp://x"}),
        ("render", {"json": True}, {"format": "foo"}),
        ("render", {"output": "a.srt"}, {"format": "foo"}),
        ("render", {"format": "srt"}, {"grep": "("}),
    ]:
        for layer in LAYERS[1:]:
            configure(command, {"flag": typed_options, layer: wrong})


def test_option_that_a_configured_format_lacks_names_where_that_is_set(
    configure: Callable[..., dict[str, Any]],
) -> None:
    with pytest.raises(UsageError, match="--word-timestamps needs") as caught:
        configure("render", {"flag": {"word_timestamps": True}, "file": {"format": "srt"}})
    assert re.search(r"; the format comes from .*config\.toml, line \d+: \[render\] format$", str(caught.value.hint))
    with pytest.raises(UsageError, match="--word-timestamps needs") as caught:
        configure("render", {"flag": {"word_timestamps": True, "format": "srt"}})
    assert "comes from" not in str(caught.value.hint)


PAIRS: dict[tuple[str, str], tuple[Any, Any]] = {
    ("quiet", "verbose"): (True, True),
    ("local", "cloud"): (True, True),
    ("local", "base_url"): (True, "https://a.example"),
    ("output", "output_dir"): ("a.txt", "out"),
    ("resume", "force"): (True, True),
    ("retry_failed", "force"): (True, True),
    ("json", "format"): (True, "text"),
    ("output", "format"): ("a.srt", "text"),
    ("output", "json"): ("a.srt", True),
    ("grep", "format"): ("a", "text"), ("grep", "output"): ("a", "a.srt"),
    ("from", "format"): (1.0, "srt"), ("from", "output"): (1.0, "a.vtt"),
    ("to", "format"): (1.0, "vtt,text"), ("to", "output"): (1.0, "a.vtt"),
    ("longest_gaps", "format"): (1, "md"),
    ("longest_gaps", "output"): (1, "a.md"),
    ("grep", "paragraphs"): ("a", True), ("longest_gaps", "paragraphs"): (1, True),
    ("from", "paragraphs"): (1.0, True), ("to", "paragraphs"): (1.0, True),
    ("mode", "finalize"): ("auto", "vad"),
    ("push_to_talk", "finalize"): (True, "vad"),
    **{("mode", name): ("manual", value) for name, value in
       (("turn_start_threshold", 0.7), ("turn_eager_end_threshold", 0.4), ("turn_end_threshold", 0.2),
        ("turn_end_timeout_ms", 700))},
    **{(first, name): (value, other) for first, value in (("finalize", "none"), ("push_to_talk", True),
                                                          ("model", "ink-whisper"))
       for name, other in (("turn_start_threshold", 0.7), ("turn_eager_end_threshold", 0.4),
                           ("turn_end_threshold", 0.2), ("turn_end_timeout_ms", 700))},
    ("list", "discard"): (True, True),
    ("keep_json", "speakers_by_channel"): ("raw", "A,B"), ("encoding", "speakers_by_channel"): ("pcm_s16le", "A,B"),
    ("wire_encoding", "wire_rate"): ("native", 8000),
    ("script", "local_model"): ("a", "small"),
    ("grep", "output_dir"): ("a", "out"),
}  # fmt: skip
"""Values at which each pair of EXCLUSIONS is at odds."""


def meetings() -> Iterator[tuple[str, Any]]:
    """Each command with each pair that both belong to it."""
    for exclusion in EXCLUSIONS:
        for command, found in COMMANDS.items():
            if {exclusion.first, exclusion.second} <= options_by_name(found).keys():
                yield command, exclusion


def test_every_exclusion_is_tested() -> None:
    pairs = [(exclusion.first, exclusion.second) for exclusion in EXCLUSIONS]
    assert sorted(pairs) == sorted(set(pairs) & set(PAIRS)) == sorted(PAIRS)
    assert {(e.first, e.second) for _, e in meetings()} == set(PAIRS)


@pytest.mark.waits
@pytest.mark.parametrize("command", COMMANDS)
def test_stronger_layer_wins_between_options_that_exclude_each_other(
    configure: Callable[..., dict[str, Any]], command: str
) -> None:
    for at, exclusion in meetings():
        if at != command or (at == "listen" and exclusion.first == "wire_encoding"):  # a microphone has no native one
            continue
        first, second = PAIRS[exclusion.first, exclusion.second]
        known = options_by_name(COMMANDS[command])
        formats = getattr(known["format"].type, "choices", None) if exclusion.second == "format" else None
        if formats is not None and second not in formats:  # a command with formats of its own
            second = next(iter(formats))
        if known[exclusion.first].multiple:
            first = ["a.html"] if exclusion.first == "output" else [first]  # a report of eval
        company = company_of(command, exclusion.first)
        for one, other in itertools.product(LAYERS, repeat=2):
            layers: dict[str, dict[str, Any]] = {layer: {} for layer in LAYERS} | {"file": dict(company)}
            layers[one][exclusion.first] = first
            layers[other][exclusion.second] = second
            stands = LAYERS.index(one) < LAYERS.index(other)
            if one == other and exclusion.one_way:
                configure(command, layers)
                continue
            if one == other:
                with pytest.raises(UsageError, match="exclude each other") as caught:
                    configure(command, layers)
                assert caught.value.hint
                assert (str(Path("config.toml")) in caught.value.message) is (one in ("profile", "file"))
                continue
            found = configure(command, layers)
            kept, dropped = (exclusion.first, exclusion.second) if stands else (exclusion.second, exclusion.first)
            assert plain(found[kept]) == {exclusion.first: first, exclusion.second: second}[kept], (one, other)
            if stands or not exclusion.one_way:
                assert plain(found[dropped]) == plain(known[dropped].default), (one, other)


@pytest.mark.parametrize(
    ("command", "stronger", "weaker", "message"),
    [
        ("render", {"from": 5.0}, {"to": 4.0}, "--from 5 is not before --to 4"),
        ("transcribe", {"min_cue": 5.0, "format": "srt"}, {"max_cue": 3.0}, "--min-cue 5 exceeds --max-cue 3"),
        ("check", {"subtitle_profile": "shorts"}, {"min_gap": 4.0}, "--min-gap 4 exceeds --max-cue 3"),
        ("listen", {"turn_end_threshold": 0.45}, {"turn_eager_end_threshold": 0.4}, "must be above"),
    ],
)
def test_values_of_different_layers_that_contradict_each_other_are_an_error_with_the_place(
    configure: Callable[..., dict[str, Any]],
    command: str,
    stronger: dict[str, Any],
    weaker: dict[str, Any],
    message: str,
) -> None:
    for layer in LAYERS[:-1]:
        with pytest.raises(UsageError, match=message) as caught:
            configure(command, {layer: stronger, "file": weaker})
        assert f"[{command}] {next(iter(weaker))}" in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.option)
def test_option_that_does_not_apply_is_an_error_as_a_flag_and_ignored_as_a_default(
    configure: Callable[..., dict[str, Any]], requirement: Any
) -> None:
    names = ("transcribe", "listen", "eval", "render")
    command = next(name for name in names if requirement.option in options_by_name(COMMANDS[name]))
    option = options_by_name(COMMANDS[command])[requirement.option]
    value = {
        "encoding": "pcm_s16le", "sample_rate": 8000, "context": 2, "page_port": 8710, "page_token": "t0ken" * 4,
        "recording": "a.wav", "audio": "a.wav", "baseline": "a.json", "max_regression": 0.1,
        **{name: four_values(name, options_by_name(COMMANDS["transcribe"])[name])[0] for name in CUE_RULES},
    }.get(requirement.option, True)  # fmt: skip
    company = {**{name: {"format": "text"} for name in ("paragraphs", "word_timestamps")}, **COMPANY}[
        requirement.option
    ]
    elsewhere = {"format": "lrc"} if "format" in company else {}
    with pytest.raises(UsageError) as caught:
        configure(command, {"flag": {requirement.option: value, **elsewhere}})
    assert caught.value.hint
    for layer in LAYERS[1:]:
        waiting = configure(command, {"flag": elsewhere, layer: {requirement.option: value}})
        assert waiting[requirement.option] == option.default
        found = configure(command, {"flag": company, layer: {requirement.option: value}})
        assert plain(found[requirement.option]) == value


def test_local_model_on_the_command_line_implies_local(configure: Callable[..., dict[str, Any]]) -> None:
    for layer in LAYERS[1:]:
        for other in ({"cloud": True}, {"base_url": "https://a.example"}):
            found = configure("transcribe", {"flag": {"local_model": "small"}, layer: other})
            assert (found["local"], found["cloud"], found["base_url"]) == (True, False, None)
        assert configure("transcribe", {layer: {"local_model": "small"}})["local"] is False
    with pytest.raises(UsageError, match="--local-model and --cloud exclude each other"):
        configure("transcribe", {"flag": {"local_model": "small", "cloud": True}})


def test_settings_of_a_command_override_general_ones() -> None:
    def layer(name: str, value: Any) -> dict[str, Setting]:
        return {name: Setting(value, "file", name)}

    found = resolve([layer("local", True), layer("base_url", "https://a.example")])
    assert set(found) == {"local"}


def test_order_of_settings_in_a_layer_does_not_matter() -> None:
    values: dict[str, tuple[Any, ...]] = {
        "format": ("csv", "srt", "text", "table"), "json": (True,), "output": ("a.csv", "a.srt", "a.txt"),
        "output_dir": ("out",), "grep": ("x",), "paragraphs": (True,), "word_timestamps": (True,),
        "mode": ("auto", "manual"), "model": ("ink-2", "ink-whisper"), "finalize": ("vad", "key"),
        "push_to_talk": (True,), "turn_end_threshold": (0.3,), "wire_encoding": ("native",), "wire_rate": (8000,),
    }  # fmt: skip
    settings = [(name, Setting(value, "file", name)) for name, choices in values.items() for value in choices]
    for (name, strong), one, other in itertools.product(settings, repeat=3):
        if len({name, one[0], other[0]}) == 3:
            first, second = (
                resolve([{name: strong}, dict(layer)], lambda error: None) for layer in ((one, other), (other, one))
            )
            assert first == second, (name, strong, one, other)
    csv = {"grep": Setting("x", "file", "1"), "format": Setting("csv", "file", "2")}
    assert set(resolve([{"output_dir": Setting("out", "flag", "--output-dir")}, csv])) == {"output_dir", *csv}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("text",)),
        ({"grep": "a"}, ("table",)),
        ({"grep": "a", "output": "-"}, ("table",)),
        ({"output": "a.SRT"}, ("srt",)),
        ({"output": "a.b/c"}, ("text",)),
        ({"output": ".srt"}, ("text",)),
        ({"output": "a.srt", "format": "Text, JSON"}, ("text", "json")),
        ({"json": True, "format": "json"}, ("json",)),
    ],
)
def test_formats_of_options(values: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert requested_formats(values) == expected


def test_command_line_is_parsed_as_typer_parses_it() -> None:
    transcribe = COMMANDS["transcribe"]
    line = ["a", "-qf", "srt", "--json", "-ox.srt", "--no-json", "--context=3", "-C", "-1", "--cache", "--", "--force"]
    assert scan_arguments(transcribe, line) == [
        ("quiet", True), ("format", "srt"), ("json", True), ("output", "x.srt"), ("json", False), ("context", "3"),
        ("context", "-1"), ("no_cache", False),
    ]  # fmt: skip
    assert scan_arguments(transcribe, ["--nope", "--json", "-Zq", "-o"]) == [("json", True), ("quiet", True)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "a.wav", "-f", "text", "-f", "srt"),
        ("transcribe", "a.wav", "-f", "text", "--output_format=srt"),
        ("transcribe", "a.wav", "-o", "a.txt", "--output", "b.txt"),
        ("check", "a.srt", "-f", "text", "--format", "json"),
    ],
)
def test_option_given_twice_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is given twice: " in done.stderr
    assert b"hint" in done.stderr
