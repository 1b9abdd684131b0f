"""References: what people and agents write where a node is meant.

full id · unique prefix of 4 or more hex digits · @seed · @best · @last · a name · any of these with ~n
"""

import re

from dagstore.errors import Ambiguous, BadInput, NotFound
from dagstore.finding import find, short, with_prefix
from dagstore.graph import line_ancestor
from dagstore.ids import NodeId
from dagstore.index import row_of
from dagstore.names import get_name
from dagstore.ranking import default_channel, ranked
from dagstore.rows import count_nodes
from dagstore.storage import Reader

SEED = b"seed"
_CANDIDATES = 10
_STEPS = re.compile(r"(?P<ref>.*?)~(?P<steps>\d{0,9})")


def resolve(txn: Reader, ref: str) -> int:
    """The sequence number of the node that `ref` names; `NotFound`, `Ambiguous` or `BadInput` if there is none."""
    match = _STEPS.fullmatch(ref)
    if match is None:
        return _anchor(txn, ref)
    return _above(txn, ref, _anchor(txn, match["ref"]), int(match["steps"] or 1))


def seed(txn: Reader) -> int:
    raw = txn.get("meta", SEED)
    if raw is None:
        raise NotFound("the store has no seed node yet", hint="finish it with `dag init`")
    return find(txn, NodeId(raw))


def _above(txn: Reader, ref: str, node: int, steps: int) -> int:
    row = row_of(txn)
    depth = row(node).depth - steps
    if depth < 0:
        raise NotFound(f"{ref}: the line of that node is only {row(node).depth} long", hint="see `dag log NODE`")
    return line_ancestor(node, depth, row)


def _anchor(txn: Reader, ref: str) -> int:
    if ref.startswith("@"):
        return _special(txn, ref)
    named = get_name(txn, ref)
    if named is not None:
        return find(txn, named)
    if re.fullmatch(r"[0-9a-f]{4,64}", ref):
        return _prefix(txn, ref)
    if re.fullmatch(r"[0-9a-f]{1,3}", ref):
        raise BadInput(f"{ref!r} is too short for an id", hint="give at least 4 digits")
    raise NotFound(f"no node is called {ref!r}", hint="`dag log` lists nodes, `dag name NAME NODE` names one")


def _special(txn: Reader, ref: str) -> int:
    if ref == "@seed":
        return seed(txn)
    if ref == "@last":
        return count_nodes(txn) or seed(txn)
    if ref == "@best":
        channel = default_channel(txn)
        best = next((node for node, _ in ranked(txn, channel)), 0) if channel else 0
        if not best:
            raise NotFound("nothing was measured yet, so there is no @best", hint="measure with `dag run @seed`")
        return best
    raise NotFound(f"{ref!r} is no reference", hint="there are @seed, @best and @last")


def _prefix(txn: Reader, digits: str) -> int:
    found = with_prefix(txn, NodeId, digits, _CANDIDATES + 1)
    if not found:
        raise NotFound(f"no node starts with {digits}", hint="`dag log` lists nodes")
    if len(found) > 1:
        names = ", ".join(short(txn, id) for id in found[:_CANDIDATES])
        more = ", …" if len(found) > _CANDIDATES else ""
        raise Ambiguous(f"{digits} could be {names}{more}", hint="give more digits")
    return find(txn, found[0])
