"""What a charter asks of the machine that its experiments run on, as far as somebody must agree to it. Pure."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from dagstore.charter import Charter, is_outside


class Demands(NamedTuple):
    """The charter's words; `hidden` are those paths outside the tree, `seconds` is budget and grace together.

    `bytes` is how much of an experiment's making its trainer may have to hold in memory: of its log, or of one file.
    """

    sandbox: str = "auto"
    network: bool = False
    data: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    seconds: float = 0.0
    bytes: int = 0

    @classmethod
    def of(cls, charter: Charter) -> Self:
        return cls(
            charter.sandbox,
            charter.network,
            charter.data,
            charter.environment,
            tuple(path for path in charter.hidden if is_outside(path)),
            charter.budget + charter.grace,
            max(charter.log_limit, charter.file_limit),
        )

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """What `to_row` gave."""
        sandbox, network, data, environment, hidden, seconds, held = row
        return cls(sandbox, network, tuple(data), tuple(environment), tuple(hidden), seconds, held)

    def to_row(self) -> list[object]:
        """A plain value, equal for equal demands."""
        lists = [list(part) for part in (self.data, self.environment, self.hidden)]
        return [self.sandbox, self.network, *lists, self.seconds, self.bytes]


Allows = Callable[[Demands], bool]
"""Whether a trainer runs what asks for that."""
