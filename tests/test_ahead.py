"""What is ready before its turn: a child in a cell for the next experiment, which nobody has claimed yet."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import pytest

import dagstore
from trainer.cell import Level
from trainer.process import become_subreaper
from trainer.sandbox import Sandbox, strongest
from trainer.scratch import Scratch
from trainer.strays import children
from trainer.worker import Setting, Silent, Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm parents are for Linux")
ENVIRON = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
PATIENCE = 20
CHARTER = """command = "python train.py"
metric = "val_bpb"
direction = "minimize"
budget = "20s"
editable = ["train.py"]
locked = ["evaluate.py", "hidden.py"]
preload = ["{module}"]
"""
FACTS = """
import json, os, time
names = ("DAG_SEED", "DAG_NODE", "DAG_OUT", "DAG_METRICS", "DAG_READY")
facts = {name: os.environ[name] for name in names} | {"cwd": os.getcwd()}
facts["namespace"] = os.stat("/proc/self/ns/pid").st_ino
facts["claim"] = open("/proc/self/environ").read().partition("DAG_CLAIM=")[2].partition("\\0")[0]
open(os.path.join(os.environ["DAG_OUT"], "model"), "w").close()
print(json.dumps(facts), flush=True)
json.dump({"val_bpb": 1.0}, open(os.environ["DAG_METRICS"], "w"))
"""
WAIT = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"


class Bench:
    """A project whose experiments wait for a file, which `act` can have before or after the next one was prepared."""

    def __init__(self, root: Path, sandbox: Sandbox, more: str = "", module: str = "json", **environ: str) -> None:
        self.root, self.sandbox, self.environ = root, sandbox, ENVIRON | environ
        root.mkdir()
        (root / "dag.toml").write_text(CHARTER.format(module=module) + more)
        (root / "evaluate.py").write_text("import hidden\nprint('val_bpb:', hidden.SECRET)\n")
        (root / "hidden.py").write_text("SECRET = 1\n")
        (root / "train.py").write_text(WAIT + FACTS)
        dagstore.init(root)
        self.store = dagstore.open(root)

    def child(self, code: str) -> dagstore.NodeId:
        (self.root / "train.py").write_text(code)
        return self.store.record(self.root, ["@seed"]).node

    def worker(self, act=lambda number: None) -> Worker:
        return Worker(self.store, Setting("bench", self.environ, sandbox=self.sandbox), Releasing(self.store, act))

    def facts(self, run) -> dict:
        return json.loads(self.store.blob(run.artifacts["log"]))


class Releasing(Silent):
    """Lets an experiment end once the next one is ready, or nothing is in line; calls `act` with which one that is."""

    def __init__(self, store, act) -> None:
        self.store, self.act, self.number = store, act, 0

    def step(self, name):
        if name == "prepared":
            self.number += 1
            self.act(self.number)
            self.release()
        elif name == "materialised" and not self.store.next_in_line():
            self.release()

    def release(self):
        for home in (self.store.folder / "scratch").glob("[0-9]*"):
            with suppress(FileNotFoundError):  # the one before, which is being removed
                (home / "work" / "go").touch()


@pytest.fixture(params=[Level.BUBBLEWRAP, Level.NONE])
def bench(request, tmp_path):
    assert become_subreaper()
    sandbox = strongest([request.param, Level.NONE])
    if sandbox.level is not request.param:
        pytest.skip(sandbox.lacking[0][1])
    made = Bench(tmp_path / "project", sandbox)
    before = children()
    yield made
    assert {pid for pid in children() - before if _lives(pid)} == set()
    assert list((made.store.folder / "scratch").glob("*")) == []
    assert not made.store.claims()
    made.store.close()


def _lives(pid) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _namespaces() -> set[int]:
    """The process namespaces of this process's children."""
    found = set()
    for pid in children():
        try:
            found.add(os.stat(f"/proc/{pid}/ns/pid").st_ino)
        except OSError:
            continue
    return found


def test_its_cell_is_there_before_the_experiment_in_hand_ends(bench):
    seen = {}
    bench.store.queue(["@seed"], repeat=4)
    with closing(bench.worker(lambda number: seen.update({number: _namespaces()}))) as worker:
        runs = list(worker.work(until_idle=True))
    assert [run.environment["start"] for run in runs] == ["cold", "warm", "warm", "warm"]
    assert all(bench.facts(runs[number])["namespace"] in seen[number] for number in (2, 3))


def test_it_learns_of_its_claim_when_it_begins(bench):
    """What it is told and how it is found are its own, and all that it cannot tell apart is the same for each."""
    bench.store.queue(["@seed"], repeat=4)
    with closing(bench.worker()) as worker:
        runs = list(worker.work(until_idle=True))
    facts = [bench.facts(run) for run in runs]
    assert [int(fact.pop("DAG_SEED")) for fact in facts] == [run.seed for run in runs]
    claims = {fact["claim"] for fact in facts}
    assert len(claims) == 4
    assert all(claim.startswith(bench.store.uuid) for claim in claims)
    if bench.sandbox.level is Level.BUBBLEWRAP:
        assert len({(fact["cwd"], fact["DAG_OUT"], fact["DAG_METRICS"], fact["DAG_READY"]) for fact in facts}) == 1
    assert {run.value for run in runs} == {1.0}


def test_what_was_ready_for_a_ticket_that_another_took_is_thrown_away(bench):
    first, second, other, *rest = [bench.child(f"{WAIT}{FACTS}# {number}\n") for number in range(6)]
    bench.store.queue([first, second, other, *rest])
    stolen = []

    def steal(number):
        if number == 2:
            stolen.append(bench.store.take("thief", 60.0))

    with closing(bench.worker(steal)) as worker:
        runs = list(islice(worker.work(), 5))
    assert stolen[0].ticket.node == other
    assert [run.node for run in runs] == [first, second, *rest]
    assert [run.environment["start"] for run in runs] == ["cold", *["warm"] * 4]
    bench.store.give_back(stolen[0].claim)


def test_a_child_that_was_killed_while_it_stood_by_costs_nothing_but_time(bench):
    """Nothing begins twice: the experiment would say so."""
    bench.store.queue(["@seed"], repeat=4)

    def kill(number):
        for pid in children() if number == 3 else ():
            if os.getsid(pid) == os.getsid(0) and _lives(pid) and not _is_parent(pid):
                os.kill(pid, signal.SIGKILL)

    with closing(bench.worker(kill)) as worker:
        runs = list(worker.work(until_idle=True))
    assert [run.value for run in runs] == [1.0] * 4
    assert all(bench.facts(run)["DAG_SEED"] == str(run.seed) for run in runs)


def _is_parent(pid) -> bool:
    """Whether it has a group of its own: a warm parent, or what holds a cell."""
    return os.getpgid(pid) == pid


def test_a_package_that_changes_after_the_child_was_made_ready_is_imported_anew(tmp_path):
    assert become_subreaper()
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "inventory.py").write_text("VALUE = 1\n")
    bench = Bench(
        tmp_path / "project", strongest([Level.BUBBLEWRAP, Level.NONE]), module="inventory", PYTHONPATH=str(packages)
    )
    node = bench.child(WAIT + "import inventory\nprint('val_bpb:', inventory.VALUE)\n")
    bench.store.queue([node], repeat=4)

    def change(number):
        if number == 3:
            (packages / "inventory.py").write_text("VALUE = 22\n")

    with closing(bench.worker(change)) as worker:
        runs = list(worker.work(until_idle=True))
    assert [(run.value, run.environment["start"]) for run in runs] == [
        (1, "cold"),
        (1, "warm"),
        (1, "warm"),
        (22, "warm"),
    ]
    bench.store.close()


def test_what_only_the_evaluation_may_see_is_not_there(tmp_path):
    assert become_subreaper()
    more = 'hidden = ["hidden.py"]\nevaluate = "python evaluate.py"\n'
    bench = Bench(tmp_path / "project", strongest([Level.BUBBLEWRAP, Level.NONE]), more)
    look = "try:\n    print(open('hidden.py').read())\nexcept OSError:\n    print('nothing')\n"
    node = bench.child(WAIT + look)
    bench.store.queue([node], repeat=4)
    with closing(bench.worker()) as worker:
        runs = list(worker.work(until_idle=True))
    assert [bench.store.blob(run.artifacts["log"]) for run in runs] == [b"nothing\n"] * 4
    assert [run.status for run in runs] == [dagstore.Status.OK] * 4
    bench.store.close()


def test_a_killed_trainer_leaves_no_process_and_no_claim_of_the_next(tmp_path):
    """What stood by ends with it; its folder goes when the next trainer begins."""
    assert become_subreaper()
    bench = Bench(tmp_path / "project", strongest([Level.BUBBLEWRAP, Level.NONE]))
    bench.store.queue(["@seed"], repeat=4)
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_ahead import *
sandbox = strongest([Level.BUBBLEWRAP, Level.NONE])
store = dagstore.open({str(bench.root)!r})
def die(number):
    if number == 3:
        print(*children(), flush=True)
        os.kill(os.getpid(), 9)
list(Worker(store, Setting("doomed", {bench.environ!r}, sandbox=sandbox), Releasing(store, die)).work())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [int(word) for word in done.stdout.split()]
    assert len(left) >= 3  # a parent, its child, and the child that stood by
    deadline = time.monotonic() + PATIENCE
    while any(map(_lives, left)) and time.monotonic() < deadline:
        os.sched_yield()
    assert not any(map(_lives, left))
    assert len(bench.store.claims()) == 1
    Scratch(bench.store).tidy()
    assert len(list((bench.store.folder / "scratch").glob("*"))) == 1  # of the claim that has not run out
    bench.store.close()
