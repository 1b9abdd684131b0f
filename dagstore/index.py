"""What is derived from each object, in the transaction that stores it: a pure function of the log.

Clearing the tables of `DERIVED` and calling `add` for every record again gives the same bytes.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial

from dagstore.chains import id_of
from dagstore.channels import Channel
from dagstore.errors import Damaged
from dagstore.finding import enter, find
from dagstore.graph import RowOf, make_row
from dagstore.ids import BlobId, ContradictionId, Id, NodeId
from dagstore.model import EMPTY, NAMES, Adoption, Node, Note, Protocol, Resolution, Run, Tree, changes
from dagstore.objects import Objects
from dagstore.paths import LOST_PATH
from dagstore.quarantine import records_left_out
from dagstore.ranking import add_run
from dagstore.records import NODE, read_record
from dagstore.rows import append_row, count_nodes, pair, read_row
from dagstore.storage import INDEXED, SETS, Reader, Writer, after

VERSION = 6
VERSION_KEY = b"version"
DERIVED = (*SETS, "graph", "rank", "alias", "census")

RUN, NOTE, ADOPTION, SAME, LATER, RESOLUTION, ALIAS = b"r", b"n", b"a", b"s", b"t", b"x", b"c"
"""Kinds of facts about a node: runs of its tree, notes, adoptions, further nodes with its tree, notes that name it.

Those about a tree are kept with the first node that has it. LATER leads from the record of a tree to that node, where
it is not the one that was recorded next. RESOLUTION leads from the first bytes of a contradiction's name, in place of a
node, to the resolutions of such contradictions.
"""
PATH_BYTES = 4

graph_row = read_row

Progress = Callable[[int, int], None]
Admit = Callable[[Writer, int], bool]
"""Whether a record is to be indexed."""


def add(txn: Writer, objects: Objects, number: int, value: object) -> int:
    """Index the object of a record, whose parents, tree or node are indexed already; its number for `find`."""
    if isinstance(value, Note):
        _add_note(txn, number, value)
    elif isinstance(value, Node):
        number = _add_node(txn, objects, number, value)
    elif isinstance(value, Run):
        _add_run(txn, objects, number, value)
    elif isinstance(value, Adoption):
        _add_fact(txn, ADOPTION, _known(txn, value.node), number)
    elif isinstance(value, Resolution):
        _known(txn, value.node)
        _add_fact(txn, RESOLUTION, _begin(value.contradiction), number)
    return number


def indexed(txn: Reader) -> int:
    """Up to which record the derived tables are filled."""
    return int.from_bytes(txn.get("place", INDEXED) or b"", "big")


def set_indexed(txn: Writer, number: int) -> None:
    txn.put("place", INDEXED, number.to_bytes(8, "big"))


def catch_up(
    txn: Writer, objects: Objects, limit: int, progress: Progress | None = None, admit: Admit | None = None
) -> bool:
    """Index at most `limit` records that are not yet; whether more are left.

    Passes over what is in quarantine, and over what `admit` turns down. `Damaged` if any other cannot be read.
    """
    done, total = indexed(txn), txn.records()
    last = min(total, done + limit)
    outside = records_left_out(txn, done + 1, last) if last > done else frozenset()
    for number in range(done + 1, last + 1):
        if number not in outside and (admit is None or admit(txn, number)):
            _index_record(txn, objects, number)
        if progress and number % 512 == 0:
            progress(number, total)
    if last > done:
        set_indexed(txn, last)
    return last < total


def clear(txn: Writer) -> None:
    """Forget everything that is derived."""
    for table in DERIVED:
        txn.clear(table)
    txn.memo.clear()
    for key in [key for key, _ in txn.scan("place") if key != b"log"]:
        txn.delete("place", key)
    txn.put("place", VERSION_KEY, str(VERSION).encode())


def row_of(txn: Reader) -> RowOf:
    """A look-up of graph rows."""
    return partial(read_row, txn)


def facts(txn: Reader, node: int, kind: bytes, *, newest_first: bool = False) -> Iterator[int]:
    """Records of one kind of facts about a node, oldest first; for SAME, nodes."""
    prefix = kind + node.to_bytes(4, "big")
    for key, _ in txn.scan("facts", prefix, after(prefix), reverse=newest_first):
        yield int.from_bytes(key[5:], "big")


def all_facts(txn: Reader, kind: bytes) -> list[int]:
    """Records of every fact of a kind, oldest first."""
    return sorted([int.from_bytes(key[5:], "big") for key, _ in txn.scan("facts", kind, after(kind))])


def with_tree(txn: Reader, first: int) -> Iterator[int]:
    """Every node that has the tree of `first`, the first to have it; oldest first."""
    yield first
    yield from facts(txn, first, SAME)


def resolutions(txn: Reader, contradiction: ContradictionId) -> Iterator[int]:
    """Records of resolutions, oldest first; those of the contradiction are among them."""
    return facts(txn, _begin(contradiction), RESOLUTION)


def _begin(contradiction: ContradictionId) -> int:
    return int.from_bytes(contradiction[:4], "big")


def first_with(txn: Reader, tree: int) -> int:
    """The first node that has the tree of that record, or 0."""
    # Nodes are in the order of their records, so nearly always it is the first that came after the tree.
    last = count_nodes(txn)
    if not last or read_row(txn, last).record < tree:
        return 0
    following = 1 + bisect_left(range(1, last + 1), tree, key=lambda number: read_row(txn, number).record)
    if following <= last and read_row(txn, following).tree == tree:
        return following
    return next(facts(txn, tree, LATER), 0)


def touching(txn: Reader, path: str) -> Iterator[int]:
    """Nodes that may differ from their primary parent at `path`, oldest first; those that do are among them."""
    begin = path_key(path)
    for key, _ in txn.scan("paths", begin, after(begin)):
        yield int.from_bytes(key[PATH_BYTES:], "big")


def touched_paths(txn: Reader) -> Iterator[tuple[bytes, int]]:
    """All that `touching` would name, as the key of a path and a node; by path, then oldest first."""
    for key, _ in txn.scan("paths"):
        yield key[:PATH_BYTES], int.from_bytes(key[PATH_BYTES:], "big")


def may_touch(txn: Reader, node: int, path: str) -> bool:
    """Whether `touching` would name the node: if not, its file at `path` is that of its primary parent."""
    return txn.get("paths", path_key(path) + node.to_bytes(4, "big")) is not None


def has_lost(txn: Reader, objects: Objects, node: int) -> bool:
    """Whether the code of a node is lost; as a rule that takes no look at its tree."""
    row = read_row(txn, node)
    # The primary parent of the first node with a tree has another tree.
    return may_touch(txn, row.first, LOST_PATH) and objects.load(txn, row.tree).is_lost


def _index_record(txn: Writer, objects: Objects, number: int) -> None:
    """Index what is stored already: the id first, since `add` looks for what it names."""
    record = read_record(txn.record(number), number)
    if record.codec == NODE:
        value = objects.load(txn, number)
        enter(txn, id_of(txn, number), add(txn, objects, number, value))
        return
    enter(txn, id_of(txn, number), number)
    if record.kind is not BlobId:
        add(txn, objects, number, objects.load(txn, number))


def _add_node(txn: Writer, objects: Objects, record: int, node: Node) -> int:
    parents = {_known(txn, parent): parent for parent in node.parents}
    tree = _known(txn, node.tree)
    row = row_of(txn)
    primary = _primary(txn, objects, tree, parents, row) if len(parents) > 1 else next(iter(parents), 0)
    number = count_nodes(txn) + 1
    # As a rule the tree was recorded just before.
    follows = number == 1 or row(number - 1).record < tree
    first = number if follows else first_with(txn, tree) or number
    id: NodeId = id_of(txn, record)  # type: ignore[assignment]
    made = make_row(primary, [one for one in parents if one != primary], record, tree, first, row)
    append_row(txn, number, made, id)
    for parent in parents:
        txn.put("kids", pair(parent, number), b"")
    if first != number:
        _add_fact(txn, SAME, first, number)
    elif not follows:
        _add_fact(txn, LATER, tree, number)
    before: Tree = objects.load(txn, row(primary).tree) if primary else EMPTY
    for change in changes(before, objects.load(txn, tree)):
        txn.put("paths", path_key(change.path) + number.to_bytes(4, "big"), b"")
    return number


@lru_cache(maxsize=1 << 10)
def path_key(path: str) -> bytes:
    """What the index knows a path by."""
    return BlobId.of(path.encode())[:PATH_BYTES]


def _primary(txn: Reader, objects: Objects, tree: int, parents: dict[int, NodeId], row: RowOf) -> int:
    from dagstore.primary import choose_primary

    trees: dict[NodeId, Tree] = {id: objects.load(txn, row(node).tree) for node, id in parents.items()}
    chosen = choose_primary(objects.load(txn, tree), trees, lambda blob: objects.read(txn, blob))
    return next(node for node, id in parents.items() if id == chosen)


def _add_note(txn: Writer, record: int, note: Note) -> None:
    node = _known(txn, note.node)
    _add_fact(txn, ALIAS if note.kind == NAMES else NOTE, node, record)
    if note.kind == NAMES:
        from dagstore.aliases import add_alias

        add_alias(txn, note, node)


def _add_run(txn: Writer, objects: Objects, record: int, run: Run) -> None:
    from dagstore.census import count_run

    node, at = _known(txn, run.node), _known(txn, run.protocol)
    first = read_row(txn, node).first
    protocol: Protocol = objects.load(txn, at)

    def counted(channel: Channel) -> Mapping[str, float]:
        return _counted(txn, objects, first, channel)

    ranked = add_run(txn, run, first, protocol, counted, leads=not has_lost(txn, objects, node))
    count_run(txn, record, run, at, ranked)
    _add_fact(txn, RUN, first, record)


def _counted(txn: Reader, objects: Objects, first: int, channel: Channel) -> Mapping[str, float]:
    """The metrics of the one run of a tree that counts in the channel."""
    for record in facts(txn, first, RUN):
        run: Run = objects.load(txn, record)
        if channel.counts(run):
            return run.metrics
    return {}


def _add_fact(txn: Writer, kind: bytes, node: int, number: int) -> None:
    txn.put("facts", kind + pair(node, number), b"")


def _known(txn: Reader, id: Id) -> int:
    number = find(txn, id)
    if not number:
        raise Damaged(f"{id.kind} {id} is referred to but not in the store", hint="store it first")
    return number
