"""Verifying: measured again, in isolation, and what is recorded of whether the number came out again."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagstore
from dagstore import Refused, Status
from dagstore.testing.builders import make_run
from dagstore.verification import Finding, Verdict, compare, read_finding, tail, write_finding
from trainer.worker import Setting, Worker

LINUX = sys.platform == "linux"
DAG = Path(sys.executable).parent / "dag"
ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
CHARTER = """command = "sh train.sh"
metric = "val_bpb"
direction = "minimize"
budget = "20s"
grace = "1s"
editable = ["train.sh"]
"""


class Project:
    def __init__(self, root):
        self.root = root
        root.mkdir()

    def init(self, script="echo val_bpb: $DAG_SEED\n", more=""):
        (self.root / "train.sh").write_text(script)
        (self.root / "dag.toml").write_text(CHARTER + more)
        dagstore.init(self.root)
        self.store = dagstore.open(self.root)
        return self

    def dag(self, *words, code=0):
        """The answer to a verb and, if it failed, the error."""
        self.store.close()
        environ = {**os.environ, **ENVIRON}
        done = subprocess.run(
            [DAG, *map(str, words), "--json"],
            cwd=self.root,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.store = dagstore.open(self.root)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout or "null"), json.loads(done.stderr.splitlines()[-1]) if code else None


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "project")
    yield made
    made.store.close()


def test_a_run_is_repeated_with_its_seed_and_a_node_with_a_new_one(project):
    first = project.init().dag("run", "@seed")[0]["runs"][0]
    found, _ = project.dag("verify", first["id"])
    assert (found["verdict"], found["exactly"], found["sds"]) == ("agreed", True, 0.0)
    assert found["expected"] == found["value"] == first["seed"]
    again = project.store.run(found["by"])
    assert (again.seed, again.status, again.node) == (first["seed"], Status.OK, project.store.resolve("@seed"))
    assert len(project.store.runs("@seed")) == 2  # it counts as the repeat that it is
    found, error = project.dag("verify", "@seed", code=5)
    assert (found["verdict"], found["run"], found["runs"], error["code"]) == ("differs", "", 2, "not_verified")
    assert project.store.run(found["by"]).seed not in (first["seed"], None)
    assert not project.store.tickets()
    assert not project.store.claims()


def test_what_was_found_is_recorded_and_shown(project):
    first = project.init().dag("run", "@seed")[0]["runs"][0]
    found, _ = project.dag("verify", first["id"], "--agent", "ada")
    (recorded,) = project.store.verifications("@seed")
    assert dagstore.plain(recorded) == found
    assert (recorded.author, recorded.run) == ("ada", first["id"])
    shown, _ = project.dag("show", "@seed")
    assert shown["verifications"] == [found]
    project.store.close()
    for words, times in ((["show", "@seed"], 1), (["board"], 1)):
        done = subprocess.run([DAG, *words], cwd=project.root, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.count("agreed exactly") == times
        assert '"version"' not in done.stdout
    project.store = dagstore.open(project.root)
    project.store.note("@seed", 'agreed exactly: 1\n{"version":1}', agent="liar", kind="verification")
    assert len(project.store.verifications("@seed")) == 1
    assert project.store.fsck("full").clean


def test_within_the_noise_it_agrees_and_beyond_it_differs(project):
    """Runs of one configuration lie within 0 and 9, so one that gives 1000 is another thing."""
    project.init("test $DAG_SEED -lt 40 && echo val_bpb: $((DAG_SEED % 10)) || echo val_bpb: 1000\n")
    project.dag("run", "@seed", "--repeat", "6")
    found, _ = project.dag("verify", "@seed")
    assert (found["verdict"], found["runs"]) == ("agreed", 6)
    sd = math.sqrt(sum((run.value - found["expected"]) ** 2 for run in project.store.runs("@seed")[:6]) / 5)
    assert found["sd"] == pytest.approx(sd)
    assert found["sds"] == pytest.approx(abs(found["value"] - found["expected"]) / (sd * math.sqrt(1 + 1 / 6)))
    while project.store.queue(["@seed"], repeat=1)[0].number < 40:
        project.store.cancel(project.store.tickets()[0].number)
    project.store.cancel(project.store.tickets()[0].number)
    found, _ = project.dag("verify", "@seed", code=5)
    assert found["verdict"] == "differs"
    assert found["sds"] > 100


def test_unknown_noise_is_said(project):
    project.init()
    project.dag("run", "@seed")
    found, _ = project.dag("verify", "@seed")
    assert (found["verdict"], found["sds"], found["sd"]) == ("cannot be told", None, None)


@pytest.mark.skipif(not LINUX, reason="needs a sandbox")
def test_it_is_measured_in_a_sandbox_and_cold_and_what_that_changes_is_named(project, tmp_path):
    script = f"echo val_bpb: $(cat {tmp_path}/answers)\n"
    project.init(script, 'sandbox = "none"\npreload = ["json"]\n')
    (tmp_path / "answers").write_text("1\n")
    first = project.dag("run", "@seed")[0]["runs"][0]
    found, error = project.dag("verify", first["id"], code=5)
    if project.store.run(found["by"]).environment["sandbox"] == "rlimits":
        pytest.skip("nothing here hides files")
    assert found["verdict"] == "cannot be reproduced"
    assert "invalid" in found["reason"]
    assert found["differs"]["sandbox"][0] == "none"
    assert "sandbox none" in error["message"]
    assert "start" not in project.store.run(found["by"]).environment


def test_another_answer_of_the_fingerprint_is_named(project, tmp_path):
    data = tmp_path / "version"
    data.write_text("v1")
    project.init("echo val_bpb: 1\n", f'fingerprint = "cat {data}"\ndata = ["{data}"]\n')
    first = project.dag("run", "@seed")[0]["runs"][0]
    data.write_text("v2")
    found, _ = project.dag("verify", first["id"], code=5)
    assert (found["verdict"], found["reason"]) == ("cannot be reproduced", "its protocol is not met here")
    assert found["differs"]["fingerprint"] == ["v1", "v2"]


def test_another_platform_is_named(project):
    project.init("echo val_bpb: 1\n")
    node = project.store.resolve("@seed")
    run, protocol = make_run(project.store, node, 1.0)
    run = run._replace(platform="H100", environment={"driver": "570", "nothing": "same"})
    view = project.store.add_run(run, protocol)
    found, _ = project.dag("verify", view.id, code=5)
    assert found["reason"] == "it was measured on another platform"
    assert found["differs"]["platform"][0] == "H100"
    assert found["differs"]["driver"][0] == "570"
    assert found["differs"]["nothing"] == ["same", ""]
    assert "start" not in found["differs"]


def test_what_has_no_number_is_refused_with_what_to_do(project):
    project.init("exit 3\n")
    assert "dag run" in project.dag("verify", "@seed", code=3)[1]["hint"]
    run = project.dag("run", "@seed", code=5)[0]["runs"][0]
    assert "crashed" in project.dag("verify", run["id"], code=4)[1]["message"]
    assert project.dag("verify", "@seed", code=3)[1]["code"] == "not_found"
    assert not project.store.tickets()


def test_a_ticket_keeps_its_seed_and_isolation_whoever_takes_it(project):
    project.init("echo val_bpb: $DAG_SEED\n", 'sandbox = "none"\n')
    project.dag("run", "@seed")
    store = project.store
    original = store.original(store.runs("@seed")[0].id)
    ticket = store.queue_again(original)
    assert (ticket.seed, ticket.isolation, ticket.demands.sandbox) == (original.run.seed, True, "auto")
    (run,) = Worker(store, Setting("another", ENVIRON)).work(until_idle=True)
    assert run.environment["sandbox"] != "none"
    assert store.verified(original, run.id).exactly
    (project.root / "train.sh").write_text("echo val_bpb: 3\n")
    other = store.record(project.root, ["@seed"]).node
    with pytest.raises(Refused, match="another node"):
        store.verified(replace(original, node=other), run.id)


# Pure


@pytest.mark.parametrize(
    ("t", "freedom", "probability"),
    [(63.657, 1, 0.01), (9.925, 2, 0.01), (2.776, 4, 0.05), (3.250, 9, 0.01), (2.660, 60, 0.01), (2.5758, 0, 0.01)],
)
def test_student_s_distribution_is_that_of_the_tables(t, freedom, probability):
    assert tail(t, freedom) == pytest.approx(probability, rel=2e-3)


@given(st.floats(0, 50), st.floats(0, 50), st.integers(1, 2000))
def test_what_lies_farther_away_is_rarer_and_more_freedom_makes_it_rarer_still(one, other, freedom):
    near, far = sorted((one, other))
    assert tail(far, freedom) <= tail(near, freedom) + 1e-12
    assert 0 <= tail(far, freedom + 1) <= tail(far, freedom) + 1e-9


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.floats(-10, 10), st.floats(0.01, 5), st.integers(0, 30))
def test_a_verdict_does_not_depend_on_the_unit_and_the_same_number_always_agrees(before, now, sd, freedom):
    verdict, sds = compare(before, now, sd, freedom)
    scaled, _ = compare([value * 4 for value in before], now * 4, sd * 4, freedom)
    assert verdict is scaled
    assert compare([now], now, None, 0) == (Verdict.AGREED, 0.0)
    assert sds is not None


numbers = st.none() | st.floats(-1e9, 1e9)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
findings = st.builds(
    Finding,
    st.sampled_from(["agreed", "differs"]),
    texts,
    texts,
    st.integers(0, 9),
    st.floats(-1e9, 1e9),
    st.floats(-1e9, 1e9),
    numbers,
    numbers,
    st.booleans(),
    st.dictionaries(texts, st.tuples(texts, texts), max_size=3),
    texts,
)


@given(findings)
def test_a_finding_comes_back_from_its_text(finding):
    text = write_finding(finding)
    assert read_finding(text) == finding
    assert read_finding(text + " ") is None
    assert read_finding("agreed" + text) is None


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text()).map(json.dumps))
def test_what_is_no_finding_is_none(text):
    assert read_finding(text) is None


def test_the_text_of_a_finding_is_for_ever():
    finding = Finding(
        "differs", "ab" * 32, "cd" * 32, 1, 0.5, 0.75, 0.1, 2.5, False, {"python": ("3.11.7", "3.12.0")}, ""
    )
    assert write_finding(finding) == (
        "differs: 0.75 where run abababababab had 0.5, 2.5 sd apart; now otherwise: python 3.11.7 → 3.12.0\n"
        '{"by":"' + "cd" * 32 + '","differs":{"python":["3.11.7","3.12.0"]},"exactly":false,"expected":0.5,"reason":"",'
        '"run":"' + "ab" * 32 + '","runs":1,"sd":0.1,"sds":2.5,"value":0.75,"verdict":"differs","version":1}'
    )
