"""What experiments took and what came of them, as plain frozen values with the field names of the JSON."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dagstore.ids import ProtocolId
from dagstore.model import Direction
from dagstore.rank import Noise
from dagstore.shown import Rows, Shown

if TYPE_CHECKING:
    import pandas


class Spent(NamedTuple):
    """What runs that ended in one way took. A run with several GPUs counts its seconds once for each, one that shared a
    GPU its part of them; one without any counts as seconds of its slot.
    """

    status: str
    runs: int
    seconds: float
    gpu_seconds: float
    slot_seconds: float


class Duplicates(NamedTuple):
    """What was proposed again and not run again for it.

    `trees` counts nodes with the files of an earlier node, of which no run was made in their own name; `proposals` how
    often a node was sealed or adopted that was there. `measured` are those of both whose files had an `ok` run by
    then. What one would have taken is the mean of the `ok` runs of its files, else of the column (`guessed` counts
    these); of files that never ran it is nothing.
    """

    trees: int
    proposals: int
    measured: int
    guessed: int
    seconds: float
    gpu_seconds: float


class SlotTime(NamedTuple):
    """What part of their time slots did not spend in experiments.

    A slot is a runner, that is one trainer's process. Its time goes from the beginning of its first run to the end of
    its last, without gaps of `away` seconds or more, in which it was not at work. What is before the first run and
    behind the last is not known and not counted.
    """

    slots: int
    runs: int
    busy: float
    idle: float
    share: float | None
    away: float


class Kept(NamedTuple):
    """What became of changes of one kind.

    Of the `nodes` whose own diff touches it, `measured` have runs in the column, `compared` have a primary parent that
    has them too, `kept` of these are better than it by the means and `clearly` beyond the 90 % interval of the noise.
    `gain` is the mean of the compared. Regions of lines go without their numbers.
    """

    path: str
    region: str
    kind: str
    nodes: int
    measured: int
    compared: int
    kept: int
    clearly: int
    gain: float | None


@dataclass(frozen=True, slots=True)
class Ledger(Shown):
    """The books of a store. `paths` are of all nodes; `regions` and `kinds` of the `looked` newest that have a parent.

    What is kept is told within one protocol and platform. `unread` counts nodes whose files could not be read.
    """

    nodes: int
    measured: int
    runs: int
    gpu_seconds: float
    slot_seconds: float
    statuses: Rows[Spent]
    duplicates: Duplicates
    slots: SlotTime
    metric: str | None
    direction: Direction | None
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    paths: Rows[Kept]
    regions: Rows[Kept]
    kinds: Rows[Kept]
    looked: int
    unread: int

    def to_frame(self) -> "pandas.DataFrame":
        """What was kept, by path, by region and by kind, one below the other."""
        return Rows((*self.paths, *self.regions, *self.kinds)).to_frame()
