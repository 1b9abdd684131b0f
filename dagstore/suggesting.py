"""What to adopt next, asked of a store."""

from typing import TYPE_CHECKING

from dagstore.accounting import NODES, Accounting
from dagstore.base import Ref
from dagstore.composing import Composing
from dagstore.errors import BadInput
from dagstore.leading import Leading

if TYPE_CHECKING:
    from dagstore.suggestions import Suggestions


class Suggesting(Accounting, Leading, Composing):
    def suggest(self, top: int = 10, *, onto: Ref | None = None, nodes: int = NODES) -> "Suggestions":
        """Adoptions that nobody tried, onto the best node of the default ranking or `onto`, the most gain first.

        Donors are nodes whose own edits, as far as the best node has none of them, are worth more than nothing by
        `effects`; also such as were no better themselves. Each is composed by itself, the best in pairs, threes and as
        many as go together, and what contradicts, changes nothing or gives files that some node has is left out.
        Nothing is run or recorded. The gain is the sum of the effects with its 90 % interval, of how good the node
        would be and not of one measurement; interactions are not in it.
        """
        if top < 0 or nodes < 0:
            raise BadInput("a negative number of suggestions or nodes", hint="ask for 0 or more")
        from dagstore.adding import Sums
        from dagstore.combining import Combining

        best = onto if onto is not None else next((row.id for row in self.frontier(1).nodes), None)
        with self._storage.read() as txn:
            sums = Sums(self, txn, nodes)
            return Combining(self, txn, sums, 0 if best is None else self._seq(txn, best)).answer(top)
