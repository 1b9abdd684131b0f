"""`dag confirm`: queues the repeats that tell the top of the ranking apart."""

import click

from cli import options
from cli.app import App, verb
from cli.commands.frontier import known_noise
from cli.render import NOTHING, counted, line, number, seconds, styled, table
from dagstore.confirming import CONFIRM
from dagstore.repeats import Confirmation


@verb("confirm")
@click.option("--top", type=click.IntRange(min=2), default=5, show_default=True, help="How many to tell apart.")
@click.option("--budget", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many runs.")
@click.option("--platform", metavar="P", help="Another platform than the one with the most runs.")
@click.option("--priority", metavar="P", type=int, default=CONFIRM, show_default=True, help="0 lets them wait in turn.")
@click.option("--dry-run", is_flag=True, help="Only say which repeats those would be.")
@options.agent
def command(
    app: App, top: int, budget: int, platform: str | None, priority: int, dry_run: bool, agent: str | None
) -> None:
    """Queue just the repeats that are worth their time to tell the best experiments apart.

    Each run goes where it is expected to help most; none are queued once the first is the best with 95 %. They go
    before what is only tried out.

    \b
    dag confirm --top 5 --budget 6
    """
    store = app.store(readonly=dry_run)
    who = agent or app.agent
    found = store.confirm(top, budget=budget, platform=platform, agent=who, priority=priority, dry_run=dry_run)
    app.answer(found, lambda it: _render(it, dry_run=dry_run))


def _render(it: Confirmation, *, dry_run: bool) -> None:
    line(known_noise(it.noise))
    rows = [
        (
            styled(row.short, "bold"),
            number(row.estimate),
            NOTHING if row.low is None else f"{number(row.low)} to {number(row.high)}",
            str(row.runs),
            NOTHING if row.ahead is None else f"{row.ahead:.0%}",
            f"+{row.repeats}" if row.repeats else NOTHING,
            row.message,
        )
        for row in it.nodes
    ]
    columns = ("id", "estimate", "90 % interval", "runs", "beats the first", "repeats", "message")
    table(columns, rows, right=("estimate", "runs", "beats the first", "repeats"))
    if not it.repeats:
        line(
            f"the first is the best of these with {it.before:.0%}: nothing to repeat" if it.before else "nothing to do"
        )
        return
    doing = "would take" if dry_run else "take"
    line(f"{counted(it.repeats, 'repeat')} {doing} about {seconds(it.seconds)}", _learned(it))
    if not dry_run:
        line(f"{counted(len(it.queued), 'ticket')} new in line: ", styled("dag train", "bold"), " runs them")


def _learned(it: Confirmation) -> str:
    if it.before is None or it.after is None:
        return " and tell how far measurements of the same files lie apart"
    return f"; that the first is the best is {it.before:.0%} sure now, {it.after:.0%} then if nothing changes its place"
