"""Pictures of a store as matplotlib figures, one module each: what is shown as a plain value, and drawing it.

A figure shows itself in a notebook and saves itself (`savefig`); pyplot and its state are not used.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagstore.querying import Querying

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dagstore.base import Ref


class Plots:
    """The pictures of one store, each of one protocol and platform: those of the default ranking unless told."""

    def __init__(self, store: Querying) -> None:
        self._store = store

    def progress(
        self, ref: "Ref | None" = None, *, platform: str | None = None, protocol: str | None = None
    ) -> "Figure":
        """Every experiment in the order of time, and the best so far; of one node's lineage if it is named."""
        from dagstore.plot.progress import draw_progress, measured_progress

        return draw_progress(measured_progress(self._store, ref, platform, protocol))

    def tree(self, ref: "Ref" = "@seed", *, depth: int | None = None, limit: int = 1_000) -> "Figure":
        """What was built on a node, by primary parents, and dashed what was adopted; at most `limit` nodes."""
        from dagstore.plot.tree import draw_tree, grown

        return draw_tree(grown(self._store, ref, depth, limit))

    def pareto(
        self,
        x: str = "seconds",
        y: str | None = None,
        *,
        maximize: Sequence[str] = (),
        platform: str | None = None,
        protocol: str | None = None,
    ) -> "Figure":
        """Two numbers of every experiment, and those that nothing beats in both; `y` is the charter's metric.

        Others are better where smaller, unless named in `maximize`. With `diff`, in lines against the seed, it shows
        what `store.frontier(strategy="pareto")` looks at, by estimates.
        """
        from dagstore.plot.pareto import DIFF, draw_pareto, traded, weighed

        ask = weighed if DIFF in (x, y) else traded
        return draw_pareto(ask(self._store, x, y, maximize, platform, protocol))

    def curves(self, *refs: "Ref", metric: str | None = None, over: str = "step") -> "Figure":
        """What the runs of nodes reported step by step; of the best ones unless told. Pruned ones end in a cross.

        Over the `budget`, by the trainer's clock, runs can be compared whose steps differ in cost.
        """
        from dagstore.plot.curves import draw_curves, reported

        return draw_curves(reported(self._store, refs, metric, over))

    def noise(self, platform: str | None = None, *, protocol: str | None = None) -> "Figure":
        """How far runs of the same files lie apart, against the normal distribution."""
        from dagstore.plot.noise import draw_noise, repeated

        return draw_noise(repeated(self._store, platform, protocol))

    def effects(self, effects: Any = None, *, top: int = 25) -> "Figure":
        """What single edits are worth, with intervals: of `store.effects()`, or an answer of that kind."""
        from dagstore.plot.effects import draw_effects

        return draw_effects(self._store.effects() if effects is None else effects, top)
