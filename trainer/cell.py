"""A cell: how one experiment is confined, as a prefix of its command."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from trainer.strays import await_exits

_HOLD_SECONDS = 10.0


class Level(StrEnum):
    """What confines an experiment, the strongest first."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    RLIMITS = "rlimits"
    NONE = "none"

    @property
    def is_whole(self) -> bool:
        """Whether it hides files and other processes and keeps the network away."""
        return self in (Level.BUBBLEWRAP, Level.NAMESPACES)

    @property
    def can_be_joined(self) -> bool:
        """Whether a process that joins a held cell is confined by it, once it has given up its capabilities."""
        return self is Level.BUBBLEWRAP

    @property
    def hides_files(self) -> bool:
        return self.is_whole or self is Level.LANDLOCK


class Held(NamedTuple):
    """The first process of a cell's namespaces, as this machine numbers it, and what ends all that is inside.

    Who joined must be reaped for the namespaces to end: the kernel waits for that.
    """

    pid: int
    kill: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """`prefix` becomes the command by exec. `rlimits` are (soft, hard) by the number of the resource; they are set by
    the prefix, and whoever joins a held cell sets them itself. `tasks` is how many threads there may be, for a control
    group; 0 for no such group. `cwd` is where the command begins, as it is called inside.

    `wrapper` is true if the started process is not the command but waits for it: it gets no signal but SIGKILL, which
    ends everything inside, and a signal that killed the command arrives as exit code 128 and its number.
    """

    level: Level
    prefix: tuple[str, ...] = ()
    rlimits: Mapping[int, tuple[int, int]] | None = None
    tasks: int = 0
    wrapper: bool = False
    cwd: str = ""

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs `argv` inside."""
        return (*self.prefix, *argv)

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Keeps the namespaces in being around an idle process, for others to join; leaving kills all inside and waits.

        Only of a whole cell, until the thread ends that began to. `OSError` if it cannot be made.
        """
        if not self.level.is_whole:
            raise OSError(f"a cell of level {self.level} has no namespaces to join")
        pipe = subprocess.PIPE
        idle = self.wrap(("/bin/sh", "-c", "echo; read end"))
        holder = subprocess.Popen(idle, stdin=pipe, stdout=pipe, stderr=pipe, env={}, process_group=0)
        try:
            assert holder.stdout is not None
            assert holder.stderr is not None
            if not holder.stdout.readline():
                raise OSError(holder.stderr.read().decode(errors="replace").strip() or "the sandbox did not start")
            inside = first_inside(holder.pid)
            handle = os.pidfd_open(inside)
            try:
                yield Held(inside, holder.kill)
            finally:
                holder.kill()
                await_exits([handle], time.monotonic() + _HOLD_SECONDS)
                os.close(handle)
                with contextlib.suppress(ChildProcessError):  # it is ours to reap where we inherit orphans
                    os.waitpid(inside, os.WNOHANG)
        finally:
            holder.kill()
            holder.communicate(timeout=_HOLD_SECONDS)


def first_inside(wrapper: int) -> int:
    """The first process of the process namespace that a wrapper made; the wrapper itself if it made none."""
    own = os.stat(f"/proc/{wrapper}/ns/pid").st_ino
    pid = wrapper
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        if not children:
            return wrapper
        pid = children[0]
        if os.stat(f"/proc/{pid}/ns/pid").st_ino != own:
            return pid
