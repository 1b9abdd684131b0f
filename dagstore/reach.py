"""Pure questions about what reaches what, on a DAG that is held as columns; meant for millions of nodes.

Nodes are numbers from 1, and 0 is none. A parent's number is smaller than its child's, so number order is a topological
order. The primary parents form a forest, in which each node has one jump pointer of the skew-binary kind (Myers 1983,
"An applicative random-access stack").

A walk keeps one byte per node, has no recursion, and follows the primary line in its inner loop, since few nodes have
other parents. Questions about two nodes are walked downwards in ranges of numbers: all that is reached in one range is
known before the next is opened, so a walk ends when one side has nothing left below.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, chain, compress, islice
from typing import overload

_STRETCH = 4096
"""How many numbers are looked at together when members are listed."""
_DENSE = _STRETCH // 7
"""From that many members in a stretch on, `compress` lists them faster than `find` does."""
_FIRST = 32
"""The size of the first range below the older of two nodes; each further one is four times as large."""
_SWEEP = 32
"""Descendants are swept for once one of so many younger nodes turned out to be one."""
_FEW = 64
"""So many nodes at most are looked up on the line of the youngest of them."""

_CLOSED, _OPEN, _ONE, _OTHER, _STALE, _END = range(6)


def _column() -> "array[int]":
    return array("I", [0])


@dataclass(slots=True)
class Columns:
    """The DAG, a column per fact and indexed by node; index 0 is no node.

    A seed has the primary parent 0 and the jump pointer 0. `depth` is the primary and `generation` the longest distance
    to a seed. `adopted` has only nodes with adopted parents: these ascending, without the primary one.
    """

    primary: "array[int]" = field(default_factory=_column)
    jump: "array[int]" = field(default_factory=_column)
    depth: "array[int]" = field(default_factory=_column)
    generation: "array[int]" = field(default_factory=_column)
    adopted: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def append(self, primary: int, jump: int, depth: int, generation: int, adopted: tuple[int, ...]) -> None:
        """Add the next node."""
        if adopted:
            self.adopted[len(self.primary)] = adopted
        self.primary.append(primary)
        self.jump.append(jump)
        self.depth.append(depth)
        self.generation.append(generation)

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.primary) - 1


class Members:
    """An immutable set of nodes, in ascending order; it takes one byte for each number up to the highest."""

    __slots__ = ("_flags", "_low", "_size")

    def __init__(self, flags: bytes | bytearray, low: int = 0) -> None:
        """The numbers whose flag is 1; all others are 0, as are those below `low`. `flags` is kept, not copied."""
        self._flags, self._low, self._size = flags, low, -1

    @classmethod
    def of(cls, nodes: Iterable[int]) -> "Members":
        """These nodes, in any order and any number of times."""
        flags = bytearray(max(listed := list(filter(None, nodes)), default=0) + 1)
        for node in listed:
            flags[node] = 1
        return cls(flags)

    def __len__(self) -> int:
        if self._size < 0:
            self._size = _count(self._flags[self._low :])
        return self._size

    def __bool__(self) -> bool:
        return self._flags.find(1) > 0

    def __contains__(self, node: object) -> bool:
        return isinstance(node, int) and 0 < node < len(self._flags) and self._flags[node] == 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Members):
            return NotImplemented
        return self._flags.rstrip(b"\0") == other._flags.rstrip(b"\0")

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[int]:
        return self._ascend(1)

    def __reversed__(self) -> Iterator[int]:
        return self._descend(len(self._flags))

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        """By rank, as from a sorted list; `IndexError` for a single rank that is none."""
        if isinstance(index, int):
            return self._at(range(len(self))[index])
        ranks = range(len(self))[index]
        if not ranks:
            return []
        low, high = min(ranks[0], ranks[-1]), max(ranks[0], ranks[-1])
        return list(islice(self._ascend(self._at(low)), high - low + 1))[:: ranks.step]

    def __and__(self, other: "Members") -> "Members":
        size = min(len(self._flags), len(other._flags))
        return Members((self._number(size) & other._number(size)).to_bytes(size, "little"))

    def __or__(self, other: "Members") -> "Members":
        size = max(len(self._flags), len(other._flags))
        return Members((self._number(size) | other._number(size)).to_bytes(size, "little"))

    def __sub__(self, other: "Members") -> "Members":
        size = len(self._flags)
        own = self._number(size)
        return Members((own ^ (own & other._number(size))).to_bytes(size, "little"))

    def _number(self, size: int) -> int:
        return int.from_bytes(self._flags[:size], "little")

    def _ascend(self, start: int) -> Iterator[int]:
        flags, find = self._flags, self._flags.find
        at = find(1, start)
        while at >= 0:
            end = at + _STRETCH
            if flags.count(1, at, end) > _DENSE:
                yield from compress(range(at, end), flags[at:end])
                at = find(1, end)
            while 0 <= at < end:
                yield at
                at = find(1, at + 1)

    def _descend(self, end: int) -> Iterator[int]:
        flags, rfind = self._flags, self._flags.rfind
        at = rfind(1, 0, end)
        while at >= 0:
            low = max(at + 1 - _STRETCH, 0)
            if flags.count(1, low, at + 1) > _DENSE:
                yield from compress(range(at, low - 1, -1), flags[low : at + 1][::-1])
                at = rfind(1, 0, low)
            while at >= low:
                yield at
                at = rfind(1, 0, at)

    def _at(self, rank: int) -> int:
        """The member of that rank, which there is. Halves are counted, so that every byte is looked at about once."""
        low, high = self._low, len(self._flags)
        while high - low > 1:
            middle = (low + high) >> 1
            below = _count(self._flags[low:middle])
            if rank < below:
                high = middle
            else:
                low, rank = middle, rank - below
        return low


def _count(flags: bytes | bytearray) -> int:
    # As long as count(1) where members are few or neighbours, and a quarter of it where they are many and scattered.
    return int.from_bytes(flags, "little").bit_count()


def _only(flags: bytearray, mark: int, low: int, high: int) -> Members:
    """The numbers from `low` to `high` with that mark; below `low` there is no mark."""
    del flags[high + 1 :]
    flags[low:] = flags[low:].translate(bytes(value == mark for value in range(256)))
    flags[0] = 0
    return Members(flags, low)


def line_ancestor(columns: Columns, node: int, depth: int) -> int:
    """The ancestor of `node` along its primary line at that depth (from 0); `node` itself if it is not deeper."""
    depths, jump, primary = columns.depth, columns.jump, columns.primary
    while depths[node] > depth:
        far = jump[node]
        node = far if depths[far] >= depth else primary[node]
    return node


def merge_base(columns: Columns, one: int, other: int) -> int:
    """The last node that the primary lines of both share; 0 when they start from different seeds."""
    jump, primary = columns.jump, columns.primary
    depth = min(columns.depth[one], columns.depth[other])
    one, other = line_ancestor(columns, one, depth), line_ancestor(columns, other, depth)
    while one != other:
        if jump[one] != jump[other]:
            one, other = jump[one], jump[other]
        else:
            one, other = primary[one], primary[other]
    return one


def lineage(columns: Columns, node: int) -> Iterator[int]:
    """`node` and its primary ancestors, nearest first."""
    primary = columns.primary
    while node:
        yield node
        node = primary[node]


def ancestors(columns: Columns, nodes: Iterable[int], *, low: int = 0) -> Members:
    """All that is reached over any parents, the given nodes included; only numbers from `low` on."""
    flags = bytearray(max(todo := list(nodes), default=0) + 1)
    hidden = min(max(low, 1), len(flags))
    flags[:hidden] = b"\1" * hidden
    _paint(columns, flags, todo, 0, 1)
    flags[:hidden] = bytes(hidden)
    return Members(flags, hidden)


def _paint(columns: Columns, flags: bytearray, todo: list[int], through: int, mark: int) -> list[int]:
    """Turn the flags of all that `todo` reaches from `through` to `mark`. The walk follows only these; returned are the
    nodes, with repeats, where it met others that are not marked. `todo` is used up.
    """
    primary, adopted = columns.primary, columns.adopted
    met = []
    while todo:
        node = todo.pop()
        while flags[node] == through:
            flags[node] = mark
            if node in adopted:
                todo += adopted[node]
            node = primary[node]
        if flags[node] != mark:
            met.append(node)
    return met


def is_ancestor(columns: Columns, old: int, young: int) -> bool:
    """Whether `old` is reached from `young` over any parents; a node is its own ancestor."""
    if old >= young:
        return old == young
    if line_ancestor(columns, young, columns.depth[old]) == old:
        return True
    flags = bytearray(young + 1)
    _climb(columns, flags, [young], old, columns.generation[old])
    return bool(flags[old])


def _climb(columns: Columns, flags: bytearray, todo: list[int], goal: int, floor: int) -> None:
    """Flag what `todo` reaches through numbers from `goal` and generations from `floor` on, until `goal` is flagged.
    What is then left in `todo` has not been followed.
    """
    primary, adopted, generation = columns.primary, columns.adopted, columns.generation
    while todo and not flags[goal]:
        node = todo.pop()
        while node >= goal and not flags[node] and generation[node] >= floor:
            flags[node] = 1
            if node in adopted:
                todo += adopted[node]
            node = primary[node]


def heads(columns: Columns, nodes: Iterable[int]) -> list[int]:
    """Those of the given nodes that are no ancestor of another given one, ascending and each once."""
    given = _apart(columns, sorted(set(nodes)))
    flags = bytearray(given[-1] + 1) if given else bytearray()
    floors = list(accumulate((columns.generation[node] for node in reversed(given)), min))[::-1]
    kept, goal = [], 0
    for node in reversed(given):
        if flags[node]:
            continue
        kept.append(node)
        todo = [node]
        while todo and given[goal] < node:
            _climb(columns, flags, todo, given[goal], floors[goal])
            while flags[given[goal]] and given[goal] < node:
                goal += 1
    return kept[::-1]


def _apart(columns: Columns, nodes: list[int]) -> list[int]:
    """The ascending nodes without those on the line of the last one, if they are few enough to look."""
    if not 1 < len(nodes) <= _FEW:
        return nodes
    top, depth = nodes[-1], columns.depth
    return [node for node in nodes if node == top or line_ancestor(columns, top, depth[node]) != node]


def common_ancestors(columns: Columns, one: int, other: int) -> Members:
    """All that both reach over any parents; `one` or `other` among them if the other one reaches it."""
    flags = bytearray(max(one, other) + 1)
    flags[0] = _END
    # What the merge base of the lines reaches is known to be common, so that it is walked but once.
    _paint(columns, flags, [merge_base(columns, one, other)], _CLOSED, _STALE)
    _paint(columns, flags, [one], _CLOSED, _ONE)
    border = _paint(columns, flags, [other], _CLOSED, _OTHER)
    _paint(columns, flags, border, _ONE, _STALE)
    return _only(flags, _STALE, 1, min(one, other))


def between(columns: Columns, old: int, new: int) -> Members:
    """Ancestors of `new`, itself included, that are not ancestors of `old`."""
    flags = bytearray(max(old, new) + 1)
    flags[0] = _END
    olds, news = {old}, {new}
    for low in _ranges(flags, old, new):
        olds = _below(flags, _paint(columns, flags, list(olds), _OPEN, _OTHER))
        news = _below(flags, _paint(columns, flags, list(news), _OPEN, _ONE)) - olds
        if not news:
            return _only(flags, _ONE, low, new)
    return _only(flags, _ONE, 1, new)


def best_common(columns: Columns, one: int, other: int) -> list[int]:
    """The common ancestors of both that are no ancestor of another one, ascending; like `git merge-base --all`."""
    base = merge_base(columns, one, other)
    if base in (one, other):
        return [base]
    flags = bytearray(max(one, other) + 1)
    flags[0] = _END
    best = []
    ones, others = {one}, {other}
    # The merge base of the lines is common, so that all it reaches is stale beforehand.
    stale = {columns.primary[base], *columns.adopted.get(base, ())} - {0}
    for _ in _ranges(flags, one, other):
        met = _paint(columns, flags, list(stale), _OPEN, _STALE)
        ones = _below(flags, _paint(columns, flags, list(ones), _OPEN, _ONE))
        border = _paint(columns, flags, list(others), _OPEN, _OTHER)
        others = _below(flags, border)
        for node in sorted({node for node in border if flags[node] == _ONE}, reverse=True):
            if flags[node] == _ONE:
                best.append(node)
                met += _paint(columns, flags, [node], _ONE, _STALE)
        stale = _below(flags, met)
        ones, others = ones - stale, others - stale
        if not (ones and others):
            break
    return best[::-1]


def _ranges(flags: bytearray, one: int, other: int) -> Iterator[int]:
    """Open the flags downwards, first to somewhat below the older of two nodes; yield down to which one each time."""
    high, size = len(flags), _FIRST
    low = max(min(one, other) - size, 1)
    while low < high:
        flags[low:high] = bytes([_OPEN]) * (high - low)
        yield low
        size *= 4
        low, high = max(low - size, 1), low


def _below(flags: bytearray, met: Iterable[int]) -> set[int]:
    """Those where a walk ended because their range is not yet open."""
    return {node for node in met if not flags[node]}


def descendants(columns: Columns, node: int, kids: Callable[[int], Iterable[int]]) -> Members:
    """All that reach `node` over any parents, itself included. `kids(node)` gives the nodes it is a parent of."""
    flags = bytearray(len(columns.primary))
    flags[node] = 1
    found, enough = [node], (len(columns) - node) // _SWEEP
    for at in found:
        if len(found) > enough:
            _sweep(columns, flags, node + 1)
            break
        for kid in kids(at):
            if not flags[kid]:
                flags[kid] = 1
                found.append(kid)
    return Members(flags)


def _sweep(columns: Columns, flags: bytearray, start: int) -> None:
    """Flag each node from `start` on that has a flagged parent."""
    adopted = columns.adopted
    for node, parent in enumerate(columns.primary[start:], start):
        if flags[parent] or (node in adopted and any(map(flags.__getitem__, adopted[node]))):
            flags[node] = 1


def leaves(columns: Columns) -> Members:
    """The nodes that are no node's parent."""
    flags = bytearray(b"\1") * len(columns.primary)
    for parent in chain(columns.primary, chain.from_iterable(columns.adopted.values())):
        flags[parent] = 0
    return Members(flags)
