"""`dag cat`: the bytes of one file of a node."""

import base64
import sys
from typing import Any

import click

from cli import options
from cli.app import App, is_terminal, verb
from dagstore.ids import NodeId
from dagstore.printable import printable


@verb("cat")
@click.argument("place", metavar="NODE:PATH", type=options.Place())
def command(app: App, place: tuple[str, str]) -> None:
    """Write the bytes of one file of a node to stdout; a terminal gets them as printable text.

    \b
    dag cat @best:train.py
    """
    node, path = place
    store = app.store(readonly=True)
    data = store.cat(node, path)
    app.answer(_document(store.resolve(node), path, data) if app.as_json else data, _render)


def _document(node: NodeId, path: str, data: bytes) -> dict[str, Any]:
    try:
        content = {"text": data.decode()}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(data).decode()}
    return {"node": node, "path": path, "size": len(data), **content}


def _render(data: bytes) -> None:
    if is_terminal():
        click.echo(printable(data.decode("utf-8", "backslashreplace")), nl=not data.endswith(b"\n"))
    else:
        sys.stdout.buffer.write(data)
