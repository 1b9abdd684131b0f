"""What donors want of each file, whatever they call it: every change in terms of the primary's names.

A file that the primary calls otherwise than a donor's base is one file, and so is one that a donor calls otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dagstore.adopt.renames import REGULAR, Read, renames
from dagstore.ids import NodeId
from dagstore.model import Change, Entry, Tree, changes


class File(NamedTuple):
    """A file by the path that the primary has it at; by the one that donors have it at, if the primary has it not.

    `fresh` is one that donors added at a path that renaming gave to another file, or took from it.
    """

    path: str
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Donor:
    """A node that contributes what `tree` has and `base` has not."""

    id: NodeId
    base: Tree
    tree: Tree


@dataclass(frozen=True, slots=True)
class Wish:
    """What `origin` made of a file: `base`, as its base has it, became `want`, which bears the path of `file`.

    `name` is what it called the file anew; empty if it left the name alone.
    """

    origin: NodeId
    file: File
    base: Entry | None
    want: Entry | None
    name: str = ""

    @property
    def path(self) -> str:
        """Where the origin has the file, or had it."""
        return self.name or (self.base.path if self.base else self.file.path)

    def is_fulfilled(self, here: Entry | None) -> bool:
        """Whether a primary that has the file as `here` leaves nothing to wish for."""
        return self.want == here and self.name in ("", self.file.path)


Files = dict[File, list[Wish]]


class Brought(NamedTuple):
    """The wishes of one donor, in the order of its paths, and what its base calls the files that the primary renamed,
    by their path in the primary.
    """

    wishes: list[Wish]
    former: Mapping[str, str]


def brought(donor: Donor, tree: Tree, read: Read) -> Brought:
    """What a donor brings to a primary with this `tree`."""
    told, seen = renames(donor.base, donor.tree, read), renames(donor.base, tree, read)
    names = _agreed(told, seen, donor.base, donor.tree)
    homes = _agreed(seen, told, donor.base, tree)
    former = {new: old for old, new in homes.items()}
    arrived = set(names.values()).difference(names)
    found = (change for change in changes(donor.base, donor.tree) if change.path not in arrived)
    return Brought([_wish(donor, change, names, homes, former) for change in found], former)


def _agreed(pairs: dict[str, str], others: Mapping[str, str], old: Tree, new: Tree) -> dict[str, str]:
    """The pairs, and those of the `others` that are so here too, however little the two texts have in common."""
    taken = {*pairs, *pairs.values()}
    return pairs | {
        one: two
        for one, two in others.items()
        if taken.isdisjoint((one, two)) and not new.get(one) and not old.get(two) and _is_regular(new.get(two))
    }


def _is_regular(entry: Entry | None) -> bool:
    return entry is not None and entry.mode in REGULAR


def _wish(
    donor: Donor, change: Change, names: Mapping[str, str], homes: Mapping[str, str], former: Mapping[str, str]
) -> Wish:
    if change.old is None:
        return Wish(donor.id, File(change.path, change.path in former), None, change.new)
    name = names.get(change.path, "")
    new = donor.tree.get(name) if name else change.new
    file = File(homes.get(change.path, change.path))
    return Wish(donor.id, file, change.old, new and new._replace(path=file.path), name)


class Wishes(NamedTuple):
    """What donors want, by file: what is `left` to decide and what the primary `agreed` to, for it has it already.

    `former` says what files that the primary renamed were called before.
    """

    left: Files
    agreed: Files
    former: dict[str, str]


def wishes_of(donors: Iterable[Donor], tree: Tree, read: Read) -> Wishes:
    """What donors bring to a primary with this `tree`."""
    left: list[Wish] = []
    agreed: list[Wish] = []
    former: dict[str, str] = {}
    for donor in donors:
        wishes, before = brought(donor, tree, read)
        for wish in wishes:
            (agreed if wish.is_fulfilled(tree.get(wish.file.path)) else left).append(wish)
        former |= {path: min(name, former.get(path, name)) for path, name in before.items()}
    return Wishes(by_file(left), by_file(agreed), former)


def by_file(wishes: Iterable[Wish]) -> Files:
    """The wishes, grouped."""
    files: Files = {}
    for wish in wishes:
        files.setdefault(wish.file, []).append(wish)
    return files
