"""The cuts of one donor carried over to the primary's units, and where the primary stands against them."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from dagstore.adopt.cuts import Cut, cuts
from dagstore.adopt.units import Unit, Units, entities, outside, rivals
from dagstore.ids import NodeId


@dataclass(frozen=True, slots=True)
class Edit:
    """`new` in place of the primary's units `start:end`, as `origin` wants it.

    `old` is what it replaces in the donor's base. `against` marks both sides of a place that the primary changed by
    itself; the primary's side puts there what there is; `agreed` says that both made the same of it. `adds` marks an
    entity that the donor's base does not know, `beside` an insertion where the primary inserted as well. `reach` are
    the units of the hunk it was cut from. `rank` orders the edits of one origin, `nth` its equal insertions at one
    point.
    """

    start: int
    end: int
    new: Units
    old: Units
    origin: NodeId
    name: str = ""
    against: bool = False
    agreed: bool = False
    adds: bool = False
    beside: bool = False
    reach: tuple[int, int] = (0, 0)
    rank: int = 0
    nth: int = 0

    @property
    def depth(self) -> int:
        """How far the first line that is not blank is indented."""
        line = next((line for line in self.new if line.strip()), b"")
        return len(line) - len(line.lstrip(b" \t"))

    @property
    def point(self) -> bool:
        return self.start == self.end

    @property
    def single(self) -> bool:
        """Whether it is about one unit of the primary, and leaves one there."""
        return self.end - self.start == len(self.new) == 1

    def overlaps(self, other: "Edit") -> bool:
        """Whether both change a unit, or one inserts inside of what the other changes.

        Contested places overlap if they only touch, unless each is about one unit: units between them may be gone from
        the primary.
        """
        open = not (self.agreed or other.agreed) and not (self.single and other.single)
        if self.against and other.against and open:
            return self.start <= other.end and other.start <= self.end
        return self.start < other.end and other.start < self.end

    @property
    def change(self) -> tuple[int, int, Units, int]:
        """What is the same in the edits of two parents that agree."""
        return self.start, self.end, self.new, self.nth

    def clashes(self, other: "Edit") -> bool:
        """Whether only one of the two can be made."""
        if self.change == other.change:
            return False
        if self.point and other.point:
            alone = bool(self.name) or (self.against and other.against)
            same = self.name == other.name and alone
            return self.start == other.start and (same or rivals(self.new, other.new))
        return self.overlaps(other)


@dataclass(frozen=True, slots=True)
class _Fork:
    """The primary and a donor over their common base."""

    base: Units
    primary: Units
    primary_id: NodeId
    origin: NodeId


def edits_onto(primary: Units, primary_id: NodeId, base: Units, donor: Units, origin: NodeId) -> list[Edit]:
    """What the donor changed in `base`, in the primary's units and in order.

    Where the primary changed the same units, its own edit stands beside the donor's.
    """
    fork = _Fork(base, primary, primary_id, origin)
    theirs = cuts(base, donor)
    ours = [] if base == primary else cuts(base, primary)
    added = any(cut.name and cut.start == cut.end for cut in theirs)
    fresh = entities(donor).keys() - {unit.entity for unit in base} if added else frozenset()
    placed = [pair for cluster in _clusters(ours, theirs) for pair in _placed(fork, fresh, *cluster)]
    edits = _reaching([(number, replace(edit, rank=rank)) for rank, (number, edit) in enumerate(placed)])
    return _meeting_additions(fork, ours, edits) if ours else edits


def _clusters(ours: Sequence[Cut], theirs: Sequence[Cut]) -> Iterator[tuple[int, list[Cut], list[Cut]]]:
    """Cuts that overlap in the base, together, with how far the primary's units have moved before them."""
    tagged = [(cut.start, cut.end, side, cut) for side, some in enumerate((ours, theirs)) for cut in some]
    goes = outside([((side, start), cut.at, cut.new) for start, end, side, cut in tagged if start == end])
    tagged.sort(key=lambda item: (*item[:2], goes((item[2], item[0]), item[3].at), item[3].order, item[2]))
    shift = end = 0
    sides: tuple[list[Cut], list[Cut]] = ([], [])
    for start, stop, side, cut in tagged:
        if start >= end and any(sides):
            yield shift, *sides
            shift += sum(cut.growth for cut in sides[0])
            sides = ([], [])
        # A point at the very start of the file opens a cluster like any other.
        end = max(end, stop)
        sides[side].append(cut)
    if any(sides):
        yield shift, *sides


def _placed(fork: _Fork, fresh: Set[str], shift: int, ours: list[Cut], theirs: list[Cut]) -> Iterator[tuple[int, Edit]]:
    """Edits with the number of the hunk they were cut from; -1 for the primary's own."""
    if not theirs:
        return
    if ours:
        yield from _contest(fork, shift, ours, theirs)
        return
    for cut in theirs:
        adds = bool(cut.name) and cut.start == cut.end and cut.name in fresh
        old = fork.base[cut.start : cut.end]
        yield cut.hunk, Edit(cut.start + shift, cut.end + shift, cut.new, old, fork.origin, cut.name, adds=adds)


def _contest(fork: _Fork, shift: int, ours: list[Cut], theirs: list[Cut]) -> Iterator[tuple[int, Edit]]:
    first = min(cut.start for cut in ours + theirs)
    last = max(cut.end for cut in ours + theirs)
    start, end = first + shift, last + shift + sum(cut.growth for cut in ours)
    old = fork.base[first:last]
    name = old[0].entity if len(old) == 1 else ""
    wish = applied(fork.base, first, last, [(cut.start, cut.end, cut.new) for cut in theirs])
    agreed = wish == fork.primary[start:end]
    yield -1, Edit(start, end, fork.primary[start:end], old, fork.primary_id, name, against=True, agreed=agreed)
    yield theirs[0].hunk, Edit(start, end, wish, old, fork.origin, name, against=True, agreed=agreed)


def applied(units: Units, first: int, last: int, changes: Sequence[tuple[int, int, Units]]) -> Units:
    """The units `first:last` with disjoint, ordered changes made."""
    out: list[Unit] = []
    at = first
    for start, end, new in changes:
        out += units[at:start]
        out += new
        at = end
    return (*out, *units[at:last])


def _reaching(numbered: Sequence[tuple[int, Edit]]) -> list[Edit]:
    reach: dict[int, tuple[int, int]] = {}
    for number, edit in numbered:
        first, last = reach.get(number, (edit.start, edit.end))
        reach[number] = (min(first, edit.start), max(last, edit.end))
    own = [(edit.start, edit.end) if number < 0 else reach[number] for number, edit in numbered]
    return [replace(edit, reach=extent) for (_, edit), extent in zip(numbered, own, strict=True)]


def _meeting_additions(fork: _Fork, ours: Sequence[Cut], edits: list[Edit]) -> list[Edit]:
    """Insertions brought to where the primary inserted the same entity or the same units."""
    there = entities(fork.primary) if any(edit.adds for edit in edits) else {}
    inserted = _inserted([cut for cut in ours if cut.start == cut.end])
    written = {
        point: cut for cut in ours if cut.start < cut.end and cut.new for point in (cut.at, cut.at + len(cut.new))
    }
    out: list[Edit] = []
    for edit in edits:
        target = _counterpart(there, inserted, edit) or _written(written, edit)
        if target and not any(_touches(other, *target) for other in edits if other is not edit):
            out += _opposed(fork, edit, *target)
        else:
            out.append(replace(edit, beside=edit.point and edit.start in inserted))
    return out


def _inserted(added: Sequence[Cut]) -> dict[int, Units]:
    """All units that the primary inserted up to a point, by that point: pieces of one insertion follow each other."""
    out: dict[int, Units] = {}
    for cut in added:
        out[cut.at + len(cut.new)] = out.get(cut.at, ()) + cut.new
    return out


def _counterpart(there: dict[str, int], inserted: dict[int, Units], edit: Edit) -> tuple[int, int] | None:
    """The primary's units that answer an insertion: the same new entity, else the same units at the same point."""
    if edit.against or not edit.point:
        return None
    if edit.adds and edit.name in there:
        return there[edit.name], there[edit.name] + 1
    present = inserted.get(edit.start, ())
    length = len(edit.new)
    for offset in range(len(present) - length + 1):
        if present[offset] == edit.new[0] and present[offset : offset + length] == edit.new:
            start = edit.start - len(present) + offset
            return start, start + length
    rival = next((offset for offset in range(len(present)) if rivals(present[offset : offset + 1], edit.new)), None)
    return None if rival is None else (edit.start - len(present) + rival, edit.start - len(present) + rival + 1)


def _written(written: dict[int, Cut], edit: Edit) -> tuple[int, int] | None:
    """The primary's units that answer an insertion, if it put them in place of what stood beside it."""
    cut = written.get(edit.start)
    if cut is None or edit.against or not edit.point or cut.new != edit.new:
        return None
    return cut.at, cut.at + len(cut.new)


def _touches(edit: Edit, start: int, end: int) -> bool:
    return edit.start < end and start < edit.end


def _opposed(fork: _Fork, edit: Edit, start: int, end: int) -> list[Edit]:
    new = tuple(unit for unit in edit.new if unit.strip()) if edit.adds else edit.new
    moved = replace(edit, start=start, end=end, new=new, against=True, adds=False, reach=(start, end))
    return [replace(moved, new=fork.primary[start:end], origin=fork.primary_id), moved]
