"""The laws of estimates: what own runs, a parent and steps of unknown size say together."""

import itertools
import math
from random import Random
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dagstore.posterior import (
    APART,
    NOTHING,
    SCALES,
    Belief,
    Posterior,
    below,
    grid,
    learned,
    measured,
    spread_of_half,
    steps_of,
    told,
)

means = st.floats(-1e3, 1e3)
spreads = st.floats(1e-3, 1e3)
counts = st.integers(1, 50)
scales = st.sampled_from([1e-120, 1e-12, 1.0, 1e12, 1e120])
beliefs = st.builds(lambda mean, sd, n: measured(mean, n, sd), means, spreads, counts)
ORDINARY = [0.5 if one == 0.5 else 0.5 / (len(SCALES) - 1) for one in SCALES for _ in range(3)]


@st.composite
def mixtures(draw, sd=1.0):
    """Steps as a channel may have learned them: some components are frequent, none is impossible."""
    weights = [draw(st.sampled_from([1e-6, 1e-3, 0.1, 1.0])) for _ in grid(sd)]
    return steps_of([weight / sum(weights) for weight in weights], sd)


def near(one, other, spread):
    """Whether two are not so far apart that they say nothing of each other."""
    return abs(one.mean - other.mean) < APART * math.sqrt(spread * spread + one.var + other.var)


def one_step(sd, *, at=0.0):
    return ((1.0, at, sd * sd),)


def cdf(found, at):
    """The distribution function of a posterior, by the standard library."""
    return math.fsum(share * NormalDist(mean, math.sqrt(var)).cdf(at) for share, mean, var in found.parts)


def is_sound(found):
    low, high = found.quantile(0.05), found.quantile(0.95)
    assert all(map(math.isfinite, (found.mean, found.var, low, high)))
    assert found.var >= 0
    assert low <= high


class TestPosterior:
    @given(means, st.floats(0, 1e3), spreads, counts, beliefs, mixtures())
    def test_the_mean_rises_with_what_was_measured(self, mean, more, sd, n, parent, steps):
        """Tweedie: the slope of the posterior mean in the measurement is the posterior variance over its error's."""
        lower, higher = (below(parent, measured(one, n, sd), steps) for one in (mean, mean + more))
        assert lower.mean <= higher.mean + 1e-9 * (1 + abs(mean) + more + sd)

    @given(beliefs, beliefs, spreads, st.floats(-10, 10))
    def test_one_kind_of_steps_draws_to_the_parent_and_not_beyond(self, own, parent, spread, at):
        assume(near(own, parent, spread))
        expected = parent.mean + at
        found = below(parent, own, one_step(spread, at=at))
        slack = 1e-9 * (1 + abs(own.mean) + abs(expected))
        assert min(own.mean, expected) - slack <= found.mean <= max(own.mean, expected) + slack
        assert found.var <= own.var * (1 + 1e-9)
        assert found.var <= (parent.var + spread * spread) * (1 + 1e-9)

    @given(beliefs, spreads, spreads)
    def test_one_kind_of_steps_is_the_product_of_two_normals(self, own, parent_sd, spread):
        parent = Belief(1 / parent_sd**2, 0.0)
        assume(near(own, parent, spread))
        across = 1 / (parent_sd**2 + spread**2)
        found = below(parent, own, one_step(spread))
        assert found.mean == pytest.approx(own.weighted / (own.precision + across), rel=1e-9, abs=1e-9)
        assert found.var == pytest.approx(1 / (own.precision + across), rel=1e-9)

    @given(beliefs, beliefs, mixtures(), st.sampled_from([0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999]))
    def test_quantiles_are_quantiles(self, own, parent, steps, p):
        found = below(parent, own, steps)
        assert cdf(found, found.quantile(p)) == pytest.approx(p, abs=1e-3)

    @given(beliefs, beliefs, mixtures())
    def test_quantiles_are_ordered(self, own, parent, steps):
        found = below(parent, own, steps)
        ordered = [found.quantile(p) for p in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)]
        assert all(one < other for one, other in itertools.pairwise(ordered))

    @given(beliefs, mixtures())
    def test_without_a_parent_a_tree_is_as_measured(self, own, steps):
        found = below(NOTHING, own, steps)
        assert (found.mean, found.var) == (own.mean, own.var)
        assert found.quantile(0.5) == pytest.approx(own.mean, abs=1e-3 * math.sqrt(own.var))

    @given(beliefs, beliefs, st.data())
    def test_a_mirror_shows_the_mirrored(self, own, parent, data):
        steps = data.draw(mixtures())
        found = below(parent, own, steps)
        mirrored = below(
            Belief(parent.precision, -parent.weighted),
            Belief(own.precision, -own.weighted),
            tuple((share, -mean, var) for share, mean, var in steps),
        )
        assert mirrored.mean == pytest.approx(-found.mean, rel=1e-9, abs=1e-9)
        assert mirrored.quantile(0.05) == pytest.approx(-found.quantile(0.95), abs=2e-3 * math.sqrt(found.var))

    @given(beliefs, mixtures())
    def test_one_that_was_not_measured_is_expected_to_be_a_step_away(self, parent, steps):
        found = below(parent, NOTHING, steps)
        middle = math.fsum(share * mean for share, mean, _ in steps)
        assert found.mean == pytest.approx(parent.mean + middle, rel=1e-9, abs=1e-9)
        assert found.var >= parent.var

    def test_a_wreck_is_left_as_measured_and_an_ordinary_tree_is_drawn_in(self):
        steps = steps_of(ORDINARY, 1.0)
        parent = measured(0.0, 100, 1.0)
        wreck, ordinary = (below(parent, measured(mean, 1, 1.0), steps) for mean in (1e4, 1.0))
        assert wreck.mean == pytest.approx(1e4, abs=1.0)
        assert 0.1 < ordinary.mean < 0.6


class TestExtremes:
    @given(scales, st.floats(-1e6, 1e6), st.sampled_from([1, 2, 1000, 10**6]), st.integers(1, 10**6), st.data())
    def test_nothing_far_off_or_tiny_or_huge_breaks(self, sd, away, n, others, data):
        """A million sd away, of any unit."""
        steps = data.draw(mixtures(sd))
        own, parent = measured(away * sd, n, sd), measured(0.0, others, sd)
        found = below(parent, own, steps)
        is_sound(found)
        assert abs(found.mean) <= (abs(away) + 1e3) * sd
        said = told(own, parent, steps)
        assert all(map(math.isfinite, said))

    @given(st.floats(-1e6, 1e6), counts, st.integers(-300, 300), mixtures())
    def test_the_unit_does_not_matter(self, away, n, power, steps):
        unit = 2.0**power
        found, scaled = (
            below(
                measured(0.0, 3, one),
                measured(away * one, n, one),
                tuple((share, mean * one, var * one * one) for share, mean, var in steps),
            )
            for one in (1.0, unit)
        )
        assert scaled.mean / unit == pytest.approx(found.mean, rel=1e-9, abs=1e-9)
        assert scaled.quantile(0.95) / unit == pytest.approx(found.quantile(0.95), rel=1e-6, abs=1e-6)

    @pytest.mark.parametrize("away", [1e2, 900.0, 1e4, 1e6, 1e12, 1e100, 1e200])
    def test_one_that_diverged_is_as_measured_and_says_nothing_of_its_parent(self, away):
        steps = steps_of(ORDINARY, 1.0)
        parent, own = measured(0.0, 1, 1.0), measured(away, 1, 1.0)
        found = below(parent, own, steps)
        is_sound(found)
        assert found.mean == pytest.approx(away, abs=2.0)
        after = parent.plus(told(own, parent, steps))
        assert abs(after.mean) < 0.1

    def test_a_mean_whose_digits_are_coarser_than_its_spread(self):
        found = below(measured(1e20, 1, 1.0), measured(1e20, 1, 1.0), one_step(1.0))
        assert (found.quantile(0.05), found.quantile(0.95)) == (1e20, 1e20)

    @given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(-1e6, 1e6), st.floats(1e-9, 1e9)), min_size=1, max_size=8))
    def test_quantiles_of_any_mixture(self, parts):
        """Components far apart, one needle in a haystack: the distribution there is still `p`, or jumps past it."""
        total = math.fsum(share for share, _, _ in parts)
        made = [(share / total, mean, var) for share, mean, var in parts]
        mean = math.fsum(share * middle for share, middle, _ in made)
        var = math.fsum(share * (wide + (middle - mean) ** 2) for share, middle, wide in made)
        found = Posterior(made, mean, var)
        for p in (0.05, 0.5, 0.95):
            at, near = found.quantile(p), 1e-3 * math.sqrt(var)
            assert cdf(found, at - near) - 1e-3 <= p <= cdf(found, at + near) + 1e-3


class TestMessages:
    @given(beliefs, beliefs)
    def test_less_undoes_plus(self, one, other):
        assume(one.precision > 1e-6 * other.precision)
        found = one.plus(other).less(other)
        assert found.precision == pytest.approx(one.precision, rel=1e-6)
        assert found.mean == pytest.approx(one.mean, rel=1e-3, abs=1e-2 * math.sqrt(one.var) + 1e-6)

    @given(beliefs)
    def test_nothing_is_left_without_itself(self, one):
        assert one.less(one) == NOTHING
        assert one.plus(NOTHING) == one
        assert one.less(NOTHING) == one

    @given(beliefs, st.one_of(st.just(NOTHING), beliefs), mixtures())
    def test_a_child_never_makes_its_parent_less_certain(self, child, parent, steps):
        message = told(child, parent, steps)
        assert message.precision >= 0
        assert parent.plus(message).precision >= parent.precision
        assert all(map(math.isfinite, message))

    @given(beliefs, beliefs, mixtures())
    def test_a_parent_and_its_child_are_surer_than_either_if_nothing_else_is_told(self, child, parent, steps):
        assert told(child, parent, steps).precision <= child.precision * (1 + 1e-6)

    @given(beliefs, beliefs, spreads)
    def test_what_one_kind_of_steps_tells_is_a_normal(self, child, parent, spread):
        """Exactly the child, blurred by a step."""
        assume(near(child, parent, spread))
        message = told(child, parent, one_step(spread))
        precision = 1 / (child.var + spread * spread)
        assume(precision > 1e-6 * parent.precision)
        assert message.precision == pytest.approx(precision, rel=1e-3)
        assert message.mean == pytest.approx(child.mean, rel=1e-3, abs=1e-3 * (abs(parent.mean) + child.var**0.5))

    @given(st.one_of(st.just(NOTHING), beliefs))
    def test_nothing_known_tells_nothing(self, parent):
        assert told(NOTHING, parent, one_step(1.0)) == NOTHING
        assert told(measured(1.0, 1, 1.0), parent, ()) == NOTHING


class TestLearning:
    @given(
        st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)), max_size=40),
        st.sampled_from([1e-120, 1e-3, 1.0, 1e100]),
    )
    def test_shares_stay_positive_and_sum_to_one(self, seen, sd):
        shares = learned([(step * sd, var * sd * sd) for step, var in seen], sd)
        assert all(share > 0 for share in shares)
        assert math.fsum(shares) == pytest.approx(1.0)
        steps = steps_of(shares, sd)
        assert math.fsum(share for share, _, _ in steps) == pytest.approx(1.0)
        assert all(var > 0 for _, _, var in steps)

    def test_of_nothing_seen_all_shares_are_equal(self):
        assert learned([], 1.0) == tuple(share for share, _, _ in grid(1.0))

    @pytest.mark.parametrize("spread", [0.25, 1.0, 8.0])
    def test_the_spread_of_steps_is_found(self, spread):
        random = Random(7)
        seen = [(random.gauss(0, math.hypot(spread, 1.0)), 1.0) for _ in range(400)]
        steps = below(Belief(1e12, 0.0), NOTHING, steps_of(learned(seen, 1.0), 1.0))
        half = (steps.quantile(0.75) - steps.quantile(0.25)) / 2
        assert half / 0.6745 == pytest.approx(spread, rel=0.35, abs=0.3)

    def test_a_rare_wreck_is_left_as_measured_and_what_is_like_the_others_is_not(self):
        """Also where wrecks are so rare that none was ever seen."""
        random = Random(7)
        seen = [(random.gauss(0, 1.1), 1.0) for _ in range(400)]
        steps = steps_of(learned(seen, 1.0), 1.0)
        parent = measured(0.0, 100, 1.0)
        found = {mean: below(parent, measured(mean, 1, 1.0), steps).mean for mean in (1.0, 30.0, -30.0, 1e4)}
        assert 0.0 < found[1.0] < 0.7
        assert found[30.0] == pytest.approx(30.0, abs=1.0)
        assert found[-30.0] == pytest.approx(-30.0, abs=1.0)
        assert found[1e4] == pytest.approx(1e4, abs=1.0)

    def test_steps_to_the_worse_are_told_from_those_to_the_better(self):
        random = Random(3)
        seen = [(abs(random.gauss(0, 8.0)), 0.5) for _ in range(400)]
        steps = steps_of(learned(seen, 1.0), 1.0)
        assert math.fsum(share * mean for share, mean, _ in steps) > 1.0

    @given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0.1, 10))
    def test_the_spread_of_the_middle_half_scales_and_does_not_see_wrecks(self, differences, factor):
        found = spread_of_half(differences)
        assert spread_of_half([one * factor for one in differences]) == pytest.approx(found * factor)
        small = sorted(differences, key=abs)
        wrecked = small[: len(small) // 2 + 1] + [1e9 for _ in small[len(small) // 2 + 1 :]]
        assert spread_of_half(wrecked) == found

    def test_a_normal_has_its_own_spread(self):
        random = Random(5)
        assert spread_of_half([random.gauss(0, 3.0) for _ in range(2000)]) == pytest.approx(3.0, rel=0.1)
        assert spread_of_half([]) == 0.0
