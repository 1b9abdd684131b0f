"""A store written by format 1 is read for ever: its ids, its ranking and every byte that it holds.

`python tests/test_old_store.py --regenerate` writes tests/data/store-v1 anew, and with it what is expected; a later
format gets a directory of its own, and this one stays as it is.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

import lmdb
import pytest

import dagstore
from dagstore.testing.builders import FILES, FakeClock, make_child, make_store, measure

DATA = Path(__file__).parent / "data" / "store-v1"
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


def describe(store: dagstore.Store) -> object:
    """All that a store answers, as plain values."""
    return {
        "uuid": store.uuid,
        "nodes": dagstore.plain(store.nodes()),
        "runs": dagstore.plain(store.runs()),
        "notes": dagstore.plain(store.board()),
        "adoptions": dagstore.plain(store.adoptions("@last")),
        "frontier": dagstore.plain(store.frontier()),
        "names": dagstore.plain(store.names()),
        "tickets": dagstore.plain(store.tickets()),
        "files": {str(node.id): dagstore.plain(store.files(node.id)) for node in store.nodes()},
    }


def regenerate() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        project = make(Path(folder))
        # Without its .gitignore and lock, which would hide it from git or differ between machines.
        (DATA / "dag").mkdir(parents=True)
        shutil.copytree(project / ".dag" / "blobs", DATA / "dag" / "blobs")
        with lmdb.open(str(project / ".dag"), max_dbs=16, readonly=True, lib_version=0) as env:
            env.copy(str(DATA / "dag"), compact=True)
        with dagstore.open(project) as store:
            (DATA / "expected.json").write_text(json.dumps(describe(store), indent=1) + "\n")


@pytest.fixture
def expected():
    return json.loads((DATA / "expected.json").read_text())


@pytest.fixture
def project(tmp_path):
    shutil.copytree(DATA / "dag", tmp_path / "p" / ".dag")
    return tmp_path / "p"


def test_an_old_store_answers_as_it_always_did(project, expected):
    with dagstore.open(project) as store:
        assert describe(store) == expected


def test_an_old_store_is_clean(project):
    with dagstore.open(project) as store:
        report = store.fsck("full")
        assert (report.findings, report.nodes, report.runs) == ((), 4, 2)


def test_an_old_store_can_be_read_without_writing(project, expected):
    before = (project / ".dag" / "data.mdb").read_bytes()
    with dagstore.open(project, readonly=True) as store:
        assert describe(store) == expected
    assert (project / ".dag" / "data.mdb").read_bytes() == before


def test_every_byte_of_an_old_store_is_at_hand(project):
    with dagstore.open(project) as store:
        assert store.cat("@seed", "model.py").decode() == MODEL
        assert store.cat("@last", "model.py").decode() == MODEL.replace("0.1", "0.2").replace("64", "128")
        logs = {store.blob(run.artifacts["log"]) for run in store.runs()}
    assert logs == {b"step 1: 0.8\nval_loss: 0.75\n", Random(0).randbytes(70_000)}


def test_work_goes_on_in_an_old_store(project):
    with dagstore.open(project) as store:
        node = make_child(store, "wide", {"model.py": MODEL + "DEPTH = 2\n"})
        measure(store, node, 0.25)
        assert store.frontier().nodes[0].id == node
        assert store.take("worker", 60).ticket.priority == 3
        assert store.fsck("full").clean


def test_the_same_work_still_makes_the_same_nodes_and_runs(tmp_path, expected):
    with dagstore.open(make(tmp_path)) as store:
        made = describe(store)
    for key in ("uuid", "nodes", "runs", "files", "frontier"):
        assert made[key] == expected[key]


if __name__ == "__main__" and "--regenerate" in sys.argv:
    regenerate()
