"""`dag log`: nodes in the order of time, or the line that led to one; or a picture of them."""

import click

from cli.app import App, verb
from cli.listing import list_nodes
from cli.picture import plot_option, save_progress
from cli.render import line


@verb("log")
@click.argument("node", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True, help="At most so many nodes.")
@plot_option("the progress")
def command(app: App, node: str | None, limit: int, plot: str | None) -> None:
    """List the latest nodes, or NODE and its primary ancestors, newest first.

    \b
    dag log @best
    dag log --plot progress.png
    """
    store = app.store(readonly=True)
    if plot:
        app.answer(save_progress(store, node, app.path(plot)), lambda saved: line(saved["plot"]))
        return
    found = store.lineage(node, limit=limit) if node else store.nodes(limit=limit, newest_first=True)
    app.answer({"nodes": found}, lambda answer: list_nodes(answer["nodes"]))
    if len(found) == limit and found[-1].primary:
        app.say(f"the latest {limit}; for more: dag log --limit {10 * limit}")
