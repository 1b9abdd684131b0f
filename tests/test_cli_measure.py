"""The verbs that measure, as people start them: what they answer, their exit codes, and what Ctrl-C leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dagstore
from dagstore import Status

LINUX = sys.platform == "linux"
DAG = Path(sys.executable).parent / "dag"
CHARTER = """command = "python -S train.py"
metric = "val_bpb"
direction = "minimize"
budget = "{budget}"
grace = "1s"
editable = ["train.py"]
locked = ["prepare.py"]
{more}
"""
TRAIN = "import os\nLR = 0.1\nDEPTH = 4\nWIDTH = 8\nprint('val_bpb:', LR * DEPTH / WIDTH)\n"
SLOW = TRAIN + "print('begun', flush=True)\nimport time\ntime.sleep(60)\n"
RUN_FIELDS = {"id", "node", "status", "metrics", "seconds", "platform", "protocol"}
FAILED, INTERRUPTED = 5, 130
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("DAG_")},
    "DAG_AGENT": "ann",
    "PATH": f"{DAG.parent}:{os.environ['PATH']}",
}


class Project:
    def __init__(self, root):
        self.root = root

    def start(self, *words):
        return subprocess.Popen(
            [DAG, *words],
            cwd=self.root,
            env=ENVIRON,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def dag(self, *words, code=0):
        """stdout and stderr of an invocation that ends with that exit code."""
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "\x1b" not in out + err
        return out, err

    def json(self, *words, code=0):
        return json.loads(self.dag(*words, "--json", code=code)[0])

    def node(self, code):
        (self.root / "train.py").write_text(code)
        with self.store() as store:
            return str(store.record(self.root, ["@seed"], why="an idea").node)

    def store(self):
        return dagstore.open(self.root)

    def interrupt(self, process, number=signal.SIGINT):
        """Interrupt it once an experiment is under way; its output, when it ended with 130 in time."""
        eventually(self.experiments)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == INTERRUPTED, err
        assert time.monotonic() - began < 5
        assert self.experiments() == []
        return out, err

    def experiments(self):
        """Living processes of this project's experiments."""
        found = []
        with self.store() as store:
            mark = f"DAG_CLAIM={store.uuid}-".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                # Behind setpriv the command is not there yet.
                if mark in path.read_bytes() and b"train.py" in path.with_name("cmdline").read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def eventually(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def make(root, train=TRAIN, budget="20s", more=""):
    root.mkdir()
    (root / "train.py").write_text(train)
    (root / "prepare.py").write_text("DATA = 1\n")
    (root / "dag.toml").write_text(CHARTER.format(budget=budget, more=more))
    dagstore.init(root)
    return Project(root)


@pytest.fixture
def project(tmp_path):
    return make(tmp_path / "project")


# run


def test_run_measures_once_and_then_shows(project):
    (run,) = project.json("run", "@seed")["runs"]
    assert set(run) >= RUN_FIELDS
    assert (run["status"], run["ending"], run["metrics"]["val_bpb"]) == ("ok", "finished", 0.05)
    assert set(run["metrics"]) - {"peak_host_bytes"} == {"val_bpb"}
    (again,) = project.json("run", "@seed")["runs"]
    assert again == run
    out, err = project.dag("run", "@seed")
    assert out.startswith(run["node"][:12])
    assert "val_bpb 0.05" in out
    assert "--repeat" in err
    with project.store() as store:
        assert len(store.runs()) == 1


def test_repeat_measures_that_many_more_with_seeds_of_their_own(project):
    code = TRAIN.replace("LR *", "int(os.environ['DAG_SEED']) * LR *")
    node = project.node(code)
    runs = project.json("run", node, "--repeat", "3")["runs"]
    runs += project.json("run", node, "--repeat", "2")["runs"]
    assert len({run["id"] for run in runs}) == len({run["seed"] for run in runs}) == 5
    assert len({run["metrics"]["val_bpb"] for run in runs}) == 5
    assert project.json("frontier")["noise"]["n"] == 5


def test_run_takes_several_nodes_in_their_order(project):
    other = project.node("print('val_bpb: 0.5')\n")
    runs = project.json("run", other, "@seed")["runs"]
    assert [run["metrics"]["val_bpb"] for run in runs] == [0.5, 0.05]


def test_a_failed_experiment_is_recorded_and_has_an_exit_code(project):
    good = project.node("print('val_bpb: 0.5')\n")
    node = project.node("raise ValueError('\\x1b[31mno')\n")
    process = project.start("run", good, node, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == FAILED
    assert [run["status"] for run in json.loads(out)["runs"]] == ["ok", "crashed"]
    error = json.loads(err)
    assert error["code"] == "experiment_failed"
    assert "ValueError" in error["message"]
    assert error["hint"] == f"dag show {node[:12]}"
    out, err = project.dag("run", node, code=FAILED)
    assert "crashed" in out


def test_a_node_that_failed_before_it_was_measured_is_fine(tmp_path):
    project = make(tmp_path / "project", more='sandbox = "none"')
    flag = project.root.parent / "flag"
    node = project.node(f"import os\nassert os.path.exists({str(flag)!r})\nprint('val_bpb: 1')\n")
    project.dag("run", node, code=FAILED)
    flag.write_text("")
    assert [run["status"] for run in project.json("run", node)["runs"]] == ["ok"]
    assert [run["status"] for run in project.json("run", node)["runs"]] == ["ok"]


def test_run_takes_over_what_is_in_line_and_leaves_the_rest(project):
    other = project.node("print('val_bpb: 0.5')\n")
    with project.store() as store:
        (ticket, *_) = store.queue(["@seed", other])
    (run,) = project.json("run", "@seed")["runs"]
    assert run["seed"] == ticket.number
    with project.store() as store:
        assert [str(left.node) for left in store.tickets()] == [other]


def test_run_waits_for_a_trainer_that_has_the_node_in_hand(project):
    node = project.node("import time\ntime.sleep(1.5)\nprint('val_bpb: 0.5')\n")
    project.dag("queue", node)
    trainer = project.start("train", "--until-idle", "--json")
    eventually(project.experiments)
    (run,) = project.json("run", node)["runs"]
    out, err = trainer.communicate(timeout=30)
    assert trainer.returncode == 0, err
    assert [one["id"] for one in json.loads(out)["runs"]] == [run["id"]]


def test_the_same_tree_under_another_name_is_not_run_again(project):
    first = project.node("print('val_bpb: 0.5')\n")
    (project.root / "train.py").write_text("print('val_bpb: 0.7')\n")
    with project.store() as store:
        step = store.record(project.root, ["@seed"]).node
        (project.root / "train.py").write_text("print('val_bpb: 0.5')\n")
        twin = str(store.record(project.root, [step]).node)
        store.queue([first])
    assert twin != first
    (run,) = project.json("run", twin)["runs"]
    assert run["node"] == first
    with project.store() as store:
        assert len(store.runs()) == 1


@pytest.mark.skipif(not LINUX, reason="experiments are found in /proc")
def test_an_interrupted_run_is_cancelled_and_works_again(project):
    node = project.node(SLOW)
    with project.store() as store:
        (theirs,) = store.queue(["@seed"])
    out, err = project.interrupt(project.start("run", node, "@seed"))
    assert out == ""
    assert "interrupted" in err
    with project.store() as store:
        assert list(store.tickets()) == [theirs]
        assert not store.claims()
        assert not store.runs()
        assert list((store.folder / "scratch").glob("*")) == []
        assert store.fsck("full").clean
    assert project.json("run", "@seed")["runs"][0]["status"] == "ok"


@pytest.mark.skipif(not LINUX, reason="experiments are found in /proc")
def test_an_interrupted_run_leaves_what_others_put_in_line(project):
    node = project.node(SLOW)
    with project.store() as store:
        (theirs,) = store.queue([node])
    project.interrupt(project.start("run", node, "--repeat", "2"))
    with project.store() as store:
        assert list(store.tickets()) == [theirs]


# train


def test_train_until_idle_drains_the_line(project):
    nodes = [project.node(f"print('val_bpb: {number}')\n") for number in range(3)]
    project.dag("queue", *nodes)
    runs = project.json("train", "--until-idle")["runs"]
    assert [run["node"] for run in runs] == nodes
    assert all(set(run) >= RUN_FIELDS for run in runs)
    out, err = project.dag("train", "--until-idle")
    assert out == "0 runs: nothing was there to measure\n"
    assert err == ""


def test_train_reports_failures_without_failing(project):
    project.dag("queue", project.node("raise SystemExit(3)\n"))
    out, err = project.dag("train", "--until-idle")
    assert re.fullmatch(r"1 run: 1 crashed\n1 slot: \d+\.\d% of \S+ s in experiments\n", out)
    assert re.search(r"crashed: exit code 3 \(\d+\.\d s\)  an idea", err)


def test_train_for_a_while(project):
    project.dag("queue", "@seed")
    began = time.monotonic()
    runs = project.json("train", "--for", "1s")["runs"]
    assert 1 <= time.monotonic() - began < 6
    assert [run["status"] for run in runs] == ["ok"]


@pytest.mark.skipif(not LINUX, reason="experiments are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_trainer_puts_its_ticket_back(project, number):
    node = project.node(SLOW)
    with project.store() as store:
        (ticket,) = store.queue([node])
    out, _ = project.interrupt(project.start("train", "--json"), number)
    assert json.loads(out)["runs"] == []
    with project.store() as store:
        assert list(store.tickets()) == [ticket]
        assert not store.claims()
        assert not store.runs()
        store.cancel(ticket.number)
        store.queue(["@seed"])
    assert len(project.json("train", "--until-idle")["runs"]) == 1


# agent


def test_agents_and_their_trainer(project):
    words = ("agent", "--train", "--experiments", "4", "--agents", "2", "--seed", "1")
    attempts = project.json(*words)["attempts"]
    assert len(attempts) == 4
    assert {attempt["agent"] for attempt in attempts} == {"ann-1", "ann-2"}
    assert {attempt["outcome"] for attempt in attempts} <= {"measured", "known"}
    for attempt in attempts:
        assert set(attempt["run"] or {}) >= RUN_FIELDS or attempt["outcome"] == "known"
    with project.store() as store:
        assert len(store.runs()) == len({run.node for run in store.runs()}) == store.count()
        assert {run.status for run in store.runs()} == {Status.OK}
        assert not store.tickets()
        assert not store.claims()
        assert list((store.folder / "workspaces").glob("*")) == []
        assert store.fsck("full").clean
    out, err = project.dag("agent", "--train", "--experiments", "1", "--seed", "2")
    assert out.startswith("1 attempt: 1 ")
    assert " → " in err


def test_an_agent_may_be_any_program(project):
    program = "sh -c 'echo \"print(7)\" >> train.py; echo more'"
    (attempt,) = project.json("agent", "--train", "--experiments", "1", "--command", program)["attempts"]
    assert (attempt["outcome"], attempt["why"]) == ("measured", "more")
    out, _ = project.dag("agent", "--experiments", "1", "--command", "sh -c 'exit 3'")
    assert out == "1 attempt: 1 failed\n"


def test_bad_arguments_are_refused_before_anything_is_done(project):
    for words in (("--command", "sh 'x"), ("--command", "x", "--timeout", "soon"), ("--for", "soon")):
        project.dag("agent", "--experiments", "1", *words, code=4)
    with project.store() as store:
        assert not store.tickets()


@pytest.mark.skipif(not LINUX, reason="experiments are found in /proc")
def test_interrupted_agents_leave_nothing_running(tmp_path):
    project = make(tmp_path / "project", train=SLOW)
    out, _ = project.interrupt(project.start("agent", "--train", "--agents", "2", "--json"))
    outcomes = [attempt["outcome"] for attempt in json.loads(out)["attempts"]]
    assert "stopped" in outcomes  # the second agent may not have begun
    assert set(outcomes) <= {"stopped", "known"}  # both may have had the same idea
    with project.store() as store:
        assert not store.claims()
        assert not store.runs()
        assert store.tickets()
        assert list((store.folder / "workspaces").glob("*")) == []
        assert store.fsck("full").clean


@pytest.mark.skipif(not LINUX, reason="experiments are found in /proc")
def test_a_trainer_ends_with_its_agents_whatever_ended_them(tmp_path):
    project = make(tmp_path / "project", train=SLOW)
    process = project.start("agent", "--train", "--experiments", "1")
    eventually(project.experiments)
    process.kill()
    process.communicate()
    eventually(lambda: not project.experiments(), 6)
    with project.store() as store:
        eventually(lambda: not [ticket for ticket in store.tickets() if ticket.token])
        assert store.tickets()


@pytest.mark.skipif(not LINUX, reason="experiments are found in /proc")
def test_agents_do_not_wait_for_a_trainer_that_is_gone(tmp_path):
    project = make(tmp_path / "project", train=SLOW, more='sandbox = "none"')
    process = project.start("agent", "--train", "--experiments", "1")
    eventually(project.experiments)
    (experiment,) = project.experiments()
    trainer = int(Path(f"/proc/{experiment}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(trainer, signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 7
    assert "the trainer failed" in err
    eventually(lambda: not project.experiments(), 6)
