# Completion for cartesia-cli in bash 3.2 and later. `make completions` writes this file: never edit it.
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
