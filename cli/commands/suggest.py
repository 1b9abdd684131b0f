"""`dag suggest`: adoptions that nobody tried, and what they are expected to gain."""

import click

from cli.app import App, verb
from cli.commands.frontier import known_noise
from cli.render import counted, line, number, styled, table
from dagstore.accounting import NODES
from dagstore.suggestions import Suggestion, Suggestions

COLUMNS = ("rank", "gain", "90 % interval", "donors", "why")


@verb("suggest")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many suggestions.")
@click.option("--onto", metavar="NODE", help="Another node than the best one to adopt onto.")
@click.option(
    "--nodes",
    type=click.IntRange(min=0),
    default=NODES,
    show_default=True,
    help="How many measured nodes, the newest, are looked at.",
)
def command(app: App, top: int, onto: str | None, nodes: int) -> None:
    """Propose adoptions that nobody tried, with what their edits are expected to gain together. Nothing is recorded.

    \b
    dag suggest --top 3
    """
    store = app.store(readonly=True)
    app.answer(store.suggest(top, onto=onto, nodes=nodes), _render)


def _render(found: Suggestions) -> None:
    if found.onto is None:
        line("nothing was measured yet, so nothing can be suggested: dag run @seed")
        return
    line("onto ", styled(found.short, "bold"), f", {found.metric} on {found.platform}, positive is better")
    line(known_noise(found.noise))
    if found.assumed:
        line(f"an sd of {number(found.sd)} is assumed, as wide as the gains are: dag run --repeat tells")
    if found.rows:
        table(COLUMNS, [_row(row) for row in found.rows], right=COLUMNS[:2])
        for row in found.rows:
            line(f"{row.rank}: {row.command}")
    else:
        line("nothing that was not tried is expected to gain")
    if found.clashing:
        passed = f"{counted(found.clashing, 'donor')} passed over"
        line(styled(f"{passed}, whose edits change values that the line of {found.short} has changed otherwise", "dim"))
    composed = f"{counted(found.composed, 'set')} of {counted(found.donors, 'donor')} composed"
    left = f"{found.contradicted} contradict, {found.recorded} are known"
    line(styled(f"{composed}, from {counted(found.nodes, 'node')}; {left}", "dim"))


def _row(row: Suggestion) -> tuple[str, ...]:
    interval = f"{row.low:+.4g} to {row.high:+.4g}"
    donors = str(len(row.donors)) + (f" ({len(row.near)} near)" if row.near else "")
    return (str(row.rank), f"{row.gain:+.6g}", interval, donors, row.why)
