"""`dag queue`: puts nodes in line to be measured."""

from collections.abc import Sequence
from typing import Any

import click

from cli import options
from cli.app import App, verb
from cli.measure import in_line
from cli.render import ago, line, styled, table
from dagstore import Status, Store
from dagstore.model import KNOWN
from dagstore.printable import one_line
from dagstore.tickets import Ticket


@verb("queue")
@click.argument("nodes", metavar="[NODE …]", nargs=-1)
@click.option("--repeat", metavar="K", type=click.IntRange(1, 10_000), help="Measure each K times, known or not.")
@click.option("--priority", metavar="P", type=int, default=0, help="Higher goes first; 0 is usual.")
@click.option("--again", is_flag=True, help="Try again what was set aside since its trainers died: NODEs, else all.")
@options.agent
def command(
    app: App, nodes: tuple[str, ...], repeat: int | None, priority: int, again: bool, agent: str | None
) -> None:
    """Put nodes in line to be measured, unless they were; without NODE, show the line.

    Higher priority goes first: 0 is usual, `dag confirm` has 1000, `dag run` more. Within one priority agents take
    turns.

    \b
    Example:
      dag queue 3f9c 81ab --priority 5
    """
    if again:
        app.answer({"queued": _readmit(app.store(), nodes), "skipped": []}, _render)
        return
    if not nodes:
        waiting = app.store(readonly=True).tickets()
        app.answer({"queued": waiting, "skipped": []}, lambda answer: _show_line(answer["queued"]))
        if any(ticket.aside for ticket in waiting):
            app.say("next: dag queue --again    tries what was set aside")
        return
    store = app.store()
    ids = {store.resolve(ref): ref for ref in nodes}
    tickets = store.queue(ids, repeat=repeat, priority=priority, agent=agent or app.agent)
    made = {ticket.node for ticket in tickets}
    skipped = [{"node": id, "ref": ref, **_why(store, str(id), repeat)} for id, ref in ids.items() if id not in made]
    app.answer({"queued": tickets, "skipped": skipped}, _render)
    if tickets:
        app.say("next: dag train --until-idle    measures what is in line")


def _why(store: Store, id: str, repeat: int | None) -> dict[str, str]:
    """Why a node was passed over, and what to do about it."""
    known = [run for run in store.runs(id) if run.status in KNOWN] if repeat is None else []
    measured = next((run for run in known if run.status is Status.OK), None)
    if measured is not None:
        return {"why": f"measured already, as {str(measured.node)[:8]}", "hint": "--repeat measures it again"}
    if known:
        return {"why": "pruned before", "hint": "--repeat measures it, to its end"}
    if any(ticket.aside for ticket in in_line(store, id)):
        return {"why": "set aside, since trainers died over it", "hint": "--again tries it again"}
    return {"why": "in line already", "hint": "--repeat measures it more often"}


def _readmit(store: Store, nodes: tuple[str, ...]) -> list[Ticket]:
    """The suspected tickets, of these nodes or all, that wait like others now."""
    wanted = [ticket for node in nodes for ticket in in_line(store, node)] if nodes else store.tickets()
    found = [store.readmit(ticket.number) for ticket in wanted if ticket.is_suspected]
    return [ticket for ticket in found if ticket is not None]


def _render(answer: dict[str, Any]) -> None:
    for ticket in answer["queued"]:
        line("queued ", styled(str(ticket.node)[:8], "bold"))
    for skip in answer["skipped"]:
        line("skipped ", styled(str(skip["node"])[:8], "bold"), f": {skip['why']}; {skip['hint']}")


def _show_line(tickets: Sequence[Ticket]) -> None:
    if not tickets:
        line("nothing is in line")
        return
    rows = [_row(ticket) for ticket in tickets]
    columns = ("ticket", "node", "priority", "state", "queued", "agent", "asks for")
    shown = len(columns) - (not any(row[-1] for row in rows))
    table(columns[:shown], [row[:shown] for row in rows], right=("ticket", "priority"))


def _row(ticket: Ticket) -> tuple[str, ...]:
    return (
        *(str(ticket.number), str(ticket.node)[:8], str(ticket.priority)),
        *(_state(ticket), ago(ticket.queued), ticket.agent, _asked(ticket)),
    )


def _asked(ticket: Ticket) -> str:
    """What of the machine it asks for that somebody may not want to give."""
    asked = ticket.demands
    if asked is None:
        return ""
    parts = (
        "no sandbox" if asked.sandbox == "none" else "",
        "network" if asked.network else "",
        *(one_line(name, 40) for name in (*asked.data, *asked.hidden, *asked.environment)),
    )
    return one_line(", ".join(part for part in parts if part), 120)


def _state(ticket: Ticket) -> str:
    if ticket.token:
        return "in hand"
    if ticket.aside:
        return f"set aside: {ticket.deaths} trainers died over it"
    return f"waits for all others: {ticket.deaths} trainers died over it" if ticket.is_suspected else "waits"
