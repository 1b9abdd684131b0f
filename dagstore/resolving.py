"""How contradictions that were left open get resolved: what a child of such a node has in their place is remembered."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dagstore.codec import encode
from dagstore.composing import Composing, Request
from dagstore.finding import find
from dagstore.ids import BlobId, NodeId, ResolutionId
from dagstore.index import ADOPTION, facts, graph_row
from dagstore.model import RESOLUTION, Adoption, Resolution, Tree
from dagstore.printable import clean
from dagstore.storage import Reader, Writer

if TYPE_CHECKING:
    from dagstore.adopt.merge import Resolve, Resolved
    from dagstore.adopt.resolution import Chosen


class Resolving(Composing):
    def _resolved(
        self, txn: Reader, parents: Iterable[int], tree: Tree, contents: Mapping[BlobId, bytes]
    ) -> "tuple[Chosen, ...]":
        """What a child has in place of the contradictions that its parents left open."""
        open_ones = (parent for parent in parents if self._open(txn, parent))
        return tuple(one for parent in open_ones for one in self._resolved_over(txn, parent, tree, contents))

    def _resolved_over(
        self, txn: Reader, parent: int, tree: Tree, contents: Mapping[BlobId, bytes]
    ) -> "Iterable[Chosen]":
        """What a child has in place of what is open in a parent; nothing if that cannot be composed again."""
        from dagstore.adopt.resolution import Marking

        record: Adoption = self._objects.load(txn, next(facts(txn, parent, ADOPTION)))
        onto, before, known = find(txn, record.primary), self._tree(txn, parent), self._known_then(txn, record)
        brought = self._brought(
            txn, Request((), own=record.own, only=record.only), onto, graph_row(txn, parent).parents
        )
        if self._compose(txn, onto, brought, record.preference, known).tree != before:
            return
        marking = Marking(record.open, known)
        draft = self._compose(txn, onto, brought, record.preference, marking, checked=False)
        for path in sorted({one.path for one in marking.marked}):
            entries = (draft.tree.get(path), before.get(path), tree.get(path))
            texts = [self._content(txn, {**draft.blobs, **contents}, entry.blob) for entry in entries if entry]
            if len(texts) == len(entries):
                yield from marking.chosen(*texts)

    def _content(self, txn: Reader, at_hand: Mapping[BlobId, bytes], blob: BlobId) -> bytes:
        data = at_hand.get(blob)
        return self._objects.read(txn, blob) if data is None else data

    def _known_then(self, txn: Reader, record: Adoption) -> "Resolve":
        """The resolutions that an adoption took, and no others."""
        taken = {(one.path, one.region) for one in record.decisions if one.engine == RESOLUTION}
        now = self._resolve(txn)

        def resolve(path: str, region: str, sides: Sequence[bytes]) -> "Resolved | None":
            return now(path, region, sides) if (path, region) in taken else None

        return resolve

    def _remember(self, txn: Writer, node: NodeId, agent: str, chosen: "Iterable[Chosen]") -> None:
        """Record it, so that the same contradictions are resolved like this wherever they come up."""
        for contradiction, text in chosen:
            # Nearly always there is nothing to remember, and then nothing of adoption is loaded.
            from dagstore.adopt.contradiction import dedented, name_of

            name = name_of(contradiction.path, contradiction.region, [side.text for side in contradiction.sides])
            resolution = Resolution(name, node, dedented(text), clean(agent), self._now())
            self._put(txn, resolution, encode(resolution), ResolutionId)
