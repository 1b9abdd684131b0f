"""Walking through all records without keeping a transaction open: they never change, so many short ones will do."""

from collections.abc import Callable, Iterator

from dagstore.errors import Damaged
from dagstore.ids import SIZE, BlobId
from dagstore.quarantine import records_left_out
from dagstore.records import FILE, NUMBER
from dagstore.storage import Reader, Storage
from dagstore.tombstones import is_gone

LOT = 1024
"""Records that are read in one transaction, and may be in memory at once."""

_BLOB_FILE = NUMBER[BlobId] << 4 | FILE

Progress = Callable[[int, int], None]


def lots(storage: Storage, progress: Progress | None = None) -> Iterator[tuple[Reader, range]]:
    """The numbers of all records there are by now, in order; each lot with a transaction that ends with its turn.

    `progress` is told of records done and in all.
    """
    with storage.read() as txn:
        total = txn.settled()
    for first in range(1, total + 1, LOT):
        numbers = range(first, min(first + LOT, total + 1))
        with storage.read() as txn:
            yield txn, numbers
        if progress:
            progress(numbers[-1], total)


def records_in(txn: Reader, numbers: range, *, left_out: bool = False) -> Iterator[tuple[int, bytes]]:
    """Number and record; those that a repair left out are passed over, or with `left_out` only if they are unreadable.

    `Damaged` if another one cannot be read.
    """
    passed = records_left_out(txn, numbers[0], numbers[-1])
    for number in numbers:
        if number in passed and not left_out:
            continue
        try:
            data = txn.record(number)
        except Damaged:
            if number in passed:
                continue
            raise
        yield number, data


def file_blobs(txn: Reader, numbers: range) -> Iterator[BlobId]:
    """The blobs among these records that must have a file of their own, those that were left out included."""
    for _, data in records_in(txn, numbers, left_out=True):
        if data[0] == _BLOB_FILE:
            blob = BlobId(data[1 : 1 + SIZE])
            if not is_gone(txn, blob):
                yield blob
