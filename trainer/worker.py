"""The trainer of one slot: takes a ticket under a claim, runs the node's experiment, and records how it ended.

While an experiment runs, the one before it is recorded and the next is made ready. A worker holds nothing
that a killed one could lose: the ticket stays in the queue until the run is recorded in the same transaction that
removes it, and the claim of a worker that vanished runs out.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dagstore import Charter, ClaimLost, NodeId, Status, Store
from dagstore.claims import Standing
from dagstore.demands import Demands
from dagstore.tickets import Taken
from dagstore.views import RunView
from trainer.ahead import Ahead, Prepared, lay_out
from trainer.bulletin import Bulletin
from trainer.heart import Heart, Watch
from trainer.intake import Intake
from trainer.job import Files, Job
from trainer.machine import platform_name
from trainer.nursery import Ready
from trainer.policy import Grants, Owner
from trainer.process import become_subreaper
from trainer.pruner import Pruner
from trainer.recorder import Recorder
from trainer.report import report_of
from trainer.sandbox import Sandbox, probe
from trainer.scratch import Desk, Scratch
from trainer.slottime import SlotClock, SlotTime
from trainer.trial import Outcome, Trials
from trainer.watching import Silent, Watcher

__all__ = ["MAX_FAILURES", "Setting", "Silent", "Watcher", "Worker"]

MAX_FAILURES = 3
"""Faults of the machine after which a ticket is dropped: the node stays, with its `infra` runs."""

IDLE_SECONDS = 0.2

Prepare = Callable[[NodeId, Charter, Path], Prepared]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a trainer is told about its machine. `ttl` is the length of a claim in seconds, renewed while it works.

    `platform` is what runs are ranked by, found out from `visible` (`CUDA_VISIBLE_DEVICES`) if it is empty. `told` are
    variables of the contract that experiments get besides `environ`. `slot` names the slot to people.
    `sandbox` confines experiments; None takes the strongest that works. `grants` is what the machine's owner agreed to
    beside the `dag.toml` of the project: what a charter asks for beyond that is not run.
    """

    runner: str
    environ: Mapping[str, str]
    ttl: float = 60.0
    visible: str | None = None
    platform: str = ""
    told: Mapping[str, str] = field(default_factory=dict)
    slot: str = "1"
    sandbox: Sandbox | None = None
    grants: Grants = field(default_factory=Grants)


@dataclass(frozen=True, slots=True)
class Held:
    """An experiment under a claim, and how it ended once it has."""

    job: Job
    watch: Watch
    outcome: Outcome


class Worker:
    """Runs one experiment at a time, from the main thread of its process."""

    def __init__(self, store: Store, setting: Setting, watcher: Watcher | None = None) -> None:
        self._store = store
        self._setting = setting
        self._watcher: Watcher = watcher or Silent()
        sandbox = setting.sandbox or probe()
        owner = Owner(store.root, setting.environ.get("HOME", "/"), setting.grants, whole=sandbox.is_whole)
        self._platform = setting.platform or platform_name(setting.visible)
        pruner = Pruner(store, self._platform)
        self._trials = Trials(store.root, setting.environ, sandbox, pruner, setting.told)
        self._scratch = Scratch(store)
        self._clock = SlotClock()
        self._bulletin = Bulletin(setting.runner, setting.slot, self._platform, self._clock)
        self._heart = Heart(store, setting.ttl, self._bulletin.refresh)
        self._intake = Intake(store, owner, self._scratch, self._heart, setting.runner, setting.ttl, self._watcher)
        become_subreaper()  # what an experiment leaves behind falls to us, and is ended with it
        self._scratch.tidy()

    @property
    def slot_time(self) -> SlotTime:
        """Where the time went since the worker was made."""
        return self._clock.time()

    def close(self) -> None:
        """Ends what is kept for the next experiment; it ends with this process, too."""
        self._trials.close()

    def work(
        self, *, until_idle: bool = False, seconds: float | None = None, stop: threading.Event | None = None
    ) -> Iterator[RunView]:
        """Runs in the order in which they are recorded, until the queue is empty (`until_idle`), time is up, or `stop`
        is set.

        The experiment in hand when time is up is finished; `stop` ends it and puts it back in line. Whichever way it
        ends, what was measured is recorded by then. A run is recorded while the next experiment runs, and given then.
        """
        stop = stop or threading.Event()
        end = None if seconds is None else time.monotonic() + seconds
        with self._at_desk(stop) as desk, closing(Recorder(self._settle)) as recorder:
            told = partial(self._watcher.step, "prepared")
            with closing(Ahead(self._store, desk, self._intake.allows, self._ready, told)) as ahead:
                while not stop.is_set() and (end is None or time.monotonic() < end):
                    if self._go_on(ahead, recorder):
                        yield from recorder.runs()
                    elif until_idle and not self._store.has_work(allows=self._intake.allows):
                        break
                    else:
                        self._wait(stop)
            recorder.catch_up()
            yield from recorder.runs()

    def next(self, stop: threading.Event | None = None, *, ticket: int = 0) -> RunView | None:
        """Take one ticket (that one, if given) and measure it; None if there was none to take.

        Also None if the claim was lost meanwhile, or a fault of the machine put the ticket back in line. Interrupted,
        it puts the ticket back too. `Refused` if the one that was given asks for what the owner does not allow.
        """
        with self._at_desk(stop or threading.Event()):
            begun = self._take(lambda *what: Prepared(lay_out(self._store, *what)), ticket)
            return self._settle(self._measure(*begun)) if begun else None

    @contextmanager
    def _at_desk(self, stop: threading.Event) -> Iterator[Path]:
        self._heart.stop = stop
        with Desk(self._scratch.folder) as desk, self._bulletin.on(desk.folder):
            yield desk.folder

    def _go_on(self, ahead: Ahead, recorder: Recorder[Held]) -> bool:
        """Whether there was anything to do: to measure, or else to record."""
        begun = self._take(ahead.prepared)
        if begun is None:
            return recorder.catch_up()
        recorder.put(self._measure(*begun, ahead.want))
        return True

    def _wait(self, stop: threading.Event) -> None:
        with self._clock.waiting():
            self._bulletin.refresh()
            stop.wait(IDLE_SECONDS)

    def _take(self, prepare: Prepare, number: int = 0) -> tuple[Job, Watch] | None:
        """An experiment that is ready to run; None if there is nothing to take."""
        while not self._heart.stop.is_set() and (taken := self._intake.take(number)):
            watch = self._intake.keep(taken.claim)
            with self._intake.or_given_back(taken.claim):
                job = self._begin(taken, prepare, asked=number > 0)
            if job:
                return job, watch
            self._intake.let_go(taken.claim)
        return None

    def _begin(self, taken: Taken, prepare: Prepare, *, asked: bool) -> Job | None:
        """The experiment, its files in place; None if it was put off, which one that is `asked` for is not."""
        self._watcher.step("taken")
        if taken.lost is not None:
            self._intake.bury(taken.lost, self._platform)
        charter = self._intake.admit(taken, asked=asked)
        return self._job(taken, charter, prepare) if charter else None

    def _ready(self, files: Files) -> Ready | None:
        """A child that stands by for an experiment; the line may not know all that its charter asks for."""
        return self._trials.ready(files) if self._intake.allows(Demands.of(files.charter)) else None

    def _job(self, taken: Taken, charter: Charter, prepare: Prepare) -> Job:
        token = taken.claim.token
        files, standby = prepare(taken.ticket.node, charter, self._scratch.home(token))
        self._watcher.step("materialised")
        mark = self._scratch.mark(token)
        return Job(files.node, files.charter, files.tree, files.folder, files.home, taken, mark, standby)

    def _measure(self, job: Job, watch: Watch, on_start: Callable[[], None] = lambda: None) -> Held:
        with self._intake.or_given_back(job.claim):
            self._watcher.begin(job.taken.ticket, job.charter)
            with self._bulletin.experiment(job) as hear:
                outcome = self._trials.run(job, watch.halt, partial(self._hear, hear), on_start)
            self._clock.end(outcome.ending.seconds)
            self._watcher.step("ended")
            return Held(job, watch, outcome)

    def _hear(self, hear: Callable[[bytes], None], chunk: bytes) -> None:
        hear(chunk)
        self._watcher.output(chunk)

    def _settle(self, held: Held) -> RunView | None:
        """Record what has ended, and remove everything else of it; None if there is no run to tell of."""
        claim = held.job.claim
        try:
            with self._intake.or_given_back(claim):
                view = self._record(held)
        except ClaimLost:
            return None
        self._intake.let_go(claim)
        return view

    def _record(self, held: Held) -> RunView | None:
        """The run of an outcome, recorded; None if it was stopped, or a fault of the machine that is tried again."""
        job, outcome = held.job, held.outcome
        if outcome.ending.cancelled and held.watch.standing is not Standing.CANCELLED:
            self._intake.give_back(job.claim)
            return None
        report = report_of(job, outcome, self._platform, self._setting.runner)
        if report.run.status is Status.INFRA and job.taken.ticket.failures + 1 < MAX_FAILURES:
            self._store.retry(job.claim, *report)
            return None
        view = self._store.complete(job.claim, *report)
        self._watcher.step("recorded")
        self._watcher.end(view)
        return view
