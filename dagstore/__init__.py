"""dagstore: experiments as immutable nodes in a hash-addressed DAG. This is the whole public door.

import dagstore
store = dagstore.open("path/to/project")
store.frontier(top=20).to_frame()
"""

from dagstore.charter import Charter
from dagstore.errors import (
    Ambiguous,
    BadInput,
    ClaimLost,
    DagError,
    Damaged,
    NotFound,
    Refused,
    Unavailable,
)
from dagstore.ids import AdoptionId, BlobId, NodeId, NoteId, ProtocolId, RunId, TreeId
from dagstore.model import Direction, Status
from dagstore.store import Store
from dagstore.store import init_store as init
from dagstore.store import open_store as open
from dagstore.views import plain

__version__ = "0.1.0"

__all__ = [
    "AdoptionId",
    "Ambiguous",
    "BadInput",
    "BlobId",
    "Charter",
    "ClaimLost",
    "DagError",
    "Damaged",
    "Direction",
    "NodeId",
    "NotFound",
    "NoteId",
    "ProtocolId",
    "Refused",
    "RunId",
    "Status",
    "Store",
    "TreeId",
    "Unavailable",
    "__version__",
    "init",
    "open",
    "plain",
]
