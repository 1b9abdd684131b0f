"""What single edits are worth: checked by simulation with known truth, and by laws that no data may break."""

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dagstore.additive import EXACT, Additive, Trial
from dagstore.rank import MAX

PARENTS = 20


def simulated(seed, *, nodes, edits, sd=1.0, spread=1.0, surplus: Callable[[frozenset[int]], float] = lambda _: 0.0):
    """The true effects, and trials of trees measured once to four times; some share parents, some are parents."""
    random = Random(seed)
    truth = [random.gauss(0, spread) for _ in range(edits)]
    runs, errors = {}, {}

    def error(tree):
        if tree not in errors:
            runs[tree] = random.choice((1, 1, 2, 4))
            errors[tree] = random.gauss(0, sd / math.sqrt(runs[tree]))
        return errors[tree]

    trials = []
    for number in range(nodes):
        tree = PARENTS + number
        base = random.randrange(PARENTS) if random.random() < 0.6 else random.randrange(tree)
        some = frozenset(random.sample(range(edits), random.randint(1, 3)))
        gain = sum(truth[edit] for edit in some) + surplus(some) + error(tree) - error(base)
        trials.append(Trial(gain, some, tree, base, runs[tree], runs[base]))
    return truth, trials


@pytest.mark.parametrize(
    ("nodes", "edits", "spread", "seeds"),
    [(50, 250, 1.0, 60), (100, 100, 1.0, 40), (200, 60, 0.5, 25), (200, 60, 2.0, 25), (600, 400, 1.0, 4)],
)
def test_ninety_percent_intervals_hold_the_truth_about_as_often(nodes, edits, spread, seeds):
    held = total = 0
    for seed in range(seeds):
        truth, trials = simulated(seed, nodes=nodes, edits=edits, spread=spread)
        effects = Additive(trials, 1.0).effects()
        held += sum(it.low <= truth[edit] <= it.high for edit, it in effects.items())
        total += len(effects)
    assert 0.87 <= held / total <= 0.93


def test_planted_interactions_are_found_and_others_about_as_often_as_chance_has_it():
    found = wrong = others = 0
    for seed in range(12):
        planted = {(0, 1): 4.0, (2, 3): -4.0}

        def surplus(some, planted=planted):
            return sum(value for pair, value in planted.items() if some.issuperset(pair))

        _, trials = simulated(seed, nodes=400, edits=12, sd=0.5, surplus=surplus)
        model = Additive(trials, 0.5)
        for pair in model.pairs():
            it = model.interaction(*pair)
            told = not it.low <= 0 <= it.high
            if pair in planted:
                found += told and it.low <= planted[pair] <= it.high
            elif not set(pair) & {0, 1, 2, 3}:
                wrong += told
                others += 1
    assert found >= 0.7 * 24, "90 % intervals that exclude zero and hold the truth"
    assert 0.03 <= wrong / others <= 0.17


def test_without_interactions_false_alarms_come_at_the_stated_rate():
    told = asked = 0
    for seed in range(15):
        _, trials = simulated(seed, nodes=150, edits=40)
        model = Additive(trials, 1.0)
        for pair, _ in zip(model.pairs(), range(100), strict=False):
            it = model.interaction(*pair)
            told += not it.low <= 0 <= it.high
            asked += 1
    assert asked > 1000
    assert 0.06 <= told / asked <= 0.14


def test_an_edit_that_was_repeated_is_told_better_than_one_that_was_not():
    trials = [Trial(1.0, frozenset([0]), 10 + at, at, 1, 1) for at in range(8)]
    effects = Additive([*trials, Trial(1.0, frozenset([1]), 30, 31, 1, 1)], 0.5).effects()
    assert effects[0].high - effects[0].low < effects[1].high - effects[1].low
    assert 0 < effects[1].mean < effects[0].mean < 1


def test_siblings_do_not_count_the_error_of_their_parent_twice():
    def width(bases):
        trials = [Trial(1.0, frozenset([0]), 10 + at, base, 1, 1) for at, base in enumerate(bases)]
        it = Additive([*trials, Trial(-1.0, frozenset([1]), 30, 31, 1, 1)], 0.5).effects()[0]
        return it.high - it.low

    assert width([0, 0, 0, 0]) > width([0, 1, 2, 3])


def test_a_sum_of_edits_that_always_came_together_is_known_better_than_each():
    model = Additive([Trial(2.0, frozenset([0, 1]), 1, 0, 4, 4), Trial(-1.0, frozenset([2]), 2, 0, 4, 4)], 0.1)
    effects, total = model.effects(), model.total([0, 1])
    assert effects[0] == effects[1]
    assert total.mean == pytest.approx(effects[0].mean + effects[1].mean)
    assert total.high - total.low < effects[0].high - effects[0].low


def test_edits_that_nothing_connects_have_the_textbook_posterior():
    trials = [Trial(gain, frozenset([at]), 2 * at + 1, 2 * at, 1, 1) for at, gain in enumerate((3.0, -2.0, 0.5))]
    model = Additive(trials, 1.0)
    for at, trial in enumerate(trials):
        shrunk = model.effects()[at].mean / trial.gain
        assert 0 < shrunk < 1
    if len(model._spreads) == 1:
        assert shrunk == pytest.approx(model.spread**2 / (model.spread**2 + 2))


def test_pairs_are_those_that_occur_together_and_apart():
    sets = [{0, 1}, {0}, {1}, {2, 3}, {2}, {4}]
    trials = [Trial(1.0, frozenset(some), 10 + at, at, 1, 1) for at, some in enumerate(sets)]
    assert list(Additive(trials, 1.0).pairs()) == [(0, 1)]
    assert list(Additive([], 1.0).pairs()) == []
    assert Additive([], 0.0).effects() == {}


GAINS = st.floats(-MAX, MAX)
TRIALS = st.lists(
    st.tuples(GAINS, st.frozensets(st.integers(0, 5), min_size=1), st.integers(0, 9), st.integers(1, 4)), max_size=12
)


def test_what_diverged_beyond_all_measure_leaves_the_other_effects_as_they_are():
    trials = [Trial(gain, frozenset([at]), 100 + at, 0, 1, 1) for at, gain in enumerate([4e11, 3e11, -2e11, 0.0])]
    alone = Additive(trials, 1e10).effects()
    beside = Additive([*trials, Trial(1e170, frozenset([9]), 200, 0, 1, 1)], 1e10).effects()
    assert all(beside[edit].mean == pytest.approx(alone[edit].mean, abs=1e10) for edit in alone)


@given(TRIALS, st.one_of(st.just(0.0), st.floats(0, MAX)))
@example(
    [
        (0.0, frozenset([0]), 0, 1),
        (4.6e11, frozenset([0]), 0, 1),
        (0.0, frozenset([0]), 0, 1),
        (1.7e170, frozenset([0]), 0, 1),
    ],
    0.0,
)
@example(
    [
        (0.0, frozenset([0]), 0, 1),
        (2.4e9, frozenset([0]), 0, 1),
        (0.0, frozenset([0]), 0, 1),
        (6.5e170, frozenset([0]), 0, 1),
    ],
    0.0,
)
def test_whatever_was_measured_all_numbers_are_finite(given_trials, sd):
    trials = [
        Trial(gain, edits, 100 + at, base, runs, 1 + base % 4)
        for at, (gain, edits, base, runs) in enumerate(given_trials)
    ]
    model = Additive(trials, sd)
    numbers = [*model.effects().values(), *(model.interaction(*pair) for pair in model.pairs())]
    assert all(map(math.isfinite, (number for one in numbers for number in one)))
    assert all(one.low <= one.mean <= one.high for one in numbers)
    assert math.isfinite(model.spread)


@given(st.lists(st.tuples(st.floats(-10, 10), st.frozensets(st.integers(0, 5), min_size=1)), min_size=1, max_size=12))
def test_a_metric_that_counts_the_other_way_gives_the_opposite(rows):
    def effects(sign):
        trials = [Trial(sign * gain, edits, 100 + at, at, 1, 1) for at, (gain, edits) in enumerate(rows)]
        return Additive(trials, 1.0).effects()

    there, back = effects(1), effects(-1)
    assert all(it.mean == pytest.approx(-back[edit].mean, abs=1e-9) for edit, it in there.items())


def test_a_large_web_of_edits_is_judged_piece_by_piece():
    truth, trials = simulated(3, nodes=10 * EXACT, edits=EXACT)
    effects = Additive(trials, 1.0).effects()
    error = sum((effects[edit].mean - truth[edit]) ** 2 for edit in effects) / len(effects)
    assert error < 0.2, "of a variance of 1"
