"""A server that discards uploads as fast as possible and answers with a transcript. `sink.py` prints its port.

It is a separate process without a framework, so that the client is what a benchmark measures.
"""

from __future__ import annotations

import socket
import sys

ANSWER = (
    b'{"type": "transcript", "text": "received", "language": "en", "duration": 1.0, "request_id": "sink", '
    b'"words": [{"word": "received", "start": 0.1, "end": 0.9}]}'
)
HEAD_BYTES = 64 << 10


def discard_request(client: socket.socket, buffer: memoryview) -> None:
    """Read one request that has a Content-Length, and answer it."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while b"\r\n\r\n" not in head:
        block = client.recv(HEAD_BYTES)
        if not block:
            return
        head += block
    head, _, body = head.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b"expect" in fields:  # curl asks before it sends much, and waits a second for the answer
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    left = int(fields[b"content-length"]) - len(body)
    while left:
        count = client.recv_into(buffer, min(left, len(buffer)))
        if not count:
            return
        left -= count
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    client.sendall(head % len(ANSWER) + ANSWER)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    buffer = memoryview(bytearray(1 << 20))
    while True:
        client, _ = listener.accept()
        with client:
            discard_request(client, buffer)


if __name__ == "__main__":
    main()
