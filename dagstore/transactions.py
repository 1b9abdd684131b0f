"""Transactions of the LMDB storage: reading, writing, and taking over what the log has and the index does not.

LMDB's own objects come in as arguments; this module does not know the library.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, takewhile
from typing import Any, Protocol

from dagstore import storage
from dagstore.errors import Damaged
from dagstore.log import FRAME_BYTES, Frame, Gap, Op, transactions, write_frame
from dagstore.logfile import LogFile
from dagstore.storage import WHERE, Memo, check_size

FRAMES = "frames"
"""The table that says where in the log frames are: number of the first record -> offset."""
SETS, KEPT = frozenset(storage.SETS), frozenset(storage.KEPT)
SCATTERED = frozenset({"id", "metrics", "scores"})
"""Sets whose keys come in no order."""
BATCH = 1 << 14
"""Frames that are replayed in one transaction."""


class Shared(Protocol):
    """What transactions need of the environment that they are in."""

    tables: dict[str, Any]
    recent: dict[int, bytes]
    last: Frame | None
    memo: Memo
    log: LogFile

    def read_frame(self, offset: int) -> Frame: ...
    def keep(self, first: int, records: Sequence[bytes]) -> None: ...
    def has_more(self, end: int) -> bool: ...
    def announce(self, end: int) -> None: ...


class View:
    def __init__(self, shared: Shared, txn: Any) -> None:
        self._shared = shared
        self._txn = txn
        self._tables = shared.tables
        self.memo = shared.memo
        self.memo.trim()
        self._count = -1

    def record(self, number: int) -> bytes:
        found = self._shared.recent.get(number)
        return self._load(number) if found is None else found

    def _load(self, number: int) -> bytes:
        frame = self._shared.last  # records that are read together lie together
        if frame is None or not 0 <= number - frame.first < len(frame.records):
            frame = self._frame_with(number)
        return frame.records[number - frame.first]

    def _frame_with(self, number: int) -> Frame:
        with self._txn.cursor(db=self._tables[FRAMES]) as cursor:
            there = cursor.prev() if cursor.set_range(_number(number + 1)) else cursor.last()
            offset = int.from_bytes(cursor.value(), "big") if there else None
        if offset is not None:
            frame = self._shared.read_frame(offset)
            if 0 <= number - frame.first < len(frame.records):
                return frame
        raise Damaged(f"object number {number} is missing", hint="run `dag fsck --full`")

    def records(self) -> int:
        return self.settled()

    def settled(self) -> int:
        if self._count < 0:
            self._count = where(self._txn, self._tables)[1]
        return self._count

    def get(self, table: str, key: bytes) -> bytes | None:
        if table in SETS:
            return b"" if self.seek(table, key) == key else None
        return self._txn.get(key, db=self._tables[table])  # type: ignore[no-any-return]

    def seek(self, table: str, key: bytes) -> bytes | None:
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if not _place(cursor, table, key):
                return None
            return cursor.key() + cursor.value() if table in SETS else cursor.key()  # type: ignore[no-any-return]

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(db=self._tables[table]) as cursor:
            pairs = _backward(cursor, table, high) if reverse else _forward(cursor, table, low)
            if table in SETS:
                pairs = ((key + value, b"") for key, value in pairs)
            if reverse:
                yield from takewhile(lambda pair: pair[0] >= low, pairs)
            elif high is None:
                yield from pairs
            else:
                yield from takewhile(lambda pair: pair[0] < high, pairs)

    def count(self, table: str) -> int:
        return int(self._txn.stat(self._tables[table])["entries"])

    def commit(self) -> int:
        """The number of the commit that is seen."""
        return int(self._txn.id())


class Change(View):
    """A transaction that writes; its records and what it does to kept tables go to the log before it is committed."""

    def __init__(self, shared: Shared, txn: Any) -> None:
        super().__init__(shared, txn)
        self.memo = Memo(shared.memo)
        self.end, self._count = where(txn, self._tables)
        if shared.has_more(self.end):
            while replay(txn, self._tables, shared.log, BATCH):
                pass
            self.end, self._count = where(txn, self._tables)
            shared.log.cut(self.end)
        shared.announce(self.end)
        self._new: list[bytes] = []
        self._ops: dict[tuple[str, bytes], bytes | None] = {}
        self._start = self.end
        self._waiting: list[Callable[[], None]] = []

    def log(self, record: bytes) -> int:
        self._new.append(check_size(record))
        return self._count + len(self._new)

    def record(self, number: int) -> bytes:
        at = number - self._count - 1
        return self._new[at] if 0 <= at < len(self._new) else super().record(number)

    def records(self) -> int:
        return self._count + len(self._new)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        if table not in SETS:
            self._set(table, key, value)
            return
        if len(key) < 2:
            raise _no_member(key)
        first, rest, to = key[:1], key[1:], self._tables[table]  # those of one first byte lie packed, without headers
        # What comes in order fills pages to the brim; the rest is put where it belongs.
        if table in SCATTERED or not self._txn.put(first, rest, db=to, append=True):
            self._txn.put(first, rest, db=to)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        if self.seek(table, key) is not None:
            raise ValueError(f"key {key.hex()} is not the greatest of {table}")
        if table in SETS:
            self.put(table, key, value)
        else:
            self._set(table, key, value, append=True)

    def _set(self, table: str, key: bytes, value: bytes, *, append: bool = False) -> None:
        if table in KEPT:
            self._ops[table, key] = check_size(value)
        self._txn.put(key, value, db=self._tables[table], append=append)

    def delete(self, table: str, key: bytes) -> bool:
        if table in SETS:
            if len(key) < 2:  # LMDB would remove all that begin so
                raise _no_member(key)
            return bool(self._txn.delete(key[:1], key[1:], db=self._tables[table]))
        there = bool(self._txn.delete(key, db=self._tables[table]))
        if there and table in KEPT:
            self._ops[table, key] = None
        return there

    def clear(self, table: str) -> None:
        if table in KEPT:
            raise ValueError(f"{table} is no derived table")
        self._txn.drop(self._tables[table], delete=False)
        if table == "place":
            set_where(self._txn, self._tables, self.end, self._count)

    def write_log(self) -> None:
        """Frames of the new records, written but not synced, and where they are."""
        if not self._new and not self._ops:
            return
        data = bytearray()
        bodies = _bodies(self._new, [(table, key, value) for (table, key), value in self._ops.items()])
        number = self._count + 1
        for position, (records, ops) in enumerate(bodies, start=1):
            offset, last = self.end + len(data), position == len(bodies)
            data += write_frame(offset, number, records, ops, last=last, durable=self._shared.log.durable)
            if records:
                self._txn.put(_number(number), offset.to_bytes(6, "big"), db=self._tables[FRAMES], append=True)
            number += len(records)
        self._shared.log.write(self.end, bytes(data))
        self.end += len(data)
        set_where(self._txn, self._tables, self.end, number - 1)

    def meanwhile(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)

    def settle(self) -> None:
        """After the commit: the new records are at hand, and durable when this returns."""
        self.memo.settle()
        try:
            if self._new:
                self._shared.keep(self._count + 1, self._new)
            if self._waiting:
                self._shared.log.begin_sync(self._start, self.end)
            for work in self._waiting:
                work()
        finally:
            if self._new or self._ops:
                self._shared.log.sync(self.end)


def replay(txn: Any, tables: dict[str, Any], log: LogFile, limit: int) -> bool:
    """Take over at most about `limit` frames that the log has and the index does not; whether there may be more."""
    end, count = where(txn, tables)
    done = 0
    for item in transactions(log.read, end):
        if isinstance(item, Gap):
            continue
        for frame in item:
            if frame.records:
                txn.put(_number(frame.first), frame.offset.to_bytes(6, "big"), db=tables[FRAMES], append=True)
            # Also where it has none: those before it may lie in a gap.
            count = frame.first + len(frame.records) - 1
            _apply(txn, tables, frame.ops)
        end = item[-1].end
        done += len(item)
        if done >= limit:
            break
    if done:
        set_where(txn, tables, end, count)
    return done >= limit


def where(txn: Any, tables: dict[str, Any]) -> tuple[int, int]:
    """The end of the log as the index knows it, and the number of the last record."""
    row = txn.get(WHERE, db=tables["place"])
    return (int.from_bytes(row[:8], "big"), int.from_bytes(row[8:], "big")) if row else (0, 0)


def set_where(txn: Any, tables: dict[str, Any], end: int, count: int) -> None:
    txn.put(WHERE, end.to_bytes(8, "big") + count.to_bytes(8, "big"), db=tables["place"])


def _apply(txn: Any, tables: dict[str, Any], ops: Iterable[Op]) -> None:
    for table, key, value in ops:
        if table not in KEPT:
            raise Damaged(f"the log sets a table {table!r}", hint="upgrade dagstore, or run `dag fsck`")
        if value is None:
            txn.delete(key, db=tables[table])
        else:
            txn.put(key, value, db=tables[table])


def _bodies(records: Iterable[bytes], ops: Iterable[Op]) -> list[tuple[list[bytes], list[Op]]]:
    """What the frames of a transaction hold, records before ops: about `FRAME_BYTES` each, or one larger thing."""
    bodies: list[tuple[list[bytes], list[Op]]] = [([], [])]
    size = 0
    items: Iterable[bytes | Op] = chain(records, ops)
    for item in items:
        if size >= FRAME_BYTES:
            bodies.append(([], []))
            size = 0
        if isinstance(item, bytes):
            bodies[-1][0].append(item)
            size += len(item)
        else:
            bodies[-1][1].append(item)
            size += len(item[1]) + len(item[2] or b"")
    return bodies


def _number(number: int) -> bytes:
    return number.to_bytes(5, "big")


def _no_member(key: bytes) -> ValueError:
    return ValueError(f"a key of {len(key)} bytes in a set")


def _place(cursor: Any, table: str, low: bytes) -> bool:
    """Put the cursor on the smallest key that is not smaller; whether there is one."""
    if not low:
        return bool(cursor.first())
    if table not in SETS or len(low) == 1:
        return bool(cursor.set_range(low))
    if cursor.set_range_dup(low[:1], low[1:]):
        return True
    return low[0] < 255 and bool(cursor.set_range(bytes([low[0] + 1])))


def _forward(cursor: Any, table: str, low: bytes) -> Iterator[tuple[bytes, bytes]]:
    return cursor.iternext(keys=True, values=True) if _place(cursor, table, low) else iter(())


def _backward(cursor: Any, table: str, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    found = cursor.last() if high is None or not _place(cursor, table, high) else cursor.prev()
    return cursor.iterprev(keys=True, values=True) if found else iter(())
