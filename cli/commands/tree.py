"""`dag tree`: what was built on what."""

import shutil
from collections.abc import Sequence
from typing import Any

import click

from cli.app import App, is_terminal, verb
from cli.listing import headline, measured
from cli.picture import plot_option, save_picture
from cli.render import line, styled
from cli.treelines import Line, draw
from dagstore.descent import Descendants
from dagstore.printable import printable
from dagstore.store import Store


@verb("tree")
@click.argument("node", default="@seed")
@click.option("--depth", type=click.IntRange(min=0), help="At most so many generations below NODE.")
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="At most so many nodes.")
@plot_option("the tree")
def command(app: App, node: str, depth: int | None, limit: int, plot: str | None) -> None:
    """Draw what was built on NODE (by default the seed), by primary parents; `⇠` names what a node adopted.

    \b
    dag tree @best~3 --depth 5
    """
    store = app.store(readonly=True)
    if plot:
        answer = save_picture(app.path(plot), lambda: store.plot.tree(node, depth=depth, limit=limit))
        app.answer(answer, lambda saved: line(saved["plot"]))
        return
    found = store.subtree(node, depth=depth, limit=limit)
    if app.as_json:
        app.answer(_document(found), lambda _: None)
    else:
        _render(store, found)


def _document(found: Descendants) -> dict[str, Any]:
    nodes = [
        {
            **{name: getattr(row.node, name) for name in ("id", "primary", "adopted", "estimate", "status", "message")},
            "depth": row.depth,
            "hidden": row.hidden,
        }
        for row in found.nodes
    ]
    return {"root": found.root, "nodes": nodes, "hidden": found.hidden}


def _render(store: Store, found: Descendants) -> None:
    for drawn in draw(found.nodes):
        line(*_fitted([styled(drawn.prefix, "dim"), *_content(store, drawn)]))
    if found.hidden:
        shown, total = len(found.nodes), len(found.nodes) + found.hidden
        line(styled(f"{shown} of {total} nodes; --limit and --depth say how many", "dim"))


def _content(store: Store, drawn: Line) -> Sequence[str]:
    """The parts of a line, the message last."""
    if drawn.row is None:
        return [styled(drawn.text, "dim")]
    node = drawn.row.node
    adopted = "".join(f" ⇠ {store.short(id)}" for id in node.adopted)
    names = "".join(f" ({name})" for name in node.names)
    more = f"  +{drawn.row.hidden} more" if drawn.row.hidden else ""
    head = (styled(node.short, "bold"), styled(adopted, "cyan"), names, "  ", measured(node), styled(more, "dim"))
    return [*head, "  ", headline(node.message)]


def _fitted(parts: Sequence[str]) -> Sequence[str]:
    """A terminal gets the message cut to its width, for a wrapped line would break the drawing."""
    room = shutil.get_terminal_size().columns - sum(len(printable(part)) for part in parts[:-1])
    last = printable(parts[-1])
    if not is_terminal() or len(last) <= room:
        return parts
    return [*parts[:-1], last[: max(0, room - 1)] + "…"]
