"""`dag spawn`: hands out a workspace."""

import click

from cli import options
from cli.app import App, verb
from dagstore.views import Spawned


@verb("spawn")
@click.argument("node")
@options.why
@options.agent
@click.option("--into", metavar="DIR", help="Where; it must be empty or not exist. Without it, inside the store.")
def command(app: App, node: str, why: str, agent: str | None, into: str | None) -> None:
    """Materialise a workspace for a child of NODE, claim it, and print its path.

    \b
    Example:
      cd $(dag spawn @best -m "a wider model fits the budget")
    """
    store = app.store()
    made = store.spawn(node, why=why, agent=agent or app.agent, into=app.path(into) if into else None)
    app.answer(made, _render)
    editable = ", ".join(store.charter(made.primary).editable)
    app.say(f"a child of {store.short(made.primary)}: edit {editable} there, then `dag seal`")


def _render(made: Spawned) -> None:
    # The bare path, whatever it holds: it is meant for `cd $(…)`.
    click.echo(made.workspace)
