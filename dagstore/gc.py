"""gc: removes what nobody can miss, and by policy artifacts of old runs. Never a node, a run or a note.

Files are removed in the writer's turn, by renaming them into a folder of `trash/` first: nobody can then be between
finding a file and naming it in a record.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dagstore.claims import all_claims, drop_claim
from dagstore.errors import BadInput
from dagstore.eviction import Eviction, Policy
from dagstore.files import BlobFiles
from dagstore.finding import find
from dagstore.ids import BlobId
from dagstore.objects import Objects
from dagstore.records import FILE, read_record
from dagstore.stats import files_below
from dagstore.storage import Reader, Storage, Writer
from dagstore.storage_lmdb_v1 import KEPT_AS
from dagstore.tickets import all_tickets
from dagstore.tombstones import Tombstone, bury, is_gone
from dagstore.walking import Progress, file_blobs, lots
from dagstore.workspaces import all_workspaces, forget_workspace

T = TypeVar("T")

LOT = 500
"""Files that are removed in one turn of the writer."""
HALF_WRITTEN = 3600.0
"""Seconds for which a file that is being written is left alone, whatever the grace."""


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Artifacts of one name: `plain` bytes, and `bytes` on disk."""

    count: int
    plain: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What gc removed (or would remove), and the bytes that this frees.

    Workspaces by path, overdue claims, leftovers of what never ended by path, files of blobs that no record names, and
    artifacts of old runs by name.
    """

    workspaces: tuple[str, ...]
    claims: int
    leftovers: tuple[str, ...]
    orphans: int
    artifacts: dict[str, Artifacts]
    bytes: int


@dataclass(frozen=True, slots=True)
class Stale:
    """What may go: workspaces by id and path, tokens of claims, paths of leftovers."""

    workspaces: dict[str, str]
    tokens: tuple[int, ...]
    leftovers: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.workspaces.values(), *self.leftovers)


class Sweep:
    """One sweep of a store's folder, at `now` (ms since the epoch). `write` opens a transaction that writes."""

    def __init__(
        self,
        storage: Storage,
        write: Callable[[], AbstractContextManager[Writer]],
        objects: Objects,
        folder: Path,
        now: int,
        policy: Policy,
        progress: Progress | None = None,
    ) -> None:
        self._storage = storage
        self._write = write
        self._objects = objects
        self._folder = folder
        self._now = now
        self._policy = policy
        self._progress = progress
        self._files = BlobFiles(folder / "blobs")
        self._before = now / 1000 - policy.grace
        self._trash = folder / "trash" / f"{os.getpid()}-{os.urandom(6).hex()}"

    def foresee(self) -> Swept:
        """What `run` would remove; nothing is changed."""
        with self._storage.read() as txn:
            stale = find_stale(txn, self._folder, self._now, self._policy.grace)
        freed = sum(_bytes(Path(path)) for path in stale.paths)
        orphans = [self._files.size(blob) or 0 for blob in self._orphans()]
        return _swept(stale, freed, orphans, self._foreseen())

    def run(self) -> Swept:
        """Remove it; each turn of the writer is short."""
        with self._write() as txn:
            stale = find_stale(txn, self._folder, self._now, self._policy.grace)
            self._restore(txn, stale)
            forget(txn, stale)
        freed = sum(_remove(Path(path)) for path in stale.paths)
        try:
            orphans = [size for blobs in _lots(self._orphans()) for size in self._discard(blobs)]
            return _swept(stale, freed, orphans, self._evicted())
        finally:
            _remove(self._trash)  # and not the folder that it is in: another sweep may be about to use that

    def _orphans(self) -> list[BlobId]:
        """Blobs with a file that was not touched lately and that no record names."""
        found: set[BlobId] = set()
        for blobs in _lots(self._files.names()):
            old = [blob for blob in blobs if self._files.touched(blob) < self._before]
            with self._storage.read() as txn:
                found.update(blob for blob in old if not _is_used(txn, blob))
        if found:
            self._spare_recorded(found)
        return sorted(found)

    def _spare_recorded(self, blobs: set[BlobId]) -> None:
        """Take out those that a record names after all: an index that is damaged must not cost a file."""
        for txn, numbers in lots(self._storage, self._progress):
            blobs.difference_update(file_blobs(txn, numbers))

    def _discard(self, orphans: list[BlobId]) -> list[int]:
        """Remove those that nobody came upon meanwhile; the bytes of each."""
        with self._write() as txn:
            unused = [blob for blob in orphans if not _is_used(txn, blob)]
            return [size for blob in unused if (size := self._files.discard(blob, self._trash, self._before))]

    def _eviction(self) -> Eviction:
        eviction = Eviction(self._objects, self._files, self._policy, self._now)
        for txn, numbers in lots(self._storage, self._progress):
            eviction.look(txn, numbers)
        return eviction

    def _foreseen(self) -> Iterator[Tombstone]:
        if not self._policy.evicts:
            return
        eviction = self._eviction()
        with self._storage.read() as txn:
            eviction.catch_up(txn)
        for numbers in _lots(eviction.candidates()):
            with self._storage.read() as txn:
                yield from (stone for number in numbers if (stone := eviction.stone(txn, number)))

    def _evicted(self) -> Iterator[Tombstone]:
        """Of every artifact that was removed. The tombstone is durable before the file goes."""
        if not self._policy.evicts:
            return
        eviction = self._eviction()
        for numbers in _lots(eviction.candidates()):
            with self._write() as txn:
                eviction.catch_up(txn)
                stones = [stone for number in numbers if (stone := eviction.stone(txn, number))]
                for stone in stones:
                    bury(txn, stone)
            with self._write() as txn:  # somebody may have brought one back
                buried = [stone for stone in stones if is_gone(txn, stone.blob)]
                removed = [stone for stone in buried if self._files.discard(stone.blob, self._trash)]
            yield from removed

    def _restore(self, txn: Reader, stale: Stale) -> None:
        """Put back what a sweep that was killed had moved away and not looked at again."""
        for folder in (Path(path) for path in stale.leftovers if Path(path).parent == self._trash.parent):
            for file in folder.iterdir():
                with contextlib.suppress(BadInput):
                    if _is_used(txn, BlobId.parse(file.name)):
                        self._files.put_back(file)


def find_stale(txn: Reader, folder: Path, now: int, grace: float) -> Stale:
    """Workspaces that were sealed or outlived their claim, overdue claims of proposers, and leftovers."""
    inside, then = str(folder / "workspaces") + "/", now - grace * 1000
    deadlines = {claim.token: claim.deadline for claim in all_claims(txn)}
    workspaces = {
        one.id: one.path
        for one in all_workspaces(txn)
        if one.path.startswith(inside) and (one.sealed or deadlines.get(one.token, one.created) < then)
    }
    held = {ticket.token for ticket in all_tickets(txn)}
    overdue = (claim.token for claim in all_claims(txn) if claim.deadline < then)
    tokens = tuple(token for token in overdue if token not in held)
    working = {str(token) for token in deadlines.keys() - set(tokens)}
    leftovers = (path for path in _leftovers(folder, now / 1000, grace) if path.name not in working)
    return Stale(workspaces, tokens, tuple(map(str, leftovers)))


def forget(txn: Writer, stale: Stale) -> None:
    """Drop the rows of what may go; the files are removed afterwards."""
    for id in stale.workspaces:
        forget_workspace(txn, id)
    for token in stale.tokens:
        drop_claim(txn, token)


def _leftovers(folder: Path, now: float, grace: float) -> Iterator[Path]:
    """Half-written blobs, scratch and trash folders whose owner is long gone, and what a store of format 1 was."""
    half = max(grace, HALF_WRITTEN)
    for pattern, age in (("blobs/*/tmp-*", half), ("scratch/*", grace), ("trash/*", half), (KEPT_AS, 0.0)):
        for path in folder.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_mtime + age < now:
                    yield path


def _remove(path: Path) -> int:
    """Remove a file or directory that may be gone already; the bytes that its files had."""
    size = _bytes(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size


def _bytes(path: Path) -> int:
    """Those of a file or of all files in a directory; 0 if it is gone."""
    if path.is_dir() and not path.is_symlink():
        return files_below(path).bytes
    with contextlib.suppress(FileNotFoundError):
        return path.lstat().st_size
    return 0


def _is_used(txn: Reader, blob: BlobId) -> bool:
    """Whether a record says that the blob has a file, and no tombstone that it has none any more."""
    number = find(txn, blob)
    return number > 0 and read_record(txn.record(number), number).codec == FILE and not is_gone(txn, blob)


def _lots(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while lot := list(islice(rest, LOT)):
        yield lot


def _swept(stale: Stale, freed: int, orphans: list[int], stones: Iterable[Tombstone]) -> Swept:
    artifacts: dict[str, Artifacts] = {}
    for stone in stones:
        old = artifacts.get(stone.name, Artifacts(0, 0, 0))
        artifacts[stone.name] = Artifacts(old.count + 1, old.plain + stone.size, old.bytes + stone.stored)
    freed += sum(orphans) + sum(one.bytes for one in artifacts.values())
    workspaces = tuple(stale.workspaces.values())
    return Swept(workspaces, len(stale.tokens), stale.leftovers, len(orphans), artifacts, freed)
