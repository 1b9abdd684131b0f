"""One experiment: where it lies, what it is measured against, and what it left there."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dagstore import BlobId, Charter, NodeId
from dagstore.claims import Claim
from dagstore.model import Entry, Mode, Tree
from dagstore.tickets import Taken
from trainer.nursery import Ready

LOCKS = (
    *("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "pixi.lock", "conda-lock.yml"),
    *("requirements*.txt", "constraints*.txt", "environment.yml", "environment.yaml"),
)
"""Names of files that say which packages an experiment is meant to have."""


@dataclass(frozen=True, slots=True)
class Files:
    """A node's charter and tree, and its files; `home` holds everything of it and goes as a whole.

    `folder` is the store's.
    """

    node: NodeId
    charter: Charter
    tree: Tree
    folder: Path
    home: Path

    @property
    def work(self) -> Path:
        """The node's files, the experiment's working directory."""
        return self.home / "work"

    @property
    def metrics(self) -> Path:
        return self.home / "out" / "metrics.json"

    @property
    def ready(self) -> Path:
        return self.home / "out" / "ready"

    @property
    def outputs(self) -> Path:
        """What the experiment hands on to its evaluation."""
        return self.home / "outputs"

    @property
    def steps(self) -> Path:
        return self.home / "out" / "steps.jsonl"


@dataclass(frozen=True, slots=True)
class Job(Files):
    """A ticket in hand and the node's files. `standby` is a child that is ready in their cell, if there is one."""

    taken: Taken
    mark: str
    standby: Ready | None = None

    @property
    def claim(self) -> Claim:
        return self.taken.claim


def lock_files(tree: Tree) -> Mapping[str, str]:
    """A digest, as the fact `lock`, of the files in a tree that pin packages; nothing if there are none."""
    locks = [entry for entry in tree if any(fnmatchcase(entry.path.rpartition("/")[2], name) for name in LOCKS)]
    said = "".join(f"{entry.path}\0{entry.blob}\n" for entry in locks)
    return {"lock": str(BlobId.of(said.encode()))[:16]} if locks else {}


def tampered(job: Job) -> Iterator[str]:
    """Locked paths that are not what the tree says by now; a file that was changed and put back is not noticed."""
    for entry in job.tree:
        if not job.charter.is_locked(entry.path) or job.charter.is_hidden(entry.path):
            continue
        if content(job.work / entry.path, entry, job.charter.file_limit) is None:
            yield entry.path


def content(path: Path, entry: Entry, limit: int) -> bytes | None:
    """What the tree says is there (the target of a link), None if something else is."""
    try:
        found = path.lstat()
        if entry.mode is Mode.LINK:
            data = os.readlink(os.fsencode(path)) if stat.S_ISLNK(found.st_mode) else None
        elif not stat.S_ISREG(found.st_mode) or found.st_size > limit:  # no tree holds a larger one; do not read it
            data = None
        else:
            data = path.read_bytes()
    except OSError:
        return None
    return data if data is not None and BlobId.of(data) == entry.blob else None


def read_steps(job: Job) -> bytes:
    """The start of what is in `$DAG_STEPS`, at most the charter's log limit; empty unless it is a regular file."""
    try:
        if not stat.S_ISREG(job.steps.lstat().st_mode):
            return b""
        with job.steps.open("rb") as file:
            return file.read(job.charter.log_limit)
    except OSError:
        return b""
