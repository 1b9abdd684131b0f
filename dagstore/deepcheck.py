"""The part of a check that goes through the whole log, in slices, and can go on where it ended."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Self

from dagstore.afresh import Overlay, differences, offset_in, set_offset
from dagstore.checkpoints import Checkpoints
from dagstore.errors import DagError
from dagstore.examine import BAD, GONE, NEEDY, Examiner
from dagstore.files import BlobFiles
from dagstore.findings import MAX_LISTED, REINDEX, Finding, Report
from dagstore.ids import BlobId, NodeId, RunId
from dagstore.index import catch_up, clear, indexed
from dagstore.log import Frame
from dagstore.logcheck import Ahead, Damage, is_within, known_end, lost_names, read_log
from dagstore.logfile import LogFile
from dagstore.quarantine import bytes_given_up, left_out
from dagstore.records import NUMBER
from dagstore.storage import Memo, Reader, Storage
from dagstore.storage_lmdb import LmdbStorage
from dagstore.tombstones import is_gone

SLICE = 2000
"""Records that are looked at in one transaction."""
_RECENT = 1 << 14
"""Records that are kept at hand."""
_VERSION = 1
_NODE, _RUN = NUMBER[NodeId], NUMBER[RunId]
_MARKED = re.compile(b"[%c]+|[%c]+|[%c]+" % (GONE, BAD, NEEDY))


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a check has got: records up to `record`, which end at `offset` of the log; the rest are counts."""

    offset: int = 0
    record: int = 0
    checked: int = 0
    nodes: int = 0
    runs: int = 0
    affected: int = 0
    findings: int = 0
    omitted: int = 0
    damages: int = 0


class DeepCheck:
    """A check of depth `links` or `full`, of which `first` are findings that were made before."""

    def __init__(
        self, storage: Storage, folder: Path, log: LogFile, saved: Checkpoints, depth: str, first: Iterable[Finding]
    ) -> None:
        self.reached = Reached()
        self.objects = 0
        self._storage = storage
        self._log = log
        self._saved = saved
        self._depth = depth
        self._first = tuple(first)
        self._examiner = Examiner(BlobFiles(folder / "blobs"), self._was_removed, full=depth == "full")
        self._findings: list[Finding] = []
        self._damages: list[Damage] = []
        self._tables: LmdbStorage | None = None
        self._memo = Memo()
        self._recent: dict[int, bytes] = {}
        self._ahead = Ahead(log.read, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tables is not None:
            self._tables.close()

    def begin(self, *, resume: bool) -> None:
        """Go on where an earlier check of the same depth ended, or start."""
        with self._storage.read() as txn:
            self._store = (txn.get("meta", b"uuid") or b"").hex()
            self._outside = self._examiner.leave_out(txn, left_out(txn))
            self._given_up = bytes_given_up(txn)
            end = known_end(txn)
        if resume and self._restore(end):
            return
        self._close_tables()
        self._saved.empty()
        self._open_tables()

    def advance(self) -> Report | None:
        """Look at the next records; the report if these were the last."""
        with self._storage.read() as txn:
            end, last = known_end(txn), txn.records()
            self._ahead.end = min(end, self._log.size())
            self.objects = last - self._outside
            items = list(self._read(end, last))
            at = items[-1].end if items else end
            self._look(txn, items, at)
            if at < end:
                return None
            if self._tables is not None and not self._is_damaged():
                self._first = tuple(self._compare(txn, self._tables))
            return self._report(txn)

    def report(self) -> Report:
        """What was found so far."""
        with self._storage.read() as txn:
            return self._report(txn)

    def save(self) -> None:
        """Keep how far this got, for a check that goes on."""
        marks = self._examiner.marks[: self.reached.record + 1]
        state = {
            "version": _VERSION,
            "store": self._store,
            "depth": self._depth,
            "reached": asdict(self.reached),
            "findings": [astuple(one) for one in self._findings[: self.reached.findings]],
            "damages": self._damages[: self.reached.damages],
            "marks": [(found.start(), found.end(), found[0][0]) for found in _MARKED.finditer(marks)],
        }
        self._saved.save(state)

    def forget(self) -> None:
        """The check is over: remove what was kept for going on."""
        self._saved.remove()

    def _restore(self, end: int) -> bool:
        """Whether there is a check to go on with, which is then as it was."""
        state = self._saved.load() or {}
        try:
            if (state["version"], state["store"], state["depth"]) != (_VERSION, self._store, self._depth):
                return False
            reached = Reached(**state["reached"])
            findings = [Finding(*one) for one in state["findings"]]
            damages = [Damage(*one) for one in state["damages"]]
            self._open_tables()
            if reached.offset > end or self._built() < reached.offset:
                return False
            for start, stop, mark in state["marks"]:
                self._examiner.mark(range(start, stop), mark)
        except (KeyError, TypeError, ValueError, DagError):
            return False
        self._examiner.mark(range(reached.record + 1, reached.record + 1), 0)
        self.reached, self._findings, self._damages = reached, findings, damages
        return True

    def _open_tables(self) -> None:
        if self._depth != "full":
            return
        self._tables = LmdbStorage(self._saved.folder, create=True)
        with self._tables.write() as txn:
            if not indexed(txn):
                clear(txn)

    def _close_tables(self) -> None:
        if self._tables is not None:
            self._tables.close()
            self._tables = None

    def _built(self) -> int:
        """Up to which byte of the log there are tables; those of a check that builds none go as far as it."""
        if self._tables is None:
            return 1 << 62
        with self._tables.read() as txn:
            return offset_in(txn)

    def _was_removed(self, blob: BlobId) -> bool:
        with self._storage.read() as txn:  # of now: it may have been removed after this slice began
            return is_gone(txn, blob)

    def _read(self, end: int, last: int) -> Iterator[Frame | Damage]:
        """The next frames, with about `SLICE` records."""
        count = 0
        for item in read_log(self._ahead, self.reached.offset, end, self.reached.record + 1, last):
            yield item
            count += len(item.records) if isinstance(item, Frame) else 0
            if count >= SLICE:
                return

    def _look(self, txn: Reader, items: list[Frame | Damage], at: int) -> None:
        """Look at the records of frames that end at `at`."""
        start = last = self.reached.record
        self._tally: Counter[str] = Counter()
        if len(self._recent) > _RECENT:
            self._recent = {}
        for item in items:
            if isinstance(item, Damage):
                last = item.following - 1
                self._lose(item)
            else:
                last = item.first + len(item.records) - 1
                self._recent.update(enumerate(item.records, start=item.first))
        numbers = range(start + 1, last + 1)
        if self._tables is None:
            self._admit_all(txn, numbers)
        else:
            self._index(txn, items, numbers, at)
        counts = asdict(self.reached)
        for name, more in self._tally.items():
            counts[name] += more
        counts.update(offset=at, record=last, findings=len(self._findings), damages=len(self._damages))
        self.reached = Reached(**counts)

    def _lose(self, damage: Damage) -> None:
        """Take note of damage, unless a repair gave it up."""
        lost = self._examiner.lose(range(damage.first, damage.following))
        if lost or not any(is_within(damage, given_up) for given_up in self._given_up):
            self._damages.append(damage)
        self._tally["checked"] += lost

    def _index(self, txn: Reader, items: list[Frame | Damage], numbers: range, at: int) -> None:
        """Look at records, and build the tables of what is whole."""
        assert self._tables is not None
        self._memo.trim()
        with self._tables.write() as fresh:
            overlay = Overlay(txn, fresh, self._recent, self._memo, numbers.stop - 1)
            for table, key, value in (op for item in items if isinstance(item, Frame) for op in item.ops):
                fresh.delete(table, key) if value is None else fresh.put(table, key, value)
            done = indexed(fresh)
            self._admit_all(overlay, range(numbers.start, min(done + 1, numbers.stop)))
            catch_up(overlay, self._examiner.objects, len(numbers), admit=self._admit)
            set_offset(fresh, max(at, offset_in(fresh)))

    def _admit_all(self, txn: Reader, numbers: range) -> None:
        for number in numbers:
            if not self._examiner.is_left_out(number):
                self._admit(txn, number)

    def _admit(self, txn: Reader, number: int) -> bool:
        """Look at a record and say what is wrong with it; whether nothing is."""
        data = self._recent.get(number)
        if data is None:
            return False  # lost, which was said
        verdict = self._examiner.look(txn, number, data)
        kind = data[0] >> 4 if data else -1
        self._tally["checked"] += 1
        self._tally["nodes"] += kind == _NODE
        self._tally["runs"] += kind == _RUN
        if verdict is None:
            return True
        if not verdict.told:
            self._tally["affected"] += 1
        elif len(self._findings) < MAX_LISTED:
            self._findings.append(Finding(verdict.code, verdict.what, verdict.message))
        else:
            self._tally["omitted"] += 1
        return False

    def _is_damaged(self) -> bool:
        """Whether the log alone would give another index than there was before the damage."""
        return bool(self._findings or self._damages) or any(one.code != "index" for one in self._first)

    def _compare(self, txn: Reader, tables: LmdbStorage) -> Iterator[Finding]:
        """What the index has otherwise than the log gives."""
        with tables.read() as fresh:
            for table, key in differences(txn, fresh):
                message = f"differs from what the log gives at key {key.hex()}"
                yield Finding("index", table, message, REINDEX)

    def _report(self, txn: Reader) -> Report:
        reached, size = self.reached, self._log.size()
        damaged = (frame_finding(one, size) for one in self._damages)
        found = [*self._first, *damaged, *_lost_findings(txn, self._damages), *self._findings]
        return Report(
            self._depth,
            self.objects,
            reached.checked,
            reached.nodes,
            reached.runs,
            tuple(found[:MAX_LISTED]),
            omitted=reached.omitted + max(0, len(found) - MAX_LISTED),
            affected=reached.affected,
            quarantined=tuple(islice(left_out(txn), MAX_LISTED)),
            left_out=self._outside,
        )


def frame_finding(damage: Damage, size: int) -> Finding:
    """What is said of damage in a log of `size` bytes."""
    count = damage.following - damage.first
    lost = f"; records {damage.first} to {damage.following - 1} are lost" if count > 0 else ""
    if damage.offset >= size:
        return Finding("frame", f"log byte {damage.offset}", f"the log ends before byte {damage.end}{lost}")
    message = f"bytes {damage.offset} to {damage.end} of the log are damaged{lost}"
    return Finding("frame", f"log byte {damage.offset}", message)


def _lost_findings(txn: Reader, damages: Iterable[Damage]) -> Iterator[Finding]:
    """One for each record that is lost, named as well as the index can."""
    lost = list(islice(((number, one) for one in damages for number in range(one.first, one.following)), MAX_LISTED))
    names = lost_names(txn, [number for number, _ in lost])
    for number, damage in lost:
        message = f"record {number} was in bytes {damage.offset} to {damage.end} of the log, which are damaged"
        yield Finding("lost", names.get(number, f"record {number}"), message)
