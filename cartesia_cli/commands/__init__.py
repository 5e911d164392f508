"""The commands, a module for each with its options and the calls that it consists of, and what they share.

This layer connects the packages that don't know each other: settings choose a backend, inputs go to a client, what
comes back goes to a writer. Nothing heavy is imported before a command runs.
"""

COMMANDS = ("transcribe", "render", "check", "listen", "stream-file", "devices", "vad", "cache", "serve", "config")
"""In the order of --help. Each is a module here, with a function of that name and its EXAMPLES."""
