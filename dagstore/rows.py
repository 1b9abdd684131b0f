"""Rows of nodes: where the graph keeps what it knows of each, in chunks of fixed-size rows.

Nodes are numbered 1, 2, … in the order of their records. A row is eight 32-bit words and an id: the node's record, its
tree's record, the first node with that tree, primary, jump, depth, generation, how many parents it adopted (these stand
in the set `also`), and the node's own id.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator

from dagstore.errors import Damaged, Refused
from dagstore.graph import Row
from dagstore.ids import SIZE, NodeId
from dagstore.storage import Reader, Writer

CHUNK = 63
"""Rows a chunk: it then fills a page of LMDB (4096 bytes less its header)."""
_ROW = struct.Struct("<8I")
_ID_AT = _ROW.size
_BYTES = _ROW.size + SIZE
WORDS = _BYTES // 4
"""How many words a row takes."""
RECORD, TREE, FIRST, PRIMARY, JUMP, DEPTH, GENERATION, ADOPTED = range(8)
"""Which of them is what."""
_PRIMARY = struct.Struct("<12xI")
_LIMIT = 1 << 32
NODES = b"nodes"


def count_nodes(txn: Reader) -> int:
    return int.from_bytes(txn.get("place", NODES) or b"", "big")


def read_row(txn: Reader, number: int) -> Row:
    """`Damaged` if there is no such node."""
    memo = txn.memo
    known: Row | None = memo.rows.get(number) or memo.older.rows.get(number)
    if known is None:
        known = memo.rows[number] = _read_row(txn, number)
    return known


def record_of(txn: Reader, number: int) -> int:
    """The record of a node."""
    return read_row(txn, number).record


def id_of_node(txn: Reader, number: int) -> NodeId:
    """The id of a node; `Damaged` if there is no such node."""
    chunk, at = _chunk_of(txn, number)
    return NodeId(chunk[at + _ID_AT : at + _BYTES])


def ids_of(txn: Reader, numbers: Iterable[int]) -> Iterator[NodeId]:
    """The id of each node; quickest for nodes that lie near each other."""
    last, chunk = -1, b""
    for number in numbers:
        which, slot = divmod(number - 1, CHUNK)
        if which != last:
            last, chunk = which, txn.get("graph", _key(which)) or b""
        id = chunk[slot * _BYTES + _ID_AT : (slot + 1) * _BYTES]
        if not id:
            raise _no_place(number)
        yield NodeId(id)


def words_at(txn: Reader, numbers: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """The words of each node; quickest for nodes that lie near each other."""
    last, chunk = -1, b""
    for number in numbers:
        which, slot = divmod(number - 1, CHUNK)
        if which != last:
            last, chunk = which, txn.get("graph", _key(which)) or b""
        if number < 1 or (slot + 1) * _BYTES > len(chunk):
            raise _no_place(number)
        yield _ROW.unpack_from(chunk, slot * _BYTES)


def line(txn: Reader, number: int) -> Iterator[int]:
    """A node and its primary ancestors, nearest first."""
    low, high, chunk = 0, 0, b""
    while number:
        yield number
        if not low <= number < high:
            chunk, at = _chunk_of(txn, number)
            low = number - at // _BYTES
            high = low + len(chunk) // _BYTES
        child = number
        (number,) = _PRIMARY.unpack_from(chunk, (child - low) * _BYTES)
        if number >= child:
            raise Damaged(f"node number {child} has a younger parent", hint="run `dag fsck --reindex`")


def children(txn: Reader, node: int) -> Iterator[int]:
    """Nodes that have this one among their parents, oldest first."""
    for key, _ in txn.scan("kids", pair(node, 0), pair(node + 1, 0)):
        yield int.from_bytes(key[4:], "big")


def append_row(txn: Writer, number: int, row: Row, id: NodeId) -> None:
    """Add the row of the next node, which gets that number."""
    if row.record >= _LIMIT:
        raise Refused("the store is full: its index counts to 4,294,967,295 objects", hint="begin another store")
    key = _key((number - 1) // CHUNK)
    links = row.primary, row.jump, row.depth, row.generation
    packed = _ROW.pack(row.record, row.tree, row.first, *links, len(row.adopted)) + id
    txn.put("graph", key, (txn.get("graph", key) or b"") + packed)
    for parent in row.adopted:
        txn.put("also", pair(number, parent), b"")
    txn.put("place", NODES, number.to_bytes(8, "big"))


def rows_from(txn: Reader, number: int) -> Iterator[tuple[int, bytes]]:
    """All rows from that of node `number` on: the number of a node, with its row and those of some that follow."""
    for key, chunk in txn.scan("graph", _key((number - 1) // CHUNK)):
        first = int.from_bytes(key, "big") * CHUNK + 1
        skipped = max(0, number - first)
        yield first + skipped, chunk[skipped * _BYTES :]


def words_of(rows: bytes) -> "array[int]":
    """The words of rows; those of one column lie `WORDS` apart."""
    words = array("I")
    words.frombytes(rows)
    return words


def ids_in(rows: bytes) -> bytes:
    """The ids in rows, one after the other."""
    return b"".join([rows[at : at + SIZE] for at in range(_ID_AT, len(rows), _BYTES)])


def pair(one: int, other: int) -> bytes:
    """Two nodes as an ordered key."""
    return one.to_bytes(4, "big") + other.to_bytes(4, "big")


def _read_row(txn: Reader, number: int) -> Row:
    record, tree, first, primary, jump, depth, generation, adopted = _ROW.unpack_from(*_chunk_of(txn, number))
    return Row(generation, depth, primary, jump, record, tree, first, adopted_of(txn, number) if adopted else ())


def _chunk_of(txn: Reader, number: int) -> tuple[bytes, int]:
    """The chunk with the row of a node, and where in it that begins."""
    which, slot = divmod(number - 1, CHUNK)
    at, memo = slot * _BYTES, txn.memo
    chunk = memo.chunks.get(which) or memo.older.chunks.get(which)
    if chunk is None or at + _BYTES > len(chunk):  # rows may have been added to it
        chunk = txn.get("graph", _key(which)) if number > 0 else None
        if chunk is None or at + _BYTES > len(chunk):
            raise _no_place(number)
        memo.add_chunk(which, chunk)
    return chunk, at


def unreadable(txn: Reader, number: int, error: Damaged) -> Damaged:
    """Damage of what belongs to a node as damage of the node."""
    return Damaged(f"node {id_of_node(txn, number)} cannot be read: {error.message}", hint=error.hint)


def _no_place(number: int) -> Damaged:
    return Damaged(f"node number {number} has no place in the graph", hint="run `dag fsck --reindex`")


def adopted_from(txn: Reader, number: int) -> Iterator[tuple[int, int]]:
    """(node, adopted parent) of every node from that one on, in order."""
    for key, _ in txn.scan("also", pair(number, 0)):
        yield int.from_bytes(key[:4], "big"), int.from_bytes(key[4:], "big")


def adopted_of(txn: Reader, number: int) -> tuple[int, ...]:
    rows = txn.scan("also", number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big"))
    return tuple(int.from_bytes(key[4:], "big") for key, _ in rows)


def _key(chunk: int) -> bytes:
    return chunk.to_bytes(4, "big")
