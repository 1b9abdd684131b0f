"""The picture of what was built on what: the forest of primary parents, and dashed what was adopted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from dagstore.descent import Descendant, Descendants
from dagstore.ids import NodeId
from dagstore.model import Direction
from dagstore.plot import style
from dagstore.querying import Querying
from dagstore.shown import Rows
from dagstore.views import NodeView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dagstore.base import Ref

LIMIT, BEST = 1_000, 3
"""Nodes that are drawn at most, and how many of the best besides."""
NAMED = 40
"""Up to so many nodes are all named."""
ROW = 0.24
"""Inches that a named node is given."""
TALLEST = 14.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A node at its place: how far from the root, and in which row; `hidden` of its children are not drawn."""

    node: NodeView
    depth: int
    row: float
    hidden: int


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes at their places, how many more there are, and what was measured where."""

    spots: tuple[Spot, ...]
    hidden: int
    metric: str
    direction: Direction
    where: str


def grown(store: Querying, ref: "Ref" = "@seed", depth: int | None = None, limit: int = LIMIT) -> Forest:
    """The nodes below one, at most `limit`, those that others build on first, and the lines to the best ones."""
    found, frontier = store.subtree(ref, depth=depth, limit=limit), store.frontier(top=BEST)
    if found.hidden and depth is None:
        for row in frontier.nodes:
            found = _with_line(store, found, row.id)
    where = f"{frontier.platform}, protocol {str(frontier.protocol)[:8]}" if frontier.protocol else "nothing measured"
    return Forest(lay_out(found), found.hidden, frontier.metric, frontier.direction, where)


def _with_line(store: Querying, found: Descendants, node: NodeId) -> Descendants:
    """The same with the primary ancestors of a node, and itself, below the last one that is shown."""
    at = {place.node.id: index for index, place in enumerate(found.nodes)}
    lineage = store.lineage(node)
    missing = list(takewhile(lambda one: one.id not in at, lineage))[::-1]
    if not missing or len(missing) == len(lineage):
        return found
    above = at[missing[0].primary]  # type: ignore[index]
    start = found.nodes[above]
    kids = [sum(kid.primary == one.id for kid in store.children(one.id)) for one in missing]
    added = [
        Descendant(start.depth + step, hidden - (step < len(missing)), one)
        for step, (one, hidden) in enumerate(zip(missing, kids, strict=True), start=1)
    ]
    parent = replace(start, hidden=start.hidden - 1)
    nodes = Rows((*found.nodes[:above], parent, *added, *found.nodes[above + 1 :]))
    return Descendants(found.root, nodes, found.hidden - len(added))


def lay_out(found: Descendants) -> tuple[Spot, ...]:
    """Where every node can be named, each has a row of its own, parents above their children.

    Else each leaf has one, and a node with children stands in the middle of them.
    """
    if len(found.nodes) <= NAMED:
        return tuple(Spot(one.node, one.depth, row, one.hidden) for row, one in enumerate(found.nodes))
    rows: dict[NodeId, float] = {}
    below: dict[NodeId | None, list[float]] = {}
    free = 0
    for place in reversed(found.nodes):
        kids = below.get(place.node.id)
        rows[place.node.id] = (kids[0] + kids[-1]) / 2 if kids else free
        free -= not kids
        below.setdefault(place.node.primary, []).append(rows[place.node.id])
    return tuple(Spot(one.node, one.depth, rows[one.node.id] - free - 1, one.hidden) for one in found.nodes)


def draw_tree(forest: Forest) -> "Figure":
    """Root on the left, a generation a column. Colour is the estimate, shape whether there is one."""
    rows = 1 + max(spot.row for spot in forest.spots)
    named = len(forest.spots) <= NAMED
    height = max(3.2, min(TALLEST, 1.6 + (ROW if named else 0.035) * rows))
    figure = style.figure(height)
    axes = figure.add_subplot()
    _draw_edges(axes, forest)
    _draw_nodes(figure, axes, forest, named=named)
    _draw_names(axes, forest, named=named)
    _dress(axes, forest, rows, named=named)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def _draw_edges(axes: "Axes", forest: Forest) -> None:
    from matplotlib.collections import LineCollection

    at = {spot.node.id: (spot.depth, spot.row) for spot in forest.spots}
    children = [spot for spot in forest.spots if spot.node.primary in at]
    turn = 0.0 if len(forest.spots) <= NAMED else 0.5
    elbows = [_elbow(at[spot.node.primary], at[spot.node.id], turn) for spot in children if spot.node.primary]
    adopted = [_arc(at[donor], at[spot.node.id]) for spot in forest.spots for donor in spot.node.adopted if donor in at]
    axes.add_collection(LineCollection(elbows, colors="#BDBDBD", linewidths=0.8, zorder=1))
    if adopted:
        look: dict[str, Any] = {"colors": style.PURPLE, "linewidths": 1.1, "linestyles": "dashed", "alpha": 0.9}
        axes.add_collection(LineCollection(adopted, zorder=2, label="adopted", **look))


def _elbow(parent: tuple[float, float], child: tuple[float, float], turn: float) -> list[tuple[float, float]]:
    x = parent[0] + turn
    return [parent, (x, parent[1]), (x, child[1]), child]


def _arc(donor: tuple[float, float], node: tuple[float, float]) -> list[tuple[float, float]]:
    """A curve that leaves the donor to the right, so that it passes beside what stands between the two."""
    (x0, y0), (x1, y1) = donor, node
    far = max(x0, x1) + 0.35
    shares = [at / 16 for at in range(17)]
    return [
        (
            (1 - s) ** 2 * x0 + 2 * s * (1 - s) * far + s * s * x1,
            (1 - s) ** 2 * y0 + s * (1 - s) * (y0 + y1) + s * s * y1,
        )
        for s in shares
    ]


def _draw_nodes(figure: "Figure", axes: "Axes", forest: Forest, *, named: bool) -> None:
    size = 46.0 if named else style.size_of(len(forest.spots))
    known = [spot for spot in forest.spots if spot.node.estimate is not None]
    if known:
        values = [style.bounded(spot.node.estimate or 0.0) for spot in known]
        low, high = style.in_view(values)
        shades = style.SHADES if forest.direction is Direction.MAXIMIZE else f"{style.SHADES}_r"
        look: dict[str, Any] = {"cmap": shades, "vmin": low, "vmax": high, "edgecolors": style.INK, "linewidths": 0.4}
        dots = axes.scatter(*_places(known), c=values, s=size, label="measured", zorder=4, **look)
        bar = figure.colorbar(
            dots,
            ax=axes,
            shrink=min(0.8, 3 / figure.get_figheight()),
            pad=0.01,
            extend="both" if _cut(values, low, high) else "neither",
        )
        bar.set_label(f"{style.text(forest.metric, 40)} ({style.better(forest.direction)})", parse_math=False)
        bar.ax.yaxis.set_major_formatter("{x:.6g}")
    new = [spot for spot in forest.spots if spot.node.estimate is None and spot.node.runs == 0]
    failed = [spot for spot in forest.spots if spot.node.estimate is None and spot.node.runs]
    if new:
        look = {"facecolors": "white", "edgecolors": style.GREY, "linewidths": 0.8}
        axes.scatter(*_places(new), s=size, label="not measured", zorder=3, **look)
    if failed:
        axes.scatter(*_places(failed), s=size, marker="x", color=style.VERMILION, label="no number here", zorder=3)


def _places(spots: Sequence[Spot]) -> tuple[list[int], list[float]]:
    return [spot.depth for spot in spots], [spot.row for spot in spots]


def _cut(values: Sequence[float], low: float, high: float) -> bool:
    return min(values) < low or max(values) > high


def _draw_names(axes: "Axes", forest: Forest, *, named: bool) -> None:
    best, deepest = _best(forest), max(spot.depth for spot in forest.spots)
    for spot in forest.spots if named else [one for one in (forest.spots[0], best) if one]:
        more = f"  +{spot.hidden:,} more" if spot.hidden else ""
        said = f"{spot.node.short}  {style.text(spot.node.message, 40)}{more}"
        left = not named and spot.depth > deepest / 2
        look: dict[str, Any] = {"ha": "right" if left else "left", "va": "center" if named else "bottom", "zorder": 6}
        axes.annotate(
            said,
            (spot.depth, spot.row),
            xytext=(-8 if left else 8, 0 if named else 7),
            textcoords="offset points",
            fontsize=8,
            fontweight="bold" if spot is best else "normal",
            color=style.INK,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1},
            parse_math=False,
            **look,
        )
    if best:
        look = {"s": 170, "marker": "*", "color": style.ORANGE, "edgecolors": style.INK}
        axes.scatter([best.depth], [best.row], label="best of those shown", linewidths=0.6, zorder=5, **look)


def _best(forest: Forest) -> Spot | None:
    known = [spot for spot in forest.spots if spot.node.estimate is not None]
    sign = 1 if forest.direction is Direction.MINIMIZE else -1
    return min(known, key=lambda spot: sign * (spot.node.estimate or 0.0), default=None)


def _dress(axes: "Axes", forest: Forest, rows: float, *, named: bool) -> None:
    total = len(forest.spots) + forest.hidden
    shown = f"{len(forest.spots):,} of {style.count(total, 'node')}" if forest.hidden else style.count(total, "node")
    hidden = f"{forest.hidden:,} hidden, leaves first" if forest.hidden else ""
    style.title(axes, "What was built on what", [shown, hidden, style.text(forest.where, 80)])
    deepest = max(spot.depth for spot in forest.spots)
    axes.set_xlim(-0.2 - 0.01 * deepest, deepest + (0.6 * deepest + 0.6 if named else 0.2 + 0.02 * deepest))
    axes.set_ylim(rows - 0.3, -0.7)
    axes.set_xlabel("steps of primary parents from the root", fontsize=10)
    axes.set_xticks(range(0, deepest + 1, 1 + deepest // 15))
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
