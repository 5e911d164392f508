"""The commands, one module each with its options and the calls that it consists of, and the code that they share.

This layer connects packages that don't import each other: settings choose a backend, inputs go to a client, responses
go to a writer. Heavy imports are deferred until a command runs.
"""

COMMANDS = (
    "transcribe",
    "render",
    "edit",
    "check",
    "eval",
    "listen",
    "stream-file",
    "status",
    "devices",
    "models",
    "vad",
    "cache",
    "serve",
    "login",
    "logout",
    "doctor",
    "config",
    "schema",
    "skill",
)
"""In the order of --help. Each is a module here, with a function of that name and its EXAMPLES, one a line."""
