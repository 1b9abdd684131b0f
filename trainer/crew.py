"""One process a slot: starts them, hears what they report, starts one again that died, and ends them all.

A member is told what to do by one line on its stdin, and works until that ends: whatever becomes of this process, its
members notice. It reports in lines of JSON on its stdout.
"""

import contextlib
import json
import math
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagstore.errors import DagError, Unavailable
from trainer.strays import become_subreaper, clear

MAX_DEATHS = 3
"""Deaths of a slot without a run between, after which it is not started again."""
POLL = 0.1
PATIENCE = 30.0
"""Seconds in which a member ends its experiment and gives the ticket back; then it is killed."""
LINE = 1 << 16

Report = Mapping[str, Any]


class Member:
    """A slot's process, or the one that took its place."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.deaths = 0
        self.runner = ""
        self.left = False
        self._rest = b""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, argv: Sequence[str], order: str) -> int:
        """Start it, in a process group of its own: an interrupt at the terminal is passed on here. Its output."""
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(order.encode() + b"\n")
        return self.process.stdout.fileno()

    def hear(self, handle: int) -> list[Report] | None:
        """What it has reported since; None once it has ended."""
        data = os.read(handle, LINE)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None

    def dismiss(self) -> None:
        """Ask it to end what it has in hand and go."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def await_end(self, seconds: float) -> int:
        """Its exit status."""
        assert self.process is not None
        assert self.process.stdout is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.dismiss()
            self.process.stdout.close()


class Crew:
    """So many members. `order` makes the line for one, given its place and the runner whose place it takes, if any.

    `hear` gets what they report, but for `failed`, which ends the work of all and is raised.
    """

    def __init__(
        self, argv: Sequence[str], size: int, order: Callable[[int, str], str], hear: Callable[[Report], None]
    ) -> None:
        self._argv = argv
        self._order = order
        self._hear = hear
        self._members = [Member(place) for place in range(size)]
        self._selector = selectors.DefaultSelector()
        self._failure: DagError | None = None
        become_subreaper()  # what a member had running falls to us when it is killed
        self._end = math.inf
        """By the monotonic clock, once they were asked to go: then who is still there is killed."""

    def work(self, stop: threading.Event) -> None:
        """Return when all have gone by themselves, or after `stop` is set; none is left, whatever is raised."""
        try:
            for member in self._members:
                self._start(member)
            while self._selector.get_map() and time.monotonic() < self._end:
                self._listen()
                if stop.is_set() or self._failure is not None:
                    self._dismiss()
        finally:
            self._dismiss()
            self._see_out()
        if self._failure is not None:
            raise self._failure

    def _start(self, member: Member) -> None:
        handle = member.start(self._argv, self._order(member.place, member.runner))
        self._selector.register(handle, selectors.EVENT_READ, member)

    def _listen(self) -> None:
        for key, _ in self._selector.select(POLL):
            member: Member = key.data
            reports = member.hear(key.fd)
            if reports is None:
                self._selector.unregister(key.fd)
                status = member.await_end(PATIENCE)
                clear(0, "", frozenset())
                self._replace(member, status)
            for report in reports or ():
                self._take_in(member, report)

    def _take_in(self, member: Member, report: Report) -> None:
        match report["event"]:
            case "failed":
                self._failure = DagError(report["message"], hint=report["hint"], code=report["code"])
            case "runner":
                member.runner = report["runner"]
            case "run":
                member.deaths = 0
                self._hear(report)
            case "passed_by":
                self._hear(report)
            case "left":
                member.left = True
                self._hear(report)

    def _replace(self, member: Member, status: int) -> None:
        """Another one for a member that did not take its leave."""
        if member.left or self._end < math.inf or self._failure is not None:
            return
        member.deaths += 1
        if member.deaths < MAX_DEATHS:
            self._start(member)
        else:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
            self._failure = Unavailable(
                f"the trainer of slot {member.place + 1} {how}, {member.deaths} times without a run between",
                hint="look at what it said on stderr, and for `oom` in the kernel's log",
            )

    def _dismiss(self) -> None:
        if self._end == math.inf:
            self._end = time.monotonic() + PATIENCE
            for member in self._members:
                member.dismiss()

    def _see_out(self) -> None:
        """Wait for those that are still there, together."""
        for key in list(self._selector.get_map().values()):
            key.data.await_end(max(0.0, self._end - time.monotonic()))
        self._selector.close()
