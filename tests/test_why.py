"""Why a node is as good as it is, asked through the store and the command line."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagstore import Direction, Status
from dagstore.rank import Z90
from dagstore.storage import TABLES
from dagstore.testing.builders import CHARTER, FILES, make_child, make_store, measure, write_files
from dagstore.views import Gain

KNOBS = {**FILES, "train.py": "LR = 0.1\n\nWIDTH = 64\n\nDEPTH = 4\n\nWARMUP = 10\n"}
SPREAD = (-0.01, 0.0, 0.01)
"""Three runs of one mean; what is measured so has an sd of 0.01."""
EXACT = Gain(0.0, 0.0, 0.0)
DAG = Path(sys.executable).parent / "dag"
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith("DAG_")},
    "PATH": f"{DAG.parent}:{os.environ['PATH']}",
}


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path, KNOBS) as store:
        yield store


@pytest.fixture
def upward(tmp_path):
    with make_store(tmp_path / "upward", KNOBS, direction="maximize") as store:
        yield store


def turn(store, knob, value, parent="@seed"):
    """A child that has one knob at another value, and says so."""
    text = store.cat(parent, "train.py").decode()
    (old,) = (line for line in text.splitlines() if line.startswith(f"{knob} = "))
    return make_child(store, parent, {"train.py": text.replace(old, f"{knob} = {value}")}, why=f"{knob} {value}")


def runs(store, means, spread=SPREAD):
    """Measure nodes around their means."""
    for node, mean in means.items():
        for at, off in enumerate(spread):
            measure(store, node, mean + off, seed=at)


def without(store, node, dropped):
    """The node with the files of `node`'s other parents composed."""
    found = store.node(node)
    rest = [parent for parent in (found.primary, *found.adopted) if parent != dropped]
    return store.adopt(*rest).node


def half(gain):
    return gain.high - gain.gain


def width(squares, n=3, sd=0.01):
    """Half of the 90 % interval of a sum of means of n runs, with the sum of its squared coefficients."""
    return pytest.approx(Z90 * sd * math.sqrt(squares / n))


def by_node(why):
    return {donor.node: donor for donor in why.donors}


def numbers(value):
    """Every number in an answer."""
    if isinstance(value, dict):
        return [one for item in value.values() for one in numbers(item)]
    if isinstance(value, list):
        return [one for item in value for one in numbers(item)]
    return [value] if isinstance(value, float) else []


@pytest.fixture
def donors(store):
    return [turn(store, "LR", 0.2), turn(store, "WIDTH", 128), turn(store, "DEPTH", 8)]


@pytest.fixture
def measured(store, donors):
    """The three donors and the seed, measured: they gain 0.1, 0.2 and 0.05."""
    runs(store, dict(zip(("@seed", *donors), (1.0, 0.9, 0.8, 0.95), strict=True)))
    return donors


# --- sums ---


@pytest.mark.parametrize("direction", Direction)
def test_two_donors_whose_gains_add_up(store, upward, direction):
    asked, sign = (store, -1) if direction is Direction.MINIMIZE else (upward, 1)
    lr, width_128 = turn(asked, "LR", 0.2), turn(asked, "WIDTH", 128)
    node = asked.adopt(lr, width_128).node
    runs(asked, {"@seed": 1.0, lr: 1.0 + sign * 0.1, width_128: 1.0 + sign * 0.2, node: 1.0 + sign * 0.3})
    why = asked.why(node)
    (donor,) = why.donors
    gains = {lr: 0.1, width_128: 0.2}
    assert (why.direction, why.metric, why.platform) == (direction, "val_loss", "cpu")
    assert donor.gain.gain == why.expected.gain == pytest.approx(gains[donor.node])
    assert why.measured.gain == pytest.approx(0.3 - gains[why.primary])
    assert half(donor.gain) == half(why.expected) == half(why.measured) == width(2)
    assert (why.difference.gain, half(why.difference)) == (0.0, width(4))
    assert why.difference.low < 0 < why.difference.high
    assert (why.verdict, why.missing, why.next) == ("adds up", (), "")


def test_three_donors_whose_gains_share_the_error_of_one_base(store, measured):
    node = store.adopt(*measured).node
    runs(store, {node: 0.65})
    why = store.why(node)
    gains = dict(zip(measured, (0.1, 0.2, 0.05), strict=True))
    assert why.expected.gain == pytest.approx(0.35 - gains[why.primary])
    assert half(why.expected) == width(1 + 1 + 4)
    assert half(why.measured) == width(2)
    assert half(why.difference) == width(1 + 1 + 1 + 1 + 4)
    assert why.verdict == "adds up"
    assert {donor.node: donor.gain.gain for donor in why.donors} == pytest.approx(
        {donor: gain for donor, gain in gains.items() if donor != why.primary}
    )
    assert all(donor.base == store.resolve("@seed") and donor.brings for donor in why.donors)
    assert [donor.node for donor in why.donors] == list(store.node(node).adopted)


@pytest.mark.parametrize(("mean", "verdict"), [(0.75, "less than the sum"), (0.6, "more than the sum")])
def test_what_does_not_add_up_is_said(store, measured, mean, verdict):
    node = store.adopt(*measured).node
    runs(store, {node: mean})
    assert store.why(node).verdict == verdict


def test_noise_as_large_as_the_gain_leaves_it_open(store, donors):
    node = store.adopt(*donors).node
    runs(store, dict(zip(("@seed", *donors, node), (1.0, 0.99, 0.98, 0.99, 0.97), strict=True)), (-0.05, 0.05))
    why = store.why(node)
    assert why.difference.low < 0 < why.difference.high
    assert why.verdict == "cannot be told"
    assert why.next == " ".join(["dag run", *map(store.short, ["@seed", *donors, node]), "--repeat 3"])


def test_measurements_without_noise_add_up_exactly(store, donors):
    node = store.adopt(*donors).node
    runs(store, dict(zip(("@seed", *donors, node), (1.0, 0.9, 0.8, 0.95, 0.65), strict=True)), (0.0, 0.0))
    assert (store.why(node).difference, store.why(node).verdict) == (EXACT, "adds up")


def test_a_donor_s_line_counts_from_where_it_left_the_primary_s(store, donors):
    longer = turn(store, "WARMUP", 20, donors[1])
    node = store.adopt(donors[0], longer, primary=donors[0]).node
    runs(store, {"@seed": 1.0, donors[0]: 0.9, longer: 0.6, node: 0.5})
    why = store.why(node)
    (donor,) = why.donors
    assert donor.base == store.resolve("@seed")
    assert donor.gain.gain == pytest.approx(0.4 if donor.node == longer else 0.1)
    assert why.verdict == "adds up"


@pytest.fixture
def forked(store, donors):
    """Two donors that share their line up to a node, adopted by a node whose primary has another line."""
    common = donors[1]
    deep, warm = turn(store, "DEPTH", 8, common), turn(store, "WARMUP", 20, common)
    trunk = make_child(store, donors[0], {"notes.txt": "what an adopting node should differ least from\n" * 9})
    return trunk, common, deep, warm, store.adopt(trunk, deep, warm, primary=trunk).node


def test_a_stretch_that_donors_share_is_expected_once(store, forked):
    trunk, common, deep, warm, node = forked
    runs(store, {"@seed": 1.0, trunk: 0.9, common: 0.8, deep: 0.75, warm: 0.77, node: 0.62})
    why = store.why(node)
    assert why.primary == trunk
    assert {donor.node: round(donor.gain.gain, 9) for donor in why.donors} == {deep: 0.25, warm: 0.23}
    assert why.shared == (common,)
    assert why.expected.gain == pytest.approx(0.28)
    assert half(why.expected) == width(4)
    assert why.verdict == "adds up"


def test_a_shared_stretch_that_was_not_measured_is_asked_for(store, forked):
    trunk, common, deep, warm, node = forked
    runs(store, {"@seed": 1.0, trunk: 0.9, deep: 0.75, warm: 0.77, node: 0.62})
    why = store.why(node)
    assert all(donor.gain for donor in why.donors)
    assert (why.expected, why.difference, why.verdict) == (None, None, "unmeasured")
    assert (why.missing, why.next) == ((common,), f"dag run {store.short(common)}")


def test_the_primary_may_be_the_base_itself(store, donors):
    """Whoever records a composition by hand may name an ancestor; its error cancels, and it need not be measured."""
    both = KNOBS["train.py"].replace("64", "128").replace("LR = 0.1", "LR = 0.2")
    child = turn(store, "WIDTH", 128, donors[0])
    files = Path(store.spawn("@seed").workspace)
    write_files(files, {"train.py": both + "EXTRA = 1\n"})
    node = store.record(files, [child, donors[0]]).node
    runs(store, {child: 0.7, node: 0.6})
    why = store.why(node)
    assert {why.primary, *store.node(node).adopted} == {child, donors[0]}
    (donor,) = why.donors
    assert donor.base == donors[0]
    assert donor.gain == EXACT


def test_equal_files_share_their_runs(store, donors):
    again = turn(store, "LR", 0.2, turn(store, "LR", 0.3))
    node = store.adopt(again, donors[1]).node
    runs(store, {"@seed": 1.0, donors[0]: 0.9, donors[1]: 0.8, node: 0.7})
    why = store.why(node)
    assert (why.missing, why.verdict) == ((), "adds up")


# --- what is missing ---


def test_a_donor_without_good_runs_has_no_gain_and_is_asked_for(store, measured):
    late = turn(store, "WARMUP", 20)
    measure(store, late, None, Status.CRASHED)
    node = store.adopt(*measured[:2], late, primary=measured[0]).node
    runs(store, {node: 0.6})
    why = store.why(node)
    asked = by_node(why)[late]
    assert (asked.gain, asked.base, asked.brings) == (None, store.resolve("@seed"), True)
    assert why.expected == by_node(why)[measured[1]].gain
    assert (why.difference, why.verdict) == (None, "unmeasured")
    assert (why.missing, why.next) == ((late,), f"dag run {store.short(late)}")
    runs(store, {late: 0.98})
    assert store.why(node).next == ""
    assert store.why(node).difference


def test_a_base_without_good_runs_leaves_every_gain_open(store, donors):
    node = store.adopt(*donors).node
    runs(store, dict.fromkeys(donors, 0.9))
    measure(store, "@seed", None, Status.OOM)
    measure(store, node, None, Status.CRASHED)
    why = store.why(node)
    assert {donor.gain for donor in why.donors} == {why.expected, why.measured, why.difference} == {None}
    assert why.verdict == "unmeasured"
    assert why.missing == (store.resolve("@seed"), node)
    assert why.next == f"dag run {store.short('@seed')} {store.short(node)}"


def test_nothing_measured_at_all(store, donors):
    node = store.adopt(*donors).node
    why = store.why(node)
    assert (why.protocol, why.platform, why.metric, why.direction) == (None, None, "val_loss", Direction.MINIMIZE)
    assert (why.noise.sd, why.verdict) == (None, "unmeasured")
    assert set(why.missing) == {store.resolve("@seed"), *donors, node}


def test_without_repeated_runs_nothing_is_invented(store, donors):
    node, pair = store.adopt(*donors).node, without(store, store.adopt(*donors).node, donors[2])
    runs(store, dict(zip(("@seed", *donors, node, pair), (1.0, 0.9, 0.8, 0.95, 0.65, 0.7), strict=True)), (0.0,))
    why = store.why(node)
    assert why.noise.sd is None
    gains = [why.expected, why.measured, why.difference, *(donor.gain for donor in why.donors)]
    assert {(gain.low, gain.high) for gain in gains} == {(None, None)}
    assert (why.difference.gain, why.verdict) == (0.0, "cannot be told")
    assert why.next.startswith("dag run ")
    assert why.next.endswith(" --repeat 3")
    if measured := [donor for donor in why.donors if donor.without]:
        assert {donor.verdict for donor in measured} == {"cannot be told"}


def test_only_the_default_ranking_counts(store, donors):
    node = store.adopt(*donors[:2]).node
    runs(store, {"@seed": 1.0, donors[0]: 0.9, node: 0.7})
    measure(store, donors[1], 0.1, platform="gpu")
    why = store.why(node)
    assert (why.platform, why.missing) == ("cpu", (donors[1],))
    assert why.next == f"dag run {store.short(donors[1])} --repeat 1"


def test_what_belongs_to_another_protocol_is_not_asked_for(store, donors):
    workspace = Path(store.spawn("@seed").workspace)
    write_files(workspace, {"prepare.py": "DATA = 2\n", "train.py": KNOBS["train.py"].replace("10", "20")})
    other = store.seal(workspace, unlock=True).node
    measure(store, other, 0.1)
    node = store.adopt(donors[0], other, primary=donors[0]).node
    runs(store, {"@seed": 1.0, donors[0]: 0.9, node: 0.7})
    why = store.why(node)
    assert why.missing == why.elsewhere == (other,)
    assert (why.difference, why.verdict, why.next) == (None, "cannot be told", "")


# --- who earns its place ---


def test_a_donor_is_judged_by_the_node_without_it(store, measured):
    node = store.adopt(*measured, primary=measured[0]).node
    kept, costly = store.why(node).donors
    for donor, mean in ((kept, 0.7), (costly, 0.6)):
        rest = without(store, node, donor.node)
        runs(store, {rest: mean})
    runs(store, {node: 0.65})
    good, bad = store.why(node).donors
    assert (good.verdict, bad.verdict) == ("earns its place", "does not earn its place")
    assert (good.contribution.gain, bad.contribution.gain) == pytest.approx((0.05, -0.05))
    assert half(good.contribution) == width(2)
    assert (good.without, good.next) == (without(store, node, good.node), "")


def test_a_donor_that_only_noise_tells_apart(store, measured):
    node = store.adopt(*measured).node
    first = store.why(node).donors[0]
    rest = without(store, node, first.node)
    runs(store, {node: 0.65, rest: 0.655})
    told = by_node(store.why(node))[first.node]
    assert told.contribution.low < 0 < told.contribution.high
    assert told.verdict == "cannot be told"
    assert told.next == f"dag run {store.short(node)} {store.short(rest)} --repeat 3"


def test_an_untested_donor_names_the_command_that_tests_it(store, measured):
    node = store.adopt(*measured).node
    runs(store, {node: 0.65})
    for donor in store.why(node).donors:
        assert (donor.verdict, donor.without, donor.contribution) == ("untested", None, None)
        verb, *words = donor.next.split()[1:]
        rest, primary = words[: words.index("--primary")], words[words.index("--primary") + 1]
        assert (verb, words[-1]) == ("adopt", "--run")
        assert {store.resolve(word) for word in (*rest, primary)} == set(measured) - {donor.node}
        made = store.adopt(*rest, primary=primary).node
        told = by_node(store.why(node))[donor.node]
        assert (told.without, told.verdict, told.next) == (made, "untested", f"dag run {store.short(made)}")
        runs(store, {made: 0.8})
        assert by_node(store.why(node))[donor.node].verdict == "earns its place"


def test_with_one_donor_the_node_without_it_is_the_primary(store, measured):
    node = store.adopt(*measured[:2]).node
    (donor,) = store.why(node).donors
    assert (donor.without, donor.verdict) == (store.node(node).primary, "untested")
    assert donor.next == f"dag run {store.short(node)}"
    runs(store, {node: 0.7})
    why = store.why(node)
    assert why.donors[0].contribution == why.measured
    assert why.donors[0].verdict == "earns its place"


def test_any_node_with_the_same_files_answers_for_the_one_without_a_donor(store, measured):
    node = store.adopt(*measured, primary=measured[0]).node
    by_hand = turn(store, "WIDTH", 128, measured[0])
    runs(store, {node: 0.65, by_hand: 0.7})
    assert by_node(store.why(node))[measured[2]].without == by_hand
    assert by_node(store.why(node))[measured[2]].verdict == "earns its place"


def test_a_donor_of_which_nothing_was_taken_is_not_expected_to_gain(store, measured):
    rival = turn(store, "LR", 0.9)
    runs(store, {rival: 1.2})
    node = store.adopt(*measured[:2], rival).node
    runs(store, {node: 0.7})
    why = store.why(node)
    told = by_node(why)[rival]
    assert (told.taken, told.refused, told.brings) == (0, 1, False)
    assert (told.contribution, told.verdict) == (EXACT, "does not earn its place")
    assert why.contradictions == 1
    (other,) = (donor for donor in why.donors if donor.node != rival)
    assert why.expected == other.gain
    assert why.verdict == "adds up"


def test_decisions_for_and_against_a_donor_are_counted(store, measured):
    mixed = turn(store, "WARMUP", 20, turn(store, "LR", 0.9))
    runs(store, {mixed: 0.99})
    node = store.adopt(measured[0], measured[1], mixed, primary=measured[0]).node
    why = store.why(node)
    told = by_node(why)[mixed]
    assert why.onto == measured[0]
    assert (told.taken, told.refused, told.brings) == (1, 1, True)
    assert (by_node(why)[measured[1]].taken, by_node(why)[measured[1]].refused) == (1, 0)


def test_the_one_composed_onto_needs_no_decision(store, measured):
    node = store.adopt(*measured[:2]).node
    (record,) = store.adoptions(node)
    for onto in measured[:2]:
        why = store.why(node)
        if onto == why.primary:
            continue
        (donor,) = why.donors
        assert donor.taken == (None if record.onto == onto else 1)
        assert donor.refused == 0
        assert donor.brings


def test_a_preference_is_kept_when_a_donor_is_left_out(store, measured):
    good, other, third = measured
    bad = turn(store, "LR", 0.9)
    runs(store, {bad: 1.2})
    node = store.adopt(good, bad, other, third, primary=good, prefer=str(bad)).node
    assert b"LR = 0.9" in store.cat(node, "train.py")
    why = store.why(node)
    assert why.reproduced
    for donor in why.donors:
        if donor.node == good:
            assert (donor.without, donor.verdict) == (node, "does not earn its place")
        else:
            assert (donor.verdict, f"--prefer {store.short(bad)}" in donor.next) == ("untested", donor.node != bad)


def test_a_node_that_was_edited_besides_tells_nothing_of_a_donor(store, measured):
    files = Path(store.spawn("@seed").workspace)
    text = KNOBS["train.py"].replace("64", "128").replace("LR = 0.1", "LR = 0.2").replace("WARMUP = 10", "WARMUP = 99")
    write_files(files, {"train.py": text})
    node = store.record(files, measured[:2]).node
    runs(store, {node: 0.5})
    why = store.why(node)
    (donor,) = why.donors
    assert (why.reproduced, why.onto, donor.taken, donor.refused) == (False, None, None, None)
    assert (donor.contribution, donor.verdict, donor.next) == (why.measured, "cannot be told", "")
    assert why.verdict == "more than the sum"


def test_a_composition_recorded_by_hand_is_judged_like_any(store, measured):
    files = Path(store.spawn("@seed").workspace)
    write_files(files, {"train.py": KNOBS["train.py"].replace("64", "128").replace("LR = 0.1", "LR = 0.2")})
    node = store.record(files, measured[:2]).node
    runs(store, {node: 0.7})
    why = store.why(node)
    assert (why.reproduced, why.onto, why.verdict) == (True, None, "adds up")
    assert why.donors[0].verdict == "earns its place"


def test_later_adoptions_onto_a_node_do_not_explain_it(store, measured):
    node = store.adopt(*measured, primary=measured[0]).node
    before = store.why(node)
    assert store.adopt(node, *measured).node == node
    assert store.why(node) == before


# --- nodes that adopted nothing ---


@pytest.mark.parametrize(
    ("mean", "spread", "verdict"),
    [
        (0.8, SPREAD, "better"),
        (1.2, SPREAD, "worse"),
        (1.001, SPREAD, "cannot be told"),
        (0.8, (0.0,), "cannot be told"),
        (1.0, (0.0, 0.0), "the same"),
    ],
)
def test_a_node_with_one_parent_is_judged_by_its_gain(store, donors, mean, spread, verdict):
    runs(store, {"@seed": 1.0, donors[0]: mean}, spread)
    why = store.why(donors[0])
    assert (why.primary, why.donors, why.expected, why.difference) == (store.resolve("@seed"), (), None, None)
    assert why.measured.gain == pytest.approx(1.0 - mean)
    assert why.verdict == verdict
    asks = verdict == "cannot be told"
    assert why.next == (f"dag run {store.short('@seed')} {store.short(donors[0])} --repeat 3" if asks else "")


def test_a_node_all_of_whose_runs_crashed(store, donors):
    runs(store, {"@seed": 1.0})
    for at in range(3):
        measure(store, donors[0], None, Status.CRASHED, seed=at)
    why = store.why(donors[0])
    assert (why.measured, why.verdict, why.missing) == (None, "unmeasured", (donors[0],))
    assert why.next == f"dag run {store.short(donors[0])}"


def test_the_seed_has_an_answer_without_gains(store):
    why = store.why("@seed")
    assert (why.primary, why.donors, why.measured, why.verdict) == (None, (), None, "no parent")
    assert (why.missing, why.next, why.reproduced) == ((), "", None)
    runs(store, {"@seed": 1.0})
    assert store.why("@seed").verdict == "no parent"


def test_every_node_has_an_answer(store, measured):
    store.adopt(*measured)
    assert [store.why(node.id).node for node in store.nodes()] == [node.id for node in store.nodes()]


def test_asking_records_nothing_and_needs_no_right_to_write(store, measured):
    import dagstore

    node = store.adopt(*measured).node
    runs(store, {node: 0.65})

    def state():
        with store._storage.read() as txn:
            return {table: list(txn.scan(table)) for table in TABLES}

    before, answer = state(), store.why(node)
    assert state() == before
    store.close()
    with dagstore.open(store.root, readonly=True) as reader:
        assert reader.why(node) == answer


def test_a_notebook_shows_an_answer_and_its_donors(store, measured):
    why = store.why(store.adopt(*measured).node)
    assert "<td>difference</td>" in why._repr_html_()
    frame = why.donors.to_frame()
    assert len(frame) == 2
    assert {"gain.gain", "gain.low", "gain.high", "verdict"} <= set(frame.columns)


# --- the command line ---


def dag(root, *words):
    """stdout of an invocation that succeeds."""
    done = subprocess.run([DAG, *map(str, words)], cwd=root, env=ENVIRON, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_json_has_finite_numbers_only(store, donors):
    node = store.adopt(*donors).node
    runs(store, dict(zip(("@seed", *donors, node), (1.7e308, -1.7e308, 1e308, 0.0, -1e308), strict=True)), (0.0, 1e300))
    root = store.root
    store.close()
    answer = json.loads(dag(root, "why", node, "--json"), parse_constant=pytest.fail)
    assert answer["expected"].keys() == {"gain", "low", "high"}
    assert numbers(answer)
    assert all(math.isfinite(number) for number in numbers(answer))


def test_text_says_everything(store, measured):
    rival = turn(store, "LR", 0.9)
    runs(store, {rival: 1.2})
    node = store.adopt(*measured[:2], rival, primary=measured[0]).node
    runs(store, {node: 0.7})
    root, short = store.root, store.short
    names = {name: short(id) for name, id in zip(("node", "a", "b", "c"), (node, *measured[:2], rival), strict=True)}
    store.close()
    head, _, message, scale, noise, _, expected, gained, difference, _, columns, *rest = dag(
        root, "why", node
    ).splitlines()
    assert head.startswith(names["node"])
    assert message in {f"adopted {names['b']}  WIDTH 128", f"adopted {names['c']}  LR 0.9"}
    assert "minimize: a gain is how much lower it is" in scale
    assert noise.startswith("noise: sd 0.01")
    assert expected.split()[1].startswith("+")
    assert "the gains of 1 of 2 donors" in expected
    assert gained.split()[:3] == ["measured", gained.split()[1], "±"]
    assert difference.endswith("adds up")
    assert columns.split() == ["donor", "gain", "taken", "without", "it", "contributes", "verdict"]
    text = "\n".join(rest)
    assert "0 of 1" in text
    assert f"nothing of {names['c']} was taken, so its gain is not expected" in text
    assert f"1 contradiction had to be decided: dag show {names['node']}" in text
    assert "does not earn its place" in text


def test_text_of_nodes_that_adopted_nothing(store, donors):
    root = store.root
    store.close()
    assert "it has no parent" in dag(root, "why", "@seed")
    text = dag(root, "why", donors[0])
    assert "nothing was measured yet" in text
    assert "unmeasured" in text
    assert f"next: dag run {str(store_seed(root))[:8]} {str(donors[0])[:8]}" in text


def store_seed(root):
    import dagstore

    with dagstore.open(root, readonly=True) as store:
        return store.resolve("@seed")


def test_the_named_commands_do_what_they_say(tmp_path):
    """Real experiments: run what is missing, then the node without each donor, all as the answers say."""
    train = "A = 0\n\nB = 0\n\nC = 0\n\nimport os\nprint('val_loss:', 1 - 0.1 * A - 0.2 * B + 0.05 * C)\n"
    files = {"train.py": train, "prepare.py": "", "dag.toml": CHARTER.format(direction="minimize")}
    with make_store(tmp_path, {**files, "dag.toml": files["dag.toml"].replace("python", "python -S")}) as store:
        node = store.adopt(*(turn(store, knob, 1) for knob in "ABC")).node
        root = store.root
    first = json.loads(dag(root, "why", node, "--json"))
    assert (first["verdict"], len(first["missing"])) == ("unmeasured", 5)
    dag(root, *first["next"].split()[1:])
    second = json.loads(dag(root, "why", node, "--json"))
    assert (second["verdict"], second["noise"]["sd"]) == ("cannot be told", None)
    dag(root, *second["next"].split()[1:])
    third = json.loads(dag(root, "why", node, "--json"))
    assert (third["verdict"], third["noise"]["sd"]) == ("adds up", 0.0)
    for donor in third["donors"]:
        assert donor["verdict"] == "untested"
        dag(root, *donor["next"].split()[1:])
    last = json.loads(dag(root, "why", node, "--json"))
    assert all(donor["contribution"]["gain"] == pytest.approx(donor["gain"]["gain"]) for donor in last["donors"])
    expected = {donor["gain"]["gain"] > 0: donor["verdict"] for donor in last["donors"]}
    assert expected.items() <= {(True, "earns its place"), (False, "does not earn its place")}
