"""What every storage must do, as tests: a new one is a subclass of `StorageContract` that says how it is made."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from dagstore.errors import BadInput, Damaged, Refused
from dagstore.storage import KEPT, MAX_BYTES, MAX_KEY_BYTES, SETS, TABLES, Storage, last_key
from dagstore.testing.storage_model import (
    BOUNDS,
    KEYS,
    MEMBERS,
    PATIENCE,
    Event,
    Model,
    at_once,
    break_off,
    count,
    everything,
    fill,
    histories,
    in_thread,
    log,
    overwrite,
    rows_of,
)


def fail() -> None:
    raise ZeroDivisionError


class StorageContract:
    """Tests of the promises that `storage` makes; subclasses define `make`."""

    def make(self, tmp_path: Path) -> Storage:
        raise NotImplementedError

    def again(self, storage: Storage, tmp_path: Path) -> Storage:
        """The storage after what should make no difference to it: being opened again, for one that outlives that."""
        del tmp_path
        return storage

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = self.make(tmp_path)
        yield storage
        storage.close()

    # --- records ---

    def test_records_are_numbered_and_at_hand_at_once(self, storage: Storage) -> None:
        records = (b"", b"\0", b"one", bytes(range(256)), b"x" * 100_000)
        with storage.write() as txn:
            for number, record in enumerate(records[:3], start=1):
                assert txn.log(record) == number
                assert (txn.record(number), txn.records(), txn.settled()) == (record, number, 0)
        with storage.write() as txn:
            assert [txn.log(record) for record in records[3:]] == [4, 5]
            assert (txn.records(), txn.settled()) == (5, 3)
            assert tuple(txn.record(number) for number in range(1, 6)) == records
        with storage.read() as reader:
            assert (reader.records(), reader.settled()) == (5, 5)
            assert tuple(reader.record(number) for number in range(1, 6)) == records

    def test_records_of_many_sizes_are_found_by_number(self, storage: Storage, tmp_path: Path) -> None:
        records = [bytes([number % 251]) * (number * 37 % 9000) for number in range(300)]
        for start in range(0, 300, 60):
            with storage.write() as txn:
                for record in records[start : start + 60]:
                    txn.log(record)
        storage = self.again(storage, tmp_path)
        with storage.read() as reader:
            assert all(reader.record(number) == records[number - 1] for number in range(300, 0, -1))

    @pytest.mark.parametrize("number", [0, 3, 4, 1 << 39])
    def test_a_record_that_is_not_there_is_damage(self, storage: Storage, number: int) -> None:
        with storage.write() as txn:
            txn.log(b"one")
        with storage.write() as txn:
            txn.log(b"two")
            with pytest.raises(Damaged, match=f"number {number} is missing"):
                txn.record(number)
        with storage.read() as reader, pytest.raises(Damaged, match=f"number {number} is missing"):
            reader.record(number)

    def test_numbers_of_a_transaction_that_failed_are_given_again(self, storage: Storage) -> None:
        log(storage, b"first")
        with pytest.raises(KeyError, match="stop"):
            break_off(storage)
        with storage.read() as reader:
            assert (reader.records(), reader.record(1)) == (1, b"first")
            with pytest.raises(Damaged, match="number 2 is missing"):
                reader.record(2)
        assert log(storage, b"other") == 2
        with storage.read() as reader:
            assert (reader.records(), reader.record(2)) == (2, b"other")

    def test_what_is_to_be_done_meanwhile_sees_the_commit_and_comes_before_the_end(self, storage: Storage) -> None:
        seen: list[object] = []

        def look() -> None:
            with storage.read() as reader:
                seen.append((reader.records(), reader.get("state", b"key")))
            in_thread(lambda: log(storage, b"of another writer"))

        with storage.write() as txn:
            txn.log(b"one")
            txn.put("state", b"key", b"value")
            txn.meanwhile(look)
            txn.meanwhile(lambda: seen.append("second"))
            assert not seen
        assert seen == [(1, b"value"), "second"]

    def test_what_goes_wrong_meanwhile_takes_nothing_back(self, storage: Storage, tmp_path: Path) -> None:
        def write() -> None:
            with storage.write() as txn:
                txn.log(b"one")
                txn.meanwhile(fail)

        with pytest.raises(ZeroDivisionError):
            write()
        storage = self.again(storage, tmp_path)
        with storage.read() as reader:
            assert (reader.records(), reader.record(1)) == (1, b"one")

    def test_nothing_is_done_meanwhile_by_who_changes_nothing(self, storage: Storage) -> None:
        seen: list[object] = []

        def write() -> None:
            with storage.write() as txn:
                txn.log(b"one")
                txn.meanwhile(lambda: seen.append("done"))
                fail()

        with pytest.raises(ZeroDivisionError):
            write()
        assert not seen

    def test_a_reader_does_not_count_what_came_after_it(self, storage: Storage) -> None:
        log(storage, b"first")
        with storage.read() as reader:
            in_thread(lambda: log(storage, b"second"))
            assert (reader.records(), reader.settled(), reader.record(1)) == (1, 1, b"first")
        with storage.read() as reader:
            assert reader.records() == 2

    # --- tables ---

    def test_the_log_and_every_table_start_empty(self, storage: Storage) -> None:
        with storage.read() as txn:
            assert (txn.records(), txn.settled()) == (0, 0)
            for table in TABLES:
                found = txn.count(table), list(txn.scan(table)), txn.get(table, b"key"), txn.seek(table, b"k")
                assert found == (0, [], None, None)
            assert last_key(txn, "graph") is None

    def test_what_was_put_is_there_and_tables_are_apart(self, storage: Storage) -> None:
        with storage.write() as txn:
            for table in TABLES:
                txn.put(table, b"key", table.encode())
        with storage.read() as txn:
            expected = [b"" if table in SETS else table.encode() for table in TABLES]
            assert [txn.get(table, b"key") for table in TABLES] == expected
            assert [rows_of(txn, table) for table in TABLES] == [[(b"key", value)] for value in expected]

    @pytest.mark.parametrize("table", ["state", "rank"])
    def test_a_writer_sees_its_own_changes(self, storage: Storage, table: str) -> None:
        with storage.write() as txn:
            txn.put(table, b"a", b"1")
            txn.put(table, b"a", b"2")
            assert (txn.get(table, b"a"), txn.count(table), list(txn.scan(table))) == (b"2", 1, [(b"a", b"2")])
            assert [txn.delete(table, key) for key in (b"a", b"a", b"b")] == [True, False, False]
            assert (txn.get(table, b"a"), txn.count(table), list(txn.scan(table))) == (None, 0, [])

    @pytest.mark.parametrize("table", ["state", "rank"])
    def test_values_are_any_bytes(self, storage: Storage, table: str) -> None:
        values = (b"", b"\0", bytes(range(256)), b"x" * 1_000_000)
        with storage.write() as txn:
            for number, value in enumerate(values):
                txn.put(table, bytes([number]), value)
        with storage.read() as txn:
            assert tuple(txn.get(table, bytes([number])) for number in range(len(values))) == values

    def test_what_is_too_large_for_the_log_is_refused(self, storage: Storage) -> None:
        largest = bytes(MAX_BYTES)
        with storage.write() as txn:
            for work in (lambda: txn.log(largest + b"x"), lambda: txn.put("state", b"a", largest + b"x")):
                with pytest.raises(BadInput, match="limit"):
                    work()
            assert (txn.records(), txn.count("state")) == (0, 0)
            txn.log(largest)
            txn.put("state", b"a", largest)
        with storage.read() as reader:
            assert (reader.record(1) == largest, reader.get("state", b"a") == largest) == (True, True)

    def test_a_set_has_each_key_once_and_no_values(self, storage: Storage) -> None:
        with storage.write() as txn:
            for key in (*MEMBERS[::-1], *MEMBERS):
                txn.put("facts", key, b"dropped")
            assert (txn.count("facts"), list(txn.scan("facts"))) == (len(MEMBERS), [(key, b"") for key in MEMBERS])
            assert txn.get("facts", b"ab\xfe") is None
            assert [txn.delete("facts", key) for key in (b"abc", b"abc", b"abd")] == [True, False, False]
        with storage.read() as txn:
            assert (txn.get("facts", b"abc"), txn.get("facts", b"a\0\0")) == (None, b"")
            assert [key for key, _ in txn.scan("facts")] == [key for key in MEMBERS if key != b"abc"]
            assert last_key(txn, "facts") == MEMBERS[-1]

    @pytest.mark.parametrize("count", [1, 2, 3000])
    def test_a_set_may_have_many_keys_in_any_order(self, storage: Storage, count: int) -> None:
        keys = sorted((number * 40_503 % (1 << 20)).to_bytes(3, "big") for number in range(count))
        with storage.write() as txn:
            for key in (*keys[::2], *keys[1::2][::-1]):
                txn.put("id", key, b"")
        with storage.write() as txn:
            assert [key for key, _ in txn.scan("id")] == keys
            assert all(txn.delete("id", key) for key in keys[1:])
            assert [key for key, _ in txn.scan("id")] == keys[:1]

    @pytest.mark.parametrize("table", ["rank", "facts"])
    @pytest.mark.parametrize("low", BOUNDS)
    def test_scans_are_ordered_and_half_open(self, storage: Storage, low: bytes, table: str) -> None:
        pairs = fill(storage, table)
        for high in (None, *BOUNDS):
            expected = [pair for pair in pairs if low <= pair[0] and (high is None or pair[0] < high)]
            with storage.read() as txn:
                assert list(txn.scan(table, low, high)) == expected
                assert list(txn.scan(table, low, high, reverse=True)) == expected[::-1]

    def test_a_writer_scans_like_a_reader(self, storage: Storage) -> None:
        pairs = {table: fill(storage, table) for table in ("rank", "facts")}
        with storage.write() as writer:
            writer.put("state", b"other", b"")
            for table, expected in pairs.items():
                assert list(writer.scan(table)) == expected
                assert list(writer.scan(table, b"ab", b"b\xff\xff", reverse=True)) == [
                    pair for pair in expected[::-1] if b"ab" <= pair[0] < b"b\xff\xff"
                ]

    @pytest.mark.parametrize("table", ["rank", "facts"])
    def test_seek_finds_the_next_key(self, storage: Storage, table: str) -> None:
        keys = [key for key, _ in fill(storage, table)]
        with storage.read() as txn:
            for low in (*BOUNDS, b"\xff\xff\xff\xff"):
                assert txn.seek(table, low) == next((key for key in keys if key >= low), None)

    def test_two_scans_may_be_under_way_at_once(self, storage: Storage) -> None:
        for table, keys in (("rank", KEYS), ("facts", MEMBERS)):
            fill(storage, table)
            with storage.read() as txn:
                up, down = txn.scan(table), txn.scan(table, reverse=True)
                pairs = list(zip(up, down, strict=True))
            assert [(one[0], other[0]) for one, other in pairs] == list(zip(keys, keys[::-1], strict=True))

    @pytest.mark.parametrize("table", ["state", "rank", "facts"])
    def test_append_takes_only_what_is_the_greatest(self, storage: Storage, table: str) -> None:
        with storage.write() as txn:
            txn.append(table, b"bb", b"1")
            txn.append(table, b"cb", b"2")
        for key in (b"aa", b"bb", b"ca", b"cb", b"bc"):
            with pytest.raises(ValueError, match="not the greatest"), storage.write() as txn:
                txn.append(table, key, b"3")
        with storage.read() as txn:
            assert [key for key, _ in txn.scan(table)] == [b"bb", b"cb"]

    def test_keys_have_1_to_511_bytes_and_at_least_2_in_sets(self, storage: Storage) -> None:
        longest = b"k" * MAX_KEY_BYTES
        with storage.write() as txn:
            txn.put("state", longest, b"1")
            txn.append("graph", longest, b"2")
            txn.put("kids", longest, b"")
        for table, key in (("state", b""), ("state", longest + b"k"), ("kids", b""), ("kids", b"k")):
            with pytest.raises(ValueError, match="key"), storage.write() as txn:
                txn.put(table, key, b"3")
        for key in (b"", longest + b"k"):
            with pytest.raises(ValueError, match="key"), storage.write() as txn:
                txn.append("rank", key, b"4")
        with storage.read() as txn:
            assert (txn.get("state", longest), txn.get("kids", longest)) == (b"1", b"")
            assert [txn.count(table) for table in ("state", "graph", "kids", "rank")] == [1, 1, 1, 0]

    def test_derived_tables_can_be_cleared_and_filled_again(self, storage: Storage) -> None:
        for table in TABLES:
            if table in KEPT:
                with pytest.raises(ValueError, match="no derived table"), storage.write() as txn:
                    txn.clear(table)
                continue
            fill(storage, table)
            with storage.write() as txn:
                txn.clear(table)
                assert rows_of(txn, table) == []
                txn.put(table, b"new", b"")
            with storage.read() as reader:
                assert rows_of(reader, table) == [(b"new", b"")]

    def test_clearing_is_undone_with_its_transaction(self, storage: Storage) -> None:
        pairs = {table: fill(storage, table) for table in ("rank", "facts")}
        with pytest.raises(KeyError, match="stop"):
            break_off(storage)
        with storage.read() as reader:
            assert everything(reader) == pairs

    # --- transactions ---

    def test_an_exception_changes_nothing_and_goes_on(self, storage: Storage) -> None:
        pairs = {table: fill(storage, table) for table in ("state", "facts", "rank")}
        with pytest.raises(KeyError, match="stop"):
            break_off(storage)
        with storage.read() as reader:
            assert (reader.records(), everything(reader)) == (0, pairs)
        fill(storage, "paths")
        with storage.read() as reader:
            assert everything(reader).keys() == {*pairs, "paths"}

    def test_errors_of_ours_go_on_as_they_are(self, storage: Storage) -> None:
        error = Refused("no", hint="because", code="special")
        with pytest.raises(Refused) as caught, storage.write():
            raise error
        assert caught.value is error

    def test_what_a_writer_worked_out_goes_with_its_transaction(self, storage: Storage) -> None:
        with pytest.raises(KeyError, match="stop"):
            break_off(storage)
        with storage.read() as txn:
            assert b"given up" not in txn.memo.numbers
            assert txn.memo.ids == txn.memo.rows == {}

    def test_a_reader_keeps_its_state_while_others_write(self, storage: Storage) -> None:
        before = {table: fill(storage, table) for table in ("state", "facts")}
        with storage.read() as txn:
            scan = txn.scan("facts")
            seen = [next(scan)]
            in_thread(lambda: overwrite(storage))
            seen += scan
            assert {**everything(txn), "facts": seen} == before
            assert (txn.get("facts", b"new"), txn.get("meta", b"x"), txn.records()) == (None, None, 0)
        with storage.read() as txn:
            assert everything(txn) == {"state": [(b"a", b"new")], "facts": [(b"new", b"")], "meta": [(b"x", b"")]}

    def test_nobody_sees_a_transaction_before_its_end(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("state", b"a", b"")
            txn.log(b"record")
            assert in_thread(lambda: count(storage)) == 0
        assert in_thread(lambda: count(storage)) == 2

    def test_readers_do_not_wait_for_a_writer_nor_it_for_them(self, storage: Storage) -> None:
        with storage.read() as reader:
            for _ in range(20):
                in_thread(lambda: log(storage, b"record"))
            assert reader.records() == 0
        with storage.write():
            assert in_thread(lambda: count(storage)) == 20

    def test_many_readers_at_once(self, storage: Storage) -> None:
        def enter(depth: int) -> int:
            with storage.read() as txn:
                return txn.records() + (in_thread(lambda: enter(depth - 1)) if depth else 0)

        log(storage, b"record")
        assert enter(20) == 21

    def test_one_writer_at_a_time(self, storage: Storage) -> None:
        """Threads that each read, add one and write lose no addition."""

        def add() -> None:
            for _ in range(25):
                with storage.write() as txn:
                    number = int.from_bytes(txn.get("state", b"n") or b"", "big")
                    txn.put("state", b"n", (number + 1).to_bytes(4, "big"))
                    assert txn.log(b"%d" % number) == number + 1

        at_once([add] * 4)
        with storage.read() as reader:
            assert int.from_bytes(reader.get("state", b"n") or b"", "big") == 100
            assert [reader.record(number) for number in range(1, 101)] == [b"%d" % number for number in range(100)]

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
        """What is always changed together never disagrees: a kept table, a derived one, and the log."""
        done = threading.Event()
        differing: list[tuple[int, int, int]] = []

        def watch() -> None:
            while not done.is_set():
                with storage.read() as txn:
                    kept, derived = (int.from_bytes(txn.get(table, b"n") or b"", "big") for table in ("state", "rank"))
                    if not kept == derived == txn.records():
                        differing.append((kept, derived, txn.records()))

        def change() -> None:
            for number in range(1, 101):
                with storage.write() as txn:
                    txn.put("state", b"n", bytes([number]))
                    txn.log(b"record")
                    txn.put("rank", b"n", bytes([number]))
            done.set()

        at_once([watch, watch, change])
        assert differing == []

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(histories())
    def test_any_history_gives_what_plain_values_would(self, history: list[Event]) -> None:
        model = Model()
        with tempfile.TemporaryDirectory() as folder:
            storage = self.make(Path(folder))
            try:
                for event in history:
                    model.play(storage, event)
                    storage = storage if event else self.again(storage, Path(folder))
                    with storage.read() as reader:
                        model.compare(reader)
            finally:
                storage.close()

    def test_a_closed_storage_refuses(self, storage: Storage) -> None:
        storage.close()
        storage.close()
        with pytest.raises(Refused, match="closed"), storage.read():
            pass
        with pytest.raises(Refused, match="closed"), storage.write():
            pass
