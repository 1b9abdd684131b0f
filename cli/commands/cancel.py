"""`dag cancel`: take nodes out of the line, and end what runs of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

from cli.app import App, verb
from cli.measure import in_line
from cli.render import line, styled
from dagstore import NotFound, Store
from dagstore.tickets import Ticket


@verb("cancel")
@click.argument("wanted", metavar="TICKET|NODE …", nargs=-1, required=True)
def command(app: App, wanted: tuple[str, ...]) -> None:
    """Take tickets, or all tickets of a node's files, out of the line.

    What runs is ended within about a second, and its run recorded as `cancelled`.

    \b
    Example:
      dag cancel 3f9c
    """
    store = app.store()
    tickets = {ticket.number: ticket for word in wanted for ticket in _tickets(store, word)}
    app.answer(_cancel(store, tickets.values()), _render)


def _tickets(store: Store, word: str) -> Sequence[Ticket]:
    """The ticket of that number, else those of the node; `NotFound` if there is none."""
    numbered = [ticket for ticket in store.tickets() if str(ticket.number) == word]
    found = numbered or in_line(store, word)
    if not found:
        raise NotFound(f"{word} is not in line", hint="`dag queue` lists the line")
    return found


def _cancel(store: Store, tickets: Iterable[Ticket]) -> dict[str, list[Ticket]]:
    cancelled, ending = [], []
    for ticket in tickets:
        if store.cancel(ticket.number):
            cancelled.append(ticket)
        elif store.end(ticket.number):
            ending.append(ticket)
    return {"cancelled": cancelled, "ending": ending}


def _render(answer: dict[str, Any]) -> None:
    for ticket in answer["cancelled"]:
        line("cancelled ", styled(str(ticket.node)[:8], "bold"), f", ticket {ticket.number}")
    for ticket in answer["ending"]:
        line("ending ", styled(str(ticket.node)[:8], "bold"), f", ticket {ticket.number}, which is being measured")
