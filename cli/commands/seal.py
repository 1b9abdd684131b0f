"""`dag seal`: records a workspace as a node."""

import click

from cli import options
from cli.app import App, verb
from cli.render import counted, line, number, styled
from dagstore.views import DiffStat, RunView, Sealed


@verb("seal")
@click.argument("workspace", required=False)
@options.why
@options.agent
@click.option("--unlock", is_flag=True, help="Allow changes of locked paths: the node gets a protocol of its own.")
def command(app: App, workspace: str | None, why: str, agent: str | None, unlock: bool) -> None:
    """Record a workspace (by default the one you are in) as a node, for good.

    \b
    Example:
      dag seal -m "half the learning rate: the loss was noisy"
    """
    path = app.path(workspace)
    if path.is_dir():
        app.directory = path  # its pointer says which store, wherever the caller stands
    store = app.store()
    made = store.seal(path, why=why, agent=agent or ("" if store.workspace(path).agent else app.agent), unlock=unlock)
    app.answer(made, _render)
    if not made.runs:
        app.say(f"next: dag run {made.short}    or: dag queue {made.short}")


def _render(made: Sealed) -> None:
    parent = str(made.primary)[:8] if made.primary else "nothing"
    line(styled(made.short, "bold"), f"  child of {parent}, {changes(made.diff)}")
    if made.known:
        line("known: the same change on the same parent was recorded before")
    for place in made.resolved:
        line(styled("resolved ", "green"), f"{place}: remembered for whoever meets the same contradiction")
    for run in made.runs:
        line(measured(run))


def changes(diff: DiffStat) -> str:
    """What a node changes, in words."""
    return f"{counted(diff.files, 'file')} changed (+{diff.insertions} -{diff.deletions})"


def measured(run: RunView) -> str:
    """What one run found, in words."""
    outcome = f"{run.metric} {number(run.value)}" if run.value is not None else run.status.value
    return f"measured as {str(run.node)[:8]}: {outcome} on {run.platform}"
