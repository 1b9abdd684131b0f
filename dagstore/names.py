"""Names that people and agents give to nodes; one of the few things in a store that can change."""

import re
from collections.abc import Iterator

from dagstore.errors import BadInput
from dagstore.ids import NodeId
from dagstore.storage import Reader, Writer, after

PREFIX = b"name/"
_VALID = re.compile(r"[A-Za-z][A-Za-z0-9._/-]{0,99}")


def set_name(txn: Writer, name: str, node: NodeId) -> NodeId | None:
    """Let `name` mean `node`; returns what it meant before. `BadInput` if it could be taken for something else."""
    if not _VALID.fullmatch(name):
        raise BadInput(f"{name!r} is no name", hint="a letter, then letters, digits and . _ / -, 100 at most")
    if re.fullmatch(r"[0-9a-f]{4,64}", name):
        raise BadInput(f"{name!r} could be taken for a node id", hint="add a letter that is no hex digit")
    old = get_name(txn, name)
    txn.put("state", PREFIX + name.encode(), bytes(node))
    return old


def get_name(txn: Reader, name: str) -> NodeId | None:
    raw = txn.get("state", PREFIX + name.encode()) if _VALID.fullmatch(name) else None
    return NodeId(raw) if raw else None


def all_names(txn: Reader) -> Iterator[tuple[str, NodeId]]:
    """Every name and its node, by name."""
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield key[len(PREFIX) :].decode(), NodeId(raw)
