"""What a charter asks of a machine is bounded by what its owner agreed to; nodes are written by anybody."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagstore
from dagstore import BadInput, Charter, Direction, Refused, Status
from dagstore.codec import pack, unpack
from dagstore.demands import Demands
from trainer.policy import Grants, Owner, lacking, read_grants
from trainer.worker import Setting, Silent, Worker

DAG = Path(sys.executable).parent / "dag"
ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "FAR": "away"}
CHARTER = """command = "sh train.sh"
metric = "val_bpb"
direction = "minimize"
budget = "20s"
grace = "1s"
editable = ["train.sh"]
"""
ASKING = {
    "network": "network = true",
    "sandbox=none": 'sandbox = "none"',
    "environment=FAR": 'environment = ["FAR"]',
    "data=/var/tmp": 'data = ["/var/tmp"]',
    "limits=1GiB": 'log_limit = "1GiB"',
    "hidden=/var/tmp": 'evaluate = "sh train.sh"\nhidden = ["/var/tmp"]',
}


class Heard(Silent):
    def __init__(self):
        self.passed_by = []

    def pass_by(self, what, hint):
        self.passed_by.append((what, hint))


class Project:
    def __init__(self, root, more=""):
        self.root = root
        root.mkdir()
        (root / "train.sh").write_text("echo val_bpb: 1\n")
        self.agree(more)
        dagstore.init(root)
        self.store = dagstore.open(root)

    def agree(self, more=""):
        """What the owner's own charter says."""
        (self.root / "dag.toml").write_text(CHARTER + more)

    def node(self, more="", script="echo val_bpb: 0.5\n"):
        """A node that somebody recorded with more in its charter than there is in the owner's, in line."""
        (self.root / "train.sh").write_text(script)
        owners = (self.root / "dag.toml").read_text()
        self.agree(more)
        node = self.store.record(self.root, ["@seed"], why="trust me", unlock=True).node
        (self.root / "dag.toml").write_text(owners)
        self.store.queue([node])
        return node

    def worker(self, watcher=None, **said):
        return Worker(self.store, Setting("bench", ENVIRON, grants=Grants(**said)), watcher)

    def drain(self, watcher=None, **said):
        return [run.node for run in self.worker(watcher, **said).work(until_idle=True)]

    def dag(self, *words, code=0):
        self.store.close()
        done = subprocess.run(
            [DAG, *words],
            cwd=self.root,
            env={**os.environ, **ENVIRON},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.store = dagstore.open(self.root)
        assert done.returncode == code, done.stderr
        return done


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "project")
    yield made
    made.store.close()


@pytest.mark.parametrize("option", ASKING)
def test_what_was_not_agreed_to_stays_in_line_and_is_told_of_once_with_what_would_allow_it(project, option):
    wanting, modest = project.node(ASKING[option], "touch ran\necho val_bpb: 2\n"), project.node()
    again = project.node(ASKING[option], "echo val_bpb: 3\n")
    heard = Heard()
    assert project.drain(heard) == [modest]
    ((what, hint),) = heard.passed_by
    assert ASKING[option].splitlines()[-1].split(" = ")[0] in what
    assert f"--allow {option}" in hint
    assert str(project.root / "dag.toml") in hint
    assert {ticket.node for ticket in project.store.tickets()} == {wanting, again}
    assert not project.store.claims()
    said = read_grants([option], project.root)
    runs = list(Worker(project.store, Setting("bench", ENVIRON, grants=said)).work(until_idle=True))
    assert {run.node for run in runs} == {wanting, again}


@pytest.mark.parametrize("option", ASKING)
def test_what_the_owner_s_own_charter_says_needs_no_option(project, option):
    project.agree(ASKING[option])
    node = project.node(ASKING[option])
    assert project.drain() == [node]


def test_a_change_of_the_owner_s_charter_counts_at_once(project):
    node = project.node("network = true")
    worker = project.worker()
    assert worker.next() is None
    project.agree("network = true")
    assert worker.next().node == node
    project.node("network = true", "echo val_bpb: 7\n")
    (project.root / "dag.toml").write_text("command = ")  # being edited
    assert worker.next() is None


def test_a_machine_whose_owner_said_nothing_runs_in_a_whole_sandbox_only(project):
    (project.root / "dag.toml").unlink()
    owner = Owner(project.root, "/nowhere", Grants(), whole=False)
    assert [lack.option for lack in owner.lacking(Demands())] == ["--allow sandbox=auto"]
    assert not owner.lacking(Demands(sandbox="required"))
    assert not Owner(project.root, "/nowhere", Grants(), whole=True).lacking(Demands())


def test_run_refuses_and_leaves_nothing_in_line(project):
    node = project.node("network = true")
    (ticket,) = project.store.tickets()
    project.store.cancel(ticket.number)
    done = project.dag("run", str(node), "--json", code=4)
    error = json.loads(done.stderr.splitlines()[-1])
    assert error["code"] == "not_allowed"
    assert "network = true" in error["message"]
    assert "--allow network" in error["hint"]
    assert not project.store.tickets()
    assert not project.store.claims()
    assert not project.store.runs(node)
    project.dag("run", str(node), "--allow", "network")
    assert [run.status for run in project.store.runs(node)] == [Status.OK]


def test_train_says_it_once_whatever_the_number_of_slots_and_shows_no_control_characters(project):
    project.node('data = ["/x/\u202e"]')
    modest = project.node()
    done = project.dag("train", "--until-idle", "--slots", "2")
    assert done.stderr.count("passed by") == 1
    assert "--allow" in done.stderr
    assert "\u202e" not in done.stderr
    assert [run.node for run in project.store.runs()] == [modest]
    assert project.dag("train", "--until-idle", "--max-budget", "5s").stderr.count("--max-budget 21s") >= 1


def test_a_workspace_s_charter_grants_nothing(project):
    """An agent may write there what it likes."""
    node = project.node("network = true")
    spawned = project.store.spawn(node)
    done = project.dag("-C", str(spawned.workspace), "run", str(node), code=4)
    assert "--allow network" in done.stderr


def test_an_old_ticket_whose_demands_nobody_looked_up_is_not_believed_either(project):
    node = project.node("network = true", "touch ran\n")
    modest = project.node()
    with project.store._storage.write() as txn:
        for key, raw in list(txn.scan("state", b"line/ticket/", b"line/ticket0")):
            row = unpack(raw)
            txn.put("state", key, pack([*row[:6], None, *row[7:]]))
        txn.delete("hints", b"line/version")  # so the index is made again, as in a store of earlier times
    heard = Heard()
    assert project.drain(heard) == [modest]
    assert len(heard.passed_by) == 1
    (left,) = project.store.tickets()
    assert (left.node, left.demands.network) == (node, True)
    with pytest.raises(Refused, match="network = true"):
        project.worker().next(ticket=left.number)
    assert [ticket.token for ticket in project.store.tickets()] == [0]


def test_the_evaluation_stands_under_the_same_policy(project, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    node = project.node(f'evaluate = "cat {secret}"\nhidden = ["{secret}"]', "echo val_bpb: 1\n")
    assert project.drain() == []
    with pytest.raises(Refused, match="hidden"):
        project.worker().next(ticket=project.store.tickets()[0].number)
    assert not project.store.runs(node)


def test_the_line_shows_what_is_asked_for(project):
    project.node('network = true\ndata = ["/x/\\u202e"]')
    project.node()
    listed = project.dag("queue").stdout.splitlines()
    assert listed[0].endswith("asks for")
    assert any(row.endswith("network, /x/\\u202e") for row in listed)


def test_agents_and_their_trainer_are_told_what_is_allowed(tmp_path):
    made = Project(tmp_path / "open", "network = true")
    made.agree()
    agent = [
        "agent",
        "--experiments",
        "1",
        "--train",
        "--command",
        "sh -c 'echo echo val_bpb: 4 > train.sh; echo idea'",
    ]
    (attempt,) = json.loads(made.dag(*agent, "--allow", "network", "--json").stdout)["attempts"]
    assert attempt["outcome"] == "measured"
    assert "cannot be allowed" in made.dag(*agent, "--allow", "all", code=4).stderr
    made.store.close()


# Pure


def asked(granted, **demands):
    return [lack.what for lack in lacking(Demands(**demands), granted, os.path.normpath, whole=True)]


def test_what_the_owner_hides_is_no_data_whatever_is_granted():
    granted = Grants(sandbox="auto", data=("/sets",), hidden=("/sets/test",))
    assert not asked(granted, data=("/sets/train",))
    assert asked(granted, data=("/sets/test/labels",)) == ['data = ["/sets/test/labels"]']
    assert asked(granted, data=("/sets",)) == ['data = ["/sets"]']
    assert not asked(granted, hidden=("/sets/test/labels",))
    assert asked(granted, data=("/sets2",)) == ['data = ["/sets2"]']


def test_a_link_leads_where_it_leads(tmp_path):
    """Data is granted by where it lies: a link from there to somewhere else grants nothing."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "out").symlink_to("/etc")
    owner = Owner(tmp_path, "/nowhere", Grants(data=(str(tmp_path / "open"),)), whole=True)
    assert owner.allows(Demands(data=("open/part",)))
    assert not owner.allows(Demands(data=("open/out/passwd",)))


@pytest.mark.parametrize("word", ["everything", "network=yes", "data", "data=", "sandbox=weak", "environment=", ""])
def test_what_cannot_be_allowed_is_refused_with_what_can(word, tmp_path):
    with pytest.raises(BadInput) as error:
        read_grants([word], tmp_path)
    assert "data=PATH" in error.value.hint
    with pytest.raises(BadInput, match="size"):
        read_grants(["limits=many"], tmp_path)


names = st.lists(st.sampled_from(["A", "B", "C"]), unique=True).map(tuple)
places = st.lists(st.sampled_from(["/a", "/a/b", "/c", "~/d"]), unique=True).map(tuple)
grants = st.builds(Grants, st.sampled_from(["required", "auto", "none"]), st.booleans(), places, names, st.just(()))


@given(st.sampled_from(["required", "auto", "none"]), st.booleans(), places, names)
def test_whoever_writes_a_charter_for_themselves_notices_nothing(sandbox, network, data, environment):
    charter = Charter(
        "python train.py",
        "loss",
        Direction.MINIMIZE,
        sandbox=sandbox,
        network=network,
        data=data,
        environment=environment,
    )
    for whole in (False, True):
        assert not list(lacking(Demands.of(charter), Grants.of(charter), os.path.normpath, whole=whole))


@given(grants, grants, st.builds(Demands, st.sampled_from(["required", "auto", "none"]), st.booleans(), places, names))
def test_more_grants_never_allow_less(one, other, demands):
    def found(granted):
        return {lack.what for lack in lacking(demands, granted, os.path.normpath, whole=False)}

    assert found(one.with_more(other)) <= found(one) & found(other)
    assert Grants.from_plain(json.loads(json.dumps(asdict(one)))) == one
