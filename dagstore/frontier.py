"""A ranking as a plain frozen value, with field names that the JSON of the command line keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dagstore.ids import NodeId, ProtocolId
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.shown import Rows, two_columns

if TYPE_CHECKING:
    import pandas

STRATEGIES = (
    *("estimate", "optimistic", "pessimistic"),
    *("pareto", "promise", "underexplored", "near-miss", "leaves", "stale"),
)


class FrontierRow(NamedTuple):
    """One experiment of a ranking, for all nodes with the same tree.

    `estimate` is what it is worth given its runs, its lineage and the noise, `low` to `high` the 90 % interval of that,
    `mean` the plain mean of its `runs`. `tied` says that it cannot be told apart from the first row, `why` what it is
    ranked for and `score` by which number, where that is not the estimate. `axes` are those of a Pareto front.
    """

    rank: int
    id: NodeId
    short: str
    estimate: float
    low: float | None
    high: float | None
    runs: int
    message: str
    agent: str
    generation: int
    primary: NodeId | None
    adopted: tuple[NodeId, ...]
    mean: float | None = None
    tied: bool = False
    why: str = ""
    score: float | None = None
    axes: Mapping[str, float] = {}

    def _repr_html_(self) -> str:
        return two_columns(self)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A ranking within one protocol and platform.

    `measured` experiments are in that column, of which `considered` were looked at; `outside` counts runs that count in
    other columns.
    """

    metric: str
    direction: Direction
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    strategy: str
    outside: int
    nodes: Rows[FrontierRow]
    measured: int = 0
    considered: int = 0

    def to_frame(self) -> "pandas.DataFrame":
        return self.nodes.to_frame()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.metric)} ({self.direction.value}) on {escape(str(self.platform))}</p>" + (
            self.nodes._repr_html_()
        )
