"""What `run`, `train` and `adopt --run` share: a trainer made from the environment, and showing what it does."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from cli.app import App, is_terminal
from cli.main import ExperimentFailed
from cli.render import number
from dagstore import Store
from dagstore.errors import Refused
from dagstore.model import KNOWN, Status
from dagstore.printable import one_line
from dagstore.tickets import Ticket
from dagstore.views import Rows, RunView
from trainer.machine import this_machine
from trainer.policy import Grants
from trainer.sandbox import probe
from trainer.slots import Slot, divide
from trainer.worker import Setting, Silent, Watcher, Worker

NOW = 1 << 20
"""The priority of what somebody waits for at a terminal."""
POLL_SECONDS = 0.2


def make_slots(slots: int | None = None, per_gpu: int | None = None) -> tuple[Slot, ...]:
    """The slots of this machine, as `--slots` and `--per-gpu` divide it."""
    return divide(this_machine(os.environ.get("CUDA_VISIBLE_DEVICES")), os.environ, slots, per_gpu)


def make_worker(
    app: App, watcher: Watcher | None = None, slot: Slot | None = None, grants: Grants | None = None
) -> Worker:
    """A worker in this process for one slot, by default the first that `dag train` would have."""
    say_how_confined(app)
    return Worker(app.store(), setting_of(slot or make_slots()[0], app.agent, grants or Grants()), watcher)


def say_how_confined(app: App) -> None:
    """Says it where experiments are confined less than they could be."""
    if probe().remark:
        app.say(probe().remark)


def setting_of(slot: Slot, agent: str, grants: Grants) -> Setting:
    """What a worker of this process is told, for that slot."""
    runner = f"{agent}@{socket.gethostname()}:{os.getpid()}"
    environ = {**os.environ, **slot.variables}
    return Setting(runner, environ, platform=slot.platform, told=slot.told, slot=slot.name, grants=grants)


def run_now(app: App, refs: Sequence[str], repeat: int | None = None, grants: Grants | None = None) -> Rows[RunView]:
    """Measure nodes at once, one after the other; without `repeat`, what was measured before is only shown.

    What another trainer has in hand is waited for. An interrupt cancels what was put in line here and nothing else.
    """
    with closing(make_worker(app, Speaking(app), grants=grants)) as worker:
        return Rows([run for ref in refs for run in _runs_of(app, worker, ref, repeat)])


def _runs_of(app: App, worker: Worker, ref: str, repeat: int | None) -> list[RunView]:
    with tickets_of(app, ref, repeat) as tickets:
        runs = [run for ticket in tickets for run in until_measured(app, worker, ticket)]
    return runs if tickets else known_runs(app, ref)


def check_ok(runs: Rows[RunView]) -> None:
    """`ExperimentFailed` if a run did not end `ok`; everything is recorded all the same."""
    bad = [run for run in runs if run.status is not Status.OK]
    if bad:
        first = bad[0]
        reason = f": {first.reason}" if first.reason else ""
        raise ExperimentFailed(
            f"{len(bad)} of {len(runs)} runs failed; {str(first.node)[:12]} {first.status.value}{reason}",
            hint=f"dag show {str(first.node)[:12]}",
        )


def outcome(run: RunView) -> str:
    """How a run ended, in a few words."""
    ending = f"{run.metric} {number(run.value)}" if run.value is not None else f"{run.status.value}: {run.reason}"
    return f"{ending} ({run.seconds:.1f} s)"


class Speaking(Silent):
    """Says on stderr what begins and how it ended."""

    def __init__(self, app: App) -> None:
        self._app = app

    def begin(self, ticket: Ticket, charter: object) -> None:
        if is_terminal():
            self._app.say(f"measuring {str(ticket.node)[:12]} …")

    def end(self, run: RunView) -> None:
        self._app.say(f"{str(run.node)[:12]}  {one_line(outcome(run))}")


@contextmanager
def tickets_of(app: App, ref: str, repeat: int | None) -> Iterator[list[Ticket]]:
    """Tickets to work off for a node: those in line first, then new ones, which are cancelled if that fails."""
    store = app.store()
    made: Sequence[Ticket] = ()
    try:
        waiting = in_line(store, ref, held=repeat is None)
        if len(waiting) < (repeat or 1):
            total = None if repeat is None else repeat + len(in_line(store, ref)) - len(waiting)
            made = store.queue([ref], repeat=total, priority=NOW, agent=app.agent)
        yield [*waiting, *made][: repeat or 1]
    except BaseException:
        for ticket in made:
            store.cancel(ticket.number)
        raise


def in_line(store: Store, ref: str, *, held: bool = True) -> list[Ticket]:
    """The tickets for the node's tree, those that nobody holds first; without `held` only those."""
    tickets = [ticket for ticket in store.tickets() if held or not ticket.token]
    tree = store.node(ref).tree
    same = {node for node in {ticket.node for ticket in tickets} if store.node(node).tree == tree}
    return sorted((ticket for ticket in tickets if ticket.node in same), key=lambda ticket: ticket.token > 0)


def known_runs(app: App, ref: str) -> list[RunView]:
    """The runs of a node that needs no other: the good ones, or else how it was pruned."""
    runs = [run for run in app.store().runs(ref) if run.status in KNOWN]
    good = [run for run in runs if run.status is Status.OK]
    said = "was measured already; --repeat 1 measures it again" if good else "was pruned before; --repeat 1 measures it"
    app.say(f"{app.store().short(ref)} {said}")
    return good or runs


def until_measured(app: App, worker: Worker, ticket: Ticket) -> list[RunView]:
    """The run of one ticket, from whoever measures it; faults of the machine are tried again, as the queue would."""
    store = app.store()
    while True:
        run = worker.next(ticket=ticket.number)
        if run is not None:
            return [run]
        if all(other.number != ticket.number for other in store.tickets()):
            return run_of(store, ticket)
        time.sleep(POLL_SECONDS)


def run_of(store: Store, ticket: Ticket) -> list[RunView]:
    """The run of a ticket that is not in line any more; `Refused` if it was cancelled before it had one."""
    done = [run for run in store.runs(ticket.node) if run.seed == ticket.seed][-1:]
    if not done:
        raise Refused(f"ticket {ticket.number} was cancelled by somebody else", hint="repeat the command")
    return done
