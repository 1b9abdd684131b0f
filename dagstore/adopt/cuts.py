"""What turns one row of units into another, cut as finely as the units can be told to be the same ones."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dagstore.adopt.units import SPACE, Unit, Units, firm, first_item, rising, unique
from dagstore.lines import Hunk, hunks

ALIKE = 0.6
"""From which share of common words on, two units are versions of each other."""
COMPARED = 32
"""Pairs of rows whose differences are remembered."""
MANY = 400
"""Pairs of units that are compared word by word at most."""
LINES = frozenset({"", "line", "word"})
"""Kinds that say nothing of what a unit is: removing several of them is one change."""
Words = Counter[bytes]
WORD = re.compile(rb"\w+|[^\w\s]")


class Cut(NamedTuple):
    """`new` in place of the old units `start:end`; it begins at unit `at` of the new version.

    `name` is that of the entity concerned, if it is exactly one. `hunk` counts the hunks that were cut.
    """

    start: int
    end: int
    at: int
    new: Units
    name: str = ""
    hunk: int = 0

    @property
    def order(self) -> int:
        """Where it has to stand among others at its point."""
        return first_item(self.new).order if self.start == self.end else 0

    @property
    def growth(self) -> int:
        return len(self.new) - (self.end - self.start)


_compared: dict[tuple[int, int], tuple[Units, Units, tuple[Hunk, ...]]] = {}
"""What the last rows differ in, by which two they were."""


def differences(old: Units, new: Units) -> tuple[Hunk, ...]:
    """The hunks between two rows; the same two are compared for what moved, what was wrapped and what changed.

    Blank rows are compared only between units that are: by themselves they say nothing of what is the same.
    """
    known = _compared.get((id(old), id(new)))
    if known is None:
        if len(_compared) >= COMPARED:
            _compared.clear()
        known = _compared[id(old), id(new)] = old, new, _differences(old, new)
    return known[2]


def _differences(old: Units, new: Units) -> tuple[Hunk, ...]:
    there, then = _firm(old), _firm(new)
    if len(there) == len(old) and len(then) == len(new):
        return tuple(hunks(old, new))
    out: list[Hunk] = []
    at = to = 0
    for one, other in [*_anchors(old, new, there, then), (len(old), len(new))]:
        for hunk in _gap(old[at:one], new[to:other]):
            moved = Hunk(at + hunk.start, at + hunk.end, hunk.new_lines)
            out.append(_raised(old, moved, out[-1].end + 1 if out else 0))
        at, to = one + 1, other + 1
    return tuple(out)


def _gap(old: Units, new: Units) -> Sequence[Hunk]:
    """The hunks between two anchors; one, if there are other units than blank rows on both sides."""
    if old == new:
        return ()
    return [Hunk(0, len(old), new)] if firm(old) and firm(new) else hunks(old, new)


def _raised(old: Units, hunk: Hunk, first: int) -> Hunk:
    """The same change, such that the blank rows beside what is put in or taken out are those above it."""
    start, end, new = hunk
    while start == end and start > first and _blank_twice(old[start - 1], new[-1]):
        start, end, new = start - 1, end - 1, (new[-1], *new[:-1])
    while not new and start > first and _blank_twice(old[start - 1], old[end - 1]):
        start, end = start - 1, end - 1
    return Hunk(start, end, new)


def _blank_twice(one: bytes, other: bytes) -> bool:
    return one == other and not one.strip()


def _firm(units: Units) -> list[int]:
    return [number for number, unit in enumerate(units) if not unit.blank]


def _anchors(old: Units, new: Units, there: list[int], then: list[int]) -> Iterator[tuple[int, int]]:
    """The units that are the same in both, in order."""
    at = to = 0
    for hunk in hunks([old[number] for number in there], [new[number] for number in then]):
        yield from zip(there[at : hunk.start], then[to : to + hunk.start - at], strict=True)
        at, to = hunk.end, to + hunk.start - at + len(hunk.new_lines)
    yield from zip(there[at:], then[to:], strict=True)


def cuts(old: Units, new: Units) -> list[Cut]:
    """The cuts from `old` to `new` in order; applied together they make `new`."""
    out: list[Cut] = []
    shift = 0
    for number, hunk in enumerate(differences(old, new)):
        start, at = hunk.start, hunk.start + shift
        end, stop = hunk.end, at + len(hunk.new_lines)
        for one, other in _same(old, new, (start, end), (at, stop)):
            out += _between(old, Cut(start, one, at, new[at:other], hunk=number))
            if old[one] != new[other]:
                name = old[one].entity if old[one].entity == new[other].entity else ""
                out.append(Cut(one, one + 1, other, (new[other],), name, number))
            start, at = one + 1, other + 1
        out += _between(old, Cut(start, end, at, new[at:stop], hunk=number))
        shift += hunk.growth
    return out


def _same(old: Units, new: Units, before: tuple[int, int], after: tuple[int, int]) -> list[tuple[int, int]]:
    """Pairs of units of a hunk that are the same one before and after, in an order that rises on both sides."""
    if before[0] == before[1] or after[0] == after[1]:
        return []
    was = unique((old[number].item.name, number) for number in range(*before))
    now = unique((new[number].item.name, number) for number in range(*after))
    named = [(number, now[name]) for name, number in was.items() if name in now]
    kept = rising([other for _, other in named])
    out: list[tuple[int, int]] = []
    start, at = before[0], after[0]
    for one, other in [*(pair for at, pair in enumerate(named) if at in kept), (before[1], after[1])]:
        out += _alike(old, new, (start, one), (at, other))
        if one < before[1]:
            out.append((one, other))
        start, at = one + 1, other + 1
    return out


def _alike(
    old: Sequence[Unit], new: Sequence[Unit], before: tuple[int, int], after: tuple[int, int]
) -> list[tuple[int, int]]:
    """The pairs without a common name that are most alike in all, none of them crossing another."""
    rows, columns = before[1] - before[0], after[1] - after[0]
    if not rows or not columns or rows * columns > MANY or old[before[0]].kind in ("", "word"):
        return []
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    words = [Counter(WORD.findall(old[i])) for i in range(*before)]
    others = [Counter(WORD.findall(new[j])) for j in range(*after)]
    score = [
        [_alikeness(old[before[0] + i], new[after[0] + j], words[i], others[j]) for j in range(columns)]
        for i in range(rows)
    ]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], score[i][j] and score[i][j] + best[i + 1][j + 1])
    out: list[tuple[int, int]] = []
    i = j = 0
    while i < rows and j < columns:
        if score[i][j] and best[i][j] == score[i][j] + best[i + 1][j + 1]:
            out.append((before[0] + i, after[0] + j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return out


def _alikeness(one: Unit, other: Unit, words: Words, others: Words) -> float:
    """0 unless the units may be versions of one another."""
    if one.kind != other.kind or (one.entity and other.entity):
        return 0.0
    return 1.0 if one == other else _share(words, others)


def _share(words: Words, others: Words) -> float:
    share = 2 * (words & others).total() / (words.total() + others.total() or 1)
    return share if share >= ALIKE else 0.0


def _between(old: Units, cut: Cut) -> Iterator[Cut]:
    """The cuts between two pairs: what is only added goes by entities, and what is only removed unit by unit."""
    was = old[cut.start : cut.end]
    if was == cut.new:
        return
    if was and cut.new and _strangers(firm(was), firm(cut.new)):
        yield from _removed(old, cut)
        yield from _added(cut._replace(start=cut.end))
    elif not was:
        yield from _added(cut)
    elif not cut.new and was[0].kind not in LINES:
        yield from _removed(old, cut)
    else:
        yield cut


def _removed(old: Units, cut: Cut) -> Iterator[Cut]:
    for number in range(cut.start, cut.end):
        yield cut._replace(start=number, end=number + 1, new=(), name=old[number].entity)


def _added(cut: Cut) -> Iterator[Cut]:
    for first, last, name in _pieces(cut.new):
        yield cut._replace(at=cut.at + first, new=cut.new[first:last], name=name)


def _strangers(old: Units, new: Units) -> bool:
    """Whether entities went and others came that have nothing to do with them."""
    if not old or not new or not all(unit.entity for unit in (*old, *new)) or len(old) * len(new) > MANY:
        return False
    words = [Counter(WORD.findall(unit)) for unit in old]
    return not any(_share(some, Counter(WORD.findall(unit))) for unit in new for some in words)


def _pieces(units: Units) -> Iterator[tuple[int, int, str]]:
    """Each entity with the comments and the blank rows on the one side of it, and what lies between two together."""
    below = bool(units[0].strip()) and not units[-1].strip()
    start = 0
    for number, unit in enumerate(units):
        if unit.entity and number >= start:
            above = number
            while above > start and units[above - 1].kind == SPACE:
                above -= 1
            if start < above:
                yield start, above, ""
            start = number + 1
            while below and start < len(units) and not units[start].strip():
                start += 1
            yield above, start, unit.entity
    if start < len(units):
        yield start, len(units), ""
