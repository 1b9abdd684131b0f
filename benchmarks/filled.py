"""Stores with many measured nodes, made in large transactions: what is timed is reading them."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from project import make_project
from references import cached

import dagstore
from dagstore import NodeId, ProtocolId, Status
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.index import VERSION as INDEX
from dagstore.model import Run, Tree

BATCH = 5_000
PARENTS = 50


def fill(folder: Path, nodes: int) -> dagstore.Store:
    """An open store in which that many nodes were measured once; every tenth one twice, so that the noise is known."""
    project = make_project(folder)
    dagstore.init(project)
    store = dagstore.open(project)
    protocol = make_protocol(store.charter(), Tree(store.files("@seed")), "")
    name, random, known = ProtocolId.of(encode(protocol)), Random(nodes), [store.resolve("@seed")]
    for start in range(0, nodes, BATCH):
        made = _record(store, known, range(start, min(start + BATCH, nodes)), random)
        with store._write() as txn:
            for number, node in enumerate(made, start):
                for _ in range(1 + (number % 10 == 0)):
                    store._record_run(txn, _run(node, name, random), protocol, {})
        known = made[-PARENTS:]
    return store


def filled(nodes: int) -> dagstore.Store:
    """The same out of the cache, made if it is not there."""
    name = f"measured-{nodes}-v1-dag-{dagstore.__version__}-{INDEX}"
    folder = cached(name, lambda folder: fill(folder / "project", nodes).close())
    return dagstore.open(folder / "project")


def _record(store: dagstore.Store, known: Sequence[NodeId], numbers: range, random: Random) -> list[NodeId]:
    """Nodes that build on recent ones, durable; their ids."""
    made: list[NodeId] = []
    with store.batch(BATCH) as batch:
        for number in numbers:
            data = f"MATRIX_LR = {random.random():.12f}  # {number}\n".encode()
            parent = random.choice([*known, *made[-PARENTS:]][-PARENTS:])
            made.append(batch.record([parent], {"train.py": data}, why=f"rate {number}", agent="bench"))
    return made


def _run(node: NodeId, protocol: ProtocolId, random: Random) -> Run:
    return Run(
        node=node,
        protocol=protocol,
        platform="bench",
        status=Status.OK,
        metrics={"val_bpb": random.gauss(1.0, 0.01)},
        started=1_700_000_000_000 + random.randrange(10**9),
        seconds=300.0,
        runner="bench",
        seed=random.randrange(1 << 30),
    )
