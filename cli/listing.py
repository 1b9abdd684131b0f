"""Nodes as rows of a table, the same in every verb that lists them."""

from collections.abc import Iterable, Sequence

from cli.render import ago, now, number, styled, table
from dagstore.views import NodeView

COLUMNS = ("id", "status", "estimate", "runs", "age", "agent", "message")
STYLES = {"ok": "green", "new": "dim", "cancelled": "dim", "pruned": "dim"}


def status(word: str) -> str:
    """A status in the colour of its meaning; every failure is red."""
    return styled(word, STYLES.get(word, "red"))


def headline(text: str) -> str:
    """The first line of a text."""
    return next(iter(text.strip().splitlines()), "")


def measured(node: NodeView) -> str:
    """What is known of a node in one word: its estimate, or else its status."""
    return number(node.estimate) if node.estimate is not None else status(node.status)


def list_nodes(nodes: Iterable[NodeView], extra: Sequence[str] = (), name: str = "") -> None:
    """Print nodes as a table; `extra` are the cells of one more column called `name`."""
    present = now()
    rows = [_row(node, present) for node in nodes]
    if name:
        rows = [(row[0], cell, *row[1:]) for row, cell in zip(rows, extra, strict=True)]
    columns = (COLUMNS[0], name, *COLUMNS[1:]) if name else COLUMNS
    table(columns, rows, right=("estimate", "runs"))


def _row(node: NodeView, present: int) -> tuple[str, ...]:
    age = ago(node.time, present) if node.time else "-"
    outcome = (status(node.status), number(node.estimate), str(node.runs))
    return (styled(node.short, "bold"), *outcome, age, node.agent or "-", headline(node.message))
