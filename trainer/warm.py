"""A warm parent, as the trainer's process holds it: `trainer/parent.py` is the other side."""

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

from trainer.child import ANSWER_SECONDS, Berth, Child, Newborn, Standby, Stillborn
from trainer.launch import Command
from trainer.messages import Groups, pack, receive, send
from trainer.strays import MARK

LOAD_SECONDS = 60.0
"""How long the imports of a parent may take."""

MARK_ROOM = 200
"""Bytes that a child's mark may have."""

_STOP_POLL = 0.05
_ALL = (1 << 64) - 1
_LIMITS = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))


class Unfit(Exception):
    """No parent for these modules in this interpreter, and why."""


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

    def stand_by(self, command: Command) -> Standby:
        """The ready child, in the command's cell. `Stillborn` if it does not get there, `OSError` without a cell."""
        if self._child is None:
            raise Stillborn("its parent has none")
        berth = Berth(command)
        child, self._child = self._child, None
        try:
            child.place(berth)
        except BaseException:
            self._failed = True
            berth.close()
            raise
        return Standby(child, berth)

    def begin(self, command: Command, standby: Standby) -> Newborn:
        """The command in a child that stands by in its cell. `Stillborn` if it does not begin."""
        try:
            return standby.begin(self._request(command))
        except BaseException:
            self._failed = True
            raise

    def _request(self, command: Command) -> bytes:
        """What a process that this one started now would have from it, and the command."""
        affinity, limits = _affinity(), _limits()
        cwd = command.cell.cwd if command.cell and command.cell.level.can_be_joined else str(command.cwd)
        return pack(
            [os.fsencode(word) for word in command.argv],
            [os.fsencode(f"{name}={value}") for name, value in {**command.env, MARK: command.mark}.items()],
            [os.fsencode(cwd), command.mark.encode()],
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
