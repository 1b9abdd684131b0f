"""Adoptions that nobody tried, as plain frozen values with the field names of the JSON."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dagstore.ids import NodeId, ProtocolId
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.shown import Rows, two_columns

if TYPE_CHECKING:
    import pandas


class Suggestion(NamedTuple):
    """The own diffs of `donors` composed onto the best node: what that is expected to gain, and the node that it gives.

    `near` are those of the donors that were no better than their parents. `why` says which edits are expected to do it,
    `command` adopts.
    """

    rank: int
    node: NodeId
    donors: tuple[NodeId, ...]
    gain: float
    low: float
    high: float
    edits: int
    near: tuple[NodeId, ...]
    why: str
    command: str

    def _repr_html_(self) -> str:
        return two_columns(self)


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What may be adopted onto `onto`, the most gain first.

    Of `nodes` whose edits have an estimate, `clashing` change a value that the line of `onto` made something else of
    and are passed over; `donors` were composed onto it by themselves and `composed` sets in all. Of these
    `contradicted` contradict each other or it, `recorded` give files that some node has, or change nothing. `sd` and
    `assumed` are those of the effects.
    """

    onto: NodeId | None
    short: str
    metric: str | None
    direction: Direction | None
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    sd: float | None
    assumed: bool
    nodes: int
    clashing: int
    donors: int
    composed: int
    contradicted: int
    recorded: int
    rows: Rows[Suggestion]

    def to_frame(self) -> "pandas.DataFrame":
        return self.rows.to_frame()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(str(self.metric))}, onto {escape(self.short)}</p>{self.rows._repr_html_()}"
