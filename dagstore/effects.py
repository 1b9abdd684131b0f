"""What single edits are worth, as plain frozen values with the field names of the JSON."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dagstore.ids import NodeId, ProtocolId
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.shown import Rows, two_columns

if TYPE_CHECKING:
    import pandas


class Effect(NamedTuple):
    """One edit by content, and how much better it makes a node, with the 90 % interval.

    `nodes` have it in their own diff and were compared with their primary parents; in `alone` of them it is all that
    counts.
    """

    path: str
    region: str
    kind: str
    before: bytes
    after: bytes
    effect: float
    low: float
    high: float
    n: int
    alone: int
    nodes: tuple[NodeId, ...]

    def _repr_html_(self) -> str:
        return two_columns(self)


class Interaction(NamedTuple):
    """Two edits that together do more, or less, than the sum of both: how much, with the 90 % interval.

    `one` and `other` are positions in `edits`; `both` nodes have the two.
    """

    one: int
    other: int
    interaction: float
    low: float
    high: float
    both: int


@dataclass(frozen=True, slots=True)
class Effects:
    """The effect of every edit of the nodes that were looked at; those that are surest to help first.

    `sd` is the noise of one run that was reckoned with: where nothing was measured twice it is `assumed`, as wide as
    the gains themselves are. `spread` is the standard deviation of effects. `nodes` were looked at, `outside` counts
    such as could have been besides, `unread` those whose files could not be read. `repeated` edits are in two nodes or
    more. Of `testable` pairs that occur together and each without the other, `tested` were asked whether they
    interact; `pairs` are those of which the interval excludes zero, and `by_chance` of them are to be expected if none
    does.
    """

    metric: str | None
    direction: Direction | None
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    sd: float | None
    assumed: bool
    spread: float | None
    nodes: int
    outside: int
    unread: int
    repeated: int
    edits: Rows[Effect]
    pairs: Rows[Interaction]
    tested: int
    testable: int
    by_chance: float

    def to_frame(self) -> "pandas.DataFrame":
        """One row an edit."""
        return self.edits.to_frame()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(str(self.metric))} on {escape(str(self.platform))}</p>{self.edits._repr_html_()}"
