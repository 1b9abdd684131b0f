"""The Pareto front of a store: measured trees on axes that are metrics of their runs or computed from them."""

from collections.abc import Callable, Iterable
from functools import reduce
from itertools import islice

from dagstore.errors import NotFound
from dagstore.index import RUN, facts
from dagstore.metrics import ranked_by
from dagstore.model import Direction, Run
from dagstore.objects import Objects
from dagstore.pareto import Axis, Point, fronts
from dagstore.rank import Moments
from dagstore.refs import seed
from dagstore.strategies import POOL, Chosen, Field, Pick

EACH = 200
"""So many of the best on every other metric join the pool."""

Lines = Callable[[int], float | None]


def front(field: Field, axes: tuple[Axis, ...], top: int, lines: Lines, objects: Objects) -> Chosen:
    """Trees by the number of their front, then by estimate; those that lack a number on some axis have no place.

    The pool is the best by estimate and by every other axis that is a metric, and the seed.
    """
    trees = _pool(field, axes)
    found = {tree: _position(field, tree, axes, lines, objects) for tree in trees}
    whole = {tree: position for tree, position in found.items() if position is not None}
    _check(found, whole, axes)
    points: dict[int, Point] = {
        tree: tuple(-value if axis.largest else value for axis, value in zip(axes, position, strict=True))
        for tree, position in whole.items()
    }
    numbers = fronts(points)
    picks = []
    for tree in sorted(numbers, key=lambda tree: (numbers[tree], field.towards * field.judged(tree).estimate, tree)):
        by_name = {axis.name: value for axis, value in zip(axes, whole[tree], strict=True)}
        why = "nothing is better on all axes" if numbers[tree] == 1 else f"on front {numbers[tree]}"
        picks.append(Pick(field.judged(tree), why, float(numbers[tree]), by_name))
    return Chosen(picks[:top], len(trees))


def _pool(field: Field, axes: Iterable[Axis]) -> list[int]:
    trees = dict.fromkeys(it.tree for it in field.best(POOL))
    for axis in axes:
        if axis.name not in {field.channel.metric, "diff", "seconds"}:
            trees.update(dict.fromkeys(_best_on(field, axis)))
    first = field.lineage.tree_of(seed(field.txn))
    if field.measured(first):
        trees[first] = None
    return list(trees)


def _best_on(field: Field, axis: Axis) -> Iterable[int]:
    """The best on a metric; it is kept in the channel's direction, which may not be the axis' own."""
    reverse = axis.largest is not (field.channel.direction is Direction.MAXIMIZE)
    kept = ranked_by(field.txn, field.channel, axis.name, reverse=reverse)
    return [tree for tree, _ in islice(kept, EACH)]


def _position(field: Field, tree: int, axes: Iterable[Axis], lines: Lines, objects: Objects) -> Point | None:
    runs = _runs(field, tree, objects)
    position = []
    for axis in axes:
        value = _value(field, tree, axis.name, lines, runs)
        if value is None:
            return None
        position.append(value)
    return tuple(position)


def _value(field: Field, tree: int, name: str, lines: Lines, runs: list[Run]) -> float | None:
    if name == field.channel.metric:
        return field.judged(tree).estimate
    if name == "diff":
        return lines(tree)
    values = [run.seconds for run in runs] if name == "seconds" else [run.metrics.get(name) for run in runs]
    there = reduce(Moments.add, (value for value in values if value is not None), Moments())
    return there.mean if there.n else None


def _runs(field: Field, tree: int, objects: Objects) -> list[Run]:
    """The runs of a tree that count in the channel."""
    loaded: Iterable[Run] = (objects.load(field.txn, record) for record in facts(field.txn, tree, RUN))
    return [run for run in loaded if field.channel.counts(run)]


def _check(found: dict[int, Point | None], whole: dict[int, Point], axes: Iterable[Axis]) -> None:
    if found and not whole:
        names = ", ".join(axis.name for axis in axes)
        raise NotFound(
            f"no experiment has a number on every axis ({names})", hint="`dag show @best` lists what runs report"
        )
