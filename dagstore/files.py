"""Large blobs as content-addressed files beside the database: `<folder>/ab/cdef…`, one zstd frame each."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from dagstore.deltas import compress, decompress
from dagstore.errors import BadInput, Damaged, Unavailable
from dagstore.ids import BlobId


class BlobFiles:
    """Write-once files; a name exists only with its complete, synced content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, blob: BlobId) -> Path:
        name = str(blob)
        return self._folder / name[:2] / name[2:]

    def save(self, blob: BlobId, data: bytes) -> None:
        """Durable when it returns; saving what is there already costs one look."""
        final = self.path(blob)
        if final.exists():
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

    def names(self) -> Iterator[BlobId]:
        """Every blob that has a file, in order; files that are no blobs are passed over."""
        if not self._folder.is_dir():
            return
        for shelf in sorted(self._folder.iterdir()):
            for file in sorted(shelf.iterdir()) if shelf.is_dir() else ():
                try:
                    yield BlobId.parse(shelf.name + file.name)
                except BadInput:
                    continue


def _write_safely(final: Path, data: bytes) -> None:
    """Temporary name, write, sync, rename, sync the directory: after a crash the name holds all or nothing."""
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
        os.unlink(temporary)
        raise
    for folder in final.parents[:3]:  # the shelf, the folder of shelves and the one above may be new
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync a directory
            raise
    finally:
        os.close(handle)
