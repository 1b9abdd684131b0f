"""`dag records`: the history of new bests, and what the noise leaves of it."""

import click

from cli.app import App, verb
from cli.commands.frontier import known_noise
from cli.listing import headline
from cli.render import ago, counted, line, number, styled, table
from dagstore.bests import Bests, Standing

STYLES = {Standing.FIRST: "dim", Standing.CONFIRMED: "green", Standing.REFUTED: "red"}


@verb("records")
@click.option("--platform", metavar="P", help="Another platform than the one with the most runs.")
@click.option("--protocol", metavar="ID", help="Another protocol than the one that was measured last.")
def command(app: App, platform: str | None, protocol: str | None) -> None:
    """List every new best in the order of time, and say which of them are more than luck.

    A record is confirmed if it gained more than two standard deviations of a repeated run, or if its repeats say so;
    refuted if its repeats show it to be no better than what it had beaten; else it lies within the noise.

    \b
    dag records
    """
    app.answer(app.store(readonly=True).records(platform=platform, protocol=protocol), _render)


def _render(bests: Bests) -> None:
    line(styled(bests.metric, "bold"), f" ({bests.direction.value}), platform {bests.platform or 'any'}")
    if not bests.records:
        line("nothing was measured yet")
        return
    line(known_noise(bests.noise))
    rows = [
        (
            styled(one.short, "bold"),
            number(one.value),
            number(one.gain),
            styled(one.standing.value, STYLES.get(one.standing, "yellow")),
            str(one.runs),
            number(one.mean),
            ago(one.time),
            headline(one.message),
        )
        for one in bests.records
    ]
    columns = ("id", "value", "gain", "standing", "runs", "mean", "age", "message")
    table(columns, rows, right=("value", "gain", "runs", "mean"))
    told = ", ".join(f"{bests.count(one)} {one.value}" for one in Standing if bests.count(one))
    line(f"{counted(len(bests.records), 'record')}: {told}")
