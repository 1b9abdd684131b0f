"""Stores with many measured nodes, made in large transactions: what is timed is reading them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import fmean

from project import make_project
from references import cached

import dagstore
from dagstore import NodeId, ProtocolId, Status
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.index import VERSION as INDEX
from dagstore.model import Protocol, Run, Tree

BATCH = 5_000
PARENTS = 50
ROUND = 500
NOISE = 0.01


def fill(folder: Path, nodes: int) -> dagstore.Store:
    """An open store in which that many nodes were measured once; every tenth one twice, so that the noise is known."""
    store, protocol, name = _begun(folder)
    random, known = Random(nodes), [store.resolve("@seed")]
    for start in range(0, nodes, BATCH):
        made = _record(store, known, range(start, min(start + BATCH, nodes)), random)
        with store._write() as txn:
            for number, node in enumerate(made, start):
                for _ in range(1 + (number % 10 == 0)):
                    store._record_run(txn, run_of(node, name, random.gauss(1.0, NOISE), random), protocol, {})
        known = made[-PARENTS:]
    return store


def filled(nodes: int) -> dagstore.Store:
    """The same out of the cache, made if it is not there."""
    return dagstore.open(_filled(nodes) / "project")


def copied(nodes: int, folder: Path) -> dagstore.Store:
    """A copy of it that may be written to."""
    shutil.copytree(_filled(nodes), folder)
    return dagstore.open(folder / "project")


def climb(folder: Path, nodes: int) -> dagstore.Store:
    """An open store in which a swarm went on, in rounds, from what had measured best; every tenth node twice.

    A child is worth its parent plus N(0.5, 1) steps of the noise of one run.
    """
    store, protocol, name = _begun(folder)
    random, root = Random(nodes), store.resolve("@seed")
    truth, leaders = {root: 1.0}, [(1.0, root)]
    for start in range(0, nodes, ROUND):
        parents = [node for _, node in leaders]
        made = _children(store, parents, truth, range(start, min(start + ROUND, nodes)), random)
        seen = []
        with store._write() as txn:
            for number, node in enumerate(made, start):
                values = [random.gauss(truth[node], NOISE) for _ in range(1 + (number % 10 == 0))]
                seen.append((fmean(values), node))
                for value in values:
                    store._record_run(txn, run_of(node, name, value, random), protocol, {})
        leaders = sorted([*leaders, *seen])[:PARENTS]
    return store


def climbed(nodes: int) -> dagstore.Store:
    """The same out of the cache, made if it is not there."""
    return dagstore.open(_cached("climbed", nodes, climb) / "project")


def _filled(nodes: int) -> Path:
    return _cached("measured", nodes, fill)


def _cached(kind: str, nodes: int, make: Callable[[Path, int], dagstore.Store]) -> Path:
    name = f"{kind}-{nodes}-v1-dag-{dagstore.__version__}-{INDEX}"
    return cached(name, lambda folder: make(folder / "project", nodes).close())


def _begun(folder: Path) -> tuple[dagstore.Store, Protocol, ProtocolId]:
    project = make_project(folder)
    dagstore.init(project)
    store = dagstore.open(project)
    protocol = make_protocol(store.charter(), Tree(store.files("@seed")), "")
    return store, protocol, ProtocolId.of(encode(protocol))


def _children(
    store: dagstore.Store, parents: Sequence[NodeId], truth: dict[NodeId, float], numbers: range, random: Random
) -> list[NodeId]:
    """A round of them, whose worth is entered."""
    made: list[NodeId] = []
    with store.batch(ROUND) as batch:
        for number in numbers:
            parent = random.choice(parents)
            worth = truth[parent] + NOISE * random.gauss(0.5, 1.0)
            data = f"MATRIX_LR = {worth!r}  # {number}\n".encode()
            made.append(batch.record([parent], {"train.py": data}, why=f"rate {number}", agent="bench"))
            truth[made[-1]] = worth
    return made


def _record(store: dagstore.Store, known: Sequence[NodeId], numbers: range, random: Random) -> list[NodeId]:
    """Nodes that build on recent ones, durable; their ids."""
    made: list[NodeId] = []
    with store.batch(BATCH) as batch:
        for number in numbers:
            data = f"MATRIX_LR = {random.random():.12f}  # {number}\n".encode()
            parent = random.choice([*known, *made[-PARENTS:]][-PARENTS:])
            made.append(batch.record([parent], {"train.py": data}, why=f"rate {number}", agent="bench"))
    return made


def run_of(node: NodeId, protocol: ProtocolId, value: float, random: Random) -> Run:
    return Run(
        node=node,
        protocol=protocol,
        platform="bench",
        status=Status.OK,
        metrics={"val_bpb": value},
        started=1_700_000_000_000 + random.randrange(10**9),
        seconds=300.0,
        runner="bench",
        seed=random.randrange(1 << 30),
    )
