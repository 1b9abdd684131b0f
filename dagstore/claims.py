"""Claims: leases with a deadline and a fencing token, so that work is never lost with its worker or done twice.

A token is larger than every earlier one of the store. A holder shows it with every act; once somebody else has taken
over, the old token opens nothing (Gray and Cheriton 1989, "Leases"). Times are milliseconds since the Unix epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from dagstore.codec import pack, unpack
from dagstore.errors import ClaimLost
from dagstore.ids import NodeId
from dagstore.storage import Reader, Writer, after

PREFIX = b"claim/"
COUNTER = b"counter"

PROPOSE, MEASURE = "propose", "measure"


class Standing(Enum):
    """What a claim is worth: work on, end it and record that, or drop what is in hand."""

    HELD = "held"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Claim:
    """`agent` works on `node` until `deadline`, for `purpose` (`propose` a child or `measure` it)."""

    token: int
    node: NodeId
    agent: str
    purpose: str
    started: int
    deadline: int
    ticket: int = 0


def next_number(txn: Writer) -> int:
    """A number that this store never gave before."""
    number = int.from_bytes(txn.get("state", COUNTER) or b"", "big") + 1
    txn.put("state", COUNTER, number.to_bytes(8, "big"))
    return number


def make_claim(txn: Writer, node: NodeId, agent: str, purpose: str, now: int, ttl: int, ticket: int = 0) -> Claim:
    claim = Claim(next_number(txn), node, agent, purpose, now, now + ttl, ticket)
    _save(txn, claim)
    return claim


def renew_claim(txn: Writer, token: int, now: int, ttl: int) -> Claim:
    """The claim with a later deadline; `ClaimLost` if it was taken over or given back."""
    claim = replace(held_claim(txn, token), deadline=now + ttl)
    _save(txn, claim)
    return claim


def held_claim(txn: Reader, token: int) -> Claim:
    """The claim with that token; `ClaimLost` if it is not held any more."""
    raw = txn.get("state", _key(token))
    if raw is None:
        raise ClaimLost(f"claim {token} is no longer held", hint="another worker took over; drop this result")
    return _claim(token, raw)


def find_claim(txn: Reader, token: int) -> Claim | None:
    raw = txn.get("state", _key(token))
    return _claim(token, raw) if raw else None


def drop_claim(txn: Writer, token: int) -> bool:
    """Give a claim back; whether it was still held."""
    return txn.delete("state", _key(token))


def all_claims(txn: Reader) -> Iterator[Claim]:
    """Every claim that was not given back, expired ones included, oldest first."""
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield _claim(int.from_bytes(key[len(PREFIX) :], "big"), raw)


def _key(token: int) -> bytes:
    return PREFIX + token.to_bytes(8, "big")


def _save(txn: Writer, claim: Claim) -> None:
    row = [bytes(claim.node), claim.agent, claim.purpose, claim.started, claim.deadline, claim.ticket]
    txn.put("state", _key(claim.token), pack(row))


def _claim(token: int, raw: bytes) -> Claim:
    node, agent, purpose, started, deadline, ticket = unpack(raw)
    return Claim(token, NodeId(node), agent, purpose, started, deadline, ticket)
