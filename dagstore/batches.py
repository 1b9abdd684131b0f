"""Many nodes in few transactions: the way in for imports, where one durable commit a node would be most of the time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from dagstore.base import Ref
from dagstore.errors import BadInput, NotFound, Refused
from dagstore.ids import BlobId, NodeId
from dagstore.model import Entry, Mode, Tree
from dagstore.storage import Writer


class Made(Protocol):
    @property
    def id(self) -> NodeId: ...


class Recorder(Protocol):
    """What a batch needs of a store."""

    def _write(self) -> AbstractContextManager[Writer]: ...
    def _seq(self, txn: Writer, ref: Ref) -> int: ...
    def _tree(self, txn: Writer, seq: int) -> Tree: ...
    def _check_change(
        self, txn: Writer, parent: int, tree: Tree, contents: Mapping[BlobId, bytes], *, unlock: bool
    ) -> None: ...
    def _record(
        self,
        txn: Writer,
        parents: Sequence[int],
        tree: Tree,
        contents: Mapping[BlobId, bytes],
        note: tuple[str, str] | None,
    ) -> Made: ...


class Batch:
    """Records nodes in transactions of `size` of them.

    What a finished transaction recorded is durable; of one that an error ends, nothing is kept. Other writers get
    their turn between two transactions.
    """

    def __init__(self, store: Recorder, size: int) -> None:
        self._store = store
        self._size = size
        self._open: AbstractContextManager[Writer] | None = None
        self._txn: Writer | None = None
        self._held = 0

    def record(
        self,
        parents: Iterable[Ref],
        changes: Mapping[str, bytes | None],
        *,
        why: str = "",
        agent: str = "",
        unlock: bool = False,
    ) -> NodeId:
        """A node whose files are those of the first parent with `changes` made: new content by path, None to delete.

        A file keeps its mode, a new one is not executable. The rules are those of `Store.seal`; what is refused
        leaves the batch as it was.
        """
        txn = self._turn()
        try:
            made = self._record(txn, parents, changes, (agent, why), unlock=unlock)
        except (Refused, BadInput, NotFound):
            raise
        except BaseException as error:
            self.finish(error)  # LMDB takes nothing more in a transaction in which it failed
            raise
        self._held += 1
        return made

    def _record(
        self,
        txn: Writer,
        parents: Iterable[Ref],
        changes: Mapping[str, bytes | None],
        note: tuple[str, str],
        *,
        unlock: bool,
    ) -> NodeId:
        seqs = [self._store._seq(txn, parent) for parent in parents]
        if not seqs:
            raise BadInput("a node needs at least one parent", hint="name one, for instance @seed")
        blobs = {path: None if data is None else BlobId.of(data) for path, data in changes.items()}
        contents = {
            blob: data
            for blob, data in zip(blobs.values(), changes.values(), strict=True)
            if blob is not None and data is not None
        }
        tree = _changed(self._store._tree(txn, seqs[0]), blobs)
        for seq in seqs:
            self._store._check_change(txn, seq, tree, contents, unlock=unlock)
        return self._store._record(txn, seqs, tree, contents, note).id

    def finish(self, error: BaseException | None = None) -> None:
        """End the transaction: durably, or with nothing of it if there was an error."""
        held, self._open, self._txn, self._held = self._open, None, None, 0
        if held is not None:
            held.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _turn(self) -> Writer:
        if self._held >= self._size:
            self.finish()
        if self._open is None or self._txn is None:
            self._open = self._store._write()
            self._txn = self._open.__enter__()
        return self._txn


def batch(store: Recorder, size: int) -> Iterator[Batch]:
    """A batch that is finished when the block is left, also by an exception."""
    made = Batch(store, size)
    try:
        yield made
    except BaseException as error:
        made.finish(error)
        raise
    made.finish()


def _changed(tree: Tree, changes: Mapping[str, BlobId | None]) -> Tree:
    entries = dict(tree.by_path)
    for path, blob in changes.items():
        if blob is None:
            if entries.pop(path, None) is None:
                raise BadInput(f"there is no {path!r} to delete", hint="name a file of the first parent")
            continue
        old = entries.get(path)
        entries[path] = Entry(path, old.mode if old else Mode.FILE, blob)
    return Tree.of(entries.values())
