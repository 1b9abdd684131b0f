"""Strategies of `dag frontier` on small families with a known answer, and the laws of Pareto fronts."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore import Status
from dagstore.errors import BadInput, NotFound
from dagstore.frontier import STRATEGIES
from dagstore.pareto import Axis, fronts, parse_axes
from dagstore.testing.builders import TRAIN, make_run, make_store, measure

SD = 0.01
SPREAD = (-SD, 0.0, SD)
"""Three repeats with this spread have the standard deviation `SD`."""


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as made:
        yield made


def edited(**changes):
    text = TRAIN
    for name, value in changes.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    return text.encode()


def child(store, parent, *values, content=None, **more):
    """A child with other files than any other, measured by these numbers."""
    content = content or f"X = {store.count()}\n".encode()
    with store.batch() as batch:
        node = batch.record([parent], {"train.py": content}, why="a change")
    return repeated(store, node, *values, **more)


def repeated(store, node, *values, seconds=1.5, metrics=None):
    for seed, value in enumerate(values):
        run, protocol = make_run(store, node, value, seed=seed, metrics=metrics)
        store.add_run(run._replace(seconds=seconds), protocol, {})
    return node


def about(value, spread=SPREAD):
    return [value + off for off in spread]


def ids(ranking):
    return [row.id for row in ranking.nodes]


class TestOrders:
    @pytest.fixture
    def pair(self, store):
        """Measured once with luck, and often with a little less."""
        once = child(store, "@seed", 0.89)
        often = child(store, "@seed", *about(0.9, SPREAD * 7))
        return once, often

    def test_the_ends_of_intervals_rank_otherwise(self, store, pair):
        once, often = pair
        assert ids(store.frontier(strategy="optimistic")) == [once, often]
        assert ids(store.frontier(strategy="pessimistic")) == [often, once]

    @pytest.mark.parametrize(("strategy", "end"), [("optimistic", "low"), ("pessimistic", "high")])
    def test_the_score_is_the_end_that_they_are_ranked_by(self, store, pair, strategy, end):
        ranking = store.frontier(strategy=strategy)
        scores = [row.score for row in ranking.nodes]
        assert scores == [getattr(row, end) for row in ranking.nodes] == sorted(scores)
        assert all(row.score is None for row in store.frontier().nodes)

    @pytest.mark.parametrize(("strategy", "end"), [("optimistic", "high"), ("pessimistic", "low")])
    def test_where_more_is_better_the_other_end_is(self, tmp_path, strategy, end):
        with make_store(tmp_path / "max", direction="maximize") as store:
            once, often = child(store, "@seed", 0.91), child(store, "@seed", *about(0.9, SPREAD * 7))
            ranking = store.frontier(strategy=strategy)
            assert ids(ranking) == ([once, often] if strategy == "optimistic" else [often, once])
            assert [row.score for row in ranking.nodes] == [getattr(row, end) for row in ranking.nodes]

    def test_what_cannot_be_told_apart_from_the_first_is_marked(self, store, dag):
        first = child(store, "@seed", *about(0.9))
        near = child(store, "@seed", *about(0.905))
        far = child(store, "@seed", *about(0.99))
        found = store.frontier()
        assert [(row.id, row.tied) for row in found.nodes] == [(first, False), (near, True), (far, False)]
        assert "≈ cannot be told apart from the first" in dag("frontier")[1]

    def test_all_are_considered(self, store):
        for value in (0.1, 0.2, 0.3):
            child(store, "@seed", value)
        for strategy in STRATEGIES[:3]:
            ranking = store.frontier(1, strategy=strategy)
            assert (ranking.measured, ranking.considered, len(ranking.nodes)) == (3, 3, 1)


class TestLeaves:
    def test_those_that_nobody_has_built_on(self, store):
        inner = child(store, "@seed", 0.1)
        leaf, other = child(store, inner, 0.5), child(store, "@seed", 0.3)
        child(store, leaf)  # not measured, but it is there
        last = child(store, inner, 0.4)
        repeated(store, "@seed", 1.0)
        ranking = store.frontier(strategy="leaves")
        assert ids(ranking) == [other, last]
        assert {row.why for row in ranking.nodes} == {"nobody has built on it"}
        assert (ranking.measured, ranking.considered) == (5, 5)

    def test_a_leaf_of_which_an_equal_was_built_on_is_none(self, store):
        a = child(store, "@seed", 0.5)
        with store.batch() as batch:
            again = batch.record([a], {"train.py": store.cat("@seed", "train.py")})
            batch.record([again], {"train.py": b"Y = 1\n"})
        repeated(store, again, 0.2)
        assert ids(store.frontier(strategy="leaves")) == []

    def test_no_leaf_was_measured(self, store, dag):
        repeated(store, "@seed", 1.0)
        child(store, "@seed")
        assert store.frontier(strategy="leaves").nodes == ()
        code, said, _ = dag("frontier", "--strategy", "leaves")
        assert (code, said.splitlines()[-1]) == (0, "none of 1 that were looked at is one for leaves")


class TestStale:
    def test_gains_on_a_parent_that_another_child_has_superseded(self, store):
        repeated(store, "@seed", *about(1.0))
        best = child(store, "@seed", *about(0.5))
        stale = child(store, "@seed", *about(0.7))
        less = child(store, "@seed", *about(0.8))
        child(store, "@seed", *about(1.3))  # no gain
        child(store, best, *about(0.4))  # its parent's best child
        ranking = store.frontier(strategy="stale")
        assert ids(ranking) == [stale, less]
        first = ranking.nodes[0]
        assert first.score == pytest.approx(0.3, abs=SD)
        assert first.why.startswith("gains 0.")
        assert f"over {str(store.resolve('@seed'))[:8]}, which {str(best)[:8]} has superseded" in first.why
        assert (ranking.measured, ranking.considered) == (6, 6)

    def test_nothing_is_stale_where_everything_was_built_on_the_best(self, store):
        node = repeated(store, "@seed", 1.0)
        for value in (0.9, 0.8, 0.7):
            node = child(store, node, value)
        assert ids(store.frontier(strategy="stale")) == []


class TestUnderexplored:
    def test_of_those_that_may_be_the_best_the_ones_with_the_fewest_children(self, store):
        best = child(store, "@seed", *about(0.9))
        for _ in range(3):
            child(store, best)
        one = child(store, "@seed", *about(0.902))
        child(store, one)
        none = child(store, "@seed", *about(0.904))
        worse = child(store, "@seed", *about(1.5))
        ranking = store.frontier(strategy="underexplored")
        assert ids(ranking) == [none, one, best]
        assert worse not in ids(ranking)
        assert [row.score for row in ranking.nodes] == [0, 1, 3]
        assert [row.why for row in ranking.nodes] == [
            "may be as good as the best, and nobody has built on it",
            "may be as good as the best, and 1 built on it",
            "may be as good as the best, and 3 built on it",
        ]
        assert (ranking.measured, ranking.considered) == (4, 4)


class TestNearMisses:
    def test_lost_within_the_noise_and_touch_what_the_best_does_not(self, store):
        repeated(store, "@seed", *about(1.0))
        best = child(store, "@seed", *about(0.9), content=edited(LR=0.2))
        miss = child(store, "@seed", *about(1.004), content=edited(DEPTH=5))
        child(store, "@seed", *about(1.005), content=edited(LR=0.3))  # where the best is
        child(store, "@seed", *about(1.5), content=edited(WIDTH=1))  # no miss by little
        gain = child(store, best, *about(0.8), content=edited(LR=0.2, WIDTH=65))
        other = child(store, best, *about(0.902), content=edited(LR=0.2, DEPTH=7))
        ranking = store.frontier(strategy="near-miss")
        assert set(ids(ranking)) == {miss, other}
        assert gain not in ids(ranking)
        row = next(row for row in ranking.nodes if row.id == miss)
        assert 0 <= row.score <= SD
        assert row.why.startswith("lost 0.00")
        assert row.why.endswith("within one sd, and touches train.py:DEPTH, which the best does not")
        assert [row.score for row in ranking.nodes] == sorted(row.score for row in ranking.nodes)
        assert (ranking.measured, ranking.considered) == (7, 7)

    def test_nothing_was_measured_below_anything(self, store):
        child(store, "@seed", 1.0)
        assert ids(store.frontier(strategy="near-miss")) == []


class TestPromise:
    @pytest.fixture
    def parents(self, store):
        """Two that are equally good; of one the children improved, of the other they failed."""
        fertile, barren = child(store, "@seed", *about(1.0)), child(store, "@seed", *about(1.0))
        for at in range(8):
            child(store, fertile, 0.95 - at / 500)
            child(store, barren, 1.1 + at / 500)
        return fertile, barren

    def test_one_whose_children_improved_comes_before_one_whose_children_failed(self, store, parents):
        fertile, barren = parents
        for seed in range(10):
            found = ids(store.frontier(100, strategy="promise", seed=seed))
            assert found.index(fertile) < found.index(barren)

    def test_chance_is_an_argument(self, store, parents, dag):
        found = [store.frontier(strategy="promise", seed=seed) for seed in (1, 1, 2)]
        assert found[0] == found[1] != found[2]
        assert len({tuple(ids(store.frontier(strategy="promise", seed=seed))) for seed in range(5)}) > 1
        said = [dag("frontier", "--strategy", "promise", "--chance", chance, "--json")[1] for chance in (1, 1, 2)]
        assert said[0] == said[1] != said[2]
        assert [row["id"] for row in json.loads(said[0])["nodes"]] == list(map(str, ids(found[0])))

    def test_rows_say_what_is_hoped_for(self, store, parents):
        fertile, barren = parents
        rows = {row.id: row for row in store.frontier(100, strategy="promise").nodes}
        assert rows[fertile].why.startswith("8 of 8 below it improved; 10 more may bring it to ")
        assert rows[barren].why.startswith("0 of 8 below it improved; ")
        assert rows[fertile].score < rows[fertile].estimate
        scores = [row.score for row in rows.values()]
        assert scores == sorted(scores)

    def test_more_is_better(self, tmp_path):
        with make_store(tmp_path / "max", direction="maximize") as store:
            fertile, barren = child(store, "@seed", *about(1.0)), child(store, "@seed", *about(1.0))
            for at in range(8):
                child(store, fertile, 1.1 + at / 500)
                child(store, barren, 0.9 - at / 500)
            rows = list(store.frontier(100, strategy="promise", seed=3).nodes)
            found = [row.id for row in rows]
            assert found.index(fertile) < found.index(barren)
            assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)


class TestPareto:
    @pytest.fixture
    def points(self, store):
        """By (loss, memory, speed, seconds)."""
        table = {
            "light": (0.9, 1.0, 5.0, 30.0),
            "middle": (0.7, 5.0, 9.0, 20.0),
            "good": (0.5, 9.0, 1.0, 10.0),
            "beaten": (0.8, 6.0, 2.0, 25.0),
            "last": (0.95, 9.5, 0.5, 40.0),
        }
        return {
            name: child(store, "@seed", loss, metrics={"memory": memory, "speed": speed}, seconds=seconds)
            for name, (loss, memory, speed, seconds) in table.items()
        }

    def fronts(self, store, points, *axes):
        names = {node: name for name, node in points.items()}
        return [(names[row.id], row.score) for row in store.frontier(strategy="pareto", axes=axes).nodes]

    def test_by_metrics(self, store, points):
        found = self.fronts(store, points, "val_loss", "memory")
        assert found == [("good", 1), ("middle", 1), ("light", 1), ("beaten", 2), ("last", 3)]

    def test_where_more_is_better(self, store, points):
        found = self.fronts(store, points, "val_loss", "speed:max")
        assert found == [("good", 1), ("middle", 1), ("beaten", 2), ("light", 2), ("last", 3)]

    def test_by_seconds(self, store, points):
        found = self.fronts(store, points, "val_loss", "seconds")
        assert found == [("good", 1), ("middle", 2), ("beaten", 3), ("light", 4), ("last", 5)]

    def test_of_three_axes(self, store, points):
        found = dict(self.fronts(store, points, "memory", "seconds", "speed:max"))
        assert found == {"good": 1, "middle": 1, "light": 1, "beaten": 2, "last": 3}

    def test_by_the_size_of_the_diff_unless_told_otherwise(self, store):
        """The seed, which differs in nothing, is always in."""
        repeated(store, "@seed", 1.0)
        large = child(store, "@seed", 0.7, content=edited(LR=0.3, WIDTH=2, DEPTH=9))
        small = child(store, "@seed", 0.8, content=edited(LR=0.2))
        vain = child(store, "@seed", 0.9, content=edited(LR=0.2, WIDTH=1))
        ranking = store.frontier(strategy="pareto")
        assert [(row.id, row.score, row.axes["diff"]) for row in ranking.nodes] == [
            (large, 1, 6),
            (small, 1, 2),
            (store.resolve("@seed"), 1, 0),
            (vain, 2, 4),
        ]
        assert [row.axes["val_loss"] for row in ranking.nodes] == [0.7, 0.8, 1.0, 0.9]
        assert [row.why for row in ranking.nodes] == ["nothing is better on all axes"] * 3 + ["on front 2"]
        assert (ranking.measured, ranking.considered) == (4, 4)

    def test_of_equal_points_none_beats_the_other(self, store):
        pair = [child(store, "@seed", 0.5, metrics={"memory": 1.0}) for _ in range(2)]
        ranking = store.frontier(strategy="pareto", axes=("val_loss", "memory"))
        assert [(row.id, row.score) for row in ranking.nodes] == [(node, 1) for node in pair]

    def test_what_lacks_a_number_has_no_place(self, store, points):
        child(store, "@seed", 0.1)
        assert len(self.fronts(store, points, "val_loss", "memory")) == len(points)

    def test_only_runs_of_the_column_count(self, store, points):
        measure(store, points["good"], 0.5, metrics={"memory": 1000.0}, platform="gpu")
        measure(store, points["good"], None, Status.CRASHED, metrics={"memory": 1000.0}, seed=5)
        rows = store.frontier(strategy="pareto", axes=("val_loss", "memory"), platform="cpu").nodes
        assert rows[0].axes == {"val_loss": 0.5, "memory": 9.0}

    def test_an_axis_is_the_mean_of_the_runs(self, store):
        """Also at the end of the number line."""
        node = child(store, "@seed", 0.5, 0.5, metrics={"memory": 1.7e308})
        (row,) = store.frontier(strategy="pareto", axes=("val_loss", "memory", "seconds")).nodes
        assert (row.id, row.axes) == (node, {"val_loss": 0.5, "memory": 1.7e308, "seconds": 1.5})

    def test_the_command_shows_the_axes(self, points, dag):
        code, said, _ = dag("frontier", "--strategy", "pareto", "--axes", "val_loss, speed:max", "--json")
        first = json.loads(said)["nodes"][0]
        assert (code, first["axes"], first["score"]) == (0, {"val_loss": 0.5, "speed": 1.0}, 1)
        text = dag("frontier", "--strategy", "pareto", "--axes", "val_loss,speed:max")[1]
        assert "speed" in text
        assert "nothing is better on all axes" in text


points = st.dictionaries(st.integers(0, 99), st.tuples(*[st.integers(0, 4).map(float)] * 3), max_size=30)


class TestFronts:
    @given(points)
    def test_each_front_is_what_those_before_it_leave_undominated(self, points):
        numbers = fronts(points)
        assert numbers.keys() == points.keys()
        for key, number in numbers.items():
            beaten_by = [numbers[other] for other in points if _dominates(points[other], points[key])]
            assert number == 1 + max(beaten_by, default=0)

    @given(points)
    def test_the_first_is_exactly_what_is_not_dominated(self, points):
        first = {key for key, number in fronts(points).items() if number == 1}
        assert first == {key for key in points if not any(_dominates(points[other], points[key]) for other in points)}

    @given(points, st.permutations([0, 1, 2]))
    def test_the_order_of_axes_does_not_matter(self, points, order):
        turned = {key: tuple(point[axis] for axis in order) for key, point in points.items()}
        assert fronts(turned) == fronts(points)

    def test_axes(self):
        assert parse_axes(("loss", "diff"), "loss", largest=False) == (Axis("loss"), Axis("diff"))
        assert parse_axes(("acc", "mem"), "acc", largest=True) == (Axis("acc", True), Axis("mem"))
        assert parse_axes(("acc:min", "a:b:max"), "acc", largest=True) == (Axis("acc"), Axis("a:b", True))
        assert parse_axes(("eval:x", "diff"), "loss", largest=False) == (Axis("eval:x"), Axis("diff"))

    @pytest.mark.parametrize("texts", [("loss",), ("loss", "loss"), ("loss", "loss:max"), ("loss", ":max"), ("", "a")])
    def test_no_axes(self, texts):
        with pytest.raises(BadInput) as caught:
            parse_axes(texts, "loss", largest=False)
        assert caught.value.hint


def _dominates(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


class TestAnyStrategy:
    @pytest.fixture
    def family(self, store):
        repeated(store, "@seed", *about(1.0))
        best = child(store, "@seed", *about(0.9), content=edited(LR=0.2))
        child(store, "@seed", *about(0.95), content=edited(LR=0.3))
        child(store, "@seed", *about(1.003), content=edited(DEPTH=5))
        child(store, best, 0.905, content=edited(LR=0.2, WIDTH=3))
        return best

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_every_row_says_why_and_by_what(self, store, family, strategy, dag):
        ranking = store.frontier(strategy=strategy)
        assert ranking.strategy == strategy
        assert ranking.nodes
        assert all(row.why for row in ranking.nodes)
        assert [row.rank for row in ranking.nodes] == list(range(1, len(ranking.nodes) + 1))
        assert len(set(ids(ranking))) == len(ranking.nodes)
        assert (ranking.measured, ranking.platform, ranking.noise.n) == (5, "cpu", 12)
        assert 0 < ranking.considered <= 5
        assert not ranking.nodes[0].tied
        assert ids(store.frontier(1, strategy=strategy)) == ids(ranking)[:1]
        assert store.frontier(0, strategy=strategy).nodes == ()
        code, said, _ = dag("frontier", "--strategy", strategy, "--json")
        answer = json.loads(said)
        assert (code, [row["id"] for row in answer["nodes"]]) == (0, list(map(str, ids(ranking))))
        assert {"why", "tied", "score", "axes", "mean"} <= answer["nodes"][0].keys()
        code, text, _ = dag("frontier", "--strategy", strategy)
        assert code == 0
        assert (ranking.nodes[0].why in text) is (strategy not in STRATEGIES[:3])

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_nothing_was_measured(self, store, strategy, dag):
        assert (store.frontier(strategy=strategy).nodes, store.frontier(strategy=strategy).measured) == ((), 0)
        code, said, _ = dag("frontier", "--strategy", strategy)
        assert (code, said.splitlines()[-1]) == (0, "nothing was measured yet")

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_one_run_in_all(self, store, strategy):
        repeated(store, "@seed", 1.0)
        assert all(row.why and row.estimate == 1.0 for row in store.frontier(strategy=strategy).nodes)


class TestWrongUse:
    def test_python(self, store):
        for wrong in ({"strategy": "luck"}, {"strategy": "promise", "metric": "speed"}, {"axes": ("val_loss", "diff")}):
            with pytest.raises(BadInput) as caught:
                store.frontier(**wrong)
            assert caught.value.hint
        with pytest.raises(BadInput):
            store.frontier(-1)

    @pytest.mark.parametrize(
        ("words", "code", "named"),
        [
            (("--strategy", "luck"), 2, "usage"),
            (("--all", "--strategy", "pareto"), 2, "usage"),
            (("--all", "--axes", "val_loss,diff"), 2, "usage"),
            (("--strategy", "promise", "--chance", "x"), 2, "usage"),
            (("--strategy", "promise", "--metric", "speed"), 4, "bad_input"),
            (("--axes", "val_loss,diff"), 4, "bad_input"),
            (("--strategy", "pareto", "--axes", "val_loss"), 4, "bad_input"),
            (("--strategy", "pareto", "--axes", "val_loss,:max"), 4, "bad_input"),
            (("--strategy", "pareto", "--axes", "val_loss,nosuch"), 3, "not_found"),
        ],
    )
    def test_command(self, store, dag, words, code, named):
        repeated(store, "@seed", 1.0)
        found, said, complaint = dag("frontier", *words, "--json")
        assert (found, said, json.loads(complaint)["code"]) == (code, "", named)
        assert json.loads(complaint)["hint"]

    def test_an_axis_that_nobody_reports_names_the_axes(self, store):
        repeated(store, "@seed", 1.0)
        with pytest.raises(NotFound, match="val_loss, nosuch"):
            store.frontier(strategy="pareto", axes=("val_loss", "nosuch"))
