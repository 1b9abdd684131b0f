"""Cases of adoption as text: two donors, their base, and what adopting both has to give."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CASE, _PART = "======== ", "-------- "
_TEXTS = ("base", "a", "b", "wanted")


class Case(NamedTuple):
    """`contradictions` are the regions in which the donors contradict each other."""

    name: str
    path: str
    base: bytes
    a: bytes
    b: bytes
    wanted: bytes
    contradictions: tuple[str, ...]


def read_cases(file: Path) -> Iterator[Case]:
    """The cases of a file: `======== NAME: PATH`, then each part under a line of its name."""
    _, *texts = file.read_text().split(f"\n{_CASE}")
    for text in texts:
        head, *parts = text.split(f"\n{_PART}")
        name, path = head.strip().rsplit(": ", 1)
        by_title = dict(part.split("\n", 1) for part in parts)
        base, a, b, wanted = ((by_title.pop(title).rstrip("\n") + "\n").encode() for title in _TEXTS)
        regions = tuple(region for title in by_title for region in title.removeprefix("contradiction ").split(" | "))
        yield Case(name, path, base, a, b, wanted, regions)
