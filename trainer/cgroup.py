"""A control group that bounds how many tasks experiments have: `RLIMIT_NPROC` does not bind root."""

import atexit
import contextlib
import functools
import os
from collections.abc import Iterator

ROOT = "/sys/fs/cgroup"
_NAME = "dagstore-"


@functools.cache
def bounded(tasks: int) -> str:
    """The file that a process writes 0 to in order to be bounded; empty where no such group can be made.

    It is this process's own, and goes with it; what killed ones left goes when the next is made.
    """
    for parent in _parents():
        with contextlib.suppress(OSError):
            return _make(parent, tasks)
    return ""


def joining(file: str) -> tuple[str, ...]:
    """The prefix of a command that is to be in the group."""
    return ("/bin/sh", "-c", '{ echo 0 >"$0"; } 2>/dev/null; exec "$@"', file) if file else ()


def _parents() -> Iterator[str]:
    """This process's own group in the hierarchy that counts tasks: of its own (v1), else the common one (v2)."""
    try:
        with open("/proc/self/cgroup") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for _, controllers, path in rows:
        if "pids" in controllers.split(","):
            yield f"{ROOT}/{controllers}{path.rstrip('/')}"
    for _, controllers, path in rows:
        if not controllers:
            yield f"{ROOT}{path.rstrip('/')}"


def _make(parent: str, tasks: int) -> str:
    if not os.path.exists(f"{parent}/cgroup.procs"):
        raise FileNotFoundError(parent)
    for name in os.listdir(parent):
        pid = name.removeprefix(_NAME)
        if name != pid and not os.path.exists(f"/proc/{pid}"):
            _remove(f"{parent}/{name}")
    path = f"{parent}/{_NAME}{os.getpid()}"
    os.makedirs(path, exist_ok=True)
    try:
        with open(f"{path}/pids.max", "r+") as file:  # never made anew: without the controller there is none
            file.write(str(tasks))
    except OSError:
        _remove(path)
        raise
    atexit.register(_remove, path)
    return f"{path}/cgroup.procs"


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)
