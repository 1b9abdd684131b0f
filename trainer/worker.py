"""The trainer: takes a ticket under a claim, runs the node's experiment, and records how it ended.

A worker holds nothing that a killed one could lose: the ticket stays in the queue until the run is recorded in the
same transaction that removes it, and the claim of a worker that vanished runs out.
"""

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dagstore import Charter, ClaimLost, DagError, Status, Store
from dagstore.claims import Claim
from dagstore.model import Tree
from dagstore.tickets import Taken, Ticket
from dagstore.views import RunView
from trainer.job import Job
from trainer.machine import platform_name
from trainer.process import become_subreaper, sweep
from trainer.report import report_of, report_of_lost
from trainer.sandbox import Sandbox, probe
from trainer.trial import Outcome, Trials

MAX_FAILURES = 3
"""Faults of the machine after which a ticket is dropped: the node stays, with its `infra` runs."""

IDLE_SECONDS = 0.2
STOP_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Setting:
    """What a trainer is told about its machine. `ttl` is the length of a claim in seconds, renewed while it works.

    `sandbox` confines experiments; None takes the strongest that works.
    """

    runner: str
    environ: Mapping[str, str]
    ttl: float = 60.0
    visible: str | None = None
    sandbox: Sandbox | None = None


class Watcher(Protocol):
    """Whoever watches a worker."""

    def step(self, name: str) -> None:
        """`taken`, `materialised`, `ended`, `recorded`, `cleaned`: what was just done."""

    def begin(self, ticket: Ticket, charter: Charter) -> None: ...

    def output(self, chunk: bytes) -> None: ...

    def end(self, run: RunView) -> None: ...


class Silent:
    """Watches nothing."""

    def step(self, name: str) -> None: ...

    def begin(self, ticket: Ticket, charter: Charter) -> None: ...

    def output(self, chunk: bytes) -> None: ...

    def end(self, run: RunView) -> None: ...


class Worker:
    """Runs one experiment at a time, from the main thread of its process."""

    def __init__(self, store: Store, setting: Setting, watcher: Watcher | None = None) -> None:
        self._store = store
        self._setting = setting
        self._watcher: Watcher = watcher or Silent()
        self._trials = Trials(store.root, setting.environ, setting.sandbox or probe())
        self._uuid = store.uuid
        self._platform = platform_name(setting.visible)
        become_subreaper()  # what an experiment leaves behind falls to us, and is ended with it
        self._tidy()

    def work(
        self, *, until_idle: bool = False, seconds: float | None = None, stop: threading.Event | None = None
    ) -> Iterator[RunView]:
        """Runs as they are recorded, until the queue is empty (`until_idle`), time is up, or `stop` is set.

        The experiment in hand when time is up is finished; `stop` ends it and puts it back in line.
        """
        stop = stop or threading.Event()
        end = None if seconds is None else time.monotonic() + seconds
        while not stop.is_set() and (end is None or time.monotonic() < end):
            run = self.next(stop)
            if run is not None:
                yield run
            elif until_idle and not self._store.tickets():
                return
            else:
                stop.wait(IDLE_SECONDS)

    def next(self, stop: threading.Event | None = None, *, ticket: int = 0) -> RunView | None:
        """Take one ticket (that one, if given) and measure it; None if there was none to take.

        Also None if the claim was lost meanwhile, or a fault of the machine put the ticket back in line. Interrupted,
        it puts the ticket back too.
        """
        taken = self._store.take(self._setting.runner, self._setting.ttl, ticket=ticket)
        if taken is None:
            return None
        try:
            self._watcher.step("taken")
            with self._heartbeat(taken.claim, stop) as halt, self._job(taken) as job:
                return self._measure(job, halt)
        except ClaimLost:
            return None
        except BaseException:
            self._give_back(taken.claim)
            raise

    def _measure(self, job: Job, halt: threading.Event) -> RunView | None:
        self._watcher.begin(job.taken.ticket, job.charter)
        outcome = self._trials.run(job, halt, self._watcher.output)
        self._watcher.step("ended")
        if outcome.ending.cancelled:
            self._give_back(job.claim)
            return None
        return self._record(job, outcome)

    def _record(self, job: Job, outcome: Outcome) -> RunView | None:
        """Make the run of an outcome and record it; None if it was a fault of the machine and is tried again."""
        report = report_of(job, outcome, self._platform, self._setting.runner)
        if report.run.status is Status.INFRA and job.taken.ticket.failures + 1 < MAX_FAILURES:
            self._store.retry(job.claim, *report)
            return None
        view = self._store.complete(job.claim, *report)
        self._watcher.step("recorded")
        self._watcher.end(view)
        return view

    @contextmanager
    def _job(self, taken: Taken) -> Iterator[Job]:
        """The node's files in a directory of their own, removed afterwards with all that was made there."""
        if taken.lost is not None:
            self._bury(taken.lost)
        charter, tree = self._store.charter(taken.ticket.node), Tree(self._store.files(taken.ticket.node))
        job = Job(taken, charter, tree, self._scratch / str(taken.claim.token), self._mark(taken.claim.token))
        try:
            self._store.checkout(taken.ticket.node, job.work)
            job.metrics.parent.mkdir()
            self._watcher.step("materialised")
            yield job
        finally:
            shutil.rmtree(job.home, ignore_errors=True)
            self._watcher.step("cleaned")

    def _bury(self, claim: Claim) -> None:
        """End what a vanished worker left, and record that its run was lost."""
        sweep(self._mark(claim.token))
        self._tidy()
        charter, tree = self._store.charter(claim.node), Tree(self._store.files(claim.node))
        report = report_of_lost(claim, charter, tree, self._platform, self._setting.runner)
        self._store.add_run(report.run, report.protocol)

    def _tidy(self) -> None:
        """End and remove what workers left that were killed: every scratch directory whose claim is gone."""
        left = list(self._scratch.glob("*"))
        # Read after the directories: a claim is older than its directory, so none that is held can be missed.
        held = {str(claim.token) for claim in self._store.claims()}
        for home in left:
            if home.name not in held:
                sweep(self._mark(home.name))
                shutil.rmtree(home, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self._store.folder / "scratch"

    def _mark(self, token: int | str) -> str:
        return f"{self._uuid}-{token}"

    def _give_back(self, claim: Claim) -> None:
        try:
            self._store.give_back(claim)
        except ClaimLost:
            return  # somebody else has it already, or the run was recorded

    @contextmanager
    def _heartbeat(self, claim: Claim, stop: threading.Event | None) -> Iterator[threading.Event]:
        """Keeps the claim alive; gives an event that is set when the claim is lost or the worker shall stop."""
        done, halt = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._beat, args=(claim, stop or halt, halt, done), daemon=True)
        thread.start()
        try:
            yield halt
        finally:
            done.set()
            thread.join()

    def _beat(self, claim: Claim, stop: threading.Event, halt: threading.Event, done: threading.Event) -> None:
        due = time.monotonic() + self._setting.ttl / 3
        while not done.wait(STOP_POLL_SECONDS):
            if stop.is_set():
                halt.set()
            if time.monotonic() >= due:
                due = time.monotonic() + self._setting.ttl / 3
                if not self._renew(claim):
                    halt.set()
                    return

    def _renew(self, claim: Claim) -> bool:
        """Whether the claim is still ours."""
        try:
            self._store.renew(claim, self._setting.ttl)
        except ClaimLost:
            return False
        except DagError:
            return True  # the old deadline holds until the next beat; what is wrong meets whoever records the run
        return True
