"""Blame of a file of 26 KB at the end of a line of nodes, in-process, beside `git blame` on the same history.

Ours opens the store each time, and nothing of it is at hand then. git's history was packed with `git gc --aggressive`;
what a process of git takes to start, by `git --version`, is taken off its time. Both must name the same versions.
"""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from harness import Bar, Row, Timed, alternate, medians, scratch, timed
from project import edited, make_project, train_text
from references import commit_command, commits_of, fast_import, git

import dagstore

BAR = Bar(1.0)
PATH = "train.py"
NOTE = "smaller is better; git less its process start"

_OWNER = re.compile(rb"^([0-9a-f]{40}) \d+ \d+", re.MULTILINE)
"""Stands above each line of the file, which itself begins with a tab."""

Texts = list[bytes]
Owners = list[int]
"""Which version brought each line of the last one: 0 is the seed."""


def rows(*, quick: bool) -> list[Row]:
    depth, rounds = (200, 9) if quick else (1_000, 31)
    histories = {
        "a line each, anywhere": _anywhere(depth, 1),
        "the same line each": [edited(number).encode() for number in range(1, depth + 1)],
        "three lines each, anywhere": _anywhere(depth, 3),
        "a line in and another one out each": _in_and_out(depth),
    }
    return [
        _row(f"{depth:,} nodes, {name}: store.blame / git blame", texts, rounds) for name, texts in histories.items()
    ]


def _anywhere(depth: int, lines_each: int) -> Texts:
    """Versions that each change some lines of the one before, drawn by chance, and keep their number."""
    random, lines = Random(depth), train_text().encode().split(b"\n")
    texts: Texts = []
    for number in range(depth):
        for at in random.sample(range(len(lines) - 1), lines_each):
            lines[at] = lines[at].partition(b"  #")[0] + b"  # %d" % number
        texts.append(b"\n".join(lines))
    return texts


def _in_and_out(depth: int) -> Texts:
    """Versions that each have a new line and lack one of the version before, at places drawn by chance."""
    random, lines = Random(depth), train_text().encode().split(b"\n")
    texts: Texts = []
    for number in range(depth):
        del lines[random.randrange(len(lines) - 1)]
        lines.insert(random.randrange(len(lines) - 1), b"# %d" % number)
        texts.append(b"\n".join(lines))
    return texts


def _row(name: str, texts: Texts, rounds: int) -> Row:
    with scratch() as folder:
        ours, theirs = _ours(folder / "ours", texts), _git(folder / "git", texts)
        assert ours() == theirs(), "the two name different versions"
        works: dict[str, Timed] = {
            "ours": lambda: timed(ours),
            "git": lambda: timed(theirs),
            "start": lambda: timed(lambda: git(folder, "--version")),
        }
        found = medians(alternate(works, rounds))
    own, other = found["ours"] * 1e3, (found["git"] - found["start"]) * 1e3
    return Row(name, own, other, "ms", own / other, BAR, NOTE)


def _ours(folder: Path, texts: Texts) -> Callable[[], Owners]:
    make_project(folder)
    nodes = [dagstore.init(folder).node]
    with dagstore.open(folder) as store, store.batch() as batch:
        for text in texts:
            nodes.append(batch.record(nodes[-1:], {PATH: text}))
    numbers = {node: number for number, node in enumerate(nodes)}

    def ask() -> Owners:
        with dagstore.open(folder, readonly=True) as store:
            return [numbers[line.node] for line in store.blame(nodes[-1], PATH).lines]

    return ask


def _git(folder: Path, texts: Texts) -> Callable[[], Owners]:
    make_project(folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "seed")
    seed, marks = git(folder, "rev-parse", "main").decode().strip(), folder / ".git" / "marks"
    commands = (
        commit_command(mark, [f":{mark - 1}" if mark > 1 else "refs/heads/main^0"], files={PATH: text})
        for mark, text in enumerate(texts, 1)
    )
    fast_import(folder, commands, marks)
    git(folder, "gc", "-q", "--aggressive", "--prune=now")
    numbers = {commit: number for number, commit in enumerate([seed, *commits_of(marks)])}

    def ask() -> Owners:
        porcelain = git(folder, "blame", "--porcelain", "main", "--", PATH)
        return [numbers[commit.decode()] for commit in _OWNER.findall(porcelain)]

    return ask
