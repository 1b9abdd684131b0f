"""Whether a number came out again: the comparison of a measurement with an earlier one, and its record. Pure.

The record is the text of a note of the kind `verification`: a sentence, and below it one line of JSON with sorted keys
and no blanks. It names what it is about by ids, so it means the same in every store.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

KIND = "verification"
VERSION = 1
LIKELY = 0.01
"""A difference that chance makes as large less often than this is one."""
_MANY = 1000
"""Degrees of freedom from which on Student's distribution is taken for the normal one."""


class Verdict(Enum):
    AGREED = "agreed"
    DIFFERS = "differs"
    UNKNOWN = "cannot be told"
    NOT_REPRODUCED = "cannot be reproduced"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found; ids are those of runs in hex digits.

    `run` is the one that was verified, empty where it was the mean of the node's `runs`; `by` the one that was made for
    it. `value` came out where `expected` was; `sds` is how many standard deviations of such a difference lie between,
    None where the noise (`sd` of one run) is unknown. `exactly`: it is the very same number. `differs` has facts of the
    environment that are not as they were: before, now. `reason` is why it cannot be reproduced.
    """

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

    @property
    def sentence(self) -> str:
        """The finding in a line for people."""
        several = "the one run before" if self.runs == 1 else f"the mean of {self.runs} runs"
        what = f"run {self.run[:12]}" if self.run else several
        if self.verdict == Verdict.NOT_REPRODUCED.value:
            return f"{what} cannot be reproduced: {self.reason}{self._changed}"
        numbers = f"{self.value:.6g} where {what} had {self.expected:.6g}"
        if self.exactly:
            return f"agreed exactly: {numbers}"
        if self.sds is None:
            return f"cannot be told: {numbers}, and how far such runs lie apart is unknown{self._changed}"
        return f"{self.verdict}: {numbers}, {self.sds:.2g} sd apart{self._changed}"

    @property
    def _changed(self) -> str:
        told = [f"{name} {before or '-'} → {now or '-'}" for name, (before, now) in sorted(self.differs.items())]
        return f"; now otherwise: {', '.join(told)}" if told else ""


def write_finding(finding: Finding) -> str:
    """The one text that stands for it; `read_finding` gives it back."""
    record = {"version": VERSION, **asdict(finding)}
    line = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{finding.sentence}\n{line}"


def read_finding(text: str) -> Finding | None:
    """What such a text says; None unless it is exactly what `write_finding` writes: anybody may write notes."""
    try:
        record = json.loads(text.rpartition("\n")[2])
        if record.pop("version") != VERSION:
            return None
        facts = {str(name): (str(before), str(now)) for name, (before, now) in record["differs"].items()}
        finding = Finding(**{**record, "differs": facts})
        return finding if _is_sane(finding) and write_finding(finding) == text else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is_sane(finding: Finding) -> bool:
    kinds: dict[str, Any] = {
        **dict.fromkeys(("verdict", "run", "by", "reason"), str),
        **dict.fromkeys(("expected", "value", "sd", "sds"), float | None),
        "runs": int,
        "exactly": bool,
        "differs": dict,
    }
    right = all(isinstance(getattr(finding, field.name), kinds[field.name]) for field in fields(finding))
    return right and finding.verdict in {verdict.value for verdict in Verdict}


def compare(before: Sequence[float], now: float, sd: float | None, freedom: int) -> tuple[Verdict, float | None]:
    """The verdict on a number, given those that it should agree with, and how many sd lie between.

    `sd` is that of one run, known with so many degrees of `freedom` (0: as good as exactly). It differs if chance makes
    such a difference in less than one case of a hundred, by Student's t; the mean of n runs is itself uncertain.
    """
    mean = math.fsum(before) / len(before)
    if all(one == now for one in before):
        return Verdict.AGREED, 0.0
    if sd is None:
        return Verdict.UNKNOWN, None
    width = sd * math.sqrt(1 + 1 / len(before))
    if width == 0:
        return Verdict.DIFFERS, None
    sds = abs(now - mean) / width
    return (Verdict.DIFFERS if tail(sds, freedom) < LIKELY else Verdict.AGREED), sds


def tail(t: float, freedom: int) -> float:
    """The probability of a t at least as far from 0, with so many degrees of freedom; with 0 the normal one's.

    By the finite series of Abramowitz and Stegun 26.7.3 and 26.7.4.
    """
    if not 0 < freedom < _MANY:
        return math.erfc(t / math.sqrt(2))
    angle = math.atan2(t, math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for place in range(odd, freedom - 1, 2):
        total += term
        term *= square * (place + 1) / (place + 2)
    inside = (2 / math.pi) * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - inside)


def changed_facts(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Facts of two environments that differ: before, now; empty where there was none. A start is cold unless said."""
    one, other = {"start": "cold", **before}, {"start": "cold", **now}
    return {
        name: (one.get(name, ""), other.get(name, ""))
        for name in sorted({*one, *other})
        if one.get(name, "") != other.get(name, "")
    }
