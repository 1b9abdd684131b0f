"""A ranking as a plain frozen value, with field names that the JSON of the command line keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dagstore.ids import NodeId, ProtocolId
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.shown import Rows, two_columns

if TYPE_CHECKING:
    import pandas


class FrontierRow(NamedTuple):
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

    def _repr_html_(self) -> str:
        return two_columns(self)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A ranking within one protocol and platform. `outside` counts measured runs that it could not compare."""

    metric: str
    direction: Direction
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    strategy: str
    outside: int
    nodes: Rows[FrontierRow]

    def to_frame(self) -> "pandas.DataFrame":
        return self.nodes.to_frame()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.metric)} ({self.direction.value}) on {escape(str(self.platform))}</p>" + (
            self.nodes._repr_html_()
        )
