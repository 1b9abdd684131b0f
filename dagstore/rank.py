"""Pure arithmetic of ranking: running moments, pooled noise, intervals, and scores as ordered bytes.

Moments follow Welford (1962), "Note on a method for calculating corrected sums of squares and products".
"""

import math
import struct
import sys
from typing import NamedTuple

from dagstore.model import Direction

_DOUBLE, _BITS = struct.Struct(">d"), struct.Struct(">Q")
MAX = sys.float_info.max
Z90 = 1.6448536269514722
"""Half-width of a 90 % normal interval, in standard errors."""


class Moments(NamedTuple):
    """How many numbers, their mean, and the sum of squared deviations from it (at most `MAX`: always finite)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> "Moments":
        n = self.n + 1
        shift = value - self.mean
        # From one end of the number line to the other, only the less exact formula stays finite.
        mean = self.mean + shift / n if math.isfinite(shift) else self.mean * (self.n / n) + value / n
        return Moments(n, mean, min(MAX, self.squares + shift * (value - mean)))


class Noise(NamedTuple):
    """Run-to-run noise pooled over repeated measurements; `sd` is None until something was repeated.

    `n` counts the runs of configurations that were measured more than once. While there are none, `assumed` is what
    the noise is taken to be, or None where there is nothing to assume it from.
    """

    sd: float | None
    n: int
    assumed: float | None = None

    @property
    def taken(self) -> float | None:
        """The standard deviation to reckon with: the pooled one, or else the assumed one."""
        return self.assumed if self.sd is None else self.sd


class Pool(NamedTuple):
    """What the noise is computed from: runs and groups of repeated configurations, and their squared deviations."""

    runs: int = 0
    groups: int = 0
    squares: float = 0.0

    def replace(self, old: Moments, new: Moments) -> "Pool":
        """The pool after one configuration's moments went from `old` to `new` (one run more)."""
        if new.n < 2:
            return self
        first = new.n == 2
        squares = self.squares + new.squares - old.squares
        return Pool(self.runs + (2 if first else 1), self.groups + first, min(MAX, max(0.0, squares)))

    def noise(self) -> Noise:
        freedom = self.runs - self.groups
        return Noise(math.sqrt(self.squares / freedom) if freedom else None, self.runs)


def interval(moments: Moments, noise: Noise) -> tuple[float | None, float | None]:
    """The 90 % interval of a mean under the pooled noise; (None, None) while the noise is unknown."""
    if noise.sd is None:
        return None, None
    half = Z90 * noise.sd / math.sqrt(moments.n)
    return moments.mean - half, moments.mean + half


def better(direction: Direction, one: float, other: float) -> bool:
    return one < other if direction is Direction.MINIMIZE else one > other


def score_key(value: float, direction: Direction) -> bytes:
    """8 bytes that sort as the values do, best first. IEEE 754 order: flip the sign bit, or all bits if negative."""
    bits = _BITS.unpack(_DOUBLE.pack(value if direction is Direction.MINIMIZE else -value))[0]
    return _BITS.pack(bits ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63))


def score_value(key: bytes, direction: Direction) -> float:
    """The value that `score_key` made the key of."""
    ordered = int.from_bytes(key, "big")
    bits = ordered ^ (1 << 63 if ordered >> 63 else 0xFFFFFFFFFFFFFFFF)
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return value if direction is Direction.MINIMIZE else -value
