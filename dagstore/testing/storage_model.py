"""What tests do to a storage, and a storage of plain lists and dictionaries that says what should come of it."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from hypothesis import strategies as st

from dagstore.errors import DagError
from dagstore.storage import SETS, TABLES, WHERE, Reader, Storage, Writer

KEYS = (b"\x00", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff")
MEMBERS = (b"\0\0\0", b"\0\0\1", b"a\0\0", b"abc", b"ab\xff", b"b\xff\xff", b"\xff\0\0", b"\xff\xff\xff")
"""Keys of a set, in order: all of one length."""
BOUNDS = (b"", *KEYS, *MEMBERS, b"aa", b"\xff\x00", b"\x01\x00\x00")
"""Where scans begin and end: at keys, between them, and at prefixes."""

PATIENCE = 20.0
"""Seconds after which a thread that should have moved counts as stuck."""

Pair = tuple[bytes, bytes]


def fill(storage: Storage, table: str) -> list[Pair]:
    """Put keys into a table, in an order that is not theirs; the pairs in order."""
    keys = MEMBERS if table in SETS else KEYS
    with storage.write() as txn:
        for key in (*keys[1::2], *keys[::2]):
            txn.put(table, key, b"v" + key)
    return [(key, b"" if table in SETS else b"v" + key) for key in keys]


def log(storage: Storage, record: bytes) -> int:
    """Add one record in a transaction of its own; its number."""
    with storage.write() as txn:
        return txn.log(record)


def overwrite(storage: Storage) -> None:
    """Change what `fill` put into `state` and `facts` in every way there is."""
    with storage.write() as txn:
        txn.log(b"record")
        for key in KEYS:
            txn.delete("state", key)
        txn.put("state", b"a", b"new")
        txn.clear("facts")
        txn.put("meta", b"x", b"")
        txn.put("facts", b"new", b"")


def break_off(storage: Storage) -> None:
    """Change the log, kept tables and derived ones, and fail before the end."""
    with storage.write() as txn:
        number = txn.log(b"given up")
        txn.memo.numbers[b"given up"] = txn.memo.ids[number] = txn.memo.rows[number] = number
        assert (txn.memo.numbers[b"given up"], txn.memo.ids[number], txn.memo.rows[number]) == (number,) * 3
        txn.put("meta", b"more", b"")
        txn.put("facts", b"mor", b"")
        txn.clear("rank")
        for table in ("state", "facts"):
            for key, _ in list(txn.scan(table, b"a", b"b")):
                txn.delete(table, key)
        raise KeyError("stop")


def count(storage: Storage) -> int:
    """How many records there are, and keys in `state`."""
    with storage.read() as txn:
        return txn.records() + txn.count("state")


def everything(txn: Reader) -> dict[str, list[Pair]]:
    """The pairs of every table that has some."""
    pairs = {table: rows_of(txn, table) for table in TABLES}
    return {table: rows for table, rows in pairs.items() if rows}


def rows_of(txn: Reader, table: str) -> list[Pair]:
    """The pairs of a table, without what a storage notes for itself."""
    return [pair for pair in txn.scan(table) if (table, pair[0]) != ("place", WHERE)]


def in_thread(work: Callable[[], int | None]) -> int:
    """What `work` returns in another thread; its errors are raised here."""
    return at_once([work])[0]


def at_once(works: Sequence[Callable[[], int | None]]) -> list[int]:
    """What each returns in a thread of its own; the first error is raised here."""
    answers: list[int] = [0] * len(works)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            answers[number] = works[number]() or 0
        except (DagError, ValueError, AssertionError, LookupError, RuntimeError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread is stuck"
    if errors:
        raise errors[0]
    return answers


# --- the model ---


class Op(NamedTuple):
    """One call of a writer: `log` of a value, `put`, `append` or `delete` in a table, or `clear` of it."""

    name: str
    table: str = ""
    key: bytes = b""
    value: bytes = b""


class Transaction(NamedTuple):
    ops: tuple[Op, ...]
    commit: bool


Event = Transaction | None
"""A transaction, or the storage is opened again."""


class GivenUpError(Exception):
    pass


class Model:
    """Plays events on a storage and on plain values, and compares every answer."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.tables: dict[str, dict[bytes, bytes]] = {table: {} for table in (*_TABLES, *_MEMBERS)}

    def play(self, storage: Storage, event: Event) -> None:
        if event is None:
            return
        draft = Model()
        draft.records = list(self.records)
        draft.tables = {table: dict(rows) for table, rows in self.tables.items()}
        with suppress(GivenUpError), storage.write() as txn:
            for op in event.ops:
                assert _answer(lambda op=op: _apply(txn, op)) == _answer(lambda op=op: draft._apply(op)), op  # type: ignore[misc]
            draft.compare(txn, settled=len(self.records))
            if not event.commit:
                raise GivenUpError
        if event.commit:
            self.records, self.tables = draft.records, draft.tables

    def compare(self, txn: Reader, settled: int = -1) -> None:
        """Every question to the storage is answered as the plain values would."""
        assert (txn.records(), txn.settled()) == (len(self.records), len(self.records) if settled < 0 else settled)
        assert [txn.record(number) for number in range(1, len(self.records) + 1)] == self.records
        for table, rows in self.tables.items():
            pairs = sorted(rows.items())
            assert (txn.count(table), list(txn.scan(table))) == (len(pairs), pairs)
            for low, high in zip(BOUNDS, BOUNDS[3:], strict=False):
                between = [pair for pair in pairs if low <= pair[0] < high]
                assert list(txn.scan(table, low, high)) == between
                assert list(txn.scan(table, low, high, reverse=True)) == between[::-1]
                assert txn.seek(table, low) == next((key for key, _ in pairs if key >= low), None)
            assert all(txn.get(table, key) == rows.get(key) for key in KEYS_OF[table])

    def _apply(self, op: Op) -> object:
        if op.name == "log":
            self.records.append(op.value)
            return len(self.records)
        rows = self.tables[op.table]
        if op.name == "clear":
            rows.clear()
        elif op.name == "delete":
            return rows.pop(op.key, None) is not None
        elif op.name == "append" and rows and max(rows) >= op.key:
            raise ValueError
        else:
            rows[op.key] = b"" if op.table in SETS else op.value
        return None


def _apply(txn: Writer, op: Op) -> object:
    if op.name == "log":
        return txn.log(op.value)
    if op.name == "clear":
        txn.clear(op.table)
        return None
    if op.name == "delete":
        return txn.delete(op.table, op.key)
    (txn.put if op.name == "put" else txn.append)(op.table, op.key, op.value)
    return None


def _answer(work: Callable[[], object]) -> object:
    try:
        return work()
    except ValueError:
        return ValueError


_TABLES = ("meta", "state", "graph", "rank")
_MEMBERS = ("facts", "id")
KEYS_OF = dict.fromkeys(_TABLES, KEYS) | dict.fromkeys(_MEMBERS, MEMBERS)


def _ops() -> st.SearchStrategy[Op]:
    values = st.sampled_from([b"", b"1", b"some bytes", b"\xff" * 300, b"x" * 5000])
    tables = st.sampled_from([*_TABLES, *_MEMBERS])
    names = st.sampled_from(["put", "put", "put", "append", "delete"])
    changes = tables.flatmap(
        lambda table: st.builds(Op, names, st.just(table), st.sampled_from(KEYS_OF[table]), values)
    )
    clear = st.builds(Op, st.just("clear"), st.sampled_from(["graph", "rank", "facts", "id"]))
    return changes | changes | st.builds(lambda value: Op("log", value=value), values) | clear


def histories() -> st.SearchStrategy[list[Event]]:
    """Transactions that are committed or given up, and now and then the storage is opened again."""
    transactions = st.builds(
        Transaction, st.lists(_ops(), max_size=12).map(tuple), st.sampled_from([True, True, False])
    )
    return st.lists(transactions | transactions | transactions | st.none(), max_size=8)
