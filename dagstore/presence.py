"""Who has a store open, and whether its index can be trusted: the file `presence` in a store's folder.

The index is not synced at each commit. A killed process leaves it whole, since the kernel keeps what was written. After
a power cut, or in a copy that was made while it was written, it may be torn and must be made again from the log.

Everybody who uses the index holds a shared `flock` on the file. Whoever gets the exclusive lock is alone. The file is
one line of ASCII, of fixed width; fields are padded with spaces, and `-` stands for nothing:

    dagstore-presence 1 STATE FILE BOOT MACHINE NAMESPACE

STATE is `clean` (all of the index is on disk), `dirty` (it is whole for the boot BOOT only) or `stale` (it must be made
again). FILE is the index file that this was said of. MACHINE and NAMESPACE say where the present users are, or the
last ones were. They are apart from BOOT because a reader says where it is without vouching for the index.
"""

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from dagstore.errors import DagError, Damaged, Refused, Unavailable

NAME = "presence"
CLEAN, DIRTY, STALE = "clean", "dirty", "stale"

_MAGIC = "dagstore-presence 1"
_NONE = "-"
_WIDTHS = (5, 52, 36, 36, 20)
_ROUNDS = 50
_PAUSE = 0.002
"""Seconds between looks at who is here, which tell those who stay from those who are only looking themselves."""
_sync = getattr(os, "fdatasync", os.fsync)  # macOS lacks the former
_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION of 64-bit Linux; elsewhere it is unknown and answered with an error


class _Line(NamedTuple):
    state: str
    file: str
    boot: str
    machine: str
    namespace: str

    def encode(self) -> bytes:
        fields = (field.ljust(width) for field, width in zip(self, _WIDTHS, strict=True))
        return " ".join((_MAGIC, *fields)).encode("ascii") + b"\n"


_BLANK = _Line(CLEAN, _NONE, _NONE, _NONE, _NONE)
"""What an empty or missing file says: there is no index yet."""
_LENGTH = len(_BLANK.encode())


@cache
def boot_id() -> str:
    """The kernel's name for this boot, the same in all its containers; "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().decode("ascii").strip()
    except (OSError, ValueError):
        return ""


@cache
def _namespace() -> str:
    """The pid namespace of this process, unique among those that exist on this machine. It stays in it for life."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return _NONE


os.register_at_fork(after_in_child=_namespace.cache_clear)


def _identity(index: Path | str) -> str:
    """Device, inode and generation: another file under the same name, and so any copy, has another identity."""
    try:
        handle = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _NONE
    try:
        at = os.fstat(handle)
        return f"{at.st_dev}:{at.st_ino}:{_generation(handle)}"
    finally:
        os.close(handle)


def _generation(handle: int) -> int:
    """What tells a file from a removed one whose inode number it got; 0 where the file system does not say."""
    if sys.platform != "linux":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(handle, _GET_GENERATION, bytes(8))[:4], sys.byteorder)
    except OSError:
        return 0


class Presence:
    """One opening of a store by one process. Threads may call `mark_dirty` at once, but nothing else.

    `trusted` says whether the index may be used as it is. Whoever opened the store for reading only and finds it
    untrusted must not touch the index: others may be making it again meanwhile.
    """

    trusted: bool

    def __init__(self, folder: Path, index: Path | str, *, readonly: bool) -> None:
        self._folder = folder
        self._path = f"{folder}/{NAME}"
        self._index = index
        self._readonly = readonly
        self._pid = os.getpid()
        self._boot = boot_id()
        self._here = (self._boot or _NONE, _namespace())
        self._marked = False
        self._handle: int | None = None
        self.trusted = False

    @classmethod
    def enter(cls, folder: Path, index: Path | str, *, readonly: bool) -> Self:
        """Be present, and know whether the index file can be trusted. Waits while somebody makes the index again.

        If it is untrusted and not `readonly`, nobody else gets in before `settle` or `leave`. `Refused` (code
        "elsewhere") if the store is open on another machine or in another pid namespace, `Unavailable` if the file
        cannot be opened or locked; a reader does without.
        """
        presence = cls(folder, index, readonly=readonly)
        try:
            presence._enter()
        except BaseException:
            presence._drop()
            raise
        return presence

    def settle(self) -> None:
        """The index was made again: others may come in and use it. Does nothing if it was trusted all along."""
        if self.trusted:
            return
        handle = self._usable()
        try:
            _write(handle, self._line(DIRTY))
            fcntl.flock(handle, fcntl.LOCK_SH)
            line = _read(handle)
        except OSError as error:
            raise self._unavailable(error) from error
        if not self._shares(line):  # turning one lock into another lets others in between
            raise self._refusal(line)
        self.trusted = self._marked = True

    def distrust(self) -> bool:
        """Take the index for untrusted from now on; whether that could be, since nobody else uses it."""
        handle = self._usable()
        try:
            if self.trusted and not _alone(handle):
                fcntl.flock(handle, fcntl.LOCK_SH)
                return False
            _write(handle, self._line(STALE))
        except OSError as error:
            raise self._unavailable(error) from error
        self.trusted = False
        return True

    def mark_dirty(self) -> None:
        """To be called before this process first changes the index; durable when it returns, free when repeated."""
        if self._marked:
            return
        handle = self._usable()
        if not self.trusted:  # until it is settled the file says worse already
            return
        try:
            _write(handle, self._line(DIRTY))
        except OSError as error:
            raise self._unavailable(error) from error
        self._marked = True

    def leave(self, sync: Callable[[], None]) -> None:
        """Be gone. The last to leave, if it marked the index dirty, makes it whole on disk with `sync` and says so.

        Never fails because the machine will not: if `sync` raises `OSError`, `Unavailable` or `Damaged`, the index is
        made again by whoever comes next. After a fork the child only closes its descriptor.
        """
        try:
            if self._handle is not None and self._pid == os.getpid():
                self._end(self._handle, sync)
        finally:
            self._drop()

    def _enter(self) -> None:
        try:
            self._handle = self._open()
            if self._handle is not None:
                self._join(self._handle)
                return
        except OSError as error:
            if not self._readonly:
                raise self._unavailable(error) from error
        self._do_without()

    def _open(self) -> int | None:
        """A descriptor, for reading alone where that is all a reader may have; None if a reader finds no file."""
        create = 0 if self._readonly else os.O_CREAT
        try:
            # Writable for whom the umask lets write, as the database is: a store may be shared.
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC | create, 0o666)
        except FileNotFoundError:
            if self._readonly:
                return None
            raise
        except OSError:
            if self._readonly:
                return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            raise

    def _do_without(self) -> None:
        """Go by what the file says, without a lock."""
        try:
            self.trusted = self._sound(_BLANK if self._handle is None else _read(self._handle))
        except OSError:
            self.trusted = False
        self._drop()

    def _join(self, handle: int) -> None:
        """Get a lock that fits what the file says, or drop it where none is due."""
        line = None
        for attempt in range(_ROUNDS):
            seen = None
            if not _alone(handle):
                fcntl.flock(handle, fcntl.LOCK_SH)
            elif (seen := self._begin(handle)) is None:
                return
            line = _read(handle)
            # That others are here was seen before; now the lock is ours as well, and the line is what they all go by.
            sound = line == seen or self._sound(line)
            if self._here == _place(line) and (sound or (attempt and self._shares(line))):
                self.trusted = True
                return
            fcntl.flock(handle, fcntl.LOCK_UN)
            time.sleep(_PAUSE)
        raise self._refusal(line)

    def _begin(self, handle: int) -> _Line | None:
        """Decide while nobody else is here; None if that was all. If not, the lock is a shared one by now."""
        line = _read(handle)
        self.trusted = self._sound(line)
        ours = self._announce(handle, line or _BLANK) if self.trusted else None
        if ours is not None:
            # The kernel may let somebody in between, so that the file must be read again.
            fcntl.flock(handle, fcntl.LOCK_SH)
            return ours
        if self._readonly:
            self._drop()
        else:
            # A half-made index must not pass for a good one, whatever the file said before.
            _write(handle, self._line(STALE))
        return None

    def _announce(self, handle: int, line: _Line) -> _Line | None:
        """Say where we are; what the file then says. A reader that cannot must not hold others up by another's name."""
        ours = _Line(line.state, line.file, line.boot, *self._here)
        try:
            if ours != line:
                _write(handle, ours)
        except OSError:
            if not self._readonly:
                raise
            return None
        return ours

    def _sound(self, line: _Line | None) -> bool:
        """Whether the line lets somebody who is alone trust the index."""
        if line is None or line.state == STALE:
            return False
        index = _identity(self._index)
        if line.state == CLEAN:
            return (line.file == _NONE) == (index == _NONE)
        return bool(self._boot) and line.boot == self._boot and line.file == index

    def _shares(self, line: _Line | None) -> bool:
        """Whether the line is of users beside us that trust the index; one that is just being made has no name yet."""
        if line is None or line.state == STALE or _place(line) != self._here:
            return False
        return line.file in (_NONE, _identity(self._index)) and (line.state == CLEAN or line.boot == self._here[0])

    def _end(self, handle: int, sync: Callable[[], None]) -> None:
        try:
            if self._marked and _alone(handle) and self._shares(_read(handle)):
                _write(handle, self._line(_synced(sync)))
        except OSError:
            pass  # what the file says still holds: dirty
        finally:
            # A child that was forked meanwhile may keep the descriptor, and with it the lock.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)

    def _line(self, state: str) -> _Line:
        boot = self._here[0] if state == DIRTY else _NONE
        return _Line(state, _identity(self._index), boot, *self._here)

    def _drop(self) -> None:
        handle, self._handle = self._handle, None
        self._marked = False
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)

    def _usable(self) -> int:
        if self._readonly:
            raise Unavailable(f"{self._folder} is opened for reading only", hint="check its permissions")
        if self._handle is None:
            raise Refused("the store is closed", hint="open it again")
        if self._pid != os.getpid():
            raise Refused("the store was opened before this process was forked", hint="open it after the fork")
        return self._handle

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"{self._path}: {error.strerror}",
            hint="free some space, check permissions, or move the store to a file system that has locks",
        )

    def _refusal(self, line: _Line | None) -> DagError:
        if line is not None and _place(line) != self._here:
            return Refused(
                f"{self._folder} is open on another machine or in another container (pid namespace)",
                hint="close it there first, or share that container's pid namespace",
                code="elsewhere",
            )
        return Unavailable(
            f"{self._folder} is in use, but its index was replaced or {self._path} cannot be understood",
            hint="end the processes that have it open, then try again",
        )


def _place(line: _Line | None) -> tuple[str, str] | None:
    return line and (line.machine, line.namespace)


def _synced(sync: Callable[[], None]) -> str:
    """The state after `sync`: if it failed, the kernel may have given up what it kept."""
    try:
        sync()
    except (OSError, Unavailable, Damaged):
        return STALE
    return CLEAN


def _alone(handle: int) -> bool:
    """Whether the exclusive lock was got; if not, no lock may be left."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: int) -> _Line | None:
    """What the file says; None if it cannot be understood, be it that somebody is writing it."""
    return _parse(os.pread(handle, _LENGTH + 1, 0))


@lru_cache(maxsize=16)
def _parse(data: bytes) -> _Line | None:
    if not data:
        return _BLANK
    words = data.decode("ascii", "replace").removeprefix(_MAGIC).split()
    if len(words) != len(_WIDTHS) or words[0] not in (CLEAN, DIRTY, STALE):
        return None
    line = _Line(*words)
    return line if line.encode() == data else None


def _write(handle: int, line: _Line) -> None:
    """Durable when it returns, also where the same line was put there by somebody who has not synced it yet."""
    if _read(handle) != line:
        if os.pwrite(handle, line.encode(), 0) != _LENGTH:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if os.fstat(handle).st_size > _LENGTH:
            os.ftruncate(handle, _LENGTH)
    _sync(handle)
