"""What is left of the best, asked of a store: the history of records, and the repeats that would tell the top apart."""

from typing import TYPE_CHECKING

from dagstore.errors import BadInput, NotFound
from dagstore.ids import ProtocolId
from dagstore.leading import Leading
from dagstore.measuring import MAX_REPEAT, Measuring
from dagstore.rank import Noise
from dagstore.ranking import leaders
from dagstore.refs import resolve_protocol, seed
from dagstore.shown import Rows

if TYPE_CHECKING:
    from dagstore.bests import Bests
    from dagstore.repeats import Confirmation


CONFIRM = 1000
"""The priority of repeats that tell the best apart, above the usual 0 of what is tried out."""


class Confirming(Leading, Measuring):
    def records(self, *, platform: str | None = None, protocol: str | ProtocolId | None = None) -> "Bests":
        """The history of new bests, and what the noise leaves of each; of the column that `frontier` would rank."""
        with self._storage.read() as txn:
            channel = self._channel(txn, platform, resolve_protocol(txn, str(protocol)) if protocol else None)
            if channel is not None:
                from dagstore.history import history

                return history(self, txn, channel)
            from dagstore.bests import Bests

            charter = self._charter(txn, seed(txn))
            return Bests(charter.metric, charter.direction, None, platform, Noise(None, 0), Rows())

    def confirm(
        self,
        top: int = 5,
        *,
        budget: int = 10,
        platform: str | None = None,
        agent: str = "",
        priority: int = CONFIRM,
        dry_run: bool = False,
    ) -> "Confirmation":
        """Queue the repeats that are worth their time to tell the best of the `top` from the others; at most `budget`.

        They go before what is only tried out, unless `priority` says otherwise.

        Each run goes where it is expected to help most, until the first is the best with 95 %. Where nothing was
        repeated yet, the first three are, once each, so that the noise becomes known. What waits in line already is not
        queued again. `NotFound` if nothing was measured.
        """
        from dataclasses import replace

        from dagstore.repeats import plan

        if top < 2 or not 1 <= budget <= MAX_REPEAT:
            raise BadInput(
                "there is nothing to tell apart", hint=f"give a top of 2 or more and a budget of 1 to {MAX_REPEAT:,}"
            )
        with self._storage.read() as txn:
            channel = self._channel(txn, platform)
            found = leaders(txn, channel, top) if channel else []
            if channel is None or not found:
                raise NotFound("nothing was measured yet", hint="measure with `dag run @seed`")
            planned = plan(self, txn, channel, found, budget)
        if dry_run:
            return planned
        wanted = [row for row in planned.nodes if row.repeats]
        made = [self.queue([row.id], repeat=row.repeats, priority=priority, agent=agent) for row in wanted]
        return replace(planned, queued=Rows(ticket for tickets in made for ticket in tickets))
