"""A control group of an experiment's own, where one can be made: the kernel keeps to its bounds, counts and ends it.

Of the kernel's two kinds both are taken as they are found: a hierarchy for each controller (v1), one for all (v2), or
both beside each other. Nothing is moved to make room: where a v2 group that has the trainer in it hands no controller
on, what is made there can only be ended as a whole. `RLIMIT_NPROC` does not bind root; this does.
"""

import atexit
import contextlib
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

ROOT = "/sys/fs/cgroup"
PROCESSES = "cgroup.procs"
LIMIT, MACHINE = "limit", "machine"
"""Of what there was not enough for a group in which the kernel killed: what it may have, or what the machine has."""

_NAME = "dagstore-"
_numbers = itertools.count()


class Bounds(NamedTuple):
    """How many threads, and how many bytes of memory, 0 for any: without swap."""

    tasks: int
    memory: int = 0


class Group:
    """The folders of one control group, one in each hierarchy."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = tuple(folders)
        self.files = tuple(f"{folder}/{PROCESSES}" for folder in folders)
        """A process that writes 0 to each is in the group."""

    def kill(self) -> None:
        """Everything in it is sent SIGKILL at once, where the kernel does that (v2, Linux 5.14)."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                _write(f"{folder}/cgroup.kill", "1")

    def starved(self) -> str | None:
        """`LIMIT` or `MACHINE` if the kernel killed in it for want of memory, empty if not; None if nobody knows."""
        said = [counts for folder in self._folders if (counts := _memory_counts(folder))]
        if not said:
            return None
        killed = any(counts.get("oom_kill", 0) for counts in said)
        return (LIMIT if any(counts.get("oom", 0) for counts in said) else MACHINE) if killed else ""

    def remove(self) -> None:
        """It is gone, if nothing is in it; what is left of it goes with a later trainer's first."""
        for folder in self._folders:
            _remove(folder)


def make_group(bounds: Bounds, root: str = ROOT) -> Group | None:
    """A new group with these bounds, as far as the hierarchies below `root` have them; None where none can be made."""
    folders = []
    for parent in _parents(root):
        with contextlib.suppress(OSError):
            folders.append(_make(f"{parent}/{_NAME}{os.getpid()}-{next(_numbers)}", bounds))
    return Group(folders) if folders else None


def joining(group: Group | None) -> tuple[str, ...]:
    """The prefix of a command that is to be in the group."""
    if group is None:
        return ()
    join = "".join(f'{{ echo 0 >"${number}"; }} 2>/dev/null; ' for number in range(len(group.files)))
    return ("/bin/sh", "-c", f'{join}shift {len(group.files) - 1}; exec "$@"', *group.files)


@functools.cache
def _parents(root: str) -> tuple[str, ...]:
    """This process's own groups: of the controllers that are used here, else of all. What the dead left is removed."""
    found = tuple(path for path in _own(root) if os.access(f"{path}/{PROCESSES}", os.W_OK))
    for path in found:
        _tidy(path)
        for controller in ("pids", "memory"):  # refused where processes are in it, but for the root of all
            with contextlib.suppress(OSError):
                _write(f"{path}/cgroup.subtree_control", f"+{controller}")
        atexit.register(_tidy, path, os.getpid())
    return found


def _own(root: str) -> Iterator[str]:
    try:
        with open("/proc/self/cgroup") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    common = root if os.path.exists(f"{root}/cgroup.controllers") else f"{root}/unified"
    for _, controllers, path in rows:
        if not controllers:
            yield f"{common}{path.rstrip('/')}"
        elif {"pids", "memory"} & set(controllers.split(",")):
            yield f"{root}/{controllers}{path.rstrip('/')}"


def _tidy(parent: str, own: int = 0) -> None:
    """Removes the groups of processes that are gone, and of process `own`."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            pid = name.removeprefix(_NAME).partition("-")[0]
            if name.startswith(_NAME) and (pid == str(own) or not os.path.exists(f"/proc/{pid}")):
                _remove(f"{parent}/{name}")


def _make(path: str, bounds: Bounds) -> str:
    os.mkdir(path)
    for name, value in _settings(bounds):
        with contextlib.suppress(OSError):  # without the controller there is no such file
            _write(f"{path}/{name}", value)
    return path


def _settings(bounds: Bounds) -> Iterator[tuple[str, str]]:
    """What is written to which file, v2 and v1, in this order."""
    yield "pids.max", str(bounds.tasks)
    if bounds.memory:
        size = str(bounds.memory)
        yield from (("memory.max", size), ("memory.swap.max", "0"), ("memory.oom.group", "1"))
        yield from (("memory.limit_in_bytes", size), ("memory.memsw.limit_in_bytes", size))


def _memory_counts(folder: str) -> dict[str, int]:
    """How often the kernel killed (`oom_kill`), and its own limit was why (`oom`); empty where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        return _counts(f"{folder}/memory.events")
    with contextlib.suppress(OSError, ValueError):
        most, limit = (int(_read(f"{folder}/memory.{name}_in_bytes")) for name in ("max_usage", "limit"))
        return _counts(f"{folder}/memory.oom_control") | {"oom": int(most >= limit)}  # recent kernels count no failures
    return {}


def _counts(path: str) -> dict[str, int]:
    return {name: int(count) for name, count in map(str.split, _read(path).splitlines())}


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write(path: str, value: str) -> None:
    """Never makes a file: what is not there is not offered. Some cannot be read."""
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)
