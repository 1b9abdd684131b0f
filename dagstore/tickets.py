"""Tickets: one a measurement that somebody wants, as values and as rows; `line` is where they wait and are taken."""

from collections.abc import Iterator
from dataclasses import dataclass

from dagstore.claims import Claim
from dagstore.codec import pack, unpack
from dagstore.deaths import SUSPECTED
from dagstore.demands import Demands
from dagstore.ids import NodeId
from dagstore.storage import Reader, Writer, after

PREFIX = b"line/ticket/"
OLD_PREFIX = b"ticket/"
"""Tickets of stores in which agents had no turns: their key is priority and number."""
CANCELLED = b"cancelled/"
"""Tickets in hand that nobody wants any more; their holders look here."""
MAX_PRIORITY = 1 << 30


@dataclass(frozen=True, slots=True)
class Ticket:
    """Measure `node` once, for `agent`. Higher `priority` first; `failures` counts faults of machines.

    `demands` is what its charter asks of a machine, None where that was not looked up. `deaths` counts the trainers
    that died over it; one that is set `aside`, as far as these tell when it is listed, is taken only if it is asked for
    by its number. `again` is the seed that it is measured with, None for one of its own; in `isolation` it is measured
    as `isolated` charters are.
    """

    number: int
    node: NodeId
    priority: int
    agent: str
    queued: int
    failures: int = 0
    token: int = 0
    demands: Demands | None = None
    deaths: int = 0
    again: int | None = None
    isolation: bool = False
    aside: bool = False

    @property
    def seed(self) -> int:
        """The seed of its run."""
        return self.number if self.again is None else self.again

    @property
    def is_suspected(self) -> bool:
        """Whether it goes behind all others, since trainers died over it."""
        return self.deaths >= SUSPECTED


@dataclass(frozen=True, slots=True)
class Taken:
    """A ticket in hand; `lost` is the claim of a worker that let it expire."""

    ticket: Ticket
    claim: Claim
    lost: Claim | None = None


def all_tickets(txn: Reader) -> Iterator[Ticket]:
    """Every ticket, in no particular order."""
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield _ticket(int.from_bytes(key[len(PREFIX) :], "big"), raw)
    yield from old_tickets(txn)


def find_ticket(txn: Reader, number: int) -> Ticket | None:
    """The ticket of that number, if it is in line or in hand."""
    raw = txn.get("state", _key(number))
    return _ticket(number, raw) if raw is not None else _find_old(txn, number)


def save_ticket(txn: Writer, ticket: Ticket) -> None:
    """Write the ticket in place of the one of its number; where it waits is for `line` to say."""
    demands = ticket.demands.to_row() if ticket.demands else None
    row = [ticket.priority, bytes(ticket.node), ticket.agent, ticket.queued, ticket.failures, ticket.token, demands]
    txn.put("state", _key(ticket.number), pack([*row, ticket.deaths, ticket.again, ticket.isolation]))


def drop_ticket(txn: Writer, number: int) -> None:
    """Remove the ticket and the wish to have it ended."""
    txn.delete("state", _cancelled(number))
    txn.delete("state", _key(number))


def mark_cancelled(txn: Writer, number: int) -> None:
    """Have whoever holds the ticket told that it is cancelled."""
    txn.put("state", _cancelled(number), b"")


def renew_old(txn: Writer) -> None:
    """Write the old tickets as those of today."""
    for ticket in list(old_tickets(txn)):
        txn.delete("state", _old_key(ticket))
        save_ticket(txn, ticket)


def is_cancelled(txn: Reader, number: int) -> bool:
    """Whether the holder of the ticket was asked to end it."""
    return txn.get("state", _cancelled(number)) is not None


def old_tickets(txn: Reader) -> Iterator[Ticket]:
    """Those that an earlier version put in line, by priority and then by number."""
    at = len(OLD_PREFIX)
    for key, raw in txn.scan("state", OLD_PREFIX, after(OLD_PREFIX)):
        priority = MAX_PRIORITY - int.from_bytes(key[at : at + 4], "big")
        node, agent, queued, failures, token = unpack(raw)
        yield Ticket(int.from_bytes(key[at + 4 :], "big"), NodeId(node), priority, agent, queued, failures, token)


def _cancelled(number: int) -> bytes:
    return CANCELLED + number.to_bytes(8, "big")


def _key(number: int) -> bytes:
    return PREFIX + number.to_bytes(8, "big")


def _ticket(number: int, raw: bytes) -> Ticket:
    priority, node, agent, queued, failures, token, asked, *rest = unpack(raw)
    demands = None if asked is None else Demands.from_row(asked)
    return Ticket(number, NodeId(node), priority, agent, queued, failures, token, demands, *rest)


def _old_key(ticket: Ticket) -> bytes:
    return OLD_PREFIX + (MAX_PRIORITY - ticket.priority).to_bytes(4, "big") + ticket.number.to_bytes(8, "big")


def _find_old(txn: Reader, number: int) -> Ticket | None:
    return next((ticket for ticket in old_tickets(txn) if ticket.number == number), None)
