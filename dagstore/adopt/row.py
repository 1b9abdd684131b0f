"""The changes that any number of donors made to one row of units, applied at once.

Every donor's edits are carried over to the primary's units, then grouped: edits that change a common unit, insert
inside of what another changes, or put the same entity at one point belong together. A group in which all agree is
taken. One about a single unit is put together inside of that unit. In any other, preference decides which of its edits
are made, and the group is recorded as a contradiction. Edits that merely stand side by side never meet.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dagstore.adopt.choice import FAINT, Preference
from dagstore.adopt.edits import Edit, applied, edits_onto
from dagstore.adopt.groups import crowded, groups, prepared, taken_apart
from dagstore.adopt.units import CLOSING, Unit, Units, firm, first_item, outside
from dagstore.ids import NodeId
from dagstore.model import Decision

JOINED = frozenset({"import"})
"""Kinds of units of which one is made where several add one of the same name."""


class Wish(NamedTuple):
    """What `origin` made of the unit `base`: `new`. No base if it was added by several."""

    origin: NodeId
    base: Unit | None
    new: Unit


class Placed(NamedTuple):
    """A unit of the result; `at` is its number among the primary's, -1 if it is none of these."""

    unit: Unit
    at: int


class Version(NamedTuple):
    """What `origin` made of the row `base`: `new`."""

    origin: NodeId
    base: Units
    new: Units


class Settled(NamedTuple):
    """What comes in place of the primary's units `start:end`."""

    start: int
    end: int
    order: tuple[object, ...]
    new: Units
    decisions: tuple[Decision, ...]


class Inside(NamedTuple):
    """One unit that was put together of several versions."""

    unit: Unit
    decisions: tuple[Decision, ...]


Decisions = tuple[Decision, ...]


class Judge(NamedTuple):
    """What a row leaves to others: what a place is called, a decision about it, and the inside of a unit."""

    region: Callable[[int, int, Sequence[Edit]], str]
    rung: Callable[[Edit], str]
    decided: Callable[[str, str, set[NodeId]], Decision]
    against: Callable[[str, dict[NodeId, Units], set[NodeId]], tuple[Units | None, Decision]]
    inside: Callable[[str, Unit, list[Wish], str], Inside]


@dataclass(frozen=True, slots=True)
class Row:
    """The primary's row, and who is heard first about it.

    With `apart`, edits of two donors may not even touch. `deep` rows are inside of a unit that lines could not compose.
    """

    primary: NodeId
    units: Units
    preference: Preference
    judge: Judge
    apart: bool = False
    deep: bool = False

    def merge(self, versions: Sequence[Version]) -> tuple[list[Placed], tuple[Decision, ...]]:
        """The row with all changes, and how each place was decided, in order."""
        edits = prepared(
            [edit for one in versions for edit in edits_onto(self.units, self.primary, one.base, one.new, one.origin)],
            self.preference,
        )
        settled = sorted(self._settled(edits), key=lambda one: (one.start, one.end, one.order))
        told = (one.decisions for one in settled if not self._only_closes(one))
        return self._placed(settled), tuple(decision for decisions in told for decision in decisions)

    def _only_closes(self, one: Settled) -> bool:
        """Whether it is about the end of a block, which goes with its beginning."""
        units = (*self.units[one.start : one.end], *one.new)
        return (
            bool(units)
            and all(unit.startswith(CLOSING) for unit in units)
            and not any(one.sides for one in one.decisions)
        )

    def _placed(self, settled: Sequence[Settled]) -> list[Placed]:
        out: list[Placed] = []
        at = 0
        for one in settled:
            out += [Placed(self.units[number], number) for number in range(at, one.start)]
            same = one.end - one.start == len(one.new) == 1
            out += [Placed(unit, one.start if same else -1) for unit in one.new]
            at = one.end
        return out + [Placed(self.units[number], number) for number in range(at, len(self.units))]

    def _settled(self, edits: Sequence[Edit]) -> Iterator[Settled]:
        busy, cut = crowded(edits), taken_apart(edits)
        goes = outside([(_place(edit), edit.rank, edit.new) for edit in edits if edit.point])
        depths: dict[tuple[NodeId, int], int] = {}
        for edit in edits:
            if edit.point:
                depths.setdefault(_place(edit), edit.depth)
        for group in groups(edits, apart=self.apart):
            # What continues the block above goes before what starts another one.
            order = min(
                (
                    goes(_place(edit), edit.rank),
                    first_item(edit.new).order,
                    -depths.get(_place(edit), 0),
                    edit.origin,
                    edit.rank,
                )
                for edit in group
            )
            yield self._settle(group, busy, cut)._replace(order=order)

    def _settle(self, group: Sequence[Edit], busy: set[int], cut: set[Edit]) -> Settled:
        start, end = min(edit.start for edit in group), max(edit.end for edit in group)
        by_origin: dict[NodeId, list[Edit]] = {}
        for edit in group:
            by_origin.setdefault(edit.origin, []).append(edit)
        wishes = {origin: self._made(start, end, edits) for origin, edits in by_origin.items()}
        region = self.judge.region(start, end, group)
        if self.apart and any(edit.beside for edit in group):
            wishes[self.primary] = ()  # what the primary put in there touches it
        if len(set(wishes.values())) > 1:
            return self._contested(start, end, region, by_origin, wishes)
        made = self._made(start, end, group)
        faint = FAINT if _blank((*self.units[start:end], *made)) else ""
        decision = self.judge.decided(region, faint + self._engine(group, by_origin, busy, cut), set(by_origin))
        return Settled(start, end, (), made, (decision,))

    def _engine(self, group: Sequence[Edit], origins: Collection[NodeId], busy: set[int], cut: set[Edit]) -> str:
        """How it came that all want the same."""
        edit = group[0]
        if len(origins) > 1:
            return "identical"
        if not self.deep and edit.point and (edit.beside or edit.start in busy):
            return "lines"
        return self.judge.rung(edit) if self.deep or edit in cut else "one-side"

    def _contested(
        self, start: int, end: int, region: str, by_origin: dict[NodeId, list[Edit]], wishes: dict[NodeId, Units]
    ) -> Settled:
        """The one unit that all of them are about, put together; else what the best of them wants."""
        inner = self._inner(by_origin)
        inside = None
        if len(inner) > 1 or (inner and self.primary in by_origin):
            inside = self._inside(region, start, end, inner)
        if inside and len(inner) == len(by_origin.keys() - {self.primary}):
            return Settled(start, end, (), *inside)
        if inside and len(inner) > 1 and self.preference.best(by_origin) in inner:
            # They go together; only those that want something else altogether are not heard.
            made, more = inside
            wishes |= dict.fromkeys(inner, made)
            taken = set(inner)
        else:
            heard = self._heard(by_origin)
            taken, more = {edit.origin for edit in heard}, ()
            made = self._made(start, end, heard)
        known, decision = self.judge.against(region, wishes, taken)
        if known is not None:
            return Settled(start, end, (), known, (decision,))
        return Settled(start, end, (), made, (decision, *more))

    def _inner(self, by_origin: dict[NodeId, list[Edit]]) -> dict[NodeId, Edit]:
        """The edits that make one unit of the unit that the whole group is about, or add it."""
        found = {origin: edits[0] for origin, edits in by_origin.items() if len(edits) == 1 and origin != self.primary}
        return {origin: edit for origin, edit in found.items() if len(edit.old) <= 1 == len(_core(edit))}

    def _inside(self, region: str, start: int, end: int, inner: dict[NodeId, Edit]) -> tuple[Units, Decisions] | None:
        edits = list(inner.values())
        if end - start > 1 or any((edit.start, edit.end) != (start, end) for edit in edits):
            return None
        units = {_core(edit)[0] for edit in edits} | set(self.units[start:end])
        if not all(edit.old for edit in edits) and len(units) > 1 and any(one.kind not in JOINED for one in units):
            return None
        if start == end:
            return None if any(edit.old for edit in edits) else self._added(region, inner)
        wishes = [Wish(edit.origin, edit.old[0] if edit.old else None, _core(edit)[0]) for edit in edits]
        inside = self.judge.inside(region, self.units[start], wishes, self.judge.rung(edits[0]))
        return (inside.unit,), inside.decisions

    def _added(self, region: str, inner: dict[NodeId, Edit]) -> tuple[Units, Decisions]:
        """A unit that several add, put together where the best of them has it."""
        best = self.preference.best(inner)
        unit, rung = _core(inner[best])[0], self.judge.rung(inner[best])
        wishes = [Wish(origin, None, _core(edit)[0]) for origin, edit in inner.items() if origin != best]
        joined = self.judge.inside(region, unit, wishes, rung).unit
        engine = "identical" if all(wish.new == unit for wish in wishes) else rung
        made = tuple(joined if one is unit else one for one in inner[best].new)
        return made, (self.judge.decided(region, engine, set(inner)),)

    def _heard(self, by_origin: dict[NodeId, list[Edit]]) -> list[Edit]:
        """The edits that are made: each parent in the order of preference, unless it clashes with a better one."""
        taken: list[Edit] = []
        for origin in self.preference.ordered(by_origin):
            if not any(edit.clashes(other) for edit in by_origin[origin] for other in taken):
                taken += by_origin[origin]
        return taken

    def _made(self, start: int, end: int, edits: Sequence[Edit]) -> Units:
        """The primary's units `start:end` with the edits made; those of the primary change nothing."""
        ordered = sorted(edits, key=lambda one: (one.start, one.end, one.origin, one.rank))
        changes = dict.fromkeys(edit.change for edit in ordered if edit.origin != self.primary)
        return applied(self.units, start, end, [change[:3] for change in changes])


def _core(edit: Edit) -> Units:
    """What an edit puts there; without blank rows around it, if it is added."""
    return edit.new if edit.old else firm(edit.new) or edit.new


def _blank(units: Units) -> bool:
    return bool(units) and not any(unit.strip() for unit in units)


def _place(edit: Edit) -> tuple[NodeId, int]:
    return edit.origin, edit.start
