"""Adopting two edits of one version of a file, for such pairs in the history of a repository, beside `git merge-file`.

The repository is a local one that `--corpus REPO[:PATHS]` names; without PATHS, its Python files. Every commit with one
parent that edits a file is an edit; edits of the same version are siblings. Of a version with many, 60 pairs are drawn.
"""

import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from random import Random
from typing import NamedTuple

from harness import Bar, Row, percentile, scratch
from merging import Composed, GitMerge, composed
from references import git

import dagstore
from dagstore.paths import CHARTER_PATH

PER_BASE = 60
PAIRS, TRIPLES = 2_000, 120
REGULAR = ("100644", "100755")
NONE = Bar(0.0, absolute=True)
CHARTER = 'command = "true"\nmetric = "loss"\ndirection = "minimize"\neditable = ["*"]\n'


class Siblings(NamedTuple):
    """Edits of one version of the file at `path`."""

    path: str
    base: bytes
    versions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one pair, by ours and by git; seconds of each."""

    contradicts: bool
    broken: bool
    lost: bool
    undefined: bool
    uses: bool
    seconds: float
    git_clean: bool
    git_seconds: float


def rows(corpus: str, *, quick: bool) -> list[Row]:
    repository, _, paths = corpus.partition(":")
    edits = _history(Path(repository), paths or "*.py")
    every = sum(len(list(combinations(one.versions, 2))) for one in edits)
    pairs = _drawn(edits, 2, 200 if quick else PAIRS)
    with scratch() as folder:
        outcomes = [_outcome(pair, GitMerge(folder)) for pair in pairs]
    note = f"{len(pairs)} of {every:,} pairs of {len(edits)} versions"
    return [*_of_pairs(outcomes, note), *_of_times(outcomes, pairs), _of_triples(edits, quick=quick)]


def _of_pairs(outcomes: Sequence[Outcome], note: str) -> list[Row]:
    conflicts = _percent(not one.git_clean for one in outcomes)
    apart = [one.contradicts for one in outcomes if one.git_clean]

    def row(name: str, found: Iterable[bool], bar: Bar | None, git: float | None = None, note: str = "") -> Row:
        return Row(f"siblings: {name}", _percent(found), git, "%", None, bar, note)

    contradictions = (one.contradicts for one in outcomes)
    return [
        row("blocked / git merge-file conflicts", [False for _ in outcomes], NONE, conflicts, note),
        row("contradictions / git merge-file conflicts", contradictions, Bar(8.0, absolute=True), conflicts),
        row("contradictions where git merge-file has none", apart, None),
        row("not well-formed, though all versions are", (one.broken for one in outcomes), NONE),
        row("a donor's edit is neither there nor on record", (one.lost for one in outcomes), NONE),
        row("told by a gate: a name became undefined", (one.undefined for one in outcomes), None),
        row("told by a gate: one edit uses what the other redefined", (one.uses for one in outcomes), None),
    ]


def _of_times(outcomes: Sequence[Outcome], pairs: Sequence[Siblings]) -> list[Row]:
    sizes = sorted(len(pair.base) for pair in pairs)
    note = f"files of {sizes[len(sizes) // 2] / 1000:.0f} KB; git: the whole process"
    made = []
    for name, share, bar in (("median", 0.5, 10.0), ("p99", 0.99, 100.0)):
        ours = percentile([one.seconds for one in outcomes], share) * 1e3
        theirs = percentile([one.git_seconds for one in outcomes], share) * 1e3
        row = f"siblings: time per pair, {name} / git merge-file"
        made.append(Row(row, ours, theirs, "ms", ours / theirs, Bar(bar, absolute=True), note))
    return made


def _of_triples(edits: Sequence[Siblings], *, quick: bool) -> Row:
    triples = _drawn(edits, 3, 20 if quick else TRIPLES)
    with scratch() as folder:
        found = [_depends_on_order(triple, folder / str(at)) for at, triple in enumerate(triples)]
    note = f"{len(found)} triples, all 6 orders, `store.adopt`"
    return Row("siblings: triples that depend on the order of the donors", _percent(found), None, "%", None, NONE, note)


def _percent(found: Iterable[bool]) -> float:
    flags = list(found)
    return 100 * sum(flags) / max(1, len(flags))


def _outcome(pair: Siblings, merge: GitMerge) -> Outcome:
    one, other = pair.versions
    start = time.perf_counter()
    ours = composed(pair.path, pair.base, pair.versions, onto_first=True)
    seconds = time.perf_counter() - start
    merge.lay(one, pair.base, other)
    start = time.perf_counter()
    _, clean = merge.merge()
    git_seconds = time.perf_counter() - start
    gates = {one.gate for one in ours.findings()}
    lost = "lost" in gates or _own_lost(pair)
    return Outcome(
        ours.contradicts, _broken(pair, ours), lost, "undefined" in gates, "uses" in gates, seconds, clean, git_seconds
    )


def _own_lost(pair: Siblings) -> bool:
    """Whether something of the primary's own edit is lost: the same pair, put onto the base."""
    return any(one.gate == "lost" for one in composed(pair.path, pair.base, pair.versions).findings())


def _broken(pair: Siblings, ours: Composed) -> bool:
    return all(map(_compiles, (pair.base, *pair.versions))) and not _compiles(ours.data)


def _compiles(text: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, "module", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
    return True


def _depends_on_order(triple: Siblings, folder: Path) -> bool:
    """Whether a store gives more than one node for the six orders of three children."""
    project = folder / "project"
    (project / triple.path).parent.mkdir(parents=True)
    (project / CHARTER_PATH).write_text(CHARTER, encoding="utf-8")
    (project / triple.path).write_bytes(triple.base)
    dagstore.init(project)
    with dagstore.open(project) as store, store.batch() as batch:
        children = [batch.record(["@seed"], {triple.path: text}) for text in triple.versions]
    with dagstore.open(project) as store:
        return len({store.adopt(*order, dry_run=True).node for order in permutations(children)}) > 1


# --- the history of a repository ---


def _history(repository: Path, paths: str) -> list[Siblings]:
    """Versions that were edited more than once, with what became of them, both in the order of their ids in git."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, old, new in _edits(repository, paths):
        found[path, old].add(new)
    wanted = sorted(key for key, news in found.items() if len(news) > 1)
    blobs = sorted({blob for path, old in wanted for blob in (old, *found[path, old])})
    texts = dict(zip(blobs, _contents(repository, blobs), strict=True))
    return [Siblings(path, texts[old], tuple(texts[new] for new in sorted(found[path, old]))) for path, old in wanted]


def _edits(repository: Path, paths: str) -> Iterator[tuple[str, str, str]]:
    """Path, blob before and blob after, of all commits with one parent on all refs."""
    commits = git(repository, "rev-list", "--all", "--min-parents=1", "--max-parents=1")
    words = ("diff-tree", "--stdin", "-r", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-commit-id", "--", paths)
    fields = git(repository, *words, stdin=commits).decode("utf-8", "surrogateescape").split("\0")
    for said, path in zip(fields[::2], fields[1::2], strict=False):
        mode, new_mode, old, new, kind = said.lstrip(":").split(" ")
        if kind == "M" and mode in REGULAR and new_mode in REGULAR and old != new:
            yield path, old, new


def _contents(repository: Path, blobs: Sequence[str]) -> Iterator[bytes]:
    output = git(repository, "cat-file", "--batch", stdin="\n".join(blobs).encode())
    at = 0
    for _ in blobs:
        head = output.index(b"\n", at)
        size = int(output[at:head].split()[2])
        yield output[head + 1 : head + 1 + size]
        at = head + size + 2


def _drawn(edits: Sequence[Siblings], count: int, most: int) -> list[Siblings]:
    """Sets of `count` siblings: at most 60 of a version and `most` in all, in no particular order."""
    found: list[Siblings] = []
    for number, one in enumerate(edits):
        sets = list(combinations(one.versions, count)) if len(one.versions) < 100 else _sets(one, count, number)
        chosen = sets if len(sets) <= PER_BASE else Random(number).sample(sets, PER_BASE)
        found += [one._replace(versions=versions) for versions in chosen]
    return Random(count).sample(found, min(most, len(found)))


def _sets(one: Siblings, count: int, seed: int) -> list[tuple[bytes, ...]]:
    """As many sets of a version with very many edits as are drawn in any case."""
    random = Random(seed)
    return [tuple(random.sample(one.versions, count)) for _ in range(PER_BASE)]
