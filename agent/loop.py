"""The agent: read the frontier, choose, get a workspace, let a proposer edit, seal, queue, wait, note."""

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.brief import write_brief
from agent.choice import choose_donors, choose_parent
from agent.proposer import ProposalFailed, Proposer, Task
from dagstore import Damaged, NodeId, NotFound, Refused, Status, Store, TreeId, Unavailable
from dagstore.claims import PROPOSE
from dagstore.printable import one_line
from dagstore.views import Adopted, Frontier, RunView, Sealed, Spawned

WIDTH = 8
"""How many of the best nodes are built on."""
POLL_SECONDS = 0.2
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds before an attempt that follows two failures in a row, doubled with each more: a proposer that cannot even
start would fill the store with notes about it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One turn of the loop.

    `outcome` is `measured`, `known` (somebody had the same idea), `failed` (nothing was recorded) or `stopped` (the
    loop was, or the node was taken out of line). `best`: at its end the node headed the ranking.
    """

    agent: str
    outcome: str
    parents: tuple[NodeId, ...]
    why: str
    node: NodeId | None = None
    run: RunView | None = None
    best: bool = False


class Agent:
    """One agent on one store; several may share a store, also from threads of one process."""

    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        *,
        name: str,
        rng: random.Random,
        adopt_rate: float = 0.25,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is the store's: it tells which claims are overdue."""
        self._store = store
        self._proposer = proposer
        self._name = name
        self._rng = rng
        self._adopt_rate = adopt_rate
        self._stop = stop or threading.Event()
        self._clock = clock
        self._failures = 0

    def run(self, attempts: int) -> Iterator[Attempt]:
        """At most that many attempts, each as it ends; fewer when the agent is stopped."""
        for _ in range(attempts):
            if self._stop.is_set():
                return
            yield self.attempt()

    def attempt(self) -> Attempt:
        """One experiment proposed, recorded, measured and noted.

        Whatever a proposer does wrong costs just this attempt; `Unavailable` and `Damaged` are the store's and raised.
        """
        self._pause()
        frontier = self._store.frontier(WIDTH)
        donors = self._donors(frontier)
        made = (self._adopt(donors) if donors else None) or self._propose(self._parent(frontier))
        self._failures = self._failures + 1 if made.outcome == "failed" else 0
        return made

    def _pause(self) -> None:
        if self._failures > 1:
            self._stop.wait(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 2, 32)))

    def _adopt(self, donors: tuple[NodeId, ...]) -> Attempt | None:
        """The donors composed and measured; None if that gives nothing new."""
        why = f"adopt {' '.join(self._store.short(one) for one in donors)}"
        try:
            adopted = self._store.adopt(*donors, agent=self._name)
        except Refused:
            return None
        return self._measure(adopted, donors, why) if adopted.recorded and not adopted.known else None

    def _propose(self, parent: NodeId) -> Attempt:
        spawned = self._store.spawn(parent, agent=self._name)
        workspace = Path(spawned.workspace)
        try:
            why = one_line(self._proposer.propose(self._task(parent, workspace)))
            sealed = self._store.seal(workspace, why=why, agent=self._name)
        except (Unavailable, Damaged):
            raise
        except (ProposalFailed, Refused, NotFound) as error:
            return self._failed(parent, str(error))
        except Exception as error:  # a proposer is somebody else's code
            return self._failed(parent, f"{type(error).__name__}: {error}")
        finally:
            self._sweep(spawned)
        return self._measure(sealed, (parent,), why)

    def _measure(self, made: Sealed | Adopted, parents: tuple[NodeId, ...], why: str) -> Attempt:
        """Queue, wait and note what was recorded; what somebody else measured or put in line is not run again."""
        queued = () if made.known and made.runs else self._store.queue([made.node], agent=self._name)
        if made.known and not queued:
            return Attempt(self._name, "known", parents, why, made.node, made.runs[-1] if made.runs else None)
        run = self._wait(made.node)
        if run is None:
            return Attempt(self._name, "stopped", parents, why, made.node)
        best = self._is_best(run)
        self._store.note(made.node, _verdict(run, best), agent=self._name, kind="verdict")
        return Attempt(self._name, "measured", parents, why, made.node, run, best)

    def _wait(self, node: NodeId) -> RunView | None:
        """The last run of the node's tree once none is in line; None when stopped, or if there is none that ended."""
        trees: dict[NodeId, TreeId] = {node: self._store.node(node).tree}
        while self._in_line(trees[node], trees):
            if self._stop.wait(POLL_SECONDS):
                return None
        runs = [run for run in self._store.runs(node) if run.status is not Status.LOST]
        return runs[-1] if runs else None

    def _in_line(self, tree: TreeId, trees: dict[NodeId, TreeId]) -> bool:
        """Whether a node with that tree waits to be measured; `trees` remembers those of nodes."""
        for ticket in self._store.tickets():
            if ticket.aside:
                continue
            if ticket.node not in trees:
                trees[ticket.node] = self._store.node(ticket.node).tree
            if trees[ticket.node] == tree:
                return True
        return False

    def _is_best(self, run: RunView) -> bool:
        if run.value is None:
            return False
        first = self._store.frontier(1, platform=run.platform)
        return first.protocol == run.protocol and any(row.id == run.node for row in first.nodes)

    def _parent(self, frontier: Frontier) -> NodeId:
        if not frontier.nodes:
            return self._store.resolve("@seed")
        busy: dict[NodeId, int] = {}
        now = self._clock() * 1000
        for claim in self._store.claims():
            if claim.purpose == PROPOSE and claim.deadline > now:
                busy[claim.node] = busy.get(claim.node, 0) + 1
        return choose_parent(frontier.nodes, busy, self._rng)

    def _donors(self, frontier: Frontier) -> tuple[NodeId, ...]:
        if len(frontier.nodes) < 2 or self._rng.random() >= self._adopt_rate:
            return ()
        ids = [row.id for row in frontier.nodes]
        above = {one: {other for other in ids if other != one and self._store.is_ancestor(other, one)} for one in ids}
        return choose_donors(frontier.nodes, above, self._rng)

    def _task(self, parent: NodeId, workspace: Path) -> Task:
        charter = self._store.charter(parent)
        return Task(
            workspace=workspace,
            editable=tuple(entry.path for entry in self._store.files(parent) if charter.is_editable(entry.path)),
            brief=write_brief(self._store, parent),
            rng=self._rng,
            known=lambda: self._store.peek(workspace)[1],
            stop=self._stop.is_set,
        )

    def _failed(self, parent: NodeId, reason: str) -> Attempt:
        reason = one_line(reason)
        if self._stop.is_set():
            return Attempt(self._name, "stopped", (parent,), reason)
        self._store.note(parent, f"{self._proposer.name} proposed nothing: {reason}", agent=self._name)
        return Attempt(self._name, "failed", (parent,), reason)

    def _sweep(self, spawned: Spawned) -> None:
        """The node is what stays; the directory was only the desk."""
        try:
            self._store.abandon(spawned.workspace)
        except NotFound:  # the proposer removed the pointer to the store, or everything; gc forgets the row
            self._store.release(spawned.claim.token)
            shutil.rmtree(spawned.workspace, ignore_errors=True)


def _verdict(run: RunView, best: bool) -> str:
    if run.value is None:
        return f"{run.status.value}: {run.reason}"
    return f"{run.metric} {run.value:.6g}" + (", the best so far" if best else "")
