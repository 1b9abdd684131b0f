"""Content-addressed objects in sequence order: `obj` holds an envelope per object, `id` finds it.

An envelope is msgpack `[kind, codec, id, size, base, chain, depth, payload]`: `size` of the plain bytes, `base` the
sequence number of the object that the payload is a delta against (0: none), `chain` the payload bytes and `depth` the
deltas that reading it costs. An object is stored after all that it names, so sequence order is a topological order.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dagstore.codec import decode, pack, unpack
from dagstore.deltas import compress, decompress
from dagstore.errors import BadInput, Damaged, NotFound
from dagstore.files import BlobFiles
from dagstore.ids import SIZE, AdoptionId, BlobId, Id, NodeId, NoteId, ProtocolId, RunId, TreeId
from dagstore.storage import Reader, Writer, after, last_key

KINDS: tuple[type[Id], ...] = (BlobId, TreeId, NodeId, ProtocolId, RunId, NoteId, AdoptionId)
"""The position is the kind's number on disk: append only."""
NUMBER = {kind: number for number, kind in enumerate(KINDS)}

RAW, ZSTD, DELTA, FILE = range(4)

FILE_BYTES = 64 << 10
"""Payloads over this many bytes go to a file."""
MAX_DEPTH = 64
MAX_DECODED = 4096
WORTH_PACKING = 160  # a checksummed frame adds 13 bytes or more, which short texts rarely win back
MAX_NUMBER = 1 << 62
KEPT_BYTES = 16 << 20
"""Plain bytes kept at hand: the next version of a file is stored against the one that was just read or written."""


class Envelope(NamedTuple):
    kind: type[Id]
    codec: int
    id: Id
    size: int
    base: int
    chain: int
    depth: int
    payload: bytes


def key(seq: int) -> bytes:
    """A sequence number as an ordered key."""
    return seq.to_bytes(8, "big")


class Objects:
    """Reads and writes objects within a transaction that the caller holds."""

    def __init__(self, files: BlobFiles) -> None:
        self._files = files
        # By id and not by sequence number: a number from a transaction that was given up is given again.
        self._decoded: dict[Id, object] = {}
        self._kept: dict[Id, bytes] = {}
        self._kept_bytes = 0

    def put(self, txn: Writer, kind: type[Id], data: bytes, base: int = 0) -> tuple[int, bool]:
        """The object's sequence number and whether it is new; `base` is a similar object stored earlier, or 0."""
        id = kind.of(data)
        seq = find(txn, id)
        if seq:
            return seq, False
        seq = next_seq(txn)
        envelope = self._pack(txn, kind, id, data, base)
        txn.append("obj", key(seq), _seal(envelope))
        txn.put("id", _id_key(id), key(seq))
        self._keep(id, data)
        return seq, True

    def get(self, txn: Reader, seq: int) -> bytes:
        """The plain bytes of an object; `Damaged` unless they hash to its id."""
        envelope = self.envelope(txn, seq)
        name = f"{envelope.kind.kind} {envelope.id}"
        try:
            data = self._unpack(txn, envelope)
        except Damaged as error:
            raise Damaged(f"{name}: {error.message}", hint=error.hint) from error
        if envelope.kind.of(data) != envelope.id:
            raise Damaged(f"{name} holds other bytes than its id says", hint="run `dag fsck --full`")
        self._keep(envelope.id, data)
        return data

    def read(self, txn: Reader, id: Id) -> bytes:
        """The plain bytes of the object with that id; `NotFound` if the store has none."""
        seq = find(txn, id)
        if not seq:
            raise NotFound(f"no {id.kind} {id} in this store")
        return self.get(txn, seq)

    def recall(self, txn: Reader, id: Id) -> bytes:
        """The same as `read`, but from memory if the bytes were read or stored lately."""
        data = self._kept.get(id)
        return self.read(txn, id) if data is None else data

    def know(self, id: Id, value: object) -> None:
        """Spare the first `load` of an object its decoding; `value` must be what that would give."""
        if len(self._decoded) >= MAX_DECODED:
            self._decoded.clear()
        self._decoded[id] = value

    def load(self, txn: Reader, seq: int) -> Any:
        """The decoded object; trees, protocols and the like are kept, since they can never change."""
        id = id_of(txn, seq)
        value = self._decoded.get(id)
        if value is None:
            value = decode(type(id), self.get(txn, seq))
            self.know(id, value)
        return value

    def envelope(self, txn: Reader, seq: int) -> Envelope:
        row = txn.get("obj", key(seq))
        if row is None:
            raise Damaged(f"object number {seq} is missing", hint="run `dag fsck --full`")
        return open_envelope(row, seq)

    def _pack(self, txn: Reader, kind: type[Id], id: Id, data: bytes, base: int) -> Envelope:
        size = len(data)
        if base and (delta := self._delta(txn, kind, id, data, base)):
            return delta
        packed = compress(data) if size >= WORTH_PACKING and kind is not NodeId else data
        if isinstance(id, BlobId) and min(len(packed), size) > FILE_BYTES:
            self._files.save(id, data)
            return Envelope(kind, FILE, id, size, 0, size, 0, b"")
        if len(packed) < size:
            return Envelope(kind, ZSTD, id, size, 0, len(packed), 0, packed)
        return Envelope(kind, RAW, id, size, 0, size, 0, data)

    def _delta(self, txn: Reader, kind: type[Id], id: Id, data: bytes, base: int) -> Envelope | None:
        """A delta against `base`, unless it or the chain below it would cost more than half of the plain bytes."""
        under = self.envelope(txn, base)
        if under.depth >= MAX_DEPTH:
            return None
        kept = self._kept.get(under.id)
        payload = compress(data, self._unpack(txn, under) if kept is None else kept)
        chain = len(payload) + (under.chain if under.base else 0)
        if chain > len(data) // 2 or len(payload) > FILE_BYTES:
            return None
        return Envelope(kind, DELTA, id, len(data), base, chain, under.depth + 1, payload)

    def _unpack(self, txn: Reader, envelope: Envelope) -> bytes:
        """The plain bytes, unchecked: from the full version upwards, without recursion."""
        line = [envelope]
        while line[-1].codec == DELTA:
            line.append(self.envelope(txn, line[-1].base))
            if len(line) > MAX_DEPTH + 1:
                raise Damaged("its chain of deltas has no end", hint="run `dag fsck --full`")
        data = self._plain(line.pop())
        while line:
            top = line.pop()
            data = decompress(top.payload, top.size, data)
        return data

    def _keep(self, id: Id, data: bytes) -> None:
        """Remember the bytes of an id, which are known to be right."""
        if id in self._kept or len(data) > KEPT_BYTES // 8:
            return
        if self._kept_bytes > KEPT_BYTES:
            self._kept, self._kept_bytes = {}, 0
        self._kept[id] = data
        self._kept_bytes += len(data)

    def _plain(self, envelope: Envelope) -> bytes:
        if envelope.codec == FILE:
            return self._files.load(BlobId(envelope.id), envelope.size)
        return decompress(envelope.payload, envelope.size) if envelope.codec == ZSTD else envelope.payload


def find(txn: Reader, id: Id) -> int:
    """The sequence number of an object, or 0."""
    row = txn.get("id", _id_key(id))
    return int.from_bytes(row, "big") if row else 0


def next_seq(txn: Reader) -> int:
    last = last_key(txn, "obj")
    return int.from_bytes(last, "big") + 1 if last else 1


def id_of(txn: Reader, seq: int) -> Id:
    """The id of an object, without its bytes."""
    row = txn.get("obj", key(seq))
    if row is None:
        raise Damaged(f"object number {seq} is missing", hint="run `dag fsck --full`")
    # An envelope begins with an array of 8, two integers below 128 and the header of 32 bytes: the id is at 5.
    if row[:1] == b"\x98" and row[3:5] == b"\xc4\x20" and row[1] < len(KINDS) and len(row) > 37:
        return KINDS[row[1]](row[5:37])
    return open_envelope(row, seq).id


def every(txn: Reader, start: int = 1) -> Iterator[tuple[int, Envelope]]:
    """All objects in sequence order."""
    for raw, row in txn.scan("obj", key(start)):
        seq = int.from_bytes(raw, "big")
        yield seq, open_envelope(row, seq)


def newest(txn: Reader, kind: type[Id]) -> Iterator[int]:
    """Sequence numbers of the objects of a kind, newest first."""
    for raw, row in txn.scan("obj", reverse=True):
        seq = int.from_bytes(raw, "big")
        if open_envelope(row, seq).kind is kind:
            yield seq


def with_prefix(txn: Reader, kind: type[Id], digits: str, limit: int) -> list[Id]:
    """At most `limit` ids of a kind that start with these hex digits, in order."""
    even = digits[: len(digits) // 2 * 2]
    low = bytes([NUMBER[kind]]) + bytes.fromhex(even)
    found: list[Id] = []
    for raw, _ in txn.scan("id", low, after(low)):
        if raw[1:].hex().startswith(digits):
            found.append(kind(raw[1:]))
        if len(found) == limit:
            break
    return found


def short(txn: Reader, id: Id, least: int = 8) -> str:
    """The shortest prefix of at least `least` digits that names only this object of its kind."""
    place = _id_key(id)
    bounds = bytes([NUMBER[type(id)]]), bytes([NUMBER[type(id)] + 1])
    behind = next((raw for raw, _ in txn.scan("id", place + b"\0", bounds[1])), b"")
    before = next((raw for raw, _ in txn.scan("id", bounds[0], place, reverse=True)), b"")
    text = str(id)
    shared = max(_shared_digits(text, other[1:].hex()) for other in (behind, before))
    return text[: max(least, shared + 1)]


def _shared_digits(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _id_key(id: Id) -> bytes:
    return bytes([NUMBER[type(id)]]) + id


def _seal(envelope: Envelope) -> bytes:
    return pack(
        [
            NUMBER[envelope.kind],
            envelope.codec,
            bytes(envelope.id),
            envelope.size,
            envelope.base,
            envelope.chain,
            envelope.depth,
            envelope.payload,
        ]
    )


def open_envelope(row: bytes, seq: int) -> Envelope:
    """The envelope in a row of `obj`; `Damaged` unless every field is one that could be there."""
    try:
        number, codec, id, size, base, chain, depth, payload = unpack(row)
    except (BadInput, ValueError, TypeError) as error:
        raise Damaged(f"object number {seq} cannot be read: {error}", hint="run `dag fsck --full`") from None
    numbers = (number, codec, size, base, chain, depth)
    whole = set(map(type, numbers)) == {int} and min(numbers) >= 0 and max(numbers) <= MAX_NUMBER
    named = type(id) is bytes and len(id) == SIZE and type(payload) is bytes
    if not (whole and named and number < len(KINDS)):
        raise Damaged(f"object number {seq} cannot be read: it is no envelope", hint="run `dag fsck --full`")
    kind = KINDS[number]
    return Envelope(kind, codec, kind(id), size, base, chain, depth, payload)
