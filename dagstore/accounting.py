"""What a store knows of its experiments as a whole: the ledger of what they took and what came of it."""

from typing import TYPE_CHECKING

from dagstore.errors import BadInput
from dagstore.touching import Touching

if TYPE_CHECKING:
    from dagstore.ledger import Ledger

REGIONS = 2_000
"""Nodes whose regions are read; taking files apart takes about a millisecond a node."""


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
