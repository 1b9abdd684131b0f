"""The regret of acting on `dag frontier`, against acting on other rankings, in simulated swarms whose truth is known.

In every regime of noise each policy searches the same landscapes with the same budget of GPU runs. Regret is the true
worth of what a policy recommends in the end, less that of a policy that knows the truth of what it has measured. What
is yet to be found it does not know, so that on a single seed another policy may be luckier.
"""

import math
import multiprocessing
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from harness import Bar, Row, scratch
from swarm import POLICIES, Outcome, project, search

REGIMES = (("swarm", 0.2), ("swarm", 1.0), ("swarm", 3.0), ("plain", 1.0), ("plateau", 0.3))
"""How experiments differ from their parents, and the noise of one run."""
OURS, TRUTH = "dag frontier", "truth"
OTHERS = tuple(name for name in POLICIES if name not in {OURS, TRUTH})
BUDGET = 120
SEEDS, QUICK_SEEDS = 200, 24
Z90 = 1.645

LOWER = Bar(1.0)
COVERED = Bar(0.88, absolute=True, upto=0.92)
"""What 90 % intervals have to come to."""


class Task(NamedTuple):
    folder: Path
    steps: str
    noise: float
    seed: int


Outcomes = Mapping[str, Outcome]
"""What every policy came to with one seed."""


def rows(*, quick: bool) -> list[Row]:
    found = _searched(QUICK_SEEDS if quick else SEEDS)
    return [row for regime, outcomes in found.items() for row in _regime(regime, outcomes)]


def _searched(seeds: int) -> dict[tuple[str, float], list[Outcomes]]:
    # An environment of LMDB must not be used across a fork.
    fresh = multiprocessing.get_context("spawn")
    with scratch() as folder, ProcessPoolExecutor(max(2, os.cpu_count() or 2), mp_context=fresh) as pool:
        tasks = [Task(folder, steps, noise, seed) for steps, noise in REGIMES for seed in range(seeds)]
        outcomes = list(pool.map(_all_policies, tasks, chunksize=4))
    return {regime: outcomes[at * seeds : (at + 1) * seeds] for at, regime in enumerate(REGIMES)}


def _all_policies(task: Task) -> Outcomes:
    """Each in the store of this process, which they leave as it was."""
    folder = task.folder / str(os.getpid())
    if not folder.exists():
        project(folder)
    return {name: search(folder, name, task.steps, task.noise, task.seed, BUDGET) for name in POLICIES}


def _regime(regime: tuple[str, float], outcomes: Sequence[Outcomes]) -> list[Row]:
    name = "{}, noise {:g}".format(*regime)
    ours = _regrets(outcomes, OURS)
    against = [_regret(name, ours, other, _regrets(outcomes, other)) for other in OTHERS]
    every = _coverage(name, "all nodes", [it[OURS].covered for it in outcomes])
    return [*against, every, _coverage(name, "the top 20", [it[OURS].covered_top for it in outcomes])]


def _regrets(outcomes: Sequence[Outcomes], policy: str) -> list[float]:
    return [it[policy].worth - it[TRUTH].worth for it in outcomes]


def _regret(name: str, ours: Sequence[float], other: str, theirs: Sequence[float]) -> Row:
    mine, reference = statistics.fmean(ours), statistics.fmean(theirs)
    low, high = _interval([one - two for one, two in zip(ours, theirs, strict=True)])
    zero = "excludes" if low > 0 or high < 0 else "holds"
    note = f"smaller is better; paired difference {low:+.3f} to {high:+.3f} (90 %, {len(ours)} seeds) {zero} zero"
    ratio = mine / reference if reference > 0 else None
    return Row(f"regret on {name} / {other}", mine, reference, "worth", ratio, LOWER, note)


def _coverage(name: str, which: str, shares: Sequence[float]) -> Row:
    low, high = _interval(shares)
    note = f"{low:.3f} to {high:.3f} (90 %, {len(shares)} seeds)"
    return Row(f"coverage of 90 % intervals, {which}, {name}", statistics.fmean(shares), None, "", None, COVERED, note)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """The 90 % interval of a mean."""
    middle, half = statistics.fmean(values), Z90 * statistics.stdev(values) / math.sqrt(len(values))
    return middle - half, middle + half
