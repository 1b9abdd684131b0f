"""fsck: proves that a store says what its ids promise.

quick  the log is as long as the index says, its frames lie where the index says, records and ids are as many
links  also that every frame of the log is whole, and that everything an object names is there and stored before it
full   also that every object decodes, is canonical and hashes to its id, and that the indexes are what the log gives
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from dagstore.checkpoints import Checkpoints
from dagstore.deepcheck import DeepCheck, frame_finding
from dagstore.environment import LOG
from dagstore.errors import BadInput, Damaged
from dagstore.finding import find
from dagstore.findings import DEPTHS, MAX_LISTED, REINDEX, Finding, Progress, Report
from dagstore.ids import NodeId, RunId
from dagstore.logcheck import Ahead, Mismatch, compare_log, damages_in, is_within, joined, known_end
from dagstore.logfile import LogFile
from dagstore.pages import index_damage
from dagstore.quarantine import bytes_given_up, count_left_out, left_out
from dagstore.records import NUMBER
from dagstore.refs import SEED
from dagstore.rows import count_nodes
from dagstore.storage import Reader, Storage, after
from dagstore.storage_lmdb import LmdbStorage
from dagstore.transactions import FRAMES

__all__ = ["DEPTHS", "Finding", "Report", "check"]

SAVE_SECONDS = 3.0


def check(
    storage: LmdbStorage,
    folder: Path,
    depth: str = "quick",
    progress: Progress | None = None,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = lambda: 0.0,
) -> Report:
    """Everything found wrong within `depth`; changes nothing of the store.

    With `resume` it goes on where one of the same depth ended early. `stop` is asked now and then whether to end.
    """
    if depth not in DEPTHS:
        raise BadInput(f"no depth {depth!r}", hint="there are: " + ", ".join(DEPTHS))
    log = LogFile(folder / LOG, create=False, readonly=True)
    try:
        damage = index_damage(storage, folder)
        if damage:  # to read on might end this process
            return Report(depth, 0, 0, 0, 0, (Finding("index", "index", damage, REINDEX),))
        report = _quick(storage, log, depth)
        if depth == "quick" or any(one.what == FRAMES for one in report.findings):
            return report  # without that table nothing else can be read
        first = [one for one in report.findings if one.code != "frame"]  # those of whole frames know better
        with Checkpoints(folder) as saved, DeepCheck(storage, folder, log, saved, depth, first) as deep:
            return _run(deep, progress, stop, clock, resume=resume)
    except Damaged as error:
        finding = Finding("index", "index", error.message, error.hint or REINDEX)
        return Report(depth, 0, 0, 0, 0, (finding,))
    finally:
        log.close()


def log_damage(storage: LmdbStorage, folder: Path) -> Finding | None:
    """The first damage to the part of the log that the index knows of, unless a repair gave it up.

    None if there is none, or if the index cannot be read.
    """
    if index_damage(storage, folder):
        return None
    log = LogFile(folder / LOG, create=False, readonly=True)
    try:
        with storage.read() as txn:
            end, size, known = known_end(txn), log.size(), bytes_given_up(txn)
            found = damages_in(Ahead(log.read, min(end, size)), end, txn.records())
            new = (one for one in found if not any(is_within(one, given_up) for given_up in known))
            return next((frame_finding(one, size) for one in new), None)
    except Damaged:
        return None
    finally:
        log.close()


def _run(
    deep: DeepCheck, progress: Progress | None, stop: Callable[[], bool], clock: Callable[[], float], *, resume: bool
) -> Report:
    deep.begin(resume=resume)
    due = clock() + SAVE_SECONDS
    try:
        while (report := deep.advance()) is None and not stop():
            if progress:
                progress(deep.reached.checked, deep.objects)
            if clock() >= due:
                deep.save()
                due = clock() + SAVE_SECONDS
    except BaseException:
        deep.save()
        raise
    if report is None:
        deep.save()
        report = deep.report()
    else:
        deep.forget()
    if progress:
        progress(report.checked, report.objects)
    return report


def _quick(storage: Storage, log: LogFile, depth: str) -> Report:
    with storage.read() as txn:
        found = list(islice(_quick_findings(txn, log), 2 * MAX_LISTED))
        outside = count_left_out(txn)
        objects = txn.records() - outside
        return Report(
            depth,
            objects,
            objects,
            count_nodes(txn),
            _count_runs(txn),
            tuple(found[:MAX_LISTED]),
            omitted=max(0, len(found) - MAX_LISTED),
            quarantined=tuple(islice(left_out(txn), MAX_LISTED)),
            left_out=outside,
        )


def _quick_findings(txn: Reader, log: LogFile) -> Iterator[Finding]:
    """What is wrong with the meta data, and where log and index do not agree."""
    if not _has_seed(txn):
        hint = "restore a copy; if there is none, `dag fsck --repair`, then `dag init` records the project anew"
        yield Finding("no_seed", "meta", "the store names no seed node, or one that it does not have", hint)
    end, size, known = known_end(txn), log.size(), bytes_given_up(txn)
    if size < end:
        yield Finding("cut_off", "log", f"the log ends at byte {size}, where there were {end} bytes")
    for wrong in joined(compare_log(txn, Ahead(log.read, min(end, size)))):
        if isinstance(wrong, Mismatch):
            yield Finding("index", FRAMES, f"the index is not that of the log: {wrong.message}", REINDEX)
            return
        if not any(wrong.offset in given_up for given_up in known):
            yield frame_finding(wrong, size)
    objects, ids = txn.records() - count_left_out(txn), txn.count("id")
    if objects != ids:
        yield Finding("index", "id", f"there are {objects} objects but {ids} ids", REINDEX)


def _has_seed(txn: Reader) -> bool:
    seed = txn.get("meta", SEED)
    try:
        return seed is not None and find(txn, NodeId(seed)) != 0
    except Damaged:  # what cannot be read is told of in its place
        return True


def _count_runs(txn: Reader) -> int:
    prefix = bytes([NUMBER[RunId]])
    return sum(1 for _ in txn.scan("id", prefix, after(prefix)))
