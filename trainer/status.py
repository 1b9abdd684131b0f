"""What a slot does just now, as one small file on its worker's desk, for `dag top` in another terminal.

Whoever can write in the store's folder can write such a file: what is read is checked, and its texts are untrusted.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.scratch import living_desks, read_small

FILE = "status.json"
MAX_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Status:
    """A slot. `node` and `ticket` are empty and 0 while it waits; `started` in ms, the others in seconds."""

    runner: str
    slot: str
    platform: str
    node: str = ""
    ticket: int = 0
    token: int = 0
    started: int = 0
    budget: float = 0.0
    said: str = ""
    inside: float = 0.0
    around: float = 0.0
    waiting: float = 0.0


def write_status(desk: Path, status: Status) -> None:
    """Put it on the desk; what cannot be written is not told."""
    new = desk / f"{FILE}.new"
    with contextlib.suppress(OSError):
        new.write_text(json.dumps(asdict(status)), encoding="utf-8")
        os.replace(new, desk / FILE)


def read_statuses(scratch: Path) -> list[Status]:
    """The slots of all workers that are at work, by runner."""
    return sorted(_statuses(scratch), key=lambda status: (status.slot, status.runner))


def _statuses(scratch: Path) -> Iterator[Status]:
    for desk in living_desks(scratch):
        status = parse_status(read_small(desk / FILE, MAX_BYTES))
        if status is not None:
            yield status


def parse_status(data: bytes) -> Status | None:
    """What such a file says; None unless every field is there and of its kind."""
    try:
        status = Status(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = {name: type(value) for name, value in asdict(_EXAMPLE).items()}
    fields = asdict(status)
    whole = all(type(fields[name]) is kind for name, kind in kinds.items())
    finite = all(math.isfinite(value) for value in fields.values() if isinstance(value, float))
    return status if whole and finite else None


_EXAMPLE = Status("", "", "")
