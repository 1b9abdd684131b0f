"""Two ways to put together what two made of one text: ours, and `git merge-file`, a process with nobody's settings."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from references import environment

from dagstore import BlobId, NodeId
from dagstore.adopt import Composition, Donor, compose
from dagstore.adopt.gates import Gates
from dagstore.model import Entry, GateFinding, Mode, Tree

BASE, *IDS = sorted((NodeId.of(bytes([number])) for number in range(16)), reverse=True)
IDS.reverse()


@dataclass(frozen=True, slots=True)
class Composed:
    """What ours gave, and all that it was made of."""

    primary: NodeId
    tree: Tree
    donors: tuple[Donor, ...]
    composition: Composition
    texts: dict[BlobId, bytes]

    @property
    def data(self) -> bytes:
        (entry,) = self.composition.tree
        made = self.composition.blobs.get(entry.blob)
        return self.texts[entry.blob] if made is None else made

    def findings(self) -> tuple[GateFinding, ...]:
        """What the gates find."""
        return Gates(self.primary, self.tree, self.donors, self.composition, self.texts.__getitem__).findings()

    @property
    def contradicts(self) -> bool:
        return any(decision.contradiction for decision in self.composition.decisions)


def composed(path: str, base: bytes, versions: Sequence[bytes], *, onto_first: bool = False) -> Composed:
    """The changes of all versions together, put onto the first of them or onto the base.

    The first version is preferred, and what several put in at one place stands in their order.
    """
    trees = [Tree.of([Entry(path, Mode.FILE, BlobId.of(text))]) for text in (base, *versions)]
    texts = {BlobId.of(text): text for text in (base, *versions)}
    donors = tuple(Donor(id, trees[0], tree) for id, tree in zip(IDS, trees[1:], strict=False))
    onto = (IDS[0], trees[1]) if onto_first else (BASE, trees[0])
    others = donors[1:] if onto_first else donors
    return Composed(*onto, others, compose(*onto, others, texts.__getitem__, IDS), texts)


@dataclass(frozen=True, slots=True)
class GitMerge:
    """`git merge-file` with three files in a folder of its own."""

    folder: Path

    def lay(self, ours: bytes, base: bytes, theirs: bytes) -> None:
        for name, text in (("ours", ours), ("base", base), ("theirs", theirs)):
            (self.folder / name).write_bytes(text)

    def merge(self) -> tuple[bytes, bool]:
        """The merged text of what was laid there, and whether git calls it clean."""
        words = ["git", "merge-file", "-q", "-p", "ours", "base", "theirs"]
        found = subprocess.run(words, cwd=self.folder, env=environment(), capture_output=True, check=False)
        # It ends with the number of conflicts, at most 127; above that are files that it does not merge, binary ones.
        return found.stdout, found.returncode == 0
