"""Finds and kills what an experiment leaves behind: as the reaper of orphans, or by a mark in the environment."""

import contextlib
import functools
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

MARK = "DAG_CLAIM"
"""The environment variable by which an experiment's processes are recognised."""

CLEAR_WAIT = 5.0
"""Seconds after which processes that do not die of SIGKILL are left alone: the kernel holds them."""

STARTING = (0.0, 0.001, 0.004)
"""Pauses before looks at a process that shows no environment: within `exec` the new one is not there yet."""

_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def clear(group: int, mark: str, bystanders: frozenset[int] | None) -> int:
    """Kills what outlived the group; returns how many had left it.

    As a subreaper this process inherits every orphan, whatever it did to its environment, and has its own list of
    children: that is exact and needs no walk through all processes. Without, the mark is all there is.
    """
    if bystanders is None or not is_subreaper():
        return len(_sweep(mark, group))
    strays: set[int] = set()
    deadline = time.monotonic() + CLEAR_WAIT
    while (left := _orphans(bystanders)) and time.monotonic() < deadline:
        strays.update(pid for pid in left if _group_of(pid) not in (group, None))
        for pid in left:  # children keep their number until they are reaped, so this cannot hit anybody else
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    return len(strays)


def _orphans(bystanders: frozenset[int]) -> list[int]:
    """Living children that were inherited; dead ones are reaped.

    Children that this program started itself are in its own session, which an orphan cannot join.
    """
    living = []
    session = os.getsid(0)
    for pid in (children() or frozenset()) - bystanders:
        with contextlib.suppress(ProcessLookupError, ChildProcessError, PermissionError):
            if os.getsid(pid) != session and os.waitpid(pid, os.WNOHANG) == (0, 0):
                living.append(pid)
    return living


def children() -> frozenset[int] | None:
    """This process's children, zombies included; None where the kernel does not say."""
    texts = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # that thread has ended; its children have passed to another
            texts.append(path.read_text())
    if not texts:
        return None
    return frozenset(int(pid) for text in texts for pid in text.split())


def inherited(bystanders: frozenset[int] | None) -> list[int]:
    """Children that are of experiments: not `bystanders`, and in no session of this program's own."""
    session, found = os.getsid(0), []
    for pid in (children() or frozenset()) - (bystanders or frozenset()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) != session:
                found.append(pid)
    return found


def catchers(pids: Iterable[int], number: int) -> list[int]:
    """Those of the processes that have a handler for a signal: it would not just kill them."""
    return [pid for pid in pids if _caught(pid) >> (number - 1) & 1]


def _caught(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("SigCgt:"):
                return int(line.split()[1], 16)
    return 0


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def become_subreaper() -> bool:
    """True if from now on this process inherits the orphans of its descendants. False where unsupported."""
    return linux() and _prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0


def is_subreaper() -> bool:
    """Whether this process inherits the orphans of its descendants."""
    import ctypes

    flag = ctypes.c_int(0)
    return linux() and _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(flag)) == 0 and flag.value == 1


def _prctl(option: int, argument: int) -> int:
    import ctypes  # costs milliseconds that only a worker should pay

    unused = ctypes.c_ulong(0)
    return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(argument), unused, unused, unused))


def sweep(mark: str) -> int:
    """How many processes with `DAG_CLAIM=<mark>` in their environment were killed: all that this user may see.

    Looks again until there is none or 5 s have passed, and returns when they are dead. 0 where there is no /proc.
    """
    return len(_sweep(mark, None)) if mark else 0


def _sweep(mark: str, group: int | None) -> set[int]:
    """The processes that were killed, without those of `group`, which are dying already."""
    killed: set[int] = set()
    deadline = time.monotonic() + CLEAR_WAIT
    while (marked := _marked(mark)) and time.monotonic() < deadline:
        killed.update(pid for pid in marked if _group_of(pid) not in (group, None))
        handles = [handle for pid in marked if (handle := _strike(pid, mark)) is not None]
        try:
            await_exits(handles, deadline)
        finally:
            for handle in handles:
                os.close(handle)
    return killed


def _marked(mark: str) -> list[int]:
    """Processes with the mark. One that is just starting a program shows no environment yet and is looked at again."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    own = os.getpid()
    unsure = [pid for name in names if name.isdigit() and (pid := int(name)) != own]
    found: list[int] = []
    for pause in STARTING:
        time.sleep(pause)
        seen = {pid: _environment(pid) for pid in unsure}
        found += [pid for pid, environment in seen.items() if _holds(environment, mark)]
        unsure = [pid for pid, environment in seen.items() if environment == b"" and _has_program(pid)]
        if not unsure:
            break
    return found


def _environment(pid: int) -> bytes:
    """Empty for zombies and for processes of other users, whose environment cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return file.readall() or b""
    except OSError:
        return b""


def _holds(environment: bytes, mark: str) -> bool:
    return f"\0{MARK}={mark}\0".encode() in b"\0" + environment + b"\0"


def _has_program(pid: int) -> bool:
    """False for zombies, kernel threads and what this user may not look into."""
    try:
        return bool(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


def _strike(pid: int, mark: str) -> int | None:
    """A handle on a process that was sent SIGKILL; None if there is none.

    The handle pins the process, so that its number cannot have passed to another between the look and the blow.
    """
    handle = pidfd(pid)
    if handle is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
        return None
    if _holds(_environment(pid), mark):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    return handle


def pidfd(pid: int) -> int | None:
    """A handle on a process, readable once it has exited. None if the system has none, or the process is gone."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def await_exits(handles: Iterable[int], deadline: float) -> None:
    """Waits for these handles' processes to be dead, until `deadline` by the monotonic clock."""
    waiting = set(handles)
    poll = select.poll()
    for handle in waiting:
        poll.register(handle, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(left * 1000):
            poll.unregister(handle)
            waiting.discard(handle)


@functools.cache
def linux() -> bool:
    """True where processes are seen through Linux' own /proc, prctl and setpriv."""
    return os.uname().sysname == "Linux"
