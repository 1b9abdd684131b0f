"""JSON, TOML and YAML as units: what is under each key, and the things in lists."""

import json
import tomllib
from collections.abc import Callable, Iterable, Sequence

from dagstore.adopt.source import Node, Parsed, Source, listed, parse, stacked
from dagstore.adopt.units import Item, Parts, Series, Slots, Unit


def valid_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def valid_toml(data: bytes) -> bool:
    try:
        tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return False
    return True


def valid_yaml(data: bytes) -> bool:
    """As far as its grammar goes."""
    return parse("yaml", data if data.endswith(b"\n") else data + b"\n").root is not None


def read_json(file: Parsed) -> Series | None:
    """The one value of a document, with what stands around it."""
    root = file.root
    values = [] if root is None else [node for node in root.named_children if node.type != "comment"]
    if len(values) != 1:
        return None
    return _Flow(file.source).alone(values[0])


def read_toml(file: Parsed) -> Series | None:
    """The keys and tables of a document."""
    return None if file.root is None else _Toml(file.source).document(file.root)


def read_yaml(file: Parsed) -> Series | None:
    """The keys or entries of the one document."""
    if file.root is None:
        return None
    documents = [node for node in file.root.children if node.type == "document"]
    block = _down(documents[0]) if len(documents) == 1 and file.root.named_child_count == 1 else None
    return None if block is None else _Yaml(file.source).top(block)


class _Flow:
    """Values in brackets: objects, arrays and the like of all three."""

    pairs = frozenset({"pair", "flow_pair"})
    maps = frozenset({"object", "inline_table", "flow_mapping"})
    lists = frozenset({"array", "flow_sequence"})

    def __init__(self, source: Source) -> None:
        self.source = source

    def alone(self, node: Node) -> Series:
        data = self.source.data
        return Series("document", (self.value(node),), data[: node.start_byte], data[node.end_byte :])

    def value(self, node: Node) -> Unit:
        node = _inner(node)
        return self.source.unit(node, Item(node.type), lambda: self.parts(node))

    def parts(self, node: Node) -> Parts:
        if node.type in self.pairs:
            return self.pair(node)
        kind = "key" if node.type in self.maps else "item" if node.type in self.lists else ""
        children = node.children
        if not kind or len(children) < 2 or children[0].is_named or children[-1].is_named:
            return None
        outer, inner = (node.start_byte, node.end_byte), (children[0].end_byte, children[-1].start_byte)
        return listed(self.source, kind, outer, children[1:-1], inner, self._entry)

    def _entry(self, node: Node) -> tuple[Item, Callable[[], Parts]]:
        node = _inner(node)
        return self.item(node), lambda: self.parts(node)

    def item(self, node: Node) -> Item:
        if node.type in self.pairs and node.named_child_count:
            return Item("pair", _key(self.source.text(node.named_children[0])), entity=True)
        return Item(node.type)

    def pair(self, node: Node) -> Parts:
        named = [child for child in node.named_children if child.type != "comment"]
        if len(named) != 2:
            return None
        value = self.value(named[1])
        start = _inner(named[1]).start_byte
        behind = start + len(value)
        return Slots(
            "pair",
            (self.source.slot(node.start_byte, start), value, self.source.slot(behind, node.end_byte)),
        )


class _Toml(_Flow):
    def document(self, root: Node) -> Series:
        nodes = [node for node in root.children if node.is_named and node.type != "comment"]
        return Series("key", self._rows(nodes, 0, len(self.source.data)))

    def _rows(self, nodes: Sequence[Node], begin: int, end: int) -> tuple[Unit, ...]:
        return stacked(self.source, [_Ended(node) for node in nodes], begin, end, self._row)

    def _row(self, ended: Node, start: int, stop: int) -> Unit:
        node, source = ended.node, self.source
        lines = source.row(start) + 1, source.row(stop - 1) + 1
        if node.type == "pair":
            return Unit.of(source.data[start:stop], self.item(node), lines, lambda: self._key_row(node, start, stop))
        name = source.text(node).partition("\n")[0].partition("#")[0].strip().strip("[]").strip()
        item = Item("table", name, entity=node.type == "table")
        return Unit.of(source.data[start:stop], item, lines, lambda: self._table(node, start, stop))

    def _key_row(self, node: Node, start: int, stop: int) -> Parts:
        source = self.source
        core = source.unit(node, Item("pair"), lambda: self.pair(node))
        return Slots("simple", (source.space(start, node.start_byte), core, source.space(node.end_byte, stop)))

    def _table(self, node: Node, start: int, stop: int) -> Parts:
        inside = min(self.source.starts[self.source.row(node.start_byte) + 1], stop)
        pairs = [child for child in node.children if child.type == "pair"]
        body = Unit.of(
            self.source.data[inside:stop],
            parts=lambda: Series("key", self._rows(pairs, inside, stop)),
        )
        return Slots("table", (self.source.slot(start, inside), body))


class _Ended:
    """A node of TOML without the blank rows and comments that its grammar counts to the end of a table."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.start_byte = node.start_byte
        inner = [child for child in node.children if child.type != "comment" and child.end_byte > child.start_byte]
        self.end_byte = inner[-1].end_byte if inner else node.end_byte


class _Yaml(_Flow):
    def top(self, block: Node) -> Series | None:
        if block.type == "block_mapping":
            return Series("key", self._rows(block, 0, len(self.source.data)))
        if block.type == "block_sequence":
            return Series("item", self._rows(block, 0, len(self.source.data)))
        return self.alone(block)

    def _rows(self, block: Node, begin: int, end: int) -> tuple[Unit, ...]:
        nodes: Iterable[Node] = [node for node in block.children if node.is_named and node.type != "comment"]
        return stacked(self.source, nodes, begin, end, self._row)

    def _row(self, node: Node, start: int, stop: int) -> Unit:
        source = self.source
        lines = source.row(start) + 1, source.row(stop - 1) + 1
        if node.type != "block_mapping_pair":
            return Unit.of(source.data[start:stop], Item(node.type), lines)
        key = node.child_by_field_name("key")
        item = Item("pair", "" if key is None else _key(source.text(key)), entity=key is not None)
        return Unit.of(source.data[start:stop], item, lines, lambda: self._key_row(node, start, stop))

    def _key_row(self, node: Node, start: int, stop: int) -> Parts:
        source = self.source
        value = node.child_by_field_name("value")
        if value is None:
            return None
        inner = _down(value)
        lead = source.space(start, node.start_byte)
        if source.row(value.start_byte) == source.row(node.start_byte):
            core = source.unit(node, Item("pair"), lambda: self._inline(node, value))
            return Slots("simple", (lead, core, source.space(node.end_byte, stop)))
        kind = {"block_mapping": "key", "block_sequence": "item"}.get(inner.type if inner is not None else "", "")
        if not kind:
            return None
        inside = source.starts[source.row(node.start_byte) + 1]
        body = Unit.of(source.data[inside:stop], parts=lambda: Series(kind, self._rows(inner, inside, stop)))
        return Slots("table", (lead, source.slot(node.start_byte, inside), body))

    def _inline(self, node: Node, value: Node) -> Parts:
        unit = self.value(value)
        start = _inner(value).start_byte
        before, behind = self.source.slot(node.start_byte, start), self.source.slot(start + len(unit), node.end_byte)
        return Slots("pair", (before, unit, behind))


def _inner(node: Node) -> Node:
    """A flow node of YAML as what it holds, if that is all of it."""
    while node.type == "flow_node" and node.named_child_count == 1:
        node = node.named_children[0]
    return node


def _down(node: Node) -> Node | None:
    """The block that a document or value is."""
    while node.type in ("document", "block_node", "flow_node"):
        if node.named_child_count != 1:
            return None
        node = node.named_children[0]
    return node


def _key(text: str) -> str:
    return text.strip().strip("\"'")
