"""References: what people and agents write where a node is meant.

full id · unique prefix of 4 or more hex digits · what it is called elsewhere, or 4 or more letters of that · @seed ·
@best · @last · a name · any of these with ~n
"""

import re

from dagstore.channels import default_channel
from dagstore.errors import Ambiguous, BadInput, NotFound
from dagstore.finding import find, name_of, short, with_prefix
from dagstore.graph import line_ancestor
from dagstore.ids import SIZE, Id, NodeId, ProtocolId, RunId
from dagstore.index import row_of
from dagstore.names import get_name
from dagstore.ranking import leaders
from dagstore.rows import count_nodes
from dagstore.storage import Reader

SEED = b"seed"
_LEAST, _FULL = 4, 2 * SIZE
_CANDIDATES = 10
_HEX = r"[0-9a-f]{4,64}"
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
    if len(ref) >= _LEAST:
        return _prefix(txn, ref)
    if re.fullmatch(r"[0-9a-f]{1,3}", ref):
        raise BadInput(f"{ref!r} is too short for an id", hint=f"give at least {_LEAST} digits")
    raise _unknown(ref)


def _special(txn: Reader, ref: str) -> int:
    if ref == "@seed":
        return seed(txn)
    if ref == "@last":
        return count_nodes(txn) or seed(txn)
    if ref == "@best":
        channel = default_channel(txn)
        best = leaders(txn, channel, 1) if channel else []
        if not best:
            raise NotFound("nothing was measured yet, so there is no @best", hint="measure with `dag run @seed`")
        return best[0].tree
    raise NotFound(f"{ref!r} is no reference", hint="there are @seed, @best and @last")


def resolve_protocol(txn: Reader, ref: str) -> ProtocolId:
    """The id of the protocol that `ref` begins; `NotFound` or `Ambiguous` if it names none."""
    return ProtocolId(_of_kind(txn, ProtocolId, ref, "`dag protocols` lists them"))


def resolve_run(txn: Reader, ref: str) -> RunId:
    """The id of the run that `ref` begins; `NotFound` or `Ambiguous` if it names none."""
    return RunId(_of_kind(txn, RunId, ref, "`dag show NODE` lists the runs of a node"))


def _of_kind(txn: Reader, kind: type[Id], ref: str, hint: str) -> Id:
    if not re.fullmatch(_HEX, ref):
        raise BadInput(f"{ref!r} is no {kind.kind}", hint=f"give {_LEAST} digits of its id or more; {hint}")
    found = with_prefix(txn, kind, ref, _CANDIDATES + 1)
    if not found:
        raise NotFound(f"no {kind.kind} starts with {ref}", hint=hint)
    if len(found) > 1:
        raise _ambiguous(ref, [short(txn, id) for id in found])
    return found[0]


def _prefix(txn: Reader, begin: str) -> int:
    """The node whose id, or what it is called elsewhere, begins so."""
    from dagstore.aliases import called

    own = with_prefix(txn, NodeId, begin, _CANDIDATES + 1) if re.fullmatch(_HEX, begin) else []
    if own and len(begin) == _FULL:
        return find(txn, own[0])
    nodes = dict.fromkeys((find(txn, id) for id in own), "")
    for node, alias in called(txn, begin, limit=_CANDIDATES + 1).items():
        nodes.setdefault(node, alias)
    if not nodes:
        raise _unknown(begin)
    if len(nodes) > 1:
        raise _ambiguous(begin, [_candidate(txn, *one) for one in nodes.items()])
    return next(iter(nodes))


def _candidate(txn: Reader, node: int, alias: str) -> str:
    id = short(txn, name_of(txn, NodeId, node))
    return f"{id} (called {alias})" if alias else id


def _ambiguous(begin: str, names: list[str]) -> Ambiguous:
    more = ", …" if len(names) > _CANDIDATES else ""
    return Ambiguous(f"{begin} could be {', '.join(names[:_CANDIDATES])}{more}", hint="give more digits")


def _unknown(ref: str) -> NotFound:
    if re.fullmatch(_HEX, ref):
        return NotFound(f"no node starts with {ref}", hint="`dag log` lists nodes")
    return NotFound(f"no node is called {ref!r}", hint="`dag log` lists nodes, `dag name NAME NODE` names one")
