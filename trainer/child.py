"""A warm child, as the trainer's process holds it: from a process that waits for its place to a script that runs."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

from trainer.cell import Held
from trainer.launch import Command, Exit, group_of, kill, reap
from trainer.messages import pack, receive, send
from trainer.strays import pidfd

ANSWER_SECONDS = 5.0
"""How long a child may take for each step to the beginning of its script."""

END_SECONDS = 0.5
"""How long a child is waited for that is not needed. One that does not come ends by itself."""

_RACE_POLL = 0.0005


class Stillborn(Exception):
    """A child that did not begin its script, and never will."""


class Newborn:
    """A script that was begun by a warm child; a child of this process like any other."""

    wrapper = False

    def __init__(self, pid: int, output: int, berth: "Berth") -> None:
        self.pid = pid
        self.output = output
        self._berth = berth
        self._exit: Exit | None = None

    def kill(self) -> None:
        kill(self.pid)
        self._berth.kill()

    def reap(self) -> Exit | None:
        if self._exit is None and (ended := reap(self.pid)) is not None:
            self._exit = ended._replace(starved=self._berth.starved())
            self._berth.leave()
        return self._exit

    def close(self) -> None:
        self._berth.close()
        os.close(self.output)


class Berth:
    """The control group and the held cell that a child joins, those that the command has and that can be made."""

    def __init__(self, command: Command) -> None:
        """`OSError` if its cell cannot be made."""
        self._stack = contextlib.ExitStack()
        self._held: Held | None = None
        if command.cell is not None and command.cell.level.can_be_joined:
            self._held = self._stack.enter_context(command.cell.hold())
        self._group = group_of(command)

    @property
    def holder(self) -> int:
        """The process whose namespaces are to be joined, 0 for none."""
        return self._held.pid if self._held else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The files by which a process gets into the control group."""
        return self._group.files if self._group else ()

    def kill(self) -> None:
        if self._group:
            self._group.kill()
        if self._held:
            self._held.kill()

    def starved(self) -> str | None:
        return self._group.starved() if self._group else None

    def leave(self) -> None:
        """The cell is gone, with all that was in it."""
        self._stack.close()

    def close(self) -> None:
        """The group too, if nothing is left in it."""
        self.leave()
        if self._group:
            self._group.remove()


class Child:
    """A process that waits for its place, then for one request. It is in this process's session until it has that: no
    orphan to be swept. `Stillborn` where it does not do what it is told to; it is dead then.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = 0
        self._handle: int | None = None

    def place(self, berth: Berth) -> None:
        """It is in the control group and the cell."""
        with self._or_end():
            deadline = time.monotonic() + ANSWER_SECONDS
            self._ready(deadline)
            holder = [b"%d" % berth.holder] if berth.holder else []
            self._sock.sendall(pack(holder, [os.fsencode(file) for file in berth.groups]))
            if berth.holder:
                self._follow(deadline)
            self._expect(b"placed", deadline)

    def _follow(self, deadline: float) -> None:
        """Inside, it is the child of the process that was waited for so far."""
        inside = int(self._expect(b"inside", deadline)[0])
        os.waitpid(self._pid, 0)
        self._own(inside, deadline)
        self._sock.sendall(pack([b"go"]))

    def begin(self, request: bytes, output: int) -> int:
        """Its process id. The script begins with the last message."""
        with self._or_end():
            deadline = time.monotonic() + ANSWER_SECONDS
            send(self._sock, request, output, deadline)
            self._expect(b"set", deadline)
            self._sock.sendall(pack([b"go"]))
            self._forget()
            return self._pid

    @contextlib.contextmanager
    def _or_end(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.end()
            raise Stillborn(str(error)) from None
        except BaseException:
            self.end()  # interrupted: it may have begun, and nobody would know of it
            raise

    def _ready(self, deadline: float) -> None:
        if not self._pid:
            self._own(int(self._expect(b"ready", deadline)[0]), deadline)

    def _expect(self, word: bytes, deadline: float) -> list[bytes]:
        """What it says with this word."""
        groups = receive(self._sock, deadline)
        if not groups:
            raise ValueError("it ended before it began")
        answer, *said = groups[0]
        if answer != word:
            raise ValueError(b" ".join(said).decode("utf-8", "replace"))
        return said

    def _own(self, pid: int, deadline: float) -> None:
        """That process is this one, once it is a child of ours: until the one between has ended it is not."""
        while True:
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RACE_POLL)
            else:
                break
        self._close_handle()
        self._pid, self._handle = pid, pidfd(pid)

    def end(self) -> None:
        """It is dead and reaped."""
        with contextlib.suppress(OSError, ValueError):
            self._ready(time.monotonic() + END_SECONDS)
        if self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                self._kill()
        self._forget()

    def _kill(self) -> None:
        """By its handle: its parent may have ended it, and another process have its number."""
        if self._handle is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        else:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            os.waitid(os.P_PIDFD, self._handle, os.WEXITED)

    def _forget(self) -> None:
        self._sock.close()
        self._close_handle()

    def _close_handle(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Standby:
    """A child in its cell, which only lacks its request; nothing of it is yet any one experiment's."""

    def __init__(self, child: Child, berth: Berth) -> None:
        self._child: Child | None = child
        self._berth = berth

    def begin(self, request: bytes) -> Newborn:
        """The command of the request, begun; `Stillborn` if it does not begin."""
        if self._child is None:
            raise Stillborn("it was ended")
        output, theirs = os.pipe()
        child, self._child = self._child, None
        try:
            return Newborn(child.begin(request, theirs), output, self._berth)
        except BaseException:
            os.close(output)
            self._berth.close()
            raise
        finally:
            os.close(theirs)

    def end(self) -> None:
        """It is dead, and its cell is gone; not if it has begun."""
        if self._child is not None:
            child, self._child = self._child, None
            child.end()
            self._berth.close()
