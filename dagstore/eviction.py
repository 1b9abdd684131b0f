"""Which artifacts of runs may be removed, by a policy: those of old runs that are files of their own.

Never one that a tree or a younger run names as well, that another object is stored against, or that belongs to one of
the best nodes of a ranking.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dagstore.chains import size_of
from dagstore.channels import channels
from dagstore.errors import BadInput
from dagstore.files import BlobFiles
from dagstore.finding import find
from dagstore.ids import BlobId, RunId, TreeId
from dagstore.index import RUN, facts
from dagstore.model import Run
from dagstore.objects import Objects
from dagstore.ranking import ordered
from dagstore.records import DELTA, FILE, NUMBER, SPLICE, read_packed, read_record, read_tree
from dagstore.storage import Reader
from dagstore.tombstones import Tombstone, is_gone
from dagstore.walking import records_in

LOG = "log"

_FILE, _OLD, _NEEDED = 1, 2, 4
_MAY_GO = _FILE | _OLD
_BLOB, _TREE, _RUN = NUMBER[BlobId], NUMBER[TreeId], NUMBER[RunId]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a sweep removes; durations in seconds, None for never.

    `grace` is how long after its last sign of life something counts as in use. `logs_older` and `artifacts_older` are
    counted from the end of a run; artifacts include logs. The `keep_best` first nodes of every ranking keep theirs.
    """

    grace: float
    logs_older: float | None
    artifacts_older: float | None
    keep_best: int

    def __post_init__(self) -> None:
        if min(self.grace, self.logs_older or 0, self.artifacts_older or 0, self.keep_best) < 0:
            raise BadInput("an age or a number to keep is negative", hint="say 0 or more")

    @property
    def evicts(self) -> bool:
        return self.logs_older is not None or self.artifacts_older is not None

    def reason(self, name: str, age: float) -> str:
        """By what an artifact of a run that ended `age` seconds ago is removed; empty if it stays."""
        if name == LOG and self.logs_older is not None and age > self.logs_older:
            return f"`dag gc --logs-older {_written(self.logs_older)}`"
        if self.artifacts_older is not None and age > self.artifacts_older:
            return f"`dag gc --artifacts-older {_written(self.artifacts_older)}`"
        return ""


class Eviction:
    """Looks at records in their order, each once, and keeps five bytes for each."""

    def __init__(self, objects: Objects, files: BlobFiles, policy: Policy, now: int) -> None:
        self._objects = objects
        self._files = files
        self._policy = policy
        self._now = now
        self._flags = bytearray(1)
        self._runs = array("I", [0])
        self._spared = False

    def look(self, txn: Reader, numbers: range) -> None:
        """Take note of what the records say of artifacts; they follow those that were looked at before."""
        self._flags.extend(bytes(len(numbers)))
        self._runs.extend(array("I", bytes(4 * len(numbers))))
        for number, data in records_in(txn, numbers):
            kind = data[0] >> 4
            if kind == _BLOB:
                self._look_at_blob(data, number)
            elif kind == _TREE:
                self._look_at_tree(data, number)
            elif kind == _RUN:
                self._look_at_run(txn, number)

    def catch_up(self, txn: Reader) -> None:
        """Look at what came since, and spare the best nodes as they are now."""
        following = range(len(self._flags), txn.records() + 1)
        if following:
            self.look(txn, following)
        if following or not self._spared:
            self._spare_best(txn)
            self._spared = True

    def candidates(self) -> Iterator[int]:
        """Records of blobs that may go, as far as is known by now."""
        return (number for number, flags in enumerate(self._flags) if flags == _MAY_GO)

    def stone(self, txn: Reader, number: int) -> Tombstone | None:
        """What shall be said of the blob; None if it is to stay, is gone already or has no file."""
        blob = read_record(txn.record(number), number)
        if self._flags[number] != _MAY_GO or not isinstance(blob.id, BlobId) or is_gone(txn, blob.id):
            return None
        stored = self._files.size(blob.id)
        if stored is None:
            return None
        run: Run = self._objects.load(txn, self._runs[number])
        name = next(name for name, id in sorted(run.artifacts.items()) if id == blob.id)
        reason = self._policy.reason(name, self._age(run))
        return Tombstone(blob.id, size_of(blob, number) or 0, stored, name, self._runs[number], self._now, reason)

    def _look_at_blob(self, data: bytes, number: int) -> None:
        codec = data[0] & 15
        if codec == FILE:
            self._flags[number] |= _FILE
        elif codec in (DELTA, SPLICE):
            self._flags[read_packed(read_record(data, number).rest, number).base] |= _NEEDED

    def _look_at_tree(self, data: bytes, number: int) -> None:
        for _, _, item in read_tree(read_record(data, number).rest, number)[2]:
            if item is not None:
                self._flags[item[2]] |= _NEEDED

    def _look_at_run(self, txn: Reader, number: int) -> None:
        run: Run = self._objects.load(txn, number)
        age = self._age(run)
        for name, blob in run.artifacts.items():
            record = find(txn, blob)
            if self._policy.reason(name, age):
                self._flags[record] |= _OLD
                self._runs[record] = number
            else:
                self._flags[record] |= _NEEDED

    def _spare_best(self, txn: Reader) -> None:
        for channel in channels(txn):
            for node in islice(ordered(txn, channel), self._policy.keep_best):
                for number in facts(txn, node, RUN):
                    run: Run = self._objects.load(txn, number)
                    for blob in run.artifacts.values():
                        self._flags[find(txn, blob)] |= _NEEDED

    def _age(self, run: Run) -> float:
        """Seconds since a run ended."""
        return (self._now - run.started) / 1000 - run.seconds


def _written(seconds: float) -> str:
    """A duration as it is said on the command line."""
    units = ((86400, "d"), (3600, "h"), (60, "m"))
    return next(
        (f"{seconds // size:.0f}{unit}" for size, unit in units if seconds and seconds % size == 0), f"{seconds:g}s"
    )
