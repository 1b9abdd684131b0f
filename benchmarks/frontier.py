"""The top 20 in-process at growing numbers of measured nodes, against `search_runs` of MLflow on SQLite.

A plain table of SQLite with the same numbers, indexed and not, shows what the machine can do at best. MLflow is asked
at 1,000 and 10,000 runs only: it took 26 s at 20,000. Every strategy is asked at the largest size.

A store remembers the estimates of its leaders as long as nothing has changed that they depend on, so asking again is
quicker than asking first. The rows of asking after a run are about that.
"""

import sqlite3
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from heapq import nsmallest
from pathlib import Path
from random import Random

from filled import NOISE, climbed, copied, fill, filled, run_of
from harness import Bar, Row, alternate, percentile, scratch, timed
from references import NOT_INSTALLED, mlflow_search

import dagstore
from dagstore import NodeId, ProtocolId
from dagstore.channels import default_channel
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.lineage import Lineage, members
from dagstore.model import Tree
from dagstore.ranking import estimated, leaders

TOP = 20
SECOND_P99 = Bar(1.0, absolute=True)
CHOSEN_P50 = Bar(2.0, absolute=True)
FLAT = Bar(1.5)
SELECT = f"SELECT id, message, metric FROM runs ORDER BY metric LIMIT {TOP}"
AGAIN = "smaller is better; asked again while nothing has changed"
CACHED = 100_000
"""Stores from that many nodes on are kept in the cache."""
FLAT_FROM = 10_000
INDEXED = ("optimistic", "pessimistic")
CHOSEN = ("promise", "underexplored", "near-miss", "leaves", "stale")

Samples = Mapping[int, Sequence[float]]
"""Seconds by size."""


def rows(*, quick: bool) -> list[Row]:
    sizes, asked = ((1_000, 10_000), 400) if quick else ((1_000, 10_000, 100_000, 1_000_000), 2_000)
    with scratch() as folder:
        stores = {size: _store(folder, size) for size in sizes}
        tables = {size: Table(folder / f"{size}.db", size) for size in sizes}
        ours = _by_size({size: _asking(store) for size, store in stores.items()}, asked)
        theirs = _by_size({size: table.indexed for size, table in tables.items()}, asked)
        scans = _by_size({size: table.scanned for size, table in tables.items()}, 11)
        largest = _strategies(sizes[-1], stores[sizes[-1]], asked // 2, 2 if quick else 5)
        for store in stores.values():
            store.close()
        largest += _after_runs(folder / "written", sizes[-1], 50 if quick else 300)
        mlflow = _mlflow_rows(ours, folder / "mlflow", 2 if quick else 5)
    found = [row for size in sizes for row in _at(size, ours[size], theirs[size], scans[size])]
    flat = _flat([size for size in sizes if quick or size >= FLAT_FROM], ours)
    return [*found, *mlflow, flat, *largest, _overlap(20_000 if quick else 100_000)]


def _store(folder: Path, size: int) -> dagstore.Store:
    return filled(size) if size >= CACHED else fill(folder / str(size), size)


def _by_size(works: Mapping[int, Callable[[], float]], rounds: int) -> Samples:
    found = alternate({str(size): work for size, work in works.items()}, rounds)
    return {int(size): seconds for size, seconds in found.items()}


def _asking(store: dagstore.Store) -> Callable[[], float]:
    store.frontier(top=TOP)
    return lambda: timed(lambda: store.frontier(top=TOP))


def _at(size: int, ours: Sequence[float], indexed: Sequence[float], scanned: Sequence[float]) -> list[Row]:
    def row(share: float, theirs: Sequence[float], what: str, bar: Bar | None = None) -> Row:
        mine, other = percentile(ours, share) * 1e3, percentile(theirs, share) * 1e3
        name = f"frontier(top={TOP}) of {size:,}, p{share * 100:g} / {what}"
        return Row(name, mine, other, "ms", mine / other, bar, AGAIN)

    return [
        row(0.5, indexed, "indexed SQLite, bare columns"),
        row(0.99, indexed, "indexed SQLite, bare columns", SECOND_P99),
        row(0.5, scanned, "SQLite without an index"),
    ]


def _mlflow_rows(ours: Samples, folder: Path, rounds: int) -> list[Row]:
    folder.mkdir()
    sizes = [size for size in ours if size <= FLAT_FROM]
    found = mlflow_search(folder, sizes, top=TOP, rounds=rounds)
    return [_mlflow_row(size, ours[size], found) for size in sizes]


def _mlflow_row(size: int, ours: Sequence[float], found: Mapping[str, Mapping[str, list[float]]] | None) -> Row:
    name, mine = f"frontier(top={TOP}) of {size:,}, p50 / search_runs of MLflow", percentile(ours, 0.5) * 1e3
    if not found:
        return Row(name, mine, None, "ms", None, None, f"MLflow {NOT_INSTALLED}")
    theirs = statistics.median(found["seconds"][str(size)]) * 1e3
    return Row(name, mine, theirs, "ms", mine / theirs, None, f"smaller is better; MLflow {found['version']} on SQLite")


def _flat(sizes: Sequence[int], ours: Samples) -> Row:
    small, large = (percentile(ours[size], 0.5) * 1e3 for size in (sizes[0], sizes[-1]))
    name = f"flat: p50 of {sizes[-1]:,} / of {sizes[0]:,} nodes"
    return Row(name, large, small, "ms", large / small, FLAT, "smaller is better")


def _strategies(size: int, store: dagstore.Store, asked: int, rounds: int) -> list[Row]:
    """Those that an index serves in ms, the others in s."""

    def ask(strategy: str, axes: Sequence[str] = ()) -> float:
        return timed(lambda: store.frontier(top=TOP, strategy=strategy, axes=axes))

    served = alternate({name: partial(ask, name) for name in INDEXED}, asked)
    works = {name: partial(ask, name) for name in CHOSEN}
    works |= {
        f"pareto of val_bpb and {axis}": partial(ask, "pareto", ("val_bpb", axis)) for axis in ("seconds", "diff")
    }
    chosen = alternate(works, rounds)
    return [
        *(row for name, seconds in served.items() for row in _served(f"{name} of {size:,}", seconds)),
        *(
            _plain(f"{name} of {size:,}, p50", statistics.median(found), "s", CHOSEN_P50)
            for name, found in chosen.items()
        ),
    ]


def _after_runs(folder: Path, size: int, asked: int) -> list[Row]:
    """Every time this process recorded a run just before: the first of an experiment, or one more of a leader.

    A repeat changes the noise, and with it every estimate.
    """
    with copied(size, folder) if size >= CACHED else fill(folder, size) as store:
        protocol = make_protocol(store.charter(), Tree(store.files("@seed")), "")
        name, random = ProtocolId.of(encode(protocol)), Random(size)

        def asking(node: NodeId) -> float:
            with store._write() as txn:
                store._record_run(txn, run_of(node, name, random.gauss(1.0, NOISE), random), protocol, {})
            return timed(lambda: store.frontier(top=TOP))

        def leader() -> NodeId:
            return random.choice(store.frontier(top=TOP).nodes).id

        def first() -> float:
            with store.batch(1) as batch:
                node = batch.record([leader()], {"train.py": f"x = {random.random()}\n".encode()}, why="one", agent="b")
            return asking(node)

        seconds = alternate({"a first run": first, "a repeat": lambda: asking(leader())}, asked)
    said = {
        "a first run": "smaller is better; a new experiment was measured just before",
        "a repeat": "smaller is better; the noise, and with it each estimate, changed just before",
    }
    return [
        row
        for what, found in seconds.items()
        for row in _served(f"estimate of {size:,}, after {what}", found, said[what])
    ]


def _served(name: str, seconds: Sequence[float], note: str = AGAIN) -> list[Row]:
    half, most = (percentile(seconds, share) * 1e3 for share in (0.5, 0.99))
    return [_plain(f"{name}, p50", half, "ms", None, note), _plain(f"{name}, p99", most, "ms", SECOND_P99, note)]


def _plain(name: str, ours: float, unit: str, bar: Bar | None, note: str = "smaller is better") -> Row:
    return Row(name, ours, None, unit, None, bar, note)


def _overlap(size: int) -> Row:
    """How good the kept order is as a generator of candidates, in a store with real steps."""
    with climbed(size) as store, store._storage.read() as txn:
        channel = default_channel(txn)
        assert channel is not None
        found = {it.tree for it in leaders(txn, channel, TOP)}
        lineage = Lineage(txn, channel)
        every = [estimated(lineage, tree)[0] for tree, _ in members(txn, channel)]
    best = {it.tree for it in nsmallest(TOP, every, key=lambda it: (it.estimate, it.tree))}
    common = len(found & best)
    note = f"larger is better; how many of the first {TOP} are those that judging each tree as of now puts first"
    return Row(f"frontier(top={TOP}) of {size:,} / judging every tree", common, TOP, "nodes", common / TOP, None, note)


class Table:
    """The same numbers in one table, and in a second one that is indexed."""

    def __init__(self, file: Path, size: int) -> None:
        random = Random(size)
        numbers = [(f"{random.getrandbits(256):064x}", f"rate {at}", random.gauss(1, 0.01)) for at in range(size)]
        self._plain, self._indexed = self._made(file, numbers), self._made(file.with_suffix(".indexed"), numbers)
        self._indexed.execute("CREATE INDEX by_metric ON runs (metric)")

    def indexed(self) -> float:
        return timed(lambda: self._indexed.execute(SELECT).fetchall())

    def scanned(self) -> float:
        return timed(lambda: self._plain.execute(SELECT).fetchall())

    @staticmethod
    def _made(file: Path, numbers: list[tuple[str, str, float]]) -> sqlite3.Connection:
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, message TEXT, metric REAL)")
        connection.executemany("INSERT INTO runs VALUES (?, ?, ?)", numbers)
        connection.commit()
        return connection
