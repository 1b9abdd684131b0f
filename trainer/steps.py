"""Reads what an experiment appends to `$DAG_STEPS`, which may be anything: bounded, and without waiting."""

import os
import stat
from pathlib import Path

LIMIT = 1 << 16
"""Bytes that are read at a time; of more that were added, the last."""
MAX_LINES = 1000
"""Lines that are given at a time; of more, the last."""
MAX_LINE = 1 << 14
"""Longer lines are passed over."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Steps:
    """The file at a path whose folder is there already, and nobody else's yet: it may be replaced later on."""

    def __init__(self, path: Path) -> None:
        self._folder = os.open(path.parent, _FOLDER)
        self._name = path.name
        self._file: tuple[int, int] | None = None
        self._at = 0
        self._inside = False  # a line that was begun before `at` and is passed over

    def close(self) -> None:
        os.close(self._folder)

    def read(self) -> list[bytes]:
        """Whole lines that were added since the last call, all of them again where the file was replaced or cut."""
        try:
            handle = os.open(self._name, _FILE, dir_fd=self._folder)
        except OSError:
            return []
        try:
            return self._lines(handle, os.fstat(handle))
        except OSError:
            return []
        finally:
            os.close(handle)

    def _lines(self, handle: int, found: os.stat_result) -> list[bytes]:
        if not stat.S_ISREG(found.st_mode):
            return []
        file = found.st_dev, found.st_ino
        if file != self._file or found.st_size < self._at:
            self._file, self._at, self._inside = file, 0, False
        if found.st_size - LIMIT > self._at:
            self._at, self._inside = found.st_size - LIMIT, True
        return self._whole(os.pread(handle, LIMIT, self._at))

    def _whole(self, data: bytes) -> list[bytes]:
        text, ended, _ = data.rpartition(b"\n")
        if not ended:
            if len(data) == LIMIT:
                self._at, self._inside = self._at + LIMIT, True
            return []
        lines = text.split(b"\n")[1 if self._inside else 0 :]
        self._at, self._inside = self._at + len(text) + 1, False
        return [line for line in lines[-MAX_LINES:] if len(line) <= MAX_LINE]
