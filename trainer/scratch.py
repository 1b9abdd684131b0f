"""Where trainers work, inside the store's folder: a directory a claim, and a desk a worker, with what it prepares.

A directory that is named like a claim belongs to whoever holds that. A desk is locked by its worker, and the kernel
takes the lock away with the worker's last breath: no process numbers, which mean nothing in another container.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from dagstore import Store
from trainer.strays import sweep

DESK = "desk-"


class Scratch:
    """The `scratch` folder of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._uuid = store.uuid
        self.folder = store.folder / "scratch"

    def home(self, token: int) -> Path:
        """Where everything of an experiment lies while its claim is held."""
        return self.folder / str(token)

    def mark(self, token: int | str) -> str:
        """What the processes of an experiment are known by."""
        return f"{self._uuid}-{token}"

    def tidy(self) -> None:
        """End and remove what workers left that were killed: homes whose claim is gone, desks that nobody locks."""
        left = list(self.folder.glob("*"))
        # Read after the directories: a claim is older than its directory, so none that is held can be missed.
        held = {str(claim.token) for claim in self._store.claims()}
        for path in left:
            if path.name.startswith(DESK):
                _remove_desk(path)
            elif path.name not in held:
                sweep(self.mark(path.name))
                shutil.rmtree(path, ignore_errors=True)


class Desk:
    """A folder of one worker's own, from the beginning to the end of its work."""

    def __init__(self, scratch: Path) -> None:
        self.folder, self._lock = _locked_folder(scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def living_desks(scratch: Path) -> Iterator[Path]:
    """The desks of workers that are at work, in no particular order."""
    for path in scratch.glob(f"{DESK}*"):
        lock = _lock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if lock is None:
            yield path
        else:
            os.close(lock)


def tidy_desks(folder: Path) -> None:
    """Remove the desks in a folder that nobody locks."""
    for path in folder.glob(f"{DESK}*"):
        _remove_desk(path)


def _locked_folder(scratch: Path) -> tuple[Path, int]:
    """A new folder with a lock on it; somebody who tidies up may have been faster, then another one."""
    scratch.mkdir(exist_ok=True)
    while True:
        folder = scratch / f"{DESK}{secrets.token_hex(8)}"
        folder.mkdir()
        lock = _lock(folder, fcntl.LOCK_EX)
        if lock is not None:
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_desk(path: Path) -> None:
    lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _lock(path: Path, how: int) -> int | None:
    """A handle with a lock on the folder; None if it is gone or somebody else's."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, how)
    except OSError:
        os.close(handle)
        return None
    return handle


def remove(home: Path) -> None:
    """Take a folder away at once, and what is in it: a node may be about to write there, and look for it."""
    gone = home.with_name(f"{home.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        home.rename(gone)
        home = gone
    shutil.rmtree(home, ignore_errors=True)


def read_small(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a regular file, empty if there is none: an experiment may have put anything there."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            return file.read(limit)
    return b""
