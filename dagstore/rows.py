"""Rows of nodes: where the graph keeps what it knows of each, in chunks of fixed-size rows.

Nodes are numbered 1, 2, … in the order of their records. A row is eight 32-bit words: the node's record, its tree's
record, the first node with that tree, primary, jump, depth, generation, and how many parents it adopted; these stand in
the set `also`.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator

from dagstore.errors import Damaged, Refused
from dagstore.graph import Row
from dagstore.storage import Reader, Writer

CHUNK = 126
"""Rows a chunk: it then fills a page of LMDB (4096 bytes less its header)."""
WORDS = 8
PRIMARY = 3
"""Words of a row, and which of them is the primary."""
_ROW = struct.Struct("<8I")
_LIMIT = 1 << 32
NODES = b"nodes"


def count_nodes(txn: Reader) -> int:
    return int.from_bytes(txn.get("place", NODES) or b"", "big")


def read_row(txn: Reader, number: int) -> Row:
    """`Damaged` if there is no such node."""
    known: Row | None = txn.memo.row(number)
    if known is None:
        known = txn.memo.rows[number] = _read_row(txn, number)
    return known


def record_of(txn: Reader, number: int) -> int:
    """The record of a node."""
    return read_row(txn, number).record


def append_row(txn: Writer, row: Row) -> int:
    """Add the row of the next node; its number."""
    if row.record >= _LIMIT:
        raise Refused("the store is full: its index counts to 4,294,967,295 objects", hint="begin another store")
    number = count_nodes(txn) + 1
    key = _key((number - 1) // CHUNK)
    line = row.primary, row.jump, row.depth, row.generation
    packed = _ROW.pack(row.record, row.tree, row.first, *line, len(row.adopted))
    txn.put("graph", key, (txn.get("graph", key) or b"") + packed)
    for parent in row.adopted:
        txn.put("also", pair(number, parent), b"")
    txn.put("place", NODES, number.to_bytes(8, "big"))
    return number


def records_of(txn: Reader, numbers: Iterable[int]) -> Iterator[int]:
    """The record of each node; quickest for nodes that lie near each other."""
    at, records = -1, array("I")
    for number in numbers:
        chunk, slot = divmod(number - 1, CHUNK)
        if chunk != at:
            words = array("I")
            words.frombytes(txn.get("graph", _key(chunk)) or b"")
            at, records = chunk, words[::WORDS]
        yield records[slot]


def chunks(txn: Reader, number: int) -> "Iterator[tuple[int, array[int]]]":
    """The words of all rows from the chunk of node `number` on, with the number of the first node of each chunk."""
    for key, value in txn.scan("graph", _key((number - 1) // CHUNK)):
        words = array("I")
        words.frombytes(value)
        yield int.from_bytes(key, "big") * CHUNK + 1, words


def pair(one: int, other: int) -> bytes:
    """Two nodes as an ordered key."""
    return one.to_bytes(4, "big") + other.to_bytes(4, "big")


def _read_row(txn: Reader, number: int) -> Row:
    chunk = txn.get("graph", _key((number - 1) // CHUNK)) or b""
    at = (number - 1) % CHUNK * _ROW.size
    if number < 1 or at + _ROW.size > len(chunk):
        raise Damaged(f"node number {number} has no place in the graph", hint="run `dag fsck --reindex`")
    record, tree, first, primary, jump, depth, generation, adopted = _ROW.unpack_from(chunk, at)
    return Row(generation, depth, primary, jump, record, tree, first, _adopted(txn, number) if adopted else ())


def adopted_from(txn: Reader, number: int) -> Iterator[tuple[int, int]]:
    """(node, adopted parent) of every node from that one on, in order."""
    for key, _ in txn.scan("also", pair(number, 0)):
        yield int.from_bytes(key[:4], "big"), int.from_bytes(key[4:], "big")


def _adopted(txn: Reader, number: int) -> tuple[int, ...]:
    rows = txn.scan("also", number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big"))
    return tuple(int.from_bytes(key[4:], "big") for key, _ in rows)


def _key(chunk: int) -> bytes:
    return chunk.to_bytes(4, "big")
