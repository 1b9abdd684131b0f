"""`dag files`: what a node's tree holds."""

from typing import Any

import click

from cli.app import App, verb
from cli.render import table
from dagstore.model import Entry


@verb("files")
@click.argument("node")
def command(app: App, node: str) -> None:
    """List the files of a node: mode (`file`, `executable`, `link`), blob and path.

    \b
    dag files @best
    """
    store = app.store(readonly=True)
    app.answer({"node": store.resolve(node), "files": [_file(entry) for entry in store.files(node)]}, _render)


def _file(entry: Entry) -> dict[str, str]:
    return {"path": entry.path, "mode": entry.mode.name.lower(), "blob": str(entry.blob)}


def _render(answer: dict[str, Any]) -> None:
    table(("mode", "blob", "path"), [(file["mode"], file["blob"][:8], file["path"]) for file in answer["files"]])
