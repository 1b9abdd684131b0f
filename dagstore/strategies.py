"""Strategies: which measured trees are most worth building on, and why. Each looks at a bounded number of them.

`promise` follows the clade statistics of Huxley-Gödel machines (Wang et al. 2025): what an experiment's descendants
came to, drawn by Thompson sampling (Thompson 1933), tells more of it than its own number.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import NamedTuple

from dagstore.channels import Channel
from dagstore.index import with_tree
from dagstore.lineage import Lineage
from dagstore.model import Direction
from dagstore.rank import MAX
from dagstore.ranking import ORDERS, Ranked, judged, ordered, score, with_margin
from dagstore.rows import children
from dagstore.storage import Reader

POOL = 1_000
"""Of so many of the best a strategy chooses that no index can serve."""
LOOKED = 10_000
"""How many of the best are looked at for leaves."""
CLADE = 200
"""How many descendants of an experiment are counted."""
AHEAD = 10
"""`promise` asks what so many more experiments on one are likely to bring."""
EXPECTED = 4
"""How many descendants the rate of the whole pool counts for in the rate of a clade."""
HUGE = 1e300
"""Gains are taken for no larger, so that sums of them stay finite."""
READ = 150
"""For so many experiments it is looked up what they touch."""

Touched = Callable[[int], frozenset[tuple[str, str]]]
"""Which (path, region) the own diff of a tree's first node touches."""


class Pick(NamedTuple):
    """One tree that was chosen, and why; `score` is the number it was ranked by, where that is not its estimate."""

    ranked: Ranked
    why: str
    score: float | None = None
    axes: Mapping[str, float] = {}


class Chosen(NamedTuple):
    """Picks in their order, of so many trees that were looked at."""

    picks: list[Pick]
    considered: int


class Field:
    """The measured trees of a channel, as a strategy looks at them."""

    def __init__(self, txn: Reader, channel: Channel, name: Callable[[int], str], touched: Touched) -> None:
        self.txn = txn
        self.channel = channel
        self.name = name
        self.touched = touched
        self.lineage = Lineage(txn, channel)
        self.towards = 1 if channel.direction is Direction.MINIMIZE else -1
        self._judged: dict[int, Ranked] = {}

    def judged(self, tree: int) -> Ranked:
        known = self._judged.get(tree)
        if known is None:
            known = self._judged[tree] = judged(self.lineage, tree)
        return known

    def best(self, limit: int, order: str = ORDERS[0]) -> list[Ranked]:
        """About the `limit` best, best first."""
        found = [self.judged(tree) for tree in islice(ordered(self.txn, self.channel, order), limit)]
        return sorted(found, key=lambda it: (self.towards * score(it, order, self.channel.direction), it.tree))

    def measured(self, tree: int) -> bool:
        return self.lineage.standing(tree).moments.n > 0

    def children(self, tree: int) -> list[int]:
        """Trees of the primary children of the nodes that have this tree, as far as they differ from it."""
        nodes = (child for node in with_tree(self.txn, tree) for child in children(self.txn, node))
        below = dict.fromkeys(self.lineage.tree_of(child) for child in nodes)
        return [child for child in below if child != tree and self.lineage.parent(child) == tree]

    def has_children(self, tree: int) -> bool:
        return any(True for node in with_tree(self.txn, tree) for _ in children(self.txn, node))

    def gain(self, one: float, over: float) -> float:
        """How much better `one` is, at most `HUGE`; positive if it is."""
        return max(-HUGE, min(HUGE, self.towards * (over - one)))


def choose(field: Field, strategy: str, top: int, rng: Random) -> Chosen:
    """The picks of a strategy that is no mere order, and needs to be told nothing."""
    return _CHOOSERS[strategy](field, top, rng)


def _leaves(field: Field, top: int, rng: Random) -> Chosen:
    """The best of those that nobody has built on."""
    looked, picks = 0, []
    for tree in islice(ordered(field.txn, field.channel), LOOKED):
        looked += 1
        if not field.has_children(tree):
            picks.append(Pick(field.judged(tree), "nobody has built on it"))
        if len(picks) >= with_margin(top):
            break
    picks.sort(key=lambda pick: (field.towards * pick.ranked.estimate, pick.ranked.tree))
    return Chosen(picks[:top], looked)


def _stale(field: Field, top: int, rng: Random) -> Chosen:
    """Those that improved on their parent, where another child of it is better: worth repeating on that one."""
    pool = field.best(POOL)
    successors: dict[int, Ranked] = {}
    picks = []
    for it in pool:
        parent = field.lineage.parent(it.tree)
        if not parent or not field.measured(parent):
            continue
        gain = field.gain(it.estimate, field.judged(parent).estimate)
        better = successors.setdefault(parent, it)
        if better is not it and gain > 0 and better.estimate != it.estimate:
            why = f"gains {gain:.3g} over {field.name(parent)}, which {field.name(better.tree)} has superseded"
            picks.append(Pick(it, why, gain))
    picks.sort(key=lambda pick: (-(pick.score or 0.0), pick.ranked.tree))
    return Chosen(picks[:top], len(pool))


def _underexplored(field: Field, top: int, rng: Random) -> Chosen:
    """Of those that may be as good as the best, the ones with the fewest children."""
    pool = field.best(POOL, "optimistic")
    best = min((field.towards * it.estimate for it in pool), default=0.0)
    picks = []
    for it in pool:
        reach = field.towards * score(it, "optimistic", field.channel.direction)
        if reach <= best:
            count = sum(1 for node in with_tree(field.txn, it.tree) for _ in children(field.txn, node))
            built = "nobody has built on it" if not count else f"{count} built on it"
            picks.append(Pick(it, f"may be as good as the best, and {built}", float(count)))
    picks.sort(key=lambda pick: (pick.score, field.towards * pick.ranked.estimate, pick.ranked.tree))
    return Chosen(picks[:top], len(pool))


def _near_misses(field: Field, top: int, rng: Random) -> Chosen:
    """Those that came out worse than their parent by at most one sd of a run, and touch what the best does not."""
    pool = field.best(POOL)
    sd = field.lineage.scale.sd or 0.0
    misses = []
    for it in pool:
        parent = field.lineage.parent(it.tree)
        if parent and field.measured(parent):
            loss = -field.gain(it.estimate, field.judged(parent).estimate)
            if 0 <= loss <= sd and field.gain(it.moments.mean, field.lineage.standing(parent).moments.mean) <= 0:
                misses.append((loss, it))
    misses.sort(key=lambda miss: (miss[0], miss[1].tree))
    best = _touched_on_line(field, pool[0].tree) if pool else frozenset()
    line = set(_line(field, pool[0].tree)) if pool else set()
    picks = []
    for loss, it in misses[:READ]:
        regions = field.touched(it.tree)
        if it.tree not in line and regions and not _overlap(regions, best):
            places = ", ".join(sorted(f"{path}:{region}" for path, region in regions)[:3])
            picks.append(
                Pick(it, f"lost {loss:.3g}, within one sd, and touches {places}, which the best does not", loss)
            )
    return Chosen(picks[:top], len(pool))


def _promise(field: Field, top: int, rng: Random) -> Chosen:
    """What `AHEAD` more experiments on it are likely to bring: one draw of its worth, and of its clade's luck."""
    pool = field.best(min(POOL, 10 * top + 50), "optimistic")
    clades = {it.tree: _clade(field, it.tree) for it in pool}
    won = [gain for gains in clades.values() for gain in gains if gain > 0]
    tried = sum(len(gains) for gains in clades.values())
    rate = (len(won) + 1) / (tried + 2)
    typical = sorted(won)[len(won) // 2] if won else (field.lineage.scale.sd or 0.0)
    picks = []
    for it in pool:
        gains = clades[it.tree]
        wins = [gain for gain in gains if gain > 0]
        share = rng.betavariate(EXPECTED * rate + len(wins), EXPECTED * (1 - rate) + len(gains) - len(wins))
        gain = (math.fsum(wins) + EXPECTED * typical) / (len(wins) + EXPECTED)
        hoped = gain * (1 - (1 - share) ** AHEAD)
        value = max(-MAX, min(MAX, it.estimate + it.sd * rng.gauss(0, 1) - field.towards * hoped))
        why = f"{len(wins)} of {len(gains)} below it improved; {AHEAD} more may bring it to {value:.6g}"
        picks.append(Pick(it, why, value))
    picks.sort(key=lambda pick: (field.towards * (pick.score or 0.0), pick.ranked.tree))
    return Chosen(picks[:top], len(pool))


def _clade(field: Field, tree: int) -> list[float]:
    """How much each of the measured descendants of a tree gained over its own parent, nearest first."""
    gains: list[float] = []
    waiting = [tree]
    for parent in waiting:
        for child in field.children(parent)[: CLADE - len(gains)]:
            if field.measured(child) and field.measured(parent):
                gains.append(field.gain(_mean(field, child), _mean(field, parent)))
            waiting.append(child)
        if len(gains) >= CLADE or len(waiting) > CLADE:
            break
    return gains


def _mean(field: Field, tree: int) -> float:
    """Where the order has a tree, which is near enough to count by."""
    return field.lineage.standing(tree).estimate


def _line(field: Field, tree: int) -> Iterator[int]:
    """A tree and those of its primary ancestors, as far as they are looked at."""
    for _ in range(READ):
        if not tree:
            return
        yield tree
        tree = field.lineage.parent(tree)


def _touched_on_line(field: Field, tree: int) -> frozenset[tuple[str, str]]:
    """What the line of a tree touches, but for its beginning, which brought everything."""
    line = [one for one in _line(field, tree) if field.lineage.parent(one)]
    return frozenset().union(*(field.touched(one) for one in line))


def _overlap(one: Iterable[tuple[str, str]], other: Iterable[tuple[str, str]]) -> bool:
    """Whether two sets of regions meet: the same one, one within the other, or a whole file."""
    from dagstore.touched import WHOLE, within

    pairs = [(a, b) for path, a in one for where, b in other if path == where]
    return any(WHOLE in pair or within(*pair) or within(*reversed(pair)) for pair in pairs)


_CHOOSERS: Mapping[str, Callable[[Field, int, Random], Chosen]] = {
    "promise": _promise,
    "underexplored": _underexplored,
    "near-miss": _near_misses,
    "leaves": _leaves,
    "stale": _stale,
}
