"""Why a node is as good as it is, asked of a store."""

from typing import TYPE_CHECKING

from dagstore.adopting import Adopting
from dagstore.base import Ref

if TYPE_CHECKING:
    from dagstore.views import Why


class Explaining(Adopting):
    def why(self, ref: Ref) -> "Why":
        """What a node gained over its primary parent, what its donors let expect, and which of them earn their place.

        A donor is an adopted parent; its gain is over the node where its line left the primary's. Only runs of the
        default ranking count, with equal files sharing theirs. Intervals are of 90 % under its pooled noise, as in
        `frontier`, and unknown while nothing was measured twice. A gain is None where runs are missing, and the answer
        says what to run. A donor of which the node has nothing that the primary has not is not expected to gain.

        A donor earns its place if the node is better than the node without it beyond doubt, and does not if it is no
        better. What the node is without it is composed as `adopt` does, and looked up, never run.

        A node with one parent has no donors and is judged by its own gain. The seed has no parent: all its gains are
        None, and it is no error to ask, so that any node may be asked about.
        """
        from dagstore.reasons import Question

        with self._storage.read() as txn:
            return Question(self, txn, self._seq(txn, ref)).answer()
