"""Aliases: what a node is called elsewhere, in a hub or in git. Said by a note of the kind `alias`, and indexed.

The text of such a note is `source:id`. The table `alias` has a row `id, 0, node, source` for each, which is derived: a
note that says something else is kept and names nothing. Many aliases may name one node, and one alias several.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from dagstore.model import NAMES, Note
from dagstore.storage import Reader, Writer, after

_SAID = r"([a-z][a-z0-9-]{0,31}):([A-Za-z0-9][A-Za-z0-9._/-]{3,127})"
_BEGIN = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}"
_END = b"\0"
_NODE = 4


class Alias(NamedTuple):
    """What a node is called in `source`."""

    source: str
    id: str

    def __str__(self) -> str:
        return f"{self.source}:{self.id}"


def is_alias(source: str, id: str) -> bool:
    """Whether a node could be called so: ASCII letters, digits and . _ / -, 4 to 128 of them."""
    return re.fullmatch(_SAID, f"{source}:{id}") is not None


def said(note: Note) -> Alias | None:
    """The alias that a note gives its node, if any."""
    match = re.fullmatch(_SAID, note.text) if note.kind == NAMES else None
    return Alias(match[1], match[2]) if match else None


def add_alias(txn: Writer, note: Note, node: int) -> None:
    """Let a node be found by the name that a note gives it, if any."""
    alias = said(note)
    if alias is not None:
        txn.put("alias", alias.id.encode() + _END + node.to_bytes(_NODE, "big") + alias.source.encode(), b"")


def called(txn: Reader, begin: str, *, limit: int) -> dict[int, str]:
    """Nodes that have an alias which begins so, at most `limit`, each with the first one; an exact one counts alone."""
    nodes: dict[int, str] = {}
    exact = False
    for id, node in _rows(txn, begin):
        if len(nodes) == limit or (exact and id != begin):
            break
        exact |= id == begin
        nodes.setdefault(node, id)
    return nodes


def called_in(txn: Reader, alias: Alias) -> int:
    """The first node that is called so in that source, or 0."""
    begin, source = alias.id.encode() + _END, alias.source.encode()
    rest = (key[len(begin) :] for key, _ in txn.scan("alias", begin, after(begin)))
    return next((int.from_bytes(one[:_NODE], "big") for one in rest if one[_NODE:] == source), 0)


def _rows(txn: Reader, begin: str) -> Iterator[tuple[str, int]]:
    """Aliases that begin so, in their order, and the node of each."""
    low = begin.encode() if re.fullmatch(_BEGIN, begin) else None
    for key, _ in txn.scan("alias", low, after(low)) if low else ():
        id, _, rest = key.partition(_END)
        yield id.decode(), int.from_bytes(rest[:_NODE], "big")
