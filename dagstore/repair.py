"""Gives up what is damaged, so that everything else can be used again: `dag fsck --repair`.

Only what is derived is built again. The log stays as it is: bytes of it that are damaged, and files of blobs, are put
into the folder `quarantine`; what cannot be read without them is left out of the indexes, and remembered as left out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from dagstore.checkpoints import forget_check
from dagstore.claims import all_claims, drop_claim
from dagstore.environment import LOG
from dagstore.errors import Damaged, Unavailable
from dagstore.examine import GONE, NEEDY, Examiner, Verdict
from dagstore.files import BlobFiles
from dagstore.finding import find, name_of
from dagstore.findings import Progress
from dagstore.ids import BlobId, NodeId
from dagstore.index import catch_up, clear, indexed
from dagstore.line import cancel_ticket
from dagstore.log import Gap, transactions
from dagstore.logcheck import Ahead, Damage, damages_in, known_end, lost_names
from dagstore.logfile import LogFile
from dagstore.names import PREFIX as NAME
from dagstore.names import all_names
from dagstore.pages import index_damage
from dagstore.quarantine import DAMAGE, PREFIX, LeftOut, give_up_bytes, leave_out, left_out, take_back
from dagstore.records import FILE, read_record
from dagstore.refs import SEED
from dagstore.rows import count_nodes
from dagstore.storage import KEPT, Reader, Storage, Writer
from dagstore.storage_lmdb import LmdbStorage
from dagstore.tickets import all_tickets
from dagstore.tombstones import is_gone

FOLDER = "quarantine"
BATCH = 20_000
"""Records that are indexed in one transaction."""
LISTED = 100
"""Objects that are told of one by one; more are counted."""
FEW = 10
"""Records that are named in one sentence."""
_NAMED = 100_000
"""Lost records that are named."""
_PIECE = 1 << 20
_FOR_EVER = 1 << 62


@dataclass(slots=True)
class Known:
    """What the index knew before it was given up: where the log is damaged, what was there, and the kept tables.

    `dropped` is the end of the log that does not count without what is damaged in it.
    """

    damages: list[Damage] = field(default_factory=list)
    dropped: Damage | None = None
    names: dict[int, str] = field(default_factory=dict)
    kept: dict[str, dict[bytes, bytes]] | None = None


class Repair:
    """One repair of the store in `folder`; `actions` says what was done."""

    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self.actions: list[str] = []
        self._folder = folder
        self._files = BlobFiles(folder / "blobs")
        self._progress = progress
        self._left_out = self._needy = 0

    def run(self, storage: LmdbStorage, anew: Callable[[], LmdbStorage]) -> None:
        """`anew` gives up the index of `storage`, which it closes, and opens it again with one made from the log."""
        known = self._survey(storage)
        for damage in known.damages:
            self._save_bytes(damage.offset, damage.end)
        if known.dropped:
            self._save_bytes(known.dropped.offset, known.dropped.end)
        elif known.damages:
            with storage.write() as txn:  # a frame that knows of them, so that they are no writes that were cut off
                _give_up(txn, known.damages)
        storage = anew()
        if known.kept is None:
            with storage.read() as txn:
                known.damages, _ = self._damages(txn)
        with storage.write() as txn:
            self._begin(txn, known)
        self._index(storage, known)
        with storage.write() as txn:
            self._forget_nodes(txn)
        forget_check(self._folder)
        self._summarise(storage, known)

    def _survey(self, storage: LmdbStorage) -> Known:
        """What the index knows; nothing if it cannot be read itself."""
        damage = index_damage(storage, self._folder)
        if damage:
            return self._distrust(damage)
        try:
            with storage.read() as txn:
                damages, dropped = self._damages(txn)
                every = [*damages, dropped] if dropped else damages
                lost = chain.from_iterable(range(one.first, one.following) for one in every)
                names = lost_names(txn, list(islice(lost, _NAMED)))
                names.update((one.record, one.what) for one in left_out(txn))
                kept = {table: _rows(txn, table) for table in KEPT if every}
                return Known(damages, dropped, names, kept)
        except Damaged as error:
            return self._distrust(error.message)

    def _distrust(self, why: str) -> Known:
        self.actions.append(f"gave up the index, which is damaged: {why}")
        return Known()

    def _damages(self, txn: Reader) -> tuple[list[Damage], Damage | None]:
        """Where the log is damaged, and from where on it does not count since its end is gone."""
        log = LogFile(self._folder / LOG, create=False, readonly=True)
        try:
            end, size, last = known_end(txn), log.size(), txn.records()
            if size >= end:
                return damages_in(Ahead(log.read, end), end, last), None
            offset, record = 0, 1
            for item in transactions(Ahead(log.read, size)):
                if not isinstance(item, Gap):
                    offset, record = item[-1].end, item[-1].first + len(item[-1].records)
            gaps = damages_in(Ahead(log.read, offset), offset, record - 1)
            return gaps, Damage(offset, end, record, last + 1)
        finally:
            log.close()

    def _save_bytes(self, offset: int, end: int) -> None:
        """Copy bytes of the log to a file of their own; those that are there already stay."""
        target = self._folder / FOLDER / f"log-{offset}"
        try:
            target.parent.mkdir(exist_ok=True)
            with open(self._folder / LOG, "rb") as log, open(target, "xb") as copy:
                log.seek(offset)
                while offset < end and (piece := log.read(min(_PIECE, end - offset))):
                    copy.write(piece)
                    offset += len(piece)
                size = copy.tell()
        except FileExistsError:
            return
        except OSError as error:
            raise Unavailable(f"{target}: {error.strerror}", hint="free some space or check permissions") from error
        self.actions.append(f"copied {size} damaged bytes of the log to {target}")

    def _begin(self, txn: Writer, known: Known) -> None:
        """Enter what was set in damaged bytes again, and what is known to be damaged."""
        clear(txn)
        count = sum(_set_again(txn, table, rows) for table, rows in (known.kept or {}).items())
        if count:
            self.actions.append(
                f"entered again what was set in damaged bytes (names, claims, tickets, …): {count} rows of the index"
            )
        take_back(txn)
        _give_up(txn, known.damages)

    def _index(self, storage: Storage, known: Known) -> None:
        """Index everything that is whole and has all that it needs."""

        def is_removed(blob: BlobId) -> bool:
            return is_gone(self._txn, blob)

        examiner = Examiner(self._files, is_removed, full=True)

        def admit(txn: Writer, number: int) -> bool:
            return self._admit(txn, number, examiner, known)

        behind = True
        while behind:
            with storage.write() as txn:
                self._txn = txn
                behind = catch_up(txn, examiner.objects, BATCH, self._progress, admit)

    def _admit(self, txn: Writer, number: int, examiner: Examiner, known: Known) -> bool:
        """Whether a record is whole and has all that it needs; if not, it is remembered as left out."""
        try:
            data = txn.record(number)
        except Damaged:
            examiner.mark(range(number, number + 1), GONE)
            verdict = Verdict(
                "lost", known.names.get(number, f"record {number}"), "its bytes of the log are damaged", GONE
            )
        else:
            found = examiner.look(txn, number, data)
            if found is None:
                return True
            verdict = found
            self._move_file(data, number, verdict)
        leave_out(txn, LeftOut(number, verdict.code, verdict.what, verdict.message))
        self._tell(verdict)
        return False

    def _move_file(self, data: bytes, number: int, verdict: Verdict) -> None:
        if verdict.code != "damaged":
            return
        record = read_record(data, number)
        if record.codec == FILE and isinstance(record.id, BlobId):
            target = self._folder / FOLDER
            if self._files.discard(record.id, target):
                self.actions.append(f"moved the damaged file of blob {record.id} to {target / str(record.id)}")

    def _tell(self, verdict: Verdict) -> None:
        self._left_out += 1
        if verdict.mark == NEEDY:
            self._needy += 1
        elif self._left_out - self._needy <= LISTED:
            self.actions.append(f"left out {verdict.what}: {verdict.message}")

    def _forget_nodes(self, txn: Writer) -> None:
        """Take away what was said of nodes that are lost."""
        for name, node in list(all_names(txn)):
            if not find(txn, node):
                txn.delete("state", NAME + name.encode())
                self.actions.append(f"took the name {name} away, whose node {node} is lost")
        for ticket in list(all_tickets(txn)):
            if not find(txn, ticket.node):
                cancel_ticket(txn, ticket.number, _FOR_EVER)
                self.actions.append(f"took node {ticket.node} out of the queue, which is lost")
        for claim in list(all_claims(txn)):
            if not find(txn, claim.node):
                drop_claim(txn, claim.token)
                self.actions.append(f"ended claim {claim.token} on node {claim.node}, which is lost")
        self._find_seed(txn)

    def _find_seed(self, txn: Writer) -> None:
        """The first node of all has no parents, so it is a seed."""
        seed = txn.get("meta", SEED)
        if seed is not None and find(txn, NodeId(seed)):
            return
        if count_nodes(txn):
            seed = name_of(txn, NodeId, 1)
            txn.put("meta", SEED, bytes(seed))
            self.actions.append(f"made node {seed} the seed, since the former one is lost")
        elif seed is not None:
            txn.delete("meta", SEED)
            self.actions.append("no node is left; record the project anew with `dag init`")

    def _summarise(self, storage: Storage, known: Known) -> None:
        more = self._left_out - self._needy - LISTED
        if more > 0:
            self.actions.append(f"left out {more} more objects that cannot be read")
        if self._needy:
            self.actions.append(f"left out {self._needy} objects that cannot be without those")
        dropped = known.dropped
        if dropped and dropped.following > dropped.first:
            numbers = range(dropped.first, dropped.following)
            names = ", ".join(known.names.get(number, f"record {number}") for number in numbers[:FEW])
            more_names = ", …" if len(numbers) > FEW else ""
            self.actions.append(f"{len(numbers)} records are gone with the end of the log: {names}{more_names}")
        with storage.read() as txn:
            self.actions.append(f"built the indexes again from {indexed(txn) - self._left_out} objects")


def _give_up(txn: Writer, damages: Iterable[Damage]) -> None:
    for damage in damages:
        give_up_bytes(txn, damage.offset, damage.end)


def _rows(txn: Reader, table: str) -> dict[bytes, bytes]:
    """The rows of a table but for those that repairs write themselves."""
    return {key: row for key, row in txn.scan(table) if not key.startswith((PREFIX, DAMAGE))}


def _set_again(txn: Writer, table: str, rows: dict[bytes, bytes]) -> int:
    """Make a table what it was; how many rows that took."""
    there = _rows(txn, table)
    for key in there.keys() - rows.keys():
        txn.delete(table, key)
    changed = {key: row for key, row in rows.items() if there.get(key) != row}
    for key, row in sorted(changed.items()):
        txn.put(table, key, row)
    return len(changed) + len(there.keys() - rows.keys())
