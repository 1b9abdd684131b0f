"""The picture of runs from within: what they reported step by step, or by the budget that was used."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from dagstore.curves import ARTIFACT, TICKS, decode_curves
from dagstore.errors import BadInput, DagError, NotFound
from dagstore.model import Status
from dagstore.plot import style
from dagstore.querying import Querying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dagstore.base import Ref
    from dagstore.views import NodeView, RunView

STEPS = "steps"
"""The artifact with the JSON lines that an experiment wrote to `$DAG_STEPS`."""
AXES = ("step", "budget")
STEP_NAMES = ("step", "steps", "iteration", "iter", "epoch")
TOP, LOOKED = 5, 200
"""Nodes that are shown unless told, and how many of the best are looked at to find them."""
MOST = len(style.CYCLE)
POINTS = 2_000
"""Steps of a curve that are drawn at most; of more every n-th."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What one run reported: steps, or fractions of the budget, ascending, and a value for each."""

    node: str
    label: str
    seed: int | None
    steps: tuple[float, ...]
    values: tuple[float, ...]
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves of one metric, those of a node next to each other; `without` are nodes that reported no steps of it."""

    curves: tuple[Curve, ...]
    metric: str
    where: str
    without: tuple[str, ...]
    over: str = "step"


def reported(store: Querying, refs: "Sequence[Ref]" = (), metric: str | None = None, over: str = "step") -> Curves:
    """The step metrics of nodes, the best ones unless told; `NotFound` if no run of theirs reported any.

    They are `over` the `step` that each says, or the fraction of the `budget` that its trainer saw; `BadInput` on
    others. Without `metric` it is the charter's if there are steps of it, else the one that most runs reported.
    """
    nodes = [store.node(ref) for ref in refs] or _best(store)
    if len(nodes) > MOST:
        raise BadInput(f"{len(nodes)} nodes are too many for one picture", hint=f"name at most {MOST}")
    if over not in AXES:
        raise BadInput(f"no axis {over!r}", hint=f"there is: {', '.join(AXES)}")
    read = _lines if over == "step" else _followed
    lines = [(node, run, read(store, run)) for node in nodes for run in store.runs(node.id)]
    metric = metric or _choose(store.frontier(top=1).metric, [rows for _, _, rows in lines])
    curves = [_curve(node, run, rows, metric) for node, run, rows in lines]
    found = tuple(curve for curve in curves if curve.steps)
    if not found:
        what = f"{metric!r} step by step" if metric else "steps"
        raise NotFound(f"no run of these nodes reported {what}", hint="write JSON lines to the file in $DAG_STEPS")
    there = {curve.node for curve in found}
    where = ", ".join(sorted({run.platform for _, run, _ in lines}))
    return Curves(found, metric, where, tuple(node.short for node in nodes if node.short not in there), over)


def _best(store: Querying) -> "list[NodeView]":
    """The best nodes that reported steps."""
    ranked = (store.node(row.id) for row in store.frontier(top=LOOKED).nodes)
    return list(islice((node for node in ranked if any(STEPS in run.artifacts for run in store.runs(node.id))), TOP))


def _lines(store: Querying, run: "RunView") -> list[dict[str, float]]:
    """The numbers of each step; what is no JSON object, or no number, is passed over."""
    blob = run.artifacts.get(STEPS)
    if blob is None:
        return []
    try:
        data = store.blob(blob)
    except DagError:  # removed on purpose
        return []
    return [found for line in data.decode("utf-8", "replace").splitlines() if (found := _numbers(line))]


def _followed(store: Querying, run: "RunView") -> list[dict[str, float]]:
    """What the trainer saw, each number with the fraction of the budget for a step."""
    blob = run.artifacts.get(ARTIFACT)
    if blob is None:
        return []
    try:
        curves = decode_curves(store.blob(blob))
    except DagError:  # removed on purpose, or of a later version
        return []
    return [{"step": tick / TICKS, name: value} for name, points in curves.points.items() for tick, value in points]


def _numbers(line: str) -> dict[str, float]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < style.HUGE and math.isfinite(value)


def _choose(metric: str, runs: Iterable[list[dict[str, float]]]) -> str:
    counts = Counter(name for rows in runs for name in {name for row in rows for name in row} - set(STEP_NAMES))
    if not counts or metric in counts:
        return metric
    return max(sorted(counts), key=lambda name: (counts[name], "loss" in name))


def _curve(node: "NodeView", run: "RunView", rows: Sequence[dict[str, float]], metric: str) -> Curve:
    pairs = [(_step(row, at), row[metric]) for at, row in enumerate(rows) if metric in row]
    pairs = sorted(pairs)[:: 1 + len(pairs) // POINTS]
    steps, values = tuple(step for step, _ in pairs), tuple(value for _, value in pairs)
    return Curve(node.short, node.message, run.seed, steps, values, run.status is Status.PRUNED)


def _step(row: dict[str, float], at: int) -> float:
    return next((row[name] for name in STEP_NAMES if name in row), float(at))


def draw_curves(curves: Curves) -> "Figure":
    """A colour a node, a line a run; the last value is marked with the node's shape."""
    figure = style.figure()
    axes = figure.add_subplot()
    nodes = list(dict.fromkeys(curve.node for curve in curves.curves))
    for curve in curves.curves:
        at = nodes.index(curve.node)
        first = curve is next(one for one in curves.curves if one.node == curve.node)
        label = f"{curve.node}  {style.text(curve.label, 34)}" if first else None
        color, marker = style.CYCLE[at % MOST], "x" if curve.pruned else style.MARKERS[at % len(style.MARKERS)]
        axes.plot(curve.steps, curve.values, color=color, linewidth=1.3, alpha=0.85)
        axes.plot(curve.steps[-1:], curve.values[-1:], color=color, marker=marker, linestyle="none", label=label)
    _dress(axes, curves, len(nodes))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _dress(axes: "Axes", curves: Curves, nodes: int) -> None:
    runs = len(curves.curves)
    missing = f"no steps of {', '.join(curves.without[:4])}" if curves.without else ""
    pruned = sum(curve.pruned for curve in curves.curves)
    parts = [
        f"{style.count(runs, 'run')} of {style.count(nodes, 'node')}",
        f"{pruned} pruned (x)" if pruned else "",
        missing,
        style.text(curves.where, 80),
    ]
    by_step = curves.over == "step"
    style.title(axes, f"{style.text(curves.metric, 40)} {'step by step' if by_step else 'over the budget'}", parts)
    axes.set_xlabel("step" if by_step else "fraction of the budget", fontsize=10)
    axes.set_ylabel(style.text(curves.metric, 40), fontsize=10, parse_math=False)
    style.plain(axes)
