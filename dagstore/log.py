"""The log: the one file that says what a store holds. Frames of records, appended and never changed.

A frame is a header and a body. The header is 28 bytes, little-endian: the magic, a CRC-32 of all that follows it that
starts from the frame's offset, the length of the body, a number whose lowest bit is set on the last frame of a
transaction and whose upper bits are the number of the frame's first record, and up to which offset the log was known
to be durable when the frame was written. The body is msgpack: `[[record, …], [[table, key, value | nil], …]]`; the
triples are what the transaction set (or with nil removed) in the tables that are no function of the records.

Records are numbered from 1 without gaps. A transaction counts only with its last frame. What follows the last whole
frame is zeros (room that was reserved) or a write that was cut off; both mean nothing. Bytes that are no frame are
such a write too, unless a later frame knew them to be durable: then they are damage.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dagstore.codec import pack, unpack
from dagstore.errors import BadInput, Damaged

MAGIC = b"\xdaGf2"
_HEADER = struct.Struct("<4sIIQQ")
_REST = struct.Struct("<IQQ")
HEADER = _HEADER.size
FRAME_BYTES = 4 << 10
"""A transaction is cut into frames of about this size, since reading one record means reading its frame."""
MAX_BODY = 1 << 30
LOOK_AHEAD = 1 << 20
"""Bytes that are read at a time where the next frame is looked for."""
_U32 = 0xFFFFFFFF

Op = tuple[str, bytes, bytes | None]
Read = Callable[[int, int], bytes]
"""`read(offset, length)`: bytes of the log, fewer at its end."""


class Frame(NamedTuple):
    """One frame at `offset` with `size` bytes in all; `records` are numbered from `first`."""

    offset: int
    size: int
    first: int
    last: bool
    durable: int
    records: Sequence[bytes]
    ops: Sequence[Op]

    @property
    def end(self) -> int:
        return self.offset + self.size


class Head(NamedTuple):
    """What the header of a frame says of it, unchecked: the bytes of the whole frame, its first record's number."""

    size: int
    first: int
    last: bool


class Gap(NamedTuple):
    """Bytes of the log that are no frame, although frames follow."""

    offset: int
    end: int


def write_frame(
    offset: int, first: int, records: Sequence[bytes], ops: Iterable[Op], *, last: bool, durable: int
) -> bytes:
    body = pack([records, [list(op) for op in ops]])
    rest = _REST.pack(len(body), first << 1 | last, durable) + body
    return MAGIC + zlib.crc32(rest, offset & _U32).to_bytes(4, "little") + rest


def read_head(read: Read, offset: int) -> Head | None:
    """The header at `offset`, None if none is there. A quick look: only `read_frame` knows that a frame is whole."""
    head = read(offset, HEADER)
    if len(head) < HEADER or head[:4] != MAGIC:
        return None
    _, _, length, number, _ = _HEADER.unpack(head)
    return Head(HEADER + length, number >> 1, bool(number & 1))


def read_frame(read: Read, offset: int) -> Frame:
    """The frame at `offset`; `Damaged` if there is none that is whole."""
    head = read(offset, HEADER + FRAME_BYTES)
    if len(head) < HEADER or head[:4] != MAGIC:
        raise Damaged(f"the log has no frame at byte {offset}", hint="run `dag fsck`")
    _, checksum, length, number, durable = _HEADER.unpack_from(head)
    whole = head if HEADER + length <= len(head) else read(offset, HEADER + min(length, MAX_BODY))
    rest = memoryview(whole)[8 : HEADER + length]
    if len(whole) < HEADER + length or zlib.crc32(rest, offset & _U32) != checksum:
        raise Damaged(f"the frame at byte {offset} of the log is damaged", hint="run `dag fsck`")
    try:
        records, ops = unpack(whole[HEADER : HEADER + length])
    except (BadInput, ValueError, TypeError) as error:
        raise Damaged(f"the frame at byte {offset} of the log cannot be read: {error}", hint="run `dag fsck`") from None
    changes = [(table, key, value) for table, key, value in ops]
    return Frame(offset, HEADER + length, number >> 1, bool(number & 1), durable, records, changes)


def frames(read: Read, offset: int = 0) -> Iterator[Frame | Gap]:
    """Every whole frame from `offset` on, and the gaps between them; ends where no whole frame follows."""
    while True:
        try:
            frame = read_frame(read, offset)
        except Damaged:
            found = _next_frame(read, offset + 1)
            if found is None:
                return
            yield Gap(offset, found)
            offset = found
            continue
        yield frame
        offset = frame.end


def transactions(read: Read, offset: int = 0) -> Iterator[list[Frame] | Gap]:
    """The frames of every transaction from `offset` on that counts, and gaps that are damage, in order."""
    pending: list[Frame] = []
    for item in frames(read, offset):
        if isinstance(item, Gap):
            if not _was_durable(read, item.end, item.offset):
                return
            if pending:
                yield pending
            pending = []
            yield item
            continue
        pending.append(item)
        if item.last:
            yield pending
            pending = []


def _was_durable(read: Read, offset: int, until: int) -> bool:
    """Whether some frame from `offset` on knew that the log was durable beyond `until`."""
    return any(isinstance(item, Frame) and item.durable > until for item in frames(read, offset))


def _next_frame(read: Read, offset: int) -> int | None:
    """Where the next whole frame begins, at `offset` or later."""
    while window := read(offset, LOOK_AHEAD):
        at = window.find(MAGIC)
        while at >= 0:
            if _is_frame(read, offset + at):
                return offset + at
            at = window.find(MAGIC, at + 1)
        if len(window) < LOOK_AHEAD:
            return None
        offset += len(window) - len(MAGIC) + 1
    return None


def _is_frame(read: Read, offset: int) -> bool:
    try:
        read_frame(read, offset)
    except Damaged:
        return False
    return True
