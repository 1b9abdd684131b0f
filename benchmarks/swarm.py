"""Simulated swarms whose truth is known: experiments in a real store, measured with noise, one GPU run at a time.

Every step of a swarm spends one run: on a repeat of a leader, or on a child of one. Whom it takes for a leader is its
policy. What a child of a node is truly worth depends on the node, the child's number and the seed alone, so that all
policies search the same landscape.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from project import make_project

import dagstore
from dagstore import NodeId, ProtocolId, Status
from dagstore.channels import Channel, default_channel
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.lineage import Lineage
from dagstore.model import Protocol, Run, Tree
from dagstore.ranking import Ranked, judged, leaders
from dagstore.storage import Writer

BEGUN = 10
"""So many children of the seed come first, under every policy."""
REPEATED = 0.15
"""The share of runs that repeat one of the three leaders."""
GREED = 0.35
"""Each further leader is chosen to build on with so much of the probability of the one before it."""

EASY = 5.0
"""The better a node is, the less its children change: so far below the seed, by a factor of e."""

Step = Callable[[Random], float]


def plain_step(random: Random) -> float:
    return random.gauss(0.5, 1.0)


def swarm_step(random: Random) -> float:
    """Most changes harm, some do nothing, one in ten gains; one in fifty wrecks everything."""
    kind = random.random()
    if kind < 0.02:
        return 50 + 300 * random.random()
    if kind < 0.62:
        return abs(random.gauss(0.0, 2.0))
    return random.gauss(0.0, 0.2) if kind < 0.9 else -abs(random.gauss(0.0, 1.0))


def small_step(random: Random) -> float:
    """Next to nothing ever changes."""
    return random.gauss(0.0, 0.1)


STEPS: Mapping[str, Step] = {"swarm": swarm_step, "plain": plain_step, "plateau": small_step}


@dataclass
class Swarm:
    """What a policy did: the truth of its experiments, their runs, and what it recommends in the end."""

    truth: dict[int, float]
    runs: dict[int, list[float]] = field(default_factory=dict)
    children: dict[int, int] = field(default_factory=dict)


Policy = Callable[["Search"], list[int]]
"""Its leaders, the first it would act on first; numbers of nodes."""


class Search:
    """One swarm in a store, within one transaction that is given up in the end."""

    def __init__(self, store: dagstore.Store, txn: Writer, protocol: Protocol, step: Step, noise: float, seed: int):
        self.store, self.txn, self.protocol = store, txn, protocol
        self._name = ProtocolId.of(encode(protocol))
        self._step, self._noise, self._seed = step, noise, seed
        root = store._seq(txn, "@seed")
        self.swarm = Swarm({root: 0.0})
        self._ids: dict[int, NodeId] = {root: store._id(txn, root)}
        self._root = root
        self.measure(root)

    def run(self, policy: Policy, budget: int) -> int:
        """The node that the policy recommends after so many runs."""
        random = Random(f"{self._seed} choices")
        for _ in range(BEGUN):
            self.measure(self.child(self._root))
        for _ in range(budget - BEGUN - 1):
            front = policy(self)
            if random.random() < REPEATED:
                self.measure(front[random.randrange(min(3, len(front)))])
            else:
                place = 0
                while random.random() > GREED and place < len(front) - 1:
                    place += 1
                self.measure(self.child(front[place]))
        return policy(self)[0]

    def child(self, parent: int) -> int:
        count = self.swarm.children[parent] = self.swarm.children.get(parent, 0) + 1
        above = self.swarm.truth[parent]
        worth = above + self._step(Random(f"{self._seed} {above} {count}")) * math.exp(min(0.0, above) / EASY)
        data = f"x = {worth!r}  # {len(self.swarm.truth)}\n".encode()
        entry = self.store._tree(self.txn, parent).get("train.py")
        blob = dagstore.ids.BlobId.of(data)
        tree = Tree.of(e._replace(blob=blob) if e is entry else e for e in self.store._tree(self.txn, parent))
        made = self.store._record(self.txn, [parent], tree, {blob: data}, None)
        self._ids[made.seq] = made.id
        self.swarm.truth[made.seq] = worth
        return made.seq

    def measure(self, node: int) -> None:
        runs = self.swarm.runs.setdefault(node, [])
        value = self.swarm.truth[node] + Random(f"{self._seed} {self.swarm.truth[node]} run {len(runs)}").gauss(
            0, self._noise
        )
        runs.append(value)
        number = sum(map(len, self.swarm.runs.values()))
        run = Run(self._ids[node], self._name, "sim", Status.OK, {self.protocol.metric: value}, number, 300.0, "sim")
        self.store._record_run(self.txn, run, self.protocol, {})

    def channel(self) -> Channel:
        channel = default_channel(self.txn)
        assert channel is not None
        return channel

    def estimates(self) -> Mapping[int, Ranked]:
        """What the store says of every measured node."""
        lineage = Lineage(self.txn, self.channel())
        return {node: judged(lineage, node) for node in self.swarm.runs}


def frontier(search: Search) -> list[int]:
    return [it.tree for it in leaders(search.txn, search.channel(), 8)]


def by_mean(search: Search) -> list[int]:
    return _first(search.swarm.runs, statistics.fmean)


def by_raw_best(search: Search) -> list[int]:
    """The best single run."""
    return _first(search.swarm.runs, min)


def by_leaves(search: Search) -> list[int]:
    """The best of those that nobody has built on."""
    leaves = {node: runs for node, runs in search.swarm.runs.items() if node not in search.swarm.children}
    return _first(leaves or search.swarm.runs, statistics.fmean)


def by_truth(search: Search) -> list[int]:
    """What no one can know."""
    truth = search.swarm.truth
    return sorted(search.swarm.runs, key=lambda node: (truth[node], node))[:8]


POLICIES: Mapping[str, Policy] = {
    "dag frontier": frontier,
    "raw best": by_raw_best,
    "mean": by_mean,
    "leaves": by_leaves,
    "truth": by_truth,
}


def _first(runs: Mapping[int, Sequence[float]], value: Callable[[Sequence[float]], float]) -> list[int]:
    return sorted(runs, key=lambda node: (value(runs[node]), node))[:8]


class Outcome(NamedTuple):
    """What a policy's recommendation is truly worth, and the shares of 90 % intervals that hold the truth in the end.

    `covered` is that of all measured nodes, `covered_top` that of the top 20.
    """

    worth: float
    covered: float
    covered_top: float


def search(folder: Path, policy: str, step: str, noise: float, seed: int, budget: int) -> Outcome:
    """What comes of a policy in the store at that folder, which is left as it was."""
    with dagstore.open(folder) as store:
        protocol = make_protocol(store.charter(), Tree(store.files("@seed")), "")
        with suppress(_GivenUp), store._write() as txn:
            found = Search(store, txn, protocol, STEPS[step], noise, seed)
            node = found.run(POLICIES[policy], budget)
            outcome = Outcome(found.swarm.truth[node], *_coverage(found))
            raise _GivenUp
        return outcome


class _GivenUp(Exception):
    """Ends the transaction of a swarm without a trace."""


def _coverage(search: Search) -> tuple[float, float]:
    inside = {
        node: it.low <= search.swarm.truth[node] <= it.high
        for node, it in search.estimates().items()
        if it.low is not None and it.high is not None
    }
    top = [it.tree for it in leaders(search.txn, search.channel(), 20)]
    return statistics.fmean(inside.values()), statistics.fmean(inside[node] for node in top)


def project(folder: Path) -> Path:
    made = make_project(folder)
    dagstore.init(made)
    return made
