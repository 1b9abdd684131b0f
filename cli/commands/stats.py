"""`dag stats`: counts, and where the bytes go."""

from cli.app import App, verb
from cli.render import counted, line, progress, size, table
from dagstore.stats import Stats


@verb("stats")
def command(app: App) -> None:
    """Count what the store holds and how many bytes it takes.

    \b
    Example:
      dag stats --json
    """
    store = app.store(readonly=True)
    with progress("stats") as show:
        stats = store.stats(show)
    app.answer(stats, _render)


def _render(stats: Stats) -> None:
    rows = [(name, str(kind.count), size(kind.plain), size(kind.stored)) for name, kind in sorted(stats.kinds.items())]
    table(("kind", "count", "plain", "stored"), rows, right=("count", "plain", "stored"))
    line()
    table(("where", "bytes", "what"), _places(stats), right=("bytes",))
    line()
    per_node = f", {size(stats.disk / stats.nodes)} a node" if stats.nodes else ""
    line(f"{size(stats.disk)} on disk{per_node}")
    line(f"{stats.queued} in line, {counted(stats.claims, 'claim')}, {counted(stats.workspaces, 'workspace')}")
    if stats.gone.count:
        line(f"{counted(stats.gone.count, 'artifact')} removed by policy ({size(stats.gone.bytes)})")
    if stats.quarantine:
        line(f"{counted(stats.quarantine, 'object')} in quarantine: `dag fsck` lists them")
    if stats.long_readers:
        line(f"{counted(stats.long_readers, 'long reader')}: free pages of the index cannot be used again meanwhile")


def _places(stats: Stats) -> list[tuple[str, str, str]]:
    """Log, index with its largest tables, and folders."""
    largest = sorted(stats.index.tables.items(), key=lambda pair: -pair[1])[:4]
    tables = ", ".join(f"{name} {size(count)}" for name, count in largest if count)
    index = f"{tables}, free {size(stats.index.free)}"
    rows = [("log", size(stats.log), "records"), ("index", size(stats.index.file), index)]
    return rows + [(f"{name}/", size(one.bytes), counted(one.count, "file")) for name, one in stats.folders.items()]
