"""Nodes whose code is lost: instead of files their tree holds one entry, which says where the node came from.

The entry is at `.dag-lost`, and its bytes are one line of JSON with sorted keys and no blanks:
`{"dag-lost":1,"id":"75f018f4…","source":"hub"}`. A tree without a charter cannot be recorded by any other way, so no
project is taken for one.
"""

import json
from typing import NamedTuple

from dagstore.errors import BadInput
from dagstore.ids import BlobId
from dagstore.model import Entry, Mode, Tree
from dagstore.paths import LOST_PATH

VERSION = 1
_HINT = "import it again"


class Lost(NamedTuple):
    """Where a node came from without its code, and what it is called there."""

    source: str
    id: str


def write_lost(lost: Lost) -> bytes:
    """The one byte string that stands for it; `read_lost` gives it back."""
    line = json.dumps({"dag-lost": VERSION, **lost._asdict()}, sort_keys=True, separators=(",", ":"))
    return f"{line}\n".encode()


def read_lost(data: bytes) -> Lost:
    """What such an entry says; `BadInput` unless it is exactly what `write_lost` writes."""
    try:
        fields = json.loads(data)
        lost = Lost(str(fields["source"]), str(fields["id"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadInput(f"{LOST_PATH} cannot be read", hint=_HINT) from None
    if write_lost(lost) != data:
        raise BadInput(f"{LOST_PATH} is not as this version writes it", hint="upgrade dagstore")
    return lost


def lost_tree(data: bytes) -> Tree:
    """The tree of a node whose code is lost, with these bytes in its only entry."""
    return Tree.of([Entry(LOST_PATH, Mode.FILE, BlobId.of(data))])
