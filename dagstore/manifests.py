"""Trees as they lie in records: one file of a tree, or all of it."""

from collections.abc import Callable, Iterator, Sequence

from dagstore.chains import id_of
from dagstore.errors import BadInput, Damaged
from dagstore.ids import BlobId
from dagstore.model import Entry, Mode, Tree
from dagstore.records import ADDED, Change, base_of_tree, read_record, read_tree
from dagstore.storage import Reader


def whole_tree(txn: Reader, number: int) -> int:
    """The record of the whole tree that the tree in a record changes; its own if it is a whole one."""
    memo = txn.memo
    known = memo.roots.get(number) or memo.older.roots.get(number)
    if not known:
        known = memo.roots[number] = base_of_tree(read_record(txn.record(number), number).rest, number) or number
    return known


def file_in(txn: Reader, number: int, path: str, wholes: dict[int, list[Change]] | None = None) -> int:
    """The record of the blob at `path` in the tree of a record, or 0; without looking for the ids of the others.

    With `wholes`, the whole trees that others change are kept there, for the next question.
    """
    base, changes = _changes(txn, number)
    old = _whole(txn, base, wholes) if base else []
    for position, what, item in changes:
        if _path(old, position, what, item) == path:
            return item[2] if item else 0
    return next((item[2] for _, _, item in old if item and item[0] == path), 0)


def build_tree(txn: Reader, number: int, load: Callable[[int], Tree]) -> Tree:
    """The tree in a record; `load` gives the tree of another one. `Damaged` if it is none, but ids are unchecked."""
    base, changes = _changes(txn, number)
    if base and whole_tree(txn, base) != base:
        raise _not_whole(base)
    try:
        return Tree.of(_entries(txn, load(base).entries if base else (), changes))
    except (IndexError, ValueError, BadInput) as error:
        raise Damaged(f"its entries make no tree: {error}", hint="run `dag fsck --full`") from None


def _changes(txn: Reader, number: int) -> tuple[int, list[Change]]:
    _, base, changes = read_tree(read_record(txn.record(number), number).rest, number)
    return base, changes


def _whole(txn: Reader, number: int, wholes: dict[int, list[Change]] | None) -> list[Change]:
    known = wholes.get(number) if wholes else None
    if known is not None:
        return known
    base, entries = _changes(txn, number)
    if base:
        raise _not_whole(number)
    if wholes is not None:
        wholes[number] = entries
    return entries


def _not_whole(number: int) -> Damaged:
    return Damaged(f"its base, object number {number}, is not a whole tree", hint="run `dag fsck --full`")


def _path(old: Sequence[Change], position: int, what: int, item: tuple[str, int, int] | None) -> str:
    """The path that a change is about."""
    if what == ADDED and item:
        return item[0]
    before = old[position][2] if position < len(old) else None
    return before[0] if before else ""


def _entries(txn: Reader, old: Sequence[Entry], changes: Sequence[Change]) -> Iterator[Entry]:
    at = 0
    for position, what, item in changes:
        yield from old[at:position]
        at = position + (what != ADDED)
        if item is not None:
            path = item[0] if what == ADDED else old[position].path
            yield Entry(path, Mode(item[1]), BlobId(id_of(txn, item[2])))
    yield from old[at:]
