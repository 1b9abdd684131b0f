"""dagstore: experiments as immutable nodes in a hash-addressed DAG. This is the whole public door.

import dagstore
store = dagstore.open("path/to/project")
store.frontier(top=20).to_frame()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from dagstore.charter import Charter
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

_AT_FIRST_USE = {
    "Charter": ("dagstore.charter", "Charter"),
    "Direction": ("dagstore.model", "Direction"),
    "Status": ("dagstore.model", "Status"),
    "Store": ("dagstore.store", "Store"),
    "init": ("dagstore.store", "init_store"),
    "open": ("dagstore.store", "open_store"),
    "plain": ("dagstore.views", "plain"),
}
"""Public names that are loaded when they are first asked for: a command line that needs one part starts with that."""


def __getattr__(name: str) -> Any:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _AT_FIRST_USE[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
