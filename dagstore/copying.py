"""copy: a store's folder made from another, as that was at one moment, while others write to it.

The index is copied in one read transaction, which says how much of the log belongs to it. That part of the log never
changes, nor do the files of the blobs in it, so both may be copied at leisure.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagstore.environment import DATA, INDEX, LOG
from dagstore.errors import Damaged, Refused, Unavailable
from dagstore.files import BlobFiles
from dagstore.ids import BlobId
from dagstore.logfile import sync_folder
from dagstore.presence import Presence
from dagstore.storage import Reader, Storage, Writer
from dagstore.storage_lmdb import LmdbStorage
from dagstore.tombstones import bury, tombstone
from dagstore.walking import Progress, file_blobs, lots

if TYPE_CHECKING:
    from dagstore.findings import Finding

NAME = ".dag"
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """The folder of the copy, how many objects it has, and bytes. `missing` are blobs whose files the store lacks."""

    store: str
    objects: int
    log: int
    index: int
    files: int
    bytes: int
    missing: tuple[BlobId, ...]
    findings: "tuple[Finding, ...]"


def target_of(place: Path) -> Path:
    """The folder that a copy to `place` will be: itself if it is called `.dag`, else `.dag` in it.

    `Refused` if there is something already.
    """
    target = place if place.name == NAME else place / NAME
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise Refused(f"{target} exists already", hint="name a place that has no store", code="exists")
    return target


@contextmanager
def emerging(target: Path) -> Iterator[Path]:
    """A new folder beside `target`; it gets that name when all of it is on disk, or is removed."""
    folder = target.parent / f"{NAME}-copy-{os.urandom(6).hex()}"
    try:
        folder.mkdir(parents=True)
        yield folder
        os.sync()  # one for all files of blobs, instead of one each
        sync_folder(folder)
        os.rename(folder, target)
        sync_folder(target.parent)
    except OSError as error:
        raise Unavailable(f"{target}: {error.strerror}", hint="free some space or check permissions") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_records(storage: LmdbStorage, folder: Path, into: Path) -> int:
    """Log and index of one moment, which the copy will trust; how much of the log it is."""
    (into / ".gitignore").write_text("*\n", encoding="utf-8")
    end = storage.copy_to(into)
    with open(folder / LOG, "rb") as source, open(into / LOG, "xb") as copy:
        if _copy_bytes(source.fileno(), copy.fileno(), end) != end:
            raise Damaged(f"{folder / LOG} ends before byte {end}", hint="run `dag fsck`")
        os.fsync(copy.fileno())
    presence = Presence.enter(into, into / INDEX / DATA, readonly=False)
    presence.settle()
    presence.leave(lambda: None)
    return end


def copy_files(
    copy: Storage, source: BlobFiles, into: BlobFiles, *, link: bool, progress: Progress | None = None
) -> tuple[int, int, list[BlobId]]:
    """Copy (or link) the file of every blob that the copy's records name; how many, their bytes, and those not there.

    Every frame of the copy's log is read and checked on the way.
    """
    count = total = 0
    missing: list[BlobId] = []
    for txn, numbers in lots(copy, progress):
        for blob in list(file_blobs(txn, numbers)):
            size = copy_file(source.path(blob), into.path(blob), link=link)
            if size is None:
                missing.append(blob)
            else:
                count, total = count + 1, total + size
    return count, total, missing


def explain(txn: Reader, writer: Writer, missing: Iterable[BlobId]) -> list[BlobId]:
    """Take over why files went away while we copied; the blobs of which the store says nothing."""
    lost = []
    for blob in missing:
        stone = tombstone(txn, blob)
        if stone is None:
            lost.append(blob)
        else:
            bury(writer, stone._replace(run=stone.run if stone.run <= writer.records() else 0))
    return lost


def copy_file(source: Path, copy: Path, *, link: bool) -> int | None:
    """The bytes copied or linked; None if there is no such file."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with contextlib.suppress(OSError):  # another file system, or one without links: a copy will do
            os.link(source, copy)
            return copy.stat().st_size
    try:
        with open(source, "rb") as old, open(copy, "xb") as new:
            return _copy_bytes(old.fileno(), new.fileno(), os.fstat(old.fileno()).st_size)
    except FileNotFoundError:
        return None


def _copy_bytes(source: int, copy: int, length: int) -> int:
    """Copy the first bytes of one open file to the beginning of another; how many there were."""
    done = 0
    while done < length:
        piece = _copy_piece(source, copy, length - done, done)
        if not piece:
            break
        done += piece
    return done


def _copy_piece(source: int, copy: int, length: int, offset: int) -> int:
    """Within the kernel where it can."""
    if hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError):
            done = os.copy_file_range(source, copy, length, offset, offset)
            if done:  # some file systems say 0 where they cannot
                return done
    return os.pwrite(copy, os.pread(source, min(length, PIECE), offset), offset)
