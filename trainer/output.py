"""The output of a running experiment as others may read it: two files beside its workspace, of bounded size.

`log` grows up to half the limit, then becomes `log.before` and is begun again, as a log is rotated. A flood is thinned:
between two flushes at most `PENDING` bytes are kept, and a line says how many were left out.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from trainer.scratch import read_small

NAME, BEFORE = "log", "log.before"
PENDING = 1 << 16
LINE = 400
"""Bytes of a line that others are told."""


class Output:
    """Written by one experiment's trainer. `add` only remembers; `flush` writes, as far as the disk lets it."""

    def __init__(self, home: Path, limit: int) -> None:
        self._path, self._old = home / NAME, home / BEFORE
        self._half = max(1, limit // 2)
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._skipped = 0
        self._written = 0
        self._line = b""
        self._telling = b""

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._pending += chunk
            over = len(self._pending) - 2 * PENDING
            if over > 0:
                del self._pending[: over + PENDING]
                self._skipped += over + PENDING

    def flush(self) -> None:
        with self._lock:
            data, skipped = bytes(self._pending), self._skipped
            self._pending.clear()
            self._skipped = 0
        if data:
            self._listen(data)
            gap = f"\n… {skipped} bytes left out …\n".encode() if skipped else b""
            with contextlib.suppress(OSError):  # the run's own log is kept elsewhere
                self._write(gap + data)

    def said(self) -> str:
        """The last line with a number in it, else the last line; untrusted text."""
        return (self._telling or self._line).decode("utf-8", "replace")

    def _listen(self, data: bytes) -> None:
        lines = data.replace(b"\r", b"\n").split(b"\n")
        for line in reversed(lines[-50:]):
            if line.strip():
                self._line = line[:LINE]
                break
        telling = (line for line in reversed(lines[-50:]) if any(48 <= byte <= 57 for byte in line))
        self._telling = next(telling, self._telling)[:LINE]

    def _write(self, data: bytes) -> None:
        if self._written + len(data) > self._half and self._written:
            os.replace(self._path, self._old)
            self._written = 0
        with self._path.open("ab") as file:
            self._written += file.write(data[-self._half :])


def output_so_far(home: Path, limit: int = 1 << 27) -> bytes:
    """The kept output of an experiment that is still running."""
    return read_small(home / BEFORE, limit) + read_small(home / NAME, limit)


class Follower:
    """Reads what comes to the output of a running experiment, in order."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file: int | None = None

    def begin(self) -> bytes:
        """What is kept so far."""
        return read_small(self._home / BEFORE, 1 << 27) + b"".join(self.more())

    def more(self) -> Iterator[bytes]:
        """What came since; nothing once the file is gone and read to its end."""
        while self._file is not None or self._open():
            newest = self._is_newest()  # asked first: what was written before it was put aside is read below
            while chunk := os.read(self._file or 0, PENDING):
                yield chunk
            if newest:
                return
            self.close()

    def _open(self) -> bool:
        with contextlib.suppress(OSError):
            self._file = os.open(self._home / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._file is not None

    def _is_newest(self) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._file or 0), (self._home / NAME).lstat())
        return False

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
