"""One room a command: its options, and the few calls that it is made of.

Here the rooms that don't know each other meet: settings choose a backend, inputs go to a client, what
comes back goes to a writer. Nothing heavy is imported before a command runs.
"""

COMMANDS = ("transcribe", "render", "check", "listen", "stream-file", "devices", "vad", "cache", "serve", "config")
"""In the order of --help. Each is a module here, with a function of that name and its EXAMPLES."""
