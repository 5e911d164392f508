"""The other end of the API, on this machine: the same protocol, answered by an offline engine."""
