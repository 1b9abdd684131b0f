"""What is amiss with the names of a Python module: used without being defined, or defined twice in one scope.

This is the only module that imports `pyflakes`. Nothing of the module is run.
"""

import ast
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pyflakes import checker, messages

_UNDEFINED = (messages.UndefinedName, messages.UndefinedLocal, messages.UndefinedExport)
_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Amiss(NamedTuple):
    """`gate` is `undefined` or `duplicate`; `name` is qualified by the scope where it is defined twice."""

    gate: str
    name: str
    line: int


def amiss(data: bytes) -> list[Amiss]:
    """What is amiss in the module `data`, by line; nothing, if it is not Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = ast.parse(data)
            found = checker.Checker(module, "module", withDoctest=False).messages
            undefined = [
                Amiss("undefined", str(one.message_args[0]), one.lineno) for one in found if isinstance(one, _UNDEFINED)
            ]
            return sorted((*undefined, *_twice(module)), key=lambda one: one.line)
        except _ERRORS:
            return []


def introduced(data: bytes, versions: list[bytes]) -> Iterator[Amiss]:
    """What is amiss in `data` and was in none of the `versions` as often."""
    found = amiss(data)
    if not found:
        return
    before = Counter[tuple[str, str]]()
    for version in versions:
        before |= Counter(one[:2] for one in amiss(version))
    for one in found:
        before[one[:2]] -= 1
        if before[one[:2]] < 0:
            yield one


def _twice(module: ast.Module) -> Iterator[Amiss]:
    """Functions and classes that stand twice in one body."""
    seen: set[str] = set()
    bodies: list[tuple[str, ast.AST]] = [("", module)]
    while bodies:
        scope, owner = bodies.pop()
        for child in ast.iter_child_nodes(owner):
            name = scope
            if isinstance(child, _SCOPES):
                name = f"{scope}.{child.name}".lstrip(".")
                if name in seen:
                    yield Amiss("duplicate", name, child.lineno)
                seen.add(name)
            if isinstance(child, ast.stmt):
                bodies.append((name, child))
