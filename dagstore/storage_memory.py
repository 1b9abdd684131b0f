"""A storage in memory: the same contract as the real one, except that nothing outlives the process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sortedcontainers import SortedDict

from dagstore.errors import Damaged, Refused
from dagstore.storage import KEPT, MAX_KEY_BYTES, SETS, TABLES, Memo, Reader, Writer, check_size

Tables = dict[str, SortedDict]


class MemoryStorage:
    """Copy on write: readers keep the tables of their commit, a writer replaces those that it touched."""

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._state: tuple[Tables, int] = {name: SortedDict() for name in TABLES}, 0
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def read(self) -> Iterator[Reader]:
        self._check_open()
        tables, count = self._state
        yield _View(tables, self._records, count)

    @contextmanager
    def write(self) -> Iterator[Writer]:
        with self._lock:
            self._check_open()
            tables, count = self._state
            change = _Change(dict(tables), self._records, count)
            try:
                yield change
            except BaseException:
                del self._records[count:]
                raise
            self._state = change.tables, change.records()
        for work in change.waiting:
            work()

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise Refused("the store is closed", hint="open it again")


class _View:
    def __init__(self, tables: Tables, log: list[bytes], count: int) -> None:
        self.tables = tables
        self._log = log
        self._count = count
        self.memo = Memo()

    def record(self, number: int) -> bytes:
        if not 0 < number <= self._count:
            raise Damaged(f"object number {number} is missing", hint="run `dag fsck --full`")
        return self._log[number - 1]

    def records(self) -> int:
        return self._count

    def settled(self) -> int:
        return self._count

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables[table].get(key)  # type: ignore[no-any-return]

    def seek(self, table: str, key: bytes) -> bytes | None:
        return next(self.tables[table].irange(key), None)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        rows = self.tables[table]
        for key in rows.irange(low, high, inclusive=(True, False), reverse=reverse):
            yield key, rows[key]

    def count(self, table: str) -> int:
        return len(self.tables[table])


class _Change(_View):
    def __init__(self, tables: Tables, log: list[bytes], count: int) -> None:
        super().__init__(tables, log, count)
        self._own: set[str] = set()
        self._settled = count
        self.waiting: list[Callable[[], None]] = []

    def settled(self) -> int:
        return self._settled

    def log(self, record: bytes) -> int:
        self._log.append(check_size(bytes(record)))
        self._count += 1
        return self._count

    def put(self, table: str, key: bytes, value: bytes) -> None:
        if not (2 if table in SETS else 1) <= len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"key of {len(key)} bytes in {table}")
        if table in KEPT:
            check_size(value)
        self._owned(table)[bytes(key)] = b"" if table in SETS else bytes(value)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        rows = self.tables[table]
        if rows and rows.peekitem(-1)[0] >= key:
            raise ValueError(f"key {key.hex()} is not the greatest of {table}")
        self.put(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        return self._owned(table).pop(key, None) is not None

    def clear(self, table: str) -> None:
        if table in KEPT:
            raise ValueError(f"{table} is no derived table")
        self._owned(table).clear()

    def meanwhile(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def _owned(self, table: str) -> SortedDict:
        if table not in self._own:
            self.tables[table] = self.tables[table].copy()
            self._own.add(table)
        return self.tables[table]
