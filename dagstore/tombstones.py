"""Tombstones: what is left of a blob whose file was removed on purpose. Rows `gone/<blob id>` of the table `state`.

The record of the blob stays, and so do the runs that name it; storing the same bytes again removes the tombstone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dagstore.chains import id_of
from dagstore.codec import pack, unpack
from dagstore.errors import NotFound
from dagstore.ids import BlobId
from dagstore.storage import Reader, Writer, after

PREFIX = b"gone/"


class Tombstone(NamedTuple):
    """`blob` had `size` bytes, `stored` on disk, and was removed at `time` (ms since the epoch) by `reason`.

    It was the artifact `name` of the run in the record `run` (0: unknown).
    """

    blob: BlobId
    size: int
    stored: int
    name: str
    run: int
    time: int
    reason: str


def bury(txn: Writer, stone: Tombstone) -> None:
    """Say that the blob is gone; its file is removed afterwards."""
    row = [stone.size, stone.stored, stone.name, stone.run, stone.time, stone.reason]
    txn.put("state", PREFIX + stone.blob, pack(row))


def revive(txn: Writer, blob: BlobId) -> bool:
    """Take back that a blob is gone; whether it was."""
    return txn.delete("state", PREFIX + blob)


def is_gone(txn: Reader, blob: BlobId) -> bool:
    """Whether the blob was removed on purpose, so that it is no damage that its file is missing."""
    return txn.get("state", PREFIX + blob) is not None


def tombstone(txn: Reader, blob: BlobId) -> Tombstone | None:
    raw = txn.get("state", PREFIX + blob)
    return None if raw is None else Tombstone(blob, *unpack(raw))


def tombstones(txn: Reader) -> Iterator[Tombstone]:
    """All of them, in the order of their ids."""
    for key, raw in txn.scan("state", PREFIX, after(PREFIX)):
        yield Tombstone(BlobId(key[len(PREFIX) :]), *unpack(raw))


def gone(txn: Reader, stone: Tombstone) -> NotFound:
    """The error for whoever asks for the bytes."""
    run = f"run {str(id_of(txn, stone.run))[:12]}" if stone.run else "a run"
    from datetime import UTC, datetime

    day = datetime.fromtimestamp(stone.time / 1000, UTC).date()
    return NotFound(
        f"{stone.name} of {run} ({_size(stone.size)}) was removed on {day} by {stone.reason}",
        hint="its numbers are kept; `dag run NODE --repeat 1` measures again",
        code="gone",
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
