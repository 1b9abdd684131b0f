"""What is to be verified and what was found, as values, and how the finding is made of runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from dagstore.ids import NodeId, NoteId, ProtocolId
from dagstore.model import Protocol, Status
from dagstore.shown import Shown
from dagstore.verification import KIND, Finding, Verdict, changed_facts, compare, read_finding
from dagstore.views import NoteView, RunView

Column = tuple[ProtocolId, str]


@dataclass(frozen=True, slots=True)
class Original(Shown):
    """What is to be verified: a `run`, or else the mean of the `runs` of a node, which are `ok` ones.

    `noise` is the sd of one run in each protocol and platform, as it was then, and with how many degrees of freedom.
    """

    node: NodeId
    run: RunView | None
    runs: tuple[RunView, ...]
    noise: Mapping[Column, tuple[float | None, int]]

    @property
    def seed(self) -> int | None:
        """The seed to measure with, None for any."""
        return self.run.seed if self.run else None


@dataclass(frozen=True, slots=True)
class Verification(Shown):
    """That a measurement was verified, and what was found: see `verification.Finding`. `text` says it in a line."""

    id: NoteId
    node: NodeId
    author: str
    time: int
    verdict: str
    run: str
    by: str
    runs: int
    expected: float | None
    value: float | None
    sd: float | None
    sds: float | None
    exactly: bool
    differs: Mapping[str, tuple[str, str]]
    reason: str
    text: str


def verification_of(note: NoteView) -> Verification | None:
    """What a note records; None if it is no verification."""
    finding = read_finding(note.text) if note.kind == KIND else None
    if finding is None:
        return None
    return Verification(note.id, note.node, note.author, note.time, **asdict(finding), text=finding.sentence)


def find(original: Original, made: RunView, protocol_of: Callable[[RunView], Protocol]) -> Finding:
    """What the run that was made for it says of the original."""
    column = made.protocol, made.platform
    same = [one for one in original.runs if (one.protocol, one.platform) == column]
    basis = same or list(original.runs)
    before = _values(basis)
    reason = _why_not(made, basis[-1])
    verdict, sd, sds = Verdict.NOT_REPRODUCED, None, None
    if not reason and made.value is not None:
        sd, freedom = original.noise.get(column, (None, 0))
        verdict, sds = compare(before, made.value, sd, freedom)
    return Finding(
        verdict=verdict.value,
        run=str(original.run.id) if original.run else "",
        by=str(made.id),
        runs=len(basis),
        expected=math.fsum(before) / len(before),
        value=made.value,
        sd=sd,
        sds=sds,
        exactly=not reason and all(value == made.value for value in before),
        differs=_differs(basis[-1], made, protocol_of),
        reason=reason,
    )


def _values(runs: Sequence[RunView]) -> list[float]:
    return [run.value for run in runs if run.value is not None]


def _why_not(made: RunView, base: RunView) -> str:
    if made.status is not Status.OK:
        return f"it ended {made.status.value}" + (f": {made.reason}" if made.reason else "")
    if made.protocol != base.protocol:
        return "its protocol is not met here"
    return "it was measured on another platform" if made.platform != base.platform else ""


def _differs(base: RunView, made: RunView, protocol_of: Callable[[RunView], Protocol]) -> dict[str, tuple[str, str]]:
    facts = changed_facts(base.environment, made.environment)
    if base.platform != made.platform:
        facts["platform"] = (base.platform, made.platform)
    if base.protocol != made.protocol:
        facts |= _changed_protocol(protocol_of(base), protocol_of(made))
    return facts


def _changed_protocol(before: Protocol, now: Protocol) -> dict[str, tuple[str, str]]:
    """What sets two protocols apart; of locked files their paths."""
    one, other = before._asdict(), now._asdict()
    facts = {name: (str(one[name]), str(other[name])) for name in one if name != "locked" and one[name] != other[name]}
    locked = {entry.path for entry in {*before.locked} ^ {*now.locked}}
    return facts | ({"locked": (", ".join(sorted(locked)), "other contents")} if locked else {})
