"""Pure arithmetic of gains: how much better trees are than others, sums of such differences, and what they say.

A combination gives measured trees whole coefficients. The means of different trees are independent, and each has the
variance sd²/n under the pooled noise, so that of Σ c·mean is sd²·Σ c²/n. What several gains have in common, such as one
base, is one tree with one coefficient: its error is counted as often as it is made, and cancels where it does.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from dagstore.model import Direction
from dagstore.rank import MAX, Z90, Moments, Noise

Combination = Mapping[int, int]
"""Coefficients by tree, none of them 0; a tree is named by the first node that has it."""

ROUNDING = 2**46
"""Differences of means that are this much smaller than their magnitudes are what floating point makes of equal ones."""


class Verdict(StrEnum):
    """What a node's measurements say: against the sum of its donors, or, where it has none, against its parent."""

    ADDS_UP = "adds up"
    LESS = "less than the sum"
    MORE = "more than the sum"
    BETTER = "better"
    WORSE = "worse"
    SAME = "the same"
    UNTOLD = "cannot be told"
    UNMEASURED = "unmeasured"
    NO_PARENT = "no parent"


class Place(StrEnum):
    """What a node's measurements say of one donor."""

    EARNED = "earns its place"
    NOT_EARNED = "does not earn its place"
    UNTOLD = "cannot be told"
    UNTESTED = "untested"


class Gain(NamedTuple):
    """A difference in the metric's unit, positive where better, with its 90 % interval (None without known noise)."""

    gain: float
    low: float | None
    high: float | None


class Scale(NamedTuple):
    """What turns combinations into numbers: the moments of a tree (`n` is 0 if unmeasured), noise and direction."""

    moments: Callable[[int], Moments]
    noise: Noise
    direction: Direction

    def missing(self, combination: Combination) -> list[int]:
        """The trees of a combination that were not measured."""
        return [tree for tree in combination if not self.moments(tree).n]

    def gain(self, combination: Combination) -> Gain | None:
        """How much better it is than zero, or None if something in it was not measured; always finite.

        The empty combination is exactly zero, whatever the noise.
        """
        if self.missing(combination):
            return None
        terms = [(combination[tree], self.moments(tree)) for tree in combination]
        value = _total(terms) * (-1 if self.direction is Direction.MINIMIZE else 1) + 0.0  # never -0.0
        half = self._half(terms)
        return Gain(value, None, None) if half is None else Gain(value, value - half, value + half)

    def _half(self, terms: list[tuple[int, Moments]]) -> float | None:
        if not terms:
            return 0.0
        if self.noise.sd is None:
            return None
        return Z90 * self.noise.sd * math.sqrt(math.fsum(factor * factor / it.n for factor, it in terms))


def over(new: int, old: int) -> Combination:
    """The difference between two trees; empty if they are one."""
    return combined([{new: 1}], [{old: 1}])


def combined(plus: Iterable[Combination], minus: Iterable[Combination] = ()) -> Combination:
    """The sum of some combinations less that of others."""
    total: Counter[int] = Counter()
    for one in plus:
        total.update(one)
    for one in minus:
        total.subtract(one)
    return {tree: factor for tree, factor in total.items() if factor}


def against_sum(difference: Gain, expected: Gain) -> Verdict:
    """What a measured gain less the expected one says.

    It adds up if the interval holds zero and excludes that nothing of the sum came; where the noise allows both, it
    cannot be told.
    """
    if difference.low is None or difference.high is None:
        return Verdict.UNTOLD
    if difference.high < 0 or difference.low > 0:
        return Verdict.LESS if difference.high < 0 else Verdict.MORE
    exact = difference.low == difference.high
    nothing_came = difference.low <= -expected.gain <= difference.high
    return Verdict.UNTOLD if nothing_came and not exact else Verdict.ADDS_UP


def against_parent(gain: Gain) -> Verdict:
    """What a gain over the only parent says."""
    if gain.low is None or gain.high is None:
        return Verdict.UNTOLD
    if gain.high < 0 or gain.low > 0:
        return Verdict.WORSE if gain.high < 0 else Verdict.BETTER
    return Verdict.SAME if gain.low == gain.high else Verdict.UNTOLD


def place(contribution: Gain | None) -> Place:
    """What the gain of a node over itself without a donor says of the donor."""
    if contribution is None:
        return Place.UNTESTED
    if contribution.low is None or contribution.high is None:
        return Place.UNTOLD
    if contribution.low > 0:
        return Place.EARNED
    return Place.NOT_EARNED if contribution.high <= 0 else Place.UNTOLD


def _total(terms: Iterable[tuple[int, Moments]]) -> float:
    """Σ c·mean, added exactly, so that no order of the terms shows and nothing overflows on the way."""
    from fractions import Fraction

    products = [factor * Fraction(it.mean) for factor, it in terms]
    total = sum(products, Fraction(0))
    if abs(total) * ROUNDING <= sum(map(abs, products)):
        return 0.0
    return float(max(-Fraction(MAX), min(Fraction(MAX), total)))
