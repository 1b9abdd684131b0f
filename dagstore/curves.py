"""What the numbers of an experiment were while it ran, by the clock of its trainer: as a value, and as stored bytes.

    [1, end, [[name, [[tick, value], …]], …]]        canonical msgpack; names in the order of their UTF-8

A tick is a 1,024th of the budget, counted from when the budget began to run; `end` is when the experiment ended. A
curve is thinned as it grows: of every part of the budget, whose last tick belongs to it, it keeps the lowest, the
highest and the last value (after Jugel et al. 2014, "M4: a visualization-oriented time series data aggregation"). So
the best value so far, and when the last one was reported, are exact at the end of every part.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from dagstore.codec import pack, unpack
from dagstore.errors import BadInput

ARTIFACT = "curve"
"""What a run calls these bytes."""
VERSION = 1
TICKS = 1024
"""How many make a budget."""
MAX_NAMES = 3
MAX_PARTS = 32
WIDTH = TICKS // MAX_PARTS
"""Ticks of a part; twice as many as soon as there would be more parts."""
HUGE = 1e100
"""What is further from zero is taken for diverged: no value at all."""
COUNTERS = frozenset(
    ("step", "steps", "iteration", "iter", "epoch", "frac", "fraction", "progress", "time", "elapsed", "seconds")
)
"""Names that say where an experiment is and not how good."""

_MAX_NAME = 64

Point = tuple[int, float]
"""A tick and a value."""


class Curves(NamedTuple):
    """The curves of one run by name: points in the order in which they were seen."""

    end: int
    points: Mapping[str, tuple[Point, ...]]


def encode_curves(curves: Curves) -> bytes:
    """The one byte string of these curves."""
    named = sorted(curves.points.items(), key=lambda item: item[0].encode())
    return pack([VERSION, curves.end, [[name, [list(point) for point in points]] for name, points in named]])


def decode_curves(data: bytes) -> Curves:
    """The curves; `BadInput` unless `data` is exactly what `encode_curves` would have written."""
    row = unpack(data)
    if not isinstance(row, list) or not row:
        raise BadInput("no curves: expected an array")
    if row[0] != VERSION:
        raise BadInput(
            f"curves of format version {row[0]!r}, this dagstore reads {VERSION}",
            hint="upgrade dagstore",
            code="newer_format",
        )
    try:
        _, end, named = row
        found = Curves(_tick(end), {_name(name): _points(points) for name, points in named})
        again = encode_curves(found)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"no curves: {error}") from None
    if again != data:
        raise BadInput("no canonical curves: the same ones have other bytes")
    return found


def _tick(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is no tick")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME:
        raise TypeError(f"{value!r} is no name")
    return value


def _points(rows: Iterable[Any]) -> tuple[Point, ...]:
    points = tuple((_tick(tick), _value(value)) for tick, value in rows)
    if any(one[0] > other[0] for one, other in pairwise(points)):
        raise ValueError("ticks go back")
    return points


def _value(value: object) -> float:
    if type(value) is not float or not abs(value) <= HUGE or str(value) == "-0.0":
        raise TypeError(f"{value!r} is no value of a curve")
    return value


class Trace:
    """The curves of a running experiment. `wanted` are names that have a place; the others go to who comes first."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._lines: dict[str, _Line] = {name: _Line() for name in dict.fromkeys(wanted)}

    def add(self, tick: int, values: Mapping[str, float]) -> None:
        """What was reported at a tick, not before the last one.

        What has diverged is no value; it counts as the one before it, if there was one: reported, and no better.
        """
        for name, value in values.items():
            line = self._lines.get(name) or self._begin(name)
            if line is not None:
                line.add(tick, value)

    def points(self, name: str) -> tuple[Point, ...]:
        """The thinned curve of that name so far."""
        return tuple(self._lines[name]) if name in self._lines else ()

    def curves(self, end: int) -> Curves:
        """All that were reported, of an experiment that ended at a tick."""
        found = {name: tuple(line) for name, line in self._lines.items()}
        return Curves(end, {name: points for name, points in found.items() if points})

    def _begin(self, name: str) -> "_Line | None":
        if len(self._lines) >= MAX_NAMES or name in COUNTERS or not 0 < len(name) <= _MAX_NAME:
            return None
        return self._lines.setdefault(name, _Line())


class _Line:
    """One curve: for every part that has values the lowest, the highest and the last."""

    def __init__(self) -> None:
        self._width = WIDTH
        self._parts: dict[int, tuple[Point, Point, Point]] = {}
        self._last: float | None = None

    def add(self, tick: int, value: float) -> None:
        self._last = float(value) if abs(value) <= HUGE else self._last
        if self._last is None:
            return
        point = tick, self._last
        self._put(max(0, tick - 1) // self._width, (point, point, point))
        while len(self._parts) > MAX_PARTS:
            self._widen()

    def _put(self, part: int, new: tuple[Point, Point, Point]) -> None:
        old = self._parts.get(part)
        if old is not None:
            new = (min(old[0], new[0], key=_by_value), max(old[1], new[1], key=_by_value), new[2])
        self._parts[part] = new

    def _widen(self) -> None:
        self._width *= 2
        narrow, self._parts = self._parts, {}
        for part, points in narrow.items():
            self._put(part // 2, points)

    def __iter__(self) -> Iterator[Point]:
        for low, high, last in self._parts.values():
            yield from sorted({low, high} - {last})
            yield last


def _by_value(point: Point) -> float:
    return point[1]
