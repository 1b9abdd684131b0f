"""The versions of a file in a store as `blame` asks for them: where there is another one, and its bytes."""

from dagstore.blame import Parent, Place
from dagstore.chains import Held
from dagstore.errors import Damaged
from dagstore.finding import find
from dagstore.graph import Row
from dagstore.ids import NodeId
from dagstore.index import ADOPTION, facts, graph_row, may_touch
from dagstore.manifests import file_in
from dagstore.model import Adoption, Tree
from dagstore.objects import Objects
from dagstore.records import Change
from dagstore.rows import id_of_node, line, unreadable
from dagstore.storage import Reader

STRIDE = 32
"""Of a stretch of nodes that do not touch a file, one in so many is remembered."""


class Versions:
    """Files of nodes within a transaction that the caller holds; what is damaged is told as damage of the node."""

    def __init__(self, txn: Reader, objects: Objects) -> None:
        self._txn = txn
        self._objects = objects
        self._wholes: dict[int, list[Change]] = {}
        self._blobs: dict[Place, int] = {}
        self._touched: dict[Place, int] = {}
        self._held, self._checked = Held(), Held()

    def of(self, node: int, path: str) -> Place | None:
        """The file of a node, where the last node on its primary line left it that changed it; None if it has none."""
        place = Place(self._last_touched(node, path), path)
        return place if place.node and self._blob(place) else None

    def parents(self, place: Place) -> list[Parent]:
        """The parents that have the file, under that path or under one that they were the last to have it at."""
        row: Row = graph_row(self._txn, place.node)
        if not row.primary:
            return []
        adopted = sorted(row.adopted, key=lambda node: id_of_node(self._txn, node))
        found = ((node, self.of(node, place.path) or self._renamed(node, place)) for node in (row.primary, *adopted))
        return [Parent(there, node if node != row.primary else 0) for node, there in found if there]

    def content(self, place: Place) -> bytes:
        blob = self._blob(place)
        data = self._checked.get(blob)
        if data is None:
            try:
                data = self._objects.get(self._txn, blob, self._held)
            except Damaged as error:
                raise unreadable(self._txn, place.node, error) from error
            self._checked.put(blob, data)
        return data

    def donors(self, place: Place) -> set[int]:
        """The nodes whose wishes went into the file, by the records of how the node was composed.

        Among them is the one that the others were composed onto: it need not be the primary parent.
        """
        found: set[NodeId] = set()
        for record in facts(self._txn, place.node, ADOPTION):
            adoption: Adoption = self._objects.load(self._txn, record)
            for decision in adoption.decisions:
                if decision.path == place.path and decision.engine != "already":
                    found.update((adoption.primary, *decision.origins))
        return {find(self._txn, id) for id in found}

    def _last_touched(self, node: int, path: str) -> int:
        """The nearest node on the primary line, itself included, that may differ from its parent there; 0 if none."""
        if may_touch(self._txn, node, path):
            return node
        passed = []
        for at in line(self._txn, node):
            known = self._touched.get(Place(at, path))
            if known is None and may_touch(self._txn, at, path):
                known = at
            if known is not None:
                break
            if at == node or at % STRIDE == 0:
                passed.append(at)
        else:
            known = 0
        self._touched.update((Place(at, path), known) for at in passed)
        return known

    def _renamed(self, parent: int, place: Place) -> Place | None:
        """The file of the parent with the same bytes, whose path the node has not any more; the first of several."""
        before, after = self._tree(parent), self._tree(place.node)
        entry = after.get(place.path)
        lost = (one.path for one in before if entry and one.blob == entry.blob and after.get(one.path) is None)
        path = next(lost, None)
        return self.of(parent, path) if path else None

    def _blob(self, place: Place) -> int:
        """The record of the file, or 0."""
        blob = self._blobs.get(place)
        if blob is None:
            try:
                tree = graph_row(self._txn, place.node).tree
                blob = self._blobs[place] = file_in(self._txn, tree, place.path, self._wholes)
            except Damaged as error:
                raise unreadable(self._txn, place.node, error) from error
        return blob

    def _tree(self, node: int) -> Tree:
        try:
            tree: Tree = self._objects.load(self._txn, graph_row(self._txn, node).tree)
        except Damaged as error:
            raise unreadable(self._txn, node, error) from error
        return tree
