"""The edge to the file that the log is: reading, appending durably, and one writer over all processes."""

import contextlib
import errno
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from dagstore.errors import Damaged, NotFound

ROOM = 1 << 20
"""Bytes reserved at a time: a file that need not grow is synced twice as fast."""
PLENTY = 16 * ROOM
"""Free bytes below which none are reserved: the index may need them."""
_NO_ROOM = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOSYS)


# macOS has no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)


class LogFile:
    """An open log. `OSError` is left to the caller, who knows what was being tried."""

    def __init__(self, path: Path | str, *, create: bool, readonly: bool) -> None:
        self._path = path
        flags = os.O_RDONLY if readonly else os.O_RDWR | (os.O_CREAT if create else 0)
        try:
            self._fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            raise NotFound(f"no store at {os.path.dirname(path)}", hint="make one with `dag init`") from None
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._syncing = threading.Lock()
        self._written = 0
        self.durable = 0
        if create and not self.size():
            for folder in Path(path).parents[:2]:  # both may be new
                sync_folder(folder)

    def close(self) -> None:
        os.close(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there; fewer at the end of the file."""
        return os.pread(self._fd, length, offset)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only writer among the threads of this process and all others."""
        with self._turn:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if self._pid == os.getpid():  # a child that was forked meanwhile has the same lock, not one of its own
                    fcntl.flock(self._fd, fcntl.LOCK_UN)

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at the end of what is written, `offset`; not yet durable. Nothing is left of it on failure."""
        size = self.size()
        if size < offset:
            raise Damaged(
                f"{self._path} has {size} bytes where there were {offset}",
                hint="restore a copy, or give up what is missing with `dag fsck --repair`",
            )
        try:
            if offset + len(data) > size:
                self._reserve(size, offset + len(data))
            view = memoryview(data)
            while view:
                done = os.pwrite(self._fd, view, offset + len(data) - len(view))
                view = view[done:]
        except BaseException:
            self.cut(offset)
            raise
        self._written = offset + len(data)

    def cut(self, offset: int) -> None:
        """Drop what lies behind `offset`; a log that is shorter, since something cut it off, is left as it is."""
        with self._syncing:
            self._written, self.durable = min(self._written, offset), min(self.durable, offset)
        with contextlib.suppress(OSError):
            if self.size() > offset:
                os.ftruncate(self._fd, offset)

    def begin_sync(self, start: int, end: int) -> None:
        """Let the kernel begin to write that part of the log, so that less of a sync has to be waited for.

        Linux does so before it drops pages; those that are only in part in the range it keeps, as it does those that
        it is just writing.
        """
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._fd, start, end - start, os.POSIX_FADV_DONTNEED)

    def sync(self, end: int) -> None:
        """Return when the log is durable up to `end`; threads that ask at the same time share one sync."""
        if self.durable >= end:
            return
        with self._syncing:
            if self.durable >= end:
                return
            reached = max(self._written, end)
            _sync(self._fd)
            self.durable = reached

    def _reserve(self, size: int, needed: int) -> None:
        """Room for what comes next, where there is plenty; else the file just grows.

        It is written, not only allocated: a sync then has no metadata to write, and need not wait until whatever else
        was written on the file system lately is on disk as well.
        """
        disk = os.fstatvfs(self._fd)
        if disk.f_bavail * disk.f_frsize < PLENTY:
            return
        try:
            _fill(self._fd, size, max(ROOM, needed - size))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise


def _fill(file: int, offset: int, length: int) -> None:
    """Write zeros there, durably."""
    os.pwrite(file, bytes(length), offset)
    _sync(file)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its file system can."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
