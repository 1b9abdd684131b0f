"""Reads the DAG of a hub of agents, as its `GET /api/git/dag` answers: a JSON list of commits without their code.

A record has `hash`, `parent_hash` (empty or null for a root), `contributor_id`, `message`, the metric under its own
name, `platform` (one line a device) and `created_at` (ISO 8601). Only `hash` must be there. Pure: the file comes as
bytes, and what cannot come in is counted with its reason, never guessed.
"""

import json
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from dagstore.aliases import is_alias
from dagstore.errors import BadInput
from dagstore.platforms import UNKNOWN, platform_of
from dagstore.printable import clean, one_line

SOURCE = "hub"
MAX_MESSAGE = 10_000
MAX_AUTHOR = 200
MAX_PLATFORM = 400
"""Bytes, as for any run."""
_TEXTS = ("parent_hash", "contributor_id", "message", "platform", "created_at")
_ORPHAN, _BELOW = "its parent is not in the file, or left out", "it builds on one that is left out"
_SAVE = "save what GET /api/git/dag answers"
_SHOWN = 40


class Commit(NamedTuple):
    """One record. `value` is None where `problem` says why there is none; `time` in ms since the epoch, 0: unknown."""

    id: str
    parent: str
    author: str
    message: str
    value: float | None
    problem: str
    platform: str
    time: int


class Placed(NamedTuple):
    """A commit, the one whose node it is a run of (mostly itself), and the commit that this one builds on."""

    commit: Commit
    leader: Commit
    parent: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that could not come in as it was: why, how often, and the first one that it happened to."""

    why: str
    count: int
    example: str


@dataclass(slots=True)
class Tally:
    """Remarks while they are counted."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, why: str, example: str) -> None:
        count, first = self.found.get(why, (0, one_line(clean(example), _SHOWN)))
        self.found[why] = count + 1, first

    def remarks(self) -> Iterator[Remark]:
        """The most frequent first."""
        for why, (count, example) in sorted(self.found.items(), key=lambda item: -item[1][0]):
            yield Remark(why, count, example)


class Dump(NamedTuple):
    """The commits of a file that can come in by themselves, in its order; what is `left_out`, what came in `part`."""

    records: int
    commits: Sequence[Commit]
    left_out: Tally
    part: Tally


def read_dump(data: bytes, metric: str) -> Dump:
    """The commits in a file; `BadInput` if it is no list of records, or none of them has a number for the metric."""
    rows = _rows(data)
    left_out, part = Tally(), Tally()
    commits: dict[str, Commit] = {}
    for at, row in enumerate(rows, start=1):
        problem = _problem(row)
        if problem:
            left_out.add(problem, f"record {at}")
        elif row["hash"] in commits:
            left_out.add("its hash was there before", row["hash"])
        else:
            commits[row["hash"]] = _commit(row, metric, part)
    if commits and all(one.value is None for one in commits.values()):
        raise _no_metric(rows, metric)
    return Dump(len(rows), list(commits.values()), left_out, part)


def arrange(dump: Dump, known: Container[str], reruns: Iterable[str]) -> list[Placed]:
    """The commits with parents before children, in the order of the file as far as that allows.

    `reruns` are ids of commits that are declared to measure again what others measured: those on one parent become
    runs of one node, that of the first of them in time. One that builds on another re-run joins that one. A commit
    whose parent is neither in the file nor `known` is left out with all that builds on it, and so is a circle.
    """
    ordered = _ordered(dump, known)
    folded = frozenset(reruns)
    base: dict[str, str] = {}
    groups: dict[str, list[Commit]] = defaultdict(list)
    for commit in ordered:
        base[commit.id] = base[commit.parent] if commit.parent in folded and commit.id in folded else commit.parent
        if commit.id in folded:
            groups[base[commit.id]].append(commit)
    leaders = {parent: min(group, key=lambda one: (one.time, one.id)) for parent, group in groups.items()}
    return [
        Placed(commit, leaders[base[commit.id]] if commit.id in folded else commit, base[commit.id])
        for commit in ordered
    ]


def _ordered(dump: Dump, known: Container[str]) -> list[Commit]:
    """Those that can be placed; the others are counted as left out."""
    commits = dump.commits
    below: dict[str, list[int]] = defaultdict(list)
    for at, commit in enumerate(commits):
        below[commit.parent].append(at)
    there = {commit.id for commit in commits}
    outside = [parent for parent in below if parent not in there]
    started = [parent for parent in outside if not parent or parent in known]
    ordered = [commits[at] for at in _downwards(commits, below, started)]
    orphans = [parent for parent in outside if parent not in started]
    lost = [commits[at] for at in _downwards(commits, below, orphans)]
    for commit in lost:
        dump.left_out.add(_BELOW if commit.parent in there else _ORPHAN, commit.id)
    placed = {commit.id for commit in (*ordered, *lost)}
    for commit in commits:
        if commit.id not in placed:
            dump.left_out.add("its parents go in a circle", commit.id)
    return ordered


def _downwards(commits: Sequence[Commit], below: Mapping[str, Sequence[int]], parents: Iterable[str]) -> Iterator[int]:
    """Places of all commits below these parents: parents first, else in order."""
    ready = [at for parent in parents for at in below[parent]]
    heapify(ready)
    while ready:
        at = heappop(ready)
        yield at
        for child in below.get(commits[at].id, ()):
            heappush(ready, child)


def _rows(data: bytes) -> list[Any]:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the file is no JSON: {one_line(str(error))}", hint=_SAVE) from None
    if not isinstance(rows, list):
        raise BadInput("the file is no JSON list", hint=f"{_SAVE}: a list of records")
    return rows


def _problem(row: Any) -> str:
    """Why a record cannot come in, or nothing."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    id = row.get("hash")
    if not isinstance(id, str) or not is_alias(SOURCE, id):
        return "it has no usable hash"
    wrong = next((name for name in _TEXTS if not isinstance(row.get(name) or "", str)), "")
    if wrong:
        return f"its {wrong} is no text"
    if len(_platform(row).encode()) > MAX_PLATFORM:
        return f"its platform is longer than {MAX_PLATFORM} bytes"
    return ""


def _commit(row: Mapping[str, Any], metric: str, part: Tally) -> Commit:
    id = row["hash"]
    value, problem = _value(row, metric)
    time, message = _time(row.get("created_at") or ""), clean(row.get("message") or "")
    for said, what in (
        (problem, problem),
        (not time, "its created_at is no time"),
        (len(message) > MAX_MESSAGE, f"its message is longer than {MAX_MESSAGE} characters, and was cut"),
    ):
        if said:
            part.add(what, id)
    return Commit(
        id=id,
        parent=row.get("parent_hash") or "",
        author=one_line(clean(row.get("contributor_id") or ""), MAX_AUTHOR),
        message=message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…",
        value=value,
        problem=problem,
        platform=_platform(row),
        time=time,
    )


def _value(row: Mapping[str, Any], metric: str) -> tuple[float | None, str]:
    """The number, or why there is none."""
    found = row.get(metric)
    if found is None:
        return None, f"{metric} was not reported"
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        return None, f"{metric} is no number"
    try:
        value = float(found)
    except OverflowError:
        value = math.inf
    return (value, "") if math.isfinite(value) else (None, f"{metric} is not finite")


def _platform(row: Mapping[str, Any]) -> str:
    lines = (one_line(clean(line), 2 * MAX_PLATFORM) for line in (row.get("platform") or "").splitlines())
    return platform_of(line for line in lines if line) or UNKNOWN


def _time(text: str) -> int:
    """Milliseconds since the epoch, 0 for what is no time or before it; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0, round(seconds * 1000))


def _no_metric(rows: Iterable[Any], metric: str) -> BadInput:
    named = {name for row in rows if isinstance(row, dict) for name in row if _value(row, name)[0] is not None}
    names = ", ".join(one_line(clean(name), _SHOWN) for name in sorted(named)[:10])
    return BadInput(
        f"no record of the file has a number called {metric!r}",
        hint=f"--metric may be: {names}" if names else "the file has no numbers at all",
    )
