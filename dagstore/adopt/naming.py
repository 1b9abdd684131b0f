"""What the files of the result are called.

A file that somebody renamed gets the name that is preferred. Where two files would get one name, or names that cannot
live side by side, the one that is preferred has it; the other one is called what it may be called next: what another
parent wants, what the primary calls it, what it was called before the primary renamed it. Only a file without another
name gives way as a whole. Whoever was not heard is a side of a decision.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dagstore.adopt.choice import Preference, sides
from dagstore.adopt.places import collisions
from dagstore.adopt.renames import REGULAR
from dagstore.adopt.wishes import File, Files, Wish, Wishes, by_file
from dagstore.errors import BadInput
from dagstore.ids import BlobId, NodeId
from dagstore.model import Decision, Entry
from dagstore.paths import check_distinct


@dataclass(frozen=True, slots=True)
class Named:
    """A file of the result, who has a share in it, and the names that it may have, best first, each with those who call
    it so.

    `refused` says that it did not get a better name: before it gets none, others must go without the one they want.
    """

    file: File
    entry: Entry
    owners: frozenset[NodeId]
    names: tuple[tuple[str, frozenset[NodeId]], ...]
    refused: bool = False

    @property
    def placed(self) -> Entry:
        """The entry under the best name."""
        return self.entry._replace(path=self.names[0][0])

    @property
    def callers(self) -> frozenset[NodeId]:
        return self.names[0][1]

    @property
    def is_movable(self) -> bool:
        return len(self.names) > 1

    def otherwise(self) -> "Named":
        """The file under its next name."""
        return replace(self, names=self.names[1:], refused=len(self.names) == 2)


class Arranged(NamedTuple):
    """What stands where: the entries by path, what became of the path of each file that was named, who gave way."""

    entries: dict[str, Entry]
    paths: dict[File, str]
    decisions: list[Decision]


@dataclass(frozen=True, slots=True)
class Naming:
    """The names that parents want for the files of the primary, `here`, and for others."""

    primary: NodeId
    here: Mapping[str, Entry]
    wishes: Wishes
    preference: Preference
    content: Callable[[BlobId], bytes]

    def apart(self) -> Files:
        """The wishes that are left; what donors added at the path of a file that leaves it is for another file."""
        left = self.wishes.left
        leaving = {file for file, wishes in left.items() if self._leaves(file, wishes)}
        return by_file(
            replace(wish, file=File(file.path, fresh=True)) if file in leaving and wish.base is None else wish
            for file, wishes in left.items()
            for wish in wishes
        )

    def _leaves(self, file: File, wishes: Iterable[Wish]) -> bool:
        wants = self._wanted(file, wishes)
        return bool(wants) and wants[self.preference.best(wants)] != file.path

    def _wanted(self, file: File, wishes: Iterable[Wish]) -> dict[NodeId, str]:
        """What parents call a file, as far as they renamed it."""
        renaming = [wish for wish in wishes if wish.name]
        if renaming:
            renaming += [wish for wish in self.wishes.agreed.get(file, ()) if wish.name]
        wants = {wish.origin: wish.name for wish in renaming}
        if any(wish.base and wish.base.path != file.path for wish in renaming):
            wants[self.primary] = file.path
        return wants

    def named(self, file: File, entry: Entry, wishes: Sequence[Wish] = ()) -> Named:
        """A file that the wishes made `entry`."""
        wants = self._wishes_for(entry, file, wishes)
        names: dict[str, frozenset[NodeId]] = {}
        for node in self.preference.ordered(wants):
            names.setdefault(wants[node], frozenset(one for one in wants if wants[one] == wants[node]))
        owners = {wish.origin: wish.path for wish in wishes if wish.want}
        if self._is_here(file) or not owners:
            owners[self.primary] = file.path
        before = [] if file.fresh else [self.wishes.former.get(file.path, file.path)]
        for name in (file.path, *before):
            callers = frozenset(node for node, path in owners.items() if path == name)
            names.setdefault(name, callers or frozenset({self.primary}))
        return Named(file, entry, frozenset(owners), tuple(names.items()))

    def _wishes_for(self, entry: Entry, file: File, wishes: Iterable[Wish]) -> dict[NodeId, str]:
        """A link that somebody put in place of a file is no file that was renamed."""
        return self._wanted(file, wishes) if entry.mode in REGULAR else {}

    def _is_here(self, file: File) -> bool:
        return not file.fresh and file.path in self.here

    def decided(self, entry: Entry, file: File, wishes: Iterable[Wish]) -> tuple[Decision, ...]:
        """How the name of a file that is now `entry` came about, if somebody renamed it."""
        name, wants = entry.path, self._wishes_for(entry, file, wishes)
        origins = tuple(sorted(node for node, want in wants.items() if want == name))
        region = f"name of {file.path}"
        if len(set(wants.values())) > 1:
            said = sides({node: want.encode() for node, want in wants.items()})
            return (Decision(name, region, "preference", origins or (self.primary,), said, contradiction=True),)
        if not origins:  # the decision about the file that got the name instead has it
            return ()
        return (Decision(name, region, "rename" if len(origins) == 1 else "identical", origins),)

    def arranged(self, files: Sequence[Named], rest: Mapping[str, Entry]) -> Arranged:
        """The files under names that can live side by side, and the `rest` of the primary, which nobody touched."""
        paths = {one.file: one.placed.path for one in files}
        entries = {**rest, **{one.placed.path: one.placed for one in files}}
        if all(self._is_here(file) and file.path == path for file, path in paths.items()):
            return Arranged(entries, paths, [])
        try:
            check_distinct([*rest, *paths.values()])
        except BadInput:
            return self._side_by_side([*files, *(self.named(File(path), rest[path]) for path in rest)])
        return Arranged(entries, paths, [])

    def _side_by_side(self, files: Sequence[Named]) -> Arranged:
        decisions: list[Decision] = []
        while True:
            files = sorted(files, key=self._precedence)
            found = collisions(one.placed.path for one in files)
            # Equal files may well have one name.
            rivals = {at: to for at, to in found.items() if files[at].placed != files[to].placed}
            movable = {at: to for at, to in rivals.items() if files[at].is_movable}
            decisions += [self._against(files[at], files[to]) for at, to in (movable or rivals).items()]
            if not movable:
                break
            files = [one.otherwise() if at in movable else one for at, one in enumerate(files)]
        kept = [one for at, one in enumerate(files) if at not in rivals]
        paths = {one.file: one.placed.path for one in kept}
        return Arranged({one.placed.path: one.placed for one in kept}, paths, decisions)

    def _precedence(self, one: Named) -> tuple[bool, tuple[int, NodeId], str, File]:
        return not one.refused, self.preference.rank(self.preference.best(one.callers)), one.placed.path, one.file

    def _against(self, loser: Named, winner: Named) -> Decision:
        wishes = dict.fromkeys(winner.callers, self.content(winner.entry.blob))
        # Who wants something of both is on record with what was not heard; the other one is in the tree.
        unheard = loser.callers if loser.is_movable else loser.owners
        wishes |= dict.fromkeys(unheard, self.content(loser.entry.blob))
        origins = tuple(sorted(winner.callers))
        return Decision(loser.placed.path, "*", "preference", origins, sides(wishes), contradiction=True)
