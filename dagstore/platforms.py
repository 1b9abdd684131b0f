"""What platforms are called: the devices of a run in the words that rankings compare by."""

from collections import Counter
from collections.abc import Iterable

UNKNOWN = "unknown"
"""Where nobody said what a run was measured on."""


def platform_of(devices: Iterable[str]) -> str:
    """Devices by name, each with how many there are: `NVIDIA H100 80GB HBM3`, `A, 2x B`; empty for none."""
    counted = sorted(Counter(devices).items())
    return ", ".join(name if count == 1 else f"{count}x {name}" for name, count in counted)
