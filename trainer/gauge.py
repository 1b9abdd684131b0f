"""Measures what an experiment takes of the machine while it runs, and says when that is too much.

Sampled, so a peak between two looks is missed; `wait4` has the largest process's own besides. Memory is the sum over
its processes: what they have resident if there is one, their proportional shares if there are several.
"""

import contextlib
import os
import signal
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

PERIOD = 0.1
"""Seconds between looks, or fifty times what a look takes if that is longer, up to `LONGEST`."""
LONGEST = 1.0
GLANCE = 0.02
"""Seconds between looks at how many threads the machine has."""
MAX_PROCESSES = 512
MANY = 32
"""Processes from which on they are stopped while their shares are asked for, which waits for each that forks."""
MAX_NEW_FILES = 1_000_000

_PAGE = os.sysconf("SC_PAGE_SIZE")
_BLOCK = 512
_SHARE = 1.1
"""Shares are asked for, which is slow, when the sum has grown by so much since they were asked for last."""


class Limits(NamedTuple):
    """Bytes, 0 for none; `processes` is how many there may be at once."""

    memory: int = 0
    disk: int = 0
    processes: int = MAX_PROCESSES


BOUNDS = Limits()
"""What holds for everybody."""


@dataclass(frozen=True, slots=True)
class Device:
    """`used` tells how many bytes of its devices' memory some processes have just now, or everybody together where
    that is not told apart; None if nobody knows. More than `limit` is too much; 0 for none.
    """

    used: Callable[[Collection[int]], int | None] = lambda _: None
    limit: int = 0


UNKNOWN = Device()


class Gauge:
    """`roots` gives the processes under which all others of the experiment are, `send` sends a signal to its group.
    `folder` is where it writes.

    `host` and `device` are the peaks in bytes, 0 as long as nothing is known; the device's is counted from what was in
    use when the gauge was made.
    """

    def __init__(
        self,
        limits: Limits,
        roots: Callable[[], Iterable[int]],
        send: Callable[[int], None],
        folder: str,
        device: Device,
    ) -> None:
        self.host = 0
        self.device = 0
        self._limits = limits
        self._roots = roots
        self._send = send
        self._folder = folder
        self._device = device
        self._idle = device.used(())
        self._asked = 0
        self._free = _free(folder)
        self._tasks = _tasks()
        self._glance = self._due = 0.0

    def look(self, now: Callable[[], float]) -> str:
        """What is too much: `memory`, `device`, `processes` or `disk`; empty if nothing is, or if it is too early.

        It is never too early when the machine has suddenly many more threads: a bomb does not wait.
        """
        began = now()
        sudden = self._is_sudden(began)
        if began < self._due and not sudden:
            return ""
        tasks = _tasks()  # before the look: what is started meanwhile is sudden too
        with self._still(sudden):
            found = self._look()
        done = now()
        self._due = done + min(max(PERIOD, 50 * (done - began)), LONGEST)
        self._tasks = tasks
        return found

    @contextmanager
    def _still(self, needed: bool) -> Iterator[None]:
        """Everything is stopped meanwhile: among hundreds of processes that fork, a look takes half a minute."""
        if needed:
            self._send(signal.SIGSTOP)
        try:
            yield
        finally:
            if needed:
                self._send(signal.SIGCONT)

    def _is_sudden(self, now: float) -> bool:
        if now < self._glance:
            return False
        self._glance = now + GLANCE
        return _tasks() - self._tasks > self._limits.processes // 2

    def _look(self) -> str:
        family = list(_first(family_of(self._roots()), self._limits.processes + 1))
        if len(family) > self._limits.processes:
            return "processes"
        memory = self._memory(family)
        self.host = max(self.host, memory)
        if self._too_much_of_the_device(family):
            return "device"
        if self._limits.memory and memory > self._limits.memory:
            return "memory"
        return "disk" if self._too_much_written(family) else ""

    def _memory(self, family: list[int]) -> int:
        resident = sum(map(_resident, family))
        if len(family) < 2 or resident <= self.host:
            return resident
        over = self._limits.memory and resident > self._limits.memory
        if not over and resident < _SHARE * self._asked:
            return 0
        self._asked = resident
        with self._still(len(family) > MANY):
            return sum(map(_share, family))

    def _too_much_of_the_device(self, family: list[int]) -> bool:
        used = self._device.used(family) if self._idle is not None else None
        if used is None or self._idle is None:
            return False
        self.device = max(self.device, used - self._idle)
        return 0 < self._device.limit < used - self._idle

    def _too_much_written(self, family: list[int]) -> bool:
        """Looks at files only when the file system has lost as much as is allowed, or half of what it had."""
        limit = min(self._limits.disk or self._free.bytes, self._free.bytes // 2)
        now = _free(self._folder)
        files = self._free.files - now.files
        if self._free.bytes - now.bytes <= limit and files <= MAX_NEW_FILES:
            return False
        return written(self._folder, limit) + sum(map(_unlinked, family)) > limit


def family_of(roots: Iterable[int]) -> Iterator[int]:
    """The processes with all that they started and still are their descendants, as far as can be seen."""
    left = list(roots)
    while left:
        pid = left.pop()
        yield pid
        left += _children(pid)


def _first(items: Iterator[int], count: int) -> Iterator[int]:
    for _, item in zip(range(count), items, strict=False):
        yield item


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:
                found += map(int, (file.readall() or b"").split())
    return found


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
        return int((file.readall() or b"").split()[1]) * _PAGE
    return 0


def _share(pid: int) -> int:
    """Resident memory, of which pages that several processes have count for each in part."""
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as file:
        for line in (file.readall() or b"").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)


def _tasks() -> int:
    """How many threads there are on the machine, in microseconds; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/loadavg", "rb", buffering=0) as file:
        return int((file.readall() or b"").split()[3].partition(b"/")[2])
    return 0


class _Free(NamedTuple):
    bytes: int
    files: int


def _free(folder: str) -> _Free:
    try:
        found = os.statvfs(folder)
    except OSError:
        return _Free(0, 0)
    return _Free(found.f_bavail * found.f_frsize, found.f_ffree)


def written(folder: str, enough: int) -> int:
    """Bytes of disk that the files below a folder take, at least 4 KiB each: of a sparse one what is there.

    Stops when it is more than `enough`.
    """
    size, left = 0, [folder]
    while left and size <= enough:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    size += max(found.st_blocks * _BLOCK, 4096)
                    if stat.S_ISDIR(found.st_mode):
                        left.append(entry.path)
    return size


def _unlinked(pid: int) -> int:
    """Bytes of disk in files that a process holds open and that have no name any more."""
    size = 0
    with contextlib.suppress(OSError):
        for handle in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{handle}")
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    size += found.st_blocks * _BLOCK
    return size
