"""What nodes touch: the edits of their own diffs, which are those against their primary parents."""

from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.ids import NodeId
from dagstore.index import graph_row
from dagstore.looking import Looking
from dagstore.model import EMPTY, Change, changes
from dagstore.shown import Rows
from dagstore.storage import Reader

if TYPE_CHECKING:
    from dagstore.touched import Edit

HELD = 64 << 20
"""Bytes of edits, and what their records take, that a store keeps in memory."""
RECORD = 500


class Touching(Looking):
    _edited: "tuple[dict[NodeId, tuple[Edit, ...]], list[int]] | None" = None

    def edits(self, ref: Ref) -> "Rows[Edit]":
        """What the node's own diff changes, by path and place: the smallest syntactic regions, before and after.

        A file that was renamed went at one path and came at the other. A node without parents brings all its files.
        """
        with self._storage.read() as txn:
            return Rows(self._edits(txn, self._seq(txn, ref)))

    def _edits(self, txn: Reader, seq: int) -> "tuple[Edit, ...]":
        """The same by number; the last ones that were asked for are at hand."""
        if self._edited is None:
            self._edited = {}, [0]
        known, size = self._edited
        id = self._id(txn, seq)
        found = known.get(id)
        if found is None:
            found = self._own_edits(txn, seq)
            size[0] += sum(RECORD + len(edit.before) + len(edit.after) for edit in found)
            if size[0] > HELD:
                known.clear()
                size[0] = 0
            known[id] = found
        return found

    def _own_edits(self, txn: Reader, seq: int) -> "tuple[Edit, ...]":
        primary = graph_row(txn, seq).primary
        before = self._code(txn, primary) if primary else EMPTY
        changed = changes(before, self._code(txn, seq))
        return tuple(edit for change in changed for edit in self._changed(txn, change))

    def _changed(self, txn: Reader, change: Change) -> "tuple[Edit, ...]":
        from dagstore.touched import WHOLE, Edit, file_edits

        old, new = (self._objects.read(txn, entry.blob) if entry else None for entry in (change.old, change.new))
        if old is not None and new is not None and not change.of_content:
            return (Edit(change.path, WHOLE, old, new),)
        return file_edits(change.path, old, new)
