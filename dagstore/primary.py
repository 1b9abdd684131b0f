"""Which parent is the primary one: a function of immutable facts, so that every store agrees."""

from collections.abc import Callable, Mapping

from dagstore.ids import BlobId, NodeId
from dagstore.lines import multiset_distance
from dagstore.model import Entry, Tree, changed_paths


def choose_primary(tree: Tree, parents: Mapping[NodeId, Tree], read: Callable[[BlobId], bytes]) -> NodeId:
    """The parent whose tree differs least from `tree`; the smallest id among equals.

    The distance sums, over differing paths, the symmetric difference of the multisets of lines (of bytes, if binary).
    """
    new = tree.by_path
    return min(parents, key=lambda id: (tree_distance(parents[id].by_path, new, read), id))


def tree_distance(old: Mapping[str, Entry], new: Mapping[str, Entry], read: Callable[[BlobId], bytes]) -> int:
    """How many lines tell two trees apart; 0 for a mere change of mode."""

    def content(entry: Entry | None) -> bytes:
        return read(entry.blob) if entry else b""

    return sum(
        multiset_distance(content(old.get(path)), content(new.get(path)))
        for path in changed_paths(old, new)
        if content_differs(old.get(path), new.get(path))
    )


def content_differs(one: Entry | None, other: Entry | None) -> bool:
    return one is None or other is None or one.blob != other.blob
