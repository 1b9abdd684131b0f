"""`dag replay`: what ending hopeless experiments early would have saved and cost, by the curves that are recorded."""

import click

from cli.app import App, verb
from cli.render import NOTHING, counted, line, number, progress, seconds, styled, table
from dagstore.pruners import STARTUP
from dagstore.pruning import REPLAYED, RULES
from dagstore.replay import Killed, Replay, Replayed


@verb("replay")
@click.option("--rule", type=click.Choice(RULES), help="Only this one, and what it ends.")
@click.option("--metric", metavar="M", help="A step metric, M:min or M:max; by default the charter's `curve`.")
@click.option("--platform", metavar="P", help="Another platform than the one with the most runs.")
@click.option("--protocol", metavar="ID", help="Another protocol than the one that was measured last.")
@click.option(
    "--last", metavar="N", type=click.IntRange(min=1), default=REPLAYED, show_default=True, help="At most so many runs."
)
def command(
    app: App, rule: str | None, metric: str | None, platform: str | None, protocol: str | None, last: int
) -> None:
    """Say what `prune` in dag.toml would have saved, and which good experiments it would have killed.

    Replays the curves of whole runs in the order of recording, each judged by what was known before it began. Killed
    wrongly is what ended in the top 5 %, as a new best, or better than its parent.

    \b
    dag replay
    dag replay --rule median --metric train_loss
    """
    store = app.store(readonly=True)
    with progress("replay") as show:
        found = store.replay(
            [rule] if rule else RULES, metric, platform=platform, protocol=protocol, limit=last, progress=show
        )
    app.answer(found, lambda it: _render(it, each=rule is not None))


def _render(it: Replay, *, each: bool) -> None:
    line(styled(it.curve, "bold"), f" ({it.direction.value}) while it ran, {it.metric} at the end")
    line(styled(f"platform {it.platform or 'any'}", "dim"))
    columns = ("rule", "killed", "of", "saved", "share", "wrongly", "top 5 %", "new bests", "beat parent", "regret")
    table(columns, [_row(row) for row in it.rules], right=columns[1:])
    if all(row.runs < STARTUP for row in it.rules):
        line(f"too few to tell: nothing is ended before {STARTUP} whole runs have a curve")
    if each:
        _list(it.killed)


def _row(row: Replayed) -> tuple[str, ...]:
    counts = (row.wrong, row.top, row.bests, row.parents)
    saved = seconds(row.saved) if row.saved else NOTHING
    return (row.rule, str(row.killed), str(row.runs), saved, f"{row.share:.0%}", *map(str, counts), number(row.regret))


def _list(killed: tuple[Killed, ...]) -> None:
    if not killed:
        return
    line()
    line(counted(len(killed), "experiment"), " that it would have ended:")
    columns = ("node", "at", "was", "cutoff", "ended at", "saved", "wrongly: it was")
    table(columns, [_killed(one) for one in killed], right=columns[1:6])


def _killed(one: Killed) -> tuple[str, ...]:
    words = {"top": "in the top 5 %", "best": "a new best", "parent": "better than its parent"}
    wrong = styled(", ".join(words[word] for word in one.wrong), "yellow") if one.wrong else NOTHING
    numbers = (number(one.reached), number(one.cutoff), number(one.value), seconds(one.saved))
    return (styled(str(one.node)[:8], "bold"), f"{one.at:.0%}", *numbers, wrong)
