"""`dag gc`: sweeps what nobody can miss."""

import click

from cli.app import App, verb
from cli.render import counted, line
from dagstore.gc import Swept


@verb("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def command(app: App, dry_run: bool) -> None:
    """Remove sealed and forgotten workspaces, overdue claims, leftovers; never a node.

    \b
    Example:
      dag gc --dry-run
    """
    swept = app.store(readonly=dry_run).gc(dry_run=dry_run)
    app.answer(swept, lambda swept: _render(swept, "would remove" if dry_run else "removed"))


def _render(swept: Swept, verb: str) -> None:
    for path in (*swept.workspaces, *swept.leftovers):
        line(f"{verb} {path}")
    if swept.claims:
        line(f"{verb} {counted(swept.claims, 'overdue claim')}")
    if not (swept.workspaces or swept.leftovers or swept.claims):
        line("nothing to sweep")
