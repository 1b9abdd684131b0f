"""`dag gc`: sweeps what nobody can miss, and by policy what old runs left."""

import click

from cli.app import App, verb
from cli.options import Duration
from cli.render import counted, line, progress, size
from dagstore.gc import Swept


@verb("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go, and how many bytes.")
@click.option(
    "--grace",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="Leave alone what showed a sign of life since.",
)
@click.option(
    "--logs-older", type=Duration(), metavar="AGE", help="Also remove logs of runs that ended longer ago, as in 30d."
)
@click.option("--artifacts-older", type=Duration(), metavar="AGE", help="The same for all artifacts of runs.")
@click.option(
    "--keep-best",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="But never of the first N nodes of a ranking.",
)
def command(
    app: App,
    dry_run: bool,
    grace: float,
    logs_older: float | None,
    artifacts_older: float | None,
    keep_best: int,
) -> None:
    """Remove stale workspaces, overdue claims, leftovers, forgotten files; by policy old logs. Never a node.

    \b
    Examples:
      dag gc --dry-run
      dag gc --logs-older 30d --keep-best 50
    """
    store = app.store(readonly=dry_run)
    with progress("gc") as show:
        swept = store.gc(
            dry_run=dry_run,
            grace=grace,
            logs_older=logs_older,
            artifacts_older=artifacts_older,
            keep_best=keep_best,
            progress=show,
        )
    app.answer(swept, lambda swept: _render(swept, dry_run=dry_run))


def _render(swept: Swept, *, dry_run: bool) -> None:
    removed = "would remove" if dry_run else "removed"
    for path in (*swept.workspaces, *swept.leftovers):
        line(f"{removed} {path}")
    if swept.claims:
        line(f"{removed} {counted(swept.claims, 'overdue claim')}")
    if swept.orphans:
        line(f"{removed} {counted(swept.orphans, 'file')} that nothing names")
    for name, one in sorted(swept.artifacts.items()):
        line(f"{removed} {counted(one.count, 'artifact')} {name!r}: {size(one.bytes)}, {size(one.plain)} unpacked")
    if swept.bytes:
        line(f"{'would free' if dry_run else 'freed'} {size(swept.bytes)}")
    elif not (swept.workspaces or swept.leftovers or swept.claims or swept.orphans):
        line("nothing to sweep")
