"""Readers that stop or die while they read: what they cost, that they are told of, and that it ends with them."""

import json
import os
import signal

import pytest

import dagstore
from cli.main import main
from dagstore.testing.builders import make_store
from dagstore.testing.children import finish, hear, kill, killed, start

SEALS = 300
PER_COMMIT = 100_000
"""Bytes: a commit copies the pages that it touches, of 4 KiB, a path to the root in each of about ten tables."""

READER = """
import signal
store = dagstore.open(root)
with store._storage.read() as txn:
    say(txn.records())
    os.kill(os.getpid(), signal.SIGSTOP if sys.argv[2] == "stop" else signal.SIGKILL)
    say(txn.records())
"""
IDLE = """
store = dagstore.open(root)
say("open")
sys.stdin.readline()
store.close()
"""


@pytest.fixture
def project(tmp_path):
    with make_store(tmp_path) as store:
        return store.root


def start_reader(project):
    """A process that was stopped in the middle of a read transaction."""
    process = start(READER, project, "stop")
    assert hear(process) == "7"
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return process


def seal_many(store, first):
    """`SEALS` nodes, one commit each."""
    for number in range(first, first + SEALS):
        (store.root / "train.py").write_text(f"print({number})\n")
        store.record(store.root, ["@seed"])


def index_size(store):
    """Bytes of the disk."""
    return (store.folder / "index" / "data.mdb").stat().st_blocks * 512


def readers(capsys, project):
    """What doctor says of readers."""
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["-C", str(project), "doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    return next(one for one in findings if one["check"] == "readers")


def test_a_stopped_reader_costs_little_is_told_of_and_leaves_no_trace(project, capsys):
    process = start_reader(project)
    with dagstore.open(project) as store:
        before = index_size(store)
        seal_many(store, 0)
        held = index_size(store) - before
        assert held / SEALS < PER_COMMIT
        assert [(one.pid, one.behind) for one in store.readers()] == [(process.pid, SEALS)]
        found = readers(capsys, project)
        assert (found["state"], bool(found["hint"])) == ("warn", True)
        assert f"process {process.pid} is {SEALS} commits behind" in found["message"]
    process.send_signal(signal.SIGCONT)
    assert hear(process) == "7"
    assert finish(process) == []
    with dagstore.open(project) as store:
        seal_many(store, SEALS)
        assert index_size(store) - before - held < held / 10
        assert store.fsck("full").findings == ()
    assert readers(capsys, project)["state"] == "ok"


def test_a_reader_that_was_killed_is_forgotten_by_the_next_who_opens(project, capsys):
    process = start_reader(project)
    with dagstore.open(project) as store:
        seal_many(store, 0)
        before = index_size(store)
        kill(process)
        assert store.readers()[0].behind == SEALS  # nobody has looked yet
        other = start(IDLE, project)  # so that the next one does not find the place empty
        assert hear(other) == "open"
    with dagstore.open(project) as store:
        assert store.readers() == []
        seal_many(store, SEALS)
        assert index_size(store) - before < before / 10
        assert readers(capsys, project)["state"] == "ok"
        finish(other, "go\n")


def test_a_reader_that_died_by_itself_in_the_middle_is_forgotten(project, capsys):
    process = start(READER, project, "die")
    assert hear(process) == "7"
    assert killed(process) == []
    assert readers(capsys, project)["message"].startswith("0 just now")
    with dagstore.open(project) as store:
        assert store.readers() == []
        assert store.fsck("full").findings == ()
