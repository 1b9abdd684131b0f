"""Starts an experiment's command as a process group of its own and says how that ended."""

import contextlib
import errno
import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import NamedTuple, Protocol

from trainer.cell import Cell
from trainer.cgroup import Bounds, Group, joining, make_group
from trainer.gauge import BOUNDS, UNKNOWN, Device, Limits
from trainer.strays import MARK, linux


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `budget` and `grace` in seconds, `log_limit` in bytes.

    `env` is the whole environment except `DAG_CLAIM`, which becomes `mark`: unique per experiment. `cell` confines it,
    None for not at all. `limits` are what it may take, `folder` is where it writes, `device` measures its devices. The
    budget runs from when it creates the file `ready`, if it does so within the grace.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    budget: float
    grace: float
    log_limit: int
    mark: str
    cell: Cell | None = None
    limits: Limits = BOUNDS
    folder: Path | None = None
    ready: Path | None = None
    device: Device = UNKNOWN


class Exit(NamedTuple):
    """How a process ended: its wait status (None if somebody else took it) and peak memory in bytes, 0 if unknown.

    `starved` is what its control group says of want of memory: see `Group.starved`.
    """

    status: int | None
    peak_rss: int
    starved: str | None = None


class Launched(Protocol):
    """A process that leads a session of its own. `output` is a pipe's reading end: its stdout and stderr together."""

    @property
    def pid(self) -> int: ...

    @property
    def output(self) -> int: ...

    @property
    def wrapper(self) -> bool:
        """Whether it is not the command but waits for it: see `Cell`."""

    def kill(self) -> None:
        """Ends it at once, and with it all that is confined with it."""

    def reap(self) -> Exit | None:
        """How it ended, None while it runs; nobody else gets its number before this has said so."""

    def close(self) -> None:
        """Gives up its handles; after this, `reap` is not called."""


class Program:
    """A command started by exec."""

    def __init__(self, command: Command) -> None:
        self._hidden_rss = getrusage(RUSAGE_SELF).ru_maxrss * _rss_unit()
        self._group = group_of(command)
        try:
            self._popen = _spawn(command, self._group)
        except BaseException:
            _remove(self._group)
            raise
        self._exit: Exit | None = None
        self.wrapper = command.cell is not None and command.cell.wrapper
        assert self._popen.stdout is not None
        self._stdout = self._popen.stdout

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> int:
        return self._stdout.fileno()

    def kill(self) -> None:
        if self._group is not None:
            self._group.kill()
        kill(self.pid)

    def reap(self) -> Exit | None:
        if self._exit is None and (ended := reap(self.pid)) is not None:
            self._popen.returncode = 0 if ended.status is None else os.waitstatus_to_exitcode(ended.status)
            starved = self._group.starved() if self._group is not None else None
            self._exit = Exit(ended.status, self._peak_rss(ended.peak_rss), starved)
        return self._exit

    def close(self) -> None:
        if self._exit is None:  # stuck inside the kernel; nothing more can be done about it
            self._popen.returncode = -signal.SIGKILL
        self._stdout.close()
        _remove(self._group)

    def _peak_rss(self, peak: int) -> int:
        """The kernel counts the trainer's own memory in: the child shared it until it became the command."""
        return peak if peak > self._hidden_rss else 0


def kill(pid: int) -> None:
    """Ends a child of this process that was not reaped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def reap(pid: int) -> Exit | None:
    """How a child of this process ended, None while it runs."""
    try:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        return Exit(None, 0)
    return Exit(status, usage.ru_maxrss * _rss_unit()) if ended else None


def _rss_unit() -> int:
    return 1024 if linux() else 1


def group_of(command: Command) -> Group | None:
    """A control group for a command, made anew; None if it is in no cell that asks for one, or none can be made."""
    if command.cell is None or not command.cell.tasks:
        return None
    return make_group(Bounds(command.cell.tasks, command.limits.memory))


def _remove(group: Group | None) -> None:
    if group is not None:
        group.remove()


def _spawn(command: Command, group: Group | None) -> subprocess.Popen[bytes]:
    env = {**command.env, MARK: command.mark}
    _check_program(command, env)
    argv = command.cell.wrap(command.argv) if command.cell else command.argv
    return subprocess.Popen(
        [*_lifeline(), *joining(group), *argv],
        cwd=command.cwd,
        env=env,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _check_program(command: Command, env: Mapping[str, str]) -> None:
    """`OSError` if the program is missing or no program: behind `setpriv` it would look like the program's exit."""
    if not command.argv:
        raise ValueError("it names no program")
    name = command.argv[0]
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    folders = [""] if "/" in name else os.get_exec_path(env)
    found = [path for folder in folders if os.path.exists(path := os.path.join(command.cwd, folder, name))]
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not any(os.path.isfile(path) and os.access(path, os.X_OK) for path in found):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@functools.cache
def _lifeline() -> tuple[str, ...]:
    """A prefix by which the kernel kills the command when the thread that started it dies.

    `setpriv` becomes the command by exec and costs 0.9 ms. Python's `preexec_fn` would turn off vfork: 1.4 ms with
    40 MB in the trainer, 9 ms with 200 MB, and a fork of a process with threads.
    """
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin:/usr/sbin:/sbin") if linux() else None
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", "KILL", "--")
    probe = subprocess.run([*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return prefix if probe.returncode == 0 else ()  # busybox has a setpriv without that option
