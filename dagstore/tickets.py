"""The queue: one ticket a measurement that somebody wants, taken under a claim, removed when its run is recorded."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dagstore.claims import MEASURE, Claim, drop_claim, find_claim, make_claim, next_number
from dagstore.codec import pack, unpack
from dagstore.errors import BadInput, ClaimLost
from dagstore.ids import NodeId
from dagstore.storage import Reader, Writer, after

PREFIX = b"ticket/"
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
    for ticket in all_tickets(txn):
        if number and ticket.number != number:
            continue
        holder = find_claim(txn, ticket.token) if ticket.token else None
        if holder is None or holder.deadline <= now:
            return _take(txn, ticket, holder, agent, now, ttl)
    return None


def finish_ticket(txn: Writer, claim: Claim) -> None:
    """Remove the ticket of a claim and the claim; `ClaimLost` if somebody else holds the ticket by now."""
    ticket = held_ticket(txn, claim)
    txn.delete("state", _key(ticket))
    drop_claim(txn, claim.token)


def give_ticket_back(txn: Writer, claim: Claim, *, failed: bool) -> Ticket:
    """Put the ticket of a claim back in line; `failed` counts one more fault of the machine."""
    ticket = held_ticket(txn, claim)
    waiting = replace(ticket, token=0, failures=ticket.failures + failed)
    _save(txn, waiting)
    drop_claim(txn, claim.token)
    return waiting


def cancel_ticket(txn: Writer, number: int, now: int) -> bool:
    """Remove a ticket that nobody holds, or whose holder is overdue; whether there was one."""
    ticket = next((one for one in all_tickets(txn) if one.number == number), None)
    holder = find_claim(txn, ticket.token) if ticket else None
    if ticket is None or (holder is not None and holder.deadline > now):
        return False
    drop_claim(txn, ticket.token)
    return txn.delete("state", _key(ticket))


def held_ticket(txn: Reader, claim: Claim) -> Ticket:
    """The ticket that `claim` holds; `ClaimLost` if it does not hold it any more."""
    for ticket in all_tickets(txn):
        if ticket.number == claim.ticket and ticket.token == claim.token:
            return ticket
    raise ClaimLost(
        f"claim {claim.token} on {claim.node} is no longer held", hint="another worker took over; drop this result"
    )


def _take(txn: Writer, ticket: Ticket, holder: Claim | None, agent: str, now: int, ttl: int) -> Taken:
    if holder is not None:
        drop_claim(txn, holder.token)
    claim = make_claim(txn, ticket.node, agent, MEASURE, now, ttl, ticket.number)
    held = replace(ticket, token=claim.token)
    _save(txn, held)
    return Taken(held, claim, holder)


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
