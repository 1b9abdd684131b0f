"""What a rule of pruning would have saved and cost, told from whole runs whose ends are known: plain values, pure."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, NamedTuple

from dagstore.curves import TICKS, Point
from dagstore.ids import NodeId, ProtocolId, RunId
from dagstore.model import Direction
from dagstore.pruners import RUNGS, STEP, WARM_UP, Course, Cut, Past, Rule, course_of, hopeless
from dagstore.rank import better
from dagstore.shown import Rows, Shown

if TYPE_CHECKING:
    import pandas

TOP = 0.05
"""The share of whole runs that counts as the top."""

Progress = Callable[[int, int], None]


class Whole(NamedTuple):
    """A run with its curve. `began` and `ended` in seconds since the epoch; `value` is None unless it ended `ok`.

    `tree` and `parent` are those of its node and of that one's primary parent.
    """

    run: RunId
    node: NodeId
    tree: Hashable
    parent: Hashable
    value: float | None
    began: float
    ended: float
    points: tuple[Point, ...]
    end: int


@dataclass(frozen=True, slots=True)
class Killed(Shown):
    """A run that a rule would have ended at the fraction `at` of the budget, where it was at `reached`.

    It ended at `value`; `saved` are the seconds that were left. `wrong` says why it was worth its time: `top`, `best`
    (a new one, `gain` better than the best before), `parent` (better than that); empty if it was not.
    """

    rule: Rule
    run: RunId
    node: NodeId
    at: float
    reached: float
    cutoff: float
    value: float
    saved: float
    gain: float | None
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed(Shown):
    """What a rule would have done to `runs` whole runs that took `seconds`: ended `killed`, and `saved` seconds.

    Of the killed, `wrong` were worth their time: `top` would have been among the best 5 %, `bests` new bests, `parents`
    better than their parent. `regret` is how much worse the best of all that it left is than the best of all.
    """

    rule: Rule
    runs: int
    seconds: float
    killed: int
    saved: float
    share: float
    wrong: int
    top: int
    bests: int
    parents: int
    regret: float


@dataclass(frozen=True, slots=True)
class Replay:
    """One row a rule, and what each would have ended; of the `curve` of one protocol's runs on one platform."""

    metric: str
    curve: str
    direction: Direction
    protocol: ProtocolId | None
    platform: str | None
    rules: Rows[Replayed]
    killed: Rows[Killed]

    def to_frame(self) -> "pandas.DataFrame":
        return self.rules.to_frame()

    def _repr_html_(self) -> str:
        return self.rules._repr_html_()


class Race(NamedTuple):
    """Runs in the order of recording, and which values of their metric and of their curves are better.

    An experiment is compared with the last `newest` curves.
    """

    runs: Sequence[Whole]
    direction: Direction
    along: Direction
    budget: float
    newest: int


def replay(race: Race, rule: Rule, progress: Progress | None = None) -> tuple[Replayed, Rows[Killed]]:
    """What a rule would have done, each run judged by those that had ended before it began.

    What it would have ended stands in the rest as far as it would have come. Runs of a tree that had one are repeats,
    and are never ended.
    """
    killed = Rows(_killed(race, rule, at, cut, when) for at, cut, when in _cuts(race, rule, progress))
    whole = [it for it in race.runs if it.value is not None]
    left = {it.run for it in whole} - {it.run for it in killed}
    seconds = math.fsum(it.ended - it.began for it in whole)
    saved = math.fsum(it.saved for it in killed)
    wrong = [it.wrong for it in killed if it.wrong]
    row = Replayed(
        rule=rule,
        runs=len(whole),
        seconds=seconds,
        killed=len(killed),
        saved=saved,
        share=saved / seconds if seconds else 0.0,
        wrong=len(wrong),
        top=sum("top" in it for it in wrong),
        bests=sum("best" in it for it in wrong),
        parents=sum("parent" in it for it in wrong),
        regret=_regret(whole, left, race.direction),
    )
    return row, killed


def _cuts(race: Race, rule: Rule, progress: Progress | None) -> Iterator[tuple[int, Cut, int]]:
    """What would have been ended: its place, why, and at which moment."""
    past: list[tuple[float, Past]] = []
    tried: set[Hashable] = set()
    for at, it in enumerate(race.runs):
        if progress:
            progress(at + 1, len(race.runs))
        course = course_of(it.points, it.end, race.along)
        found = None
        if it.value is not None and it.tree not in tried:
            known = [one for ended, one in past if ended <= it.began]
            found = _first(rule, course, known[-race.newest :], it.parent, race.along)
        tried.add(it.tree)
        if found is None:
            past.append((it.ended, Past(it.tree, it.value is not None, course, it.parent)))
        else:
            past.append((it.ended, Past(it.tree, False, course._replace(end=found[1]), it.parent)))
            yield at, *found


def _first(
    rule: Rule, course: Course, past: Sequence[Past], parent: Hashable, along: Direction
) -> tuple[Cut, int] | None:
    for when in _moments(rule, course.end):
        cut = hopeless(rule, course, when, past, parent, along)
        if cut is not None:
            return cut, when
    return None


def _moments(rule: Rule, end: int) -> Iterator[int]:
    """When a rule is asked before an experiment ends."""
    steps = RUNGS if rule is Rule.ASHA else count(WARM_UP, STEP)
    return takewhile(lambda when: when < end, steps)


def _killed(race: Race, rule: Rule, at: int, cut: Cut, when: int) -> Killed:
    it = race.runs[at]
    assert it.value is not None
    gain = _gain(race, at)
    return Killed(
        rule=rule,
        run=it.run,
        node=it.node,
        at=when / TICKS,
        reached=cut.value,
        cutoff=cut.cutoff,
        value=it.value,
        saved=(it.end - when) / TICKS * race.budget,
        gain=gain,
        wrong=tuple(word for word, holds in _wrongs(race, it, gain) if holds),
    )


def _gain(race: Race, at: int) -> float | None:
    """How much better a run was than the best that was recorded before it; None if it was not."""
    value = race.runs[at].value
    before = [it.value for it in race.runs[:at] if it.value is not None]
    if value is None or not before:
        return None
    best = _best(before, race.direction)
    return abs(value - best) if better(race.direction, value, best) else None


def _wrongs(race: Race, it: Whole, gain: float | None) -> Iterator[tuple[str, bool]]:
    assert it.value is not None
    values = [one.value for one in race.runs if one.value is not None]
    ahead = sum(better(race.direction, value, it.value) for value in values)
    yield "top", ahead < math.ceil(TOP * len(values))
    yield "best", gain is not None
    parents = [one.value for one in race.runs if one.tree == it.parent and one.value is not None]
    yield "parent", bool(parents) and better(race.direction, it.value, math.fsum(parents) / len(parents))


def _regret(whole: Sequence[Whole], left: set[RunId], direction: Direction) -> float:
    values = [it.value for it in whole if it.value is not None]
    kept = [it.value for it in whole if it.run in left and it.value is not None]
    return abs(_best(kept, direction) - _best(values, direction)) if kept else 0.0


def _best(values: Sequence[float], direction: Direction) -> float:
    return min(values) if direction is Direction.MINIMIZE else max(values)
