"""Storage in a log and an LMDB environment beside it.

The log is synced at each commit, LMDB is not: what it holds can be made again from the log, and `presence` knows when
that must be done. One environment per process and folder.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from dagstore.environment import (
    DATA,
    INDEX,
    LOG,
    OpenReader,
    copy_table,
    in_our_words,
    open_environment,
    open_tables,
    pages,
    raise_ours,
    readers,
    translated,
)
from dagstore.errors import NotFound, Refused, Unavailable
from dagstore.log import MAGIC, Frame, read_frame
from dagstore.logfile import LogFile
from dagstore.presence import Presence
from dagstore.storage import Memo, Reader, Writer
from dagstore.transactions import BATCH, Change, View, replay, where

BEHIND = "index_behind"
"""Code of an error that goes away once the store is opened where it can be written."""
KEPT_RECORDS, KEPT_FRAMES = 1 << 14, 1 << 8
MARGIN, SPARE = 64 << 10, 256 << 10
"""Bytes that the index file has behind its last page: at least, and when it has just got more. A hole."""

_open: dict[tuple[int, int], "_Shared"] = {}
_guard = threading.Lock()


class Space(NamedTuple):
    """Bytes: of the log, of the index in each table, in pages that are free and in all. `passed`: how many commits
    each open read transaction has seen go by.
    """

    log: int
    tables: dict[str, int]
    free: int
    file: int
    passed: list[int]


class _Shared:
    """What the storages of one process and folder share: LMDB forbids opening a path twice in one process."""

    def __init__(self, folder: Path, *, create: bool, readonly: bool, fresh: bool) -> None:
        self.folder = folder
        self.readonly = readonly
        self.pid = os.getpid()
        self.users = 1
        self.recent: dict[int, bytes] = {}
        self.last: Frame | None = None
        self._frames: dict[int, Frame] = {}
        self.memo = Memo()
        self._room = 0
        with ExitStack() as undo:
            self.log = LogFile(f"{folder}/{LOG}", create=create, readonly=readonly)
            undo.callback(self.log.close)
            self.presence = Presence.enter(folder, f"{folder}/{INDEX}/{DATA}", readonly=readonly)
            undo.callback(self.presence.leave, _not_synced)
            if fresh:
                self._distrust()
            self._open_index(undo)
            undo.pop_all()
        self._quiet = True

    def _distrust(self) -> None:
        if not self.presence.distrust():
            raise Refused(
                f"{self.folder} is in use, so its index cannot be made anew", hint="end the processes that have it open"
            )

    def _open_index(self, undo: ExitStack) -> None:
        trusted = self.presence.trusted
        if not trusted or not os.path.isdir(f"{self.folder}/{INDEX}"):
            _begin_index(self.folder, readonly=self.readonly)
        if not trusted:
            _give_up_index(self.folder)
        self.env = open_environment(f"{self.folder}/{INDEX}", self.readonly)
        undo.callback(self.env.close)
        self.tables = open_tables(self.env, self.readonly)
        self._page = self.env.stat()["psize"]
        if not self.readonly:
            self._replay(cut=not trusted)
            if not trusted:
                self.presence.settle()

    def _replay(self, *, cut: bool) -> None:
        """Bring an index that is behind the log up to it; `cut` off what was being written when the power went."""
        with self.log.turn():
            behind = True
            while behind:
                with self.env.begin(write=True) as txn:
                    end, _ = where(txn, self.tables)
                    if self.has_more(end):
                        self.presence.mark_dirty()
                    behind = replay(txn, self.tables, self.log, BATCH)
                    end, _ = where(txn, self.tables)
            if cut:
                self.log.cut(end)
            self.leave_room()

    def has_more(self, end: int) -> bool:
        """Whether something was written behind what the index knows: a writer died, or the index is an older one."""
        return any(self.log.read(end, len(MAGIC)))

    def announce(self, end: int) -> None:
        """Before the first write of this process: the index is no longer what a clean end left."""
        if self._quiet:
            self.presence.mark_dirty()
            self.log.sync(end)
            self._quiet = False

    def read_frame(self, offset: int) -> Frame:
        """A frame, which is then at hand."""
        frame = self._frames.get(offset)
        if frame is None:
            frame = read_frame(self.log.read, offset)
            if len(self._frames) >= KEPT_FRAMES:
                self._frames = {}
            self._frames[offset] = frame
        self.last = frame
        return frame

    def keep(self, first: int, records: Sequence[bytes]) -> None:
        """Have records that were just written at hand."""
        if len(self.recent) > KEPT_RECORDS:
            self.recent = {}
        self.recent.update(enumerate(records, start=first))

    def leave(self) -> None:
        self.presence.leave(lambda: in_our_words(self.folder, self._settle))
        self.env.close()
        self.log.close()

    def _settle(self) -> None:
        """Nobody else is here: make the index whole on disk and give back the room that was reserved."""
        self.env.sync(True)
        with self.log.turn():
            end = self.end()
            self.log.cut(end)
            self.log.sync(end)  # who wrote last may have died before its own sync

    def end(self) -> int:
        """Where the log ends by the last commit. For whoever has the turn."""
        txn = self.env.begin(write=True)  # needs no slot among the readers
        try:
            return where(txn, self.tables)[0]
        finally:
            txn.abort()

    def leave_room(self) -> None:
        """Keep the index file longer than its pages, of which LMDB does not write free ones at the end.

        So it can be told from one that was cut off, and a damaged page rarely leads LMDB where there is no file, which
        would kill this process. For whoever has the turn.
        """
        used = (self.env.info()["last_pgno"] + 1) * self._page
        if used + MARGIN <= self._room:
            return
        file = self.folder / INDEX / DATA
        with suppress(OSError):
            self._room = file.stat().st_size
            if used + MARGIN > self._room:
                os.truncate(file, used + SPARE)
                self._room = used + SPARE


class _Reading:
    """A read transaction as a context, a class since there are so many."""

    __slots__ = ("_shared", "_txn")

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared

    def __enter__(self) -> Reader:
        try:
            self._txn = self._shared.env.begin()
        except Exception as error:
            raise_ours(self._shared.folder, error)
            raise
        return View(self._shared, self._txn)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._shared.pid == os.getpid():
            self._txn.abort()
        else:
            _leak(self._txn)
        if error is not None:
            raise_ours(self._shared.folder, error)


class LmdbStorage:
    """A store's folder; `create` makes it if it is missing.

    `fresh` makes the index anew from the log, whatever state it is in; `Refused` if others have the store open.
    """

    def __init__(self, folder: Path, *, create: bool = False, readonly: bool = False, fresh: bool = False) -> None:
        self._folder = folder
        self._readonly = readonly
        self._key, self._shared = _acquire(folder, create=create, readonly=readonly, fresh=fresh)

    def read(self) -> "_Reading":
        return _Reading(self._usable())

    @contextmanager
    def write(self) -> Iterator[Writer]:
        shared = self._usable()
        if self._readonly:
            raise Unavailable(f"{self._folder} is opened for reading only", hint="check its permissions")
        with translated(self._folder):
            with shared.log.turn():
                start = None
                try:
                    with shared.env.begin(write=True) as txn:
                        change = Change(shared, txn)
                        start = change.end
                        yield change
                        self._usable()  # a child that was forked meanwhile does not commit
                        change.write_log()
                    shared.leave_room()
                except BaseException:
                    if start is not None and shared.pid == os.getpid():
                        shared.log.cut(max(start, shared.end()))  # an interrupt may also come after the commit
                    raise
            change.settle()

    def close(self) -> None:
        if self._shared is not None:
            _release(self._key, self._shared)
            self._shared = None  # type: ignore[assignment]

    def readers(self) -> list[OpenReader]:
        """Open read transactions of all processes, the one that is furthest behind first."""
        shared = self._usable()
        with translated(self._folder):
            return sorted(readers(shared.env), key=lambda reader: -reader.behind)

    def space(self) -> Space:
        """Where the bytes of log and index are."""
        shared = self._usable()
        with translated(self._folder), shared.env.begin() as txn:
            info, page = shared.env.info(), shared.env.stat()["psize"]
            tables = {name: page * pages(txn.stat(table)) for name, table in shared.tables.items()}
            used = page * (2 + pages(shared.env.stat())) + sum(tables.values())
            file = page * (info["last_pgno"] + 1)
            passed = [reader.behind for reader in readers(shared.env)]
            return Space(where(txn, shared.tables)[0], tables, max(0, file - used), file, passed)

    def copy_to(self, folder: Path) -> int:
        """Make in a new store's folder the index of one moment, whole on disk; how much of the log belongs to it.

        Pages come out full and in order. (LMDB's own compacting copy crashes on sets.)
        """
        shared = self._usable()
        with translated(folder):
            (folder / INDEX).mkdir()
            copy = open_environment(f"{folder}/{INDEX}", readonly=False)
            try:
                tables = open_tables(copy, readonly=False)
                with shared.env.begin() as txn:
                    for name, table in shared.tables.items():
                        copy_table(txn, table, copy, tables[name])
                    end, _ = where(txn, shared.tables)
                copy.sync(True)
            finally:
                copy.close()
        return end

    def _usable(self) -> _Shared:
        if self._shared is None:
            raise Refused("the store is closed", hint="open it again")
        if self._shared.pid != os.getpid():
            raise Refused(
                "the store was opened before this process was forked",
                hint="open it after the fork, or start processes with the `spawn` method",
            )
        return self._shared


def _acquire(folder: Path, *, create: bool, readonly: bool, fresh: bool) -> tuple[tuple[int, int], _Shared]:
    with _guard, translated(folder):
        if create:
            (folder / INDEX).mkdir(parents=True, exist_ok=True)
        try:
            at = os.stat(folder)
        except FileNotFoundError:
            raise NotFound(f"no store at {folder}", hint="make one with `dag init`") from None
        key = (at.st_dev, at.st_ino)
        shared = _open.get(key)
        alike = shared is not None and (readonly or not shared.readonly) and not fresh
        if shared is not None and alike and shared.pid == os.getpid():
            shared.users += 1
            return key, shared
        if shared is not None:
            raise Refused(
                f"{folder} is already open in this process, for reading only or from before a fork",
                hint="close that store first, or start processes with the `spawn` method",
            )
        shared = _open[key] = _Shared(folder, create=create, readonly=readonly, fresh=fresh)
        return key, shared


def _release(key: tuple[int, int], shared: _Shared) -> None:
    with _guard:
        shared.users -= 1
        if shared.users == 0 and shared.pid == os.getpid():
            _open.pop(key, None)
            shared.leave()


def _let_go() -> None:
    """In a forked child: its end must not give back what LMDB knows the parent by."""
    for shared in _open.values():
        _leak(shared.env)


def _leak(thing: object) -> None:
    """Keep that for as long as the process lives, even while the interpreter ends."""
    with suppress(ImportError, AttributeError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


os.register_at_fork(after_in_child=_let_go)


def _begin_index(folder: Path, *, readonly: bool) -> None:
    """Make the folder for an index that is to be made from the log."""
    if readonly:
        raise Unavailable(
            f"the index of {folder} must be made again, as after a power cut",
            hint="open it once where it can be written, or copy it there",
            code=BEHIND,
        )
    (folder / INDEX).mkdir(exist_ok=True)


def _give_up_index(folder: Path) -> None:
    """Remove an index that cannot be trusted, which nobody else uses."""
    for name in (DATA, "lock.mdb"):
        (folder / INDEX / name).unlink(missing_ok=True)


def _not_synced() -> None:
    raise Unavailable("the index was not opened", hint="open it again")
