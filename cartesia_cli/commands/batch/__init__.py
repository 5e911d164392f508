"""A run over many recordings, as `transcribe`, `eval` and `render` share it: inputs, plan, jobs, and their results."""
