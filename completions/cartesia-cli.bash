# Completion for cartesia-cli in bash 3.2 and later. Knows no options: it asks the program, and never runs a word
# that was typed. Needs nothing else: source it, or put it where bash-completion looks for `cartesia-cli`.

_cartesia_cli() {
    # Bash also breaks words at = and :. Parts without a blank between them are one word here; `prefix` is what the
    # shell keeps of the last word, so candidates must not repeat it.
    local line=${COMP_LINE:0:${COMP_POINT:-${#COMP_LINE}}} part prefix i n=-1
    local -a words
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ $i -eq 0 || $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            n=$((n + 1))
            words[n]=
        fi
        [[ $line == "$part"* ]] || part=$line # the cursor is within it
        prefix=${words[n]}
        words[n]+=$part
        line=${line#"$part"}
    done
    [[ $part == [=:]* ]] && prefix=${words[n]}

    local answer value quoting='["'\''\\]' odd='[^A-Za-z0-9_.,:=+@%/-]'
    words=("${words[@]//$quoting/}")
    prefix=${prefix//$quoting/}
    COMPREPLY=()
    # Without an answer, complete files, as for any command; with one, only what it lists.
    answer=$(command cartesia-cli __complete bash "${words[@]:1}" 2>/dev/null </dev/null) || return 0
    compopt +o bashdefault +o default 2>/dev/null
    while IFS= read -r line; do
        case $line in
            $'\tfiles'*) compopt -o bashdefault -o default 2>/dev/null ;;
            $'\tfolders'*) compopt -o filenames -o plusdirs 2>/dev/null ;;
            ?*)
                value=${line%%$'\t'*}
                [[ $value =~ $odd ]] && compopt -o filenames 2>/dev/null # quotes it
                COMPREPLY+=("${value#"$prefix"}")
                ;;
        esac
    done <<<"$answer"
    return 0
}

complete -o bashdefault -o default -F _cartesia_cli cartesia-cli
