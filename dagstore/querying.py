"""Nodes by a condition, asked of a store."""

from dagstore.accounting import Accounting
from dagstore.leading import Leading
from dagstore.nodes import Nodes


class Querying(Accounting, Leading):
    def query(self, where: str, *, platform: str | None = None, newest_first: bool = False) -> Nodes:
        """The nodes for which a condition holds, in the order of recording.

        `where` is written as in Python: `val_bpb < 0.98 and touches('train.py:MLP')`. Metrics are means over the runs
        that the default ranking counts, or that on `platform`; `estimate` is what the ranking makes of them. What is
        not known makes comparisons false. Cheap parts are asked first, whatever their order. `BadInput`, with the
        position, on what means nothing; `NotFound` where it names a platform or a node that there is not.
        """
        from dagstore.meaning import Meaning

        with self._storage.read() as txn:
            found = Meaning(self, txn, self._channel(txn, platform)).select(where)
        return self._nodes(found[::-1] if newest_first else found)
