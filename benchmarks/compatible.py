"""Which of ten nodes contradict each other: `store.compatible` beside `git merge-file` of the same 45 pairs.

Each node changes one constant of a 26 KB `train.py`. The constants stand in blocks of adjacent lines, and three pairs
of nodes change the same one. Ours is the whole question to a store on disk, the largest subset included; git's is one
process a pair over files that lie there. Who calls any other pair a contradiction, or misses one, is wrong. Forty
nodes that each change a constant of their own stand without a reference.
"""

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from harness import Bar, Row, alternate, medians, scratch, timed
from project import CONSTANTS, make_project, train_text
from references import environment

import dagstore
from dagstore import NodeId, Store
from dagstore.adopt import cuts

FEW, SHARED, MANY = 10, 7, 40
NONE = Bar(0.0, absolute=True)
NO_SLOWER = Bar(1.0)
KNOBS = {f"KNOB_{number}": str(number) for number in range(MANY)}

Change = tuple[str, str]
"""The name of a constant and its new value."""


def rows(*, quick: bool) -> list[Row]:
    rounds = 5 if quick else 21
    names = [CONSTANTS[number % SHARED][0] for number in range(FEW)]
    changes = [(name, f"{number}.5") for number, name in enumerate(names)]
    return [*_beside_git(changes, rounds), _many(3 if quick else 9)]


def _beside_git(changes: Sequence[Change], rounds: int) -> list[Row]:
    with scratch() as folder, _recorded(folder / "store", changes) as asked:
        git = Git(folder / "git", changes)
        wanted = {pair for pair in git.pairs if changes[pair[0]][0] == changes[pair[1]][0]}
        wrong = [100 * len(wanted ^ found) / len(git.pairs) for found in (asked.apart(), git.apart())]
        found = medians(alternate({"ours": asked.time, "git": lambda: timed(git.apart)}, rounds))
    ours, theirs = 1000 * found["ours"], 1000 * found["git"]
    what = f"{len(changes)} nodes, {len(git.pairs)} pairs"
    note = f"{len(wanted)} pairs disagree"
    return [
        Row(f"{what}: contradictions / git merge-file", ours, theirs, "ms", ours / theirs, NO_SLOWER),
        Row(f"{what}: pairs that are judged wrongly", *wrong, "%", None, NONE, note),
    ]


def _many(rounds: int) -> Row:
    changes = [(name, "7.5") for name in KNOBS]
    with scratch() as folder, _recorded(folder / "store", changes, KNOBS) as asked:
        found = medians(alternate({"ours": asked.time}, rounds))["ours"]
        together = len(asked.store.compatible(*asked.nodes).subset)
    pairs = MANY * (MANY - 1) // 2
    note = f"{together} of them go together"
    return Row(f"{MANY} nodes, {pairs} pairs: contradictions", found, None, "s", note=note)


@dataclass(frozen=True, slots=True)
class Asked:
    """A store, and the nodes that it is asked about."""

    store: Store
    nodes: Sequence[NodeId]

    def time(self) -> float:
        """The seconds of one answer; what the process remembers of the last one is forgotten before."""
        cuts._compared.clear()
        return timed(lambda: self.store.compatible(*self.nodes))

    def apart(self) -> set[tuple[int, int]]:
        """The numbers of nodes between which there is a contradiction."""
        found = self.store.compatible(*self.nodes)
        places = {node: number for number, node in enumerate(self.nodes)}
        pairs = ((places[pair.a], places[pair.b]) for pair in found.pairs if pair.contradictions)
        return {(min(pair), max(pair)) for pair in pairs}


@contextmanager
def _recorded(folder: Path, changes: Iterable[Change], base: Mapping[str, str] | None = None) -> Iterator[Asked]:
    """A store with a child of the seed for every change."""
    make_project(folder)
    (folder / "train.py").write_text(train_text(dict(base or {})), encoding="utf-8")
    dagstore.init(folder)
    with dagstore.open(folder) as store:
        with store.batch() as batch:
            texts = [train_text({**(base or {}), name: value}).encode() for name, value in changes]
            nodes = [batch.record(["@seed"], {"train.py": text}) for text in texts]
        yield Asked(store, nodes)


class Git:
    """The same versions as files of one folder."""

    def __init__(self, folder: Path, changes: Sequence[Change]) -> None:
        self._folder = folder
        self.pairs = list(combinations(range(len(changes)), 2))
        folder.mkdir()
        (folder / "base").write_text(train_text(), encoding="utf-8")
        for number, (name, value) in enumerate(changes):
            (folder / str(number)).write_text(train_text({name: value}), encoding="utf-8")

    def apart(self) -> set[tuple[int, int]]:
        """The pairs that `git merge-file` has a conflict for."""
        return {pair for pair in self.pairs if self._conflicts(*pair)}

    def _conflicts(self, one: int, other: int) -> bool:
        words = ["git", "merge-file", "-q", "-p", str(one), "base", str(other)]
        done = subprocess.run(words, cwd=self._folder, env=environment(), stdout=subprocess.DEVNULL, check=False)
        return done.returncode != 0
