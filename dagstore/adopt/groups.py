"""Which edits of several donors must be decided together, and in what order those at one point stand."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace

from dagstore.adopt.choice import Preference
from dagstore.adopt.edits import Edit
from dagstore.adopt.units import Units, first_item
from dagstore.ids import NodeId


def prepared(edits: Sequence[Edit], preference: Preference) -> list[Edit]:
    """The edits by place; insertions of one new entity at one point, equal insertions of one origin counted."""
    return _numbered(_same_additions_together(edits, preference))


def groups(edits: Sequence[Edit], *, apart: bool) -> list[list[Edit]]:
    """Edits that cannot be decided apart. With `apart`, those of different origins may not even touch."""
    found: list[list[Edit]] = []
    points: dict[tuple[object, ...], list[Edit]] = {}
    guards = _guards(edits)
    contested = {edit.start for edit in edits if edit.against and not edit.point}
    end = -1
    for edit in sorted(edits, key=lambda one: (one.start, not one.point, not one.against, one.end)):
        joins = found and (edit.start < end or (edit.start == end and _joins(found[-1], edit, apart=apart)))
        if joins:
            found[-1].append(edit)
            end = max(end, edit.end)
        elif edit.point and not apart and not (edit.against and not edit.agreed and edit.start in contested):
            points.setdefault(_point_key(edit, guards), []).append(edit)
        else:
            found.append([edit])
            end = edit.end
    return [*found, *points.values()]


def crowded(edits: Iterable[Edit]) -> set[int]:
    """The points at which more than one donor inserts."""
    origins: dict[int, set[NodeId]] = {}
    for edit in edits:
        if edit.point:
            origins.setdefault(edit.start, set()).add(edit.origin)
    return {point for point, who in origins.items() if len(who) > 1}


def taken_apart(edits: Iterable[Edit]) -> set[Edit]:
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


def _same_additions_together(edits: Sequence[Edit], preference: Preference) -> list[Edit]:
    """`edits` with the insertions of one new entity at one point, the one that the best donor chose."""
    chosen: dict[str, int] = {}
    for edit in sorted(edits, key=lambda one: (preference.rank(one.origin), one.start)):
        if edit.adds:
            chosen.setdefault(edit.name, edit.start)
    out: list[Edit] = []
    for edit in edits:
        point = chosen[edit.name] if edit.adds else edit.start
        if point == edit.start or _inside_own(edits, edit.origin, point):
            out.append(edit)
        else:
            out.append(replace(edit, start=point, end=point, reach=(point, point)))
    return out


def _inside_own(edits: Sequence[Edit], origin: NodeId, point: int) -> bool:
    return any(edit.start < point < edit.end for edit in edits if edit.origin == origin)


def _numbered(edits: Sequence[Edit]) -> list[Edit]:
    seen: dict[tuple[NodeId, int, int, Units], int] = {}
    out: list[Edit] = []
    for edit in sorted(edits, key=lambda one: (one.start, one.end, one.origin, one.rank)):
        key = (edit.origin, edit.start, edit.end, edit.new)
        nth = seen.get(key, 0)
        seen[key] = nth + 1
        out.append(replace(edit, nth=nth) if edit.point and nth else edit)
    return out


def _joins(group: Sequence[Edit], edit: Edit, *, apart: bool) -> bool:
    if apart:
        return any(one.origin != edit.origin for one in group)
    return edit.against and any(one.against and one.end == edit.start and one.overlaps(edit) for one in group)


def _point_key(edit: Edit, guards: Set[tuple[int, str]]) -> tuple[object, ...]:
    if edit.name:
        return edit.start, edit.name
    guard = first_item(edit.new).guard
    if (edit.start, guard) in guards:
        return edit.start, guard, ""
    return (edit.start,) if edit.against else (edit.start, edit.new, edit.nth)


def _guards(edits: Sequence[Edit]) -> frozenset[tuple[int, str]]:
    """The points and conditions of which somebody leaves there."""
    added = ((edit.start, first_item(edit.new)) for edit in edits if edit.point and not edit.name)
    return frozenset((start, item.guard) for start, item in added if item.leaves)
