"""LMDB environments (data format 0.9): how they are opened, with their tables, and what their errors mean."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from dagstore.errors import Damaged, Refused, Unavailable
from dagstore.presence import boot_id
from dagstore.storage import SETS, TABLES
from dagstore.transactions import FRAMES

LOG = "log"
INDEX = "index"
DATA = "data.mdb"
"""Names in a store's folder: the log, the folder of the LMDB environment, and its file."""

# Sized once, and sparse: growing a map while other processes use it is where LMDB stores have been lost.
MAP_BYTES = 1 << 40
MAX_READERS = 1022
ENGINE = 0  # the 0.9 data format; 1.0 files are mutually unreadable with it
COPIED = 1 << 17
"""Rows that are copied in one transaction."""
LOCK_BYTES = 64 << 10
"""What LMDB's lock file takes with so many readers."""

_DAMAGE = (
    lmdb.BadDbiError,
    lmdb.BadTxnError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)
"""How LMDB says that a file is not what it should be; reading a damaged page may only say that the rest is no use."""
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


class OpenReader(NamedTuple):
    """A read transaction that the process `pid` has open, and how many commits it is `behind` the last one."""

    pid: int
    behind: int


def open_environment(folder: str, readonly: bool) -> lmdb.Environment:
    # Where the lock file cannot be written there is nobody to share it with: a read-only medium or a foreign copy.
    lock_file = f"{folder}/lock.mdb"
    lock = not readonly or os.access(lock_file, os.W_OK)
    if lock and not _has_room(lock_file):
        _reserve(lock_file)
    env = lmdb.open(
        folder,
        map_size=MAP_BYTES,
        max_dbs=len(TABLES) + 1,
        max_readers=MAX_READERS,
        max_spare_txns=0 if readonly else 1,
        readonly=readonly,
        lock=lock,
        readahead=False,
        # Without a way to tell a killed process from a power cut, every commit has to be whole on disk.
        sync=not boot_id(),
        lib_version=ENGINE,
    )
    pages = env.info()["last_pgno"] + 1
    if os.stat(f"{folder}/{DATA}").st_size < pages * env.stat()["psize"]:  # reading what is not there would kill us
        env.close()
        raise Damaged(f"{folder}/{DATA} is cut off", hint="make it again with `dag fsck --reindex`")
    if lock:
        env.reader_check()  # clears the slots of readers that were killed
    return env


def _has_room(file: str) -> bool:
    try:
        return os.stat(file).st_blocks * 512 >= LOCK_BYTES
    except FileNotFoundError:
        return False


def _reserve(file: str) -> None:
    """Have the disk's word for LMDB's lock file, which is written through a map: without room that would kill us."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(handle, 0, LOCK_BYTES)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        os.close(handle)


def open_tables(env: lmdb.Environment, readonly: bool) -> dict[str, Any]:
    names = (*TABLES, FRAMES)
    try:
        return _open_tables(env, names, create=False)
    except lmdb.NotFoundError:
        if readonly:
            raise Refused(
                "the store has indexes of another version, without some tables of this one",
                hint="make them again with `dag fsck --reindex`",
                code="stale_index",
            ) from None
        return _open_tables(env, names, create=True)


def _open_tables(env: lmdb.Environment, names: Iterable[str], *, create: bool) -> dict[str, Any]:
    return {
        name: env.open_db(name.encode(), create=create, dupsort=name in SETS, dupfixed=name in SETS) for name in names
    }


def copy_table(txn: Any, table: Any, to: lmdb.Environment, empty: Any) -> None:
    with txn.cursor(db=table) as cursor:
        pairs = cursor.iternext(keys=True, values=True)
        full = True
        while full:
            with to.begin(write=True, db=empty) as copy, copy.cursor() as end:
                _, added = end.putmulti(islice(pairs, COPIED), append=True)
            full = added == COPIED


def pages(stat: Any) -> int:
    return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])


def readers(env: lmdb.Environment) -> Iterator[OpenReader]:
    """Every open read transaction of any process."""
    last = env.info()["last_txnid"]
    for line in env.readers().splitlines():
        pid, *_, began = line.split()
        if began.isdigit():
            yield OpenReader(int(pid), max(0, last - int(began)))


def in_our_words(folder: Path, act: Callable[[], None]) -> None:
    with translated(folder):
        act()


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Errors of LMDB and the file system as ours, naming the folder."""
    try:
        yield
    except Exception as error:
        raise_ours(folder, error)
        raise


def raise_ours(folder: Path, error: BaseException) -> None:
    """Raise our word for an error of LMDB or the file system; nothing happens if there is none."""
    ours = _in_ours(folder, error)
    if ours is not None:
        raise ours from error


def _in_ours(folder: Path, error: BaseException) -> Exception | None:
    if isinstance(error, _DAMAGE):
        return Damaged(f"{folder / INDEX}: {error}", hint="make the index again from the log with `dag fsck --reindex`")
    if isinstance(error, lmdb.BadValsizeError):
        return ValueError(f"{folder}: a key is empty or too long")
    if isinstance(error, lmdb.Error):
        return Unavailable(f"{folder}: {error}", hint="free some space or check permissions, then repeat")
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return Unavailable(f"{folder}: {error.strerror}", hint="free some space or check permissions")
    return None
