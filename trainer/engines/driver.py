"""The driver: takes tickets under claims, has an engine carry them to a cluster, and records what comes back.

It does for many experiments elsewhere what a worker does for one here, with the same promises: a ticket stays in the
queue until its run is recorded, and the claims of a driver that was killed run out. What is still under way by then
ends by itself, and what it brings is turned down by the claim's token.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dagstore import BadInput, Charter, ClaimLost, Status, Store
from dagstore.claims import Standing
from dagstore.model import Ended, Tree
from dagstore.platforms import UNKNOWN
from dagstore.tickets import Taken
from dagstore.views import RunView
from trainer.bulletin import Bulletin
from trainer.engines.core import PATIENCE, Cargo, Engine, Flight, Gone, Parcel
from trainer.engines.order import Order
from trainer.engines.result import check_result
from trainer.heart import Heart, Watch
from trainer.intake import Intake
from trainer.job import Job
from trainer.output import output_so_far
from trainer.policy import Grants, Owner
from trainer.report import Report, report_of_gone
from trainer.scratch import Desk, Scratch
from trainer.slottime import SlotClock, SlotTime, together
from trainer.watching import Silent, Watcher
from trainer.worker import MAX_FAILURES

TICK = 0.1
"""Seconds between two looks at everything that is under way."""
AHEAD = 2
"""Experiments that wait in the cluster's own queue, so that nothing there is idle while the next one travels."""


BURST = 8
"""Experiments that are sent off between two looks: those under way must not wait for a long row of others."""


@dataclass(frozen=True, slots=True)
class Command:
    """Who drives, and how it is to be done. `slots` is the most that may be under way, None for what the engine can.

    `sharers` experiments share a GPU, and are `told` so. `ttl` is the length of a claim in seconds. `grants` are what
    the owner agreed to besides their own charter, in which `~` is `home`.
    """

    agent: str
    runner: str
    ttl: float = 60.0
    slots: int | None = None
    sharers: int = 1
    told: dict[str, str] = field(default_factory=dict)
    grants: Grants = field(default_factory=Grants)
    home: str = "/"


@dataclass(slots=True)
class Held:
    """An experiment under way. Closing `shown` takes it from what others see."""

    job: Job
    watch: Watch
    flight: Flight
    shown: ExitStack
    bulletin: Bulletin
    clock: SlotClock
    hear: Callable[[bytes], None]
    asked: float | None = None
    """When it was asked to end, by the monotonic clock."""


class Driver:
    """Drives one engine over one store. Leaving the context puts back in line what is still under way."""

    def __init__(self, store: Store, engine: Engine, command: Command, watcher: Watcher | None = None) -> None:
        self._store = store
        self._engine = engine
        self._command = command
        self._watcher: Watcher = watcher or Silent()
        self._scratch = Scratch(store)
        self._heart = Heart(store, command.ttl, lambda: None)
        # Whether a node's sandbox is a whole one is not known here.
        owner = Owner(store.root, command.home, command.grants, whole=False)
        self._intake = Intake(store, owner, self._scratch, self._heart, command.runner, command.ttl, self._watcher)
        self._held: list[Held] = []
        self._times: list[SlotTime] = []
        self._widest = 0
        self._scratch.folder.mkdir(exist_ok=True)
        self._tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._held:
                self._abandon(self._held.pop())
        finally:
            self._engine.close()

    @property
    def slot_time(self) -> SlotTime:
        """Where the time of all experiments went, from the ticket to the record; `slots` is how many ran at most."""
        return together(self._times)._replace(slots=self._widest)

    def work(
        self,
        *,
        only: Collection[int] | None = None,
        until_idle: bool = False,
        seconds: float | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[RunView]:
        """Runs in the order in which they are recorded, until the queue is empty (`until_idle`), none of the tickets
        `only` is in it, time is up, or `stop` is set.

        What is under way when time is up is finished; `stop` ends it and puts it back in line.
        """
        self._heart.stop = stop = stop or threading.Event()
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            over = stop.is_set() or (end is not None and time.monotonic() >= end)
            if not over:
                self._fill(only)
            yield from self._land()
            if not self._held and (over or self._is_idle(only, until_idle=until_idle)):
                return
            time.sleep(TICK)

    # --- taking ---

    def _is_idle(self, only: Collection[int] | None, *, until_idle: bool) -> bool:
        if only is None:
            return until_idle and not self._store.has_work(allows=self._intake.allows)
        return all(ticket.number not in only for ticket in self._store.tickets())

    def _fill(self, only: Collection[int] | None) -> None:
        """Take what there is room for, a few at a time."""
        room = self._room()
        for _ in range(min(BURST, room - len(self._held))):
            taken = self._take(only)
            if taken is None:
                return
            self._launch(taken, asked=only is not None)
            self._widest = max(self._widest, min(len(self._held), room))

    def _room(self) -> int:
        width = self._engine.width()
        return width + AHEAD if self._command.slots is None else min(width + AHEAD, self._command.slots)

    def _take(self, only: Collection[int] | None) -> Taken | None:
        numbers = [0] if only is None else self._waiting(only)
        takes = (self._intake.take(number) for number in numbers)
        return next((taken for taken in takes if taken is not None), None)

    def _waiting(self, only: Collection[int]) -> list[int]:
        """Those tickets that are in line and not in hand here."""
        mine = {held.job.claim.ticket for held in self._held}
        return [
            ticket.number for ticket in self._store.tickets() if ticket.number in only and ticket.number not in mine
        ]

    def _launch(self, taken: Taken, *, asked: bool) -> None:
        """Send it off, if it is not put back."""
        watch = self._intake.keep(taken.claim)
        with self._intake.or_given_back(taken.claim), ExitStack() as stack:
            self._watcher.step("taken")
            if taken.lost is not None:
                self._intake.bury(taken.lost, UNKNOWN)
                self._tidy()
            charter = self._intake.admit(taken, asked=asked)
            if charter is None:
                self._intake.let_go(taken.claim)
                return
            job = self._job(taken, charter)
            flight = self._engine.submit(self._cargo(job))
            stack.callback(flight.drop)
            self._watcher.begin(taken.ticket, job.charter)
            self._held.append(self._show(job, watch, flight))
            stack.pop_all()
        self._watcher.step("submitted")

    def _job(self, taken: Taken, charter: Charter) -> Job:
        node, token = taken.ticket.node, taken.claim.token
        home = self._scratch.home(token)
        home.mkdir()
        tree, mark = Tree(self._store.files(node)), self._scratch.mark(token)
        return Job(node, charter, tree, self._store.folder, home, taken, mark)

    def _cargo(self, job: Job) -> Cargo:
        claim, command = job.claim, self._command
        order = Order(
            store=self._store.uuid,
            folder=self._store.folder,
            root=self._store.root,
            node=claim.node,
            tree=job.tree,
            ticket=claim.ticket,
            seed=job.taken.ticket.seed,
            isolation=job.taken.ticket.isolation,
            token=claim.token,
            agent=command.agent,
            started=claim.started,
            cpus=self._engine.cpus,
            sharers=command.sharers,
            told=command.told,
        )
        return Cargo(order, job.charter, self._store.blob, job.home, command.ttl)

    def _show(self, job: Job, watch: Watch, flight: Flight) -> Held:
        """What others see of it: a desk, as a worker has one, and the output so far."""
        clock, shown = SlotClock(), ExitStack()
        bulletin = Bulletin(self._command.runner, f"{self._engine.name} {job.claim.ticket}", self._engine.name, clock)
        desk = shown.enter_context(Desk(self._scratch.folder))
        shown.enter_context(bulletin.on(desk.folder))
        hear = shown.enter_context(bulletin.experiment(job))
        return Held(job, watch, flight, shown, bulletin, clock, hear)

    # --- landing ---

    def _land(self) -> Iterator[RunView]:
        for held in list(self._held):
            landed = self._look(held)
            if landed is None:
                continue
            self._held.remove(held)
            run = self._settle(held, landed)
            if run is not None:
                yield run

    def _look(self, held: Held) -> Parcel | Gone | None:
        """What came of it; None while it is under way."""
        if output := held.flight.output():
            held.hear(output)
            self._watcher.output(output)
        held.bulletin.refresh()
        landed = held.flight.poll()
        if landed is None and held.watch.halt.is_set():
            return self._halt(held)
        return landed

    def _halt(self, held: Held) -> Gone | None:
        """Ask it to end; one that does not in time is given up."""
        if held.watch.standing is Standing.LOST:
            return Gone("somebody else took it over")
        now = time.monotonic()
        if held.asked is None:
            held.asked = now
            held.flight.halt()
        return Gone("it did not end when it was told to", Status.CANCELLED, Ended.STOPPED) if self._late(held) else None

    def _late(self, held: Held) -> bool:
        return held.asked is not None and time.monotonic() > held.asked + 2 * PATIENCE

    def _settle(self, held: Held, landed: Parcel | Gone) -> RunView | None:
        """Record what has ended, and let go of everything else of it; None if there is no run to tell of."""
        claim = held.job.claim
        self._watcher.step("ended")
        try:
            with self._intake.or_given_back(claim):
                view = self._record(held, landed)
        except ClaimLost:
            return None
        finally:
            self._let_go(held)
        self._intake.let_go(claim)
        return view

    def _record(self, held: Held, landed: Parcel | Gone) -> RunView | None:
        """The run, recorded; None if it was stopped, or a fault of the cluster that is tried again."""
        claim, report = held.job.claim, self._report(held, landed)
        held.clock.end(report.run.seconds)
        cancelled = held.watch.standing is Standing.CANCELLED
        if report.run.status is Status.CANCELLED and not cancelled and held.watch.halt.is_set():
            self._intake.give_back(claim)
            return None
        again = held.job.taken.ticket.failures + 1 < MAX_FAILURES
        if report.run.status in (Status.INFRA, Status.LOST) and again and not cancelled:
            self._store.retry(claim, *report)
            return None
        view = self._store.complete(claim, *report)
        self._watcher.step("recorded")
        self._watcher.end(view)
        return view

    def _report(self, held: Held, landed: Parcel | Gone) -> Report:
        if isinstance(landed, Parcel):
            try:
                report = check_result(landed.header, landed.artifacts, held.job, self._command.agent)
            except BadInput as error:
                landed = Gone(f"what came back is not to be believed: {error.message}", Status.INFRA)
            else:
                if report.run.status is not Status.CANCELLED or held.watch.halt.is_set():
                    return report
                landed = Gone("it was ended where it ran, and nobody here asked for that")
        held.bulletin.refresh()
        if held.watch.standing is Standing.CANCELLED:
            landed = Gone("stopped on request; its numbers were not waited for", Status.CANCELLED, Ended.STOPPED)
        log = output_so_far(held.job.home, held.job.charter.log_limit)
        return report_of_gone(held.job, landed, UNKNOWN, self._command.runner, log)

    # --- letting go ---

    def _abandon(self, held: Held) -> None:
        """Give the ticket back; the experiment ends wherever it is."""
        try:
            self._intake.give_back(held.job.claim)
        finally:
            self._let_go(held)
            self._intake.let_go(held.job.claim)

    def _let_go(self, held: Held) -> None:
        with suppress(Exception):  # what cannot be reached any more ends by itself
            held.flight.drop()
        held.shown.close()
        self._times.append(held.clock.time())

    def _tidy(self) -> None:
        self._scratch.tidy()
        self._engine.tidy(self._store.uuid, {claim.token for claim in self._store.claims()})
