"""The queue: one ticket a measurement that somebody wants, taken under a claim, removed when its run is recorded."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dagstore.claims import MEASURE, Claim, drop_claim, find_claim, make_claim, next_number
from dagstore.codec import pack, unpack
from dagstore.errors import BadInput, ClaimLost
from dagstore.ids import NodeId
from dagstore.storage import Reader, Writer, after

PREFIX = b"ticket/"
CANCELLED = b"cancelled/"
"""Tickets in hand that nobody wants any more; their holders look here."""
MAX_PRIORITY = 1 << 30


@dataclass(frozen=True, slots=True)
class Ticket:
    """Measure `node` once. Higher `priority` first, then in order of `number`; `failures` counts faults of machines."""

    number: int
    node: NodeId
    priority: int
    agent: str
    queued: int
    failures: int = 0
    token: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """A ticket in hand; `lost` is the claim of a worker that let it expire."""

    ticket: Ticket
    claim: Claim
    lost: Claim | None = None


def add_ticket(txn: Writer, node: NodeId, priority: int, agent: str, now: int) -> Ticket:
    if abs(priority) > MAX_PRIORITY:
        raise BadInput(f"priority {priority} is out of range", hint=f"stay within ±{MAX_PRIORITY}")
    ticket = Ticket(next_number(txn), node, priority, agent, now)
    _save(txn, ticket)
    return ticket


def all_tickets(txn: Reader) -> Iterator[Ticket]:
    """Every ticket in the order in which they are taken, those in hand included."""
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield _ticket(key, raw)


def take_ticket(txn: Writer, agent: str, now: int, ttl: int, number: int = 0) -> Taken | None:
    """The first ticket that nobody holds, or whose holder is overdue, claimed; None if there is none.

    With `number` only that ticket is considered.
    """
    ticket = next_ticket(txn, now, number)
    return _take(txn, ticket, agent, now, ttl) if ticket else None


def next_ticket(txn: Reader, now: int, number: int = 0) -> Ticket | None:
    """What `take_ticket` would take."""
    wanted = (ticket for ticket in all_tickets(txn) if number in (0, ticket.number))
    return next((ticket for ticket in wanted if _is_free(txn, ticket, now)), None)


def _is_free(txn: Reader, ticket: Ticket, now: int) -> bool:
    holder = find_claim(txn, ticket.token) if ticket.token else None
    return holder is None or holder.deadline <= now


def finish_ticket(txn: Writer, claim: Claim) -> None:
    """Remove the ticket of a claim and the claim; `ClaimLost` if somebody else holds the ticket by now."""
    ticket = held_ticket(txn, claim)
    _remove(txn, ticket)
    drop_claim(txn, claim.token)


def give_ticket_back(txn: Writer, claim: Claim, *, failed: bool) -> Ticket:
    """Put the ticket of a claim back in line, unless it was cancelled; `failed` counts a fault of the machine."""
    ticket = held_ticket(txn, claim)
    waiting = replace(ticket, token=0, failures=ticket.failures + failed)
    if is_cancelled(txn, ticket.number):
        _remove(txn, ticket)
    else:
        _save(txn, waiting)
    drop_claim(txn, claim.token)
    return waiting


def cancel_ticket(txn: Writer, number: int, now: int) -> bool:
    """Remove a ticket that nobody holds, or whose holder is overdue; whether there was one."""
    ticket = next_ticket(txn, now, number)
    if ticket is None:
        return False
    drop_claim(txn, ticket.token)
    return _remove(txn, ticket)


def end_ticket(txn: Writer, number: int) -> bool:
    """Ask whoever holds the ticket to end it; whether there is such a ticket."""
    there = any(ticket.number == number for ticket in all_tickets(txn))
    if there:
        txn.put("state", _cancelled(number), b"")
    return there


def is_cancelled(txn: Reader, number: int) -> bool:
    """Whether the holder of the ticket was asked to end it."""
    return txn.get("state", _cancelled(number)) is not None


def held_ticket(txn: Reader, claim: Claim) -> Ticket:
    """The ticket that `claim` holds; `ClaimLost` if it does not hold it any more."""
    for ticket in all_tickets(txn):
        if ticket.number == claim.ticket and ticket.token == claim.token:
            return ticket
    raise ClaimLost(
        f"claim {claim.token} on {claim.node} is no longer held", hint="another worker took over; drop this result"
    )


def _take(txn: Writer, ticket: Ticket, agent: str, now: int, ttl: int) -> Taken:
    holder = find_claim(txn, ticket.token) if ticket.token else None
    if holder is not None:
        drop_claim(txn, holder.token)
    claim = make_claim(txn, ticket.node, agent, MEASURE, now, ttl, ticket.number)
    held = replace(ticket, token=claim.token)
    _save(txn, held)
    return Taken(held, claim, holder)


def _remove(txn: Writer, ticket: Ticket) -> bool:
    txn.delete("state", _cancelled(ticket.number))
    return txn.delete("state", _key(ticket))


def _cancelled(number: int) -> bytes:
    return CANCELLED + number.to_bytes(8, "big")


def _key(ticket: Ticket) -> bytes:
    return PREFIX + (MAX_PRIORITY - ticket.priority).to_bytes(4, "big") + ticket.number.to_bytes(8, "big")


def _save(txn: Writer, ticket: Ticket) -> None:
    row = [bytes(ticket.node), ticket.agent, ticket.queued, ticket.failures, ticket.token]
    txn.put("state", _key(ticket), pack(row))


def _ticket(key: bytes, raw: bytes) -> Ticket:
    at = len(PREFIX)
    priority = MAX_PRIORITY - int.from_bytes(key[at : at + 4], "big")
    node, agent, queued, failures, token = unpack(raw)
    return Ticket(int.from_bytes(key[at + 4 :], "big"), NodeId(node), priority, agent, queued, failures, token)
