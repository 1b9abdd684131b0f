"""Content-addressed objects: what is stored for each, and reading it back, checked against its id.

An object is stored after all that it names, so the order of records is a topological order. It also follows that what
names a new object is new: with `new`, the methods that put do not look for an object before they store it.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from dagstore.chains import MAX_DEPTH, Chain, Held, chain_of, id_of, plain, root_of
from dagstore.codec import decode, encode
from dagstore.deltas import compress, splice
from dagstore.errors import Damaged, NotFound, Refused
from dagstore.files import BlobFiles
from dagstore.finding import enter, find
from dagstore.ids import BlobId, Id, NodeId, TreeId
from dagstore.manifests import build_tree, whole_tree
from dagstore.model import Change as TreeChange
from dagstore.model import Entry, Node, Tree, changes
from dagstore.records import (
    ADDED,
    DELTA,
    FILE,
    NODE,
    RAW,
    REFS,
    REFS_ZSTD,
    REMOVED,
    REPLACED,
    SPLICE,
    TREE,
    ZSTD,
    Change,
    Packed,
    Record,
    read_node,
    read_record,
    varint,
    write_changed_tree,
    write_node,
    write_packed,
    write_record,
    write_refs,
    write_tree,
)
from dagstore.rows import record_of
from dagstore.storage import Reader, Writer
from dagstore.tombstones import gone, is_gone, revive, tombstone

FILE_BYTES = 64 << 10
"""Payloads over this many bytes go to a file."""
MAX_DECODED = 4096
WORTH_PACKING = 160  # a checksummed frame adds 13 bytes or more, which short texts rarely win back
WORTH_ZSTD = 48  # a changed place over this many bytes may be several, which zstd then tells apart
KEPT_BYTES = 16 << 20
"""Plain bytes kept at hand: the next version of a file is stored against the one that was just read or written."""


class Objects:
    """Reads and writes objects within a transaction that the caller holds."""

    def __init__(self, files: BlobFiles) -> None:
        self._files = files
        self._decoded: dict[Id | int, object] = {}
        self._kept: dict[Id, bytes] = {}
        self._kept_bytes = 0

    def put(
        self,
        txn: Writer,
        kind: type[Id],
        data: bytes,
        base: int = 0,
        names: Iterable[Id] = (),
        file_over: int | None = None,
        id: Id | None = None,
        *,
        new: bool = False,
    ) -> tuple[int, bool]:
        """The number of an object that is neither tree nor node, and whether it is new.

        `base` is the record of a similar object, or 0; `names` are ids in it of objects that are stored. A blob of
        more than `file_over` plain bytes becomes a file whatever it packs to, so that it can be removed some day.
        `id` spares the hashing, where the caller has it.
        """
        id = id or kind.of(data)
        number = 0 if new else find(txn, id)
        if number:
            self._bring_back(txn, id, data)
            return number, False
        number = txn.records() + 1
        if names:
            codec, rest = self._pack_named(txn, data, names, number)
        elif isinstance(id, BlobId) and file_over is not None and len(data) > file_over:
            codec, rest = self._pack_file(id, data)
        else:
            codec, rest = self._pack(txn, id, data, base, number)
        txn.log(write_record(kind, codec, id, rest))
        txn.memo.ids[number] = id
        enter(txn, id, number)
        self._keep(id, data)
        return number, True

    def save_file(self, data: bytes) -> None:
        """Write the file of a blob before the transaction in which `put` is given it with `file_over`.

        Syncing takes longer than all else, and no other writer needs to wait for it.
        """
        self._files.save(BlobId.of(data), data)

    def put_tree(self, txn: Writer, tree: Tree, base: int = 0, *, new: bool = False) -> tuple[TreeId, int, bool]:
        """The id and number of a tree, and whether it is new; `base` is the record of a similar tree, or 0.

        `Refused` if a blob of it is not stored.
        """
        data = encode(tree)
        id = TreeId.of(data)
        number = 0 if new else find(txn, id)
        if number:
            return id, number, False
        number = txn.records() + 1
        txn.log(write_record(TreeId, TREE, id, self._pack_tree(txn, tree, len(data), base, number)))
        txn.memo.ids[number] = id
        enter(txn, id, number)
        self.know(id, tree)
        return id, number, True

    def put_node(self, txn: Writer, node: Node, *, new: bool = False) -> tuple[NodeId, int, bool]:
        """The id of a node, its record, or its own number if it is not new; and whether it is."""
        id = NodeId.of(encode(node))
        known = 0 if new else find(txn, id)
        if known:
            return id, known, False
        number = txn.records() + 1
        parents = [self._record_there(txn, parent) for parent in node.parents]
        txn.log(write_record(NodeId, NODE, id, write_node(number, self._there(txn, node.tree), parents)))
        txn.memo.ids[number] = id
        self.know(id, node)
        return id, number, True

    def get(self, txn: Reader, number: int, held: Held | None = None) -> bytes:
        """The plain bytes of a record; `Damaged` unless they hash to its id. `held` is as for `chains.plain`."""
        return self._checked(txn, read_record(txn.record(number), number), number, held)[0]

    def read(self, txn: Reader, id: Id) -> bytes:
        """The plain bytes of the object with that id; `NotFound` if the store has none."""
        number = find(txn, id)
        if not number:
            raise NotFound(f"no {id.kind} {id} in this store")
        return self.get(txn, record_of(txn, number) if isinstance(id, NodeId) else number)

    def recall(self, txn: Reader, id: Id) -> bytes:
        """The same as `read`, but from memory if the bytes were read or stored lately."""
        data = self._kept.get(id)
        return self.read(txn, id) if data is None else data

    def know(self, id: Id | int, value: object) -> None:
        """Spare the first `load` of an object its decoding; `value` must be what that would give."""
        if len(self._decoded) >= MAX_DECODED:
            self._decoded.clear()
        self._decoded[id] = value

    def load(self, txn: Reader, number: int) -> Any:
        """The decoded object of a record; trees, protocols and the like are kept, since they can never change."""
        value = self._decoded.get(number) or self._decoded.get(txn.memo.ids.get(number, 0))
        return value or self._load(txn, number)

    def _load(self, txn: Reader, number: int) -> Any:
        record = read_record(txn.record(number), number)
        value = self._decoded.get(record.id) if record.id else None
        if value is None:
            data, value = self._checked(txn, record, number)
            value = value or decode(record.kind, data)
        # By number only where that is for good: one from a transaction that was given up is given again.
        if number <= txn.settled():
            self.know(number, value)
        elif record.id:
            self.know(record.id, value)
        return value

    def _pack(self, txn: Reader, id: Id, data: bytes, base: int, number: int) -> tuple[int, bytes]:
        """The codec for the object that will be record `number`, and what follows its id."""
        size = len(data)
        if base and (delta := self._delta(txn, data, base, number)):
            return delta[0], write_packed(number, delta[1])
        packed = compress(data) if size >= WORTH_PACKING else data
        if isinstance(id, BlobId) and min(len(packed), size) > FILE_BYTES:
            return self._pack_file(id, data)
        return (ZSTD, varint(size) + packed) if len(packed) < size else (RAW, data)

    def _pack_file(self, id: BlobId, data: bytes) -> tuple[int, bytes]:
        self._files.save(id, data)
        return FILE, varint(len(data))

    def _bring_back(self, txn: Writer, id: Id, data: bytes) -> None:
        """Give a blob that is gone its file again."""
        if isinstance(id, BlobId) and revive(txn, id):
            self._files.save(id, data)

    def _pack_named(self, txn: Reader, data: bytes, names: Iterable[Id], number: int) -> tuple[int, bytes]:
        records: dict[bytes, int] = {id: self._record_there(txn, id) for id in names}
        head, rest = write_refs(number, data, records)
        packed = compress(rest) if len(rest) >= WORTH_PACKING else rest
        return (REFS_ZSTD, head + packed) if len(packed) < len(rest) else (REFS, head + rest)

    def _record_there(self, txn: Reader, id: Id) -> int:
        number = self._there(txn, id)
        return record_of(txn, number) if isinstance(id, NodeId) else number

    def _delta(self, txn: Reader, data: bytes, base: int, number: int) -> tuple[int, Packed] | None:
        """What tells record `number` from `base`, unless the chain would then be over half of the plain bytes.

        Where the chain is at its longest, it begins anew from its full version.
        """
        under = chain_of(txn, base)
        if under.depth >= MAX_DEPTH:
            base = under.root or root_of(txn, base)
            under = chain_of(txn, base)
        codec, payload = _difference(data, self._recalled(txn, base))
        chain = Chain(under.root, under.size + len(payload), under.depth + 1)
        if chain.size > len(data) // 2 or len(payload) > FILE_BYTES:
            return None
        txn.memo.chains[number] = chain
        return codec, Packed(len(data), base, chain.size, chain.depth, payload)

    def _recalled(self, txn: Reader, number: int) -> bytes:
        kept = self._kept.get(id_of(txn, number))
        return self.get(txn, number) if kept is None else kept

    def _pack_tree(self, txn: Reader, tree: Tree, size: int, base: int, number: int) -> bytes:
        """Changes to a whole tree where they are fewer than half of the entries, else the whole of it."""
        if base:
            base = whole_tree(txn, base)
            changed = changes(self.load(txn, base), tree)
            if len(changed) <= len(tree.entries) // 2:
                txn.memo.roots[number] = base
                return write_changed_tree(number, size, base, [self._change(txn, one) for one in changed])
        return write_tree(number, size, (self._item(txn, entry) for entry in tree))

    def _change(self, txn: Reader, change: TreeChange) -> Change:
        if change.new is None:
            return change.at, REMOVED, None
        return change.at, REPLACED if change.old else ADDED, self._item(txn, change.new)

    def _item(self, txn: Reader, entry: Entry) -> tuple[str, int, int]:
        number = find(txn, entry.blob)
        if not number or is_gone(txn, entry.blob):
            raise Refused(f"the content of {entry.path} is not at hand", hint="repeat the snapshot")
        return entry.path, int(entry.mode), number

    def _there(self, txn: Reader, id: Id) -> int:
        number = find(txn, id)
        if not number:
            raise Damaged(f"{id.kind} {id} is referred to but not in the store", hint="store it first")
        return number

    def _checked(self, txn: Reader, record: Record, number: int, held: Held | None = None) -> tuple[bytes, object]:
        """The plain bytes, and the object where that was at hand; `Damaged` unless they hash to the record's id."""
        try:
            value = self._build(txn, record, number)
            data = encode(value) if value else plain(txn, number, partial(self._load_file, txn), held)
        except Damaged as error:
            raise Damaged(f"{_name(record, number)}: {error.message}", hint=error.hint) from error
        id = record.kind.of(data)
        if record.id not in (None, id):
            raise Damaged(f"{_name(record, number)} holds other bytes than its id says", hint="run `dag fsck --full`")
        self._keep(id, data)
        return data, value

    def _build(self, txn: Reader, record: Record, number: int) -> Node | Tree | None:
        if record.codec == NODE:
            tree, parents = read_node(record.rest, number)
            return Node.of((NodeId(id_of(txn, parent)) for parent in parents), TreeId(id_of(txn, tree)))
        return build_tree(txn, number, partial(self.load, txn)) if record.codec == TREE else None

    def _load_file(self, txn: Reader, record: Record, size: int) -> bytes:
        if not isinstance(record.id, BlobId):
            raise Damaged(f"a {record.kind.kind} cannot be a file", hint="run `dag fsck --full`")
        stone = tombstone(txn, record.id)
        if stone is not None:
            raise gone(txn, stone)
        return self._files.load(record.id, size)

    def _keep(self, id: Id, data: bytes) -> None:
        """Remember the bytes of an id, which are known to be right."""
        if id in self._kept or len(data) > KEPT_BYTES // 8:
            return
        if self._kept_bytes > KEPT_BYTES:
            self._kept, self._kept_bytes = {}, 0
        self._kept[id] = data
        self._kept_bytes += len(data)


def _difference(data: bytes, base: bytes) -> tuple[int, bytes]:
    """The shorter of a splice and a delta; a short splice is believed to be."""
    head, tail, middle = splice(data, base)
    spliced = varint(head, tail) + middle
    if len(middle) <= WORTH_ZSTD:
        return SPLICE, spliced
    packed = compress(data, base)
    return (SPLICE, spliced) if len(spliced) <= len(packed) else (DELTA, packed)


def _name(record: Record, number: int) -> str:
    return f"{record.kind.kind} {record.id}" if record.id is not None else f"{record.kind.kind} in record {number}"
