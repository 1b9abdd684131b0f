"""How runs come into a store: a queue of tickets, taken under claims, ended by recording a run."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dagstore.base import Base, Ref
from dagstore.codec import encode
from dagstore.errors import BadInput, NotFound, Refused
from dagstore.finding import find
from dagstore.ids import BlobId, NodeId, ProtocolId, RunId
from dagstore.index import RUN, facts, graph_row, with_tree
from dagstore.model import Protocol, Run
from dagstore.records import FILE, read_record
from dagstore.shown import Rows
from dagstore.storage import Reader, Writer

if TYPE_CHECKING:
    from dagstore.claims import Claim, Standing
    from dagstore.demands import Allows
    from dagstore.tickets import Taken, Ticket
    from dagstore.views import RunView

MAX_REPEAT = 10_000
MAX_PLATFORM = 400
"""Bytes; the name is part of a key."""
ARTIFACT_FILE_BYTES = 4 << 10
"""Plain bytes. Packed, a log of this size takes 1 kB of the log of records for good; as a file it takes a block."""


class Measuring(Base):
    def queue(
        self, refs: Iterable[Ref], *, repeat: int | None = None, priority: int = 0, agent: str = ""
    ) -> "Rows[Ticket]":
        """Put nodes in line; the tickets that are new.

        Without `repeat`, a tree that has an `ok` or `pruned` run or waits in line already is passed over, so that
        nothing runs twice by accident. With it, tickets are added until that many wait for the tree. `Refused` if one
        has no charter or contradictions that were left open; then none is put in line.
        """
        from dagstore.demands import Demands
        from dagstore.line import add_ticket

        if repeat is not None and not 1 <= repeat <= MAX_REPEAT:
            raise BadInput(f"--repeat {repeat} is out of range", hint=f"1 to {MAX_REPEAT}")
        with self._write() as txn:
            made: list[Ticket] = []
            for ref in refs:
                seq = self._seq(txn, ref)
                id = self._id(txn, seq)
                self._check_runnable(txn, seq)
                demands = Demands.of(self._charter(txn, seq))
                wanted = range(self._wanted(txn, seq, repeat))
                made += [add_ticket(txn, id, priority, agent, self._now(), demands) for _ in wanted]
            return Rows(made)

    def take(self, agent: str, ttl: float, *, ticket: int = 0, allows: "Allows | None" = None) -> "Taken | None":
        """The next ticket under a claim of `ttl` seconds, or None; one whose holder is overdue is taken over.

        Passed by is what asks of the machine what `allows` does not agree to, unless it is asked for by its number.
        """
        from dagstore.line import next_ticket, take_ticket

        with self._storage.read() as txn:  # an idle trainer looks often, and looking needs no lock
            if next_ticket(txn, self._now(), ticket, allows) is None:
                return None
        with self._write() as writer:
            return take_ticket(writer, agent, self._now(), int(ttl * 1000), ticket, allows)

    def next_in_line(self, *, allows: "Allows | None" = None) -> "Ticket | None":
        """The ticket that `take` would give just now; somebody else may be faster."""
        from dagstore.line import next_ticket

        with self._storage.read() as txn:
            return next_ticket(txn, self._now(), allows=allows)

    def has_work(self, *, allows: "Allows | None" = None) -> bool:
        """Whether anything waits that `take` would give, or is in hand and may come back."""
        from dagstore.line import has_work

        with self._storage.read() as txn:
            return has_work(txn, allows)

    def standing(self, claim: "Claim") -> "Standing":
        """Whether a claim is still held, and whether its ticket was cancelled meanwhile. Takes no lock."""
        from dagstore.claims import Standing, find_claim
        from dagstore.tickets import is_cancelled

        with self._storage.read() as txn:
            if find_claim(txn, claim.token) is None:
                return Standing.LOST
            return Standing.CANCELLED if is_cancelled(txn, claim.ticket) else Standing.HELD

    def renew(self, claim: "Claim", ttl: float) -> "Claim":
        """The claim with a later deadline; `ClaimLost` if somebody took over."""
        from dagstore.claims import renew_claim

        with self._write() as txn:
            return renew_claim(txn, claim.token, self._now(), int(ttl * 1000))

    def complete(self, claim: "Claim", run: Run, protocol: Protocol, artifacts: Mapping[str, bytes]) -> "RunView":
        """Record the run of a claimed ticket and remove the ticket, at once; `ClaimLost` records nothing.

        `artifacts` are stored as blobs and entered in the run under their names.
        """
        from dagstore.line import finish_ticket

        if run.node != claim.node:
            raise BadInput(f"the run is of {run.node}, the claim on {claim.node}", hint="record it with `add_run`")
        self._save_large(artifacts)
        with self._write() as txn:
            finish_ticket(txn, claim)
            return self._record_run(txn, run, protocol, artifacts)

    def retry(self, claim: "Claim", run: Run, protocol: Protocol, artifacts: Mapping[str, bytes]) -> "Ticket":
        """Record a run that failed for reasons of the machine, and put the ticket back in line."""
        from dagstore.line import give_ticket_back

        self._save_large(artifacts)
        with self._write() as txn:
            ticket = give_ticket_back(txn, claim, failed=True)
            self._record_run(txn, run, protocol, artifacts)
            return ticket

    def give_back(self, claim: "Claim") -> "Ticket":
        """Put the ticket of a claim back in line, as if it had not been taken; one that was cancelled goes."""
        from dagstore.line import give_ticket_back

        with self._write() as txn:
            return give_ticket_back(txn, claim, failed=False)

    def decline(self, claim: "Claim") -> "Ticket":
        """The same, with what its charter asks of the machine looked up: `allows` may pass it by from now on."""
        from dagstore.charter import isolated
        from dagstore.demands import Demands
        from dagstore.line import give_ticket_back, held_ticket

        with self._write() as txn:
            charter = self._charter(txn, self._seq(txn, claim.node))
            demands = Demands.of(isolated(charter) if held_ticket(txn, claim).isolation else charter)
            return give_ticket_back(txn, claim, failed=False, demands=demands)

    def readmit(self, ticket: int) -> "Ticket | None":
        """Have a ticket over which trainers died wait like any other again; None if there is none in line."""
        from dagstore.line import readmit_ticket

        with self._write() as txn:
            return readmit_ticket(txn, ticket)

    def cancel(self, ticket: int) -> bool:
        """Remove a ticket from the line, unless somebody works on it; whether it was removed."""
        from dagstore.line import cancel_ticket

        with self._write() as txn:
            return cancel_ticket(txn, ticket, self._now())

    def end(self, ticket: int) -> bool:
        """Ask whoever works on a ticket to end that; whether there is such a ticket.

        Its trainer looks several times a second, and records the run as `cancelled`.
        """
        from dagstore.line import end_ticket

        with self._write() as txn:
            return end_ticket(txn, ticket)

    def add_run(self, run: Run, protocol: Protocol, artifacts: Mapping[str, bytes] | None = None) -> "RunView":
        """Record a run that was measured elsewhere; recording it again changes nothing."""
        self._save_large(artifacts or {})
        with self._write() as txn:
            return self._record_run(txn, run, protocol, artifacts or {})

    def _check_runnable(self, txn: Reader, seq: int) -> None:
        """A node that cannot be measured must not reach a trainer."""
        self._charter(txn, seq)
        open_ones = self._open(txn, seq)
        if open_ones:
            name = str(self._id(txn, seq))[:12]
            places = ", ".join(f"{one.path}: {one.region}" for one in open_ones[:5])
            raise Refused(
                f"node {name} has contradictions that nobody resolved: {places}",
                hint=f"resolve them in a child: `dag spawn {name}`, edit, `dag seal`; or adopt without --strict",
                code="contradicted",
            )

    def _wanted(self, txn: Writer, seq: int, repeat: int | None) -> int:
        from dagstore.line import tickets_of
        from dagstore.tickets import is_cancelled

        first = graph_row(txn, seq).first
        in_line = [ticket for node in with_tree(txn, first) for ticket in tickets_of(txn, self._id(txn, node))]
        waiting = sum(1 for ticket in in_line if not is_cancelled(txn, ticket.number))
        if repeat is not None:
            return max(0, repeat - waiting)
        return 0 if waiting or self._is_known(txn, first) else 1

    def _record_run(self, txn: Writer, run: Run, protocol: Protocol, artifacts: Mapping[str, bytes]) -> "RunView":
        if not find(txn, run.node):
            raise NotFound(f"no node {run.node} in this store", hint="`dag log` lists nodes")
        if len(run.platform.encode()) > MAX_PLATFORM:
            raise BadInput(f"the platform's name is longer than {MAX_PLATFORM} bytes", hint="name the device")
        for name, blob in run.artifacts.items():
            if not find(txn, blob):
                raise NotFound(f"no blob {blob} in this store for the artifact {name!r}", hint="hand over its bytes")
        _, id = self._protocol(txn, protocol)
        blobs = {name: self._artifact(txn, run.node, data) for name, data in artifacts.items()}
        whole = run._replace(protocol=id, artifacts={**run.artifacts, **blobs})
        seq, _ = self._put(txn, whole, encode(whole), RunId)
        return self._run_view(txn, seq)

    def _protocol(self, txn: Writer, protocol: Protocol) -> tuple[int, ProtocolId]:
        data = encode(protocol)
        return self._put(txn, protocol, data, ProtocolId)[0], ProtocolId.of(data)

    def _save_large(self, artifacts: Mapping[str, bytes]) -> None:
        """What becomes of a run that is not recorded after all is swept by `gc`."""
        for data in artifacts.values():
            if len(data) > ARTIFACT_FILE_BYTES:
                self._objects.save_file(data)

    def _artifact(self, txn: Writer, node: NodeId, data: bytes) -> BlobId:
        """A large artifact is a file, which `gc` can remove; a small one is stored against the last log of the line."""
        base = self._last_log(txn, node) if len(data) <= ARTIFACT_FILE_BYTES else 0
        self._objects.put(txn, BlobId, data, base, file_over=ARTIFACT_FILE_BYTES)
        return BlobId.of(data)

    def _last_log(self, txn: Reader, node: NodeId) -> int:
        seq = find(txn, node)
        row = graph_row(txn, seq)
        for first in (row.first, graph_row(txn, row.primary).first if row.primary else 0):
            last = next(facts(txn, first, RUN, newest_first=True), 0) if first else 0
            log = self._objects.load(txn, last).artifacts.get("log") if last else None
            if log is not None:
                return self._lasting(txn, find(txn, log))
        return 0

    def _lasting(self, txn: Reader, blob: int) -> int:
        """That record if it can be built on, else 0: a file may be removed, then what is stored against it is lost."""
        return blob if blob and read_record(txn.record(blob), blob).codec != FILE else 0
