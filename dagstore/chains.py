"""From records to plain bytes: chains of deltas and splices, taken from the full version upwards, without recursion."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from dagstore.deltas import decompress, unsplice
from dagstore.errors import Damaged
from dagstore.ids import SIZE, Id
from dagstore.records import (
    DELTA,
    FILE,
    NODE,
    RAW,
    REFS,
    REFS_ZSTD,
    SPLICE,
    ZSTD,
    Packed,
    Record,
    read_packed,
    read_record,
    read_refs,
    varints,
)
from dagstore.storage import Reader

MAX_DEPTH = 32
"""Deltas that reading an object costs at most."""


class Chain(NamedTuple):
    """What a record stands on: `root` at its end (0: not known), deltas of `size` bytes in all, and how many."""

    root: int
    size: int
    depth: int


LoadFile = Callable[[Record, int], bytes]
"""The plain bytes, of that size, of a blob that is a file of its own."""


class Held:
    """Plain bytes by record, `limit` bytes of them in all or a single larger one: what came first goes first."""

    def __init__(self, limit: int = 8 << 20) -> None:
        self._limit = limit
        self._bytes = 0
        self._data: dict[int, bytes] = {}

    def get(self, number: int) -> bytes | None:
        return self._data.get(number)

    def put(self, number: int, data: bytes) -> None:
        if number not in self._data:
            self._data[number] = data
            self._bytes += len(data)
        while self._bytes > self._limit and len(self._data) > 1:
            self._bytes -= len(self._data.pop(next(iter(self._data))))


def plain(txn: Reader, number: int, load_file: LoadFile | None = None, held: Held | None = None) -> bytes:
    """The plain bytes of a record that is neither node nor tree, unchecked.

    With `held`, what is there is not worked out again, and what is worked out on the way to these bytes is put there:
    whoever reads the versions of a file from the last to the first then takes one step for each.
    """
    line: list[tuple[int, int, Packed]] = []
    data = held.get(number) if held else None
    while data is None:
        record = read_record(txn.record(number), number)
        if record.codec not in (DELTA, SPLICE):
            data = _whole(txn, record, number, load_file)
            if held:
                held.put(number, data)  # many chains may begin there
            break
        packed = read_packed(record.rest, number)
        line.append((number, record.codec, packed))
        number = packed.base
        if len(line) > MAX_DEPTH:
            raise Damaged("its chain of deltas has no end", hint="run `dag fsck --full`")
        data = held.get(number) if held else None
    while line:
        above, codec, packed = line.pop()
        data = _on_top(codec, packed, data, number)
        if held:
            held.put(above, data)
    return data


def id_of(txn: Reader, number: int) -> Id:
    """The id of a record."""
    memo = txn.memo
    known: Id | None = memo.ids.get(number) or memo.older.ids.get(number)
    if known is None:
        record = read_record(txn.record(number), number)
        known = memo.ids[number] = record.id or record.kind.of(plain(txn, number))
    return known


def chain_of(txn: Reader, number: int) -> Chain:
    """The chain that ends in a record that is neither node nor tree."""
    memo = txn.memo
    known: Chain | None = memo.chains.get(number) or memo.older.chains.get(number)
    if known is None:
        packed = packed_of(txn, number)
        known = memo.chains[number] = Chain(0, packed.chain, packed.depth) if packed else Chain(number, 0, 0)
    return known


def packed_of(txn: Reader, number: int) -> Packed | None:
    """What a record says of its chain; None if it stands on its own."""
    record = read_record(txn.record(number), number)
    return read_packed(record.rest, number) if record.codec in (DELTA, SPLICE) else None


def root_of(txn: Reader, number: int) -> int:
    """The record that the chain of deltas below `number` ends at."""
    for _ in range(MAX_DEPTH + 1):
        packed = packed_of(txn, number)
        if packed is None:
            return number
        number = packed.base
    raise Damaged(f"the chain of deltas of object number {number} has no end", hint="run `dag fsck --full`")


def size_of(record: Record, number: int) -> int | None:
    """The size of the plain bytes as the record states it; None for nodes, which do not."""
    if record.codec == RAW:
        return len(record.rest)
    return None if record.codec == NODE else varints(record.rest, 1, number)[0][0]


def _whole(txn: Reader, record: Record, number: int, load_file: LoadFile | None) -> bytes:
    if record.codec == RAW:
        return record.rest
    if record.codec in (REFS, REFS_ZSTD):
        return with_ids(record.codec, record.rest, number, partial(id_of, txn))
    if record.codec in (ZSTD, FILE):
        (size,), at = varints(record.rest, 1, number)
        if record.codec == ZSTD:
            return decompress(record.rest[at:], size)
        if load_file is not None:
            return load_file(record, size)
    raise Damaged(f"object number {number} has a codec that its kind cannot have", hint="run `dag fsck --full`")


def with_ids(codec: int, rest: bytes, number: int, name: Callable[[int], bytes]) -> bytes:
    """The plain bytes of a record of REFS or REFS_ZSTD; `name` gives the id of a record."""
    size, cuts, rest = read_refs(rest, number)
    if codec == REFS_ZSTD:
        rest = decompress(rest, size - SIZE * len(cuts))
    parts, at = [], 0
    for gap, other in cuts:
        parts += [rest[at : at + gap], name(other)]
        at += gap
    return b"".join((*parts, rest[at:]))


def _on_top(codec: int, packed: Packed, base: bytes, number: int) -> bytes:
    if codec == DELTA:
        return decompress(packed.payload, packed.size, base)
    (head, tail), at = varints(packed.payload, 2, number)
    return unsplice(head, tail, packed.payload[at:], packed.size, base)
