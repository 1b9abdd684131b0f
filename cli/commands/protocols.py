"""`dag protocols`: what runs were measured under."""

from collections.abc import Sequence

from cli.app import App, verb
from cli.listing import headline
from cli.render import NOTHING, ago, line, seconds, styled, table
from dagstore.columns import ProtocolView

COLUMNS = ("id", "metric", "budget", "locked", "runs", "nodes", "platforms", "first", "last", "command", "fingerprint")


@verb("protocols")
def command(app: App) -> None:
    """List the protocols that runs were measured under; numbers of two of them are never compared.

    \b
    dag protocols
    dag frontier --protocol 3f9c21aa
    """
    app.answer({"protocols": app.store(readonly=True).protocols()}, lambda answer: _render(answer["protocols"]))


def _render(protocols: Sequence[ProtocolView]) -> None:
    if not protocols:
        line("nothing was measured yet")
        return
    table(COLUMNS, [_row(one) for one in protocols], right=("locked", "runs", "nodes"))
    shown = next((one.short for one in protocols if one.shown), "")
    of = f"of {shown}" if shown else "of none of these"
    line(styled(f"`dag frontier` is {of}; of another one with --protocol ID", "dim"))


def _row(one: ProtocolView) -> tuple[str, ...]:
    budget = seconds(one.budget) if one.budget else NOTHING
    platforms = one.platforms[0] if len(one.platforms) == 1 else str(len(one.platforms))
    counts = (str(one.locked), str(one.runs), str(one.nodes))
    times = (ago(one.first) if one.first else NOTHING, ago(one.last) if one.last else NOTHING)
    head = (styled(one.short, "bold" if one.shown else ""), f"{one.metric} ({one.direction.value})", budget)
    return (*head, *counts, platforms, *times, one.command or NOTHING, headline(one.fingerprint) or NOTHING)
