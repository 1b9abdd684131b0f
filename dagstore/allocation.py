"""Which repeats are worth their runs to tell the best of several experiments from the rest: pure arithmetic.

Optimal computing budget allocation (Chen, Lin, Yücesan and Chick 2000, "Simulation budget allocation for further
enhancing the efficiency of ordinal optimization"), one run at a time: the next repeat goes where it raises the
probability of a correct selection most, if all means stay as they are and errors are independent normals.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

_POINTS = 48
"""Where a normal is looked at to integrate over it."""


def _points() -> list[tuple[float, float]]:
    """Weights and places of a standard normal at equal steps, out to five standard deviations."""
    places = [10 * (at + 0.5) / _POINTS - 5 for at in range(_POINTS)]
    weights = [math.exp(-0.5 * z * z) for z in places]
    return [(weight / math.fsum(weights), z) for weight, z in zip(weights, places, strict=True)]


_NORMAL = _points()


class Arm(NamedTuple):
    """An experiment: by how much it is worse than the best (0 for that one), and the variance of its estimate."""

    loss: float
    var: float


class Allocation(NamedTuple):
    """How many repeats each arm gets; the probability that the first is the best, now and expected thereafter."""

    repeats: tuple[int, ...]
    before: float
    after: float


def allocate(arms: Sequence[Arm], noise: float, budget: int, enough: float) -> Allocation:
    """Repeats for arms of which the first is the best, at most `budget`, until the first is that with `enough`.

    A repeat has the standard deviation `noise`; there are none where that is 0, since they would tell nothing.
    """
    repeats = [0] * len(arms)
    before = after = selected(arms)
    while noise and sum(repeats) < budget and after < enough:
        at = _next(arms, repeats, noise, after)
        repeats[at] += 1
        after = max(after, selected(_with(arms, repeats, noise)))
    return Allocation(tuple(repeats), before, after)


def _next(arms: Sequence[Arm], repeats: Sequence[int], noise: float, now: float) -> int:
    """The arm that gains most by a repeat; where none does, since one is not enough, the least certain."""
    hoped = [selected(_with(arms, _more(repeats, at), noise)) for at in range(len(arms))]
    if max(hoped) > now:
        return hoped.index(max(hoped))
    variances = [arm.var for arm in _with(arms, repeats, noise)]
    return variances.index(max(variances))


def selected(arms: Sequence[Arm]) -> float:
    """The probability that the first arm is the best of all."""
    first, others = arms[0], arms[1:]
    if not first.var:
        return math.prod(1.0 - beaten(first, other) for other in others)
    sd = math.sqrt(first.var)
    total = 0.0
    for weight, z in _NORMAL:
        here = Arm(first.loss + z * sd, 0.0)
        total += weight * math.prod([1.0 - beaten(here, other) for other in others])
    return total


def beaten(first: Arm, other: Arm) -> float:
    """The probability that `other` is better than the first; one half where nothing is uncertain and both are equal."""
    spread = math.sqrt(first.var + other.var)
    gap = other.loss - first.loss
    if not spread:
        return 0.5 if not gap else 0.0 if gap > 0 else 1.0
    return 0.5 * math.erfc(gap / spread / math.sqrt(2))


def _more(repeats: Sequence[int], at: int) -> list[int]:
    return [count + (index == at) for index, count in enumerate(repeats)]


def _with(arms: Sequence[Arm], repeats: Sequence[int], noise: float) -> list[Arm]:
    """The arms as they are expected to be after these repeats."""
    return [Arm(arm.loss, _variance(arm, count, noise)) for arm, count in zip(arms, repeats, strict=True)]


def _variance(arm: Arm, count: int, noise: float) -> float:
    return 1.0 / (1.0 / arm.var + count / noise**2) if arm.var and noise else 0.0
