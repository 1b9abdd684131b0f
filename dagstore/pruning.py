"""Curves of runs, asked of a store: as they are, as what a running experiment is compared with, and replayed."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.channels import Channel
from dagstore.errors import BadInput, NotFound
from dagstore.finding import find, short
from dagstore.ids import ProtocolId, RunId
from dagstore.index import graph_row
from dagstore.looking import Looking
from dagstore.model import Direction, Status
from dagstore.refs import resolve_protocol
from dagstore.shown import Rows
from dagstore.storage import Reader

if TYPE_CHECKING:
    from dagstore.pruners import Past, Rivals, Rule
    from dagstore.recorded import Recorded
    from dagstore.replay import Progress, Replay, Whole
    from dagstore.views import CurveView

RULES = ("median", "asha", "parent")
NEWEST = 500
"""Curves that an experiment is compared with, the last that were recorded."""
REPLAYED = 1000
"""Runs that are replayed unless told."""


class Pruning(Looking):
    def curves(
        self,
        metric: str | None = None,
        *,
        platform: str | None = None,
        protocol: str | ProtocolId | None = None,
        limit: int = NEWEST,
    ) -> "Rows[CurveView]":
        """The curves of `ok` and `pruned` runs, over the budget: the last `limit`, in the order of recording.

        Of the column that `frontier` would rank. Without `metric` it is the step metric that the charter of the last of
        them names. `NotFound` if no run there reported it.
        """
        from dagstore.recorded import newest

        with self._storage.read() as txn:
            channel = self._column(txn, platform, protocol)
            found = newest(txn, self._objects, channel.protocol, channel.platform, limit)
            name, _ = self._followed(txn, channel, found, metric)
            return Rows(self._curve_view(txn, it, name) for it in found if name in it.curves.points)

    def rivals(
        self, ref: Ref, metric: str, direction: Direction, *, protocol: ProtocolId, platform: str
    ) -> "Rivals | None":
        """What a node that is measured is compared with; None if it is to be measured whatever its curve says.

        Such is one whose files were measured before, or pruned: somebody wants to know. At most 500 curves, the newest.
        """
        from dagstore.pruners import Rivals
        from dagstore.recorded import newest

        with self._storage.read() as txn:
            row = graph_row(txn, self._seq(txn, ref))
            if self._is_known(txn, row.first):
                return None
            found = newest(txn, self._objects, protocol, platform, NEWEST)
            past = [_past(it, metric, direction) for it in found if metric in it.curves.points]
            return Rivals(past, graph_row(txn, row.primary).first if row.primary else 0)

    def replay(
        self,
        rules: Sequence[str] = RULES,
        metric: str | None = None,
        *,
        platform: str | None = None,
        protocol: str | ProtocolId | None = None,
        limit: int = REPLAYED,
        progress: "Progress | None" = None,
    ) -> "Replay":
        """What rules of pruning would have saved and cost, replayed on the last `limit` runs that have a curve.

        Each run is judged by those that had ended before it began; what a rule would have ended is compared with what
        became of it. `metric` is a step metric, as in the charter's `curve`, by default that one. `NotFound` if nothing
        was measured, or no run reported it; `BadInput` on an unknown rule.
        """
        from dagstore.recorded import newest
        from dagstore.replay import Race, Replay, replay

        chosen = [_rule(rule) for rule in rules]
        with self._storage.read() as txn:
            channel = self._column(txn, platform, protocol)
            found = newest(txn, self._objects, channel.protocol, channel.platform, limit)
            name, along = self._followed(txn, channel, found, metric)
            budget = self._objects.load(txn, find(txn, channel.protocol)).budget
            runs = [_whole(it, name, channel.metric) for it in found if name in it.curves.points]
        race = Race(runs, channel.direction, along, budget, NEWEST)
        told = [replay(race, rule, _part(progress, at, len(chosen))) for at, rule in enumerate(chosen)]
        return Replay(
            metric=channel.metric,
            curve=name,
            direction=along,
            protocol=channel.protocol,
            platform=channel.platform,
            rules=Rows(row for row, _ in told),
            killed=Rows(one for _, killed in told for one in killed),
        )

    def _column(self, txn: Reader, platform: str | None, protocol: str | ProtocolId | None) -> Channel:
        channel = self._channel(txn, platform, resolve_protocol(txn, str(protocol)) if protocol else None)
        if channel is None:
            raise NotFound("nothing was measured yet", hint="measure with `dag run @seed`")
        return channel

    def _followed(
        self, txn: Reader, channel: Channel, found: "Sequence[Recorded]", metric: str | None
    ) -> tuple[str, Direction]:
        """The step metric that is asked for, which there must be, and its direction."""
        from dagstore.charter import parse_curve

        if metric is None and found:
            name, direction = self._charter(txn, find(txn, found[-1].run.node)).followed
        else:
            name, direction = parse_curve(metric or channel.metric, channel.direction)
        counts = Counter(other for it in found for other in it.curves.points)
        if not counts[name]:
            raise _unseen(name, [other for other, _ in counts.most_common()])
        return name, direction

    def _curve_view(self, txn: Reader, it: "Recorded", name: str) -> "CurveView":
        from dagstore.curves import TICKS
        from dagstore.views import CurveView

        run = self._run_view(txn, it.record)
        return CurveView(
            run=run.id,
            node=run.node,
            short=short(txn, run.node),
            status=run.status,
            value=run.value,
            seconds=run.seconds,
            metric=name,
            end=it.curves.end / TICKS,
            points=tuple((tick / TICKS, value) for tick, value in it.curves.points[name]),
        )


def _past(it: "Recorded", metric: str, direction: Direction) -> "Past":
    from dagstore.pruners import Past, course_of

    course = course_of(it.curves.points[metric], it.curves.end, direction)
    return Past(it.tree, it.run.status is Status.OK, course, it.parent)


def _whole(it: "Recorded", name: str, metric: str) -> "Whole":
    from dagstore.codec import identify
    from dagstore.replay import Whole

    began = it.run.started / 1000
    return Whole(
        run=RunId(identify(it.run)),
        node=it.run.node,
        tree=it.tree,
        parent=it.parent,
        value=it.run.metrics.get(metric) if it.run.status is Status.OK else None,
        began=began,
        ended=began + it.run.seconds,
        points=it.curves.points[name],
        end=it.curves.end,
    )


def _part(progress: "Progress | None", at: int, of: int) -> "Progress | None":
    """Tells of one of several parts that are all as long."""
    return (lambda done, total: progress(at * total + done, of * total)) if progress else None


def _rule(rule: str) -> "Rule":
    from dagstore.pruners import Rule

    try:
        return Rule(rule)
    except ValueError:
        raise BadInput(f"no rule {rule!r}", hint=f"there is: {', '.join(Rule)}") from None


def _unseen(name: str, others: Sequence[str]) -> NotFound:
    there = f"there is {', '.join(others[:5])}: say `curve` in dag.toml, or --metric" if others else ""
    return NotFound(
        f"no run reported {name!r} while it ran",
        hint=there or 'write JSON lines to the file in $DAG_STEPS, such as {"loss": 1.5}',
    )
