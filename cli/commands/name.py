"""`dag name`: lets a word mean a node."""

from typing import Any

import click

from cli.app import App, verb
from cli.render import line, styled, table


@verb("name")
@click.argument("name", required=False)
@click.argument("node", required=False)
def command(app: App, name: str | None, node: str | None) -> None:
    """Let NAME mean NODE from now on; without arguments, list the names.

    \b
    Example:
      dag name baseline @seed
    """
    if name is None:
        names = app.store(readonly=True).names()
        app.answer({"names": [{"name": name, "node": node} for name, node in names.items()]}, _show_all)
        return
    if node is None:
        raise click.UsageError(f"say which node {name!r} shall mean")
    store = app.store()
    before = store.name(name, node)
    app.answer({"name": name, "node": store.resolve(name), "before": before}, _render)


def _render(named: dict[str, Any]) -> None:
    moved = named["before"] is not None and named["before"] != named["node"]
    before = f" (before: {str(named['before'])[:8]})" if moved else ""
    line(styled(named["name"], "bold"), f" is {str(named['node'])[:8]}{before}")


def _show_all(answer: dict[str, Any]) -> None:
    if answer["names"]:
        table(("name", "node"), [(one["name"], str(one["node"])[:8]) for one in answer["names"]])
    else:
        line("no node has a name")
