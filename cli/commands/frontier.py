"""`dag frontier`: ranks what was measured."""

from collections.abc import Sequence

import click

from cli.app import App, verb
from cli.render import line, number, styled, table
from dagstore.frontier import Frontier, FrontierRow
from dagstore.looking import STRATEGIES
from dagstore.rank import Noise

COLUMNS = ("rank", "id", "estimate", "90 % interval", "runs", "generation", "message")


@verb("frontier")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many nodes.")
@click.option("--strategy", type=click.Choice(STRATEGIES), default=STRATEGIES[0], show_default=True, help="By what.")
@click.option("--metric", metavar="M", help="Another metric than the charter's.")
@click.option("--platform", metavar="P", help="Another platform than the one with the most runs.")
@click.option("--protocol", metavar="ID", help="Another protocol than the one that was measured last.")
@click.option("--all", "every", is_flag=True, help="Every protocol and platform, each ranked by itself.")
def command(
    app: App, top: int, strategy: str, metric: str | None, platform: str | None, protocol: str | None, every: bool
) -> None:
    """Rank the nodes most worth building on, within one protocol and platform.

    \b
    dag frontier --top 5
    """
    store = app.store(readonly=True)
    if not every:
        app.answer(store.frontier(top, strategy=strategy, metric=metric, platform=platform, protocol=protocol), _render)
    elif protocol:
        raise click.UsageError("--all ranks every protocol; leave out --protocol")
    elif metric:
        raise click.UsageError("--all ranks every protocol by its own metric; leave out --metric")
    else:
        found = [one for one in store.frontiers(top) if platform in (None, one.platform)]
        app.answer({"frontiers": found}, lambda answer: _render_all(answer["frontiers"]))


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
        line("nothing was measured yet" + (f" on {frontier.platform}" if frontier.platform else ""))
        return
    line(known_noise(frontier.noise))
    table(COLUMNS, [_row(row) for row in frontier.nodes], right=("rank", "estimate", "runs", "generation"))


def known_noise(noise: Noise) -> str:
    """How far measurements of the same files lie apart, in words."""
    if noise.sd is None:
        return styled("nothing was measured twice, so differences may be noise", "yellow")
    return f"noise: sd {number(noise.sd)}, from {noise.n} repeated runs"


def _row(row: FrontierRow) -> tuple[str, ...]:
    interval = "-" if row.low is None or row.high is None else f"{number(row.low)} to {number(row.high)}"
    head = (str(row.rank), styled(row.short, "bold"), number(row.estimate), interval)
    return (*head, str(row.runs), str(row.generation), row.message)
