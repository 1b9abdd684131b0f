"""The line: tickets wait in it, are taken under claims, and leave it when their run is recorded.

Higher priority goes first, within one priority it is `turns` that decides. A ticket over which several trainers died
waits behind all others, or is set aside (see `deaths`). Where tickets wait, who holds them and what they are for is an
index in the table of hints, made again when it does not belong to the tickets that there are.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from dagstore import turns
from dagstore.claims import MEASURE, Claim, drop_claim, find_claim, make_claim, next_number
from dagstore.codec import pack, unpack
from dagstore.deaths import is_killer
from dagstore.demands import Allows, Demands
from dagstore.errors import BadInput, ClaimLost
from dagstore.ids import NodeId
from dagstore.storage import Reader, Writer, after
from dagstore.tickets import (
    MAX_PRIORITY,
    Taken,
    Ticket,
    all_tickets,
    drop_ticket,
    find_ticket,
    is_cancelled,
    mark_cancelled,
    old_tickets,
    renew_old,
    save_ticket,
)
from dagstore.turns import Place, digest

TALLY = b"line/tally"
_LAST = (1 << 32) - 1
"""The rank of what is suspected."""
_INDEX = (b"line/first/", b"line/waits/", b"line/held/", b"line/node/")
_HELD, _NODES = _INDEX[2:]
_VERSION = b"line/version"


class _Tally(NamedTuple):
    """`version` tells whether the index is that of these tickets; `taken` and `died` count takings and deaths."""

    version: int = 0
    taken: int = 0
    died: int = 0


def add_ticket(
    txn: Writer,
    node: NodeId,
    priority: int,
    agent: str,
    now: int,
    demands: Demands | None = None,
    *,
    again: int | None = None,
    isolation: bool = False,
) -> Ticket:
    if abs(priority) > MAX_PRIORITY:
        raise BadInput(f"priority {priority} is out of range", hint=f"stay within ±{MAX_PRIORITY}")
    _settle(txn)
    number = next_number(txn)
    ticket = Ticket(number, node, priority, agent, now, demands=demands, again=again, isolation=isolation)
    save_ticket(txn, ticket)
    _enter(txn, ticket)
    _count(txn)
    return ticket


def tickets_in_order(txn: Reader) -> list[Ticket]:
    """Every ticket: those in hand, then the others as they will be taken if nothing changes, set aside ones last."""
    places: dict[tuple[int, bytes], int] = {}
    tally, keyed = _tally(txn), []
    for one in sorted(all_tickets(txn), key=lambda ticket: ticket.number):
        ticket = replace(one, aside=_is_aside(one, tally))
        rank, agent = _rank(ticket), _agent(ticket)
        if ticket.token or ticket.aside:
            keyed.append(((0 if ticket.token else 2, 0, 0, 0, ticket.token or ticket.number), ticket))
            continue
        nth = places[rank, agent] = places.get((rank, agent), -1) + 1
        first = turns.turn_of(txn, rank, agent)
        keyed.append(((1, rank, nth, ticket.number if first is None else first, ticket.number), ticket))
    return [ticket for _, ticket in sorted(keyed, key=lambda pair: pair[0])]


def tickets_of(txn: Writer, node: NodeId) -> list[Ticket]:
    """The tickets for a node, in order of number."""
    _settle(txn)
    prefix = _NODES + node
    keys = (key for key, _ in txn.scan("hints", prefix, after(prefix)))
    found = (find_ticket(txn, int.from_bytes(key[-8:], "big")) for key in keys)
    return [ticket for ticket in found if ticket is not None]


def take_ticket(
    txn: Writer, agent: str, now: int, ttl: int, number: int = 0, allows: Allows | None = None
) -> Taken | None:
    """The ticket whose turn it is, or whose holder is overdue, claimed; None if there is none.

    With `number` only that ticket is considered, else only those whose demands `allows` agrees to; what asks for
    something unknown is among them.
    """
    _settle(txn)
    ticket = next_ticket(txn, now, number, allows)
    return _take(txn, ticket, agent, now, ttl) if ticket else None


def next_ticket(txn: Reader, now: int, number: int = 0, allows: Allows | None = None) -> Ticket | None:
    """What `take_ticket` would take."""
    if number:
        ticket = find_ticket(txn, number)
        return ticket if ticket and _is_free(txn, ticket.token, now) else None
    if not _is_settled(txn):
        return next((one for one in tickets_in_order(txn) if _is_eligible(txn, one, now, allows)), None)
    overdue = _first_overdue(txn, now, allows)
    waiting = _first_waiting(txn, allows)
    if overdue and waiting:
        return overdue if _rank(overdue) <= _rank(waiting) else waiting
    return overdue or waiting


def has_work(txn: Reader, allows: Allows | None = None) -> bool:
    """Whether anything waits that is allowed, or is in hand and may come back."""
    if not _is_settled(txn):
        return any(not ticket.aside and _is_allowed(ticket, allows) for ticket in tickets_in_order(txn))
    held = (find_ticket(txn, number) for number, _ in _held(txn))
    return any(_is_allowed(ticket, allows) for ticket in held if ticket) or _first_waiting(txn, allows) is not None


def finish_ticket(txn: Writer, claim: Claim) -> None:
    """Remove the ticket of a claim and the claim; `ClaimLost` if somebody else holds the ticket by now."""
    ticket = held_ticket(txn, claim)
    _settle(txn)
    _remove(txn, ticket)
    drop_claim(txn, claim.token)


def give_ticket_back(txn: Writer, claim: Claim, *, failed: bool, demands: Demands | None = None) -> Ticket:
    """Put the ticket of a claim back in line, unless it was cancelled; `failed` counts a fault of the machine.

    One that is suspected goes behind all others. `demands` is what it turned out to ask for.
    """
    ticket = held_ticket(txn, claim)
    _settle(txn)
    waiting = replace(ticket, token=0, failures=ticket.failures + failed, demands=demands or ticket.demands)
    if is_cancelled(txn, ticket.number):
        _remove(txn, ticket)
    else:
        _move(txn, ticket, waiting)
    drop_claim(txn, claim.token)
    return waiting


def readmit_ticket(txn: Writer, number: int) -> Ticket | None:
    """Have a ticket that was suspected or set aside wait like any other; None if there is none that nobody holds."""
    _settle(txn)
    ticket = find_ticket(txn, number)
    if ticket is None or ticket.token or not ticket.is_suspected:
        return None
    readmitted = replace(ticket, deaths=0)
    _move(txn, ticket, readmitted)
    return readmitted


def cancel_ticket(txn: Writer, number: int, now: int) -> bool:
    """Remove a ticket that nobody holds, or whose holder is overdue; whether there was one."""
    _settle(txn)
    ticket = next_ticket(txn, now, number)
    if ticket is None:
        return False
    drop_claim(txn, ticket.token)
    _remove(txn, ticket)
    return True


def end_ticket(txn: Writer, number: int) -> bool:
    """Ask whoever holds the ticket to end it; whether there is such a ticket."""
    there = find_ticket(txn, number) is not None
    if there:
        mark_cancelled(txn, number)
    return there


def held_ticket(txn: Reader, claim: Claim) -> Ticket:
    """The ticket that `claim` holds; `ClaimLost` if it does not hold it any more."""
    ticket = find_ticket(txn, claim.ticket)
    if ticket is not None and ticket.token == claim.token:
        return ticket
    raise ClaimLost(
        f"claim {claim.token} on {claim.node} is no longer held", hint="another worker took over; drop this result"
    )


def _take(txn: Writer, ticket: Ticket, agent: str, now: int, ttl: int) -> Taken:
    holder = find_claim(txn, ticket.token) if ticket.token else None
    if holder is not None:
        drop_claim(txn, holder.token)
    claim = make_claim(txn, ticket.node, agent, MEASURE, now, ttl, ticket.number)
    held = replace(ticket, token=claim.token, deaths=ticket.deaths + (holder is not None))
    if not ticket.token:
        turns.serve(txn, _place(ticket), claim.token)
    if ticket.token and _rank(held) != _rank(ticket):
        txn.delete("hints", _held_key(ticket))
    save_ticket(txn, held)
    txn.put("hints", _held_key(held), claim.token.to_bytes(8, "big"))
    _count(txn, taken=1, died=holder is not None)
    return Taken(held, claim, holder)


# --- who may be taken ---


def _is_free(txn: Reader, token: int, now: int) -> bool:
    holder = find_claim(txn, token) if token else None
    return holder is None or holder.deadline <= now


def _is_allowed(ticket: Ticket, allows: Allows | None) -> bool:
    return allows is None or ticket.demands is None or allows(ticket.demands)


def _is_eligible(txn: Reader, ticket: Ticket, now: int, allows: Allows | None) -> bool:
    return (bool(ticket.token) or not ticket.aside) and _is_free(txn, ticket.token, now) and _is_allowed(ticket, allows)


def _is_aside(ticket: Ticket, tally: _Tally) -> bool:
    """Whether it is to be tried no more, as trainers die now: what seemed a killer may turn out to be one of many."""
    return ticket.is_suspected and is_killer(ticket.deaths, tally.taken, tally.died)


def _first_overdue(txn: Reader, now: int, allows: Allows | None) -> Ticket | None:
    free = (number for number, token in _held(txn) if _is_free(txn, token, now))
    found = (find_ticket(txn, number) for number in free)
    return next((ticket for ticket in found if ticket and _is_allowed(ticket, allows)), None)


def _first_waiting(txn: Reader, allows: Allows | None) -> Ticket | None:
    tally = _tally(txn)
    for places in turns.in_turn(txn):
        for place in places:
            ticket = find_ticket(txn, place.number)
            # One that is in hand is not there unless the index is damaged; it must not be taken twice all the same.
            waits = ticket is not None and not ticket.token and not _is_aside(ticket, tally)
            if ticket is not None and waits and _is_allowed(ticket, allows):
                return ticket
    return None


def _held(txn: Reader) -> Iterator[tuple[int, int]]:
    """Numbers of the tickets in hand and the tokens of their claims, in the order of rank and number."""
    for key, token in txn.scan("hints", _HELD, after(_HELD)):
        yield int.from_bytes(key[-8:], "big"), int.from_bytes(token, "big")


# --- the index ---


def _settle(txn: Writer) -> None:
    """Make the index again if it is not that of the tickets; old tickets are written anew."""
    if _is_settled(txn):
        return
    for prefix in _INDEX:
        for key in [key for key, _ in txn.scan("hints", prefix, after(prefix))]:
            txn.delete("hints", key)
    renew_old(txn)
    for ticket in sorted(all_tickets(txn), key=lambda ticket: ticket.number):
        _enter(txn, ticket)
    _count(txn)


def _is_settled(txn: Reader) -> bool:
    version = _tally(txn).version.to_bytes(8, "big")
    return (txn.get("hints", _VERSION) or bytes(8)) == version and next(old_tickets(txn), None) is None


def _enter(txn: Writer, ticket: Ticket) -> None:
    txn.put("hints", _node_key(ticket), b"")
    if ticket.token:
        txn.put("hints", _held_key(ticket), ticket.token.to_bytes(8, "big"))
    else:
        turns.join(txn, _place(ticket))


def _remove(txn: Writer, ticket: Ticket) -> None:
    _drop(txn, ticket)
    if ticket.is_suspected:
        turns.forget(txn, _place(ticket))
    txn.delete("hints", _node_key(ticket))
    drop_ticket(txn, ticket.number)
    _count(txn)


def _move(txn: Writer, old: Ticket, new: Ticket) -> None:
    _drop(txn, old)
    save_ticket(txn, new)
    _enter(txn, new)
    _count(txn)


def _drop(txn: Writer, ticket: Ticket) -> None:
    """Take a ticket from where it is held or waits."""
    if ticket.token:
        txn.delete("hints", _held_key(ticket))
    else:
        turns.leave(txn, _place(ticket))


def _count(txn: Writer, *, taken: int = 0, died: int = 0) -> None:
    before = _tally(txn)
    after_ = _Tally(before.version + 1, before.taken + taken, before.died + died)
    txn.put("state", TALLY, pack(list(after_)))
    txn.put("hints", _VERSION, after_.version.to_bytes(8, "big"))


def _tally(txn: Reader) -> _Tally:
    raw = txn.get("state", TALLY)
    return _Tally(*unpack(raw)) if raw else _Tally()


def _place(ticket: Ticket) -> Place:
    needs = digest(pack(ticket.demands.to_row())) if ticket.demands else bytes(16)
    return Place(_rank(ticket), _agent(ticket), needs, ticket.number)


def _rank(ticket: Ticket) -> int:
    return _LAST if ticket.is_suspected else MAX_PRIORITY - ticket.priority


def _agent(ticket: Ticket) -> bytes:
    """Who has a turn; what is suspected has its own, for its neighbour may be harmless."""
    return ticket.number.to_bytes(16, "big") if ticket.is_suspected else digest(ticket.agent.encode())


def _held_key(ticket: Ticket) -> bytes:
    return _HELD + _rank(ticket).to_bytes(4, "big") + ticket.number.to_bytes(8, "big")


def _node_key(ticket: Ticket) -> bytes:
    return _NODES + ticket.node + ticket.number.to_bytes(8, "big")
