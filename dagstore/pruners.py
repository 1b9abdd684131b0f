"""The rules that call an experiment hopeless by its curve and those of others. Pure.

`median` and `asha` are those of Optuna (`MedianPruner`; `SuccessiveHalvingPruner`, its stopping variant of Li et al.
2020, "A system for massively parallel hyperparameter tuning"), with the fraction of the budget for a step. `parent`
compares with the node that it was made from. Each is asked at fixed moments, and compares the best so far with that of
the others as of the last report: who reports a little later than others has no disadvantage. Every cutoff is moved by
two standard deviations of the noise of a curve at that moment.
"""

import math
import statistics
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple

from dagstore.curves import TICKS, Point
from dagstore.model import Direction
from dagstore.posterior import spread_of_half

STARTUP = 5
"""Whole curves that there must be before anything is called hopeless."""
STEP = TICKS // 16
"""`median` and `parent` are asked whenever so much of the budget has passed,"""
WARM_UP = TICKS // 4
"""and not before so much has."""
ETA = 4
"""`asha` keeps one in so many,"""
RUNGS = (TICKS // 16, TICKS // 4)
"""at these moments,"""
FILLED = 2 * ETA
"""where so many others were seen."""
SDS = 2.0
DOUBT = 2.0
"""How many squared deviations the assumed noise counts for beside those that were seen."""


class Rule(StrEnum):
    MEDIAN = "median"
    ASHA = "asha"
    PARENT = "parent"


class Course(NamedTuple):
    """The best so far: `bests` as of `ticks`, where smaller is always better; known up to `end`."""

    ticks: tuple[int, ...]
    bests: tuple[float, ...]
    end: int

    def at(self, tick: int) -> float | None:
        """The best until then; None if there was none yet."""
        found = bisect_right(self.ticks, tick)
        return self.bests[found - 1] if found else None

    def last(self, tick: int) -> int | None:
        """When the last report until then was made; None if there was none."""
        found = bisect_right(self.ticks, tick)
        return self.ticks[found - 1] if found else None


class Past(NamedTuple):
    """The course of a run that ended. Runs of equal files have an equal `tree`; `whole` if nothing ended it early.

    `parent` is the tree of its node's primary parent.
    """

    tree: Hashable
    whole: bool
    course: Course
    parent: Hashable = None


class Rivals(NamedTuple):
    """What an experiment is compared with: curves of its protocol and platform. `parent` is the tree of its parent."""

    past: Sequence[Past]
    parent: Hashable


class Cut(NamedTuple):
    """Why an experiment is hopeless: its best so far, `value`, is beyond `cutoff`, found from `others`.

    As of `tick`. The cutoff allows for the noise, of standard deviation `noise`. In the metric's own sense.
    """

    tick: int
    value: float
    cutoff: float
    noise: float
    others: int


def course_of(points: Sequence[Point], end: int, direction: Direction) -> Course:
    """The best so far along a curve."""
    sign = _sign(direction)
    bests = accumulate((sign * value for _, value in points), min)
    return Course(tuple(tick for tick, _ in points), tuple(bests), end)


def moment(rule: Rule, tick: int) -> int:
    """The last moment up to `tick` at which the rule is asked; 0 if there is none."""
    if rule is Rule.ASHA:
        return max((rung for rung in RUNGS if rung <= tick), default=0)
    return tick - tick % STEP if tick >= WARM_UP else 0


def hopeless(
    rule: Rule,
    course: Course,
    when: int,
    past: Sequence[Past],
    parent: Hashable,
    direction: Direction,
    *,
    sds: float = SDS,
) -> Cut | None:
    """Why the rule would end an experiment at one of its moments, None if it would not.

    `past` are the curves of the same protocol and platform, `parent` the tree of the node that it was made from. The
    cutoff allows for so many standard deviations of the noise.
    """
    tick = course.last(when)
    if tick is None or tick < (when // 2 if rule is Rule.ASHA else WARM_UP):
        return None
    own, whole = course.at(tick), [it for it in past if it.whole]
    if own is None or len(whole) < STARTUP:
        return None
    found = _CUTOFFS[rule](own, tick, when, past, parent)
    if found is None or own <= found.value:
        return None
    noise = noise_of(whole, tick)
    cutoff = found.value + sds * noise * found.errors
    sign = _sign(direction)
    return Cut(tick, sign * own, sign * cutoff, noise, found.others) if own > cutoff else None


def noise_of(past: Sequence[Past], tick: int) -> float:
    """The standard deviation of one curve's best until then, from those of whole runs.

    It is pooled over repeats of equal trees. As far as these are few it is taken for what makes up half of the variance
    between trees and their parents, or the median where a parent has no curve.
    """
    trees: dict[Hashable, list[float]] = {}
    for it, best in _bests(past, tick):
        trees.setdefault(it.tree, []).append(best)
    means = {tree: math.fsum(bests) / len(bests) for tree, bests in trees.items()}
    squares = math.fsum((best - means[tree]) ** 2 for tree, bests in trees.items() for best in bests)
    freedom = sum(map(len, trees.values())) - len(trees)
    return math.sqrt((DOUBT * _assumed(past, means) ** 2 + squares) / (DOUBT + freedom))


def _assumed(past: Sequence[Past], means: Mapping[Hashable, float]) -> float:
    if not means:
        return 0.0
    middle = statistics.median(means.values())
    parents = {it.tree: it.parent for it in past}
    return spread_of_half([mean - means.get(parents[tree], middle) for tree, mean in means.items()]) / 2


class _Found(NamedTuple):
    """A cutoff before the noise is allowed for; of the difference to it, `errors` is the error in such of one curve."""

    value: float
    others: int
    errors: float = 1.0


def _median(own: float, tick: int, when: int, past: Sequence[Past], parent: Hashable) -> _Found | None:
    bests = [best for _, best in _bests((it for it in past if it.whole), tick)]
    return _Found(statistics.median(bests), len(bests)) if len(bests) >= STARTUP else None


def _asha(own: float, tick: int, when: int, past: Sequence[Past], parent: Hashable) -> _Found | None:
    bests = [best for _, best in _bests((it for it in past if it.whole or it.course.end >= when), tick)]
    if len(bests) < FILLED:
        return None
    rung = sorted([*bests, own])
    return _Found(rung[max(1, len(rung) // ETA) - 1], len(bests))


def _parent(own: float, tick: int, when: int, past: Sequence[Past], parent: Hashable) -> _Found | None:
    bests = [best for _, best in _bests((it for it in past if it.whole and it.tree == parent), tick)]
    if not bests:
        return None
    return _Found(math.fsum(bests) / len(bests), len(bests), math.sqrt(1 + 1 / len(bests)))


_CUTOFFS = {Rule.MEDIAN: _median, Rule.ASHA: _asha, Rule.PARENT: _parent}


def _bests(past: Iterable[Past], tick: int) -> list[tuple[Past, float]]:
    return [(it, best) for it in past if (best := it.course.at(tick)) is not None]


def _sign(direction: Direction) -> int:
    return 1 if direction is Direction.MINIMIZE else -1
