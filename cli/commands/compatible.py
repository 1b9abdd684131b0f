"""`dag compatible`: which nodes contradict each other, and the most of them that can be adopted together."""

from collections.abc import Iterator, Sequence

import click

from cli import options
from cli.app import App, verb
from cli.listing import headline
from cli.render import counted, line, progress, styled, table
from dagstore.ids import NodeId
from dagstore.store import Store
from dagstore.views import Compatible, Pair

FEW = 20
"""Nodes that all have a row; of more, only those that contradict others do."""
PLACES = 6
"""Places of a pair that are printed; `--json` has more."""
FINE = "·"


@verb("compatible")
@click.argument("nodes", metavar="A B [C …]", nargs=-1, required=True)
@options.primary
@options.own
@options.only
def command(app: App, nodes: tuple[str, ...], primary: str | None, own: bool, only: tuple[str, ...]) -> None:
    """Say which nodes contradict each other, and the most of them that can be adopted without a contradiction.

    Nothing is run or recorded. All are composed two by two, as `dag adopt` would.

    \b
    Example:
      dag compatible 3f9c 81ab @best
      dag compatible 3f9c 81ab --primary @best --own
    """
    store = app.store(readonly=True)
    with progress("compare") as show:
        found = store.compatible(*nodes, primary=primary, own=own, only=only, progress=show)
    app.answer(found, lambda answer: _render(store, answer))


def _render(store: Store, found: Compatible) -> None:
    apart = [pair for pair in found.pairs if pair.contradictions]
    told = f"{counted(len(found.pairs), 'pair')}, {len(apart) or 'none'} with contradictions"
    line(styled(counted(len(found.nodes), "node"), "bold"), f" onto {store.short(found.onto)}, {told}")
    _matrix(store, found, apart)
    if apart:
        line()
        table(("", "", "contradictions in"), [_where(store, pair) for pair in apart])
    line()
    for remark in _remarks(store, found, apart):
        line(remark)


def _matrix(store: Store, found: Compatible, apart: Sequence[Pair]) -> None:
    """A row for each node, numbered, and a column for each number."""
    shown = found.nodes
    if len(shown) > FEW:
        troubled = {node for pair in apart for node in (pair.a, pair.b)}
        shown = tuple(node for node in shown if node in troubled)
        line(f"{counted(len(found.nodes) - len(shown), 'node')} without a contradiction not shown")
    counts = found.counts()
    numbers = [str(number) for number in range(1, len(shown) + 1)]
    rows = [
        (number, styled(store.short(a), "bold"), *(_cell(a, b, counts) for b in shown), headline(store.node(a).message))
        for number, a in zip(numbers, shown, strict=True)
    ]
    if rows:
        table(("", "id", *numbers, "message"), rows, right=numbers)


def _cell(a: NodeId, b: NodeId, counts: dict[tuple[NodeId, NodeId], int]) -> str:
    if a == b:
        return ""
    return styled(str(counts[a, b]), "red") if counts[a, b] else styled(FINE, "dim")


def _where(store: Store, pair: Pair) -> tuple[str, str, str]:
    more = len(pair.places) - PLACES
    places = [*pair.places[:PLACES], *([f"{more} more"] if more > 0 else [])]
    return store.short(pair.a), store.short(pair.b), ", ".join(places)


def _remarks(store: Store, found: Compatible, apart: Sequence[Pair]) -> Iterator[str]:
    """The largest subset, what it lacks, and what to do next."""
    if found.covered:
        yield f"ancestors of others, which bring nothing more: {_names(store, found.covered)}"
    yield f"together without a contradiction: {len(found.subset)} of {len(found.nodes)}: {_names(store, found.subset)}"
    left = [node for node in found.nodes if node not in found.subset]
    if left:
        yield f"left out: {_names(store, left)}"
    if found.onto in left:
        yield f"without {store.short(found.onto)} more of them go together, onto {store.short(found.subset[0])}"
    yield from _only_together(store, found, apart, left)
    if not found.exact:
        yield "there may be a larger set: the search was cut short"
    if found.next:
        yield f"next: {found.next}"


def _only_together(store: Store, found: Compatible, apart: Sequence[Pair], left: Sequence[NodeId]) -> Iterator[str]:
    """Nodes that no pair shows why they are left out."""
    rivals = {node for pair in apart for node in (pair.a, pair.b) if {pair.a, pair.b} & set(found.subset)}
    silent = [node for node in left if node not in rivals]
    if silent:
        yield f"two by two all is well with {_names(store, silent)}, with more of them it is not"


def _names(store: Store, nodes: Sequence[NodeId]) -> str:
    return " ".join(store.short(node) for node in nodes)
