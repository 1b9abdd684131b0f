"""5,000 experiments in bulk, each with one edited number in a file of 26 KB: `store.batch` against `git fast-import`.

Both are handed whole files that were prepared before, and end durably: fast-import syncs its pack by default. Bytes are
those of the whole `.dag` and, after `git gc --aggressive --prune=now`, of the whole `.git`, each less the same with the
seed alone. Children of the seed would need a branch each to survive that; instead one commit more, with all of them as
parents, keeps them in git, which is cheaper.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import Bar, Row, alternate, medians, on_disk, scratch, timed
from project import edited, make_project
from references import commit_command, fast_import_file, git

import dagstore

WHY = b"a slightly larger rate for the matrices"
FASTER = Bar(2, at_least=True)
SMALLER = Bar(1.0)
SHAPES = ("in a line", "all of the seed")


@dataclass(frozen=True, slots=True)
class Work:
    """The files to record, in order, and whether each is a child of the one before or of the seed."""

    texts: list[bytes]
    in_line: bool


def rows(*, quick: bool) -> list[Row]:
    count, rounds = (1_000, 2) if quick else (5_000, 5)
    texts = [edited(number).encode() for number in range(1, count + 1)]
    return [row for shape in SHAPES for row in _rows(shape, Work(texts, shape == SHAPES[0]), rounds)]


def _rows(shape: str, work: Work, rounds: int) -> list[Row]:
    with scratch() as folder:
        ours, theirs = Ours(folder, work), Git(folder, work)
        seconds = medians(alternate({"ours": ours.record, "git": theirs.import_all}, rounds))
        kept, packed = ours.bytes_each(), theirs.bytes_each()
    count, line = len(work.texts), work.in_line
    rate, other = count / seconds["ours"], count / seconds["git"]
    name = f"{count:,} {shape}: store.batch / git fast-import"
    return [
        Row(name, rate, other, "experiments/s", rate / other, FASTER if line else None, "times as fast"),
        Row(
            f"{count:,} {shape}: bytes on disk per experiment / after git gc --aggressive",
            kept,
            packed,
            "B",
            kept / packed,
            SMALLER if line else None,
            "everything included; smaller is better",
        ),
    ]


class Ours:
    """A new store each time."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._folder, self._work = folder / "ours", work

    def record(self) -> float:
        shutil.rmtree(self._folder, ignore_errors=True)
        make_project(self._folder)
        dagstore.init(self._folder)
        self._empty = on_disk(self._folder / ".dag")
        with dagstore.open(self._folder) as store:
            return timed(lambda: self._record(store))

    def bytes_each(self) -> float:
        """Of the last one that was made, closed."""
        return (on_disk(self._folder / ".dag") - self._empty) / len(self._work.texts)

    def _record(self, store: dagstore.Store) -> None:
        parent: dagstore.NodeId | str = "@seed"
        why = WHY.decode()
        with store.batch() as batch:
            for text in self._work.texts:
                made = batch.record([parent], {"train.py": text}, why=why, agent="bench")
                if self._work.in_line:
                    parent = made


class Git:
    """A new repository each time, with the seed committed; what is imported is one file of commands."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._folder, self._work, self._stream = folder / "git", work, folder / "stream"
        with self._stream.open("wb") as file:
            file.writelines(self._commands())

    def import_all(self) -> float:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._begin(self._folder)
        return timed(lambda: fast_import_file(self._folder, self._stream))

    def bytes_each(self) -> float:
        """Of the last one that was made, packed as tightly as git can."""
        count = int(git(self._folder, "rev-list", "--count", "--max-parents=1", "main"))
        assert count == len(self._work.texts) + 1, f"git has {count} commits"
        seed = self._folder.with_name("seed")
        self._begin(seed)
        return (_packed(self._folder) - _packed(seed)) / len(self._work.texts)

    @staticmethod
    def _begin(folder: Path) -> None:
        make_project(folder)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "seed")
        git(folder, "tag", "seed")

    def _commands(self) -> Iterator[bytes]:
        count = len(self._work.texts)
        for mark, text in enumerate(self._work.texts, 1):
            parent = f":{mark - 1}" if self._work.in_line and mark > 1 else "refs/tags/seed^0"
            yield commit_command(mark, [parent], message=WHY, files={"train.py": text})
        if not self._work.in_line:
            yield commit_command(count + 1, [f":{mark}" for mark in range(1, count + 1)])


def _packed(folder: Path) -> int:
    git(folder, "gc", "-q", "--aggressive", "--prune=now")
    return on_disk(folder / ".git")
