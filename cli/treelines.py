"""The lines of a drawn forest. An only child stands straight below its parent, so a long line does not drift away."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dagstore.descent import Descendant

QUIET = 4
"""An unbranched run of more unmeasured nodes than this is drawn as its ends."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: box characters, then a node, or a text where nodes are left out."""

    prefix: str
    row: Descendant | None
    text: str = ""


@dataclass(slots=True)
class _Open:
    """A node whose children are being drawn; `left` of them are still to come."""

    depth: int
    inner: str
    straight: bool
    left: int


def draw(rows: Sequence[Descendant]) -> Iterator[Line]:
    """The lines for nodes that are given each before its children."""
    listed = _children_listed(rows)
    skipped = _quiet(rows, listed)
    stack: list[_Open] = []
    for at, row in enumerate(rows):
        while stack and stack[-1].depth >= row.depth:
            stack.pop()
        mark, inner = _branch(stack[-1]) if stack else ("", "")
        if at not in skipped:
            yield Line(mark, row)
        elif skipped[at]:
            yield Line(mark, None, f"⋮ {skipped[at]} unmeasured")
        stack.append(_Open(row.depth, inner, listed[at] + row.hidden == 1, listed[at]))


def _branch(parent: _Open) -> tuple[str, str]:
    """What stands before the parent's next child, and before the lines below that child."""
    parent.left -= 1
    if parent.straight:
        return parent.inner, parent.inner
    last = parent.left == 0
    return parent.inner + ("└─ " if last else "├─ "), parent.inner + ("   " if last else "│  ")


def _children_listed(rows: Sequence[Descendant]) -> list[int]:
    counts = [0] * len(rows)
    line: list[int] = []
    for at, row in enumerate(rows):
        del line[row.depth :]
        if line:
            counts[line[-1]] += 1
        line.append(at)
    return counts


def _quiet(rows: Sequence[Descendant], listed: Sequence[int]) -> dict[int, int]:
    """The inner nodes of long unbranched, unmeasured runs; the first of each with how many there are, others with 0."""
    runs: list[list[int]] = [[]]
    for at, row in enumerate(rows):
        plain = row.node.status == "new" and not row.node.names and not row.node.adopted
        only = at > 0 and listed[at - 1] == 1 and not rows[at - 1].hidden and row.depth == rows[at - 1].depth + 1
        if not (plain and only):
            runs.append([])
        if plain:
            runs[-1].append(at)
    inner = [run[1:-1] for run in runs if len(run) > QUIET]
    return {at: 0 for run in inner for at in run} | {run[0]: len(run) for run in inner}
