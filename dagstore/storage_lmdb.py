"""Storage in LMDB (data format 0.9), one environment per process and path. The only module that imports `lmdb`."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from dagstore.errors import Damaged, NotFound, Refused, Unavailable
from dagstore.storage import TABLES, Reader, Writer

# Sized once, and sparse: growing a map while other processes use it is where LMDB stores have been lost.
MAP_BYTES = 1 << 40
MAX_READERS = 1022
ENGINE = 0  # the 0.9 data format; 1.0 files are mutually unreadable with it

_open: dict[tuple[int, int], "_Shared"] = {}
_guard = threading.Lock()


class _Shared:
    """One LMDB environment and how many storages use it: LMDB forbids opening a path twice in one process."""

    def __init__(self, env: lmdb.Environment, readonly: bool) -> None:
        self.env = env
        self.readonly = readonly
        self.pid = os.getpid()
        self.users = 1
        self.tables = _open_tables(env, readonly)


class LmdbStorage:
    """The files `data.mdb` and `lock.mdb` in `folder`; `create` makes them if they are missing."""

    def __init__(self, folder: Path, *, create: bool = False, readonly: bool = False) -> None:
        self._folder = folder
        self._readonly = readonly
        self._key, self._shared = _acquire(folder, create, readonly)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        shared = self._usable()
        with _translated(self._folder):
            txn = shared.env.begin()
            try:
                yield _View(txn, shared.tables)
            finally:
                txn.abort()

    @contextmanager
    def write(self) -> Iterator[Writer]:
        shared = self._usable()
        if self._readonly:
            raise Unavailable(f"{self._folder} is opened for reading only", hint="check its permissions")
        with _translated(self._folder), shared.env.begin(write=True) as txn:
            yield _Change(txn, shared.tables)

    def close(self) -> None:
        if self._shared is not None:
            _release(self._key, self._shared)
            self._shared = None  # type: ignore[assignment]

    def _usable(self) -> _Shared:
        if self._shared is None:
            raise Refused("the store is closed", hint="open it again")
        if self._shared.pid != os.getpid():
            raise Refused(
                "the store was opened before this process was forked",
                hint="open it after the fork, or start processes with the `spawn` method",
            )
        return self._shared


class _View:
    def __init__(self, txn: Any, tables: dict[str, Any]) -> None:
        self._txn = txn
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._txn.get(key, db=self._tables[table])  # type: ignore[no-any-return]

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if reverse:
                yield from _backward(cursor, low, high)
            else:
                yield from _forward(cursor, low, high)

    def count(self, table: str) -> int:
        return int(self._txn.stat(self._tables[table])["entries"])


class _Change(_View):
    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._tables[table])

    def append(self, table: str, key: bytes, value: bytes) -> None:
        if not self._txn.put(key, value, db=self._tables[table], append=True):
            raise ValueError(f"key {key.hex()} is not the greatest of {table}")

    def delete(self, table: str, key: bytes) -> bool:
        return bool(self._txn.delete(key, db=self._tables[table]))


def _forward(cursor: Any, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    if not (cursor.set_range(low) if low else cursor.first()):
        return
    for key, value in cursor.iternext(keys=True, values=True):
        if high is not None and key >= high:
            return
        yield key, value


def _backward(cursor: Any, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    found = cursor.last() if high is None or not cursor.set_range(high) else cursor.prev()
    if not found:
        return
    for key, value in cursor.iterprev(keys=True, values=True):
        if key < low:
            return
        yield key, value


def _acquire(folder: Path, create: bool, readonly: bool) -> tuple[tuple[int, int], _Shared]:
    with _guard, _translated(folder):
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not (folder / "data.mdb").is_file():
            raise NotFound(f"no store at {folder}", hint="make one with `dag init`")
        where = folder.stat()
        key = (where.st_dev, where.st_ino)
        shared = _open.get(key)
        if shared is not None and shared.pid == os.getpid() and (readonly or not shared.readonly):
            shared.users += 1
            return key, shared
        if shared is not None:
            raise Refused(
                f"{folder} is already open in this process, for reading only or from before a fork",
                hint="close that store first, or start processes with the `spawn` method",
            )
        shared = _Shared(_environment(folder, readonly), readonly)
        _open[key] = shared
        return key, shared


def _release(key: tuple[int, int], shared: _Shared) -> None:
    with _guard:
        shared.users -= 1
        if shared.users == 0 and shared.pid == os.getpid():
            _open.pop(key, None)
            shared.env.close()


def _environment(folder: Path, readonly: bool) -> lmdb.Environment:
    # Where the lock file cannot be written there is nobody to share it with: a read-only medium or a foreign copy.
    lock = not readonly or os.access(folder / "lock.mdb", os.W_OK)
    env = lmdb.open(
        str(folder),
        map_size=MAP_BYTES,
        max_dbs=len(TABLES),
        max_readers=MAX_READERS,
        max_spare_txns=0 if readonly else 1,
        readonly=readonly,
        lock=lock,
        readahead=False,
        lib_version=ENGINE,
    )
    if lock:
        env.reader_check()  # clears the slots of readers that were killed
    return env


def _open_tables(env: lmdb.Environment, readonly: bool) -> dict[str, Any]:
    with env.begin() as txn:
        missing = any(txn.get(name.encode()) is None for name in TABLES)
    if missing and readonly:
        raise Damaged("the store lacks some of its tables", hint="it was never finished; run `dag init` again")
    return {name: env.open_db(name.encode(), create=missing) for name in TABLES}


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Errors of LMDB and the file system as ours, naming the folder."""
    try:
        yield
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
        raise Damaged(f"{folder}: {error}", hint="restore a copy, or run `dag fsck --full`") from error
    except lmdb.BadValsizeError as error:
        raise ValueError(f"{folder}: a key is empty or too long") from error
    except lmdb.Error as error:
        raise Unavailable(f"{folder}: {error}", hint="free some space or check permissions, then repeat") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG):
            raise Unavailable(f"{folder}: {error.strerror}", hint="free some space or check permissions") from error
        raise
