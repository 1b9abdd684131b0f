"""`dag frontier`: ranks what was measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.app import App, verb
from cli.picture import plot_option, save_picture
from cli.render import line, number, styled, table
from dagstore.frontier import STRATEGIES, Frontier, FrontierRow
from dagstore.rank import Noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dagstore.store import Store

COLUMNS = ("rank", "id", "estimate", "90 % interval", "mean", "runs")
RIGHT = ("rank", "estimate", "mean", "runs")
TIED = "≈"


@verb("frontier")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many nodes.")
@click.option("--strategy", type=click.Choice(STRATEGIES), default=STRATEGIES[0], show_default=True, help="By what.")
@click.option("--metric", metavar="M", help="Another metric than the charter's, by its mean.")
@click.option("--platform", metavar="P", help="Another platform than the one with the most runs.")
@click.option("--protocol", metavar="ID", help="Another protocol than the one that was measured last.")
@click.option(
    "--axes", metavar="A,B", default="", help="For pareto: metrics, diff, seconds; NAME:max if more is better."
)
@click.option("--chance", type=int, default=0, show_default=True, help="For promise: the seed of what it draws.")
@click.option("--all", "every", is_flag=True, help="Every protocol and platform, each ranked by itself.")
@plot_option("the progress, or of the front of pareto,")
def command(
    app: App,
    top: int,
    strategy: str,
    metric: str | None,
    platform: str | None,
    protocol: str | None,
    axes: str,
    chance: int,
    every: bool,
    plot: str | None,
) -> None:
    """Rank the nodes most worth building on, within one protocol and platform.

    Estimates weigh what a node measured against its lineage and the noise. By default the best estimate comes first;
    optimistic and pessimistic go by the ends of its 90 % interval. pareto: what is not beaten on every axis. promise:
    what building on it is likely to bring. underexplored: may be the best, and few built on it. near-miss: lost within
    the noise, and touches what the best does not. leaves: nobody built on it. stale: gained on a parent that another
    has superseded.

    \b
    dag frontier --top 5
    dag frontier --strategy pareto --axes val_bpb,diff
    """
    store = app.store(readonly=True)
    named = [name.strip() for name in axes.split(",") if name.strip()]
    if plot:
        saved = save_picture(app.path(plot), lambda: _draw(store, strategy, named, platform, protocol))
        app.answer(saved, lambda answer: line(answer["plot"]))
    elif not every:
        found = store.frontier(
            top, strategy=strategy, metric=metric, platform=platform, protocol=protocol, axes=named, seed=chance
        )
        app.answer(found, _render)
    elif protocol:
        raise click.UsageError("--all ranks every protocol; leave out --protocol")
    elif metric or axes or strategy != STRATEGIES[0]:
        raise click.UsageError("--all ranks every protocol by the estimate of its own metric; leave the other out")
    else:
        frontiers = [one for one in store.frontiers(top) if platform in (None, one.platform)]
        app.answer({"frontiers": frontiers}, lambda answer: _render_all(answer["frontiers"]))


def _draw(store: "Store", strategy: str, axes: Sequence[str], platform: str | None, protocol: str | None) -> "Figure":
    """Pareto's first two axes, the first one upwards; for all other strategies the progress."""
    if strategy != "pareto":
        return store.plot.progress(platform=platform, protocol=protocol)
    names = [axis.removesuffix(":max").removesuffix(":min") for axis in axes]
    largest = [name for name, axis in zip(names, axes, strict=True) if axis.endswith(":max")]
    x, y = names[1] if len(names) > 1 else "diff", names[0] if names else None
    return store.plot.pareto(x, y, maximize=largest, platform=platform, protocol=protocol)


def _render_all(frontiers: Sequence[Frontier]) -> None:
    if not frontiers:
        line("nothing was measured yet")
    for at, frontier in enumerate(frontiers):
        if at:
            line()
        _render_one(frontier)


def _render(frontier: Frontier) -> None:
    _render_one(frontier)
    if frontier.outside:
        runs = "1 run" if frontier.outside == 1 else f"{frontier.outside} runs"
        line(styled(f"{runs} of other protocols or platforms cannot be compared with these: dag frontier --all", "dim"))


def _render_one(frontier: Frontier) -> None:
    protocol = f"protocol {str(frontier.protocol)[:8]}, " if frontier.protocol else ""
    where = f"platform {frontier.platform}" if frontier.platform else "any platform"
    line(styled(frontier.metric, "bold"), f" ({frontier.direction.value}), {protocol}{where}")
    if not frontier.nodes:
        line(_nothing(frontier))
        return
    line(known_noise(frontier.noise))
    _render_rows(frontier)
    if frontier.considered < frontier.measured:
        line(styled(f"chosen among {frontier.considered} of {frontier.measured} measured experiments", "dim"))
    if any(row.tied for row in frontier.nodes):
        line(styled(f"{TIED} cannot be told apart from the first", "dim"))


def _nothing(frontier: Frontier) -> str:
    if frontier.measured:
        return f"none of {frontier.considered} that were looked at is one for {frontier.strategy}"
    return "nothing was measured yet" + (f" on {frontier.platform}" if frontier.platform else "")


def _render_rows(frontier: Frontier) -> None:
    rows = frontier.nodes
    axes = [name for name in rows[0].axes if name != frontier.metric]
    told = ("why",) if frontier.strategy not in STRATEGIES[:3] else ()
    cells = [(*_row(row), *(number(row.axes[axis]) for axis in axes), *([row.why] if told else ())) for row in rows]
    table(
        (*COLUMNS, *axes, *told, "message"),
        [(*one, row.message) for one, row in zip(cells, rows, strict=True)],
        right=(*RIGHT, *axes),
    )


def known_noise(noise: Noise) -> str:
    """How far measurements of the same files lie apart, in words."""
    if noise.sd is not None:
        return f"noise: sd {number(noise.sd)}, from {noise.n} repeated runs"
    taken = f"; it is taken for {number(noise.assumed)}" if noise.assumed else ""
    return styled(f"nothing was measured twice, so differences may be noise{taken}: dag confirm", "yellow")


def _row(row: FrontierRow) -> tuple[str, ...]:
    interval = "-" if row.low is None or row.high is None else f"{number(row.low)} to {number(row.high)}"
    rank = f"{TIED} {row.rank}" if row.tied else str(row.rank)
    return (rank, styled(row.short, "bold"), number(row.estimate), interval, number(row.mean), str(row.runs))
