"""Pareto fronts: pure arithmetic of what cannot be improved on one axis without losing on another."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dagstore.errors import BadInput

Point = tuple[float, ...]
"""A position on every axis; smaller is better on each."""


class Axis(NamedTuple):
    """A metric, or one of the computed axes `diff`, `seconds` and `runs`, and which end of it is the better one."""

    name: str
    largest: bool = False


def parse_axes(texts: Sequence[str], metric: str, *, largest: bool) -> tuple[Axis, ...]:
    """Axes from `NAME`, `NAME:min` or `NAME:max`; the protocol's metric goes its own way, others are to be small."""
    axes = []
    for text in texts:
        name, colon, end = text.rpartition(":")
        if not colon or end not in {"min", "max"}:
            name, end = text, "max" if text == metric and largest else "min"
        if not name:
            raise BadInput(f"{text!r} names no axis", hint="name a metric, `diff` or `seconds`, as in `mfu:max`")
        axes.append(Axis(name, end == "max"))
    if len({axis.name for axis in axes}) < max(2, len(axes)):
        raise BadInput("a front needs two different axes or more", hint=f"for instance {metric} and diff")
    return tuple(axes)


def fronts(points: Mapping[int, Point]) -> dict[int, int]:
    """For each point (all axes: smaller is better) the number of its front: 1 is not dominated, 2 only by 1, ….

    A point is dominated by one that is no worse on any axis and better on one; equal points share a front.
    """
    left = sorted(points, key=lambda key: (points[key], key))
    found: dict[int, int] = {}
    front = 0
    while left:
        front += 1
        # In this order nothing is dominated by what comes after it.
        kept: list[Point] = []
        later = []
        for key in left:
            if any(_dominates(other, points[key]) for other in kept):
                later.append(key)
            else:
                kept.append(points[key])
                found[key] = front
        left = later
    return found


def _dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
