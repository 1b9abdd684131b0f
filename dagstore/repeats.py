"""The repeats that tell the top of a ranking apart, as plain values and how they are found."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstore.allocation import Allocation, Arm, allocate, beaten
from dagstore.channels import Channel
from dagstore.finding import short
from dagstore.ids import NodeId
from dagstore.index import graph_row
from dagstore.looking import Looking
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.ranking import Ranked
from dagstore.shown import Rows, Shown
from dagstore.storage import Reader

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


def plan(store: Looking, txn: Reader, channel: Channel, found: list[Ranked], budget: int) -> Confirmation:
    """What `Confirming.confirm` would queue to tell these apart, the first of which is the best."""
    chosen = _allocated(channel, found, budget)
    arms = _arms(channel, found)
    known = channel.noise().sd is not None
    rows = [
        Repeat(
            id=(id := store._id(txn, it.tree)),
            short=short(txn, id),
            estimate=it.estimate,
            low=it.low,
            high=it.high,
            runs=it.moments.n,
            ahead=beaten(arms[0], arm) if known and arm is not arms[0] else None,
            repeats=count,
            message=note.text if (note := store._first_note(txn, it.tree)) else "",
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
        seconds=math.fsum(_usual_seconds(store, txn, it.tree) * n for it, n in zip(found, chosen.repeats, strict=True)),
        nodes=Rows(rows),
        queued=Rows(),
    )


def _usual_seconds(store: Looking, txn: Reader, tree: int) -> float:
    """How long the last run of a tree took."""
    runs = store._runs_of(txn, graph_row(txn, tree).first)
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
