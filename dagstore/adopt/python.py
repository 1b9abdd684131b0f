"""Python files as units: statements in blocks, what statements are made of, and the lists inside of them.

Bodies of expressions other than calls, displays and what stands in brackets are not taken apart: `a + b` is one unit.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from dagstore.adopt.source import Node, Parsed, Source, listed, parse, stacked
from dagstore.adopt.units import Item, Parts, Reading, Series, Slots, Unit, Units
from dagstore.lines import split_lines

_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_DEPENDENT = re.compile(rb"^(?:global\b|[ \t\f]*#[^\n]*coding[:=])", re.MULTILINE)
_DEPENDING = (b"global", b"coding")
_FUTURE = re.compile(rb"^from\s+__future__\b[^\n]*\n", re.MULTILINE)
_CLAUSES = {"elif_clause": 0, "except_clause": 0, "except_group_clause": 0, "else_clause": 2, "finally_clause": 3}
"""In which order they have to stand; `except` for all else comes at 1."""
_LISTS = {
    "argument_list": "argument",
    "parameters": "parameter",
    "list": "item",
    "tuple": "tuple",
    "set": "item",
    "dictionary": "item",
}
_LONG = (b'"""', b"'''", b"\\\n", b"\\\r\n")
"""What strings of several rows have in them."""
_VALUES = frozenset({"keyword_argument", "pair", "default_parameter", "typed_default_parameter"})
_LEAVING = frozenset({"return_statement", "raise_statement", "continue_statement", "break_statement"})
_PREFIXED = frozenset({"await", "not_operator", "unary_operator", "list_splat", "dictionary_splat", "return_statement"})


def valid(data: bytes) -> bool:
    """Whether this interpreter accepts `data` as a module; nothing of it is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(data, "<composed>", "exec", dont_inherit=True)
        except _ERRORS:
            return False
    return True


def sound(data: bytes, fresh: Sequence[bytes]) -> bool:
    """The same, where all statements of a module but the `fresh` ones are those of modules that are accepted.

    Statements are accepted one by one, but for the few that are judged by what stands before them, and each together
    with all up to the last import from `__future__`, which bears on those that follow.
    """
    head = data[: max((one.end() for one in _FUTURE.finditer(data)), default=0)] if b"__future__" in data else b""
    depends = any(word in data for word in _DEPENDING) and _DEPENDENT.search(data)
    if depends or (head and not valid(head)):
        return valid(data)
    return all(valid(head + statement) for statement in fresh)


def read(file: Parsed) -> Series | None:
    """The statements of a module; None if it is not well-formed."""
    root = file.root
    return None if root is None else _File(file.source).block(root.children, 0, len(file.source.data), top=True)


def _statements(data: bytes, line: int, *, top: bool) -> Units | None:
    file = parse("python", b"\n" * (line - 1) + data)
    root, end = file.root, len(file.source.data)
    return None if root is None else _File(file.source).block(root.children, line - 1, end, top=top).units


def _shifted(data: bytes, was: bytes, now: bytes) -> bytes | None:
    """Strings of several rows stay as they are."""
    rows = split_lines(data)
    kept = _inside_strings(data) if any(quote in data for quote in _LONG) else frozenset[int]()
    moving = [bool(row.strip()) and number not in kept for number, row in enumerate(rows)]
    if not all(row.startswith(was) for row, moves in zip(rows, moving, strict=True) if moves):
        return None
    return b"".join(now + row[len(was) :] if moves else row for row, moves in zip(rows, moving, strict=True))


def _inside_strings(data: bytes) -> frozenset[int]:
    """The rows that begin inside of a string."""
    found: set[int] = set()
    nodes = [parse("python", data).tree.root_node]
    while nodes:
        node = nodes.pop()
        if node.type == "string":
            found.update(range(node.start_point[0] + 1, node.end_point[0] + 1))
        elif node.start_point[0] < node.end_point[0]:
            nodes += node.children
    return frozenset(found)


_INSIDE = Reading(partial(_statements, top=False), _shifted)
_TOP = Reading(partial(_statements, top=True), _shifted)


class _File:
    def __init__(self, source: Source) -> None:
        self._source = source

    def block(self, nodes: Iterable[Node], begin: int, end: int, *, top: bool = False) -> Series:
        """The statements between two bytes; what is assigned at the `top` of a module or class is an entity."""
        statements = [node for node in nodes if node.is_named and node.type != "comment"]

        def make(node: Node, start: int, stop: int) -> Unit:
            source = self._source
            lines = source.row(start) + 1, source.row(stop - 1) + 1
            item, parts = lambda: self._statement(node, top=top), lambda: self._statement_parts(node, start, stop)
            return Unit.of(source.data[start:stop], item, lines, parts)

        return Series(
            "statement", stacked(self._source, statements, begin, end, make), reading=_TOP if top else _INSIDE
        )

    def _statement(self, node: Node, *, top: bool) -> Item:
        kind = node.type
        if kind == "decorated_definition":
            node = node.child_by_field_name("definition")
            kind = node.type
        if kind in ("function_definition", "class_definition"):
            return Item(kind.partition("_")[0], self._field(node, "name"), entity=True)
        if kind == "import_from_statement":
            return Item("import", f"from {self._field(node, 'module_name')} import", entity=True)
        if kind in ("import_statement", "future_import_statement"):
            future = kind == "future_import_statement"
            return Item("import", "from __future__ import" if future else self._source.text(node), entity=True)
        if kind == "if_statement":
            return self._guard(node)
        inner = node.children[0] if kind == "expression_statement" and node.child_count == 1 else None
        if inner is not None and inner.type == "assignment":
            left = inner.child_by_field_name("left")
            plain = left is not None and left.type == "identifier"
            return Item("assignment", self._source.text(left) if plain else "", entity=top and plain)
        return Item(inner.type if inner is not None else kind)

    def _guard(self, node: Node) -> Item:
        body = [child for child in node.child_by_field_name("consequence").named_children if child.type != "comment"]
        leaves = bool(body) and body[-1].type in _LEAVING
        return Item(node.type, guard=self._field(node, "condition"), leaves=leaves)

    def _field(self, node: Node, field: str) -> str:
        found = node.child_by_field_name(field)
        return "" if found is None else self._source.text(found)

    # --- statements ---

    def _statement_parts(self, node: Node, start: int, stop: int) -> Parts:
        source = self._source
        lead = source.space(start, node.start_byte)
        if node.type in ("decorated_definition", "function_definition", "class_definition"):
            return self._definition(node, lead, stop)
        if node.child_by_field_name("body") is not None or node.child_by_field_name("consequence") is not None:
            return self._compound(node, lead, stop)
        return Slots("simple", (lead, self._expression(node), source.space(node.end_byte, stop)))

    def _definition(self, node: Node, lead: Unit, stop: int) -> Parts:
        source = self._source
        inner = node.child_by_field_name("definition") if node.type == "decorated_definition" else node
        colon = _colon(inner)
        body = inner.child_by_field_name("body")
        if colon is None or source.row(body.start_byte) <= source.row(colon.start_byte):
            return None
        kind = inner.type.partition("_")[0]
        given = inner.child_by_field_name("parameters" if kind == "function" else "superclasses")
        first, last = (given.start_byte, given.end_byte) if given is not None else (colon.start_byte,) * 2
        inside = source.starts[source.row(colon.start_byte) + 1]
        return Slots(
            kind,
            (
                lead,
                self._decorators(node, inner.start_byte),
                source.slot(inner.start_byte, first),
                self._expression(given) if given is not None else source.slot(first, first),
                source.slot(last, inside),
                self._body(body, inside, stop, top=kind == "class"),
            ),
        )

    def _decorators(self, node: Node, end: int) -> Unit:
        source = self._source
        found = [child for child in node.children if child.type == "decorator"]
        bounds = [*(child.start_byte for child in found), end]
        names = [source.text(child).partition("(")[0].lstrip("@") for child in found]
        units = tuple(
            Unit.of(source.data[start:stop], Item("decorator", name, entity=True), (source.row(start) + 1,) * 2)
            for child, name, start, stop in zip(found, names, bounds, bounds[1:], strict=False)
        )
        start = bounds[0]
        return Unit.of(source.data[start:end], parts=lambda: Series("decorator", units))

    def _body(self, body: Node, begin: int, end: int, *, top: bool = False) -> Unit:
        lines = self._source.row(begin) + 1, self._source.row(end - 1) + 1
        data = self._source.data[begin:end]
        return Unit.of(data, Item("block"), lines, lambda: self.block(body.children, begin, end, top=top))

    def _compound(self, node: Node, lead: Unit, stop: int) -> Parts:
        source = self._source
        body = node.child_by_field_name("body")
        body = node.child_by_field_name("consequence") if body is None else body
        colon = _colon(node)
        if colon is None or source.row(body.start_byte) <= source.row(colon.start_byte):
            return None
        inside = source.starts[source.row(colon.start_byte) + 1]
        clauses = [child for child in node.children if child.type in _CLAUSES]
        behind = source.starts[source.last_row(body) + 1] if clauses else stop
        return Slots(
            node.type,
            (
                lead,
                source.slot(node.start_byte, inside),
                self._body(body, inside, behind),
                Unit.of(source.data[behind:stop], parts=lambda: self._clauses(clauses, behind, stop)),
            ),
        )

    def _clauses(self, clauses: Sequence[Node], begin: int, end: int) -> Series:
        def make(node: Node, start: int, stop: int) -> Unit:
            head = self._source.data[node.start_byte : node.end_byte].partition(b":")[0].decode("utf-8", "replace")
            order = _CLAUSES[node.type] + (head.strip() == "except")
            source, item = self._source, Item("clause", head, entity=True, order=order)
            lead = source.space(start, node.start_byte)
            lines = source.row(start) + 1, source.row(stop - 1) + 1
            return Unit.of(source.data[start:stop], item, lines, lambda: self._clause(node, lead, stop))

        return Series("clause", stacked(self._source, clauses, begin, end, make))

    def _clause(self, node: Node, lead: Unit, stop: int) -> Parts:
        source = self._source
        body = next((child for child in node.children if child.type == "block"), None)
        colon = _colon(node)
        if colon is None or body is None or source.row(body.start_byte) <= source.row(colon.start_byte):
            return None
        inside = source.starts[source.row(colon.start_byte) + 1]
        return Slots("clause", (lead, source.slot(node.start_byte, inside), self._body(body, inside, stop)))

    # --- expressions ---

    def _expression(self, node: Node) -> Unit:
        return self._source.unit(node, Item(node.type), lambda: self._parts(node))

    def _parts(self, node: Node) -> Parts:  # noqa: PLR0911  one line a kind
        kind = node.type
        if kind == "expression_statement":
            return self._parts(node.children[0]) if node.child_count == 1 else None
        if kind in ("assignment", "augmented_assignment"):
            return self._split(node, node.child_by_field_name("right"), "assignment")
        if kind in _VALUES:
            return self._split(node, node.child_by_field_name("value"), "value")
        if kind in _PREFIXED:
            return self._split(node, node.children[-1] if node.named_child_count == 1 else None, kind)
        if kind in _LISTS:
            return self._list(node)
        if kind in ("import_statement", "import_from_statement", "future_import_statement"):
            return self._imports(node)
        if kind == "call":
            return self._split(
                node, node.child_by_field_name("arguments"), "call", node.child_by_field_name("function")
            )
        if kind == "attribute":
            return self._split(node, None, "attribute", node.child_by_field_name("object"))
        if kind == "parenthesized_expression" and node.named_child_count == 1:
            return self._split(node, node.named_children[0], kind)
        return None

    def _split(self, node: Node, value: Node | None, kind: str, front: Node | None = None) -> Parts:
        """What stands before a node, the node, and what stands behind it; `front` is taken apart as well."""
        source = self._source
        if value is None and front is None:
            return None
        units: list[Unit] = []
        at = node.start_byte
        for part in (front, value):
            if part is not None:
                units += source.slot(at, part.start_byte), self._expression(part)
                at = part.end_byte
        return Slots(kind, (*units, source.slot(at, node.end_byte)))

    def _list(self, node: Node) -> Parts:
        first, *between, last = node.children
        if first.is_named or last.is_named:
            return None
        outer, inner = (node.start_byte, node.end_byte), (first.end_byte, last.start_byte)
        return listed(self._source, _LISTS[node.type], outer, between, inner, self._entry)

    def _entry(self, node: Node) -> tuple[Item, Callable[[], Parts]]:
        return self._item(node), lambda: self._parts(node)

    def _item(self, node: Node) -> Item:
        kind = node.type
        if kind in ("keyword_argument", "default_parameter", "typed_default_parameter"):
            return Item(kind, self._field(node, "name"), entity=True, order=1)
        if kind == "pair":
            return Item(kind, self._field(node, "key"), entity=True)
        if kind in ("dictionary_splat", "dictionary_splat_pattern"):
            return Item(kind, self._source.text(node), entity=True, order=2)
        if kind in ("identifier", "typed_parameter", "list_splat_pattern") and node.parent.type == "parameters":
            return Item(kind, self._source.text(node).partition(":")[0].strip(), entity=True)
        return Item(kind)

    def _imports(self, node: Node) -> Parts:
        """The words up to the names, the names, and what closes their list."""
        children = node.children
        at = next(number for number, child in enumerate(children) if child.type == "import")
        bracket = children[at + 1].type == "("
        between = children[at + 2 : -1] if bracket else children[at + 1 :]
        if not between:
            return None
        begin = children[at + 1].end_byte if bracket else between[0].start_byte
        end = children[-1].start_byte if bracket else node.end_byte
        start = children[at + 1].start_byte if bracket else begin

        def name(child: Node) -> tuple[Item, Callable[[], Parts]]:
            return Item("name", self._source.text(child), entity=True), lambda: None

        source = self._source
        names = Unit.of(
            source.data[start : node.end_byte],
            parts=lambda: listed(source, "name", (start, node.end_byte), between, (begin, end), name),
        )
        return Slots("import", (source.slot(node.start_byte, start), names))


def _colon(node: Node) -> Node | None:
    """What ends the head of a compound statement or clause."""
    return next((child for child in node.children if child.type == ":"), None)
