"""The runs of a protocol on a platform that have curves, newest first out of the log."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from dagstore.census import counts
from dagstore.curves import ARTIFACT, Curves, decode_curves
from dagstore.errors import DagError
from dagstore.finding import find
from dagstore.ids import BlobId, ProtocolId, RunId
from dagstore.model import KNOWN, Run
from dagstore.objects import Objects
from dagstore.records import read_record
from dagstore.rows import read_row
from dagstore.storage import Reader

LOOKED = 200_000
"""Records of the log that are looked at for them, the newest."""


class Recorded(NamedTuple):
    """A run, its record, the tree that it measured and that of its node's primary parent (0: none), and its curves."""

    record: int
    tree: int
    parent: int
    run: Run
    curves: Curves


def newest(txn: Reader, objects: Objects, protocol: ProtocolId, platform: str, limit: int) -> list[Recorded]:
    """At most `limit` runs that can be compared, the last ones; in the order of recording."""
    found: list[Recorded] = []
    for record, run in _runs(txn, objects, protocol, platform):
        curves = _curves(txn, objects, run)
        if curves is not None:
            found.append(Recorded(record, *trees_of(txn, run), run, curves))
        if len(found) == limit:
            break
    return found[::-1]


def trees_of(txn: Reader, run: Run) -> tuple[int, int]:
    """The tree that a run measured, as the first node with it, and that of the node's primary parent, 0 for none."""
    row = read_row(txn, find(txn, run.node))
    return row.first, read_row(txn, row.primary).first if row.primary else 0


def _runs(txn: Reader, objects: Objects, protocol: ProtocolId, platform: str) -> Iterator[tuple[int, Run]]:
    """Runs of a column, newest first; all of them, unless they lie further back than is looked."""
    at = find(txn, protocol)
    left = sum(count.runs for count in counts(txn) if (count.protocol, count.platform) == (at, platform))
    last = txn.records()
    for number in range(last, max(0, last - LOOKED), -1):
        if not left:
            return
        run = _run(txn, objects, number)
        if run is not None and run.protocol == protocol and run.platform == platform:
            left -= 1
            yield number, run


def _run(txn: Reader, objects: Objects, number: int) -> Run | None:
    with suppress(DagError):  # damaged, or left out by a repair
        if read_record(txn.record(number), number).kind is RunId:
            run: Run = objects.load(txn, number)
            return run
    return None


def _curves(txn: Reader, objects: Objects, run: Run) -> Curves | None:
    # What failed may have reported anything.
    blob: BlobId | None = run.artifacts.get(ARTIFACT) if run.status in KNOWN else None
    with suppress(DagError):  # removed on purpose, or of a later version
        return decode_curves(objects.read(txn, blob)) if blob is not None else None
    return None
