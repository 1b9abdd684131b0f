"""The picture of the noise: how far runs of the same files lie apart, against what the pooled noise lets expect."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagstore.errors import NotFound
from dagstore.model import Direction
from dagstore.plot import style
from dagstore.plot.measured import measured
from dagstore.querying import Querying
from dagstore.rank import Z90

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 4.5
"""Standard deviations that are in view; what lies beyond is counted in the outer bars."""


@dataclass(frozen=True, slots=True)
class Group:
    """An experiment that was measured more than once: how often, and the sd of its runs."""

    n: int
    sd: float


@dataclass(frozen=True, slots=True)
class Noise:
    """Residuals of repeated runs in units of the pooled sd, each corrected for the mean that was taken from it."""

    residuals: tuple[float, ...]
    groups: tuple[Group, ...]
    sd: float
    metric: str
    direction: Direction
    where: str


def repeated(store: Querying, platform: str | None = None, protocol: str | None = None) -> Noise:
    """The runs of everything that was measured more than once; `NotFound` if nothing was."""
    found = measured(store, platform, protocol)
    ok = found.runs[(found.runs["status"] == "ok") & found.runs["value"].notna()]
    values = ok.groupby("tree")["value"]
    n, mean = values.transform("size"), values.transform("mean")
    several = n > 1
    residuals = (ok["value"] - mean)[several] / (1 - 1 / n[several]) ** 0.5
    stats = ok[several].groupby("tree")["value"].agg(["size", "std"])
    freedom = int(stats["size"].sum() - len(stats))
    squares = float((stats["std"] ** 2 * (stats["size"] - 1)).sum())
    sd = math.sqrt(squares / freedom) if freedom else 0.0
    if not sd:
        raise NotFound("nothing was measured twice with two results", hint="`dag run @best --repeat 3` measures again")
    groups = tuple(Group(int(size), float(spread)) for size, spread in zip(stats["size"], stats["std"], strict=True))
    return Noise(tuple(residuals / sd), groups, sd, found.metric, found.direction, found.where)


def draw_noise(noise: Noise) -> "Figure":
    """Left all residuals against the normal curve, right the sd of each experiment against its number of runs."""
    figure = style.figure()
    left, right = figure.subplots(1, 2)
    _draw_residuals(left, noise)
    _draw_groups(right, noise)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_residuals(axes: "Axes", noise: Noise) -> None:
    count = len(noise.residuals)
    bins = max(9, min(61, 1 + 2 * round(math.sqrt(count) / 2)))
    width = 2 * SHOWN / bins
    edges = [width * (at - bins / 2) for at in range(bins + 1)]
    held = [max(-SHOWN + 1e-9, min(SHOWN - 1e-9, one)) for one in noise.residuals]
    axes.hist(held, bins=edges, color=style.SKY, edgecolor="white", linewidth=0.5, label="runs, less their mean")
    xs = [SHOWN * (at / 100 - 1) for at in range(201)]
    normal = [count * width * math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in xs]
    axes.plot(xs, normal, color=style.VERMILION, linewidth=1.6, label="normal with the pooled sd")
    outside = sum(abs(one) > 2 for one in noise.residuals) / count
    parts = [f"sd {noise.sd:.4g}", style.count(count, "run"), f"{outside:.1%} beyond 2 sd (normal: 4.6%)"]
    style.title(axes, f"Noise of {style.text(noise.metric, 30)}", parts)
    axes.set_xlabel("standard deviations from the mean of the same files", fontsize=10)
    axes.set_ylabel("runs", fontsize=10)
    axes.set_xlim(-SHOWN, SHOWN)
    style.plain(axes)


def _draw_groups(axes: "Axes", noise: Noise) -> None:
    sizes = sorted({group.n for group in noise.groups})
    grid = _between(sizes[0], sizes[-1])
    low, high = ([noise.sd * _chi(n - 1, sign * Z90) for n in grid] for sign in (-1, 1))
    axes.fill_between(grid, low, high, color=style.VERMILION, alpha=0.13, linewidth=0, label="90 % of them, by chance")
    axes.axhline(noise.sd, color=style.VERMILION, linewidth=1.2)
    many = len(noise.groups)
    look: dict[str, Any] = {"s": max(14.0, style.size_of(many)), "color": style.BLUE, "alpha": 0.6, "linewidths": 0}
    # Groups of one size lie side by side, so that it can be seen how many they are.
    xs = [
        one.n * 1.03 ** _beside(at) if sizes[-1] > 20 else one.n + 0.1 * _beside(at)
        for at, one in enumerate(noise.groups)
    ]
    axes.scatter(xs, [one.sd for one in noise.groups], label="an experiment", **look)
    if sizes[-1] > 20:
        axes.set_xscale("log")
        axes.set_xlim(grid[0], grid[-1])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter("")
    else:
        axes.set_xticks(range(sizes[0], sizes[-1] + 1))
        axes.set_xlim(sizes[0] - 0.5, sizes[-1] + 0.5)
    axes.set_ylim(0, 1.2 * max(noise.sd, *(one.sd for one in noise.groups)))
    style.title(axes, "by experiment", [style.count(many, "experiment"), style.text(noise.where, 52)])
    axes.set_xlabel("runs of it", fontsize=10)
    axes.set_ylabel("sd of its runs", fontsize=10)
    style.plain(axes)


def _beside(at: int) -> float:
    """Between -1 and 1, evenly spread (the golden ratio) and the same every time."""
    return 2 * (at * 0.6180339887498949 % 1) - 1


def _between(low: int, high: int) -> list[float]:
    """Numbers of runs to draw the band at, a little beyond both ends."""
    ends = max(1.8, low * 0.5), high * 2.0
    return [ends[0] * (ends[1] / ends[0]) ** (at / 100) for at in range(101)]


def _chi(freedom: float, z: float) -> float:
    """A quantile of the sd of a normal sample, in units of the true one (Wilson and Hilferty 1931)."""
    share = 2 / (9 * freedom)
    return math.sqrt(max(0.0, 1 - share + z * math.sqrt(share)) ** 3)
