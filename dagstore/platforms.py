"""What platforms are called: the devices of a run in the words that rankings compare by."""

import re
from collections import Counter
from collections.abc import Iterable

UNKNOWN = "unknown"
"""Where nobody said what a run was measured on."""

_SHARED = re.compile(r" \(1 of (\d{1,4}) slots\)$")


def platform_of(devices: Iterable[str]) -> str:
    """Devices by name, each with how many there are: `NVIDIA H100 80GB HBM3`, `A, 2x B`; empty for none."""
    counted = sorted(Counter(devices).items())
    return ", ".join(name if count == 1 else f"{count}x {name}" for name, count in counted)


def shared_by(platform: str, slots: int) -> str:
    """A platform that so many experiments run on at a time: another one, for they slow each other down."""
    return platform if slots == 1 else f"{platform} (1 of {slots} slots)"


def sharers(platform: str) -> int:
    """By how many experiments at a time a platform is shared, by its name."""
    found = _SHARED.search(platform)
    return max(1, int(found[1])) if found else 1
