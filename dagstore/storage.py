"""The seam under the store: a log of records and ordered byte tables, with transactions over both.

An implementation promises what is written here.

- The log holds records, numbered 1, 2, … in the order in which they were added; none is ever changed or removed. It
  also keeps what is put into the tables of `KEPT`. Everything else is derived: a pure function of the log.
- A record or a kept value has at most `MAX_BYTES`; `BadInput` is raised for more.
- Tables are those of `TABLES`; keys are 1 to 511 bytes, ordered bytewise. Those of `SETS` have keys only (of one length
  of 2 bytes or more in each), with empty values; the others have values of any bytes.
- A reader sees the state of one commit from its beginning to its end, whatever writers do meanwhile. Readers take
  no lock that a writer waits for. A reader must be short: old states cannot be reused while one is open.
- One writer at a time over all processes; others wait. Leaving `write()` normally commits: the records and the kept
  tables are durable when it returns, and writers that leave at the same time share that effort. Leaving it by an
  exception changes nothing, and the exception goes on. Becoming durable takes a while in which others may write:
  what is handed to `meanwhile` is done then.
- Derived tables survive the death of a process. After a power cut, or if they are damaged or gone, they may come back
  empty, with the log and the kept tables whole: `Writer.get("place", INDEXED)` says up to which record they are
  filled, and whoever fills them says so there.
- A scan yields key and value in key order (or reverse) and stays valid while its transaction is open; a writer may
  not change a table that it is scanning.
- A transaction belongs to the thread that opened it. A storage may be shared by threads, never across `fork`.
- `Unavailable` is raised when the machine refuses (disk full, read-only, no permission), `Damaged` when the files are
  not what they should be, `NotFound` when there is no store.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dagstore.errors import BadInput

KEPT = (
    "meta",  # text -> bytes: format, uuid, seed
    "state",  # mutable: names, claims, tickets, workspaces
)
SETS = (
    "id",  # kind + begin of id + number
    "kids",  # parent + child
    "also",  # child + adopted parent
    "facts",  # kind + node + number: runs, notes, adoptions, further nodes with the same tree
    "paths",  # path + node
    "metrics",  # column + score + node
    "scores",  # channel + order + score + tree
)
TABLES = (
    *KEPT,
    *SETS,
    "place",  # text -> number: how far the derived tables are filled; the key WHERE is the storage's own
    "graph",  # chunk -> rows of nodes
    "rank",  # channels, and channel + tree -> sums
    "alias",  # foreign id + node ->
    "census",  # protocol + platform -> counts
    "hints",  # what may be lost at any time: stat caches of workspaces, where tickets wait
)
MAX_KEY_BYTES = 511
MAX_BYTES = 63 << 20
INDEXED = b"indexed"
WHERE = b"log"


class Memo:
    """What was worked out of committed records, which holds for good; emptied whenever it grows large.

    `numbers` by id; `ids`, `chains`, `roots`, `rows` and `chunks` of rows by number. What a writer finds out stays in a
    memo of its own until it has committed; `older` is then the shared one, else the same. So what is known is
    `memo.x.get(key) or memo.older.x.get(key)`, without a call since this is asked all the time.
    """

    __slots__ = ("chains", "chunks", "ids", "numbers", "older", "roots", "rows")
    LIMIT, CHUNKS = 1 << 17, 1 << 9

    def __init__(self, older: "Memo | None" = None) -> None:
        self.older = older or self
        self.clear()

    def clear(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.ids: dict[int, Any] = {}
        self.chains: dict[int, Any] = {}
        self.roots: dict[int, int] = {}
        self.chunks: dict[int, bytes] = {}
        self.rows: dict[int, Any] = {}

    def add_chunk(self, which: int, chunk: bytes) -> None:
        if len(self.chunks) >= self.CHUNKS:
            self.chunks = {}
        self.chunks[which] = chunk

    def trim(self) -> None:
        """To be called now and then: keeps the memo small."""
        if len(self.numbers) + len(self.ids) + len(self.chains) + len(self.roots) + len(self.rows) > self.LIMIT:
            self.clear()

    def settle(self) -> None:
        """The writer whose memo this is has committed."""
        older = self.older
        older.trim()
        older.numbers.update(self.numbers)
        older.ids.update(self.ids)
        older.chains.update(self.chains)
        older.roots.update(self.roots)
        older.chunks.update(self.chunks)
        older.rows.update(self.rows)


class Reader(Protocol):
    memo: "Memo"

    def record(self, number: int) -> bytes:
        """The record of that number; `Damaged` if the log does not hold it whole."""

    def records(self) -> int:
        """How many records there are."""

    def settled(self) -> int:
        """Up to which number records are committed: they will never be other ones."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value under `key`, or None."""

    def seek(self, table: str, key: bytes) -> bytes | None:
        """The smallest key that is not smaller than `key`, or None."""

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with `low <= key < high` in key order; `high` None means to the end."""

    def count(self, table: str) -> int:
        """How many keys the table has."""


class Writer(Reader, Protocol):
    def log(self, record: bytes) -> int:
        """Add a record to the log; its number."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""

    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key`, which must be greater than every key of the table; packs pages fuller than `put`."""

    def delete(self, table: str, key: bytes) -> bool:
        """Remove `key`; whether it was there."""

    def clear(self, table: str) -> None:
        """Remove every key of a derived table."""

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Call `work` when all is committed and only has to become durable; what it raises goes on after that.

        It may read but not write, and nothing that it says may get about before `write()` is left.
        """


class Storage(Protocol):
    def read(self) -> AbstractContextManager[Reader]:
        """A snapshot of the last commit."""

    def write(self) -> AbstractContextManager[Writer]:
        """The one writer; commits durably on a normal exit."""

    def close(self) -> None:
        """Give back what is held; the storage cannot be used afterwards. Idempotent."""


def check_size(data: bytes) -> bytes:
    """The same; `BadInput` if that is too much for a record or a kept value."""
    if len(data) > MAX_BYTES:
        raise BadInput(f"{len(data)} bytes, where {MAX_BYTES} is the limit", hint="put large things into files")
    return data


def after(prefix: bytes) -> bytes | None:
    """The smallest key greater than every key that starts with `prefix`; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def last_key(reader: Reader, table: str) -> bytes | None:
    """The greatest key of a table, or None when it is empty."""
    return next((key for key, _ in reader.scan(table, reverse=True)), None)
