"""Questions to the DAG: what builds on what. Answers are of one snapshot, and read when they are looked at."""

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from dagstore.base import Base, Ref
from dagstore.graph import Row, line_ancestor, merge_base
from dagstore.ids import SIZE, NodeId
from dagstore.index import graph_row, row_of, touching
from dagstore.model import EMPTY, changes
from dagstore.nodes import Nodes, Numbers
from dagstore.rows import (
    DEPTH,
    GENERATION,
    JUMP,
    PRIMARY,
    WORDS,
    adopted_from,
    children,
    count_nodes,
    ids_in,
    ids_of,
    line,
    rows_from,
    words_of,
)
from dagstore.shown import Rows
from dagstore.storage import Reader

if TYPE_CHECKING:
    import networkx
    import pandas

    from dagstore.reach import Columns
    from dagstore.views import NodeView


class Tracing(Base):
    _held: "Held | None" = None
    _loading = threading.Lock()

    def nodes(self, *, limit: int | None = None, newest_first: bool = False, after: Ref | None = None) -> Nodes:
        """Nodes in the order of recording, which is a topological order; from the one behind `after` on."""
        with self._storage.read() as txn:
            last = count_nodes(txn)
            start = 0 if after is None else self._seq(txn, after)
        numbers = range(start + 1, last + 1)
        if newest_first:
            numbers = range(start - 1 if after is not None else last, 0, -1)
        return self._nodes(numbers[:limit])

    def count(self) -> int:
        """How many nodes there are."""
        with self._storage.read() as txn:
            return count_nodes(txn)

    def children(self, ref: Ref) -> Nodes:
        """Nodes that have this one as a parent, oldest first."""
        with self._storage.read() as txn:
            return self._nodes(list(children(txn, self._seq(txn, ref))))

    def lineage(self, ref: Ref, *, limit: int | None = None) -> Nodes:
        """The node and its primary ancestors, nearest first; at most `limit` of them."""
        with self._storage.read() as txn:
            return self._nodes(list(islice(self._line(self._seq(txn, ref), txn), limit)))

    def ancestors(self, ref: Ref) -> Nodes:
        """Every node that this one builds on over any parents, oldest first; not itself."""
        from dagstore.reach import Members, ancestors

        with self._storage.read() as txn:
            seq = self._seq(txn, ref)
            return self._nodes(ancestors(self._columns(txn), [seq]) - Members.of([seq]))

    def descendants(self, ref: Ref) -> Nodes:
        """Every node that builds on this one over any parents, oldest first; not itself."""
        from dagstore.reach import Members, descendants

        with self._storage.read() as txn:
            seq = self._seq(txn, ref)
            found = descendants(self._columns(txn), seq, lambda node: children(txn, node))
            return self._nodes(found - Members.of([seq]))

    def common_ancestors(self, one: Ref, other: Ref, *, best: bool = False) -> Nodes:
        """What both nodes build on over any parents, oldest first; each counts as its own ancestor.

        With `best` only those that no other common ancestor builds on.
        """
        from dagstore.reach import best_common, common_ancestors

        with self._storage.read() as txn:
            pair = self._seq(txn, one), self._seq(txn, other)
            columns = self._columns(txn)
            return self._nodes(best_common(columns, *pair) if best else common_ancestors(columns, *pair))

    def range(self, old: Ref, new: Ref) -> Nodes:
        """What `new` builds on and `old` does not, over any parents, oldest first; `new` itself included."""
        from dagstore.reach import between

        with self._storage.read() as txn:
            return self._nodes(between(self._columns(txn), self._seq(txn, old), self._seq(txn, new)))

    def leaves(self) -> Nodes:
        """Nodes that nothing builds on, oldest first."""
        from dagstore.reach import leaves

        with self._storage.read() as txn:
            return self._nodes(leaves(self._columns(txn)))

    def touching(self, path: str) -> Nodes:
        """Nodes whose file at `path` differs from their primary parent's, oldest first."""
        with self._storage.read() as txn:
            return self._nodes([node for node in touching(txn, path) if self._touches(txn, node, path)])

    def is_ancestor(self, old: Ref, young: Ref) -> bool:
        """Whether `young` builds on `old` over any parents; a node counts as its own ancestor."""
        from dagstore.reach import is_ancestor

        with self._storage.read() as txn:
            one, other = self._seq(txn, old), self._seq(txn, young)
            row = row_of(txn)
            # Mostly it lies on the primary line, where a look-up is enough.
            return line_ancestor(other, row(one).depth, row) == one or is_ancestor(self._columns(txn), one, other)

    def merge_base(self, one: Ref, other: Ref) -> NodeId | None:
        """The last node that the primary lines of both share; None when they start from different seeds."""
        with self._storage.read() as txn:
            base = merge_base(self._seq(txn, one), self._seq(txn, other), row_of(txn))
            return self._id(txn, base) if base else None

    def graph(self) -> "networkx.DiGraph[NodeId]":
        """The DAG for notebooks: edges run from parent to child, with `primary` true or false."""
        import networkx

        graph: networkx.DiGraph[NodeId] = networkx.DiGraph()
        ids = [NodeId(bytes(32)), *self.nodes().ids()]
        with self._storage.read() as txn:
            for number in range(1, len(ids)):
                row: Row = graph_row(txn, number)
                graph.add_node(ids[number], generation=row.generation)
                for parent in row.parents:
                    graph.add_edge(ids[parent], ids[number], primary=parent == row.primary)
        return graph

    @abstractmethod
    def _view(self, txn: Reader, seq: int) -> "NodeView": ...

    def _nodes(self, numbers: Numbers) -> Nodes:
        return Nodes(numbers, self._read_views, self._read_frame, self._read_ids)

    def _read_views(self, numbers: Iterable[int]) -> "Rows[NodeView]":
        with self._storage.read() as txn:
            return Rows(self._view(txn, number) for number in numbers)

    def _read_frame(self, numbers: Numbers) -> "pandas.DataFrame":
        from dagstore.frames import node_frame
        from dagstore.nodetable import NodeTable

        chosen = list(numbers)
        with self._storage.read() as txn:
            return node_frame(NodeTable(self, txn, self._channel(txn)).fields(chosen))

    def _read_ids(self, numbers: list[int]) -> list[NodeId]:
        if self._held and max(numbers) <= len(self._held.columns):
            return self._held.names(numbers)
        with self._storage.read() as txn:
            return list(ids_of(txn, numbers))

    def _line(self, node: int, txn: Reader) -> Iterator[int]:
        """`node` and its primary ancestors, from the columns if they are loaded."""
        held = self._held
        if held is None or node > len(held.columns):
            return line(txn, node)
        from dagstore.reach import lineage

        return lineage(held.columns, node)

    def _touches(self, txn: Reader, node: int, path: str) -> bool:
        primary = graph_row(txn, node).primary
        before = self._tree(txn, primary) if primary else EMPTY
        return any(change.path == path for change in changes(before, self._tree(txn, node)))

    def _columns(self, txn: Reader) -> "Columns":
        """The whole graph in memory, of this snapshot or later: 48 bytes a node, and brought up to date when asked."""
        from dagstore.reach import Columns

        with self._loading:
            if self._held is None:
                self._held = Held(Columns(), bytearray(SIZE))
            _extend(self._held, txn)
            return self._held.columns


class Held(NamedTuple):
    """The graph in memory: what questions to all of it need, and the ids of the nodes; index 0 is no node."""

    columns: "Columns"
    ids: bytearray

    def names(self, numbers: Iterable[int]) -> list[NodeId]:
        ids = self.ids
        return [NodeId(ids[number * SIZE : number * SIZE + SIZE]) for number in numbers]


def _extend(held: Held, txn: Reader) -> None:
    """Load the nodes that are not in memory yet."""
    columns = held.columns
    known = len(columns)
    if known >= count_nodes(txn):
        return
    for _, rows in rows_from(txn, known + 1):
        words = words_of(rows)
        held.ids.extend(ids_in(rows))  # first, so that whoever finds a node in a column finds its name
        columns.jump += words[JUMP::WORDS]
        columns.depth += words[DEPTH::WORDS]
        columns.generation += words[GENERATION::WORDS]
        columns.primary += words[PRIMARY::WORDS]
    node = 0
    parents: list[int] = []
    for child, parent in adopted_from(txn, known + 1):
        if child != node:
            node, parents = child, []
        parents.append(parent)
        columns.adopted[node] = tuple(parents)
