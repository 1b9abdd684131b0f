"""Pure questions about the DAG. Nodes are numbers, and a parent is always smaller than its child.

The primary parents form a forest. Each node has one jump pointer along it, of the skew-binary kind (Myers 1983, "An
applicative random-access stack"), so that any ancestor on the line and the merge base of two nodes are found in
O(log depth). Functions take `row`, which returns a node's row; nothing here is recursive.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """A node in the graph. `generation` is the longest and `depth` the primary distance to a seed; 0 means none.

    `record` and `tree` are where the node and its tree are in the log, `first` is the first node with that tree.
    """

    generation: int
    depth: int
    primary: int
    jump: int
    record: int
    tree: int
    first: int
    adopted: tuple[int, ...]

    @property
    def parents(self) -> tuple[int, ...]:
        return (self.primary, *self.adopted) if self.primary else ()


RowOf = Callable[[int], Row]


def make_row(primary: int, adopted: Iterable[int], record: int, tree: int, first: int, row: RowOf) -> Row:
    """The row of a new node, from the rows of its parents."""
    if not primary:
        return Row(0, 0, 0, 0, record, tree, first, ())
    others = tuple(sorted(adopted))
    above = row(primary)
    generation = 1 + max(above.generation, *(row(parent).generation for parent in others), 0)
    return Row(generation, above.depth + 1, primary, _jump(primary, above, row), record, tree, first, others)


def _jump(primary: int, above: Row, row: RowOf) -> int:
    if not above.jump:
        return primary
    middle = row(above.jump)
    end = row(middle.jump) if middle.jump else None
    if end is not None and above.depth - middle.depth == middle.depth - end.depth:
        return middle.jump
    return primary


def line_ancestor(node: int, depth: int, row: RowOf) -> int:
    """The ancestor of `node` along its primary line at that depth; `node` itself if it is not deeper."""
    at = row(node)
    while at.depth > depth:
        far = at.jump if row(at.jump).depth >= depth else at.primary
        node, at = far, row(far)
    return node


def merge_base(one: int, other: int, row: RowOf) -> int:
    """The last node that the primary lines of both share; 0 when they start from different seeds."""
    depth = min(row(one).depth, row(other).depth)
    one, other = line_ancestor(one, depth, row), line_ancestor(other, depth, row)
    while one != other:
        a, b = row(one), row(other)
        if not a.primary:
            return 0
        one, other = (a.jump, b.jump) if a.jump != b.jump else (a.primary, b.primary)
    return one


def partings(trunk: int, others: Iterable[int], row: RowOf) -> dict[int, int]:
    """Where the primary line of each other node leaves those of `trunk` and of the smaller others, last; 0 for nowhere.

    The stretches from there to the nodes are what they have and the trunk has not, each once, even where several
    share a stretch. Which node a shared one is counted with depends on the numbers, their sum does not.
    """
    found: dict[int, int] = {}
    lines = [trunk]
    for node in sorted(set(others)):
        # All of these lie on the node's own line, where the later one has the larger number.
        found[node] = max(merge_base(node, other, row) for other in lines)
        lines.append(node)
    return found
