"""Adoptions that nobody tried: suggested by a store, and made as they were suggested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagstore import BadInput
from dagstore.testing.builders import FILES, make_child, make_store, measure

KNOBS = {**FILES, "train.py": "LR = 0.1\n\nWIDTH = 64\n\nDEPTH = 4\n\nWARMUP = 10\n\nCLIP = 1\n"}
SPREAD = (-0.01, 0.0, 0.01)
DAG = Path(sys.executable).parent / "dag"
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("DAG_")}


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path, KNOBS) as store:
        yield store


def turn(store, knobs, parent="@seed"):
    text = store.cat(parent, "train.py").decode()
    for knob, value in knobs.items():
        (old,) = (line for line in text.splitlines() if line.startswith(f"{knob} = "))
        text = text.replace(old, f"{knob} = {value}")
    return make_child(store, parent, {"train.py": text})


def runs(store, node, mean):
    for at, off in enumerate(SPREAD):
        measure(store, node, mean + off, seed=at)


@pytest.fixture
def swarm(store):
    """One idea after the other, each tried at the seed; lower is better."""
    runs(store, "@seed", 1.0)
    nodes = {}
    for name, (knobs, mean) in {
        "best": ({"LR": 0.2}, 0.5),
        "good": ({"WIDTH": 128}, 0.7),
        "fair": ({"DEPTH": 8}, 0.8),
        "bad": ({"CLIP": 9}, 1.4),
        "rival": ({"LR": 0.3}, 0.6),
    }.items():
        nodes[name] = turn(store, knobs)
        runs(store, nodes[name], mean)
    return nodes


def test_what_adds_up_is_suggested_with_what_it_is_expected_to_gain(store, swarm):
    found = store.suggest()
    assert found.onto == swarm["best"]
    rows = {frozenset(row.donors): row for row in found.rows}
    good, fair = swarm["good"], swarm["fair"]
    assert set(rows) == {frozenset({good, fair}), frozenset({good}), frozenset({fair})}
    assert [row.rank for row in found.rows] == [1, 2, 3]
    best = found.rows[0]
    assert set(best.donors) == {good, fair}
    assert best.gain == pytest.approx(0.5, abs=0.02)
    assert best.low <= 0.5 <= best.high
    assert best.gain == pytest.approx(rows[frozenset({good})].gain + rows[frozenset({fair})].gain, abs=1e-3)
    assert "WIDTH 64 -> 128" in best.why
    assert best.edits == 2
    assert found.clashing == 1, "the rival changes what the best one changed"


def test_two_edits_of_one_function_do_not_rule_each_other_out(tmp_path):
    body = "def f(x):\n    x = a(x)\n    b(x)\n    x = c(x)\n    d(x)\n    return x\n"
    with make_store(tmp_path, {**FILES, "train.py": body}) as store:
        runs(store, "@seed", 1.0)
        nodes = [
            make_child(store, "@seed", {"train.py": body.replace(old, new)})
            for old, new in (("b(x)", "bb(x)"), ("d(x)", "dd(x)"), ("a(x)", "aa(x)"))
        ]
        for node, mean in zip(nodes, (0.5, 0.6, 0.7), strict=True):
            runs(store, node, mean)
        found = store.suggest()
        assert found.clashing == 0
        assert {row.donors for row in found.rows} >= {(nodes[1],), (nodes[2],)}


def test_a_suggestion_gives_the_node_that_it_names(store, swarm):
    row = store.suggest().rows[0]
    assert store.count() == 6, "nothing was recorded"
    made = dag(store, *row.command.split()[1:], "--json")
    assert json.loads(made.stdout)["node"] == str(row.node)
    assert json.loads(made.stdout)["contradictions"] == []
    assert row.node not in {one.node for one in store.suggest().rows}, "it is recorded now"
    assert store.suggest().recorded == 1


def test_ancestors_and_edits_that_are_there_already_are_not_suggested(store, swarm):
    both = turn(store, {"WIDTH": 128}, swarm["best"])
    runs(store, both, 0.2)
    found = store.suggest()
    assert found.onto == both
    assert {frozenset(row.donors) for row in found.rows} == {frozenset({swarm["fair"]})}


def test_what_was_rejected_may_be_worth_it_elsewhere(store, swarm):
    bad = turn(store, {"WARMUP": 20}, turn(store, {"CLIP": 8}))
    runs(store, store.node(bad).primary, 1.5)
    runs(store, bad, 1.2)
    mixed = turn(store, {"WARMUP": 20, "CLIP": 9})
    runs(store, mixed, 1.1)
    rows = {frozenset(row.donors): row for row in store.suggest(30).rows}
    assert frozenset({bad}) in rows
    assert rows[frozenset({bad})].near == ()
    assert mixed not in {donor for donors in rows for donor in donors}, "what comes with it costs more"


def test_a_near_miss_is_suggested_where_its_edit_did_well_elsewhere(store, swarm):
    miss = turn(store, {"WARMUP": 20})
    runs(store, miss, 1.001)
    elsewhere = turn(store, {"CLIP": 8})
    runs(store, elsewhere, 1.5)
    runs(store, turn(store, {"WARMUP": 20}, elsewhere), 1.2)
    (row,) = (row for row in store.suggest(60).rows if row.donors == (miss,))
    assert row.near == (miss,)
    assert "2 nodes" in row.why


def test_another_node_may_be_adopted_onto(store, swarm):
    found = store.suggest(onto=swarm["good"])
    assert found.onto == swarm["good"]
    donors = {donor for row in found.rows for donor in row.donors}
    assert {swarm["best"], swarm["fair"]} <= donors
    assert all(set(row.donors) != {swarm["best"], swarm["rival"]} for row in found.rows), "they contradict each other"
    assert found.contradicted >= 1
    assert len(store.suggest(1, onto=swarm["good"]).rows) == 1


def test_without_measurements_or_noise_it_says_what_it_stands_on(store):
    empty = store.suggest()
    assert (empty.onto, empty.rows, empty.composed) == (None, (), 0)
    measure(store, "@seed", 1.0)
    for at, (knob, mean) in enumerate((("LR", 0.5), ("WIDTH", 0.8), ("DEPTH", 1.2))):
        measure(store, turn(store, {knob: 7}), mean, seed=at)
    found = store.suggest()
    assert found.assumed
    assert all(row.low < 0 < row.high for row in found.rows)
    with pytest.raises(BadInput):
        store.suggest(-1)


def test_answers_show_themselves(store, swarm):
    found = store.suggest()
    assert {"node", "donors", "gain", "low", "high", "why", "command"} <= set(found.to_frame().columns)
    assert "dag adopt" in found._repr_html_()


def dag(store, *words):
    return subprocess.run(
        [DAG, *words, "-C", str(store.root)], capture_output=True, text=True, env=ENVIRON, check=False, timeout=60
    )


def test_the_command_line_says_the_same(store, swarm):
    told = dag(store, "suggest", "--top", "1")
    assert told.returncode == 0
    assert store.suggest(1).rows[0].command in told.stdout
    assert "WIDTH 64 -> 128" in told.stdout
    answer = json.loads(dag(store, "suggest", "--json").stdout)
    assert [row["node"] for row in answer["rows"]] == [str(row.node) for row in store.suggest().rows]
    assert dag(store, "suggest", "--onto", "nowhere").returncode == 3


def test_the_command_line_has_nothing_to_suggest_before_anything_was_measured(store):
    told = dag(store, "suggest")
    assert told.returncode == 0
    assert "nothing was measured yet" in told.stdout
