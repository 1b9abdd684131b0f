"""One file of the last of 1,000 nodes in a line, nothing cached by either: `store.cat` against pygit2.

Every node changes one number in a file of 26 KB. git's history was packed with `git gc --aggressive`. Files are in the
cache of the operating system on both sides; what a library keeps goes when its store or repository is closed.
"""

import time
from collections.abc import Callable
from pathlib import Path

from harness import Bar, Row, Timed, alternate, medians, scratch
from project import edited, make_project
from references import NOT_INSTALLED, commit_command, fast_import, git, pygit2, pygit2_version

import dagstore

BAR = Bar(1.0)
PATH = "train.py"

Read = Callable[[], tuple[float, float, bytes]]
"""Opens and reads; returns the seconds with opening, those without, and the file."""


def rows(*, quick: bool) -> list[Row]:
    depth, rounds = (200, 51) if quick else (1_000, 301)
    texts = [edited(number).encode() for number in range(1, depth + 1)]
    with scratch() as folder:
        reads = {"ours": _ours(folder / "ours", texts), "pygit2": _pygit2(folder / "git", texts)}
        present = {name: read for name, read in reads.items() if read}
        assert {read()[2] for read in present.values()} == {texts[-1]}, "not the bytes that were recorded"
        whole = medians(alternate({name: _part(read, 0) for name, read in present.items()}, rounds))
        inner = medians(alternate({name: _part(read, 1) for name, read in present.items()}, rounds))
    name = f"the last of {depth:,} versions"
    return [
        _row(f"{name}, opening included: store.cat / pygit2", whole, BAR),
        _row(f"{name}, opened before: store.cat / pygit2", inner),
    ]


def _row(name: str, found: dict[str, float], bar: Bar | None = None) -> Row:
    ours, theirs = found["ours"] * 1e3, found.get("pygit2", 0.0) * 1e3
    if not theirs:
        return Row(name, ours, None, "ms", None, bar, f"pygit2 {NOT_INSTALLED}")
    return Row(name, ours, theirs, "ms", ours / theirs, bar, f"smaller is better; {pygit2_version()}")


def _part(read: Read, part: int) -> Timed:
    return lambda: float(read()[part])


def _ours(folder: Path, texts: list[bytes]) -> Read:
    make_project(folder)
    dagstore.init(folder)
    last: dagstore.NodeId | str = "@seed"
    with dagstore.open(folder) as store, store.batch() as batch:
        for text in texts:
            last = batch.record([last], {PATH: text})

    def read() -> tuple[float, float, bytes]:
        start = time.perf_counter()
        with dagstore.open(folder, readonly=True) as store:
            opened = time.perf_counter()
            data = store.cat(last, PATH)
            done = time.perf_counter()
        return time.perf_counter() - start, done - opened, data

    return read


def _pygit2(folder: Path, texts: list[bytes]) -> Read | None:
    module = pygit2()
    if not module:
        return None
    last = module.Oid(hex=_history(folder, texts))

    def read() -> tuple[float, float, bytes]:
        start = time.perf_counter()
        repository = module.Repository(str(folder / ".git"))
        opened = time.perf_counter()
        data = repository[last].tree[PATH].data
        done = time.perf_counter()
        repository.free()
        return time.perf_counter() - start, done - opened, data

    return read


def _history(folder: Path, texts: list[bytes]) -> str:
    """The same line of commits, packed; returns the last one's id."""
    make_project(folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "seed")
    commands = (
        commit_command(mark, [f":{mark - 1}" if mark > 1 else "refs/heads/main^0"], files={PATH: text})
        for mark, text in enumerate(texts, 1)
    )
    fast_import(folder, commands, folder / ".git" / "marks")
    git(folder, "gc", "-q", "--aggressive", "--prune=now")
    return git(folder, "rev-parse", "main").decode().strip()
