"""Which part of the forest below a node fits on a page: nodes that others build on come before leaves."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dagstore.ids import NodeId
from dagstore.views import NodeView, Rows, Shown

Kids = Callable[[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Place:
    """A listed node, how far below the root it is, and how many of its children are not listed."""

    node: int
    depth: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Descendant(Shown):
    """A node at its place below the root; `hidden` counts those of its children that are not listed."""

    depth: int
    hidden: int
    node: NodeView


@dataclass(frozen=True, slots=True)
class Descendants(Shown):
    """The forest of primary parents below `root`, each node before its children; `hidden` nodes are not listed."""

    root: NodeId
    nodes: Rows[Descendant]
    hidden: int


def descend(root: int, kids: Kids, *, depth: int | None, limit: int) -> list[Place]:
    """At most `limit` nodes from `root` down to `depth`, each before its children, siblings in the order of `kids`.

    Where they are too many, nodes with children are chosen before leaves and near ones before far ones.
    """
    known = {root: kids(root)}
    chosen: set[int] = set()
    heap = [(False, 0, root)]
    while heap and len(chosen) < limit:
        _, level, node = heapq.heappop(heap)
        chosen.add(node)
        for child in known[node] if depth is None or level < depth else ():
            known[child] = kids(child)
            heapq.heappush(heap, (not known[child], level + 1, child))
    return _preorder(root, known, chosen)


def _preorder(root: int, kids: dict[int, Sequence[int]], chosen: set[int]) -> list[Place]:
    places: list[Place] = []
    todo = [(root, 0)]
    while todo:
        node, level = todo.pop()
        listed = [child for child in kids[node] if child in chosen]
        places.append(Place(node, level, len(kids[node]) - len(listed)))
        todo.extend((child, level + 1) for child in reversed(listed))
    return places


def count_below(primary: Sequence[int], root: int) -> int:
    """How many nodes descend from `root` by primary parents, which `primary` has by node."""
    inside = bytearray(len(primary))
    inside[root] = 1
    for node in range(root + 1, len(primary)):
        inside[node] = inside[primary[node]]
    return inside.count(1) - 1
