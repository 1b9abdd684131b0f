"""The tables of a store built again beside it, from its log alone, to be compared with its own."""

from collections.abc import Callable, Iterator
from itertools import islice

from dagstore.index import DERIVED
from dagstore.storage import KEPT, WHERE, Memo, Reader, Writer

_STRETCH = 4096
_OFFSET = b"offset"


class Overlay:
    """Records up to `last` and kept tables of one transaction, and all other tables of another."""

    def __init__(self, below: Reader, above: Writer, recent: dict[int, bytes], memo: Memo, last: int) -> None:
        self._below = below
        self._above = above
        self._recent = recent
        self.memo = memo
        self._last = last

    def record(self, number: int) -> bytes:
        found = self._recent.get(number)
        return self._below.record(number) if found is None else found

    def records(self) -> int:
        return self._last

    def settled(self) -> int:
        return self._last

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._of(table).get(table, key)

    def seek(self, table: str, key: bytes) -> bytes | None:
        return self._of(table).seek(table, key)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._of(table).scan(table, low, high, reverse=reverse)

    def count(self, table: str) -> int:
        return self._of(table).count(table)

    def log(self, record: bytes) -> int:
        raise TypeError("a check records nothing")

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._above.put(table, key, value)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        self._above.append(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        return self._above.delete(table, key)

    def clear(self, table: str) -> None:
        self._above.clear(table)

    def meanwhile(self, work: Callable[[], None]) -> None:
        self._above.meanwhile(work)

    def _of(self, table: str) -> Reader:
        return self._below if table in KEPT else self._above


def offset_in(txn: Reader) -> int:
    """Up to which byte of the log the tables were built."""
    return int.from_bytes(txn.get("hints", _OFFSET) or b"", "big")


def set_offset(txn: Writer, offset: int) -> None:
    txn.put("hints", _OFFSET, offset.to_bytes(8, "big"))


def differences(txn: Reader, fresh: Reader) -> Iterator[tuple[str, bytes]]:
    """Each table that is not as it was built afresh, with the first key that tells them apart."""
    for table in (*KEPT, *DERIVED, "place"):
        key = _first_difference(_rows(txn, table), _rows(fresh, table))
        if key is not None:
            yield table, key


def _rows(txn: Reader, table: str) -> Iterator[tuple[bytes, bytes]]:
    rows = txn.scan(table)
    return (row for row in rows if row[0] != WHERE) if table == "place" else rows


def _first_difference(one: Iterator[tuple[bytes, bytes]], other: Iterator[tuple[bytes, bytes]]) -> bytes | None:
    while True:
        ours, theirs = list(islice(one, _STRETCH)), list(islice(other, _STRETCH))
        if ours != theirs:
            at = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            at = min(len(ours), len(theirs)) if at is None else at
            return min(rows[at][0] for rows in (ours, theirs) if at < len(rows))
        if not ours:
            return None
