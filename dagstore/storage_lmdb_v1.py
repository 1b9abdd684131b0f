"""The LMDB environment that a store of format 1 was: tables in `data.mdb`, read once to bring the store up to date."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import lmdb

from dagstore.errors import Damaged, Refused, Unavailable

DATA, LOCK = "data.mdb", "lock.mdb"
KEPT_AS = "v1.mdb"
"""What the file is called once its store is of a later format."""
TABLES = ("meta", "obj", "id", "state")
"""Those that are not derived from others: text -> bytes, number -> envelope, id -> number, mutable rows."""
ENGINE = 0


class OldTables:
    """What the tables held when they were opened."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        with env.begin() as txn:
            missing = [name for name in TABLES if txn.get(name.encode()) is None]
        if missing:
            raise Damaged(f"there is no table {missing[0]!r}", hint="it was never finished; run `dag init` again")
        self._tables: dict[str, Any] = {name: env.open_db(name.encode(), create=False) for name in TABLES}

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        with self._env.begin() as txn:
            return txn.get(key, db=self._tables[table])

    def count(self, table: str) -> int:
        """How many keys the table has."""
        with self._env.begin() as txn:
            return int(txn.stat(self._tables[table])["entries"])

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All pairs in key order."""
        with self._env.begin() as txn, txn.cursor(db=self._tables[table]) as cursor:
            yield from cursor


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a store of format 1 that `init` got to its end."""
    if not (folder / DATA).is_file():
        return False
    try:
        with closing(_environment(folder)) as env:
            return OldTables(env).get("meta", b"seed") is not None
    except (Damaged, lmdb.Error):
        return False


@contextmanager
def old_tables(folder: Path) -> Iterator[OldTables]:
    """The tables of a store of format 1, which nobody else has open meanwhile: `Refused` if somebody does."""
    try:
        with _alone(folder), closing(_environment(folder)) as env:
            yield OldTables(env)
    except lmdb.Error as error:
        raise Damaged(f"{folder / DATA}: {error}", hint="restore a copy") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of which everybody who has the environment open holds a share."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Unavailable(f"{folder / LOCK}: {error.strerror}", hint="check permissions and free space") from error
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, os.SEEK_SET)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise Refused(f"{folder} is in use", hint="end the processes that have it open, then repeat") from None
        yield
    finally:
        os.close(handle)


def _environment(folder: Path) -> lmdb.Environment:
    env = lmdb.open(
        str(folder), max_dbs=len(TABLES), readonly=True, lock=False, readahead=False, create=False, lib_version=ENGINE
    )
    pages = env.info()["last_pgno"] + 1
    if (folder / DATA).stat().st_size < pages * env.stat()["psize"]:  # reading what is not there would kill us
        env.close()
        raise Damaged(f"{folder / DATA} is cut off", hint="restore a copy")
    return env
