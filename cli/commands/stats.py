"""`dag stats`: counts, and where the bytes go."""

from cli.app import App, verb
from cli.render import counted, line, size, table
from dagstore.gc import Stats


@verb("stats")
def command(app: App) -> None:
    """Count what the store holds and how many bytes it takes.

    \b
    Example:
      dag stats --json
    """
    app.answer(app.store(readonly=True).stats(), _render)


def _render(stats: Stats) -> None:
    rows = [(name, str(kind.count), size(kind.plain), size(kind.stored)) for name, kind in sorted(stats.kinds.items())]
    table(("kind", "count", "plain", "stored"), rows, right=("count", "plain", "stored"))
    per_node = f", {size(stats.disk / stats.nodes)} a node" if stats.nodes else ""
    line(f"{size(stats.disk)} on disk{per_node}")
    line(f"{stats.queued} in line, {counted(stats.claims, 'claim')}, {counted(stats.workspaces, 'workspace')}")
