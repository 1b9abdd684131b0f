"""The history of new bests as plain values, and what the noise leaves of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from dagstore.ids import NodeId, ProtocolId, RunId
from dagstore.model import Direction
from dagstore.rank import Z90, Moments, Noise, better
from dagstore.shown import Rows, Shown

if TYPE_CHECKING:
    import pandas

SDS = 2.0
"""A gain of up to so many standard deviations of one run may be luck."""


class Standing(StrEnum):
    """What is to be thought of a new best."""

    FIRST = "first"
    CONFIRMED = "confirmed"
    WITHIN = "within the noise"
    REFUTED = "refuted"
    UNTOLD = "unknown noise"


class Hit(NamedTuple):
    """A run that was better than all before it: of the tree `tree`, by so much than the best of them, of `before`.

    The first run of all has nothing before it.
    """

    run: int
    tree: int
    value: float
    before: int = 0
    gain: float = 0.0


@dataclass(frozen=True, slots=True)
class Best(Shown):
    """A new best. `gain` is that over the best before, of `previous`; it is `beyond` if it exceeds two sd of a run.

    `standing` says what is left of it: `confirmed` by its size or by repeats, `refuted` if repeats showed it to be no
    better than what it had beaten, else `within the noise`; the `first` of all has beaten nothing. `runs` and `mean`
    are those of its tree by now.
    """

    run: RunId
    node: NodeId
    short: str
    time: int
    agent: str
    message: str
    value: float
    gain: float | None
    previous: NodeId | None
    beyond: bool
    standing: Standing
    runs: int
    mean: float


@dataclass(frozen=True, slots=True)
class Bests:
    """Every new best of one protocol on one platform, the first measurement included, in the order of time."""

    metric: str
    direction: Direction
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    records: Rows[Best]

    def count(self, standing: Standing) -> int:
        return sum(1 for one in self.records if one.standing is standing)

    def to_frame(self) -> "pandas.DataFrame":
        return self.records.to_frame()

    def _repr_html_(self) -> str:
        return self.records._repr_html_()


def hits(values: Iterable[tuple[int, int, float]], direction: Direction) -> Iterator[Hit]:
    """The runs (number, tree, value) that were better than all before them, and the first; equal ones are not."""
    best: Hit | None = None
    for run, tree, value in values:
        if best is None:
            best = Hit(run, tree, value)
        elif better(direction, value, best.value):
            best = Hit(run, tree, value, best.tree, abs(best.value - value))
        else:
            continue
        yield best


def standing(hit: Hit, own: Moments, other: Moments, noise: Noise, direction: Direction) -> Standing:
    """What is left of a hit, by all runs of its tree and of the one that it had beaten."""
    sd = noise.taken
    if not hit.before or sd is None:
        return Standing.FIRST if not hit.before else Standing.UNTOLD
    if own.n == 1:
        return Standing.CONFIRMED if hit.gain > SDS * sd else Standing.WITHIN
    # What made it a record is luck by selection; what was measured besides is not.
    mean = own.mean + (own.mean - hit.value) / (own.n - 1)
    if hit.tree == hit.before or not better(direction, mean, other.mean):
        return Standing.REFUTED
    clear = abs(other.mean - mean) > Z90 * sd * (1 / (own.n - 1) + 1 / other.n) ** 0.5
    return Standing.CONFIRMED if clear else Standing.WITHIN
