"""The seam under the store: ordered byte tables with transactions. What an implementation promises is written here.

- Tables are those of `TABLES`; keys are 1 to 511 bytes, values any bytes. Keys are ordered bytewise.
- A reader sees the state of one commit from its beginning to its end, whatever writers do meanwhile. Readers take
  no lock that a writer waits for. A reader must be short: old states cannot be reused while one is open.
- One writer at a time over all processes; others wait. Leaving `write()` normally commits: everything is
  durable when it returns. Leaving it by an exception changes nothing, and the exception goes on.
- A scan yields key and value in key order (or reverse) and stays valid while its transaction is open; a writer may
  not change a table that it is scanning.
- A transaction belongs to the thread that opened it. A storage may be shared by threads, never across `fork`.
- `Unavailable` is raised when the machine refuses (disk full, read-only, no permission), `Damaged` when the files are
  not what they should be, `NotFound` when there is no store.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

TABLES = (
    "meta",  # text -> bytes: format, index version, uuid, counters
    "obj",  # seq -> envelope
    "id",  # id -> seq
    "graph",  # node seq -> generation, primary, jump, …
    "kids",  # parent seq + child seq ->
    "facts",  # subject seq + kind + seq -> : runs of a tree, notes and adoptions of a node, nodes of a tree
    "rank",  # channel + score + tree seq -> , channel + tree seq -> sums
    "state",  # mutable: names, claims, tickets, workspaces
)
MAX_KEY_BYTES = 511


class Reader(Protocol):
    def get(self, table: str, key: bytes) -> bytes | None:
        """The value under `key`, or None."""

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with `low <= key < high` in key order; `high` None means to the end."""

    def count(self, table: str) -> int:
        """How many keys the table has."""


class Writer(Reader, Protocol):
    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""

    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key`, which must be greater than every key of the table; packs pages fuller than `put`."""

    def delete(self, table: str, key: bytes) -> bool:
        """Remove `key`; whether it was there."""


class Storage(Protocol):
    def read(self) -> AbstractContextManager[Reader]:
        """A snapshot of the last commit."""

    def write(self) -> AbstractContextManager[Writer]:
        """The one writer; commits durably on a normal exit."""

    def close(self) -> None:
        """Give back what is held; the storage cannot be used afterwards. Idempotent."""


def after(prefix: bytes) -> bytes | None:
    """The smallest key greater than every key that starts with `prefix`; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def last_key(reader: Reader, table: str) -> bytes | None:
    """The greatest key of a table, or None when it is empty."""
    return next((key for key, _ in reader.scan(table, reverse=True)), None)
