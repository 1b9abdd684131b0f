"""`dag children`: what was built on a node."""

from typing import Any

import click

from cli.app import App, verb
from cli.listing import list_nodes
from cli.render import line


@verb("children")
@click.argument("node")
def command(app: App, node: str) -> None:
    """List the nodes that have NODE as a parent, oldest first.

    \b
    dag children @best
    """
    store = app.store(readonly=True)
    app.answer({"node": store.resolve(node), "nodes": store.children(node)}, _render)


def _render(answer: dict[str, Any]) -> None:
    if not answer["nodes"]:
        line("nothing builds on it yet")
        return
    ways = ["primary" if child.primary == answer["node"] else "adopted" for child in answer["nodes"]]
    list_nodes(answer["nodes"], ways, "as")
