"""How nodes come into a store: spawn a workspace, seal it, record a directory, adopt ancestors, say why."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dagstore.base import Ref, charter_of
from dagstore.codec import encode
from dagstore.errors import BadInput, NotFound, Refused
from dagstore.graph import ancestors, merge_base
from dagstore.ids import AdoptionId, BlobId, NodeId, NoteId, TreeId
from dagstore.index import graph_row, row_of
from dagstore.looking import Looking
from dagstore.model import Adoption, Decision, Node, Note, Tree, changed_paths
from dagstore.names import set_name
from dagstore.objects import find, short
from dagstore.ranking import moments_of
from dagstore.shown import Rows
from dagstore.storage import Reader, Writer

if TYPE_CHECKING:
    from dagstore.adopt import Composition
    from dagstore.snapshot import Snapshot
    from dagstore.views import Adopted, DiffStat, NoteView, RunView, Sealed, Spawned
    from dagstore.workspaces import Workspace

HYPOTHESIS, REMARK = "hypothesis", "remark"
CLAIM_SECONDS = 3600
"""How long a spawned workspace announces that somebody works on it."""


class Recorded(NamedTuple):
    seq: int
    id: NodeId
    new: bool


class Proposing(Looking):
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
            parent, tree = self._id(txn, seq), self._tree(txn, seq)
            name = self._entropy(6).hex()
            directory = Path(into).absolute() if into else self.folder / "workspaces" / name
            cache = materialise(tree, lambda blob: self._objects.read(txn, blob), directory)
        write_pointer(directory, self.folder, name)
        with self._storage.write() as writer:
            claim = make_claim(writer, parent, agent, PROPOSE, self._now(), int(ttl * 1000))
            made = Workspace(name, str(directory), parent, agent, why, claim.token, claim.started, None, cache)
            save_workspace(writer, made)
        return Spawned(str(directory), parent, claim)

    def workspace(self, path: Path | str) -> "Workspace":
        """The workspace at `path` or above it; `NotFound` if there is none of this store."""
        from dagstore.workspaces import load_workspace, read_pointer

        start = Path(path).absolute()
        for directory in chain([start], start.parents):
            pointer = read_pointer(directory)
            if pointer is not None and self._is_folder(pointer[0]):
                with self._storage.read() as txn:
                    return replace(load_workspace(txn, pointer[1]), path=str(directory))
        missing = "" if start.exists() else ", which does not exist"
        raise NotFound(f"{start} is no workspace of this store{missing}", hint="make one with `dag spawn NODE`")

    def seal(self, path: Path | str = ".", *, why: str = "", agent: str = "", unlock: bool = False) -> "Sealed":
        """Record a workspace as a node, durably; says whether it was known and what was measured of it.

        Refused if nothing changed, if it was sealed before, or if a locked path differs (`unlock` allows that: the
        node is then measured under another protocol).
        """
        from dagstore.claims import drop_claim
        from dagstore.workspaces import load_workspace, save_workspace

        workspace = self.workspace(path)
        if workspace.sealed:
            raise self._sealed_before(workspace, workspace.sealed)
        taken = self._snapshot(workspace, unlock=unlock)
        note = (agent or workspace.agent, why or workspace.why)
        with self._storage.write() as txn:
            current = load_workspace(txn, workspace.id, cached=False)
            if current.sealed:
                raise self._sealed_before(workspace, current.sealed)
            made = self._record(txn, [workspace.parent], taken.tree, taken.contents, note)
            drop_claim(txn, current.token)
            save_workspace(txn, replace(current, sealed=made.id, cache=None))
            return self._sealed(txn, made)

    def peek(self, path: Path | str) -> tuple[NodeId, bool]:
        """The node that sealing the workspace would give, and whether the store has it; nothing is recorded.

        A workspace without changes gives its parent, which is known.
        """
        workspace = self.workspace(path)
        with self._storage.read() as txn:
            parent = find(txn, workspace.parent)
            tree = TreeId.of(encode(self._take(txn, workspace, parent).tree))
            if tree == self._node(txn, parent).tree:
                return workspace.parent, True
            id = NodeId.of(encode(Node.of([workspace.parent], tree)))
            return id, find(txn, id) > 0

    def record(
        self, directory: Path | str, parents: Iterable[Ref], *, why: str = "", agent: str = "", unlock: bool = False
    ) -> "Sealed":
        """Record any directory as a child of `parents`, under the same rules as `seal`."""
        from dagstore.snapshot import snapshot

        with self._storage.read() as txn:
            seqs = [self._seq(txn, parent) for parent in parents]
            if not seqs:
                raise BadInput("a node needs at least one parent", hint="name one, for instance @seed")
            limit = self._charter(txn, seqs[0]).file_limit
            taken = snapshot(Path(directory), file_limit=limit)
            for seq in seqs:
                self._check_change(txn, seq, taken.tree, unlock=unlock)
            _check_charter(taken)
            ids = [self._id(txn, seq) for seq in seqs]
        with self._storage.write() as writer:
            return self._sealed(writer, self._record(writer, ids, taken.tree, taken.contents, (agent, why)))

    def adopt(
        self,
        *refs: Ref,
        primary: Ref | None = None,
        why: str = "",
        agent: str = "",
        prefer: str = "best",
        dry_run: bool = False,
    ) -> "Adopted":
        """Compose the changes of any nodes onto one of them; never blocks, and the order of `refs` never matters.

        `primary` says onto which: by default the best measured, else the one of the latest generation, else the
        smallest id. Where nodes really disagree, `prefer` decides (`best`: the better measured, `primary`, or a node)
        and the record keeps all sides. Nodes that are ancestors of others bring nothing new. Locked paths stay those
        of the primary.
        """
        with self._storage.read() as txn:
            given = sorted({self._seq(txn, ref) for ref in refs} | ({self._seq(txn, primary)} if primary else set()))
            if len(given) < 2:
                raise BadInput("adopting takes at least two different nodes", hint="dag adopt A B [C …]")
            onto = self._seq(txn, primary) if primary else self._best_of(txn, given)
            heads = self._heads(txn, given)
            onto = onto if onto in heads else self._best_of(txn, heads)
            preference = self._preference(txn, onto, heads, prefer)
            composition = self._compose(txn, onto, heads, preference)
            gone = [self._id(txn, seq) for seq in given if seq not in heads]
            decisions = (*composition.decisions, *(Decision("", "*", "already", (id,)) for id in gone))
            unchanged = composition.tree == self._tree(txn, onto)
            parents = [self._id(txn, onto)] if unchanged else [self._id(txn, seq) for seq in heads]
            plan = _Plan(parents[0] if unchanged else None, self._id(txn, onto), parents, composition, decisions)
            if dry_run or unchanged:
                return self._foreseen(txn, plan)
        return self._record_adoption(plan, agent, why or _default_why(plan))

    def note(self, ref: Ref, text: str, *, agent: str = "", kind: str = REMARK) -> "NoteView":
        """Say something about a node, for good."""
        if not text.strip():
            raise BadInput("an empty note says nothing", hint='dag note NODE "TEXT"')
        with self._storage.write() as txn:
            seq = self._add_note(txn, self._id(txn, self._seq(txn, ref)), agent, kind, text)
            return self._note_view(txn, seq)

    def name(self, name: str, ref: Ref) -> NodeId | None:
        """Let `name` mean a node from now on; returns the node that it meant before."""
        with self._storage.write() as txn:
            return set_name(txn, name, self._id(txn, self._seq(txn, ref)))

    def release(self, token: int) -> bool:
        """Give a claim back; whether it was still held."""
        from dagstore.claims import drop_claim

        with self._storage.write() as txn:
            return drop_claim(txn, token)

    def abandon(self, path: Path | str) -> None:
        """Drop a workspace: its claim is given back and, if it lies inside the store, its directory removed."""
        from dagstore.claims import drop_claim

        workspace = self.workspace(path)
        with self._storage.write() as txn:
            drop_claim(txn, workspace.token)
            txn.delete("state", b"work/" + workspace.id.encode())
        if Path(workspace.path).parent == self.folder / "workspaces":
            import shutil

            shutil.rmtree(workspace.path, ignore_errors=True)

    def _is_folder(self, folder: Path) -> bool:
        """Whether that is the folder of this store, in any spelling."""
        return folder == self.folder or folder.resolve() == self.folder.resolve()

    def _sealed_before(self, workspace: "Workspace", node: NodeId) -> Refused:
        return Refused(
            f"workspace {workspace.path} was sealed already, as {str(node)[:12]}",
            hint=f"go on from there with `dag spawn {str(node)[:12]}`",
            code="sealed",
        )

    def _snapshot(self, workspace: "Workspace", *, unlock: bool) -> "Snapshot":
        with self._storage.read() as txn:
            parent = find(txn, workspace.parent)
            taken = self._take(txn, workspace, parent)
            self._check_change(txn, parent, taken.tree, unlock=unlock)
            _check_charter(taken)
            return taken

    def _take(self, txn: Reader, workspace: "Workspace", parent: int) -> "Snapshot":
        from dagstore.snapshot import snapshot

        limit = self._charter(txn, parent).file_limit
        # The cache was filled when the workspace was made; what was written since has a later time stamp.
        since = workspace.created * 1_000_000
        return snapshot(Path(workspace.path), file_limit=limit, cache=workspace.cache, cached_at_ns=since)

    def _check_change(self, txn: Reader, parent: int, tree: Tree, *, unlock: bool) -> None:
        before, after = self._tree(txn, parent).by_path(), tree.by_path()
        changed = changed_paths(before, after)
        if not changed:
            raise Refused(
                f"nothing changed against {short(txn, self._id(txn, parent))}",
                hint="edit something that is not ignored, then seal",
                code="nothing_changed",
            )
        charter = self._charter(txn, parent)
        touched = [path for path in changed if charter.is_locked(path)]
        if touched and not unlock:
            raise Refused(
                f"locked: {', '.join(touched[:10])}",
                hint="undo that change; a new evaluator is recorded with --unlock, under a protocol of its own",
                code="locked",
            )

    def _record(
        self,
        txn: Writer,
        parents: Iterable[NodeId],
        tree: Tree,
        contents: Mapping[BlobId, bytes],
        note: tuple[str, str] | None,
    ) -> Recorded:
        """Store blobs, tree, node and note, each after what it names; deltas against the first parent's files."""
        parents = list(parents)
        seq = find(txn, parents[0]) if parents else 0
        base = self._tree(txn, seq).by_path() if seq else {}
        for entry in tree:
            old = base.get(entry.path)
            if old is None or old.blob != entry.blob:
                self._put_blob(txn, entry.path, entry.blob, contents, find(txn, old.blob) if old else 0)
        data = encode(tree)
        self._put(txn, tree, data, TreeId, graph_row(txn, seq).tree if seq else 0)
        root = TreeId.of(data)
        self._objects.know(root, tree)
        node = Node.of(parents, root)
        data = encode(node)
        made, new = self._put(txn, node, data, NodeId)
        id = NodeId.of(data)
        if note is not None:
            self._add_note(txn, id, note[0], HYPOTHESIS, note[1])
        return Recorded(made, id, new)

    def _put_blob(self, txn: Writer, path: str, blob: BlobId, contents: Mapping[BlobId, bytes], base: int) -> None:
        data = contents.get(blob)
        if data is not None:
            self._objects.put(txn, BlobId, data, base)
        elif not find(txn, blob):
            raise Refused(f"the content of {path} is not at hand", hint="repeat the snapshot")

    def _add_note(self, txn: Writer, node: NodeId, author: str, kind: str, text: str) -> int:
        note = Note(node, _clean(author), self._now(), kind, _clean(text))
        return self._put(txn, note, encode(note), NoteId)[0]

    def _sealed(self, txn: Reader, made: Recorded) -> "Sealed":
        from dagstore.views import Sealed

        row = graph_row(txn, made.seq)
        return Sealed(
            node=made.id,
            short=short(txn, made.id),
            primary=self._id(txn, row.primary) if row.primary else None,
            adopted=self._ids(txn, row.adopted),
            known=not made.new,
            runs=self._runs_of_tree(txn, row.tree),
            diff=self._diff_stat(txn, row.primary, made.seq),
        )

    def _best_of(self, txn: Reader, seqs: Iterable[int]) -> int:
        """The best measured, else the latest generation, else the smallest id."""
        return self._by_merit(txn, seqs)[0]

    def _by_merit(self, txn: Reader, seqs: Iterable[int]) -> list[int]:
        channel = self._channel(txn)
        sign = 1 if channel and channel.direction.value == "minimize" else -1

        def merit(seq: int) -> tuple[bool, float, int, NodeId]:
            row = graph_row(txn, seq)
            moments = moments_of(txn, channel, row.tree) if channel else None
            measured = moments is not None and moments.n > 0
            score = sign * moments.mean if moments and measured else 0.0
            return not measured, score, -row.generation, self._id(txn, seq)

        return sorted(seqs, key=merit)

    def _heads(self, txn: Reader, seqs: list[int]) -> list[int]:
        """Those that are no ancestor of another one."""
        row = row_of(txn)
        covered = ancestors((parent for seq in seqs for parent in row(seq).parents), row)
        return [seq for seq in seqs if seq not in covered]

    def _preference(self, txn: Reader, onto: int, heads: list[int], prefer: str) -> list[NodeId]:
        order = self._by_merit(txn, heads)
        first = onto if prefer == "primary" else order[0] if prefer == "best" else self._seq(txn, prefer)
        if first not in heads:
            raise BadInput(f"--prefer {prefer} is none of the nodes", hint="say best, primary or one of the nodes")
        channel = self._channel(txn)
        measured = channel is not None and any(moments_of(txn, channel, graph_row(txn, seq).tree).n for seq in heads)
        if prefer == "best" and not measured:
            first = onto
        return [self._id(txn, seq) for seq in (first, *(seq for seq in order if seq != first))]

    def _compose(self, txn: Reader, onto: int, heads: list[int], preference: list[NodeId]) -> "Composition":
        from dagstore.adopt import Donor, compose

        tree = self._tree(txn, onto)
        charter = self._charter(txn, onto)
        locked = [entry for entry in tree if charter.is_locked(entry.path)]

        def without_locks(other: Tree) -> Tree:
            return Tree.of((*locked, *(entry for entry in other if not charter.is_locked(entry.path))))

        row = row_of(txn)
        donors = []
        for seq in heads:
            if seq != onto:
                base = merge_base(onto, seq, row)
                before = without_locks(self._tree(txn, base)) if base else Tree.of(locked)
                donors.append(Donor(self._id(txn, seq), before, without_locks(self._tree(txn, seq))))
        read = self._objects.read
        return compose(self._id(txn, onto), tree, donors, lambda blob: read(txn, blob), preference)

    def _foreseen(self, txn: Reader, plan: "_Plan") -> "Adopted":
        from dagstore.views import Adopted

        tree = TreeId.of(encode(plan.composition.tree))
        id = plan.existing or NodeId.of(encode(Node.of(plan.parents, tree)))
        seq, at = find(txn, id), find(txn, tree)
        row = graph_row(txn, seq) if seq else None
        runs: Rows[RunView] = self._runs_of_tree(txn, at) if at else Rows()
        stat = self._diff_stat(txn, row.primary, seq) if row else self._tree_stat(txn, plan)
        primary = self._id(txn, row.primary) if row and row.primary else None if row else plan.onto
        adopted = self._ids(txn, row.adopted) if row else tuple(sorted(set(plan.parents) - {plan.onto}))
        known = seq > 0
        return Adopted(
            node=id,
            short=short(txn, id),
            primary=primary,
            adopted=adopted,
            onto=plan.onto,
            known=known,
            recorded=known,
            decisions=plan.decisions,
            contradictions=sum(decision.contradiction for decision in plan.decisions),
            runs=runs,
            diff=stat,
        )

    def _tree_stat(self, txn: Reader, plan: "_Plan") -> "DiffStat":
        from dagstore.views import DiffStat

        before, after = self._tree(txn, find(txn, plan.onto)).by_path(), plan.composition.tree.by_path()
        return DiffStat(len(changed_paths(before, after)), 0, 0)

    def _record_adoption(self, plan: "_Plan", agent: str, why: str) -> "Adopted":
        with self._storage.write() as txn:
            parents = [plan.onto, *(parent for parent in plan.parents if parent != plan.onto)]
            made = self._record(txn, parents, plan.composition.tree, plan.composition.blobs, (agent, why))
            others = tuple(sorted(set(plan.parents) - {plan.onto}))
            record = Adoption(made.id, plan.onto, others, plan.decisions, _clean(agent), self._now())
            self._put(txn, record, encode(record), AdoptionId)
            return replace(self._foreseen(txn, plan), known=not made.new, recorded=True)


class _Plan(NamedTuple):
    """An adoption before it is recorded; `existing` when it changes nothing."""

    existing: NodeId | None
    onto: NodeId
    parents: list[NodeId]
    composition: "Composition"
    decisions: tuple[Decision, ...]


def _default_why(plan: _Plan) -> str:
    donors = " ".join(str(parent)[:8] for parent in sorted(plan.parents) if parent != plan.onto)
    return f"adopt {donors} onto {str(plan.onto)[:8]}"


def _check_charter(taken: "Snapshot") -> None:
    """A tree without a charter that can be read could never be measured; one that was not read is the parent's."""
    from dagstore.charter import CHARTER_PATH

    entry = taken.tree.by_path().get(CHARTER_PATH)
    if entry is None:
        raise Refused(f"{CHARTER_PATH} is gone", hint="restore it: a node without a charter cannot be measured")
    data = taken.contents.get(entry.blob)
    if data is not None:
        charter_of(data)


def _clean(text: str) -> str:
    """Text from a command line as valid Unicode; what cannot be said in UTF-8 becomes a replacement character."""
    return text.encode("utf-8", "replace").decode()
