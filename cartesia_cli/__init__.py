"""cartesia-cli: speech to text in a terminal, through Cartesia's API or on this machine.

A walk through the house, from the cellar up. Every room may know the rooms named before it on
this list, except that the seven in the middle don't know each other (`make check` keeps it so):

    errors       how a run can end, and with which exit code
    protocol     what both sides of the API may say: options, events, commands, refusals
    redaction    keeps the API key out of errors and logs
    timing       when words are said of which nobody told
    transcript   what a transcript is: words, segments, what comes before they are settled, the JSON document
    tracker      events of a live session as segments, and as audio that is acknowledged
    reading      saved JSON, ours or anybody's, as transcripts
    subtitles    transcripts as cues, SRT and VTT; what is wrong with anybody's subtitles
    audio        what a sound file is, how its samples are read, replayed and kept; where in them somebody speaks
    ---
    session      the one loop of a live session: speak, hear, stop; lost connections are replaced
    stats        how long everything took
    client       how the protocol is carried over HTTP and WebSocket: uploads, retries, deadlines, how sockets end
    output       formats and files; what is drawn on stderr
    settings     configuration file, profiles, key
    cache        answers that were paid for once
    server       the other end: the same protocol answered on this machine
    ---
    commands     one room a command: options, and one call
    cli          the Typer app; errors become one line and an exit code
    completion   what shells ask for, from a table that is written beforehand (completion_table)
    __main__     the front door: answers `--version` and completion before the house is lit
"""

__version__ = "0.1.0"
