"""Whether log and index agree on where the records are, and what the index still knows of records that are lost."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from dagstore.errors import Damaged
from dagstore.finding import BEGIN
from dagstore.ids import NodeId
from dagstore.log import LOOK_AHEAD, Frame, Gap, Head, Read, frames, read_frame, read_head
from dagstore.records import KINDS, NUMBER
from dagstore.rows import RECORD, WORDS, rows_from, words_of
from dagstore.storage import WHERE, Reader
from dagstore.transactions import FRAMES

_BLOCK = LOOK_AHEAD
_NODE = NUMBER[NodeId]


class Damage(NamedTuple):
    """Bytes of the log that are not what they were. The records from `first` to before `following` were in them."""

    offset: int
    end: int
    first: int
    following: int


class Mismatch(NamedTuple):
    """The index says something wrong about the log, which is whole there."""

    message: str


class Ahead:
    """Reads a log up to `end` for somebody who goes through it: in blocks, since frames are small."""

    def __init__(self, read: Read, end: int) -> None:
        self._read = read
        self.end = end
        self._start = 0
        self._block = b""

    def __call__(self, offset: int, length: int) -> bytes:
        """The bytes there; fewer at the end, and none of what is long and reaches beyond it."""
        if length > _BLOCK and offset + length > self.end:
            return b""  # so long a frame would be damaged, and part of it is of no use
        length = min(length, self.end - offset)
        if length <= 0:
            return b""
        at = offset - self._start
        if at < 0 or at + length > len(self._block):
            self._block = self._read(offset, max(length, min(_BLOCK, self.end - offset)))
            self._start, at = offset, 0
        return self._block[at : at + length]


def known_end(txn: Reader) -> int:
    """Where the log ends, as the index knows it."""
    return int.from_bytes((txn.get("place", WHERE) or b"")[:8], "big")


def compare_log(txn: Reader, read: Read) -> Iterator[Damage | Mismatch]:
    """Go by the headers of all frames and compare them with the table that says where they are.

    The first mismatch ends it, since what follows would be judged by a table that is wrong.
    """
    offset, begin = 0, 0
    for first, at in chain(_rows(txn), [(txn.records() + 1, known_end(txn))]):
        if first <= begin or at < offset:
            yield Mismatch(f"record {first} cannot begin at byte {at} of the log, after record {begin} at {offset}")
            return
        wrong = _compare_stretch(read, offset, at, begin or first, first)
        if wrong is not None:
            yield wrong
        if isinstance(wrong, Mismatch):
            return
        at_end = first > txn.records() and begin > 0 and wrong is None
        frame = _whole(read, offset) if at_end else None
        if frame is not None and frame.first + len(frame.records) != first:
            yield Mismatch(f"there should be {first - 1} records, but the last one is {begin - 1 + len(frame.records)}")
        offset, begin = at, first


def joined(found: Iterable[Damage | Mismatch]) -> Iterator[Damage | Mismatch]:
    """The same with neighbouring damage as one."""
    last: Damage | None = None
    for item in found:
        if last is not None and isinstance(item, Damage) and item.offset == last.end:
            last = last._replace(end=item.end, following=item.following)
            continue
        if last is not None:
            yield last
        last = item if isinstance(item, Damage) else None
        if last is None:
            yield item
    if last is not None:
        yield last


def _rows(txn: Reader) -> Iterator[tuple[int, int]]:
    """The first record and the offset of every frame that has records, as the index knows them."""
    for key, value in txn.scan(FRAMES):
        yield int.from_bytes(key, "big"), int.from_bytes(value, "big")


def _compare_stretch(read: Read, offset: int, end: int, first: int, following: int) -> Damage | Mismatch | None:
    """Compare a frame with records from `first` on, and those without records that come before the next one."""
    at, number = offset, first
    while at < end:
        head = read_head(read, at)
        if head is None or head.first != number or at + head.size > end:
            frame = _whole(read, at)
            if frame is None:
                return Damage(at, end, number, following)
            if frame.records or frame.end > end or not first < frame.first <= following:
                return Mismatch(f"record {number} should begin at byte {at} of the log, but that frame is another one")
            head = Head(frame.size, frame.first, frame.last)  # records before the next one are lost
        at, number = at + head.size, following
    return None


def _whole(read: Read, offset: int) -> Frame | None:
    try:
        return read_frame(read, offset)
    except Damaged:
        return None


def read_log(read: Read, offset: int, end: int, record: int, last: int) -> Iterator[Frame | Damage]:
    """Every frame from `offset` to `end` with the records from `record` to `last`, and the damage between them."""
    for item in frames(read, offset):
        if isinstance(item, Gap):
            continue
        if item.first != record or item.offset != offset:
            yield Damage(offset, item.offset, record, item.first)
        yield item
        offset, record = item.end, item.first + len(item.records)
    if offset < end or record <= last:
        yield Damage(offset, end, record, last + 1)


def damages_in(read: Read, end: int, last: int) -> list[Damage]:
    """All damage up to `end`, which the records up to `last` lie before."""
    return [item for item in read_log(read, 0, end, 1, last) if isinstance(item, Damage)]


def is_within(damage: Damage, given_up: range) -> bool:
    return given_up.start <= damage.offset and damage.end <= given_up.stop


def lost_names(txn: Reader, lost: Collection[int]) -> dict[int, str]:
    """Kind and begin of the id of records that are lost, as far as the index knows them."""
    if not lost:
        return {}
    wanted = set(lost)
    rows = (row for first, some in rows_from(txn, 1) for row in enumerate(words_of(some)[RECORD::WORDS], start=first))
    nodes = {node: record for node, record in rows if record in wanted}
    names = {}
    for key, _ in txn.scan("id"):
        number = int.from_bytes(key[1 + BEGIN :], "big")
        record = nodes.get(number, 0) if key[0] == _NODE else number
        if record in wanted:
            names[record] = f"{KINDS[key[0]].kind} {key[1 : 1 + BEGIN].hex()}"
    return names
