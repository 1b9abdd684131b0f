"""What the names in a condition mean in a store; each is read for the nodes that are still in question only."""

import operator
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import islice
from typing import Any

from dagstore.chains import id_of
from dagstore.channels import Channel, channels
from dagstore.errors import BadInput, NotFound
from dagstore.expressions import Condition, Kind, Rows, Value, condition
from dagstore.finding import newest
from dagstore.ids import RunId
from dagstore.index import RUN, all_facts
from dagstore.metrics import ranked_by
from dagstore.model import CONTRADICTED, Direction, Status
from dagstore.nodetable import NodeTable
from dagstore.rank import better
from dagstore.refs import seed
from dagstore.rows import FIRST, PRIMARY, children, count_nodes
from dagstore.storage import Reader
from dagstore.tabular import decoded
from dagstore.touching import Touching

UNITS = {"minutes": 60.0, "hours": 3_600.0, "days": 86_400.0}
STATES = (*(status.value for status in Status), "new", CONTRADICTED)
RECENT = 200
"""Runs whose metrics are offered where a name is not known."""
COSTS = {"generation": 1, "adopted": 1, "id": 1, "names": 1, "runs": 2, "estimate": 4, "low": 4, "high": 4}
NOTES, STATUS, METRIC, RUNS, TOUCHES = 8, 10, 6, 12, 5_000
"""About what reading one value costs, next to a number in the graph; see `Value`."""
RUN_FIELDS = {"protocol": 2, "platform": 3, "runner": 8, "seed": 9, "exit_code": 10, "reason": 11, "ending": 14}
"""Where they stand in what a run encodes to."""
_STATUS, _METRICS, _SECONDS = 4, 5, 7


class Meaning:
    """The vocabulary of `expressions` within one read transaction."""

    def __init__(self, store: Touching, txn: Reader, channel: Channel | None) -> None:
        self._store = store
        self._txn = txn
        self._channel = channel
        self._table = NodeTable(store, txn, channel)
        self._direction = channel.direction if channel else Direction.MINIMIZE
        self._metric = channel.metric if channel else store._charter(txn, seed(txn)).metric
        self._runs: dict[int, list[list[Any]]] = {}

    def select(self, where: str) -> Rows:
        """The nodes for which it holds, oldest first."""
        return condition(where, self).select(list(range(1, count_nodes(self._txn) + 1)))

    def value(self, name: str) -> Value | None:
        table = self._table
        if name in UNITS:
            return Value(Kind.NUMBER, 0, lambda rows: [UNITS[name]] * len(rows))
        if name in ("generation", "runs", "estimate", "low", "high"):
            return Value(Kind.NUMBER, COSTS[name], partial(table.column, name))
        if name in ("message", "agent"):
            return Value(Kind.TEXT, NOTES, partial(table.column, name))
        if name in RUN_FIELDS:
            return self._of_runs(name)
        return self._special(name) or self._measured(name)

    def function(self, name: str, argument: str) -> Condition | None:
        if name == "improves":
            return Condition(2 * COSTS["estimate"], self._improving)
        if name not in ("touches", "descends_from", "adopts"):
            return None
        if not argument:
            raise BadInput(f"{name} what?", hint=f"as in `{EXAMPLES[name]}`")
        if name == "touches":
            return Condition(TOUCHES, partial(self._touching, argument))
        node = self._store._seq(self._txn, argument)
        found = self._below(node) if name == "descends_from" else self._adopting(node)
        return Condition(0, lambda rows: [row for row in rows if row in found])

    def near(self, name: str) -> list[str]:
        known = [*FIELDS, *UNITS, *EXAMPLES, self._metric, *self._reported()]
        return get_close_matches(name, dict.fromkeys(known), 3, 0.5)

    def _special(self, name: str) -> Value | None:
        table = self._table
        known = {
            "adopted": Value(Kind.NUMBER, COSTS["adopted"], table.adoptions),
            "id": Value(Kind.TEXT, COSTS["id"], lambda rows: [str(id) for id in table.id(rows)], same=str.startswith),
            "names": Value(Kind.TEXT, COSTS["names"], table.names, many=True, has=operator.eq),
            "status": Value(Kind.TEXT, STATUS, partial(table.column, "status"), check=_known_status),
            "age": Value(Kind.NUMBER, NOTES, self._ages),
            "seconds": Value(Kind.NUMBER, RUNS, self._seconds),
        }
        return known.get(name)

    def _measured(self, name: str) -> Value | None:
        """The mean of a metric over the runs of a node that the ranking counts."""
        if name == self._metric:
            return Value(Kind.NUMBER, COSTS["estimate"], self._table.means)
        if self._channel is None or next(ranked_by(self._txn, self._channel, name), None) is None:
            return None
        known: dict[int, float] = {}

        def read(rows: Rows) -> list[float | None]:
            if not known and self._channel:
                known.update((first, moments.mean) for first, moments in ranked_by(self._txn, self._channel, name))
            return [known.get(first) for first in self._table.words(FIRST, rows)]

        return Value(Kind.NUMBER, METRIC, read)

    def _of_runs(self, name: str) -> Value:
        """A field that each run of a node has; None is not among them."""
        at = RUN_FIELDS[name]

        def read(rows: Rows) -> list[tuple[Any, ...]]:
            # `ending` is missing where nobody said it.
            return [tuple(run[at] for run in runs if run[at:] and run[at] is not None) for runs in self._runs_of(rows)]

        if name in ("seed", "exit_code"):
            return Value(Kind.NUMBER, RUNS, read, many=True)
        if name == "platform":
            return Value(Kind.TEXT, RUNS, read, many=True, same=is_called, check=self._check_platform)
        if name == "protocol":
            return Value(Kind.TEXT, RUNS, lambda rows: _hex(read(rows)), many=True, same=str.startswith)
        return Value(Kind.TEXT, RUNS, read, many=True)

    def _ages(self, rows: Rows) -> list[float | None]:
        now = self._store._now()
        return [(now - time) / 1000 if time else None for time in self._table.time(rows)]

    def _seconds(self, rows: Rows) -> list[float | None]:
        """The mean over the runs that the ranking counts."""
        return [_mean(run[_SECONDS] for run in runs if self._counts(run)) for runs in self._runs_of(rows)]

    def _counts(self, run: Sequence[Any]) -> bool:
        channel = self._channel
        same = channel is not None and run[2] == channel.protocol and run[3] == channel.platform
        return same and run[_STATUS] == Status.OK.value

    def _runs_of(self, rows: Rows) -> list[list[list[Any]]]:
        """What the runs of each node encode to."""
        known = self._runs
        wanted = [row for row in rows if row not in known]
        records = self._table.run_records(wanted)
        every = [record for some in records for record in some]
        read = decoded(self._txn, self._store._objects, every, partial(id_of, self._txn))
        for row, some in zip(wanted, records, strict=True):
            known[row] = list(islice(read, len(some)))
        return [known[row] for row in rows]

    def _improving(self, rows: Rows) -> Rows:
        """Those that are better than their primary parent, whatever the noise."""
        parents = self._table.words(PRIMARY, rows)
        pairs = zip(rows, parents, self._estimates(rows), self._estimates(parents), strict=True)
        return [row for row, parent, own, old in pairs if parent and _better(self._direction, own, old)]

    def _estimates(self, nodes: Sequence[int]) -> list[float | None]:
        known = [node for node in nodes if node]
        found = iter(self._table.column("estimate", known))
        return [next(found) if node else None for node in nodes]

    def _touching(self, place: str, rows: Rows) -> Rows:
        from dagstore.touched import touches

        return [row for row in rows if touches(self._store._edits(self._txn, row), place)]

    def _below(self, node: int) -> frozenset[int]:
        from dagstore.reach import descendants

        found = descendants(self._store._columns(self._txn), node, partial(children, self._txn))
        return frozenset(found) - {node}

    def _adopting(self, node: int) -> frozenset[int]:
        below = list(children(self._txn, node))
        parents = self._table.words(PRIMARY, below)
        return frozenset(child for child, primary in zip(below, parents, strict=True) if primary != node)

    def _check_platform(self, text: str) -> None:
        known = {channel.platform for channel in channels(self._txn)}
        if not any(is_called(name, text) for name in known):
            known |= {row[3] for row in decoded(self._txn, self._store._objects, all_facts(self._txn, RUN))}
        if not any(is_called(name, text) for name in known):
            names = ", ".join(sorted(known)[:20])
            raise NotFound(
                f"nothing was measured on {text!r}", hint=f"there is: {names}" if names else "`dag run` measures"
            )

    def _reported(self) -> Iterable[str]:
        """Metrics of the last runs."""
        last = list(islice(newest(self._txn, RunId), RECENT))
        return dict.fromkeys(
            name for row in decoded(self._txn, self._store._objects, last) for name, _ in row[_METRICS]
        )


EXAMPLES = {
    "touches": "touches('train.py:MLP')",
    "descends_from": "descends_from('@best')",
    "adopts": "adopts('@best')",
    "improves": "improves()",
    "missing": "missing(val_bpb)",
    "metric": "metric('loss/val') < 1",
}
FIELDS = (
    *("id", "message", "agent", "generation", "status", "runs", "estimate", "low", "high", "adopted", "names", "age"),
    *("seconds", *RUN_FIELDS),
)


def is_called(platform: str, text: str) -> bool:
    """Whether a platform is what a text names: all of its name, or whole words of it that follow each other.

    `NVIDIA H100 80GB HBM3 x8` is called `H100`, and `nvidia h100`, but not `H10`.
    """
    return f" {text.casefold()} " in f" {_words(platform.casefold())} " or platform == text


def _words(text: str) -> str:
    return " ".join(text.replace(",", " ").replace(":", " ").split())


def _known_status(text: str) -> None:
    if text not in STATES:
        raise BadInput(f"no status {text!r}", hint="there is: " + ", ".join(STATES))


def _hex(values: Iterable[tuple[bytes, ...]]) -> list[tuple[str, ...]]:
    return [tuple(one.hex() for one in some) for some in values]


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _better(direction: Direction, one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and better(direction, one, other)
