"""What a store knows of its experiments as a whole: the ledger of what they took and what came of it."""

from typing import TYPE_CHECKING

from dagstore.errors import BadInput
from dagstore.touching import Touching

if TYPE_CHECKING:
    from dagstore.effects import Effects
    from dagstore.ledger import Ledger

REGIONS = 2_000
"""Nodes whose regions are read; taking files apart takes about a millisecond a node."""

NODES = 20_000
"""Measured nodes that effects are told from."""


class Accounting(Touching):
    def ledger(self, *, regions: int = REGIONS) -> "Ledger":
        """What experiments took by status, what was not run twice, the time between runs, and which changes were kept.

        Regions are told of the newest so many nodes, all else of all. Numbers are compared within the protocol and the
        platform of the default ranking only.
        """
        if regions < 0:
            raise BadInput(f"{regions} nodes have no regions", hint="ask for 0 or more")
        from dagstore.books import Books

        with self._storage.read() as txn:
            return Books(self, txn, regions).answer()

    def effects(self, *, nodes: int = NODES) -> "Effects":
        """What every distinct edit is worth, over all nodes that have it in their own diff, and which pairs interact.

        The gain of a measured node over its measured primary parent is taken for the sum of the effects of its edits,
        and noise; `dagstore.additive` has the model and its sources. Effects are positive where better, in the
        metric's unit, shrunken to zero as far as the noise may explain them, with 90 % intervals. The newest so many
        nodes are looked at, within the protocol and platform of the default ranking. An edit is the same by path,
        region, and what was there before and after, on whatever lines; comments and white space are none.
        """
        if nodes < 0:
            raise BadInput(f"{nodes} nodes have no edits", hint="ask for 0 or more")
        from dagstore.adding import Sums

        with self._storage.read() as txn:
            return Sums(self, txn, nodes).answer()
