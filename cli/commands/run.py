"""`dag run`: measure nodes now."""

from typing import Any

import click

from cli.app import App, verb


@verb("run")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE …")
@click.option("--repeat", type=click.IntRange(1, 10_000), help="Measure each node this many times more.")
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True, help="Where it runs.")
def command(app: App, nodes: tuple[str, ...], repeat: int | None, engine: str) -> None:
    """Measure nodes now, here. What was measured before is shown, and run again only with --repeat.

    \b
    Example:
      dag run @seed --repeat 3
    """
    from cli.measure import check_ok, outcome, run_now
    from cli.render import line

    def render(answer: dict[str, Any]) -> None:
        for run in answer["runs"]:
            line(f"{str(run.node)[:12]}  {outcome(run)}")

    runs = run_now(app, nodes, repeat)
    app.answer({"runs": runs}, render)
    check_ok(runs)
