"""A live session as `listen` and `stream-file` share it: its options, keys and commands, outputs and recordings."""
