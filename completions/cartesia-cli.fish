# Completion for cartesia-cli in fish 3 and later. Knows no options: it asks the program, and never runs a word that
# was typed.

function __cartesia_cli_answer
    set -l words (commandline -opc)
    set -l word (commandline -ct | string replace -ar '["\'\\\\]' '')
    set -e words[1]
    # Without an answer, complete files, as for any command. Through env, because fish's own error message about a
    # missing or broken program can't be redirected.
    env cartesia-cli __complete fish $words "$word" 2>/dev/null </dev/null
    or printf '\tfiles\t\n'
end

function __cartesia_cli_candidates
    for line in (__cartesia_cli_answer)
        switch $line
            case \tfiles\*
                # Left to the second rule below.
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
