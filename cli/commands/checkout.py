"""`dag checkout`: a node's files in a directory."""

from typing import Any

import click

from cli.app import App, verb
from cli.render import line


@verb("checkout")
@click.argument("node")
@click.argument("target", metavar="DIR")
def command(app: App, node: str, target: str) -> None:
    """Write the files of a node into a new or empty directory; no workspace, no claim.

    \b
    dag checkout @best best/
    """
    store = app.store(readonly=True)
    path = app.path(target)
    id = store.resolve(node)
    app.answer({"node": id, "directory": path, "files": store.checkout(id, path)}, _render)


def _render(answer: dict[str, Any]) -> None:
    count = answer["files"]
    line(f"{count} file{'' if count == 1 else 's'} of {str(answer['node'])[:8]} in {answer['directory']}")
