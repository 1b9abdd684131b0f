"""`dag ledger`: what experiments took, what was not run twice, and which changes were kept."""

from collections.abc import Sequence

import click

from cli.app import App, verb
from cli.commands.frontier import known_noise
from cli.render import NOTHING, counted, line, number, seconds, styled, table
from dagstore.accounting import REGIONS
from dagstore.ledger import Duplicates, Kept, Ledger, SlotTime, Spent

SPENT = ("status", "runs", "wall clock", "GPU time", "CPU slots")
KEPT = ("nodes", "compared", "kept", "clearly", "mean gain")


@verb("ledger")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many changes are shown.")
@click.option(
    "--regions",
    type=click.IntRange(min=0),
    default=REGIONS,
    show_default=True,
    help="Of how many nodes, the newest, the touched regions are told.",
)
def command(app: App, top: int, regions: int) -> None:
    """Say what experiments took, what was caught before it ran twice, and which kinds of change were kept.

    \b
    dag ledger --top 5
    """
    store = app.store(readonly=True)
    app.answer(store.ledger(regions=regions), lambda ledger: _render(ledger, top))


def _render(ledger: Ledger, top: int) -> None:
    line(styled(counted(ledger.nodes, "node"), "bold"), f", {ledger.measured} of them measured")
    table(SPENT, [_spent(row) for row in ledger.statuses], right=SPENT[1:])
    line(_duplicates(ledger.duplicates))
    line(_slots(ledger.slots))
    if ledger.metric is None:
        line("nothing was measured yet, so no change can be said to have been kept")
        return
    line()
    line(styled(ledger.metric, "bold"), f" on {ledger.platform}, gains over the primary parent, positive is better")
    line(known_noise(ledger.noise))
    _changes("path", ledger.paths, top)
    if ledger.regions:
        line()
        line(styled(f"regions that the newest {counted(ledger.looked, 'node')} touched", "dim"))
        _changes("region", ledger.regions, top)
        _changes("kind", ledger.kinds, len(ledger.kinds))
    if ledger.unread:
        line(f"the files of {counted(ledger.unread, 'node')} could not be read: dag fsck")


def _spent(row: Spent) -> tuple[str, ...]:
    times = (seconds(it) if it else NOTHING for it in (row.seconds, row.gpu_seconds, row.slot_seconds))
    return (row.status, str(row.runs), *times)


def _duplicates(it: Duplicates) -> str:
    if not it.trees + it.proposals:
        return "nothing was proposed twice"
    found = f"proposed again and not run again: {counted(it.trees + it.proposals, 'time')}"
    saved = f", which saved about {seconds(it.seconds)}"
    return found + (saved + (f" ({seconds(it.gpu_seconds)} of GPUs)" if it.gpu_seconds else "") if it.seconds else "")


def _slots(it: SlotTime) -> str:
    if it.share is None:
        return "no run says how long its slot waited"
    where = f"{counted(it.slots, 'slot')}, gaps of {seconds(it.away)} or more left out"
    return f"{it.share:.1%} of slot time was between experiments ({where})"


def _changes(title: str, rows: Sequence[Kept], top: int) -> None:
    table((*KEPT, title), [_kept(row) for row in rows[:top]], right=KEPT)
    if len(rows) > top:
        line(styled(f"and {len(rows) - top} more: --top", "dim"))


def _kept(row: Kept) -> tuple[str, ...]:
    share = f" ({row.kept / row.compared:.0%})" if row.compared else ""
    name = f"{row.path}: {row.region} ({row.kind})" if row.region else row.path or row.kind
    return (str(row.nodes), str(row.compared), f"{row.kept}{share}", str(row.clearly), number(row.gain), name)
