"""All nodes that were measured beside their primary parents, out of the indexes in one pass.

A gain is within one column of comparable numbers, positive where better.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dagstore.channels import Channel
from dagstore.index import SAME
from dagstore.lineage import members
from dagstore.model import Direction
from dagstore.rank import MAX, Z90, Moments, Noise
from dagstore.storage import Reader, after


class Pair(NamedTuple):
    """A node and its primary parent by their trees (the first nodes that have them), and what was measured of both."""

    node: int
    tree: int
    base: int
    new: Moments
    old: Moments

    def gain(self, direction: Direction) -> float:
        value = self.new.mean - self.old.mean
        value = max(-MAX, min(MAX, value))
        return (-value if direction is Direction.MINIMIZE else value) + 0.0

    def clear(self, gain: float, noise: Noise) -> bool:
        """Whether the 90 % interval of the gain lies above zero; False while the noise is unknown."""
        return noise.sd is not None and gain > Z90 * noise.sd * math.sqrt(1 / self.new.n + 1 / self.old.n)


def firsts(txn: Reader) -> dict[int, int]:
    """The first node with the same tree, of those nodes that are not the first."""
    keys = (key for key, _ in txn.scan("facts", SAME, after(SAME)))
    return {int.from_bytes(key[5:], "big"): int.from_bytes(key[1:5], "big") for key in keys}


def measured(txn: Reader, channel: Channel | None) -> dict[int, Moments]:
    """What was measured of every tree in a column."""
    return dict(members(txn, channel)) if channel else {}


def pairs(
    primary: "Sequence[int] | array[int]", first: Mapping[int, int], moments: Mapping[int, Moments]
) -> Iterator[Pair]:
    """Every node that was measured and whose primary parent was, unless both have one tree; oldest first."""
    for node in range(1, len(primary)):
        tree, above = first.get(node, node), primary[node]
        base = first.get(above, above)
        new, old = moments.get(tree), moments.get(base)
        if new and old and tree != base:
            yield Pair(node, tree, base, new, old)
