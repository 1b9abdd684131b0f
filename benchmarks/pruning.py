"""Pruning on simulated swarms with realistic learning curves: time saved, good ones killed, what is found in the end.

A node has a level that its curve ends at, how much it has to learn and how fast (a power law), and how much of it comes
with the cool-down of the learning rate in the last fifth; children change all four, so curves cross. Two regimes: in
`alike` only the level differs much, in `crossing` a good end often looks bad for most of the budget. The reference of
the rules is to run everything to its end; that of their decisions without allowing for noise is Optuna on the same
curves, report by report.
"""

import importlib.util
import statistics
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from harness import Bar, Row
from references import NOT_INSTALLED
from swarm import swarm_step

from dagstore.curves import TICKS, Point
from dagstore.ids import NodeId, RunId
from dagstore.model import Direction
from dagstore.pruners import FILLED, RUNGS, STARTUP, STEP, Past, Rule, course_of, hopeless, moment
from dagstore.pruning import NEWEST
from dagstore.rank import Z90
from dagstore.replay import Race, Replayed, Whole, replay

DOWN = Direction.MINIMIZE
RUNS = 300
"""Whole runs of one swarm."""
BUDGET = 300.0
NOISE = 0.5
"""Of the end of a run, in the units of `swarm.swarm_step`; a report in between has as much again."""
REPEATED = 0.1
LEADERS = 8
REGIMES: Mapping[str, tuple[float, float, float]] = {"alike": (0.5, 0.01, 0.1), "crossing": (3.0, 0.06, 1.5)}
"""How much a child changes what there is to learn, its exponent, and what the cool-down brings."""

AGREE = Bar(0.0, absolute=True)
"""As Optuna decides."""


class Nature(NamedTuple):
    """What a node's curve is made of."""

    level: float
    learn: float = 30.0
    exponent: float = 0.5
    cool: float = 4.0

    def at(self, fraction: float) -> float:
        """The loss without noise."""
        learned = self.learn * (((fraction + 0.02) / 1.02) ** -self.exponent - 1)
        return self.level + learned + self.cool * min(1.0, 5 * (1 - fraction))


class Run(NamedTuple):
    """A run of a node: its number is its tree's."""

    node: int
    points: tuple[Point, ...]
    value: float


class Swarm:
    """Experiments one after the other on one slot: children of the best so far, and repeats of the first three."""

    def __init__(self, regime: str, seed: int) -> None:
        self._changes = REGIMES[regime]
        self._seed = seed
        self._random = Random(f"{seed} choices")
        self.natures = [Nature(0.0)]
        self.parents = [-1]
        self._children = [0]
        self.values: dict[int, list[float]] = {}

    def propose(self) -> int:
        """The node that is run next."""
        best = self.best()
        if not best:
            return 0
        if self._random.random() < REPEATED:
            return self._random.choice(best[:3])
        return self._child(self._random.choice(best[:LEADERS]))

    def best(self) -> list[int]:
        """Nodes that were measured, the best mean first; of one run it is taken for half a deviation worse."""
        return sorted(self.values, key=lambda node: self._worth(self.values[node]))

    def _worth(self, values: Sequence[float]) -> float:
        return statistics.fmean(values) + NOISE / len(values)

    def _child(self, parent: int) -> int:
        self._children[parent] += 1
        chance = Random(f"{self._seed} {self.natures[parent].level} {self._children[parent]}")
        level, learn, exponent, cool = self.natures[parent]
        more, faster, later = (chance.gauss(0, change) for change in self._changes)
        nature = Nature(
            level + swarm_step(chance), max(1.0, learn + more), max(0.1, exponent + faster), max(0.0, cool + later)
        )
        self.natures.append(nature)
        self.parents.append(parent)
        self._children.append(0)
        return len(self.natures) - 1

    def run(self, node: int) -> Run:
        """What a run of the node would report, 64 times, and be in the end."""
        luck = self._random.gauss(0, NOISE)
        nature = self.natures[node]
        points = [
            (tick, nature.at(tick / TICKS) + luck + self._random.gauss(0, NOISE)) for tick in range(16, TICKS + 1, 16)
        ]
        return Run(node, tuple(points), nature.level + luck)


def rows(*, quick: bool = False) -> list[Row]:
    seeds = range(3 if quick else 20)
    found = []
    for regime in REGIMES:
        histories = [race(regime, seed) for seed in seeds]
        without = [search(regime, seed, None) for seed in seeds]
        for rule in Rule:
            told = [replay(history, rule)[0] for history in histories]
            ends = [search(regime, seed, rule) for seed in seeds]
            found += [_saved(regime, rule, told), _wrong(regime, rule, told), _found(regime, rule, ends, without)]
    return [*found, *(_agreement(rule, len(seeds)) for rule in (Rule.MEDIAN, Rule.ASHA))]


def race(regime: str, seed: int) -> Race:
    """A swarm that ran everything to its end, as it would be read from a store."""
    swarm, runs = Swarm(regime, seed), []
    for number in range(RUNS):
        it = swarm.run(swarm.propose())
        swarm.values.setdefault(it.node, []).append(it.value)
        begun, name = number * BUDGET, str(number).encode()
        runs.append(
            Whole(
                run=RunId.of(name),
                node=NodeId.of(str(it.node).encode()),
                tree=it.node,
                parent=swarm.parents[it.node],
                value=it.value,
                began=begun,
                ended=begun + BUDGET,
                points=it.points,
                end=TICKS,
            )
        )
    return Race(runs, DOWN, DOWN, BUDGET, NEWEST)


def search(regime: str, seed: int, rule: Rule | None) -> float:
    """The true level of the node that a swarm takes for the best after the time of so many whole runs."""
    swarm, past, left = Swarm(regime, seed), list[Past](), float(RUNS)
    pruned: set[int] = set()
    while left > 0:
        node = swarm.propose()
        it = swarm.run(node)
        end = _end(rule, it, swarm, past) if rule and node not in pruned and node not in swarm.values else TICKS
        past = [*past, Past(node, end == TICKS, course_of(it.points, end, DOWN), swarm.parents[node])]
        left -= end / TICKS
        if end == TICKS:
            swarm.values.setdefault(node, []).append(it.value)
        else:
            pruned.add(node)
    return swarm.natures[swarm.best()[0]].level


def _end(rule: Rule, it: Run, swarm: Swarm, past: Sequence[Past]) -> int:
    """When a run ends."""
    course, parent = course_of(it.points, TICKS, DOWN), swarm.parents[it.node]
    return next((at for at in _moments(rule) if hopeless(rule, course, at, past, parent, DOWN)), TICKS)


def _moments(rule: Rule) -> Iterator[int]:
    return (at for at in range(STEP, TICKS, STEP) if moment(rule, at) == at)


def _saved(regime: str, rule: Rule, told: Sequence[Replayed]) -> Row:
    killed = statistics.fmean(row.killed / row.runs for row in told)
    note = f"replayed on {len(told)} swarms of {RUNS} runs; {killed:.0%} of the runs were ended"
    return Row(f"{regime}: time saved by {rule}", 100 * statistics.fmean(row.share for row in told), 0, "%", note=note)


def _wrong(regime: str, rule: Rule, told: Sequence[Replayed]) -> Row:
    killed, wrong, top, bests, parents = (
        sum(getattr(row, name) for row in told) for name in ("killed", "wrong", "top", "bests", "parents")
    )
    note = f"{wrong} of {killed}: {top} in the top 5 %, {bests} new bests, {parents} better than their parent"
    return Row(f"{regime}: wrongly killed by {rule}, of the killed", 100 * wrong / max(1, killed), 0, "%", note=note)


def _found(regime: str, rule: Rule, ends: Sequence[float], without: Sequence[float]) -> Row:
    mine, theirs = statistics.fmean(ends), statistics.fmean(without)
    differences = [one - other for one, other in zip(ends, without, strict=True)]
    half = Z90 * statistics.stdev(differences) / len(differences) ** 0.5
    better = sum(one < 0 for one in differences)
    note = (
        f"true level, smaller is better, noise {NOISE}; paired difference {mine - theirs:+.2f} ± {half:.2f} (90 %), "
        f"better in {better} of {len(ends)} swarms"
    )
    return Row(f"{regime}: found in the time of {RUNS} whole runs, {rule} / none", mine, theirs, "level", note=note)


# --- Optuna ---


def _agreement(rule: Rule, seeds: int) -> Row:
    name = f"decisions of {rule} without allowing for noise, other than Optuna's"
    if importlib.util.find_spec("optuna") is None:
        return Row(name, None, None, "", None, AGREE, f"Optuna {NOT_INSTALLED}")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pairs = [pair for seed in range(seeds) for pair in _compare(rule, race("crossing", seed), optuna)]
    other = sum(ours != theirs for ours, theirs in pairs)
    note = f"of {len(pairs):,}, of which {sum(ours for ours, _ in pairs):,} ended it; Optuna {optuna.__version__}"
    return Row(name, other, 0, "", None, AGREE, note)


def _compare(rule: Rule, history: Race, optuna: Any) -> Iterator[tuple[bool, bool]]:
    """What both say of every run of a swarm at every moment, on the history that our decisions make."""
    study = optuna.create_study(pruner=_pruner(rule, optuna))
    past: list[Past] = []
    for it in history.runs:
        course, trial, end = course_of(it.points, TICKS, DOWN), study.ask(), TICKS
        for at in range(STEP, TICKS, STEP):
            trial.report(course.at(at), at // STEP)
            theirs = bool(trial.should_prune())
            if moment(rule, at) == at and _has_enough(rule, at, past):
                ours = hopeless(rule, course, at, past, it.parent, DOWN, sds=0.0) is not None
                yield ours, theirs
                if ours:
                    end = at
                    break
        past.append(Past(it.tree, end == TICKS, course._replace(end=end), it.parent))
        if end == TICKS:
            study.tell(trial, course.at(TICKS))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _pruner(rule: Rule, optuna: Any) -> Any:
    if rule is Rule.MEDIAN:
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=4, n_min_trials=STARTUP)
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=RUNGS[0] // STEP, reduction_factor=4)


def _has_enough(rule: Rule, at: int, past: Sequence[Past]) -> bool:
    """Optuna prunes by a rung from its second trial on; we wait."""
    reached = sum(it.whole or it.course.end >= at for it in past)
    return sum(it.whole for it in past) >= STARTUP and (rule is not Rule.ASHA or reached >= FILLED)
