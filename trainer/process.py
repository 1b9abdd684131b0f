"""Runs an experiment's command in its own process group and guarantees that nothing of it survives.

Covered, on Linux: children that ignore SIGTERM, hold the output open, leave the group or the session, or clear their
environment (the last only after `become_subreaper`). A trainer killed with SIGKILL takes the command with it where
util-linux' `setpriv` is installed; what the command had started is for the next trainer's `sweep`.
Elsewhere only the process group is killed.
Not covered: work handed to daemons that ran before (cron, docker), and processes stuck inside the kernel.

One `execute` at a time in a process, from its main thread: the kernel's parent-death signal follows the thread that
started the child, and a subreaper cannot tell one experiment's orphans from another's. Meanwhile no other thread may
start a child in a session of its own.
"""

import contextlib
import errno
import fcntl
import functools
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.launch import Command, Exit, Program
from trainer.strays import CLEAR_WAIT, await_exits, become_subreaper, children, clear, pidfd, sweep

__all__ = ["Command", "Ending", "become_subreaper", "execute", "sweep"]

TERM_WAIT = 3.0
"""Seconds between SIGTERM and SIGKILL."""

_STOP_POLL = 0.05
_LONG_POLL = 3600.0
_EXIT_POLL = 0.005
_DRAIN_WAIT = 2.0
_CHUNK = 1 << 18
_PIPE_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended. `seconds` is wall clock, `peak_rss` bytes, `log` stdout and stderr together.

    Of `exit_code` and `signal` one is set; neither, if the command did not start or somebody else took its status.
    `peak_rss` is that of the largest process, 0 if it stayed below this trainer's own, which hides it.
    `strays` counts the processes outside the command's group that had to be killed.
    `failure` says why it could not be started; `errno` is 0 then if the reason is not the command itself.
    """

    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    seconds: float = 0.0
    log: bytes = b""
    log_dropped: int = 0
    peak_rss: int = 0
    strays: int = 0
    oom_killed: bool = False
    failure: str = ""
    errno: int = 0


def execute(
    command: Command,
    *,
    stop: threading.Event | None = None,
    on_output: Callable[[bytes], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Ending:
    """How the command ended; none of its processes is left, whatever is raised.

    Ends it when budget and grace are used up or `stop` is set (looked at every 50 ms): SIGTERM, then SIGKILL.
    `on_output` sees every chunk, also what the log leaves out. `on_start` gets the process id.
    """
    if not command.mark or "\0" in command.mark:
        raise ValueError("the mark must be non-empty and without NUL")
    try:
        return _execute(command, stop, on_output, on_start)
    except BaseException:
        sweep(command.mark)  # an interrupt can come before the child has a handle
        raise


def _execute(
    command: Command,
    stop: threading.Event | None,
    on_output: Callable[[bytes], None] | None,
    on_start: Callable[[int], None] | None,
) -> Ending:
    bystanders = children()
    ooms = _oom_kills()
    log = _Log(command.log_limit)
    started = time.monotonic()
    try:
        child = _Child(command, log, on_output)
    except (OSError, ValueError) as error:
        sweep(command.mark)  # out of handles, it may have started all the same
        return _not_started(command, error)
    try:
        if on_start is not None:
            on_start(child.pid)
        cause = _watch(child, started + command.budget + command.grace, stop)
        if cause:
            child.signal_group(signal.SIGTERM)
            _watch(child, time.monotonic() + TERM_WAIT, None)
        seconds = time.monotonic() - started
    finally:
        strays = child.finish(command.mark, bystanders)
    text, dropped = log.text()
    return Ending(
        exit_code=child.exit_code,
        signal=child.signal,
        timed_out=cause == "timeout",
        cancelled=cause == "stop",
        seconds=seconds,
        log=text,
        log_dropped=dropped,
        peak_rss=child.peak_rss,
        strays=strays,
        oom_killed=child.killed_by_others and _oom_kills() > ooms,
    )


def _watch(child: "_Child", deadline: float, stop: threading.Event | None) -> str:
    """`""` when the child has exited, else why it must not go on: `timeout` or `stop`."""
    while True:
        left = max(0.0, deadline - time.monotonic())
        if child.pump(min(left, _LONG_POLL if stop is None else _STOP_POLL)):
            return ""
        if stop is not None and stop.is_set():
            return "stop"
        if time.monotonic() >= deadline:
            return "timeout"


def _not_started(command: Command, error: OSError | ValueError) -> Ending:
    """A failure; `errno` is kept only where the command itself is to blame, not its folder."""
    if not command.cwd.is_dir():
        return Ending(failure=f"{command.cwd}: no such folder")
    name = command.argv[0] if command.argv else "(empty command)"
    if isinstance(error, OSError):
        return Ending(failure=f"{name}: {error.strerror or error}", errno=error.errno or 0)
    return Ending(failure=f"{name}: {error}", errno=errno.EINVAL)


class _Log:
    """The first half and the last half of what was written, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = max(0, limit) // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, chunk: bytes) -> None:
        self._total += len(chunk)
        room = self._half - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 2 * self._half:
            del self._tail[: len(self._tail) - self._half]

    def text(self) -> tuple[bytes, int]:
        """The log, and how many bytes it leaves out.

        Half a line after the gap goes too, or shares the gap's line: alone, it could pass for another metric.
        """
        tail = bytes(self._tail[max(0, len(self._tail) - self._half) :])
        if self._total == len(self._head) + len(tail):
            return bytes(self._head) + tail, 0
        lines = tail.partition(b"\n")[2]
        dropped = self._total - len(self._head) - len(lines or tail)
        before = "" if self._head.endswith(b"\n") or not self._head else "\n"
        after = "\n" if lines else " "
        gap = f"{before}… {dropped} bytes left out …{after}".encode()
        return bytes(self._head) + gap + (lines or tail), dropped


class _Child:
    """A running command: its handles, its output and, at the end, its status."""

    def __init__(self, command: Command, log: _Log, on_output: Callable[[bytes], None] | None) -> None:
        self._log = log
        self._on_output = on_output
        self._exit: Exit | None = None
        self._killed = False
        self._over = False
        self._launched = Program(command)
        self.pid = self._launched.pid
        self._selector = selectors.DefaultSelector()
        self._pipe = self._launched.output
        self._prepare_pipe()
        self._pidfd = pidfd(self.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def _prepare_pipe(self) -> None:
        os.set_blocking(self._pipe, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # above the user's quota: the default size does too
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._selector.register(self._pipe, selectors.EVENT_READ)

    def pump(self, timeout: float) -> bool:
        """Takes in output for at most `timeout` seconds; true once the child has exited."""
        if self._pidfd is None:
            timeout = min(timeout, _EXIT_POLL)
        ready = {key.fd for key, _ in self._selector.select(timeout)}
        if self._pipe in ready:
            self._read()
        self._over = self._over or (self._pidfd in ready if self._pidfd is not None else self._reap())
        return self._over

    def _read(self) -> bool:
        """True if there may be more."""
        try:
            chunk = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            self._selector.unregister(self._pipe)
            return False
        self._log.add(chunk)
        if self._on_output is not None:
            self._on_output(chunk)
        return True

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: PermissionError for zombies
            os.killpg(self.pid, number)

    def finish(self, mark: str, bystanders: frozenset[int] | None) -> int:
        """Kills what is left and takes the status; how many strays there were.

        The group is killed before its leader is reaped: until then nobody else can get its number.
        """
        try:
            self._killed = not self._over
            self.signal_group(signal.SIGKILL)
            self._await_exit()
            self._reap()
            strays = clear(self.pid, mark, bystanders)
            self._drain()
        finally:
            self._close()
        return strays

    def _await_exit(self) -> None:
        """Takes in no output: a callback that raised must not be called again before everything is dead."""
        deadline = time.monotonic() + CLEAR_WAIT
        if self._pidfd is not None:
            self._selector.unregister(self._pidfd)
            await_exits([self._pidfd], deadline)
        else:
            while not self._reap() and time.monotonic() < deadline:
                time.sleep(_EXIT_POLL)

    def _drain(self) -> None:
        deadline = time.monotonic() + _DRAIN_WAIT
        while self._pipe in self._selector.get_map() and time.monotonic() < deadline:
            if self._selector.select(_STOP_POLL):
                self._read()

    def _reap(self) -> bool:
        """True once the status was taken, by us or by somebody else."""
        self._exit = self._exit or self._launched.reap()
        return self._exit is not None

    def _close(self) -> None:
        if self._exit is None:  # stuck inside the kernel; nothing more can be done about it
            self._exit = Exit(signal.SIGKILL, 0)
        self._selector.close()
        self._launched.close()
        if self._pidfd is not None:
            os.close(self._pidfd)

    @property
    def _status(self) -> int | None:
        return self._exit.status if self._exit is not None else None

    @property
    def exit_code(self) -> int | None:
        return None if self._status is None or self.signal is not None else os.waitstatus_to_exitcode(self._status)

    @property
    def signal(self) -> int | None:
        return None if self._status is None or not os.WIFSIGNALED(self._status) else os.WTERMSIG(self._status)

    @property
    def killed_by_others(self) -> bool:
        """True if it died of SIGKILL that is not ours, directly or (137) behind a shell."""
        return not self._killed and (self.signal == signal.SIGKILL or self.exit_code == 128 + signal.SIGKILL)

    @property
    def peak_rss(self) -> int:
        return self._exit.peak_rss if self._exit is not None else 0


def _oom_kills() -> int:
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
