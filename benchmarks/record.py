"""Record one experiment durably, one at a time: `seal` and `record` against `git add` and `git commit`.

Nine files, one edited number in a file of 26 KB each time, each experiment on top of the one before. `record` takes the
same directory each time, as git does; `seal` takes a workspace that was spawned just before. Spawning and editing are
not timed. git is as durable as it is by default, which leaves loose objects unsynced
(core.fsync=committed,-loose-object); a second reference syncs everything that git can sync, as dagstore does.
"""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness import DAG, Bar, Row, alternate, medians, on_disk, scratch, timed
from project import edited, make_project

import dagstore

WHY = "a slightly larger rate for the matrices"
BAR = Bar(16, at_least=True)


def rows(*, quick: bool) -> list[Row]:
    rounds, batch = (5, 20) if quick else (15, 40)
    with scratch() as folder:
        ours, theirs = Ours(folder / "ours", batch), Git(folder / "git", batch)
        synced = Git(folder / "synced", batch, "core.fsync=all")
        works = {"seal": ours.seal, "git": theirs.commit, "record": ours.record, "synced": synced.commit}
        seconds = {name: value / batch for name, value in medians(alternate(works, rounds)).items()}
        command = medians(alternate({"dag": ours.command, "git": theirs.one}, 7 if quick else 21))
        kept = (ours.bytes_each(), theirs.bytes_each())
    return [
        _row("store.seal of a workspace / git add + commit", seconds["seal"], seconds["git"], BAR),
        _row("store.record of a directory / git add + commit", seconds["record"], seconds["git"], BAR),
        _row("store.seal / git with core.fsync=all", seconds["seal"], seconds["synced"]),
        _row("whole process `dag seal` / git add + commit", command["dag"], command["git"], note="two git processes"),
        Row("bytes on disk per experiment", *kept, "B", kept[0] / kept[1], note="git before gc; smaller is better"),
    ]


def _row(name: str, ours: float, reference: float, bar: Bar | None = None, note: str = "times as fast") -> Row:
    return Row(name, ours * 1e3, reference * 1e3, "ms", reference / ours, bar, note)


class Ours:
    """A store that grows by one batch at a call."""

    def __init__(self, folder: Path, batch: int) -> None:
        self._folder, self._batch = folder, batch
        self._project = make_project(folder / "project")
        dagstore.init(self._project)
        self._store = dagstore.open(self._project)
        self._last: dagstore.NodeId | str = "@seed"
        self._number = 0
        self._folder.joinpath("same").mkdir()
        self._same = make_project(folder / "same" / "project")
        self._start = on_disk(self._store.folder)

    def seal(self) -> float:
        return sum(self._one(self._seal) for _ in range(self._batch))

    def record(self) -> float:
        return sum(self._again() for _ in range(self._batch))

    def command(self) -> float:
        return self._one(self._command)

    def bytes_each(self) -> float:
        self._store.close()
        return (on_disk(self._store.folder) - self._start) / self._number

    def _one(self, finish: Callable[[Path], None]) -> float:
        """Spawn and edit, then the seconds of `finish`."""
        self._number += 1
        workspace = self._folder / str(self._number)
        self._store.spawn(self._last, into=workspace, agent="bench", why=WHY)
        (workspace / "train.py").write_text(edited(self._number), encoding="utf-8")
        seconds = timed(lambda: finish(workspace))
        self._last = "@last"
        return seconds

    def _again(self) -> float:
        """Edit the same directory, then the seconds of recording it."""
        self._number += 1
        (self._same / "train.py").write_text(edited(self._number), encoding="utf-8")
        seconds = timed(lambda: self._store.record(self._same, [self._last], agent="bench", why=WHY))
        self._last = "@last"
        return seconds

    def _seal(self, workspace: Path) -> None:
        self._store.seal(workspace, agent="bench", why=WHY)

    def _command(self, workspace: Path) -> None:
        subprocess.run([DAG, "-C", str(workspace), "seal", "--json"], stdout=subprocess.DEVNULL, check=True)


class Git:
    """A repository with the same files that grows by one batch at a call."""

    def __init__(self, folder: Path, batch: int, *settings: str) -> None:
        self._folder, self._batch = make_project(folder), batch
        self._settings = [word for setting in ("gc.auto=0", *settings) for word in ("-c", setting)]
        self._number = 0
        self._run("init", "-q")
        self._run("add", "-A")
        self._run("commit", "-qm", "seed")
        self._start = on_disk(folder / ".git")

    def commit(self) -> float:
        return sum(self.one() for _ in range(self._batch))

    def one(self) -> float:
        self._number += 1
        (self._folder / "train.py").write_text(edited(self._number), encoding="utf-8")
        start = time.perf_counter()
        self._run("add", "-A")
        self._run("commit", "-qm", WHY)
        return time.perf_counter() - start

    def bytes_each(self) -> float:
        return (on_disk(self._folder / ".git") - self._start) / self._number

    def _run(self, *words: str) -> None:
        subprocess.run(["git", *self._settings, *words], cwd=self._folder, env=_environment(), check=True)


def _environment() -> dict[str, str]:
    """Nobody's own configuration of git."""
    who = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return who | {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
