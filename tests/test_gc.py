"""What gc removes and what it never does, and where stats say that the bytes are."""

import json
import os
from pathlib import Path
from random import Random

import pytest

import dagstore
from cli.main import main
from dagstore.errors import BadInput, DagError, NotFound
from dagstore.files import BlobFiles
from dagstore.ids import BlobId
from dagstore.model import Status
from dagstore.records import DELTA
from dagstore.testing.builders import START, FakeClock, make_child, make_run, make_store, measure
from dagstore.testing.children import finish, hear, start, tell

DAY = 86_400
WRITERS, ROUNDS = 3, 40

RECORD = """
from dagstore.testing.builders import make_run
from random import Random

store = dagstore.open(root)
number = int(sys.argv[2])
say("ready")
sys.stdin.readline()
for round in range(int(sys.argv[3])):
    run, protocol = make_run(store, "@seed", 1.0, seed=1000 * number + round)
    logs = (Random(round).randbytes(9000), Random(f"{number} {round}").randbytes(9000))
    view = store.add_run(run, protocol, {"log": logs[round % 2], "steps": logs[1 - round % 2]})
    say(view.id)
"""

SWEEP = """
import select
store = dagstore.open(root)
say("ready")
sweeps = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    store.gc(grace=0.0, artifacts_older=float(sys.argv[2]), keep_best=0)
    sweeps += 1
say(sweeps)
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(tmp_path, clock):
    with make_store(tmp_path, clock=clock) as store:
        yield store


def log(name, size=10_000):
    return Random(name).randbytes(size)


def node(store, number):
    return make_child(store, "@seed", {"train.py": f"LR = {number}\n"})


def path_of(store, data):
    return BlobFiles(store.folder / "blobs").path(BlobId.of(data))


def forget_file(store, data, age=2 * DAY):
    """Leave a file that no record names, as a crash between file and transaction does."""
    BlobFiles(store.folder / "blobs").save(BlobId.of(data), data)
    os.utime(path_of(store, data), (START - age,) * 2)
    return path_of(store, data)


def gone(store, data):
    """What whoever reads it is told."""
    with pytest.raises(NotFound) as told:
        store.blob(BlobId.of(data))
    return told.value


# --- files that nothing names ---


def test_a_file_that_no_record_names_goes_after_the_grace(store):
    old, young = forget_file(store, log("old")), forget_file(store, log("young"), DAY / 2)
    size = old.stat().st_size
    foreseen = store.gc(dry_run=True)
    assert old.exists()
    assert store.gc() == foreseen
    assert (foreseen.orphans, foreseen.bytes) == (1, size)
    assert not old.exists()
    assert young.exists()
    assert not any((store.folder / "trash").iterdir())
    assert store.gc(grace=DAY / 4).orphans == 1
    assert not young.exists()


def test_a_file_that_a_record_names_stays_however_old(store):
    measure(store, "@seed", 0.5, log=log("kept"))
    child = make_child(store, "@seed", {"large.bin": log("large", 100_000)})
    for data in (log("kept"), log("large", 100_000)):
        os.utime(path_of(store, data), (START - 900 * DAY,) * 2)
    assert store.gc(grace=0.001).orphans == 0
    assert store.cat(child, "large.bin") == log("large", 100_000)


def test_an_index_that_lost_an_id_costs_no_file(store):
    measure(store, "@seed", 0.5, log=log("kept"))
    os.utime(path_of(store, log("kept")), (START - 2 * DAY,) * 2)
    with store._storage.write() as txn:
        for key in [key for key, _ in txn.scan("id")]:
            txn.delete("id", key)
    assert store.gc(dry_run=True).orphans == 0


def test_a_file_that_somebody_came_upon_again_counts_as_new(store):
    path = forget_file(store, log("again"))
    BlobFiles(store.folder / "blobs").save(BlobId.of(log("again")), log("again"))
    assert store.gc().orphans == 0
    assert path.exists()


def test_a_file_of_another_user_is_written_anew(store, monkeypatch):
    path = forget_file(store, log("theirs"))
    inode = path.stat().st_ino

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    BlobFiles(store.folder / "blobs").save(BlobId.of(log("theirs")), log("theirs"))
    assert path.stat().st_ino != inode
    assert path.stat().st_mtime > START


def test_what_a_killed_sweep_had_moved_away_comes_back_if_it_is_named(store):
    measure(store, "@seed", 0.5, log=log("needed"))
    path = path_of(store, log("needed"))
    trash = store.folder / "trash" / "1-abc"
    trash.mkdir(parents=True)
    path.rename(trash / str(BlobId.of(log("needed"))))
    (trash / str(BlobId.of(b"unneeded"))).write_bytes(b"unneeded")
    (trash / "something else").touch()
    os.utime(trash, (START - 2 * DAY,) * 2)
    assert store.gc().leftovers == (str(trash),)
    assert store.blob(BlobId.of(log("needed"))) == log("needed")
    assert not trash.exists()


def test_half_written_files_go_after_an_hour_at_least(store):
    measure(store, "@seed", 0.5, log=log("x"))
    shelf = path_of(store, log("x")).parent
    old, young = shelf / "tmp-old", shelf / "tmp-young"
    for path, age in ((old, 2 * 3600), (young, 1800)):
        path.write_bytes(b"half")
        os.utime(path, (START - age,) * 2)
    assert store.gc(grace=60.0).leftovers == (str(old),)
    assert (old.exists(), young.exists()) == (False, True)


# --- artifacts by policy ---


def test_small_artifacts_lie_in_the_log_and_large_ones_beside_it(store):
    measure(store, "@seed", 0.5, seed=1, log=b"x" * 4096)
    measure(store, "@seed", 0.5, seed=2, log=b"x" * 4097)
    assert not path_of(store, b"x" * 4096).exists()
    assert path_of(store, b"x" * 4097).exists()
    assert [store.blob(run.artifacts["log"]) for run in store.runs()] == [b"x" * 4096, b"x" * 4097]


def test_old_logs_go_and_say_so(store, clock):
    run = measure(store, "@seed", 0.5, log=log("old"), metrics={"steps": 3.0})
    clock.advance(40 * DAY)
    foreseen = store.gc(logs_older=30 * DAY, keep_best=0, dry_run=True)
    assert store.blob(run.artifacts["log"]) == log("old")
    assert store.gc(logs_older=30 * DAY, keep_best=0) == foreseen
    assert foreseen.artifacts["log"].count == 1
    assert foreseen.artifacts["log"].plain == 10_000
    assert foreseen.bytes == foreseen.artifacts["log"].bytes > 0
    told = gone(store, log("old"))
    assert (told.code, bool(told.hint)) == ("gone", True)
    assert told.message == (
        f"log of run {str(run.id)[:12]} (10 kB) was removed on 2023-12-24 by `dag gc --logs-older 30d`"
    )
    assert store.runs() == (run,)
    assert store.fsck("full").clean
    assert store.gc(logs_older=30 * DAY, keep_best=0).artifacts == {}
    stats = store.stats()
    assert (stats.gone.count, stats.gone.bytes) == (1, foreseen.bytes)


def test_the_same_bytes_bring_a_log_back(store, clock):
    measure(store, "@seed", 0.5, log=log("old"))
    clock.advance(40 * DAY)
    store.gc(logs_older=30 * DAY, keep_best=0)
    assert not path_of(store, log("old")).exists()
    measure(store, "@seed", 0.5, seed=1, log=log("old"))
    assert store.blob(BlobId.of(log("old"))) == log("old")
    assert store.stats().gone.count == 0
    assert store.fsck("full").clean


def test_a_log_that_is_gone_can_become_a_file_of_a_node(store, clock):
    measure(store, "@seed", 0.5, log=log("old"))
    clock.advance(40 * DAY)
    store.gc(logs_older=30 * DAY, keep_best=0)
    child = make_child(store, "@seed", {"log.txt": log("old")})
    assert store.cat(child, "log.txt") == log("old")
    assert store.gc(logs_older=30 * DAY, keep_best=0).artifacts == {}
    assert store.fsck("full").clean


def test_what_is_young_small_needed_or_among_the_best_stays(store, clock):
    best, worse = node(store, 1), node(store, 2)
    make_child(store, "@seed", {"data.bin": log("in a tree")})
    measure(store, best, 0.1, log=log("of the best"))
    measure(store, best, None, Status.CRASHED, seed=1, log=log("of the best, crashed"))
    measure(store, worse, 0.9, log=log("goes"))
    measure(store, worse, 0.9, seed=1, log=log("in a tree"))
    measure(store, worse, 0.9, seed=2, log=log("of a young run too"))
    measure(store, worse, 0.9, seed=3, log=log("small", 100))
    clock.advance(40 * DAY)
    run, protocol = make_run(store, worse, 0.9, seed=4)
    young = run._replace(started=int(clock.now * 1000))
    store.add_run(young, protocol, {"log": log("of a young run too")})
    swept = store.gc(logs_older=30 * DAY, keep_best=1)
    assert swept.artifacts["log"].count == 1
    assert gone(store, log("goes")).code == "gone"
    for name in ("of the best", "of the best, crashed", "in a tree", "of a young run too"):
        assert store.blob(BlobId.of(log(name))) == log(name)
    assert store.gc(logs_older=30 * DAY, keep_best=0).artifacts["log"].count == 2
    assert store.fsck("full").clean


def test_other_artifacts_go_only_when_all_do(store, clock):
    run, protocol = make_run(store, "@seed", 0.5)
    store.add_run(run, protocol, {"log": log("log"), "steps": log("steps"), "copy": log("log")})
    clock.advance(40 * DAY)
    assert store.gc(logs_older=30 * DAY, keep_best=0).artifacts == {}, "the log is also an artifact of another name"
    swept = store.gc(logs_older=50 * DAY, artifacts_older=1.5 * DAY, keep_best=0)
    assert {name: one.count for name, one in swept.artifacts.items()} == {"copy": 1, "steps": 1}
    assert "`dag gc --artifacts-older 36h`" in gone(store, log("steps")).message


def test_a_file_that_something_is_stored_against_stays(store, clock):
    text = b"".join(b"step %d: %d\n" % (step, step * 7919 % 1000) for step in range(1000))
    run = measure(store, "@seed", 0.5, log=text)
    with store._write() as txn:
        base = next(
            number for number in range(1, txn.records() + 1) if txn.record(number)[1:33] == run.artifacts["log"]
        )
        number, _ = store._objects.put(txn, BlobId, text + b"done\n" * 100, base)
        assert txn.record(number)[0] & 15 in (DELTA, DELTA + 1)
    clock.advance(40 * DAY)
    assert store.gc(logs_older=30 * DAY, keep_best=0).artifacts == {}


def test_an_age_is_not_negative(store):
    with pytest.raises(BadInput):
        store.gc(logs_older=-1.0)


def test_nothing_that_is_named_is_lost_to_a_sweep_beside_writers(tmp_path):
    """Writers share every other log, so that one comes upon files that the sweep is just removing."""
    with make_store(tmp_path) as store:
        root = store.root
    sweeps = [start(SWEEP, root, age) for age in (1e12, 0.0)]
    writers = [start(RECORD, root, number, ROUNDS) for number in range(WRITERS)]
    for process in (*sweeps, *writers):
        assert hear(process) == "ready"
    for process in writers:
        tell(process)
    said = [finish(process) for process in writers]
    assert all(int(finish(process, "stop\n")[-1]) > 0 for process in sweeps)
    with dagstore.open(root) as store:
        assert {str(run.id) for run in store.runs()} == {id for ids in said for id in ids}
        assert store.fsck("links").findings == ()
        for run in store.runs():
            for blob in run.artifacts.values():
                assert is_whole_or_gone(store, blob)
        assert store.fsck("full").clean


def is_whole_or_gone(store, blob):
    try:
        return BlobId.of(store.blob(blob)) == blob
    except DagError as error:
        return error.code == "gone"


# --- stats ---


def test_stats_say_where_the_bytes_are(store):
    measure(store, "@seed", 0.5, log=log("large"))
    spawned = store.spawn("@seed")
    stats = store.stats()
    file = path_of(store, log("large")).stat().st_size
    assert stats.folders["blobs"].count == 1
    assert stats.folders["blobs"].bytes == file
    assert stats.folders["workspaces"].count == len(list(Path(spawned.workspace).iterdir()))
    assert stats.kinds["blob"].stored > file
    assert stats.kinds["run"].plain > 0
    assert stats.log > sum(kind.stored for kind in stats.kinds.values()) - file == records(store)
    assert stats.index.file >= sum(stats.index.tables.values()) + stats.index.free
    assert stats.index.tables["id"] > 0
    assert stats.disk >= stats.log + file
    assert (stats.long_readers, stats.quarantine, stats.gone.count) == (0, 0, 0)


def records(store):
    with store._storage.read() as txn:
        return sum(len(txn.record(number)) for number in range(1, txn.records() + 1))


def test_plain_bytes_are_those_that_are_hashed(store):
    child = make_child(store, "@seed", {"train.py": "LR = 1\n"})
    measure(store, child, 0.5, log=b"a log\n")
    store.adopt(child, make_child(store, "@seed", {"README.md": "another\n"}))
    with store._storage.read() as txn:
        plain = sum(len(store._objects.get(txn, number)) for number in range(1, txn.records() + 1))
    assert sum(kind.plain for kind in store.stats().kinds.values()) == plain


def test_a_reader_that_many_commits_passed_by_is_a_long_one(store):
    with store._storage.read():
        for number in range(101):
            with store._storage.write() as txn:
                txn.put("hints", b"a hint", number.to_bytes(8, "big"))
        assert store.stats().long_readers == 1
    assert store.stats().long_readers == 0


def test_progress_ends_with_all_records(store):
    told = []
    store.stats(lambda done, total: told.append((done, total)))
    assert told[-1] == (sum(kind.count for kind in store.stats().kinds.values()),) * 2


# --- the verbs ---


@pytest.fixture
def dag(store, capsys):
    """Runs a command line in the store's project, in this process."""

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([*words, "-C", str(store.root)])
        said = capsys.readouterr()
        assert (stop.value.code, said.err) == (0, "")
        return said.out

    return run


def test_the_verb_says_what_would_go_and_what_went(store, dag):
    measure(store, "@seed", None, Status.CRASHED, log=log("old"))
    orphan = forget_file(store, log("orphan"), 4 * 365 * DAY)
    os.utime(orphan, (START, START))
    words = ("gc", "--logs-older", "30d", "--keep-best", "0")
    foreseen = dag(*words, "--dry-run").splitlines()
    assert [line.split(": ")[0] for line in foreseen[:2]] == [
        "would remove 1 file that nothing names",
        "would remove 1 artifact 'log'",
    ]
    assert foreseen[2].startswith("would free 20 kB")
    swept = json.loads(dag(*words, "--json"))
    assert (swept["orphans"], swept["artifacts"]["log"]["count"]) == (1, 1)
    assert not orphan.exists()
    assert dag(*words) == "nothing to sweep\n"


def test_a_node_whose_log_is_gone_is_shown(store, dag):
    measure(store, "@seed", None, Status.CRASHED, log=log("old"))
    assert "was removed" not in dag("show", "@seed")
    dag("gc", "--logs-older", "30d")
    shown = dag("show", "@seed")
    assert "the last run crashed" in shown
    assert "by `dag gc --logs-older 30d`" in shown
    assert "1 artifact removed by policy" in dag("stats")


def test_stats_are_shown_by_kind_and_by_place(store, dag):
    measure(store, "@seed", 0.5, log=log("large"))
    said = [line.split() for line in dag("stats").splitlines()]
    assert ["blobs/", "10", "kB", "1", "file"] in said
    assert [words[0] for words in said if words and words[0] in ("blob", "run", "log", "index")] == [
        "blob",
        "run",
        "log",
        "index",
    ]
