"""stats: what a store holds, and where its bytes go."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dagstore.chains import size_of
from dagstore.claims import all_claims
from dagstore.codec import encode
from dagstore.environment import DATA, INDEX, LOG
from dagstore.files import BlobFiles
from dagstore.ids import SIZE, BlobId, NodeId, TreeId
from dagstore.model import Node
from dagstore.quarantine import count_left_out
from dagstore.records import FILE, KINDS, NODE, TREE, Record, read_node, read_record, varints
from dagstore.storage import TABLES, Reader, Storage
from dagstore.storage_lmdb import LmdbStorage
from dagstore.tickets import all_tickets
from dagstore.tombstones import tombstones
from dagstore.walking import Progress, lots, records_in
from dagstore.workspaces import all_workspaces

LONG = 100
"""Commits after which a reader is a long one; a question takes a few. Until it ends, what it may read is kept."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Objects of one kind: `plain` bytes as given, `stored` in records and in files of their own."""

    count: int
    plain: int
    stored: int


@dataclass(frozen=True, slots=True)
class Files:
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Index:
    """Bytes of the index: in pages of each table, in `free` pages that are used next, and of the `file` in all."""

    tables: dict[str, int]
    free: int
    file: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and bytes.

    `tables` counts rows, `log` is bytes of the log, `folders` says what each folder beside it holds, `gone` what `gc`
    removed of artifacts (bytes on disk), `quarantine` counts what a repair left out. `disk` is what log, index and
    blobs take of the disk. `long_readers` are read transactions that `LONG` commits or more have passed by.
    """

    nodes: int
    runs: int
    kinds: dict[str, Kind]
    tables: dict[str, int]
    queued: int
    claims: int
    workspaces: int
    disk: int
    log: int
    index: Index
    folders: dict[str, Files]
    gone: Files
    quarantine: int
    long_readers: int


def count(storage: LmdbStorage, folder: Path, progress: Progress | None = None) -> Stats:
    """`progress` is told of records done and in all."""
    kinds = _kinds(storage, BlobFiles(folder / "blobs"), progress)
    space = storage.space()
    with storage.read() as txn:
        return Stats(
            nodes=kinds["node"].count if "node" in kinds else 0,
            runs=kinds["run"].count if "run" in kinds else 0,
            kinds=kinds,
            tables={table: txn.count(table) for table in TABLES},
            queued=sum(1 for _ in all_tickets(txn)),
            claims=sum(1 for _ in all_claims(txn)),
            workspaces=sum(1 for _ in all_workspaces(txn)),
            disk=_allocated(folder),
            log=space.log,
            index=Index(space.tables, space.free, space.file),
            folders={path.name: files_below(path) for path in _folders(folder)},
            gone=_gone(txn),
            quarantine=count_left_out(txn),
            long_readers=sum(1 for passed in space.passed if passed >= LONG),
        )


def files_below(path: Path) -> Files:
    """How many files a directory holds at any depth, and their bytes; none if it is gone."""
    number = total = 0
    for status in _statuses(path):
        number, total = number + 1, total + status.st_size
    return Files(number, total)


def _kinds(storage: Storage, files: BlobFiles, progress: Progress | None) -> dict[str, Kind]:
    counts: Counter[int] = Counter()
    plain: Counter[int] = Counter()
    stored: Counter[int] = Counter()
    for txn, numbers in lots(storage, progress):
        for number, data in records_in(txn, numbers):
            record = read_record(data, number)
            kind = data[0] >> 4
            counts[kind] += 1
            plain[kind] += _plain_size(record, number)
            stored[kind] += len(data)
            if record.codec == FILE and isinstance(record.id, BlobId):
                stored[kind] += files.size(record.id) or 0
    return {KINDS[kind].kind: Kind(counts[kind], plain[kind], stored[kind]) for kind in sorted(counts)}


def _plain_size(record: Record, number: int) -> int:
    if record.codec == NODE:
        return _node_size(len(read_node(record.rest, number)[1]))
    if record.codec == TREE:
        return varints(record.rest, 1, number)[0][0]
    return size_of(record, number) or 0


@cache
def _node_size(parents: int) -> int:
    """The bytes of a node with so many parents."""
    ids = (NodeId(number.to_bytes(SIZE, "big")) for number in range(parents))
    return len(encode(Node.of(ids, TreeId(bytes(SIZE)))))


def _gone(txn: Reader) -> Files:
    number = total = 0
    for stone in tombstones(txn):
        number, total = number + 1, total + stone.stored
    return Files(number, total)


def _folders(folder: Path) -> list[Path]:
    """The folders beside log and index, in order: blobs, workspaces, scratch and the like."""
    return sorted(path for path in folder.iterdir() if path.name != INDEX and path.is_dir())


def _allocated(folder: Path) -> int:
    """Bytes of the disk under log, index and blobs."""
    own = (folder / LOG, folder / INDEX / DATA)
    return sum(file.stat().st_blocks * 512 for file in own) + sum(
        status.st_blocks * 512 for status in _statuses(folder / "blobs")
    )


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of every file below a directory; what goes away meanwhile is passed over."""
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(directory, name))
