"""The box of one order: a folder through which a driver and a node, or two processes of a node, speak with each other.

The sender fills it with `order` and `files/BLOB`. The one who performs the order writes the output so far (see
`output`), and when all is over `kept/NAME` for every artifact and, last, `result`. On the way `halt` asks for an early
end, and `lease` is written again and again by a sender that lives. Files appear whole, by a rename.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dagstore import BadInput, BlobId
from dagstore.codec import MAX_OBJECT_BYTES
from dagstore.model import Tree
from trainer.engines.order import Order, decode_order, encode_order
from trainer.engines.result import HEADER_BYTES, Artifact, announced, encode_result
from trainer.report import Report
from trainer.scratch import read_small

CHUNK = 4 << 20
"""Bytes that are handed on at a time."""


class Box:
    """The box in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, order: Order, read: Callable[[BlobId], bytes]) -> None:
        """Put an order and the files of its tree into a folder that is new."""
        (self.folder / "files").mkdir(parents=True)
        for blob in blobs(order.tree):
            (self.folder / "files" / str(blob)).write_bytes(read(blob))
        self._put("order", encode_order(order))

    def order(self) -> Order:
        return decode_order(read_small(self.folder / "order", MAX_OBJECT_BYTES))

    def file(self, blob: BlobId) -> bytes:
        """The bytes of a file; `BadInput` if they are not there any more."""
        with contextlib.suppress(OSError):
            data = (self.folder / "files" / str(blob)).read_bytes()
            if BlobId.of(data) == blob:
                return data
        raise BadInput(f"the file {blob} of an order is not whole", hint="look at the disk that it lies on")

    def deliver(self, report: Report) -> None:
        """Put in what became of the order."""
        kept = self.folder / "kept"
        kept.mkdir()
        for name, data in report.artifacts.items():
            (kept / name).write_bytes(data)
        self._put("result", encode_result(report))

    def header(self) -> bytes:
        """The header of the result; empty as long as there is none."""
        return read_small(self.folder / "result", HEADER_BYTES + 1)

    def artifacts(self, header: bytes, log_limit: int) -> dict[str, bytes]:
        """What belongs to a header, as far as it is there: not one byte more than announced."""
        return {one.name: b"".join(self.chunks(one)) for one in announced(header, log_limit)}

    def chunks(self, artifact: Artifact) -> Iterator[bytes]:
        """The bytes of an artifact, in order, in pieces of at most `CHUNK`."""
        left = artifact.size
        with contextlib.suppress(OSError):
            handle = os.open(self.folder / "kept" / artifact.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(handle, "rb", buffering=0) as file:
                while left and (data := file.read(min(left, CHUNK))):
                    left -= len(data)
                    yield data

    def fail(self, message: str) -> None:
        """Say why there will be no result."""
        self._put("failed", message.encode("utf-8", "replace"))

    def failure(self) -> str:
        """Why there is no result; empty if nobody said so. Untrusted text."""
        return read_small(self.folder / "failed", CHUNK).decode("utf-8", "replace")

    def halt(self) -> None:
        self._put("halt", b"")

    def is_halted(self) -> bool:
        """Whether to end: it was asked for, or the box was taken away."""
        return (self.folder / "halt").exists() or not (self.folder / "order").exists()

    def renew(self, beat: int) -> None:
        """Write the lease: another number each time."""
        self._put("lease", str(beat).encode())

    def lease(self) -> bytes:
        return read_small(self.folder / "lease", 64)

    def _put(self, name: str, data: bytes) -> None:
        new = self.folder / f"{name}.new"
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.folder / name)


def blobs(tree: Tree) -> list[BlobId]:
    """The files of a tree, each once."""
    return list(dict.fromkeys(entry.blob for entry in tree))
