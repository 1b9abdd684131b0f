"""Composition: what any number of donors changed, applied to the primary's tree at once.

Path by path. Where all versions are regular files, mode and content are separate wishes and text goes through the
line engine; everything else is taken as a whole. Contradictions are decided by preference and recorded, so the
outcome is always a tree. It depends on the donors as a set, never on the order in which they are given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dagstore.adopt.choice import Preference, sides
from dagstore.adopt.merge import Resolve, unresolved
from dagstore.adopt.places import collisions
from dagstore.adopt.shelf import Shelf
from dagstore.adopt.syntax import syntax_of
from dagstore.adopt.text import Bench, Contribution
from dagstore.errors import BadInput
from dagstore.ids import BlobId, NodeId
from dagstore.lines import is_text
from dagstore.model import Decision, Entry, Mode, Tree, changes
from dagstore.paths import check_distinct

REGULAR = frozenset({Mode.FILE, Mode.EXECUTABLE})


@dataclass(frozen=True, slots=True)
class Donor:
    """A node that contributes what `tree` has and `base` has not."""

    id: NodeId
    base: Tree
    tree: Tree


@dataclass(frozen=True, slots=True)
class Composition:
    """The composed tree, the contents in it that no given tree holds, and every decision, by path and position."""

    tree: Tree
    blobs: Mapping[BlobId, bytes]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class _Wish:
    origin: NodeId
    base: Entry | None
    want: Entry | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a path ends as: an entry or nothing."""

    entry: Entry | None
    decisions: tuple[Decision, ...]


def compose(
    primary: NodeId,
    tree: Tree,
    donors: Iterable[Donor],
    read: Callable[[BlobId], bytes],
    preference: Sequence[NodeId],
    resolve: Resolve = unresolved,
    *,
    checked: bool = True,
    shelf: Shelf | None = None,
) -> Composition:
    """The primary's `tree` with the changes of all donors.

    `read` answers with the content of any blob in the given trees; what it raises passes through. `preference`
    names nodes, best first, and is asked about contradictions only, after `resolve`. Files are well-formed if those
    that they are made of are, unless that is not to be `checked`. Compositions of the same files are quicker with one
    `shelf`, which then is asked instead of `read`. `BadInput` if one id brings two changes.
    """
    work = _Work(primary, tree.by_path, shelf or Shelf(read), Preference(preference), resolve, checked)
    return work.composed(tree, _distinct(donors))


def _distinct(donors: Iterable[Donor]) -> list[Donor]:
    by_id: dict[NodeId, Donor] = {}
    for donor in donors:
        if by_id.setdefault(donor.id, donor) != donor:
            raise BadInput(f"donor {donor.id} is given with two different changes", hint="name it once")
    return [by_id[node] for node in sorted(by_id)]


@dataclass(slots=True)
class _Work:
    """One composition under way; remembers what it has written."""

    primary: NodeId
    here: Mapping[str, Entry]
    shelf: Shelf
    preference: Preference
    resolve: Resolve
    checked: bool
    made: dict[BlobId, bytes] = field(default_factory=dict)

    def composed(self, tree: Tree, donors: Sequence[Donor]) -> Composition:
        wishes, decisions = self._wishes(donors)
        entries = dict(self.here)
        for path in sorted(wishes):
            outcome = self._path(path, wishes[path])
            decisions += outcome.decisions
            if outcome.entry is None:
                entries.pop(path, None)
            else:
                entries[path] = outcome.entry
        if entries.keys() != self.here.keys():
            decisions += self._make_room(entries, wishes)
        # A stable sort: within a path, decisions stay in file order.
        decisions.sort(key=lambda one: one.path)
        result = _tree(tree, entries)
        used = {entry.blob for entry in result}
        blobs = {blob: self.made[blob] for blob in sorted(self.made) if blob in used}
        return Composition(result, blobs, tuple(decisions))

    def _wishes(self, donors: Sequence[Donor]) -> tuple[dict[str, list[_Wish]], list[Decision]]:
        """What is still to be decided, by path; what the primary has already is decided here."""
        wishes: dict[str, list[_Wish]] = {}
        decisions: list[Decision] = []
        for donor in donors:
            changed = changes(donor.base, donor.tree)
            still_open = [change for change in changed if change.new != self.here.get(change.path)]
            for change in still_open:
                wishes.setdefault(change.path, []).append(_Wish(donor.id, change.old, change.new))
            paths, open_paths = ([change.path for change in some] for some in (changed, still_open))
            decisions += self._fulfilled(donor.id, paths, open_paths)
        return wishes, decisions

    def _fulfilled(self, donor: NodeId, changed: Sequence[str], open_paths: Sequence[str]) -> list[Decision]:
        if not changed:
            return [Decision("", "*", "already", (donor,))]
        if not open_paths:
            return [Decision(path, "*", "already", (donor,)) for path in changed]
        both = tuple(sorted({self.primary, donor}))
        rest = set(changed).difference(open_paths)
        return [Decision(path, "*", "identical", both) for path in sorted(rest)]

    def _path(self, path: str, wishes: Sequence[_Wish]) -> _Outcome:
        here = self.here.get(path)
        edits = [wish for wish in wishes if _all_regular(wish.base, wish.want, here)]
        others = [wish for wish in wishes if wish not in edits]
        if here is None or not edits:
            return self._replaced(path, here, others)
        if not others:
            return self._edited(here, edits)
        return self._edited_or_replaced(here, edits, others)

    def _replaced(self, path: str, here: Entry | None, wishes: Sequence[_Wish]) -> _Outcome:
        """The path as a whole: added, deleted, a link, or without a common base."""
        wants = {wish.origin: wish.want for wish in wishes}
        if any(wish.base != here for wish in wishes):
            wants[self.primary] = here
        best = wants[self.preference.best(wants)]
        return _Outcome(best, (self._choice(path, wants, best),))

    def _choice(self, path: str, wants: Mapping[NodeId, Entry | None], best: Entry | None) -> Decision:
        origins = tuple(sorted(node for node, want in wants.items() if want == best))
        if len(origins) == len(wants):
            return Decision(path, "*", "one-side" if len(origins) == 1 else "identical", origins)
        texts = {node: self._content(want.blob) if want else b"" for node, want in wants.items()}
        return Decision(path, "*", "preference", origins, sides(texts), contradiction=True)

    def _edited_or_replaced(self, here: Entry, edits: Sequence[_Wish], others: Sequence[_Wish]) -> _Outcome:
        """Some edit what others delete or replace: the side of the best parent is heard."""
        keepers = {wish.origin for wish in edits}
        if any(wish.base != here for wish in others):
            keepers.add(self.primary)
        wants: dict[NodeId, Entry | None] = {wish.origin: wish.want for wish in others}
        best = self.preference.best([*keepers, *wants])
        edited = self._edited(here, edits)
        texts = {node: self._content(want.blob) if want else b"" for node, want in wants.items()}
        if edited.entry:
            texts |= dict.fromkeys(keepers, self._content(edited.entry.blob))
        if best in keepers:
            origins, entry, decisions = keepers, edited.entry, edited.decisions
        else:
            origins, entry, decisions = {node for node in wants if wants[node] == wants[best]}, wants[best], ()
        contest = Decision(here.path, "*", "preference", tuple(sorted(origins)), sides(texts), contradiction=True)
        return _Outcome(entry, (contest, *decisions))

    def _edited(self, here: Entry, edits: Sequence[_Wish]) -> _Outcome:
        mode, mode_decisions = self._mode(here, edits)
        blob, content_decisions = self._new_content(here, edits)
        return _Outcome(Entry(here.path, mode, blob), (*mode_decisions, *content_decisions))

    def _mode(self, here: Entry, edits: Sequence[_Wish]) -> tuple[Mode, tuple[Decision, ...]]:
        wants = {w.origin: w.want.mode for w in edits if w.base and w.want and w.base.mode != w.want.mode}
        if not wants:
            return here.mode, ()
        if any(mode == here.mode for mode in wants.values()):
            wants[self.primary] = here.mode
        best = wants[self.preference.best(wants)]
        origins = tuple(sorted(node for node, mode in wants.items() if mode == best))
        if len(origins) == len(wants):
            engine = "one-side" if len(origins) == 1 else "identical"
            return best, (Decision(here.path, "*", engine, origins),)
        texts = {node: mode.name.lower().encode() for node, mode in wants.items()}
        return best, (Decision(here.path, "*", "preference", origins, sides(texts), contradiction=True),)

    def _new_content(self, here: Entry, edits: Sequence[_Wish]) -> tuple[BlobId, tuple[Decision, ...]]:
        changes = [
            (wish.origin, wish.base.blob, wish.want.blob)
            for wish in edits
            if wish.base and wish.want and wish.base.blob != wish.want.blob
        ]
        if not changes:
            return here.blob, ()
        blobs = {here.blob, *(blob for _, base, want in changes for blob in (base, want))}
        if not all(is_text(self._content(blob)) for blob in blobs):
            return self._whole_content(here, changes)
        syntax, text = syntax_of(here.path), self.shelf.text
        mine = text(here.blob, syntax)
        bench = Bench(here.path, self.primary, mine, self.preference, self.resolve)
        contributions = [
            Contribution(origin, text(base, syntax, mine), text(want, syntax, mine)) for origin, base, want in changes
        ]
        merged = bench.merge(contributions, checked=self.checked)
        return self._write(merged.data, blobs), merged.decisions

    def _whole_content(
        self, here: Entry, changes: Sequence[tuple[NodeId, BlobId, BlobId]]
    ) -> tuple[BlobId, tuple[Decision, ...]]:
        wants: dict[NodeId, Entry | None] = {origin: Entry(here.path, here.mode, want) for origin, _, want in changes}
        if any(base != here.blob for _, base, _ in changes):
            wants[self.primary] = here
        best = wants[self.preference.best(wants)]
        return best.blob if best else here.blob, (self._choice(here.path, wants, best),)

    def _write(self, data: bytes, known: set[BlobId]) -> BlobId:
        blob = BlobId.of(data)
        if blob not in known:
            self.made[blob] = data
        return blob

    def _content(self, blob: BlobId) -> bytes:
        made = self.made.get(blob)
        return self.shelf.content(blob) if made is None else made

    def _make_room(self, entries: dict[str, Entry], wishes: Mapping[str, Sequence[_Wish]]) -> list[Decision]:
        """Drops from `entries` what cannot live beside a path that a better parent wants."""
        try:
            check_distinct(entries)
        except BadInput:
            owners = {path: self._owners(path, wishes.get(path, ())) for path in entries}
            ranks = {path: self.preference.rank(self.preference.best(owners[path])) for path in entries}
            losers = collisions(sorted(entries, key=lambda path: (ranks[path], path)))
            return [self._displaced(entries.pop(path), entries[losers[path]], owners) for path in sorted(losers)]
        return []

    def _owners(self, path: str, wishes: Sequence[_Wish]) -> set[NodeId]:
        owners = {wish.origin for wish in wishes if wish.want}
        return owners | {self.primary} if path in self.here or not owners else owners

    def _displaced(self, loser: Entry, winner: Entry, owners: Mapping[str, set[NodeId]]) -> Decision:
        wishes = dict.fromkeys(owners[loser.path], self._content(loser.blob))
        wishes |= dict.fromkeys(owners[winner.path], self._content(winner.blob))
        origins = tuple(sorted(owners[winner.path]))
        return Decision(loser.path, "*", "preference", origins, sides(wishes), contradiction=True)


def _tree(tree: Tree, entries: Mapping[str, Entry]) -> Tree:
    if all(entries.get(entry.path) == entry for entry in tree) and len(entries) == len(tree.entries):
        return tree
    return Tree.of(entries.values())


def _all_regular(*entries: Entry | None) -> bool:
    return all(entry is not None and entry.mode in REGULAR for entry in entries)
