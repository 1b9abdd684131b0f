"""The picture of a search: every experiment in the order in which it was measured, and the best so far."""

from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import TYPE_CHECKING, Any

from dagstore.model import Direction
from dagstore.plot import style
from dagstore.plot.measured import measured, nothing
from dagstore.querying import Querying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dagstore.base import Ref

LABELS = 10
"""How many improvements are named at most."""
LABEL_LENGTH = 38
PLOT_POINTS = (700.0, 280.0)
"""About how large the area inside the axes is, in points (1/72 inch)."""
STEP_FENCE = 10.0
"""How many interquartile ranges from the middle half an improvement may be and still be in view."""


@dataclass(frozen=True, slots=True)
class Point:
    """One experiment: the estimate of its metric, or None if no run yielded it."""

    value: float | None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Experiments in the order in which their first run ended, all of one protocol and platform."""

    points: tuple[Point, ...]
    metric: str
    direction: Direction
    noise: float | None = None
    where: str = ""

    def improvements(self) -> list[int]:
        """The experiments that were better than all before them."""
        found: list[int] = []
        for index, point in enumerate(self.points):
            if point.value is not None and (not found or self.better(point.value, self._value(found[-1]))):
                found.append(index)
        return found

    def better(self, one: float, other: float) -> bool:
        return one < other if self.direction is Direction.MINIMIZE else one > other

    def measured(self) -> list[tuple[int, float]]:
        return [(index, point.value) for index, point in enumerate(self.points) if point.value is not None]

    @property
    def first(self) -> float:
        return self.measured()[0][1]

    @property
    def best(self) -> float:
        return self._value(self.improvements()[-1])

    def _value(self, index: int) -> float:
        value = self.points[index].value
        assert value is not None
        return value


def measured_progress(
    store: Querying, ref: "Ref | None" = None, platform: str | None = None, protocol: str | None = None
) -> Progress:
    """What a store measured under the protocol and on the platform of a ranking, in order of time.

    One point a tree: nodes with the same files are one experiment. Of one node's lineage, if a node is named.
    """
    found = measured(store, platform, protocol)
    runs = found.runs
    if ref is not None:
        runs = runs[runs["tree"].isin([str(node.tree) for node in store.lineage(ref)])]
    ended = runs["started"].astype(float) + 1000 * runs["seconds"]
    first = runs.assign(ended=ended).sort_values("ended", kind="stable").drop_duplicates("tree")["node"]
    named = found.nodes.loc[first, ["estimate", "message"]]
    pairs = zip(named["estimate"], named["message"], strict=True)
    points = tuple(Point(None if isnan(value) else value, label) for value, label in pairs)
    if all(point.value is None for point in points):
        raise nothing()
    return Progress(points, found.metric, found.direction, found.noise, found.where)


def draw_progress(progress: Progress) -> "Figure":
    """Needs at least one measured experiment."""
    figure = style.figure()
    axes = figure.add_subplot()
    low, high = view(progress)
    axes.set_xlim(0.5 - 0.01 * len(progress.points), len(progress.points) * 1.01 + 0.5)
    axes.set_ylim(low, high)
    _draw_best(axes, progress)
    _draw_points(axes, progress, low, high)
    _draw_edge(axes, progress, low, high)
    _dress(axes, progress)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    _draw_labels(axes, progress, low, high)
    return figure


def view(progress: Progress) -> tuple[float, float]:
    """The range of the axis: a few outliers do not flatten the rest, improvements get more room than others."""
    values = [style.bounded(value) for _, value in progress.measured()]
    steps = {style.bounded(progress.points[index].value or 0.0) for index in progress.improvements()}
    (low, high), (least, most) = style.in_view(values), style.in_view(values, STEP_FENCE)
    seen = [low, high, *(value for value in steps if least <= value <= most)]
    low, high = min(seen), max(seen)
    margin = 0.1 * (high - low) or 0.02 * abs(low) or 0.02
    return low - margin, high + margin


def _draw_best(axes: "Axes", progress: Progress) -> None:
    steps = progress.improvements()
    xs = [index + 1 for index in steps] + [len(progress.points) + 0.5]
    ys = [style.bounded(progress.points[index].value or 0.0) for index in [*steps, steps[-1]]]
    axes.step(xs, ys, where="post", color=style.BLUE, linewidth=1.6, label="best so far", zorder=3)
    if progress.noise:
        below, above = ([y + sign * progress.noise for y in ys] for sign in (-1, 1))
        axes.fill_between(
            xs, below, above, step="post", color=style.BLUE, alpha=0.13, linewidth=0, label="± 1 sd of a repeated run"
        )


def _draw_points(axes: "Axes", progress: Progress, low: float, high: float) -> None:
    steps = set(progress.improvements())
    inside = [(index + 1, value) for index, value in progress.measured() if low <= value <= high]
    others, best = ([dot for dot in inside if (dot[0] - 1 in steps) is kept] for kept in (False, True))
    if others:
        size, many = style.size_of(len(others)), len(others) > style.MANY
        look: dict[str, Any] = {
            "s": size,
            "color": style.GREY,
            "alpha": 0.6 if many else 0.75,
            "linewidths": 0,
            "rasterized": many,
        }
        axes.scatter(*zip(*others, strict=True), label="measured", zorder=2, **look)
    if best:
        look = {"s": 34, "marker": "D", "color": style.BLUE, "edgecolors": "white", "linewidths": 0.8}
        axes.scatter(*zip(*best, strict=True), label="new best", zorder=4, **look)


def _draw_edge(axes: "Axes", progress: Progress, low: float, high: float) -> None:
    """What has no place between the limits: values beyond them, and experiments without a value."""
    across = axes.get_xaxis_transform()
    worse_up = progress.direction is Direction.MINIMIZE
    beyond = {
        "^": [index + 1 for index, value in progress.measured() if value > high],
        "v": [index + 1 for index, value in progress.measured() if value < low],
    }
    edge_size = 24 if len(progress.points) <= style.MANY else 10
    label = "off the scale"
    for marker, xs in beyond.items():
        if xs:
            edge = 0.985 if marker == "^" else 0.015
            axes.scatter(
                xs,
                [edge] * len(xs),
                s=edge_size,
                marker=marker,
                color=style.ORANGE,
                transform=across,
                label=label,
                zorder=5,
            )
            label = ""
    failed = [index + 1 for index, point in enumerate(progress.points) if point.value is None]
    if failed:
        ys = [0.985 if worse_up else 0.015] * len(failed)
        axes.scatter(
            failed,
            ys,
            s=edge_size,
            marker="x",
            color=style.VERMILION,
            transform=across,
            label="no number (failed)",
            zorder=5,
        )


def _dress(axes: "Axes", progress: Progress) -> None:
    from matplotlib.ticker import MaxNLocator

    style.title(axes, _headline(progress), _subtitle(progress))
    axes.set_xlabel("experiments, in the order in which their first run ended", fontsize=10)
    said = f"{style.text(progress.metric, 40)} ({style.better(progress.direction)})"
    axes.set_ylabel(said, fontsize=10, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.plain(axes)


def _headline(progress: Progress) -> str:
    first, best = progress.first, progress.best
    share = abs(best / first - 1) if first > 0 and best > 0 else 0.0
    gain = f" ({share:.2%} better)" if 0 < share < 10 else ""
    start = f"{first:.6g} → " if best != first else ""
    return f"{style.text(progress.metric, 40)}: {start}{best:.6g}{gain}"


def _subtitle(progress: Progress) -> list[str]:
    number, kept = len(progress.measured()), len(progress.improvements()) - 1
    failed = len(progress.points) - number
    return [
        style.count(len(progress.points), "experiment"),
        f"{number:,} measured",
        f"{failed:,} without a number" if failed else "",
        f"{kept:,} improved on the best" if kept else "",
        style.text(progress.where, 80),
    ]


def _draw_labels(axes: "Axes", progress: Progress, low: float, high: float) -> None:
    """Which improvements are named, the most telling first, as far as their texts touch no dot and no other text.

    A text stands left of its dot on the better side, where no earlier dot can be, or else right on the worse side.
    """
    up = progress.direction is Direction.MAXIMIZE
    x_scale, y_scale = PLOT_POINTS[0] / len(progress.points), PLOT_POINTS[1] / (high - low)
    at = {i: (x_scale * (i + 0.5), y_scale * (value - low)) for i, value in progress.measured() if low <= value <= high}
    steps = [index for index in _by_gain(progress) if index in at]
    marks = [style.Mark(*at[index], style.text(progress.points[index].label, LABEL_LENGTH)) for index in steps]
    for one in style.place(marks, list(at.values()), PLOT_POINTS, LABELS, ((True, up), (False, not up))):
        index = steps[one.mark]
        xy = index + 1, progress.points[index].value or 0.0
        style.annotate(axes, xy, marks[one.mark].text, left=one.left, above=one.above)


def _by_gain(progress: Progress) -> list[int]:
    """Improvements: the last one, the first measurement, and then those that gained most."""
    steps = progress.improvements()
    values = [style.bounded(progress.points[index].value or 0.0) for index in steps]
    gains = [0.0, *(abs(a - b) for a, b in pairwise(values))]
    order = sorted(range(len(steps)), key=lambda n: (n not in (0, len(steps) - 1), -gains[n], n))
    return [steps[n] for n in order]
