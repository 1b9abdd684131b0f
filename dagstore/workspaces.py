"""What the store remembers of the directories it handed out: one row a workspace, trusted over anything inside it.

A workspace carries a file `.dag` that points back here (JSON: `store`, `workspace`), as a git worktree does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagstore.codec import pack, unpack
from dagstore.errors import NotFound
from dagstore.ids import BlobId, NodeId
from dagstore.model import Mode
from dagstore.storage import Reader, Writer, after

if TYPE_CHECKING:
    from dagstore.snapshot import Cached

PREFIX = b"work/"
POINTER = ".dag"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory that was materialised from `parent`. `sealed` is the node it became; `created` in ms."""

    id: str
    path: str
    parent: NodeId
    agent: str
    why: str
    token: int
    created: int
    sealed: NodeId | None = None
    cache: Mapping[str, "Cached"] | None = None


def save_workspace(txn: Writer, workspace: Workspace) -> None:
    row = [
        workspace.path,
        bytes(workspace.parent),
        workspace.agent,
        workspace.why,
        workspace.token,
        workspace.created,
        workspace.sealed and bytes(workspace.sealed),
        [[path, *one.stat, bytes(one.blob), int(one.mode)] for path, one in (workspace.cache or {}).items()],
    ]
    txn.put("state", PREFIX + workspace.id.encode(), pack(row))


def load_workspace(txn: Reader, id: str, *, cached: bool = True) -> Workspace:
    """`NotFound` if the store handed out no such workspace, or it was swept. `cached`: with its stat cache."""
    raw = txn.get("state", PREFIX + id.encode()) if id and len(id) < 100 else None
    if raw is None:
        raise NotFound(f"the store knows no workspace {id!r}", hint="make one with `dag spawn NODE`")
    return _workspace(id, raw, cached=cached)


def all_workspaces(txn: Reader) -> Iterator[Workspace]:
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield _workspace(key[len(PREFIX) :].decode(), raw)


def forget_workspace(txn: Writer, id: str) -> bool:
    return txn.delete("state", PREFIX + id.encode())


def write_pointer(directory: Path, store: Path, id: str) -> None:
    import json

    text = json.dumps({"store": str(store), "workspace": id})
    (directory / POINTER).write_text(text + "\n", encoding="utf-8")


def read_pointer(directory: Path) -> tuple[Path, str] | None:
    """The store folder and workspace id that a directory's pointer names; None if it has none that can be read."""
    file = directory / POINTER
    if not file.is_file():
        return None
    import json

    try:
        fields = json.loads(file.read_bytes())
        return Path(fields["store"]), str(fields["workspace"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _workspace(id: str, raw: bytes, *, cached: bool = True) -> Workspace:
    from dagstore.snapshot import Cached

    path, parent, agent, why, token, created, sealed, rows = unpack(raw)
    cache = {
        name: Cached((size, mtime, ctime, inode, bits), BlobId(blob), Mode(mode))
        for name, size, mtime, ctime, inode, bits, blob, mode in (rows if cached else ())
    }
    return Workspace(id, path, NodeId(parent), agent, why, token, created, NodeId(sealed) if sealed else None, cache)
