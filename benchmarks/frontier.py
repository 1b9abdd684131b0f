"""The top 20 in-process at growing numbers of measured nodes, beside a plain table of SQLite with and without an index.

The reference of the bar, MLflow on SQLite, took 0.07 to 0.1 s at 1,000 runs and 2.1 s at 5,000 where it was measured.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

from filled import fill
from harness import Bar, Row, alternate, percentile, scratch, timed

import dagstore

TOP = 20
SECOND_P99 = Bar(1.0, absolute=True)
FLAT = Bar(1.5)
SELECT = f"SELECT id, message, metric FROM runs ORDER BY metric LIMIT {TOP}"


def rows(*, quick: bool) -> list[Row]:
    sizes, asked = ((1_000, 10_000), 400) if quick else ((1_000, 10_000, 100_000), 2_000)
    with scratch() as folder:
        stores = {size: fill(folder / str(size), size) for size in sizes}
        tables = {size: Table(folder / f"{size}.db", size) for size in sizes}
        ours = alternate({str(size): _asking(store) for size, store in stores.items()}, asked)
        theirs = alternate({str(size): table.indexed for size, table in tables.items()}, asked)
        scans = alternate({str(size): table.scanned for size, table in tables.items()}, 11)
    found = [row for size in sizes for row in _at(size, ours[str(size)], theirs[str(size)], scans[str(size)])]
    return [*found, _flat(sizes, ours)]


def _asking(store: dagstore.Store) -> Callable[[], float]:
    store.frontier(top=TOP)
    return lambda: timed(lambda: store.frontier(top=TOP))


def _at(size: int, ours: list[float], indexed: list[float], scanned: list[float]) -> list[Row]:
    def row(share: float, theirs: list[float], what: str, bar: Bar | None = None) -> Row:
        mine, other = percentile(ours, share) * 1e3, percentile(theirs, share) * 1e3
        name = f"frontier(top={TOP}) of {size:,}, p{share * 100:g} / {what}"
        return Row(name, mine, other, "ms", mine / other, bar, "smaller is better")

    return [
        row(0.5, indexed, "indexed SQLite, bare columns"),
        row(0.99, indexed, "indexed SQLite, bare columns", SECOND_P99),
        row(0.5, scanned, "SQLite without an index"),
    ]


def _flat(sizes: tuple[int, ...], ours: dict[str, list[float]]) -> Row:
    small, large = (percentile(ours[str(size)], 0.5) * 1e3 for size in (sizes[0], sizes[-1]))
    name = f"flat: p50 of {sizes[-1]:,} / of {sizes[0]:,} nodes"
    return Row(
        name, large, small, "ms", large / small, FLAT, "MLflow: 21 to 30 times from 1,000 to 5,000, measured earlier"
    )


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
