"""Objects as records of the log: one byte that says kind and codec, the id of some kinds, numbers, a payload.

    raw      payload                                       the plain bytes
    zstd     size, frame
    delta    size, back, chain, depth, frame               zstd with the plain bytes of another record as prefix
    splice   size, back, chain, depth, prefix, suffix, payload   all of another record but for one place
    file     size                                          the plain bytes are a file of their own
    node     back to the tree, back to each parent         in the order of their ids
    tree     size, back (0: whole), then entries or changes to another tree, see below
    refs     size, count, then for each id that was cut out: bytes since the last one, back; the bytes that are left
    refs_zstd    the same, with the bytes that are left as a frame

Numbers are LEB128. `back` is how many records before this one the other lies. Blobs, trees and nodes carry their id
(32 bytes); the ids of other kinds are the hashes of their plain bytes.

A whole tree is a list of `length of path, path, mode, back to the blob`. Changes to another tree are, in the order of
its entries, `position << 2 | what`: REPLACED with `mode, back`; REMOVED with nothing; ADDED (before that position) with
`length of path, path, mode, back`. The other tree is always a whole one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dagstore.errors import Damaged
from dagstore.ids import SIZE, AdoptionId, BlobId, Id, NodeId, NoteId, ProtocolId, ResolutionId, RunId, TreeId

KINDS: tuple[type[Id], ...] = (BlobId, TreeId, NodeId, ProtocolId, RunId, NoteId, AdoptionId, ResolutionId)
"""The position is the kind's number on disk: append only."""
NUMBER = {kind: number for number, kind in enumerate(KINDS)}
NAMED = frozenset({BlobId, TreeId, NodeId})
"""Kinds whose records carry their id."""

RAW, ZSTD, DELTA, SPLICE, FILE, NODE, TREE, REFS, REFS_ZSTD = range(9)
_HEADS = {NUMBER[kind] << 4 | codec: (kind, codec, kind in NAMED) for kind in KINDS for codec in range(REFS_ZSTD + 1)}
REPLACED, REMOVED, ADDED = range(3)
_LONGEST = 10
"""Bytes of the longest number."""

Item = tuple[str, int, int]
"""path, mode, number of the blob's record."""
Change = tuple[int, int, Item | None]
"""position, what, and the entry that comes."""


class Record(NamedTuple):
    """A record, taken apart as far as every codec goes: `rest` is what follows kind, codec and id."""

    kind: type[Id]
    codec: int
    id: Id | None
    rest: bytes


class Packed(NamedTuple):
    """A payload that stands for `size` plain bytes on top of the record `base` (0: on its own)."""

    size: int
    base: int
    chain: int
    depth: int
    payload: bytes


def write_record(kind: type[Id], codec: int, id: Id, rest: bytes) -> bytes:
    name = bytes(id) if kind in NAMED else b""
    return bytes([NUMBER[kind] << 4 | codec]) + name + rest


def read_record(data: bytes, number: int) -> Record:
    """`Damaged` unless kind and codec are known."""
    head = _HEADS.get(data[0]) if data else None
    if head is None:
        raise _unreadable(number, "it is of no known kind")
    kind, codec, named = head
    if not named:
        return Record(kind, codec, None, data[1:])
    if len(data) <= SIZE:
        raise _unreadable(number, "it is cut off")
    return Record(kind, codec, kind(data[1 : 1 + SIZE]), data[1 + SIZE :])


def write_packed(number: int, packed: Packed) -> bytes:
    """What follows the id of a delta or splice that will be record `number`."""
    return varint(packed.size, number - packed.base, packed.chain, packed.depth) + packed.payload


def read_packed(rest: bytes, number: int) -> Packed:
    (size, back, chain, depth), at = varints(rest, 4, number)
    if not 0 < back < number:
        raise _unreadable(number, f"it lies {back} after its base")
    return Packed(size, number - back, chain, depth, rest[at:])


def write_node(number: int, tree: int, parents: Iterable[int]) -> bytes:
    return varint(number - tree, *[number - parent for parent in parents])


def read_node(rest: bytes, number: int) -> tuple[int, list[int]]:
    """The records of a node's tree and parents."""
    backs = list(_all_varints(rest, number))
    if not backs or not all(0 < back < number for back in backs):
        raise _unreadable(number, "it names what does not exist")
    return number - backs[0], [number - back for back in backs[1:]]


def write_tree(number: int, size: int, items: Iterable[Item]) -> bytes:
    """What follows the id of a whole tree."""
    return varint(size, 0) + b"".join(_write_item(number, item) for item in items)


def write_changed_tree(number: int, size: int, base: int, changes: Iterable[Change]) -> bytes:
    parts = [varint(size, number - base)]
    for position, what, item in changes:
        if item is None:
            parts.append(varint(position << 2 | what))
        elif what == REPLACED:
            parts.append(varint(position << 2 | what, item[1], number - item[2]))
        else:
            parts += varint(position << 2 | what), _write_item(number, item)
    return b"".join(parts)


def base_of_tree(rest: bytes, number: int) -> int:
    """The record of the whole tree that a tree changes, or 0 if it is a whole one."""
    (_, back), _ = varints(rest, 2, number)
    return number - back if back else 0


def read_tree(rest: bytes, number: int) -> tuple[int, int, list[Change]]:
    """Plain size, the record of the tree that it changes (0: none), and changes; a whole tree only adds."""
    (size, back), at = varints(rest, 2, number)
    if back >= number:
        raise _unreadable(number, "it names what does not exist")
    changes: list[Change] = []
    while at < len(rest):
        position, what = 0, ADDED
        if back:
            code, at = _varint(rest, at, number)
            position, what = code >> 2, code & 3
        path = ""
        if what == ADDED:
            length, at = _varint(rest, at, number)
            path, at = _text(rest, at, length, number), at + length
        if what == REMOVED:
            changes.append((position, what, None))
            continue
        (mode, blob), at = varints(rest, 2, number, at)
        if not 0 < blob < number:
            raise _unreadable(number, "it names what does not exist")
        changes.append((position, what, (path, mode, number - blob)))
    return size, number - back if back else 0, changes


def write_refs(number: int, data: bytes, records: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The places of ids in `data`, and what is left of it without them; `records` says where the objects are."""
    cuts = _cuts(data, records)
    numbers, rest, end = [len(data), len(cuts)], [], 0
    for at, id in cuts:
        numbers += at - end, number - records[id]
        rest.append(data[end:at])
        end = at + SIZE
    return varint(*numbers), b"".join((*rest, data[end:]))


def read_refs(rest: bytes, number: int) -> tuple[int, list[tuple[int, int]], bytes]:
    """Plain size, (bytes since the last id, record) of each id that was cut out, and what follows."""
    (size, count), at = varints(rest, 2, number)
    if not count:
        return size, [], rest[at:]
    numbers, at = varints(rest, 2 * count, number, at)
    if not 0 < min(numbers[1::2]) <= max(numbers[1::2]) < number:
        raise _unreadable(number, "it names what does not exist")
    return size, [(gap, number - back) for gap, back in zip(numbers[::2], numbers[1::2], strict=True)], rest[at:]


def varint(*values: int) -> bytes:
    """Numbers one after the other as LEB128: seven bits a byte, the lowest first."""
    out = bytearray()
    for value in values:
        rest = value
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def varints(data: bytes, count: int, number: int, at: int = 0) -> tuple[list[int], int]:
    """So many numbers from `at` on, and where they end; `Damaged`, naming the record, if they do not."""
    found: list[int] = []
    value = shift = 0
    for byte in data[at : at + _LONGEST * count]:
        at += 1
        if byte > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                break
            continue
        found.append(byte << shift | value)
        if len(found) == count:
            return found, at
        value = shift = 0
    raise _unreadable(number, "a number has no end")


def _varint(data: bytes, at: int, number: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    (value,), at = varints(data, 1, number, at)
    return value, at


def _all_varints(data: bytes, number: int) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at, number)
        yield value


def _cuts(data: bytes, ids: Iterable[bytes]) -> list[tuple[int, bytes]]:
    """Where the ids are, in order; of two that overlap, as they may in somebody's text, the one that begins first."""
    places = []
    for id in ids:
        at = data.find(id)
        while at >= 0:
            places.append((at, id))
            at = data.find(id, at + SIZE)
    cuts, end = [], 0
    for at, id in sorted(places):
        if at >= end:
            cuts.append((at, id))
            end = at + SIZE
    return cuts


def _write_item(number: int, item: Item) -> bytes:
    path = item[0].encode()
    return varint(len(path)) + path + varint(item[1], number - item[2])


def _text(data: bytes, at: int, length: int, number: int) -> str:
    try:
        return data[at : at + length].decode()
    except UnicodeDecodeError:
        raise _unreadable(number, "a path in it is not UTF-8") from None


def _unreadable(number: int, why: str) -> Damaged:
    return Damaged(f"object number {number} cannot be read: {why}", hint="run `dag fsck --full`")
