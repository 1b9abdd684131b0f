"""One trainer and real scripts: every way in which an experiment can end, and what is recorded of it."""

import json
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

import dagstore
from dagstore import Status
from trainer import process
from trainer.worker import MAX_FAILURES, Setting, Silent, Worker

LINUX = sys.platform == "linux"
ENVIRON = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nowhere", "DAG_AGENT": "somebody"}
CHARTER = """command = "{command}"
metric = "val_bpb"
direction = "minimize"
budget = "{budget}"
grace = "1s"
editable = ["train.py"]
locked = ["prepare.py"]
log_limit = "64KiB"
fingerprint = "{fingerprint}"
{more}
"""
OPEN = 'sandbox = "none"'


class Bench:
    """A project with its store, and experiments made of one script each."""

    def __init__(self, root, *, command="python -S train.py", budget="2s", fingerprint="", more=""):
        self.root = root
        root.mkdir()
        (root / "prepare.py").write_text("DATA = 1\n")
        (root / "train.py").write_text("print('val_bpb: 9.0')\n")
        charter = CHARTER.format(command=command, budget=budget, fingerprint=fingerprint, more=more)
        (root / "dag.toml").write_text(charter)
        dagstore.init(root)
        self.store = dagstore.open(root)

    def node(self, code, unlock=False, **files):
        (self.root / "train.py").write_text(code)
        for name, text in files.items():
            (self.root / f"{name}.py").write_text(text)
        return self.store.record(self.root, ["@seed"], why="an idea", unlock=unlock).node

    def worker(self, watcher=None, **changes):
        return Worker(self.store, Setting(**{"runner": "bench", "environ": ENVIRON, "ttl": 30.0, **changes}), watcher)

    def drain(self, watcher=None, **changes):
        return list(self.worker(watcher, **changes).work(until_idle=True))

    def run(self, code, **files):
        """The one run of a node with this `train.py`, measured now; nothing of the work is left."""
        node = self.node(code, **files)
        self.store.queue([node])
        (run,) = self.drain()
        assert run.node == node
        self.assert_tidy()
        return run

    def assert_tidy(self):
        assert list((self.store.folder / "scratch").glob("*")) == []
        assert not self.store.claims()
        assert not self.store.tickets()
        assert self.store.fsck("full").clean

    def log(self, run):
        return self.store.blob(run.artifacts["log"]).decode()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "project")
    yield made
    made.store.close()


@pytest.fixture
def make_bench(tmp_path):
    made = []

    def make(**settings):
        made.append(Bench(tmp_path / f"project{len(made)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class Hook(Silent):
    """Does something at one step, once."""

    def __init__(self, name, act):
        self.name, self.act = name, act

    def step(self, name):
        if name == self.name:
            self.name = ""
            self.act()

    def output(self, chunk):
        self.step("running")


# How experiments end


def test_a_block_at_the_end_of_the_log_is_measured(bench):
    run = bench.run("print('step 1')\nprint('---')\nprint('val_bpb: 0.5')\nprint('depth: 8')\n")
    assert (run.status, run.value, run.reason, run.exit_code) == (Status.OK, 0.5, "", 0)
    assert {name: run.metrics[name] for name in ("val_bpb", "depth")} == {"val_bpb": 0.5, "depth": 8.0}
    assert set(run.metrics) - {"peak_host_bytes"} == {"val_bpb", "depth"}
    assert run.ending == "finished"
    assert 0 < run.seconds < 3
    assert run.runner == "bench"
    assert run.environment["python"] == sys.version.split()[0]
    assert run.protocol == bench.store.frontier().protocol
    assert bench.store.frontier().nodes[0].id == run.node


def test_metrics_come_from_the_file_and_from_steps(bench):
    run = bench.run("import os, json\njson.dump({'val_bpb': 0.25}, open(os.environ['DAG_METRICS'], 'w'))\n")
    assert (run.status, run.value) == (Status.OK, 0.25)
    steps = "".join(json.dumps({"step": n, "val_bpb": 1 / n}) + "\n" for n in (1, 2, 4))
    run = bench.run(f"import os\nopen(os.environ['DAG_STEPS'], 'w').write({steps!r})\n")
    assert (run.status, run.value) == (Status.OK, 0.25)
    assert bench.store.blob(run.artifacts["steps"]).decode() == steps


@pytest.mark.parametrize("place", ["os.mkdir(path)", "os.mkfifo(path)", "os.symlink('/etc/passwd', path)"])
def test_odd_things_in_place_of_files_are_no_metrics(bench, place):
    code = f"import os\nfor path in (os.environ['DAG_METRICS'], os.environ['DAG_STEPS']):\n    {place}\n"
    run = bench.run(code)
    assert run.status is Status.INVALID
    assert set(run.artifacts) == {"log"}


def test_a_crash_says_the_last_line_of_its_traceback(bench):
    run = bench.run("print('val_bpb: 0.1')\nraise ValueError('no such \\x1b[31mthing')\n")
    assert (run.status, run.value, run.exit_code) == (Status.CRASHED, None, 1)
    assert run.reason.startswith("exit code 1: ValueError: no such ")
    assert run.reason.isprintable()
    assert not bench.store.frontier().nodes


def test_a_signal_and_a_lack_of_memory_have_words(bench):
    run = bench.run("import os\nos.kill(os.getpid(), 11)\n")
    assert (run.status, run.exit_code, run.reason) == (Status.CRASHED, -11, "killed by SIGSEGV")
    assert bench.run("raise MemoryError\n").status is Status.OOM


@pytest.mark.parametrize("said", ["", "print('val_bpb: nan')", "print('val_bpb: -inf')", "print('val_loss: 1')"])
def test_no_number_is_invalid_never_zero(bench, said):
    run = bench.run(f"# {len(said)}\n{said}\n")
    assert (run.status, run.value) == (Status.INVALID, None)
    assert "val_bpb" in run.reason
    assert "val_bpb" not in run.metrics


def test_budget_and_grace_end_what_ignores_sigterm(make_bench):
    bench = make_bench(budget="200ms")
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('val_bpb: 1')\ntime.sleep(60)\n"
    run = bench.run(code)
    assert (run.status, run.exit_code, run.value) == (Status.TIMEOUT, -9, None)
    assert 1.2 <= run.seconds < 1.2 + process.TERM_WAIT + 2
    assert bench.log(run) == "val_bpb: 1\n"


@pytest.mark.parametrize(
    "act",
    [
        "open('prepare.py', 'a').write('#')",
        "os.remove('prepare.py')",
        "os.rename('prepare.py', 'p'); os.symlink('p', 'prepare.py')",
        "os.remove('prepare.py'); os.mkfifo('prepare.py')",
        "os.truncate('prepare.py', 1 << 40)",
        "os.remove('dag.toml')",
    ],
)
def test_an_altered_evaluator_makes_every_number_worthless(make_bench, act):
    bench = make_bench(more=OPEN)
    run = bench.run(f"import os\n{act}\nprint('val_bpb: 0.0001')\n")
    assert (run.status, run.value, run.ending) == (Status.TAMPERED, None, "evaluator-changed")
    assert set(run.metrics) <= {"peak_host_bytes"}
    assert ("dag.toml" if "toml" in act else "prepare.py") in run.reason
    assert not bench.store.frontier().nodes


def test_a_flood_is_bounded_and_its_metrics_found(bench):
    run = bench.run("for n in range(200_000):\n    print('x' * 40)\nprint('val_bpb: 0.5')\n")
    log = bench.log(run)
    assert (run.status, run.value) == (Status.OK, 0.5)
    assert 60_000 < len(log) < 66_000
    assert "bytes left out" in log


def test_the_whole_log_is_kept(bench):
    run = bench.run("import sys\nfor n in range(2000):\n    print(n)\nsys.exit('the end')\n")
    assert bench.log(run) == "".join(f"{n}\n" for n in range(2000)) + "the end\n"


@pytest.mark.skipif(not LINUX, reason="only a subreaper finds what left its session")
def test_children_left_behind_are_gone(make_bench):
    bench = make_bench(more=OPEN)
    code = """
import subprocess
child = subprocess.Popen(['sleep', '600'], start_new_session=True, env={}, stdin=-3, stdout=-3, stderr=-3)
print('child:', child.pid)
print('val_bpb: 1')
"""
    run = bench.run(code)
    assert run.status is Status.OK
    assert not alive(int(run.metrics["child"]))


def test_a_command_that_is_not_there_is_the_experiments_fault(make_bench):
    for command, said in (("nonesuch --x", "nonesuch"), ("python a.py && true", "shell for &&")):
        bench = make_bench(command=command)
        run = bench.run("print(1)\n")
        assert (run.status, run.seconds) == (Status.CRASHED, 0.0)
        assert said in run.reason


# What experiments are given


def test_a_run_s_environment_has_a_digest_of_the_lock_files(bench):
    (bench.root / "sub").mkdir()
    found = []
    for text in (None, "torch==2.12\n", "torch==2.13\n", "torch==2.12\n"):
        if text is not None:
            (bench.root / "sub" / "requirements-gpu.txt").write_text(text)
        found.append(bench.run(f"print('val_bpb: 1.0')  # {len(found)}\n").environment.get("lock"))
    assert found[0] is None
    assert found[1] == found[3] != found[2]
    assert bench.store.platforms()[0].differs == ("lock",)


def test_the_environment_is_the_contract(bench):
    run = bench.run("import os\nfor name in sorted(os.environ):\n    print(name + '=' + os.environ[name])\n")
    env = dict(line.split("=", 1) for line in bench.log(run).splitlines())
    assert env["DAG_NODE"] == str(run.node)
    assert env["DAG_SEED"] == str(run.seed)
    assert env["DAG_BUDGET"] == "2"
    assert env["DAG_CLAIM"].startswith(bench.store.uuid)
    assert {name for name in env if name.startswith("DAG_")} == {
        *("DAG_NODE", "DAG_SEED", "DAG_BUDGET", "DAG_METRICS", "DAG_STEPS", "DAG_READY", "DAG_OUT", "DAG_CLAIM")
    }
    assert env["HOME"] == "/nowhere"
    assert not Path(env["DAG_METRICS"]).is_relative_to(env.get("PWD", "/nowhere"))


def test_an_experiment_may_bring_modules_named_like_ours(bench):
    names = ("trainer", "agent", "cli", "dagstore")
    code = f"import {', '.join(names)}\nprint({' + '.join(f'{name}.MINE' for name in names)})\nprint('val_bpb: 1')\n"
    run = bench.run(code, **dict.fromkeys(names, "MINE = 1\n"))
    assert run.status is Status.OK, bench.log(run)
    assert bench.log(run).startswith("4\n")


def test_the_projects_own_interpreter_is_preferred(bench):
    python = bench.root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nOWN=yes exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (bench.root / ".gitignore").write_text(".venv\n")
    run = bench.run("import os\nprint('val_bpb:', 1 if os.environ.get('OWN') == 'yes' else 2)\n")
    assert run.value == 1


def test_repeats_get_seeds_of_their_own(bench):
    node = bench.node("import os\nprint('val_bpb:', os.environ['DAG_SEED'])\n")
    bench.store.queue([node], repeat=3)
    runs = bench.drain()
    assert len({run.seed for run in runs}) == len({run.id for run in runs}) == 3
    assert [run.value for run in runs] == [run.seed for run in runs]


def test_another_evaluator_is_another_protocol(bench):
    plain = bench.run("print('val_bpb: 1')\n")
    node = bench.node("print('val_bpb: 0.5')\n", prepare="DATA = 2\n", unlock=True)
    bench.store.queue([node])
    (other,) = bench.drain()
    assert plain.protocol != other.protocol
    assert [row.id for row in bench.store.frontier().nodes] == [node]


# Fingerprints


def test_two_fingerprints_are_never_ranked_together(make_bench, tmp_path):
    data = tmp_path / "version"
    data.write_text("2024\n")
    bench = make_bench(fingerprint=f"cat {data}", more=f'data = ["{data}"]')
    first = bench.run("print('val_bpb: 1')\n")
    again = bench.run("print('val_bpb: 2')\n")
    data.write_text("2025\n")
    other = bench.run("print('val_bpb: 3')\n")
    assert first.protocol == again.protocol != other.protocol
    assert [row.id for row in bench.store.frontier().nodes] == [other.node]


def test_one_worker_asks_once(make_bench, tmp_path):
    asked = tmp_path / "asked"
    bench = make_bench(fingerprint=f"sh -c 'echo x >> {asked}; echo v1'", more=OPEN)
    bench.store.queue([bench.node("print('val_bpb: 1')\n"), bench.node("print('val_bpb: 2')\n")])
    runs = bench.drain()
    assert [run.status for run in runs] == [Status.OK] * 2
    assert asked.read_text() == "x\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [("sh -c 'echo no data; exit 3'", "exit code 3: no data"), ("true", "nothing"), ("nonesuch", "nonesuch")],
)
def test_a_fingerprint_that_fails_says_so(make_bench, command, said):
    run = make_bench(fingerprint=command).run("print('val_bpb: 1')\n")
    assert (run.status, run.value) == (Status.CRASHED, None)
    assert "fingerprint" in run.reason
    assert said in run.reason


def test_a_slow_fingerprint_can_be_stopped(make_bench):
    bench = make_bench(fingerprint="sleep 60")
    bench.store.queue(["@seed"])
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    assert list(bench.worker().work(until_idle=True, stop=stop)) == []
    assert time.monotonic() - began < 5
    assert [ticket.token for ticket in bench.store.tickets()] == [0]
    assert not bench.store.runs()


# Claims


def test_a_ticket_of_a_vanished_worker_is_measured_once(bench):
    bench.store.queue(["@seed"])
    gone = bench.store.take("gone", 0.0)
    runs = bench.drain()
    assert [run.status for run in runs] == [Status.OK]
    lost, ok = bench.store.runs("@seed")
    assert (lost.status, lost.runner, lost.seed) == (Status.LOST, "gone", gone.ticket.number)
    assert (ok.status, ok.seed) == (Status.OK, gone.ticket.number)
    assert "bench" in lost.reason
    bench.assert_tidy()


def test_a_heartbeat_outlives_the_length_of_a_claim(bench):
    node = bench.node("import time\ntime.sleep(2.2)\nprint('val_bpb: 1')\n")
    bench.store.queue([node])
    over, stolen, began = threading.Event(), [], threading.Event()

    def steal():
        began.wait(10)
        while not over.wait(0.02):
            stolen.append(bench.store.take("thief", 1.0))

    thief = threading.Thread(target=steal)
    thief.start()
    try:
        (run,) = bench.drain(Hook("materialised", began.set), ttl=0.6)
    finally:
        over.set()
        thief.join()
    assert run.status is Status.OK
    assert len(stolen) > 10
    assert set(stolen) == {None}
    assert [one.status for one in bench.store.runs(node)] == [Status.OK]


@pytest.mark.parametrize("step", ["taken", "materialised", "ended"])
def test_a_worker_that_was_overtaken_records_nothing(bench, step):
    bench.store.queue(["@seed"])
    later = dagstore.open(bench.root, clock=lambda: time.time() + 3600)

    def overtake():
        other = Worker(later, Setting("other", ENVIRON))
        assert [run.status for run in other.work(until_idle=True)] == [Status.OK]

    assert bench.worker(Hook(step, overtake)).next() is None
    later.close()
    assert [(run.status, run.runner) for run in bench.store.runs("@seed")] == [
        (Status.LOST, "bench"),
        (Status.OK, "other"),
    ]
    bench.assert_tidy()


def test_losing_the_claim_ends_the_experiment(bench):
    node = bench.node("import time\nprint('here')\ntime.sleep(60)\n")
    bench.store.queue([node])
    later = dagstore.open(bench.root, clock=lambda: time.time() + 3600)
    began = time.monotonic()
    taken = []
    hook = Hook("running", lambda: taken.append(later.take("other", 60.0)))
    assert bench.worker(hook, ttl=0.6).next() is None
    later.close()
    assert time.monotonic() - began < 2
    assert not bench.store.runs()
    assert [ticket.token for ticket in bench.store.tickets()] == [taken[0].claim.token]


def test_faults_of_the_machine_are_tried_again_but_not_for_ever(bench):
    bench.store.queue(["@seed"])
    tries = []

    class Fault(Silent):
        def begin(self, ticket, charter):
            tries.append(ticket.failures)
            for home in (bench.store.folder / "scratch").glob("*/work"):
                shutil.rmtree(home)

    (run,) = bench.drain(Fault())
    assert run.status is Status.INFRA
    assert tries == list(range(MAX_FAILURES))
    assert [one.status for one in bench.store.runs("@seed")] == [Status.INFRA] * MAX_FAILURES
    bench.assert_tidy()
    assert bench.store.queue(["@seed"])


def test_a_fault_that_passes_leaves_a_good_run(bench):
    bench.store.queue(["@seed"])
    hook = Hook("materialised", lambda: [shutil.rmtree(p) for p in (bench.store.folder / "scratch").glob("*/work")])
    (run,) = bench.drain(hook)
    assert run.status is Status.OK
    assert [one.status for one in bench.store.runs("@seed")] == [Status.INFRA, Status.OK]


def test_stop_gives_the_ticket_back(bench):
    node = bench.node("import time\nprint('here')\ntime.sleep(60)\n")
    (ticket,) = bench.store.queue([node])
    stop = threading.Event()
    began = time.monotonic()
    assert list(bench.worker(Hook("running", stop.set)).work(stop=stop)) == []
    assert time.monotonic() - began < 5
    assert list(bench.store.tickets()) == [ticket]
    assert not bench.store.claims()
    assert not bench.store.runs()


def test_an_error_of_the_watcher_gives_the_ticket_back(bench):
    (ticket,) = bench.store.queue(["@seed"])

    def fail():
        raise KeyboardInterrupt

    for step in ("taken", "materialised", "running", "ended"):
        with pytest.raises(KeyboardInterrupt):
            bench.worker(Hook(step, fail)).next()
        assert list(bench.store.tickets()) == [ticket]
        assert not bench.store.claims()
    with pytest.raises(KeyboardInterrupt):
        bench.worker(Hook("recorded", fail)).next()
    assert [run.status for run in bench.store.runs("@seed")] == [Status.OK]
    bench.assert_tidy()


def test_what_killed_workers_left_is_swept_at_the_start(bench):
    left = bench.store.folder / "scratch" / "12345" / "work"
    left.mkdir(parents=True)
    bench.worker()
    assert not left.parent.exists()


def test_time_up_and_an_empty_line_end_the_work(bench):
    worker = bench.worker()
    began = time.monotonic()
    assert list(worker.work(seconds=0.3)) == []
    assert 0.3 <= time.monotonic() - began < 2
    assert list(worker.work(until_idle=True)) == []
    assert worker.next() is None
    bench.store.queue(["@seed"])
    assert list(worker.work(seconds=0.0)) == []
