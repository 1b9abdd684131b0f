"""Whose turn it is: among those who wait at one rank, the agent that was served least recently goes first.

That is start-time fair queueing (Goyal, Vin and Cheng 1996) where all weights and costs are equal: each agent is
served once between two turns of any other that waits all the while. A newcomer stands behind those who are there; who
was served before keeps its last turn, so an absence is worth one turn at most. Turns are numbers of the store's
counter and belong to one agent each, so the order is a total one.

Turns are kept; the rest is an index in the table of hints.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from dagstore.ids import BlobId
from dagstore.storage import Reader, Writer, after

TURNS = b"line/turn/"
FIRSTS = b"line/first/"
WAITS = b"line/waits/"
_NAME = 16
"""Bytes that stand for an agent's name, or for what a ticket asks of a machine."""


class Place(NamedTuple):
    """Where a ticket waits: lower `rank` first. `agent` and `needs` are digests of 16 bytes."""

    rank: int
    agent: bytes
    needs: bytes
    number: int


def digest(data: bytes) -> bytes:
    return BlobId.of(data)[:_NAME]


def join(txn: Writer, place: Place) -> None:
    """Have a ticket wait there."""
    turn = turn_of(txn, place.rank, place.agent)
    if turn is None:
        turn = place.number
        _set_turn(txn, place.rank, place.agent, turn)
    txn.put("hints", _first_key(place, turn), b"")
    txn.put("hints", _waits_key(place), b"")


def leave(txn: Writer, place: Place) -> None:
    """The ticket waits there no more."""
    txn.delete("hints", _waits_key(place))
    queue = _waits_key(place)[:-8]
    following = txn.seek("hints", queue)
    if following is None or not following.startswith(queue):
        txn.delete("hints", _first_key(place, turn_of(txn, place.rank, place.agent) or 0))


def serve(txn: Writer, place: Place, turn: int) -> None:
    """Give a waiting ticket's agent its turn, the next of which comes after all earlier ones."""
    leave(txn, place)
    old = turn_of(txn, place.rank, place.agent) or 0
    prefix = FIRSTS + _number(place.rank, 4) + _number(old, 8) + place.agent
    for key in [key for key, _ in txn.scan("hints", prefix, after(prefix))]:
        txn.delete("hints", key)
        txn.put("hints", FIRSTS + _number(place.rank, 4) + _number(turn, 8) + key[len(FIRSTS) + 12 :], b"")
    _set_turn(txn, place.rank, place.agent, turn)


def forget(txn: Writer, place: Place) -> None:
    """Nobody with that name will come again."""
    txn.delete("state", _turn_key(place.rank, place.agent))


def in_turn(txn: Reader) -> Iterator[list[Place]]:
    """Each agent that waits, in the order of turns: its first ticket of every kind of needs, in order of number."""
    at = len(FIRSTS)
    keys = (key for key, _ in txn.scan("hints", FIRSTS, after(FIRSTS)))
    for _, group in groupby(keys, key=lambda key: key[: at + 12 + _NAME]):
        places = [_first(txn, key) for key in group]
        yield sorted(places, key=lambda place: place.number)


def turn_of(txn: Reader, rank: int, agent: bytes) -> int | None:
    """When the agent was served last at that rank; None if it never stood there."""
    raw = txn.get("state", _turn_key(rank, agent))
    return int.from_bytes(raw, "big") if raw is not None else None


def _first(txn: Reader, key: bytes) -> Place:
    at = len(FIRSTS)
    rank, agent, needs = key[at : at + 4], key[at + 12 : at + 12 + _NAME], key[at + 12 + _NAME :]
    first = txn.seek("hints", WAITS + rank + agent + needs) or b""
    return Place(int.from_bytes(rank, "big"), agent, needs, int.from_bytes(first[-8:], "big"))


def _set_turn(txn: Writer, rank: int, agent: bytes, turn: int) -> None:
    txn.put("state", _turn_key(rank, agent), _number(turn, 8))


def _turn_key(rank: int, agent: bytes) -> bytes:
    return TURNS + _number(rank, 4) + agent


def _first_key(place: Place, turn: int) -> bytes:
    return FIRSTS + _number(place.rank, 4) + _number(turn, 8) + place.agent + place.needs


def _waits_key(place: Place) -> bytes:
    return WAITS + _number(place.rank, 4) + place.agent + place.needs + _number(place.number, 8)


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")
