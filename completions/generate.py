"""Writes what completion knows: `cartesia_cli/completion_table.py` and a script for each shell.

Run by `make completions`. Everything is read from the Typer app, except what a Typer app doesn't know: which
kind of value an option takes. A new option that takes one is classified in KINDS, and nothing else is to be done.
The scripts must never know an option, nor run a word that somebody typed: they ask the program and pass on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from cartesia_cli import cli
from cartesia_cli.commands import listen, live_options, look, stream_file
from cartesia_cli.commands.option_sources import negation
from cartesia_cli.output import FORMATS
from cartesia_cli.protocol import BATCH_MODELS, ENCODINGS, HTTP_ROUTES, LANGUAGES, MODELS

ROOT = Path(__file__).parent.parent

KINDS = {
    "INPUT...": "file",
    "FILE": "file",
    "SUBTITLES...": "file",
    "TRANSCRIPT...": "file",
    "[clear]": "clear",
    "check --format": "report",
    "cache --format": "list",
    "[show [COMMAND...]]": "show",
    "config --format": "list",
    "--keep-json": "folder",
    "--transcript": "file",
    "--append": "file",
    "--allow-host": "none",
    "--allow-origin": "none",
    "--base-url": "none",
    "--catch-up": "way",
    "--channel": "none",
    "--chunk-ms": "none",
    "--color": "color",
    "--concurrency": "none",
    "--config": "file",
    "--context": "none",
    "--device": "device",
    "--duration": "none",
    "--encoding": "encoding",
    "--wire-encoding": "wire-encoding",
    "listen --wire-encoding": "encoding",
    "--wire-rate": "none",
    "--exec": "none",
    "--endpoint": "endpoint",
    "--finalize": "finalize",
    "listen --finalize": "keys",
    "--format": "format",
    "--from": "none",
    "--grep": "none",
    "devices --format": "list",
    "vad --format": "list",
    "--host": "none",
    "--keyterm": "none",
    "--language": "language",
    "--local-model": "whisper",
    "--longest-gaps": "none",
    "--max-bytes": "none",
    "--max-cps": "none",
    "--max-cue": "none",
    "--max-line-count": "none",
    "--max-line-width": "none",
    "--max-silence-secs": "none",
    "--max-words-per-line": "none",
    "--min-cue": "none",
    "--min-gap": "none",
    "--min-volume": "none",
    "--mode": "mode",
    "--model": "model",
    "transcribe --model": "batch-model",
    "--output": "file",
    "--output-dir": "folder",
    "--port": "none",
    "--profile": "none",
    "--raw-events": "file",
    "--reconnect": "none",
    "--retries": "none",
    "--sample-rate": "none",
    "--recording": "file",
    "--save-audio": "file",
    "--script": "file",
    "--speed": "none",
    "--stop-after-silence": "none",
    "--subtitle-profile": "profile",
    "--timeout": "none",
    "--to": "none",
    "--turn-eager-end-threshold": "none",
    "--turn-end-threshold": "none",
    "--turn-end-timeout-ms": "none",
    "--turn-start-threshold": "none",
    "--vad-silence-ms": "none",
    "--vad-threshold": "none",
}
"""Option, or metavar of an argument, to the kind of its value. With a command before it, for that command only.

file, folder   completed by the shell
whisper        a folder, or one of the names below
device         a microphone; asked for when it is wanted
none           nothing to offer
others         one of the values below; several of `format`, with commas
"""

LANGUAGE_NAMES = dict(
    entry.strip().split(" ", 1)
    for entry in """
    en English, zh Chinese, de German, es Spanish, ru Russian, ko Korean, fr French, ja Japanese, pt Portuguese,
    tr Turkish, pl Polish, ca Catalan, nl Dutch, ar Arabic, sv Swedish, it Italian, id Indonesian, hi Hindi,
    fi Finnish, vi Vietnamese, he Hebrew, uk Ukrainian, el Greek, ms Malay, cs Czech, ro Romanian, da Danish,
    hu Hungarian, ta Tamil, no Norwegian, th Thai, ur Urdu, hr Croatian, bg Bulgarian, lt Lithuanian, la Latin,
    mi Maori, ml Malayalam, cy Welsh, sk Slovak, te Telugu, fa Persian, lv Latvian, bn Bengali, sr Serbian,
    az Azerbaijani, sl Slovenian, kn Kannada, et Estonian, mk Macedonian, br Breton, eu Basque, is Icelandic,
    hy Armenian, ne Nepali, mn Mongolian, bs Bosnian, kk Kazakh, sq Albanian, sw Swahili, gl Galician, mr Marathi,
    pa Punjabi, si Sinhala, km Khmer, sn Shona, yo Yoruba, so Somali, af Afrikaans, oc Occitan, ka Georgian,
    be Belarusian, tg Tajik, sd Sindhi, gu Gujarati, am Amharic, yi Yiddish, lo Lao, uz Uzbek, fo Faroese,
    ht Haitian Creole, ps Pashto, tk Turkmen, nn Nynorsk, mt Maltese, sa Sanskrit, lb Luxembourgish, my Burmese,
    bo Tibetan, tl Tagalog, mg Malagasy, as Assamese, tt Tatar, haw Hawaiian, ln Lingala, ha Hausa, ba Bashkir,
    jw Javanese, su Sundanese, yue Cantonese
    """.split(",")
)

WHISPER = ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en", "large-v3")

VALUES = {
    "clear": {"clear": "take all away"},
    "show": {"show": "each setting, its value and where it comes from"},
    "way": dict.fromkeys(live_options.WAYS, ""),
    "report": dict.fromkeys(("text", "json"), ""),
    "batch-model": dict.fromkeys(BATCH_MODELS, ""),
    "color": dict.fromkeys(("auto", "always", "never"), ""),
    "encoding": dict.fromkeys(ENCODINGS, ""),
    "wire-encoding": dict.fromkeys((*ENCODINGS, live_options.NATIVE), ""),
    "endpoint": HTTP_ROUTES,
    "finalize": dict.fromkeys(stream_file.FINALIZE, ""),
    "keys": dict.fromkeys(listen.FINALIZE, ""),
    "list": dict.fromkeys(("table", "json"), ""),
    "format": dict.fromkeys(FORMATS, ""),
    "language": {code: LANGUAGE_NAMES.get(code, "") for code in LANGUAGES},
    "mode": dict.fromkeys(live_options.MODES, ""),
    "model": dict.fromkeys(MODELS, ""),
    "profile": dict.fromkeys(look.PROFILES, ""),
    "whisper": dict.fromkeys(WHISPER, ""),
}
"""Kind to its values, and to what is said about each."""

TABLE = '''"""The command line as completion knows it. `make completions` writes this from the app: never edit it."""

# A command (the program itself: "") to the kind of its arguments; "" where it takes none.
OPERANDS: dict[str, str] = {operands}

# A command to its options: names to offer, names that are only understood, kind of the value ("" for a flag),
# whether it may be repeated, description.
OPTIONS: dict[str, tuple[tuple[str, str, str, bool, str], ...]] = {options}

# A kind of value to what may be offered, each with a description.
VALUES: dict[str, tuple[tuple[str, str], ...]] = {values}
'''

BASH = r"""# Completion for cartesia-cli in bash 3.2 and later. `make completions` writes this file: never edit it.
# Nothing else is needed: source it, or put it where bash-completion looks for `cartesia-cli`.

_cartesia_cli() {
    # Bash breaks words at = and :, too. Parts without a blank between them are one word to us; `prefix` is what
    # the shell keeps of the last word, so that it must not be in a candidate.
    local line=${COMP_LINE:0:${COMP_POINT:-${#COMP_LINE}}} part prefix i n=-1
    local -a words
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ $i -eq 0 || $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            n=$((n + 1))
            words[n]=
        fi
        [[ $line == "$part"* ]] || part=$line # the cursor stands within it
        prefix=${words[n]}
        words[n]+=$part
        line=${line#"$part"}
    done
    [[ $part == [=:]* ]] && prefix=${words[n]}

    local answer value quoting='["'\''\\]' odd='[^A-Za-z0-9_.,:=+@%/-]'
    words=("${words[@]//$quoting/}")
    prefix=${prefix//$quoting/}
    COMPREPLY=()
    # No answer: then files, as for any command. With an answer, nothing but what it says.
    answer=$(command cartesia-cli __complete bash "${words[@]:1}" 2>/dev/null </dev/null) || return 0
    compopt +o bashdefault +o default 2>/dev/null
    while IFS= read -r line; do
        case $line in
            $'\tfiles'*) compopt -o bashdefault -o default 2>/dev/null ;;
            $'\tfolders'*) compopt -o filenames -o plusdirs 2>/dev/null ;;
            ?*)
                value=${line%%$'\t'*}
                [[ $value =~ $odd ]] && compopt -o filenames 2>/dev/null # which quotes it
                COMPREPLY+=("${value#"$prefix"}")
                ;;
        esac
    done <<<"$answer"
    return 0
}

complete -o bashdefault -o default -F _cartesia_cli cartesia-cli
"""

ZSH = r"""#compdef cartesia-cli
# Completion for cartesia-cli in zsh. `make completions` writes this file: never edit it.
# Put it into a folder of $fpath before compinit runs; sourced after compinit, it works as well.

_cartesia-cli() {
    local answer line value directive kind=value ret=1
    local -a described
    # No answer: then files, as for any command.
    answer=$(command cartesia-cli __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)IPREFIX}${(Q)PREFIX}" \
        2>/dev/null </dev/null) || { _files; return }
    for line in "${(@f)answer}"; do
        if [[ $line == $'\t'* ]]; then
            directive=$line
        elif [[ -n $line ]]; then
            value=${line%%$'\t'*}
            described+=("${value//:/\\:}:${line#*$'\t'}")
        fi
    done
    [[ $PREFIX == -* ]] && kind=option
    (( $#described )) && _describe -t ${kind}s $kind described && ret=0
    compset -p ${#directive##*$'\t'} # an `--output=` stays as it is
    case $directive in
        ($'\tfiles'*) _files && ret=0 ;;
        ($'\tfolders'*) _files -/ && ret=0 ;;
    esac
    return ret
}

if [[ $funcstack[1] == _cartesia-cli ]]; then
    _cartesia-cli "$@"
elif (( $+functions[compdef] )); then
    compdef _cartesia-cli cartesia-cli
fi
"""

FISH = r"""# Completion for cartesia-cli in fish 3 and later. `make completions` writes this file: never edit it.

function __cartesia_cli_answer
    set -l words (commandline -opc)
    set -l word (commandline -ct | string replace -ar '["\'\\\\]' '')
    set -e words[1]
    # No answer: then files, as for any command. Through env, since fish's own complaint of a program that is
    # missing or broken can't be redirected.
    env cartesia-cli __complete fish $words "$word" 2>/dev/null </dev/null
    or printf '\tfiles\t\n'
end

function __cartesia_cli_candidates
    for line in (__cartesia_cli_answer)
        switch $line
            case \tfiles\*
                # The other rule's.
            case \tfolders\*
                __fish_complete_directories (commandline -ct) ''
            case '*'
                printf '%s\n' $line
        end
    end
end

function __cartesia_cli_wants_files
    __cartesia_cli_answer | string match -q \tfiles\*
end

complete -c cartesia-cli -f -a '(__cartesia_cli_candidates)'
complete -c cartesia-cli -n __cartesia_cli_wants_files -F
"""


def files(app: typer.Typer) -> dict[Path, str]:
    """What is to be written, and where."""
    return {
        ROOT / "cartesia_cli/completion_table.py": table(app),
        ROOT / "completions/cartesia-cli.bash": BASH,
        ROOT / "completions/_cartesia-cli": ZSH,
        ROOT / "completions/cartesia-cli.fish": FISH,
    }


def table(app: typer.Typer) -> str:
    """The source of the table. SystemExit when the kind of a value isn't known."""
    program: Any = get_command(app)
    context = typer.Context(program, info_name=program.name, **program.context_settings)
    commands = {name: command for name, command in program.commands.items() if not command.hidden}
    operands = {"": "command"}
    options = {"": _options("", program, context)}
    for name, command in commands.items():
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        if len(arguments) > 1 or hasattr(command, "commands"):
            raise SystemExit(f"completions/generate.py can't describe {name}: commands in it, or several arguments")
        operands[name] = _kind(name, arguments[0].metavar) if arguments else ""
        options[name] = _options(name, command, typer.Context(command, parent=context))
    values = {"command": {name: _brief(command.help) for name, command in commands.items()}, **VALUES}
    listed = {kind: tuple(offers.items()) for kind, offers in values.items()}
    source = TABLE.format(operands=operands, options=options, values=listed)
    ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", "completion_table.py"]
    return subprocess.run(ruff, input=source, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout


def _options(name: str, command: Any, context: typer.Context) -> tuple[tuple[str, str, str, bool, str], ...]:
    rows = []
    for option in command.get_params(context):
        if option.param_type_name != "option":
            continue
        names = sorted([*option.opts, *option.secondary_opts], key=lambda spelling: not spelling.startswith("--"))
        spelt = [alias for alias, meant in cli.ALIASES.items() if meant in names]
        if name and option.name != "help" and (opposite := negation(option)):
            spelt.append(opposite)
        offered, understood = ([], names + spelt) if option.hidden else (names, spelt)
        kind = "" if option.is_flag or option.count else _kind(name, names[0])
        repeatable = option.multiple or option.count
        rows.append((" ".join(offered), " ".join(understood), kind, repeatable, _brief(option.help)))
    return tuple(rows)


def _kind(command: str, name: str) -> str:
    kind = KINDS.get(f"{command} {name}") or KINDS.get(name)
    if kind is None:
        raise SystemExit(f"completions/generate.py: which kind of value does {command} {name} take? Say so in KINDS")
    return kind


def _brief(text: str | None) -> str:
    """The first sentence, on one line: a menu has no room for more."""
    return " ".join((text or "").split()).split(". ")[0].removesuffix(".")


def main() -> None:
    for path, text in files(cli.build()).items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
