"""Questions to a store. Every answer is a plain value from one snapshot; nothing here writes or waits for a writer."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.chains import id_of
from dagstore.errors import Damaged, NotFound
from dagstore.finding import find, short
from dagstore.ids import BlobId, NodeId, ProtocolId, RunId
from dagstore.index import ADOPTION, ALIAS, NOTE, RUN, all_facts, facts, graph_row
from dagstore.lineage import Lineage
from dagstore.manifests import file_in
from dagstore.model import CONTRADICTED, EMPTY, Adoption, Change, Entry, Note, changes
from dagstore.names import all_names
from dagstore.nodes import Numbers, Runs
from dagstore.paths import near
from dagstore.ranking import judged
from dagstore.refs import resolve_run
from dagstore.rows import children
from dagstore.shown import Rows
from dagstore.storage import Reader
from dagstore.tracing import Tracing

if TYPE_CHECKING:
    import pandas

    from dagstore.charter import Charter
    from dagstore.claims import Claim
    from dagstore.columns import PlatformView, ProtocolView
    from dagstore.descent import Descendants
    from dagstore.lost import Lost
    from dagstore.tickets import Ticket
    from dagstore.views import AdoptionView, Aliases, Diff, DiffStat, FileDiff, NodeView, NoteView, RunView
    from dagstore.workspaces import Workspace

SHOWN_ALIASES = 20


class Looking(Tracing):
    def resolve(self, ref: Ref) -> NodeId:
        """The id of the node that `ref` names."""
        with self._storage.read() as txn:
            return self._id(txn, self._seq(txn, ref))

    def short(self, ref: Ref) -> str:
        """The shortest unambiguous form of a node's id, 8 digits or more."""
        with self._storage.read() as txn:
            return short(txn, self._id(txn, self._seq(txn, ref)))

    def node(self, ref: Ref) -> "NodeView":
        with self._storage.read() as txn:
            return self._view(txn, self._seq(txn, ref))

    def subtree(self, ref: Ref, *, depth: int | None = None, limit: int = 200) -> "Descendants":
        """The nodes below this one by primary parents, itself first, to a depth; the telling ones where too many."""
        from dagstore.descent import Descendant, Descendants, count_below, descend

        with self._storage.read() as txn:
            root = self._seq(txn, ref)
            places = descend(root, lambda seq: self._primary_children(txn, seq), depth=depth, limit=limit)
            nodes = Rows(Descendant(place.depth, place.hidden, self._view(txn, place.node)) for place in places)
            cut = any(place.hidden for place in places)
            below = count_below(self._columns(txn).primary, root) if cut else 0
            return Descendants(self._id(txn, root), nodes, below + 1 - len(nodes) if cut else 0)

    def runs(self, ref: Ref | None = None) -> Runs:
        """Measurements, oldest first: of one node's tree, or all."""
        with self._storage.read() as txn:
            if ref is None:
                records = array("I", all_facts(txn, RUN))
            else:
                records = array("I", facts(txn, graph_row(txn, self._seq(txn, ref)).first, RUN))
            return Runs(records, self._read_runs, self._read_run_frame)

    def run(self, id: RunId | str) -> "RunView":
        """A run by its id, or by 4 or more digits of that."""
        with self._storage.read() as txn:
            seq = find(txn, resolve_run(txn, id) if isinstance(id, str) else id)
            if not seq:
                raise NotFound(f"no run {id} in this store", hint="`dag show NODE` lists the runs of a node")
            return self._run_view(txn, seq)

    def lost(self, ref: Ref) -> "Lost | None":
        """Where a node came from without its code, None if the store has its code."""
        with self._storage.read() as txn:
            return self._lost(txn, self._seq(txn, ref))

    def aliases(self, ref: Ref, *, limit: int | None = SHOWN_ALIASES) -> "Aliases":
        """What a node is called elsewhere: how many names, and the first of them in the order of recording."""
        from dagstore.aliases import said
        from dagstore.views import Aliases

        with self._storage.read() as txn:
            records = list(facts(txn, self._seq(txn, ref), ALIAS))
            found = (said(self._objects.load(txn, record)) for record in records)
            return Aliases(len(records), Rows(islice(filter(None, found), limit)))

    def notes(self, ref: Ref) -> "Rows[NoteView]":
        """What was said about a node, oldest first."""
        with self._storage.read() as txn:
            return Rows(self._note_view(txn, seq) for seq in facts(txn, self._seq(txn, ref), NOTE))

    def board(self, limit: int = 50) -> "Rows[NoteView]":
        """The latest notes about any node, newest first."""
        with self._storage.read() as txn:
            return Rows(self._note_view(txn, seq) for seq in islice(reversed(all_facts(txn, NOTE)), limit))

    def adoptions(self, ref: Ref) -> "Rows[AdoptionView]":
        """How an adopted node was composed; several if it was composed more than once."""
        with self._storage.read() as txn:
            return Rows(self._adoption_view(txn, seq) for seq in facts(txn, self._seq(txn, ref), ADOPTION))

    def files(self, ref: Ref) -> tuple[Entry, ...]:
        """The manifest of a node, by path."""
        with self._storage.read() as txn:
            return self._tree(txn, self._seq(txn, ref)).entries

    def cat(self, ref: Ref, path: str) -> bytes:
        """The bytes of one file of a node."""
        with self._storage.read() as txn:
            return self._objects.get(txn, self._file(txn, self._seq(txn, ref), ref, path))

    def checkout(self, ref: Ref, directory: Path | str) -> int:
        """Write a node's files into an empty or new directory; how many. No workspace, no claim."""
        from dagstore.materialise import materialise

        with self._storage.read() as txn:
            tree = self._code(txn, self._seq(txn, ref))
            materialise(tree, lambda blob: self._objects.read(txn, blob), Path(directory))
            return len(tree.entries)

    def blob(self, id: BlobId) -> bytes:
        """The plain bytes of a blob, for instance of a run's log."""
        with self._storage.read() as txn:
            return self._objects.read(txn, id)

    def diff(self, old: Ref, new: Ref | None = None) -> "Diff":
        """What changed from `old` to `new`; with one argument, from its primary parent to it."""
        from dagstore.views import Diff

        with self._storage.read() as txn:
            b = self._seq(txn, old if new is None else new)
            a = graph_row(txn, b).primary if new is None else self._seq(txn, old)
            lost = tuple(self._id(txn, seq) for seq in (a, b) if seq and self._lost(txn, seq))
            changed = () if lost else changes(self._tree(txn, a) if a else EMPTY, self._tree(txn, b))
            files = Rows(self._file_diff(txn, change) for change in changed)
            return Diff(self._id(txn, a) if a else None, self._id(txn, b), files, lost)

    def charter(self, ref: Ref = "@seed") -> "Charter":
        with self._storage.read() as txn:
            return self._charter(txn, self._seq(txn, ref))

    def names(self) -> dict[str, NodeId]:
        with self._storage.read() as txn:
            return dict(all_names(txn))

    def claims(self) -> "Rows[Claim]":
        """Who works on what, oldest first; overdue claims are included until somebody takes over."""
        from dagstore.claims import all_claims

        with self._storage.read() as txn:
            return Rows(all_claims(txn))

    def tickets(self) -> "Rows[Ticket]":
        """The queue: what is in hand (it has a `token`), then what waits in the order in which it will be taken.

        That is as far as is known: whoever joins may come between. What is set aside comes last.
        """
        from dagstore.line import tickets_in_order

        with self._storage.read() as txn:
            return Rows(tickets_in_order(txn))

    def workspaces(self) -> "Rows[Workspace]":
        from dagstore.workspaces import all_workspaces

        with self._storage.read() as txn:
            return Rows(all_workspaces(txn))

    def protocols(self) -> "Rows[ProtocolView]":
        """Every protocol that has runs, in the order of the first of them."""
        from dagstore.survey import protocols

        with self._storage.read() as txn:
            return Rows(protocols(txn, self._objects))

    def platforms(self) -> "Rows[PlatformView]":
        """Every platform with each protocol that was measured on it, by name and then by the protocol's first run."""
        from dagstore.survey import platforms

        with self._storage.read() as txn:
            return Rows(platforms(txn, self._objects))

    def _read_runs(self, numbers: Iterable[int]) -> "Rows[RunView]":
        with self._storage.read() as txn:
            return Rows(self._run_view(txn, number) for number in numbers)

    def _read_run_frame(self, numbers: Numbers) -> "pandas.DataFrame":
        from dagstore.frames import run_frame
        from dagstore.tabular import run_columns

        with self._storage.read() as txn:
            found = run_columns(txn, self._objects, list(numbers))
            protocols = [self._objects.load(txn, find(txn, ProtocolId(id))) for id in found.protocol.values()]
        return run_frame(found, protocols)

    def _file(self, txn: Reader, seq: int, ref: Ref, path: str) -> int:
        """The record of one file of a node, which was called `ref`; `NotFound` with what is near if there is none."""
        try:
            blob = file_in(txn, graph_row(txn, seq).tree, path)
        except Damaged as error:
            raise self._unreadable(txn, seq, error) from error
        if not blob:
            close = near(path, [entry.path for entry in self._tree(txn, seq)])
            guess = f"is it {' or '.join(close)}? " if close else ""
            raise NotFound(f"node {ref} has no file {path!r}", hint=f"{guess}`dag files {ref}` lists all")
        return blob

    def _primary_children(self, txn: Reader, seq: int) -> list[int]:
        return [child for child in children(txn, seq) if graph_row(txn, child).primary == seq]

    def _view(self, txn: Reader, seq: int) -> "NodeView":
        from dagstore.views import NodeView

        row = graph_row(txn, seq)
        id = self._id(txn, seq)
        note = self._first_note(txn, seq)
        channel = self._column_of(txn, seq)
        ranked = judged(Lineage(txn, channel), row.first) if channel else None
        if ranked is not None and not ranked.moments.n:
            ranked = None
        runs, status = self._outcome(txn, row.first)
        if not runs and self._open(txn, seq):
            status = CONTRADICTED
        return NodeView(
            id=id,
            short=short(txn, id),
            primary=self._id(txn, row.primary) if row.primary else None,
            adopted=self._ids(txn, row.adopted),
            generation=row.generation,
            tree=id_of(txn, row.tree),  # type: ignore[arg-type]
            message=note.text if note else "",
            agent=note.author if note else "",
            time=note.time if note else 0,
            runs=runs,
            status=status,
            estimate=ranked.estimate if ranked else None,
            low=ranked.low if ranked else None,
            high=ranked.high if ranked else None,
            names=tuple(name for name, named in all_names(txn) if named == id),
        )

    def _outcome(self, txn: Reader, first: int) -> tuple[int, str]:
        runs = list(facts(txn, first, RUN))
        return len(runs), self._objects.load(txn, runs[-1]).status.value if runs else "new"

    def _first_note(self, txn: Reader, seq: int) -> Note | None:
        first = next(facts(txn, seq, NOTE), 0)
        return self._objects.load(txn, first) if first else None

    def _note_view(self, txn: Reader, seq: int) -> "NoteView":
        from dagstore.views import NoteView

        note: Note = self._objects.load(txn, seq)
        return NoteView(id_of(txn, seq), note.node, note.author, note.time, note.kind, note.text)  # type: ignore[arg-type]

    def _adoption_view(self, txn: Reader, seq: int) -> "AdoptionView":
        from dagstore.views import AdoptionView

        it: Adoption = self._objects.load(txn, seq)
        return AdoptionView(id_of(txn, seq), *it)  # type: ignore[arg-type]

    def _file_diff(self, txn: Reader, changed: Change) -> "FileDiff":
        from dagstore.lines import count_changes, unified
        from dagstore.views import FileDiff

        path, old, new = changed.path, changed.old, changed.new
        before = self._objects.read(txn, old.blob) if old else b""
        after = self._objects.read(txn, new.blob) if new else b""
        change = (
            "added" if old is None else "deleted" if new is None else "mode" if old.blob == new.blob else "modified"
        )
        return FileDiff(path, change, *count_changes(before, after), unified(before, after, path))

    def _stat(self, changed: Sequence[Change], read: Callable[[BlobId], bytes]) -> "DiffStat":
        from dagstore.lines import count_changes
        from dagstore.views import DiffStat

        insertions = deletions = 0
        for change in changed:
            if change.of_content:
                old, new = (read(entry.blob) if entry else b"" for entry in (change.old, change.new))
                more, fewer = count_changes(old, new)
                insertions, deletions = insertions + more, deletions + fewer
        return DiffStat(len(changed), insertions, deletions)
