"""`dag import`: brings in what others recorded."""

from typing import TYPE_CHECKING, Any

import click

from cli.app import App, common, verb
from cli.render import counted, line, progress, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstore.hub import Remark
    from dagstore.imported import Imported


@click.group("import")
@common
def command(**_outer: Any) -> None:
    """Bring in experiments that were recorded elsewhere. What cannot come in is counted, with the reason.

    \b
    dag import hub dag.json --metric val_bpb --minimize
    """


@verb("hub")
@click.argument("file")
@click.option("--metric", metavar="M", required=True, help="The number of each record that counts, by its name.")
@click.option("--minimize", "direction", flag_value="minimize", help="Smaller is better.")
@click.option("--maximize", "direction", flag_value="maximize", help="Larger is better.")
@click.option(
    "--rerun", metavar="REGEX", help="What matches a whole message of a re-run; those of a parent are one node."
)
def hub(app: App, file: str, metric: str, direction: str | None, rerun: str | None) -> None:
    """Bring in the DAG of a hub of agents: a FILE with what its `GET /api/git/dag` answered.

    Its nodes have no code: they are called as in the hub, ranked by themselves, and nothing can be built on them.
    Importing a file again brings what is new in it.

    \b
    dag import hub dag.json --metric val_bpb --minimize --rerun '.* rep ?\\d+'
    """
    if direction is None:
        raise click.UsageError("say what is better: --minimize or --maximize")
    store = app.store()
    with progress("import") as show:
        found = store.import_hub(app.path(file), metric=metric, direction=direction, rerun=rerun, progress=show)
    app.answer(found, _render)


command.add_command(hub)


def _render(done: "Imported") -> None:
    brought = f"{counted(done.nodes, 'new node')}, {counted(done.runs, 'new run')}"
    invalid = f", {done.invalid} of them without a number" if done.invalid else ""
    line(f"{counted(done.records, 'record')}: {brought}{invalid}")
    if done.known:
        line(f"{done.known} were known")
    if done.reruns:
        line(f"{counted(done.reruns, 're-run')} of {counted(done.folded, 'node')}")
    _remarks("left out", done.left_out)
    _remarks("came in part", done.in_part)
    if done.protocol:
        line(styled(f"ranked by itself: dag frontier --protocol {str(done.protocol)[:8]}", "dim"))


def _remarks(what: str, remarks: "Sequence[Remark]") -> None:
    for one in remarks:
        line(styled(f"{what}: {one.count}", "yellow"), f", {one.why} (for instance {one.example})")
