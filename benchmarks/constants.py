"""Adopting k nodes that each change another constant of one `train.py`, beside `git merge-file`, folded.

The constants stand in blocks of adjacent lines, as they do in such scripts. Ours counts as blocked when a region was
contested although every node changed another constant; git when any step of the fold leaves conflict markers. Every
result must be valid Python with all changes in it, and be the same in any order of the donors.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from harness import Bar, Row, scratch
from project import CONSTANTS, train_text

from dagstore import BlobId, NodeId
from dagstore.adopt import Composition, Donor, compose
from dagstore.model import Entry, Mode, Tree

DONORS = (2, 3, 5, 8)
NONE = Bar(0.0, absolute=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """The base and its k versions, and the text that has all their changes."""

    base: bytes
    versions: tuple[bytes, ...]
    wanted: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    blocked: bool
    wrong: bool
    depends_on_order: bool


def rows(*, quick: bool) -> list[Row]:
    samples = 40 if quick else 200
    return [row for count in DONORS for row in _rows(count, samples)]


def _rows(count: int, samples: int) -> list[Row]:
    random = Random(count)
    drawn = [_sample(random, count) for _ in range(samples)]
    ours = [_ours(sample, random) for sample in drawn]
    with scratch() as folder:
        theirs = [_git_blocked(sample, folder) for sample in drawn]
    blocked, git = _percent([one.blocked for one in ours]), _percent(theirs)
    wrong = _percent([one.wrong for one in ours])
    order = _percent([one.depends_on_order for one in ours])
    return [
        Row(f"k = {count}: blocked / git merge-file conflicts", blocked, git, "%", None, NONE, f"{samples} samples"),
        Row(f"k = {count}: invalid Python, or a change is missing", wrong, None, "%", None, NONE),
        Row(f"k = {count}: depends on the order of the donors", order, None, "%", None, NONE),
    ]


def _percent(found: Sequence[bool]) -> float:
    return 100 * sum(found) / len(found)


def _sample(random: Random, count: int) -> Sample:
    changes = {name: f"{random.randrange(1, 10_000) / 7:.4f}" for name, _ in random.sample(CONSTANTS, count)}
    versions = tuple(train_text({name: value}).encode() for name, value in changes.items())
    return Sample(train_text().encode(), versions, train_text(changes).encode())


def _ours(sample: Sample, random: Random) -> Outcome:
    found = _compose(sample, range(1, len(sample.versions)))
    shuffled = random.sample(range(1, len(sample.versions)), len(sample.versions) - 1)
    other = _compose(sample, shuffled)
    text = next(iter(found.blobs.values()), b"")
    contested = any(decision.contradiction for decision in found.decisions)
    return Outcome(contested, text != sample.wanted or not _compiles(text), found != other)


def _compose(sample: Sample, order: Sequence[int]) -> Composition:
    texts = {BlobId.of(text): text for text in (sample.base, *sample.versions)}
    nodes = [NodeId.of(text) for text in sample.versions]
    base, *trees = (_tree(text) for text in (sample.base, *sample.versions))
    donors = [Donor(nodes[at], base, trees[at]) for at in order]
    return compose(nodes[0], trees[0], donors, texts.__getitem__, sorted(nodes))


def _tree(text: bytes) -> Tree:
    return Tree.of([Entry("train.py", Mode.FILE, BlobId.of(text))])


def _compiles(text: bytes) -> bool:
    try:
        compile(text, "train.py", "exec")
    except SyntaxError:
        return False
    return True


def _git_blocked(sample: Sample, folder: Path) -> bool:
    """Fold the versions one by one; the first conflict blocks."""
    current, base, other = (folder / name for name in ("current", "base", "other"))
    current.write_bytes(sample.versions[0])
    base.write_bytes(sample.base)
    for version in sample.versions[1:]:
        other.write_bytes(version)
        if subprocess.run(["git", "merge-file", "-q", current, base, other], check=False).returncode:
            return True
    return False
