"""What is known of many nodes, by the column: the fields of `NodeView`, each read only when it is asked for."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from dagstore.base import Base
from dagstore.channels import Channel
from dagstore.finding import BEGIN, short
from dagstore.ids import NodeId, TreeId
from dagstore.index import NOTE, RUN, facts, has_lost
from dagstore.lineage import Lineage, moments_of
from dagstore.model import CONTRADICTED, Status
from dagstore.names import all_names
from dagstore.ranking import judged
from dagstore.records import NUMBER, read_record
from dagstore.rows import ADOPTED, FIRST, GENERATION, PRIMARY, TREE, adopted_of, count_nodes, ids_of, pair, words_at
from dagstore.storage import Reader, after
from dagstore.tabular import decoded

SCATTERED = 16
"""Facts are looked up node by node where fewer than one node in so many is asked for."""

Estimate = tuple[float | None, float | None, float | None]


class NodeTable:
    """Columns of nodes within one read transaction; each is a list in the order of the `numbers` it is asked for."""

    def __init__(self, store: Base, txn: Reader, channel: Channel | None) -> None:
        self._store = store
        self._txn = txn
        self._channel = channel

    def column(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """A field of `NodeView` by its name; ids as they are."""
        return COLUMNS[name](self, numbers)

    def fields(self, numbers: Sequence[int]) -> dict[str, list[Any]]:
        """All fields of `NodeView`, in their order; what several come from is read once."""
        shared: dict[str, list[Any]] = dict(
            zip(("agent", "time", "message"), _turned(self._said(numbers), 3), strict=True)
        )
        shared |= zip(("estimate", "low", "high"), _turned(self.estimates(numbers), 3), strict=True)
        return {name: shared[name] if name in shared else self.column(name, numbers) for name in COLUMNS}

    def id(self, numbers: Sequence[int]) -> list[NodeId]:
        return list(ids_of(self._txn, numbers))

    def short(self, numbers: Sequence[int]) -> list[str]:
        alike, txn = self._alike, self._txn
        return [short(txn, id) if id[:BEGIN] in alike else id[:BEGIN].hex() for id in ids_of(txn, numbers)]

    def primary(self, numbers: Sequence[int]) -> list[NodeId | None]:
        parents = self.words(PRIMARY, numbers)
        names = ids_of(self._txn, [parent for parent in parents if parent])
        return [next(names) if parent else None for parent in parents]

    def adopted(self, numbers: Sequence[int]) -> list[tuple[NodeId, ...]]:
        counts = self.words(ADOPTED, numbers)
        return [
            self._store._ids(self._txn, adopted_of(self._txn, number)) if count else ()
            for number, count in zip(numbers, counts, strict=True)
        ]

    def adoptions(self, numbers: Sequence[int]) -> list[int]:
        """How many parents each adopted."""
        return self.words(ADOPTED, numbers)

    def generation(self, numbers: Sequence[int]) -> list[int]:
        return self.words(GENERATION, numbers)

    def tree(self, numbers: Sequence[int]) -> list[TreeId]:
        trees = self.words(TREE, numbers)
        pairs = zip(map(self._txn.record, trees), trees, strict=True)
        return [TreeId(read_record(data, number).id or b"") for data, number in pairs]

    def message(self, numbers: Sequence[int]) -> list[str]:
        return [text for _, _, text in self._said(numbers)]

    def agent(self, numbers: Sequence[int]) -> list[str]:
        return [author for author, _, _ in self._said(numbers)]

    def time(self, numbers: Sequence[int]) -> list[int]:
        return [time for _, time, _ in self._said(numbers)]

    def runs(self, numbers: Sequence[int]) -> list[int]:
        return [len(records) for records in self.run_records(numbers)]

    def status(self, numbers: Sequence[int]) -> list[str]:
        last = [records[-1] if records else 0 for records in self.run_records(numbers)]
        known = [Status(row[4]).value for row in self._decoded([record for record in last if record])]
        ended = iter(known)
        pairs = zip(numbers, last, self.words(ADOPTED, numbers), strict=True)
        return [next(ended) if record else self._unmeasured(number, adopted) for number, record, adopted in pairs]

    def estimates(self, numbers: Sequence[int]) -> list[Estimate]:
        """Estimate, low and high."""
        default = Lineage(self._txn, self._channel) if self._channel else None
        return [self._estimate(*pair, default) for pair in zip(numbers, self.words(FIRST, numbers), strict=True)]

    def _estimate(self, number: int, first: int, default: Lineage | None) -> Estimate:
        it = judged(default, first) if default else None
        if (it is None or not it.moments.n) and has_lost(self._txn, self._store._objects, number):
            own = self._store._column_of(self._txn, number)
            it = judged(Lineage(self._txn, own), first) if own else None
        return (it.estimate, it.low, it.high) if it is not None and it.moments.n else (None, None, None)

    def means(self, numbers: Sequence[int]) -> list[float | None]:
        """The mean of the protocol's metric over the runs that the ranking counts."""
        if self._channel is None:
            return [None] * len(numbers)
        found = (moments_of(self._txn, self._channel, first) for first in self.words(FIRST, numbers))
        return [moments.mean if moments.n else None for moments in found]

    def names(self, numbers: Sequence[int]) -> list[tuple[str, ...]]:
        named = self._named
        return [named.get(id, ()) for id in ids_of(self._txn, numbers)] if named else [()] * len(numbers)

    def run_records(self, numbers: Sequence[int]) -> list[Sequence[int]]:
        """The records of the runs of each node's tree, oldest first."""
        return self._facts(RUN, self.words(FIRST, numbers))

    def _said(self, numbers: Sequence[int]) -> list[tuple[str, int, str]]:
        """Author, time and text of the first note."""
        first = [records[0] if records else 0 for records in self._facts(NOTE, numbers)]
        notes = self._decoded([record for record in first if record])
        rows = (next(notes) if record else None for record in first)
        return [(row[2], row[3], row[5]) if row else ("", 0, "") for row in rows]

    def _unmeasured(self, number: int, adopted: int) -> str:
        return CONTRADICTED if adopted and self._store._open(self._txn, number) else "new"

    def _decoded(self, records: Sequence[int]) -> Any:
        return decoded(self._txn, self._store._objects, records)

    def words(self, which: int, numbers: Iterable[int]) -> list[int]:
        """A word of each row, see `rows`."""
        return [words[which] for words in words_at(self._txn, numbers)]

    def _facts(self, kind: bytes, nodes: Sequence[int]) -> list[Sequence[int]]:
        """Records of one kind of facts about each node, oldest first."""
        if len(nodes) * SCATTERED < count_nodes(self._txn):
            return [list(facts(self._txn, node, kind)) for node in nodes]
        found: dict[int, list[int]] = {}
        for key, _ in self._txn.scan("facts", kind + pair(min(nodes), 0), kind + pair(max(nodes) + 1, 0)):
            found.setdefault(int.from_bytes(key[1:5], "big"), []).append(int.from_bytes(key[5:], "big"))
        return [found.get(node, ()) for node in nodes]

    @cached_property
    def _named(self) -> dict[NodeId, tuple[str, ...]]:
        found: dict[NodeId, tuple[str, ...]] = {}
        for name, id in all_names(self._txn):
            found[id] = (*found.get(id, ()), name)
        return found

    @cached_property
    def _alike(self) -> set[bytes]:
        """First bytes that several nodes' ids share."""
        low, last, found = bytes([NUMBER[NodeId]]), b"", set()
        for key, _ in self._txn.scan("id", low, after(low)):
            if key.startswith(last) and last:
                found.add(last[1:])
            last = key[: 1 + BEGIN]
        return found


def _turned(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[at] for row in rows] for at in range(width)]


def _part(at: int) -> Callable[[NodeTable, Sequence[int]], list[Any]]:
    return lambda table, numbers: [one[at] for one in table.estimates(numbers)]


COLUMNS: dict[str, Callable[[NodeTable, Sequence[int]], list[Any]]] = {
    "id": NodeTable.id,
    "short": NodeTable.short,
    "primary": NodeTable.primary,
    "adopted": NodeTable.adopted,
    "generation": NodeTable.generation,
    "tree": NodeTable.tree,
    "message": NodeTable.message,
    "agent": NodeTable.agent,
    "time": NodeTable.time,
    "runs": NodeTable.runs,
    "status": NodeTable.status,
    "estimate": _part(0),
    "low": _part(1),
    "high": _part(2),
    "names": NodeTable.names,
}
"""The fields of `NodeView`, in their order."""
