"""The arithmetic of rankings against the standard library and the textbook definitions."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.model import Direction
from dagstore.rank import Z90, Moments, Noise, Pool, better, interval, score_key

usual = st.floats(-1e6, 1e6)
finite = st.floats(allow_nan=False, allow_infinity=False)


def moments(values):
    found = Moments()
    for value in values:
        found = found.add(value)
    return found


@given(st.lists(usual, min_size=2, max_size=50))
def test_moments_are_those_of_the_standard_library(values):
    found = moments(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-9)
    scale = max(map(abs, values)) ** 2
    assert found.squares / (found.n - 1) == pytest.approx(statistics.variance(values), rel=1e-6, abs=1e-9 * (scale + 1))


@given(finite, st.integers(1, 30))
def test_equal_numbers_have_no_spread(value, n):
    assert moments([value] * n) == Moments(n, value + 0.0, 0.0)


def test_a_large_offset_costs_no_precision():
    found = moments([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    assert found.squares / 3 == pytest.approx(30.0)


@given(st.lists(finite, max_size=20), st.lists(finite, max_size=20))
def test_nothing_that_is_not_finite_comes_of_finite_numbers(one, other):
    pool, found = Pool(), []
    for values in (one, other):
        old = Moments()
        for value in values:
            new = old.add(value)
            pool, old = pool.replace(old, new), new
        found.append(old)
    noise = pool.noise()
    assert all(math.isfinite(number) for it in found for number in (it.mean, it.squares))
    assert all(it.squares >= 0 for it in found)
    assert math.isfinite(pool.squares)
    assert noise.sd is None or math.isfinite(noise.sd)
    for it in found:
        if it.n and noise.sd is not None:
            assert all(math.isfinite(bound) for bound in interval(it, noise))


@given(st.lists(st.lists(usual, min_size=1, max_size=6), max_size=6), st.randoms())
def test_noise_is_pooled_over_repeated_configurations(groups, random):
    """The same as computing each group's squared deviations at the end, whatever the order of arrival."""
    arrivals = [(number, value) for number, group in enumerate(groups) for value in group]
    random.shuffle(arrivals)
    pool, state = Pool(), {}
    for number, value in arrivals:
        old = state.get(number, Moments())
        state[number] = old.add(value)
        pool = pool.replace(old, state[number])
    repeated = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in repeated)
    noise = pool.noise()
    assert noise.n == sum(map(len, repeated))
    if not freedom:
        assert noise.sd is None
        return
    squares = sum(statistics.pvariance(group) * len(group) for group in repeated)
    scale = max(abs(value) for group in repeated for value in group)
    assert noise.sd == pytest.approx(math.sqrt(squares / freedom), rel=1e-6, abs=1e-4 * (scale + 1e-3))


def test_noise_is_unknown_until_something_was_repeated():
    pool = Pool()
    for value in (1.0, 2.0, 3.0):
        pool = pool.replace(Moments(), Moments().add(value))
    assert pool.noise() == Noise(None, 0)
    assert interval(Moments().add(1.0), pool.noise()) == (None, None)


@given(usual, st.floats(0, 1e3), st.integers(1, 100))
def test_an_interval_is_about_the_mean_and_narrows_with_runs(mean, sd, n):
    low, high = interval(Moments(n, mean, 0.0), Noise(sd, 10))
    assert low <= mean <= high
    assert high - low == pytest.approx(2 * Z90 * sd / math.sqrt(n), abs=1e-9)
    closer = interval(Moments(4 * n, mean, 0.0), Noise(sd, 10))
    assert low <= closer[0]
    assert closer[1] <= high


def test_90_percent_of_a_normal_distribution_lie_inside():
    assert statistics.NormalDist().cdf(Z90) - statistics.NormalDist().cdf(-Z90) == pytest.approx(0.9)


@given(finite, finite, st.sampled_from(Direction))
def test_scores_sort_as_bytes_with_the_best_first(one, other, direction):
    assert len(score_key(one, direction)) == 8
    if one != other:
        assert (score_key(one, direction) < score_key(other, direction)) is better(direction, one, other)


@pytest.mark.parametrize("direction", Direction)
def test_scores_sort_at_the_edges_of_the_number_line(direction):
    edges = [-math.inf, -1.8e307, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1.8e307, math.inf]
    ordered = sorted(edges, key=lambda value: score_key(value, direction))
    assert ordered == (edges if direction is Direction.MINIMIZE else edges[::-1])


def test_better_is_strict():
    assert not better(Direction.MINIMIZE, 1.0, 1.0)
    assert not better(Direction.MAXIMIZE, 1.0, 1.0)
    assert better(Direction.MINIMIZE, 1.0, 2.0)
    assert better(Direction.MAXIMIZE, 2.0, 1.0)
