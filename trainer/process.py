"""Runs an experiment's command in its own process group and guarantees that nothing of it survives.

Covered, on Linux: children that ignore SIGTERM, hold the output open, leave the group or the session, or clear their
environment (the last only after `become_subreaper`, or in a cell with namespaces, whose end is the end of all that is
in it); and, within what is sampled ten times a second, those that take more memory, disk or processes than they may.
A trainer killed with SIGKILL takes the command with it where util-linux' `setpriv` is installed; what the command had
started is for the next trainer's `sweep`.
Elsewhere only the process group is killed.
Not covered: work handed to daemons that ran before (cron, docker), and processes stuck inside the kernel.

One `execute` at a time in a process, from its main thread: the kernel's parent-death signal follows the thread that
started the child, and a subreaper cannot tell one experiment's orphans from another's. Meanwhile no other thread may
start a child in a session of its own.
"""

import contextlib
import errno
import fcntl
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable

from trainer.capture import Log
from trainer.cgroup import LIMIT, MACHINE
from trainer.ending import Ending
from trainer.gauge import Gauge, family_of
from trainer.lack import is_full, oom_kills, volunteer
from trainer.launch import Command, Exit, Launched, Program
from trainer.strays import (
    CLEAR_WAIT,
    await_exits,
    become_subreaper,
    catchers,
    children,
    clear,
    inherited,
    pidfd,
    sweep,
)

__all__ = ["Command", "become_subreaper", "execute", "sweep"]

CHECKPOINT_WAIT = 3.0
"""Seconds between SIGUSR2, which only those get that handle it, and SIGTERM."""

TERM_WAIT = 3.0
"""Seconds between SIGTERM and SIGKILL."""

ASKED = ("timeout", "stop", "prune")
"""Why a command is asked to end, and killed only if it does not."""

_STOP_POLL = 0.05
_EXIT_POLL = 0.005
_DRAIN_WAIT = 2.0
_CHUNK = 1 << 18
_PIPE_SIZE = 1 << 20


def execute(
    command: Command,
    *,
    stop: threading.Event | None = None,
    on_output: Callable[[bytes], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    launch: Callable[[Command], Launched] = Program,
    follow: Callable[[float], str] | None = None,
) -> Ending:
    """How the command ended; none of its processes is left, whatever is raised.

    Ends it when budget and grace are used up, `stop` is set or `follow` says why (looked at every 50 ms): SIGUSR2 to
    what handles it, SIGTERM, then SIGKILL; and by SIGKILL alone when it takes more than it may.
    `on_output` sees every chunk, also what the log leaves out. `on_start` gets the process id.
    `follow` is told the seconds since its budget began to run, gives a reason to end it or nothing, and must be quick.
    `launch` starts it; `OSError` or `ValueError` from there says why it did not start.
    """
    if not command.mark or "\0" in command.mark:
        raise ValueError("the mark must be non-empty and without NUL")
    try:
        return _execute(command, stop, on_output, on_start, launch, follow)
    except BaseException:
        sweep(command.mark)  # an interrupt can come before the child has a handle
        raise


def _execute(
    command: Command,
    stop: threading.Event | None,
    on_output: Callable[[bytes], None] | None,
    on_start: Callable[[int], None] | None,
    launch: Callable[[Command], Launched],
    follow: Callable[[float], str] | None,
) -> Ending:
    bystanders = children()
    ooms = oom_kills()
    log = Log(command.log_limit)
    started = time.monotonic()
    try:
        child = _Child(launch(command), log, on_output)
    except (OSError, ValueError) as error:
        sweep(command.mark)  # out of handles, it may have started all the same
        return _not_started(command, error)
    folder = str(command.folder or command.cwd)
    family = lambda: {child.pid, *inherited(bystanders)}  # noqa: E731
    gauge = Gauge(command.limits, family, child.signal_group, folder, command.device)
    try:
        if on_start is not None:
            on_start(child.pid)
        cause, pruned = _watch(child, _Clock(command, started), stop, gauge, follow)
        if cause in ASKED:
            _let_end(child, bystanders)
        seconds = time.monotonic() - started
        full = is_full(folder)
    finally:
        strays = child.finish(command.mark, bystanders)
    text, dropped = log.text()
    return Ending(
        exit_code=child.exit_code,
        signal=child.signal,
        timed_out=cause == "timeout",
        cancelled=cause == "stop",
        pruned=pruned,
        seconds=seconds,
        log=text,
        log_dropped=dropped,
        peak_rss=child.peak_rss,
        strays=strays,
        oom_killed=child.starved(ooms) == MACHINE,
        host_peak=max(gauge.host, child.peak_rss),
        device_peak=gauge.device,
        excess=child.excess(cause, ooms),
        disk_full=full,
        confined=command.cell is not None and bool(command.cell.prefix),
    )


class _Clock:
    """When time is up: budget and grace after the start, or after the experiment said within the grace it is ready."""

    def __init__(self, command: Command, started: float) -> None:
        self._ready = command.ready
        self._until = started + command.grace
        self._allowed = command.budget + command.grace
        self._since = started

    def left(self) -> float:
        """Seconds."""
        now = time.monotonic()
        if self._ready is not None and now <= self._until and os.path.lexists(self._ready):
            self._since, self._ready = now, None
        return self._since + self._allowed - now

    def elapsed(self) -> float:
        """Seconds since the budget began to run."""
        return time.monotonic() - self._since


def _watch(
    child: "_Child",
    clock: _Clock,
    stop: threading.Event | None,
    gauge: Gauge,
    follow: Callable[[float], str] | None,
) -> tuple[str, str]:
    """Why the child must not go on: one of `ASKED`, or of what it took too much; `""` when it has exited.

    Beside it, why it was pruned, if it was.
    """
    while True:
        if child.pump(max(0.0, min(clock.left(), _STOP_POLL))):
            return "", ""
        if stop is not None and stop.is_set():
            return "stop", ""
        if clock.left() <= 0:
            return "timeout", ""
        excess = gauge.look(time.monotonic)
        if excess:
            return excess, ""
        pruned = follow(clock.elapsed()) if follow is not None else ""
        if pruned:
            return "prune", pruned


def _let_end(child: "_Child", bystanders: frozenset[int] | None) -> None:
    """Asks the child to write a checkpoint, where it knows how to, and to end."""
    family = [pid for pid in family_of({child.pid, *inherited(bystanders)}) if not child.is_wrapper(pid)]
    handling = catchers(family, signal.SIGUSR2)
    for pid in handling:
        _kill(pid, signal.SIGUSR2)
    if handling and _ended_within(child, CHECKPOINT_WAIT):
        return
    child.terminate()
    _ended_within(child, TERM_WAIT)


def _ended_within(child: "_Child", seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if child.pump(left):
            return True
    return False


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _not_started(command: Command, error: OSError | ValueError) -> Ending:
    """A failure; `errno` is kept only where the command itself is to blame, not its folder."""
    if not command.cwd.is_dir():
        return Ending(failure=f"{command.cwd}: no such folder")
    name = command.argv[0] if command.argv else "(empty command)"
    if isinstance(error, OSError):
        return Ending(failure=f"{name}: {error.strerror or error}", errno=error.errno or 0)
    return Ending(failure=f"{name}: {error}", errno=errno.EINVAL)


class _Child:
    """A running command: its handles, its output and, at the end, its status."""

    def __init__(self, launched: Launched, log: Log, on_output: Callable[[bytes], None] | None) -> None:
        self._log = log
        self._on_output = on_output
        self._exit: Exit | None = None
        self._killed = False
        self._over = False
        self._launched = launched
        self.pid = self._launched.pid
        volunteer(self.pid)
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

    def is_wrapper(self, pid: int) -> bool:
        """Whether this is the process that stands before the command and must live as long as it."""
        return self._launched.wrapper and pid == self.pid

    def terminate(self) -> None:
        """Asks everything to end; a wrapper's own end would be the end of all at once."""
        if not self._launched.wrapper:
            self.signal_group(signal.SIGTERM)
            return
        for pid in family_of([self.pid]):
            if not self.is_wrapper(pid):
                _kill(pid, signal.SIGTERM)

    def finish(self, mark: str, bystanders: frozenset[int] | None) -> int:
        """Kills what is left and takes the status; how many strays there were.

        The group is killed before its leader is reaped: until then nobody else can get its number.
        """
        try:
            self._killed = not self._over
            self._launched.kill()  # first: in what is confined, nothing can be started any more
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
        """What killed it; behind a wrapper that is told as shells tell it."""
        if self._status is None:
            return None
        if os.WIFSIGNALED(self._status):
            return os.WTERMSIG(self._status)
        code = os.WEXITSTATUS(self._status)
        return code - 128 if self._launched.wrapper and code - 128 in signal.valid_signals() else None

    def starved(self, ooms: int) -> str:
        """What there was not enough memory in: `LIMIT`, `MACHINE`, or empty if that did not end it.

        Its control group knows. Without one it is guessed from how often the kernel killed since there were `ooms`.
        """
        said = self._exit.starved if self._exit is not None else None
        if said is None:
            return MACHINE if self._killed_by_others and oom_kills() > ooms else ""
        return said if self.signal is not None or self.exit_code else ""

    def excess(self, cause: str, ooms: int) -> str:
        """Of what it took too much: what it was ended for, or what its control group says."""
        found = cause or ("memory" if self.starved(ooms) == LIMIT else "")
        return found if found not in ASKED else ""

    @property
    def _killed_by_others(self) -> bool:
        """True if it died of SIGKILL that is not ours, directly or (137) behind a shell."""
        return not self._killed and (self.signal == signal.SIGKILL or self.exit_code == 128 + signal.SIGKILL)

    @property
    def peak_rss(self) -> int:
        return self._exit.peak_rss if self._exit is not None else 0
