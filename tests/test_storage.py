"""Both storages keep the contract; the one on disk outlives its processes and full disks, and says what is wrong."""

import errno
import os
import shutil
import subprocess
import threading

import pytest

import dagstore
from dagstore import logfile, presence
from dagstore.errors import Damaged, NotFound, Refused, Unavailable
from dagstore.logfile import ROOM, LogFile
from dagstore.storage import KEPT, MAX_BYTES, Memo, after
from dagstore.storage_lmdb import LmdbStorage
from dagstore.storage_memory import MemoryStorage
from dagstore.testing.builders import make_child, make_store, measure
from dagstore.testing.children import finish, hear, killed, run, start, tell
from dagstore.testing.storage_model import PATIENCE, at_once, break_off, count, everything, fill, log
from dagstore.testing.storage_suite import StorageContract


class TestMemoryStorage(StorageContract):
    def make(self, tmp_path):
        return MemoryStorage()


class TestLmdbStorage(StorageContract):
    def make(self, tmp_path):
        return LmdbStorage(tmp_path / "store", create=True)

    def again(self, storage, tmp_path):
        storage.close()
        return LmdbStorage(tmp_path / "store")


@pytest.mark.parametrize(
    ("prefix", "first"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"\xff", None), (b"", None), (b"a\xfe", b"a\xff")],
)
def test_the_key_after_a_prefix(prefix, first):
    assert after(prefix) == first


def test_a_memo_is_kept_small():
    memo = Memo()
    for number in range(3 * Memo.LIMIT):
        memo.ids[number] = number
        memo.trim()
    assert 0 < len(memo.ids) <= Memo.LIMIT + 1


@pytest.fixture
def storage(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    yield storage
    storage.close()


def made(folder):
    """A store with one record, which nobody has open."""
    storage = LmdbStorage(folder, create=True)
    log(storage, b"first")
    storage.close()


# --- one process ---


def test_what_was_committed_is_there_after_reopening(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    pairs = {table: fill(storage, table) for table in ("state", "facts")}
    log(storage, b"record")
    with pytest.raises(KeyError):
        break_off(storage)
    storage.close()
    again = LmdbStorage(tmp_path)
    with again.read() as txn:
        assert (everything(txn), txn.records(), txn.record(1)) == (pairs, 1, b"record")
    again.close()


def test_there_must_be_a_store(tmp_path):
    with pytest.raises(NotFound, match="no store at"):
        LmdbStorage(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_storages_of_one_process_share_what_is_open(tmp_path):
    one, other = LmdbStorage(tmp_path, create=True), LmdbStorage(tmp_path)
    log(one, b"a")
    assert count(other) == 1
    one.close()
    log(other, b"b")
    assert count(other) == 2
    other.close()
    with pytest.raises(Refused, match="closed"):
        count(other)


def test_a_link_to_a_store_is_the_same_store(tmp_path):
    one = LmdbStorage(tmp_path / "store", create=True)
    (tmp_path / "link").symlink_to("store")
    other = LmdbStorage(tmp_path / "link")
    log(other, b"a")
    assert count(one) == 1
    one.close()
    other.close()


def test_one_opened_for_reading_does_not_write(tmp_path):
    made(tmp_path)
    before = snapshot(tmp_path)
    storage = LmdbStorage(tmp_path, readonly=True)
    assert count(storage) == 1
    with pytest.raises(Unavailable, match="reading only"), storage.write():
        pass
    storage.close()
    assert snapshot(tmp_path) == before


def test_one_opened_for_reading_beside_a_writer_does_not_write_either(tmp_path):
    writer, reader = LmdbStorage(tmp_path, create=True), LmdbStorage(tmp_path, readonly=True)
    log(writer, b"a")
    assert count(reader) == 1
    with pytest.raises(Unavailable, match="reading only"), reader.write():
        pass
    writer.close()
    assert count(reader) == 1
    reader.close()


def test_a_store_that_is_open_for_reading_cannot_be_opened_for_writing(tmp_path):
    made(tmp_path)
    reader = LmdbStorage(tmp_path, readonly=True)
    with pytest.raises(Refused, match="already open") as caught:
        LmdbStorage(tmp_path)
    assert "close" in caught.value.hint
    reader.close()
    LmdbStorage(tmp_path).close()


def test_an_unfinished_store_cannot_be_read_but_be_finished(tmp_path):
    (tmp_path / "log").touch()
    with pytest.raises((Damaged, Unavailable)):
        LmdbStorage(tmp_path, readonly=True)
    storage = LmdbStorage(tmp_path, create=True)
    log(storage, b"a")
    assert count(storage) == 1
    storage.close()


def test_errors_of_the_machine_name_the_store(storage, tmp_path):
    with pytest.raises(Unavailable, match=str(tmp_path)) as caught, storage.write():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.hint
    with pytest.raises(FileNotFoundError), storage.write():
        raise FileNotFoundError(errno.ENOENT, "not a matter of the store")
    assert count(storage) == 0


def test_the_map_is_sparse(storage, tmp_path):
    fill(storage, "rank")
    assert (tmp_path / "index" / "data.mdb").stat().st_size < 1 << 20


def test_pages_of_old_states_are_used_again(storage, tmp_path):
    for number in range(300):
        with storage.write() as txn:
            txn.put("rank", b"same", bytes([number % 256]) * 1000)
    assert (tmp_path / "index" / "data.mdb").stat().st_size < 1 << 20


def test_readers_of_many_threads_leave_nothing_behind(storage):
    for _ in range(1100):
        thread = threading.Thread(target=count, args=(storage,))
        thread.start()
        thread.join()
    assert count(storage) == 0


# --- the log ---


def test_room_is_reserved_while_a_store_is_written_and_given_back_at_the_end(tmp_path):
    one, other = LmdbStorage(tmp_path, create=True), LmdbStorage(tmp_path)
    assert log(one, b"record") == 1
    assert (tmp_path / "log").stat().st_size in (ROOM, used(tmp_path))  # where the file system cannot reserve, none is
    one.close()
    log(other, b"another")
    other.close()
    assert (tmp_path / "log").stat().st_size == used(tmp_path) < 1000


def used(folder):
    """Bytes of the log that are no room."""
    return len((folder / "log").read_bytes().rstrip(b"\0"))


def test_threads_that_commit_at_once_share_syncs(storage, monkeypatch):
    """While the first one syncs all others write; what they wrote needs one more sync between them."""
    threads, syncs, written = 12, [], threading.Event()
    sync = logfile._sync
    log(storage, b"the room is there, and the index is dirty")

    def counted(handle):
        syncs.append(handle)
        assert written.wait(PATIENCE)
        sync(handle)

    def watch():
        while count(storage) < 1 + threads:
            pass
        written.set()

    monkeypatch.setattr(logfile, "_sync", counted)
    commits = [lambda number=number: log(storage, b"%d" % number) for number in range(threads)]
    numbers = at_once([watch, *commits])[1:]
    assert sorted(numbers) == list(range(2, 2 + threads))
    assert len(syncs) == 2


def test_every_commit_that_has_something_to_say_is_synced_before_it_returns(storage, monkeypatch):
    synced = []
    monkeypatch.setattr(logfile, "_sync", lambda handle: synced.append(os.fstat(handle).st_size))
    log(storage, b"first")
    synced.clear()
    for table, syncs in (("state", 1), ("meta", 1), ("rank", 0), ("facts", 0), ("hints", 0)):
        fill(storage, table)
        assert (table, len(synced)) == (table, syncs)
        synced.clear()
    log(storage, b"second")
    assert len(synced) == 1
    with storage.write():
        pass
    with pytest.raises(KeyError):
        break_off(storage)
    assert len(synced) == 1


def test_what_was_cut_off_does_not_count_as_durable(tmp_path, monkeypatch):
    syncs = []
    monkeypatch.setattr(logfile, "_sync", syncs.append)
    file = LogFile(tmp_path / "log", create=True, readonly=False)
    file.write(0, bytes(1000))
    file.sync(500)
    file.cut(500)
    file.write(500, bytes(100))
    syncs.clear()
    file.sync(600)
    assert (len(syncs), file.durable) == (1, 600)
    file.sync(600)
    assert len(syncs) == 1
    file.close()


def test_a_log_that_lost_its_end_is_damaged(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    ends = [log(storage, b"record %d" % number) and used(tmp_path) for number in range(3)]
    storage.close()
    os.truncate(tmp_path / "log", ends[1])
    storage = LmdbStorage(tmp_path)
    with storage.read() as txn:
        assert [txn.record(1), txn.record(2)] == [b"record 0", b"record 1"]
        with pytest.raises(Damaged):
            txn.record(3)
    with pytest.raises(Damaged, match=f"has {ends[1]} bytes where there were {ends[2]}") as caught:
        log(storage, b"more")
    assert caught.value.hint
    storage.close()
    again = LmdbStorage(tmp_path, fresh=True)
    assert log(again, b"more") == 3
    again.close()


# --- the index ---


def test_an_index_that_is_gone_is_made_again_from_the_log(tmp_path):
    with make_store(tmp_path) as store:
        node = make_child(store, "@seed", {"train.py": "x = 1\n"})
        measure(store, node, 0.5, log=b"a log")
        store.name("good", node)
        store.queue(["@seed"], priority=2)
        root, before = store.root, lasting(store)
    shutil.rmtree(root / ".dag" / "index")
    told = []
    with dagstore.open(root, progress=lambda done, total: told.append((done, total))) as store:
        assert lasting(store) == before
        assert store.resolve("good") == node
        assert store.take("worker", 60.0).ticket.node == store.resolve("@seed")
    assert all(done <= total for done, total in told)


def test_without_its_index_a_storage_still_has_its_records_and_kept_tables(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    kept = {table: fill(storage, table) for table in KEPT}
    for table in ("rank", "facts", "hints"):
        fill(storage, table)
    records = [bytes([number]) * number * 50 for number in range(200)]
    for record in records:
        log(storage, record)
    with storage.write() as txn:
        txn.delete("state", b"ab")
        txn.put("meta", b"b", b"later")
    kept = {table: [pair for pair in kept[table] if (table, pair[0]) != ("state", b"ab")] for table in KEPT}
    kept["meta"] = [(key, b"later" if key == b"b" else value) for key, value in kept["meta"]]
    storage.close()
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(Unavailable, match="must be made again") as caught:
        LmdbStorage(tmp_path, readonly=True)
    assert caught.value.hint
    storage = LmdbStorage(tmp_path)
    with storage.read() as txn:
        assert everything(txn) == kept
        assert [txn.record(number) for number in range(1, 201)] == records
    storage.close()


def test_no_transaction_is_too_large_for_the_log(tmp_path):
    """More in one transaction than a frame may hold, in records and in kept tables, and one record that just fits."""
    storage = LmdbStorage(tmp_path, create=True)
    value, count_ = bytes(1 << 20), 3
    with storage.write() as txn:
        for number in range(count_):
            txn.log(value)
            txn.put("state", bytes([number]), value)
        txn.log(bytes(MAX_BYTES))
        txn.put("meta", b"large", bytes(MAX_BYTES))
    storage.close()
    shutil.rmtree(tmp_path / "index")
    storage = LmdbStorage(tmp_path)
    with storage.read() as txn:
        assert (txn.records(), txn.count("state"), txn.count("meta")) == (count_ + 1, count_, 1)
        assert all(txn.record(number) == value for number in range(1, count_ + 1))
        assert len(txn.record(count_ + 1)) == len(txn.get("meta", b"large")) == MAX_BYTES
    storage.close()


DIE_AFTER_COMMIT = """
from dagstore.storage_lmdb import LmdbStorage
storage = LmdbStorage(Path(root))
with storage.write() as txn:
    say(txn.log(b"acknowledged"))
    txn.put("rank", b"derived", b"")
    txn.put("state", b"kept", b"")
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_its_index_whole(tmp_path):
    LmdbStorage(tmp_path, create=True).close()
    assert killed(start(DIE_AFTER_COMMIT, tmp_path)) == ["1"]
    storage = LmdbStorage(tmp_path, readonly=True)
    with storage.read() as txn:
        assert everything(txn) == {"rank": [(b"derived", b"")], "state": [(b"kept", b"")]}
        assert txn.record(1) == b"acknowledged"
    storage.close()


def test_after_a_power_cut_the_index_is_made_again(tmp_path, monkeypatch):
    """The boot is another one, and what the index holds cannot be known."""
    LmdbStorage(tmp_path, create=True).close()
    assert killed(start(DIE_AFTER_COMMIT, tmp_path)) == ["1"]
    monkeypatch.setattr(presence, "boot_id", lambda: "another")
    with (tmp_path / "index" / "data.mdb").open("r+b") as file:
        file.write(b"torn" * 2000)
    storage = LmdbStorage(tmp_path)
    with storage.read() as txn:
        assert everything(txn) == {"state": [(b"kept", b"")]}
        assert txn.record(1) == b"acknowledged"
    assert log(storage, b"more") == 2
    storage.close()


@pytest.mark.parametrize("data", [b"x" * 8192, b"\0" * 8192, b"short"])
def test_an_index_that_cannot_be_read_is_damaged_and_made_again_on_demand(tmp_path, data):
    storage = LmdbStorage(tmp_path, create=True)
    kept = fill(storage, "state")
    log(storage, b"record")
    storage.close()
    (tmp_path / "index" / "data.mdb").write_bytes(data)
    for readonly in (False, True):
        with pytest.raises(Damaged, match=str(tmp_path)) as caught:
            LmdbStorage(tmp_path, readonly=readonly)
        assert "dag fsck --reindex" in caught.value.hint
    again = LmdbStorage(tmp_path, fresh=True)
    with again.read() as txn:
        assert (everything(txn), txn.record(1)) == ({"state": kept}, b"record")
    again.close()


def test_an_index_that_is_cut_off_is_damaged_and_kills_nobody(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    fill(storage, "rank")
    storage.close()
    os.truncate(tmp_path / "index" / "data.mdb", 3 * 4096)
    with pytest.raises(Damaged, match="is cut off"):
        LmdbStorage(tmp_path)


# --- several processes ---


ADD = """
from dagstore.storage_lmdb import LmdbStorage
storage = LmdbStorage(Path(root))
say("ready")
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    with storage.write() as txn:
        number = int.from_bytes(txn.get("state", b"n") or b"", "big") + 1
        txn.put("state", b"n", number.to_bytes(4, "big"))
        txn.put("facts", number.to_bytes(4, "big"), b"")
        assert txn.log(b"%d" % number) == number == txn.records()
storage.close()
"""


def test_writers_of_several_processes_take_turns(storage, tmp_path):
    children = [start(ADD, tmp_path, 40) for _ in range(3)]
    assert [hear(child) for child in children] == ["ready"] * 3
    for child in children:
        tell(child)
    for _ in range(40):
        with storage.write() as txn:
            number = int.from_bytes(txn.get("state", b"n") or b"", "big") + 1
            txn.put("state", b"n", number.to_bytes(4, "big"))
            txn.put("facts", number.to_bytes(4, "big"), b"")
            assert txn.log(b"%d" % number) == number
    assert [finish(child) for child in children] == [[]] * 3
    with storage.read() as txn:
        assert [txn.record(number) for number in range(1, 161)] == [b"%d" % number for number in range(1, 161)]
        assert (txn.records(), txn.count("facts")) == (160, 160)


DIE_WITHIN = """
from dagstore.testing.steps import aim, install
install()
from dagstore.storage_lmdb import LmdbStorage
storage = LmdbStorage(Path(root))
with storage.write() as txn:
    txn.put("hints", b"the index is dirty", b"")
aim(sys.argv[2])
with storage.write() as txn:
    for number in range(200):
        txn.log(b"of the dead %d" % number * 20)
    txn.put("state", b"kept", b"of the dead")
    txn.put("facts", b"derived", b"")
"""


@pytest.mark.parametrize("step", ["log write after", "index commit before"])
def test_what_a_writer_put_into_the_log_before_it_died_is_taken_over(storage, tmp_path, step):
    """It died between log and index: readers see the state before, the next writer all of it."""
    log(storage, b"first")
    killed(start(DIE_WITHIN, tmp_path, step))
    with storage.read() as txn:
        assert (txn.records(), txn.get("state", b"kept")) == (1, None)
    with storage.read() as old, storage.write() as txn:
        assert (txn.records(), txn.settled(), old.records()) == (201, 201, 1)
        assert (txn.record(201), txn.get("state", b"kept")) == (b"of the dead 199" * 20, b"of the dead")
        assert txn.count("facts") == 0  # what is derived is for others to fill
        assert txn.log(b"of the living") == 202
    with storage.read() as txn:
        assert (txn.record(2), txn.record(202)) == (b"of the dead 0" * 20, b"of the living")


def test_what_was_taken_over_is_not_lost_if_the_one_who_took_it_fails(storage, tmp_path):
    killed(start(DIE_WITHIN, tmp_path, "index commit before"))
    with pytest.raises(KeyError, match="stop"):
        break_off(storage)
    assert count(storage) == 0
    assert log(storage, b"of the living") == 201
    assert count(storage) == 202


def test_a_writer_that_died_while_it_wrote_has_written_nothing(storage, tmp_path):
    log(storage, b"first")
    killed(start(DIE_WITHIN, tmp_path, "log write half"))
    with storage.write() as txn:
        assert (txn.records(), txn.get("state", b"kept")) == (1, None)
        assert txn.log(b"second") == 2
    assert count(storage) == 2


def test_a_log_with_more_than_the_index_knows_is_read_when_it_is_opened(tmp_path):
    LmdbStorage(tmp_path, create=True).close()
    killed(start(DIE_WITHIN, tmp_path, "index commit before"))
    reader = LmdbStorage(tmp_path, readonly=True)
    assert count(reader) == 0
    reader.close()
    storage = LmdbStorage(tmp_path)
    assert count(storage) == 201
    storage.close()


def test_an_index_older_than_its_log_is_brought_up_to_it(tmp_path):
    """As in a copy whose parts were not taken at once."""
    storage = LmdbStorage(tmp_path / "store", create=True)
    log(storage, b"first")
    storage.close()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    storage = LmdbStorage(tmp_path / "store")
    for number in range(50):
        log(storage, b"%d" % number)
    kept = fill(storage, "state")
    storage.close()
    shutil.copy(tmp_path / "store" / "log", tmp_path / "copy" / "log")
    copy = LmdbStorage(tmp_path / "copy")
    with copy.read() as txn:
        assert (txn.records(), txn.record(51), everything(txn)) == (51, b"49", {"state": kept})
    copy.close()


STAY = """
from dagstore.storage_lmdb import LmdbStorage
storage = LmdbStorage(Path(root))
say("open")
sys.stdin.readline()
storage.close()
"""


def test_an_index_that_others_use_is_not_made_anew(tmp_path):
    storage = LmdbStorage(tmp_path, create=True)
    pairs = fill(storage, "rank")
    with pytest.raises(Refused, match="already open in this process"):
        LmdbStorage(tmp_path, fresh=True)
    storage.close()
    child = start(STAY, tmp_path)
    assert hear(child) == "open"
    with pytest.raises(Refused, match="in use") as caught:
        LmdbStorage(tmp_path, fresh=True)
    assert caught.value.hint
    finish(child, "go\n")
    again = LmdbStorage(tmp_path)
    with again.read() as txn:
        assert everything(txn) == {"rank": pairs}
    again.close()


FORK = """
from dagstore.storage_lmdb import LmdbStorage
from dagstore.storage import Storage
storage = LmdbStorage(Path(root), create=True)
child = os.fork()
if not child:
    expect(dagstore.Refused, lambda: storage.read().__enter__())
    expect(dagstore.Refused, lambda: storage.write().__enter__())
    expect(dagstore.Refused, lambda: LmdbStorage(Path(root)))
    storage.close()
    os._exit(0)
os.waitpid(child, 0)
with storage.write() as txn:
    say(txn.log(b"the parent goes on"))
storage.close()
child = os.fork()
if not child:
    with LmdbStorage(Path(root)).read() as txn:
        say(txn.records())
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_storage_does_not_cross_a_fork(tmp_path):
    said = run(FORK, tmp_path)
    assert [line.split()[:3] for line in said[:3]] == [["Refused", "refused", "True"]] * 3
    assert all("fork" in line for line in said[:3])
    assert said[3:] == ["1", "1"]


# --- no space ---


FILL_UP = """
import random, resource
from dagstore.storage_lmdb import LmdbStorage
what, limited = sys.argv[2], sys.argv[3] == "limit"
ballast = Path(root).parent / "ballast"
if limited:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, most))
else:
    ballast.write_bytes(bytes(1 << 20))
storage = LmdbStorage(Path(root), create=True)
chance = random.Random(1)

def add(number):
    with storage.write() as txn:
        txn.put("state", b"last", b"%d" % number)
        txn.put("facts", b"%09d" % number, b"")
        if what == "log":
            txn.log(chance.randbytes(30_000) + b"%d" % number)
        else:
            txn.put("hints", b"%09d" % number, chance.randbytes(30_000))
            txn.log(b"%d" % number)

def told():
    with storage.read() as txn:
        last = int(txn.get("state", b"last"))
        whole = all(txn.record(number).endswith(b"%d" % number) for number in range(1, last + 1))
        say(last, txn.records() == txn.count("facts") == last, whole)

def fill():
    while len(done) < 10_000:
        add(len(done) + 1)
        done.append(None)

done = []
expect(dagstore.Unavailable, fill)
told()
expect(dagstore.Unavailable, fill)
told()
if limited:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
else:
    ballast.unlink()
add(len(done) + 1)
told()
storage.close()
storage = LmdbStorage(Path(root))
told()
storage.close()
storage = LmdbStorage(Path(root), fresh=True)
with storage.read() as txn:
    say(int(txn.get("state", b"last")), txn.records())
storage.close()
"""


def mounting_works(folder):
    """Whether this user may mount in a namespace of its own."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["limit", "tmpfs"])
@pytest.mark.parametrize("what", ["log", "index"])
def test_what_finds_no_space_left_leaves_nothing_and_can_be_repeated(tmp_path, what, kind):
    before = []
    if kind == "tmpfs":
        if not mounting_works(tmp_path):
            pytest.skip("needs a file system of its own, which this user may not mount")
        before = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=5m none "{tmp_path}" && exec "$0" "$@"']
    said = run(FILL_UP, tmp_path / "store", what, kind, before=before)
    failures, states = [said[0], said[2]], [line.split() for line in (said[1], *said[3:])]
    assert [line.split()[:3] for line in failures] == [["Unavailable", "unavailable", "True"]] * 2
    assert all(str(tmp_path / "store") in line for line in failures)
    first, last = int(states[0][0]), int(states[1][0])
    assert 10 < first <= last
    expected = [[str(number), "True", "True"] for number in (first, last, last + 1, last + 1)]
    assert states == [*expected, [str(last + 1)] * 2]


def snapshot(folder):
    """Every file below and what it holds; locks aside."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock.mdb"}


def rows(store):
    with store._storage.read() as txn:
        return everything(txn)


def lasting(store):
    """All rows but those that may be lost at any time."""
    return {table: pairs for table, pairs in rows(store).items() if table != "hints"}
