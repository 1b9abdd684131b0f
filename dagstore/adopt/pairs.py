"""Which donors contradict each other, two by two, and which of them the primary.

Paths are composed one by one, so all that can set two donors at odds are paths that both change, and paths that both
add, since these may collide.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from dagstore.adopt.compose import compose
from dagstore.adopt.merge import Resolve, unresolved
from dagstore.adopt.shelf import Shelf
from dagstore.adopt.wishes import Donor
from dagstore.ids import NodeId
from dagstore.model import Change, Decision, Tree, changes

Contradictions = tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The donors that are composed onto `tree`, the primary's, two by two; `preference` and `resolve` are those of
    `compose`.
    """

    primary: NodeId
    tree: Tree
    donors: Mapping[NodeId, Donor]
    preference: Sequence[NodeId]
    shelf: Shelf
    resolve: Resolve = unresolved
    _open: dict[NodeId, Mapping[str, Change]] = field(default_factory=dict)
    _alone: dict[NodeId, Contradictions] = field(default_factory=dict)

    def between(self, one: NodeId, other: NodeId) -> Contradictions:
        """What sets two nodes at odds; one of them may be the primary.

        What sets a donor at odds with the primary is between these two, and not between the donor and any third.
        """
        if self.primary in (one, other):
            return self.alone(one if other == self.primary else other)
        paths = self._common(one, other)
        if not paths:
            return ()
        known = {_place(each) for donor in (one, other) for each in self.alone(donor)}
        found = self._contradictions([one, other], paths)
        return tuple(each for each in found if _place(each) not in known or _parts(each, one, other))

    def alone(self, donor: NodeId) -> Contradictions:
        """What sets a donor at odds with the primary."""
        if donor not in self._alone:
            self._alone[donor] = self._contradictions([donor], self.open(donor).keys())
        return self._alone[donor]

    def open(self, donor: NodeId) -> Mapping[str, Change]:
        """What a donor changes and the primary has not yet, by path."""
        if donor not in self._open:
            here, given = self.tree.by_path, self.donors[donor]
            changed = changes(given.base, given.tree)
            self._open[donor] = {one.path: one for one in changed if one.new != here.get(one.path)}
        return self._open[donor]

    def _common(self, one: NodeId, other: NodeId) -> Set[str]:
        """The paths on which two donors must be composed to tell; none if there is nothing to tell."""
        mine, theirs = self.open(one), self.open(other)
        shared = {path for path in mine.keys() & theirs.keys() if mine[path][1:] != theirs[path][1:]}
        added = [self._adds(mine), self._adds(theirs)]
        if all(added) or (any(added) and shared):
            return mine.keys() | theirs.keys()
        return shared

    def _adds(self, open: Mapping[str, Change]) -> bool:
        """Whether paths come that the primary does not have, and may collide with others."""
        return any(change.new and path not in self.tree.by_path for path, change in open.items())

    def _contradictions(self, donors: Sequence[NodeId], paths: Set[str]) -> Contradictions:
        """The contradictions of donors on some paths; the tree is needed as a whole where paths come to it."""
        tree = self.tree if any(self._adds(self.open(donor)) for donor in donors) else _limited(self.tree, paths)
        given = [
            Donor(donor.id, _limited(donor.base, paths), _limited(donor.tree, paths))
            for donor in map(self.donors.__getitem__, donors)
        ]
        read, shelf = self.shelf.read, self.shelf
        made = compose(self.primary, tree, given, read, self.preference, self.resolve, shelf=shelf)
        return tuple(decision for decision in made.decisions if decision.contradiction)


def _limited(tree: Tree, paths: Iterable[str]) -> Tree:
    return Tree(tuple(tree.by_path[path] for path in sorted(paths) if path in tree.by_path))


def _place(decision: Decision) -> tuple[str, str]:
    return decision.path, decision.region


def _parts(decision: Decision, one: NodeId, other: NodeId) -> bool:
    """Whether it is a matter between two nodes: both have a say in it, and not the same."""
    sides = [side.origins for side in decision.sides]
    heard = {origin for side in sides for origin in side}
    return {one, other} <= heard and not any({one, other} <= set(side) for side in sides)
