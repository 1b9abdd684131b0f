"""Whether the machine itself ran out of memory or disk."""

import contextlib
import functools
import os
from pathlib import Path

FULL = 16 << 20
"""A file system with fewer bytes free is full."""


def oom_kills() -> int:
    """How often the kernel killed for want of memory: in our control group (v2) if it says, else on the machine."""
    for path in _oom_counters():
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


@functools.cache
def _oom_counters() -> tuple[str, ...]:
    own = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                own = line[3:].rstrip("/")
    return (f"/sys/fs/cgroup{own}/memory.events", "/sys/fs/cgroup/memory.events", "/proc/vmstat")


def volunteer(pid: int) -> None:
    """Where memory runs out, the kernel shall take the experiment, not its trainer."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write("500")


def is_full(folder: str) -> bool:
    """Whether the file system of a folder has no room left; false where it does not say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < FULL
