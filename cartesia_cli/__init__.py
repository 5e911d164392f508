"""cartesia-cli: speech to text in a terminal, through Cartesia's API or on this machine.

Package overview and import rules. Modules may import from the groups above their own, and in the groups marked "in
order", from the lines above. `make check` enforces this (contracts in pyproject.toml).

    errors             how a run can end, and with which exit code
    record             the base class of values that are only read, each by its name

    protocol           what both sides of the API may say: options, events, commands, errors
    redaction          keeps the API key out of errors and logs
    retry              pauses between retries
    remote_url         URLs of recordings: how they are shown, and what results are named after
    transfer           recordings that are downloaded: progress, what is known of them, how it fails
    timestamps         fills in missing or implausible times of words and segments
    text_encoding      decoding of text files of unknown encoding
    text_width         columns of a terminal that a text takes
    fingerprint        hashes of files, and whether a file is still the same
    atomic_files       files that are written whole or not at all
    file_locks         locks on files, for several processes
    directories        the user's directories for configuration, cache and state
    daemon_thread      blocking calls in threads, with deadlines
    evaluation         word and character error rates, and their confidence intervals

  in order:
    alignment          where the words of a transcript stand in its text
    transcript         a transcript: text, words, segments, and its JSON document
    speakers           channels of a recording as a conversation, names of speakers
    subtitles          cues from transcripts, SRT and VTT; a parser and a linter for subtitle files
    transcript_import  saved transcripts of any service, as transcripts
    audio              probing, decoding, the microphone, voice activity detection, recording
    tracker            events of a live session: which text is settled, which audio is acknowledged

    session            a live session: send loop, receive loop, reconnects, latencies
    client             HTTP and WebSocket: uploads, downloads, retries, deadlines, errors
    output             one writer per format, and what is printed on stderr
    settings           configuration file and profiles
    model_cache        lists of models, kept for a day
    cache, results     earlier responses, and which result files were made from which recording
    server             a local server that speaks the same protocol
    scale              many recordings: manifests, buckets, runs that can be resumed, several machines

  in order:
    credentials        the API key: from the environment, a command, a file or the keyring
    commands           one module per command: its options, and the calls that it consists of
    cli                the Typer app: runs a command, and turns errors into one line and an exit code
    completion         shell completion, from completion_table.json
    __main__           console entry point: serves --version, --help and completion without importing Typer
"""

__version__ = "0.2.0"
