"""Rankings, asked of a store: what is most worth building on, by a named strategy, and why."""

import math
from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from dagstore.channels import Channel, channels
from dagstore.errors import BadInput, NotFound
from dagstore.finding import short
from dagstore.frontier import STRATEGIES, Frontier, FrontierRow
from dagstore.ids import ProtocolId
from dagstore.index import graph_row, has_lost
from dagstore.metrics import noise_of, ranked_by
from dagstore.model import Direction
from dagstore.rank import Z90, Noise, interval
from dagstore.ranking import ORDERS, Ranked, leaders, score
from dagstore.refs import resolve_protocol, seed
from dagstore.shown import Rows
from dagstore.storage import Reader
from dagstore.touching import Touching

if TYPE_CHECKING:
    from dagstore.strategies import Chosen, Field, Pick

AXES = ("diff",)
"""What is weighed against the metric unless axes are named."""


class Leading(Touching):
    def frontier(
        self,
        top: int = 20,
        *,
        strategy: str = "estimate",
        metric: str | None = None,
        platform: str | None = None,
        protocol: str | ProtocolId | None = None,
        axes: Sequence[str] = (),
        seed: int = 0,
    ) -> Frontier:
        """The measured nodes most worth building on, of the protocol that was measured last; one row a tree.

        `estimate`, `optimistic` and `pessimistic` rank by what a node is worth, by the better and by the worse end of
        its 90 % interval; an index serves them, whatever the size of the store. The others choose among the best 1,000
        (`leaves`: 10,000) and say how many they looked at: `pareto` by `axes` (metrics, `diff` in lines against the
        seed, `seconds`; `NAME:max` where more is better), `promise` by what building on a node is likely to bring, with
        chance from `seed`; `underexplored`, `near-miss`, `leaves` and `stale` as their rows explain.

        Another `protocol` is named by its id or 4 or more digits of it; of an imported one nothing is shown unasked.
        Another `metric` than the charter's is ranked by its plain mean, from the runs in that column that report it.
        `BadInput` on an unknown strategy, `NotFound` if no run reports the metric or an axis.
        """
        _check(top, strategy, metric, axes)
        with self._storage.read() as txn:
            channel = self._channel(txn, platform, resolve_protocol(txn, str(protocol)) if protocol else None)
            if channel is None:
                return self._empty_frontier(txn, platform, strategy)
            if metric not in (None, channel.metric):
                return self._by_metric(txn, channel, str(metric), top)
            if strategy in ORDERS:
                return self._in_order(txn, channel, strategy, top)
            return self._by_strategy(txn, channel, strategy, top, axes, Random(seed))

    def frontiers(self, top: int = 20) -> tuple[Frontier, ...]:
        """A ranking for every (protocol, platform), the oldest first."""
        with self._storage.read() as txn:
            return tuple(self._in_order(txn, channel, ORDERS[0], top) for channel in channels(txn))

    def _in_order(self, txn: Reader, channel: Channel, order: str, top: int) -> Frontier:
        found = leaders(txn, channel, top, order)
        rows = [self._row(txn, rank, it, found[0]) for rank, it in enumerate(found, start=1)]
        if order != ORDERS[0]:
            rows = [
                row._replace(score=score(it, order, channel.direction)) for row, it in zip(rows, found, strict=True)
            ]
        return self._frontier(txn, channel, order, Rows(rows), considered=channel.trees)

    def _by_strategy(
        self, txn: Reader, channel: Channel, strategy: str, top: int, axes: Sequence[str], rng: Random
    ) -> Frontier:
        from dagstore.strategies import Field, choose

        field = Field(txn, channel, lambda tree: short(txn, self._id(txn, tree)), lambda tree: self._regions(txn, tree))
        chosen = self._front(field, top, axes) if strategy == "pareto" else choose(field, strategy, top, rng)
        rows = Rows(self._picked(txn, rank, pick, chosen) for rank, pick in enumerate(chosen.picks, start=1))
        return self._frontier(txn, channel, strategy, rows, considered=chosen.considered)

    def _front(self, field: "Field", top: int, axes: Sequence[str]) -> "Chosen":
        from dagstore.fronting import front
        from dagstore.pareto import parse_axes

        metric, largest = field.channel.metric, field.channel.direction is Direction.MAXIMIZE
        parsed = parse_axes(axes or (metric, *AXES), metric, largest=largest)
        return front(field, parsed, top, lambda tree: self._lines_from_seed(field.txn, tree), self._objects)

    def _regions(self, txn: Reader, tree: int) -> frozenset[tuple[str, str]]:
        """What the own diff of a node touches; nothing where its code, or that of its parent, is lost."""
        if any(has_lost(txn, self._objects, node) for node in (tree, graph_row(txn, tree).primary) if node):
            return frozenset()
        return frozenset((edit.path, edit.region) for edit in self._edits(txn, tree))

    def _lines_from_seed(self, txn: Reader, tree: int) -> float | None:
        """How many lines came and went on the way from the seed to a tree; None where its code is lost."""
        from dagstore.model import changes

        if has_lost(txn, self._objects, tree):
            return None
        changed = changes(self._tree(txn, seed(txn)), self._tree(txn, tree))
        stat = self._stat(changed, lambda blob: self._objects.recall(txn, blob))
        return float(stat.insertions + stat.deletions)

    def _by_metric(self, txn: Reader, channel: Channel, metric: str, top: int) -> Frontier:
        """A ranking by another metric than the protocol's, in the same direction."""
        noise = noise_of(txn, channel, metric)
        found = []
        for tree, moments in islice(ranked_by(txn, channel, metric), top):
            low, high = interval(moments, noise)
            found.append(Ranked(tree, moments, moments.mean, (noise.sd or 0.0) / moments.n**0.5, low, high))
        if top and not found:
            raise NotFound(f"no run in this column reports {metric!r}", hint="`dag show @last` lists what runs report")
        rows = Rows(self._row(txn, rank, it, found[0]) for rank, it in enumerate(found, start=1))
        return self._frontier(txn, channel, ORDERS[0], rows, considered=len(found), metric=metric, noise=noise)

    def _picked(self, txn: Reader, rank: int, pick: "Pick", chosen: "Chosen") -> FrontierRow:
        row = self._row(txn, rank, pick.ranked, chosen.picks[0].ranked)
        return row._replace(why=pick.why, score=pick.score, axes=pick.axes)

    def _row(self, txn: Reader, rank: int, it: Ranked, first: Ranked) -> FrontierRow:
        row = graph_row(txn, it.tree)
        id = self._id(txn, it.tree)
        note = self._first_note(txn, it.tree)
        return FrontierRow(
            rank=rank,
            id=id,
            short=short(txn, id),
            estimate=it.estimate,
            low=it.low,
            high=it.high,
            runs=it.moments.n,
            message=note.text if note else "",
            agent=note.author if note else "",
            generation=row.generation,
            primary=self._id(txn, row.primary) if row.primary else None,
            adopted=self._ids(txn, row.adopted),
            mean=it.moments.mean,
            tied=rank > 1 and _tied(it, first),
            why=_reason(it),
        )

    def _empty_frontier(self, txn: Reader, platform: str | None, strategy: str) -> Frontier:
        charter = self._charter(txn, seed(txn))
        outside = sum(channel.runs for channel in channels(txn))
        return Frontier(charter.metric, charter.direction, None, platform, Noise(None, 0), strategy, outside, Rows())

    def _frontier(
        self,
        txn: Reader,
        channel: Channel,
        strategy: str,
        rows: Rows[FrontierRow],
        *,
        considered: int,
        metric: str | None = None,
        noise: Noise | None = None,
    ) -> Frontier:
        outside = sum(other.runs for other in channels(txn)) - channel.runs
        return Frontier(
            metric=metric or channel.metric,
            direction=channel.direction,
            protocol=channel.protocol,
            platform=channel.platform,
            noise=noise or channel.noise(),
            strategy=strategy,
            outside=outside,
            nodes=rows,
            measured=channel.trees,
            considered=considered,
        )


def _check(top: int, strategy: str, metric: str | None, axes: Sequence[str]) -> None:
    if strategy not in STRATEGIES:
        raise BadInput(f"no strategy {strategy!r}", hint="there is: " + ", ".join(STRATEGIES))
    if top < 0:
        raise BadInput(f"top {top} nodes make no ranking", hint="ask for 0 or more")
    if metric is not None and strategy != ORDERS[0]:
        raise BadInput(
            f"{strategy} ranks by the protocol's own metric", hint="leave out one of the two, or use it as an axis"
        )
    if axes and strategy != "pareto":
        raise BadInput(f"{strategy} weighs no axes", hint="leave them out, or ask for pareto")


def _tied(it: Ranked, first: Ranked) -> bool:
    """Whether the 90 % interval of the difference of two estimates holds zero; their errors taken for independent."""
    if it.low is None:
        return False
    return abs(it.estimate - first.estimate) <= Z90 * math.hypot(it.sd, first.sd)


def _reason(it: Ranked) -> str:
    """Why a tree has its place by its estimate alone."""
    if it.low is None:
        return "nothing is known of the noise"
    shift = abs(it.estimate - it.moments.mean)
    if shift > 0.1 * it.sd:
        return f"measured {it.moments.mean:.6g}, drawn by {shift:.2g} to what its lineage says"
    return "taken as measured"
