"""Conditions on nodes, in a small part of Python's syntax: `val_bpb < 0.98 and touches('train.py:MLP')`.

Python only takes the text apart (`ast`); what each part means is decided here, by a list of what is allowed, and
nothing is ever evaluated by Python. Kinds are checked before the first row is read, so a condition that cannot make
sense is an error and never an empty answer.

What is not known is None. A comparison with it is false, and so is its opposite: neither `loss < 1` nor `loss >= 1`
holds where there is no loss; `not loss < 1` does, and so does `missing(loss)`.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from dagstore.errors import BadInput, DagError

MAX_LENGTH = 2_000
MAX_DEPTH = 40
HINT = "`dag query --help` lists what a condition may say"

Rows = list[int]


class Kind(Enum):
    NUMBER = "a number"
    TEXT = "a text"


class Value(NamedTuple):
    """Something that every row has one of: `read` gives it by row, None where it is not known.

    Where there are `many`, they are tuples, and a comparison holds if it holds for any of them. `same` says whether a
    value is what a text in the condition means, `has` whether it contains that; `check` raises if no value can be it.
    """

    kind: Kind
    cost: int
    read: Callable[[Rows], Sequence[Any]]
    many: bool = False
    same: Callable[[Any, Any], bool] = operator.eq
    has: Callable[[Any, Any], bool] = operator.contains
    check: Callable[[str], None] = lambda _: None


class Condition(NamedTuple):
    """`select` gives those of the rows for which it holds, in their order, at about `cost` a row."""

    cost: int
    select: Callable[[Rows], Rows]


class Vocabulary(Protocol):
    """What the names in a condition mean."""

    def value(self, name: str) -> Value | None:
        """What is called so."""

    def function(self, name: str, argument: str) -> Condition | None:
        """What a function says of rows, given a text (empty where it was given nothing)."""

    def near(self, name: str) -> list[str]:
        """Names that may have been meant."""


def condition(text: str, words: Vocabulary) -> Condition:
    """What `text` says; `BadInput`, with the position, if it cannot be said."""
    line = " ".join(text.splitlines()).strip()
    return _Reading(line, words).condition(_parsed(line).body, 0)


def _parsed(text: str) -> ast.Expression:
    if len(text) > MAX_LENGTH:
        raise BadInput(f"a condition of {len(text):,} characters, where {MAX_LENGTH:,} is the limit", hint=HINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise BadInput(f"character {error.offset or 1} of the condition: {error.msg}", hint=HINT) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadInput(f"the condition cannot be read: {error or 'it is nested too deeply'}", hint=HINT) from None


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {"startswith": str.startswith, "endswith": str.endswith}
_CHANGES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper}


class _Reading:
    """One condition being read. Every method takes a piece of syntax and how deep it lies."""

    def __init__(self, text: str, words: Vocabulary) -> None:
        self._text = text
        self._words = words

    def condition(self, node: ast.expr, depth: int) -> Condition:
        self._check_depth(node, depth)
        match node:
            case ast.BoolOp(op=ast.And()):
                return _all([self.condition(one, depth + 1) for one in node.values])
            case ast.BoolOp():
                return _any([self.condition(one, depth + 1) for one in node.values])
            case ast.UnaryOp(op=ast.Not()):
                return _not(self.condition(node.operand, depth + 1))
            case ast.Compare():
                return self._compare(node, depth)
            case ast.Call():
                return self._call(node, depth)
        raise self._wrong(node, "this is no condition", "compare it with something, as in `runs > 1`")

    def _compare(self, node: ast.Compare, depth: int) -> Condition:
        terms = pairwise([node.left, *node.comparators])
        return _all([self._pair(*pair, op, depth + 1) for pair, op in zip(terms, node.ops, strict=True)])

    def _pair(self, left: ast.expr, right: ast.expr, op: ast.cmpop, depth: int) -> Condition:
        match op:
            case ast.In() | ast.NotIn():
                found = self._within(left, right, depth)
                return found.condition if isinstance(op, ast.In) else _opposite(found)
            case ast.Eq() | ast.NotEq():
                found = self._equal(left, right, depth)
                return found.condition if isinstance(op, ast.Eq) else _opposite(found)
        if type(op) not in _COMPARISONS:
            raise self._wrong(left, "`is` compares nothing here", "write == or !=")
        one, other = self._alike(left, right, depth)
        return _compared(one, other, _COMPARISONS[type(op)]).condition

    def _equal(self, left: ast.expr, right: ast.expr, depth: int) -> "_Compared":
        one, other = self._alike(left, right, depth)
        for value, literal in ((one, right), (other, left)):
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                self._check(value, literal)
        if isinstance(left, ast.Constant):
            one, other = other, one
        return _compared(one, other, one.same)

    def _within(self, left: ast.expr, right: ast.expr, depth: int) -> "_Compared":
        """`'a' in text`, or `value in (this, that)`."""
        if isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            found = [self._equal(left, one, depth) for one in right.elts]
            if not found:
                raise self._wrong(right, "nothing is in an empty list", HINT)
            return _Compared(_any([one.condition for one in found]), found[0].known)
        value, part = self.value(right, depth), self.value(left, depth)
        if value.kind is not Kind.TEXT or part.kind is not Kind.TEXT:
            raise self._wrong(
                right, f"nothing can be in {value.kind.value}", "a text, or a list as in `runs in (1, 2)`, can"
            )
        return _compared(value, part, value.has)

    def _alike(self, left: ast.expr, right: ast.expr, depth: int) -> tuple[Value, Value]:
        one, other = self.value(left, depth), self.value(right, depth)
        if one.kind is not other.kind:
            raise self._wrong(right, f"{one.kind.value} is compared with {other.kind.value}", HINT)
        return one, other

    def _call(self, node: ast.Call, depth: int) -> Condition:
        if node.keywords or len(node.args) > 1:
            raise self._wrong(node, "functions take one argument here", HINT)
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func, depth)
        if not isinstance(node.func, ast.Name):
            raise self._wrong(node, "this cannot be called", HINT)
        name = node.func.id
        if name == "missing":
            return self._missing(node, depth)
        argument = self._literal(node.args[0]) if node.args else ""
        try:
            found = self._words.function(name, argument)
        except DagError as error:
            raise self._located(node, error) from None
        if found is None:
            raise self._unknown(node.func, name, "function")
        return found

    def _method(self, node: ast.Call, function: ast.Attribute, depth: int) -> Condition:
        if function.attr not in _TESTS or not node.args:
            raise self._wrong(
                function, f"no condition .{function.attr}", "texts know .startswith('…') and .endswith('…')"
            )
        value, part = self.value(function.value, depth + 1), self.value(node.args[0], depth + 1)
        if value.kind is not Kind.TEXT or part.kind is not Kind.TEXT:
            raise self._wrong(function, f".{function.attr} is asked of and about texts", HINT)
        return _compared(value, part, _TESTS[function.attr]).condition

    def _missing(self, node: ast.Call, depth: int) -> Condition:
        if not node.args:
            raise self._wrong(node, "missing what?", "as in `missing(val_bpb)`")
        value = self.value(node.args[0], depth + 1)

        def select(rows: Rows) -> Rows:
            return [row for row, found in zip(rows, value.read(rows), strict=True) if found is None or found == ()]

        return Condition(value.cost, select)

    def value(self, node: ast.expr, depth: int) -> Value:
        self._check_depth(node, depth)
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return self._named(node, node.id)
            case ast.UnaryOp(op=ast.USub()):
                return self._changed(node.operand, Kind.NUMBER, operator.neg, depth + 1)
            case ast.BinOp():
                return self._computed(node, depth)
            case ast.Call(func=ast.Name(id="metric"), args=[one], keywords=[]):
                return self._named(node, self._literal(one))
            case ast.Call(func=ast.Attribute(attr=attr), args=[], keywords=[]) if attr in _CHANGES:
                return self._changed(node.func.value, Kind.TEXT, _CHANGES[attr], depth + 1)  # type: ignore[attr-defined]
        raise self._wrong(node, "this is no value", HINT)

    def _constant(self, node: ast.Constant) -> Value:
        value = node.value
        if isinstance(value, str):
            return Value(Kind.TEXT, 0, lambda rows: [value] * len(rows))
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
            return Value(Kind.NUMBER, 0, lambda rows: [value] * len(rows))
        raise self._wrong(node, f"{str(value)[:40]} is neither a text nor a number that can be compared with", HINT)

    def _named(self, node: ast.expr, name: str) -> Value:
        found = self._words.value(name)
        if found is None:
            raise self._unknown(node, name, "field or metric")
        return found

    def _computed(self, node: ast.BinOp, depth: int) -> Value:
        compute = _ARITHMETIC.get(type(node.op))
        if compute is None:
            raise self._wrong(node, "only + - * / are worked out here", HINT)
        one, other = self.value(node.left, depth + 1), self.value(node.right, depth + 1)
        if one.kind is not Kind.NUMBER or other.kind is not Kind.NUMBER or one.many or other.many:
            raise self._wrong(node, "only single numbers are worked with", HINT)

        def read(rows: Rows) -> list[float | None]:
            return [_finite(compute, *pair) for pair in zip(one.read(rows), other.read(rows), strict=True)]

        return Value(Kind.NUMBER, one.cost + other.cost, read)

    def _changed(self, node: ast.expr, kind: Kind, change: Callable[[Any], Any], depth: int) -> Value:
        value = self.value(node, depth)
        if value.kind is not kind or value.many:
            raise self._wrong(node, f"this is not {kind.value}", HINT)

        def read(rows: Rows) -> list[Any]:
            return [None if one is None else change(one) for one in value.read(rows)]

        return Value(kind, value.cost, read)

    def _literal(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise self._wrong(node, "a text in quotes is needed here", HINT)
        return node.value

    def _check(self, value: Value, literal: ast.Constant) -> None:
        try:
            value.check(literal.value)  # type: ignore[arg-type]
        except DagError as error:
            raise self._located(literal, error) from None

    def _check_depth(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._wrong(node, "this is nested too deeply", f"{MAX_DEPTH} levels is the limit")

    def _unknown(self, node: ast.expr, name: str, what: str) -> BadInput:
        near = self._words.near(name)
        return self._wrong(node, f"no {what} {name[:80]!r}", f"is it {' or '.join(near)}? {HINT}" if near else HINT)

    def _wrong(self, node: ast.expr, why: str, hint: str) -> BadInput:
        return BadInput(f"{self._place(node)}: {why}", hint=hint)

    def _located(self, node: ast.expr, error: DagError) -> DagError:
        return type(error)(f"{self._place(node)}: {error.message}", hint=error.hint, code=error.code)

    def _place(self, node: ast.expr) -> str:
        data = self._text.encode()  # offsets are of its bytes
        at = len(data[: node.col_offset].decode(errors="replace")) + 1
        said = data[node.col_offset : node.end_col_offset].decode(errors="replace")
        return f"character {at} of the condition, at `{said if len(said) <= 40 else said[:39] + '…'}`"


class _Compared(NamedTuple):
    """A comparison, and the rows of which it can say anything."""

    condition: Condition
    known: Callable[[Rows], Rows]


def _compared(one: Value, other: Value, test: Callable[[Any, Any], bool]) -> _Compared:
    def select(rows: Rows) -> Rows:
        pairs = zip(rows, one.read(rows), other.read(rows), strict=True)
        if one.many or other.many:
            return [row for row, a, b in pairs if any(test(x, y) for x in _each(one, a) for y in _each(other, b))]
        return [row for row, a, b in pairs if a is not None and b is not None and test(a, b)]

    def known(rows: Rows) -> Rows:
        pairs = zip(rows, one.read(rows), other.read(rows), strict=True)
        return [row for row, a, b in pairs if a not in (None, ()) and b not in (None, ())]

    return _Compared(Condition(one.cost + other.cost, select), known)


def _each(value: Value, found: Any) -> Iterable[Any]:
    return found or () if value.many else () if found is None else (found,)


def _opposite(compared: _Compared) -> Condition:
    """Where it does not hold although both sides are known."""
    chosen, known = compared.condition, compared.known

    def select(rows: Rows) -> Rows:
        rest = known(rows)
        held = set(chosen.select(rest))
        return [row for row in rest if row not in held]

    return Condition(chosen.cost, select)


def _all(conditions: Iterable[Condition]) -> Condition:
    """The cheap ones first, and what costs more only of what they left."""
    ordered = sorted(conditions, key=lambda one: one.cost)

    def select(rows: Rows) -> Rows:
        for one in ordered:
            rows = one.select(rows) if rows else []
        return rows

    return Condition(sum(one.cost for one in ordered), select)


def _any(conditions: Iterable[Condition]) -> Condition:
    ordered = sorted(conditions, key=lambda one: one.cost)

    def select(rows: Rows) -> Rows:
        held: set[int] = set()
        for one in ordered:
            held.update(one.select([row for row in rows if row not in held]))
        return [row for row in rows if row in held]

    return Condition(sum(one.cost for one in ordered), select)


def _not(condition: Condition) -> Condition:
    def select(rows: Rows) -> Rows:
        held = set(condition.select(rows))
        return [row for row in rows if row not in held]

    return Condition(condition.cost, select)


def _finite(compute: Callable[[Any, Any], float], one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    try:
        found = compute(one, other)
        return found if math.isfinite(found) else None
    except (ZeroDivisionError, OverflowError):
        return None
