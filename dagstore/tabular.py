"""Runs and notes by the column: what a table of all of them needs, read in the order of the log.

Frames are checked against their checksums; objects are decoded, but not encoded again to see whether they are
canonical. What cannot be decoded is `Damaged`.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, repeat
from typing import Any

from dagstore.chains import id_of, with_ids
from dagstore.codec import VERSIONS, unpack_all
from dagstore.errors import BadInput, DagError, Damaged
from dagstore.ids import SIZE, RunId
from dagstore.objects import Objects
from dagstore.records import NUMBER, REFS, REFS_ZSTD
from dagstore.rows import RECORD, WORDS, ids_in, rows_from, words_of
from dagstore.storage import Reader

PAGE = 100
"""Records that are decoded at a time: many small lists at once keep the collector of garbage busy."""
MANY = 5_000
"""From so many objects on it pays to load the ids of all nodes."""
_BACK = rb"([\x80-\xff]*[\x00-\x7f])"
_RUN_HEAD = bytes([NUMBER[RunId] << 4 | REFS]) + rb"[\x80-\xff]*[\x00-\x7f]\x02\x04" + _BACK + rb"\x02" + _BACK
_PLAIN_RUN = re.compile(_RUN_HEAD + rb"(\x9e\x01|\x9f\x02)\xc4 \xc4 (.*)", re.DOTALL)
"""The record of a run that names only node and protocol, and where they were cut out."""

_WITH_REFS = (REFS, REFS_ZSTD)
HINT = "run `dag fsck --full`"


class Codes(dict[Any, int]):
    """Numbers values in the order in which they are met."""

    def __missing__(self, key: Any) -> int:
        code = self[key] = len(self)
        return code


class Words:
    """A column of few different values."""

    def __init__(self) -> None:
        self.codes = array("I")
        self._known = Codes()

    def extend(self, values: Iterable[Any]) -> None:
        self.codes.extend(map(self._known.__getitem__, values))

    def values(self) -> list[Any]:
        """The different values, by code."""
        return list(self._known)

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Any]:
        return map(self.values().__getitem__, self.codes)


class Sparse:
    """A column in which not every row has a value: the rows that have one, ascending, and their values."""

    def __init__(self, values: Any) -> None:
        self.rows = array("q")
        self.values = values

    def extend(self, rows: Iterable[int], values: Iterable[Any]) -> None:
        self.rows.extend(rows)
        self.values.extend(values)


class RunColumns:
    """Runs by the column. `metrics` and `artifacts` are by name; `environment` has the pairs of a run."""

    def __init__(self) -> None:
        self.id: list[str] = []
        self.node: list[str] = []
        self.protocol, self.platform, self.status = Words(), Words(), Words()
        self.runner, self.reason, self.environment, self.ending = Words(), Words(), Words(), Words()
        self.started: list[int] = []
        self.seconds = array("d")
        self.seed: list[int | None] = []
        self.exit_code: list[int | None] = []
        self.metrics: dict[str, Sparse] = {}
        self.artifacts: dict[str, Sparse] = {}

    def __len__(self) -> int:
        return len(self.node)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add what runs encode to."""
        start = len(self)
        whole = [row if row[0] == 2 else [*row, ""] for row in rows]
        versions, node, protocol, platform, status, metrics, started, seconds, *rest = zip(*whole, strict=True)
        _check_versions(versions)
        runner, seed, code, reason, environment, artifacts, ending = rest
        self.node.extend([id.hex() for id in node])
        self.protocol.extend(protocol)
        self.platform.extend(platform)
        self.status.extend(status)
        self.started.extend(started)
        self.seconds.extend(seconds)
        self.runner.extend(runner)
        self.seed.extend(seed)
        self.exit_code.extend(code)
        self.reason.extend(reason)
        self.environment.extend([tuple(map(tuple, pairs)) if pairs else () for pairs in environment])
        _spread(self.metrics, metrics, start, partial(array, "d"))
        self.ending.extend(ending)
        _spread(self.artifacts, artifacts, start, list)


def run_columns(txn: Reader, objects: Objects, numbers: Sequence[int]) -> RunColumns:
    """The runs in those records, in that order."""
    found = RunColumns()
    names = _Names(txn, len(numbers))
    for start in range(0, len(numbers), PAGE):
        page = numbers[start : start + PAGE]
        plain = _plain(txn, objects, page, names)
        try:
            found.add(unpack_all(plain))
        except (BadInput, TypeError, ValueError, OverflowError) as error:
            raise _culprit(txn, objects, page) or Damaged(f"a run cannot be read: {error}", hint=HINT) from error
        found.id += RunId.texts_of(plain)
    return found


def _plain(txn: Reader, objects: Objects, numbers: Sequence[int], names: "_Names") -> list[bytes]:
    """The plain bytes of each record."""
    match, node_at, other = _PLAIN_RUN.fullmatch, names.nodes.get, names.other
    plain = []
    for number, data in zip(numbers, map(txn.record, numbers), strict=True):
        found = match(data)
        if found:
            node, protocol, head, rest = found.groups()
            at = number - _back(node)
            id = node_at(at) or other(at)
            plain.append(b"".join((head, b"\xc4 ", id, b"\xc4 ", other(number - _back(protocol)), rest)))
        else:
            plain.append(_plain_of(txn, objects, number, data, names.name))
    return plain


def decoded(
    txn: Reader, objects: Objects, numbers: Sequence[int], name: Callable[[int], bytes] = lambda _: bytes(SIZE)
) -> Iterator[list[Any]]:
    """What the objects in those records encode to; `name` gives the ids in them, which are zeros unless told."""
    for start in range(0, len(numbers), PAGE):
        page = numbers[start : start + PAGE]
        pairs = zip(page, map(txn.record, page), strict=True)
        try:
            rows = unpack_all([_plain_of(txn, objects, *pair, name) for pair in pairs])
            _check_versions(row[0] for row in rows)
        except (BadInput, TypeError, ValueError) as error:
            raise _culprit(txn, objects, page) or Damaged(f"an object cannot be read: {error}", hint=HINT) from error
        yield from rows


def _plain_of(txn: Reader, objects: Objects, number: int, data: bytes, name: Callable[[int], bytes]) -> bytes:
    codec = data[0] & 0xF
    return with_ids(codec, data[1:], number, name) if codec in _WITH_REFS else objects.get(txn, number)


def _check_versions(versions: Iterable[Any]) -> None:
    if not set(versions).issubset(VERSIONS):
        raise ValueError("it is of another format version")


def _back(data: bytes) -> int:
    """One number of `records.varint`."""
    value = 0
    for byte in reversed(data):
        value = value << 7 | byte & 0x7F
    return value


class _Names:
    """Ids by record: of nodes out of memory, where many are to be asked for."""

    def __init__(self, txn: Reader, count: int) -> None:
        self.nodes: dict[int, bytes] = {}
        self.other = lru_cache(MANY)(partial(id_of, txn))
        if count >= MANY:
            for _, rows in rows_from(txn, 1):
                records, ids = words_of(rows)[RECORD::WORDS], ids_in(rows)
                self.nodes.update(zip(records, [ids[at : at + SIZE] for at in range(0, len(ids), SIZE)], strict=True))

    def name(self, number: int) -> bytes:
        return self.nodes.get(number) or self.other(number)


def _culprit(txn: Reader, objects: Objects, numbers: Iterable[int]) -> DagError | None:
    """What is wrong with the first of these records that is no object."""
    for number in numbers:
        try:
            objects.load(txn, number)
        except DagError as error:
            return error
    return None


def _spread(
    columns: dict[str, Sparse], rows: Sequence[Sequence[Sequence[Any]]], start: int, new: Callable[[], Any]
) -> None:
    """Add pairs of name and value, a list of them for each row from `start` on."""
    pairs = list(chain.from_iterable(rows))
    if not pairs:
        return
    names, values = zip(*pairs, strict=True)
    width = len(rows[0])
    if names == names[:width] * len(rows):  # as a rule all report the same
        for at, name in enumerate(names[:width]):
            _column(columns, name, new).extend(range(start, start + len(rows)), values[at::width])
        return
    places = chain.from_iterable(repeat(at, len(row)) for at, row in enumerate(rows, start))
    for at, name, value in zip(places, names, values, strict=True):
        _column(columns, name, new).extend((at,), (value,))


def _column(columns: dict[str, Sparse], name: str, new: Callable[[], Any]) -> Sparse:
    column = columns.get(name)
    if column is None:
        column = columns[name] = Sparse(new())
    return column
