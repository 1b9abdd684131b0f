"""Protocols and platforms as plain frozen values, with field names that the JSON of the command line keeps."""

from dataclasses import dataclass

from dagstore.ids import ProtocolId
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.shown import Shown


@dataclass(frozen=True, slots=True)
class ProtocolView(Shown):
    """A protocol with what was measured under it.

    `locked` counts locked files. `runs` are of any status, `nodes` the trees with a run that a ranking counts. `first`
    and `last` say when its first and last run began, 0 where no run knows. `shown` marks the one that a ranking is of
    unless it is told otherwise.
    """

    id: ProtocolId
    short: str
    command: str
    metric: str
    direction: Direction
    budget: float
    locked: int
    fingerprint: str
    runs: int
    nodes: int
    platforms: tuple[str, ...]
    first: int
    last: int
    shown: bool


@dataclass(frozen=True, slots=True)
class PlatformView(Shown):
    """What was measured on a platform under one protocol: the runs that are compared with each other.

    `runs` are of any status, `ranked` those that a ranking counts, `nodes` the trees that these are of. `environments`
    are the ids of those that were seen, and `differs` names the facts in which they are not alike.
    """

    platform: str
    protocol: ProtocolId
    short: str
    metric: str
    runs: int
    ranked: int
    nodes: int
    noise: Noise
    environments: tuple[str, ...]
    differs: tuple[str, ...]
    shown: bool
