"""A storage in memory: the same contract as the real one, except that nothing outlives the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sortedcontainers import SortedDict

from dagstore.errors import Refused
from dagstore.storage import MAX_KEY_BYTES, TABLES, Reader, Writer

Tables = dict[str, SortedDict]


class MemoryStorage:
    """Copy on write: readers keep the tables of their commit, a writer replaces those that it touched."""

    def __init__(self) -> None:
        self._tables: Tables = {name: SortedDict() for name in TABLES}
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def read(self) -> Iterator[Reader]:
        self._check_open()
        yield _View(self._tables)

    @contextmanager
    def write(self) -> Iterator[Writer]:
        with self._lock:
            self._check_open()
            change = _Change(dict(self._tables))
            yield change
            self._tables = change.tables

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise Refused("the store is closed", hint="open it again")


class _View:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables[table].get(key)  # type: ignore[no-any-return]

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        rows = self.tables[table]
        for key in rows.irange(low, high, inclusive=(True, False), reverse=reverse):
            yield key, rows[key]

    def count(self, table: str) -> int:
        return len(self.tables[table])


class _Change(_View):
    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._own: set[str] = set()

    def put(self, table: str, key: bytes, value: bytes) -> None:
        if not 1 <= len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"key of {len(key)} bytes in {table}")
        self._owned(table)[bytes(key)] = bytes(value)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        rows = self.tables[table]
        if rows and rows.peekitem(-1)[0] >= key:
            raise ValueError(f"key {key.hex()} is not the greatest of {table}")
        self.put(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        return self._owned(table).pop(key, None) is not None

    def _owned(self, table: str) -> SortedDict:
        if table not in self._own:
            self.tables[table] = self.tables[table].copy()
            self._own.add(table)
        return self.tables[table]
