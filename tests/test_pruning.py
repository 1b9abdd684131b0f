"""Experiments that are hopeless by their curves, as real processes; and what replaying recorded curves says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dagstore
from dagstore import BadInput, NotFound, ProtocolId, Status
from dagstore.charter import PRUNE
from dagstore.curves import TICKS, Curves, decode_curves, encode_curves
from dagstore.model import Run
from dagstore.pruners import Rule
from dagstore.pruning import RULES
from dagstore.testing.builders import protocol_of
from trainer.worker import Setting, Worker

DAG = Path(sys.executable).parent / "dag"
ENVIRON = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nowhere"}
BOX = "box"
BUDGET, LENGTH = 8, 60
"""Seconds. An experiment that is hopeless is ended after a quarter of its budget, and never ends itself."""
CHARTER = """command = "python -S train.py"
metric = "loss"
direction = "minimize"
budget = "{budget}s"
grace = "4s"
editable = ["train.py"]
"""
TRAIN = """import json, os, time
steps, began = open(os.environ["DAG_STEPS"], "a"), time.monotonic()
while time.monotonic() < began + {seconds}:
    print(json.dumps({{"step": 1, "loss": {level}, "other": 2.0}}), file=steps, flush=True)
    time.sleep(0.05)
print("loss:", {level})
"""


def train(level, seconds=LENGTH):
    return TRAIN.format(level=level, seconds=seconds)


class Race:
    """A project, the runs that it has on record with a level curve each, and experiments that run now."""

    def __init__(self, root, more="", budget=BUDGET):
        self.root = root
        root.mkdir()
        (root / "dag.toml").write_text(CHARTER.format(budget=budget) + more)
        (root / "train.py").write_text(train(1.0))
        dagstore.init(root)
        self.store = dagstore.open(root)
        self.budget = budget

    def node(self, code, parent="@seed"):
        (self.root / "train.py").write_text(code)
        return self.store.record(self.root, [parent], why="an idea").node

    def record(self, node, level, value=None, *, status=Status.OK, platform=BOX, began=0.0, end=TICKS, fingerprint=""):
        """A run that had that level of `loss` until `end`, and ended with `value`."""
        protocol = protocol_of(self.store, node, fingerprint)
        run = Run(
            node=self.store.resolve(node),
            protocol=ProtocolId(bytes(32)),
            platform=platform,
            status=status,
            metrics={"loss": level if value is None else value},
            started=int(1000 * (1_700_000_000 + began)),
            seconds=self.budget * end / TICKS,
            runner="bench",
        )
        curve = encode_curves(Curves(end, {"loss": tuple((tick, float(level)) for tick in range(0, end, 32))}))
        return self.store.add_run(run, protocol, {"curve": curve})

    def records(self, levels=(1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99), **more):
        """Whole runs of as many nodes, the first of them the seed."""
        nodes = [self.node(f"{n}, {level}") if n else "@seed" for n, level in enumerate(levels)]
        for node, level in zip(nodes, levels, strict=True):
            self.record(node, level, **more)

    def measure(self, node, **queue):
        self.store.queue([node], **queue)
        (run,) = Worker(self.store, Setting("bench", ENVIRON, platform=BOX)).work(until_idle=True)
        return run


@pytest.fixture
def make_race(tmp_path):
    made = []

    def make(*arguments, **more):
        made.append(Race(tmp_path / f"project{len(made)}", *arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


# Running experiments


@pytest.mark.parametrize(("rule", "fraction"), [("median", 0.25), ("asha", 0.0625), ("parent", 0.25)])
def test_a_hopeless_experiment_is_ended_early_and_keeps_what_it_had(make_race, rule, fraction):
    race = make_race(f'prune = "{rule}"\n')
    race.records()
    run = race.measure(race.node(train(9.0)))
    assert (run.status, run.ending, run.value) == (Status.PRUNED, "pruned", None)
    assert fraction * BUDGET <= run.seconds < BUDGET
    assert run.reason.startswith("loss was 9 at ")
    assert rule in run.reason
    assert {name: run.metrics[name] for name in ("loss", "other")} == {"loss": 9.0, "other": 2.0}
    assert set(run.artifacts) == {"log", "steps", "curve"}
    curves = decode_curves(race.store.blob(run.artifacts["curve"]))
    assert set(curves.points) == {"loss", "other"}
    assert fraction * TICKS <= curves.end < TICKS
    assert race.store.node(run.node).status == "pruned"
    assert run.node not in [row.id for row in race.store.frontier().nodes]
    assert race.store.fsck("full").clean


def test_what_was_pruned_is_not_run_again_unasked_and_then_to_its_end(make_race):
    race = make_race('prune = "median"\n', budget=2)
    race.records()
    node = race.node(train(9.0, seconds=1.2))
    race.record(node, 9.0, status=Status.PRUNED, end=300)
    assert not race.store.queue([node])
    run = race.measure(node, repeat=1)
    assert (run.status, run.value) == (Status.OK, 9.0)


def test_a_repeat_of_what_was_measured_is_never_pruned(make_race):
    race = make_race('prune = "parent"\n', budget=2)
    race.records()
    leader = race.node(train(9.0, seconds=1.2))
    race.record(leader, 0.5)
    assert race.store.resolve("@best") == leader
    assert race.measure(leader, repeat=1).status is Status.OK


def test_the_first_of_a_protocol_and_of_a_platform_run_to_their_end(make_race):
    race = make_race('prune = "median"\n', budget=2)
    race.records(fingerprint="another protocol")
    race.records(platform="another box", began=9)
    assert race.measure(race.node(train(9.0, seconds=1.2))).status is Status.OK


def test_nothing_is_pruned_unless_the_charter_says_so_and_the_curve_is_kept_all_the_same(make_race):
    race = make_race(budget=2)
    race.records()
    run = race.measure(race.node(train(9.0, seconds=1.2)))
    assert run.status is Status.OK
    (curve,) = [it for it in race.store.curves() if it.run == run.id]
    assert curve.value == 9.0
    assert all(value == 9.0 for _, value in curve.points)
    assert 0.5 <= curve.points[-1][0] <= curve.end


def test_one_that_is_as_good_as_the_others_runs_to_its_end(make_race):
    race = make_race('prune = "median"\n', budget=2)
    race.records()
    assert race.measure(race.node(train(1.005, seconds=1.2))).status is Status.OK


def test_another_step_metric_and_its_direction_may_be_followed(make_race):
    race = make_race('prune = "median"\ncurve = "loss:max"\n')
    race.records()
    run = race.measure(race.node(train(0.1)))
    assert run.status is Status.PRUNED
    assert "below" in run.reason


def test_the_budget_begins_anew_when_an_experiment_says_it_is_ready(make_race):
    race = make_race('prune = "median"\n', budget=4)
    code = train(1.0, seconds=1.5) + 'open(os.environ["DAG_READY"], "w")\n' + train(2.0, seconds=0.6)
    run = race.measure(race.node(code))
    assert run.status is Status.OK
    points = decode_curves(race.store.blob(run.artifacts["curve"])).points["loss"]
    assert points[-1][1] == 2.0
    assert points[-1][0] / TICKS * race.budget < run.seconds - 1.4


def test_the_command_line_says_what_was_pruned(make_race):
    race = make_race('prune = "median"\n')
    node = race.node(train(9.0))
    environ = {**os.environ, **ENVIRON, "CUDA_VISIBLE_DEVICES": ""}
    environ.pop("DAG_AGENT", None)

    def dag(*words):
        return subprocess.run([DAG, "-C", race.root, *words], env=environ, capture_output=True, text=True, check=False)

    platform = json.loads(dag("run", race.node(train(1.0, seconds=0.1)).hex(), "--json").stdout)["runs"][0]["platform"]
    race.records(platform=platform)
    done = dag("run", node.hex(), "--json")
    assert done.returncode == 5
    (run,) = json.loads(done.stdout)["runs"]
    assert run["status"] == "pruned"
    assert run["seconds"] < BUDGET
    again = dag("run", node.hex())
    assert again.returncode == 5
    assert "was pruned before; --repeat 1 measures it" in again.stderr
    assert "pruned before" in dag("queue", node.hex()).stdout
    assert "pruned" in dag("show", node.hex()).stdout


HOSTILE = {
    "a line of 10 MB": "open(path, 'w').write('{\"loss\": 9} ' * 1_000_000)",
    "a pipe": "os.mkfifo(path)",
    "a link": "open('good', 'w').write('{\"loss\": 0.1}\\n'); os.symlink(os.path.abspath('good'), path)",
    "a folder": "os.mkdir(path)",
    "binary": "open(path, 'wb').write(os.urandom(100_000))",
    "no numbers": 'open(path, \'w\').write(\'{"loss": NaN}\\n{"loss": 1e999}\\n{"loss": "1"}\\n{"loss": true}\\n\')',
    "depth": "open(path, 'w').write('[' * 15_000 + '\\n' + '{\"a\":' * 3_000 + '\\n')",
    "names": "open(path, 'w').write('{\"\\\\u001b[31m\": 1, \"\": 1, \"' + 'x' * 100 + '\": 1}\\n')",
    "its folder gone": "import shutil; shutil.rmtree(os.path.dirname(path), ignore_errors=True)",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_is_in_place_of_steps_harms_nothing_and_is_no_curve(make_race, what):
    race = make_race('prune = "median"\n', budget=2)
    race.records()
    code = f"import os, time\npath = os.environ['DAG_STEPS']\n{HOSTILE[what]}\ntime.sleep(0.8)\nprint('loss:', 2.0)\n"
    run = race.measure(race.node(code))
    assert (run.status, run.value) == (Status.OK, 2.0)
    assert "curve" not in run.artifacts
    assert race.store.fsck("full").clean


def test_a_file_that_is_replaced_and_cut_all_the_time_is_read_as_well_as_can_be(make_race):
    race = make_race(budget=2)
    code = """import os, time
path, began = os.environ["DAG_STEPS"], time.monotonic()
while time.monotonic() < began + 1:
    open(path + "~", "w").write('{"loss": 3.0}\\n' * 5)
    os.replace(path + "~", path)
    time.sleep(0.02)
    open(path, "r+").truncate(20)
print("loss:", 2.0)
"""
    run = race.measure(race.node(code))
    assert (run.status, run.value) == (Status.OK, 2.0)
    assert {value for _, value in race.store.curves()[-1].points} == {3.0}


# Replays


def test_the_charter_and_the_replay_know_the_same_rules():
    assert RULES == tuple(Rule) == PRUNE[1:]


def test_a_replay_counts_what_was_saved_and_killed_wrongly(make_race):
    race = make_race(budget=100)
    for n in range(5):
        race.record(race.node(f"first {n}") if n else "@seed", 1.0, began=200 * n)
    bad, late = race.node("bad"), race.node("late bloomer")
    race.record(bad, 2.0, value=2.0, began=2000)
    race.record(late, 2.0, value=0.5, began=2200)
    race.record(late, 2.0, value=0.5, began=2400)  # a repeat
    race.record(race.node("good"), 0.9, began=2600)
    found = race.store.replay()
    rows = {row.rule: row for row in found.rules}
    assert (found.metric, found.curve, found.platform) == ("loss", "loss", BOX)
    median = rows["median"]
    assert (median.runs, median.killed, median.seconds) == (9, 2, 900.0)
    assert (median.saved, median.share) == (150.0, pytest.approx(1 / 6))
    assert (median.wrong, median.top, median.bests, median.parents) == (1, 1, 1, 1)
    assert median.regret == 0  # its repeat is left
    assert (rows["parent"].killed, rows["asha"].killed) == (2, 0)
    first, second = (it for it in found.killed if it.rule == "median")
    assert (first.node, first.at, first.reached, first.cutoff, first.value) == (bad, 0.25, 2.0, 1.0, 2.0)
    assert (first.saved, first.gain, first.wrong) == (75.0, None, ())
    assert (second.node, second.gain, second.wrong) == (late, 0.5, ("top", "best", "parent"))
    told = []
    assert race.store.replay(["median"], progress=lambda *done: told.append(done)).rules == (median,)
    race.store.replay(progress=lambda *done: told.append(done))
    assert told == [(n, 9) for n in range(1, 10)] + [(n, 27) for n in range(1, 28)]


def test_the_best_that_is_killed_is_regretted(make_race):
    race = make_race(budget=100)
    for n in range(5):
        race.record(race.node(f"first {n}") if n else "@seed", 1.0, began=200 * n)
    race.record(race.node("late bloomer"), 2.0, value=0.75, began=2000)
    (row,) = race.store.replay(["median"]).rules
    assert row.regret == 0.25


def test_a_replay_knows_only_what_had_ended_before(make_race):
    race = make_race(budget=100)
    for n in range(5):
        race.record(race.node(f"first {n}") if n else "@seed", 1.0, began=10 * n)
    race.record(race.node("at the same time"), 2.0, began=20)
    assert all(row.killed == 0 for row in race.store.replay().rules)


def test_a_replay_says_what_is_missing(make_race):
    race = make_race()
    with pytest.raises(NotFound, match="nothing was measured"):
        race.store.replay()
    race.records()
    with pytest.raises(NotFound, match="'accuracy'") as missing:
        race.store.replay(metric="accuracy")
    assert "there is loss" in missing.value.hint
    with pytest.raises(BadInput, match="no rule 'mean'") as unknown:
        race.store.replay(["mean"])
    assert "median, asha, parent" in unknown.value.hint


def test_runs_of_before_there_were_curves_do_not_count(make_race):
    race = make_race()
    race.records()
    run = race.store.runs()[0]
    protocol = protocol_of(race.store, run.node)
    old = Run(run.node, ProtocolId(bytes(32)), BOX, Status.OK, {"loss": 0.1}, 1, 1.0, "bench")
    race.store.add_run(old, protocol, {"curve": b"of another time"})
    race.store.add_run(old._replace(seed=1), protocol)
    assert len(race.store.curves()) == 8
    assert len(race.store.curves(limit=3)) == 3
