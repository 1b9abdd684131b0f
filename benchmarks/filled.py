"""Stores with many measured nodes, made in large transactions: what is timed is reading them."""

from pathlib import Path
from random import Random

from project import make_project

import dagstore
from dagstore import BlobId, NodeId, ProtocolId, Status
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.model import Entry, Mode, Run, Tree

BATCH = 5_000


def fill(folder: Path, nodes: int) -> dagstore.Store:
    """An open store in which that many nodes were measured once; every tenth one twice, so that the noise is known."""
    project = make_project(folder)
    dagstore.init(project)
    store = dagstore.open(project)
    seed, seed_tree = store.resolve("@seed"), Tree(store.files("@seed"))
    others = [entry for entry in seed_tree if entry.path != "train.py"]
    protocol = make_protocol(store.charter(), seed_tree, "")
    name, random, known = ProtocolId.of(encode(protocol)), Random(nodes), [seed]
    for start in range(0, nodes, BATCH):
        with store._storage.write() as txn:
            for number in range(start, min(start + BATCH, nodes)):
                data = f"MATRIX_LR = {random.random():.12f}  # {number}\n".encode()
                tree = Tree.of([*others, Entry("train.py", Mode.FILE, BlobId.of(data))])
                parent = random.choice(known[-50:])
                made = store._record(txn, [parent], tree, {BlobId.of(data): data}, ("bench", f"rate {number}"))
                known.append(made.id)
                for _ in range(1 + (number % 10 == 0)):
                    store._record_run(txn, _run(made.id, name, random), protocol, {})
        del known[:-50]
    return store


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
