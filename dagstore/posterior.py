"""Pure arithmetic of estimates: what a tree is worth, given its runs, its lineage and the noise (empirical Bayes).

A run of tree i gives θᵢ + ε, ε ~ N(0, σ²), and tree i is a step away from its parent p: θᵢ = θₚ + δ. Steps come from a
mixture of normals whose shares are learned from the steps of a column (Stephens 2017, "False discovery rates: a new
deal", Biostatistics 18), so that wrecks do not decide how far an ordinary tree is drawn to its parent. On the forest of
primary parents beliefs are passed as messages (Pearl 1982), each made normal with the moments that it has beside what
else is known (Minka 2001, "Expectation propagation"). docs/decisions/0019-estimates.md has the model on a page.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from math import erfc, exp, fsum, log, sqrt
from operator import mul
from typing import NamedTuple

from dagstore.rank import Z90

SCALES = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0, 256.0)
"""Spreads of the components of steps, in units of the noise."""
SIDES = (0.0, -1.5, 1.5)
"""Where the components of one spread have their middle, in units of it: steps to the worse are unlike others."""
ROUNDS = 50
"""Of EM; as by simulation."""
LEAST = 0.01
"""Components with a smaller share are left out."""
FINE = 0.25
"""Components of at most this spread are told apart by dozens of runs only, and are one where steps are applied."""
APART = 4.0
"""So many spreads of the widest steps apart, a tree and its parent say nothing of each other: one has diverged."""
_NEGLIGIBLE = 1e-9
_TINY = 1e-200
_ROOT_HALF, _NORMAL = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


class Belief(NamedTuple):
    """A normal distribution by its precision and precision-weighted mean; all zero where nothing is known."""

    precision: float = 0.0
    weighted: float = 0.0

    @property
    def mean(self) -> float:
        return self.weighted / self.precision

    @property
    def var(self) -> float:
        return 1.0 / self.precision

    def plus(self, other: "Belief") -> "Belief":
        return Belief(self.precision + other.precision, self.weighted + other.weighted)

    def less(self, other: "Belief") -> "Belief":
        """What is known without `other`, which is part of it."""
        precision = self.precision - other.precision
        if precision <= _NEGLIGIBLE * self.precision:
            return NOTHING
        return Belief(precision, self.weighted - other.weighted)


NOTHING = Belief()


Part = tuple[float, float, float]
"""A normal part of a mixture: its share, mean and variance."""
Steps = tuple[Part, ...]
"""How trees differ from their parents, the widest last. Empty: nothing was learned, and a parent says nothing."""


class Posterior(NamedTuple):
    """A mixture of normals with its mean and variance."""

    parts: Sequence[Part]
    mean: float
    var: float

    def belief(self) -> Belief:
        """The normal with the same moments."""
        return Belief(1.0 / self.var, self.mean / self.var)

    def quantile(self, p: float) -> float:
        """The value that is not exceeded with probability `p`; by safeguarded Newton steps, to 1e-4 of the spread."""
        parts = [(share, mean, sqrt(var)) for share, mean, var in self.parts if share > 1e-4]
        spread, total = sqrt(self.var), sum([part[0] for part in parts])
        low, high = -math.inf, math.inf
        at = self.mean + (Z90 if p > 0.5 else -Z90) * spread
        for _ in range(100):
            below, density = _cumulated(parts, at)
            low, high = (at, high) if below < p * total else (low, at)
            step = (p * total - below) / density if density else math.copysign(math.inf, p * total - below)
            step = max(-4 * spread, min(4 * spread, step))
            if abs(step) <= 1e-4 * spread or at + step == at:
                return at + step
            at = at + step if low < at + step < high else (low + high) / 2
        return at


def measured(mean: float, n: int, sd: float) -> Belief:
    """What `n` runs alone say."""
    precision = n / (sd * sd)
    return Belief(precision, precision * mean)


def below(parent: Belief, own: Belief, steps: Steps) -> Posterior:
    """A tree of which `own` is known, a step away from a parent of which `parent` is known without it."""
    if not parent.precision or not steps or _strange(parent, own, steps):
        return Posterior([(1.0, own.mean, own.var)], own.mean, own.var)
    above, spread = parent.mean, parent.var
    parts = [(share, above + mean, spread + var) for share, mean, var in steps]
    return _product(parts, own) if own.precision else _mixture(parts)


def told(child: Belief, parent: Belief, steps: Steps) -> Belief:
    """What a child says of its parent, of which `parent` is known otherwise; nothing if it makes that no clearer."""
    if not child.precision or not steps or _strange(child, parent, steps):
        return NOTHING
    here, spread = child.mean, child.var
    parts = [(share, here - mean, spread + var) for share, mean, var in steps]
    if not parent.precision:
        return _mixture(parts).belief()
    found = _product(parts, parent)
    precision = 1.0 / found.var - parent.precision
    if precision <= _NEGLIGIBLE * parent.precision:
        return NOTHING
    return Belief(precision, found.mean / found.var - parent.weighted)


def grid(sd: float) -> list[Part]:
    """The components that steps may be made of, all equally likely."""
    share = 1 / (len(SCALES) * len(SIDES))
    return [(share, side * scale * sd, (scale * sd) ** 2) for scale in SCALES for side in SIDES]


def learned(seen: Iterable[tuple[float, float]], sd: float) -> tuple[float, ...]:
    """The shares of `grid(sd)` after some rounds of EM from equal ones, from (step, variance of its error).

    Where steps say little, the shares stay near equal: to stop early is to doubt. All stay above zero: one more step,
    which could be of any component, counts with those that were seen.
    """
    parts = grid(sd)
    rows = [_likelihoods(step, var, parts) for step, var in seen]
    now = equal = [share for share, _, _ in parts]
    for _ in range(ROUNDS if rows else 0):
        summed = equal
        for row in rows:
            weights = list(map(mul, row, now))
            scale = 1.0 / (fsum(weights) or 1.0)
            summed = [total + weight * scale for total, weight in zip(summed, weights, strict=True)]
        total = fsum(summed)
        now = [one / total for one in summed]
    return tuple(now)


def steps_of(shares: Sequence[float], sd: float) -> Steps:
    """The mixture with these shares of `grid(sd)`, without what is negligible; all fine components are one.

    The widest component stays, however rare: without it a step beyond all others would be drawn in as they are.
    """
    parts = grid(sd)
    widest = parts[-len(SIDES)]
    kept = [(p, *part[1:]) for p, part in zip(shares, parts, strict=True) if p > LEAST or part is widest]
    fine = [part for part in kept if part[2] <= (FINE * sd) ** 2]
    coarse = [part for part in kept if part[2] > (FINE * sd) ** 2]
    total = fsum(part[0] for part in kept)
    return tuple((share / total, mean, var) for share, mean, var in [*_as_one(fine), *coarse])


def _as_one(parts: Sequence[Part]) -> Iterator[Part]:
    """The normal with the moments of some parts; nothing of none."""
    total = fsum(part[0] for part in parts)
    if total:
        found = _mixture([(share / total, mean, var) for share, mean, var in parts])
        yield total, found.mean, found.var


def spread_of_half(differences: Sequence[float]) -> float:
    """A standard deviation from the middle half of some differences from zero, so that wrecks do not count."""
    ordered = sorted(abs(one) for one in differences)
    return ordered[len(ordered) // 2] / 0.6744897501960817 if ordered else 0.0


def _strange(one: Belief, other: Belief, steps: Steps) -> bool:
    """Whether both are known and lie farther apart than any step explains."""
    if not one.precision or not other.precision:
        return False
    off = (one.mean - other.mean) / APART
    return off * off > steps[-1][2] + one.var + other.var


def _likelihoods(step: float, var: float, parts: Sequence[Part]) -> list[float]:
    found = []
    for _, mean, wide in parts:
        both = var + wide
        off = step - mean
        found.append(exp(-0.5 * off * off / both) / sqrt(both) + _TINY)
    return found


def _product(parts: Iterable[Part], normal: Belief) -> Posterior:
    """A mixture times a normal."""
    mean, var = normal.mean, normal.var
    made, total = [], 0.0
    for share, middle, wide in parts:
        both = wide + var
        off = mean - middle
        weight = share * exp(-0.5 * off * off / both) / sqrt(both)
        total += weight
        # Divided first: products of two variances leave the number line.
        near = wide / both
        made.append((weight, middle + off * near, near * var))
    if total < _TINY:
        return _far_product(list(parts), mean, var)
    return _mixture([(weight / total, middle, wide) for weight, middle, wide in made])


def _far_product(parts: Sequence[Part], mean: float, var: float) -> Posterior:
    """The same where the normal is so far off that its shares have to be worked out as logarithms."""
    logs = [log(p / sqrt(wide + var)) - 0.5 * (mean - middle) ** 2 / (wide + var) for p, middle, wide in parts]
    top = max(logs)
    weights = [exp(one - top) for one in logs]
    total = fsum(weights)
    made = []
    for weight, (_, middle, wide) in zip(weights, parts, strict=True):
        near = wide / (wide + var)
        made.append((weight / total, middle + (mean - middle) * near, near * var))
    return _mixture(made)


def _mixture(parts: list[Part]) -> Posterior:
    mean = var = 0.0
    for share, middle, _ in parts:
        mean += share * middle
    for share, middle, wide in parts:
        off = middle - mean
        var += share * (wide + off * off)
    return Posterior(parts, mean, var)


def _cumulated(parts: Sequence[Part], at: float) -> tuple[float, float]:
    """The distribution function and the density at one place of a mixture of (share, mean, standard deviation)."""
    below = density = 0.0
    for share, mean, sd in parts:
        z = (at - mean) / sd
        below += share * erfc(-z * _ROOT_HALF)
        density += share / sd * exp(-0.5 * z * z)
    return 0.5 * below, density * _NORMAL
