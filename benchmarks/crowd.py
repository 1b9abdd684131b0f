"""16 processes that seal into one store at once, against 16 that commit into worktrees of one repository.

Workspaces are spawned and edited before all start together; in a worktree the next edit has to wait for the commit
before it. What counts is the time from the first start to the last end, and that nothing is lost.
"""

import multiprocessing
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from harness import Bar, Row, alternate, medians, scratch
from project import edited, make_project
from references import environment, git

import dagstore

PROCESSES = 16
WHY = "a slightly larger rate for the matrices"
FASTER = Bar(16, at_least=True)
NONE = Bar(0.0, absolute=True)

Job = tuple[str, int, int]
"""A folder, the number of the process, and how many experiments it makes."""

_together: Barrier


def rows(*, quick: bool) -> list[Row]:
    each, rounds = (10, 1) if quick else (60, 3)
    with scratch() as folder:
        ours, theirs = Crowd(folder / "ours", each, Ours()), Crowd(folder / "git", each, Git())
        seconds = medians(alternate({"ours": ours.work, "git": theirs.work}, rounds))
    total = PROCESSES * each
    rate, other = total / seconds["ours"], total / seconds["git"]
    name = f"{PROCESSES} processes at once: store.seal / git add + commit in worktrees"
    return [
        Row(name, rate, other, "experiments/s", rate / other, FASTER, "times as fast"),
        Row(f"lost, of {total * rounds:,}", ours.lost, theirs.lost, "experiments", None, NONE),
    ]


class Ours:
    """One store; every process has it open and its workspaces at hand before the start."""

    def begin(self, folder: Path) -> None:
        make_project(folder / "project")
        dagstore.init(folder / "project")

    def count(self, folder: Path) -> int:
        with dagstore.open(folder / "project") as store:
            return store.count() - 1

    @staticmethod
    def work(job: Job) -> tuple[float, float]:
        folder, process, each = job
        with dagstore.open(Path(folder) / "project") as store:
            workspaces = [_spawned(store, Path(folder), process * each + at) for at in range(each)]
            return _between(lambda: [store.seal(one, agent="bench", why=WHY) for one in workspaces])


class Git:
    """One repository with a worktree and a branch for every process."""

    def begin(self, folder: Path) -> None:
        main = make_project(folder / "project")
        git(main, "init", "-q", "-b", "main")
        git(main, "config", "gc.auto", "0")
        git(main, "add", "-A")
        git(main, "commit", "-qm", "seed")
        for process in range(PROCESSES):
            git(main, "worktree", "add", "-q", "-b", f"p{process}", str(folder / str(process)))

    def count(self, folder: Path) -> int:
        return int(git(folder / "project", "rev-list", "--count", "--all", "^main"))

    @staticmethod
    def work(job: Job) -> tuple[float, float]:
        folder, process, each = job
        worktree = Path(folder) / str(process)
        texts = [edited(process * each + at + 1) for at in range(each)]
        return _between(lambda: _commit_all(worktree, texts))


class Crowd:
    """Begins anew each round and counts what it finds afterwards."""

    def __init__(self, folder: Path, each: int, side: Ours | Git) -> None:
        self._folder, self._each, self._side = folder, each, side
        self._rounds = 0
        self.lost = 0

    def work(self) -> float:
        """Seconds from the first start to the last end."""
        self._rounds += 1
        folder = self._folder / str(self._rounds)
        folder.mkdir(parents=True)
        self._side.begin(folder)
        times = _at_once(self._side.work, [(str(folder), process, self._each) for process in range(PROCESSES)])
        self.lost += PROCESSES * self._each - self._side.count(folder)
        return max(end for _, end in times) - min(start for start, _ in times)


def _at_once(work: Callable[[Job], tuple[float, float]], jobs: Sequence[Job]) -> list[tuple[float, float]]:
    """Every job in an interpreter of its own: none goes on before all wait at the barrier, so none gets two."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(jobs), _remember, (context.Barrier(len(jobs)),)) as pool:
        return pool.map(work, jobs, chunksize=1)


def _remember(together: Barrier) -> None:
    global _together  # noqa: PLW0603 (a pool hands a barrier over in no other way)
    _together = together


def _between(work: Callable[[], object]) -> tuple[float, float]:
    """When all were ready and when this one was done, on a clock that processes share."""
    _together.wait()
    start = time.monotonic()
    work()
    return start, time.monotonic()


def _spawned(store: dagstore.Store, folder: Path, number: int) -> Path:
    workspace = folder / str(number)
    store.spawn("@seed", into=workspace, agent="bench", why=WHY)
    (workspace / "train.py").write_text(edited(number + 1), encoding="utf-8")
    return workspace


def _commit_all(worktree: Path, texts: Sequence[str]) -> None:
    for text in texts:
        (worktree / "train.py").write_text(text, encoding="utf-8")
        for words in (["add", "-A"], ["commit", "-qm", WHY]):
            subprocess.run(["git", *words], cwd=worktree, env=environment(), check=True)
