"""Takes tickets for a trainer, as far as the owner of the machine allows them, and lets go of them again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dagstore import Charter, ClaimLost, Refused, Store
from dagstore.charter import isolated
from dagstore.claims import Claim
from dagstore.demands import Allows, Demands
from dagstore.model import Tree
from dagstore.tickets import Taken, Ticket
from trainer.heart import Heart, Watch
from trainer.policy import Owner
from trainer.report import report_of_lost
from trainer.scratch import Scratch, remove
from trainer.strays import sweep
from trainer.watching import Watcher


def charter_for(store: Store, ticket: Ticket) -> Charter:
    """What the node of a ticket is measured by."""
    charter = store.charter(ticket.node)
    return isolated(charter) if ticket.isolation else charter


class Intake:
    """Takes for one trainer, the `runner`, under claims of `ttl` seconds that `heart` keeps; `watcher` is told what is
    passed by. `scratch` is where an experiment's files lie while it is in hand.
    """

    def __init__(
        self, store: Store, owner: Owner, scratch: Scratch, heart: Heart, runner: str, ttl: float, watcher: Watcher
    ) -> None:
        self._store = store
        self._owner = owner
        self._scratch = scratch
        self._heart = heart
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

    def keep(self, claim: Claim) -> Watch:
        """Renew the claim until it is let go of."""
        return self._heart.keep(claim)

    @contextmanager
    def or_given_back(self, claim: Claim) -> Iterator[None]:
        """Should what follows fail, the ticket goes back in line and nothing is left of the work."""
        try:
            yield
        except BaseException:
            try:
                self.give_back(claim)
            finally:
                self.let_go(claim)
            raise

    def give_back(self, claim: Claim) -> None:
        """The ticket is in line again, unless somebody else has it already, or its run was recorded."""
        with suppress(ClaimLost):
            self._store.give_back(claim)

    def let_go(self, claim: Claim) -> None:
        """Of a claim that is settled: it is not renewed any more, and its files are gone."""
        self._heart.leave(claim)
        remove(self._scratch.home(claim.token))
        self._watcher.step("cleaned")

    def bury(self, claim: Claim, platform: str) -> None:
        """End what a vanished trainer left on this machine, and record that its run was lost."""
        sweep(self._scratch.mark(claim.token))
        self._scratch.tidy()
        charter, tree = self._store.charter(claim.node), Tree(self._store.files(claim.node))
        report = report_of_lost(claim, charter, tree, platform, self._runner)
        self._store.add_run(report.run, report.protocol)

    def _check_allowed(self, taken: Taken, charter: Charter) -> None:
        lacks = self._owner.lacking(Demands.of(charter))
        if lacks:
            what, hint = self._owner.explain(lacks)
            name = self._store.short(taken.ticket.node)
            raise Refused(f"node {name} asks for {what}, which is not allowed here", hint=hint, code="not_allowed")
