"""Follows an experiment by what it reports, and says when its end is not worth waiting for."""

from collections.abc import Callable, Iterable

from dagstore.curves import TICKS, Curves, Trace
from dagstore.model import Direction
from dagstore.pruners import Cut, Rivals, Rule, course_of, hopeless, moment
from trainer.metrics import numbers
from trainer.steps import Steps

PERIOD = 0.25
"""Seconds between looks, or less where the budget is short."""
SHORTEST = 0.05


class Judge:
    """Asks a rule about one number of an experiment. `rivals` gives what it is compared with, None for nothing.

    That is asked for once, when the first moment of the rule has come.
    """

    def __init__(self, rule: Rule, name: str, direction: Direction, rivals: Callable[[], Rivals | None]) -> None:
        self._rule = rule
        self._name = name
        self._direction = direction
        self._rivals = rivals
        self._known: Rivals | None = None
        self._asked = 0

    def reason(self, trace: Trace, tick: int) -> str:
        """Why an experiment is hopeless; empty if it is not, or this moment was looked at."""
        when = moment(self._rule, tick)
        if when <= self._asked:
            self._asked = when  # less where the budget began anew
            return ""
        points = trace.points(self._name)
        if not points:
            return ""
        self._known = self._rivals() if not self._asked else self._known
        self._asked = when
        if self._known is None:
            return ""
        course = course_of(points, tick, self._direction)
        cut = hopeless(self._rule, course, when, *self._known, self._direction)
        return self._say(cut) if cut else ""

    def _say(self, cut: Cut) -> str:
        word = "above" if self._direction is Direction.MINIMIZE else "below"
        return (
            f"{self._name} was {cut.value:.6g} at {cut.tick / TICKS:.0%} of the budget, {word} {cut.cutoff:.6g}: "
            f"{self._rule.value}, {cut.others} others, noise {cut.noise:.2g}"
        )


class Follower:
    """`wanted` names the numbers that are followed in any case; `judge` may end the experiment."""

    def __init__(self, steps: Steps, budget: float, wanted: Iterable[str], judge: Judge | None) -> None:
        self._steps = steps
        self._budget = budget
        self._period = max(SHORTEST, min(PERIOD, budget / 32))
        self._wanted = tuple(wanted)
        self._judge = judge
        self._trace = Trace(self._wanted)
        self._seen = self._due = 0.0
        self._end = 0

    @property
    def curves(self) -> Curves:
        """What was seen so far."""
        return self._trace.curves(self._end)

    def look(self, elapsed: float) -> str:
        """Read what is new, `elapsed` seconds after the budget began to run; why to end the experiment, or nothing.

        May be called at any rate. Where less has elapsed than at the last call, the budget has begun anew.
        """
        if elapsed < self._seen:
            self._trace, self._due = Trace(self._wanted), 0.0
        self._seen = elapsed
        if elapsed < self._due:
            return ""
        self._due = elapsed + self._period
        self._read()
        return self._judge.reason(self._trace, self._end) if self._judge else ""

    def close(self) -> None:
        """Read what is left, as of the last look."""
        self._read()
        self._steps.close()

    def _read(self) -> None:
        self._end = int(self._seen / self._budget * TICKS)
        for values in numbers(self._steps.read()):
            self._trace.add(self._end, values)
