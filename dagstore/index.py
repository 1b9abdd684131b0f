"""What is derived from each object, in the transaction that stores it: a pure function of the objects in their order.

Deleting the tables `graph`, `kids`, `facts` and `rank` and calling `add` for every object again gives the same bytes.
"""

from collections.abc import Iterator

from dagstore.codec import pack, unpack
from dagstore.errors import Damaged
from dagstore.graph import Row, RowOf, make_row
from dagstore.ids import Id, NodeId
from dagstore.model import Adoption, Node, Note, Protocol, Run, Tree
from dagstore.objects import Objects, find, key
from dagstore.ranking import add_run
from dagstore.storage import Reader, Writer, after

VERSION = 1
DERIVED = ("graph", "kids", "facts", "rank")

TREE_NODE, TREE_RUN, NODE_NOTE, NODE_ADOPTION = b"t", b"r", b"n", b"a"
"""Kinds of facts: nodes and runs of a tree, notes and adoptions of a node."""


def add(txn: Writer, objects: Objects, seq: int, value: object) -> None:
    """Index one object that was just stored; its parents, tree or node are there already."""
    if isinstance(value, Node):
        _add_node(txn, objects, seq, value)
    elif isinstance(value, Run):
        _add_run(txn, objects, seq, value)
    elif isinstance(value, Note):
        _add_fact(txn, _known(txn, value.node), NODE_NOTE, seq)
    elif isinstance(value, Adoption):
        _add_fact(txn, _known(txn, value.node), NODE_ADOPTION, seq)


def row_of(txn: Reader) -> RowOf:
    """A cached look-up of graph rows for the length of one transaction."""
    cache: dict[int, Row] = {}

    def look_up(seq: int) -> Row:
        row = cache.get(seq)
        if row is None:
            row = cache[seq] = graph_row(txn, seq)
        return row

    return look_up


def children(txn: Reader, seq: int) -> Iterator[int]:
    """Nodes that have this one among their parents, oldest first."""
    for raw, _ in txn.scan("kids", key(seq), key(seq + 1)):
        yield int.from_bytes(raw[8:], "big")


def facts(txn: Reader, subject: int, kind: bytes, *, newest_first: bool = False) -> Iterator[int]:
    """Sequence numbers of one kind of facts about a subject, oldest first."""
    prefix = key(subject) + kind
    for raw, _ in txn.scan("facts", prefix, after(prefix), reverse=newest_first):
        yield int.from_bytes(raw[9:], "big")


def _add_node(txn: Writer, objects: Objects, seq: int, node: Node) -> None:
    parents = {_known(txn, parent): parent for parent in node.parents}
    tree = _known(txn, node.tree)
    row = row_of(txn)
    primary = _primary(txn, objects, node, parents, row) if len(parents) > 1 else next(iter(parents), 0)
    new = make_row(primary, (parent for parent in parents if parent != primary), tree, row)
    txn.append("graph", key(seq), _pack_row(new))
    for parent in parents:
        txn.put("kids", key(parent) + key(seq), b"")
    _add_fact(txn, tree, TREE_NODE, seq)


def _primary(txn: Reader, objects: Objects, node: Node, parents: dict[int, NodeId], row: RowOf) -> int:
    from dagstore.primary import choose_primary

    trees: dict[NodeId, Tree] = {id: objects.load(txn, row(seq).tree) for seq, id in parents.items()}
    tree: Tree = objects.load(txn, _known(txn, node.tree))
    chosen = choose_primary(tree, trees, lambda blob: objects.read(txn, blob))
    return next(seq for seq, id in parents.items() if id == chosen)


def _add_run(txn: Writer, objects: Objects, seq: int, run: Run) -> None:
    node = _known(txn, run.node)
    tree = graph_row(txn, node).tree
    protocol: Protocol = objects.load(txn, _known(txn, run.protocol))
    _add_fact(txn, tree, TREE_RUN, seq)
    add_run(txn, run, tree, protocol)


def _add_fact(txn: Writer, subject: int, kind: bytes, seq: int) -> None:
    txn.put("facts", key(subject) + kind + key(seq), b"")


def _known(txn: Reader, id: Id) -> int:
    seq = find(txn, id)
    if not seq:
        raise Damaged(f"{id.kind} {id} is referred to but not in the store", hint="store it first")
    return seq


def graph_row(txn: Reader, seq: int) -> Row:
    raw = txn.get("graph", key(seq))
    if raw is None:
        raise Damaged(f"node number {seq} has no place in the graph", hint="run `dag fsck --reindex`")
    generation, depth, primary, jump, tree, adopted = unpack(raw)
    return Row(generation, depth, primary, jump, tree, tuple(adopted))


def primaries(txn: Reader, start: int) -> Iterator[tuple[int, int]]:
    """Every node from sequence number `start` on with its primary parent (0: none), parents before children."""
    for raw, row in txn.scan("graph", key(start)):
        yield int.from_bytes(raw, "big"), unpack(row)[2]


def _pack_row(row: Row) -> bytes:
    return pack([row.generation, row.depth, row.primary, row.jump, row.tree, list(row.adopted)])
