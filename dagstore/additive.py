"""What single edits are worth, told from nodes that each have some of them: pure arithmetic.

A node's gain over its primary parent is the sum of the effects of its own edits, and noise. Effects are independent
draws from one normal distribution around zero. How far they spread is told by the single gains, without those that are
out of all proportion, where every spread was as likely before (Gelman 2006, "Prior distributions for variance
parameters in hierarchical models"); while they leave it open, several spreads that they allow are averaged over. Noise
is that of the measured means: sd²/n of each tree, which two gains share where they share a tree. So all is jointly
normal, and what is reported is the posterior: ridge regression with known noise (Lindley and Smith 1972, "Bayes
estimates for the linear model").

Gains that share no edit tell of each other only what error of a parent they have in common, which is left aside; so
what repeated edits connect is solved by itself, exactly up to `EXACT` gains. Of more, each edit is judged by the gains
that have it and those nearest to them, `NEAR` in all or up to `WIDE` with it. That is the exact posterior given these,
so intervals hold, and are wider than they had to be.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from operator import mul
from typing import NamedTuple

from dagstore.rank import MAX, Z90

EXACT, NEAR, WIDE = 60, 40, 120
ROOM = 160
"""Gains that a sum of edits is judged by, about the same number for each of them."""
SIDE = 20
"""Gains of each kind that an interaction is told from: with both edits, with the one, with the other."""
OUTLYING = 20.0
"""Gains this many times the median are left out of the spread: a run that diverged is no draw from it."""
FARTHEST = 1e100
"""A gain is taken for at most so many times the usual ones: beyond that, squares leave the number line."""
TOP, FINE, STEPS = 10.0, 8, 4
"""Spreads that are looked at: up to so many times the root of the mean square, by how fine steps, how many are kept."""
CROWD = 40
"""Repeated edits of one node of which pairs are formed."""
Row = list[float]


class Trial(NamedTuple):
    """A gain, the edits that it is the sum of, and between which trees it is, measured how often."""

    gain: float
    edits: frozenset[int]
    tree: int
    base: int
    runs: int
    base_runs: int


class Estimate(NamedTuple):
    """A number with its 90 % interval; all of them finite."""

    mean: float
    low: float
    high: float


class Additive:
    """The effects of all edits of some trials; `sd` is the noise of a single run, greater than zero or zero."""

    def __init__(self, trials: Sequence[Trial], sd: float) -> None:
        self._unit = max([abs(trial.gain) for trial in _usual(trials)] + [sd]) or 1.0
        self._trials = [trial._replace(gain=_bounded(trial.gain / self._unit)) for trial in trials]
        self._noise = (sd / self._unit) ** 2
        self._spreads = spreads(self._trials, self._noise)
        self._factors: dict[tuple[int, ...], list[_Factor]] = {}

    @property
    def spread(self) -> float:
        """The standard deviation of effects, the mean of those that are averaged over."""
        return min(MAX, sum(self._spreads) / len(self._spreads) * self._unit)

    def effects(self) -> dict[int, Estimate]:
        """The effect of every edit. Those that always come together share what they do."""
        known: dict[tuple[int, ...], Estimate] = {}
        out: dict[int, Estimate] = {}
        for edit, holders in self.holders.items():
            key = tuple(holders)
            if key not in known:
                known[key] = self.total([edit])
            out[edit] = known[key]
        return out

    def total(self, edits: Collection[int]) -> Estimate:
        """The sum of the effects of some edits, each of which is known; errors that they share are counted once."""
        wanted = frozenset(edits)
        share = ROOM // (len(wanted) or 1) or 1
        some = dict.fromkeys(at for edit in sorted(wanted) for at in self._around(self.holders[edit])[:share])
        counts = {at: float(len(self._trials[at].edits & wanted)) for at in some}
        return averaged([factor.total(counts, len(wanted)) for factor in self._factored(some)], self._unit)

    def interaction(self, one: int, other: int) -> Estimate:
        """What is left of gains with both edits beyond the sum of all effects."""
        first, second = self.holders[one], self.holders[other]
        both = [at for at in first if other in self._trials[at].edits]
        alone = [[at for at in some if at not in set(both)] for some in (first, second)]
        factors = self._factored([at for some in (both, *alone) for at in some[:SIDE]])
        return averaged([factor.surplus(both) for factor in factors], self._unit)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Edits that occur together and each without the other, those first of which most can be told."""
        together = Counter(
            pair
            for trial in self._trials
            for pair in combinations(sorted(edit for edit in trial.edits if self._repeated(edit))[:CROWD], 2)
        )
        telling: dict[tuple[int, int], int] = {}
        for (one, other), both in together.items():
            alone = (len(self.holders[edit]) - both for edit in (one, other))
            telling[one, other] = min(both, *alone)
        yield from (pair for pair in sorted(telling, key=lambda it: (-telling[it], it)) if telling[pair])

    @cached_property
    def holders(self) -> Mapping[int, list[int]]:
        """The trials that have each edit, those with the least else in them first."""
        prior = self._spreads[0] ** 2
        clarity = [prior * len(trial.edits) + self._noise * alone(trial) for trial in self._trials]
        order = sorted(range(len(self._trials)), key=lambda at: (clarity[at], at))
        found: dict[int, list[int]] = {}
        for at in order:
            for edit in self._trials[at].edits:
                found.setdefault(edit, []).append(at)
        return found

    def _repeated(self, edit: int) -> bool:
        return len(self.holders[edit]) > 1

    def _around(self, holders: Sequence[int]) -> Sequence[int]:
        """The trials that an edit is judged by, those that have it first."""
        whole = self._component[holders[0]]
        return list(dict.fromkeys([*holders, *whole])) if len(whole) <= EXACT else self._nearest(holders)

    @cached_property
    def _component(self) -> Sequence[list[int]]:
        """What repeated edits connect each trial with, itself included."""
        groups = [[at] for at in range(len(self._trials))]
        for holders in self.holders.values():
            for at in holders[1:]:
                one, other = groups[holders[0]], groups[at]
                if one is not other:
                    large, small = (one, other) if len(one) >= len(other) else (other, one)
                    large += small
                    for member in small:
                        groups[member] = large
        return groups

    def _nearest(self, holders: Sequence[int]) -> list[int]:
        """The trials that have an edit, and such as have what else is in these."""
        chosen = dict.fromkeys(holders[:WIDE])
        others = Counter(edit for at in chosen for edit in self._trials[at].edits if self._repeated(edit))
        total = others.total() or 1
        room = NEAR - len(chosen)
        for edit, count in sorted(others.items(), key=lambda item: (-item[1], item[0])):
            if len(chosen) >= NEAR:
                break
            fresh = (at for at in self.holders[edit] if at not in chosen)
            share = max(1, room * count // total)
            chosen |= dict.fromkeys(at for at, _ in zip(fresh, range(share), strict=False))
        return list(chosen)

    def _factored(self, some: Iterable[int]) -> "list[_Factor]":
        key = tuple(sorted(some))
        if key not in self._factors:
            if len(self._factors) > EXACT:
                self._factors.clear()
            trials = [self._trials[at] for at in key]
            self._factors[key] = [_Factor(key, trials, spread**2, self._noise) for spread in self._spreads]
        return self._factors[key]


class _Factor:
    """Some gains whose covariance was factored (Cholesky), so that a question to them is one substitution.

    `prior` is the variance of effects, `noise` that of a run.
    """

    def __init__(self, key: Sequence[int], trials: Sequence[Trial], prior: float, noise: float) -> None:
        self._place = {at: number for number, at in enumerate(key)}
        self._prior = prior
        floor = 1e-9 * max(prior, noise)  # the same sum measured twice without noise would be one too many
        rows = []
        for at, one in enumerate(trials):
            row = [prior * len(one.edits & other.edits) + noise * shared(one, other) for other in trials[:at]]
            rows.append([*row, prior * len(one.edits) + noise * alone(one) + floor])
        self._rows = cholesky(rows)
        self._gains = substituted(self._rows, [trial.gain for trial in trials])

    def total(self, counts: Mapping[int, float], edits: int) -> tuple[float, float]:
        """Mean and variance of the sum of so many effects, if these have so many of them and no others have any."""
        solved = self._solved(counts)
        return self._prior * dot(solved, self._gains), self._prior * (edits - self._prior * dot(solved, solved))

    def surplus(self, holders: Iterable[int]) -> tuple[float, float]:
        """The same of what these have more than the model explains, with no belief about how much that should be."""
        solved = self._solved(dict.fromkeys(holders, 1.0))
        weight = dot(solved, solved) or 1 / MAX
        return dot(solved, self._gains) / weight, 1 / weight

    def _solved(self, counts: Mapping[int, float]) -> Row:
        row = [0.0] * len(self._place)
        for at, count in counts.items():
            if at in self._place:
                row[self._place[at]] = count
        return substituted(self._rows, row)


def averaged(found: Sequence[tuple[float, float]], unit: float = 1.0) -> Estimate:
    """One estimate, in other units and finite, of means and variances that are equally likely."""
    mean = sum(one for one, _ in found) / len(found)
    variance = sum(max(0.0, variance) + (one - mean) ** 2 for one, variance in found) / len(found)
    half = Z90 * math.sqrt(variance)
    low, middle, high = (max(-MAX, min(MAX, value * unit)) + 0.0 for value in (mean - half, mean, mean + half))
    return Estimate(middle, low, high)


def alone(trial: Trial) -> float:
    """The noise of a gain, in that of one run."""
    return 1 / trial.runs + 1 / trial.base_runs


def shared(one: Trial, other: Trial) -> float:
    """How much of their noise two gains have in common, in the noise of one run."""
    same = (one.tree == other.tree) / one.runs + (one.base == other.base) / one.base_runs
    return same - (one.tree == other.base) / one.runs - (one.base == other.tree) / one.base_runs


def spreads(trials: Iterable[Trial], noise: float) -> tuple[float, ...]:
    """How far effects may spread, given the variance of one run: equally likely standard deviations.

    They are at equal steps of the probability; one where they lie within a tenth of each other.
    """
    usual = _usual([trial for trial in trials if trial.edits])
    squares = sum(trial.gain * trial.gain for trial in usual)
    top = TOP * math.sqrt(max(squares / len(usual), noise)) if usual else 0.0
    if not top:
        return (0.0,)
    families = _families(usual, noise)
    grid = [top * math.exp(-step / FINE) for step in range(8 * FINE)]
    # Gains that share an edit are no separate witnesses of how far effects spread.
    weight = len({edit for trial in usual for edit in trial.edits}) / sum(len(trial.edits) for trial in usual)
    logs = [weight * sum(family.likelihood(one * one) for family in families) + math.log(one) for one in grid]
    return _quantiles(grid, [math.exp(one - max(logs)) for one in logs])


class _Family(NamedTuple):
    """The gains over one parent, whose error of variance `common` is in all of them; how many, their sum and their
    squares, by how many edits they are the sum of and the variance of their own errors.
    """

    common: float
    gains: Mapping[tuple[int, float], tuple[int, float, float]]

    def likelihood(self, prior: float) -> float:
        """The logarithm of how likely they are if effects have this variance."""
        logs = squares = total = weight = 0.0
        for (edits, own), (count, some, square) in self.gains.items():
            variance = edits * prior + own
            logs += count * math.log(variance)
            squares += square / variance
            total += some / variance
            weight += count / variance
        shared = 1 + self.common * weight
        return -(logs + math.log(shared) + squares - self.common * total * total / shared) / 2


def _families(trials: Iterable[Trial], noise: float) -> list[_Family]:
    found: dict[tuple[int, int], dict[tuple[int, float], tuple[int, float, float]]] = {}
    for trial in trials:
        gains = found.setdefault((trial.base, trial.base_runs), {})
        key = len(trial.edits), noise / trial.runs
        count, some, squares = gains.get(key, (0, 0.0, 0.0))
        gains[key] = count + 1, some + trial.gain, squares + trial.gain * trial.gain
    return [_Family(noise / runs, gains) for (_, runs), gains in found.items()]


def _quantiles(grid: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    total, sofar = sum(weights), 0.0
    out: list[float] = []
    for value, weight in zip(grid, weights, strict=True):
        sofar += weight
        while len(out) < STEPS and sofar >= total * (len(out) + 0.5) / STEPS * (1 - 1e-12):
            out.append(value)
    return tuple(out) if out[0] > 1.1 * out[-1] else (out[len(out) // 2],)


def _bounded(gain: float) -> float:
    return max(-FARTHEST, min(FARTHEST, gain))


def _usual(trials: Sequence[Trial]) -> Sequence[Trial]:
    sizes = sorted(abs(trial.gain) for trial in trials)
    limit = OUTLYING * sizes[len(sizes) // 2] if sizes else 0.0
    return [trial for trial in trials if abs(trial.gain) <= limit] if limit else trials


def cholesky(rows: Sequence[Row]) -> list[Row]:
    """The lower triangular factor of a positive definite matrix, of which `rows` are the lower triangle."""
    out: list[Row] = []
    for row in rows:
        made: Row = []
        for at, value in enumerate(row[:-1]):
            above = out[at]
            made.append((value - dot(made, above)) / above[at])
        made.append(math.sqrt(max(row[-1] - dot(made, made), 1e-12 * row[-1], 1e-300)))
        out.append(made)
    return out


def substituted(rows: Sequence[Row], right: Row) -> Row:
    """The solution of a lower triangular system."""
    out: Row = []
    for row, value in zip(rows, right, strict=True):
        out.append((value - dot(out, row)) / row[-1])
    return out


def dot(one: Row, other: Row) -> float:
    """The inner product, as long as the shorter of the two."""
    return sum(map(mul, one, other), 0.0)
