"""The picture of a trade: two numbers of every experiment, and those that nothing beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagstore.errors import BadInput, NotFound
from dagstore.model import Direction
from dagstore.plot import style
from dagstore.plot.measured import ALL, Measured, measured
from dagstore.querying import Querying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = 8
PLOT_POINTS = (690.0, 280.0)
SECONDS, DIFF = "seconds", "diff"


@dataclass(frozen=True, slots=True)
class Axis:
    name: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class Dot:
    """An experiment: the means of two numbers over its `n` runs."""

    x: float
    y: float
    label: str
    n: int


@dataclass(frozen=True, slots=True)
class Trade:
    """Experiments that have both numbers; `without` lack one."""

    dots: tuple[Dot, ...]
    x: Axis
    y: Axis
    where: str
    without: int

    def front(self) -> list[int]:
        """The dots that no other one is at least as good as in both and better in one, by x."""
        best: list[int] = []
        order = sorted(range(len(self.dots)), key=lambda at: (self._cost(self.x, self.dots[at].x), self._y(at)))
        for at in order:
            if not best or self._y(at) < self._y(best[-1]):
                best.append(at)
        return sorted(best, key=lambda at: self.dots[at].x)

    def _y(self, at: int) -> float:
        return self._cost(self.y, self.dots[at].y)

    @staticmethod
    def _cost(axis: Axis, value: float) -> float:
        return value if axis.direction is Direction.MINIMIZE else -value


def traded(
    store: Querying,
    x: str = SECONDS,
    y: str | None = None,
    maximize: Sequence[str] = (),
    platform: str | None = None,
    protocol: str | None = None,
) -> Trade:
    """Two numbers that runs report, of each tree; `seconds` is what its runs took.

    The protocol's metric has the charter's direction, all others are better where smaller unless they are in
    `maximize`. `NotFound` if no run has both, `BadInput` if a name is no metric.
    """
    found = measured(store, platform, protocol)
    y = y or found.metric
    columns = {name: _column(found, name) for name in (x, y)}
    ok = found.runs[found.runs["status"] == "ok"]
    means = ok.groupby("tree", sort=False).agg(
        x=(columns[x], "mean"), y=(columns[y], "mean"), node=("node", "first"), n=("node", "size")
    )
    whole = means.dropna(subset=["x", "y"])
    if whole.empty:
        raise NotFound(f"no run reports both {x} and {y}", hint="`dag show @last` lists what runs report")
    labels = found.nodes.loc[whole["node"], "message"]
    rows = zip(whole["x"], whole["y"], labels, whole["n"], strict=True)
    axes = [Axis(name, _direction(found, name, maximize)) for name in (x, y)]
    return Trade(tuple(Dot(*row) for row in rows), axes[0], axes[1], found.where, len(means) - len(whole))


def weighed(
    store: Querying,
    x: str = DIFF,
    y: str | None = None,
    maximize: Sequence[str] = (),
    platform: str | None = None,
    protocol: str | None = None,
) -> Trade:
    """The same of what `dag frontier --strategy pareto` looks at: with estimates, and `diff`, which no run reports."""
    y = y or store.frontier(0, platform=platform, protocol=protocol).metric
    axes = [f"{name}:max" if name in maximize else name for name in (y, x)]
    found = store.frontier(ALL, strategy="pareto", axes=axes, platform=platform, protocol=protocol)
    dots = tuple(Dot(row.axes[x], row.axes[y], row.message, row.runs) for row in found.nodes)
    where = f"{found.platform}, protocol {str(found.protocol)[:8]}, the best {found.considered} of {found.measured}"
    largest = {*maximize, *([found.metric] if found.direction is Direction.MAXIMIZE else [])}
    both = [Axis(name, Direction.MAXIMIZE if name in largest else Direction.MINIMIZE) for name in (x, y)]
    return Trade(dots, both[0], both[1], where, found.considered - len(dots))


def _column(found: Measured, name: str) -> str:
    column = name if name == SECONDS else f"metrics.{name}"
    if column not in found.runs:
        there = ", ".join(sorted(one[len("metrics.") :] for one in found.runs if one.startswith("metrics.")))
        raise BadInput(f"no metric {name!r}", hint=f"there is: {SECONDS}, {there}")
    return column


def _direction(found: Measured, name: str, maximize: Sequence[str]) -> Direction:
    if name == found.metric:
        return found.direction
    return Direction.MAXIMIZE if name in maximize else Direction.MINIMIZE


def draw_pareto(trade: Trade) -> "Figure":
    """Needs at least one dot."""
    figure = style.figure()
    axes = figure.add_subplot()
    front = trade.front()
    rest = [at for at in range(len(trade.dots)) if at not in set(front)]
    if rest:
        many = len(rest) > style.MANY
        look: dict[str, Any] = {"s": style.size_of(len(rest)), "color": style.GREY, "alpha": 0.6, "rasterized": many}
        axes.scatter(*_places(trade, rest), linewidths=0, label="beaten by another one", zorder=2, **look)
    _draw_front(axes, trade, front)
    _dress(axes, trade, front)
    _draw_labels(axes, trade, front)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def _places(trade: Trade, chosen: Sequence[int]) -> tuple[list[float], list[float]]:
    return [style.bounded(trade.dots[at].x) for at in chosen], [style.bounded(trade.dots[at].y) for at in chosen]


def _draw_front(axes: "Axes", trade: Trade, front: Sequence[int]) -> None:
    xs, ys = _places(trade, front)
    cheap_x = trade.x.direction is Direction.MINIMIZE
    axes.step(xs, ys, where="post" if cheap_x else "pre", color=style.BLUE, linewidth=1.4, zorder=3)
    look: dict[str, Any] = {"s": 36, "marker": "D", "color": style.BLUE, "edgecolors": "white", "linewidths": 0.8}
    axes.scatter(xs, ys, label="beaten by none", zorder=4, **look)


def _dress(axes: "Axes", trade: Trade, front: Sequence[int]) -> None:
    _limit(axes, trade, front)
    names = [style.text(axis.name, 40) for axis in (trade.x, trade.y)]
    runs = sum(dot.n for dot in trade.dots)
    parts = [
        f"{style.count(len(trade.dots), 'experiment')} of {style.count(runs, 'run')}",
        f"{len(front):,} on the front",
        f"{trade.without:,} lack one of the two" if trade.without else "",
        f"{beyond:,} off the scale" if (beyond := _beyond(axes, trade)) else "",
        style.text(trade.where, 80),
    ]
    style.title(axes, f"{names[1]} against {names[0]}", parts)
    axes.set_xlabel(f"{names[0]} ({style.better(trade.x.direction)})", fontsize=10, parse_math=False)
    axes.set_ylabel(f"{names[1]} ({style.better(trade.y.direction)})", fontsize=10, parse_math=False)
    style.plain(axes, "both")


def _limit(axes: "Axes", trade: Trade, front: Sequence[int]) -> None:
    """All of the front is in view, and of the others what is no outlier."""
    (xs, ys), (best_x, best_y) = _places(trade, range(len(trade.dots))), _places(trade, front)
    axes.set_xlim(_ends(xs, best_x))
    axes.set_ylim(_ends(ys, best_y))


def _ends(values: Sequence[float], best: Sequence[float]) -> tuple[float, float]:
    low, high = style.in_view(values)
    low, high = min(low, *best), max(high, *best)
    margin = 0.08 * (high - low) or 0.02 * abs(low) or 0.02
    return low - margin, high + margin


def _beyond(axes: "Axes", trade: Trade) -> int:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return sum(not (left <= dot.x <= right and low <= dot.y <= high) for dot in trade.dots)


def _draw_labels(axes: "Axes", trade: Trade, front: Sequence[int]) -> None:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    x_scale, y_scale = PLOT_POINTS[0] / (right - left), PLOT_POINTS[1] / (high - low)
    xs, ys = _places(trade, range(len(trade.dots)))
    at = [((x - left) * x_scale, (y - low) * y_scale) for x, y in zip(xs, ys, strict=True)]
    ends = [*front[:1], *front[-1:], *front[1:-1]]
    named = list(dict.fromkeys(ends))
    marks = [style.Mark(*at[dot], style.text(trade.dots[dot].label, 34)) for dot in named]
    for one in style.place(marks, at, PLOT_POINTS, LABELS):
        dot = named[one.mark]
        style.annotate(axes, (xs[dot], ys[dot]), marks[one.mark].text, left=one.left, above=one.above)
