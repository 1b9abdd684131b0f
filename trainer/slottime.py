"""Where the time of a slot goes: inside experiments, around them, and waiting for something to measure."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class SlotTime(NamedTuple):
    """Seconds of `slots` slots: `inside` experiments, `around` them while something was in line, and `waiting`."""

    slots: int = 0
    inside: float = 0.0
    around: float = 0.0
    waiting: float = 0.0

    @property
    def share(self) -> float | None:
        """What part of the time with something in line was spent inside experiments; None if there was none."""
        return self.inside / (self.inside + self.around) if self.inside + self.around else None

    def plus(self, other: "SlotTime") -> "SlotTime":
        return SlotTime(
            self.slots + other.slots,
            self.inside + other.inside,
            self.around + other.around,
            self.waiting + other.waiting,
        )


def together(times: Iterable[SlotTime]) -> SlotTime:
    """The time of several slots."""
    total = SlotTime()
    for one in times:
        total = total.plus(one)
    return total


class SlotClock:
    """Counts the time of one slot, from now on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._inside = self._waited = 0.0
        self._waits_since: float | None = None
        self._inside_since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Meanwhile there is nothing to take."""
        self._waits_since = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - self._waits_since
            self._waits_since = None

    def begin(self) -> None:
        """An experiment begins, as far as can be told before it has ended."""
        self._inside_since = self._clock()

    def end(self, seconds: float) -> None:
        """It has ended and took so long."""
        self._inside += seconds
        self._inside_since = None

    def time(self) -> SlotTime:
        """So far."""
        now, waits, began = self._clock(), self._waits_since, self._inside_since
        waiting = self._waited + (now - waits if waits is not None else 0.0)
        inside = self._inside + (now - began if began is not None else 0.0)
        return SlotTime(1, inside, max(0.0, now - self._began - waiting - inside), waiting)
