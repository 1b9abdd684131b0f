"""What a store knows of the experiments in it as a whole: asked through the store and the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagstore import Status
from dagstore.spending import Span, between, gpus
from dagstore.testing.builders import FILES, START, FakeClock, make_child, make_run, make_store, measure

KNOBS = {**FILES, "train.py": "LR = 0.1\n\nWIDTH = 64\n\n\ndef step(x):\n    return f(x, rate=LR)\n"}
DAG = Path(sys.executable).parent / "dag"
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("DAG_")}


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(tmp_path, clock):
    with make_store(tmp_path, KNOBS, clock=clock) as store:
        yield store


def child(store, old, new, parent="@seed", **said):
    text = store.cat(parent, "train.py").decode()
    assert old in text
    return make_child(store, parent, {"train.py": text.replace(old, new)}, **said)


def ran(store, node, status=Status.OK, *, seconds, start=0.0, runner="slot", platform="2x NVIDIA A100", seed=0):
    value = 1.0 if status is Status.OK else None
    run, protocol = make_run(store, node, value, status, platform=platform, seed=seed)
    began = int((START + start) * 1000)
    return store.add_run(run._replace(seconds=seconds, started=began, runner=runner), protocol)


def test_runs_are_booked_by_status_and_devices(store):
    node = child(store, "64", "65")
    ran(store, "@seed", seconds=10.0)
    ran(store, node, Status.CRASHED, seconds=4.0)
    ran(store, node, Status.CRASHED, seconds=3.0, platform="cpu: a processor, 8 cores")
    ledger = store.ledger()
    assert (ledger.nodes, ledger.measured, ledger.runs) == (2, 1, 3)
    assert [tuple(row) for row in ledger.statuses] == [("ok", 1, 10.0, 20.0, 0.0), ("crashed", 2, 7.0, 8.0, 3.0)]
    assert (ledger.gpu_seconds, ledger.slot_seconds) == (28.0, 3.0)


@pytest.mark.parametrize(
    ("platform", "devices"),
    [("cpu: Some 9x CPU, 8 cores", 0), ("NVIDIA H100 80GB HBM3", 1), ("2x NVIDIA A100, NVIDIA H100", 3), ("", 0)],
)
def test_a_platform_says_how_many_gpus_it_is(platform, devices):
    assert gpus(platform) == devices


def test_files_that_were_measured_are_a_duplicate_under_other_parents(store):
    first = child(store, "64", "65")
    ran(store, first, seconds=6.0)
    ran(store, first, seconds=10.0, seed=1)
    detour = child(store, "64", "63")
    again = make_child(store, detour, {"train.py": store.cat(first, "train.py")})
    assert again != first
    found = store.ledger().duplicates
    assert (found.trees, found.proposals, found.measured, found.seconds, found.gpu_seconds) == (1, 0, 1, 8.0, 16.0)
    ran(store, again, seconds=9.0, seed=2)
    assert store.ledger().duplicates.trees == 0, "it was run in its own name, so nothing was saved"


def test_sealing_a_known_node_again_is_a_duplicate(store, clock):
    first = child(store, "64", "65", agent="one")
    assert store.ledger().duplicates[:2] == (0, 0)
    assert child(store, "64", "65", agent="two") == first
    ran(store, first, seconds=5.0)
    clock.advance(60)
    assert child(store, "64", "65", agent="two") == first
    found = store.ledger().duplicates
    assert (found.trees, found.proposals, found.measured, found.seconds) == (0, 2, 1, 10.0)
    store.note(first, "a remark is no proposal")
    assert store.ledger().duplicates == found


def test_what_failed_is_booked_at_what_good_runs_of_the_column_take(store, clock):
    ran(store, "@seed", seconds=7.0)
    failed, _ = child(store, "64", "65"), child(store, "64", "66")
    ran(store, failed, Status.CRASHED, seconds=1.0)
    clock.advance(60)
    for value in ("65", "66"):
        child(store, "64", value, agent="other")
    found = store.ledger().duplicates
    assert (found.proposals, found.guessed, found.seconds) == (2, 1, 7.0), "what never ran took nothing"


def test_gaps_between_the_runs_of_a_slot_are_idle(store):
    ran(store, "@seed", seconds=60.0, start=0)
    ran(store, "@seed", seconds=60.0, start=80, seed=1)
    ran(store, "@seed", seconds=60.0, start=10_000, seed=2)
    ran(store, "@seed", seconds=60.0, start=0, runner="another", seed=3)
    slots = store.ledger().slots
    assert (slots.slots, slots.runs, slots.busy, slots.idle) == (2, 4, 240.0, 20.0)
    assert slots.share == pytest.approx(20 / 260)


def test_overlapping_runs_of_one_slot_are_counted_once():
    assert between([Span(0, 10), Span(2, 5), Span(8, 14), Span(15, 16)])[:2] == (15.0, 1.0)
    assert between([]).share is None


def test_keep_rates_are_told_by_path_region_and_kind(store):
    for at, value in enumerate((1.0, 1.02)):
        measure(store, "@seed", value, seed=at)
    better, worse = child(store, "64", "65"), child(store, "64", "66")
    rate = child(store, "rate=LR", "rate=2 * LR")
    measure(store, better, 0.5)
    measure(store, worse, 1.005)
    child(store, "0.1", "0.2")
    measure(store, rate, 1.5)
    ledger = store.ledger()
    (path,) = ledger.paths
    assert path[:2] == ("train.py", "")
    assert path[3:8] == (4, 3, 3, 2, 1)
    assert path.gain == pytest.approx((0.51 + 0.005 - 0.49) / 3)
    rows = {row.region: row for row in ledger.regions}
    assert rows["WIDTH"][2:8] == ("assignment", 2, 2, 2, 2, 1)
    assert rows["LR"][2:8] == ("assignment", 1, 0, 0, 0, 0)
    assert rows["LR"].gain is None
    assert rows["step:L(rate)"][2:8] == ("argument", 1, 1, 1, 0, 0)
    assert {row.kind: row.nodes for row in ledger.kinds} == {"assignment": 3, "argument": 1}
    assert store.ledger(regions=1).looked == 1
    frame = ledger.to_frame()
    assert list(frame[frame["region"] == "WIDTH"]["kept"]) == [2]


def test_direction_is_respected_and_columns_are_not_mixed(tmp_path):
    with make_store(tmp_path, KNOBS, direction="maximize") as store:
        measure(store, "@seed", 1.0)
        node = child(store, "64", "65")
        measure(store, node, 2.0)
        other = child(store, "64", "66")
        measure(store, other, 9.0, platform="elsewhere")
        (path,) = store.ledger().paths
        assert (path.nodes, path.measured, path.compared, path.kept, path.clearly) == (2, 1, 1, 1, 0)
        assert path.gain == 1.0


def test_an_empty_store_has_empty_books(store):
    ledger = store.ledger()
    assert (ledger.nodes, ledger.runs, ledger.metric, ledger.slots.share) == (1, 0, None, None)
    assert not ledger.statuses
    assert not ledger.paths
    assert "nodes" in ledger._repr_html_()
    assert ledger.to_frame().empty


def dag(store, *words):
    return subprocess.run(
        [DAG, *words, "-C", str(store.root)], capture_output=True, text=True, env=ENVIRON, check=False, timeout=60
    )


def test_the_command_line_answers_the_same(store):
    ran(store, "@seed", seconds=10.0)
    ran(store, child(store, "64", "65"), seconds=20.0, start=15)
    told = dag(store, "ledger")
    assert told.returncode == 0
    for words in ("2 nodes, 2 of them measured", "1 min", "nothing was proposed twice", "14.3%", "train.py: WIDTH"):
        assert words in told.stdout, told.stdout
    answer = json.loads(dag(store, "ledger", "--json").stdout)
    assert answer["statuses"] == [
        {"status": "ok", "runs": 2, "seconds": 30.0, "gpu_seconds": 60.0, "slot_seconds": 0.0}
    ]
    assert answer["regions"][0]["region"] == "WIDTH"
    assert dag(store, "ledger", "--regions", "-1").returncode == 2


def test_the_command_line_has_nothing_to_say_of_an_empty_store(store):
    told = dag(store, "ledger")
    assert told.returncode == 0
    assert "nothing was measured yet" in told.stdout
