"""A file with its syntax tree, and how what stands in it becomes units. The parsers are tree-sitter's."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from itertools import accumulate
from typing import Any, NamedTuple

from dagstore.adopt.units import BLANK, Item, Parts, Series, Slots, Unit, whole
from dagstore.lines import common_affixes

CROWDED = 20_000
"""Nodes in one list above which it is data, and not taken apart."""
Node = Any
"""A node of a syntax tree; its positions are bytes, and rows that count from 0."""


class Source:
    """A file that ends with a line feed, and where its lines begin."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.starts = [0, *accumulate([len(line) + 1 for line in data.split(b"\n")[:-1]])]

    def row(self, at: int) -> int:
        """The row of a byte."""
        return bisect_right(self.starts, at) - 1

    def point(self, at: int) -> tuple[int, int]:
        """Row and column of a byte."""
        row = self.row(at)
        return row, at - self.starts[row]

    def last_row(self, node: Node) -> int:
        """The row of the last byte of a node."""
        return self.row(max(node.start_byte, node.end_byte - 1))

    def text(self, node: Node) -> str:
        return self.data[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def unit(self, node: Node, item: Item, parts: Callable[[], Parts] = whole) -> Unit:
        """Just the bytes of a node."""
        start, end = node.start_byte, node.end_byte
        return Unit.of(self.data[start:end], item, (self.row(start) + 1, self.row(max(start, end - 1)) + 1), parts)

    def space(self, start: int, end: int) -> Unit:
        return Unit.of(self.data[start:end], BLANK)

    def slot(self, start: int, end: int) -> Unit:
        return Unit.of(self.data[start:end])

    def blank(self, first: int, last: int) -> Iterator[Unit]:
        """Rows in which nothing stands but comments, one by one."""
        for row in range(first, last):
            yield Unit.of(self.data[self.starts[row] : self.starts[row + 1]], BLANK, (row + 1, row + 1))


class Parsed(NamedTuple):
    """A file with its syntax tree."""

    source: Source
    tree: Any

    @property
    def root(self) -> Node | None:
        """None if the file is not well-formed."""
        return None if self.tree.root_node.has_error else self.tree.root_node


def parse(language: str, data: bytes, like: Parsed | None = None) -> Parsed:
    """The syntax tree of a file; sooner if that of another version of it is at hand."""
    source, parser = Source(data), _parser(language)
    return Parsed(source, parser.parse(data, _edited(like, source)) if like else parser.parse(data))


@cache
def _parser(language: str) -> Any:
    import tree_sitter

    module = import_module(f"tree_sitter_{language}")
    return tree_sitter.Parser(tree_sitter.Language(module.language()))


def _edited(old: Parsed, new: Source) -> Any:
    """The tree of an old version as the parser wants it: told where the new one differs."""
    was = old.source
    head, tail = common_affixes(was.data, new.data)
    before, after = len(was.data) - tail, len(new.data) - tail
    tree = old.tree.copy()
    tree.edit(head, before, after, was.point(head), was.point(before), new.point(after))
    return tree


Make = Callable[[Node, int, int], Unit]
"""The unit of a node: whole rows, of which the bytes are given."""


def stacked(source: Source, nodes: Iterable[Node], begin: int, end: int, make: Make) -> tuple[Unit, ...]:
    """Whole rows, the bytes `begin:end`, as units: one a node, and one for each row between them.

    Nodes that share a row are one unit.
    """
    units: list[Unit] = []
    row, after = source.row(begin), source.row(end) if end < len(source.data) else len(source.starts) - 1
    for group, first, last in _by_row(source, nodes):
        units += source.blank(row, first)
        start, stop = max(source.starts[first], begin), source.starts[last + 1]
        if len(group) == 1:
            units.append(make(group[0], start, stop))
        else:
            units.append(Unit.of(source.data[start:stop], Item("several"), (first + 1, last + 1)))
        row = last + 1
    return (*units, *source.blank(row, after))


def _by_row(source: Source, nodes: Iterable[Node]) -> Iterator[tuple[list[Node], int, int]]:
    """Nodes that share rows, with their first and last one."""
    group: list[Node] = []
    first = last = -1
    for node in nodes:
        row = source.row(node.start_byte)
        if group and row > last:
            yield group, first, last
            group = []
        first = first if group else row
        last = source.last_row(node)
        group.append(node)
    if group:
        yield group, first, last


ItemOf = Callable[[Node], tuple[Item, Callable[[], Parts]]]
"""What the unit of a node in a list is, and what it is made of."""


def listed(
    source: Source, kind: str, outer: tuple[int, int], between: Sequence[Node], inner: tuple[int, int], of: ItemOf
) -> Parts:
    """A list with commas as a series: `outer` are its bytes, `between` the nodes between its brackets, at `inner`.

    None if it is no plain list, or a very long one: nothing then is known to be a thing in it.
    """
    spots = _spots(between) if len(between) <= CROWDED else None
    if spots is None:
        return None
    units: list[Unit] = []
    at = inner[0]
    for spot in spots:
        units.append(_entry(source, spot, at, *of(spot.node)))
        at = spot.end
    opening, closing = source.data[outer[0] : inner[0]], source.data[at : outer[1]]
    trailing = bool(spots) and spots[-1].comma
    return Series(kind, tuple(units), opening, closing, comma=True, trailing=trailing)


class _Spot(NamedTuple):
    """A thing in a list; `end` is behind its comma and the comment on the same row."""

    node: Node
    comma: bool
    end: int


def _spots(between: Sequence[Node]) -> list[_Spot] | None:
    spots: list[_Spot] = []
    row = -1
    for node in between:
        last = spots[-1] if spots else None
        if node.type == "comment":
            if last and node.start_point[0] == row:
                spots[-1] = last._replace(end=node.end_byte)
            continue
        row = node.end_point[0]
        if node.type == ",":
            if last is None or last.comma or last.end != node.start_byte:
                return None
            spots[-1] = last._replace(comma=True, end=node.end_byte)
        elif not node.is_named or (last and not last.comma):
            return None
        else:
            spots.append(_Spot(node, comma=False, end=node.end_byte))
    return spots


def _entry(source: Source, spot: _Spot, at: int, item: Item, parts: Callable[[], Parts]) -> Unit:
    """The unit of a thing in a list, with the comments around it, and the white space where it is not plain."""
    node = spot.node
    before = source.data[at : node.start_byte]
    own = b"\n" in before or before.strip() != b""
    core = source.unit(node, item, parts)
    behind = source.data[node.end_byte + spot.comma : spot.end]
    gap = None if own else before
    slots = (Unit.of(before if own else b"", BLANK, gap=gap), core, Unit.of(behind, BLANK))
    return Unit.of(b"".join(slots), item, core.lines, lambda: Slots("item", slots), gap, len(behind))
