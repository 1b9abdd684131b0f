"""Part of what a donor changed: only what lies in certain places, `PATH` (a file or a folder) or `PATH:REGION`.

A region is what a decision calls it, as far as it has names: `DEPTH`, `Block.forward`, `tool.ruff`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dagstore.adopt.frames import joined
from dagstore.adopt.renames import renames
from dagstore.adopt.row import Placed
from dagstore.adopt.syntax import Text, syntax_of
from dagstore.adopt.units import Series, Slots, Unit, entities
from dagstore.adopt.wishes import Donor
from dagstore.ids import BlobId
from dagstore.model import Change, Entry, Tree, changes


class Place(NamedTuple):
    path: str
    region: str = ""

    def covers(self, path: str) -> bool:
        return path == self.path or path.startswith(f"{self.path.rstrip('/')}/")


def place_of(text: str, paths: Iterable[str]) -> Place:
    """The place that `text` names, if these are the paths that there are: a file may have a colon in its name."""
    whole = Place(text)
    if any(whole.covers(path) for path in paths):
        return whole
    path, _, region = text.partition(":")
    return Place(path, region)


@dataclass(slots=True)
class Part:
    """What is taken of donors; `made` collects the contents that come of it, `used` the places that had any effect."""

    places: Sequence[Place]
    read: Callable[[BlobId], bytes]
    made: dict[BlobId, bytes] = field(default_factory=dict)
    used: set[Place] = field(default_factory=set)

    def of(self, donor: Donor) -> Donor:
        """The donor with nothing but its changes in the places; a renamed file is both where it was and where it is."""
        names = renames(donor.base, donor.tree, self.read)
        chains, arrived = _chains(names), set(names.values()).difference(names)
        found = [change for change in changes(donor.base, donor.tree) if change.path not in arrived]
        entries = dict(donor.base.by_path)
        for change in found:
            entries.pop(change.path, None)
        for change in found:
            new = donor.tree.get(names[change.path]) if change.path in names else change.new
            entry = self._wanted(change._replace(new=new), chains.get(change.path, {change.path}))
            if entry is not None:
                entries[entry.path] = entry
        return Donor(donor.id, donor.base, Tree.of(entries.values()))

    def _wanted(self, change: Change, paths: set[str]) -> Entry | None:
        """What becomes of a file that is at one of the paths: all of the change, some regions of it, or nothing."""
        places = [place for place in self.places if any(map(place.covers, paths))]
        if any(not place.region for place in places):
            self.used.update(place for place in places if not place.region)
            return change.new
        if not places or change.old is None or change.new is None:
            return change.old
        return self._regions(change.old, change.new, places)

    def _regions(self, old: Entry, new: Entry, places: Iterable[Place]) -> Entry:
        data, syntax = self.read(old.blob), syntax_of(old.path)
        text = Text(self.read(new.blob), syntax)
        for place in places:
            made = narrowed(Text(data, syntax), text, place.region)
            if made is not None and made != data:
                data = made
                self.used.add(place)
        blob = BlobId.of(data)
        self.made[blob] = data
        return old._replace(blob=blob)


def _chains(names: Mapping[str, str]) -> dict[str, set[str]]:
    """The paths of each renamed file, and of those that came where it was or were where it came: by each of them."""
    chains: dict[str, set[str]] = {}
    for old, new in names.items():
        joined = chains.get(old, {old}) | chains.get(new, {new})
        chains |= dict.fromkeys(joined, joined)
    return chains


def narrowed(base: Text, new: Text, region: str) -> bytes | None:
    """`base` with one region as it is in `new`; None if neither of them is known to have it."""
    if base.series is None or new.series is None:
        return None
    return _in_series(base.series, new.series, region)


def _in_series(base: Series, new: Series, region: str) -> bytes | None:
    there, then = entities(base.units), entities(new.units)
    if region in there or region in then:
        return joined(base, base.units, _replaced(base, new, there.get(region), then.get(region)))
    for name in sorted(there.keys() & then.keys(), key=len, reverse=True):
        if region.startswith(f"{name}."):
            inside = _within(base.units[there[name]], new.units[then[name]], region[len(name) + 1 :])
            return None if inside is None else joined(base, base.units, _with(base, there[name], inside))
    if len(base.units) == len(new.units) == 1:
        inside = _within(base.units[0], new.units[0], region)
        return None if inside is None else joined(base, base.units, _with(base, 0, inside))
    return None


def _within(base: Unit, new: Unit, region: str) -> bytes | None:
    """The same inside of a unit."""
    one, other = base.parts(), new.parts()
    if isinstance(one, Series) and isinstance(other, Series):
        return _in_series(one, other, region)
    if isinstance(one, Slots) and isinstance(other, Slots) and len(one.units) == len(other.units):
        for at, (slot, twin) in enumerate(zip(one.units, other.units, strict=True)):
            inside = _within(slot, twin, region)
            if inside is not None:
                return b"".join((*one.units[:at], inside, *one.units[at + 1 :]))
    return None


def _with(base: Series, at: int, data: bytes) -> list[Placed]:
    placed = [Placed(unit, number) for number, unit in enumerate(base.units)]
    placed[at] = Placed(base.units[at].saying(data, base.units[at].tail), at)
    return placed


def _replaced(base: Series, new: Series, at: int | None, to: int | None) -> list[Placed]:
    """The units of `base` with number `at` as number `to` of `new`: put in behind what is before it, or taken out."""
    placed = [Placed(unit, number) for number, unit in enumerate(base.units)]
    if at is not None:
        placed[at : at + 1] = [] if to is None else [Placed(new.units[to], at)]
        return placed
    assert to is not None
    start = to
    while start and new.units[start - 1].blank:
        start -= 1
    before = list(new.units[:start])
    while before and before[-1] not in base.units:
        before.pop()
    behind = base.units.index(before[-1]) + 1 if before else 0
    placed[behind:behind] = [Placed(unit, -1) for unit in new.units[start : to + 1]]
    return placed
