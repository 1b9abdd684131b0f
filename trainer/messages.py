"""Messages between a trainer and its warm parents, as `trainer/parent.py` reads and writes them too.

A length of four bytes, little endian, then groups of texts: each group its count and its texts, all ended by NUL.
"""

import socket
import time
from collections.abc import Sequence

Groups = list[list[bytes]]


def pack(*groups: Sequence[bytes]) -> bytes:
    items = [item for group in groups for item in (b"%d" % len(group), *group)]
    body = b"".join(item + b"\0" for item in items)
    return len(body).to_bytes(4, "little") + body


def unpack(body: bytes) -> Groups:
    """`ValueError` if the counts are not those of the texts."""
    items, groups = body.split(b"\0")[:-1], []
    while items:
        count = int(items[0])
        if not 0 <= count < len(items):
            raise ValueError(f"a message counts {count} texts and has {len(items) - 1}")
        groups.append(items[1 : 1 + count])
        items = items[1 + count :]
    return groups


def receive(sock: socket.socket, deadline: float) -> Groups:
    """The next message, nothing at the end of the stream. `TimeoutError` at `deadline` by the monotonic clock."""
    size = int.from_bytes(_exactly(sock, 4, deadline), "little")
    return unpack(_exactly(sock, size, deadline))


def send(sock: socket.socket, message: bytes, handle: int, deadline: float) -> None:
    """Sends a message and a file descriptor with it. `TimeoutError` as above."""
    sock.settimeout(_left(deadline))
    sent = socket.send_fds(sock, [message], [handle])
    if sent < len(message):
        sock.sendall(message[sent:])


def _exactly(sock: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        sock.settimeout(_left(deadline))
        chunk = sock.recv(size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left
