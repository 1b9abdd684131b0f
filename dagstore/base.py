"""What every part of the store stands on: the storage, the objects in it, the folder, the clock and chance."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dagstore.chains import id_of
from dagstore.channels import Channel, default_channel
from dagstore.errors import BadInput, Damaged, NotFound, Refused
from dagstore.files import BlobFiles
from dagstore.finding import enter, find, short
from dagstore.ids import Id, NodeId, ProtocolId
from dagstore.index import ADOPTION, RUN, add, catch_up, facts, graph_row, has_lost, indexed, set_indexed
from dagstore.model import KNOWN, Adoption, Decision, Node, Run, Tree, names_of
from dagstore.objects import Objects
from dagstore.paths import CHARTER_PATH
from dagstore.refs import resolve
from dagstore.rows import id_of_node, record_of, unreadable
from dagstore.shown import Rows
from dagstore.storage import Reader, Storage, Writer

if TYPE_CHECKING:
    from dagstore.charter import Charter
    from dagstore.lost import Lost
    from dagstore.views import RunView

Ref = str | NodeId
BATCH = 20_000
"""Records that are indexed at a time."""


class Base:
    """Opened storage with typed access; the parts of the store inherit from it."""

    def __init__(
        self, folder: Path, storage: Storage, clock: Callable[[], float], entropy: Callable[[int], bytes]
    ) -> None:
        self.folder = folder
        self._storage = storage
        self._clock = clock
        self._entropy = entropy
        self._objects = Objects(BlobFiles(f"{folder}/blobs"))
        self._charters: dict[bytes, Charter] = {}

    @property
    def root(self) -> Path:
        """The project directory that the store belongs to."""
        return self.folder.parent

    @contextmanager
    def _write(self) -> Iterator[Writer]:
        """The writer, for whom everything in the log is indexed before and after."""
        with self._storage.write() as txn:
            while catch_up(txn, self._objects, BATCH):
                pass
            yield txn
            if indexed(txn) != txn.records():
                set_indexed(txn, txn.records())

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _seq(self, txn: Reader, ref: Ref) -> int:
        if isinstance(ref, NodeId):
            seq = find(txn, ref)
            if not seq:
                raise NotFound(f"no node {ref} in this store", hint="`dag log` lists nodes")
            return seq
        return resolve(txn, ref)

    def _id(self, txn: Reader, seq: int) -> NodeId:
        return id_of_node(txn, seq)

    def _tree(self, txn: Reader, seq: int) -> Tree:
        """The tree of a node."""
        try:
            tree: Tree = self._objects.load(txn, graph_row(txn, seq).tree)
        except Damaged as error:
            raise self._unreadable(txn, seq, error) from error
        return tree

    def _code(self, txn: Reader, seq: int) -> Tree:
        """The tree of a node whose files are wanted; `Refused` if they are lost."""
        tree = self._tree(txn, seq)
        if tree.is_lost:
            raise self._refused_as_lost(txn, seq)
        return tree

    def _lost(self, txn: Reader, seq: int) -> "Lost | None":
        """Where a node came from without its code, None if its code is here."""
        if not has_lost(txn, self._objects, seq):
            return None
        from dagstore.lost import read_lost

        return read_lost(self._objects.read(txn, self._tree(txn, seq).entries[0].blob))

    def _refused_as_lost(self, txn: Reader, seq: int) -> Refused:
        lost = self._lost(txn, seq)
        source = lost.source if lost else "elsewhere"
        return Refused(
            f"the code of node {short(txn, self._id(txn, seq))} is lost: it came from {source} without any",
            hint="take a node that has code: `dag frontier` ranks them, @seed is one",
            code="code_lost",
        )

    def _unreadable(self, txn: Reader, seq: int, error: Damaged) -> Damaged:
        return unreadable(txn, seq, error)

    def _charter(self, txn: Reader, seq: int, tree: Tree | None = None) -> "Charter":
        """The charter of a node; its tree may be given."""
        tree = tree or self._tree(txn, seq)
        entry = tree.get(CHARTER_PATH)
        if entry is None and tree.is_lost:
            raise self._refused_as_lost(txn, seq)
        if entry is None:
            raise NotFound(f"node {self._id(txn, seq)} has no {CHARTER_PATH}", hint="its tree is no project")
        charter = self._charters.get(entry.blob)
        if charter is None:
            charter = self._charters[entry.blob] = charter_of(self._objects.read(txn, entry.blob))
        return charter

    def _put(
        self, txn: Writer, value: object, data: bytes, kind: type[Id], base: int = 0, *, new: bool = False
    ) -> tuple[int, bool]:
        """Store and index one encoded object that is neither tree nor node; its number and whether it is new."""
        number, new = self._objects.put(txn, kind, data, base, names_of(value), new=new)
        if new:
            add(txn, self._objects, number, value)
        return number, new

    def _put_node(self, txn: Writer, node: Node, *, new: bool = False) -> tuple[NodeId, int, bool]:
        """Store and index a node; its id, its number and whether it is new."""
        id, number, new = self._objects.put_node(txn, node, new=new)
        if new:
            number = add(txn, self._objects, number, node)
            enter(txn, id, number)
        return id, number, new

    def _runs_of(self, txn: Reader, seq: int) -> "Rows[RunView]":
        """The runs of a node's tree."""
        return Rows(self._run_view(txn, record) for record in facts(txn, graph_row(txn, seq).first, RUN))

    def _is_known(self, txn: Reader, tree: int) -> bool:
        """Whether a tree has a run after which it is not run again by accident."""
        runs: Iterable[Run] = (self._objects.load(txn, record) for record in facts(txn, tree, RUN))
        return any(run.status in KNOWN for run in runs)

    def _run_view(self, txn: Reader, seq: int) -> "RunView":
        from dagstore.census import environment_id
        from dagstore.views import RunView

        run: Run = self._objects.load(txn, seq)
        metric = self._objects.load(txn, find(txn, run.protocol)).metric
        return RunView(
            id=id_of(txn, seq),  # type: ignore[arg-type]
            node=run.node,
            status=run.status,
            value=run.metrics.get(metric) if run.status.value == "ok" else None,
            metrics=run.metrics,
            seconds=run.seconds,
            platform=run.platform,
            protocol=run.protocol,
            metric=metric,
            seed=run.seed,
            runner=run.runner,
            started=run.started,
            exit_code=run.exit_code,
            reason=run.reason,
            environment=run.environment,
            environment_id=environment_id(run.environment),
            artifacts=run.artifacts,
            ending=run.ending,
        )

    def _open(self, txn: Reader, seq: int) -> tuple[Decision, ...]:
        """The contradictions in an adopted node that nobody decided; none if any adoption that gave it decided them."""
        if not graph_row(txn, seq).adopted:
            return ()
        records: list[Adoption] = [self._objects.load(txn, record) for record in facts(txn, seq, ADOPTION)]
        return records[0].open if records and all(record.open for record in records) else ()

    def _channel(self, txn: Reader, platform: str | None = None, protocol: ProtocolId | None = None) -> Channel | None:
        return default_channel(txn, platform, protocol)

    def _column_of(self, txn: Reader, seq: int) -> Channel | None:
        """What the estimate of a node is of: the default column, or that of its last run where its code is lost."""
        run = self._last_run(txn, seq) if has_lost(txn, self._objects, seq) else None
        return self._channel(txn, run.platform, run.protocol) if run else self._channel(txn)

    def _last_run(self, txn: Reader, seq: int) -> Run | None:
        last = next(facts(txn, graph_row(txn, seq).first, RUN, newest_first=True), 0)
        return self._objects.load(txn, last) if last else None

    def _node(self, txn: Reader, seq: int) -> Node:
        node: Node = self._objects.load(txn, record_of(txn, seq))
        return node

    def _ids(self, txn: Reader, seqs: Iterable[int]) -> tuple[NodeId, ...]:
        return tuple(sorted(self._id(txn, seq) for seq in seqs))


def charter_of(data: bytes) -> "Charter":
    """The charter in the bytes of a `dag.toml`."""
    from dagstore.charter import parse_charter

    try:
        return parse_charter(data.decode())
    except UnicodeDecodeError as error:
        raise BadInput(f"{CHARTER_PATH} is not UTF-8: {error}") from None
