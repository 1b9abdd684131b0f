"""A warm parent and its ready child, as the trainer's process holds them: `trainer/parent.py` is the other side."""

import contextlib
import functools
import os
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.launch import Command, Exit, kill, reap
from trainer.messages import Groups, pack, receive, send
from trainer.strays import MARK

LOAD_SECONDS = 60.0
"""How long the imports of a parent may take."""

ANSWER_SECONDS = 5.0
"""How long a child may take to begin its script."""

END_SECONDS = 0.5
"""How long a child is waited for that is not needed. One that does not come ends by itself."""

MARK_ROOM = 200
"""Bytes that a child's mark may have."""

_STOP_POLL = 0.05
_ALL = (1 << 64) - 1
_RACE_POLL = 0.0005
_LIMITS = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))


class Unfit(Exception):
    """No parent for these modules in this interpreter, and why."""


class Stillborn(Exception):
    """A child that did not begin its script, and never will."""


class Newborn:
    """A script that was begun by a warm child; a child of this process like any other."""

    wrapper = False

    def __init__(self, pid: int, output: int, cell: "_Cell") -> None:
        self.pid = pid
        self.output = output
        self._cell = cell
        self._exit: Exit | None = None

    def kill(self) -> None:
        kill(self.pid)
        self._cell.kill()

    def reap(self) -> Exit | None:
        self._exit = self._exit or reap(self.pid)
        if self._exit is not None:
            self._cell.close()
        return self._exit

    def close(self) -> None:
        self._cell.close()
        os.close(self.output)


class _Cell:
    """The held cell of a command, if it has one that can be joined."""

    def __init__(self, command: Command) -> None:
        self._stack = contextlib.ExitStack()
        joined = command.cell is not None and command.cell.level.can_be_joined
        self._held = self._stack.enter_context(command.cell.hold(command.env)) if command.cell and joined else None

    @property
    def holder(self) -> int:
        """The process whose namespaces are to be joined, 0 for none."""
        return self._held.pid if self._held else 0

    def kill(self) -> None:
        if self._held:
            self._held.kill()

    def close(self) -> None:
        self._stack.close()


class Child:
    """A process that waits for one request. It is in this process's session until it has one: no orphan to be swept."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = 0

    def begin(self, request: bytes, output: int) -> int:
        """Its process id. The script begins with the last message; `Stillborn` if it does not come to that."""
        try:
            self._ready(time.monotonic() + ANSWER_SECONDS)
            return self._begin(request, output, time.monotonic() + ANSWER_SECONDS)
        except (OSError, ValueError) as error:
            self.end()
            raise Stillborn(str(error)) from None
        except BaseException:
            self.end()  # interrupted: it may have begun, and nobody would know of it
            raise

    def _begin(self, request: bytes, output: int, deadline: float) -> int:
        send(self._sock, request, output, deadline)
        answer, *said = self._hear(deadline)
        if answer == b"inside":
            os.waitpid(self._pid, 0)
            self._pid = _own(int(said[0]), deadline)
            self._sock.sendall(pack([b"go"]))
            answer, *said = self._hear(deadline)
        if answer != b"set":
            raise ValueError(b" ".join(said).decode("utf-8", "replace"))
        self._sock.sendall(pack([b"go"]))
        self._sock.close()
        return self._pid

    def _ready(self, deadline: float) -> None:
        if not self._pid:
            self._pid = _own(int(self._hear(deadline)[1]), deadline)

    def _hear(self, deadline: float) -> list[bytes]:
        groups = receive(self._sock, deadline)
        if not groups:
            raise ValueError("it ended before it began")
        return groups[0]

    def end(self) -> None:
        """It is dead and reaped."""
        with contextlib.suppress(OSError, ValueError):
            self._ready(time.monotonic() + END_SECONDS)
        self._sock.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)


def _own(pid: int, deadline: float) -> int:
    """That process, once it is a child of this one: until the one between has ended it is not."""
    while True:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RACE_POLL)
        else:
            return pid


class Parent:
    """An interpreter with modules loaded and the next child ready.

    Its own session is this process's, so that its children are not taken for orphans; its group is its own, so that
    Ctrl-C at a terminal is none of its business. It ends with this process, and with the thread that made it.
    """

    def __init__(
        self, python: str, modules: Sequence[str], env: Mapping[str, str], stop: threading.Event | None
    ) -> None:
        """Waits until it is ready. `Unfit` if it cannot be, or `stop` is set before."""
        self._control, theirs = socket.socketpair()
        self._affinity, self._limits = _affinity(), _limits()
        self._child: Child | None = None
        self._failed = False
        with theirs:
            try:
                self._process = _start(python, modules, env, theirs.fileno())
            except Unfit:
                self._control.close()
                raise
        try:
            names, paths = self._loaded(stop)
            self.names = frozenset(os.fsdecode(name) for name in names)
            self._paths = [os.fsdecode(path) for path in paths]
            self._stamp = _stamp(self._paths)
            self.breed()
        except BaseException:
            self._stop()
            raise

    def _loaded(self, stop: threading.Event | None) -> Groups:
        """Names and paths of what is loaded."""
        groups = self._answer(stop)
        said = self._said()
        if not groups:
            raise Unfit(f"its parent ended in the imports: {said}" if said else "its parent ended in the imports")
        (answer, *reason), *loaded = groups
        if answer != b"loaded":
            raise Unfit(b" ".join(reason).decode("utf-8", "replace"))
        if said:
            raise Unfit(f"the imports print, and a script's log would lack it: {said}")
        return loaded

    def _answer(self, stop: threading.Event | None) -> Groups:
        deadline = time.monotonic() + LOAD_SECONDS
        while not select.select([self._control], [], [], _STOP_POLL)[0]:
            if stop is not None and stop.is_set():
                raise Unfit("stopped")
            if time.monotonic() > deadline:
                raise Unfit(f"the imports take more than {LOAD_SECONDS:g} s")
        try:
            return receive(self._control, deadline)
        except (OSError, ValueError) as error:
            raise Unfit(str(error)) from None

    def _said(self) -> str:
        """The last line of what was printed so far."""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        lines = (self._process.stdout.read() or b"").decode("utf-8", "replace").split("\n")
        self._process.stdout.close()
        return next((line for line in reversed(lines) if line.strip()), "")

    def current(self) -> bool:
        """Whether it lives, its last child began, and it would load the same again."""
        return not self._failed and self._process.poll() is None and _stamp(self._paths) == self._stamp

    def breed(self) -> None:
        """Asks for the next child, without waiting for it."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = Child(ours)
            with contextlib.suppress(OSError):  # it has died: the child's socket ends, too
                send(self._control, pack([b"child"]), theirs.fileno(), time.monotonic() + ANSWER_SECONDS)

    def begin(self, command: Command) -> Newborn:
        """The command in the ready child, in its cell. `Stillborn` if it does not begin, `OSError` without a cell."""
        cell = _Cell(command)
        assert self._child is not None
        child, self._child = self._child, None
        output, theirs = os.pipe()
        try:
            pid = child.begin(self._request(command, cell.holder), theirs)
        except BaseException:
            self._failed = True
            os.close(output)
            cell.close()
            raise
        finally:
            os.close(theirs)
        self.breed()
        return Newborn(pid, output, cell)

    def _request(self, command: Command, holder: int) -> bytes:
        """What a process that this one started now would have from it, and the command."""
        affinity, limits = _affinity(), _limits()
        group = command.cell.group if command.cell else ""
        return pack(
            [os.fsencode(word) for word in command.argv],
            [os.fsencode(f"{name}={value}") for name, value in {**command.env, MARK: command.mark}.items()],
            [os.fsencode(command.cwd), command.mark.encode(), b"%d" % holder, os.fsencode(group)],
            affinity if affinity != self._affinity else [],
            [limit for limit in limits if limit not in self._limits] + _limits_of(command),
        )

    def close(self) -> None:
        """Ends it and the child that is ready."""
        if self._child is not None:
            self._child.end()
            self._child = None
        self._stop()

    def _stop(self) -> None:
        self._control.close()
        group = self._process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(ChildProcessError):  # what it was about to fork fell to us
            while True:
                os.waitpid(-group, 0)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _start(python: str, modules: Sequence[str], env: Mapping[str, str], control: int) -> subprocess.Popen[bytes]:
    """Below the root folder: a folder that goes away would keep its file system busy."""
    try:
        return subprocess.Popen(
            [python, "-c", _text(), str(os.getpid()), str(control), *modules],
            cwd="/",
            env={**env, "PYTORCH_NVML_BASED_CUDA_CHECK": "1", MARK: "-" * MARK_ROOM},
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[control],
            process_group=0,
        )
    except (OSError, ValueError) as error:
        raise Unfit(str(error)) from None


@functools.cache
def _text() -> str:
    return Path(__file__).with_name("parent.py").read_text(encoding="utf-8")


def _stamp(paths: Sequence[str]) -> list[tuple[int, int, int]]:
    return [_look(path) for path in paths]


def _look(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _limits_of(command: Command) -> list[bytes]:
    limits = (command.cell.rlimits if command.cell else None) or {}
    return [b"%d %d %d" % (which, soft & _ALL, hard & _ALL) for which, (soft, hard) in limits.items()]


def _affinity() -> list[bytes]:
    return [b"%d" % number for number in sorted(os.sched_getaffinity(0))]


def _limits() -> list[bytes]:
    """Which, soft and hard, of every limit."""
    pairs = [(which, *resource.getrlimit(which)) for which in _LIMITS]
    return [b"%d %d %d" % (which, soft & _ALL, hard & _ALL) for which, soft, hard in pairs]
