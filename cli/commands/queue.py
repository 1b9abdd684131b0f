"""`dag queue`: puts nodes in line to be measured."""

from collections.abc import Sequence
from typing import Any

import click

from cli import options
from cli.app import App, verb
from cli.render import ago, line, styled, table
from dagstore import Status, Store
from dagstore.tickets import Ticket


@verb("queue")
@click.argument("nodes", metavar="[NODE …]", nargs=-1)
@click.option("--repeat", metavar="K", type=click.IntRange(1, 10_000), help="Measure each K times, known or not.")
@click.option("--priority", metavar="P", type=int, default=0, help="Higher goes first; 0 is usual.")
@options.agent
def command(app: App, nodes: tuple[str, ...], repeat: int | None, priority: int, agent: str | None) -> None:
    """Put nodes in line to be measured, unless they were; without NODE, show the line.

    \b
    Example:
      dag queue 3f9c 81ab --priority 5
    """
    if not nodes:
        waiting = app.store(readonly=True).tickets()
        app.answer({"queued": waiting, "skipped": []}, lambda answer: _show_line(answer["queued"]))
        return
    store = app.store()
    ids = {store.resolve(ref): ref for ref in nodes}
    tickets = store.queue(ids, repeat=repeat, priority=priority, agent=agent or app.agent)
    made = {ticket.node for ticket in tickets}
    skipped = [
        {"node": id, "ref": ref, "why": _why(store, str(id), repeat)} for id, ref in ids.items() if id not in made
    ]
    app.answer({"queued": tickets, "skipped": skipped}, _render)
    if tickets:
        app.say("next: dag train --until-idle    measures what is in line")


def _why(store: Store, id: str, repeat: int | None) -> str:
    """Why a node was passed over."""
    measured = next((run for run in store.runs(id) if run.status is Status.OK), None)
    if repeat is None and measured is not None:
        return f"measured already, as {str(measured.node)[:8]}"
    return "in line already"


def _render(answer: dict[str, Any]) -> None:
    for ticket in answer["queued"]:
        line("queued ", styled(str(ticket.node)[:8], "bold"))
    for skip in answer["skipped"]:
        line("skipped ", styled(str(skip["node"])[:8], "bold"), f": {skip['why']}; --repeat measures it again")


def _show_line(tickets: Sequence[Ticket]) -> None:
    if not tickets:
        line("nothing is in line")
        return
    rows = [_row(ticket) for ticket in tickets]
    table(("ticket", "node", "priority", "state", "queued", "agent"), rows, right=("ticket", "priority"))


def _row(ticket: Ticket) -> tuple[str, ...]:
    state = "in hand" if ticket.token else "waits"
    return (str(ticket.number), str(ticket.node)[:8], str(ticket.priority), state, ago(ticket.queued), ticket.agent)
