"""What is left of the best: the repeats that tell the top apart, and the history of new bests."""

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore import Status
from dagstore.allocation import Arm, allocate, beaten, selected
from dagstore.bests import Standing
from dagstore.confirming import CONFIRM
from dagstore.errors import BadInput, NotFound
from dagstore.testing.builders import START, make_run, make_store, measure

SD = 0.01
SPREAD = (-SD, 0.0, SD)
"""Three repeats with this spread have the standard deviation `SD`."""
FAR = Arm(100.0, 1.0)


@pytest.fixture
def store(tmp_path):
    with make_store(tmp_path) as made:
        yield made


class Hour:
    """Runs one after another, an hour apart."""

    def __init__(self, store):
        self.store, self.runs = store, 0

    def __call__(self, node, *values, seconds=60.0):
        for value in values:
            self.runs += 1
            run, protocol = make_run(self.store, node, value, seed=self.runs)
            when = int(START + 3600 * self.runs) * 1000
            self.store.add_run(run._replace(started=when, seconds=seconds), protocol, {})
        return node


@pytest.fixture
def ran(store):
    return Hour(store)


def child(store, parent="@seed"):
    with store.batch() as batch:
        return batch.record([parent], {"train.py": f"X = {store.count()}\n".encode()}, why="a change")


def about(value, spread=SPREAD):
    return [value + off for off in spread]


def taken(store):
    """Every ticket, as a trainer takes them."""
    while (one := store.take("worker", 60)) is not None:
        yield one.ticket


arms = st.lists(st.builds(Arm, st.floats(0, 10), st.floats(0.01, 4)), min_size=1, max_size=6).map(
    lambda found: [Arm(0.0, found[0].var), *found[1:]]
)


class TestAllocation:
    def test_nothing_is_repeated_where_one_is_clearly_the_best(self):
        found = allocate([Arm(0.0, 1.0), FAR, FAR], 1.0, 10, 0.95)
        assert found.repeats == (0, 0, 0)
        assert found.before == found.after > 0.99

    def test_all_goes_to_the_two_that_are_close(self):
        found = allocate([Arm(0.0, 1.0), Arm(0.5, 1.0), FAR, FAR], 1.0, 8, 0.95)
        assert found.repeats == (4, 4, 0, 0)
        assert found.after > found.before

    def test_of_two_that_are_close_the_less_certain_gets_more(self):
        found = allocate([Arm(0.0, 0.05), Arm(0.5, 1.0)], 1.0, 3, 0.95)
        assert found.repeats == (0, 3)

    def test_it_ends_when_enough_is_known(self):
        found = allocate([Arm(0.0, 1.0), Arm(2.0, 1.0)], 1.0, 1000, 0.95)
        assert 0 < sum(found.repeats) < 10
        assert found.after >= 0.95

    def test_repeats_that_always_give_the_same_tell_nothing(self):
        assert allocate([Arm(0.0, 0.0), Arm(0.0, 0.0)], 0.0, 10, 0.95) == ((0, 0), 0.5, 0.5)
        assert allocate([Arm(0.0, 0.0), Arm(0.1, 0.0)], 0.0, 10, 0.95) == ((0, 0), 1.0, 1.0)

    @given(arms, st.floats(0.1, 3), st.integers(0, 12))
    def test_laws(self, arms, noise, budget):
        found = allocate(arms, noise, budget, 0.95)
        assert len(found.repeats) == len(arms)
        assert all(count >= 0 for count in found.repeats)
        assert sum(found.repeats) <= budget
        assert 0 <= found.before <= found.after <= 1
        assert found.before == selected(arms)
        assert sum(found.repeats) == 0 or found.before < 0.95
        assert found.after >= 0.95 or sum(found.repeats) == budget

    @given(arms, st.floats(0.1, 3), st.integers(0, 8), st.integers(0, 8))
    def test_a_larger_budget_goes_on_where_a_smaller_ended(self, arms, noise, budget, more):
        small, large = (allocate(arms, noise, size, 0.95) for size in (budget, budget + more))
        assert all(one <= other for one, other in zip(small.repeats, large.repeats, strict=True))
        assert small.after <= large.after

    @given(st.floats(-10, 10), st.floats(0, 4), st.floats(0, 4))
    def test_one_beats_the_other_or_is_beaten(self, gap, var, other):
        one, two = Arm(0.0, var), Arm(gap, other)
        assert beaten(one, two) + beaten(two, one) == pytest.approx(1.0)
        assert beaten(one, two) == pytest.approx(0.5) or (beaten(one, two) < 0.5) is (gap > 0)


class TestConfirm:
    @pytest.fixture
    def top(self, store, ran):
        """Two that are close, and one far behind."""
        ran("@seed", *about(1.0))
        first, near, far = (child(store) for _ in range(3))
        ran(first, *about(0.900))
        ran(near, *about(0.904))
        ran(far, *about(0.99))
        return first, near, far

    def test_it_queues_what_a_trainer_takes(self, store, top):
        first, near, far = top
        found = store.confirm(agent="ann")
        repeats = {row.id: row.repeats for row in found.nodes}
        assert (repeats[far], repeats[store.resolve("@seed")]) == (0, 0)
        assert repeats[first] + repeats[near] == found.repeats > 0
        assert sum(repeats.values()) == len(found.queued)
        assert 0.5 < found.before < 0.95
        assert found.before < found.after <= 1.0
        assert found.seconds == pytest.approx(60.0 * found.repeats)
        assert [row.ahead is None for row in found.nodes] == [True, False, False, False]
        assert found.nodes[1].ahead == pytest.approx(1 - found.before, abs=0.01)
        tickets = list(taken(store))
        assert {ticket.agent for ticket in tickets} == {"ann"}
        counts = Counter(ticket.node for ticket in tickets)
        assert counts == {node: repeats[node] for node in (first, near) if repeats[node]}

    def test_once_more_queues_nothing_more(self, store, top):
        found = store.confirm()
        again = store.confirm()
        assert again.queued == ()
        assert (again.repeats, again.before) == (found.repeats, found.before)
        assert len(list(taken(store))) == found.repeats

    def test_a_plan_queues_nothing(self, store, top):
        plan = store.confirm(dry_run=True)
        assert plan.repeats > 0
        assert plan.queued == ()
        assert store.take("worker", 60) is None

    @pytest.mark.parametrize("budget", [1, 2, 3])
    def test_at_most_the_budget(self, store, top, budget):
        assert store.confirm(budget=budget).repeats == budget

    def test_only_the_top_is_told_apart(self, store, top):
        assert [row.id for row in store.confirm(2, dry_run=True).nodes] == list(top[:2])

    def test_repeats_make_it_surer(self, store, ran, top):
        before = store.confirm(dry_run=True).before
        ran(top[0], *about(0.9), *about(0.9), *about(0.9))
        ran(top[1], *about(0.904), *about(0.904), *about(0.904))
        assert store.confirm(dry_run=True).before > before

    def test_nothing_to_repeat_where_one_is_clearly_the_best(self, store, ran, dag):
        ran("@seed", *about(1.0))
        ran(child(store), *about(0.5))
        found = store.confirm()
        assert (found.repeats, found.queued, found.seconds) == (0, (), 0.0)
        assert found.before > 0.99
        code, said, _ = dag("confirm")
        assert (code, said.splitlines()[-1]) == (0, "the first is the best of these with 100%: nothing to repeat")

    def test_where_nothing_was_repeated_the_first_three_are_once(self, store, ran, dag):
        nodes = [ran(child(store), 0.5 + at / 10) for at in range(5)]
        found = store.confirm(5)
        assert [row.repeats for row in found.nodes] == [1, 1, 1, 0, 0]
        assert [ticket.node for ticket in found.queued] == nodes[:3]
        assert (found.before, found.after, [row.ahead for row in found.nodes]) == (None, None, [None] * 5)
        assert store.confirm(5, budget=2, dry_run=True).repeats == 2
        code, said, _ = dag("confirm", "--dry-run")
        assert code == 0
        assert "3 repeats would take about 3 min" in said
        assert "tell how far measurements of the same files lie apart" in said

    def test_repeats_that_always_give_the_same_are_not_made(self, store, ran):
        for _ in range(2):
            ran(child(store), 0.5, 0.5, 0.5)
        found = store.confirm()
        assert (found.repeats, found.before) == (0, 0.5)

    def test_where_more_is_better(self, tmp_path):
        with make_store(tmp_path / "max", direction="maximize") as store:
            ran = Hour(store)
            good, near, bad = (ran(child(store), *about(value)) for value in (0.9, 0.896, 0.8))
            found = store.confirm()
            assert [row.id for row in found.nodes] == [good, near, bad]
            assert [row.repeats > 0 for row in found.nodes] == [True, True, False]

    def test_wrong_use(self, store, dag):
        with pytest.raises(NotFound) as caught:
            store.confirm()
        assert caught.value.hint
        measure(store, "@seed", 1.0)
        for wrong in ({"top": 1}, {"budget": 0}, {"budget": 10_001}):
            with pytest.raises(BadInput):
                store.confirm(**wrong)
        for words in (("--top", "1"), ("--budget", "0")):
            code, said, complaint = dag("confirm", *words, "--json")
            assert (code, said, json.loads(complaint)["code"]) == (2, "", "usage")
        code, _, complaint = dag("confirm", "--platform", "nowhere", "--json")
        assert (code, json.loads(complaint)["code"]) == (3, "not_found")

    def test_json_contract(self, top, dag):
        code, said, _ = dag("confirm", "--json")
        answer = json.loads(said)
        assert code == 0
        assert {"metric", "platform", "noise", "before", "after", "repeats", "seconds", "nodes", "queued"} == set(
            answer
        )
        assert set(answer["nodes"][0]) == {
            *("id", "short", "estimate", "low", "high", "runs", "ahead", "repeats", "message")
        }
        assert len(answer["queued"]) == answer["repeats"] == sum(node["repeats"] for node in answer["nodes"])
        assert {ticket["node"] for ticket in answer["queued"]} <= {str(node) for node in top[:2]}
        code, said, _ = dag("confirm", "--json")
        assert json.loads(said)["queued"] == []

    def test_text(self, top, dag):
        code, said, _ = dag("confirm", "--dry-run")
        assert code == 0
        assert said.startswith("noise: sd 0.01, from 12 repeated runs\n")
        assert "would take about" in said
        assert "% sure now" in said
        assert "dag train" not in said
        assert "new in line: dag train runs them" in dag("confirm")[1]


class TestRecords:
    def standings(self, store):
        return [(one.node, one.standing) for one in store.records().records]

    def test_what_the_noise_leaves_of_each(self, store, ran):
        seed = store.resolve("@seed")
        ran(seed, 1.0)
        large, small, lucky, held = (child(store) for _ in range(4))
        ran(large, 0.9)
        ran(small, 0.895)
        ran(lucky, 0.88)
        ran(held, 0.85)
        ran(lucky, *about(0.95))
        ran(held, 0.851, 0.855, 0.859)
        ran(child(store), 0.99)
        assert self.standings(store) == [
            (seed, Standing.FIRST),
            (large, Standing.CONFIRMED),
            (small, Standing.WITHIN),
            (lucky, Standing.REFUTED),
            (held, Standing.CONFIRMED),
        ]
        found = store.records()
        assert [found.count(one) for one in Standing] == [1, 2, 1, 1, 0]
        assert [one.gain for one in found.records] == pytest.approx([None, 0.1, 0.005, 0.015, 0.03])
        assert [one.previous for one in found.records] == [None, seed, large, small, lucky]
        assert [one.runs for one in found.records] == [1, 1, 1, 4, 4]
        assert found.records[3].mean == pytest.approx((0.88 + 3 * 0.95) / 4)
        assert [one.time for one in found.records] == sorted(one.time for one in found.records)

    def test_a_repeat_of_the_best_itself_is_no_new_best(self, store, ran):
        ran("@seed", *about(1.0))
        best = child(store)
        ran(best, 0.9, 0.899)
        *_, one, again = store.records().records
        assert (one.node, one.standing) == (best, Standing.CONFIRMED)
        assert (again.node, again.standing, again.previous) == (best, Standing.REFUTED, best)

    def test_a_small_gain_that_repeats_bear_out(self, store, ran):
        """And one that they leave open."""
        ran("@seed", *about(1.0, SPREAD * 8))
        small, open_ = child(store), child(store)
        ran(small, 0.977, *about(0.988, SPREAD * 8))
        ran(open_, 0.970, *about(0.986))
        found = {one.node: one for one in store.records().records}
        assert not found[small].beyond
        assert found[small].standing is Standing.CONFIRMED
        assert found[open_].standing is Standing.WITHIN

    def test_equal_numbers_are_no_new_best(self, store, ran):
        ran("@seed", 1.0)
        ran(child(store), 1.0)
        ran(child(store), 1.0)
        assert len(store.records().records) == 1

    def test_they_come_in_the_order_in_which_runs_ended(self, store):
        """Not in that in which they were recorded or began."""
        late, early = child(store), child(store)
        for node, value, started, seconds in ((late, 0.8, 0, 900.0), (early, 0.9, 60, 60.0)):
            run, protocol = make_run(store, node, value)
            store.add_run(run._replace(started=int(START + started) * 1000, seconds=seconds), protocol, {})
        assert [one.node for one in store.records().records] == [early, late]

    def test_nothing_is_known_of_the_noise(self, store, ran):
        a, b = child(store), child(store)
        ran(a, 1.0)
        ran(b, 0.9)
        assert self.standings(store) == [(a, Standing.FIRST), (b, Standing.UNTOLD)]
        assert not store.records().records[1].beyond

    def test_noise_that_is_assumed_counts(self, store, ran):
        ran("@seed", 1.0)
        ran(child(store), 0.9)
        found = store.records()
        assert found.noise.assumed > 0
        assert found.records[1].standing in {Standing.CONFIRMED, Standing.WITHIN}

    def test_where_more_is_better(self, tmp_path):
        with make_store(tmp_path / "max", direction="maximize") as store:
            ran = Hour(store)
            ran("@seed", *about(0.5))
            better, worse = child(store), child(store)
            ran(better, 0.6)
            ran(worse, 0.4)
            assert [(one.node, one.standing) for one in store.records().records][-1] == (better, Standing.CONFIRMED)
            assert worse not in [one.node for one in store.records().records]

    def test_only_runs_that_count(self, store, ran):
        ran("@seed", 1.0)
        measure(store, "@seed", 0.1, Status.CRASHED, seed=50)
        measure(store, "@seed", 0.2, platform="gpu", seed=51)
        measure(store, "@seed", 0.9, seed=52)
        found = store.records(platform="cpu")
        assert {one.value for one in found.records} <= {1.0, 0.9}
        assert [one.value for one in store.records(platform="gpu").records] == [0.2]

    def test_nothing_was_measured(self, store, dag):
        found = store.records()
        assert (found.records, found.metric, found.protocol) == ((), "val_loss", None)
        assert dag("records")[:2] == (0, "val_loss (minimize), platform any\nnothing was measured yet\n")

    def test_json_contract(self, store, ran, dag):
        ran("@seed", *about(1.0))
        best = ran(child(store), 0.5)
        answer = json.loads(dag("records", "--json")[1])
        assert set(answer) == {"metric", "direction", "protocol", "platform", "noise", "records"}
        assert (answer["noise"]["n"], answer["platform"]) == (3, "cpu")
        last = answer["records"][-1]
        assert set(last) == {
            *("run", "node", "short", "time", "agent", "message", "value", "gain", "previous"),
            *("beyond", "standing", "runs", "mean"),
        }
        assert (last["node"], last["standing"], last["beyond"]) == (str(best), "confirmed", True)
        assert math.isclose(last["gain"], 0.49)
        assert answer["records"][0]["gain"] is answer["records"][0]["previous"] is None

    def test_text(self, store, ran, dag):
        ran("@seed", *about(1.0))
        ran(child(store), 0.5)
        ran(child(store), 0.495)
        said = dag("records")[1].splitlines()
        assert said[0] == "val_loss (minimize), platform cpu"
        assert said[1] == "noise: sd 0.01, from 3 repeated runs"
        assert said[2].split() == ["id", "value", "gain", "standing", "runs", "mean", "age", "message"]
        assert said[-1] == "3 records: 1 first, 1 confirmed, 1 within the noise"


def test_confirmations_go_before_what_is_only_tried_out_unless_told_otherwise(store, ran):
    nodes = [ran(child(store), 1.0 + number / 10) for number in range(3)]
    (tried,) = store.queue([child(store)])
    asked = store.confirm(3, budget=3).queued
    assert {ticket.priority for ticket in asked} == {CONFIRM}
    assert [store.take("worker", 60).ticket.node for _ in range(4)] == [*nodes, tried.node]
    for ticket in store.tickets():
        store.end(ticket.number)
    later = store.confirm(3, budget=3, priority=0).queued
    assert {ticket.priority for ticket in later} == {0}
