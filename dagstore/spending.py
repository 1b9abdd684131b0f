"""Pure arithmetic of what runs took: devices of a platform, and how much of a slot's time was between its runs."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from dagstore.platforms import UNKNOWN, sharers

AWAY = 1800.0
"""Seconds between two runs of a slot from which on it was not at work: nobody had asked it to be."""
_SEVERAL = re.compile(r"(\d{1,4})x ")


class Span(NamedTuple):
    """When a run began and ended, in seconds."""

    start: float
    end: float


class Idle(NamedTuple):
    """Seconds of slots in experiments (`busy`) and between two of them (`idle`), and the runs that tell."""

    busy: float = 0.0
    idle: float = 0.0
    runs: int = 0

    @property
    def share(self) -> float | None:
        """What part of the time was not spent in experiments; None if nothing tells."""
        total = self.busy + self.idle
        return self.idle / total if total else None

    def plus(self, other: "Idle") -> "Idle":
        return Idle(self.busy + other.busy, self.idle + other.idle, self.runs + other.runs)


def gpus(platform: str) -> float:
    """How many GPUs a platform is, by its name: 2 for `2x NVIDIA A100`, 0.5 for `NVIDIA A100 (1 of 2 slots)`, 0 for
    `cpu: …` and where nobody said.
    """
    if platform.startswith("cpu") or platform in ("", UNKNOWN):
        return 0.0
    several = (_SEVERAL.match(part) for part in platform.split(", "))
    return sum(int(found[1]) if found else 1 for found in several) / sharers(platform)


def between(spans: Iterable[Span]) -> Idle:
    """What one slot did: runs that overlap count once, and a gap of `AWAY` or more not at all."""
    busy = idle = 0.0
    count = 0
    end: float | None = None
    for span in sorted(spans):
        last = span.start if end is None else end
        gap = span.start - last
        idle += gap if 0 < gap < AWAY else 0.0
        busy += max(0.0, span.end - max(last, span.start))
        end = max(last, span.end)
        count += 1
    return Idle(busy, idle, count)
