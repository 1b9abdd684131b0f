"""The picture of a search: every experiment in the order in which it was measured, and the best so far.

`progress(store)` shows itself in a notebook. Colours are those of Okabe and Ito, which colour-blind people can tell
apart, and every kind of mark has a shape of its own.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from dagstore.errors import NotFound
from dagstore.ids import NodeId, TreeId
from dagstore.model import Direction
from dagstore.views import NodeView, RunView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dagstore.base import Ref
    from dagstore.store import Store

BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#8C8C8C"
LABELS = 10
"""How many improvements are named at most."""
LABEL_LENGTH = 38
LABEL_POINTS = 8.5
PLOT_POINTS = (700.0, 280.0)
"""About how large the area inside the axes is, in points (1/72 inch)."""
FENCE, STEP_FENCE = 3.0, 10.0
"""How many interquartile ranges from the middle half an experiment, or an improvement, may be and still be in view."""
HUGE = 1e300
"""Beyond this, axes cannot be computed with."""


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


Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True, slots=True)
class Label:
    """The name of an improvement, left or right of its dot."""

    index: int
    text: str
    left: bool
    box: Box


def progress(store: "Store", ref: "Ref | None" = None) -> "Figure":
    """The picture of everything that a store measured, or of one node's lineage; `NotFound` if that is nothing."""
    return draw_progress(measured_progress(store, ref))


def measured_progress(store: "Store", ref: "Ref | None" = None) -> Progress:
    """What a store measured under the protocol and on the platform of its frontier, in order of time."""
    frontier = store.frontier(top=1)
    runs = [run for run in store.runs() if (run.protocol, run.platform) == (frontier.protocol, frontier.platform)]
    views = {id: store.node(id) for id in dict.fromkeys(run.node for run in runs)}
    line = None if ref is None else {node.tree for node in store.lineage(ref)}
    points = _points(runs, views, line)
    if all(point.value is None for point in points):
        raise NotFound("nothing was measured here yet, so there is no progress", hint="measure with `dag run @seed`")
    where = f"{frontier.platform}, protocol {str(frontier.protocol)[:8]}"
    return Progress(points, frontier.metric, frontier.direction, frontier.noise.sd, where)


def _points(
    runs: Iterable[RunView], views: Mapping[NodeId, NodeView], line: Container[TreeId] | None
) -> tuple[Point, ...]:
    """One point a tree: nodes with the same files are one experiment."""
    points: dict[TreeId, Point] = {}
    for run in sorted(runs, key=lambda run: run.started + 1000 * run.seconds):
        node = views[run.node]
        if line is None or node.tree in line:
            points.setdefault(node.tree, Point(node.estimate, node.message))
    return tuple(points.values())


def draw_progress(progress: Progress) -> "Figure":
    """A figure of 11 by 5.5 inches. Needs at least one measured experiment; does not touch pyplot's state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), dpi=150, layout="constrained")
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
    values = sorted(_bounded(value) for _, value in progress.measured())
    steps = {progress.points[index].value for index in progress.improvements()}
    q1, q3 = values[len(values) // 4], values[(3 * len(values)) // 4]
    spread = q3 - q1 or 0.01 * abs(q1) or 0.01
    seen = [
        value
        for value in values
        if q1 - value <= (reach := (STEP_FENCE if value in steps else FENCE) * spread) and value - q3 <= reach
    ]
    low, high = seen[0], seen[-1]
    margin = 0.1 * (high - low) or 0.02 * abs(low) or 0.02
    return low - margin, high + margin


def _bounded(value: float) -> float:
    return max(-HUGE, min(HUGE, value))


def _draw_best(axes: "Axes", progress: Progress) -> None:
    steps = progress.improvements()
    xs = [index + 1 for index in steps] + [len(progress.points) + 0.5]
    ys = [_bounded(progress.points[index].value or 0.0) for index in [*steps, steps[-1]]]
    axes.step(xs, ys, where="post", color=BLUE, linewidth=1.6, label="best so far", zorder=3)
    if progress.noise:
        below, above = ([y + sign * progress.noise for y in ys] for sign in (-1, 1))
        axes.fill_between(
            xs, below, above, step="post", color=BLUE, alpha=0.13, linewidth=0, label="± 1 sd of a repeated run"
        )


def _draw_points(axes: "Axes", progress: Progress, low: float, high: float) -> None:
    steps = set(progress.improvements())
    inside = [(index + 1, value) for index, value in progress.measured() if low <= value <= high]
    others, best = ([dot for dot in inside if (dot[0] - 1 in steps) is kept] for kept in (False, True))
    if others:
        xs, ys = zip(*others, strict=True)
        axes.scatter(xs, ys, s=16, color=GREY, alpha=0.75, label="measured", zorder=2)
    if best:
        xs, ys = zip(*best, strict=True)
        axes.scatter(xs, ys, s=40, color=BLUE, edgecolors="white", linewidths=0.8, label="new best", zorder=4)


def _draw_edge(axes: "Axes", progress: Progress, low: float, high: float) -> None:
    """What has no place between the limits: values beyond them, and experiments without a value."""
    across = axes.get_xaxis_transform()
    worse_up = progress.direction is Direction.MINIMIZE
    beyond = {
        "^": [index + 1 for index, value in progress.measured() if value > high],
        "v": [index + 1 for index, value in progress.measured() if value < low],
    }
    label = "off the scale"
    for marker, xs in beyond.items():
        if xs:
            edge = 0.985 if marker == "^" else 0.015
            axes.scatter(
                xs, [edge] * len(xs), s=26, marker=marker, color=ORANGE, transform=across, label=label, zorder=5
            )
            label = ""
    failed = [index + 1 for index, point in enumerate(progress.points) if point.value is None]
    if failed:
        ys = [0.985 if worse_up else 0.015] * len(failed)
        axes.scatter(
            failed, ys, s=22, marker="x", color=VERMILION, transform=across, label="no number (failed)", zorder=5
        )


def _dress(axes: "Axes", progress: Progress) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(_headline(progress), loc="left", fontsize=14, fontweight="bold", pad=24, parse_math=False)
    axes.text(0, 1.025, _subtitle(progress), transform=axes.transAxes, fontsize=9.5, color="#555555", parse_math=False)
    axes.set_xlabel("experiments, in the order in which their first run ended", fontsize=10)
    better = "lower" if progress.direction is Direction.MINIMIZE else "higher"
    axes.set_ylabel(f"{_drawable(progress.metric, 40)} ({better} is better)", fontsize=10, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter("{x:.6g}")
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _headline(progress: Progress) -> str:
    first, best = progress.first, progress.best
    share = abs(best / first - 1) if first else 0.0
    gain = f" ({share:.2%} better)" if 0 < share < 10 else ""
    start = f"{first:.6g} → " if best != first else ""
    return f"{_drawable(progress.metric, 40)}: {start}{best:.6g}{gain}"


def _subtitle(progress: Progress) -> str:
    measured, kept = len(progress.measured()), len(progress.improvements()) - 1
    failed = len(progress.points) - measured
    parts = [
        f"{len(progress.points)} experiments",
        f"{measured} measured",
        f"{failed} without a number" if failed else "",
        f"{kept} improved on the best" if kept else "",
        _drawable(progress.where, 80),
    ]
    return " · ".join(part for part in parts if part)


def _draw_labels(axes: "Axes", progress: Progress, low: float, high: float) -> None:
    down = progress.direction is Direction.MINIMIZE
    for label in _labels(progress, low, high):
        axes.annotate(
            label.text,
            (label.index + 1, progress.points[label.index].value),
            xytext=(-5, -2 if down else 2) if label.left else (5, 2 if down else -2),
            textcoords="offset points",
            ha="right" if label.left else "left",
            va="top" if label.left is down else "bottom",
            fontsize=LABEL_POINTS,
            color="#333333",
            parse_math=False,
        )


def _labels(progress: Progress, low: float, high: float) -> list[Label]:
    """Which improvements are named, the most telling first, as far as their texts touch no dot and no other text.

    A text stands left of its dot on the better side, where no earlier dot can be, or else right on the worse side.
    """
    x_scale, y_scale = PLOT_POINTS[0] / len(progress.points), PLOT_POINTS[1] / (high - low)
    sign = -1 if progress.direction is Direction.MINIMIZE else 1
    at = {i: (x_scale * (i + 0.5), y_scale * (value - low)) for i, value in progress.measured() if low <= value <= high}
    labels: list[Label] = []
    for index in [index for index in _by_gain(progress) if index in at]:
        text = _drawable(progress.points[index].label, LABEL_LENGTH)
        boxes = ((left, _box(at[index], text, left=left, sign=sign)) for left in (True, False))
        free = [(left, box) for left, box in boxes if _is_free(box, at.values(), labels)]
        if text and free and len(labels) < LABELS:
            labels.append(Label(index, text, *free[0]))
    return labels


def _box(at: tuple[float, float], text: str, *, left: bool, sign: int) -> Box:
    """Where a text would stand, in points; measured generously, for letters differ in width."""
    width, height = 0.58 * LABEL_POINTS * len(text) + 4, 1.4 * LABEL_POINTS
    x = at[0] - 4 - width if left else at[0] + 4
    y = at[1] + 1 if (sign > 0) is left else at[1] - 1 - height
    return x, y, x + width, y + height


def _is_free(box: Box, dots: Iterable[tuple[float, float]], labels: Iterable[Label]) -> bool:
    x0, y0, x1, y1 = box
    inside = x0 > 0 and y0 > 0 and x1 < PLOT_POINTS[0] and y1 < PLOT_POINTS[1]
    apart = all(x1 < a or c < x0 or y1 < b or d < y0 for a, b, c, d in (label.box for label in labels))
    return inside and apart and not any(x0 < x < x1 and y0 < y < y1 for x, y in dots)


def _by_gain(progress: Progress) -> list[int]:
    """Improvements: the last one, the first measurement, and then those that gained most."""
    steps = progress.improvements()
    values = [_bounded(progress.points[index].value or 0.0) for index in steps]
    gains = [0.0, *(abs(a - b) for a, b in pairwise(values))]
    order = sorted(range(len(steps)), key=lambda n: (n not in (0, len(steps) - 1), -gains[n], n))
    return [steps[n] for n in order]


def _drawable(text: str, length: int) -> str:
    """The first line of a text, cut to `length`, in characters that the font has."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    line = next(iter(text.strip().splitlines()), "")
    shown = "".join(char if font.get_char_index(ord(char)) else "?" for char in line if char.isprintable())
    return shown if len(shown) <= length else shown[: length - 1].rstrip() + "…"
