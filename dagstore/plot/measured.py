"""The runs that a picture is about: those of one protocol on one platform, as frames."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstore.errors import NotFound
from dagstore.model import Direction
from dagstore.querying import Querying

if TYPE_CHECKING:
    import pandas


ALL = 1 << 30


@dataclass(frozen=True, slots=True)
class Measured:
    """`runs` are of one protocol and platform, each with the `tree` of its node; `nodes` are all, by id, with the
    estimates of that column."""

    metric: str
    direction: Direction
    protocol: str
    platform: str
    noise: float | None
    runs: "pandas.DataFrame"
    nodes: "pandas.DataFrame"

    @property
    def where(self) -> str:
        return f"{self.platform}, protocol {self.protocol[:8]}"


def measured(store: Querying, platform: str | None = None, protocol: str | None = None) -> Measured:
    """What a ranking is made of, with its estimates: the default one, or that on a platform or of a protocol.

    `NotFound` if nothing was measured there.
    """
    frontier = store.frontier(ALL, platform=platform, protocol=protocol)
    if frontier.protocol is None:
        raise nothing(platform)
    nodes = store.nodes().to_frame().set_index("id")
    worth = {nodes.at[str(row.id), "tree"]: row.estimate for row in frontier.nodes}
    nodes = nodes.assign(estimate=nodes["tree"].map(worth))
    runs = store.runs().to_frame()
    protocol, platform = str(frontier.protocol), str(frontier.platform)
    runs = runs[(runs["protocol"] == protocol) & (runs["platform"] == platform)]
    runs = runs.assign(tree=runs["node"].map(nodes["tree"]))
    return Measured(frontier.metric, frontier.direction, protocol, platform, frontier.noise.sd, runs, nodes)


def nothing(platform: str | None = None) -> NotFound:
    on = f" on {platform}" if platform else ""
    return NotFound(f"nothing was measured here yet{on}, so there is no picture", hint="measure with `dag run @seed`")
