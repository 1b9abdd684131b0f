"""What every storage must do, as tests: a new one is a subclass of `StorageContract` that says how it is made."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dagstore.errors import DagError, Refused
from dagstore.storage import MAX_KEY_BYTES, TABLES, Reader, Storage, last_key

PATIENCE = 20.0
"""Seconds after which a thread that should have moved counts as stuck."""

KEYS = (b"\x00", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff")


class StorageContract:
    """Tests of the promises that `storage` makes; subclasses define `make`."""

    def make(self, tmp_path: Path) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = self.make(tmp_path)
        yield storage
        storage.close()

    def test_every_table_starts_empty(self, storage: Storage) -> None:
        with storage.read() as txn:
            assert [(table, txn.count(table), list(txn.scan(table))) for table in TABLES if txn.count(table)] == []
            assert [txn.get(table, b"key") for table in TABLES] == [None] * len(TABLES)
            assert last_key(txn, "obj") is None

    def test_what_was_put_is_there_and_tables_are_apart(self, storage: Storage) -> None:
        with storage.write() as txn:
            for table in TABLES:
                txn.put(table, b"key", table.encode())
        with storage.read() as txn:
            assert [txn.get(table, b"key") for table in TABLES] == [table.encode() for table in TABLES]

    def test_a_writer_sees_its_own_changes(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("state", b"a", b"1")
            txn.put("state", b"a", b"2")
            assert (txn.get("state", b"a"), txn.count("state"), list(txn.scan("state"))) == (b"2", 1, [(b"a", b"2")])
            txn.delete("state", b"a")
            assert (txn.get("state", b"a"), txn.count("state"), list(txn.scan("state"))) == (None, 0, [])

    def test_values_are_any_bytes(self, storage: Storage) -> None:
        values = (b"", b"\0", bytes(range(256)), b"x" * 1_000_000)
        with storage.write() as txn:
            for number, value in enumerate(values):
                txn.put("obj", bytes([number]), value)
        with storage.read() as txn:
            assert tuple(txn.get("obj", bytes([number])) for number in range(len(values))) == values

    def test_delete_says_whether_the_key_was_there(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("state", b"a", b"")
            assert [txn.delete("state", b"a"), txn.delete("state", b"a"), txn.delete("state", b"b")] == [
                True,
                False,
                False,
            ]

    @pytest.mark.parametrize("low", [b"", *KEYS, b"aa", b"\xff\x00"])
    @pytest.mark.parametrize("high", [None, b"", *KEYS, b"aa", b"\xff\x00"])
    def test_scans_are_ordered_and_half_open(self, storage: Storage, low: bytes, high: bytes | None) -> None:
        fill(storage, KEYS)
        expected = [(key, b"v" + key) for key in KEYS if low <= key and (high is None or key < high)]
        with storage.read() as txn:
            assert list(txn.scan("facts", low, high)) == expected
            assert list(txn.scan("facts", low, high, reverse=True)) == expected[::-1]
        with storage.write() as writer:
            writer.put("state", b"other", b"")
            assert list(writer.scan("facts", low, high)) == expected
            assert list(writer.scan("facts", low, high, reverse=True)) == expected[::-1]

    def test_two_scans_may_be_under_way_at_once(self, storage: Storage) -> None:
        fill(storage, KEYS)
        with storage.read() as txn:
            up, down = txn.scan("facts"), txn.scan("facts", reverse=True)
            pairs = list(zip(up, down, strict=True))
        assert [(one[0], other[0]) for one, other in pairs] == list(zip(KEYS, KEYS[::-1], strict=True))

    def test_the_last_key(self, storage: Storage) -> None:
        fill(storage, KEYS)
        with storage.read() as txn:
            assert last_key(txn, "facts") == KEYS[-1]

    def test_append_takes_only_what_is_the_greatest(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.append("obj", b"b", b"1")
            txn.append("obj", b"c", b"2")
        for key in (b"a", b"b", b"c"):
            with pytest.raises(ValueError, match="not the greatest"), storage.write() as txn:
                txn.append("obj", key, b"3")
        with storage.read() as txn:
            assert list(txn.scan("obj")) == [(b"b", b"1"), (b"c", b"2")]

    def test_keys_have_1_to_511_bytes(self, storage: Storage) -> None:
        longest = b"k" * MAX_KEY_BYTES
        with storage.write() as txn:
            txn.put("state", longest, b"1")
            txn.append("obj", longest, b"2")
        for key in (b"", longest + b"k"):
            with pytest.raises(ValueError, match="key"), storage.write() as txn:
                txn.put("state", key, b"3")
            with pytest.raises(ValueError, match="key"), storage.write() as txn:
                txn.append("kids", key, b"4")
        with storage.read() as txn:
            assert txn.get("state", longest) == b"1"
            assert (txn.count("state"), txn.count("obj"), txn.count("kids")) == (1, 1, 0)

    def test_an_exception_changes_nothing_and_goes_on(self, storage: Storage) -> None:
        fill(storage, [b"kept"])
        with pytest.raises(KeyError, match="stop"):
            break_off(storage)
        with storage.read() as reader:
            assert list(reader.scan("facts")) == [(b"kept", b"vkept")]
            assert reader.count("meta") == 0
        fill(storage, [b"later"])
        with storage.read() as reader:
            assert reader.count("facts") == 2

    def test_errors_of_ours_go_on_as_they_are(self, storage: Storage) -> None:
        error = Refused("no", hint="because", code="special")
        with pytest.raises(Refused) as caught, storage.write():
            raise error
        assert caught.value is error

    def test_a_reader_keeps_its_state_while_others_write(self, storage: Storage) -> None:
        fill(storage, [b"a", b"b"])
        with storage.read() as txn:
            scan = txn.scan("facts")
            seen = [next(scan)]
            in_thread(lambda: overwrite(storage))
            seen += scan
            assert seen == [(b"a", b"va"), (b"b", b"vb")]
            assert everything(txn) == {"facts": seen}
            assert (txn.get("facts", b"c"), txn.get("meta", b"x")) == (None, None)
        with storage.read() as txn:
            assert everything(txn) == {"facts": [(b"b", b"new"), (b"c", b"vc")], "meta": [(b"x", b"")]}

    def test_nobody_sees_a_transaction_before_its_end(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("facts", b"a", b"")
            assert in_thread(lambda: count(storage)) == 0
        assert in_thread(lambda: count(storage)) == 1

    def test_readers_do_not_wait_for_a_writer_nor_it_for_them(self, storage: Storage) -> None:
        with storage.read() as reader:
            for number in range(20):
                in_thread(lambda key=bytes([number]): fill(storage, [key]))  # type: ignore[misc]
            assert reader.count("facts") == 0
        with storage.write():
            assert in_thread(lambda: count(storage)) == 20

    def test_many_readers_at_once(self, storage: Storage) -> None:
        def enter(depth: int) -> int:
            with storage.read() as txn:
                return txn.count("facts") + (in_thread(lambda: enter(depth - 1)) if depth else 0)

        fill(storage, [b"a"])
        assert enter(20) == 21

    def test_one_writer_at_a_time(self, storage: Storage) -> None:
        """Threads that each read, add one and write lose no addition."""

        def add() -> None:
            for _ in range(25):
                with storage.write() as txn:
                    number = int.from_bytes(txn.get("state", b"n") or b"", "big")
                    txn.put("state", b"n", (number + 1).to_bytes(4, "big"))

        at_once([add] * 4)
        with storage.read() as reader:
            assert int.from_bytes(reader.get("state", b"n") or b"", "big") == 100

    def test_a_writer_waits_for_the_other_one(self, storage: Storage) -> None:
        order: list[str] = []
        entered = threading.Event()

        def second() -> None:
            entered.set()
            with storage.write():
                order.append("second")

        with storage.write():
            thread = threading.Thread(target=second, daemon=True)
            thread.start()
            assert entered.wait(PATIENCE)
            thread.join(0.05)
            order.append("first")
        thread.join(PATIENCE)
        assert order == ["first", "second"]

    def test_readers_see_whole_commits_only(self, storage: Storage) -> None:
        """Two tables that are always changed together never disagree."""
        done = threading.Event()
        differing: list[tuple[bytes | None, bytes | None]] = []

        def watch() -> None:
            while not done.is_set():
                with storage.read() as txn:
                    pair = txn.get("facts", b"n"), txn.get("rank", b"n")
                if pair[0] != pair[1]:
                    differing.append(pair)

        def change() -> None:
            for number in range(100):
                with storage.write() as txn:
                    txn.put("facts", b"n", bytes([number]))
                    txn.put("rank", b"n", bytes([number]))
            done.set()

        at_once([watch, watch, change])
        assert differing == []

    def test_a_closed_storage_refuses(self, storage: Storage) -> None:
        storage.close()
        storage.close()
        with pytest.raises(Refused, match="closed"), storage.read():
            pass
        with pytest.raises(Refused, match="closed"), storage.write():
            pass


def fill(storage: Storage, keys: list[bytes] | tuple[bytes, ...]) -> None:
    """Put `v<key>` under each key of the table `facts`, in an order that is not theirs."""
    with storage.write() as txn:
        for key in (*keys[1::2], *keys[::2]):
            txn.put("facts", key, b"v" + key)


def overwrite(storage: Storage) -> None:
    """Change `facts` {a, b} in every way there is."""
    with storage.write() as txn:
        txn.delete("facts", b"a")
        txn.put("facts", b"b", b"new")
        txn.put("facts", b"c", b"vc")
        txn.put("meta", b"x", b"")


def break_off(storage: Storage) -> None:
    """Change `facts` and `meta`, and fail before the end."""
    with storage.write() as txn:
        txn.put("facts", b"more", b"")
        txn.put("meta", b"more", b"")
        for key, _ in list(txn.scan("facts", b"kept", b"kept\0")):
            txn.delete("facts", key)
        raise KeyError("stop")


def count(storage: Storage) -> int:
    with storage.read() as txn:
        return txn.count("facts")


def everything(txn: Reader) -> dict[str, list[tuple[bytes, bytes]]]:
    """The pairs of every table that has some."""
    return {table: list(txn.scan(table)) for table in TABLES if txn.count(table)}


def in_thread(work: Callable[[], int | None]) -> int:
    """What `work` returns in another thread; its errors are raised here."""
    return at_once([work])[0]


def at_once(works: list[Callable[[], int | None]] | list[Callable[[], None]]) -> list[int]:
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
