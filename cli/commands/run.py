"""`dag run`: measure nodes now."""

from typing import Any

import click

from cli import options
from cli.app import App, verb


@verb("run")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE …")
@click.option("--repeat", type=click.IntRange(1, 10_000), help="Measure each node this many times more.")
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True, help="Where it runs.")
@options.allow
def command(app: App, nodes: tuple[str, ...], repeat: int | None, engine: str, allow: tuple[str, ...]) -> None:
    """Measure nodes now, here. What was measured before is shown, and run again only with --repeat.

    \b
    Example:
      dag run @seed --repeat 3
    """
    from cli.measure import check_ok, outcome, run_now
    from cli.render import line
    from trainer.policy import read_grants

    def render(answer: dict[str, Any]) -> None:
        for run in answer["runs"]:
            line(f"{str(run.node)[:12]}  {outcome(run)}")

    runs = run_now(app, nodes, repeat, read_grants(allow, app.directory))
    app.answer({"runs": runs}, render)
    check_ok(runs)
