"""Takes tickets from the line for a trainer: what the owner of the machine allows, and nobody died of just now."""

from dagstore import Charter, Refused, Store
from dagstore.charter import isolated
from dagstore.demands import Allows, Demands
from dagstore.tickets import Taken, Ticket
from trainer.policy import Owner
from trainer.watching import Watcher


def charter_for(store: Store, ticket: Ticket) -> Charter:
    """What the node of a ticket is measured by."""
    charter = store.charter(ticket.node)
    return isolated(charter) if ticket.isolation else charter


class Intake:
    """Takes for one trainer, under claims of `ttl` seconds; `watcher` is told what is passed by."""

    def __init__(self, store: Store, owner: Owner, runner: str, ttl: float, watcher: Watcher) -> None:
        self._store = store
        self._owner = owner
        self._runner = runner
        self._ttl = ttl
        self._watcher = watcher

    @property
    def allows(self) -> Allows:
        """Whether all of what is asked for is agreed to."""
        return self._owner.allows

    def take(self, number: int = 0) -> Taken | None:
        """The next ticket, or that one, under a claim; None if there is none to take."""
        taken = self._store.take(self._runner, self._ttl, ticket=number, allows=self.allows)
        for what, hint in self._owner.news():
            self._watcher.pass_by(what, hint)
        return taken

    def admit(self, taken: Taken, *, asked: bool) -> Charter | None:
        """What a taken ticket is measured by; None if it was put back, which one that is `asked` for is not.

        `Refused` if one that is asked for wants what the owner does not allow. The line may not have known.
        """
        charter = charter_for(self._store, taken.ticket)
        if asked:
            self._check_allowed(taken, charter)
        elif taken.lost is not None and taken.ticket.is_suspected:
            self._store.give_back(taken.claim)  # it has just cost another one its life, and goes behind all others
            return None
        elif not self.allows(Demands.of(charter)):
            self._store.decline(taken.claim)
            return None
        return charter

    def _check_allowed(self, taken: Taken, charter: Charter) -> None:
        lacks = self._owner.lacking(Demands.of(charter))
        if lacks:
            what, hint = self._owner.explain(lacks)
            name = self._store.short(taken.ticket.node)
            raise Refused(f"node {name} asks for {what}, which is not allowed here", hint=hint, code="not_allowed")
