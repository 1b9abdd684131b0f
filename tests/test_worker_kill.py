"""Trainers that are killed with SIGKILL, at every named step and at random: nothing is lost, nothing measured twice."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import dagstore
from dagstore import Status
from trainer.worker import Setting, Worker

LINUX = sys.platform == "linux"
pytestmark = pytest.mark.skipif(not LINUX, reason="what a killed trainer leaves is found through Linux' /proc")

ENVIRON = {"PATH": "/usr/bin:/bin"}
TTL = 1.0
CHARTER = """sandbox = "none"
command = "sh train.sh"
metric = "val_bpb"
direction = "minimize"
budget = "20s"
grace = "1s"
editable = ["train.sh"]
"""
TRAINER = """
import os, signal, sys
import dagstore
from trainer.worker import Setting, Silent, Worker

path, ttl, fatal, *environ = sys.argv[1:]

class Killer(Silent):
    def step(self, name):
        if name == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def output(self, chunk):
        self.step("running")

with dagstore.open(path) as store:
    setting = Setting(f"trainer {os.getpid()}", dict(one.split("=", 1) for one in environ), ttl=float(ttl))
    for run in Worker(store, setting, Killer()).work(until_idle=True):
        pass
"""


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "dag.toml").write_text(CHARTER)
    (root / "train.sh").write_text("echo val_bpb: 1\n")
    dagstore.init(root)
    return root


def fill(store, root, count, script):
    """Queue that many nodes."""
    nodes = []
    for number in range(count):
        (root / "train.sh").write_text(script.format(number=number))
        nodes.append(store.record(root, ["@seed"]).node)
    store.queue(nodes)
    return nodes


def start(root, fatal=""):
    words = [sys.executable, "-P", "-c", TRAINER, str(root), str(TTL), fatal, *(f"{k}={v}" for k, v in ENVIRON.items())]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL)


def marked(uuid):
    """Living processes that belong to experiments of the store."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"DAG_CLAIM={uuid}-".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def assert_whole(store, nodes):
    """Every node was measured exactly once, and nothing is left of the work."""
    for node in nodes:
        assert Counter(run.status for run in store.runs(node))[Status.OK] == 1
        assert {run.status for run in store.runs(node)} <= {Status.OK, Status.LOST}
    assert not store.tickets()
    assert not store.claims()
    assert list((store.folder / "scratch").glob("*")) == []
    assert marked(store.uuid) == []
    report = store.fsck("full")
    assert report.clean, report.findings


@pytest.mark.parametrize(
    ("fatal", "lost"),
    [
        ("taken", {1}),
        ("materialised", {1}),
        ("prepared", {1}),
        ("running", {1}),
        ("ended", {1}),
        ("recorded", {0, 1}),  # by then the next one may be in hand
        ("cleaned", {0, 1}),
    ],
)
def test_a_worker_killed_at_a_step_loses_nothing(root, fatal, lost):
    with dagstore.open(root) as store:
        # The child leaves its session, so that neither a group nor the parent-death signal reaches it.
        script = "setsid sleep 60 >/dev/null 2>&1 &\necho val_bpb: {number}\nsleep 0.1\n"
        nodes = fill(store, root, 3, script)
        assert start(root, fatal).wait(30) == -9
        if fatal == "running":
            assert marked(store.uuid)
        list(Worker(store, Setting("second", ENVIRON, ttl=TTL)).work(until_idle=True))
        assert_whole(store, nodes)
        runs = [run for node in nodes for run in store.runs(node)]
        assert sum(run.status is Status.LOST for run in runs) in lost


@pytest.mark.parametrize("seed", [1, 2])
def test_trainers_killed_at_random_measure_every_node_once(root, seed):
    rng = random.Random(seed)
    with dagstore.open(root) as store:
        nodes = fill(store, root, 24, "echo val_bpb: {number}\nsleep 0.15\n")
        trainers = [start(root) for _ in range(4)]
        for _ in range(5):
            time.sleep(rng.uniform(0.05, 0.5))
            place = rng.randrange(4)
            trainers[place].kill()
            trainers[place].wait()
            trainers[place] = start(root)
        assert [trainer.wait(60) for trainer in trainers] == [0] * 4
        # A claim that was dropped by the last takeover may have left a directory; the next trainer clears it.
        Worker(store, Setting("last", ENVIRON))
        assert_whole(store, nodes)


def test_what_kills_its_trainer_is_set_aside_after_two_and_the_others_are_measured(root):
    with dagstore.open(root) as store:
        nodes = fill(store, root, 3, "test {number} = 0 && kill -9 $PPID && sleep 60\necho val_bpb: {number}\n")
        assert [start(root).wait(30), start(root).wait(30), start(root).wait(30)] == [-9, -9, 0]
        assert [run.status for run in store.runs(nodes[0])] == [Status.LOST, Status.LOST]
        assert [[run.status for run in store.runs(node)] for node in nodes[1:]] == [[Status.OK]] * 2
        (left,) = store.tickets()
        assert (left.node, left.aside, left.deaths, left.token) == (nodes[0], True, 2, 0)
        assert not store.queue([nodes[0]])
        assert store.readmit(left.number).deaths == 0
        assert start(root).wait(30) == -9
