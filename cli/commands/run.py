"""`dag run`: measure nodes now."""

from typing import Any

import click

from cli import options
from cli.app import App, verb


@verb("run")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE …")
@click.option("--repeat", type=click.IntRange(1, 10_000), help="Measure each node this many times more.")
@options.where
@options.allow
def command(
    app: App,
    nodes: tuple[str, ...],
    repeat: int | None,
    engine: str,
    ask: tuple[str, ...],
    shared: str | None,
    allow: tuple[str, ...],
) -> None:
    """Measure nodes now, here or on a cluster. What was measured before is shown, and run again only with --repeat.

    \b
    Example:
      dag run @seed --repeat 3
      dag run @last --repeat 8 --engine ray --ask num_gpus=0.5
    """
    from cli.engines import Place, run_elsewhere
    from cli.measure import check_ok, outcome, run_now
    from cli.render import line
    from trainer.policy import read_grants

    def render(answer: dict[str, Any]) -> None:
        for run in answer["runs"]:
            line(f"{str(run.node)[:12]}  {outcome(run)}")

    place, grants = Place(engine, ask, app.path(shared) if shared else None), read_grants(allow, app.directory)
    runs = run_now(app, nodes, repeat, grants) if place.is_here else run_elsewhere(app, place, nodes, repeat, grants)
    app.answer({"runs": runs}, render)
    check_ok(runs)
