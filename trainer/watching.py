"""What a worker tells whoever watches it."""

from typing import Protocol

from dagstore import Charter
from dagstore.tickets import Ticket
from dagstore.views import RunView


class Watcher(Protocol):
    """Whoever watches a worker. What is recorded in the background is told from there."""

    def step(self, name: str) -> None:
        """`taken`, `materialised`, `ended`, `recorded`, `cleaned`, and `prepared` (the next one's files): just done."""

    def begin(self, ticket: Ticket, charter: Charter) -> None: ...

    def output(self, chunk: bytes) -> None: ...

    def end(self, run: RunView) -> None: ...

    def pass_by(self, what: str, hint: str) -> None:
        """What nodes in line ask for that this trainer does not allow, and what to do about it."""


class Silent:
    """Watches nothing."""

    def step(self, name: str) -> None: ...

    def begin(self, ticket: Ticket, charter: Charter) -> None: ...

    def output(self, chunk: bytes) -> None: ...

    def end(self, run: RunView) -> None: ...

    def pass_by(self, what: str, hint: str) -> None: ...
