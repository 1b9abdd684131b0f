"""The arithmetic of gains: against simulated measurements, in any order, at the edges of the number line."""

import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.gains import (
    Gain,
    Place,
    Scale,
    Verdict,
    against_parent,
    against_sum,
    combined,
    over,
    place,
)
from dagstore.model import Direction
from dagstore.rank import MAX, Z90, Moments, Noise

NODE, PRIMARY, SEED, ONE, OTHER = 5, 4, 1, 2, 3
finite = st.floats(allow_nan=False, allow_infinity=False)
trees = st.integers(1, 8)


def scale(measured, sd=0.1, direction=Direction.MAXIMIZE):
    """Of trees with (mean, runs)."""
    moments = {tree: Moments(n, mean, 0.0) for tree, (mean, n) in measured.items()}
    return Scale(lambda tree: moments.get(tree, Moments()), Noise(sd, 9), direction)


def test_a_gain_is_positive_where_better_in_either_direction():
    measured = {ONE: (0.75, 1), SEED: (0.5, 1)}
    assert scale(measured).gain(over(ONE, SEED)).gain == 0.25
    assert scale(measured, direction=Direction.MINIMIZE).gain(over(ONE, SEED)).gain == -0.25


def test_the_error_of_a_base_that_gains_share_counts_as_often_as_it_is_made():
    both = combined([over(ONE, SEED), over(OTHER, SEED)])
    assert both == {ONE: 1, OTHER: 1, SEED: -2}
    found = scale({ONE: (3.0, 1), OTHER: (5.0, 2), SEED: (1.0, 4)}, sd=0.5).gain(both)
    assert found.gain == 6.0
    assert found.high - found.gain == pytest.approx(Z90 * 0.5 * math.sqrt(1 + 1 / 2 + 4 / 4))


def test_what_cancels_needs_no_measurement_and_has_no_error():
    assert combined([over(NODE, PRIMARY)], [over(ONE, PRIMARY)]) == {NODE: 1, ONE: -1}
    assert over(NODE, NODE) == {}
    assert scale({}, sd=None).gain({}) == Gain(0.0, 0.0, 0.0)


def test_a_gain_is_unknown_where_anything_was_not_measured():
    known = scale({ONE: (1.0, 1)})
    assert known.gain(over(ONE, SEED)) is None
    assert known.missing(over(ONE, SEED)) == [SEED]


def test_without_repeated_runs_there_is_no_interval():
    assert scale({ONE: (1.0, 1), SEED: (2.0, 1)}, sd=None).gain(over(ONE, SEED)) == Gain(-1.0, None, None)


@pytest.mark.parametrize("direction", Direction)
def test_intervals_hold_the_truth_in_nine_of_ten_simulated_questions(direction):
    """A sum of two gains over one base, less a gain that shares it: measured anew, with noise, four thousand times."""
    random = Random(7)
    truth = {NODE: 1.9, PRIMARY: 1.1, SEED: 1.0, ONE: 1.2, OTHER: 1.4}
    runs = {NODE: 1, PRIMARY: 3, SEED: 2, ONE: 5, OTHER: 1}
    asked = combined([over(NODE, PRIMARY)], [over(ONE, SEED), over(OTHER, SEED)])
    real = sum(factor * truth[tree] for tree, factor in asked.items()) * (1 if direction is Direction.MAXIMIZE else -1)
    inside, trials = 0, 4000
    for _ in range(trials):
        means = {tree: (sum(random.gauss(truth[tree], 0.2) for _ in range(n)) / n, n) for tree, n in runs.items()}
        found = scale(means, sd=0.2, direction=direction).gain(asked)
        inside += found.low <= real <= found.high
    assert inside / trials == pytest.approx(0.9, abs=0.015)


@given(st.lists(st.tuples(trees, trees), max_size=6), st.lists(finite, min_size=8, max_size=8), st.randoms())
def test_the_order_of_donors_never_shows(pairs, means, random):
    known = scale({tree: (means[tree - 1], tree) for tree in range(1, 9)})
    shuffled = random.sample(pairs, len(pairs))
    one, other = (known.gain(combined(over(*pair) for pair in order)) for order in (pairs, shuffled))
    assert one == other


@given(st.lists(st.tuples(trees, trees), max_size=6), st.lists(finite, min_size=8, max_size=8), st.floats(0, 1e154))
def test_gains_are_finite_and_turn_with_the_direction(pairs, means, sd):
    measured = {tree: (means[tree - 1], tree) for tree in range(1, 9)}
    asked = combined(over(*pair) for pair in pairs)
    up, down = (scale(measured, sd, direction).gain(asked) for direction in (Direction.MAXIMIZE, Direction.MINIMIZE))
    assert all(math.isfinite(number) for number in (*up, *down))
    assert up.low <= up.gain <= up.high
    assert (up.gain, up.low, up.high) == (-down.gain, -down.high, -down.low)


@given(st.lists(st.tuples(trees, trees), max_size=6), st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8))
def test_a_sum_of_gains_is_the_sum_of_their_numbers(pairs, means):
    exact = sum(Fraction(means[new - 1]) - Fraction(means[old - 1]) for new, old in pairs)
    found = scale({tree: (means[tree - 1], 1) for tree in range(1, 9)}).gain(combined(over(*pair) for pair in pairs))
    assert found.gain == pytest.approx(float(exact), rel=1e-12, abs=1e-6)


def test_what_does_not_fit_a_number_is_the_largest_one():
    assert scale({ONE: (MAX, 1), SEED: (-MAX, 1)}).gain(over(ONE, SEED)).gain == MAX


def test_the_rounding_of_decimals_is_no_difference():
    """0.1 + 0.2 is not 0.3; measured without any noise, that must not look like a finding."""
    measured = {NODE: (0.6, 1), PRIMARY: (0.9, 1), SEED: (1.0, 1), ONE: (0.8, 1), OTHER: (0.9, 1)}
    whole = combined([over(NODE, PRIMARY)], [over(ONE, SEED), over(OTHER, SEED)])
    assert 0.6 - 0.9 - (0.8 - 1.0) - (0.9 - 1.0) != 0
    assert scale(measured, sd=0.0).gain(whole) == Gain(0.0, 0.0, 0.0)
    assert scale({ONE: (1.0 + 1e-9, 1), SEED: (1.0, 1)}).gain(over(ONE, SEED)).gain == pytest.approx(1e-9)


@pytest.mark.parametrize(
    ("difference", "expected", "verdict"),
    [
        (Gain(0.0, None, None), 1.0, Verdict.UNTOLD),
        (Gain(0.1, -0.2, 0.4), 1.0, Verdict.ADDS_UP),
        (Gain(-0.5, -0.7, -0.3), 1.0, Verdict.LESS),
        (Gain(0.5, 0.3, 0.7), 1.0, Verdict.MORE),
        (Gain(0.1, -1.2, 1.4), 1.0, Verdict.UNTOLD),  # it could as well be that nothing came
        (Gain(0.1, -1.2, 1.4), -1.3, Verdict.UNTOLD),
        (Gain(0.1, -0.2, 0.4), -1.0, Verdict.ADDS_UP),
        (Gain(0.0, 0.0, 0.0), 0.0, Verdict.ADDS_UP),
        (Gain(0.0, -0.1, 0.1), 0.0, Verdict.UNTOLD),
    ],
)
def test_what_a_difference_from_the_sum_says(difference, expected, verdict):
    assert against_sum(difference, Gain(expected, None, None)) is verdict


@pytest.mark.parametrize(
    ("gain", "verdict", "standing"),
    [
        (None, None, Place.UNTESTED),
        (Gain(1.0, None, None), Verdict.UNTOLD, Place.UNTOLD),
        (Gain(1.0, 0.5, 1.5), Verdict.BETTER, Place.EARNED),
        (Gain(-1.0, -1.5, -0.5), Verdict.WORSE, Place.NOT_EARNED),
        (Gain(0.1, -0.4, 0.6), Verdict.UNTOLD, Place.UNTOLD),
        (Gain(0.0, 0.0, 0.0), Verdict.SAME, Place.NOT_EARNED),
        (Gain(-0.5, -1.0, 0.0), Verdict.UNTOLD, Place.NOT_EARNED),
    ],
)
def test_what_a_gain_says_of_a_node_and_of_a_donor(gain, verdict, standing):
    assert place(gain) is standing
    assert gain is None or against_parent(gain) is verdict
