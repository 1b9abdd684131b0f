"""The module-level statements of a Python file, its single-name assignments by name.

The file is cut into top-level statements by a scanner that knows strings, comments, brackets and continuation
lines; `ast` then judges which of them are `NAME = expr` or `NAME: T = expr`. Bodies of functions and classes are
not parsed. A file that cannot be cut has no statements. Files above `LIMIT` bytes are not looked into.
"""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Sequence

from dagstore.adopt.outline import EMPTY, Outline, Span
from dagstore.lines import split_lines

LIMIT = 1_000_000

# No possessive quantifier on a group: Python before 3.11.5 matches those wrongly (gh-106052). The loops are unrolled so
# that each character can be taken in one way only, which keeps matching linear all the same.
_TOKEN = re.compile(
    rb"[^\"'#()\[\]{}\\\n]*+(?:"
    rb"(?P<newline>\n)"
    rb"|#[^\n]*"
    rb"|(?P<open>[(\[{])"
    rb"|(?P<close>[)\]}])"
    rb'|"""[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*"""'
    rb"|'''[^'\\]*+(?:(?:\\.|'(?!''))[^'\\]*+)*'''"
    rb'|"(?!"")[^"\\\n]*+(?:\\.[^"\\\n]*+)*"'
    rb"|'(?!'')[^'\\\n]*+(?:\\.[^'\\\n]*+)*'"
    rb"|\\\r?\n"
    rb"|(?P<stray>[\"'\\])"
    rb"|\Z)",
    re.DOTALL,
)
_CANDIDATE = re.compile(rb"[A-Za-z_]\w*[ \t]*[=:]")
_CONTINUES = re.compile(rb"(?:else|elif|except|finally)\b")
_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def outline(data: bytes) -> Outline:
    """The module-level statements of `data`: none if it cannot be cut, unnamed if an assignment does not parse."""
    if len(data) > LIMIT or data.count(b"\r") != data.count(b"\r\n"):
        return EMPTY
    lines = split_lines(data)
    statements = _statements(data, lines)
    names = _names(lines, statements) if statements else {}
    times = Counter(names.values())
    spans = [Span(name if times[name := names.get(start, "")] == 1 else "", start, end) for start, end in statements]
    return Outline(tuple(spans), frozenset(name for name, count in times.items() if count > 1))


def compiles(data: bytes) -> bool:
    """Whether this interpreter accepts `data` as a module; nothing of it is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(data, "<composed>", "exec", dont_inherit=True)
        except _ERRORS:
            return False
    return True


def _statements(data: bytes, lines: Sequence[bytes]) -> list[tuple[int, int]]:
    """Line ranges of the top-level statements; empty when strings or brackets do not close."""
    starts = _line_starts(data)
    found: list[tuple[int, int]] = []
    decorated = False
    for number, line in enumerate(lines):
        kind = line[:1]
        if number not in starts or kind in b" \t\f":
            extend = bool(line.strip()) and (number not in starts or not line.lstrip().startswith(b"#"))
        elif kind in b"#\r\n":
            continue
        else:
            extend = decorated or _CONTINUES.match(line) is not None
            decorated = kind == b"@"
            if not (extend and found):
                found.append((number, number + 1))
                continue
        if extend and found:
            found[-1] = (found[-1][0], number + 1)
    return found if starts else []


def _line_starts(data: bytes) -> set[int]:
    """Numbers of the lines that start outside of strings, brackets and continuations; empty if the file is broken."""
    starts = {0}
    depth = line = at = 0
    for token in _TOKEN.finditer(data):
        kind = token.lastgroup
        if kind == "newline":
            line += 1
            if depth == 0:
                starts.add(line)
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        elif kind == "stray":
            return set()
        else:
            line += data.count(b"\n", token.start(), token.end())
        at = token.end()
        if depth < 0:
            return set()
    return starts if depth == 0 and at == len(data) else set()


def _names(lines: Sequence[bytes], statements: Sequence[tuple[int, int]]) -> dict[int, str]:
    """First line of each single-name assignment, and the name: only the candidates are shown to the parser."""
    candidates = [(start, end) for start, end in statements if _CANDIDATE.match(lines[start])]
    skeleton = [b"\n"] * len(lines)
    for start, end in candidates:
        skeleton[start:end] = lines[start:end]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            body = ast.parse(b"".join(skeleton).decode("utf-8", "replace")).body
        except _ERRORS:
            return {}
    found: dict[int, str] = {}
    for statement in body:
        name = _target(statement)
        start = statement.lineno - 1
        # A second statement on the line makes neither of them a region of its own.
        found[start] = "" if start in found else name
    return {start: name for start, name in found.items() if name}


def _target(statement: ast.stmt) -> str:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""
