"""Which nodes can be adopted together, asked of a store."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.composing import Composing, Request

if TYPE_CHECKING:
    from dagstore.index import Progress
    from dagstore.views import Compatible


class Comparing(Composing):
    def compatible(
        self,
        *refs: Ref,
        primary: Ref | None = None,
        own: bool = False,
        only: Iterable[str] = (),
        progress: "Progress | None" = None,
    ) -> "Compatible":
        """Which of these nodes contradict each other, two by two, and the most of them that `adopt` takes without that.

        Nothing is run or recorded, and the order of `refs` never matters. `primary`, `own` and `only` are those of
        `adopt`: every two are composed onto the node that `adopt` would choose, with what it would take of them. What
        sets a node at odds with that one is between these two, not between the node and each other one.

        With a `primary` the subset holds it; else it may go without the node that all were composed onto, if it is
        larger then. Sets that are free of contradictions two by two are composed as a whole before they are offered.

        `progress` is told how many pairs are done, and of how many. `BadInput` for fewer than two different nodes, and
        if a place of `only` is none that a node changes.
        """
        from dagstore.compatibility import Compatibility

        request = Request(refs, primary, own=own, only=tuple(sorted(set(only))))
        with self._storage.read() as txn:
            return Compatibility(self, txn, request).answer(progress)
