"""Large blobs as content-addressed files beside the log: `<folder>/ab/cdef…`, one zstd frame each.

A file is written before the transaction that names it, so a crash may leave one that nothing names. Whoever comes upon
a file that is there touches it: a sweep passes over what was touched lately.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from dagstore.deltas import compress, decompress
from dagstore.errors import BadInput, Damaged, Unavailable
from dagstore.ids import BlobId
from dagstore.logfile import sync_folder


class BlobFiles:
    """Write-once files; a name exists only with its complete, synced content."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = folder

    def path(self, blob: BlobId) -> Path:
        name = str(blob)
        return Path(self._folder, name[:2], name[2:])

    def save(self, blob: BlobId, data: bytes) -> None:
        """Durable when it returns; a file that is there already is touched."""
        final = self.path(blob)
        try:
            os.utime(final)
        except OSError:
            pass  # not there, or another user's: a new one in its place is touched as well
        else:
            return
        try:
            _write_safely(final, compress(data))
        except OSError as error:
            raise Unavailable(f"{final}: {error.strerror}", hint="free some space or check permissions") from error

    def load(self, blob: BlobId, size: int) -> bytes:
        """The plain bytes; `Damaged` if the file is missing or broken. The caller checks the hash."""
        try:
            return decompress(self.path(blob).read_bytes(), size)
        except FileNotFoundError:
            raise Damaged(f"its file {self.path(blob)} is missing", hint="restore a copy") from None
        except OSError as error:
            raise Unavailable(f"{self.path(blob)}: {error.strerror}", hint="check permissions") from error

    def size(self, blob: BlobId) -> int | None:
        """Bytes on disk; None if there is no file."""
        try:
            return self.path(blob).stat().st_size
        except FileNotFoundError:
            return None

    def touched(self, blob: BlobId) -> float:
        """When the file was written or found again, in seconds since the epoch; infinity if there is none."""
        try:
            return self.path(blob).stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def discard(self, blob: BlobId, trash: Path, before: float = math.inf) -> int:
        """Move a file into the folder `trash` unless it was touched at `before` or later; its bytes, 0 if it stays.

        To be called in the writer's turn, so that nobody who wants the file is about to commit.
        """
        path, moved = self.path(blob), trash / str(blob)
        if not self.touched(blob) < before:
            return 0
        trash.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(path, moved)
            status = moved.stat()
            if status.st_mtime < before:
                return status.st_size
            os.rename(moved, path)  # touched in between
        except FileNotFoundError:
            pass
        return 0

    def put_back(self, file: Path) -> None:
        """Undo a `discard`, unless the blob has a file again."""
        path = self.path(BlobId.parse(file.name))
        if not path.exists():
            os.rename(file, path)

    def names(self) -> Iterator[BlobId]:
        """Every blob that has a file, in order; files that are no blobs are passed over."""
        folder = Path(self._folder)
        if not folder.is_dir():
            return
        for shelf in sorted(folder.iterdir()):
            for file in sorted(shelf.iterdir()) if shelf.is_dir() else ():
                try:
                    yield BlobId.parse(shelf.name + file.name)
                except BadInput:
                    continue


def _write_safely(final: Path, data: bytes) -> None:
    """Temporary name, write, sync, rename, sync the directory: after a crash the name holds all or nothing."""
    new = not final.parent.is_dir()
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"tmp-{final.name}-{os.urandom(6).hex()}"
    # Readable for whom the umask lets read, as the database is: a store may be shared.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)  # an interrupt may come after the renaming
        raise
    for folder in final.parents[: 3 if new else 1]:  # with the shelf the folder of shelves may be new
        sync_folder(folder)
