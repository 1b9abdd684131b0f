"""What a check of a store says."""

from collections.abc import Callable
from dataclasses import dataclass

from dagstore.quarantine import LeftOut

DEPTHS = ("quick", "links", "full")
MAX_LISTED = 10_000
"""Findings, and objects in quarantine, that a report lists; more are counted."""

REINDEX = "run `dag fsck --reindex`"
REPAIR = "restore a copy, or give up what is lost with `dag fsck --repair`"

Progress = Callable[[int, int], None]
"""Is told of objects done and in all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `what` names an object, a record, a place in the log or a table."""

    code: str
    what: str
    message: str
    hint: str = REPAIR


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `checked` of `objects` were looked at: fewer if it was told to end early.

    `omitted` counts findings beyond those that are listed, and `affected` objects that are whole, but name what is
    damaged, or what names it. `left_out` objects are those that an earlier repair put into quarantine.
    """

    depth: str
    objects: int
    checked: int
    nodes: int
    runs: int
    findings: tuple[Finding, ...]
    omitted: int = 0
    affected: int = 0
    quarantined: tuple[LeftOut, ...] = ()
    left_out: int = 0

    @property
    def clean(self) -> bool:
        """Nothing was found wrong, as far as was looked."""
        return not self.findings

    @property
    def complete(self) -> bool:
        return self.checked == self.objects
