"""The n-way line engine: the changes that any number of donors made to one text file, applied at once.

Every donor's edits are carried over to the primary's lines, then grouped: edits that change a common line, insert
inside of what another changes, or put the same name at one point belong together. A group in which all agree is
taken; in any other, preference decides which of its edits are made, and the group is recorded as a contradiction.
Edits that merely stand side by side never meet. A result that is not well-formed, or defines a name twice, although
no version did so, gives way to as many donors as go together, best first.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dagstore.adopt.choice import Preference, sides
from dagstore.adopt.edits import Edit, applied, edits_onto
from dagstore.adopt.outline import Text
from dagstore.ids import NodeId
from dagstore.model import Decision


@dataclass(frozen=True, slots=True)
class Contribution:
    """What `origin` made of `base`: `text`."""

    origin: NodeId
    base: Text
    text: Text


@dataclass(frozen=True, slots=True)
class Merged:
    """The composed file and how each of its regions was decided, in file order."""

    data: bytes
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class _Settled:
    start: int
    end: int
    order: tuple[int, NodeId, int]
    new: tuple[bytes, ...]
    decision: Decision


@dataclass(frozen=True, slots=True)
class Bench:
    """The primary's version of the file at `path`, and who is heard first about it."""

    path: str
    primary_id: NodeId
    primary: Text
    preference: Preference

    def merge(self, contributions: Iterable[Contribution]) -> Merged:
        """The file with all contributions; their order does not matter."""
        given = sorted(contributions, key=lambda one: one.origin)
        merged = self._together(given)
        return merged if self._sound(merged.data, given) else self._as_many_as_go(given)

    def _together(self, given: Sequence[Contribution]) -> Merged:
        edits = [
            edit for one in given for edit in edits_onto(self.primary, self.primary_id, one.base, one.text, one.origin)
        ]
        edits = _numbered(_same_additions_together(edits))
        settled = sorted(self._settled(edits), key=lambda one: (one.start, one.end, one.order))
        changes = [(one.start, one.end, one.new) for one in settled]
        lines = applied(self.primary.lines, 0, len(self.primary.lines), changes)
        ended, ending = self._ending(given, edits)
        data = b"".join(lines)
        return Merged(data if ended or not data else data[:-1], (*(one.decision for one in settled), *ending))

    def _settled(self, edits: Sequence[Edit]) -> Iterator[_Settled]:
        crowded = _crowded(edits)
        taken_apart = _taken_apart(edits)
        depths: dict[tuple[NodeId, int], int] = {}
        for edit in edits:
            if edit.point:
                depths.setdefault((edit.origin, edit.start), edit.depth)
        for group in _groups(edits):
            settled = self._settle(group)
            # What continues the block above goes before what starts another one.
            order = min((-depths.get((edit.origin, edit.start), 0), edit.origin, edit.rank) for edit in group)
            settled = replace(settled, order=order)
            if settled.decision.engine == "one-side":
                edit = group[0]
                engine = "one-side"
                if edit.point and (edit.beside or edit.start in crowded):
                    engine = "lines"
                elif edit in taken_apart:
                    engine = self.primary.syntax.rung
                settled = replace(settled, decision=settled.decision._replace(engine=engine))
            yield settled

    def _settle(self, group: Sequence[Edit]) -> _Settled:
        start, end = min(edit.start for edit in group), max(edit.end for edit in group)
        by_origin: dict[NodeId, list[Edit]] = {}
        for edit in group:
            by_origin.setdefault(edit.origin, []).append(edit)
        wishes = {origin: self._made(start, end, edits) for origin, edits in by_origin.items()}
        taken = self._heard(by_origin)
        origins = tuple(sorted({edit.origin for edit in taken}))
        region = self._region(start, end, group)
        if len(set(wishes.values())) == 1:
            engine = "one-side" if len(origins) == 1 else "identical"
            decision = Decision(self.path, region, engine, origins)
        else:
            wanted = {origin: b"".join(lines) for origin, lines in wishes.items()}
            decision = Decision(self.path, region, "preference", origins, sides(wanted), contradiction=True)
        return _Settled(start, end, (0, group[0].origin, 0), self._made(start, end, taken), decision)

    def _heard(self, by_origin: dict[NodeId, list[Edit]]) -> list[Edit]:
        """The edits that are made: each parent in the order of preference, unless it clashes with a better one."""
        taken: list[Edit] = []
        for origin in self.preference.ordered(by_origin):
            if not any(edit.clashes(other) for edit in by_origin[origin] for other in taken):
                taken += by_origin[origin]
        return taken

    def _made(self, start: int, end: int, edits: Sequence[Edit]) -> tuple[bytes, ...]:
        """The primary's lines `start:end` with the edits made; those of the primary change nothing."""
        ordered = sorted(edits, key=lambda one: (one.start, one.end, one.origin, one.rank))
        changes = dict.fromkeys(edit.change for edit in ordered if edit.origin != self.primary_id)
        return applied(self.primary.lines, start, end, [change[:3] for change in changes])

    def _region(self, start: int, end: int, group: Sequence[Edit]) -> str:
        names = {edit.name for edit in group}
        name = names.pop() if len(names) == 1 else ""
        # An insertion ends before it starts: `L8-7` stands between lines 7 and 8.
        return name or self.primary.outline.around(start, end) or f"L{start + 1}-{end}"

    def _ending(self, given: Sequence[Contribution], edits: Sequence[Edit]) -> tuple[bool, tuple[Decision, ...]]:
        """Whether the last line ends with a line feed, and who decided so if no edit of the last line shows it."""
        changed = {one.origin for one in given if one.base.ended != one.text.ended != self.primary.ended}
        if not changed:
            return self.primary.ended, ()
        last = len(self.primary.lines)
        silent = changed - {edit.origin for edit in edits if edit.end == last}
        if silent != changed:
            return not self.primary.ended, ()
        engine = "one-side" if len(silent) == 1 else "identical"
        return not self.primary.ended, (Decision(self.path, f"L{last}-{last}", engine, tuple(sorted(silent))),)

    def _sound(self, data: bytes, given: Sequence[Contribution]) -> bool:
        """Whether `data` is well-formed and defines each name once, as far as all versions of the file do."""
        versions = [self.primary, *(one.text for one in given)]
        if any(data == text.data for text in versions):
            return True
        text = Text(data, self.primary.syntax)
        if not text.valid and all(version.valid for version in versions):
            return False
        return text.outline.doubled <= {name for version in versions for name in version.outline.doubled}

    def _as_many_as_go(self, given: Sequence[Contribution]) -> Merged:
        kept: list[Contribution] = []
        best_first = sorted(given, key=lambda one: self.preference.rank(one.origin))
        for one in best_first:
            trial = sorted([*kept, one], key=lambda some: some.origin)
            if self._sound(self._together(trial).data, given):
                kept = trial
        best = best_first[0]
        if best not in kept and self.preference.best([best.origin, self.primary_id]) == best.origin:
            return self._whole(Merged(best.text.data, ()), [best.origin], given)
        return self._whole(self._together(kept), [one.origin for one in kept] or [self.primary_id], given)

    def _whole(self, merged: Merged, origins: Sequence[NodeId], given: Sequence[Contribution]) -> Merged:
        wishes = {self.primary_id: self.primary.data} | {one.origin: one.text.data for one in given}
        decision = Decision(self.path, "*", "preference", tuple(sorted(origins)), sides(wishes), contradiction=True)
        return Merged(merged.data, (decision, *merged.decisions))


def _same_additions_together(edits: Sequence[Edit]) -> list[Edit]:
    """`edits` with the insertions of one new name at one point, the first that any donor chose."""
    first: dict[str, int] = {}
    for edit in edits:
        if edit.adds:
            first[edit.name] = min(edit.start, first.get(edit.name, edit.start))
    out: list[Edit] = []
    for edit in edits:
        point = first[edit.name] if edit.adds else edit.start
        if point == edit.start or _inside_own(edits, edit.origin, point):
            out.append(edit)
        else:
            out.append(replace(edit, start=point, end=point, reach=(point, point)))
    return out


def _inside_own(edits: Sequence[Edit], origin: NodeId, point: int) -> bool:
    return any(edit.start < point < edit.end for edit in edits if edit.origin == origin)


def _numbered(edits: Sequence[Edit]) -> list[Edit]:
    """`edits` by place, equal insertions of one origin at one point counted."""
    seen: dict[tuple[NodeId, int, int, tuple[bytes, ...]], int] = {}
    out: list[Edit] = []
    for edit in sorted(edits, key=lambda one: (one.start, one.end, one.origin, one.rank)):
        key = (edit.origin, edit.start, edit.end, edit.new)
        nth = seen.get(key, 0)
        seen[key] = nth + 1
        out.append(replace(edit, nth=nth) if edit.point and nth else edit)
    return out


def _groups(edits: Sequence[Edit]) -> list[list[Edit]]:
    """Edits that cannot be decided apart."""
    groups: list[list[Edit]] = []
    points: dict[tuple[object, ...], list[Edit]] = {}
    contested = {edit.start for edit in edits if edit.against and not edit.point}
    end = 0
    for edit in sorted(edits, key=lambda one: (one.start, not one.point, not one.against, one.end)):
        if groups and (edit.start < end or _touches(groups[-1], edit)):
            groups[-1].append(edit)
            end = max(end, edit.end)
        elif edit.point and not (edit.against and edit.start in contested):
            points.setdefault(_point_key(edit), []).append(edit)
        else:
            groups.append([edit])
            end = edit.end
    return [*groups, *points.values()]


def _touches(group: Sequence[Edit], edit: Edit) -> bool:
    return edit.against and any(one.against and one.end == edit.start for one in group)


def _point_key(edit: Edit) -> tuple[object, ...]:
    if edit.name:
        return edit.start, edit.name
    return (edit.start,) if edit.against else (edit.start, edit.new, edit.nth)


def _crowded(edits: Sequence[Edit]) -> set[int]:
    """The points at which more than one donor inserts."""
    origins: dict[int, set[NodeId]] = {}
    for edit in edits:
        if edit.point:
            origins.setdefault(edit.start, set()).add(edit.origin)
    return {point for point, who in origins.items() if len(who) > 1}


def _taken_apart(edits: Sequence[Edit]) -> set[Edit]:
    """The edits that meet another parent's as whole hunks, though not as they were cut."""
    found: set[Edit] = set()
    cluster: list[Edit] = []
    end = 0
    for edit in [*sorted(edits, key=lambda one: one.reach), None]:
        if edit is None or edit.reach[0] >= end:
            if len({one.origin for one in cluster}) > 1:
                found.update(cluster)
            cluster = []
        if edit is not None:
            cluster.append(edit)
            end = max(end, edit.reach[1])
    return found
