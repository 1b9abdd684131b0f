"""Pictures: what is shown as plain values, and that anything can be drawn without a warning."""

import warnings
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore import BadInput, NotFound
from dagstore.curves import Curves, encode_curves
from dagstore.descent import Descendant, Descendants
from dagstore.ids import NodeId, TreeId
from dagstore.model import Direction, Status
from dagstore.plot import curves, noise, pareto, style, tree
from dagstore.plot.effects import bars, draw_effects
from dagstore.plot.progress import Point, Progress, draw_progress, measured_progress, view
from dagstore.shown import Rows
from dagstore.testing.builders import make_child, make_run, make_store, measure
from dagstore.views import NodeView

EVIL = "$metric_{"
finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def drawn(figure):
    """The texts of a figure that can be drawn without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")))


def search(*values, direction=Direction.MINIMIZE, noise=None):
    return Progress(tuple(Point(value, f"idea {at}") for at, value in enumerate(values)), "loss", direction, noise)


def test_improvements_depend_on_the_direction():
    assert search(None, 3.0, 4.0, 2.0, 2.0).improvements() == [1, 3]
    assert search(None, 3.0, 4.0, 2.0, 5.0, direction=Direction.MAXIMIZE).improvements() == [1, 2, 4]


def test_a_few_outliers_do_not_flatten_the_rest():
    low, high = view(search(1.0, *(0.9 + 0.001 * at for at in range(40)), 1e9, 50.0))
    assert low < 0.9 < 1.0 < high < 1.2
    low, high = view(search(*(0.9 + 0.001 * at for at in range(40)), -1e12, 0.5, direction=Direction.MAXIMIZE))
    assert 0.8 < low < high < 1.0


@given(st.lists(values, min_size=1, max_size=30).filter(lambda found: any(value is not None for value in found)))
def test_the_view_is_a_range_that_holds_a_measured_value(found):
    low, high = view(search(*found))
    assert low < high
    assert any(low <= max(-1e300, min(1e300, value)) <= high for value in found if value is not None)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.builds(Point, values, st.text(max_size=60)), min_size=1, max_size=12).filter(
        lambda points: any(point.value is not None for point in points)
    ),
    st.sampled_from(Direction),
    st.none() | st.floats(0, 1),
)
def test_anything_can_be_drawn(points, direction, noise):
    drawn(draw_progress(Progress(tuple(points), EVIL, direction, noise, "cpu \x1b[31m")))


def test_experiments_come_in_the_order_of_their_first_run_once_a_tree(tmp_path):
    with make_store(tmp_path) as store:
        child = make_child(store, "@seed", {"train.py": "LR = 2\n"}, why="double it")
        failed = make_child(store, "@seed", {"train.py": "LR = 3\n"})
        measure(store, child, 0.5)
        measure(store, "@seed", 1.0)
        measure(store, child, 0.7, seed=1)
        measure(store, failed, None, Status.CRASHED)
        measure(store, failed, 9.0, platform="other")
        found = measured_progress(store)
        worth = [store.node(node).estimate for node in (child, "@seed")]
        assert found.points == (Point(worth[0], "double it"), Point(worth[1], "seed"), Point(None, ""))
        assert [point.label for point in measured_progress(store, "@seed").points] == ["seed"]
        assert store.plot.progress().axes


def test_nothing_measured(tmp_path):
    with make_store(tmp_path) as store, pytest.raises(NotFound):
        measured_progress(store)


class TestTree:
    def test_what_is_hidden_is_said_and_the_best_is_named(self, tmp_path):
        with make_store(tmp_path) as store:
            for at in range(50):
                child = make_child(store, "@seed", {"train.py": f"LR = {at}\n"}, why=f"rate {at}")
                measure(store, child, 1 - at / 100)
            found = tree.grown(store, limit=45)
            assert (len(found.spots), found.hidden, found.spots[0].hidden) == (48, 3, 3)
            shown = drawn(tree.draw_tree(found))
            assert "48 of 51 nodes" in shown
            assert "3 hidden" in shown
            assert "rate 49" in shown
            assert "rate 0" in drawn(store.plot.tree(limit=20))

    def test_the_line_to_the_best_is_shown_wherever_it_is(self, tmp_path):
        with make_store(tmp_path) as store:
            line = [store.resolve("@seed")]
            for at in range(4):
                line.append(make_child(store, line[-1], {"train.py": f"LR = {at}\n"}))
            other = make_child(store, "@seed", {"train.py": "LR = 9\n"})
            measure(store, line[-2], 0.5)
            found = tree.grown(store, limit=2)
            assert [spot.node.id for spot in found.spots] == line[:4]
            assert [(spot.depth, spot.hidden) for spot in found.spots] == [(0, 1), (1, 0), (2, 0), (3, 1)]
            assert found.hidden == 2
            assert [spot.node.id for spot in tree.grown(store, other).spots] == [other]

    def test_adopted_nodes_are_linked(self, tmp_path):
        with make_store(tmp_path) as store:
            a = make_child(store, "@seed", {"a.py": "x = 1\n"})
            b = make_child(store, "@seed", {"b.py": "x = 1\n"})
            assert "adopted" not in drawn(store.plot.tree())
            store.adopt(a, b)
            assert "adopted" in drawn(store.plot.tree())

    @settings(max_examples=6)
    @given(st.integers(2, 70), st.integers(0, 1 << 30), st.lists(values, min_size=1, max_size=70))
    def test_every_leaf_has_a_row_of_its_own_and_parents_stand_between_their_children(self, size, seed, found):
        parents = [None, *((seed >> at) % at for at in range(1, size))]
        kids = {at: [child for child in range(size) if parents[child] == at] for at in range(size)}
        places = []

        def walk(at, depth):
            value = found[at % len(found)]
            places.append(Descendant(depth, 0, node_view(at, parents[at], value)))
            for child in kids[at]:
                walk(child, depth + 1)

        walk(0, 0)
        spots = tree.lay_out(Descendants(node_id(0), Rows(places), 0))
        rows = {spot.node.id: spot.row for spot in spots}
        leaves = [rows[node_id(at)] for at in range(size) if not kids[at]]
        assert len(set(leaves)) == len(leaves)
        assert min(rows.values()) == 0
        for at in range(size):
            below = [rows[node_id(child)] for child in kids[at]]
            assert not below or rows[node_id(at)] <= max(below)
        drawn(tree.draw_tree(tree.Forest(spots, 3, EVIL, Direction.MAXIMIZE, "cpu")))


def node_id(at):
    return NodeId(at.to_bytes(32, "big"))


def node_view(at, parent, value):
    primary = None if parent is None else node_id(parent)
    status = "new" if value is None else "ok"
    return NodeView(
        node_id(at), f"{at:08}", primary, (), 0, TreeId(bytes(32)), EVIL, "", 0, 0, status, value, None, None, ()
    )


dots = st.builds(pareto.Dot, finite, finite, st.text(max_size=50), st.integers(1, 9))


class TestPareto:
    @given(st.lists(dots, min_size=1, max_size=20), st.sampled_from(Direction), st.sampled_from(Direction))
    def test_the_front_is_what_nothing_beats(self, found, x, y):
        trade = pareto.Trade(tuple(found), pareto.Axis("a", x), pareto.Axis("b", y), "", 0)
        signs = [1 if one is Direction.MINIMIZE else -1 for one in (x, y)]
        costs = [(signs[0] * dot.x, signs[1] * dot.y) for dot in found]
        best = {one for one in costs if not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in costs)}
        assert {costs[at] for at in trade.front()} == best

    @settings(max_examples=6)
    @given(st.lists(dots, min_size=1, max_size=12))
    def test_anything_can_be_drawn(self, found):
        axes = pareto.Axis(EVIL, Direction.MINIMIZE), pareto.Axis("b", Direction.MAXIMIZE)
        drawn(pareto.draw_pareto(pareto.Trade(tuple(found), *axes, "cpu", 2)))

    def test_numbers_are_means_of_the_runs_of_a_tree(self, tmp_path):
        with make_store(tmp_path) as store:
            child = make_child(store, "@seed", {"train.py": "LR = 2\n"}, why="double")
            measure(store, "@seed", 1.0, metrics={"mb": 5.0})
            measure(store, child, 2.0, metrics={"mb": 1.0})
            measure(store, child, 3.0, seed=1, metrics={"mb": 3.0})
            measure(store, child, None, Status.CRASHED, seed=2)
            made = make_child(store, "@seed", {"train.py": "LR = 3\n"})
            measure(store, made, 0.5)
            found = pareto.traded(store, "mb")
            assert [(dot.x, dot.y, dot.label, dot.n) for dot in found.dots] == [
                (5.0, 1.0, "seed", 1), (2.0, 2.5, "double", 2),
            ]  # fmt: skip
            assert (found.without, found.front()) == (1, [1, 0])
            assert len(pareto.traded(store, "mb", maximize=["mb"]).front()) == 1
            assert "1 lack one of the two" in drawn(store.plot.pareto("mb"))
            with pytest.raises(BadInput) as wrong:
                store.plot.pareto("gb")
            assert wrong.value.hint == "there is: seconds, mb, val_loss"


class TestCurves:
    STEPS = (
        b'{"step": 0, "train_loss": 3.0}\n{"step": 5, "train_loss": 2.0, "lr": 0.1}\n'
        b'rubbish\n[1]\n{"step": 9, "train_loss": NaN}\n'
    )

    def test_steps_of_the_best_nodes_that_have_some(self, tmp_path):
        with make_store(tmp_path) as store:
            child = make_child(store, "@seed", {"train.py": "LR = 2\n"}, why="double")
            measure(store, "@seed", 0.5)
            with pytest.raises(NotFound, match="step by step"):
                store.plot.curves()
            run, protocol = make_run(store, child, 1.0)
            store.add_run(run, protocol, {"steps": self.STEPS})
            found = curves.reported(store)
            assert [(one.label, one.steps, one.values) for one in found.curves] == [("double", (0, 5), (3, 2))]
            assert found.metric == "train_loss"
            assert curves.reported(store, ["@seed", child]).without == (store.node("@seed").short,)
            assert curves.reported(store, [child], "lr").curves[0].values == (0.1,)
            assert "double" in drawn(store.plot.curves(child))
            with pytest.raises(NotFound, match="'gradient'"):
                store.plot.curves(child, metric="gradient")

    def test_over_the_budget_they_are_what_the_trainer_saw_and_pruned_ones_are_told_apart(self, tmp_path):
        seen = encode_curves(Curves(600, {"train_loss": ((256, 3.0), (512, 2.0))}))
        with make_store(tmp_path) as store:
            run, protocol = make_run(store, "@seed", None, Status.PRUNED)
            store.add_run(run, protocol, {"steps": self.STEPS, "curve": seen})
            (curve,) = curves.reported(store, ["@seed"], over="budget").curves
            assert (curve.steps, curve.values, curve.pruned) == ((0.25, 0.5), (3.0, 2.0), True)
            texts = drawn(store.plot.curves("@seed", over="budget"))
            assert "fraction of the budget" in texts
            assert "1 pruned" in texts
            with pytest.raises(BadInput, match="no axis 'time'"):
                store.plot.curves("@seed", over="time")


class TestNoise:
    def test_residuals_are_those_of_repeated_runs_in_units_of_the_pooled_sd(self, tmp_path):
        with make_store(tmp_path) as store:
            child = make_child(store, "@seed", {"train.py": "LR = 2\n"})
            measure(store, "@seed", 1.0)
            measure(store, child, 1.0)
            with pytest.raises(NotFound, match="measured twice"):
                store.plot.noise()
            for seed, value in ((1, 3.0), (2, 5.0)):
                measure(store, child, value, seed=seed)
            found = noise.repeated(store)
            assert (found.sd, found.groups) == (2.0, (noise.Group(3, 2.0),))
            assert found.sd == pytest.approx(store.frontier().noise.sd)
            assert sum(one**2 for one in found.residuals) == pytest.approx(3)
            assert "1 experiment" in drawn(store.plot.noise())

    @pytest.mark.parametrize("sizes", [[2], [2, 3, 4], [2, 5000]])
    def test_any_number_of_runs_can_be_drawn(self, sizes):
        groups = tuple(noise.Group(n, 0.1) for n in sizes)
        drawn(noise.draw_noise(noise.Noise((0.1, -9.0, 3.0), groups, 0.1, EVIL, Direction.MINIMIZE, "cpu")))


class Answer(NamedTuple):
    """What `store.effects()` gives."""

    edits: list
    metric: str = EVIL
    direction: Direction = Direction.MINIMIZE
    protocol: str = "9f3c52d1"
    platform: str = "cpu"
    nodes: int = 9


class Edit(NamedTuple):
    effect: float
    low: float
    high: float
    path: str = "train.py"
    region: str = "LR"
    before: bytes = b"0.1"
    after: bytes = b"$0.2_{\xff"
    n: int = 3


class TestEffects:
    def test_the_surest_are_shown_the_best_on_top(self):
        edits = [Edit(0.1, 0.05, 0.2), Edit(-0.3, -0.4, -0.1), Edit(9.0, -1.0, 19.0, before=b"")]
        assert [bar.effect for bar in bars(edits)] == [9.0, 0.1, -0.3]
        shown = drawn(draw_effects(Answer(edits), top=2))
        assert "2 of 3 edits" in shown
        assert "cannot be told" not in shown
        assert "train.py:LR  0.1 → $0.2_{" in shown
        assert "∅ → " in drawn(draw_effects(Answer(edits)))
        with pytest.raises(NotFound):
            draw_effects(Answer([]))


@given(
    st.lists(
        st.builds(style.Mark, st.floats(0, 300), st.floats(0, 200), st.text(min_size=1, max_size=20)), max_size=12
    ),
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), max_size=20),
)
def test_texts_cover_no_dot_and_no_other_text(marks, dots):
    placed = style.place(marks, dots, (300, 200), 8)
    assert len(placed) <= 8
    for at, one in enumerate(placed):
        x0, y0, x1, y1 = one.box
        assert not any(x0 < x < x1 and y0 < y < y1 for x, y in dots)
        assert all(x1 < a or c < x0 or y1 < b or d < y0 for a, b, c, d in (other.box for other in placed[:at]))
