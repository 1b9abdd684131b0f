"""What is looked at before a composed tree is offered to the trainer. Nothing here blocks: what is found is recorded.

    parses      a file is not well-formed
    undefined   a name is used that nothing defines
    duplicate   a function or class stands twice in one body
    uses        what one parent wrote uses what another one redefined or took away
    lost        what a donor changed is neither in the result nor on record
    locked      a locked path is not as the primary has it

Of names only those are told that were not amiss in any parent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from dagstore.adopt.account import Account
from dagstore.adopt.compose import Composition
from dagstore.adopt.renames import REGULAR
from dagstore.adopt.syntax import PYTHON, Text, syntax_of
from dagstore.adopt.uses import Side, uses
from dagstore.adopt.wishes import Donor, Wish, brought
from dagstore.ids import BlobId, NodeId
from dagstore.lines import is_text, split_lines
from dagstore.model import Entry, GateFinding, Tree, changes
from dagstore.model import Side as Wanted


@dataclass(frozen=True)
class Gates:
    """What was composed: onto the `tree` of `primary`, of `donors`. `read` gives the content of any blob in them."""

    primary: NodeId
    tree: Tree
    donors: Sequence[Donor]
    composition: Composition
    read: Callable[[BlobId], bytes]
    is_locked: Callable[[str], bool] = lambda path: False

    def findings(self) -> tuple[GateFinding, ...]:
        """What the gates found, by path, gate and line."""
        found = {*self._locked(), *self._of_files(), *self._of_donors()}
        return tuple(sorted(found, key=lambda one: (one.path, one.gate, one.line, one.text, one.origins)))

    def _locked(self) -> Iterator[GateFinding]:
        for change in changes(self.tree, self.composition.tree):
            if self.is_locked(change.path):
                yield GateFinding("locked", change.path, 0, "differs from the primary")

    # --- files as such ---

    def _of_files(self) -> Iterator[GateFinding]:
        for change in changes(self.tree, self.composition.tree):
            if change.new and change.of_content and change.new.mode in REGULAR:
                yield from self._of_file(change.new)

    def _of_file(self, entry: Entry) -> Iterator[GateFinding]:
        data, syntax = self._content(entry), syntax_of(entry.path)
        if not syntax.valid(data):
            yield GateFinding("parses", entry.path, 0, f"is not well-formed {syntax.language}")
        elif syntax is PYTHON and entry.blob in self.composition.blobs:
            from dagstore.adopt.names import introduced

            trees = (self.tree, *(donor.tree for donor in self.donors))
            versions = self._versions(entry.path, trees)
            yield from (GateFinding(one.gate, entry.path, one.line, one.name) for one in introduced(data, versions))
            yield from self._uses(entry, split_lines(data))

    def _uses(self, entry: Entry, lines: list[bytes]) -> Iterator[GateFinding]:
        told: set[tuple[str, NodeId]] = set()
        for one in uses(list(self._sides(entry.path))):
            if (one.name, one.changer) not in told:
                told.add((one.name, one.changer))
                at = lines.index(one.line) + 1 if one.line in lines else 0
                yield GateFinding("uses", entry.path, at, one.name, (one.changer,))

    def _sides(self, path: str) -> Iterator[Side]:
        """What donors made of a file, and what the primary made of it since each of them parted."""
        for donor, wishes in self._wishes:
            for wish in wishes:
                if wish.base and wish.want and self._path_of(wish) == path:
                    base = self._text(wish.base)
                    yield Side(donor.id, base, self._text(wish.want, base))
                    here = self.tree.get(wish.file.path)
                    if here and here.blob != wish.base.blob:
                        yield Side(self.primary, base, self._text(here, base))

    def _text(self, entry: Entry, like: Text | None = None) -> Text:
        return Text(self._content(entry), syntax_of(entry.path), like)

    # --- what donors changed ---

    def _of_donors(self) -> Iterator[GateFinding]:
        for donor, wishes in self._wishes:
            for wish in wishes:
                path = self._path_of(wish)
                lost = self._lost(donor, wish, path)
                yield from (GateFinding("lost", path or wish.file.path, 0, text, (donor.id,)) for text in lost)

    def _lost(self, donor: Donor, wish: Wish, path: str | None) -> Iterator[str]:
        """What of a change is neither in the file that is now at `path` nor on record."""
        paths = {path, *_names(wish), self.composition.moved.get(wish.file)}
        decisions = [one for one in self.composition.decisions if one.path in paths and one.sides]
        if any(donor.id in side.origins for one in decisions if one.region == "*" for side in one.sides):
            return
        if wish.name not in ("", path) and not any(donor.id in side.origins for one in decisions for side in one.sides):
            yield f"the name {wish.name}"
        result = self.composition.tree.get(path) if path else None
        yield from self._missing(donor, wish, result, [side for one in decisions for side in one.sides])

    def _missing(self, donor: Donor, wish: Wish, result: Entry | None, sides: Sequence[Wanted]) -> Iterable[str]:
        """Line by line where all versions are text."""
        if _alike(result, wish.want) or (result and _alike(wish.base, wish.want)):
            return ()
        versions = [self._content(one) for one in (wish.base, wish.want, result) if one]
        if result is None or wish.want is None or not all(map(is_text, versions)):
            return ("the file as a whole",)
        base = self._content(wish.base) if wish.base else b""
        others = (self.tree, *(other.tree for other in self.donors if other.id != donor.id))
        account = Account(self._content(result), tuple(side.text for side in sides))
        texts = base, self._content(wish.want), self._versions(result.path, others)
        found = list(account.missing(*texts))
        if not any(donor.id in side.origins for side in sides):
            # Where its wishes were contested, what it took out may rightly be there.
            found += account.staying(*texts)
        return [line.decode("utf-8", "replace").strip() for line in found]

    # --- files under all their names ---

    @cached_property
    def _wishes(self) -> list[tuple[Donor, list[Wish]]]:
        return [(donor, brought(donor, self.tree, self.read).wishes) for donor in self.donors]

    @cached_property
    def _called(self) -> dict[str, set[str]]:
        """What parents call each file that donors changed, by its path now."""
        called: dict[str, set[str]] = {}
        for wish in (wish for _, wishes in self._wishes for wish in wishes):
            called.setdefault(self._path_of(wish) or "", set()).update(_names(wish))
        return called

    def _path_of(self, wish: Wish) -> str | None:
        """Where the file is now, if it is anywhere; what is added at its path does not move with it."""
        path = wish.file.path
        return path if wish.base is None else self.composition.moved.get(wish.file, path)

    def _versions(self, path: str, trees: Iterable[Tree]) -> list[bytes]:
        names = sorted({path, *self._called.get(path, ())})
        return [self._content(entry) for tree in trees for name in names if (entry := tree.get(name))]

    def _content(self, entry: Entry) -> bytes:
        made = self.composition.blobs.get(entry.blob)
        return self.read(entry.blob) if made is None else made


def _names(wish: Wish) -> set[str]:
    return {wish.file.path, wish.path, wish.base.path if wish.base else wish.path}


def _alike(one: Entry | None, other: Entry | None) -> bool:
    return one[1:] == other[1:] if one and other else one is other
