"""Verifications, asked of a store: what a number should be, the ticket that measures it again, and what was found."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dagstore.base import Ref
from dagstore.channels import channels
from dagstore.errors import BadInput, NotFound, Refused
from dagstore.finding import find
from dagstore.ids import NodeId, RunId
from dagstore.measuring import Measuring
from dagstore.model import Protocol
from dagstore.proposing import Proposing
from dagstore.shown import Rows

if TYPE_CHECKING:
    from dagstore.reproducing import Column, Original, Verification
    from dagstore.tickets import Ticket
    from dagstore.views import RunView


class Verifying(Proposing, Measuring):
    def original(self, ref: Ref | RunId) -> "Original":
        """What is to be verified of a run or a node; `Refused` if it was not `ok`, `NotFound` if none was."""
        run = self._find_run(ref)
        return self._original_run(run) if run else self._original_node(str(ref))

    def queue_again(self, original: "Original", *, priority: int = 0, agent: str = "") -> "Ticket":
        """Put a measurement in line that verifies: with the seed of the run, in isolation, whatever was measured."""
        from dagstore.charter import isolated
        from dagstore.demands import Demands
        from dagstore.line import add_ticket

        with self._write() as txn:
            seq = self._seq(txn, original.node)
            self._check_runnable(txn, seq)
            demands = Demands.of(isolated(self._charter(txn, seq)))
            wish = (original.node, priority, agent, self._now(), demands)
            return add_ticket(txn, *wish, again=original.seed, isolation=True)

    def verified(self, original: "Original", run: RunId, *, agent: str = "") -> "Verification":
        """Record, as a note, what the run that was made for it says of the original."""
        from dagstore.reproducing import find as compare_with
        from dagstore.reproducing import verification_of
        from dagstore.verification import KIND, write_finding

        made = self.run(run)
        if made.node != original.node:
            raise BadInput(f"run {str(run)[:12]} is of another node", hint="verify with a run of the same one")
        text = write_finding(compare_with(original, made, self._protocol_of))
        view = verification_of(self.note(original.node, text, agent=agent, kind=KIND))
        assert view is not None
        return view

    def verifications(self, ref: Ref) -> "Rows[Verification]":
        """What was found when runs of a node were verified, oldest first."""
        from dagstore.reproducing import verification_of

        return Rows(found for note in self.notes(ref) if (found := verification_of(note)))

    def _original_run(self, run: "RunView") -> "Original":
        from dagstore.reproducing import Original

        if run.value is None:
            raise Refused(
                f"run {str(run.id)[:12]} ended {run.status.value}: there is no number to verify",
                hint=f"measure the node again with `dag run {str(run.node)[:12]} --repeat 1`",
            )
        return Original(run.node, run, (run,), self._noise_of((run,)))

    def _original_node(self, ref: str) -> "Original":
        from dagstore.reproducing import Original

        node = self.resolve(ref)
        runs = tuple(run for run in self.runs(node) if run.value is not None)
        if not runs:
            raise NotFound(f"node {self.short(node)} was not measured yet", hint=f"dag run {self.short(node)}")
        return Original(node, None, runs, self._noise_of(runs))

    def _find_run(self, ref: Ref | RunId) -> "RunView | None":
        if isinstance(ref, NodeId):
            return None
        try:
            return self.run(ref)
        except (NotFound, BadInput):
            if isinstance(ref, RunId):
                raise
            return None

    def _noise_of(self, runs: "Iterable[RunView]") -> "dict[Column, tuple[float | None, int]]":
        """The sd of one run in the columns of these; with 0 degrees of freedom where it is assumed."""
        wanted = {(run.protocol, run.platform) for run in runs}
        with self._storage.read() as txn:
            found = [one for one in channels(txn) if (one.protocol, one.platform) in wanted]
        return {(it.protocol, it.platform): (it.noise().taken, it.pool.runs - it.pool.groups) for it in found}

    def _protocol_of(self, run: "RunView") -> Protocol:
        with self._storage.read() as txn:
            protocol: Protocol = self._objects.load(txn, find(txn, run.protocol))
            return protocol
