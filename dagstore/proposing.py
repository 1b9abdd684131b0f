"""How nodes come into a store: spawn a workspace, seal it, record a directory, say why."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dagstore.base import Ref, charter_of
from dagstore.codec import encode
from dagstore.errors import BadInput, NotFound, Refused
from dagstore.finding import find, short
from dagstore.ids import BlobId, NodeId, NoteId, TreeId
from dagstore.index import graph_row
from dagstore.model import EMPTY, Change, Entry, Node, Note, Tree, changes
from dagstore.names import set_name
from dagstore.paths import CHARTER_PATH
from dagstore.printable import clean
from dagstore.resolving import Resolving
from dagstore.storage import Reader, Writer

if TYPE_CHECKING:
    from dagstore.adopt.resolution import Chosen
    from dagstore.batches import Batch
    from dagstore.snapshot import Snapshot
    from dagstore.views import NoteView, Sealed, Spawned
    from dagstore.workspaces import Workspace

HYPOTHESIS, REMARK = "hypothesis", "remark"
BATCH = 5000
CLAIM_SECONDS = 3600
"""How long a spawned workspace announces that somebody works on it."""


class Recorded(NamedTuple):
    seq: int
    id: NodeId
    new: bool


class Proposing(Resolving):
    def spawn(
        self, ref: Ref, *, why: str = "", agent: str = "", into: Path | str | None = None, ttl: float = CLAIM_SECONDS
    ) -> "Spawned":
        """A workspace for a child of the node: a directory with its files, and a claim that says who works on it.

        `into` must be empty or not exist; without it the directory is made inside the store. `ttl` in seconds.
        """
        from dagstore.claims import PROPOSE, make_claim
        from dagstore.materialise import materialise
        from dagstore.views import Spawned
        from dagstore.workspaces import Workspace, save_workspace, write_pointer

        with self._storage.read() as txn:
            seq = self._seq(txn, ref)
            parent, tree = self._id(txn, seq), self._code(txn, seq)
            name = self._entropy(6).hex()
            directory = Path(into).absolute() if into else self.folder / "workspaces" / name
            cache = materialise(tree, lambda blob: self._objects.read(txn, blob), directory)
        write_pointer(directory, self.folder, name)
        with self._write() as writer:
            claim = make_claim(writer, parent, agent, PROPOSE, self._now(), int(ttl * 1000))
            made = Workspace(name, str(directory), parent, agent, why, claim.token, claim.started, None, cache)
            save_workspace(writer, made)
        return Spawned(str(directory), parent, claim)

    def workspace(self, path: Path | str) -> "Workspace":
        """The workspace at `path` or above it; `NotFound` if there is none of this store."""
        with self._storage.read() as txn:
            return self._workspace(txn, path)

    def _workspace(self, txn: Reader, path: Path | str) -> "Workspace":
        from dagstore.workspaces import load_workspace, pointers

        start = os.fspath(path)
        start = start.rstrip("/") or "/" if os.path.isabs(start) else str(Path(start).absolute())
        for directory, folder, id in pointers(start):
            if self._is_folder(folder):
                return load_workspace(txn, id, path=directory)
        missing = "" if os.path.exists(start) else ", which does not exist"
        raise NotFound(f"{start} is no workspace of this store{missing}", hint="make one with `dag spawn NODE`")

    def seal(self, path: Path | str = ".", *, why: str = "", agent: str = "", unlock: bool = False) -> "Sealed":
        """Record a workspace as a node, durably; says whether it was known and what was measured of it.

        Refused if nothing changed, if it was sealed before, or if a locked path differs (`unlock` allows that: the
        node is then measured under another protocol). Where the parent left contradictions open, what the workspace has
        in their place is remembered: `resolved` names these places.
        """
        from dagstore.claims import drop_claim
        from dagstore.workspaces import mark_sealed

        with self._storage.read() as reader:
            workspace = self._workspace(reader, path)
            if workspace.sealed:
                raise self._sealed_before(workspace, workspace.sealed)
            parent = find(reader, workspace.parent)
            taken = self._take(reader, workspace, parent)
            self._check_change(reader, parent, taken.tree, taken.contents, unlock=unlock)
            chosen = self._resolved(reader, [parent], taken.tree, taken.contents)
        note = (agent or workspace.agent, why or workspace.why)
        with self._write() as txn:
            made = self._record(txn, [parent], taken.tree, taken.contents, note)
            self._remember(txn, made.id, note[0], chosen)
            before = mark_sealed(txn, workspace.id, made.id)
            if before:
                raise self._sealed_before(workspace, before)
            drop_claim(txn, workspace.token)
            answer = self._answering(txn, made, taken.tree, chosen)
        return answer[0]

    def peek(self, path: Path | str) -> tuple[NodeId, bool]:
        """The node that sealing the workspace would give, and whether these files are known; nothing is recorded.

        They are if any node has them, whatever it was made from; without changes it is the parent.
        """
        workspace = self.workspace(path)
        with self._storage.read() as txn:
            parent = find(txn, workspace.parent)
            tree = TreeId.of(encode(self._take(txn, workspace, parent).tree))
            if tree == self._node(txn, parent).tree:
                return workspace.parent, True
            return NodeId.of(encode(Node.of([workspace.parent], tree))), find(txn, tree) > 0

    def record(
        self, directory: Path | str, parents: Iterable[Ref], *, why: str = "", agent: str = "", unlock: bool = False
    ) -> "Sealed":
        """Record any directory as a child of `parents`, under the same rules as `seal`.

        As git does, it reads only what has another stat than when the directory was last recorded.
        """
        from dagstore.snapshot import snapshot
        from dagstore.workspaces import load_seen, save_seen

        place = os.path.abspath(directory)
        with self._storage.read() as txn:
            seqs = [self._seq(txn, parent) for parent in parents]
            if not seqs:
                raise BadInput("a node needs at least one parent", hint="name one, for instance @seed")
            limit = self._charter(txn, seqs[0]).file_limit
            seen, cache = load_seen(txn, place)
            began = int(self._clock() * 1e9)
            taken = snapshot(place, file_limit=limit, cache=cache, cached_at_ns=seen)
            for seq in seqs:
                self._check_change(txn, seq, taken.tree, taken.contents, unlock=unlock)
            chosen = self._resolved(txn, seqs, taken.tree, taken.contents)
        with self._write() as writer:
            save_seen(writer, place, began, taken.cache)
            made = self._record(writer, seqs, taken.tree, taken.contents, (agent, why))
            self._remember(writer, made.id, agent, chosen)
            answer = self._answering(writer, made, taken.tree, chosen)
        return answer[0]

    def batch(self, size: int = BATCH) -> "AbstractContextManager[Batch]":
        """A context in which many nodes are recorded, `size` of them in one durable transaction."""
        from dagstore.batches import batch

        return contextmanager(batch)(self, size)

    def note(self, ref: Ref, text: str, *, agent: str = "", kind: str = REMARK) -> "NoteView":
        """Say something about a node, for good."""
        if not text.strip():
            raise BadInput("an empty note says nothing", hint='dag note NODE "TEXT"')
        with self._write() as txn:
            seq = self._add_note(txn, self._id(txn, self._seq(txn, ref)), agent, kind, text)
            return self._note_view(txn, seq)

    def name(self, name: str, ref: Ref) -> NodeId | None:
        """Let `name` mean a node from now on; returns the node that it meant before."""
        with self._write() as txn:
            return set_name(txn, name, self._id(txn, self._seq(txn, ref)))

    def release(self, token: int) -> bool:
        """Give a claim back; whether it was still held."""
        from dagstore.claims import drop_claim

        with self._write() as txn:
            return drop_claim(txn, token)

    def abandon(self, path: Path | str) -> None:
        """Drop a workspace: its claim is given back and, if it lies inside the store, its directory removed."""
        from dagstore.claims import drop_claim
        from dagstore.workspaces import forget_workspace

        workspace = self.workspace(path)
        with self._write() as txn:
            drop_claim(txn, workspace.token)
            forget_workspace(txn, workspace.id)
        if Path(workspace.path).parent == self.folder / "workspaces":
            import shutil

            shutil.rmtree(workspace.path, ignore_errors=True)

    def _is_folder(self, folder: str) -> bool:
        """Whether that is the folder of this store, in any spelling."""
        return folder == str(self.folder) or Path(folder).resolve() == self.folder.resolve()

    def _sealed_before(self, workspace: "Workspace", node: NodeId) -> Refused:
        return Refused(
            f"workspace {workspace.path} was sealed already, as {str(node)[:12]}",
            hint=f"go on from there with `dag spawn {str(node)[:12]}`",
            code="sealed",
        )

    def _take(self, txn: Reader, workspace: "Workspace", parent: int) -> "Snapshot":
        from dagstore.snapshot import snapshot

        limit = self._charter(txn, parent).file_limit
        # The cache was filled when the workspace was made; what was written since has a later time stamp.
        since = workspace.created * 1_000_000
        return snapshot(workspace.path, file_limit=limit, cache=workspace.cache, cached_at_ns=since)

    def _check_change(
        self, txn: Reader, parent: int, tree: Tree, contents: Mapping[BlobId, bytes], *, unlock: bool
    ) -> None:
        before = self._code(txn, parent)
        changed = changes(before, tree)
        if not changed:
            raise Refused(
                f"nothing changed against {short(txn, self._id(txn, parent))}",
                hint="edit something that is not ignored, then seal",
                code="nothing_changed",
            )
        charter = self._charter(txn, parent, before)
        touched = [change.path for change in changed if charter.is_locked(change.path)]
        if touched and not unlock:
            raise Refused(
                f"locked: {', '.join(touched[:10])}",
                hint="undo that change; a new evaluator is recorded with --unlock, under a protocol of its own",
                code="locked",
            )
        if CHARTER_PATH in touched:
            _check_charter(tree.get(CHARTER_PATH), contents)

    def _record(
        self,
        txn: Writer,
        parents: Sequence[int],
        tree: Tree,
        contents: Mapping[BlobId, bytes],
        note: tuple[str, str] | None,
    ) -> Recorded:
        """Store blobs, tree, node and note, each after what it names; deltas against the first parent's files."""
        base = self._tree(txn, parents[0]) if parents else EMPTY
        # What names something new is new itself, and need not be looked for.
        new = False
        for change in changes(base, tree):
            if change.new and change.of_content:
                new |= self._put_blob(txn, change, contents)
        root, _, new = self._objects.put_tree(txn, tree, graph_row(txn, parents[0]).tree if parents else 0, new=new)
        id, made, new = self._put_node(txn, Node.of([self._id(txn, seq) for seq in parents], root), new=new)
        if note is not None:
            self._add_note(txn, id, note[0], HYPOTHESIS, note[1], new=new)
        return Recorded(made, id, new)

    def _put_blob(self, txn: Writer, change: Change, contents: Mapping[BlobId, bytes]) -> bool:
        """Store the content that a change brings; whether the store had it not."""
        old, entry = change.old, change.new
        assert entry is not None
        data = contents.get(entry.blob)
        if data is not None:
            return self._objects.put(txn, BlobId, data, find(txn, old.blob) if old else 0, id=entry.blob)[1]
        if not find(txn, entry.blob):
            raise Refused(f"the content of {change.path} is not at hand", hint="repeat the snapshot")
        return False

    def _add_note(self, txn: Writer, node: NodeId, author: str, kind: str, text: str, *, new: bool = False) -> int:
        note = Note(node, clean(author), self._now(), kind, clean(text))
        return self._put(txn, note, encode(note), NoteId, new=new)[0]

    def _answering(self, txn: Writer, made: Recorded, tree: Tree, chosen: "Sequence[Chosen]" = ()) -> "list[Sealed]":
        """Where the answer will be once the writer is left; it is worked out while the node becomes durable."""
        answer: list[Sealed] = []
        txn.meanwhile(lambda: answer.append(self._answer(made, tree, chosen)))
        return answer

    def _answer(self, made: Recorded, tree: Tree, chosen: "Sequence[Chosen]") -> "Sealed":
        """What there is to say of a node that was recorded."""
        from dagstore.views import Sealed

        with self._storage.read() as txn:
            row = graph_row(txn, made.seq)
            before = self._tree(txn, row.primary) if row.primary else EMPTY
            return Sealed(
                node=made.id,
                short=short(txn, made.id),
                primary=self._id(txn, row.primary) if row.primary else None,
                adopted=self._ids(txn, row.adopted),
                known=not made.new,
                runs=self._runs_of(txn, made.seq),
                resolved=tuple(f"{one.contradiction.path}: {one.contradiction.region}" for one in chosen),
                diff=self._stat(changes(before, tree), lambda blob: self._objects.recall(txn, blob)),
            )


def _check_charter(entry: Entry | None, contents: Mapping[BlobId, bytes]) -> None:
    """A tree without a charter that can be read could never be measured; one that was not read is another node's."""
    if entry is None:
        raise Refused(f"{CHARTER_PATH} is gone", hint="restore it: a node without a charter cannot be measured")
    data = contents.get(entry.blob)
    if data is not None:
        charter_of(data)
