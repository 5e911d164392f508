"""Completion: what is offered, that the written files are today's, and TAB in the shells themselves."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, get_args

import pexpect
import pytest
import typer
from typer.main import get_command

from cartesia_cli import cli, completion
from cartesia_cli.commands.options import ColorMode
from cartesia_cli.completion import OPERANDS, OPTIONS, VALUES, candidates
from cartesia_cli.output import FORMATS
from cartesia_cli.protocol.constants import BATCH_MODELS, ENCODINGS, HTTP_ROUTES
from cartesia_cli.protocol.languages import CHINESE_SCRIPTS, HINT_LANGUAGES, LANGUAGE_NAMES, LANGUAGES

from .conftest import load_script

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "completions"
BIN = Path(sys.executable).parent


generate = load_script(SCRIPTS / "generate.py")
APP: Any = get_command(cli.build())
VISIBLE = [
    (name, option)
    for name, command in APP.commands.items()
    for option in command.params
    if option.param_type_name == "option" and not option.hidden
]


def values(*words: str) -> list[str]:
    """Candidates without their descriptions, and without what is left to the shell."""
    return [line.partition("\t")[0] for line in candidates(list(words)) if not line.startswith("\t")]


# The table


def test_generated_files_are_up_to_date() -> None:
    """The completion table, and every saved help page as Typer renders it now."""
    stale = [str(path) for path, text in generate.files(cli.build()).items() if path.read_text("utf-8") != text]
    assert not stale, "run `make completions`"


def test_every_visible_option_is_offered_with_its_help() -> None:
    for name, option in VISIBLE:
        offered = dict(line.split("\t") for line in candidates([name, "-"]))
        for spelling in (*option.opts, *option.secondary_opts):
            assert offered[spelling] and option.help.startswith(offered[spelling]), (name, spelling)


def test_every_option_knows_whether_a_value_follows() -> None:
    """A flag is followed by inputs or options, an option with a value by one of its kind."""
    for name, option in VISIBLE:
        followed = candidates([name, option.opts[0], ""])
        offered = [line.split("\t")[0] for line in followed if line[0] != "\t"]
        (kind,) = [row[2] for row in OPTIONS[name] if option.opts[0] in row[0].split()]
        assert bool(kind) is not option.is_flag, (name, option.name)
        if not kind:
            taken = option.opts + option.secondary_opts
            others = [line for line in candidates([name, ""]) if line.split("\t")[0] not in taken]
            assert followed == others, (name, option.name)
        elif kind in VALUES:
            assert offered == [value for value, _ in VALUES[kind]], (name, option.name)


def test_option_of_unknown_kind_stops_the_generator() -> None:
    def listen(unheard: Annotated[str, typer.Option(metavar="X")] = "", flag: bool = False) -> None:
        pass

    app = cli.build()
    app.command("listen")(listen)
    with pytest.raises(SystemExit, match=r"listen --unheard .* KINDS"):
        generate.table(app)


def test_a_kind_may_differ_by_command() -> None:
    def listen(model: Annotated[str, typer.Option("--model")] = "ink-2") -> None:
        """Hear."""

    app = cli.build()
    app.command("listen")(listen)
    assert json.loads(generate.table(app))["options"]["listen"][0] == ["--model", "", "model", False, ""]


def test_classified_kinds_are_known() -> None:
    assert set(generate.KINDS.values()) <= {*generate.VALUES, "file", "folder", "whisper", "device", "profile", "none"}


def test_values_are_those_of_the_program() -> None:
    assert [value for value, _ in VALUES["format"]] == list(FORMATS)
    assert [value for value, _ in VALUES["language"]] == ["auto", *LANGUAGES, *CHINESE_SCRIPTS]
    assert set(LANGUAGE_NAMES) == {*HINT_LANGUAGES, *CHINESE_SCRIPTS}
    assert [value for value, _ in VALUES["encoding"]] == list(ENCODINGS)
    assert [value for value, _ in VALUES["endpoint"]] == list(HTTP_ROUTES)
    assert [value for value, _ in VALUES["|".join(get_args(ColorMode))]] == list(get_args(ColorMode))


# What is offered


def test_commands_first() -> None:
    assert values("") == [name for name, command in APP.commands.items() if not command.hidden]
    assert all(line.split("\t")[1] for line in candidates([""]))
    assert "--version" in values("-")
    assert values("--", "") == values("")
    assert values("--version", "") == values("")


def test_operands_are_files_and_a_command_without_any_offers_options() -> None:
    assert candidates(["transcribe", ""]) == ["\tfiles\t"]
    assert candidates(["transcribe", "a.wav", "b"]) == ["\tfiles\t"]
    assert candidates(["transcribe", "--", "--format"]) == ["\tfiles\t"]
    assert OPERANDS["serve"] == ""
    assert "--port" in values("serve", "")
    assert candidates(["serve", "--", ""]) == []


def test_an_unknown_command_has_nothing() -> None:
    assert candidates(["unknown", ""]) == []
    assert candidates(["", "-"]) == []


def test_long_and_short_options() -> None:
    assert {"--format", "-f"} <= set(values("transcribe", "-"))
    assert all(value.startswith("--") for value in values("transcribe", "--"))
    assert all(value.startswith("--") for value in values("serve", ""))
    assert "--keyterm" not in values("transcribe", "-")


@pytest.mark.parametrize(
    "given",
    [["--format", "text"], ["--format=text"], ["-f", "text"], ["-ftext"], ["-qf", "text"], ["--output_format", "text"]],
)
def test_what_is_given_is_not_offered_again(given: list[str]) -> None:
    offered = values("transcribe", *given, "-")
    assert not {"--format", "-f"} & set(offered)
    assert "--model" in offered
    assert candidates(["transcribe", *given, ""]) == ["\tfiles\t"]


def test_what_may_be_repeated_is_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, "serve", (("--term", "", "none", True, "A term"), ("--once", "", "", False, "Once")))
    assert values("serve", "--term", "a", "--once", "-") == ["--term"]


@pytest.mark.parametrize("value", ["--", "-", "--json", "-q", "serve"])
def test_value_that_looks_like_an_option_is_a_value(value: str) -> None:
    assert "--json" in values("transcribe", "--base-url", value, "-")


def test_values_that_are_anything_have_no_candidates() -> None:
    assert candidates(["transcribe", "--timeout", ""]) == []
    assert candidates(["transcribe", "--timeout="]) == []
    assert candidates(["transcribe", "--keyterm", ""]) == []
    assert candidates(["transcribe", "--json="]) == []
    assert candidates(["transcribe", "--unknown="]) == []


def test_values_after_an_equals_sign_are_whole_words() -> None:
    assert values("transcribe", "--color=") == ["--color=auto", "--color=always", "--color=never"]
    assert candidates(["transcribe", "--endpoint="]) == [
        "--endpoint=stt\t/stt",
        "--endpoint=openai\t/audio/transcriptions",
    ]
    assert candidates(["transcribe", "--output=a=b"]) == ["\tfiles\t--output="]
    assert candidates(["transcribe", "--output-dir=a"]) == ["\tfolders\t--output-dir="]
    assert values("transcribe", "--output_format=text,js")[0] == "--output_format=text,json"


def test_formats_are_a_list() -> None:
    assert values("transcribe", "-f", "") == list(FORMATS)
    rest = [name for name in FORMATS if name not in ("text", "srt")]
    assert values("transcribe", "-f", "text,srt,") == [f"text,srt,{name}" for name in rest]
    assert values("transcribe", "--format=text,srt,j") == [f"--format=text,srt,{name}" for name in rest]


def test_models_languages_whisper() -> None:
    assert values("transcribe", "-m", "") == list(BATCH_MODELS)
    assert "de\tGerman" in candidates(["transcribe", "-l", ""])
    offered = candidates(["serve", "--local-model", ""])
    assert offered[-1] == "\tfolders\t"
    assert values("serve", "--local-model", "") == [
        *(name + suffix for name in ("tiny", "base", "small", "medium") for suffix in ("", ".en")),
        "large-v3",
    ]


class TestDevices:
    """The kind of `--device`: names that only this machine knows."""

    @pytest.fixture(autouse=True)
    def listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(OPTIONS, "serve", (("--device", "", "device", False, "Microphone"),))

    def test_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        microphone = SimpleNamespace(list_device_names=lambda: ["Built-in", "USB: Mic (hw:1,0)", "two\nlines"])
        monkeypatch.setitem(sys.modules, "cartesia_cli.audio.devices", microphone)
        assert values("serve", "--device", "") == ["Built-in", "USB: Mic (hw:1,0)"]
        assert values("serve", "--device=") == ["--device=Built-in", "--device=USB: Mic (hw:1,0)"]

    def test_profiles_of_the_configuration_file_are_offered(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "cartesia-cli").mkdir()
        (tmp_path / "other.toml").write_text("[profile.home]\n")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.delenv("CARTESIA_CONFIG", raising=False)
        path = tmp_path / "cartesia-cli" / "config.toml"
        for text, names in (
            ("[profile.work]\n[profile.'my own']\n[serve]", ["work", "my own"]), ("profile = 5", []), ("[", []),
        ):  # fmt: skip
            path.write_text(text)
            assert values("transcribe", "--profile", "") == names
        path.unlink()
        assert values("--profile", "") == []
        monkeypatch.setenv("CARTESIA_CONFIG", str(tmp_path / "other.toml"))
        assert values("transcribe", "--profile", "") == ["home"]

    @pytest.mark.parametrize("module", [None, SimpleNamespace(), SimpleNamespace(list_device_names=lambda: 1 / 0)])
    def test_no_names(self, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cartesia_cli.audio.devices", module)
        assert candidates(["serve", "--device", ""]) == []


# The program


def test_commands_follow_config_show() -> None:
    assert [line.split("\t")[0] for line in candidates(["config", ""])] == ["show"]
    for words in (["config", "show", "tr"], ["config", "-v", "show", "transcribe", ""]):
        assert "transcribe" in [line.split("\t")[0] for line in candidates(words)]


@pytest.mark.parametrize(
    "arguments",
    [[], ["bash"], ["tcsh", ""], ["zsh", "transcribe", "\udcff", "--format=\udcff,"], ["fish", "-", "", "--"]],
)
def test_answer_never_fails(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert completion.answer(arguments) == 0
    assert capfd.readouterr().err == ""


def test_error_in_completion_offers_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(completion, "candidates", lambda words: 1 / 0)
    assert completion.answer(["zsh", ""]) == 0
    assert capfd.readouterr() == ("", "")


def test_only_bash_is_given_what_matches(capfd: pytest.CaptureFixture[str]) -> None:
    completion.answer(["bash", "transcribe", "--form"])
    assert capfd.readouterr().out.split("\t")[0] == "--format"
    completion.answer(["zsh", "transcribe", "--form"])
    assert len(capfd.readouterr().out.splitlines()) > 10
    completion.answer(["bash", "transcribe", "my"])
    assert capfd.readouterr().out == "\tfiles\t\n"


def test_completion_imports_only_itself_and_json() -> None:
    script = (
        "import os, re, sys; before = set(sys.modules); sys.argv[1:] = ['__complete', 'zsh', 'transcribe', '-f', '']\n"
        "os._exit = lambda code: None\n"
        "from cartesia_cli.__main__ import main\n"
        "assert main() == 0\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('cartesia_cli')))\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('cartesia_cli.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *offered, foreign, own = done.stdout.splitlines()
    assert [line.strip() for line in offered] == list(FORMATS)
    assert {name.partition(".")[0] for name in foreign.split()} <= {"__future__", "json", "_json"}
    assert own.split() == ["cartesia_cli.__main__", "cartesia_cli.completion"]
    assert done.stderr == ""


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_the_installed_program(locale: str) -> None:
    done = subprocess.run(
        [BIN / "cartesia-cli", "__complete", "bash", "tr"],
        env={"PATH": os.defpath, "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("transcribe\t")


# The shells. KEY prints the line as it stands, between << and >>.

KEY = "\x14"
DEVICES = "#!/bin/sh\nprintf 'USB: Mic (hw:1,0)\\tLoud\\n'\n"
BROKEN = {
    "missing": None,
    "no interpreter": "#!/nonexistent/python\n",
    "failing": "#!/bin/sh\necho oops; echo oops >&2; exit 1\n",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing configured, in a folder with odd names; the program first on PATH."""
    home, place = tmp_path / "home", tmp_path / "place"
    for folder in (home, place, place / "my folder", place / "tiny-tuned", place / "plain" / "deeper"):
        folder.mkdir(parents=True)
    for name in ("my talk.wav", "it's $5.wav", "plain/deeper/one.wav"):
        (place / name).touch()
    for name in [name for name in os.environ if name.startswith(("XDG_", "BASH", "ZSH", "LC_", "COMP_"))]:
        monkeypatch.delenv(name)
    for name in ("HOME", "ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))
    for name, value in {"TERM": "xterm", "LANG": "C.UTF-8", "INPUTRC": os.devnull, "HISTFILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    monkeypatch.chdir(place)
    return home


def instead(text: str | None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program on PATH under our name, or none."""
    if text is None:
        path = [folder for folder in os.environ["PATH"].split(":") if not Path(folder, "cartesia-cli").exists()]
        monkeypatch.setenv("PATH", ":".join(path))
        return
    program = home / "bin" / "cartesia-cli"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def shell(name: str) -> str:
    """The path of a shell. If it is missing, the test is skipped, or fails if `CI` is set."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and CI must have it")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_missing_shell_fails_in_ci_and_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="zsh is not installed"):
        shell("zsh")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="zsh is not installed"):
        shell("zsh")


class Terminal:
    """An interactive shell into which a test types."""

    def __init__(self, command: str, arguments: list[str], setup: str) -> None:
        self.child = pexpect.spawn(command, arguments, encoding="utf-8", timeout=60, dimensions=(60, 160))
        self.child.sendline(f"{setup}; echo rea''dy")
        self.child.expect_exact("ready\r\n")

    def type(self, keys: str) -> tuple[str, str]:
        """The line after some keys, and all that was shown meanwhile. The line is thrown away."""
        self.child.send(keys + KEY)
        self.child.expect("<<(.*)>>")
        found = self.child.match.group(1)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", self.child.before)
        self.child.send("\x05\x15")
        return found, shown

    def close(self) -> None:
        self.child.close(force=True)


def in_bash(*words: str, line: str, setup: str = "") -> list[str]:
    """COMPREPLY, the function being called as bash calls it."""
    script = (
        f"{setup}\nsource '{SCRIPTS}/cartesia-cli.bash'\n"
        'COMP_LINE=$1; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_POINT=${#COMP_LINE}\n'
        '_cartesia_cli "$1" "${!#}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [shell("bash"), "--norc", "--noprofile", "-c", script, "bash", line, *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.mark.usefixtures("home")
@pytest.mark.shell
class TestBashFunction:
    """The function with the variables that bash sets, which breaks words at = and :, too."""

    def test_words(self) -> None:
        assert in_bash("cartesia-cli", "tr", line="cartesia-cli tr") == ["transcribe"]
        line = "cartesia-cli transcribe --fo"
        assert in_bash("cartesia-cli", "transcribe", "--fo", line=line) == ["--format", "--force"]
        line = "  cartesia-cli   transcribe 'a  b' -f text,j"
        assert in_bash("cartesia-cli", "transcribe", "'a  b'", "-f", "text,j", line=line) == ["text,json"]

    def test_equals_signs(self) -> None:
        before = ("cartesia-cli", "transcribe", "--color")
        assert in_bash(*before, "=", line="cartesia-cli transcribe --color=") == ["auto", "always", "never"]
        assert in_bash(*before, "=", "al", line="cartesia-cli transcribe --color=al") == ["always"]
        assert in_bash(*before, "=", '"al', line='cartesia-cli transcribe --color="al') == ["always"]
        whole = ("cartesia-cli", "transcribe", "--color=al")
        assert in_bash(*whole, line=" ".join(whole), setup="COMP_WORDBREAKS=' '") == ["--color=always"]

    def test_an_address_is_one_word(self) -> None:
        line = "cartesia-cli transcribe --base-url http://127.0.0.1:8000 --js"
        words = ("cartesia-cli", "transcribe", "--base-url", "http", ":", "//127.0.0.1", ":", "8000", "--js")
        assert in_bash(*words, line=line) == ["--json"]

    def test_the_cursor_may_stand_within_a_word(self) -> None:
        script = (
            f"source '{SCRIPTS}/cartesia-cli.bash'; COMP_LINE='cartesia-cli transxxx a.wav'; COMP_POINT=15\n"
            'COMP_CWORD=1; COMP_WORDS=(cartesia-cli transxxx a.wav); _cartesia_cli; echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run([shell("bash"), "--norc", "-c", script], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("transcribe\n", "")

    @pytest.mark.parametrize("program", BROKEN.values(), ids=BROKEN)
    def test_a_broken_program_is_silent(self, program: str | None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        instead(program, home, monkeypatch)
        assert in_bash("cartesia-cli", "tr", line="cartesia-cli tr") == [""]


class Interactive:
    """TAB as a person presses it: the same in bash and in zsh."""

    listing = "\t\t"

    @pytest.fixture
    def terminal(self, home: Path) -> Iterator[Terminal]:
        raise NotImplementedError

    def test_commands_options_values(self, terminal: Terminal) -> None:
        assert terminal.type("cartesia-cli tra\t")[0] == "cartesia-cli transcribe "
        assert terminal.type("cartesia-cli transcribe --form\t")[0] == "cartesia-cli transcribe --format "
        assert terminal.type("cartesia-cli transcribe -f text,js\t")[0] == "cartesia-cli transcribe -f text,json "
        assert terminal.type("cartesia-cli transcribe --color=al\t")[0] == "cartesia-cli transcribe --color=always "
        assert terminal.type("cartesia-cli transcribe -l haw\t")[0] == "cartesia-cli transcribe -l haw "
        assert terminal.type("cartesia-cli transcribe --base-url=http://a:1 --js\t")[0].endswith("http://a:1 --json ")
        assert terminal.type("FOO=1 cartesia-cli tra\t")[0] == "FOO=1 cartesia-cli transcribe "

    def test_lists(self, terminal: Terminal) -> None:
        def listed(line: str) -> set[str]:
            return set(terminal.type(line + self.listing)[1].split())

        assert {"transcribe", "serve"} <= listed("cartesia-cli ")
        assert {f"text,{name}" for name in FORMATS if name != "text"} <= listed("cartesia-cli transcribe -f text,")
        assert {name for row in OPTIONS["transcribe"] for name in row[0].split()} <= listed("cartesia-cli transcribe -")
        assert {"talk.wav", "plain/"} & listed("cartesia-cli transcribe ")

    def test_files(self, terminal: Terminal) -> None:
        typed = "cartesia-cli transcribe "
        assert terminal.type(f"{typed}my\\ t\t")[0] == f"{typed}my\\ talk.wav "
        assert terminal.type(f'{typed}"my t\t')[0] == f'{typed}"my talk.wav" '
        assert terminal.type(f"{typed}it\t")[0] == f"{typed}it\\'s\\ \\$5.wav "
        assert terminal.type(f"{typed}pl\t")[0] == f"{typed}plain/"
        assert terminal.type(f"{typed}-f json -o my\\ t\t")[0] == f"{typed}-f json -o my\\ talk.wav "
        assert terminal.type(f"{typed}--output=my\\ t\t")[0] == f"{typed}--output=my\\ talk.wav "
        assert terminal.type(f"{typed}$PWD/pl\t")[0].endswith("/plain/")

    def test_folders(self, terminal: Terminal) -> None:
        typed = "cartesia-cli transcribe "
        assert terminal.type(f"{typed}--output-dir my\t")[0] == f"{typed}--output-dir my\\ folder/"
        assert terminal.type(f"{typed}--output-dir=my\t")[0] == f"{typed}--output-dir=my\\ folder/"
        assert terminal.type(f"{typed}--output-dir plain/d\t")[0] == f"{typed}--output-dir plain/deeper/"
        assert terminal.type(f"{typed}--local-model tiny-\t")[0] == f"{typed}--local-model tiny-tuned/"
        assert terminal.type(f"{typed}--local-model larg\t")[0] == f"{typed}--local-model large-v3 "

    def test_nothing(self, terminal: Terminal) -> None:
        """Where nothing is known to fit, files are no answer."""
        for typed in ("transcribe --timeout m", "transcribe -f my", "serve p", "unknown m"):
            assert terminal.type(f"cartesia-cli {typed}\t")[0].rstrip() == f"cartesia-cli {typed}"


@pytest.mark.shell
class TestBash(Interactive):
    @pytest.fixture
    def terminal(self, home: Path) -> Iterator[Terminal]:
        with bash(home) as terminal:
            yield terminal

    def test_odd_candidates_are_quoted(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        instead(DEVICES, home, monkeypatch)
        with bash(home) as terminal:
            for typed in ("US", r"USB:\ M", r"USB\:\ M", r"USB:\ Mic\ \(hw:", '"USB: M'):
                line, _ = terminal.type(f"cartesia-cli x {typed}\t")
                assert shlex.split(line) == ["cartesia-cli", "x", "USB: Mic (hw:1,0)"]

    @pytest.mark.parametrize("program", BROKEN.values(), ids=BROKEN)
    def test_a_broken_program_leaves_files(
        self, program: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        silent_but_for_files(bash, program, home, monkeypatch)


@contextmanager
def bash(home: Path) -> Iterator[Terminal]:
    setup = (
        "PS1='$ '; bind 'set enable-bracketed-paste off'; bind 'set completion-query-items 0'; "
        'bind \'set page-completions off\'; bind -x \'"\\C-t": printf "<<%s>>" "$READLINE_LINE"\'; '
        f"source '{SCRIPTS}/cartesia-cli.bash'"
    )
    terminal = Terminal(shell("bash"), ["--norc", "--noprofile", "-i"], setup)
    try:
        yield terminal
    finally:
        terminal.close()


STYLES = (
    "zstyle ':completion:*' format '[%d]'; zstyle ':completion:*' group-name ''; zstyle ':completion:*' menu select; "
    "zstyle ':completion:*' matcher-list 'm:{a-z}={A-Z}' 'r:|[._-]=* r:|=*'; zstyle ':completion:*' list-colors ''"
)


@pytest.mark.shell
class TestZsh(Interactive):
    listing = "\t"  # the second starts to insert one after the other

    @pytest.fixture
    def terminal(self, home: Path) -> Iterator[Terminal]:
        with zsh(home) as terminal:
            yield terminal

    def test_descriptions(self, terminal: Terminal) -> None:
        shown = terminal.type("cartesia-cli transcribe -l h\t")[1]
        assert "Hungarian" in shown and "Hawaiian" in shown
        assert "Overwrite existing files" in terminal.type("cartesia-cli transcribe --\t")[1]

    def test_odd_candidates_are_quoted(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        instead(DEVICES, home, monkeypatch)
        with zsh(home) as terminal:
            for typed in ("US", r"USB:\ M", r"USB:\ Mic\ \(hw:", '"USB: M'):
                line, _ = terminal.type(f"cartesia-cli x {typed}\t")
                assert shlex.split(line) == ["cartesia-cli", "x", "USB: Mic (hw:1,0)"]

    @pytest.mark.parametrize("program", BROKEN.values(), ids=BROKEN)
    def test_a_broken_program_leaves_files(
        self, program: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        silent_but_for_files(zsh, program, home, monkeypatch)

    def test_sourced(self, home: Path) -> None:
        with zsh(home, f"source '{SCRIPTS}/_cartesia-cli'", fpath=False) as terminal:
            assert terminal.type("cartesia-cli tra\t")[0] == "cartesia-cli transcribe "
            assert terminal.type("cartesia-cli transcribe --form\t")[0] == "cartesia-cli transcribe --format "


@pytest.mark.shell
class TestZshWithStyles(Interactive):
    listing = "\t"

    @pytest.fixture
    def terminal(self, home: Path) -> Iterator[Terminal]:
        with zsh(home, STYLES) as terminal:
            yield terminal


@contextmanager
def zsh(home: Path, setup: str = ":", *, fpath: bool = True) -> Iterator[Terminal]:
    cache = home.parent.parent / f"zcompdump-{fpath}"  # of the whole run: to make it takes zsh a second
    start = (
        "PS1='$ '; unset zle_bracketed_paste; LISTMAX=1000; unsetopt beep prompt_sp; "
        "_shown() { print -rn -- \"<<$BUFFER>>\" }; zle -N _shown; bindkey '^T' _shown; "
        + (f"fpath=('{SCRIPTS}' $fpath); " if fpath else "")
        + f"autoload -Uz compinit; compinit -u -d '{cache}'; {setup}"
    )
    terminal = Terminal(shell("zsh"), ["-f", "-i"], start)
    try:
        yield terminal
    finally:
        terminal.close()


def silent_but_for_files(
    start: Callable[[Path], AbstractContextManager[Terminal]],
    program: str | None,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a program that doesn't answer, a shell completes files and shows nothing."""
    instead(program, home, monkeypatch)
    with start(home) as terminal:
        line, shown = terminal.type("cartesia-cli transcribe my\\ t\t")
        assert line == "cartesia-cli transcribe my\\ talk.wav "
        for word in ("oops", "nonexistent", "not found", "interpreter", "No such"):
            assert word not in shown


@pytest.mark.usefixtures("home")
@pytest.mark.shell
class TestFish:
    """Fish has a command for it; its candidates come unquoted."""

    def offered(self, line: str) -> dict[str, str]:
        done = subprocess.run(
            [shell("fish"), "--no-config", "-c", f"source '{SCRIPTS}/cartesia-cli.fish'; complete -C $argv[1]", line],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return {value: about for value, _, about in (row.partition("\t") for row in done.stdout.splitlines())}

    def test_commands_options_values(self) -> None:
        assert set(self.offered("cartesia-cli ")) == set(values(""))
        assert self.offered("cartesia-cli transcribe --fo")["--force"] == "Overwrite existing files"
        assert set(self.offered("cartesia-cli transcribe --")) == set(values("transcribe", "--"))
        assert set(self.offered('cartesia-cli transcribe "--form')) == {"--format"}
        assert set(self.offered("cartesia-cli transcribe -f text,js")) == {"text,json"}
        assert set(self.offered("cartesia-cli transcribe --color=al")) == {"--color=always"}
        assert self.offered("cartesia-cli transcribe -l haw") == {"haw": "Hawaiian"}
        assert set(self.offered("FOO=1 cartesia-cli tra")) == {"transcribe"}
        assert self.offered("cartesia-cli transcribe --timeout m") == {}

    def test_files_and_folders(self) -> None:
        assert set(self.offered("cartesia-cli transcribe my")) == {"my talk.wav", "my folder/"}
        assert set(self.offered("cartesia-cli transcribe my\\ t")) == {"my talk.wav"}
        assert set(self.offered("cartesia-cli transcribe --output=my\\ t")) == {"--output=my talk.wav"}
        assert set(self.offered("cartesia-cli transcribe 'my talk.wav' --output-dir my")) == {"my folder/"}
        assert set(self.offered("cartesia-cli transcribe --output-dir=my")) == {"--output-dir=my folder/"}
        assert set(self.offered("cartesia-cli serve --local-model tin")) == {"tiny", "tiny.en", "tiny-tuned/"}

    def test_odd_candidates(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        instead(DEVICES, home, monkeypatch)
        assert self.offered("cartesia-cli x US") == {"USB: Mic (hw:1,0)": "Loud"}

    @pytest.mark.parametrize("program", BROKEN.values(), ids=BROKEN)
    def test_a_broken_program_leaves_files(
        self, program: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instead(program, home, monkeypatch)
        assert {"my talk.wav", "my folder/"} <= set(self.offered("cartesia-cli transcribe my"))
