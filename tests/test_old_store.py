"""What is on disk is read for ever: stores that formats 1 and 2 wrote, and the bytes of a log.

`python tests/test_old_store.py --regenerate` writes tests/data/store-v2 and tests/golden/log.bin anew, and with them
what is expected; a later format gets places of its own, and these stay as they are. tests/data/store-v1 was written by
the last dagstore of format 1. Of an index nothing is kept: it is made again from the log.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from random import Random

import lmdb
import pytest

import dagstore
from dagstore.chains import id_of
from dagstore.claims import MEASURE, Claim
from dagstore.codec import pack, unpack
from dagstore.log import Frame, frames
from dagstore.records import DELTA, FILE, NODE, RAW, REFS, REFS_ZSTD, SPLICE, TREE, ZSTD, read_record
from dagstore.storage_lmdb import LmdbStorage
from dagstore.testing.builders import FILES, Entropy, FakeClock, make_child, make_store, measure
from dagstore.testing.children import PATIENCE, finish, hear, killed, start
from dagstore.testing.storage_model import break_off

HERE = Path(__file__).parent
V1, V2 = HERE / "data" / "store-v1", HERE / "data" / "store-v2"
GOLDEN_LOG = HERE / "golden" / "log.bin"
MODEL = "".join(f"layer_{number} = {number}\n" for number in range(100)) + "\nLR = 0.1\n\nWIDTH = 64\n"


def make(folder: Path) -> Path:
    """A small store with everything in it; the project directory."""
    clock = FakeClock()
    with make_store(folder, {**FILES, "model.py": MODEL}, clock=clock) as store:
        rate = make_child(store, "@seed", {"model.py": MODEL.replace("0.1", "0.2")}, why="faster", agent="ada")
        clock.advance(60)
        width = make_child(store, "@seed", {"model.py": MODEL.replace("64", "128")}, why="wider", agent="bob")
        measure(store, rate, 0.75, log=b"step 1: 0.8\nval_loss: 0.75\n", metrics={"steps": 1})
        clock.advance(60)
        measure(store, width, 0.5, seed=7, log=Random(0).randbytes(70_000), platform="cpu")
        store.adopt(rate, width, agent="ada")
        store.note(width, "wärmer \N{FIRE}", agent="eve", kind="verdict")
        store.name("wide", width)
        store.queue(["@last"], priority=3)
        for spawned in store.workspaces():
            store.abandon(spawned.path)
        return store.root


def make_more(folder: Path) -> Path:
    """The same with what format 2 tells apart, and what is under way in a store."""
    project = make(folder)
    with dagstore.open(project, clock=FakeClock(1_700_001_000.0), entropy=Entropy(1)) as store:
        both = MODEL.replace("layer_3 =", "layer_three_is_another_one_now =").replace("WIDTH = 64", "HEIGHT = 128")
        with store.batch() as batch:
            node = batch.record(["@seed"], {"model.py": both.encode(), "README.md": None, "ä/new.py": b"x = 1\n"})
            batch.record([node], {f"many/{number}.py": b"%d\n" % number for number in range(20)})
        store.note(node, "many words, " * 100, agent="eve")
        store.name("moved", "@seed")
        store.name("moved", node)
        spawned = store.spawn(node, agent="ada", why="under way")
        os.chmod(Path(spawned.workspace) / "train.py", 0o755)
        store.seal(spawned.workspace)
        store.spawn("wide", agent="bob", why="open")
        store.queue(["@seed", node])
        store.take("worker", 3600)
    return project


def describe(store: dagstore.Store) -> dict[str, object]:
    """All that a store answers, as plain values."""
    return {
        "uuid": store.uuid,
        "nodes": dagstore.plain(list(store.nodes())),
        "runs": dagstore.plain(store.runs()),
        "notes": dagstore.plain(store.board()),
        "adoptions": dagstore.plain(store.adoptions("@last")),
        "frontier": dagstore.plain(store.frontier()),
        "names": dagstore.plain(store.names()),
        "tickets": dagstore.plain(store.tickets()),
        "files": {str(node.id): dagstore.plain(store.files(node.id)) for node in store.nodes()},
    }


def describe_more(store: dagstore.Store) -> dict[str, object]:
    return describe(store) | {
        "claims": dagstore.plain(store.claims()),
        "workspaces": [[one.id, one.path, str(one.parent), one.why, str(one.sealed)] for one in store.workspaces()],
        "cat": {str(node.id): store.cat(node.id, "model.py").decode() for node in store.nodes()},
        "ids": ids_of(store),
    }


def assert_answers(now: object, before: object) -> None:
    """Everything that was said before is said still; there may be more fields."""
    if isinstance(before, dict):
        assert isinstance(now, dict)
        for name, value in before.items():
            assert_answers(now[name], value)
    elif isinstance(before, list):
        assert isinstance(now, list)
        assert len(now) == len(before)
        for one, other in zip(now, before, strict=True):
            assert_answers(one, other)
    else:
        assert now == before


def ids_of(store: dagstore.Store) -> list[str]:
    """The id of every object, in their order."""
    with store._storage.read() as txn:
        return [str(id_of(txn, number)) for number in range(1, txn.records() + 1)]


def write_log(folder: Path) -> bytes:
    """A log of fixed calls: records, kept rows, a transaction of several frames, one that was given up."""
    storage = LmdbStorage(folder, create=True)
    for start_, count in ((0, 2), (2, 0), (2, 1)):
        with storage.write() as txn:
            for number in range(start_, start_ + count):
                txn.log(b"record %d" % number)
            txn.put("meta", b"key %d" % start_, bytes([start_]))
            txn.put("facts", b"derived", b"")
            txn.delete("meta", b"key %d" % (start_ - 2))
    with pytest.raises(KeyError):
        break_off(storage)
    with storage.write() as txn:
        for size in (4100, 4100, 1):
            txn.log(b"x" * size)
        txn.put("state", b"a", b"")
        txn.put("state", b"b", "ö".encode())
    storage.close()
    return (folder / "log").read_bytes()


def regenerate() -> None:
    shutil.rmtree(V2, ignore_errors=True)
    place = Path(tempfile.gettempdir()) / "store-v2"  # the log remembers where workspaces are
    shutil.rmtree(place, ignore_errors=True)
    project = make_more(place)
    (V2 / "dag").mkdir(parents=True)
    # Without its .gitignore, which would hide it from git, and what differs between machines.
    shutil.copytree(project / ".dag" / "blobs", V2 / "dag" / "blobs")
    shutil.copy(project / ".dag" / "log", V2 / "dag" / "log")
    with dagstore.open(project) as store:
        (V2 / "expected.json").write_text(json.dumps(describe_more(store), indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(place)
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN_LOG.write_bytes(write_log(Path(folder)))


@contextmanager
def old_tables(folder):
    """A store of format 1, to be changed as a dagstore of its time could have."""
    with lmdb.open(str(folder), max_dbs=16, lib_version=0, lock=False) as env:
        tables = {name: env.open_db(name.encode()) for name in ("meta", "obj", "state")}
        with env.begin(write=True) as txn:
            yield txn, tables


# --- format 1 ---


@pytest.fixture
def expected():
    return json.loads((V1 / "expected.json").read_text())


@pytest.fixture
def old(tmp_path):
    """A project with a store of format 1."""
    shutil.copytree(V1 / "dag", tmp_path / "p" / ".dag")
    return tmp_path / "p"


@pytest.fixture
def project(old):
    """The same, brought up to date."""
    bring_up_to_date(old)
    return old


def bring_up_to_date(project, **options):
    with dagstore.open(project, stale=True, **options) as store:
        store.reindex()


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [{}, {"readonly": True}, {"readonly": True, "stale": True}])
def test_a_store_of_format_1_says_how_it_is_brought_up_to_date(old, options):
    before = snapshot(old)
    with pytest.raises(dagstore.Refused, match="format 1") as caught:
        dagstore.open(old, **options)
    assert caught.value.code == "older_format"
    assert "dag fsck --reindex" in caught.value.hint
    with pytest.raises(dagstore.Refused, match="exists already"):
        dagstore.init(old)
    assert snapshot(old) == before


def test_a_store_of_format_1_answers_as_it_always_did(project, expected):
    with dagstore.open(project) as store:
        assert_answers(describe(store), expected)


def test_a_store_of_format_1_is_clean_when_it_is_up_to_date(project):
    with dagstore.open(project) as store:
        report = store.fsck("full")
        assert (report.findings, report.nodes, report.runs) == ((), 4, 2)


def test_every_object_of_format_1_keeps_its_id_and_its_place(old):
    with old_tables(old / ".dag") as (txn, tables):
        ids = [unpack(row)[2].hex() for _, row in txn.cursor(db=tables["obj"])]
    bring_up_to_date(old)
    with dagstore.open(old) as store:
        assert ids_of(store) == ids


def test_the_old_file_stays_until_the_next_sweep(old, tmp_path):
    data, told, said = (old / ".dag" / "data.mdb").read_bytes(), [], []
    bring_up_to_date(old, progress=lambda done, total: told.append((done, total)), say=said.append)
    assert told[-1] == (27, 27)
    assert len(said) == 1
    assert "v1.mdb" in said[0]
    with dagstore.open(old) as store:
        assert sorted(path.name for path in store.folder.iterdir()) == ["blobs", "index", "log", "presence", "v1.mdb"]
        assert (store.folder / "v1.mdb").read_bytes() == data
        assert store.gc(dry_run=True).leftovers == (str(store.folder / "v1.mdb"),)
        assert store.gc().bytes == len(data)
        assert not (store.folder / "v1.mdb").exists()


def test_every_byte_of_format_1_is_at_hand(project):
    with dagstore.open(project) as store:
        assert store.cat("@seed", "model.py").decode() == MODEL
        assert store.cat("@last", "model.py").decode() == MODEL.replace("0.1", "0.2").replace("64", "128")
        logs = {store.blob(run.artifacts["log"]) for run in store.runs()}
    assert logs == {b"step 1: 0.8\nval_loss: 0.75\n", Random(0).randbytes(70_000)}


def test_work_goes_on_in_a_store_of_format_1(project):
    with dagstore.open(project) as store:
        node = make_child(store, "wide", {"model.py": MODEL + "DEPTH = 2\n"})
        measure(store, node, 0.25)
        assert store.frontier().nodes[0].id == node
        assert store.take("worker", 60).ticket.priority == 3
        assert store.fsck("full").clean


def test_what_was_under_way_in_format_1_goes_on(old, tmp_path):
    """Claims, tickets in hand, and workspaces, sealed or not."""
    with old_tables(old / ".dag") as (txn, tables):
        seed = txn.get(b"seed", db=tables["meta"])
        blob = ["train.py", 1, 2, 3, 4, 5, bytes(32), 0]
        for id, sealed, cache in (("open", None, [blob]), ("done", seed, [])):
            row = [str(tmp_path / id), seed, "ada", "why", 7, 1000, sealed, cache]
            txn.put(b"work/" + id.encode(), pack(row), db=tables["state"])
        row = [seed, "ada", MEASURE, 1000, 9000, 5]
        txn.put(b"claim/" + (7).to_bytes(8, "big"), pack(row), db=tables["state"])
        txn.put(b"counter", (99).to_bytes(8, "big"), db=tables["state"])
    bring_up_to_date(old)
    with dagstore.open(old) as store:
        seed = store.resolve("@seed")
        found = {
            one.id: (one.path, one.parent, one.agent, one.why, one.token, one.sealed) for one in store.workspaces()
        }
        assert found == {
            "open": (str(tmp_path / "open"), seed, "ada", "why", 7, None),
            "done": (str(tmp_path / "done"), seed, "ada", "why", 7, seed),
        }
        assert Claim(7, seed, "ada", MEASURE, 1000, 9000, 5) in store.claims()
        assert store.take("worker", 60).claim.token == 100


UPGRADE = """
import shutil
from dagstore.testing import steps
steps.install()
from dagstore import upgrade
upgrade.LOT = 5
rename, rmtree = os.rename, shutil.rmtree
def renamed(source, target):
    steps.reach(f"{Path(target).name} rename before")
    rename(source, target)
    steps.reach(f"{Path(target).name} rename after")
def removed(folder, **options):
    steps.reach(f"{Path(folder).name} remove before")
    rmtree(folder, **options)
    steps.reach(f"{Path(folder).name} remove after")
os.rename, shutil.rmtree = renamed, removed
steps.aim(sys.argv[2], int(sys.argv[3]))
dagstore.open(root, stale=True).reindex()
"""


@pytest.mark.parametrize(
    ("step", "times", "done"),
    [
        ("upgrade remove after", 1, False),
        ("log write half", 1, False),
        ("log write half", 4, False),
        ("index commit before", 3, False),
        ("index commit after", 5, False),
        ("log sync after", 6, False),
        ("log rename before", 1, False),
        ("log rename after", 1, True),
        ("upgrade remove before", 2, True),
        ("upgrade remove after", 2, True),
        ("v1.mdb rename before", 1, True),
        ("v1.mdb rename after", 1, True),
    ],
)
def test_an_upgrade_that_is_killed_can_be_repeated(old, expected, step, times, done):
    data = (old / ".dag" / "data.mdb").read_bytes()
    killed(start(UPGRADE, old, step, times))
    if not done:
        assert (old / ".dag" / "data.mdb").read_bytes() == data
        with pytest.raises(dagstore.Refused, match="format 1"):
            dagstore.open(old)
        bring_up_to_date(old)
    with dagstore.open(old) as store:
        assert_answers(describe(store), expected)
        assert store.fsck("full").clean
        store.note("@seed", "others go on")
    assert (old / ".dag" / "v1.mdb").read_bytes() == data
    assert not {"data.mdb", "lock.mdb"} & {path.name for path in (old / ".dag").iterdir()}
    bring_up_to_date(old)


OPEN = """
import lmdb
env = lmdb.open(root, max_dbs=8, lib_version=0)
say("open")
sys.stdin.readline()
env.close()
"""


def test_a_store_of_format_1_that_is_in_use_is_left_alone(old, expected):
    child = start(OPEN, old / ".dag")
    assert hear(child) == "open"
    with pytest.raises(dagstore.Refused, match="in use") as caught:
        dagstore.open(old, stale=True)
    assert caught.value.hint
    finish(child, "go\n")
    bring_up_to_date(old)
    with dagstore.open(old) as store:
        assert_answers(describe(store), expected)


def envelope(row):
    return dict(zip(("kind", "codec", "id", "size", "base", "chain", "depth", "payload"), unpack(row), strict=True))


@pytest.mark.parametrize(
    "change",
    [{"payload": b"other bytes"}, {"size": 1 << 40}, {"codec": 9}, {"kind": 9}, {"id": b""}, {"codec": 2, "base": 99}],
)
def test_damage_in_a_store_of_format_1_is_named_and_nothing_is_changed(old, change):
    key = (2).to_bytes(8, "big")
    with old_tables(old / ".dag") as (txn, tables):
        row = envelope(txn.get(key, db=tables["obj"])) | change
        txn.put(key, pack(list(row.values())), db=tables["obj"])
    before = (old / ".dag" / "data.mdb").read_bytes()
    with pytest.raises(dagstore.DagError) as caught:
        dagstore.open(old, stale=True)
    assert isinstance(caught.value, dagstore.Damaged)
    assert caught.value.hint
    assert (old / ".dag" / "data.mdb").read_bytes() == before
    assert not (old / ".dag" / "log").exists()


@pytest.mark.parametrize("data", [b"x" * 20_000, b"short", (V1 / "dag" / "data.mdb").read_bytes()[:20_000]])
def test_a_file_of_format_1_that_cannot_be_read_is_damaged(old, data):
    (old / ".dag" / "data.mdb").write_bytes(data)
    with pytest.raises(dagstore.Damaged, match=r"data\.mdb") as caught:
        dagstore.open(old, stale=True)
    assert caught.value.hint


def test_a_store_of_format_1_that_was_never_finished_does_not_stand_in_the_way(old):
    with old_tables(old / ".dag") as (txn, tables):
        txn.drop(tables["meta"], delete=False)
    with pytest.raises(dagstore.NotFound, match="never finished") as caught:
        dagstore.open(old, stale=True)
    assert "dag init" in caught.value.hint
    (old / "train.py").write_text("print('val_loss: 1')\n")
    made = dagstore.init(old, metric="val_loss")
    with dagstore.open(old) as store:
        assert store.resolve("@seed") == made.node


def test_the_command_line_brings_a_store_of_format_1_up_to_date(old):
    def dag(*words):
        command = [sys.executable, "-P", "-c", "from cli.main import main; main()", "-C", str(old), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    refused = dag("log")
    assert refused.returncode != 0
    assert "dag fsck --reindex" in refused.stderr
    done = dag("fsck", "--reindex", "--full")
    assert (done.returncode, "from format 1 to 2" in done.stderr) == (0, True)
    assert "27 objects" in done.stdout
    assert dag("log").returncode == 0


def test_the_same_work_still_makes_the_same_nodes_and_runs(tmp_path, expected):
    with dagstore.open(make(tmp_path)) as store:
        made = describe(store)
    for key in ("uuid", "nodes", "runs", "files", "frontier"):
        assert_answers(json.loads(json.dumps(made[key])), expected[key])


# --- format 2 ---


@pytest.fixture
def second(tmp_path):
    """A project with a store of format 2, of which there is the log and no index."""
    shutil.copytree(V2 / "dag", tmp_path / "second" / ".dag")
    return tmp_path / "second"


def test_a_store_of_format_2_answers_as_it_always_did(second):
    log = (second / ".dag" / "log").read_bytes()
    expected = json.loads((V2 / "expected.json").read_text())
    with dagstore.open(second) as store:
        assert_answers(json.loads(json.dumps(describe_more(store))), expected)
        assert store.fsck("full").clean
    with dagstore.open(second, readonly=True) as store:
        assert_answers(json.loads(json.dumps(describe_more(store))), expected)
    assert (second / ".dag" / "log").read_bytes() == log


def test_every_form_of_record_is_in_the_store_of_format_2(second):
    with dagstore.open(second) as store, store._storage.read() as txn:
        forms = {read_record(txn.record(number), number).codec for number in range(1, txn.records() + 1)}
    assert forms == {RAW, ZSTD, DELTA, SPLICE, FILE, NODE, TREE, REFS, REFS_ZSTD}


def test_work_goes_on_in_a_store_of_format_2(second):
    with dagstore.open(second) as store:
        node = make_child(store, "moved", {"model.py": MODEL + "DEPTH = 2\n"})
        measure(store, node, 0.25)
        assert store.frontier().nodes[0].id == node
        assert store.take("another", 60)
        assert store.fsck("full").clean


def test_a_log_has_the_same_bytes_for_ever(tmp_path):
    assert write_log(tmp_path / "new") == GOLDEN_LOG.read_bytes()


def test_a_log_is_read_for_ever(tmp_path):
    golden = GOLDEN_LOG.read_bytes()
    found = list(frames(lambda offset, length: golden[offset : offset + length]))
    assert all(isinstance(frame, Frame) for frame in found)
    assert [(frame.first, len(frame.records), frame.last) for frame in found] == [
        (1, 2, True),
        (3, 0, True),
        (3, 1, True),
        (4, 1, False),
        (5, 1, False),
        (6, 1, True),
    ]
    (tmp_path / "log").write_bytes(golden)
    storage = LmdbStorage(tmp_path)
    with storage.read() as txn:
        records = [txn.record(number) for number in range(1, txn.records() + 1)]
        assert records == [b"record 0", b"record 1", b"record 2", b"x" * 4100, b"x" * 4100, b"x"]
        assert list(txn.scan("meta")) == [(b"key 2", b"\2")]
        assert list(txn.scan("state")) == [(b"a", b""), (b"b", "ö".encode())]
    storage.close()


if __name__ == "__main__" and "--regenerate" in sys.argv:
    regenerate()
