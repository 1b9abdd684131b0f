"""Blame in a store: which node brought each line of a file, and what was said when it was proposed."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.errors import BadInput, Refused
from dagstore.finding import short
from dagstore.ids import NodeId
from dagstore.lines import is_text, split_lines
from dagstore.looking import Looking
from dagstore.shown import Rows
from dagstore.storage import Reader

if TYPE_CHECKING:
    from dagstore.blame import Traced
    from dagstore.views import Blame, BlameLine

Bringer = tuple[NodeId, str, str, int, str]
"""Of a node that brought a line: id, short form, and agent, time and message as in `BlameLine`."""


class Blaming(Looking):
    def blame(self, ref: Ref, path: str, *, first: int = 1, last: int | None = None) -> "Blame":
        """For every line of a file, or lines `first` to `last` of it, the node that brought it, with its first note.

        A line is traced on in the primary parent if that has it, else in an adopted parent, the smallest id first. A
        line that an adopted node put together of several names that node and, where the record of the adoption knows
        them, the donors of its words. The seed brought all its lines. `NotFound` if the node has no such file,
        `Refused` (code `binary`) if it is not text, `BadInput` if it has no such lines.
        """
        from dagstore.blame import blame
        from dagstore.versions import Versions
        from dagstore.views import Blame

        with self._storage.read() as txn:
            seq = self._seq(txn, ref)
            self._file(txn, seq, ref, path)
            versions = Versions(txn, self._objects)
            place = versions.of(seq, path)
            assert place is not None
            lines = _lines(ref, path, versions.content(place))
            wanted = _wanted(ref, path, len(lines), first, last)
            found = blame(place, versions, wanted)
            texts = lines[wanted.start : wanted.stop]
            return Blame(self._id(txn, seq), path, Rows(self._blame_lines(txn, wanted, texts, found)))

    def _blame_lines(
        self, txn: Reader, numbers: Iterable[int], texts: Iterable[bytes], found: Sequence["Traced"]
    ) -> Iterator["BlameLine"]:
        from dagstore.views import BlameLine

        bringers = {node: self._bringer(txn, node) for node in {one.place.node for one in found}}
        for number, text, one in zip(numbers, texts, found, strict=True):
            said = text.removesuffix(b"\n").decode("utf-8", "replace")
            yield BlameLine(number + 1, *bringers[one.place.node], said, self._ids(txn, one.origins))

    def _bringer(self, txn: Reader, node: int) -> Bringer:
        id, note = self._id(txn, node), self._first_note(txn, node)
        if note is None:
            return id, short(txn, id), "", 0, ""
        return id, short(txn, id), note.author, note.time, next(iter(note.text.strip().splitlines()), "")


def _lines(ref: Ref, path: str, data: bytes) -> list[bytes]:
    if not is_text(data):
        raise Refused(
            f"{path} of node {ref} is binary: it has no lines that somebody brought",
            hint=f"`store.touching({path!r})` lists the nodes that changed it, `dag cat {ref}:{path}` writes its bytes",
            code="binary",
        )
    return split_lines(data)


def _wanted(ref: Ref, path: str, count: int, first: int, last: int | None) -> range:
    """The lines from `first` to `last`, counted from 0; what lies behind the end of the file is left out."""
    if first < 1 or (last is not None and last < first):
        raise BadInput(
            f"lines {first} to {last} are none", hint="lines count from 1, and the last is not before the first"
        )
    if first > max(count, 1):
        raise BadInput(f"{path} of node {ref} ends with line {count}, before {first}", hint="ask for lines that it has")
    return range(first - 1, count if last is None else min(last, count))
