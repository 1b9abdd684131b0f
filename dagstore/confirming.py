"""What is left of the best, asked of a store: the history of records, and the repeats that would tell the top apart."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dagstore.allocation import Allocation, Arm, allocate, beaten
from dagstore.bests import SDS, Best, Bests, Hit, hits, standing
from dagstore.chains import id_of
from dagstore.channels import Channel
from dagstore.errors import BadInput, NotFound
from dagstore.finding import short
from dagstore.ids import NodeId, ProtocolId
from dagstore.index import RUN, graph_row
from dagstore.leading import Leading
from dagstore.lineage import Lineage
from dagstore.measuring import Measuring
from dagstore.model import Direction, Run, Status
from dagstore.rank import Noise
from dagstore.ranking import Ranked, leaders
from dagstore.refs import resolve_protocol, seed
from dagstore.shown import Rows, Shown
from dagstore.storage import Reader, after

if TYPE_CHECKING:
    from dagstore.tickets import Ticket

ENOUGH = 0.95
"""The probability that the first is the best at which no more is asked."""
FIRST = 3
"""So many of the top are repeated once where nothing is known of the noise."""


@dataclass(frozen=True, slots=True)
class Repeat(Shown):
    """An experiment of the top and how often it is worth repeating; `ahead` is the chance that it beats the first."""

    id: NodeId
    short: str
    estimate: float
    low: float | None
    high: float | None
    runs: int
    ahead: float | None
    repeats: int
    message: str


@dataclass(frozen=True, slots=True)
class Confirmation(Shown):
    """The repeats that tell the top apart.

    `before` is the probability that the first is the best of them, `after` what it is expected to be when `repeats`
    runs were made, which take about `seconds`; None where nothing is known of the noise. `queued` are the tickets that
    are new, none of a plan.
    """

    metric: str
    platform: str | None
    noise: Noise
    before: float | None
    after: float | None
    repeats: int
    seconds: float
    nodes: Rows[Repeat]
    queued: "Rows[Ticket]"


class Confirming(Leading, Measuring):
    def records(self, *, platform: str | None = None, protocol: str | ProtocolId | None = None) -> Bests:
        """The history of new bests, and what the noise leaves of each; of the column that `frontier` would rank."""
        with self._storage.read() as txn:
            channel = self._channel(txn, platform, resolve_protocol(txn, str(protocol)) if protocol else None)
            if channel is None:
                charter = self._charter(txn, seed(txn))
                return Bests(charter.metric, charter.direction, None, platform, Noise(None, 0), Rows())
            values = sorted(self._values(txn, channel))
            found = hits(((run, tree, value) for _, run, tree, value in values), channel.direction)
            rows = Rows(self._best(txn, channel, hit) for hit in found)
            head = channel.metric, channel.direction, channel.protocol, channel.platform, channel.noise()
            return Bests(*head, rows)

    def confirm(
        self, top: int = 5, *, budget: int = 10, platform: str | None = None, agent: str = "", dry_run: bool = False
    ) -> Confirmation:
        """Queue the repeats that are worth their time to tell the best of the `top` from the others; at most `budget`.

        Each run goes where it is expected to help most, until the first is the best with 95 %. Where nothing was
        repeated yet, the first three are, once each, so that the noise becomes known. What waits in line already is not
        queued again. `NotFound` if nothing was measured.
        """
        if top < 2 or budget < 1:
            raise BadInput("there is nothing to tell apart", hint="give a top of 2 or more and a budget of 1 or more")
        with self._storage.read() as txn:
            channel = self._channel(txn, platform)
            found = leaders(txn, channel, top) if channel else []
            if channel is None or not found:
                raise NotFound("nothing was measured yet", hint="measure with `dag run @seed`")
            chosen = _allocated(channel, found, budget)
            plan = self._plan_repeats(txn, channel, found, chosen)
        if dry_run:
            return plan
        with_repeats = [row for row in plan.nodes if row.repeats]
        made = [ticket for row in with_repeats for ticket in self.queue([row.id], repeat=row.repeats, agent=agent)]
        return replace(plan, queued=Rows(made))

    def _values(self, txn: Reader, channel: Channel) -> Iterator[tuple[float, int, int, float]]:
        """When each run that counts in a channel ended, its record, tree and value."""
        from dagstore.tabular import run_columns

        keys = (key for key, _ in txn.scan("facts", RUN, after(RUN)))
        trees = {int.from_bytes(key[5:], "big"): int.from_bytes(key[1:5], "big") for key in keys}
        records = sorted(trees)
        runs = run_columns(txn, self._objects, records)
        wanted = bytes(channel.protocol), channel.platform, Status.OK.value
        here = [column == wanted for column in zip(runs.protocol, runs.platform, runs.status, strict=True)]
        reported = runs.metrics.get(channel.metric)
        for row, value in zip(reported.rows, reported.values, strict=True) if reported else ():
            if here[row]:
                record = records[row]
                yield runs.started[row] + 1000 * runs.seconds[row], record, trees[record], value

    def _best(self, txn: Reader, channel: Channel, hit: Hit) -> Best:
        lineage = Lineage(txn, channel)
        own, other = (lineage.standing(tree).moments for tree in (hit.tree, hit.before))
        noise = channel.noise()
        run: Run = self._objects.load(txn, hit.run)
        note = self._first_note(txn, hit.tree)
        sd = noise.sd if noise.sd is not None else noise.assumed
        return Best(
            run=id_of(txn, hit.run),  # type: ignore[arg-type]
            node=run.node,
            short=short(txn, run.node),
            time=run.started,
            agent=note.author if note else "",
            message=note.text if note else "",
            value=hit.value,
            gain=hit.gain if hit.before else None,
            previous=self._id(txn, hit.before) if hit.before else None,
            beyond=sd is not None and hit.gain > SDS * sd,
            standing=standing(hit, own, other, noise, channel.direction),
            runs=own.n,
            mean=own.mean,
        )

    def _plan_repeats(self, txn: Reader, channel: Channel, found: list[Ranked], chosen: Allocation) -> Confirmation:
        arms = _arms(channel, found)
        known = channel.noise().sd is not None
        rows = [
            Repeat(
                id=(id := self._id(txn, it.tree)),
                short=short(txn, id),
                estimate=it.estimate,
                low=it.low,
                high=it.high,
                runs=it.moments.n,
                ahead=beaten(arms[0], arm) if known and arm is not arms[0] else None,
                repeats=count,
                message=note.text if (note := self._first_note(txn, it.tree)) else "",
            )
            for it, arm, count in zip(found, arms, chosen.repeats, strict=True)
        ]
        total = sum(chosen.repeats)
        return Confirmation(
            metric=channel.metric,
            platform=channel.platform,
            noise=channel.noise(),
            before=chosen.before if known else None,
            after=chosen.after if known else None,
            repeats=total,
            seconds=math.fsum(
                self._usual_seconds(txn, it.tree) * n for it, n in zip(found, chosen.repeats, strict=True)
            ),
            nodes=Rows(rows),
            queued=Rows(),
        )

    def _usual_seconds(self, txn: Reader, tree: int) -> float:
        """How long the last run of a tree took."""
        runs = self._runs_of(txn, graph_row(txn, tree).first)
        return runs[-1].seconds if runs else 0.0


def _allocated(channel: Channel, found: list[Ranked], budget: int) -> Allocation:
    noise = channel.noise()
    if noise.sd is None:
        once = min(FIRST, len(found), budget)
        return Allocation(tuple(int(at < once) for at in range(len(found))), 0.0, 0.0)
    return allocate(_arms(channel, found), noise.sd, budget, ENOUGH)


def _arms(channel: Channel, found: list[Ranked]) -> list[Arm]:
    towards = 1 if channel.direction is Direction.MINIMIZE else -1
    return [Arm(towards * (it.estimate - found[0].estimate), it.sd**2) for it in found]
