"""How far a check of a store got: `fsck.json`, and beside it the folder `fsck.tables` of what the check builds.

One check at a time holds them, by a lock on the folder. Another one, or one of a store that cannot be written to, works
in a temporary folder and cannot be resumed.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

from dagstore.errors import Unavailable

FILE = "fsck.json"
TABLES = "fsck.tables"


class Checkpoints:
    """Use it as a context manager. `folder` is where the check may keep what it builds."""

    def __init__(self, store: Path) -> None:
        self._file = store / FILE
        self._handle = _lock(store / TABLES)
        self.lasting = self._handle is not None
        try:
            self.folder = store / TABLES if self.lasting else Path(tempfile.mkdtemp(prefix="dagstore-fsck-"))
        except OSError as error:
            raise Unavailable(f"no temporary folder: {error.strerror}", hint="free some space") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            os.close(self._handle)

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None if there is nothing, or nothing that can be read."""
        if not self.lasting:
            return None
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        """Put `state` in the place of what was saved before; without effect where nothing can be saved."""
        if not self.lasting:
            return
        temporary = self._file.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(state), encoding="utf-8")
            os.replace(temporary, self._file)

    def empty(self) -> None:
        """Forget what was saved and built."""
        if self.lasting:
            self._file.unlink(missing_ok=True)
        for path in self.folder.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The check is over: leave nothing behind."""
        self.empty()
        shutil.rmtree(self.folder, ignore_errors=True)


def forget_check(store: Path) -> None:
    """Drop what a check saved that never ended; what it found is not so any more."""
    (store / FILE).unlink(missing_ok=True)
    shutil.rmtree(store / TABLES, ignore_errors=True)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder, which is made if it is missing; None where that cannot be."""
    handle = None
    try:
        folder.mkdir(exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == folder.stat().st_ino and os.access(folder, os.W_OK):
            return handle
    except OSError:
        pass
    if handle is not None:
        os.close(handle)
    return None
