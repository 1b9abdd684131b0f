"""Composition: what any number of donors changed, applied to the primary's tree at once.

File by file, whatever parents call it. Where all versions are regular files, name, mode and content are separate
wishes and text goes through the line engine; everything else is taken as a whole. Contradictions are decided by
preference and recorded, so the outcome is always a tree. It depends on the donors as a set, never on the order in which
they are given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dagstore.adopt.choice import Preference, sides
from dagstore.adopt.merge import Resolve, unresolved
from dagstore.adopt.naming import Naming
from dagstore.adopt.renames import REGULAR
from dagstore.adopt.shelf import Shelf
from dagstore.adopt.syntax import syntax_of
from dagstore.adopt.text import Bench, Contribution
from dagstore.adopt.wishes import Donor, File, Wish, Wishes, wishes_of
from dagstore.errors import BadInput
from dagstore.ids import BlobId, NodeId
from dagstore.lines import is_text
from dagstore.model import Decision, Entry, Mode, Tree


@dataclass(frozen=True, slots=True)
class Composition:
    """The composed tree, the contents in it that no given tree holds, and every decision, by path and position.

    `moved` says of files that are not at their path where they are now: nowhere, if it is None.
    """

    tree: Tree
    blobs: Mapping[BlobId, bytes]
    decisions: tuple[Decision, ...]
    moved: Mapping[File, str | None] = field(default_factory=dict)


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
        wishes = wishes_of(donors, tree, self._content)
        naming = Naming(self.primary, self.here, wishes, self.preference, self._content)
        files = naming.apart()
        outcomes = {file: self._file(file, files[file]) for file in sorted(files)}
        named = [naming.named(file, one.entry, files[file]) for file, one in outcomes.items() if one.entry]
        rest = {path: entry for path, entry in self.here.items() if File(path) not in files}
        entries, paths, gave_way = naming.arranged(named, rest)
        decisions = list(self._known(donors, wishes, paths))
        for file, outcome in outcomes.items():
            path = paths.get(file, file.path)
            if outcome.entry and file in paths:
                decisions += naming.decided(outcome.entry._replace(path=path), file, files[file])
            decisions += [one._replace(path=path) for one in outcome.decisions]
        result = _tree(tree, entries)
        used = {entry.blob for entry in result}
        blobs = {blob: self.made[blob] for blob in sorted(self.made) if blob in used}
        whereabouts = {**dict.fromkeys(outcomes), **paths}
        moved = {file: path for file, path in whereabouts.items() if path != file.path}
        # A stable sort: within a path, decisions stay in file order.
        decisions = sorted([*decisions, *gave_way], key=lambda one: one.path)
        return Composition(result, blobs, tuple(decisions), moved)

    def _known(self, donors: Iterable[Donor], wishes: Wishes, paths: Mapping[File, str]) -> Iterator[Decision]:
        """What the primary has already is not to be decided."""
        agreed = [wish for some in wishes.agreed.values() for wish in some]
        busy = {wish.origin for some in wishes.left.values() for wish in some}
        idle = {donor.id for donor in donors}.difference(busy, (wish.origin for wish in agreed))
        yield from (Decision("", "*", "already", (id,)) for id in sorted(idle))
        for wish in agreed:
            both = tuple(sorted({self.primary, wish.origin}))
            engine, origins = ("identical", both) if wish.origin in busy else ("already", (wish.origin,))
            yield Decision(paths.get(wish.file, wish.file.path), "*", engine, origins)

    def _file(self, file: File, wishes: Sequence[Wish]) -> _Outcome:
        here = None if file.fresh else self.here.get(file.path)
        edits = [wish for wish in wishes if _all_regular(wish.base, wish.want, here)]
        others = [wish for wish in wishes if wish not in edits]
        if here is None or not edits:
            return self._replaced(file.path, here, others)
        if not others:
            return self._edited(here, edits)
        return self._edited_or_replaced(here, edits, others)

    def _replaced(self, path: str, here: Entry | None, wishes: Sequence[Wish]) -> _Outcome:
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

    def _edited_or_replaced(self, here: Entry, edits: Sequence[Wish], others: Sequence[Wish]) -> _Outcome:
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

    def _edited(self, here: Entry, edits: Sequence[Wish]) -> _Outcome:
        mode, mode_decisions = self._mode(here, edits)
        blob, content_decisions = self._new_content(here, edits)
        return _Outcome(Entry(here.path, mode, blob), (*mode_decisions, *content_decisions))

    def _mode(self, here: Entry, edits: Sequence[Wish]) -> tuple[Mode, tuple[Decision, ...]]:
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

    def _new_content(self, here: Entry, edits: Sequence[Wish]) -> tuple[BlobId, tuple[Decision, ...]]:
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


def _tree(tree: Tree, entries: Mapping[str, Entry]) -> Tree:
    if all(entries.get(entry.path) == entry for entry in tree) and len(entries) == len(tree.entries):
        return tree
    return Tree.of(entries.values())


def _all_regular(*entries: Entry | None) -> bool:
    return all(entry is not None and entry.mode in REGULAR for entry in entries)
