"""What the store remembers of the directories it handed out: one row a workspace, trusted over anything inside it.

A workspace carries a file `.dag` that points back here (JSON: `store`, `workspace`), as a git worktree does.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dagstore.codec import pack, unpack
from dagstore.errors import NotFound
from dagstore.ids import BlobId, NodeId
from dagstore.model import Entry, Mode
from dagstore.storage import Reader, Writer, after

if TYPE_CHECKING:
    from dagstore.snapshot import Cached

PREFIX = b"work/"
SEALED = b"sealed/"
SEEN = b"seen/"
POINTER = ".dag"

_MODES = tuple(Mode)
_at_hand: "dict[bytes, Mapping[str, Cached]]" = {}
"""The stat cache that was packed last: whoever records the same directory again asks for that one."""
_read_json = json.JSONDecoder().raw_decode
# More than the longest path takes in JSON, where a byte may become six characters.
_POINTER_BYTES = 1 << 15
# A pipe under that name is not waited for.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Workspace(NamedTuple):
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
    """Remembers a workspace that is not sealed. Its stat cache may be lost: files are then read, not trusted."""
    key = workspace.id.encode()
    row = [
        workspace.path,
        bytes(workspace.parent),
        workspace.agent,
        workspace.why,
        workspace.token,
        workspace.created,
    ]
    txn.put("state", PREFIX + key, pack(row))
    txn.put("hints", PREFIX + key, _pack_cache(workspace.cache or {}))


def load_workspace(txn: Reader, id: str, *, path: str = "") -> Workspace:
    """With its stat cache; `NotFound` if the store handed out no such workspace, or it was swept.

    `path` is where its directory is now; without it, where it was made.
    """
    raw = txn.get("state", PREFIX + id.encode()) if id and len(id) < 100 else None
    if raw is None:
        raise NotFound(f"the store knows no workspace {id!r}", hint="make one with `dag spawn NODE`")
    cache = txn.get("hints", PREFIX + id.encode())
    return _workspace(txn, id, raw, path, _cache(cache) if cache else None)


def mark_sealed(txn: Writer, id: str, node: NodeId) -> NodeId | None:
    """Remembers what a workspace became and drops its stat cache; if it was sealed before, only says as what."""
    before = txn.get("state", SEALED + id.encode())
    if before:
        return NodeId(before)
    txn.put("state", SEALED + id.encode(), bytes(node))
    txn.delete("hints", PREFIX + id.encode())
    return None


def all_workspaces(txn: Reader) -> Iterator[Workspace]:
    """Every workspace that was handed out and not forgotten, without stat caches."""
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield _workspace(txn, key[len(PREFIX) :].decode(), raw)


def forget_workspace(txn: Writer, id: str) -> bool:
    """Whether the store knew it."""
    txn.delete("state", SEALED + id.encode())
    txn.delete("hints", PREFIX + id.encode())
    return txn.delete("state", PREFIX + id.encode())


def save_seen(txn: Writer, directory: str, began_ns: int, cache: "Mapping[str, Cached]") -> None:
    """Remembers what a directory that is no workspace held in a snapshot that began then; may be lost."""
    txn.put("hints", _seen(directory), began_ns.to_bytes(8, "big") + _pack_cache(cache))


def load_seen(txn: Reader, directory: str) -> "tuple[int, Mapping[str, Cached]]":
    """When the last recorded snapshot of a directory began, and what it held; (0, {}) if that is not known."""
    raw = txn.get("hints", _seen(directory))
    return (int.from_bytes(raw[:8], "big"), _cache(raw[8:])) if raw else (0, {})


def _seen(directory: str) -> bytes:
    return SEEN + BlobId.of(os.fsencode(directory))


def write_pointer(directory: Path, store: Path, id: str) -> None:
    text = json.dumps({"store": str(store), "workspace": id})
    (directory / POINTER).write_text(text + "\n", encoding="utf-8")


def read_pointer(directory: Path) -> tuple[Path, str] | None:
    """The store folder and workspace id that a directory's pointer names; None if it has none that can be read."""
    found = _pointer(str(directory))
    return (Path(found[0]), found[1]) if found else None


def pointers(start: Path | str) -> Iterator[tuple[str, str, str]]:
    """Directory, store folder and workspace id of every pointer that `start` or a folder above holds; nearest first."""
    directory, below = os.fspath(start), ""
    while directory != below:
        found = _pointer(directory)
        if found:
            yield directory, *found
        directory, below = os.path.dirname(directory), directory


def _pointer(directory: str) -> tuple[str, str] | None:
    try:
        file = os.open(f"{directory}/{POINTER}", _READ)
        try:
            fields = _read_json(os.read(file, _POINTER_BYTES).decode())[0]
        finally:
            os.close(file)
        return os.fspath(fields["store"]), str(fields["workspace"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _workspace(
    txn: Reader, id: str, raw: bytes, path: str = "", cache: "Mapping[str, Cached] | None" = None
) -> Workspace:
    made_at, parent, agent, why, token, created = unpack(raw)
    sealed = txn.get("state", SEALED + id.encode())
    node = NodeId(sealed) if sealed else None
    return Workspace(id, path or made_at, NodeId(parent), agent, why, token, created, node, cache)


def _pack_cache(cache: "Mapping[str, Cached]") -> bytes:
    raw = pack([[path, *stat, bytes(entry.blob), int(entry.mode)] for path, (stat, entry) in cache.items()])
    _at_hand.clear()
    _at_hand[raw] = cache
    return raw


def _cache(raw: bytes) -> "Mapping[str, Cached]":
    from dagstore.snapshot import Cached

    known = _at_hand.get(raw)
    if known is not None:
        return known
    return {
        path: Cached((size, mtime, ctime, inode, bits), Entry(path, _MODES[mode], BlobId(blob)))
        for path, size, mtime, ctime, inode, bits, blob, mode in unpack(raw)
    }
