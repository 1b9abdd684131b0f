"""Which parent is the primary one: a function of immutable facts, so that every store agrees."""

from collections.abc import Callable, Iterable, Mapping

from dagstore.ids import BlobId, NodeId
from dagstore.lines import multiset_distance
from dagstore.model import Change, Entry, Tree, changes


def choose_primary(tree: Tree, parents: Mapping[NodeId, Tree], read: Callable[[BlobId], bytes]) -> NodeId:
    """The parent whose tree differs least from `tree`; the smallest id among equals.

    The distance sums, over differing paths, the symmetric difference of the multisets of lines (of bytes, if binary).
    """
    return min(parents, key=lambda id: (_distance(changes(parents[id], tree), read), id))


def _distance(changed: Iterable[Change], read: Callable[[BlobId], bytes]) -> int:
    """How many lines the changes are; 0 for one of mode alone."""

    def content(entry: Entry | None) -> bytes:
        return read(entry.blob) if entry else b""

    return sum(multiset_distance(content(one.old), content(one.new)) for one in changed if one.of_content)
