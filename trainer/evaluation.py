"""The hidden evaluation: a fresh folder with the files that nobody could change, beside what the experiment made.

The experiment's process is gone when this one begins, its folder is not this one's, and of what it wrote only the
files below `$DAG_OUT` are there, read-only and without links. What an evaluation reads there it must not believe more
than a number: unpickling it, or importing it, would let the experiment's code in.
"""

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dagstore.charter import is_outside
from dagstore.model import Entry, Mode
from trainer.ending import Ending
from trainer.job import Files, Job, content
from trainer.metrics import Metrics, collect
from trainer.surroundings import Room, make_room

FOLDER = "evaluation"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How the evaluation ended, and what it reported."""

    ending: Ending
    metrics: Metrics


def withhold(files: Files) -> None:
    """Takes out of the experiment's folder what only the evaluation may see, where that was not done before."""
    for entry in files.tree:
        if files.charter.is_hidden(entry.path):
            kept = _withheld(files, entry)
            kept.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.replace(files.work / entry.path, kept)


def evaluation_room(job: Job, hidden: tuple[str, ...]) -> Room:
    """Its room, its files in place. `hidden` are the paths outside the tree that only it may read.

    `OSError` if a locked file is not what the tree says.
    """
    home = job.home / FOLDER
    room = make_room(Room(job.folder, job.home, home, home / "work", home / "out", job.outputs, hidden, read_only=True))
    room.work.mkdir()
    for entry in job.tree:
        if job.charter.is_locked(entry.path):
            held = _withheld(job, entry) if job.charter.is_hidden(entry.path) else job.work / entry.path
            _put(entry, content(held, entry, job.charter.file_limit), room.work / entry.path)
    _scrub(job.outputs)
    return room


def hidden_outside(job: Job) -> tuple[str, ...]:
    return tuple(path for path in job.charter.hidden if is_outside(path))


def evaluated(ending: Ending, room: Room) -> Evaluation:
    return Evaluation(ending, collect(ending.log, room.out / "metrics.json", room.out / "steps.jsonl"))


def _withheld(files: Files, entry: Entry) -> Path:
    return files.home / "hidden" / entry.path


def _put(entry: Entry, data: bytes | None, path: Path) -> None:
    if data is None:
        raise OSError(f"{entry.path} is not the locked file any more")
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode is Mode.LINK:
        os.symlink(data, os.fsencode(path))
    else:
        path.write_bytes(data)
        path.chmod(0o755 if entry.mode is Mode.EXECUTABLE else 0o644)


def _scrub(folder: Path) -> None:
    """Removes what is neither a file nor a folder: a link would have the evaluation read what lies elsewhere."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                os.unlink(path)
