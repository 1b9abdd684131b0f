"""`--engine`: experiments on a cluster, driven from this process."""

import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from cli.app import App
from cli.measure import Speaking, known_runs, run_of, tickets_of
from cli.training import Drained
from dagstore.errors import BadInput
from dagstore.views import Rows, RunView
from trainer.engines.catalogue import LOCAL, make_engine
from trainer.engines.core import Needs
from trainer.engines.driver import Command, Driver
from trainer.policy import Grants
from trainer.slots import SHARE
from trainer.watching import Watcher


@dataclass(frozen=True, slots=True)
class Place:
    """Where experiments run, as it was asked for: `ask` holds `NAME=VALUE`, for the engine alone.

    `shared` is a folder that all nodes see, None for the store's.
    """

    engine: str
    ask: tuple[str, ...] = ()
    shared: Path | None = None
    slots: int | None = None
    per_gpu: int | None = None

    @property
    def is_here(self) -> bool:
        """Whether that is this machine; `BadInput` if it was asked of it what only a cluster can do."""
        if self.engine == LOCAL and self.ask:
            raise BadInput(f"--ask {self.ask[0]}: this machine gives all that it has", hint="name a cluster: --engine")
        if self.engine != "slurm" and self.shared:
            raise BadInput(f"--shared: --engine {self.engine} needs no shared folder", hint="leave --shared out")
        return self.engine == LOCAL

    @property
    def needs(self) -> Needs:
        pairs = [one.partition("=") for one in self.ask]
        for one, (name, equals, value) in zip(self.ask, pairs, strict=True):
            if not (name and equals and value):
                raise BadInput(f"--ask {one}: not NAME=VALUE", hint="say for instance --ask num_gpus=1")
        return Needs(
            self.per_gpu, {name: value for name, _, value in pairs}, self.shared, os.environ.get("RAY_ADDRESS", "")
        )


def run_elsewhere(app: App, place: Place, refs: Sequence[str], repeat: int | None, grants: Grants) -> Rows[RunView]:
    """Measure nodes at once, as `run_now` does, as many at a time as the cluster has room for."""
    store = app.store()
    with ExitStack() as stack:
        wanted = {ref: stack.enter_context(tickets_of(app, ref, repeat)) for ref in dict.fromkeys(refs)}
        numbers = {ticket.number for tickets in wanted.values() for ticket in tickets}
        if numbers:
            driver = stack.enter_context(_driver(app, place, Speaking(app), grants))
            for _ in driver.work(only=numbers):
                pass
    runs = {ref: [run for one in tickets for run in run_of(store, one)] for ref, tickets in wanted.items()}
    return Rows([run for ref in wanted for run in (runs[ref] or known_runs(app, ref))])


def drain_elsewhere(
    app: App,
    place: Place,
    watcher: Watcher,
    grants: Grants,
    *,
    until_idle: bool,
    seconds: float | None,
    stop: threading.Event,
) -> Drained:
    """Measure what is in line, as `drain` does."""
    with _driver(app, place, watcher, grants) as driver:
        runs = Rows(driver.work(until_idle=until_idle, seconds=seconds, stop=stop))
    return Drained(runs, driver.slot_time)


@contextmanager
def _driver(app: App, place: Place, watcher: Watcher, grants: Grants) -> Iterator[Driver]:
    """A driver over the store, connected to the cluster meanwhile."""
    store = app.store()
    sharers = place.per_gpu or 1
    command = Command(
        agent=app.agent,
        runner=f"{app.agent}@{socket.gethostname()}:{os.getpid()}",
        slots=place.slots,
        sharers=sharers,
        told={SHARE: f"{1 / sharers:.6g}"} if sharers > 1 else {},
        grants=grants,
        home=os.environ.get("HOME", "/"),
    )
    # Ray tells on stdout what happens to its nodes, and there the answer is to be alone.
    with redirect_stdout(sys.stderr), Driver(store, make_engine(place.engine, place.needs), command, watcher) as driver:
        yield driver
