"""`dag init`: makes a store in a project directory."""

import click

from cli.app import App, verb
from cli.options import Duration
from cli.render import counted, line, styled
from dagstore.views import Initialised


@verb("init")
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--command", metavar="C", help="What runs the experiment.")
@click.option("--metric", metavar="M", help="The number that decides.")
@click.option("--minimize", "direction", flag_value="minimize", help="Less is better.")
@click.option("--maximize", "direction", flag_value="maximize", help="More is better.")
@click.option("--budget", type=Duration(), help="Wall clock of one experiment, for instance 5m.")
@click.option("--editable", metavar="GLOB", multiple=True, help="What is meant to change; may be repeated.")
@click.option("--locked", metavar="GLOB", multiple=True, help="What must not change; may be repeated.")
def command(
    app: App,
    folder: str | None,
    command: str | None,
    metric: str | None,
    direction: str | None,
    budget: float | None,
    editable: tuple[str, ...],
    locked: tuple[str, ...],
) -> None:
    """Make a store in a project, and a charter if there is none; record the seed node.

    \b
    Example:
      dag init --metric val_bpb --minimize --budget 5m --editable train.py --locked prepare.py
    """
    from dagstore.store import init_store

    made = init_store(
        app.path(folder),
        command=command,
        metric=metric,
        direction=direction,
        budget=budget,
        editable=editable,
        locked=locked,
        agent=app.agent,
    )
    app.answer(made, _render)
    if made.guessed:
        app.say("check these guesses in dag.toml; after the first run they are part of what numbers mean")
    app.say("next: dag run @seed    measures what you start from")
    app.say('      dag spawn @seed -m "WHY"    makes a workspace to change it in')


def _render(made: Initialised) -> None:
    charter = made.charter
    line(styled("seed ", "bold"), str(made.node)[:8], f", {counted(made.files, 'file')}, in {made.store}")
    line(f"  command   {charter.command}")
    line(f"  metric    {charter.metric}, {charter.direction}")
    line(f"  editable  {', '.join(charter.editable)}")
    line(f"  locked    {', '.join(charter.locked) or '(only dag.toml)'}")
    for guess in made.guessed:
        line(styled("guessed ", "yellow"), guess)
