"""What a worker lets others see while it works: its slot's status, and the output of its experiment so far."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from trainer.job import Job
from trainer.output import Output
from trainer.slottime import SlotClock
from trainer.status import Status, write_status

PAUSE = 0.25
"""Seconds between two refreshments: for people, not a log."""


class _Shown(NamedTuple):
    job: Job
    started: int
    output: Output


class Bulletin:
    """Written by a worker, on its desk and beside its workspaces."""

    def __init__(self, runner: str, slot: str, platform: str, clock: SlotClock) -> None:
        self._who = (runner, slot, platform)
        self._clock = clock
        self._desk: Path | None = None
        self._shown: _Shown | None = None
        self._due = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def on(self, desk: Path) -> Iterator[None]:
        """Meanwhile the status lies on that desk."""
        self._desk, self._due = desk, 0.0
        self.refresh()
        try:
            yield
        finally:
            with self._lock:
                self._desk = None

    @contextmanager
    def experiment(self, job: Job) -> Iterator[Callable[[bytes], None]]:
        """Meanwhile that experiment runs; its output is to be given to what is yielded."""
        output = Output(job.home, job.charter.log_limit)
        self._shown = _Shown(job, int(time.time() * 1000), output)
        self._clock.begin()
        try:
            yield output.add
        finally:
            self._shown = None
            output.flush()

    def refresh(self) -> None:
        """Write what has changed, if that was not done just now."""
        with self._lock:
            now = time.monotonic()
            if self._desk is None or now < self._due:
                return
            self._due = now + PAUSE
            shown = self._shown
            if shown is not None:
                shown.output.flush()
            write_status(self._desk, self._status(shown))

    def _status(self, shown: _Shown | None) -> Status:
        _, inside, around, waiting = self._clock.time()
        if shown is None:
            return Status(*self._who, inside=inside, around=around, waiting=waiting)
        job, started, output = shown
        ticket = job.taken.ticket
        return Status(
            *self._who,
            node=str(ticket.node),
            ticket=ticket.number,
            token=job.claim.token,
            started=started,
            budget=float(job.charter.budget),
            said=output.said(),
            inside=inside,
            around=around,
            waiting=waiting,
        )
