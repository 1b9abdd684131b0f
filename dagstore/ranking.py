"""The frontier index: for every channel the measured trees in the order of what they are worth.

Rows of the set `scores`, where `order` is one of `ORDERS`:

    <channel:4> <order:1> <score:8> <node:4>

and of the table `rank`, for the trees from which a channel learns how trees differ from their parents:

    p <channel:4> <begin of the node's id:4> <node:4>  ->

The order is kept as of the last run of a tree or of those below it. Whoever ranks takes some trees more than are
wanted (`with_margin`), and estimates them as of now.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from dagstore.channels import Channel, Learned, Scale, channel_for, measured_last, save_channel, scale
from dagstore.lineage import LIMIT, Lineage, Standing, trees_down
from dagstore.metrics import Metrics, add_metrics
from dagstore.model import Direction, Protocol, Run, Status
from dagstore.posterior import Posterior, learned, spread_of_half
from dagstore.rank import MAX, Z90, Moments, score_key
from dagstore.rows import id_of_node
from dagstore.storage import Reader, Writer, after

ORDERS = ("estimate", "optimistic", "pessimistic")
"""Append only: the position is part of the key."""
SAMPLE = 400
"""How many trees a channel learns from: those whose ids are smallest, which is as good as chance."""
SWEEP = 256
"""How many trees are brought up to date with one run."""
SMALL = 1024
"""A channel with fewer trees is brought up to date whenever it has learned."""
MIDDLE = 4096
"""One with fewer is when it has grown by half."""
KEPT = 1024
"""So many estimates are remembered."""
OFTEN = 32
"""A channel learns anew when it has grown by this part of it."""
DRIFT = 0.15
"""So much the noise may change, as a share of it, before a channel is brought up to date."""


class Ranked(NamedTuple):
    """A measured tree: its estimate, that one's standard deviation and 90 % interval (None: nothing is known of it)."""

    tree: int
    moments: Moments
    estimate: float
    sd: float
    low: float | None
    high: float | None


Estimated = tuple[Ranked, Posterior | None]
"""A tree without its interval as yet, and the posterior that gives it, where more than its own runs speak of it."""


def add_run(
    txn: Writer, run: Run, node: int, protocol: Protocol, only: Callable[[Channel], Metrics], *, leads: bool = True
) -> int:
    """Account for a run of the tree of that node; only an `ok` run with the protocol's metric counts.

    How many of the tree count now, 0 if this one does not. `only` gives the metrics of the one run that was counted
    before, where there is just one. Its column is the default one from now on, if the run `leads`.
    """
    value = run.metrics.get(protocol.metric)
    if run.status is not Status.OK or value is None:
        return 0
    channel = channel_for(txn, run, protocol)
    old = Lineage(txn, channel).standing(node)
    new = old._replace(moments=old.moments.add(value))
    channel = channel._replace(
        runs=channel.runs + 1,
        pool=channel.pool.replace(old.moments, new.moments),
        trees=channel.trees + (not old.moments.n),
    )
    if not old.moments.n:
        _into_sample(txn, channel, node)
    lineage = Lineage(txn, channel)
    lineage.put(node, new)
    if channel.runs >= channel.learned.due or (channel.pool.groups and not channel.learned.shares):
        lineage.save(txn)
        channel = refresh(txn, lineage)
        lineage = Lineage(txn, channel)
    _place(txn, lineage, node)
    lineage.save(txn)
    channel = _swept(txn, channel)
    save_channel(txn, channel)
    if leads:
        measured_last(txn, channel)
    add_metrics(txn, channel, node, run.metrics, old.moments.n, only(channel) if old.moments.n == 1 else {})
    return new.moments.n


def leaders(txn: Reader, channel: Channel, top: int, order: str = ORDERS[0]) -> list[Ranked]:
    """The first `top` measured trees of a channel as of now; equal ones by age."""
    recalled = Recalled(Lineage(txn, channel))
    found = [recalled.estimated(tree) for tree in islice(ordered(txn, channel, order), with_margin(top))]
    if order != ORDERS[0]:
        found = [recalled.bounded(it) for it in found]
    sign = 1 if channel.direction is Direction.MINIMIZE else -1
    found.sort(key=lambda it: (sign * score(it[0], order, channel.direction), it[0].tree))
    return [recalled.bounded(it)[0] for it in found[:top]]


def with_margin(top: int) -> int:
    """How many trees to take in the order as it was kept, to find the first `top` as of now among them."""
    return top + max(12, top // 2)


def ordered(txn: Reader, channel: Channel, order: str = ORDERS[0]) -> Iterator[int]:
    """The measured trees of a channel in one of the orders as it was kept, best first."""
    prefix = channel.key + bytes([ORDERS.index(order)])
    for key, _ in txn.scan("scores", prefix, after(prefix)):
        yield int.from_bytes(key[13:], "big")


def judged(lineage: Lineage, tree: int) -> Ranked:
    """What a tree is worth as of now."""
    return bounded(lineage, estimated(lineage, tree))[0]


def estimated(lineage: Lineage, tree: int) -> Estimated:
    """The same without its interval."""
    moments, sd = lineage.standing(tree).moments, lineage.scale.sd
    found = lineage.estimate(tree)
    if found is not None:
        return Ranked(tree, moments, found.mean, math.sqrt(found.var), None, None), found
    error = sd / math.sqrt(moments.n) if sd is not None and moments.n else 0.0
    return Ranked(tree, moments, moments.mean, error, None, None), None


def bounded(lineage: Lineage, it: Estimated) -> Estimated:
    """The same with its interval, if anything is known of the noise."""
    ranked, found = it
    if ranked.low is not None or lineage.scale.sd is None:
        return it
    if found is None:
        half = lineage.scale.wide * ranked.sd
        low, high = _finite(ranked.estimate - half), _finite(ranked.estimate + half)
    else:
        stretch = lineage.scale.wide / Z90
        low, high = (found.mean + stretch * (found.quantile(p) - found.mean) for p in (0.05, 0.95))
    return ranked._replace(low=low, high=high), found


class Recalled:
    """Estimates of one lineage, from memory where all is still the same that they depend on."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._kept = _kept(lineage.scale)
        self._keys: dict[int, Hashable] = {}

    def estimated(self, tree: int) -> Estimated:
        key = self._keys[tree] = tree, *self._lineage.rows(tree)
        return self._kept.get(key) or self._keep(key, estimated(self._lineage, tree))

    def bounded(self, it: Estimated) -> Estimated:
        found = bounded(self._lineage, it)
        return it if found is it else self._keep(self._keys[it[0].tree], found)

    def _keep(self, key: Hashable, it: Estimated) -> Estimated:
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[key] = it
        return it


@lru_cache(maxsize=4)
def _kept(scale: Scale) -> dict[Hashable, Estimated]:
    """What was worked out lately under that scale."""
    return {}


def score(it: Ranked, order: str, direction: Direction) -> float:
    """The number by which a tree is ranked: its estimate, or the better or the worse end of its interval."""
    if order == "estimate" or it.low is None or it.high is None:
        return it.estimate
    return it.low if (order == "optimistic") is (direction is Direction.MINIMIZE) else it.high


def refresh(txn: Writer, lineage: Lineage) -> Channel:
    """The channel after it has learned from a sample of its trees; due again when it has grown by a part of it."""
    channel, before = lineage.channel, lineage.channel.learned
    trees = list(_sample(txn, channel))
    now = before._replace(assumed=_assumed(lineage, trees), due=channel.runs + 1 + channel.runs // OFTEN)
    sd = scale(channel.pool, now).sd if channel.pool.squares else 0.0 if channel.pool.groups else None
    if sd and 1 / LIMIT < sd < LIMIT:
        messages = Lineage(txn, channel._replace(learned=now._replace(shares=before.shares or learned([], sd))))
        now = now._replace(shares=learned(_steps(messages, trees), sd))
    return channel._replace(learned=now if sd is None else _to_sweep(now, sd, channel.trees))


def _to_sweep(now: Learned, sd: float, trees: int) -> Learned:
    """The same, with all trees to be brought up to date if much has changed since that was done."""
    grown = trees < SMALL or (trees < MIDDLE and trees >= 1.5 * now.swept)
    if grown or abs(sd - now.sd) > DRIFT * now.sd:
        return now._replace(swept=trees, sd=sd, cursor=1 << 32)
    return now


def _swept(txn: Writer, channel: Channel) -> Channel:
    """The channel after a few more trees were brought up to date, children before their parents."""
    if not channel.learned.cursor:
        return channel
    lineage = Lineage(txn, channel)
    trees = trees_down(txn, channel, channel.learned.cursor, SWEEP)
    for tree in trees:
        lineage.resend(tree)
    for tree in trees:
        if lineage.standing(tree).moments.n:
            _keep_order(txn, lineage, tree)
    lineage.save(txn)
    cursor = trees[-1] if len(trees) == SWEEP else 0
    return channel._replace(learned=channel.learned._replace(cursor=cursor))


def _place(txn: Writer, lineage: Lineage, tree: int) -> None:
    """Put a tree in order, and those above it that it says something new of."""
    lineage.ask(tree)
    for changed in [tree, *lineage.tell(tree)]:
        if lineage.standing(changed).moments.n:
            _keep_order(txn, lineage, changed)


def _keep_order(txn: Writer, lineage: Lineage, tree: int) -> None:
    old, (now, _) = lineage.standing(tree), estimated(lineage, tree)
    # Without known noise the orders are one.
    new = old._replace(estimate=now.estimate, sd=now.sd if lineage.channel.pool.groups else 0.0)
    lineage.put(tree, new)
    for before, following in zip(_scores(lineage.channel, tree, old), _scores(lineage.channel, tree, new), strict=True):
        if before != following:
            txn.delete("scores", before)
        txn.put("scores", following, b"")


def _scores(channel: Channel, tree: int, it: Standing) -> list[bytes]:
    """The keys of a tree in every order."""
    head, tail, direction = channel.key, tree.to_bytes(4, "big"), channel.direction
    half = Z90 * it.sd if direction is Direction.MAXIMIZE else -Z90 * it.sd
    values = it.estimate, it.estimate + half, it.estimate - half
    return [head + bytes([order]) + score_key(_finite(value), direction) + tail for order, value in enumerate(values)]


def _into_sample(txn: Writer, channel: Channel, tree: int) -> None:
    prefix = b"p" + channel.key
    key = prefix + id_of_node(txn, tree)[:4] + tree.to_bytes(4, "big")
    if channel.trees > SAMPLE:
        last = next(txn.scan("rank", prefix, after(prefix), reverse=True))[0]
        if last < key:
            return
        txn.delete("rank", last)
    txn.put("rank", key, b"")


def _sample(txn: Reader, channel: Channel) -> Iterator[int]:
    prefix = b"p" + channel.key
    for key, _ in txn.scan("rank", prefix, after(prefix)):
        yield int.from_bytes(key[9:], "big")


def _assumed(lineage: Lineage, trees: Iterable[int]) -> float:
    """The noise to go by while nothing was repeated: it makes half of the variance between trees and parents."""
    differences = []
    for tree in trees:
        own, parent = lineage.standing(tree).moments, lineage.parent(tree)
        other = lineage.standing(parent).moments if parent else Moments()
        if other.n:
            differences.append(_finite(own.mean - other.mean))
    return spread_of_half(differences) / 2


def _steps(lineage: Lineage, trees: Iterable[int]) -> Iterator[tuple[float, float]]:
    """Steps of trees from their parents, each with the variance of its error."""
    for tree in trees:
        own, above = lineage.own(tree), lineage.above(tree)
        if own is not None and above.precision:
            yield own.mean - above.mean, own.var + above.var


def _finite(value: float) -> float:
    return max(-MAX, min(MAX, value))
