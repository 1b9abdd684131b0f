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

from dagstore.adopt.account import Account
from dagstore.adopt.compose import REGULAR, Composition, Donor
from dagstore.adopt.syntax import PYTHON, Text, syntax_of
from dagstore.adopt.uses import Side, uses
from dagstore.ids import BlobId, NodeId
from dagstore.lines import is_text, split_lines
from dagstore.model import Change, Entry, GateFinding, Tree, changes


@dataclass(frozen=True, slots=True)
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
            versions = [self._content(one) for tree in trees if (one := tree.get(entry.path))]
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
        here = self.tree.get(path)
        for donor in self.donors:
            old, new = donor.base.get(path), donor.tree.get(path)
            if old and new and here and old != new:
                base = self._text(old)
                yield Side(donor.id, base, self._text(new, base))
                if here.blob != old.blob:
                    yield Side(self.primary, base, self._text(here, base))

    def _text(self, entry: Entry, like: Text | None = None) -> Text:
        return Text(self._content(entry), syntax_of(entry.path), like)

    # --- what donors changed ---

    def _of_donors(self) -> Iterator[GateFinding]:
        for donor in self.donors:
            for change in changes(donor.base, donor.tree):
                result = self.composition.tree.get(change.path)
                if result != change.new:
                    lost = self._lost(donor, change, result)
                    yield from (GateFinding("lost", change.path, 0, text, (donor.id,)) for text in lost)

    def _lost(self, donor: Donor, change: Change, result: Entry | None) -> Iterable[str]:
        """What of a change is not to be found, line by line where all versions are text."""
        decisions = [one for one in self.composition.decisions if one.path == change.path and one.sides]
        whole = [side for one in decisions if one.region == "*" for side in one.sides]
        if any(donor.id in side.origins for side in whole):
            return ()
        versions = [self._content(one) for one in (change.old, change.new, result) if one]
        if result is None or change.new is None or not all(map(is_text, versions)):
            return () if change.old == change.new else ("the file as a whole",)
        base = self._content(change.old) if change.old else b""
        account = Account(self._content(result), tuple(side.text for one in decisions for side in one.sides))
        texts = base, self._content(change.new), self._others(donor, change.path)
        found = list(account.missing(*texts))
        if not any(donor.id in side.origins for one in decisions for side in one.sides):
            # Where its wishes were contested, what it took out may rightly be there.
            found += account.staying(*texts)
        return [line.decode("utf-8", "replace").strip() for line in found]

    def _others(self, donor: Donor, path: str) -> list[bytes]:
        trees = (self.tree, *(other.tree for other in self.donors if other.id != donor.id))
        return [self._content(entry) for tree in trees if (entry := tree.get(path))]

    def _content(self, entry: Entry) -> bytes:
        made = self.composition.blobs.get(entry.blob)
        return self.read(entry.blob) if made is None else made
