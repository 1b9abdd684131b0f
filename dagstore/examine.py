"""Looks at records one after another: whether each is what it should be, and everything that it names is there."""

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dagstore.chains import packed_of, size_of
from dagstore.codec import decode
from dagstore.errors import BadInput, Damaged, NotFound, Unavailable
from dagstore.files import BlobFiles
from dagstore.finding import find
from dagstore.ids import BlobId, Id, NodeId, TreeId
from dagstore.model import names_of
from dagstore.objects import Objects
from dagstore.quarantine import TWICE, LeftOut
from dagstore.records import (
    DELTA,
    FILE,
    KINDS,
    NODE,
    NUMBER,
    REFS,
    REFS_ZSTD,
    SPLICE,
    TREE,
    Record,
    read_node,
    read_packed,
    read_record,
    read_refs,
    read_tree,
    varints,
)
from dagstore.rows import record_of
from dagstore.storage import Reader

GONE, BAD, NEEDY, LEFT = 0xF0, 0xF1, 0xF2, 0xF3
"""Marks of what is not as it should be: its record cannot be read; the record can, but what it stands for cannot;
it can be read, but names what cannot; a repair left it out.

All others are marked with the number of their kind, from 1, and COPY where a repair left them out since there is
another; 0 is not known yet.
"""
COPY = 0x10
_BLOB, _TREE, _NODE = (NUMBER[kind] + 1 for kind in (BlobId, TreeId, NodeId))
_ANY = 0

Reference = tuple[int, int, bool]
"""A record, the mark that it must have (or any), and whether its content is needed to read what refers to it."""


class Verdict(NamedTuple):
    """Why an object is not to be relied on. `told` is False if that is only so for what others are."""

    code: str
    what: str
    message: str
    mark: int
    told: bool = True


class Examiner:
    """Looks at records in their order and keeps a byte for each.

    `is_gone` says that the content of a blob was removed on purpose. With `full` the content of everything is looked
    at; then what was looked at before must be found in the transaction, and nothing else.
    """

    def __init__(self, files: BlobFiles, is_gone: Callable[[BlobId], bool], *, full: bool) -> None:
        self.objects = Objects(files)  # of its own: another may remember what was there before the damage
        self.marks = bytearray(1)
        self._files = files
        self._is_gone = is_gone
        self._full = full

    def mark(self, records: range, mark: int) -> None:
        """Enter what is known of records otherwise."""
        self.marks.extend(bytes(max(0, records.stop - len(self.marks))))
        self.marks[records.start : records.stop] = bytes([mark]) * len(records)

    def leave_out(self, txn: Reader, outside: Iterable[LeftOut]) -> int:
        """Mark what a repair left out; how many these are."""
        count = 0
        for one in outside:
            mark = COPY | self._kind(txn, one.record) if one.code == TWICE else LEFT
            self.mark(range(one.record, one.record + 1), mark)
            count += 1
        return count

    def is_left_out(self, number: int) -> bool:
        mark = self.marks[number] if number < len(self.marks) else 0
        return mark == LEFT or COPY <= mark < GONE

    def lose(self, records: range) -> int:
        """Mark records as gone unless a repair left them out; how many were not."""
        count = 0
        self.mark(range(records.stop, records.stop), 0)
        for number in records:
            if not self.is_left_out(number):
                self.marks[number] = GONE
                count += 1
        return count

    def look(self, txn: Reader, number: int, data: bytes) -> Verdict | None:
        """What is wrong with a record; None if nothing is."""
        try:
            record = read_record(data, number)
        except Damaged as error:
            verdict: Verdict | None = Verdict("unreadable", f"record {number}", error.message, GONE)
        else:
            verdict = self._judge(txn, number, record)
        mark = verdict.mark if verdict else (data[0] >> 4) + 1
        if number == len(self.marks):
            self.marks.append(mark)
        else:
            self.mark(range(number, number + 1), mark)
        return verdict

    def _judge(self, txn: Reader, number: int, record: Record) -> Verdict | None:
        name = name_of(record, number)
        try:
            verdict, doubtful = self._check_references(txn, number, record, name)
            if verdict is None and self._full:
                verdict = self._check_content(txn, number, record, name, doubtful=doubtful)
            elif verdict is None and doubtful:
                verdict = _needy(name, "its base")
            elif verdict is None and record.codec == FILE:
                self._check_file(record)
        except (Damaged, BadInput) as error:
            return Verdict("damaged", name, error.message, BAD)
        except Unavailable as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                return Verdict("damaged", name, error.message, BAD)
            raise
        return verdict

    def _check_references(self, txn: Reader, number: int, record: Record, name: str) -> tuple[Verdict | None, bool]:
        """What is wrong with what the record refers to, and whether its base makes it doubtful."""
        verdict, doubtful = None, False
        for other, wanted, is_base in references(record, number):
            mark = self._mark(txn, other)
            if mark < GONE:
                kind = mark & ~COPY
                if wanted not in (_ANY, kind):
                    kinds = KINDS[wanted - 1].kind, KINDS[kind - 1].kind
                    raise Damaged(f"it names a {kinds[1]}, record {other}, where a {kinds[0]} belongs")
            elif mark == GONE or (is_base and mark in (BAD, LEFT)):
                return Verdict("missing", name, _needs(txn, other), BAD), False
            elif mark in (BAD, LEFT):
                verdict = Verdict("missing", name, _needs(txn, other), NEEDY)
            elif is_base:
                doubtful = True
            else:
                verdict = verdict or _needy(name, f"record {other}")
        return verdict, doubtful

    def _check_file(self, record: Record) -> None:
        if isinstance(record.id, BlobId) and not self._files.path(record.id).is_file() and not self._is_gone(record.id):
            raise Damaged(f"its file {self._files.path(record.id)} is missing")

    def _check_content(self, txn: Reader, number: int, record: Record, name: str, *, doubtful: bool) -> Verdict | None:
        try:
            data = self.objects.get(txn, number)
        except NotFound:
            return None  # it was removed on purpose
        except Damaged:
            if record.codec == FILE and isinstance(record.id, BlobId) and self._is_gone(record.id):
                return None
            raise
        id, value = record.kind.of(data), None
        if record.kind is not BlobId:
            value = decode(record.kind, data)
            self.objects.know(record.id or number, value)
        _check_numbers(txn, number, record, len(data))
        if record.codec not in (NODE, TREE) or doubtful:
            absent = next((one for one in names_of(value) if not find(txn, one)), None)
            if absent is not None:
                return Verdict(
                    "missing", name, f"names {absent.kind} {absent}, which is not there", NEEDY, not doubtful
                )
        if self._is_twice(txn, id, number):
            return Verdict("twice", f"{id.kind} {id}", f"record {number} holds it once more", NUMBER[record.kind] + 1)
        txn.memo.ids[number] = id
        return None

    def _is_twice(self, txn: Reader, id: Id, number: int) -> bool:
        """Whether another record has that id; the record itself may have been indexed before a check was broken off."""
        known = find(txn, id)
        return known != 0 and (record_of(txn, known) if isinstance(id, NodeId) else known) != number

    def _mark(self, txn: Reader, number: int) -> int:
        """Of an earlier record; what was not looked at is judged by its record alone."""
        found = self.marks[number]
        if not found:
            found = self.marks[number] = self._kind(txn, number)
        return found

    @staticmethod
    def _kind(txn: Reader, number: int) -> int:
        try:
            return NUMBER[read_record(txn.record(number), number).kind] + 1
        except Damaged:
            return GONE


def references(record: Record, number: int) -> Iterator[Reference]:
    """What a record refers to."""
    if record.codec == NODE:
        tree, parents = read_node(record.rest, number)
        yield tree, _TREE, False
        yield from ((parent, _NODE, False) for parent in parents)
    elif record.codec == TREE:
        _, base, changes = read_tree(record.rest, number)
        if base:
            yield base, _TREE, True
        yield from ((item[2], _BLOB, False) for _, _, item in changes if item is not None)
    elif record.codec in (DELTA, SPLICE):
        yield read_packed(record.rest, number).base, _ANY, True
    elif record.codec in (REFS, REFS_ZSTD):
        yield from ((other, _ANY, False) for _, other in read_refs(record.rest, number)[1])


def name_of(record: Record, number: int) -> str:
    """Kind and id where the record says it."""
    return f"{record.kind.kind} {record.id}" if record.id is not None else f"{record.kind.kind} in record {number}"


def _needs(txn: Reader, number: int) -> str:
    try:
        named = f"{name_of(read_record(txn.record(number), number), number)} (record {number})"
    except Damaged:
        named = f"record {number}"
    return f"needs {named}, which cannot be read"


def _needy(name: str, what: str) -> Verdict:
    return Verdict("missing", name, f"needs {what}, which needs what cannot be read", NEEDY, told=False)


def _check_numbers(txn: Reader, number: int, record: Record, size: int) -> None:
    """`Damaged` unless size, chain and depth are what the record says of them."""
    stated = varints(record.rest, 1, number)[0][0] if record.codec == TREE else size_of(record, number)
    if stated not in (None, size):
        raise Damaged(f"it states {stated} bytes and has {size}")
    if record.codec in (DELTA, SPLICE):
        packed = read_packed(record.rest, number)
        under = packed_of(txn, packed.base)
        chain, depth = (under.chain, under.depth) if under else (0, 0)
        if (packed.chain, packed.depth) != (chain + len(packed.payload), depth + 1):
            raise Damaged("it states another chain of deltas than it has")
