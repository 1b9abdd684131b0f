"""Where measured trees stand, and what their lineage says of them.

Rows of the table `rank`, a tree being named by the first node that has it:

    t <channel:4> <node:4>  -> a standing

A standing is the moments of the tree's runs, what its children say of it all together (`up`), what it last said of its
own parent (`sent`), and the estimate and standard deviation by which it was last put in order. A tree without runs has
one as soon as a child was measured.
"""

import math
import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from dagstore.channels import Channel
from dagstore.posterior import NOTHING, Belief, Posterior, below, measured, told
from dagstore.rank import Moments
from dagstore.rows import children, read_row
from dagstore.storage import Reader, Writer, after

LEVELS = 2
"""How many ancestors an estimate asks, each of which knows what its own runs and all its other children say."""
REACH = 8
"""How many ancestors hear of a run."""
HEARD = 64
"""How many children of a tree say anew what they say of it, when it was measured: the oldest."""
FELT = 0.02
"""An ancestor whose mean changes by less than this share of its standard deviation tells nobody."""
_ONE = struct.Struct("<5d")
_ALL = struct.Struct("<I8d")
LIMIT = 1e140
"""Beyond this, products overflow; such numbers are ranked by their means."""


class Standing(NamedTuple):
    moments: Moments = Moments()
    up: Belief = NOTHING
    sent: Belief = NOTHING
    estimate: float = 0.0
    sd: float = 0.0


class Lineage:
    """Estimates of one channel, within one transaction; what is put is stored by `save`."""

    def __init__(self, txn: Reader, channel: Channel) -> None:
        self._txn = txn
        self.channel = channel
        self.scale = channel.scale()
        self._prefix = b"t" + channel.key
        self._rows: dict[int, bytes] = {}
        self._known: dict[int, Standing] = {}
        self._changed: set[int] = set()
        self._own: dict[int, Belief] = {}
        self._parents: dict[int, int] = {}

    def standing(self, tree: int) -> Standing:
        known = self._known.get(tree)
        if known is None:
            known = self._known[tree] = _read(self._row(tree))
        return known

    def rows(self, tree: int) -> tuple[bytes, ...]:
        """All that the estimate of a tree depends on beside the scale, as it is stored."""
        found = []
        for _ in range(LEVELS + 1):
            found.append(self._row(tree))
            tree = self.parent(tree)
            if not tree:
                break
        return tuple(found)

    def _row(self, tree: int) -> bytes:
        known = self._rows.get(tree)
        if known is None:
            known = self._rows[tree] = self._txn.get("rank", self._prefix + tree.to_bytes(4, "big")) or b""
        return known

    def parent(self, tree: int) -> int:
        """The tree of the primary parent, or 0."""
        known = self._parents.get(tree)
        if known is None:
            primary = read_row(self._txn, tree).primary
            known = self._parents[tree] = self.tree_of(primary) if primary else 0
        return known

    def tree_of(self, node: int) -> int:
        """The first node that has the tree of that one."""
        return read_row(self._txn, node).first

    def estimate(self, tree: int) -> Posterior | None:
        """What a measured tree is worth; None if nothing but its own runs says so."""
        own = self.own(tree) if self.scale.steps else None
        if own is None:
            return None
        above = self.above(tree)
        if not above.precision and not self.standing(tree).up.precision:
            return None
        found = below(above, own, self.scale.steps)
        return found if found.var > 0 and math.isfinite(found.mean) else None

    def own(self, tree: int) -> Belief | None:
        """What a tree's runs and its children say of it; None where that cannot be computed with."""
        known = self._own.get(tree)
        if known is None and (known := self._speak(tree)) is not None:
            self._own[tree] = known
        return known

    def _speak(self, tree: int) -> Belief | None:
        standing, sd = self.standing(tree), self.scale.sd
        if not sd or abs(standing.moments.mean) > LIMIT or not 1 / LIMIT < sd < LIMIT:
            return None
        return self._runs(tree).plus(standing.up)

    def _runs(self, tree: int) -> Belief:
        """What the runs of a tree alone say of it, where the noise is known."""
        (n, mean, _), sd = self.standing(tree).moments, self.scale.sd
        return measured(mean, n, sd) if n and sd else NOTHING

    def above(self, tree: int, levels: int = LEVELS) -> Belief:
        """What is known of the parent of a tree without it."""
        parent = self.parent(tree) if self.scale.steps and levels else 0
        own = self.own(parent) if parent else None
        if own is None:
            return NOTHING
        known = own.less(self.standing(tree).sent)
        prior = self.above(parent, levels - 1)
        return below(prior, known, self.scale.steps).belief() if prior.precision else known

    def tell(self, tree: int) -> Iterator[int]:
        """Let the ancestors of a tree know what it says now; those whose estimates changed."""
        for _ in range(REACH):
            parent = self.parent(tree) if self.scale.steps else 0
            if not parent or not self._send(tree, parent):
                return
            yield parent
            tree = parent

    def ask(self, tree: int) -> None:
        """Let the children of a tree say what they say of it, which goes by its own runs."""
        for child in islice(children(self._txn, tree), HEARD if self.scale.steps else 0):
            if self.tree_of(child) == child and self.parent(child) == tree:
                self._send(child, tree)

    def resend(self, tree: int) -> None:
        """Let the parent of a tree alone know what it says now."""
        parent = self.parent(tree) if self.scale.steps else 0
        if parent:
            self._send(tree, parent)

    def put(self, tree: int, standing: Standing) -> None:
        self._known[tree] = standing
        self._own.pop(tree, None)
        self._changed.add(tree)

    def save(self, txn: Writer) -> None:
        for tree in sorted(self._changed):
            txn.put("rank", self._prefix + tree.to_bytes(4, "big"), _written(self._known[tree]))
        self._changed.clear()

    def _send(self, tree: int, parent: int) -> bool:
        """Whether what the parent thinks of itself changed so much that it should go on."""
        child, other = self.own(tree), self.own(parent)
        if child is None or other is None:
            return False
        mine, theirs = self.standing(tree), self.standing(parent)
        message = told(child, self._runs(parent), self.scale.steps)
        if not math.isfinite(message.weighted):
            message = NOTHING
        up = Belief(
            max(0.0, theirs.up.precision - mine.sent.precision + message.precision),
            theirs.up.weighted - mine.sent.weighted + message.weighted,
        )
        self.put(tree, mine._replace(sent=message))
        self.put(parent, theirs._replace(up=up if up.precision else NOTHING))
        return _differ(other, self.own(parent) or NOTHING)


def moments_of(txn: Reader, channel: Channel, tree: int) -> Moments:
    """What was measured of the tree of one node in a channel; `n` is 0 if nothing was."""
    return _read(txn.get("rank", _key(channel, tree))).moments


def members(txn: Reader, channel: Channel) -> Iterator[tuple[int, Moments]]:
    """Every measured tree of a channel with its moments, in the order of recording."""
    low = b"t" + channel.key
    for key, row in txn.scan("rank", low, after(low)):
        moments = _read(row).moments
        if moments.n:
            yield int.from_bytes(key[5:], "big"), moments


def trees_down(txn: Reader, channel: Channel, below: int, limit: int) -> list[int]:
    """At most so many trees of a channel with smaller numbers than that, the greatest first."""
    low = b"t" + channel.key
    high = _key(channel, below) if below < 1 << 32 else after(low)
    keys = txn.scan("rank", low, high, reverse=True)
    return [int.from_bytes(key[5:], "big") for (key, _), _ in zip(keys, range(limit), strict=False)]


def _differ(old: Belief, new: Belief) -> bool:
    if not old.precision or not new.precision:
        return old.precision != new.precision
    if abs(new.precision / old.precision - 1) > FELT:
        return True
    return abs(new.mean - old.mean) > FELT * math.sqrt(new.var)


def _key(channel: Channel, tree: int) -> bytes:
    return b"t" + channel.key + tree.to_bytes(4, "big")


def _read(row: bytes | None) -> Standing:
    if not row:
        return Standing()
    if len(row) == _ONE.size:
        mean, precision, weighted, estimate, sd = _ONE.unpack(row)
        return Standing(Moments(1, mean, 0.0), NOTHING, Belief(precision, weighted), estimate, sd)
    n, mean, squares, up, heavy, precision, weighted, estimate, sd = _ALL.unpack(row)
    return Standing(Moments(n, mean, squares), Belief(up, heavy), Belief(precision, weighted), estimate, sd)


def _written(it: Standing) -> bytes:
    if it.moments.n == 1 and not it.up.precision:
        return _ONE.pack(it.moments.mean, *it.sent, it.estimate, it.sd)
    return _ALL.pack(*it.moments, *it.up, *it.sent, it.estimate, it.sd)
