"""Both storages keep the contract; the one on disk also outlives its process, and refuses what would harm it."""

import errno
import os
import threading

import pytest

from dagstore.errors import Damaged, NotFound, Refused, Unavailable
from dagstore.storage import after
from dagstore.storage_lmdb import LmdbStorage
from dagstore.storage_memory import MemoryStorage
from dagstore.testing.storage_suite import StorageContract, break_off, count, everything, fill


class TestMemoryStorage(StorageContract):
    def make(self, tmp_path):
        return MemoryStorage()


class TestLmdbStorage(StorageContract):
    def make(self, tmp_path):
        return LmdbStorage(tmp_path / "store", create=True)


@pytest.mark.parametrize(
    ("prefix", "first"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"\xff", None), (b"", None), (b"a\xfe", b"a\xff")],
)
def test_the_key_after_a_prefix(prefix, first):
    assert after(prefix) == first


def test_what_was_committed_is_there_after_reopening(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    fill(storage, [b"a"])
    with pytest.raises(KeyError):
        break_off(storage)
    storage.close()
    again = LmdbStorage(tmp_path)
    with again.read() as txn:
        assert everything(txn) == {"facts": [(b"a", b"va")]}
    again.close()


def test_there_must_be_a_store(tmp_path):
    with pytest.raises(NotFound, match="no store at"):
        LmdbStorage(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_storages_of_one_process_share_what_is_open(tmp_path):
    one, other = LmdbStorage(tmp_path, create=True), LmdbStorage(tmp_path)
    fill(one, [b"a"])
    assert count(other) == 1
    one.close()
    fill(other, [b"b"])
    assert count(other) == 2
    other.close()
    with pytest.raises(Refused, match="closed"):
        count(other)


def test_a_link_to_a_store_is_the_same_store(tmp_path):
    one = LmdbStorage(tmp_path / "store", create=True)
    (tmp_path / "link").symlink_to("store")
    other = LmdbStorage(tmp_path / "link")
    fill(other, [b"a"])
    assert count(one) == 1
    one.close()
    other.close()


def test_one_opened_for_reading_does_not_write(tmp_path):
    LmdbStorage(tmp_path, create=True).close()
    storage = LmdbStorage(tmp_path, readonly=True)
    assert count(storage) == 0
    with pytest.raises(Unavailable, match="reading only"), storage.write():
        pass
    storage.close()


def test_one_opened_for_reading_beside_a_writer_does_not_write_either(tmp_path):
    writer, reader = LmdbStorage(tmp_path, create=True), LmdbStorage(tmp_path, readonly=True)
    fill(writer, [b"a"])
    assert count(reader) == 1
    with pytest.raises(Unavailable, match="reading only"), reader.write():
        pass
    writer.close()
    assert count(reader) == 1
    reader.close()


def test_a_store_that_is_open_for_reading_cannot_be_opened_for_writing(tmp_path):
    LmdbStorage(tmp_path, create=True).close()
    reader = LmdbStorage(tmp_path, readonly=True)
    with pytest.raises(Refused, match="already open") as caught:
        LmdbStorage(tmp_path)
    assert "close" in caught.value.hint
    reader.close()
    LmdbStorage(tmp_path).close()


def test_an_unfinished_store_cannot_be_read_but_be_finished(tmp_path):
    (tmp_path / "data.mdb").touch()
    with pytest.raises((Damaged, Unavailable)):
        LmdbStorage(tmp_path, readonly=True)
    storage = LmdbStorage(tmp_path, create=True)
    fill(storage, [b"a"])
    assert count(storage) == 1
    storage.close()


@pytest.mark.parametrize("data", [b"x" * 8192, b"\0" * 8192, b"short"])
def test_a_file_that_is_no_store_is_damaged(tmp_path, data):
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(Damaged, match=str(tmp_path)):
        LmdbStorage(tmp_path)


@pytest.fixture
def storage(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    yield storage
    storage.close()


def test_errors_of_the_machine_name_the_store(storage, tmp_path):
    with pytest.raises(Unavailable, match=str(tmp_path)) as caught, storage.write():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.hint
    with pytest.raises(FileNotFoundError), storage.write():
        raise FileNotFoundError(errno.ENOENT, "not a matter of the store")
    assert count(storage) == 0


def test_the_map_is_sparse(storage, tmp_path):
    fill(storage, [b"a"])
    assert (tmp_path / "data.mdb").stat().st_size < 1 << 20


def test_pages_of_old_states_are_used_again(storage, tmp_path):
    for number in range(300):
        with storage.write() as txn:
            txn.put("state", b"same", bytes([number % 256]) * 1000)
    assert (tmp_path / "data.mdb").stat().st_size < 1 << 20


def test_readers_of_many_threads_leave_nothing_behind(storage):
    for _ in range(1100):
        thread = threading.Thread(target=count, args=(storage,))
        thread.start()
        thread.join()
    assert count(storage) == 0
