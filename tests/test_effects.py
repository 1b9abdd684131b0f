"""What edits are worth, asked of a store: through Python and the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from dagstore import BadInput, Status
from dagstore.testing.builders import FILES, make_child, make_store, measure

KNOBS = {
    **FILES,
    "train.py": "LR = 0.1\n\nWIDTH = 64\n\nDEPTH = 4\n\n\ndef step(x):\n    y = x + 1\n    return f(y, rate=LR)\n",
}
SPREAD = (-0.01, 0.0, 0.01)
DAG = Path(sys.executable).parent / "dag"
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("DAG_")}


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path, KNOBS) as store:
        yield store


def turn(store, changes, parent="@seed"):
    """A child with some texts replaced."""
    text = store.cat(parent, "train.py").decode()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return make_child(store, parent, {"train.py": text})


def runs(store, node, mean, spread=SPREAD):
    for at, off in enumerate(spread):
        measure(store, node, mean + off, seed=at)


def by_region(effects):
    return {(row.region, row.after.decode()): row for row in effects.edits}


def test_one_edit_over_many_nodes_is_one_row_with_all_of_them(store):
    runs(store, "@seed", 1.0)
    wide = turn(store, {"64": "128"})
    detour = turn(store, {"0.1": "0.2"})
    again = turn(store, {"64": "128"}, detour)
    runs(store, wide, 0.8)
    runs(store, detour, 1.1)
    runs(store, again, 0.9)
    effects = store.effects()
    rows = by_region(effects)
    assert rows["WIDTH", "128"].nodes == tuple(sorted((wide, again), key=[wide, detour, again].index))
    assert (rows["WIDTH", "128"].n, rows["WIDTH", "128"].alone, rows["WIDTH", "128"].kind) == (2, 2, "assignment")
    assert rows["WIDTH", "128"].before == b"64"
    assert 0.19 < rows["WIDTH", "128"].effect < 0.2
    assert rows["WIDTH", "128"].low > 0 > rows["LR", "0.2"].high
    assert [row.region for row in effects.edits] == ["WIDTH", "LR"], "what is surest to help is first"
    assert (effects.nodes, effects.repeated, effects.outside, effects.assumed) == (3, 1, 0, False)
    assert effects.sd == pytest.approx(0.01)


def test_the_line_on_which_an_edit_stands_does_not_matter_and_comments_do_nothing(store):
    runs(store, "@seed", 1.0)
    one = turn(store, {"return f(y, rate=LR)": "return g(y)"})
    longer = turn(store, {"LR = 0.1\n": "LR = 0.1  # low\n\n# more\n"})
    other = turn(store, {"return f(y, rate=LR)": "return g(y)"}, longer)
    for node, mean in ((one, 0.5), (longer, 1.0), (other, 0.5)):
        runs(store, node, mean)
    (row,) = store.effects().edits
    assert (row.n, row.region, set(row.nodes)) == (2, "step:L", {one, other})
    assert (row.before, row.after) == (b"f(y, rate=LR)", b"g(y)")


def test_only_what_was_measured_beside_its_parent_in_one_column_counts(store):
    assert store.effects().edits == ()
    runs(store, "@seed", 1.0)
    turn(store, {"64": "65"})
    elsewhere = turn(store, {"64": "66"})
    measure(store, elsewhere, 0.1, platform="elsewhere")
    crashed = turn(store, {"64": "67"})
    measure(store, crashed, None, Status.CRASHED)
    lone = turn(store, {"0.1": "0.3"}, turn(store, {"64": "68"}))
    runs(store, lone, 0.5)
    effects = store.effects()
    assert (effects.nodes, effects.edits, effects.pairs) == (0, (), ())
    assert effects.metric == "val_loss"


def test_without_repeats_the_noise_is_taken_to_be_all_there_is(store):
    measure(store, "@seed", 1.0)
    for at, (value, mean) in enumerate((("65", 0.9), ("66", 1.2), ("67", 0.95))):
        measure(store, turn(store, {"64": value}), mean, seed=at)
    effects = store.effects()
    assert effects.assumed
    assert effects.noise.sd is None
    assert effects.sd is not None
    assert all(row.low < 0 < row.high for row in effects.edits)


def test_equal_values_and_a_run_that_diverged_leave_finite_answers(store):
    for node in ("@seed", turn(store, {"64": "65"}), turn(store, {"0.1": "0.2"})):
        runs(store, node, 1.0, (0.0, 0.0))
    assert all(row[5:8] == (0.0, 0.0, 0.0) for row in store.effects().edits)
    measure(store, turn(store, {"= 4": "= 5"}), 1e308)
    rows = by_region(store.effects())
    assert rows["DEPTH", "5"].effect == pytest.approx(-1e308, rel=1e-3)
    assert abs(rows["LR", "0.2"].effect) < 1e308


def swarm(store, surplus):
    """Nodes with one or two of three edits each, under as many parents."""
    random = Random(7)
    edits = {"0.1": "0.2", "64": "128", "= 4": "= 6"}
    worth = {"0.1": 0.3, "64": -0.2, "= 4": 0.25}
    for number in range(8):
        parent = turn(store, {"x + 1": f"x + {number + 2}"})
        runs(store, parent, 1.0)
        for some in (("0.1",), ("64",), ("= 4",), ("0.1", "64"), ("0.1", "= 4")):
            node = turn(store, {old: edits[old] for old in some}, parent)
            more = surplus if set(some) == {"0.1", "64"} else 0.0
            runs(store, node, 1.0 - sum(worth[old] for old in some) - more + random.gauss(0, 0.003))


def test_pairs_that_interact_are_told_with_how_many_were_tested(store):
    swarm(store, 0.5)
    effects = store.effects()
    assert (effects.tested, effects.testable) == (2, 2)
    assert effects.by_chance == pytest.approx(0.2)
    told = {frozenset(effects.edits[at].region for at in (pair.one, pair.other)): pair for pair in effects.pairs}
    pair = told[frozenset({"LR", "WIDTH"})]
    assert pair.low <= 0.5 <= pair.high
    assert pair.low > 0
    assert pair.both == 8


def test_the_newest_nodes_are_looked_at_and_the_rest_is_counted(store):
    runs(store, "@seed", 1.0)
    for value in ("65", "66", "67"):
        runs(store, turn(store, {"64": value}), 0.9)
    effects = store.effects(nodes=2)
    assert (effects.nodes, effects.outside) == (2, 1)
    assert {row.after for row in effects.edits} == {b"66", b"67"}
    with pytest.raises(BadInput):
        store.effects(nodes=-1)


def test_answers_show_themselves(store):
    runs(store, "@seed", 1.0)
    runs(store, turn(store, {"64": "65"}), 0.9)
    frame = store.effects().to_frame()
    assert {"path", "region", "before", "after", "effect", "low", "high", "nodes"} <= set(frame.columns)
    assert "WIDTH" in store.effects()._repr_html_()


def dag(store, *words):
    return subprocess.run(
        [DAG, *words, "-C", str(store.root)], capture_output=True, text=True, env=ENVIRON, check=False, timeout=60
    )


def test_the_command_line_answers_the_same(store):
    assert "no node was measured" in dag(store, "effects").stdout
    swarm(store, 0.5)
    told = dag(store, "effects", "--top", "4")
    assert told.returncode == 0
    for words in ("train.py: LR  0.1 -> 0.2", "2 pairs of edits tested", "LR  0.1 -> 0.2 with", "noise: sd"):
        assert words in told.stdout, told.stdout
    answer = json.loads(dag(store, "effects", "--json").stdout)
    assert answer["edits"][0]["before"] == "0.1"
    assert len(answer["edits"]) == 3


def test_what_agents_wrote_cannot_move_the_cursor(store):
    runs(store, "@seed", 1.0)
    runs(store, turn(store, {"64": '"\x1b[2J"'}), 0.9)
    assert "\x1b" not in dag(store, "effects").stdout
