"""A copy of a store: whole, compact, and of one moment, whatever writers do meanwhile."""

import json
import os
from pathlib import Path
from random import Random

import pytest

import dagstore
from cli.main import main
from dagstore.errors import Refused, Unavailable
from dagstore.files import BlobFiles
from dagstore.ids import BlobId
from dagstore.testing.builders import FakeClock, make_child, make_store, measure
from dagstore.testing.children import finish, hear, start, tell

DAY = 86_400
WRITERS, COPIES = 4, 3

WRITE = """
import itertools, select
from random import Random
from dagstore.testing.builders import make_run

store = dagstore.open(root)
number = int(sys.argv[2])
say("ready")
sys.stdin.readline()
for round in itertools.count():
    node = seal(store, {"train.py": f"LR = {number}.{round}\\n".encode()}).node
    say("node", node)
    run, protocol = make_run(store, node, float(round), seed=number)
    view = store.add_run(run, protocol, {"log": Random(f"{number} {round}").randbytes(6000)})
    say("run", view.id)
    if select.select([sys.stdin], [], [], 0)[0]:
        break
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(tmp_path, clock):
    with make_store(tmp_path, clock=clock) as store:
        yield store


def log(name):
    return Random(name).randbytes(10_000)


def file_of(folder, data):
    return BlobFiles(Path(folder) / "blobs").path(BlobId.of(data))


def test_a_copy_is_the_store(store, tmp_path):
    node = make_child(store, "@seed", {"train.py": "LR = 1\n", "large.bin": os.urandom(100_000)})
    measure(store, node, 0.5, log=log("a"))
    store.queue(["@seed"])
    store.name("best", node)
    steps = []
    copied = store.copy(tmp_path / "there", progress=lambda *step: steps.append(step))
    assert copied.store == str(tmp_path / "there" / ".dag")
    assert (copied.files, copied.missing, copied.findings) == (2, (), ())
    assert steps[-1] == (copied.objects,) * 2
    with dagstore.open(tmp_path / "there") as copy:
        assert (copy.uuid, copy.frontier(), copy.runs()) == (store.uuid, store.frontier(), store.runs())
        assert (copy.resolve("best"), len(copy.tickets())) == (node, 1)
        assert copy.blob(copy.runs()[0].artifacts["log"]) == log("a")
        assert copy.fsck("full").findings == ()
        assert copy.stats().kinds == store.stats().kinds
        make_child(copy, "best", {"train.py": "LR = 2\n"})
        assert copy.fsck("full").clean
    assert store.count() == 2


def test_a_copy_has_no_free_pages_and_no_room_in_its_log(store, tmp_path):
    for number in range(50):
        store.note("@seed", f"remark {number}")
    copied = store.copy(tmp_path / "there")
    assert (tmp_path / "there" / ".dag" / "log").stat().st_size == copied.log < (store.folder / "log").stat().st_size
    assert copied.index < (store.folder / "index" / "data.mdb").stat().st_size


def test_a_copy_is_trusted_when_it_is_opened_first(store, tmp_path):
    """Else it would have to be made again from its log."""
    copied = store.copy(tmp_path / "there" / ".dag")
    index = tmp_path / "there" / ".dag" / "index" / "data.mdb"
    inode = index.stat().st_ino
    assert copied.store == str(tmp_path / "there" / ".dag")
    with dagstore.open(tmp_path / "there", readonly=True) as copy:
        assert copy.count() == 1
    assert index.stat().st_ino == inode


def test_a_place_that_has_something_is_refused(store, tmp_path):
    with pytest.raises(Refused, match="exists already"):
        store.copy(store.root)
    (tmp_path / "empty" / ".dag").mkdir(parents=True)
    store.copy(tmp_path / "empty")
    with pytest.raises(Refused, match="exists already"):
        store.copy(tmp_path / "empty")
    (tmp_path / "pointer").mkdir()
    (tmp_path / "pointer" / ".dag").write_text("{}")
    with pytest.raises(Refused, match="exists already"):
        store.copy(tmp_path / "pointer")


def test_a_copy_that_cannot_be_made_leaves_nothing(store, tmp_path, monkeypatch):
    measure(store, "@seed", 0.5, log=log("a"))

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(Unavailable, match="No space left"):
        store.copy(tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_without_help_of_the_kernel_a_copy_is_the_same(store, tmp_path, monkeypatch):
    measure(store, "@seed", 0.5, log=log("a"))
    monkeypatch.delattr(os, "copy_file_range")
    store.copy(tmp_path / "there")
    with dagstore.open(tmp_path / "there") as copy:
        assert copy.fsck("full").clean
        assert copy.blob(BlobId.of(log("a"))) == log("a")


def test_files_of_blobs_are_shared_only_when_asked_for(store, tmp_path):
    measure(store, "@seed", 0.5, log=log("a"))
    for name, link in (("own", False), ("shared", True)):
        copied = store.copy(tmp_path / name, link=link)
        assert file_of(copied.store, log("a")).samefile(file_of(store.folder, log("a"))) == link
        assert (copied.files, copied.bytes) == (1, file_of(store.folder, log("a")).stat().st_size)


def test_what_is_gone_is_gone_in_the_copy_too(store, tmp_path, clock):
    run = measure(store, "@seed", 0.5, log=log("a"))
    clock.advance(40 * DAY)
    store.gc(logs_older=DAY, keep_best=0)
    store.copy(tmp_path / "there")
    with dagstore.open(tmp_path / "there") as copy:
        assert copy.fsck("full").clean
        with pytest.raises(dagstore.NotFound, match="was removed on"):
            copy.blob(run.artifacts["log"])


def test_a_store_that_lost_a_file_is_copied_and_says_so(store, tmp_path, capsys):
    run = measure(store, "@seed", 0.5, log=log("a"))
    file_of(store.folder, log("a")).unlink()
    with pytest.raises(SystemExit) as stop:
        main(["copy", str(tmp_path / "there"), "-C", str(store.root), "--json"])
    said = capsys.readouterr()
    assert (stop.value.code, json.loads(said.err)["code"]) == (6, "damaged")
    assert json.loads(said.out)["missing"] == [str(run.artifacts["log"])]
    with dagstore.open(tmp_path / "there") as copy:
        assert copy.count() == 1


def test_a_store_that_may_only_be_read_can_be_copied(store, tmp_path):
    measure(store, "@seed", 0.5, log=log("a"))
    root = store.root
    store.close()
    with dagstore.open(root, readonly=True) as reader:
        reader.copy(tmp_path / "there")
    with dagstore.open(tmp_path / "there") as copy:
        assert copy.fsck("full").clean


def test_copies_beside_writers_hold_what_was_acknowledged(store, tmp_path):
    writers = [start(WRITE, store.root, number) for number in range(WRITERS)]
    for process in writers:
        assert hear(process) == "ready"
        tell(process)
    acknowledged = set()
    for number in range(COPIES):
        for process in writers:
            acknowledged |= {hear(process), hear(process)}
        copied = store.copy(tmp_path / str(number))
        assert (copied.missing, copied.findings) == ((), ())
        with dagstore.open(tmp_path / str(number)) as copy:
            assert copy.fsck("full").findings == ()
            assert acknowledged <= {f"run {run.id}" for run in copy.runs()} | {f"node {id}" for id in nodes_of(copy)}
    for process in writers:
        finish(process, "stop\n")
    assert len(acknowledged) == 2 * WRITERS * COPIES
    assert store.fsck("full").findings == ()


def nodes_of(store):
    return [node.id for node in store.children("@seed")]
