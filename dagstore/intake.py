"""One dump of a hub on its way into a store, in lots that are durable or absent."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dagstore.aliases import Alias, called_in
from dagstore.codec import encode
from dagstore.errors import BadInput, NotFound, Unavailable
from dagstore.finding import find
from dagstore.graph import line_ancestor
from dagstore.hub import SOURCE, Commit, Dump, Placed, arrange
from dagstore.ids import BlobId, NodeId, NoteId, ProtocolId, RunId
from dagstore.imported import Imported
from dagstore.index import row_of
from dagstore.lost import Lost, lost_tree, write_lost
from dagstore.measuring import Measuring
from dagstore.model import NAMES, Direction, Node, Note, Protocol, Run, Status
from dagstore.printable import one_line
from dagstore.proposing import HYPOTHESIS
from dagstore.shown import Rows
from dagstore.storage import Reader, Writer

LOT = 5000
"""Records that come in in one durable transaction."""
MAX_FILE = 1 << 30
MAX_REASON = 300


class Done(NamedTuple):
    """What came in: new nodes, new runs, those of them that are invalid; records that were known."""

    nodes: int = 0
    runs: int = 0
    invalid: int = 0
    known: int = 0

    def plus(self, other: "Done") -> "Done":
        return Done(*(one + more for one, more in zip(self, other, strict=True)))


class Intake:
    """A dump, of which the commits in `folded` are re-runs, and the nodes that its commits have so far."""

    def __init__(
        self, store: Measuring, dump: Dump, metric: str, direction: Direction | str, folded: frozenset[str]
    ) -> None:
        self._store = store
        self._dump = dump
        self._folded = folded
        with store._storage.read() as txn:
            known = self._known(txn, dump.commits)
            self._placed = arrange(dump, known, folded)
            origin = self._origin(txn, known)
        self._protocol = Protocol("", metric, _direction(direction), 0.0, (), origin)
        self._came = set(known)
        self._nodes = _settled(self._placed, known)

    def bring(self, progress: Callable[[int, int], None] | None = None) -> Imported:
        """Record all that is not known; what came of it."""
        done = Done()
        for start in range(0, len(self._placed), LOT):
            lot = self._placed[start : start + LOT]
            with self._store._write() as txn:
                _, protocol = self._store._protocol(txn, self._protocol)
                for placed in lot:
                    done = done.plus(self._bring(txn, placed, protocol))
            if progress:
                progress(start + len(lot), len(self._placed))
        return self._answer(done)

    def _known(self, txn: Reader, commits: Iterable[Commit]) -> dict[str, NodeId]:
        """The nodes that are called as these commits or their parents are in a hub."""
        names = {name for commit in commits for name in (commit.id, commit.parent) if name}
        found = {name: called_in(txn, Alias(SOURCE, name)) for name in names}
        return {name: self._store._id(txn, seq) for name, seq in found.items() if seq}

    def _origin(self, txn: Reader, known: Mapping[str, NodeId]) -> str:
        """What tells the numbers of one hub from those of another: its first root, also if that came in before."""
        if self._roots or not self._placed:
            return f"{SOURCE} {self._roots[0].id}" if self._roots else SOURCE
        seq = find(txn, known[self._placed[0].parent])
        lost = self._store._lost(txn, line_ancestor(seq, 0, row_of(txn)))
        return f"{SOURCE} {lost.id}" if lost else SOURCE

    @property
    def _roots(self) -> list[Commit]:
        """Those that build on nothing, the first in time first."""
        roots = (one.leader for one in self._placed if not one.parent)
        return sorted(roots, key=lambda commit: (commit.time, commit.id))

    def _bring(self, txn: Writer, placed: Placed, protocol: ProtocolId) -> Done:
        """Record one commit, unless it is known."""
        commit, leader = placed.commit, placed.leader
        if commit.id in self._came:
            return Done(known=1)
        self._came.add(commit.id)
        new = leader.id not in self._nodes and self._bring_node(txn, placed)
        node = self._nodes[commit.id] = self._nodes[leader.id]
        self._say(txn, Note(node, commit.author, commit.time, NAMES, str(Alias(SOURCE, commit.id))))
        run = _run_of(placed, node, protocol, self._protocol.metric)
        _, measured = self._store._put(txn, run, encode(run), RunId)
        return Done(int(new), int(measured), int(measured and run.status is Status.INVALID))

    def _bring_node(self, txn: Writer, placed: Placed) -> bool:
        """Record the node of a leader; whether it is new."""
        leader, objects = placed.leader, self._store._objects
        data = write_lost(Lost(SOURCE, leader.id))
        objects.put(txn, BlobId, data)
        tree, _, _ = objects.put_tree(txn, lost_tree(data))
        parents = [self._nodes[placed.parent]] if placed.parent else []
        id, _, new = self._store._put_node(txn, Node.of(parents, tree))
        self._nodes[leader.id] = id
        self._say(txn, Note(id, leader.author, leader.time, HYPOTHESIS, leader.message))
        return new

    def _say(self, txn: Writer, note: Note) -> None:
        self._store._put(txn, note, encode(note), NoteId)

    def _answer(self, done: Done) -> Imported:
        again = [one for one in self._placed if one.commit.id in self._folded]
        return Imported(
            source=SOURCE,
            records=self._dump.records,
            **done._asdict(),
            reruns=len(again),
            folded=len({one.leader.id for one in again}),
            left_out=Rows(self._dump.left_out.remarks()),
            in_part=Rows(self._dump.part.remarks()),
            protocol=ProtocolId.of(encode(self._protocol)) if self._placed else None,
            platforms=tuple(sorted({one.commit.platform for one in self._placed})),
            root=self._nodes[self._roots[0].id] if self._roots else None,
        )


def read_file(path: Path) -> bytes:
    """The bytes of a file that is to be imported, at most 1 GiB."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise BadInput(f"{path} is larger than {MAX_FILE >> 30} GiB", hint="split it: parents first")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", hint="save what the hub answers to GET /api/git/dag") from None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}", hint="name a file that can be read") from error


def _direction(word: Direction | str) -> Direction:
    try:
        return Direction(word)
    except ValueError:
        raise BadInput(f"{word!r} is no direction", hint="minimize or maximize") from None


def _settled(placed: Sequence[Placed], known: Mapping[str, NodeId]) -> dict[str, NodeId]:
    """The nodes of what is known; of re-runs, the node that any of them has already."""
    nodes = dict(known)
    for one in placed:
        if one.commit.id in known:
            nodes.setdefault(one.leader.id, known[one.commit.id])
    return nodes


def _run_of(placed: Placed, node: NodeId, protocol: ProtocolId, metric: str) -> Run:
    """The measurement that a commit reports. Its reason names the commit, so equal ones stay several runs."""
    commit = placed.commit
    said = f": {commit.message}" if commit is not placed.leader else ""
    reason = one_line("; ".join(filter(None, (commit.problem, f"{SOURCE} {commit.id}{said}"))), MAX_REASON)
    return Run(
        node=node,
        protocol=protocol,
        platform=commit.platform,
        status=Status.INVALID if commit.value is None else Status.OK,
        metrics={} if commit.value is None else {metric: commit.value},
        started=commit.time,
        seconds=0.0,
        runner=commit.author,
        reason=reason,
    )
